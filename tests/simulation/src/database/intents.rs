//! `provisioning_intents`: what is about to be done, committed before it is sent, and who enrolled with it.

use super::{Database, Denied};
use crate::{
    dice::Dice,
    moment::{Millis, seconds, timestamp},
};
use jiff::SignedDuration;
use model::{
    DropletId, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentStatus, Intent, IntentId, IntentKind,
    IntentOutcome,
};
use schema::{Enrolled, Fence, IntentStanding};

/// For how long a first enrolment is taken.
const ENROLMENT_TTL: Millis = seconds(3600);

/// An intent's row, with the column that records do not show.
#[derive(Clone, Debug)]
pub struct IntentRow {
    /// What records show.
    pub intent: Intent,
    /// A later one was announced.
    pub superseded: bool,
}

impl Database {
    /// Raises the environment's epoch, and commits an open intent with it, if the row is still the one that was decided by.
    pub fn intent_announce(&mut self, now: Millis, dice: &mut Dice, fence: &Fence, read: &Environment) -> Result<Intent, Denied> {
        let id = read.id;
        self.fenced(fence, id, now)?;
        let stamp = |row: &Environment| (row.generation, row.status.agent_epoch, row.status.droplet_id);
        let current = |row: &&mut Environment| {
            row.spec.desired_state == EnvironmentDesiredState::Active && (stamp(row) == stamp(read) || self.loose.records)
        };
        let row = self.rows.get_mut(&id).filter(current).ok_or(Denied::Stale)?;
        let intents = self.intents.entry(id).or_default();
        if intents.iter().any(|row| row.intent.outcome.is_none()) && !self.loose.intents {
            return Err(Denied::IntentOpen);
        }
        let highest = intents.iter().map(|row| row.intent.epoch).max().unwrap_or(0);
        let epoch = row.status.agent_epoch.max(highest) + 1;
        row.status = EnvironmentStatus {
            agent_epoch: epoch,
            droplet_id: None,
            ip_address: None,
            droplet_created_at: None,
            ..row.status.clone()
        };
        for row in intents.iter_mut() {
            row.superseded = true;
        }
        let intent = Intent {
            id: IntentId(dice.uuid()),
            environment_id: id,
            kind: IntentKind::Create,
            epoch,
            announced_at: timestamp(now),
            droplet_id: None,
            enrolment_expires_at: timestamp(now) + SignedDuration::from_millis(ENROLMENT_TTL),
            enrolled_key: None,
            outcome: None,
        };
        intents.push(IntentRow {
            intent: intent.clone(),
            superseded: false,
        });
        self.changed.insert(id);
        Ok(intent)
    }

    fn intent(&mut self, id: IntentId) -> Option<&mut IntentRow> {
        self.intents.values_mut().flatten().find(|row| row.intent.id == id)
    }

    /// Records the droplet that an open intent made.
    pub fn intent_droplet(&mut self, now: Millis, fence: &Fence, id: IntentId, droplet: DropletId) -> Result<(), Denied> {
        self.held(fence, now)?;
        let shard = fence.shard;
        let open = |row: &&mut IntentRow| row.intent.outcome.is_none() && row.intent.environment_id.shard() == shard;
        let row = self.intent(id).filter(open).ok_or(Denied::NoIntent)?;
        row.intent.droplet_id = Some(droplet);
        let environment = row.intent.environment_id;
        self.changed.insert(environment);
        Ok(())
    }

    /// Ends an intent; again in the same way does nothing.
    pub fn intent_resolve(&mut self, now: Millis, fence: &Fence, id: IntentId, outcome: IntentOutcome) -> Result<(), Denied> {
        self.held(fence, now)?;
        let shard = fence.shard;
        let resolvable = |row: &&mut IntentRow| {
            row.intent.environment_id.shard() == shard && row.intent.outcome.is_none_or(|ended| ended == outcome)
        };
        let row = self.intent(id).filter(resolvable).ok_or(Denied::NoIntent)?;
        row.intent.outcome = Some(outcome);
        let environment = row.intent.environment_id;
        self.changed.insert(environment);
        Ok(())
    }

    /// How far the latest intent is.
    pub fn intent_standing(&self, now: Millis, id: EnvironmentId) -> Option<IntentStanding> {
        let intents = self.intents.get(&id)?;
        let latest = &intents.last().filter(|row| !row.superseded)?.intent;
        let enrolled = intents.iter().filter(|row| row.intent.enrolled_key.is_some());
        let last_enrolled = enrolled.map(|row| row.intent.epoch).max().unwrap_or(0);
        let silent = intents
            .iter()
            .filter(|row| row.intent.droplet_id.is_some() && row.intent.epoch > last_enrolled);
        Some(IntentStanding {
            intent: latest.id,
            age: timestamp(now).duration_since(latest.announced_at),
            enrolment_left: latest.enrolment_expires_at.duration_since(timestamp(now)),
            unenrolled: u32::try_from(silent.count()).unwrap_or(u32::MAX),
        })
    }

    /// Binds a key to an intent, once. Admits it, with the epoch of its tokens, only when the environment records the intent's droplet
    /// with its address.
    pub fn intent_enrol(&mut self, now: Millis, id: IntentId, key: &str) -> (Enrolled, Option<i64>) {
        let Some(row) = self.intent(id) else {
            return (Enrolled::Expired, None);
        };
        let alive = matches!(row.intent.outcome, None | Some(IntentOutcome::Adopted));
        let young = row.intent.enrolment_expires_at > timestamp(now);
        let enrolled = match &row.intent.enrolled_key {
            None if !row.superseded && young && alive => {
                row.intent.enrolled_key = Some(key.to_owned());
                Enrolled::First
            }
            Some(bound) if !row.superseded && bound == key => Enrolled::Again,
            Some(bound) if !row.superseded && bound != key => Enrolled::OtherKey,
            Some(_) | None => Enrolled::Expired,
        };
        let intent = row.intent.clone();
        if enrolled == Enrolled::First {
            self.changed.insert(intent.environment_id);
        }
        let environment = self.rows.get(&intent.environment_id).map(|row| &row.status);
        let recorded = environment.is_some_and(|status| {
            let same = status.agent_epoch == intent.epoch && status.droplet_id == intent.droplet_id;
            same && intent.droplet_id.is_some() && status.ip_address.is_some()
        });
        let admitted = recorded && matches!(enrolled, Enrolled::First | Enrolled::Again);
        (enrolled, admitted.then_some(intent.epoch))
    }
}
