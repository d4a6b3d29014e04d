//! When what was read before serves whoever is about to act as well as a new read would.
//!
//! Owns: the cases, and how old is too old. Must not: do I/O, read a clock. Promises: "absent" serves only of what was never announced,
//! and of a firewall that was never seen, whose name a second one could not have; nothing that is read while a tool's port may be open serves again.

use crate::{droplets::Sighting, firewalls::Observed, read::known};
use digitalocean::Budget;
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentDesiredState, EnvironmentPhase, EnvironmentRecord, record::Subject};
use runtime::Observation;

/// How good a read of a firewall has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is only to be made: what the last sweep did not show was never announced, or never seen. Names are unique, so a second one
    /// would be refused, and then it is read.
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
    /// At this moment: while requests are short, what one sweep saw serves until the next one, which comes late then.
    pub fn of(budget: &Budget) -> Self {
        let minute = SignedDuration::try_from(budget.minute()).unwrap_or(SignedDuration::MAX);
        let (recent, swept) = if budget.is_short() {
            (minute * 2, minute * 2)
        } else {
            (minute / 12, minute)
        };
        Self { recent, swept }
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
pub(crate) fn is_launching(record: &EnvironmentRecord) -> bool {
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
    use crate::{droplets::Droplet, firewalls::Known, trust::Trust};
    use digitalocean::FirewallSpec;
    use model::{
        DropletId, Environment, EnvironmentId, EnvironmentSpec, EnvironmentStatus, Intent, IntentId, IntentKind, UserId,
    };
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

    fn record(phase: EnvironmentPhase, desired_state: EnvironmentDesiredState, epoch: Option<i64>) -> EnvironmentRecord {
        let id = EnvironmentId::random();
        let environment = Environment {
            id,
            generation: 1,
            spec: EnvironmentSpec {
                user_id: UserId::random(),
                region: "nyc3".into(),
                size: "s-1vcpu-1gb".into(),
                image: "ubuntu-22-04-x64".into(),
                desired_state,
                paused: false,
            },
            status: EnvironmentStatus {
                phase,
                ..EnvironmentStatus::default()
            },
            last_heartbeat_at: None,
            created_at: at(0),
            updated_at: at(0),
        };
        let intent = epoch.map(|epoch| Intent {
            id: IntentId::random(),
            environment_id: id,
            kind: IntentKind::Create,
            epoch,
            announced_at: at(0),
            droplet_id: None,
            enrolment_expires_at: at(3600),
            enrolled_key: None,
            outcome: None,
        });
        EnvironmentRecord {
            subject: Subject::Row(environment),
            intent: intent.map(Box::new),
            tools: None,
            firewall: None,
        }
    }

    fn serves(record: &EnvironmentRecord, droplets: Observation<Vec<Droplet>>, trust: Trust, unsent: bool, age: i64) -> bool {
        let sighting = Sighting {
            droplets: match droplets {
                Observation::Unknown => Observation::Unknown,
                Observation::Absent => Observation::Absent,
                Observation::Present(droplets) => Observation::Present(droplets.into()),
            },
            read_at: Some(at(0)),
            trust,
        };
        Freshness::default().droplets_serve(record, &sighting, unsent, at(age))
    }

    #[test]
    fn a_droplet_that_was_seen_serves_for_moments_while_it_is_on_its_way() {
        use EnvironmentDesiredState::{Active, Deleted};
        let cases = [
            (EnvironmentPhase::Creating, Active, 4, true),
            (EnvironmentPhase::Creating, Active, 5, false),
            // What is done to one with tools on it, or to one that is to go, rests on this moment.
            (EnvironmentPhase::Active, Active, 0, false),
            (EnvironmentPhase::Unresponsive, Active, 0, false),
            (EnvironmentPhase::Creating, Deleted, 0, false),
        ];
        for (phase, desired, age, expected) in cases {
            let found = serves(
                &record(phase, desired, Some(1)),
                Observation::Present(Vec::new()),
                Trust::Trusted,
                false,
                age,
            );
            assert_eq!(found, expected, "{phase:?} {desired:?} {age}");
        }
    }

    #[test]
    fn that_there_is_none_serves_only_where_none_was_ever_asked_for() {
        let launching = |epoch| record(EnvironmentPhase::PendingCreation, EnvironmentDesiredState::Active, epoch);
        let doubt = || Trust::Withheld {
            since: at(0),
            reason: "test".into(),
        };
        let serves = |record: &EnvironmentRecord, trust, unsent, age| serves(record, Observation::Absent, trust, unsent, age);
        assert!(serves(&launching(None), Trust::Trusted, false, 59));
        assert!(!serves(&launching(None), Trust::Trusted, false, 60), "too old");
        assert!(!serves(&launching(None), doubt(), false, 0), "in doubt");
        assert!(serves(&launching(Some(1)), Trust::Trusted, true, 59), "surely not sent");
        assert!(!serves(&launching(Some(1)), Trust::Trusted, false, 0), "perhaps sent");
        assert!(!serves(&launching(Some(2)), Trust::Trusted, true, 0), "there was one before");
        for known in ["recorded", "answered"] {
            let mut record = launching(Some(1));
            match (&mut record.subject, &mut record.intent) {
                (Subject::Row(row), _) if known == "recorded" => row.status.droplet_id = Some(DropletId(7)),
                (_, Some(intent)) => intent.droplet_id = Some(DropletId(7)),
                (_, None) => unreachable!(),
            }
            assert!(!serves(&record, Trust::Trusted, true, 0), "{known}: its id can be asked for");
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
