//! Guards that a test takes away, to see that something goes wrong without them.
//!
//! Owns: one switch for each guard, and the places at which the models consult it: what goes into a decision and what comes out of
//! it is changed, never the code that decides. Promises: with [`Sabotage::NONE`] nothing is changed.

use crate::database::Loose;
use environment_reconciler::Policy;
use jiff::SignedDuration;

/// What is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // one switch for each guard
pub struct Sabotage {
    /// The database forgets open intents: nobody finds that a create may be under way.
    pub intents: bool,
    /// The lag window is over at once.
    pub lag_window: bool,
    /// Every droplet that carries the environment's tag counts as ours.
    pub tag_check: bool,
    /// The database takes writes under any epoch.
    pub epochs: bool,
    /// A fleet that could not be read is taken for an empty one.
    pub unknown: bool,
    /// The fleet is always trusted.
    pub breaker: bool,
    /// Heartbeats are taken in any order.
    pub replays: bool,
    /// Ports that may be open are not on record.
    pub port_record: bool,
    /// A pass goes on with what it read, whoever has worked on it since.
    pub stale_read: bool,
    /// Each replica goes by the time of day of its own machine.
    pub clock: bool,
}

impl Sabotage {
    /// Everything as it is.
    pub const NONE: Self = Self {
        intents: false,
        lag_window: false,
        tag_check: false,
        epochs: false,
        unknown: false,
        breaker: false,
        replays: false,
        port_record: false,
        stale_read: false,
        clock: false,
    };

    /// One guard less, by its name in `docs/guards.md`; `None` for a name that is none.
    pub fn without(guard: &str) -> Option<Self> {
        let mut sabotage = Self::NONE;
        let switch = match guard {
            "intent" => &mut sabotage.intents,
            "lag-window" => &mut sabotage.lag_window,
            "tag-check" => &mut sabotage.tag_check,
            "epoch" => &mut sabotage.epochs,
            "unknown" => &mut sabotage.unknown,
            "breaker" => &mut sabotage.breaker,
            "replay" => &mut sabotage.replays,
            "port-record" => &mut sabotage.port_record,
            "stale-read" => &mut sabotage.stale_read,
            "clock" => &mut sabotage.clock,
            _ => return None,
        };
        *switch = true;
        Some(sabotage)
    }

    /// What the database lets through.
    pub fn loose(self) -> Loose {
        Loose {
            any_epoch: self.epochs,
            replays: self.replays,
            intents: self.intents,
            ports: self.port_record,
            records: self.stale_read,
        }
    }

    /// The policy that environments are decided by.
    pub fn policy(self) -> Policy {
        let mut policy = Policy::default();
        if self.lag_window {
            policy.lag_window = SignedDuration::ZERO;
        }
        policy
    }
}
