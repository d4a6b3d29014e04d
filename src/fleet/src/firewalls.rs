//! The account's firewalls as they were last seen, by name.
//!
//! Owns: the memory of sweeps and of single reads. Must not: make requests. Promises: what was read later is never replaced by
//! what was read earlier, and a firewall that changed, came or went wakes its environment.

use crate::{
    memory::{Memory, Sweep, Swept, View},
    names::owner,
    spelling::normalised,
    trust::Trust,
    wakes::Wakes,
};
use digitalocean::{Firewall, FirewallSpec, FirewallStatus};
use futures::Stream;
use jiff::Timestamp;
use model::{EnvironmentId, InstallationId};
use runtime::{Observation, Wake};
use schema::{FleetRow, Standing};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

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
    /// When that was read; `None` when it never was.
    pub read_at: Option<Timestamp>,
    /// Whether something may follow from what is missing.
    pub trust: Trust,
}

impl From<View<Arc<Known>>> for Observed {
    fn from(view: View<Arc<Known>>) -> Self {
        Self {
            firewall: view.value,
            read_at: view.read_at,
            trust: view.trust,
        }
    }
}

/// The shared memory; a cheap clone.
#[derive(Clone, Debug)]
pub struct Firewalls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    installation: InstallationId,
    seen: RwLock<Memory<String, Arc<Known>>>,
    wakes: Wakes,
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
        seen.view(name).into()
    }

    /// Remembers one firewall, or that there is none of this name, as read at or after `read_at`. What comes back has the trust
    /// of the moment.
    pub fn learn(&self, name: &str, firewall: Option<Firewall>, read_at: Timestamp) -> Observed {
        let known = firewall.map(|firewall| Arc::new(Known::from(firewall)));
        let mut seen = self.write();
        // Whoever learns it works on it, and need not be woken.
        seen.learn(name.to_owned(), known.clone(), read_at);
        Observed {
            trust: if known.is_some() { Trust::Trusted } else { seen.trust() },
            firewall: known.map_or(Observation::Absent, Observation::Present),
            read_at: Some(read_at),
        }
    }

    /// Takes one complete list of the account's firewalls, all of it believed, asked for at `began`. What was read since then is
    /// known better.
    pub fn sweep(&self, listed: Vec<Firewall>, began: Timestamp) {
        let keys = listed.into_iter().map(|firewall| {
            let known = Known::from(firewall);
            (known.spec.name.clone(), Swept::Seen(Arc::new(known)))
        });
        self.take(Sweep {
            whole: true,
            keys: keys.collect(),
            began: Some(began),
            trust: Trust::Trusted,
        });
    }

    /// Takes what a replica loaded.
    pub fn load(
        &self,
        rows: Vec<FleetRow>,
        whole: bool,
        began: Option<Timestamp>,
        trust: Trust,
    ) -> Result<(), serde_json::Error> {
        let keys = rows.into_iter().map(|row| {
            let swept = match row.standing {
                Standing::Seen => Swept::Seen(Arc::new(serde_json::from_value(row.seen)?)),
                Standing::Missing => Swept::Missing(Arc::new(serde_json::from_value(row.seen)?)),
                Standing::Gone | Standing::Removed => Swept::Gone,
            };
            Ok((row.key, swept))
        });
        let keys = keys.collect::<Result<_, serde_json::Error>>()?;
        self.take(Sweep {
            whole,
            keys,
            began,
            trust,
        });
        Ok(())
    }

    /// Whether something may follow from what is missing.
    pub fn trust(&self) -> Trust {
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.trust()
    }

    /// Every remembered firewall that is an environment's by its name.
    pub fn owned(&self) -> Vec<(EnvironmentId, Arc<Known>)> {
        let seen = self.shared.seen.read().unwrap_or_else(PoisonError::into_inner);
        let owned = seen.present();
        owned
            .filter_map(|(name, known)| Some((owner(&self.shared.installation, name)?, Arc::clone(known))))
            .collect()
    }

    /// The environments whose firewall changes from now on.
    pub fn changes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.shared.wakes.subscribe()
    }

    fn take(&self, sweep: Sweep<String, Arc<Known>>) {
        let changed = self.write().sweep(sweep);
        let owners = changed.iter().filter_map(|name| owner(&self.shared.installation, name));
        self.shared.wakes.wake(owners);
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory<String, Arc<Known>>> {
        self.shared.seen.write().unwrap_or_else(PoisonError::into_inner)
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
