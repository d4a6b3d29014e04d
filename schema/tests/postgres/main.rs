//! The schema over a real server: one private cluster for all of them, a fresh migrated database for each.

#![allow(clippy::unwrap_used, reason = "tests")]

mod agents;
mod applying;
mod budget;
mod doctor;
mod events;
mod firewalls;
mod guard;
mod intents;
mod leases;
mod migrations;
mod notifications;
mod outage;
mod privileges;
mod sources;
mod specification;
mod status;
mod support;
mod tenancy;
mod together;
mod tombstones;
