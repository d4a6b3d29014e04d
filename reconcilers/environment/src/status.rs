//! What a pass writes back, and how it is drafted. Owns: the conditions' names, and telling a change from none. Must not: decide
//! what to do. Promises: a draft that ends where the row already is costs no copy and no write.

mod budget;

pub use budget::goes_on_at;

use crate::action::Cause;
use fleet::Droplet;
use jiff::{SignedDuration, Timestamp};
use model::{
    Condition, ConditionStatus, Conditions, Environment, EnvironmentDesiredState, EnvironmentId, EnvironmentPhase,
    EnvironmentStatus, Event, EventType,
};
use std::{borrow::Cow, net::IpAddr};

/// The condition types of an environment.
pub mod condition {
    /// Droplet, address and agent are there: tools can run.
    pub const READY: &str = "Ready";
    /// The droplet is active and has a public address.
    pub const DROPLET_READY: &str = "DropletReady";
    /// The agent enrolled, and its heartbeats come.
    pub const AGENT_READY: &str = "AgentReady";
    /// What is there is what is wanted; `False` says what stands in the way.
    pub const RECONCILED: &str = "Reconciled";
    /// Only while deleting or resizing: whether the tools were stopped. Tools are kept stopped for as long as it is there. Since
    /// when it is `False` is what the stop deadline counts from, and since when it is `True` the shutdown deadline.
    pub const TOOLS_STOPPED: &str = "ToolsStopped";
    /// Only while the droplet has another size than it should: `Unknown` on the way there, `False` when there is no way.
    pub const RESIZED: &str = "Resized";
    /// Only once something of the environment was withheld: whether what is missing from the fleet is believed.
    pub const FLEET_TRUSTED: &str = "FleetTrusted";
    /// Only once a pass had to wait: whether requests may be sent; `False` says until when not.
    pub const BUDGET_AVAILABLE: &str = "BudgetAvailable";
    /// Only while the droplet should be in a project and cannot be put there.
    pub const PROJECT_ASSIGNED: &str = "ProjectAssigned";
    /// Whether the environment's firewall is as it should be, as its reconciler recorded.
    pub const FIREWALL_READY: &str = "FirewallReady";
}

/// `reconcile_events.actor` of everything here.
pub const ACTOR: &str = "environment-reconciler";

/// What is written back at the end of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusWrite {
    /// The row's new status; `None` when the row already says it, and for a tombstone, which has none.
    pub status: Option<EnvironmentStatus>,
    /// What people should hear of.
    pub events: Vec<Event>,
}

/// An event of this reconciler.
pub fn event(
    environment: EnvironmentId,
    kind: EventType,
    reason: &str,
    message: impl Into<String>,
    cause: impl Into<model::Cause>,
) -> Event {
    Event {
        environment_id: Some(environment),
        instance_id: None,
        kind,
        reason: reason.to_owned(),
        message: message.into(),
        actor: ACTOR.to_owned(),
        cause: cause.into().to_string(),
    }
}

/// The status that a failed pass leaves, from the one that was planned. An answer that a person has to do something about is the
/// environment's phase, any other only a condition; and that stays as it was first written for as long as the reason is the same,
/// because every change of a row wakes its key, and would undo the backoff.
pub fn with_failure(
    row: &Environment,
    mut status: EnvironmentStatus,
    failure: &runtime::Error,
    now: Timestamp,
) -> EnvironmentStatus {
    let (reason, message, generation) = (failure.reason(), failure.message(), row.generation);
    let message = match row.status.conditions.get(condition::RECONCILED) {
        Some(said) if said.reason == reason && said.observed_generation == generation => said.message.to_string(),
        Some(_) | None => message.to_owned(),
    };
    if is_for_people(failure) {
        let launched = matches!(status.phase, EnvironmentPhase::Active | EnvironmentPhase::Unresponsive);
        status.phase = match row.spec.desired_state {
            EnvironmentDesiredState::Deleted => EnvironmentPhase::ErrorDeletion,
            EnvironmentDesiredState::Active if launched => status.phase,
            EnvironmentDesiredState::Active => EnvironmentPhase::ErrorCreation,
        };
        status.error_message = Some(message.clone());
    }
    let conditions = &mut status.conditions;
    if reason == RESIZE_REFUSED {
        let (kind, refused) = (condition::RESIZED, ConditionStatus::False);
        conditions.set(kind, refused, reason, message.clone(), generation, now);
    }
    if let runtime::Error::Waiting { after, .. } = failure {
        let until = now.saturating_add(*after).unwrap_or(Timestamp::MAX);
        budget::wait(conditions, &row.status.conditions, until, generation, now);
    }
    conditions.set(
        condition::RECONCILED,
        ConditionStatus::False,
        reason,
        message,
        generation,
        now,
    );
    status
}

/// The reason of a resize that DigitalOcean refused.
pub(crate) const RESIZE_REFUSED: &str = "ResizeRefused";

/// Whether nothing goes on until a person does something: what is asked for has to change, or the token.
fn is_for_people(failure: &runtime::Error) -> bool {
    match failure {
        runtime::Error::Terminal { .. } => true,
        runtime::Error::Retriable { reason, .. } => *reason == "DigitalOceanUnauthorized",
        runtime::Error::Waiting { .. } => false,
    }
}

/// The status of one row on its way: borrowed from the row until something differs.
pub(crate) struct Draft<'a> {
    row: &'a Environment,
    now: Timestamp,
    status: Cow<'a, EnvironmentStatus>,
    events: Vec<Event>,
    /// Nothing can be sent, and so nothing done.
    waits: bool,
    /// The row says so already.
    said: bool,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(row: &'a Environment, now: Timestamp) -> Self {
        let mut draft = Self {
            row,
            now,
            status: Cow::Borrowed(&row.status),
            events: Vec::new(),
            waits: false,
            said: false,
        };
        if row.status.observed_generation != row.generation {
            draft.status.to_mut().observed_generation = row.generation;
        }
        draft
    }

    /// Moves to a phase. Leaving an error leaves its message. The database records changes of phase as events by itself.
    pub(crate) fn phase(&mut self, phase: EnvironmentPhase) {
        if self.status.phase != phase {
            self.status.to_mut().phase = phase;
        }
        if self.status.error_message.is_some() {
            self.status.to_mut().error_message = None;
        }
    }

    /// Records the environment's droplet, or that there is none.
    pub(crate) fn droplet(&mut self, droplet: Option<&Droplet>) {
        let id = droplet.map(|droplet| droplet.id);
        let address = droplet.and_then(|droplet| droplet.address).map(IpAddr::V4);
        let created_at = droplet.and_then(|droplet| droplet.created_at);
        let status = &self.status;
        if status.droplet_id != id || status.ip_address != address || status.droplet_created_at != created_at {
            let status = self.status.to_mut();
            status.droplet_id = id;
            status.ip_address = address;
            status.droplet_created_at = created_at;
        }
    }

    /// Says why an error phase holds.
    pub(crate) fn error_message(&mut self, message: String) {
        if self.status.error_message.as_deref() != Some(message.as_str()) {
            self.status.to_mut().error_message = Some(message);
        }
    }

    /// Sets a condition, of the row's generation.
    pub(crate) fn condition(&mut self, kind: &str, status: ConditionStatus, reason: &str, message: &str) {
        let generation = self.row.generation;
        let same = self.status.conditions.get(kind).is_some_and(|old| {
            old.status == status && old.reason == reason && *old.message == *message && old.observed_generation == generation
        });
        if !same {
            let (now, conditions) = (self.now, &mut self.status.to_mut().conditions);
            conditions.set(kind, status, reason, message, generation, now);
        }
    }

    /// Says that nothing can be sent before `until`. While the row says so already, nothing of it is written at all: the pass
    /// that writes would first have to read, with requests that others wait for.
    pub(crate) fn waits(&mut self, until: Timestamp) {
        self.waits = true;
        let (said, now) = (&self.row.status.conditions, self.now);
        if budget::standing(said, now).is_some() {
            self.said = true;
            return;
        }
        let conditions = &mut self.status.to_mut().conditions;
        budget::wait(conditions, said, until, self.row.generation, now);
    }

    /// Whether it was said that nothing can be sent.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Takes conditions away that have no meaning now.
    pub(crate) fn without(&mut self, kinds: &[&str]) {
        for kind in kinds {
            if self.status.conditions.get(kind).is_some() {
                self.status.to_mut().conditions.remove(kind);
            }
        }
    }

    /// What the row says before this pass.
    pub(crate) fn before(&self) -> &'a EnvironmentStatus {
        &self.row.status
    }

    /// What the row says of a condition before this pass.
    pub(crate) fn said(&self, kind: &str) -> Option<&'a Condition> {
        self.row.status.conditions.get(kind)
    }

    /// An event about the row.
    pub(crate) fn event(&mut self, kind: EventType, reason: &str, message: impl Into<String>, cause: Cause) {
        self.events.push(event(self.row.id, kind, reason, message, cause));
    }

    fn differs(&self) -> bool {
        match &self.status {
            Cow::Borrowed(_) => false,
            Cow::Owned(status) => *status != self.row.status,
        }
    }

    /// What there is to write, if anything. `observed_at` goes along with other changes, and alone only once it lags by `refresh`.
    pub(crate) fn finish(mut self, read_at: Option<Timestamp>, refresh: SignedDuration) -> Option<StatusWrite> {
        if self.said {
            return None;
        }
        let written = self.row.status.observed_at;
        let lag = match (written, read_at) {
            (_, None) => None,
            (None, Some(_)) => Some(SignedDuration::MAX),
            (Some(written), Some(read)) => Some(read.duration_since(written)),
        };
        let changed = self.differs();
        if lag.is_some_and(|lag| lag >= refresh || (changed && lag.is_positive())) {
            self.status.to_mut().observed_at = read_at;
        }
        let status = self.differs().then(|| self.status.into_owned());
        (status.is_some() || !self.events.is_empty()).then_some(StatusWrite {
            status,
            events: self.events,
        })
    }
}

/// Whether a condition is known and does not hold, and since when.
pub(crate) fn failing_since(conditions: &Conditions, kind: &str) -> Option<Timestamp> {
    let condition = conditions.get(kind)?;
    (condition.status == ConditionStatus::False).then_some(condition.last_transition_time)
}
