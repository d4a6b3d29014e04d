//! What to do about an environment: `wanted` for one that should have a droplet (`create`, `launch`, `drift` and `resize` are its
//! parts), `unwanted` for one that should have none.
//!
//! Owns: every choice of this reconciler. Must not: do I/O, read a clock, log. Promises: `Unknown` leads to no create and no
//! delete, and neither does what is missing from a fleet that is not believed; no second create is planned while an earlier one
//! may still come true; only droplets whose tags are ours are deleted; and a plan that was carried out in full and observed is
//! followed by an empty one.

mod create;
mod drift;
mod launch;
mod resize;
mod scene;
mod stopping;
#[cfg(test)]
mod tests;
mod unwanted;
mod wanted;
#[cfg(test)]
mod world;

use crate::{action::Action, observe::Observed, policy::Policy, status::StatusWrite};
use jiff::Timestamp;
use model::{EnvironmentDesiredState, EnvironmentRecord, record::Subject};
use runtime::Plan;
use scene::Scene;

/// Decides one pass from the record, what was observed, and the time.
pub fn decide(policy: &Policy, record: &EnvironmentRecord, observed: &Observed, now: Timestamp) -> Plan<Action, StatusWrite> {
    let scene = Scene {
        policy,
        record,
        observed,
        now,
    };
    match &record.subject {
        Subject::Row(row) => match row.spec.desired_state {
            EnvironmentDesiredState::Active => wanted::decide(&scene, row),
            EnvironmentDesiredState::Deleted => unwanted::decide_row(&scene, row),
        },
        Subject::Tombstone(tombstone) => unwanted::decide_tombstone(&scene, tombstone),
    }
}
