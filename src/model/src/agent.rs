//! What an agent reports about its droplet.

use crate::{InstanceId, Stamp, Word};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where the agent has an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Known, nothing done yet.
    Pending,
    /// Its image is being pulled.
    Pulling,
    /// Its container exists and its probe has not passed yet.
    Starting,
    /// Its probe passes.
    Running,
    /// SIGTERM was sent.
    Stopping,
    /// No container runs, as wanted.
    Stopped,
    /// It exited or could not be started; the agent tries again after a backoff.
    Failed,
}

/// One instance as its agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Which.
    pub instance_id: InstanceId,
    /// The row's generation that the agent works on.
    pub generation: i64,
    /// Where it stands.
    pub state: InstanceState,
    /// The version of the running container.
    pub version: Option<String>,
    /// `sha256:...` of the running container's image.
    pub image_digest: Option<String>,
    /// The engine's id of the container.
    pub container_id: Option<String>,
    /// The public port on the droplet.
    pub port: Option<u16>,
    /// How often the agent has restarted it since the droplet booted.
    pub restarts: u32,
    /// Of the last exit.
    pub exit_code: Option<i64>,
    /// An upper-camel-case word for `Failed`: `ImagePullFailed`, `Crashed`, `OutOfMemory`, `NotReady`, ...
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
}

/// The droplet's vital signs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DropletVitals {
    /// Bytes of memory in all.
    pub memory_total: u64,
    /// Bytes of memory that can be had.
    pub memory_available: u64,
    /// Bytes on the disk of the engine's data.
    pub disk_total: u64,
    /// Free bytes on it.
    pub disk_available: u64,
    /// One-minute load average.
    pub load_1m: f64,
    /// The Docker engine's version, when it answers.
    pub engine_version: Option<Word>,
}

/// What a heartbeat says, as the server keeps it (`agent_reports`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Made anew at each start of the agent.
    pub boot_id: Uuid,
    /// Rises by one with each heartbeat of a boot.
    pub sequence: i64,
    /// The desired set that the agent holds.
    pub applied: Option<Stamp>,
    /// `0.1.0`.
    pub agent_version: Word,
    /// The droplet.
    pub vitals: DropletVitals,
    /// Every instance.
    pub instances: Vec<InstanceReport>,
    /// Stamped by the server.
    pub received_at: Timestamp,
}

impl AgentReport {
    /// What the report says about one instance.
    pub fn instance(&self, id: InstanceId) -> Option<&InstanceReport> {
        self.instances.iter().find(|report| report.instance_id == id)
    }
}
