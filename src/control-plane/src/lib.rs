//! One replica of the control plane, of any number.
//!
//! Owns: which parts there are, how they are connected, and the order in which they begin and end. Must not: know what they
//! decide, or where their settings come from. Promises: what the database or a certificate lacks is told before anything is
//! begun; a replica that is [stopped](Replica::stop) ends its passes and then releases its leases, so that another takes over at
//! once; one that is [killed](Replica::kill) does nothing any more, as a process after SIGKILL.
//!
//! ```text
//!              +-- record reflector --+--> environment, instance, firewall controllers --+
//!  Postgres ---+-- catalog reflector -+                    ^                             +--> effects
//!              +-- leases                fleet sweeps -----+--> base firewall -----------+
//!  agents -----> API
//! ```

mod budget;
mod config;
mod controllers;
mod endpoints;
mod parts;
mod prepared;
mod preview;
mod reconcilers;
mod replica;
mod retention;

pub use config::{Connections, ReplicaConfig};
pub use endpoints::{Listeners, Operators};
pub use parts::Failure;
pub use prepared::StartError;
pub use preview::{Forecast, Preview};
pub use replica::Replica;
