//! One reconciler's plan about one thing, as it would be made now.
//!
//! Owns: how a plan is made without a pass, and what a plan waits for. Must not: decide. Promises: what is decided from memory counts
//! only when there is nothing to do, as in a pass.

use environment_reconciler::{EnvironmentReconciler, OrphanReconciler, StatusWrite};
use firewall_reconciler::{BaseFirewallReconciler, Desired, FirewallReconciler};
use instance_reconciler::InstanceReconciler;
use jiff::SignedDuration;
use model::{Condition, ConditionStatus, Explain, Explanation, record::Subject};
use runtime::{Clock, Error, Observation, Plan, Read, Reconciler, SharedClock};

/// What one reconciler would do about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Which reconciler: `environment`, `orphan`, `firewall`, `instance`, `base_firewall`.
    pub reconciler: &'static str,
    /// The effects, in order; the first that fails would end the pass.
    pub effects: Vec<Explanation>,
    /// Whether one of the effects changes something; the others only look.
    pub changes: bool,
    /// Whether something that was seen would be written into the row.
    pub writes_status: bool,
    /// When it would look again if nothing happened before; `None` leaves it to the resync.
    pub looks_again_in: Option<SignedDuration>,
    /// What it waits for until then, as far as that is known.
    pub waits_for: Option<String>,
    /// Why it could not be told, if it could not.
    pub failure: Option<String>,
}

/// A reconciler that can say what a plan of it waits for.
pub(super) trait Waits: Reconciler<Action: Explain> {
    /// What is waited for, when the plan is to look again.
    fn waits_for(desired: &Self::Desired, observed: &Self::Observed, plan: &Plan<Self::Action, Self::Status>) -> Option<String>;
}

impl Waits for EnvironmentReconciler {
    /// What stands in the way by the conditions that the pass would leave.
    fn waits_for(record: &Self::Desired, _: &Self::Observed, plan: &Plan<Self::Action, StatusWrite>) -> Option<String> {
        let Subject::Row(row) = &record.subject else {
            return None;
        };
        let written = plan.status.as_ref().and_then(|write| write.status.as_ref());
        let conditions = &written.unwrap_or(&row.status).conditions;
        conditions.blocker().map(Condition::said)
    }
}

impl Waits for OrphanReconciler {
    fn waits_for((): &(), (_, seen): &Self::Observed, _: &Plan<Self::Action, ()>) -> Option<String> {
        match &seen.droplets {
            Observation::Present(_) if seen.crowd => {
                Some("so many are orphans at once that it is rather the wrong database".to_owned())
            }
            Observation::Present(_) => {
                Some("a droplet without an environment is destroyed when it has been in sight for the lag window".to_owned())
            }
            Observation::Unknown | Observation::Absent => None,
        }
    }
}

impl Waits for FirewallReconciler {
    /// How the firewall is by what the pass would leave on record.
    fn waits_for(desired: &Desired, _: &Self::Observed, plan: &Plan<Self::Action, schema::FirewallState>) -> Option<String> {
        let Desired::Environment(record) = desired else { return None };
        let planned = plan.status.as_ref().map(|status| (status.state, &status.message));
        let recorded = record.firewall.as_ref().map(|firewall| (firewall.state, &firewall.message));
        let (state, message) = planned.or(recorded)?;
        (state != ConditionStatus::True && !message.is_empty()).then(|| message.clone())
    }
}

impl Waits for InstanceReconciler {
    fn waits_for(_: &Self::Desired, _: &Self::Observed, _: &Plan<Self::Action, Self::Status>) -> Option<String> {
        None
    }
}

impl Waits for BaseFirewallReconciler {
    fn waits_for(_: &Self::Desired, _: &Self::Observed, _: &Plan<Self::Action, Self::Status>) -> Option<String> {
        None
    }
}

/// What a reconciler would do about a key; `None` when there is nothing of it.
pub(super) async fn forecast<R: Waits>(reconciler: &R, key: &R::Key, read: Read, clock: &SharedClock) -> Option<Forecast> {
    match reconciler.load(key, Read::Authoritative).await {
        Ok(None) => None,
        Ok(Some(desired)) => Some(decided(reconciler, key, &desired, read, clock).await),
        Err(error) => Some(failed::<R>(&error)),
    }
}

/// Observes and decides, as a pass does before it acts: what is decided from memory counts only when there is nothing to do.
pub(super) async fn decided<R: Waits>(
    reconciler: &R,
    key: &R::Key,
    desired: &R::Desired,
    read: Read,
    clock: &SharedClock,
) -> Forecast {
    let plan = async |read| {
        let observed = reconciler.observe(key, desired, read).await?;
        let plan = reconciler.decide(desired, &observed, clock.now());
        Ok::<_, Error>((observed, plan))
    };
    let plan = match (plan(read).await, read) {
        (Ok((observed, decided)), Read::Cached) if decided.actions.is_empty() => Ok((observed, decided)),
        (Ok(_), Read::Cached) => plan(Read::Authoritative).await,
        (decided, Read::Cached | Read::Authoritative) => decided,
    };
    match plan {
        Ok((observed, plan)) => {
            let waits = plan.requeue.is_some_and(|pause| pause.is_positive());
            let waits_for = waits.then(|| R::waits_for(desired, &observed, &plan)).flatten();
            let changes = plan.actions.iter().any(|action| !action.only_reads());
            Forecast {
                reconciler: R::KIND,
                effects: plan.actions.iter().map(Explain::explain).collect(),
                changes,
                writes_status: plan.status.is_some(),
                looks_again_in: plan.requeue,
                // What is done now is said by the effects.
                waits_for: waits_for.filter(|_| !changes),
                failure: None,
            }
        }
        Err(error) => failed::<R>(&error),
    }
}

fn failed<R: Reconciler>(error: &Error) -> Forecast {
    Forecast {
        reconciler: R::KIND,
        effects: Vec::new(),
        changes: false,
        writes_status: false,
        looks_again_in: None,
        waits_for: None,
        failure: Some(error.to_string()),
    }
}
