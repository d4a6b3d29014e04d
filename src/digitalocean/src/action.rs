//! Actions: `POST /v2/droplets/{id}/actions`, and `GET /v2/actions/{id}` to see how they went.

use crate::{
    budget::Priority,
    client::{Client, Request},
    error::Error,
    wire::nullable,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What to do with a droplet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DropletAction {
    /// Starts it.
    PowerOn,
    /// Pulls the plug.
    PowerOff,
    /// Asks the operating system to shut down. May be ignored by it: power off when it does not come.
    Shutdown,
    /// Asks the operating system to restart.
    Reboot,
    /// Gives it another size. The droplet must be off.
    Resize {
        /// The new size's slug.
        size: String,
        /// Whether the disk grows too, which cannot be undone.
        disk: bool,
    },
    /// Gives it another name.
    Rename {
        /// Hostname characters only.
        name: String,
    },
}

/// How far an action is.
///
/// ```text
/// in-progress -> completed
///      +-------> errored
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionStatus {
    /// Look again.
    InProgress,
    /// It was done.
    Completed,
    /// It was not done, or not wholly: look at the droplet. A `create` that errors leaves none.
    Errored,
    /// A word that this client does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// An action and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Names it.
    pub id: u64,
    /// How far it is.
    #[serde(default)]
    pub status: ActionStatus,
    /// `create`, `power_on`, `resize`, ...
    #[serde(rename = "type", default, deserialize_with = "nullable")]
    pub kind: String,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub completed_at: Option<Timestamp>,
    /// The droplet.
    #[serde(default)]
    pub resource_id: Option<u64>,
}

#[derive(Deserialize)]
struct Answer {
    action: Action,
}

impl Client {
    /// `POST /v2/droplets/{id}/actions`. Refused with `PendingEvent` while the droplet is busy with another.
    pub async fn droplet_action(&self, droplet: u64, action: &DropletAction) -> Result<Action, Error> {
        let request = Request::new(
            "droplet_action",
            "POST",
            "/v2/droplets/{id}/actions",
            format!("/v2/droplets/{droplet}/actions"),
            Priority::Change,
        )
        .body(action)?;
        Ok(self.fetch::<Answer>(request).await?.action)
    }

    /// `GET /v2/actions/{id}`.
    pub async fn action_get(&self, id: u64) -> Result<Action, Error> {
        let request = Request::get("action_get", "/v2/actions/{id}", format!("/v2/actions/{id}"));
        Ok(self.fetch::<Answer>(request).await?.action)
    }
}
