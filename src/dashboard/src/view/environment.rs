//! An environment with its conditions and tools as text.

use super::{age, or_dash, span, spelled};
use jiff::Timestamp;
use model::{
    Condition, ConditionStatus, Environment, EnvironmentPhase, EnvironmentRecord, Instance, InstancePhase, Subject, Tombstone,
};

pub(super) struct EnvironmentView {
    pub(super) id: String,
    pub(super) phase: String,
    pub(super) tone: &'static str,
    pub(super) desired: String,
    pub(super) droplet: String,
    pub(super) address: String,
    pub(super) size: Option<String>,
    pub(super) observed: String,
    pub(super) heartbeat: String,
    pub(super) message: Option<String>,
    /// The conditions that do not hold.
    pub(super) open: Vec<ConditionView>,
    pub(super) instances: Vec<InstanceView>,
}

pub(super) struct InstanceView {
    pub(super) name: String,
    pub(super) phase: String,
    pub(super) tone: &'static str,
    pub(super) desired: String,
    pub(super) version: String,
    pub(super) endpoint: String,
    pub(super) restarts: String,
    pub(super) observed: String,
    pub(super) message: String,
}

pub(super) struct ConditionView {
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) tone: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: String,
}

impl EnvironmentView {
    pub(super) fn new(record: &EnvironmentRecord, now: Timestamp) -> Self {
        let instances = record.tools.iter().flat_map(|tools| &tools.instances);
        let instances = instances.map(|row| InstanceView::new(row, now)).collect();
        match &record.subject {
            Subject::Row(row) => Self {
                open: open(row, now),
                instances,
                ..Self::row(row, now)
            },
            Subject::Tombstone(tombstone) => Self::tombstone(tombstone, record, now),
        }
    }

    fn row(row: &Environment, now: Timestamp) -> Self {
        let (spec, status) = (&row.spec, &row.status);
        let paused = if spec.paused { ", paused" } else { "" };
        Self {
            id: row.id.to_string(),
            phase: spelled(status.phase),
            tone: environment_tone(status.phase),
            desired: format!("{}{paused}", spelled(spec.desired_state)),
            droplet: or_dash(status.droplet_id),
            address: or_dash(status.ip_address),
            size: Some(format!("{} in {}", spec.size, spec.region)),
            observed: age(status.observed_at, now),
            heartbeat: age(row.last_heartbeat_at, now),
            message: status.error_message.clone(),
            open: Vec::new(),
            instances: Vec::new(),
        }
    }

    fn tombstone(tombstone: &Tombstone, record: &EnvironmentRecord, now: Timestamp) -> Self {
        let heard = record.current_report().map(|report| report.received_at);
        Self {
            id: tombstone.environment_id.to_string(),
            phase: "row deleted".to_owned(),
            tone: "busy",
            desired: "nothing".to_owned(),
            droplet: or_dash(tombstone.droplet_id),
            address: or_dash(tombstone.ip_address),
            size: None,
            // A tombstone has no status: what is known is when it was left.
            observed: format!("{}, when the row was deleted", age(Some(tombstone.deleted_at), now)),
            heartbeat: age(heard, now),
            message: None,
            open: Vec::new(),
            instances: Vec::new(),
        }
    }
}

impl InstanceView {
    fn new(row: &Instance, now: Timestamp) -> Self {
        let detail = |key: &str| row.status.runtime_details.get(key);
        let ready = row.status.conditions.get("Ready").filter(|ready| is_open(ready));
        let said = ready.map(|ready| ready.message.to_string());
        Self {
            name: row.spec.instance_name.clone().unwrap_or_else(|| row.id.to_string()),
            phase: spelled(row.status.phase),
            tone: instance_tone(row.status.phase),
            desired: spelled(row.spec.desired_state),
            version: row.status.actual_running_version.clone().unwrap_or_else(|| "-".to_owned()),
            endpoint: or_dash(detail("endpoint").and_then(|endpoint| endpoint.as_str())),
            restarts: or_dash(detail("restarts")),
            observed: age(row.status.observed_at, now),
            message: row.status.error_message.clone().or(said).unwrap_or_default(),
        }
    }
}

impl ConditionView {
    fn new(condition: &Condition, now: Timestamp) -> Self {
        Self {
            kind: condition.kind.to_string(),
            status: spelled(condition.status),
            tone: match condition.status {
                ConditionStatus::True => "good",
                ConditionStatus::False => "bad",
                ConditionStatus::Unknown => "busy",
            },
            reason: condition.reason.to_string(),
            message: condition.message.to_string(),
            since: span(condition.last_transition_time, now),
        }
    }
}

/// Every condition of a row.
pub(super) fn conditions(record: &EnvironmentRecord, now: Timestamp) -> Vec<ConditionView> {
    match &record.subject {
        Subject::Row(row) => {
            let conditions = row.status.conditions.0.iter();
            conditions.map(|condition| ConditionView::new(condition, now)).collect()
        }
        Subject::Tombstone(_) => Vec::new(),
    }
}

/// What does not hold. An environment that is gone as it should be lacks nothing.
fn open(row: &Environment, now: Timestamp) -> Vec<ConditionView> {
    if row.status.phase == EnvironmentPhase::Deleted {
        return Vec::new();
    }
    let tone = match environment_tone(row.status.phase) {
        "busy" => "busy",
        _ => "bad",
    };
    let open = row.status.conditions.0.iter().filter(|condition| is_open(condition));
    open.map(|condition| ConditionView {
        tone,
        ..ConditionView::new(condition, now)
    })
    .collect()
}

fn is_open(condition: &Condition) -> bool {
    condition.status != ConditionStatus::True
}

fn environment_tone(phase: EnvironmentPhase) -> &'static str {
    match phase {
        EnvironmentPhase::Active => "good",
        EnvironmentPhase::PendingCreation
        | EnvironmentPhase::Creating
        | EnvironmentPhase::PendingDeletion
        | EnvironmentPhase::Deleting => "busy",
        EnvironmentPhase::ErrorCreation | EnvironmentPhase::ErrorDeletion | EnvironmentPhase::Unresponsive => "bad",
        EnvironmentPhase::Deleted => "",
    }
}

fn instance_tone(phase: InstancePhase) -> &'static str {
    match phase {
        InstancePhase::Running => "good",
        InstancePhase::PendingStart | InstancePhase::Starting | InstancePhase::Stopping | InstancePhase::PendingRemoval => "busy",
        InstancePhase::ErrorRuntime => "bad",
        InstancePhase::Stopped | InstancePhase::Removed => "",
    }
}
