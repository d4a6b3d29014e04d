//! What the outside looks like: the installation's droplets and firewalls, as they were last seen.
//!
//! Owns: reading them, remembering what was read, and telling whose changed. Must not: change anything at DigitalOcean, or decide
//! what a difference leads to. Promises: a read that failed, also in its middle, is an error and not "nothing"; what was read
//! later is never replaced by what was read earlier; an environment whose droplets or firewall changed, came or went is woken.

pub mod droplets;
pub mod firewalls;
pub mod names;
pub mod read;
pub mod spelling;
pub mod sweep;
mod trust;
mod wakes;

pub use droplets::{Droplet, DropletState, Fleet, Mark, Sighting};
pub use firewalls::Firewalls;
pub use trust::Trust;
pub use wakes::Wakes;
