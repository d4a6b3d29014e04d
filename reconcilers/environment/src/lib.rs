//! The environment reconciler: exactly one droplet for each environment that wants one, and none for the others.
//!
//! Owns: droplets, provisioning intents, tombstones, and the status columns of environments. Must not: know firewalls or tools,
//! or touch a droplet whose tags do not name this installation and this environment. Promises: see [`decide`].
//!
//! ```text
//!  row or tombstone + latest intent + last report        (record: from memory, or read again)
//!  droplets (fleet: swept, or read again) + outbox       (observe)
//!        |
//!      decide  ------------------------------> status, conditions, events
//!        |
//!  announce -> create -> name -> adopt     change (power, size, name, tags, project)     delete -> seen to be gone -> finish
//! ```

mod act;
pub mod action;
pub mod decide;
mod failure;
pub mod heartbeats;
pub mod observe;
pub mod orphan;
pub mod outbox;
pub mod policy;
pub mod project;
mod reserved;
pub mod sizes;
pub mod status;

pub use action::{Action, Cause, Change};
pub use heartbeats::Heartbeats;
pub use observe::Observed;
pub use orphan::{OrphanReconciler, Orphans};
pub use policy::Policy;
pub use status::StatusWrite;

use agent_api::MasterKey;
use fleet::{Fleet, Looks};
use futures::{Stream, stream};
use jiff::Timestamp;
use model::{EnvironmentId, EnvironmentRecord, EventType, InstallationId, record::Subject};
use outbox::Outbox;
use project::Project;
use reserved::Reserved;
use runtime::{Clock, Error, Failure, Hold, Plan, Read, Reconciler, Step, Store, Wake};
use schema::{Database, LeaseKeeper, Written};
use sizes::SizeBook;
use status::{event, with_failure};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use url::Url;

/// What the reconciler has to be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Named by the tags of everything that it makes.
    pub installation: InstallationId,
    /// The durations that it decides by.
    pub policy: Policy,
    /// Base URL under which agents reach the control plane.
    pub backend_url: Url,
    /// Whom agents trust for it, as PEM.
    pub backend_ca_pem: String,
    /// Where agents' binary is downloaded from.
    pub agent_url: Url,
    /// SHA-256 of that binary, as 64 hex digits.
    pub agent_sha256: String,
    /// For how long a new droplet's first enrolment is taken.
    pub enrolment_ttl: Duration,
    /// Keys of the DigitalOcean account that may log in; without any, DigitalOcean mails a root password.
    pub ssh_keys: Vec<String>,
    /// The project that droplets are put into, by its id or its name; none leaves them where DigitalOcean puts them.
    pub project: Option<String>,
}

/// The reconciler. One for each process.
#[derive(Debug)]
pub struct EnvironmentReconciler {
    database: Database,
    leases: LeaseKeeper,
    client: digitalocean::Client,
    fleet: Fleet,
    looks: Looks,
    heartbeats: Heartbeats,
    reserved: Reserved,
    outbox: Outbox,
    sizes: SizeBook,
    project: Project,
    master_key: MasterKey,
    config: Config,
    records: Store<EnvironmentId, EnvironmentRecord>,
    /// What moments are counted from.
    started: Instant,
}

impl EnvironmentReconciler {
    /// A reconciler that has done nothing yet. `fleet` is what it knows of the outside, `looks` tell more, and `records` are those of the shards that `leases` holds.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own, and they are put together in one place"
    )]
    pub fn new(
        database: Database,
        leases: LeaseKeeper,
        client: digitalocean::Client,
        fleet: Fleet,
        looks: Looks,
        master_key: MasterKey,
        config: Config,
        records: Store<EnvironmentId, EnvironmentRecord>,
    ) -> Self {
        Self {
            database,
            leases,
            client,
            fleet,
            looks,
            heartbeats: Heartbeats::new(),
            reserved: Reserved::default(),
            outbox: Outbox::default(),
            sizes: SizeBook::default(),
            project: Project::new(config.project.clone()),
            started: Instant::now(),
            master_key,
            config,
            records,
        }
    }

    /// The environments to work on beside those whose record changed: droplets that changed, agents that fell silent.
    pub fn wakes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        let outside = stream::select(Box::pin(self.fleet.changes()), Box::pin(self.project.changes()));
        stream::select(Box::pin(outside), Box::pin(self.heartbeats.silent()))
    }

    /// What has to run beside the controller: the reading of the project, and the watch over heartbeats. Ends at shutdown.
    pub fn background(&self, shutdown: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let policy = &self.config.policy;
        let heartbeat = Duration::try_from(policy.heartbeat).unwrap_or(Duration::from_secs(10));
        let listen = self.heartbeats.clone().run(
            self.database.clone(),
            self.records.clone(),
            self.leases.clock().clone(),
            heartbeat,
            policy.silence(),
            shutdown.clone(),
        );
        let records = self.records.clone();
        let project = self
            .project
            .clone()
            .run(self.client.clone(), move || records.keys(), shutdown);
        async {
            tokio::join!(listen, project);
        }
    }
}

impl Reconciler for EnvironmentReconciler {
    type Key = EnvironmentId;
    type Desired = Arc<EnvironmentRecord>;
    type Observed = Observed;
    type Action = Action;
    type Status = StatusWrite;

    const KIND: &'static str = "environment";

    fn hold(&self, key: &EnvironmentId) -> Option<Hold> {
        self.leases.hold(key.shard()).map(Hold::new)
    }

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Arc<EnvironmentRecord>>, Error> {
        match read {
            Read::Cached => Ok(self.records.get(key)),
            Read::Authoritative => {
                let record = self.database.record_get(*key).await.map_err(|error| Error::from(&error))?;
                Ok(record.map(Arc::new))
            }
        }
    }

    async fn observe(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, read: Read) -> Result<Observed, Error> {
        let sighting = match read {
            Read::Cached => self.fleet.sighting(*key),
            Read::Authoritative => {
                let unsent = self.outbox.outgoing(*key, self.moment()).unsent;
                let unsent = unsent.is_some() && unsent == desired.intent.as_ref().map(|intent| intent.id);
                let sighting = self.looks.recent(desired, unsent).await;
                let sighting = sighting.map_err(|error| failure::cloud(&error))?;
                let followed = self.follow_resize(*key).await;
                followed.map_err(|error| failure::cloud(&error))?;
                self.ask_standing(*key, desired).await?;
                sighting
            }
        };
        Ok(self.observed(*key, sighting))
    }

    fn decide(&self, desired: &Arc<EnvironmentRecord>, observed: &Observed, now: Timestamp) -> Plan<Action, StatusWrite> {
        decide::decide(&self.config.policy, desired, observed, now)
    }

    async fn act(&self, key: &EnvironmentId, desired: &Arc<EnvironmentRecord>, action: &Action) -> Result<(), Error> {
        self.carry_out(*key, desired, action).await
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        desired: &Arc<EnvironmentRecord>,
        status: Option<StatusWrite>,
        failure: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        let StatusWrite { status, events } = status.unwrap_or_default();
        for event in events {
            self.record(event).await;
        }
        // Who waits for requests did not fail, and the row says until when.
        if let Some(Failure { error, at }) = &failure
            && !matches!(error, Error::Waiting { .. })
        {
            let cause = match at {
                Step::Observing => model::Cause::while_reading("droplets"),
                Step::Acting(action) => model::Cause::while_acting(*action),
            };
            self.record(event(*key, EventType::Warning, error.reason(), error.message(), cause))
                .await;
        }
        let Subject::Row(row) = &desired.subject else {
            return Ok(());
        };
        let planned = status.unwrap_or_else(|| row.status.clone());
        let next = match failure {
            Some(Failure { error, .. }) => with_failure(row, planned, error, self.leases.clock().now()),
            None => planned,
        };
        if next == row.status {
            return Ok(());
        }
        let written = self
            .database
            .environment_status_write(&self.fence(*key)?, *key, row.generation, &next)
            .await;
        match written.map_err(|error| Error::from(&error))? {
            // The row moved on; its change wakes the key, and the next pass speaks of the new generation.
            Written::Done | Written::Stale => Ok(()),
        }
    }
}
