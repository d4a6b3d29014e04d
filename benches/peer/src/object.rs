//! An environment as a custom resource: the fields of our row, its latest intent and its agent's report, in the types that a
//! custom resource usually has them in.

use crate::fixture::{Row, same};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{CustomResource, api::ObjectMeta};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "toolplane.dev",
    version = "v1",
    kind = "Environment",
    namespaced,
    status = "EnvironmentStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentSpec {
    pub user_id: Uuid,
    pub region: String,
    pub size: String,
    pub image: String,
    pub desired_state: DesiredState,
    pub paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesiredState {
    Active,
    Deleted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    PendingCreation,
    Creating,
    Active,
    Unresponsive,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    pub phase: Phase,
    pub droplet_id: Option<u64>,
    pub ip_address: Option<IpAddr>,
    pub droplet_created_at: Option<Timestamp>,
    pub agent_epoch: i64,
    pub error_message: Option<String>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
    pub observed_at: Option<Timestamp>,
    pub last_heartbeat_at: Option<Timestamp>,
    pub updated_at: Timestamp,
    pub intent: Option<Intent>,
    pub report: Option<Report>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    pub id: Uuid,
    pub kind: IntentKind,
    pub epoch: i64,
    pub announced_at: Timestamp,
    pub droplet_id: Option<u64>,
    pub enrolment_expires_at: Timestamp,
    pub enrolled_key: Option<String>,
    pub outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    Create,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Adopted,
    Refused,
    Lost,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub epoch: i64,
    pub boot_id: Uuid,
    pub sequence: i64,
    pub applied_epoch: Option<i64>,
    pub applied_generation: Option<i64>,
    pub agent_version: String,
    pub vitals: Vitals,
    pub instances: Vec<String>,
    pub received_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vitals {
    pub memory_total: u64,
    pub memory_available: u64,
    pub disk_total: u64,
    pub disk_available: u64,
    pub load_1m: f64,
    pub engine_version: Option<String>,
}

/// The object of row `row`, with `touched` in its report, at this resource version.
pub fn object(row: &Row, touched: i64, version: u64) -> Environment {
    let time = |text: &str| text.parse().expect("a constant");
    let (created, seen): (Timestamp, Timestamp) = (time(same::CREATED), time(same::SEEN));
    let meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    let condition = |(kind, reason): (&str, &str)| Condition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        last_transition_time: meta(created),
        observed_generation: Some(1),
    };
    Environment {
        metadata: ObjectMeta {
            name: Some(row.environment.to_string()),
            namespace: Some("default".to_owned()),
            uid: Some(row.environment.to_string()),
            resource_version: Some(version.to_string()),
            generation: Some(1),
            creation_timestamp: Some(meta(created)),
            ..ObjectMeta::default()
        },
        spec: EnvironmentSpec {
            user_id: row.user,
            region: same::REGION.to_owned(),
            size: same::SIZE.to_owned(),
            image: same::IMAGE.to_owned(),
            desired_state: DesiredState::Active,
            paused: false,
        },
        status: Some(EnvironmentStatus {
            phase: Phase::Active,
            droplet_id: Some(row.droplet),
            ip_address: Some(row.address.into()),
            droplet_created_at: Some(created),
            agent_epoch: 1,
            error_message: None,
            observed_generation: 1,
            conditions: same::CONDITIONS.map(condition).to_vec(),
            observed_at: Some(seen),
            last_heartbeat_at: Some(seen),
            updated_at: created,
            intent: Some(Intent {
                id: row.intent,
                kind: IntentKind::Create,
                epoch: 1,
                announced_at: created,
                droplet_id: Some(row.droplet),
                enrolment_expires_at: created,
                enrolled_key: Some(row.key()),
                outcome: Some(Outcome::Adopted),
            }),
            report: Some(Report {
                epoch: 1,
                boot_id: row.boot,
                sequence: row.sequence + touched,
                applied_epoch: Some(1),
                applied_generation: Some(touched),
                agent_version: same::AGENT_VERSION.to_owned(),
                vitals: Vitals {
                    memory_total: same::MEMORY.0,
                    memory_available: same::MEMORY.1,
                    disk_total: same::DISK.0,
                    disk_available: same::DISK.1,
                    load_1m: same::LOAD,
                    engine_version: Some(same::ENGINE_VERSION.to_owned()),
                },
                instances: Vec::new(),
                received_at: seen,
            }),
        }),
    }
}
