//! What to do about an environment's instances: store the set that its rows compile to, tell the agent, say what it reports.
//!
//! Owns: every choice of this reconciler. Must not: do I/O, read a clock, log. Promises: a set is stored only when it says
//! something else than the last one, and pushed only to an agent that has reported and does not hold it yet. No set takes a tool
//! away behind a port that may be open, unless that port was waited for in vain:
//!
//! ```text
//! runs, port may be open --(to stop, change or go)--> asked to close --(off the record)--> stored
//!                                                          |  not within port_patience
//!                                                          +--> stored all the same, with a warning
//! ```

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
use model::{
    Cause, DesiredInstance, DesiredSet, EnvironmentPhase, EnvironmentRecord, Explain, Explanation, Stamp, Tools, record::Subject,
};
use runtime::Plan;
use std::{collections::BTreeSet, net::IpAddr};

/// One effect. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store the set in place of the one with the expected stamp.
    StoreDesiredSet {
        /// The stamp of the set that it was compiled against.
        expected: Option<Stamp>,
        /// The set.
        set: DesiredSet,
        /// Ports that may be open, and are waited for no longer.
        left_open: BTreeSet<u16>,
        /// Which rows say something else.
        cause: Cause,
    },
    /// Ask for exactly these ports to be closed. The firewall reconciler closes them, and takes them off the record.
    ClosePorts {
        /// The ports; none withdraws what was asked before.
        ports: BTreeSet<u16>,
        /// Whose tools are to stop, to change or to go.
        cause: Cause,
    },
    /// Tell the agent. It asks by itself too, only later.
    PushDesiredSet {
        /// Where it is reached.
        address: IpAddr,
        /// The set, as stored.
        set: DesiredSet,
        /// What the agent holds instead.
        cause: Cause,
    },
}

impl Explain for Action {
    fn explain(&self) -> Explanation {
        let (action, object, message, cause) = match self {
            Self::StoreDesiredSet { set, cause, .. } => (
                "StoreDesiredSet",
                format!("desired set {} of epoch {}", set.stamp.generation, set.stamp.epoch),
                format!("a desired set of {} instances is stored", set.instances.len()),
                cause,
            ),
            Self::ClosePorts { ports, cause } if ports.is_empty() => (
                "ClosePorts",
                "firewall".to_owned(),
                "no port has to close any more".to_owned(),
                cause,
            ),
            Self::ClosePorts { ports, cause } => (
                "ClosePorts",
                "firewall".to_owned(),
                format!("asked for to be closed: {}", listed(ports)),
                cause,
            ),
            Self::PushDesiredSet { address, set, cause } => (
                "PushDesiredSet",
                format!("agent at {address}"),
                format!("the agent is told of generation {}", set.stamp.generation),
                cause,
            ),
        };
        Explanation {
            action,
            object,
            message,
            cause: cause.clone(),
        }
    }
}

/// Ports for people: `ports 31000, 31004`.
pub(crate) fn listed(ports: &BTreeSet<u16>) -> String {
    let noun = if ports.len() == 1 { "port" } else { "ports" };
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{noun} {}", ports.join(", "))
}

/// The durations that decisions are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `observed_at` alone is written back only when it lags this much behind, so that heartbeats that say nothing new cost each
    /// row at most one write in this time.
    pub observed_refresh: SignedDuration,
    /// How long a tool that is to stop, to change or to go waits for its port to be closed. When DigitalOcean cannot be reached
    /// for so long, it stops all the same: whoever stops a tool has a reason, and one that cannot be stopped is worse than a
    /// port behind which nothing listens.
    pub port_patience: SignedDuration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            observed_refresh: SignedDuration::from_secs(600),
            port_patience: SignedDuration::from_secs(30),
        }
    }
}

/// Decides one pass.
pub fn decide(policy: &Policy, desired: &Desired, observed: &Observed, now: Timestamp) -> Plan<Action, Statuses> {
    let record = &desired.record;
    let Some(tools) = record.tools.as_deref() else {
        return Plan::noop();
    };
    let compilation = compile(desired, tools, policy.port_patience, now);
    let held = tools.desired.as_ref();
    let paused = match &record.subject {
        Subject::Row(row) => row.spec.paused,
        Subject::Tombstone(_) => false,
    };
    let store = if paused { None } else { compilation.successor(record, held) };
    let current = store.as_ref().or(held);
    let mut actions = Vec::new();
    // 1. First what may be stored now, so that no port opens again for a tool that is about to change.
    if let Some(set) = &store {
        actions.push(Action::StoreDesiredSet {
            expected: held.map(|set| set.stamp),
            set: set.clone(),
            left_open: compilation.left_open.clone(),
            cause: changed(set, held),
        });
    }
    // 2. Then what has to wait for its port.
    actions.extend(close(record, &compilation).filter(|_| !paused));
    // 3. The agent last: it may not be reached.
    actions.extend(current.filter(|_| !paused).and_then(|set| push(record, observed, set)));
    let statuses = statuses(policy, record, tools, &compilation, current, now);
    Plan {
        actions,
        status: (!statuses.is_empty()).then_some(statuses),
        requeue: compilation.patience.filter(|_| !paused),
    }
}

/// What is asked of the firewall, if it is something else than before.
fn close(record: &EnvironmentRecord, compilation: &Compilation) -> Option<Action> {
    let asked: BTreeSet<u16> = record.firewall.as_ref()?.closing.keys().copied().collect();
    let ports: BTreeSet<u16> = compilation.closing.union(&compilation.left_open).copied().collect();
    let cause = if ports.is_empty() {
        Cause::observation("the tools behind them are stopped, or stay")
    } else {
        let behind = compilation.instances.iter().filter(|instance| ports.contains(&instance.port));
        let behind: Vec<String> = behind.map(|instance| instance.instance_id.to_string()).collect();
        Cause::observation(format!("to stop, to change or to go: instance {}", behind.join(", ")))
    };
    (asked != ports).then_some(Action::ClosePorts { ports, cause })
}

/// Which instances a set says something else of.
fn changed(set: &DesiredSet, held: Option<&DesiredSet>) -> Cause {
    let before = held.map_or(&[][..], |set| &set.instances[..]);
    if held.is_some_and(|held| held.stamp.epoch != set.stamp.epoch) {
        return Cause::observation(format!("the droplet of epoch {} gets its own set", set.stamp.epoch));
    }
    let differs = |all: &[DesiredInstance], one: &DesiredInstance| !all.contains(one);
    let changed = set.instances.iter().filter(|instance| differs(before, instance));
    let mut words: Vec<String> = changed
        .map(|instance| format!("generation {} of instance {}", instance.generation, instance.instance_id))
        .collect();
    let stays = |one: &DesiredInstance| set.instances.iter().any(|instance| instance.instance_id == one.instance_id);
    let gone = before.iter().filter(|instance| !stays(instance));
    words.extend(gone.map(|instance| format!("instance {} is not wanted any more", instance.instance_id)));
    Cause::observation(words.join(", "))
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
    let cause = match applied {
        Some(held) => Cause::observation(format!(
            "the agent holds generation {} of epoch {}",
            held.generation, held.epoch
        )),
        None => Cause::observation("the agent holds no desired set"),
    };
    (!told).then(|| Action::PushDesiredSet {
        address,
        set: set.clone(),
        cause,
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
