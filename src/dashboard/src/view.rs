//! Records as the page's rows of text.

use askama::Template;
use jiff::Timestamp;
use model::{Environment, EnvironmentPhase, EnvironmentRecord, Instance, InstancePhase, Subject};
use std::fmt::Display;

#[derive(Template)]
#[template(path = "fleet.html")]
pub(crate) struct Fleet {
    environments: Vec<EnvironmentView>,
    instance_count: usize,
}

struct EnvironmentView {
    id: String,
    phase: String,
    tone: &'static str,
    desired: String,
    droplet: String,
    address: String,
    size: String,
    region: String,
    observed: String,
    heartbeat: String,
    message: Option<String>,
    instances: Vec<InstanceView>,
}

struct InstanceView {
    name: String,
    phase: String,
    tone: &'static str,
    desired: String,
    version: String,
    endpoint: String,
    restarts: String,
    observed: String,
    message: String,
}

impl Fleet {
    pub(crate) fn new(records: &[EnvironmentRecord], now: Timestamp) -> Self {
        let environments: Vec<EnvironmentView> = records.iter().filter_map(|record| environment(record, now)).collect();
        Self {
            instance_count: environments.iter().map(|environment| environment.instances.len()).sum(),
            environments,
        }
    }
}

/// A tombstone has no row any more and nothing that a person could change; the events tell its end.
fn environment(record: &EnvironmentRecord, now: Timestamp) -> Option<EnvironmentView> {
    let Subject::Row(Environment {
        id,
        spec,
        status,
        last_heartbeat_at,
        ..
    }) = &record.subject
    else {
        return None;
    };
    let instances = record.tools.iter().flat_map(|tools| &tools.instances);
    Some(EnvironmentView {
        id: id.to_string(),
        phase: spelled(status.phase),
        tone: environment_tone(status.phase),
        desired: spelled(spec.desired_state),
        droplet: or_dash(status.droplet_id),
        address: or_dash(status.ip_address),
        size: spec.size.to_string(),
        region: spec.region.to_string(),
        observed: age(status.observed_at, now),
        heartbeat: age(*last_heartbeat_at, now),
        message: status.error_message.clone(),
        instances: instances.map(|row| instance(row, now)).collect(),
    })
}

fn instance(row: &Instance, now: Timestamp) -> InstanceView {
    let detail = |key: &str| row.status.runtime_details.get(key);
    InstanceView {
        name: row.spec.instance_name.clone().unwrap_or_else(|| row.id.to_string()),
        phase: spelled(row.status.phase),
        tone: instance_tone(row.status.phase),
        desired: spelled(row.spec.desired_state),
        version: row.status.actual_running_version.clone().unwrap_or_else(|| "-".to_owned()),
        endpoint: or_dash(detail("endpoint").and_then(|endpoint| endpoint.as_str())),
        restarts: or_dash(detail("restarts")),
        observed: age(row.status.observed_at, now),
        message: row.status.error_message.clone().unwrap_or_default(),
    }
}

/// The enum's name as Postgres spells it.
fn spelled(value: impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| "?".to_owned())
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// How long ago, in its largest whole unit: `12s ago`.
fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "never".to_owned() };
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86400),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use model::{
        CatalogId, EnvironmentDesiredState, EnvironmentId, EnvironmentSpec, EnvironmentStatus, InstanceDesiredState, InstanceId,
        InstanceSpec, InstanceStatus, Tools, UserId,
    };

    fn record(name: &str, now: Timestamp) -> EnvironmentRecord {
        let id = EnvironmentId::random();
        let instance = Instance {
            id: InstanceId::random(),
            generation: 1,
            spec: InstanceSpec {
                environment_id: id,
                catalog_id: CatalogId::random(),
                instance_name: Some(name.to_owned()),
                version_to_run: "1.0.0".to_owned(),
                config_values_override: serde_json::json!({}),
                desired_state: InstanceDesiredState::Running,
                paused: false,
            },
            status: InstanceStatus {
                observed_at: Some(now - SignedDuration::from_secs(7)),
                ..InstanceStatus::default()
            },
            created_at: now,
            updated_at: now,
        };
        let environment = Environment {
            id,
            generation: 1,
            spec: EnvironmentSpec {
                user_id: UserId::random(),
                region: "nyc3".into(),
                size: "s-1vcpu-1gb".into(),
                image: "ubuntu-22-04-x64".into(),
                desired_state: EnvironmentDesiredState::Active,
                paused: false,
            },
            status: EnvironmentStatus {
                observed_at: Some(now - SignedDuration::from_mins(3)),
                ..EnvironmentStatus::default()
            },
            last_heartbeat_at: None,
            created_at: now,
            updated_at: now,
        };
        let tools = Tools {
            instances: vec![instance],
            ..Tools::default()
        };
        EnvironmentRecord {
            subject: Subject::Row(environment),
            intent: None,
            tools: Some(Box::new(tools)),
        }
    }

    #[test]
    fn every_status_stands_beside_its_age() {
        let now = Timestamp::now();
        let page = Fleet::new(&[record("Reasoning", now)], now).render().unwrap();
        assert!(
            page.contains("pending_creation") && page.contains("seen 3m ago, heartbeat never"),
            "{page}"
        );
        assert!(page.contains("pending_start") && page.contains("7s ago"), "{page}");
    }

    #[test]
    fn what_users_write_is_text_and_never_markup() {
        let now = Timestamp::now();
        let page = Fleet::new(&[record("<script>alert(1)</script>", now)], now).render().unwrap();
        assert!(!page.contains("<script>") && page.contains("alert(1)"), "{page}");
    }
}
