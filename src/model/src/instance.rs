//! `account_tool_instances`: one tool on an environment's droplet.

use crate::{CatalogId, Conditions, EnvironmentId, InstanceId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the user wants of an instance (`desired_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceDesiredState {
    /// Its container runs.
    #[default]
    Running,
    /// No container runs; its port and volumes are kept.
    Stopped,
    /// Nothing of it is left on the droplet.
    Removed,
}

/// `tool_instance_status_enum` of the seed: where an instance stands.
///
/// ```text
/// pending_start -> starting -> running <-> error_runtime   (the agent restarts it, with backoff)
///       ^              |          |
///       |              +----+-----+   desired_state = stopped
///       |                   v
///       +---- stopped <- stopping
///  desired_state
///   = running        any -> pending_removal -> removed      (desired_state = removed)
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancePhase {
    /// Wanted; not yet in the agent's hands.
    #[default]
    PendingStart,
    /// The agent pulls, creates or probes it.
    Starting,
    /// Its probe passes.
    Running,
    /// The agent was told to stop it and has not confirmed.
    Stopping,
    /// No container of it runs.
    Stopped,
    /// It crashed or cannot be started; the message says why, and the agent keeps trying.
    ErrorRuntime,
    /// The agent was told to remove it and has not confirmed.
    PendingRemoval,
    /// Nothing of it is left.
    Removed,
}

/// What the user writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// The environment whose droplet it runs on.
    #[serde(rename = "account_tool_environment_id")]
    pub environment_id: EnvironmentId,
    /// Which tool.
    #[serde(rename = "tool_catalog_id")]
    pub catalog_id: CatalogId,
    /// A name for people.
    pub instance_name: Option<String>,
    /// A version that the catalog entry offers.
    pub version_to_run: String,
    /// Overrides of the catalog's default configuration: a JSON object.
    pub config_values_override: serde_json::Value,
    /// Running, stopped or removed.
    pub desired_state: InstanceDesiredState,
    /// Observe, but change nothing.
    pub paused: bool,
}

/// What controllers observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// `status`.
    #[serde(rename = "status")]
    pub phase: InstancePhase,
    /// The version that the agent says is running.
    pub actual_running_version: Option<String>,
    /// From the agent: `{"port": 31000, "container_id": "...", "image_digest": "...", "endpoint": "https://...", "restarts": 0}`.
    pub runtime_details: serde_json::Value,
    /// A sentence for people, in error phases.
    pub error_message: Option<String>,
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// The details.
    pub conditions: Conditions,
    /// The time of the heartbeat that this was read from.
    pub observed_at: Option<Timestamp>,
}

/// A whole row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Primary key.
    pub id: InstanceId,
    /// Rises by one whenever a specification column changes.
    pub generation: i64,
    /// Owned by the user.
    #[serde(flatten)]
    pub spec: InstanceSpec,
    /// Owned by the controller.
    #[serde(flatten)]
    pub status: InstanceStatus,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
}
