//! The simulator as its clients see it: over HTTP, with our own client and without it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod actions;
mod bed;
mod boot;
mod droplets;
mod faults;
mod firewalls;
mod journal;
mod killed;
mod lasting;
mod limits;
mod lists;
mod official;
mod others;
mod passage;
mod size;
mod storm;
mod validation;
