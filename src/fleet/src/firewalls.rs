//! The account's firewalls as they were last seen, by name.
//!
//! Owns: the memory of sweeps and of single reads. Must not: make requests. Promises: what was read later is never replaced by
//! what was read earlier, and a firewall that changed, came or went wakes its environment.

use crate::{names::owner, spelling::normalised, trust::Trust, wakes::Wakes};
use digitalocean::{Firewall, FirewallSpec, FirewallStatus};
use futures::Stream;
use jiff::Timestamp;
use model::{EnvironmentId, InstallationId};
use runtime::{Observation, Wake};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// A firewall as decisions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    seen: RwLock<Seen>,
    wakes: Wakes,
}

#[derive(Debug, Default)]
struct Seen {
    swept_at: Option<Timestamp>,
    by_name: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    firewall: Option<Arc<Known>>,
    read_at: Timestamp,
}

impl Firewalls {
    /// Nothing seen yet.
    pub fn new(installation: InstallationId) -> Self {
        Self {
            shared: Arc::new(Shared {
                installation,
                seen: RwLock::default(),
                wakes: Wakes::default(),
            }),
        }
    }

    /// What is remembered of the firewall with this name.
    pub fn observed(&self, name: &str) -> Observed {
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        match (seen.by_name.get(name), seen.swept_at) {
            (Some(entry), swept) => Observed {
                firewall: entry
                    .firewall
                    .as_ref()
                    .map_or(Observation::Absent, |known| Observation::Present(Arc::clone(known))),
                read_at: Some(swept.map_or(entry.read_at, |swept| swept.max(entry.read_at))),
                trust: Trust::Trusted,
            },
            (None, Some(swept)) => Observed {
                firewall: Observation::Absent,
                read_at: Some(swept),
                trust: Trust::Trusted,
            },
            (None, None) => Observed {
                firewall: Observation::Unknown,
                read_at: None,
                trust: Trust::Trusted,
            },
        }
    }

    /// Remembers one firewall, or that there is none of this name, as read at or after `read_at`.
    pub fn learn(&self, name: &str, firewall: Option<Firewall>, read_at: Timestamp) -> Observed {
        let known = firewall.map(|firewall| Arc::new(Known::from(firewall)));
        let mut seen = self.shared.seen.write().unwrap_or_else(PoisonError::into_inner);
        let newer = seen.by_name.get(name).is_some_and(|entry| entry.read_at > read_at);
        if !newer {
            let entry = Entry {
                firewall: known.clone(),
                read_at,
            };
            seen.by_name.insert(name.to_owned(), entry);
        }
        Observed {
            firewall: known.map_or(Observation::Absent, Observation::Present),
            read_at: Some(read_at),
            trust: Trust::Trusted,
        }
    }

    /// Takes one complete list of the account's firewalls, asked for at `began`. Entries that were read since then stay.
    pub fn sweep(&self, listed: Vec<Firewall>, began: Timestamp) {
        let mut listed: HashMap<String, Known> = listed
            .into_iter()
            .map(|firewall| (firewall.spec.name.clone(), firewall.into()))
            .collect();
        let mut changed = Vec::new();
        {
            let mut seen = self.shared.seen.write().unwrap_or_else(PoisonError::into_inner);
            if seen.swept_at.is_some_and(|swept| swept > began) {
                return;
            }
            seen.swept_at = Some(began);
            seen.by_name.retain(|name, entry| {
                if entry.read_at > began {
                    listed.remove(name);
                    return true;
                }
                match (listed.remove(name), &entry.firewall) {
                    (Some(known), Some(before)) if known == **before => true,
                    (Some(known), _) => {
                        entry.firewall = Some(Arc::new(known));
                        changed.push(name.clone());
                        true
                    }
                    (None, before) => {
                        changed.extend(before.is_some().then(|| name.clone()));
                        false
                    }
                }
            });
            for (name, known) in listed {
                changed.push(name.clone());
                let entry = Entry {
                    firewall: Some(Arc::new(known)),
                    read_at: began,
                };
                seen.by_name.insert(name, entry);
            }
        }
        self.wake(&changed);
    }

    /// Every remembered firewall that is an environment's by its name.
    pub fn owned(&self) -> Vec<(EnvironmentId, Arc<Known>)> {
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        let known = seen.by_name.iter();
        known
            .filter_map(|(name, entry)| Some((owner(&self.shared.installation, name)?, Arc::clone(entry.firewall.as_ref()?))))
            .collect()
    }

    /// The environments whose firewall changes from now on.
    pub fn changes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.shared.wakes.subscribe()
    }

    fn wake(&self, names: &[String]) {
        let owners = names.iter().filter_map(|name| owner(&self.shared.installation, name));
        self.shared.wakes.wake(owners);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names;
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
