//! The JSON bodies and the paths of both directions.

use crate::Token;
use jiff::Timestamp;
use model::{AgentReport, DropletId, DropletVitals, EnvironmentId, InstanceReport, IntentId, Stamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Paths below the control plane's base URL, as routers and clients spell them.
pub mod backend_path {
    use model::EnvironmentId;

    /// `POST` [`super::EnrolRequest`].
    pub const ENROL: &str = "/api/v1/agent/enroll";
    /// `POST` [`super::HeartbeatRequest`].
    pub const HEARTBEAT: &str = "/api/v1/agent/heartbeat";
    /// `GET` a [`model::DesiredSet`]; an axum route.
    pub const DESIRED_SET: &str = "/api/v1/agent/{environment_id}/desired-set";
    /// `GET` the agent's binary, without authentication; an axum route.
    pub const BINARY: &str = "/api/v1/agent/binary/{sha256}";

    /// [`DESIRED_SET`] of one environment.
    pub fn desired_set(environment: EnvironmentId) -> String {
        DESIRED_SET.replace("{environment_id}", &environment.to_string())
    }

    /// [`BINARY`] with one hash.
    pub fn binary(sha256: &str) -> String {
        BINARY.replace("{sha256}", sha256)
    }
}

/// Paths of the agent's HTTPS API.
pub mod agent_path {
    use model::InstanceId;

    /// `GET` [`super::Health`]; without a token [`super::LivenessAnswer`].
    pub const HEALTH: &str = "/health";
    /// `PUT` and `GET` a [`model::DesiredSet`].
    pub const DESIRED_SET: &str = "/v1/desired-set";
    /// `GET` [`super::ToolList`].
    pub const TOOLS: &str = "/tools";
    /// `GET` a [`model::InstanceReport`]; an axum route.
    pub const TOOL_STATUS: &str = "/tools/{id}/status";

    /// [`TOOL_STATUS`] of one instance.
    pub fn tool_status(instance: InstanceId) -> String {
        TOOL_STATUS.replace("{id}", &instance.to_string())
    }
}

/// Asks for a certificate and tokens. The same key may ask again: after a lost answer, a restart, a rotation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// From the bootstrap configuration.
    pub environment_id: EnvironmentId,
    /// From the bootstrap configuration.
    pub intent_id: IntentId,
    /// From the bootstrap configuration.
    pub token: Token,
    /// Over the droplet's key.
    pub csr_pem: String,
    /// See [`crate::proof`].
    pub proof: String,
}

/// What an enrolled agent holds. Only the certificates may touch a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrolResponse {
    /// The agent's certificate.
    pub certificate_pem: String,
    /// Toolplane's authority.
    pub ca_pem: String,
    /// Shown by the agent to the control plane.
    pub agent_token: Token,
    /// Shown by the control plane to the agent.
    pub control_token: Token,
    /// Shown by callers of tools to the agent's proxy.
    pub tool_token: Token,
    /// The epoch of these tokens.
    pub epoch: i64,
    /// Seconds between heartbeats.
    pub heartbeat_seconds: u32,
}

/// [`AgentReport`] as its agent knows it: without the server's time stamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatReport {
    /// Made anew at each start of the agent.
    pub boot_id: Uuid,
    /// Rises by one with each heartbeat of a boot.
    pub sequence: i64,
    /// The desired set that the agent holds.
    pub applied: Option<Stamp>,
    /// `0.1.0`.
    pub agent_version: String,
    /// The droplet.
    pub vitals: DropletVitals,
    /// Every instance.
    pub instances: Vec<InstanceReport>,
}

impl HeartbeatReport {
    /// The report as the server keeps it.
    pub fn received(self, received_at: Timestamp) -> AgentReport {
        AgentReport {
            boot_id: self.boot_id,
            sequence: self.sequence,
            applied: self.applied,
            agent_version: self.agent_version.as_str().into(),
            vitals: self.vitals,
            instances: self.instances,
            received_at,
        }
    }
}

/// One heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatRequest {
    /// Whose droplet.
    pub environment_id: EnvironmentId,
    /// The epoch of the token that it comes with.
    pub epoch: i64,
    /// What it says.
    pub report: HeartbeatReport,
}

/// The server's answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatAnswer {
    /// The server's clock.
    pub received_at: Timestamp,
    /// Seconds until the next one is expected.
    pub next_seconds: u32,
    /// The stamp of the set that the agent should hold; `None` while there is none.
    pub desired: Option<Stamp>,
    /// The epoch that the agent should hold; a higher one than its own asks it to enrol again.
    pub epoch: i64,
}

/// The agent's health, for whoever holds the control token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok` while the agent serves.
    pub status: String,
    /// Whose droplet.
    pub environment_id: EnvironmentId,
    /// From the metadata service; `None` while it has not answered.
    pub droplet_id: Option<DropletId>,
    /// Of this start of the agent.
    pub boot_id: Uuid,
    /// `0.1.0`.
    pub agent_version: String,
    /// The epoch of its tokens.
    pub epoch: i64,
    /// The desired set that it holds.
    pub applied: Option<Stamp>,
    /// Whether the Docker engine answered last time, and its version.
    pub engine_version: Option<String>,
}

/// The agent's health for everyone: that it lives, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivenessAnswer {
    /// `ok`.
    pub status: String,
}

/// Everything on the droplet, ordered by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolList {
    /// As in heartbeats.
    pub tools: Vec<InstanceReport>,
}

/// `application/problem+json` (RFC 9457): every error of either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The status' own words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What exactly, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// With 409 on a desired set: the stamp of the set that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Stamp>,
}
