//! The orphan reconciler: its decisions, with its effects said to the models.

use super::environment::EnvironmentModel;
use crate::process::Process;
use environment_reconciler::{
    Action,
    orphan::{Orphaned, decide},
};
use fleet::{Droplet, read};
use jiff::{SignedDuration, Timestamp};
use model::{EnvironmentId, tags};
use runtime::{Error, Failure, Observation, Plan, Read, Reconciler};
use std::sync::Arc;

/// See the module.
pub struct OrphanModel(Arc<Process>);

impl OrphanModel {
    /// One pass's.
    pub fn new(process: Arc<Process>) -> Self {
        Self(process)
    }

    fn forget(&self, id: EnvironmentId) {
        self.0.memory().orphans.remove(&id);
        self.0.orphans.clear(id);
    }
}

/// The environments in sight that have no record as far as memory tells, of the shards that are held; and whether they are too many.
pub fn found(process: &Process) -> Vec<EnvironmentId> {
    let mut seen = process.fleet.environments();
    seen.retain(|id| process.fence(*id).is_ok());
    seen.sort_unstable();
    let known = seen.len();
    let mut memory = process.memory();
    seen.retain(|id| !memory.records.contains_key(id));
    memory.crowd = process.setup.limits.exceeded(seen.len(), known);
    seen
}

impl Reconciler for OrphanModel {
    type Key = EnvironmentId;
    type Desired = ();
    type Observed = (EnvironmentId, Orphaned);
    type Action = Action;
    type Status = ();

    const KIND: &'static str = "orphan";

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<()>, Error> {
        let on_record = match read {
            Read::Cached => self.0.fence(*key).is_err() || self.0.memory().records.contains_key(key),
            Read::Authoritative => self.0.record(*key, read).await?.is_some(),
        };
        if on_record {
            self.forget(*key);
        }
        Ok((!on_record).then_some(()))
    }

    async fn observe(&self, key: &EnvironmentId, (): &(), read: Read) -> Result<Self::Observed, Error> {
        let id = *key;
        let droplets = match read {
            Read::Cached => self.0.fleet.sighting(id).droplets,
            Read::Authoritative => {
                let tag = tags::environment(id);
                let listed = self
                    .0
                    .read_cloud("list the droplets".to_owned(), move |world| world.cloud.list(world.now, &tag));
                let listed = listed.await?;
                let seen = listed
                    .iter()
                    .map(|droplet| read::seen(droplet, id, &self.0.setup.installation));
                let ours: Arc<[Droplet]> = seen.filter(|droplet| droplet.ours).collect();
                if ours.is_empty() {
                    Observation::Absent
                } else {
                    Observation::Present(ours)
                }
            }
        };
        if droplets == Observation::Absent {
            self.forget(id);
        }
        let now = self.0.monotonic();
        let mut memory = self.0.memory();
        let age = match &droplets {
            Observation::Present(_) => now - *memory.orphans.entry(id).or_insert(now),
            Observation::Unknown | Observation::Absent => 0,
        };
        let orphaned = Orphaned {
            droplets,
            age: SignedDuration::from_millis(age),
            crowd: memory.crowd,
            outgoing: self.0.orphans.outgoing(id, self.0.moment()),
        };
        Ok((id, orphaned))
    }

    fn decide(&self, (): &(), (id, seen): &Self::Observed, now: Timestamp) -> Plan<Action, ()> {
        decide(&self.0.setup.environments, *id, seen, now)
    }

    async fn act(&self, key: &EnvironmentId, (): &(), action: &Action) -> Result<(), Error> {
        let Action::DeleteDroplet { droplet, cause: _ } = action else {
            return Err(Error::terminal("NotPlanned", "orphans are only destroyed"));
        };
        self.0.fence(*key)?;
        let environments = EnvironmentModel::new(Arc::clone(&self.0));
        let accepted = environments.destroy(*key, *droplet).await?;
        self.0.orphans.deleted(*key, *droplet, accepted, self.0.moment());
        Ok(())
    }

    async fn write_status(&self, _: &EnvironmentId, (): &(), _: Option<()>, _: Option<Failure<'_, Action>>) -> Result<(), Error> {
        Ok(())
    }
}
