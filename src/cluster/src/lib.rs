//! A private PostgreSQL cluster, made from the installed binaries, for `toolplane demo` and for tests.
//!
//! Owns: finding the binaries, `initdb`, one `postgres` on a free loopback port, its restarts, its end, and what a killed run
//! left behind. Must not: know the schema or speak SQL beyond `create database`; be used for anything that has to last, because
//! it runs without fsync and its data directory goes with it. Promises: nobody without the random password gets in; `postgres`
//! ends when this process ends, however that happens; and a data directory left by a killed run is in nobody's way and is
//! removed by the next start.
//!
//! The crate `postgresql_embedded` was the obvious pick and was not taken: it runs `initdb` as the current user, which
//! PostgreSQL refuses to root, and containers, build machines and droplets run as root. Here everything of PostgreSQL runs
//! under an unprivileged account (`postgres`, else `nobody`) whenever this process is root.

mod account;
mod binaries;
mod directory;
mod error;
mod postmaster;
mod private;
pub mod testing;

pub use binaries::installed_in;
pub use error::Error;
pub use private::{Cluster, Options};
