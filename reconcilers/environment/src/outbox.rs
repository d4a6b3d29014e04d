//! What this process has and has not sent, and how long ago. Owns: the permissions to send an announced create, and the memory of
//! accepted requests. Must not: read a clock, or be relied on by correctness after a restart: it starts empty, which reads as
//! "may have been sent". Promises: one announced intent is sent at most once, and only by the process that announced it; ages are
//! counted by this process's own monotonic clock, so that no disagreement of clocks shortens a window.

use crate::action::Change;
use jiff::SignedDuration;
use model::{DropletId, EnvironmentId, Intent, IntentId};
use schema::IntentStanding;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A moment of the monotonic clock: the time since some beginning, the same for all moments of an outbox.
pub type Moment = SignedDuration;

/// One process's memory.
#[derive(Debug, Default)]
pub struct Outbox {
    environments: Mutex<HashMap<EnvironmentId, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    unsent: Option<Intent>,
    standing: Option<Remembered>,
    deleted: Vec<(DropletId, Moment)>,
    changed: Vec<(DropletId, Change, Moment)>,
    resize: Option<(DropletId, u64)>,
    failed_resize: Option<DropletId>,
}

/// A standing, with moments in place of its ages.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    intent: IntentId,
    began: Moment,
    enrolment_ends: Moment,
    unenrolled: Option<u32>,
}

/// How far the latest intent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which one that is.
    pub intent: IntentId,
    /// How long ago it was announced, or its create was last heard of; never more than the truth.
    pub age: SignedDuration,
    /// For how long a first enrolment is still taken.
    pub enrolment_left: SignedDuration,
    /// How many droplets in a row have had no agent that enrolled, as far as that was asked.
    pub unenrolled: Option<u32>,
}

/// What the outbox says of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// An intent that was announced by this process and surely not sent.
    pub unsent: Option<IntentId>,
    /// How far the latest intent is; `None` until it was asked.
    pub standing: Option<Standing>,
    /// Deletes that were accepted, and how long ago. DigitalOcean shows a droplet for a while after that.
    pub deleted: Vec<(DropletId, SignedDuration)>,
    /// Changes that were accepted, and how long ago. They show only after a while.
    pub changed: Vec<(DropletId, Change, SignedDuration)>,
    /// A droplet whose resize was accepted, and then failed.
    pub failed_resize: Option<DropletId>,
}

impl Outgoing {
    /// How long ago the delete of a droplet was last accepted.
    pub fn deleted_for(&self, droplet: DropletId) -> Option<SignedDuration> {
        let accepted = self.deleted.iter().find(|(deleted, _)| *deleted == droplet);
        accepted.map(|(_, age)| *age)
    }

    /// How long ago a change of a droplet was last accepted.
    pub fn changed_for(&self, droplet: DropletId, change: &Change) -> Option<SignedDuration> {
        let accepted = self.changed.iter().find(|(id, known, _)| *id == droplet && known == change);
        accepted.map(|(_, _, age)| *age)
    }
}

impl Outbox {
    /// What is remembered of an environment, at this moment.
    pub fn outgoing(&self, environment: EnvironmentId, now: Moment) -> Outgoing {
        self.lock()
            .get(&environment)
            .map_or_else(Outgoing::default, |entry| entry.outgoing(now))
    }

    /// An intent was committed and not sent.
    pub fn announced(&self, intent: Intent, now: Moment) {
        let environment = intent.environment_id;
        let enrolment = intent.enrolment_expires_at.duration_since(intent.announced_at);
        let mut environments = self.lock();
        // What was sent before a new droplet comes is of no interest any more.
        let entry = environments.entry(environment).or_default();
        *entry = Entry {
            standing: Some(Remembered {
                intent: intent.id,
                began: now,
                enrolment_ends: now + enrolment,
                unenrolled: None,
            }),
            unsent: Some(intent),
            ..Entry::default()
        };
    }

    /// The sending of an intent surely had no effect: it may be sent again.
    pub fn put_back(&self, intent: Intent) {
        let environment = intent.environment_id;
        self.lock().entry(environment).or_default().unsent = Some(intent);
    }

    /// Uses the permission to send up.
    pub fn take(&self, environment: EnvironmentId) -> Option<Intent> {
        self.lock().get_mut(&environment)?.unsent.take()
    }

    /// The create of an intent has ended, in whatever way: its effect is not younger than this.
    pub fn sent(&self, environment: EnvironmentId, intent: IntentId, now: Moment) {
        let mut environments = self.lock();
        let standing = environments.get_mut(&environment).and_then(|entry| entry.standing.as_mut());
        if let Some(standing) = standing.filter(|standing| standing.intent == intent) {
            standing.began = standing.began.max(now);
        }
    }

    /// How far the latest intent is was asked of the database.
    pub fn learn(&self, environment: EnvironmentId, told: IntentStanding, now: Moment) {
        let mut environments = self.lock();
        let entry = environments.entry(environment).or_default();
        let known = entry.standing.filter(|known| known.intent == told.intent);
        let began = now - told.age;
        entry.standing = Some(Remembered {
            intent: told.intent,
            // What this process saw itself is the later one.
            began: known.map_or(began, |known| known.began.max(began)),
            enrolment_ends: now + told.enrolment_left,
            unenrolled: Some(told.unenrolled),
        });
    }

    /// An intent was resolved: there is nothing to send for it any more.
    pub fn resolved(&self, environment: EnvironmentId, intent: IntentId) {
        if let Some(entry) = self.lock().get_mut(&environment) {
            entry.unsent.take_if(|unsent| unsent.id == intent);
        }
    }

    /// A delete was accepted.
    pub fn deleted(&self, environment: EnvironmentId, droplet: DropletId, now: Moment) {
        let mut environments = self.lock();
        let deleted = &mut environments.entry(environment).or_default().deleted;
        deleted.retain(|(other, _)| *other != droplet);
        deleted.push((droplet, now));
    }

    /// A change was accepted.
    pub fn changed(&self, environment: EnvironmentId, droplet: DropletId, change: Change, now: Moment) {
        let mut environments = self.lock();
        let entry = environments.entry(environment).or_default();
        if change == Change::PowerOn {
            // What failed while it was off is over.
            entry.failed_resize = None;
        }
        entry.changed.retain(|(id, known, _)| (*id, known) != (droplet, &change));
        entry.changed.push((droplet, change, now));
    }

    /// A resize was accepted, as this action.
    pub fn resizing(&self, environment: EnvironmentId, droplet: DropletId, action: u64) {
        let mut environments = self.lock();
        let entry = environments.entry(environment).or_default();
        (entry.resize, entry.failed_resize) = (Some((droplet, action)), None);
    }

    /// The resize whose end is not known yet, as a droplet and an action.
    pub fn pending_resize(&self, environment: EnvironmentId) -> Option<(DropletId, u64)> {
        self.lock().get(&environment)?.resize
    }

    /// The resize has ended.
    pub fn resize_ended(&self, environment: EnvironmentId, droplet: DropletId, well: bool) {
        if let Some(entry) = self.lock().get_mut(&environment) {
            (entry.resize, entry.failed_resize) = (None, (!well).then_some(droplet));
        }
    }

    /// The environment's droplets are seen to be gone: there is nothing to remember.
    pub fn clear(&self, environment: EnvironmentId) {
        self.lock().remove(&environment);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EnvironmentId, Entry>> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn outgoing(&self, now: Moment) -> Outgoing {
        let changed = self.changed.iter();
        Outgoing {
            unsent: self.unsent.as_ref().map(|intent| intent.id),
            standing: self.standing.map(|known| Standing {
                intent: known.intent,
                age: now - known.began,
                enrolment_left: known.enrolment_ends - now,
                unenrolled: known.unenrolled,
            }),
            deleted: self.deleted.iter().map(|(droplet, at)| (*droplet, now - *at)).collect(),
            changed: changed
                .map(|(droplet, change, at)| (*droplet, change.clone(), now - *at))
                .collect(),
            failed_resize: self.failed_resize,
        }
    }
}
