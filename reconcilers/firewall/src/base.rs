//! The installation's base firewall: one for all droplets, by tag.
//!
//! Owns: that it is there and says what it should. Must not: know environments. Promises: of several replicas only the one that
//! holds the first shard works on it.

use crate::{act, action::CloudAction, decide::Policy, failure::cloud, observe::Sources, rules};
use digitalocean::{Client, FirewallSpec};
use fleet::{FirewallLooks, Firewalls, Fleet, Need, Trust, firewalls::Observed};
use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use model::{Cause, Explain, InstallationId};
use runtime::{Error, Failure, Hold, Observation, Plan, Read, Reason, Reconciler, Wake};
use schema::LeaseKeeper;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How soon to ask again for what was not known.
const RECHECK: SignedDuration = SignedDuration::from_secs(10);

/// The shard whose holder works on what the installation has once.
const SHARD: u16 = 0;

/// The reconciler. One for each process.
#[derive(Debug)]
pub struct BaseFirewallReconciler {
    leases: LeaseKeeper,
    sources: Sources,
    policy: Policy,
}

impl BaseFirewallReconciler {
    /// A reconciler over the same memory of firewalls as the environments'.
    pub fn new(leases: LeaseKeeper, client: Client, firewalls: Firewalls, looks: FirewallLooks, policy: Policy) -> Self {
        Self {
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
pub fn decide(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan<CloudAction, ()> {
    let spec = rules::base(&policy.installation, &policy.sources);
    let again = Plan {
        requeue: Some(RECHECK),
        ..Plan::noop()
    };
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
        (Observation::Present(known), Trust::Trusted | Trust::Withheld { .. }) if known.spec == spec => return Plan::noop(),
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
    type Status = ();

    const KIND: &'static str = "base_firewall";

    fn hold(&self, _: &InstallationId) -> Option<Hold> {
        self.leases.hold(SHARD).map(Hold::new)
    }

    async fn load(&self, key: &InstallationId, _: Read) -> Result<Option<FirewallSpec>, Error> {
        let (ours, spec) = (self.leases.fence(SHARD).is_some(), rules::base(key, &self.policy.sources));
        if !ours {
            // Whoever works on it now knows better.
            self.sources.firewalls.failed(&spec.name, None);
        }
        Ok(ours.then_some(spec))
    }

    async fn observe(&self, _: &InstallationId, desired: &FirewallSpec, read: Read) -> Result<Observed, Error> {
        match read {
            Read::Cached => Ok(self.sources.firewalls.observed(&desired.name)),
            Read::Authoritative => {
                let read = self.sources.looks.read(&desired.name, None, Need::Exact).await;
                read.map_err(|error| cloud(&error))
            }
        }
    }

    fn decide(&self, _: &FirewallSpec, observed: &Observed, now: Timestamp) -> Plan<CloudAction, ()> {
        decide(&self.policy, observed, now)
    }

    async fn act(&self, _: &InstallationId, desired: &FirewallSpec, action: &CloudAction) -> Result<(), Error> {
        act::request(&self.sources, &desired.name, None, action).await?;
        self.sources.firewalls.failed(&desired.name, None);
        // Events belong to environments, and this to none of them.
        if let Some(reason) = act::told(action) {
            let explained = action.explain();
            tracing::info!(reason, cause = %explained.cause, "{}", explained.message);
        }
        Ok(())
    }

    async fn write_status(
        &self,
        _: &InstallationId,
        desired: &FirewallSpec,
        _: Option<()>,
        failure: Option<Failure<'_, CloudAction>>,
    ) -> Result<(), Error> {
        if let Some(failure) = failure
            && !matches!(failure.error, Error::Waiting { .. })
        {
            // Environments say so too, by their condition `FirewallReady`.
            self.sources.firewalls.failed(&desired.name, Some(&failure.error.to_string()));
            tracing::error!(error = %failure.error, at = ?failure.at, "the base firewall is not as it should be");
        }
        Ok(())
    }
}
