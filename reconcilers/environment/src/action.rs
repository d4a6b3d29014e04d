//! What a plan of the environment reconciler can do, one external effect each, and why. Owns: their vocabulary. Must not: do it.

use model::{DropletId, IntentId, IntentOutcome};
use std::fmt;

/// One effect. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the environment's droplets anew: what is remembered is too old for something under way.
    Look,
    /// Commit that a droplet is about to be created. Leaves the permission to send it once in the outbox.
    AnnounceIntent {
        /// Why there has to be a droplet.
        cause: Cause,
    },
    /// Send the announced create. Uses the permission up, so that no answer, or a lost one, is never followed by a second try.
    CreateDroplet {
        /// Why there has to be a droplet.
        cause: Cause,
    },
    /// Record which droplet an intent made.
    NameDroplet {
        /// The intent.
        intent: IntentId,
        /// Its droplet.
        droplet: DropletId,
    },
    /// Close an intent.
    ResolveIntent {
        /// The intent.
        intent: IntentId,
        /// How it ended.
        outcome: IntentOutcome,
        /// Why.
        cause: Cause,
    },
    /// Switch a droplet on.
    PowerOn {
        /// Which.
        droplet: DropletId,
    },
    /// Destroy a droplet whose tags were seen to be ours.
    DeleteDroplet {
        /// Which.
        droplet: DropletId,
        /// Why it has to go.
        cause: Cause,
    },
    /// Forget a deleted row whose droplet was seen to be gone.
    FinishTombstone,
}

/// Why something is done, for `reconcile_events.cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A column of the specification.
    Specification {
        /// Its name.
        column: &'static str,
        /// The generation that said so.
        generation: i64,
    },
    /// The row was deleted.
    RowDeleted,
    /// The recorded droplet was seen to be gone.
    DropletGone(DropletId),
    /// The droplet was seen.
    DropletSeen(DropletId),
    /// The droplet was seen with its power off.
    DropletOff(DropletId),
    /// Another droplet is the environment's.
    Duplicate {
        /// The one that stays.
        kept: DropletId,
    },
    /// The droplet is of an intent that a later one replaced: its agent can no longer enrol.
    Superseded(DropletId),
    /// The lag window passed and no droplet of the intent was seen.
    LagWindowPassed(IntentId),
    /// A pass that could not be finished.
    PassFailed,
    /// The create was never sent.
    NeverSent(IntentId),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Specification { column, generation } => write!(f, "spec.{column} of generation {generation}"),
            Self::RowDeleted => f.write_str("the row was deleted"),
            Self::DropletGone(id) => write!(f, "droplet {id} is gone"),
            Self::DropletSeen(id) => write!(f, "droplet {id} was seen"),
            Self::DropletOff(id) => write!(f, "droplet {id} is powered off"),
            Self::Duplicate { kept } => write!(f, "droplet {kept} is the environment's"),
            Self::Superseded(id) => write!(f, "droplet {id} is of a superseded intent"),
            Self::LagWindowPassed(id) => write!(f, "no droplet of intent {id} within the lag window"),
            Self::PassFailed => f.write_str("a pass could not be finished"),
            Self::NeverSent(id) => write!(f, "intent {id} was never sent"),
        }
    }
}
