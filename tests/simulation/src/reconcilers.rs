//! The reconcilers of the control plane over the models: real decisions, modelled effects.
//!
//! Owns: for each kind, what its `observe.rs` and `act.rs` do, said to the models. Must not: choose. Promises: the same requests in the
//! same order, and the same answer to each error.

mod environment;
mod firewall;
mod instance;
mod looks;
pub mod orphan;
pub mod sweep;

pub use environment::EnvironmentModel;
pub use firewall::FirewallModel;
pub use instance::InstanceModel;
pub use orphan::OrphanModel;
pub use sweep::shown;

/// Which loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Droplets.
    Environment,
    /// Firewalls.
    Firewall,
    /// Desired sets.
    Instance,
    /// Droplets of environments that are not on record.
    Orphan,
    /// The fleet; its one key is [`sweep::KEY`].
    Sweep,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Environment, Self::Firewall, Self::Instance, Self::Orphan, Self::Sweep];

    /// Those that work on environments.
    pub const OF_ENVIRONMENTS: [Self; 3] = [Self::Environment, Self::Firewall, Self::Instance];
}
