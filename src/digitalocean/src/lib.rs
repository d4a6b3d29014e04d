//! A typed client of the DigitalOcean API (v2): the calls that Toolplane needs, and nothing of what it decides.
//!
//! Owns: the wire types, complete pagination, the class of every failure, and the request budget of a token. Must not: know
//! rows, environments or reconcilers; retry a call that may have had an effect; decide what a failure means for a row.
//! Promises:
//!
//! - a list is complete, or it is an error: never a part that looks like a whole ([`Error::Incomplete`]);
//! - an [`Error`] says whether trying again can help, when, and whether the effect may have happened ([`Error::class`]);
//! - all clones of a [`Client`] and all clients that share a [`Budget`] stay below the token's limits together;
//! - unknown fields, unknown enum values and nulls where a list or text should be do not fail an answer.
//!
//! A process that uses this crate installs rustls's crypto provider in `main`.

mod account;
mod action;
mod budget;
mod catalog;
mod client;
mod droplet;
mod error;
mod firewall;
mod page;
mod project;
mod tag;
mod wire;

pub use account::{Account, AccountStatus};
pub use action::{Action, ActionStatus, DropletAction};
pub use budget::ledger::{Ask, Ledger, LedgerError, Lengths, Settled, Taken};
pub use budget::{Budget, BudgetConfig, BudgetStatus, Exhausted, Permit, Priority, RateHeaders};
pub use catalog::{Image, ImageFilter, ImageRef, Region, Size};
pub use client::{Client, Config};
pub use droplet::{Droplet, DropletCreate, DropletCreated, DropletFilter, DropletStatus, NetworkKind, NetworkV4, Networks};
pub use error::{Call, Class, Error, Refusal};
pub use firewall::{
    Firewall, FirewallRules, FirewallSpec, FirewallStatus, InboundRule, OutboundRule, Peers, PendingChange, Ports, Protocol,
};
pub use project::{Assignment, Project};
pub use tag::{Resource, ResourceKind, Tag};
