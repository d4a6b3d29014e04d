//! The reconciler in its loop, over a real Postgres and the DigitalOcean simulator. The agent's part is played by the test, by
//! the same calls that the agents' endpoints make.

#![expect(clippy::unwrap_used, reason = "a story that breaks off has failed")]

mod drift;
mod hands;
mod lives;
mod support;
