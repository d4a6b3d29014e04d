//! The sweep, the breaker and looks over a real Postgres and the DigitalOcean simulator.

#![expect(clippy::unwrap_used, reason = "a story that breaks off has failed")]

mod bed;
mod breaker;
mod firewall_looks;
mod looks;
mod sweep;
