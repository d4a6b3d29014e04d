//! What the outside looks like: the installation's droplets and firewalls, as they were last seen.
//!
//! ```text
//!  one replica            every replica
//!  sweep -> Postgres ---> follow -> Fleet, Firewalls <- looks (fresh reads of single environments)
//!     |                               |
//!   breaker: is it believed?          +-> wakes whose droplets or firewall changed
//! ```
//!
//! Owns: reading them, remembering what was read, whether what is missing is believed to be gone, and telling whose changed. Must
//! not: change anything at DigitalOcean, or decide what a difference leads to. Promises: a read that failed, also in its middle,
//! is an error and not "nothing"; what was read later is never replaced by what was read earlier; an environment whose droplets
//! or firewall changed, came or went is woken; the lists are read once for all replicas.

pub mod breaker;
pub mod confirm;
pub mod droplets;
mod firewall_looks;
pub mod firewalls;
mod follow;
pub mod freshness;
pub mod ledger;
mod looks;
mod memory;
pub mod names;
pub mod read;
mod seen;
pub mod spelling;
mod survey;
mod sweep;
mod together;
mod trust;
mod wakes;

pub use breaker::Limits;
pub use droplets::{Droplet, DropletState, Fleet, Mark, Sighting};
pub use firewall_looks::FirewallLooks;
pub use firewalls::Firewalls;
pub use freshness::{Freshness, Need};
pub use looks::Looks;
pub use survey::Survey;
pub use sweep::{Config, SweepError};
pub use together::LookError;
pub use trust::Trust;
pub use wakes::Wakes;

use digitalocean::Client;
use schema::{Database, LeaseKeeper};
use tokio_util::sync::CancellationToken;

/// What keeps a replica's view of the outside current. One for each process.
#[derive(Clone, Debug)]
pub struct Sweeps {
    /// Where sweeps are stored.
    pub database: Database,
    /// Say which shards are this replica's, and whether it is the one that sweeps.
    pub leases: LeaseKeeper,
    /// Reads the lists.
    pub client: Client,
    /// What is kept current about droplets.
    pub fleet: Fleet,
    /// What is kept current about firewalls.
    pub firewalls: Firewalls,
    /// How to sweep.
    pub config: Config,
}

impl Sweeps {
    /// Sweeps when it is this replica's turn, and follows the sweeps of whoever's it is. Ends at shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self {
            database,
            leases,
            client,
            fleet,
            firewalls,
            config,
        } = self;
        let every = config.every;
        let sweep = sweep::run(database.clone(), leases.clone(), client, config, shutdown.clone());
        let follow = follow::run(database, leases, fleet, firewalls, every, shutdown);
        tokio::join!(sweep, follow);
    }
}
