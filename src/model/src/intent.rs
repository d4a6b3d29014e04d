//! `provisioning_intents`: what is about to be done to DigitalOcean, committed before it is sent.

use crate::{DropletId, EnvironmentId, IntentId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    /// `POST /v2/droplets`.
    Create,
}

/// An announced effect. At most one per environment is open (`resolved_at` is null).
///
/// ```text
/// announced --(sent)--> answered with an id ----------> resolved: adopted
///     |                 answered with a refusal ------> resolved: refused
///     |                 no answer, or a crash --------> look by tag until `sent_at` + lag window
///     |                        |  found                          -> resolved: adopted
///     |                        |  window passed, still not there -> resolved: lost; a new intent may follow
///     +--(crash before sending: the same as no answer)
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Also part of the droplet's tags and of its enrolment token.
    pub id: IntentId,
    /// Whose.
    pub environment_id: EnvironmentId,
    /// What.
    pub kind: IntentKind,
    /// The `agent_epoch` of the droplet to come.
    pub epoch: i64,
    /// When it was committed, by the database's clock.
    pub announced_at: Timestamp,
    /// The droplet that the answer named, or that was found by tag.
    pub droplet_id: Option<DropletId>,
    /// Until when the droplet's first enrolment is taken.
    pub enrolment_expires_at: Timestamp,
    /// SHA-256 of the public key (SPKI, DER) that enrolled, in hex.
    pub enrolled_key: Option<String>,
    /// How it ended; `None` while it is open.
    pub outcome: Option<IntentOutcome>,
}

/// How an intent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentOutcome {
    /// Its droplet was seen, and is the environment's. Later passes look at the droplet only.
    Adopted,
    /// DigitalOcean refused it. The next pass may announce another.
    Refused,
    /// The lag window passed without a droplet. The next pass may announce another.
    Lost,
    /// The environment was no longer wanted.
    Abandoned,
}
