//! What a decision looks at, and the questions it asks of it. Owns: how old is too old, and which droplet is the environment's.

use crate::{
    action::{Action, Cause, Change},
    observe::Observed,
    outbox::Standing,
    policy::Policy,
    status::{Draft, StatusWrite, condition},
};
use fleet::{Droplet, Trust};
use jiff::{SignedDuration, Timestamp};
use model::{ConditionStatus, DropletId, EnvironmentRecord, EventType, Intent, IntentOutcome, record::Subject};
use runtime::{Observation, Plan};
use std::borrow::Cow;

/// How soon something is asked again that nothing wakes for.
pub(super) const RECHECK: SignedDuration = SignedDuration::from_secs(10);

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
    Underway(&'static str, Cow<'static, str>),
    /// There is no way there; one word, and a sentence that names the column.
    Failed(&'static str, String),
    /// As it read before: an earlier failure still says why nothing happens.
    Held,
}

impl Progress {
    /// On the way there.
    pub(super) fn underway(reason: &'static str, message: &'static str) -> Self {
        Self::Underway(reason, Cow::Borrowed(message))
    }
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

    /// How far an intent is, once it was asked. What is read before anything is done tells it.
    pub(super) fn standing(&self, intent: &Intent) -> Option<Standing> {
        self.observed
            .outgoing
            .standing
            .filter(|standing| standing.intent == intent.id)
    }

    /// How old an intent is; never more than the truth.
    pub(super) fn age(&self, intent: &Intent) -> SignedDuration {
        self.standing(intent).map_or(SignedDuration::ZERO, |standing| standing.age)
    }

    /// Whether an unsent intent is young enough to be sent.
    pub(super) fn sendable(&self, intent: &Intent) -> bool {
        self.age(intent) < self.policy.send_within()
    }

    /// `None` when the droplets were read after the end of the time for which an intent's droplet may be hidden. Else how much of that
    /// time is left: nothing, when it is over and only what was read is from before.
    pub(super) fn window_left(&self, intent: &Intent) -> Option<SignedDuration> {
        let (window, age) = (self.policy.lag_window, self.age(intent));
        let when_read = age.saturating_sub(self.read_age().max(SignedDuration::ZERO));
        (when_read < window).then_some((window - age).max(SignedDuration::ZERO))
    }

    /// Follows an intent's droplet that may be hidden, and reads once more when the time for that is over.
    pub(super) fn watch_window(&self, intent: &Intent, left: SignedDuration) -> (Option<Action>, SignedDuration) {
        let (look, requeue) = self.watch(self.age(intent));
        (look.or(left.is_zero().then_some(Action::Look)), requeue.min(left))
    }

    /// Whether what is missing from the fleet is believed. If not, it is said why, and what would follow is withheld.
    pub(super) fn believes(&self, draft: &mut Draft<'_>) -> bool {
        let Trust::Withheld { reason, .. } = &self.observed.sighting.trust else {
            return true;
        };
        let said = draft.said(condition::FLEET_TRUSTED);
        if said.is_none_or(|said| said.status != ConditionStatus::False) {
            let message = format!("{reason}; nothing is created or destroyed for what is missing");
            draft.event(EventType::Warning, "FleetNotTrusted", message, Cause::FleetDoubtful);
        }
        let (kind, doubted) = (condition::FLEET_TRUSTED, ConditionStatus::False);
        draft.condition(kind, doubted, "MassDrift", reason);
        false
    }

    /// Whether what is missing from the fleet is believed.
    pub(super) fn trusted(&self) -> bool {
        self.observed.sighting.trust.is_trusted()
    }

    /// Until when no create can be sent, if that is later than now.
    pub(super) fn short_until(&self) -> Option<Timestamp> {
        self.observed.short_until.filter(|until| *until > self.now)
    }

    /// What is done while no create can be sent: waiting, and saying until when.
    pub(super) fn short(&self, until: Timestamp, draft: &mut Draft<'_>) -> Steps {
        draft.waits(until);
        Steps {
            actions: Vec::new(),
            requeue: Some(until.duration_since(self.now)),
            progress: Progress::underway(
                "RequestLimitReached",
                "the droplet is created once requests may be sent again",
            ),
        }
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
        // One that lost its tags before it was adopted is ours all the same, and gets them again.
        let unclaimed = |droplet: &&Droplet| droplet.ours || !droplet.missing.is_empty();
        let adoptable = |droplet: &&Droplet| alive && self.made(latest, droplet) && unclaimed(droplet);
        known.or_else(|| droplets.iter().find(adoptable))
    }

    /// Whether a droplet was made for the latest intent: one of them names the other. If neither does (the droplet was seen while
    /// nothing could be written, and then lost that tag), the row does: what it records was seen since the intent was announced.
    pub(super) fn made(&self, intent: &Intent, droplet: &Droplet) -> bool {
        let recorded = match &self.record.subject {
            Subject::Row(row) => row.status.droplet_id,
            Subject::Tombstone(tombstone) => tombstone.droplet_id,
        };
        match (droplet.intent, intent.droplet_id) {
            (None, None) => recorded == Some(droplet.id),
            (named, answered) => named == Some(intent.id) || answered == Some(droplet.id),
        }
    }

    /// What is done while nothing may follow from what is missing: waiting.
    pub(super) fn withheld() -> Steps {
        Steps {
            actions: Vec::new(),
            requeue: Some(RECHECK),
            progress: Progress::underway(
                "FleetNotTrusted",
                "so much is missing at once that nothing missing is believed",
            ),
        }
    }

    /// A change of a droplet, unless the same was accepted so short a time ago that it may only not show yet.
    pub(super) fn change(&self, droplet: DropletId, change: Change, cause: Cause) -> Option<Action> {
        let accepted = self.observed.outgoing.changed_for(droplet, &change);
        let due = accepted.is_none_or(|age| age >= self.policy.change_retry);
        due.then_some(Action::ChangeDroplet { droplet, change, cause })
    }

    /// How long ago the last change of a droplet was accepted.
    pub(super) fn changed_for(&self, droplet: DropletId) -> Option<SignedDuration> {
        let changed = self.observed.outgoing.changed.iter();
        changed.filter(|(id, _, _)| *id == droplet).map(|(_, _, age)| *age).min()
    }

    /// Deletes of droplets that are ours, except the kept one and those whose delete was accepted a moment ago.
    pub(super) fn deletes(
        &self,
        droplets: &[Droplet],
        kept: Option<DropletId>,
        cause: impl Fn(&Droplet) -> Cause,
    ) -> Vec<Action> {
        let due = |droplet: &&Droplet| {
            let accepted = self.observed.outgoing.deleted_for(droplet.id);
            accepted.is_none_or(|age| age >= self.policy.lag_window)
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
        self.observed.outgoing.delete_accepted(droplet)
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
        let Some(droplet) = droplets.iter().find(|droplet| self.made(intent, droplet)) else {
            let lost = Action::ResolveIntent {
                intent: intent.id,
                outcome: IntentOutcome::Lost,
                cause: Cause::LagWindowPassed(intent.id),
            };
            // What was not seen is lost only where what is missing is believed.
            return if self.window_left(intent).is_none() && self.trusted() {
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

    /// Follows something under way for `age`: whether what was seen is too old for it, and when to look again. While requests are
    /// short the sweeps look for all, unless they don't.
    pub(super) fn watch(&self, age: SignedDuration) -> (Option<Action>, SignedDuration) {
        let patience = if self.observed.short {
            self.policy.fleet_max_age / 2
        } else {
            self.policy.patience(age)
        };
        let age = self.read_age();
        if age >= patience {
            (Some(Action::Look), patience)
        } else {
            (None, patience - age)
        }
    }

    /// Looks, and does nothing else yet.
    pub(super) fn look(&self) -> Steps {
        Steps {
            actions: vec![Action::Look],
            requeue: Some(self.policy.patience(SignedDuration::ZERO)),
            progress: Progress::Held,
        }
    }

    /// Says what others recorded, and takes back what does not hold any more.
    fn asides(&self, draft: &mut Draft<'_>) {
        if self.trusted() {
            draft.without(&[condition::FLEET_TRUSTED]);
        }
        if draft.said(condition::BUDGET_AVAILABLE).is_some() && !draft.is_waiting() {
            draft.condition(condition::BUDGET_AVAILABLE, ConditionStatus::True, "Available", "");
        }
        match &self.record.firewall {
            Some(firewall) => {
                draft.condition(condition::FIREWALL_READY, firewall.state, &firewall.reason, &firewall.message);
            }
            None => draft.without(&[condition::FIREWALL_READY]),
        }
    }

    /// Puts a row's plan together. A paused row keeps what was observed and does nothing.
    pub(super) fn plan(&self, mut draft: Draft<'_>, steps: Steps, paused: bool) -> Plan<Action, StatusWrite> {
        self.asides(&mut draft);
        let (actions, requeue) = if paused {
            draft.condition(condition::RECONCILED, ConditionStatus::False, "Paused", "spec.paused is set");
            (Vec::new(), None)
        } else {
            match steps.progress {
                Progress::Settled => draft.condition(condition::RECONCILED, ConditionStatus::True, "Reconciled", ""),
                Progress::Underway(reason, message) => {
                    draft.condition(condition::RECONCILED, ConditionStatus::False, reason, &message);
                }
                Progress::Failed(reason, message) => {
                    draft.condition(condition::RECONCILED, ConditionStatus::False, reason, &message);
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
