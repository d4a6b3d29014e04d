//! What is there. Owns: reading droplets, heartbeats and the outbox for a pass. Must not: decide. Promises: a read that failed,
//! also in its middle, is an error or `Unknown`, never "nothing".

use crate::{fleet::Sighting, outbox::Outgoing};
use jiff::Timestamp;

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
