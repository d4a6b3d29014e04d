//! A simulator of the DigitalOcean API, whose droplets run the real agent.
//!
//! Owns: an account in memory, served over HTTP as the real thing serves it (official clients work with it), and machines that boot
//! from their user data alone. Must not: know Toolplane's rows or reconcilers; be reached from another machine. Promises:
//!
//! - what a droplet runs ends with the droplet, and everything that the simulator started ends with the simulator;
//! - faults are switched on from outside: for the next requests, by chance and by seed, as a whole storm, or by settings; the same seed
//!   has the same requests of a sequence fail;
//! - the journal tells what was asked, what was touched, and when two live droplets shared an environment's tag;
//! - memory is bounded, and an account of ten thousand droplets and firewalls is listed as fast as a small one, page by page;
//! - state is in memory only: a new simulator knows no droplets, and clears what a killed one left in its state folder.
//!
//! ```text
//! request -> server -> gate (faults, token, limits, journal) -> api -> world      the account, synchronous
//!                                                                |
//!                                                              cloud -> timers -> machine -> agent process
//! ```
//!
//! A process that uses this crate installs rustls's crypto provider in `main`.

mod api;
mod cloud;
mod config;
mod control;
mod fault;
mod gate;
mod journal;
mod machine;
mod metadata;
mod page;
mod problem;
mod rate;
mod seed;
mod server;
mod simulator;
mod world;

pub use config::{Config, Settings};
pub use control::DropletInfo;
pub use fault::{Fault, FaultRule, PageFlaw, Storm};
pub use journal::{Counts, Entry, Resource, Touched, What};
pub use rate::Limited;
pub use seed::{DropletSeed, Refused};
pub use simulator::{Error, Handle, Simulator};
pub use world::firewall::{Connection, Passage, Protocol};
