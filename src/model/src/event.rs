//! `reconcile_events`: what was done and why, for people.

use crate::{EnvironmentId, InstanceId};
use serde::{Deserialize, Serialize};

/// As in Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// One event. The same `(environment, instance, reason, message)` again within an hour raises the count of the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it is about; `None` for what the installation has once.
    pub environment_id: Option<EnvironmentId>,
    /// What it is about, more closely.
    pub instance_id: Option<InstanceId>,
    /// Normal or warning.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// One upper-camel-case word: `DropletCreated`.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Who: `environment-reconciler`, `instance-reconciler`, `api`, ...
    pub actor: String,
    /// Why: `spec.desired_state of generation 3`, `droplet 17 not in the fleet`, ...
    pub cause: String,
}
