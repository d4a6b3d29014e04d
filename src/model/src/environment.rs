//! `account_tool_environments`: one shared droplet of one user account.

use crate::{Conditions, DropletId, EnvironmentId, UserId, Word};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What the user wants of an environment (`desired_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentDesiredState {
    /// A droplet that runs the account's tools.
    #[default]
    Active,
    /// No droplet.
    Deleted,
}

/// `account_environment_status_enum` of the seed: where an environment stands.
///
/// ```text
///                        +---------------- error_creation <--+
///                        v  (heals by itself)                |
/// pending_creation -> creating -----------------------> (a terminal answer)
///                        |  droplet active, agent enrolled
///                        v
///                      active <------> unresponsive   (three heartbeats missed; tools keep running)
///                        |  desired_state = deleted
///                        v
/// pending_deletion -> deleting -> deleted -> (desired_state = active) -> pending_creation
///                        |   ^
///                        v   |  (heals by itself)
///                     error_deletion
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentPhase {
    /// Nothing was done yet; the next pass announces a create.
    #[default]
    PendingCreation,
    /// A create was announced; the next pass looks for the droplet, its address and its agent.
    Creating,
    /// Droplet and agent are there; passes watch for drift.
    Active,
    /// The last create was refused for good; the next change of the row, or the cause's going, tries again.
    ErrorCreation,
    /// Deletion is wanted and not yet begun; the next pass has the tools stopped.
    PendingDeletion,
    /// Tools are being stopped or the droplet destroyed; passes look until it is seen to be gone.
    Deleting,
    /// No droplet, and none wanted.
    Deleted,
    /// The last delete was refused; passes keep trying.
    ErrorDeletion,
    /// The agent missed its heartbeats; nothing is destroyed for that.
    Unresponsive,
}

/// What the user writes. Owned by users, never written by a controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnvironmentSpec {
    /// The account's owner, one environment each.
    pub user_id: UserId,
    /// DigitalOcean region slug, such as `nyc3`. Fixed once a droplet exists.
    #[serde(rename = "region_slug")]
    pub region: Word,
    /// DigitalOcean size slug, such as `s-1vcpu-1gb`. A change resizes in place.
    #[serde(rename = "size_slug")]
    pub size: Word,
    /// DigitalOcean image slug, such as `ubuntu-22-04-x64`. Fixed once a droplet exists.
    #[serde(rename = "image_slug")]
    pub image: Word,
    /// Droplet or none.
    pub desired_state: EnvironmentDesiredState,
    /// Observe, but change nothing.
    pub paused: bool,
}

/// What controllers observed. Written by controllers only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentStatus {
    /// `status`.
    #[serde(rename = "status")]
    pub phase: EnvironmentPhase,
    /// The droplet that this environment owns.
    #[serde(rename = "do_droplet_id")]
    pub droplet_id: Option<DropletId>,
    /// The droplet's public IPv4 address.
    pub ip_address: Option<IpAddr>,
    /// When DigitalOcean says that the droplet was created.
    #[serde(rename = "do_created_at")]
    pub droplet_created_at: Option<Timestamp>,
    /// The epoch of the tokens that this environment's agent must hold; raised by each create.
    pub agent_epoch: i64,
    /// A sentence for people, in error phases.
    pub error_message: Option<String>,
    /// The generation that this status speaks of.
    pub observed_generation: i64,
    /// The details.
    pub conditions: Conditions,
    /// When the droplet was last really seen, or seen to be gone.
    pub observed_at: Option<Timestamp>,
}

/// A whole row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Primary key.
    pub id: EnvironmentId,
    /// Rises by one whenever a specification column changes.
    pub generation: i64,
    /// Owned by the user.
    #[serde(flatten)]
    pub spec: EnvironmentSpec,
    /// Owned by the controller.
    #[serde(flatten)]
    pub status: EnvironmentStatus,
    /// Stamped by the server when a heartbeat comes in.
    pub last_heartbeat_at: Option<Timestamp>,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
}

/// What is left of a deleted row until its droplet is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The deleted row's id.
    pub environment_id: EnvironmentId,
    /// The deleted row's owner, who may be gone too.
    pub user_id: UserId,
    /// The droplet that was recorded, if any. Others may carry the environment's tag.
    pub droplet_id: Option<DropletId>,
    /// Where its agent was reached.
    pub ip_address: Option<IpAddr>,
    /// The epoch of its agent's tokens.
    pub agent_epoch: i64,
    /// When the row was deleted.
    pub deleted_at: Timestamp,
}
