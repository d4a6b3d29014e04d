//! The installation's base firewall: one for all droplets, by tag.
//!
//! Owns: that it is there and says what it should. Must not: know environments. Promises: of several replicas only the one that
//! holds the first shard works on it.

use crate::{
    act,
    decide::{Action, Policy, Wanted, settle},
    rules,
};
use digitalocean::{Client, FirewallSpec};
use fleet::{Firewalls, firewalls::Observed};
use futures::{Stream, stream};
use jiff::Timestamp;
use model::InstallationId;
use runtime::{Error, Plan, Read, Reason, Reconciler, Wake};
use schema::LeaseKeeper;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// The shard whose holder works on what the installation has once.
const SHARD: u16 = 0;

/// The reconciler. One for each process.
#[derive(Debug)]
pub struct BaseFirewallReconciler {
    leases: LeaseKeeper,
    client: Client,
    firewalls: Firewalls,
    policy: Policy,
}

impl BaseFirewallReconciler {
    /// A reconciler over the same memory of firewalls as the environments'.
    pub fn new(leases: LeaseKeeper, client: Client, firewalls: Firewalls, policy: Policy) -> Self {
        Self {
            leases,
            client,
            firewalls,
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

impl Reconciler for BaseFirewallReconciler {
    type Key = InstallationId;
    type Desired = FirewallSpec;
    type Observed = Observed;
    type Action = Action;
    type Status = ();

    const KIND: &'static str = "base_firewall";

    async fn load(&self, key: &InstallationId, _: Read) -> Result<Option<FirewallSpec>, Error> {
        let ours = self.leases.fence(SHARD).is_some();
        Ok(ours.then(|| rules::base(key, &self.policy.sources)))
    }

    async fn observe(&self, _: &InstallationId, desired: &FirewallSpec, read: Read) -> Result<Observed, Error> {
        match read {
            Read::Cached => Ok(self.firewalls.observed(&desired.name)),
            Read::Authoritative => act::read(&self.client, &self.firewalls, &desired.name, None).await,
        }
    }

    fn decide(&self, desired: &FirewallSpec, observed: &Observed, now: Timestamp) -> Plan<Action, ()> {
        let wanted = Wanted::Firewall {
            spec: desired.clone(),
            closed: 0,
        };
        settle(&wanted, observed, self.policy.max_age, now)
    }

    async fn act(&self, _: &InstallationId, desired: &FirewallSpec, action: &Action) -> Result<(), Error> {
        let told = act::carry_out(&self.client, &self.firewalls, &desired.name, action).await?;
        // Events belong to environments, and this to none of them.
        if let Some((reason, message)) = told {
            tracing::info!(reason, "{message}");
        }
        Ok(())
    }

    async fn write_status(
        &self,
        _: &InstallationId,
        _: &FirewallSpec,
        _: Option<()>,
        failure: Option<&Error>,
    ) -> Result<(), Error> {
        if let Some(failure) = failure {
            tracing::warn!(error = %failure, "the base firewall is not as it should be");
        }
        Ok(())
    }
}
