//! Postgres: the migrations, and the only crate that speaks SQL.
//!
//! Owns: the tables and who may write which column of them, every query, the leases that say which replica works on what, and
//! the stream of changes that reflectors follow. Must not: decide anything about droplets or tools. Promises: a controller's
//! write is refused once its lease is stale ([`Error::Fenced`]) or the row has moved on ([`Written::Stale`]); an intent that
//! [`Database::intent_announce`] returns was never announced before; a deleted environment leaves a tombstone; every method is
//! safe to call twice.
//!
//! # Files
//! One for each noun: [`Database`] has its methods spread over `environments.rs`, `statuses.rs`, `instances.rs`, `intents.rs`, `leases.rs`,
//! `events.rs`, `agents.rs`, `desired_sets.rs`, `firewalls.rs`, `tombstones.rs`, `catalog.rs`, `records.rs` and `record_source.rs` (what reflectors hold, and how they hear of it), `apply.rs`
//! (what the command line writes), `describe.rs` (what people ask beside), `migrations.rs`, `doctor.rs`. `watch.rs` turns notifications into a stream.
//!
//! # How values travel
//! Enums are decoded from their spelling, which `model` promises to be that of the database (`codec.rs`). Statuses and
//! specifications are sent as the JSON that serde makes of them, whose field names are the columns' names.
//!
//! # Changing a query
//! Queries are checked against a migrated database when `DATABASE_URL` names one, and against `.sqlx/` at the workspace root
//! otherwise. `make sqlx` starts a private cluster, migrates it, and writes `.sqlx/` anew.

mod agents;
mod apply;
mod budget;
mod catalog;
mod codec;
mod database;
mod describe;
mod desired_sets;
mod doctor;
mod environments;
mod error;
mod events;
mod fence;
mod firewalls;
mod fleet;
mod instances;
mod intents;
mod leases;
mod migrations;
mod record_source;
mod records;
mod statuses;
mod tombstones;
mod watch;

pub use agents::HeartbeatOutcome;
pub use apply::{Applied, ApplyError, Change};
pub use budget::{RequestAsk, RequestGrant, RequestLengths};
pub use catalog::CatalogSource;
pub use database::{ConnectOptions, Database, Role};
pub use describe::LeaseHolder;
pub use error::{Error, Refusal};
pub use events::{EventFilter, EventPlace, RecordedEvent};
pub use fence::{Fence, Written};
pub use firewalls::FirewallState;
pub use fleet::{FleetKind, FleetLoad, FleetPublication, FleetRow, FleetSweep, SWEEPING_SHARD, Standing};
pub use instances::InstanceFilter;
pub use intents::{Enrolled, EnrolmentRow, IntentStanding};
pub use leases::{LeaseConfig, LeaseKeeper, ShardHold};
pub use record_source::{RecordSource, Records};
