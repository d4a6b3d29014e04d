//! The reconcile loop: a keyed queue, a scheduler, a runner and a reflector, as kube-runtime has them, over any store.
//!
//! Owns: when a key is worked on, how often, and in which order the phases of a pass follow each other. Must not: know any
//! kind, SQL, cloud or container engine. Promises: a key is never worked on twice at once, no wake-up is lost, and an error
//! backs off by key and is forgotten on success.

pub mod reconciler;

pub use reconciler::{Error, Observation, Plan, Read, Reconciler};
