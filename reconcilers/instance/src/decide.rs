//! What to do about an environment's instances: store the set that its rows compile to, tell the agent, say what it reports.
//!
//! Owns: every choice of this reconciler. Must not: do I/O, read a clock, log. Promises: a set is stored only when it says
//! something else than the last one, and pushed only to an agent that has reported and does not hold it yet.

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;

use crate::{
    Desired,
    compile::{Compilation, compile, hosts},
    observe::Observed,
    status::{Agent, Host, Statuses, next},
};
use jiff::{SignedDuration, Timestamp};
use model::{DesiredSet, EnvironmentPhase, EnvironmentRecord, Stamp, Tools, record::Subject};
use runtime::Plan;
use std::net::IpAddr;

/// One effect. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store the set in place of the one with the expected stamp.
    StoreDesiredSet {
        /// The stamp of the set that it was compiled against.
        expected: Option<Stamp>,
        /// The set.
        set: DesiredSet,
    },
    /// Tell the agent. It asks by itself too, only later.
    PushDesiredSet {
        /// Where it is reached.
        address: IpAddr,
        /// The set, as stored.
        set: DesiredSet,
    },
}

/// The durations that decisions are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `observed_at` alone is written back only when it lags this much behind, so that heartbeats that say nothing new cost each
    /// row at most one write in this time.
    pub observed_refresh: SignedDuration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            observed_refresh: SignedDuration::from_secs(600),
        }
    }
}

/// Decides one pass.
pub fn decide(policy: &Policy, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan<Action, Statuses> {
    let record = &desired.record;
    let Some(tools) = record.tools.as_deref() else {
        return Plan::noop();
    };
    let compilation = compile(desired, tools);
    let held = tools.desired.as_ref();
    let paused = match &record.subject {
        Subject::Row(row) => row.spec.paused,
        Subject::Tombstone(_) => false,
    };
    let store = if paused { None } else { compilation.successor(record, held) };
    let current = store.as_ref().or(held);
    let mut actions = Vec::new();
    let push = current.filter(|_| !paused).and_then(|set| push(record, observed, set));
    if let Some(set) = &store {
        actions.push(Action::StoreDesiredSet {
            expected: held.map(|set| set.stamp),
            set: set.clone(),
        });
    }
    actions.extend(push);
    let statuses = statuses(policy, record, tools, &compilation, current, now);
    Plan {
        actions,
        status: (!statuses.is_empty()).then_some(statuses),
        requeue: None,
    }
}

/// Whether the agent has to be told, and where. It is told only once it has reported, for before it is not listening, and not
/// while it is not heard, for then it would not listen.
fn push(record: &EnvironmentRecord, observed: &Observed, set: &DesiredSet) -> Option<Action> {
    let applied = record.current_report()?.applied;
    let address = match &record.subject {
        Subject::Row(row) if row.status.phase == EnvironmentPhase::Unresponsive => None,
        Subject::Row(row) => row.status.ip_address,
        Subject::Tombstone(tombstone) => tombstone.ip_address,
    }?;
    let told = applied.is_some_and(|applied| applied >= set.stamp) || observed.pushed.is_some_and(|pushed| pushed >= set.stamp);
    (!told).then(|| Action::PushDesiredSet {
        address,
        set: set.clone(),
    })
}

fn statuses(
    policy: &Policy,
    record: &EnvironmentRecord,
    tools: &Tools,
    compilation: &Compilation,
    current: Option<&DesiredSet>,
    now: Timestamp,
) -> Statuses {
    let Subject::Row(environment) = &record.subject else {
        // Its instance rows are gone with it.
        return Statuses::new();
    };
    let droplet = environment.status.droplet_id.is_some();
    // Between two droplets the last report still carries the current epoch, and speaks of a droplet that is gone.
    let report = record.current_report().filter(|_| droplet);
    let agent = match report {
        None => Agent::Unheard,
        Some(report) if current.is_none_or(|set| report.applied.is_some_and(|applied| applied >= set.stamp)) => {
            Agent::Confirmed(report)
        }
        Some(report) => Agent::Behind(report),
    };
    let host = Host {
        wanted: hosts(record),
        droplet,
        unresponsive: environment.status.phase == EnvironmentPhase::Unresponsive,
        address: environment.status.ip_address,
        agent,
        refresh: policy.observed_refresh,
    };
    let rows = tools.instances.iter();
    rows.filter_map(|row| Some((row.id, row.generation, next(row, compilation, &host, now)?)))
        .collect()
}
