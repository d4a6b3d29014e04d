//! What is there. Owns: what a pass sees: droplets, heartbeats and the outbox. Must not: decide.

use crate::{
    heartbeats::Heartbeats,
    outbox::{Outbox, Outgoing},
};
use fleet::Sighting;
use jiff::Timestamp;
use model::EnvironmentId;

/// One environment's outside, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its droplets.
    pub sighting: Sighting,
    /// When its agent was last heard, if that is later than the record says. Heartbeats that change nothing else notify nobody,
    /// so a record in memory can be behind.
    pub heard_at: Option<Timestamp>,
    /// What this process has and has not sent.
    pub outgoing: Outgoing,
}

impl Observed {
    /// What memory holds beside the droplets.
    pub(crate) fn with(sighting: Sighting, id: EnvironmentId, heartbeats: &Heartbeats, outbox: &Outbox) -> Self {
        Self {
            sighting,
            heard_at: heartbeats.heard_at(id),
            outgoing: outbox.outgoing(id),
        }
    }
}
