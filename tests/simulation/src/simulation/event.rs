//! What happens, and to whom. Owns: the shapes.

use crate::{
    database::{Heartbeat, Renewed},
    moment::Millis,
    reconcilers::Kind,
    wire::{Arrival, Request, Trouble},
};
use model::EnvironmentId;

/// Something that happens.
pub(crate) enum Event {
    /// A request has its effect.
    Land(u64),
    /// A request is answered, or is not; its process may die before it hears that.
    Answer {
        flight: u64,
        verdict: Result<(), Trouble>,
        dies: bool,
    },
    /// A replica looks at its queues.
    Tick(Address),
    /// A replica renews its leases.
    Lease(Address),
    /// The answer to that.
    Leased { to: Address, asked: Millis, renewed: Renewed },
    /// A replica hears that a record changed.
    Notified(Address, EnvironmentId),
    /// A replica reads all its records.
    Resync(Address),
    /// A replica looks for silent agents.
    Heartbeats(Address),
    /// A replica hears that something was swept, and loads it.
    Follow(Address),
    /// A replica loads what was swept, told or not.
    Poll(Address),
    /// A replica starts.
    Start(usize),
    /// A process dies.
    Die(Address),
    /// An agent goes on.
    Agent(u64),
    /// A heartbeat arrives, for the first time or again.
    Heartbeat {
        droplet: u64,
        heartbeat: Box<Heartbeat>,
        again: bool,
    },
    /// A user edits something.
    Edit,
    /// Somebody changes something at DigitalOcean.
    Drift,
    /// Something befalls an agent, a tool or a replica.
    Misfortune,
}

impl Event {
    /// The replica that an event is for.
    pub(super) fn addressee(&self) -> Option<Address> {
        match self {
            Self::Tick(to)
            | Self::Lease(to)
            | Self::Leased { to, .. }
            | Self::Notified(to, _)
            | Self::Resync(to)
            | Self::Heartbeats(to)
            | Self::Follow(to)
            | Self::Poll(to)
            | Self::Die(to) => Some(*to),
            Self::Land(_)
            | Self::Answer { .. }
            | Self::Start(_)
            | Self::Agent(_)
            | Self::Heartbeat { .. }
            | Self::Edit
            | Self::Drift
            | Self::Misfortune => None,
        }
    }
}

/// One incarnation of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) replica: usize,
    pub(crate) incarnation: u64,
}

/// A request on its way.
pub(crate) struct Flight {
    pub(crate) from: Address,
    pub(crate) kind: Kind,
    pub(crate) key: EnvironmentId,
    pub(crate) arrival: Arrival,
    pub(crate) request: Request,
}
