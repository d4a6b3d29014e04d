//! The firewall reconciler: what can reach a droplet.
//!
//! Owns: the installation's base firewall ([`base`]) and one firewall for each environment's tools. Must not: know droplets
//! beyond the recorded id, or touch a firewall whose whole name is not one of ours. Promises: see [`decide`].

mod act;
pub mod base;
pub mod decide;
pub mod rules;

pub use base::BaseFirewallReconciler;
pub use decide::{Action, Policy};
pub use rules::Sources;

use digitalocean::Client;
use fleet::{Firewalls, firewalls::Observed, names, sweep};
use futures::Stream;
use jiff::Timestamp;
use model::{DropletId, EnvironmentId, EnvironmentRecord, Event, EventType, record::Subject};
use runtime::{Error, Plan, Read, Reconciler, Store, Wake};
use schema::{Database, LeaseKeeper};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// `reconcile_events.actor` of everything here.
pub const ACTOR: &str = "firewall-reconciler";

/// The reconciler of environments' firewalls. One for each process.
#[derive(Debug)]
pub struct FirewallReconciler {
    database: Database,
    leases: LeaseKeeper,
    client: Client,
    firewalls: Firewalls,
    policy: Policy,
    records: Store<EnvironmentId, EnvironmentRecord>,
}

impl FirewallReconciler {
    /// A reconciler that has seen nothing yet. `records` are those of the shards that `leases` holds.
    pub fn new(
        database: Database,
        leases: LeaseKeeper,
        client: Client,
        firewalls: Firewalls,
        policy: Policy,
        records: Store<EnvironmentId, EnvironmentRecord>,
    ) -> Self {
        Self {
            database,
            leases,
            client,
            firewalls,
            policy,
            records,
        }
    }

    /// The environments to work on beside those whose record changed: those whose firewall changed.
    pub fn wakes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        self.firewalls.changes()
    }

    /// What has to run beside the controller: the sweep of all firewalls, once in `every`. Ends at shutdown.
    pub fn background(&self, every: Duration, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        sweep::firewalls(self.client.clone(), self.firewalls.clone(), every, shutdown)
    }

    fn name(&self, key: EnvironmentId) -> String {
        names::environment(&self.policy.installation, key)
    }

    /// Records an event. What it tells of has happened, and is not undone when the telling fails.
    async fn record(&self, key: EnvironmentId, kind: EventType, reason: &str, message: String, cause: &str) {
        let event = Event {
            environment_id: key,
            instance_id: None,
            kind,
            reason: reason.to_owned(),
            message,
            actor: ACTOR.to_owned(),
            cause: cause.to_owned(),
        };
        if let Err(error) = self.database.event_record(&event).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be recorded");
        }
    }
}

impl Reconciler for FirewallReconciler {
    type Key = EnvironmentId;
    type Desired = Arc<EnvironmentRecord>;
    type Observed = Observed;
    type Action = Action;
    type Status = ();

    const KIND: &'static str = "firewall";

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Arc<EnvironmentRecord>>, Error> {
        match read {
            Read::Cached => Ok(self.records.get(key)),
            Read::Authoritative => {
                let record = self.database.record_get(*key).await;
                Ok(record.map_err(|error| database(&error))?.map(Arc::new))
            }
        }
    }

    async fn observe(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, read: Read) -> Result<Observed, Error> {
        let name = self.name(*key);
        match read {
            Read::Cached => Ok(self.firewalls.observed(&name)),
            Read::Authoritative => act::read(&self.client, &self.firewalls, &name, droplet(desired)).await,
        }
    }

    fn decide(&self, desired: &Arc<EnvironmentRecord>, observed: &Observed, now: Timestamp) -> Plan<Action, ()> {
        decide::decide(&self.policy, desired, observed, now)
    }

    async fn act(&self, key: &EnvironmentId, _: &Arc<EnvironmentRecord>, action: &Action) -> Result<(), Error> {
        if self.leases.fence(key.shard()).is_none() {
            return Err(Error::retriable(
                "LeaseLost",
                format!("the lease of shard {} is not held", key.shard()),
            ));
        }
        let told = act::carry_out(&self.client, &self.firewalls, &self.name(*key), action).await?;
        if let Some((reason, message)) = told {
            let cause = "the ports of running tools, or the droplet, are others than the firewall's";
            self.record(*key, EventType::Normal, reason, message, cause).await;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        _: &Arc<EnvironmentRecord>,
        _: Option<()>,
        failure: Option<&Error>,
    ) -> Result<(), Error> {
        if let Some(failure) = failure {
            let message = failure.message().to_owned();
            self.record(
                *key,
                EventType::Warning,
                failure.reason(),
                message,
                "a pass could not be finished",
            )
            .await;
        }
        Ok(())
    }
}

fn droplet(record: &EnvironmentRecord) -> Option<DropletId> {
    match &record.subject {
        Subject::Row(row) => row.status.droplet_id,
        Subject::Tombstone(tombstone) => tombstone.droplet_id,
    }
}

/// An error of the database.
fn database(error: &schema::Error) -> Error {
    if error.is_retriable() {
        Error::retriable("DatabaseUnavailable", error.to_string())
    } else {
        Error::terminal("DatabaseRefused", error.to_string())
    }
}
