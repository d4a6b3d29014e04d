//! Reading droplets. Mirrors `fleet::read`: the list, and a `GET` of every id that is known and not listed.

use crate::process::Process;
use fleet::{Freshness, Sighting, read};
use model::{DropletId, EnvironmentId, EnvironmentRecord, tags};
use runtime::{Clock, Error};

/// What serves whoever is about to act: what is remembered where that is good enough, else what is read.
pub(crate) async fn recent(process: &Process, id: EnvironmentId, record: &EnvironmentRecord) -> Result<Sighting, Error> {
    let sighting = process.fleet.sighting(id);
    let unsent = process.outbox.outgoing(id, process.moment()).unsent;
    let unsent = unsent.is_some() && unsent == record.intent.as_ref().map(|intent| intent.id);
    if Freshness::default().droplets_serve(record, &sighting, unsent, process.now()) {
        return Ok(sighting);
    }
    droplets(process, id, record).await
}

/// Reads one environment's droplets, and remembers them.
pub(crate) async fn droplets(process: &Process, id: EnvironmentId, record: &EnvironmentRecord) -> Result<Sighting, Error> {
    let (began, installation) = (process.now(), &process.setup.installation);
    let tag = tags::environment(id);
    let listed = process.read_cloud("list the droplets".to_owned(), move |world| world.cloud.list(world.now, &tag));
    let listed = match listed.await {
        Ok(listed) => listed,
        // The guard that is missing here is the one between "not read" and "not there".
        Err(_) if process.setup.sabotage.unknown => return Ok(Sighting::new(Vec::new(), began)),
        Err(error) => return Err(error),
    };
    let mut droplets: Vec<fleet::Droplet> = listed.iter().map(|droplet| read::seen(droplet, id, installation)).collect();
    let known = read::known(record);
    for wanted in known.into_iter().flatten() {
        if droplets.iter().all(|droplet| droplet.id != wanted) {
            let DropletId(number) = wanted;
            let got = process.read_cloud(format!("get droplet {wanted}"), move |world| {
                world.cloud.get(world.now, number).ok()
            });
            droplets.extend(got.await?.map(|droplet| read::seen(&droplet, id, installation)));
        }
    }
    if process.setup.sabotage.tag_check {
        for droplet in &mut droplets {
            droplet.ours = true;
        }
    }
    droplets.retain(|droplet| droplet.ours || known.contains(&Some(droplet.id)));
    Ok(process.fleet.learn(id, droplets, began))
}
