//! The instance reconciler: its decisions, with its effects said to the models.

use crate::{agent::Push, database::Denied, process::Process, wire::To};
use instance_reconciler::{Action, Desired, Observed, Statuses, decide};
use jiff::Timestamp;
use model::{DesiredSet, EnvironmentId, EnvironmentRecord, Stamp};
use runtime::{Error, Failure, Plan, Read, Reconciler};
use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

/// See the module.
pub struct InstanceModel(Arc<Process>);

impl InstanceModel {
    /// One pass's.
    pub fn new(process: Arc<Process>) -> Self {
        Self(process)
    }

    async fn store(
        &self,
        id: EnvironmentId,
        expected: Option<Stamp>,
        set: &DesiredSet,
        left_open: &BTreeSet<u16>,
    ) -> Result<(), Error> {
        let (fence, set, left_open) = (self.0.fence(id)?, set.clone(), left_open.clone());
        let what = format!("store set {} of epoch {}", set.stamp.generation, set.stamp.epoch);
        let stored = self.0.write(what, move |world| {
            world.effect();
            world
                .database
                .desired_set_store(world.now, &fence, id, expected, set, &left_open)
        });
        stored.await
    }

    async fn close(&self, id: EnvironmentId, ports: &BTreeSet<u16>) -> Result<(), Error> {
        let (fence, ports) = (self.0.fence(id)?, ports.clone());
        let asked = self.0.write(format!("ask for {ports:?} to be closed"), move |world| {
            world.effect();
            match world.database.firewall_close(world.now, &fence, id, &ports) {
                Ok(()) | Err(Denied::Stale) => Ok(()),
                Err(denied) => Err(denied),
            }
        });
        asked.await
    }

    async fn push(&self, id: EnvironmentId, address: IpAddr, set: &DesiredSet) -> Result<(), Error> {
        let (pushed, what) = (set.clone(), format!("push set {} to {address}", set.stamp.generation));
        let answer = self.0.wire.send(To::Agent, what, move |world, _| {
            world.effect();
            let now = world.now;
            let at = |droplet: &u64| {
                let real = world.cloud.droplets.get(droplet);
                real.is_some_and(|real| real.runs(now) && real.address(now).map(IpAddr::V4) == Some(address))
            };
            let agent = world
                .agents
                .values_mut()
                .find(|agent| at(&agent.droplet) && agent.listens(now));
            agent.map(|agent| agent.offer(now, pushed))
        });
        match answer.await {
            Ok(Some(Push::Taken)) => {
                self.0.memory().pushed.insert(id, set.stamp);
                Ok(())
            }
            Ok(Some(Push::Older(held))) => {
                self.0.memory().pushed.insert(id, held);
                Ok(())
            }
            Ok(Some(Push::Unauthorized) | None) | Err(_) => Err(Error::retriable("AgentUnreachable", "the agent is not reached")),
        }
    }
}

impl Reconciler for InstanceModel {
    type Key = EnvironmentId;
    type Desired = Desired;
    type Observed = Observed;
    type Action = Action;
    type Status = Statuses;

    const KIND: &'static str = "instance";

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Desired>, Error> {
        let record = self.0.record(*key, read).await?;
        if record.is_none() {
            self.0.memory().pushed.remove(key);
        }
        Ok(record.map(|record| Desired {
            record: self.0.without_port_record(record),
            catalog: vec![Arc::clone(&self.0.setup.catalog)],
        }))
    }

    async fn observe(&self, key: &EnvironmentId, _: &Desired, _: Read) -> Result<Observed, Error> {
        Ok(Observed {
            pushed: self.0.memory().pushed.get(key).copied(),
        })
    }

    fn decide(&self, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan<Action, Statuses> {
        decide::decide(&self.0.setup.instances, desired, observed, now)
    }

    async fn act(&self, key: &EnvironmentId, _: &Desired, action: &Action) -> Result<(), Error> {
        match action {
            Action::StoreDesiredSet {
                expected,
                set,
                left_open,
                cause: _,
            } => self.store(*key, *expected, set, left_open).await,
            Action::ClosePorts { ports, cause: _ } => self.close(*key, ports).await,
            Action::PushDesiredSet { address, set, cause: _ } => self.push(*key, *address, set).await,
        }
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        _: &Desired,
        status: Option<Statuses>,
        _: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        let statuses = status.unwrap_or_default();
        if statuses.is_empty() {
            return Ok(());
        }
        let fence = self.0.fence(*key)?;
        let written = self
            .0
            .write(format!("write the status of {} tools", statuses.len()), move |world| {
                world.database.instance_status_write(world.now, &fence, statuses)
            });
        written.await
    }
}

impl Process {
    /// A record: from memory, or read anew.
    pub async fn record(&self, id: EnvironmentId, read: Read) -> Result<Option<Arc<EnvironmentRecord>>, Error> {
        match read {
            Read::Cached => Ok(self.memory().records.get(&id).cloned()),
            Read::Authoritative => {
                let record = self.database("read the record".to_owned(), move |world| world.database.record(id));
                Ok(record.await?.map(Arc::new))
            }
        }
    }

    /// A record in which no port may be open, when that guard is missing.
    fn without_port_record(&self, record: Arc<EnvironmentRecord>) -> Arc<EnvironmentRecord> {
        if self.setup.sabotage.port_record {
            Arc::new(EnvironmentRecord {
                firewall: None,
                ..(*record).clone()
            })
        } else {
            record
        }
    }
}
