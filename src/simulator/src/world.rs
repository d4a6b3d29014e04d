//! The account: everything that the API shows. Synchronous and in memory.
//!
//! Owns: the resources and their rules, with the words of the refusals. Must not: know HTTP, wait, or start processes: it is told
//! when something has happened. Promises: every method leaves the world whole; a refused request changes nothing.

pub(crate) mod action;
pub(crate) mod catalog;
pub(crate) mod droplet;
pub(crate) mod firewall;
mod history;
pub(crate) mod project;
pub(crate) mod tag;

use crate::config::Dial;
use action::Actions;
use catalog::Catalog;
use droplet::Droplets;
use firewall::Firewalls;
use jiff::Timestamp;
use project::Project;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Everything in the account.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) settings: Dial,
    pub(crate) droplets: Droplets,
    pub(crate) actions: Actions,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) firewalls: Firewalls,
    pub(crate) projects: BTreeMap<Uuid, Project>,
    account: Uuid,
    next_droplet: u64,
}

impl World {
    /// An account with nothing in it but its default project.
    pub(crate) fn new(settings: Dial, first_droplet_id: u64) -> Self {
        let account = Uuid::new_v4();
        let default = Project::default_of(account);
        Self {
            catalog: Catalog::new(),
            settings,
            droplets: Droplets::default(),
            actions: Actions::default(),
            tags: BTreeSet::new(),
            firewalls: Firewalls::default(),
            projects: BTreeMap::from([(default.id, default)]),
            account,
            next_droplet: first_droplet_id,
        }
    }

    /// `GET /v2/account`.
    pub(crate) fn account_view(&self) -> Value {
        json!({"account": {
            "droplet_limit": self.settings.get().droplet_limit,
            "floating_ip_limit": 3,
            "reserved_ip_limit": 3,
            "volume_limit": 100,
            "email": "simulator@example.com",
            "name": "Simulated Account",
            "uuid": self.account,
            "email_verified": true,
            "status": "active",
            "status_message": "",
            "team": {"uuid": self.account, "name": "Simulated Team"},
        }})
    }
}

/// The present time as the API writes it: to the second.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
