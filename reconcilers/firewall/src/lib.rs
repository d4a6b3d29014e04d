//! The firewall reconciler: what can reach a droplet.
//!
//! Owns: the installation's base firewall ([`base`]) and one firewall for each environment's tools. Must not: know droplets
//! beyond the recorded id, or touch a firewall whose whole name is not one of ours. Promises: see [`decide`].

mod act;
pub mod action;
pub mod base;
pub mod decide;
mod failure;
pub mod observe;
pub mod rules;

pub use action::{Action, CloudAction};
pub use base::BaseFirewallReconciler;
pub use decide::Policy;
pub use observe::Observed;
pub use rules::Sources;

use digitalocean::Client;
use fleet::{FirewallLooks, Firewalls, Fleet, names};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use model::{Cause, ConditionStatus, EnvironmentId, EnvironmentRecord, Event, EventType};
use runtime::{Error, Failure, Hold, Observation, Plan, Read, Reason, Reconciler, Step, Store, Wake};
use schema::{Database, FirewallState, LeaseKeeper};
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// `reconcile_events.actor` of everything here.
pub const ACTOR: &str = "firewall-reconciler";

/// How often firewalls without an environment are looked for.
const ORPHANS_EVERY: Duration = Duration::from_mins(1);

/// Whose firewall a pass is about.
#[derive(Clone, Debug)]
pub enum Desired {
    /// An environment's, or a deleted one's.
    Environment(Arc<EnvironmentRecord>),
    /// Nobody's: it is named for an environment that has neither a row nor a tombstone.
    Nobody,
}

impl Desired {
    fn record(&self) -> Option<&EnvironmentRecord> {
        match self {
            Self::Environment(record) => Some(record),
            Self::Nobody => None,
        }
    }
}

/// The reconciler of environments' firewalls. One for each process.
#[derive(Debug)]
pub struct FirewallReconciler {
    database: Database,
    leases: LeaseKeeper,
    sources: observe::Sources,
    policy: Policy,
    records: Store<EnvironmentId, EnvironmentRecord>,
}

impl FirewallReconciler {
    /// A reconciler that has seen nothing yet. `fleet` and `firewalls` are what it knows of the outside, `looks` tell more, and
    /// `records` are those of the shards that `leases` holds.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a part of its own, and they are put together in one place"
    )]
    pub fn new(
        database: Database,
        leases: LeaseKeeper,
        client: Client,
        fleet: Fleet,
        firewalls: Firewalls,
        looks: FirewallLooks,
        policy: Policy,
        records: Store<EnvironmentId, EnvironmentRecord>,
    ) -> Self {
        Self {
            database,
            leases,
            sources: observe::Sources {
                client,
                fleet,
                firewalls,
                looks,
            },
            policy,
            records,
        }
    }

    /// The environments to work on beside those whose record changed: those whose firewall changed, and, once a minute, those
    /// that have a firewall and nothing else.
    pub fn wakes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<> {
        let mut ticks = interval(ORPHANS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (firewalls, records) = (self.sources.firewalls.clone(), self.records.clone());
        let orphans = stream::unfold((ticks, firewalls, records), async |(mut ticks, firewalls, records)| {
            ticks.tick().await;
            let owned = firewalls.owned().into_iter().map(|(id, _)| id);
            let orphans: Vec<_> = owned.filter(|id| records.get(id).is_none()).collect();
            let wakes = stream::iter(orphans).map(|id| Wake::now(id, Reason::Related));
            Some((wakes, (ticks, firewalls, records)))
        });
        stream::select(self.sources.firewalls.changes(), Box::pin(orphans.flatten()))
    }

    fn name(&self, key: EnvironmentId) -> String {
        names::environment(&self.policy.installation, key)
    }

    /// Records an event. What it tells of has happened, and is not undone when the telling fails.
    async fn record(&self, key: EnvironmentId, kind: EventType, reason: &str, message: String, cause: &str) {
        let event = Event {
            environment_id: Some(key),
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
    type Desired = Desired;
    type Observed = Observed;
    type Action = Action;
    type Status = FirewallState;

    const KIND: &'static str = "firewall";

    fn hold(&self, key: &EnvironmentId) -> Option<Hold> {
        self.leases.hold(key.shard()).map(Hold::new)
    }

    async fn load(&self, key: &EnvironmentId, read: Read) -> Result<Option<Desired>, Error> {
        let record = match read {
            Read::Cached => self.records.get(key),
            Read::Authoritative => {
                let record = self.database.record_get(*key).await;
                record.map_err(|error| Error::from(&error))?.map(Arc::new)
            }
        };
        if let Some(record) = record {
            return Ok(Some(Desired::Environment(record)));
        }
        // A replica without the shard's lease holds none of its records either.
        let ours = self.leases.fence(key.shard()).is_some();
        let seen = matches!(
            self.sources.firewalls.observed(&self.name(*key)).firewall,
            Observation::Present(_)
        );
        Ok((ours && seen).then_some(Desired::Nobody))
    }

    async fn observe(&self, key: &EnvironmentId, desired: &Desired, read: Read) -> Result<Observed, Error> {
        match read {
            Read::Cached => Ok(self.sources.cached(&self.policy, *key, desired.record())),
            Read::Authoritative => self.sources.read(&self.policy, *key, desired.record()).await,
        }
    }

    fn decide(&self, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan<Action, FirewallState> {
        match desired {
            Desired::Environment(record) => decide::decide(&self.policy, record, observed, now),
            Desired::Nobody => decide::decide_orphan(&self.policy, observed, now),
        }
    }

    async fn act(&self, key: &EnvironmentId, desired: &Desired, action: &Action) -> Result<(), Error> {
        self.carry_out(*key, desired.record(), action).await
    }

    async fn write_status(
        &self,
        key: &EnvironmentId,
        desired: &Desired,
        status: Option<FirewallState>,
        failure: Option<Failure<'_, Action>>,
    ) -> Result<(), Error> {
        // Who waits for requests did not fail.
        if let Some(Failure { error, at }) = &failure
            && !matches!(error, Error::Waiting { .. })
        {
            let cause = match at {
                Step::Observing => Cause::while_reading("firewalls"),
                Step::Acting(action) => Cause::while_acting(*action),
            };
            let message = error.message().to_owned();
            self.record(*key, EventType::Warning, error.reason(), message, &cause.to_string())
                .await;
        }
        let Desired::Environment(record) = desired else {
            return Ok(());
        };
        let failed = failure.and_then(|failure| failed(record, failure.error));
        let Some(state) = failed.or(status) else {
            return Ok(());
        };
        let written = self.database.firewall_state_write(&self.fence(*key)?, *key, &state).await;
        written.map_err(|error| Error::from(&error))
    }
}

/// How a firewall is when a pass failed; `None` when the record says so already. The first sentence stays for as long as the
/// reason is the same, because every change of the record wakes its key, and would undo the backoff.
fn failed(record: &EnvironmentRecord, failure: &Error) -> Option<FirewallState> {
    let said = record
        .firewall
        .as_ref()
        .is_none_or(|firewall| firewall.reason == failure.reason());
    // What is only older than it was taken for is read again at once, and what waits for requests is as it was.
    let passing = matches!(failure, Error::Waiting { .. })
        || matches!(failure.reason(), "FirewallRecordStale" | "LeaseLost" | "FirewallExists");
    (!said && !passing).then(|| FirewallState {
        state: ConditionStatus::False,
        reason: failure.reason().into(),
        message: failure.message().to_owned(),
    })
}
