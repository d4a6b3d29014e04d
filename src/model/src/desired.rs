//! The desired set: everything that one droplet's agent has to know, complete each time.

use crate::{ContainerSpec, EnvironmentId, InstanceId};
use serde::{Deserialize, Serialize};

/// Orders desired sets: first by epoch, then by generation. An agent refuses a set whose stamp is older than the one it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The environment's `agent_epoch`: rises with every new droplet.
    pub epoch: i64,
    /// Rises whenever the set's content changes.
    pub generation: i64,
}

/// Whether an instance's container should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It runs.
    Running,
    /// It does not, and keeps its port.
    Stopped,
}

/// One instance as its agent should keep it. An instance that is not in the set has to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredInstance {
    /// Which.
    pub instance_id: InstanceId,
    /// The row's generation that this was compiled from; the agent's reports repeat it.
    pub generation: i64,
    /// Run or not.
    pub run: RunState,
    /// `version_to_run`, repeated in reports as the actual version once it runs.
    pub version: String,
    /// The public port on the droplet; stays with the instance.
    pub port: u16,
    /// What to run.
    pub container: ContainerSpec,
}

/// The complete desired state of one droplet. It carries no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredSet {
    /// Whose.
    pub environment_id: EnvironmentId,
    /// Its place in the order.
    pub stamp: Stamp,
    /// Ordered by instance id.
    pub instances: Vec<DesiredInstance>,
}
