//! What is there. Owns: reading droplets, heartbeats and the outbox for a pass, and the sweep that reads the whole fleet. Must
//! not: decide. Promises: a read that failed, also in its middle, is an error and not "nothing"; "absent" was said by the list
//! and by a `GET` of every id that is known.

use crate::{
    fleet::{Droplet, DropletState, Fleet, Sighting},
    heartbeats::Heartbeats,
    outbox::{Outbox, Outgoing},
};
use digitalocean::{Client, DropletFilter, DropletStatus};
use jiff::Timestamp;
use model::{DropletId, EnvironmentId, EnvironmentRecord, InstallationId, IntentOutcome, record::Subject, tags};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// One environment's outside, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its droplets.
    pub sighting: Sighting,
    /// When its agent was last heard, if that is later than the record says. Heartbeats that change nothing else notify nobody,
    /// so a record in memory can be behind.
    pub heard_at: Option<Timestamp>,
    /// What this process has and has not sent.
    pub outgoing: Outgoing,
}

impl Observed {
    /// What memory holds beside the droplets.
    pub(crate) fn with(sighting: Sighting, id: EnvironmentId, heartbeats: &Heartbeats, outbox: &Outbox) -> Self {
        Self {
            sighting,
            heard_at: heartbeats.heard_at(id),
            outgoing: outbox.outgoing(id),
        }
    }
}

/// Reads an environment's droplets: the list by its tag, and a `GET` of each id that the record knows and the list does not.
pub(crate) async fn droplets(
    client: &Client,
    installation: &InstallationId,
    record: &EnvironmentRecord,
) -> Result<Vec<Droplet>, digitalocean::Error> {
    let id = record.id();
    let known = known(record);
    let filter = DropletFilter::Tag(tags::environment(id));
    let listed = client.droplet_list(&filter).await?;
    let mut droplets: Vec<Droplet> = listed.iter().map(|droplet| seen(droplet, id, installation)).collect();
    for wanted in known.into_iter().flatten() {
        if droplets.iter().any(|droplet| droplet.id == wanted) {
            continue;
        }
        match client.droplet_get(wanted.0).await {
            Ok(droplet) => droplets.push(seen(&droplet, id, installation)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    // Another installation's droplet may carry the environment's tag, and is none of ours.
    droplets.retain(|droplet| droplet.ours || known.contains(&Some(droplet.id)));
    Ok(droplets)
}

/// The ids that the record names: the recorded droplet's, and the one that the latest intent made.
fn known(record: &EnvironmentRecord) -> [Option<DropletId>; 2] {
    let recorded = match &record.subject {
        Subject::Row(row) => row.status.droplet_id,
        Subject::Tombstone(tombstone) => tombstone.droplet_id,
    };
    let made = record.intent.as_ref().and_then(|intent| match intent.outcome {
        None | Some(IntentOutcome::Adopted) => intent.droplet_id,
        Some(IntentOutcome::Refused | IntentOutcome::Lost | IntentOutcome::Abandoned) => None,
    });
    [recorded, made.filter(|_| made != recorded)]
}

fn seen(droplet: &digitalocean::Droplet, id: EnvironmentId, installation: &InstallationId) -> Droplet {
    let tags = droplet.tags.iter().map(String::as_str);
    Droplet {
        id: DropletId(droplet.id),
        state: match droplet.status {
            // A word that is not known yet is not read as a reason to act.
            DropletStatus::New | DropletStatus::Unknown => DropletState::New,
            DropletStatus::Active => DropletState::Active,
            DropletStatus::Off => DropletState::Off,
            DropletStatus::Archive => DropletState::Archived,
        },
        address: droplet.public_ipv4(),
        created_at: Some(droplet.created_at),
        ours: tags::owner(tags.clone(), installation) == Some(id),
        intent: tags::intent_of(tags),
    }
}

/// Reads the whole installation's droplets, once in `every`, one list for all environments.
pub(crate) async fn sweep(
    client: Client,
    installation: InstallationId,
    fleet: Fleet,
    every: Duration,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let filter = DropletFilter::Tag(tags::installation(&installation));
    let work = async {
        loop {
            ticks.tick().await;
            let began = Timestamp::now();
            match client.droplet_list(&filter).await {
                Ok(droplets) => {
                    let owned = droplets.iter().filter_map(|droplet| {
                        let id = tags::owner(droplet.tags.iter().map(String::as_str), &installation)?;
                        Some((id, seen(droplet, id, &installation)))
                    });
                    fleet.sweep(owned, began);
                }
                // What was seen before grows old by itself, and is unknown then.
                Err(error) => tracing::warn!(%error, "the fleet could not be read"),
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}
