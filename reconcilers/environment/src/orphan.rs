//! Orphans: droplets whose tags name this installation and an environment that has neither a row nor a tombstone. They are billed
//! and nobody knows of them, so they go.
//!
//! Owns: their end. Must not: touch a droplet of an environment that is on record, which is the environment reconciler's. Promises:
//! a droplet goes only when the database itself says that there is no record, when it has been older and in sight without one for
//! longer than the lag window, and when its tags say so at that moment; and none goes while so many seem to be orphans that the
//! database is rather the wrong one.

use crate::{
    Policy,
    act::delete_ours,
    action::{Action, Cause},
    failure,
    outbox::{Outbox, Outgoing},
    status::event,
};
use digitalocean::{Client, DropletFilter};
use fleet::{Droplet, Fleet, Limits, read};
use futures::{Stream, StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, EnvironmentRecord, EventType, InstallationId, tags};
use runtime::{Error, Failure, Hold, Observation, Plan, Read, Reason, Reconciler, Store, Wake};
use schema::{Database, LeaseKeeper};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// How soon an orphan is looked at again.
const RECHECK: SignedDuration = SignedDuration::from_secs(10);

/// What the reconciler works with.
#[derive(Clone, Debug)]
pub struct Orphans {
    /// Says whether an environment is on record.
    pub database: Database,
    /// Say which shards are this process's.
    pub leases: LeaseKeeper,
    /// Deletes.
    pub client: Client,
    /// Shows the droplets.
    pub fleet: Fleet,
    /// The records of the shards that `leases` holds.
    pub records: Store<EnvironmentId, EnvironmentRecord>,
    /// Whose droplets.
    pub installation: InstallationId,
    /// The durations to decide by.
    pub policy: Policy,
    /// How many orphans at once are too many to be believed.
    pub limits: Limits,
}

/// The reconciler. One for each process.
#[derive(Debug)]
pub struct OrphanReconciler {
    parts: Orphans,
    outbox: Outbox,
    /// Since when each was in sight without a record.
    since: Mutex<HashMap<EnvironmentId, Instant>>,
    crowd: Arc<AtomicBool>,
    started: Instant,
}

/// What is seen of an environment that is not on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphaned {
    /// Its droplets.
    pub droplets: Observation<Arc<[Droplet]>>,
    /// For how long this process has seen them without a record, by its own monotonic clock.
    pub age: SignedDuration,
    /// So many are orphans at once that none is believed to be one.
    pub crowd: bool,
    /// What was deleted already.
    pub outgoing: Outgoing,
}

/// Decides about one environment that is not on record: its droplets go, once each is surely an orphan.
pub fn decide(policy: &Policy, id: EnvironmentId, seen: &Orphaned, now: Timestamp) -> Plan<Action, ()> {
    let droplets = match &seen.droplets {
        Observation::Unknown | Observation::Absent => return Plan::noop(),
        Observation::Present(droplets) => droplets,
    };
    let old = |droplet: &&Droplet| {
        let created = droplet.created_at.map(|created| now.duration_since(created));
        created.is_some_and(|age| age >= policy.lag_window) && seen.age >= policy.lag_window
    };
    let due = |droplet: &&Droplet| {
        let accepted = seen.outgoing.deleted_for(droplet.id);
        accepted.is_none_or(|age| age >= policy.lag_window)
    };
    let orphans = droplets.iter().filter(|droplet| droplet.ours && !seen.crowd);
    let deletes = orphans.filter(old).filter(due).map(|droplet| Action::DeleteDroplet {
        droplet: droplet.id,
        cause: Cause::Orphan(id),
    });
    Plan {
        actions: deletes.collect(),
        status: None,
        requeue: Some(RECHECK),
    }
}

impl OrphanReconciler {
    /// One that has seen nothing yet.
    pub fn new(parts: Orphans) -> Self {
        Self {
            parts,
            outbox: Outbox::default(),
            since: Mutex::default(),
            crowd: Arc::default(),
            started: Instant::now(),
        }
    }

    /// The environments of the fleet that have no record, once in `every`.
    pub fn wakes(&self, every: Duration) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = (ticks, self.parts.clone(), Arc::clone(&self.crowd));
        let found = stream::unfold(state, async |(mut ticks, parts, crowd)| {
            ticks.tick().await;
            let orphans = orphans(&parts, &crowd);
            Some((stream::iter(orphans), (ticks, parts, crowd)))
        });
        Box::pin(found.flatten().map(|id| Wake::now(id, Reason::Related)))
    }

    /// Takes over what was seen before this process began: orphans of so many droplets' environments, each with for how long it
    /// has been in sight.
    pub fn recall(&self, orphans: impl IntoIterator<Item = (EnvironmentId, SignedDuration)>, known: usize) {
        let now = Instant::now();
        let mut since = self.since();
        for (id, age) in orphans {
            let age = Duration::try_from(age).unwrap_or_default();
            // A machine that was started later than that has no such instant; it was long ago all the same.
            since.insert(id, now.checked_sub(age).unwrap_or(self.started));
        }
        self.crowd
            .store(self.parts.limits.exceeded(since.len(), known), Ordering::Relaxed);
    }

    /// Whether so many are orphans at once that none is believed to be one.
    pub fn is_crowd(&self) -> bool {
        self.crowd.load(Ordering::Relaxed)
    }

    fn moment(&self) -> SignedDuration {
        SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX)
    }

    /// For how long this one was seen without a record.
    fn age(&self, id: EnvironmentId) -> SignedDuration {
        let since = *self.since().entry(id).or_insert_with(Instant::now);
        SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX)
    }

    fn since(&self) -> MutexGuard<'_, HashMap<EnvironmentId, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is nothing to remember of this one.
    fn forget(&self, id: EnvironmentId) {
        self.since().remove(&id);
        self.outbox.clear(id);
    }
}

/// The environments in sight that have no record as far as memory tells, of the shards that are held.
fn orphans(parts: &Orphans, crowd: &AtomicBool) -> Vec<EnvironmentId> {
    if !parts.records.is_ready() {
        return Vec::new();
    }
    let mut seen = parts.fleet.environments();
    seen.retain(|id| parts.leases.fence(id.shard()).is_some());
    let known = seen.len();
    seen.retain(|id| parts.records.get(id).is_none());
    let many = parts.limits.exceeded(seen.len(), known);
    if crowd.swap(many, Ordering::Relaxed) != many && many {
        tracing::error!(
            orphans = seen.len(),
            droplets = known,
            "so many droplets belong to no environment of this database that none is destroyed; is it the right one?"
        );
    }
    seen
}

impl Reconciler for OrphanReconciler {
    type Key = EnvironmentId;
    type Desired = ();
    type Observed = (EnvironmentId, Orphaned);
    type Action = Action;
    type Status = ();

    const KIND: &'static str = "orphan";

    fn hold(&self, key: &EnvironmentId) -> Option<Hold> {
        self.parts.leases.hold(key.shard()).map(Hold::new)
    }

    /// There is something to do for what is *not* on record.
    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<()>, Error> {
        let on_record = match read {
            Read::Cached => {
                let held = self.parts.leases.fence(key.shard()).is_some();
                !held || !self.parts.records.is_ready() || self.parts.records.get(key).is_some()
            }
            Read::Authoritative => {
                let record = self.parts.database.record_get(*key).await;
                record.map_err(|error| Error::from(&error))?.is_some()
            }
        };
        if on_record {
            self.forget(*key);
        }
        Ok((!on_record).then_some(()))
    }

    async fn observe(&self, key: &EnvironmentId, (): &(), read: Read) -> Result<Self::Observed, Error> {
        let droplets = match read {
            Read::Cached => self.parts.fleet.sighting(*key).droplets,
            Read::Authoritative => {
                let filter = DropletFilter::Tag(tags::environment(*key));
                let listed = self.parts.client.droplet_list(&filter).await;
                let listed = listed.map_err(|error| failure::cloud(&error))?;
                let seen = listed
                    .iter()
                    .map(|droplet| read::seen(droplet, *key, &self.parts.installation));
                let ours: Arc<[Droplet]> = seen.filter(|droplet| droplet.ours).collect();
                if ours.is_empty() {
                    Observation::Absent
                } else {
                    Observation::Present(ours)
                }
            }
        };
        if droplets == Observation::Absent {
            self.forget(*key);
        }
        let orphaned = Orphaned {
            age: match &droplets {
                Observation::Present(_) => self.age(*key),
                Observation::Unknown | Observation::Absent => SignedDuration::ZERO,
            },
            droplets,
            crowd: self.is_crowd(),
            outgoing: self.outbox.outgoing(*key, self.moment()),
        };
        Ok((*key, orphaned))
    }

    fn decide(&self, (): &(), (id, seen): &Self::Observed, now: Timestamp) -> Plan<Action, ()> {
        decide(&self.parts.policy, *id, seen, now)
    }

    async fn act(&self, key: &EnvironmentId, (): &(), action: &Action) -> Result<(), Error> {
        let Action::DeleteDroplet { droplet, cause } = action else {
            return Err(Error::terminal(
                "NotPlanned",
                format!("orphans are only destroyed, not {action:?}"),
            ));
        };
        if self.parts.leases.fence(key.shard()).is_none() {
            return Err(Error::retriable("LeaseLost", "the lease of the orphan's shard is not held"));
        }
        let accepted = delete_ours(&self.parts.client, &self.parts.installation, *key, *droplet).await?;
        self.outbox.deleted(*key, *droplet, accepted, self.moment());
        if accepted {
            let message = format!("droplet {droplet} belongs to no environment; its delete was accepted");
            let event = event(*key, EventType::Warning, "OrphanDeleted", message, *cause);
            if let Err(error) = self.parts.database.event_record(&event).await {
                tracing::warn!(%error, reason = event.reason, "an event could not be recorded");
            }
        }
        Ok(())
    }

    /// Nothing is on record to write to.
    async fn write_status(&self, _: &EnvironmentId, (): &(), _: Option<()>, _: Option<Failure<'_, Action>>) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::DropletState;
    use model::DropletId;

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn seen(created_ago: i64, age: i64) -> Orphaned {
        let droplet = Droplet {
            id: DropletId(7),
            state: DropletState::Active,
            address: None,
            created_at: Some(now() - SignedDuration::from_secs(created_ago)),
            ours: true,
            missing: Box::default(),
            intent: None,
            size: "s-1vcpu-1gb".into(),
            disk: 25,
            locked: false,
            named: true,
        };
        Orphaned {
            droplets: Observation::Present([droplet].into()),
            age: SignedDuration::from_secs(age),
            crowd: false,
            outgoing: Outgoing::default(),
        }
    }

    fn deletes(seen: &Orphaned) -> usize {
        decide(&Policy::default(), EnvironmentId::random(), seen, now()).actions.len()
    }

    #[test]
    fn an_orphan_goes_when_it_is_old_and_was_in_sight_for_long() {
        assert_eq!(deletes(&seen(120, 120)), 1);
        assert_eq!(deletes(&seen(119, 120)), 0, "its record may be under way");
        assert_eq!(deletes(&seen(9000, 119)), 0, "it may be just going");
    }

    #[test]
    fn what_is_not_ours_unknown_going_or_one_of_a_crowd_stays() {
        let orphan = seen(9000, 9000);
        let crowd = Orphaned {
            crowd: true,
            ..orphan.clone()
        };
        assert_eq!(deletes(&crowd), 0);
        let mut going = orphan.clone();
        going
            .outgoing
            .deleted
            .push((DropletId(7), SignedDuration::from_secs(5), true));
        assert_eq!(deletes(&going), 0);
        for droplets in [Observation::Unknown, Observation::Absent] {
            let gone = Orphaned {
                droplets,
                ..orphan.clone()
            };
            assert_eq!(deletes(&gone), 0);
        }
        let Observation::Present(droplets) = &orphan.droplets else {
            panic!()
        };
        let mut foreign = droplets[0].clone();
        foreign.ours = false;
        let foreign = Orphaned {
            droplets: Observation::Present([foreign].into()),
            ..orphan
        };
        assert_eq!(deletes(&foreign), 0);
    }
}
