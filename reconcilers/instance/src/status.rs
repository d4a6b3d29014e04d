//! What an instance's row says of it, from the desired set and the agent's report. Owns: phases, conditions and runtime details.
//! Must not: decide what the agent is told. Promises: a status speaks of the current droplet only, and one that the row already
//! has is not written again.

use crate::{compile::Compilation, container::Refusal};
use jiff::{SignedDuration, Timestamp};
use model::{
    AgentReport, ConditionStatus, DesiredInstance, EnvironmentId, Event, EventType, Instance, InstanceDesiredState, InstanceId,
    InstancePhase, InstanceReport, InstanceState, InstanceStatus, container::Probe,
};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// The condition types of an instance.
pub mod condition {
    /// Its probe passes, as specified now.
    pub const READY: &str = "Ready";
    /// Its specification can be run; `False` names the field that cannot.
    pub const CONFIGURED: &str = "Configured";
}

/// `reconcile_events.actor` of everything here.
pub const ACTOR: &str = "instance-reconciler";

/// What is written back at the end of a pass: the rows whose status changed, each with the generation that it speaks of.
pub type Statuses = Vec<(InstanceId, i64, InstanceStatus)>;

/// An event of this reconciler. The database records changes of an instance's phase by itself.
pub fn event(environment: EnvironmentId, kind: EventType, reason: &str, message: String, cause: String) -> Event {
    Event {
        environment_id: Some(environment),
        instance_id: None,
        kind,
        reason: reason.to_owned(),
        message,
        actor: ACTOR.to_owned(),
        cause,
    }
}

/// Where the instances of one environment live.
pub(crate) struct Host<'a> {
    /// Whether the environment wants its tools.
    pub(crate) wanted: bool,
    /// Whether there is a droplet.
    pub(crate) droplet: bool,
    /// Whether its agent is not heard.
    pub(crate) unresponsive: bool,
    /// Where it is reached.
    pub(crate) address: Option<IpAddr>,
    /// What its agent said last.
    pub(crate) agent: Agent<'a>,
    /// When `observed_at` alone is worth a write.
    pub(crate) refresh: SignedDuration,
}

/// What the current droplet's agent said last.
pub(crate) enum Agent<'a> {
    /// Nothing yet: whatever runs was not started by it.
    Unheard,
    /// It holds an older set: what it does not mention may be about to change.
    Behind(&'a AgentReport),
    /// It holds the set that was compiled now.
    Confirmed(&'a AgentReport),
}

impl<'a> Agent<'a> {
    fn report(&self) -> Option<&'a AgentReport> {
        match self {
            Self::Unheard => None,
            Self::Behind(report) | Self::Confirmed(report) => Some(report),
        }
    }

    fn confirmed(&self) -> bool {
        match self {
            Self::Unheard | Self::Behind(_) => false,
            Self::Confirmed(_) => true,
        }
    }
}

/// One row's new status, or `None` when the row already says it.
pub(crate) fn next(row: &Instance, compilation: &Compilation, host: &Host<'_>, now: Timestamp) -> Option<InstanceStatus> {
    if compilation.unread.contains(&row.id) {
        return None;
    }
    let entry = compilation.get(row.id);
    let held = entry.is_some_and(|entry| compilation.closing.contains(&entry.port));
    let refusal = compilation.refusals.get(&row.id);
    let reported = host.agent.report().and_then(|report| report.instance(row.id));
    let phase = phase(row, entry, refusal, reported, held, host);
    let failed = reported.filter(|reported| reported.state == InstanceState::Failed && phase == InstancePhase::ErrorRuntime);
    let mut status = row.status.clone();
    status.phase = phase;
    status.actual_running_version = reported.and_then(|reported| reported.version.clone());
    status.runtime_details = details(entry, reported, phase, host);
    status.error_message = refusal.map(ToString::to_string).or_else(|| {
        failed.map(|failed| {
            failed
                .message
                .clone()
                .unwrap_or_else(|| "the agent could not run it".to_owned())
        })
    });
    status.observed_generation = row.generation;
    conditions(&mut status, row, refusal, reported, held, host, now);
    observed(status, row, host)
}

/// Sets `observed_at` where that is due, and drops what is no change.
fn observed(mut status: InstanceStatus, row: &Instance, host: &Host<'_>) -> Option<InstanceStatus> {
    let read_at = host.agent.report().map(|report| report.received_at);
    let lag = match (row.status.observed_at, read_at) {
        (_, None) => SignedDuration::ZERO,
        (None, Some(_)) => SignedDuration::MAX,
        (Some(written), Some(read)) => read.duration_since(written),
    };
    let changed = status != row.status;
    if lag >= host.refresh || (changed && lag.is_positive()) {
        status.observed_at = read_at;
    }
    (status != row.status).then_some(status)
}

/// `held`: the agent is not told yet what the row says now, because the tool's port has to be closed first.
fn phase(
    row: &Instance,
    entry: Option<&DesiredInstance>,
    refusal: Option<&Refusal>,
    reported: Option<&InstanceReport>,
    held: bool,
    host: &Host<'_>,
) -> InstancePhase {
    let confirmed = host.agent.confirmed() && !held;
    match row.spec.desired_state {
        InstanceDesiredState::Removed => removal(reported, confirmed, host),
        InstanceDesiredState::Running if host.wanted => match entry {
            Some(entry) => running(entry, reported, held),
            None if refusal.is_some() => InstancePhase::ErrorRuntime,
            None => row.status.phase,
        },
        InstanceDesiredState::Running | InstanceDesiredState::Stopped => stopping(reported, confirmed, host),
    }
}

fn removal(reported: Option<&InstanceReport>, confirmed: bool, host: &Host<'_>) -> InstancePhase {
    if !host.droplet || (confirmed && reported.is_none()) {
        InstancePhase::Removed
    } else {
        InstancePhase::PendingRemoval
    }
}

fn stopping(reported: Option<&InstanceReport>, confirmed: bool, host: &Host<'_>) -> InstancePhase {
    // A droplet whose agent never reported never started anything.
    let at_rest = !host.droplet || host.agent.report().is_none();
    match reported.map(|reported| reported.state) {
        _ if at_rest => InstancePhase::Stopped,
        Some(InstanceState::Stopped) => InstancePhase::Stopped,
        None | Some(InstanceState::Failed) if confirmed => InstancePhase::Stopped,
        None
        | Some(
            InstanceState::Failed
            | InstanceState::Pending
            | InstanceState::Pulling
            | InstanceState::Starting
            | InstanceState::Running
            | InstanceState::Stopping,
        ) => InstancePhase::Stopping,
    }
}

fn running(entry: &DesiredInstance, reported: Option<&InstanceReport>, held: bool) -> InstancePhase {
    let Some(reported) = reported else {
        return InstancePhase::PendingStart;
    };
    // What is reported of an earlier generation says nothing of this one, except that the agent has yet to act.
    let current = reported.generation >= entry.generation && !held;
    match reported.state {
        InstanceState::Running if current => InstancePhase::Running,
        InstanceState::Failed if current => InstancePhase::ErrorRuntime,
        InstanceState::Stopped | InstanceState::Stopping if !current => InstancePhase::PendingStart,
        InstanceState::Pending => InstancePhase::PendingStart,
        InstanceState::Running
        | InstanceState::Failed
        | InstanceState::Pulling
        | InstanceState::Starting
        | InstanceState::Stopping
        | InstanceState::Stopped => InstancePhase::Starting,
    }
}

/// `runtime_details`: the port as long as the instance has one, and what the agent says of the container.
fn details(entry: Option<&DesiredInstance>, reported: Option<&InstanceReport>, phase: InstancePhase, host: &Host<'_>) -> Value {
    let mut details = Map::new();
    if let Some(entry) = entry {
        details.insert("port".to_owned(), json!(entry.port));
        if let (InstancePhase::Running, Some(address), Some(_)) = (phase, host.address, entry.container.container_port) {
            let path = match &entry.container.probe {
                Probe::Mcp { path } => path.as_str(),
                Probe::Tcp | Probe::Http { .. } => "",
            };
            let endpoint = match address {
                IpAddr::V4(address) => format!("https://{address}:{}{path}", entry.port),
                IpAddr::V6(address) => format!("https://[{address}]:{}{path}", entry.port),
            };
            details.insert("endpoint".to_owned(), endpoint.into());
        }
    }
    if let Some(reported) = reported {
        if let Some(container) = &reported.container_id {
            details.insert("container_id".to_owned(), container.as_str().into());
        }
        if let Some(digest) = &reported.image_digest {
            details.insert("image_digest".to_owned(), digest.as_str().into());
        }
        details.insert("restarts".to_owned(), reported.restarts.into());
    }
    Value::Object(details)
}

fn conditions(
    status: &mut InstanceStatus,
    row: &Instance,
    refusal: Option<&Refusal>,
    reported: Option<&InstanceReport>,
    held: bool,
    host: &Host<'_>,
    now: Timestamp,
) {
    let generation = row.generation;
    let (state, reason, message) = match refusal {
        Some(refusal) => (ConditionStatus::False, "InvalidSpecification", refusal.to_string()),
        None => (ConditionStatus::True, "Compiled", String::new()),
    };
    let conditions = &mut status.conditions;
    conditions.set(condition::CONFIGURED, state, reason, message, generation, now);
    let said = |reported: &InstanceReport| reported.message.clone().unwrap_or_default();
    let (state, reason, message) = if host.unresponsive && host.droplet {
        let message = "the droplet's agent is not heard; this is what it said last".to_owned();
        (ConditionStatus::Unknown, "AgentUnresponsive", message)
    } else if held {
        let message = "its port is closed before it stops, changes or goes".to_owned();
        (ConditionStatus::False, "ClosingPort", message)
    } else {
        let failure = reported.and_then(|reported| reported.reason.as_deref());
        match status.phase {
            InstancePhase::Running => (ConditionStatus::True, "Running", String::new()),
            InstancePhase::PendingStart => (
                ConditionStatus::False,
                "PendingStart",
                "the agent does not have it yet".to_owned(),
            ),
            InstancePhase::Starting => (
                ConditionStatus::False,
                failure.unwrap_or("Starting"),
                reported.map(said).unwrap_or_default(),
            ),
            InstancePhase::Stopping => (ConditionStatus::False, "Stopping", String::new()),
            InstancePhase::Stopped => (ConditionStatus::False, "Stopped", String::new()),
            InstancePhase::ErrorRuntime if refusal.is_some() => (ConditionStatus::False, "InvalidSpecification", String::new()),
            InstancePhase::ErrorRuntime => (
                ConditionStatus::False,
                failure.unwrap_or("Failed"),
                reported.map(said).unwrap_or_default(),
            ),
            InstancePhase::PendingRemoval => (ConditionStatus::False, "PendingRemoval", String::new()),
            InstancePhase::Removed => (ConditionStatus::False, "Removed", String::new()),
        }
    };
    conditions.set(condition::READY, state, reason, message, generation, now);
}
