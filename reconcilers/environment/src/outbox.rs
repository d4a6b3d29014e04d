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
    deleted: Vec<(DropletId, Moment, bool)>,
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

/// How the sending of an announced create ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Surely without effect: it may be sent again, and is as old as before. Were it younger for every try, it would never grow too
    /// old to be sent, while others take it for lost.
    WithoutEffect,
    /// With an effect, or nobody knows: that came by now, so the lag that may hide it begins here at the latest.
    Sent,
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
    /// Deletes that were answered, how long ago, and whether they were accepted. DigitalOcean shows a droplet for a while after that.
    pub deleted: Vec<(DropletId, SignedDuration, bool)>,
    /// Changes that were accepted, and how long ago. They show only after a while.
    pub changed: Vec<(DropletId, Change, SignedDuration)>,
    /// A droplet whose resize was accepted, and then failed.
    pub failed_resize: Option<DropletId>,
}

impl Outgoing {
    /// How long ago the delete of a droplet was last answered.
    pub fn deleted_for(&self, droplet: DropletId) -> Option<SignedDuration> {
        let answered = self.deleted.iter().find(|(deleted, ..)| *deleted == droplet);
        answered.map(|(_, age, _)| *age)
    }

    /// Whether the delete of a droplet was accepted.
    pub fn delete_accepted(&self, droplet: DropletId) -> bool {
        let mut answered = self.deleted.iter();
        answered.any(|(deleted, _, accepted)| *deleted == droplet && *accepted)
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

    /// Uses the permission to send up.
    pub fn take(&self, environment: EnvironmentId) -> Option<Intent> {
        self.lock().get_mut(&environment)?.unsent.take()
    }

    /// The sending of an intent, whose permission was taken, has ended.
    pub fn ended(&self, intent: Intent, sending: Sending, now: Moment) {
        let mut environments = self.lock();
        let entry = environments.entry(intent.environment_id).or_default();
        match sending {
            Sending::WithoutEffect => entry.unsent = Some(intent),
            Sending::Sent => {
                if let Some(standing) = entry.standing.as_mut().filter(|standing| standing.intent == intent.id) {
                    standing.began = standing.began.max(now);
                }
            }
        }
    }

    /// The database was asked how far the latest intent is, and its answer is there. It may have been under way for long, so the ages
    /// in it count from now and not from the question.
    pub fn learn(&self, environment: EnvironmentId, told: IntentStanding, now: Moment) {
        let mut environments = self.lock();
        let entry = environments.entry(environment).or_default();
        let known = entry.standing.filter(|known| known.intent == told.intent);
        let unsent = entry.unsent.as_ref().is_some_and(|unsent| unsent.id == told.intent);
        let began = now - told.age;
        entry.standing = Some(Remembered {
            intent: told.intent,
            began: match known {
                // Too old to be sent is judged by the moment before it was announced.
                Some(known) if unsent => known.began,
                // What this process saw itself is the later one.
                Some(known) => known.began.max(began),
                None => began,
            },
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

    /// A delete was answered: it was accepted, or there was no such droplet, which may be one that is only not known everywhere yet.
    pub fn deleted(&self, environment: EnvironmentId, droplet: DropletId, accepted: bool, now: Moment) {
        let mut environments = self.lock();
        let deleted = &mut environments.entry(environment).or_default().deleted;
        let before = deleted.iter().any(|(other, _, accepted)| *other == droplet && *accepted);
        deleted.retain(|(other, ..)| *other != droplet);
        deleted.push((droplet, now, accepted || before));
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
        let (deleted, changed) = (self.deleted.iter(), self.changed.iter());
        Outgoing {
            unsent: self.unsent.as_ref().map(|intent| intent.id),
            standing: self.standing.map(|known| Standing {
                intent: known.intent,
                age: now - known.began,
                enrolment_left: known.enrolment_ends - now,
                unenrolled: known.unenrolled,
            }),
            deleted: deleted
                .map(|(droplet, at, accepted)| (*droplet, now - *at, *accepted))
                .collect(),
            changed: changed
                .map(|(droplet, change, at)| (*droplet, change.clone(), now - *at))
                .collect(),
            failed_resize: self.failed_resize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use model::IntentKind;

    const fn secs(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    fn intent() -> Intent {
        Intent {
            id: IntentId::random(),
            environment_id: EnvironmentId::random(),
            kind: IntentKind::Create,
            epoch: 1,
            announced_at: Timestamp::UNIX_EPOCH,
            droplet_id: None,
            enrolment_expires_at: Timestamp::UNIX_EPOCH + secs(3600),
            enrolled_key: None,
            outcome: None,
        }
    }

    fn told(intent: &Intent, age: i64) -> IntentStanding {
        IntentStanding {
            intent: intent.id,
            age: secs(age),
            enrolment_left: secs(3600 - age),
            unenrolled: 0,
        }
    }

    /// The process may have stood still between question and answer, and the intent may be younger than the question.
    #[test]
    fn an_age_is_never_more_than_the_truth() {
        let (outbox, intent) = (Outbox::default(), intent());
        outbox.learn(intent.environment_id, told(&intent, 9), secs(160));
        let standing = outbox.outgoing(intent.environment_id, secs(161)).standing.unwrap();
        assert_eq!((standing.age, standing.enrolment_left), (secs(10), secs(3590)));
    }

    #[test]
    fn what_is_unsent_does_not_grow_younger_by_asking() {
        let (outbox, intent) = (Outbox::default(), intent());
        let environment = intent.environment_id;
        outbox.announced(intent.clone(), secs(100));
        outbox.learn(environment, told(&intent, 5), secs(400));
        let age = |now| outbox.outgoing(environment, now).standing.unwrap().age;
        assert_eq!(age(secs(400)), secs(300));
        assert!(outbox.take(environment).is_some());
        outbox.ended(intent.clone(), Sending::Sent, secs(410));
        outbox.learn(environment, told(&intent, 12), secs(420));
        assert_eq!(
            age(secs(420)),
            secs(10),
            "its effect is not older than this process saw it end"
        );
    }

    /// A young droplet may be listed and not be known by its id yet.
    #[test]
    fn a_droplet_that_was_not_found_was_not_deleted() {
        let (outbox, environment, droplet) = (Outbox::default(), EnvironmentId::random(), DropletId(7));
        let outgoing = |now| outbox.outgoing(environment, now);
        outbox.deleted(environment, droplet, false, secs(10));
        let seen = outgoing(secs(15));
        assert_eq!(
            (seen.deleted_for(droplet), seen.delete_accepted(droplet)),
            (Some(secs(5)), false)
        );
        outbox.deleted(environment, droplet, true, secs(20));
        outbox.deleted(environment, droplet, false, secs(30));
        assert!(outgoing(secs(30)).delete_accepted(droplet), "it is gone because of that");
    }

    #[test]
    fn a_try_without_effect_makes_an_intent_no_younger() {
        let (outbox, intent) = (Outbox::default(), intent());
        let environment = intent.environment_id;
        outbox.announced(intent.clone(), secs(0));
        for now in [10, 20] {
            let taken = outbox.take(environment).unwrap();
            outbox.ended(taken, Sending::WithoutEffect, secs(now));
        }
        let outgoing = outbox.outgoing(environment, secs(29));
        assert_eq!((outgoing.unsent, outgoing.standing.unwrap().age), (Some(intent.id), secs(29)));
    }
}
