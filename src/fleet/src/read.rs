//! What a read of DigitalOcean means. Owns: whose a droplet is, and which ids a record knows. Must not: do I/O.

use crate::droplets::{Droplet, DropletState, Mark};
use digitalocean::DropletStatus;
use model::{DropletId, EnvironmentId, EnvironmentRecord, InstallationId, IntentOutcome, record::Subject, tags};

/// The ids that the record names: the recorded droplet's, and the one that the latest intent made.
pub fn known(record: &EnvironmentRecord) -> [Option<DropletId>; 2] {
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

/// A droplet as decisions about this environment see it.
pub fn seen(droplet: &digitalocean::Droplet, id: EnvironmentId, installation: &InstallationId) -> Droplet {
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
        missing: missing(&tags, id, installation),
        intent: tags::intent_of(tags),
        size: droplet.size_slug.as_str().into(),
        disk: u32::try_from(droplet.disk).unwrap_or(u32::MAX),
        locked: droplet.locked,
        named: droplet.name == tags::droplet_name(id),
    }
}

/// Which tags a droplet lacks to be this environment's; none when its tags say that it is another's.
fn missing<'a>(
    tags: &(impl IntoIterator<Item = &'a str> + Clone),
    id: EnvironmentId,
    installation: &InstallationId,
) -> Box<[Mark]> {
    if tags::is_foreign(tags.clone(), id, installation) {
        return Box::default();
    }
    let lacks = |tag: String| !tags.clone().into_iter().any(|carried| carried == tag);
    let marks = [
        (Mark::Installation, lacks(tags::installation(installation))),
        (Mark::Environment, lacks(tags::environment(id))),
        (Mark::Toolplane, lacks(tags::TOOLPLANE.to_owned())),
    ];
    marks.into_iter().filter_map(|(mark, lacks)| lacks.then_some(mark)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_s_lacks_nothing_of_ours() {
        let (ours, theirs): (InstallationId, InstallationId) = ("demo".parse().unwrap(), "prod".parse().unwrap());
        let (id, other) = (EnvironmentId::random(), EnvironmentId::random());
        let lacking = |tags: &[String]| missing(&tags.iter().map(String::as_str), id, &ours).to_vec();
        let all = [tags::TOOLPLANE.to_owned(), tags::installation(&ours), tags::environment(id)];
        assert_eq!(lacking(&all), []);
        assert_eq!(lacking(&all[..1]), [Mark::Installation, Mark::Environment]);
        assert_eq!(lacking(&[]), [Mark::Installation, Mark::Environment, Mark::Toolplane]);
        assert_eq!(lacking(&[tags::installation(&theirs)]), []);
        assert_eq!(lacking(&[tags::environment(other)]), []);
    }
}
