//! What there is: an environment's firewall, the droplet that it is for, and the base firewall beside it. Owns: how good a read has
//! to be. Must not: decide. Promises: in an authoritative read, "absent" was said by DigitalOcean itself, but for a firewall that was
//! never announced or never seen; and so was that a droplet is there which the firewall does not apply to yet.

use crate::{Policy, failure::cloud, rules};
use digitalocean::Client;
use fleet::{
    FirewallLooks, Firewalls, Fleet, Need,
    firewalls::{Known, Observed as Seen},
    names,
};
use model::{DropletId, EnvironmentDesiredState, EnvironmentId, EnvironmentRecord, record::Subject};
use runtime::{Error, Observation};
use std::sync::Arc;

/// What decisions see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The firewall.
    pub firewall: Seen,
    /// The droplet that it is for: `Absent` when it is not seen, whether its absence is believed or not. From memory, `Unknown` is
    /// what nobody looked for yet.
    pub droplet: Observation<()>,
    /// The base firewall: whether it is as it should be.
    pub base: Observation<bool>,
    /// Why it is not, as whoever works on it was told.
    pub base_failure: Option<Arc<str>>,
    /// Whether requests are short: what can wait for the next sweep is not looked for.
    pub short: bool,
}

/// Where it is read.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    pub(crate) firewalls: Firewalls,
    pub(crate) looks: FirewallLooks,
}

impl Sources {
    /// From memory.
    pub(crate) fn cached(&self, policy: &Policy, id: EnvironmentId, record: Option<&EnvironmentRecord>) -> Observed {
        Observed {
            firewall: self.firewalls.observed(&names::environment(&policy.installation, id)),
            droplet: droplet(record).map_or(Observation::Unknown, |droplet| in_sight(&self.fleet, id, droplet)),
            base: self.base(policy),
            base_failure: self.firewalls.base_failure(),
            short: self.client.budget().is_short(),
        }
    }

    /// From DigitalOcean.
    pub(crate) async fn read(
        &self,
        policy: &Policy,
        id: EnvironmentId,
        record: Option<&EnvironmentRecord>,
    ) -> Result<Observed, Error> {
        let (name, recorded) = (names::environment(&policy.installation, id), recorded(record));
        let firewall = self.looks.observe(&name, recorded, need(record)).await;
        let firewall = firewall.map_err(|error| cloud(&error))?;
        let droplet = match droplet(record) {
            Some(droplet) if !applies(&firewall, droplet) => self.droplet(id, droplet).await.map_err(|error| cloud(&error))?,
            Some(_) | None => Observation::Unknown,
        };
        Ok(Observed {
            firewall,
            droplet,
            base: self.base(policy),
            base_failure: self.firewalls.base_failure(),
            short: self.client.budget().is_short(),
        })
    }

    /// Reads the firewall anew, and remembers it.
    pub(crate) async fn look(&self, name: &str, record: Option<&EnvironmentRecord>) -> Result<(), Error> {
        let looked = self.looks.read(name, recorded(record), need(record)).await;
        looked.map(drop).map_err(|error| cloud(&error))
    }

    /// Whether the droplet is there, which its environment's reconciler saw: it is only asked for when it is not in sight.
    async fn droplet(&self, id: EnvironmentId, droplet: DropletId) -> Result<Observation<()>, digitalocean::Error> {
        if in_sight(&self.fleet, id, droplet) == Observation::Present(()) {
            return Ok(Observation::Present(()));
        }
        match self.client.droplet_get(droplet.0).await {
            Ok(_) => Ok(Observation::Present(())),
            Err(error) if error.is_not_found() => Ok(Observation::Absent),
            Err(error) => Err(error),
        }
    }

    fn base(&self, policy: &Policy) -> Observation<bool> {
        let as_it_should_be = |known: &Known| known.spec == rules::base(&policy.installation, &policy.sources);
        match self.firewalls.observed(&names::base(&policy.installation)).firewall {
            Observation::Unknown => Observation::Unknown,
            Observation::Absent => Observation::Absent,
            Observation::Present(known) => Observation::Present(as_it_should_be(&known)),
        }
    }
}

/// Whether an environment's droplet is remembered to be there; what is missing is `Absent`, whether that is believed or not.
pub fn in_sight(fleet: &Fleet, id: EnvironmentId, droplet: DropletId) -> Observation<()> {
    let sighting = fleet.sighting(id);
    match sighting.droplets {
        Observation::Present(droplets) if droplets.iter().any(|seen| seen.id == droplet) => Observation::Present(()),
        Observation::Present(_) | Observation::Absent => Observation::Absent,
        Observation::Unknown if !sighting.trust.is_trusted() => Observation::Absent,
        Observation::Unknown => Observation::Unknown,
    }
}

/// How good a read has to be: a port on record is closed only when DigitalOcean's last word says so. Where one would only be made, and
/// none was seen since it was announced, no read of its own is worth its requests: a second one would be refused for its name.
pub fn need(record: Option<&EnvironmentRecord>) -> Need {
    match record.map(|record| (&record.subject, record.firewall.as_deref())) {
        Some((_, None)) => Need::Swept,
        Some((Subject::Row(row), Some(recorded)))
            if recorded.ports.is_empty()
                && recorded.id.is_none()
                && row.spec.desired_state == EnvironmentDesiredState::Active =>
        {
            Need::Swept
        }
        Some((_, Some(recorded))) if recorded.ports.is_empty() => Need::Recent,
        Some((_, Some(_))) | None => Need::Exact,
    }
}

fn recorded(record: Option<&EnvironmentRecord>) -> Option<&str> {
    record?.firewall.as_ref()?.id.as_deref()
}

/// The droplet on record.
pub fn droplet(record: Option<&EnvironmentRecord>) -> Option<DropletId> {
    match &record?.subject {
        Subject::Row(row) => row.status.droplet_id,
        Subject::Tombstone(tombstone) => tombstone.droplet_id,
    }
}

/// Whether a firewall is seen to apply to a droplet.
pub fn applies(firewall: &Seen, droplet: DropletId) -> bool {
    match &firewall.firewall {
        Observation::Present(known) => known.spec.droplet_ids.contains(&droplet.0),
        Observation::Unknown | Observation::Absent => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use model::{ConditionStatus, Environment, EnvironmentSpec, EnvironmentStatus, RecordedFirewall, UserId};
    use std::collections::BTreeMap;

    fn row(desired_state: EnvironmentDesiredState) -> Subject {
        Subject::Row(Environment {
            id: EnvironmentId::random(),
            generation: 1,
            spec: EnvironmentSpec {
                user_id: UserId::random(),
                region: "nyc3".into(),
                size: "s-1vcpu-1gb".into(),
                image: "ubuntu-22-04-x64".into(),
                desired_state,
                paused: false,
            },
            status: EnvironmentStatus::default(),
            last_heartbeat_at: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a record has it")]
    fn recorded(id: Option<&str>, ports: &[u16]) -> Option<Box<RecordedFirewall>> {
        Some(Box::new(RecordedFirewall {
            id: id.map(ToOwned::to_owned),
            announced_at: Timestamp::UNIX_EPOCH,
            epoch: 1,
            ports: ports.iter().copied().collect(),
            closing: BTreeMap::new(),
            state: ConditionStatus::Unknown,
            reason: "Announced".into(),
            message: String::new(),
        }))
    }

    #[test]
    fn only_what_would_be_made_rests_on_a_sweep_and_an_open_port_on_the_last_word() {
        use EnvironmentDesiredState::{Active, Deleted};
        let cases = [
            (Active, None, Need::Swept),
            (Active, recorded(None, &[]), Need::Swept),
            (Active, recorded(Some("fw"), &[]), Need::Recent),
            (Active, recorded(None, &[31_000]), Need::Exact),
            (Active, recorded(Some("fw"), &[31_000]), Need::Exact),
            // Its end follows from its absence.
            (Deleted, recorded(None, &[]), Need::Recent),
        ];
        for (desired_state, firewall, expected) in cases {
            let record = EnvironmentRecord {
                subject: row(desired_state),
                intent: None,
                tools: None,
                firewall,
            };
            assert_eq!(need(Some(&record)), expected, "{desired_state:?} {:?}", record.firewall);
        }
        assert_eq!(need(None), Need::Exact);
    }
}
