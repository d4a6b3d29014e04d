//! The account's firewalls as they were last seen, by name.
//!
//! Owns: the memory of sweeps and of single reads. Must not: make requests. Promises: what was read later is never replaced by
//! what was read earlier, and a firewall that changed, came or went wakes its environment.

use crate::{
    memory::{Sweep, Swept, View},
    names::{self, owner},
    seen::{Loaded, Seen},
    spelling::normalised,
    trust::Trust,
};
use digitalocean::{Firewall, FirewallSpec, FirewallStatus};
use futures::Stream;
use jiff::Timestamp;
use model::{EnvironmentId, InstallationId};
use runtime::{Observation, Wake};
use schema::FleetRow;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A firewall as decisions see it. Replicas hand it to each other as JSON, so one of another version may lack a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// What it is, normalised.
    pub spec: FirewallSpec,
    /// Whether it is in force on every droplet that it applies to. Until then the rules from before count.
    pub settled: bool,
}

impl From<Firewall> for Known {
    fn from(firewall: Firewall) -> Self {
        Self {
            settled: firewall.status == FirewallStatus::Succeeded && firewall.pending_changes.is_empty(),
            id: firewall.id,
            spec: normalised(firewall.spec),
        }
    }
}

/// What is known of one firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The firewall.
    pub firewall: Observation<Arc<Known>>,
    /// Since when it is as it is without being in force everywhere; `None` when it is in force, or nobody followed it.
    pub settling_since: Option<Timestamp>,
    /// When that was read; `None` when it never was.
    pub read_at: Option<Timestamp>,
    /// Whether something may follow from what is missing.
    pub trust: Trust,
}

/// The shared memory; a cheap clone.
#[derive(Clone, Debug)]
pub struct Firewalls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    installation: InstallationId,
    seen: Seen<String, Arc<Known>>,
    /// Since when what is not in force yet is as it is.
    settling: Mutex<HashMap<String, Timestamp>>,
    /// Why the base firewall is not as it should be, as whoever works on it was told.
    base_failure: Mutex<Option<Arc<str>>>,
}

impl Firewalls {
    /// Nothing seen yet.
    pub fn new(installation: InstallationId) -> Self {
        Self {
            shared: Arc::new(Shared {
                installation,
                seen: Seen::default(),
                settling: Mutex::default(),
                base_failure: Mutex::default(),
            }),
        }
    }

    /// What is remembered of the firewall with this name.
    pub fn observed(&self, name: &str) -> Observed {
        let View { value, read_at, trust } = self.shared.seen.view(name);
        let settling = matches!(&value, Observation::Present(known) if !known.settled);
        Observed {
            settling_since: if settling { self.settling().get(name).copied() } else { None },
            firewall: value,
            read_at,
            trust,
        }
    }

    /// Remembers one firewall, or that there is none of this name, as read at or after `read_at`. What comes back has the trust
    /// of the moment. Whoever learns it works on it, and is not woken.
    pub fn learn(&self, name: &str, firewall: Option<Firewall>, read_at: Timestamp) -> Observed {
        let known = firewall.map(|firewall| Arc::new(Known::from(firewall)));
        let settling_since = self.follow(name, known.as_deref(), read_at);
        let (_, trust) = self.shared.seen.learn(name.to_owned(), known.clone(), read_at);
        Observed {
            firewall: known.map_or(Observation::Absent, Observation::Present),
            settling_since,
            read_at: Some(read_at),
            trust,
        }
    }

    /// Remembers a firewall that was read on the way. Whoever works on it is woken when it is another than was known.
    pub(crate) fn pass_by(&self, name: &str, firewall: Firewall, read_at: Timestamp) {
        let known = Arc::new(Known::from(firewall));
        self.follow(name, Some(&known), read_at);
        let (changed, _) = self.shared.seen.learn(name.to_owned(), Some(known), read_at);
        if changed {
            self.shared.seen.wake(owner(&self.shared.installation, name));
        }
    }

    /// Takes over why the base firewall is not as it should be, `None` once it is. Whoever has a firewall is woken to tell it.
    pub fn base_failed(&self, why: Option<&str>) {
        {
            let mut known = self.shared.base_failure.lock().unwrap_or_else(PoisonError::into_inner);
            if known.as_deref() == why {
                return;
            }
            *known = why.map(Arc::from);
        }
        self.wake_all();
    }

    /// Why the base firewall is not as it should be, if whoever works on it tried in vain to make it so.
    pub fn base_failure(&self) -> Option<Arc<str>> {
        let known = self.shared.base_failure.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Every environment with a firewall tells how the base firewall is.
    fn wake_all(&self) {
        self.shared.seen.wake(self.owned().into_iter().map(|(id, _)| id));
    }

    /// Since when it is as it is without being in force.
    fn follow(&self, name: &str, next: Option<&Known>, read_at: Timestamp) -> Option<Timestamp> {
        let before = self.shared.seen.view(name).value;
        let mut settling = self.settling();
        let Some(next) = next.filter(|known| !known.settled) else {
            settling.remove(name);
            return None;
        };
        let same = matches!(&before, Observation::Present(known) if !known.settled && known.spec == next.spec);
        if !same {
            settling.remove(name);
        }
        Some(*settling.entry(name.to_owned()).or_insert(read_at))
    }

    /// Takes one complete list of the account's firewalls, all of it believed, asked for at `began`. What was read since then is
    /// known better.
    pub fn sweep(&self, listed: Vec<Firewall>, began: Timestamp) {
        let keys = listed.into_iter().map(|firewall| {
            let known = Known::from(firewall);
            (known.spec.name.clone(), Swept::Seen(Arc::new(known)))
        });
        let sweep = Sweep {
            whole: true,
            keys: keys.collect(),
            began: Some(began),
            trust: Trust::Trusted,
        };
        self.shared.seen.take(sweep, |name| owner(&self.shared.installation, name));
    }

    /// Takes what a replica loaded.
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
        let one = |mut known: Vec<Known>| known.pop().map(Arc::new);
        let owner = |name: &String| owner(&self.shared.installation, name);
        let base = names::base(&self.shared.installation);
        let before = self.shared.seen.view(&base).value;
        self.shared.seen.load(loaded, |row| Some(row.key.clone()), one, owner)?;
        if self.shared.seen.view(&base).value != before {
            self.wake_all();
        }
        Ok(())
    }

    /// Whether something may follow from what is missing.
    pub fn trust(&self) -> Trust {
        self.shared.seen.trust()
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.shared.seen.present(|present| present.count())
    }

    /// Every remembered firewall that is an environment's by its name.
    pub fn owned(&self) -> Vec<(EnvironmentId, Arc<Known>)> {
        let owned = |(name, known): (&String, &Arc<Known>)| Some((owner(&self.shared.installation, name)?, Arc::clone(known)));
        self.shared.seen.present(|present| present.filter_map(owned).collect())
    }

    /// The environments whose firewall changes from now on.
    pub fn changes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.shared.seen.changes()
    }

    fn settling(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.shared.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};
    use jiff::SignedDuration;
    use std::pin::pin;

    fn firewall(name: &str, tags: &[&str]) -> Firewall {
        Firewall {
            id: format!("id of {name}"),
            status: digitalocean::FirewallStatus::Succeeded,
            created_at: None,
            pending_changes: Vec::new(),
            spec: FirewallSpec {
                name: name.to_owned(),
                tags: tags.iter().map(ToString::to_string).collect(),
                ..FirewallSpec::default()
            },
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn only_what_changed_is_woken_and_the_later_read_stays() {
        let installation: InstallationId = "demo".parse().unwrap();
        let ids: Vec<EnvironmentId> = (0..4).map(|_| EnvironmentId::random()).collect();
        let names: Vec<String> = ids.iter().map(|id| names::environment(&installation, *id)).collect();
        let firewalls = Firewalls::new(installation);
        assert_eq!(firewalls.observed(&names[0]).firewall, Observation::Unknown);
        firewalls.sweep(
            vec![firewall(&names[0], &[]), firewall(&names[1], &[]), firewall(&names[2], &[])],
            at(1),
        );
        firewalls.learn(&names[3], Some(firewall(&names[3], &[])), at(5));
        let mut changes = pin!(firewalls.changes());
        firewalls.sweep(
            vec![
                firewall(&names[0], &[]),
                firewall(&names[1], &["edited"]),
                firewall("foreign", &[]),
            ],
            at(4),
        );
        let mut woken = Vec::new();
        while let Some(Some(wake)) = changes.next().now_or_never() {
            woken.push(wake.key);
        }
        woken.sort_unstable();
        let mut expected = vec![ids[1], ids[2]];
        expected.sort_unstable();
        assert_eq!(woken, expected);
        assert_eq!(firewalls.observed(&names[2]).firewall, Observation::Absent);
        assert!(matches!(firewalls.observed(&names[3]).firewall, Observation::Present(_)));
    }
}
