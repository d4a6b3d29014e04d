//! When what was read before serves whoever is about to act as well as a new read would.
//!
//! Owns: the cases, and how old is too old. Must not: do I/O, read a clock. Promises: "absent" serves only of what was never announced;
//! nothing that is read while a tool's port may be open serves again.

use crate::{droplets::Sighting, firewalls::Observed, read::known};
use digitalocean::Budget;
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentDesiredState, EnvironmentPhase, EnvironmentRecord, record::Subject};
use runtime::Observation;

/// How good a read of a firewall has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It was never announced, so there can be none since the last sweep; names are unique, so a second one would be refused.
    Swept,
    /// Nothing hangs on the moment: what was read a moment ago, or a list with others.
    Recent,
    /// The last word.
    Exact,
}

/// How old a read may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Of what is on its way and was seen.
    pub recent: SignedDuration,
    /// Of what was never announced, and was not seen.
    pub swept: SignedDuration,
}

impl Default for Freshness {
    /// Five seconds: lists lag by more than that, so whoever decides has to bear it. And a minute, so that one sweep that failed
    /// changes nothing.
    fn default() -> Self {
        Self {
            recent: SignedDuration::from_secs(5),
            swept: SignedDuration::from_mins(1),
        }
    }
}

impl Freshness {
    /// At this moment: while requests are short, what one sweep saw serves until the next one.
    pub fn of(budget: &Budget) -> Self {
        let minute = SignedDuration::try_from(budget.minute()).unwrap_or(SignedDuration::MAX);
        Self {
            recent: if budget.is_short() { minute } else { minute / 12 },
            swept: minute,
        }
    }

    /// Whether what is known of an environment's droplets serves: one that is on its way and was seen a moment ago, or none where
    /// none was ever asked for. `unsent` says that the create of the latest intent surely was not sent.
    pub fn droplets_serve(&self, record: &EnvironmentRecord, sighting: &Sighting, unsent: bool, now: Timestamp) -> bool {
        let Some(read_at) = sighting.read_at else { return false };
        let age = now.duration_since(read_at);
        match &sighting.droplets {
            Observation::Present(_) => is_launching(record) && age < self.recent,
            Observation::Absent => {
                // The first intent has the first epoch.
                let never = record.intent.as_ref().is_none_or(|intent| unsent && intent.epoch == 1);
                never && known(record) == [None, None] && sighting.trust.is_trusted() && age < self.swept
            }
            Observation::Unknown => false,
        }
    }

    /// Whether what is known of a firewall serves.
    pub fn firewall_serves(&self, need: Need, observed: &Observed, now: Timestamp) -> bool {
        let Some(read_at) = observed.read_at else { return false };
        let age = now.duration_since(read_at);
        match (need, &observed.firewall) {
            (Need::Swept, Observation::Absent) => observed.trust.is_trusted() && age < self.swept,
            (Need::Swept | Need::Recent, Observation::Present(_)) => age < self.recent,
            (Need::Recent, Observation::Absent) | (Need::Swept | Need::Recent, Observation::Unknown) | (Need::Exact, _) => false,
        }
    }
}

/// Whether its droplet is on its way, and nothing is on it yet.
fn is_launching(record: &EnvironmentRecord) -> bool {
    let Subject::Row(row) = &record.subject else { return false };
    let wanted = match row.spec.desired_state {
        EnvironmentDesiredState::Active => true,
        EnvironmentDesiredState::Deleted => false,
    };
    let launching = match row.status.phase {
        EnvironmentPhase::PendingCreation | EnvironmentPhase::Creating | EnvironmentPhase::ErrorCreation => true,
        EnvironmentPhase::Active
        | EnvironmentPhase::Unresponsive
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting
        | EnvironmentPhase::Deleted
        | EnvironmentPhase::ErrorDeletion => false,
    };
    wanted && launching
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{firewalls::Known, trust::Trust};
    use digitalocean::FirewallSpec;
    use std::sync::Arc;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn firewall(firewall: Observation<()>, trust: Trust) -> Observed {
        let known = Known {
            id: "fw".to_owned(),
            spec: FirewallSpec::default(),
            settled: true,
        };
        Observed {
            firewall: match firewall {
                Observation::Unknown => Observation::Unknown,
                Observation::Absent => Observation::Absent,
                Observation::Present(()) => Observation::Present(Arc::new(known)),
            },
            settling_since: None,
            read_at: Some(at(0)),
            trust,
        }
    }

    #[test]
    fn the_last_word_is_never_remembered_and_absent_serves_only_what_was_never_announced() {
        use Observation::{Absent, Present, Unknown};
        let doubt = || Trust::Withheld {
            since: at(0),
            reason: "test".into(),
        };
        let cases = [
            (Need::Swept, Absent, 59, true),
            (Need::Swept, Absent, 60, false),
            (Need::Swept, Present(()), 4, true),
            (Need::Swept, Unknown, 0, false),
            (Need::Recent, Absent, 0, false),
            (Need::Recent, Present(()), 4, true),
            (Need::Recent, Present(()), 5, false),
            (Need::Exact, Present(()), 0, false),
            (Need::Exact, Absent, 0, false),
        ];
        for (need, seen, age, expected) in cases {
            let serves = Freshness::default().firewall_serves(need, &firewall(seen, Trust::Trusted), at(age));
            assert_eq!(serves, expected, "{need:?} {seen:?} {age}");
        }
        let absent = firewall(Absent, doubt());
        assert!(!Freshness::default().firewall_serves(Need::Swept, &absent, at(0)), "in doubt");
    }
}
