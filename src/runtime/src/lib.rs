//! The reconcile loop: a keyed queue, a scheduler, a runner and a reflector, as kube-runtime has them, over any store.
//!
//! Owns: when a key is worked on, how often, and in which order the phases of a pass follow each other. Must not: know any
//! kind, SQL, cloud or container engine. Promises: a key is never worked on twice at once, no wake-up is lost, and an error
//! backs off by key and is forgotten on success.
//!
//! ```text
//! Source --rows--> Reflector --> Store  <---- load, observe (Read::Cached) ---+
//!                      |                                                      |
//!                      +--> Subscription --Wake{key}--> Controller --pass--> Reconciler
//!                      others, timers -----Wake{key}--->    | queue, scheduler, backoff
//! ```
//!
//! - [`reconciler`]: what a kind has to provide.
//! - [`Reflector`] and [`Store`]: rows in memory, kept current, and whoever works on them woken.
//! - [`Controller`]: wake-ups in, passes out; any number of streams of [`Wake`] feed it. Its parts, [`Queue`] and [`pass`], are
//!   there for whoever steps them by hand: the simulation does.

mod backoff;
mod chain;
mod clock;
mod controller;
mod listening;
pub mod queue;
pub mod reconciler;
mod reflector;
mod runner;
mod scheduler;
mod source;
mod store;
mod wake;

pub use backoff::Backoff;
pub use clock::{Clock, SharedClock, SystemClock};
pub use controller::{Config, Controller, Ended, Passes};
pub use queue::Queue;
pub use reconciler::{Error, Failure, Hold, Observation, Plan, Read, Reconciler, Step};
pub use reflector::{Reflector, ReflectorConfig, reflector};
pub use runner::{Outcome, pass};
pub use source::{Fetched, Notification, Source};
pub use store::Store;
pub use wake::{Reason, Subscription, Wake};
