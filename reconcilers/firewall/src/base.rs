//! The installation's base firewall: one for all droplets, by tag.
//!
//! Owns: that it is there and says what it should, and that every replica learns why it is not. Must not: know environments.
//! Promises: of several replicas only the one that holds the first shard works on it.

use crate::{ACTOR, act, action::CloudAction, decide::Policy, failure::cloud, observe::Sources, rules};
use digitalocean::{Client, FirewallSpec};
use fleet::{FirewallLooks, Firewalls, Fleet, Need, Trust, firewalls::Observed as Seen};
use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use model::{Cause, Event, EventType, Explain, InstallationId};
use runtime::{Error, Failure, Hold, Observation, Plan, Read, Reason, Reconciler, Step, Wake};
use schema::{Database, Fence, FleetKind, LeaseKeeper};
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// How soon to ask again for what was not known.
const RECHECK: SignedDuration = SignedDuration::from_secs(10);

/// The shard whose holder works on what the installation has once.
const SHARD: u16 = 0;

/// What decisions see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The firewall.
    pub firewall: Seen,
    /// Why it is not as it should be, as all replicas were told.
    pub failure: Option<Arc<str>>,
}

/// It is as it should be, and what all replicas were told is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healed;

/// The reconciler. One for each process.
#[derive(Debug)]
pub struct BaseFirewallReconciler {
    database: Database,
    leases: LeaseKeeper,
    sources: Sources,
    policy: Policy,
}

impl BaseFirewallReconciler {
    /// A reconciler over the same memory of firewalls as the environments'.
    pub fn new(
        database: Database,
        leases: LeaseKeeper,
        client: Client,
        firewalls: Firewalls,
        looks: FirewallLooks,
        policy: Policy,
    ) -> Self {
        Self {
            database,
            leases,
            sources: Sources {
                client,
                // It applies by tag, and so to no droplet in particular.
                fleet: Fleet::new(),
                firewalls,
                looks,
            },
            policy,
        }
    }

    fn fence(&self) -> Result<Fence, Error> {
        let fence = self.leases.fence(SHARD);
        fence.ok_or_else(|| Error::retriable("LeaseLost", format!("the lease of shard {SHARD} is not held")))
    }

    /// Tells all replicas why it is not as it should be, or that it is, if they do not know.
    async fn publish(&self, failure: Option<&str>) -> Result<(), Error> {
        if self.sources.firewalls.base_failure().as_deref() == failure {
            return Ok(());
        }
        let told = self
            .database
            .fleet_failure(&self.fence()?, FleetKind::Firewalls, failure)
            .await;
        told.map_err(|error| Error::from(&error))?;
        self.sources.firewalls.base_failed(failure);
        Ok(())
    }

    /// Records an event of no environment.
    async fn record(&self, kind: EventType, reason: &str, message: String, cause: &Cause) {
        let event = Event {
            environment_id: None,
            instance_id: None,
            kind,
            reason: reason.to_owned(),
            message,
            actor: ACTOR.to_owned(),
            cause: cause.to_string(),
        };
        if let Err(error) = self.database.event_record(&event).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be recorded");
        }
    }

    /// Wakes once in `every`: right after the start, and for what a sweep may have found.
    pub fn wakes(&self, every: Duration) -> impl Stream<Item = Wake<InstallationId>> + Send + use<> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        stream::unfold(
            (ticks, self.policy.installation.clone()),
            |(mut ticks, installation)| async move {
                ticks.tick().await;
                Some((Wake::now(installation.clone(), Reason::Related), (ticks, installation)))
            },
        )
    }
}

/// Decides one pass over the base firewall.
pub fn decide(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan<CloudAction, Healed> {
    let spec = rules::base(&policy.installation, &policy.sources);
    let again = Plan {
        requeue: Some(RECHECK),
        ..Plan::noop()
    };
    let Observed {
        firewall: observed,
        failure,
    } = observed;
    let age = observed
        .read_at
        .map_or(SignedDuration::MAX, |read_at| now.duration_since(read_at));
    let action = match (&observed.firewall, &observed.trust) {
        (Observation::Unknown, Trust::Trusted | Trust::Withheld { .. }) | (Observation::Absent, Trust::Withheld { .. }) => {
            return again;
        }
        (Observation::Absent | Observation::Present(_), Trust::Trusted | Trust::Withheld { .. }) if age > policy.max_age => {
            return again;
        }
        (Observation::Present(known), Trust::Trusted | Trust::Withheld { .. }) if known.spec == spec => {
            return Plan {
                status: failure.as_ref().map(|_| Healed),
                ..Plan::noop()
            };
        }
        (Observation::Absent, Trust::Trusted) => CloudAction::Create {
            spec: spec.clone(),
            unfit: 0,
            cause: Cause::observation("the installation has no base firewall"),
        },
        (Observation::Present(known), Trust::Trusted | Trust::Withheld { .. }) => CloudAction::Update {
            id: known.id.clone(),
            spec: spec.clone(),
            unfit: 0,
            cause: Cause::observation("the base firewall is not what backend_cidrs and admin_cidrs say"),
        },
    };
    // Tags that a firewall names have to exist before it.
    let tags = spec.tags.iter().map(|tag| CloudAction::EnsureTag {
        tag: tag.clone(),
        cause: Cause::observation("the base firewall applies by it"),
    });
    Plan {
        actions: tags.chain([action]).collect(),
        status: None,
        requeue: None,
    }
}

impl Reconciler for BaseFirewallReconciler {
    type Key = InstallationId;
    type Desired = FirewallSpec;
    type Observed = Observed;
    type Action = CloudAction;
    type Status = Healed;

    const KIND: &'static str = "base_firewall";

    fn hold(&self, _: &InstallationId) -> Option<Hold> {
        self.leases.hold(SHARD).map(Hold::new)
    }

    async fn load(&self, key: &InstallationId, _: Read) -> Result<Option<FirewallSpec>, Error> {
        let ours = self.leases.fence(SHARD).is_some();
        Ok(ours.then(|| rules::base(key, &self.policy.sources)))
    }

    async fn observe(&self, _: &InstallationId, desired: &FirewallSpec, read: Read) -> Result<Observed, Error> {
        let firewall = match read {
            Read::Cached => self.sources.firewalls.observed(&desired.name),
            Read::Authoritative => {
                let read = self.sources.looks.read(&desired.name, None, Need::Exact).await;
                read.map_err(|error| cloud(&error))?
            }
        };
        Ok(Observed {
            firewall,
            failure: self.sources.firewalls.base_failure(),
        })
    }

    fn decide(&self, _: &FirewallSpec, observed: &Observed, now: Timestamp) -> Plan<CloudAction, Healed> {
        decide(&self.policy, observed, now)
    }

    async fn act(&self, _: &InstallationId, desired: &FirewallSpec, action: &CloudAction) -> Result<(), Error> {
        act::request(&self.sources, &desired.name, None, action).await?;
        if let Some(reason) = action.reason() {
            let explained = action.explain();
            self.record(EventType::Normal, reason, explained.message, &explained.cause)
                .await;
        }
        Ok(())
    }

    async fn write_status(
        &self,
        _: &InstallationId,
        _: &FirewallSpec,
        status: Option<Healed>,
        failure: Option<Failure<'_, CloudAction>>,
    ) -> Result<(), Error> {
        match (failure, status) {
            // Who waits for requests did not fail.
            (Some(failure), _) if matches!(failure.error, Error::Waiting { .. }) => Ok(()),
            (Some(Failure { error, at }), _) => {
                tracing::error!(%error, ?at, "the base firewall is not as it should be");
                let cause = match at {
                    Step::Observing => Cause::while_reading("firewalls"),
                    Step::Acting(action) => Cause::while_acting(action),
                };
                self.record(EventType::Warning, error.reason(), error.message().to_owned(), &cause)
                    .await;
                // Environments say so too, by their condition `FirewallReady`.
                self.publish(Some(&error.to_string())).await
            }
            (None, Some(Healed)) => self.publish(None).await,
            (None, None) => Ok(()),
        }
    }
}
