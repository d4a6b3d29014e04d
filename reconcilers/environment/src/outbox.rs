//! What this process has and has not sent. Owns: the permissions to send an announced create, and the memory of accepted
//! deletes. Must not: be relied on by correctness after a restart: it starts empty, which reads as "may have been sent".
//! Promises: one announced intent is sent at most once, and only by the process that announced it.

use jiff::Timestamp;
use model::{DropletId, EnvironmentId, Intent, IntentId};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One process's memory.
#[derive(Debug, Default)]
pub struct Outbox {
    environments: Mutex<HashMap<EnvironmentId, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    unsent: Option<Intent>,
    deleted: Vec<(DropletId, Timestamp)>,
}

/// What the outbox says of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// An intent that was announced by this process and surely not sent.
    pub unsent: Option<IntentId>,
    /// Deletes that were accepted, and when. DigitalOcean shows a droplet for a while after that.
    pub deleted: Vec<(DropletId, Timestamp)>,
}

impl Outgoing {
    /// When the delete of a droplet was last accepted.
    pub fn deleted_at(&self, droplet: DropletId) -> Option<Timestamp> {
        let accepted = self.deleted.iter().find(|(deleted, _)| *deleted == droplet);
        accepted.map(|(_, at)| *at)
    }
}

impl Outbox {
    /// What is remembered of an environment.
    pub fn outgoing(&self, environment: EnvironmentId) -> Outgoing {
        self.lock()
            .get(&environment)
            .map_or_else(Outgoing::default, |entry| Outgoing {
                unsent: entry.unsent.as_ref().map(|intent| intent.id),
                deleted: entry.deleted.clone(),
            })
    }

    /// An intent was committed and not sent, or its sending surely had no effect.
    pub fn put(&self, intent: Intent) {
        let environment = intent.environment_id;
        let mut environments = self.lock();
        let entry = environments.entry(environment).or_default();
        // What was deleted before a new droplet comes is of no interest any more.
        entry.deleted.clear();
        entry.unsent = Some(intent);
    }

    /// Uses the permission to send up.
    pub fn take(&self, environment: EnvironmentId) -> Option<Intent> {
        self.lock().get_mut(&environment)?.unsent.take()
    }

    /// An intent was resolved: there is nothing to send for it any more.
    pub fn resolved(&self, environment: EnvironmentId, intent: IntentId) {
        if let Some(entry) = self.lock().get_mut(&environment) {
            entry.unsent.take_if(|unsent| unsent.id == intent);
        }
    }

    /// A delete was accepted.
    pub fn deleted(&self, environment: EnvironmentId, droplet: DropletId, at: Timestamp) {
        let mut environments = self.lock();
        let deleted = &mut environments.entry(environment).or_default().deleted;
        deleted.retain(|(other, _)| *other != droplet);
        deleted.push((droplet, at));
    }

    /// The environment's droplets are seen to be gone: there is nothing to remember.
    pub fn clear(&self, environment: EnvironmentId) {
        self.lock().remove(&environment);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EnvironmentId, Entry>> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
