//! The fleet as it was last seen: every droplet of this installation, by environment.
//!
//! Owns: the memory of sweeps and of single reads, and telling which environments changed between two of them. Must not: make
//! requests, or judge what a change means. Promises: what was read later is never replaced by what was read earlier, and an
//! environment whose droplets changed, came or went is handed to every subscriber.

use crate::{
    memory::{Sweep, Swept},
    seen::{Loaded, Seen},
    trust::Trust,
};
use futures::Stream;
use jiff::Timestamp;
use model::{DropletId, EnvironmentId, IntentId, Word};
use runtime::{Observation, Wake};
use schema::FleetRow;
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, sync::Arc};

/// Whether a droplet runs, as DigitalOcean says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropletState {
    /// Being made; the next pass looks again.
    New,
    /// Powered on.
    Active,
    /// Powered off; it is powered on again.
    Off,
    /// Archived by DigitalOcean; only a person can help.
    Archived,
}

/// A tag that says whose a droplet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// That any Toolplane made it.
    Toolplane,
    /// That this installation made it.
    Installation,
    /// That it is this environment's.
    Environment,
}

/// What decisions need to know of a droplet. Replicas hand it to each other as JSON, so one of another version may lack a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Droplet {
    /// Its id.
    pub id: DropletId,
    /// Whether it runs.
    pub state: DropletState,
    /// Its public IPv4 address, once it has one.
    pub address: Option<Ipv4Addr>,
    /// When DigitalOcean says that it was made.
    pub created_at: Option<Timestamp>,
    /// Whether its tags name this installation and this environment, and no other. What is not ours is never deleted.
    pub ours: bool,
    /// Which of our tags it lacks and can be given again; none when its tags name another installation or environment.
    pub missing: Box<[Mark]>,
    /// The intent that its tags name.
    pub intent: Option<IntentId>,
    /// Its size's slug.
    pub size: Word,
    /// Its disk in GiB. Grows, and never shrinks.
    pub disk: u32,
    /// Busy with an action: it refuses others.
    pub locked: bool,
    /// Whether its name is the one that it was given when it was made.
    pub named: bool,
}

/// What is known of one environment's droplets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Its droplets, ordered by id; never `Present` of none.
    pub droplets: Observation<Arc<[Droplet]>>,
    /// When they were read; `None` when they never were.
    pub read_at: Option<Timestamp>,
    /// Whether something may follow from what is missing.
    pub trust: Trust,
}

impl Sighting {
    /// Nothing was ever read.
    pub const UNKNOWN: Self = Self {
        droplets: Observation::Unknown,
        read_at: None,
        trust: Trust::Trusted,
    };

    /// What was read at `read_at`, in any order, and believed.
    pub fn new(mut droplets: Vec<Droplet>, read_at: Timestamp) -> Self {
        droplets.sort_unstable_by_key(|droplet| droplet.id);
        droplets.dedup_by_key(|droplet| droplet.id);
        let droplets = if droplets.is_empty() {
            Observation::Absent
        } else {
            Observation::Present(droplets.into())
        };
        Self {
            droplets,
            read_at: Some(read_at),
            trust: Trust::Trusted,
        }
    }
}

/// The shared memory; a cheap clone.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    seen: Arc<Seen<EnvironmentId, Arc<[Droplet]>>>,
}

impl Fleet {
    /// Nothing seen yet: everything is `Unknown`.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is remembered of an environment. Costs a lock and the raising of a count.
    pub fn sighting(&self, environment: EnvironmentId) -> Sighting {
        let view = self.seen.view(&environment);
        Sighting {
            droplets: view.value,
            read_at: view.read_at,
            trust: view.trust,
        }
    }

    /// Remembers one environment's droplets, as read at or after `read_at`. What comes back has the trust of the moment.
    pub fn learn(&self, environment: EnvironmentId, droplets: Vec<Droplet>, read_at: Timestamp) -> Sighting {
        let sighting = Sighting::new(droplets, read_at);
        let droplets = match &sighting.droplets {
            Observation::Present(droplets) => Some(Arc::clone(droplets)),
            Observation::Absent | Observation::Unknown => None,
        };
        let (changed, trust) = self.seen.learn(environment, droplets, read_at);
        if changed {
            self.seen.wake([environment]);
        }
        Sighting { trust, ..sighting }
    }

    /// Takes one complete list of the installation's droplets, all of it believed, whose first page was asked for at `began`.
    /// Environments that were read since then are known better.
    pub fn sweep(&self, droplets: impl IntoIterator<Item = (EnvironmentId, Droplet)>, began: Timestamp) {
        // One buffer for all, since there may be 100,000 of them.
        let mut listed: Vec<(EnvironmentId, Droplet)> = droplets.into_iter().collect();
        listed.sort_unstable_by_key(|(environment, droplet)| (*environment, droplet.id));
        listed.dedup_by_key(|(environment, droplet)| (*environment, droplet.id));
        let groups = listed.chunk_by(|(one, _), (next, _)| one == next);
        let keys = groups.map(|group| {
            let droplets = group.iter().map(|(_, droplet)| droplet.clone());
            (group[0].0, Swept::Seen(droplets.collect()))
        });
        let sweep = Sweep {
            whole: true,
            keys: keys.collect(),
            began: Some(began),
            trust: Trust::Trusted,
        };
        self.seen.take(sweep, |environment| Some(*environment));
    }

    /// Takes what a replica loaded: all rows of each environment that it speaks of.
    pub fn load(
        &self,
        rows: Vec<FleetRow>,
        whole: bool,
        began: Option<Timestamp>,
        trust: Trust,
    ) -> Result<(), serde_json::Error> {
        let loaded = Loaded {
            rows,
            whole,
            began,
            trust,
        };
        let all = |mut droplets: Vec<Droplet>| {
            droplets.sort_unstable_by_key(|droplet| droplet.id);
            (!droplets.is_empty()).then(|| droplets.into())
        };
        self.seen
            .load(loaded, |row| row.environment_id, all, |environment| Some(*environment))
    }

    /// From now on, until a sweep that begins later, what is missing is not believed to be gone.
    pub fn doubt(&self, since: Timestamp, reason: Arc<str>) {
        self.seen.doubt(since, reason);
    }

    /// Whether something may follow from what is missing.
    pub fn trust(&self) -> Trust {
        self.seen.trust()
    }

    /// How many environments were seen to have a droplet.
    pub fn count(&self) -> usize {
        self.seen.present(|present| present.count())
    }

    /// The environments that were seen to have a droplet, in no order.
    pub fn environments(&self) -> Vec<EnvironmentId> {
        self.seen
            .present(|present| present.map(|(environment, _)| *environment).collect())
    }

    /// Forgets an environment that there is no more.
    pub fn forget(&self, environment: EnvironmentId) {
        self.seen.forget(&environment);
    }

    /// Every environment whose droplets change from now on.
    pub fn changes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.seen.changes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use jiff::SignedDuration;

    fn droplet(id: u64) -> Droplet {
        Droplet {
            id: DropletId(id),
            state: DropletState::Active,
            address: None,
            created_at: None,
            ours: true,
            missing: Box::default(),
            intent: None,
            size: "s-1vcpu-1gb".into(),
            disk: 25,
            locked: false,
            named: true,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn before_the_first_sweep_nothing_is_known_and_after_it_the_rest_is_absent() {
        let (fleet, environment) = (Fleet::new(), EnvironmentId::random());
        assert_eq!(fleet.sighting(environment), Sighting::UNKNOWN);
        fleet.sweep([(EnvironmentId::random(), droplet(1))], at(5));
        assert_eq!(fleet.sighting(environment), Sighting::new(Vec::new(), at(5)));
    }

    #[test]
    fn a_sweep_does_not_undo_what_was_read_after_it_began() {
        let (fleet, environment) = (Fleet::new(), EnvironmentId::random());
        fleet.learn(environment, vec![droplet(7)], at(10));
        fleet.sweep([], at(9));
        assert_eq!(fleet.sighting(environment), Sighting::new(vec![droplet(7)], at(10)));
        fleet.sweep([(environment, droplet(6))], at(9));
        assert_eq!(fleet.sighting(environment), Sighting::new(vec![droplet(7)], at(10)));
        fleet.sweep([], at(11));
        assert_eq!(fleet.sighting(environment), Sighting::new(Vec::new(), at(11)));
        fleet.sweep([(environment, droplet(7))], at(8));
        assert_eq!(
            fleet.sighting(environment).read_at,
            Some(at(11)),
            "an overtaken sweep is no news"
        );
    }

    #[test]
    fn only_what_changed_is_woken() {
        let (fleet, same, gone, fresh) = (
            Fleet::new(),
            EnvironmentId::random(),
            EnvironmentId::random(),
            EnvironmentId::random(),
        );
        fleet.sweep([(same, droplet(1)), (gone, droplet(2))], at(1));
        let mut changes = Box::pin(fleet.changes());
        fleet.sweep([(same, droplet(1)), (fresh, droplet(3))], at(2));
        let mut woken = Vec::new();
        while let Some(Some(wake)) = changes.next().now_or_never() {
            woken.push(wake.key);
        }
        woken.sort_unstable();
        let mut expected = vec![gone, fresh];
        expected.sort_unstable();
        assert_eq!(woken, expected);
        assert_eq!(fleet.sighting(same).read_at, Some(at(2)), "unchanged, but seen again");
    }
}
