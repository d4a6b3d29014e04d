//! What a decision looks at, and the questions it asks of it. Owns: how old is too old, and which droplet is the environment's.

use crate::{
    action::{Action, Cause},
    observe::Observed,
    policy::Policy,
    status::{Draft, StatusWrite, condition},
};
use fleet::Droplet;
use jiff::{SignedDuration, Timestamp};
use model::{ConditionStatus, DropletId, EnvironmentRecord, Intent, IntentOutcome};
use runtime::{Observation, Plan};

/// The inputs of a decision.
pub(super) struct Scene<'a> {
    pub(super) policy: &'a Policy,
    pub(super) record: &'a EnvironmentRecord,
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
}

/// What a decision comes to, beside the status.
pub(super) struct Steps {
    pub(super) actions: Vec<Action>,
    pub(super) requeue: Option<SignedDuration>,
    pub(super) progress: Progress,
}

/// How the `Reconciled` condition reads.
pub(super) enum Progress {
    /// What is there is what is wanted.
    Settled,
    /// On the way there; one word and a sentence.
    Underway(&'static str, &'static str),
    /// As it read before: an earlier failure still says why nothing happens.
    Held,
}

impl Steps {
    /// Nothing to do until something changes.
    pub(super) fn none(progress: Progress) -> Self {
        Self {
            actions: Vec::new(),
            requeue: None,
            progress,
        }
    }
}

impl<'a> Scene<'a> {
    /// The environment's droplets, unless that was seen too long ago to be believed.
    pub(super) fn droplets(&self) -> Observation<&'a [Droplet]> {
        let sighting = &self.observed.sighting;
        match &sighting.droplets {
            Observation::Unknown => Observation::Unknown,
            Observation::Absent | Observation::Present(_) if self.read_age() > self.policy.fleet_max_age => Observation::Unknown,
            Observation::Absent => Observation::Absent,
            Observation::Present(droplets) => Observation::Present(droplets),
        }
    }

    fn read_age(&self) -> SignedDuration {
        let read_at = self.observed.sighting.read_at;
        read_at.map_or(SignedDuration::MAX, |read_at| self.now.duration_since(read_at))
    }

    /// The latest intent.
    pub(super) fn intent(&self) -> Option<&'a Intent> {
        self.record.intent.as_deref()
    }

    /// The latest intent, while nobody knows how it ended.
    pub(super) fn open_intent(&self) -> Option<&'a Intent> {
        self.intent().filter(|intent| intent.outcome.is_none())
    }

    /// Whether an open intent was surely not sent: this process announced it and still holds the permission.
    pub(super) fn unsent(&self, intent: &Intent) -> bool {
        self.observed.outgoing.unsent == Some(intent.id)
    }

    /// Whether an unsent intent is young enough to be sent.
    pub(super) fn sendable(&self, intent: &Intent) -> bool {
        self.now.duration_since(intent.announced_at) < self.policy.send_within()
    }

    /// For how long an intent's droplet may still be hidden.
    pub(super) fn window_left(&self, intent: &Intent) -> Option<SignedDuration> {
        let left = self.policy.lag_window - self.now.duration_since(intent.announced_at);
        left.is_positive().then_some(left)
    }

    /// The environment's own droplet among those seen: the recorded one, else the lowest id of the latest intent.
    ///
    /// A droplet of an earlier intent, or of one that was given up, is not adopted: its agent can never enrol, or holds tokens of
    /// an epoch that is over. Only where no intent is known at all (the rows were restored from somewhere) the lowest id is
    /// taken as it is.
    pub(super) fn kept(&self, recorded: Option<DropletId>, droplets: &'a [Droplet]) -> Option<&'a Droplet> {
        let Some(latest) = self.intent() else {
            let known = droplets.iter().find(|droplet| Some(droplet.id) == recorded);
            return known.or_else(|| droplets.iter().find(|droplet| droplet.ours));
        };
        let superseded = |droplet: &&Droplet| droplet.intent.is_some_and(|named| named != latest.id);
        let known = droplets
            .iter()
            .find(|droplet| Some(droplet.id) == recorded && !superseded(droplet));
        let alive = match latest.outcome {
            None | Some(IntentOutcome::Adopted) => true,
            Some(IntentOutcome::Refused | IntentOutcome::Lost | IntentOutcome::Abandoned) => false,
        };
        let made = |droplet: &&Droplet| droplet.intent == Some(latest.id) || latest.droplet_id == Some(droplet.id);
        let made_and_ours = |droplet: &&Droplet| alive && droplet.ours && made(droplet);
        known.or_else(|| droplets.iter().find(made_and_ours))
    }

    /// Deletes of droplets that are ours, except the kept one and those whose delete was accepted a moment ago.
    pub(super) fn deletes(
        &self,
        droplets: &[Droplet],
        kept: Option<DropletId>,
        cause: impl Fn(&Droplet) -> Cause,
    ) -> Vec<Action> {
        let due = |droplet: &&Droplet| {
            let accepted = self.observed.outgoing.deleted_at(droplet.id);
            accepted.is_none_or(|at| self.now.duration_since(at) >= self.policy.lag_window)
        };
        droplets
            .iter()
            .filter(|droplet| droplet.ours && Some(droplet.id) != kept)
            .filter(due)
            .map(|droplet| Action::DeleteDroplet {
                droplet: droplet.id,
                cause: cause(droplet),
            })
            .collect()
    }

    /// Whether a droplet is only still shown: its delete was accepted.
    pub(super) fn leaving(&self, droplet: DropletId) -> bool {
        self.observed.outgoing.deleted_at(droplet).is_some()
    }

    /// For how long a resolved intent's droplet may only be missing from an answer, because it is so young. One whose delete was
    /// accepted is not missing but gone.
    pub(super) fn hidden_left(&self, intent: &Intent) -> Option<SignedDuration> {
        let droplet = intent.droplet_id?;
        self.window_left(intent).filter(|_| !self.leaving(droplet))
    }

    /// Closes the open intent, when its droplet is among those seen, or when its time is over.
    pub(super) fn adoption(&self, droplets: &[Droplet]) -> Vec<Action> {
        let Some(intent) = self.open_intent() else {
            return Vec::new();
        };
        let made = |droplet: &&Droplet| droplet.intent == Some(intent.id) || intent.droplet_id == Some(droplet.id);
        let Some(droplet) = droplets.iter().find(made) else {
            let lost = Action::ResolveIntent {
                intent: intent.id,
                outcome: IntentOutcome::Lost,
                cause: Cause::LagWindowPassed(intent.id),
            };
            return if self.window_left(intent).is_none() {
                vec![lost]
            } else {
                Vec::new()
            };
        };
        let resolve = Action::ResolveIntent {
            intent: intent.id,
            outcome: IntentOutcome::Adopted,
            cause: Cause::DropletSeen(droplet.id),
        };
        let name = Action::NameDroplet {
            intent: intent.id,
            droplet: droplet.id,
        };
        if intent.droplet_id == Some(droplet.id) {
            vec![resolve]
        } else {
            vec![name, resolve]
        }
    }

    /// When the environment's agent was last heard; `None` before its first report.
    pub(super) fn heard_at(&self) -> Option<Timestamp> {
        let report = self.record.current_report()?;
        Some(
            self.observed
                .heard_at
                .map_or(report.received_at, |heard| heard.max(report.received_at)),
        )
    }

    /// Whether an agent that was heard once is not heard any more.
    pub(super) fn silent(&self) -> bool {
        self.heard_at()
            .is_some_and(|heard| self.now.duration_since(heard) > self.policy.silence())
    }

    /// Follows something under way since `began`: whether what was seen is too old for it, and when to look again.
    pub(super) fn watch(&self, began: Timestamp) -> (Option<Action>, SignedDuration) {
        let patience = self.policy.patience(self.now.duration_since(began));
        let age = self.read_age();
        if age >= patience {
            (Some(Action::Look), patience)
        } else {
            (None, patience - age)
        }
    }

    /// Puts a row's plan together. A paused row keeps what was observed and does nothing.
    pub(super) fn plan(&self, mut draft: Draft<'_>, steps: Steps, paused: bool) -> Plan<Action, StatusWrite> {
        let (actions, requeue) = if paused {
            draft.condition(condition::RECONCILED, ConditionStatus::False, "Paused", "spec.paused is set");
            (Vec::new(), None)
        } else {
            match steps.progress {
                Progress::Settled => draft.condition(condition::RECONCILED, ConditionStatus::True, "Reconciled", ""),
                Progress::Underway(reason, message) => {
                    draft.condition(condition::RECONCILED, ConditionStatus::False, reason, message);
                }
                Progress::Held => {}
            }
            (steps.actions, steps.requeue)
        };
        let read_at = match self.droplets() {
            Observation::Unknown => None,
            Observation::Absent | Observation::Present(_) => self.observed.sighting.read_at,
        };
        Plan {
            actions,
            status: draft.finish(read_at, self.policy.observed_refresh),
            requeue,
        }
    }
}
