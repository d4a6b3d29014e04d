//! The instance reconciler: from the rows of an environment's tools to the desired set of its agent, and from the agent's report
//! back into the rows.
//!
//! Owns: the desired sets, the ports of tools, and the status columns of instances. Must not: speak to DigitalOcean or Docker, or
//! start anything itself: the agent converges on its own. Promises: what is pushed was stored before; a row is `running` only
//! when the agent says that it runs as specified now; one bad row harms no other.
//!
//! ```text
//! instance rows --+                        +--> PUT to the agent
//! catalog --------+--> compile --> stored -+--> fetched by the agent, when the PUT was lost
//! previous set ---+
//!                         report of the agent --> instance status
//! ```

mod act;
mod compile;
pub mod container;
pub mod decide;
pub mod observe;
mod ports;
pub mod status;

pub use act::catalog_wakes;
pub use decide::{Action, Policy};
pub use observe::Observed;
pub use status::Statuses;

use agent_api::Agents;
use jiff::Timestamp;
use model::{CatalogEntry, CatalogId, Cause, EnvironmentId, EnvironmentRecord, EventType};
use observe::Pushed;
use runtime::{Error, Failure, Hold, Plan, Read, Reconciler, Step, Store};
use schema::{Database, LeaseKeeper};
use status::event;
use std::sync::Arc;

/// An environment's record, with the catalog entries that its instances name.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The record.
    pub record: Arc<EnvironmentRecord>,
    /// The entries, as far as they are known here.
    pub catalog: Vec<Arc<CatalogEntry>>,
}

impl Desired {
    /// One entry.
    pub fn entry(&self, id: CatalogId) -> Option<&CatalogEntry> {
        self.catalog.iter().find(|entry| entry.id == id).map(Arc::as_ref)
    }
}

/// The reconciler. One for each process.
#[derive(Debug)]
pub struct InstanceReconciler {
    database: Database,
    leases: LeaseKeeper,
    agents: Agents,
    pushed: Pushed,
    policy: Policy,
    records: Store<EnvironmentId, EnvironmentRecord>,
    catalog: Store<CatalogId, CatalogEntry>,
}

impl InstanceReconciler {
    /// A reconciler that has told nobody anything yet. `records` are those of the shards that `leases` holds.
    pub fn new(
        database: Database,
        leases: LeaseKeeper,
        agents: Agents,
        policy: Policy,
        records: Store<EnvironmentId, EnvironmentRecord>,
        catalog: Store<CatalogId, CatalogEntry>,
    ) -> Self {
        Self {
            database,
            leases,
            agents,
            pushed: Pushed::default(),
            policy,
            records,
            catalog,
        }
    }
}

impl Reconciler for InstanceReconciler {
    type Key = EnvironmentId;
    type Desired = Desired;
    type Observed = Observed;
    type Action = Action;
    type Status = Statuses;

    const KIND: &'static str = "instance";

    fn hold(&self, key: &EnvironmentId) -> Option<Hold> {
        self.leases.hold(key.shard()).map(Hold::new)
    }

    /// The catalog comes from memory in both cases: an entry that changed since wakes the environment again.
    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Desired>, Error> {
        let record = match read {
            Read::Cached => self.records.get(key),
            Read::Authoritative => {
                let record = self.database.record_get(*key).await;
                record.map_err(|error| Error::from(&error))?.map(Arc::new)
            }
        };
        if record.is_none() {
            self.pushed.forget(*key);
        }
        Ok(record.map(|record| Desired {
            catalog: act::entries(&record, &self.catalog),
            record,
        }))
    }

    async fn observe(&self, key: &EnvironmentId, _: &Desired, _: Read) -> Result<Observed, Error> {
        Ok(Observed {
            pushed: self.pushed.get(*key),
        })
    }

    fn decide(&self, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan<Action, Statuses> {
        decide::decide(&self.policy, desired, observed, now)
    }

    async fn act(&self, key: &EnvironmentId, _: &Desired, action: &Action) -> Result<(), Error> {
        self.carry_out(*key, action).await
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        _: &Desired,
        status: Option<Statuses>,
        failure: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        // Who waits did not fail.
        if let Some(Failure { error, at }) = failure
            && !matches!(error, Error::Waiting { .. })
        {
            let cause = match at {
                Step::Observing => Cause::while_reading("tools"),
                Step::Acting(action) => Cause::while_acting(action),
            };
            let message = error.message().to_owned();
            self.record(event(*key, EventType::Warning, error.reason(), message, cause.to_string()))
                .await;
        }
        let statuses = status.unwrap_or_default();
        if statuses.is_empty() {
            return Ok(());
        }
        // Rows that moved on are left out; their change wakes the key, and the next pass speaks of the new generation.
        let written = self.database.instance_status_write(&self.fence(*key)?, &statuses).await;
        written.map(|_| ()).map_err(|error| Error::from(&error))
    }
}
