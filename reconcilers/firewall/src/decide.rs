//! What to do about a firewall: make it, replace it whole, or take it away; and what to put on record before and after.
//!
//! Owns: when an environment has a firewall and which ports are open in it. Must not: do I/O, read a clock, log. Promises: a port
//! is on record before it is opened and until it was seen to be closed; it is open only while its tool is wanted, told to run,
//! ready, and not asked to close; `Unknown` leads to nothing; a firewall is attached to no droplet that goes; a set that means
//! the same is left alone.
//!
//! ```text
//! one port:      closed --(its tool is ready)--> on record --> open
//!                  ^                                             | not ready, not wanted, or asked to close
//!                  +--- off the record <--(seen in force)--- replaced without it
//!
//! the firewall:  announced --> made --> seen in force (its id on record) <--> replaced
//!                                          | the droplet is gone, and none is wanted
//!                                          v
//!                                       deleted --> seen to be gone --> forgotten
//! ```

#[cfg(test)]
mod fixtures;
mod ports;
#[cfg(test)]
mod tests;

use crate::{
    action::{Action, CloudAction},
    observe::Observed,
    rules::{self, Sources},
};
use digitalocean::FirewallSpec;
use fleet::{Trust, firewalls::Known};
use jiff::{SignedDuration, Timestamp};
use model::{
    Cause, ConditionStatus, DropletId, Environment, EnvironmentDesiredState, EnvironmentRecord, InstallationId, RecordedFirewall,
    record::Subject,
};
use ports::{Wished, wished};
use runtime::{Observation, Plan};
use schema::FirewallState;
use std::collections::BTreeSet;

/// What decisions are made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whose firewalls.
    pub installation: InstallationId,
    /// From where what is let in.
    pub sources: Sources,
    /// An observation older than this is `Unknown`.
    pub max_age: SignedDuration,
    /// For how long a firewall that was just announced may be missing from DigitalOcean's answers.
    pub lag_window: SignedDuration,
}

/// How soon to ask again for what was not known.
const RECHECK: SignedDuration = SignedDuration::from_secs(10);
/// How soon to look again whether a change is in force, at first; and how soon when it takes long.
const SETTLING: SignedDuration = SignedDuration::from_millis(500);
const SETTLING_LONG: SignedDuration = SignedDuration::from_secs(10);

/// What should be.
enum Wanted {
    /// This firewall, on this droplet.
    Firewall {
        /// Where.
        droplet: DropletId,
        /// What it should be.
        spec: FirewallSpec,
        /// The ports that it opens.
        wished: Wished,
    },
    /// As closed as it is, until its droplet is gone: nothing is opened, attached or made any more.
    Closed {
        /// Where.
        droplet: DropletId,
        /// The firewall without a tool's port.
        spec: FirewallSpec,
        /// Why.
        cause: Cause,
    },
    /// None.
    Nothing(Cause),
    /// Whatever there is: paused, or between two droplets.
    AsItIs,
}

/// Decides one pass over an environment's firewall.
pub fn decide(policy: &Policy, record: &EnvironmentRecord, observed: &Observed, now: Timestamp) -> Plan<Action, FirewallState> {
    let scene = Scene {
        policy,
        record,
        observed,
        now,
    };
    match wanted(policy, record) {
        Wanted::AsItIs => Plan::noop(),
        Wanted::Firewall { droplet, spec, wished } => scene.keep(droplet, &spec, &wished),
        Wanted::Closed { droplet, spec, cause } => scene.close(droplet, &spec, &cause),
        Wanted::Nothing(cause) => scene.remove(&cause),
    }
}

/// Decides one pass over a firewall that is named for an environment of ours that nothing is known of: neither a row nor a
/// tombstone.
pub fn decide_orphan(policy: &Policy, observed: &Observed, now: Timestamp) -> Plan<Action, FirewallState> {
    let age = observed
        .firewall
        .read_at
        .map_or(SignedDuration::MAX, |read_at| now.duration_since(read_at));
    match (&observed.firewall.firewall, &observed.firewall.trust) {
        (Observation::Present(known), Trust::Trusted) if age <= policy.max_age => Plan {
            actions: vec![Action::Cloud(CloudAction::Delete {
                id: known.id.clone(),
                cause: Cause::observation("its environment has neither a row nor a tombstone"),
            })],
            status: None,
            requeue: None,
        },
        (Observation::Present(_) | Observation::Unknown | Observation::Absent, Trust::Trusted | Trust::Withheld { .. }) => {
            Plan::noop()
        }
    }
}

fn wanted(policy: &Policy, record: &EnvironmentRecord) -> Wanted {
    let closed = |droplet, cause| Wanted::Closed {
        droplet,
        spec: rules::environment(&policy.installation, record.id(), droplet, &BTreeSet::new(), &policy.sources).0,
        cause,
    };
    let row = match &record.subject {
        Subject::Row(row) => row,
        Subject::Tombstone(tombstone) => {
            let cause = Cause::observation("the row was deleted");
            return match tombstone.droplet_id {
                Some(droplet) => closed(droplet, cause),
                None => Wanted::Nothing(cause),
            };
        }
    };
    if row.spec.paused {
        return Wanted::AsItIs;
    }
    match (row.spec.desired_state, row.status.droplet_id) {
        (EnvironmentDesiredState::Active, Some(droplet)) => open(policy, record, row, droplet),
        (EnvironmentDesiredState::Active, None) => Wanted::AsItIs,
        (EnvironmentDesiredState::Deleted, Some(droplet)) => closed(droplet, disabled(row)),
        (EnvironmentDesiredState::Deleted, None) => Wanted::Nothing(disabled(row)),
    }
}

fn disabled(row: &Environment) -> Cause {
    Cause::specification("desired_state", row.generation)
}

fn open(policy: &Policy, record: &EnvironmentRecord, row: &Environment, droplet: DropletId) -> Wanted {
    let mut wished = wished(record, row);
    let (spec, unfit) = rules::environment(&policy.installation, row.id, droplet, &wished.open, &policy.sources);
    wished.leave_out(&unfit);
    Wanted::Firewall { droplet, spec, wished }
}

/// The inputs of a decision.
struct Scene<'a> {
    policy: &'a Policy,
    record: &'a EnvironmentRecord,
    observed: &'a Observed,
    now: Timestamp,
}

impl Scene<'_> {
    /// The firewall, unless it was seen too long ago to be believed.
    fn firewall(&self) -> Observation<&Known> {
        match &self.observed.firewall.firewall {
            Observation::Unknown => Observation::Unknown,
            Observation::Absent | Observation::Present(_) if self.age() > self.policy.max_age => Observation::Unknown,
            Observation::Absent => Observation::Absent,
            Observation::Present(known) => Observation::Present(known),
        }
    }

    fn age(&self) -> SignedDuration {
        let read_at = self.observed.firewall.read_at;
        read_at.map_or(SignedDuration::MAX, |read_at| self.now.duration_since(read_at))
    }

    fn recorded(&self) -> Option<&RecordedFirewall> {
        self.record.firewall.as_deref()
    }

    /// Whether something may follow from what is missing.
    fn withheld(&self) -> bool {
        match self.observed.firewall.trust {
            Trust::Trusted => false,
            Trust::Withheld { .. } => true,
        }
    }

    /// A firewall for a droplet that is there.
    fn keep(&self, droplet: DropletId, spec: &FirewallSpec, wished: &Wished) -> Plan<Action, FirewallState> {
        let known = match self.firewall() {
            Observation::Unknown => return again(RECHECK),
            Observation::Absent => None,
            Observation::Present(known) => Some(known),
        };
        let attached = known.is_some_and(|known| known.spec.droplet_ids.contains(&droplet.0));
        // Droplets go by themselves, and then they are gone from their firewalls too; the environment's reconciler will say.
        if !attached && self.observed.droplet == Observation::Absent {
            return self.told(
                again(RECHECK),
                ConditionStatus::False,
                "DropletMissing",
                "its droplet is not there",
            );
        }
        if known.is_none() && self.withheld() {
            return self.told(
                again(RECHECK),
                ConditionStatus::Unknown,
                "Withheld",
                "too many firewalls seem to be gone at once",
            );
        }
        let mut actions = Vec::new();
        // 1. On record before it is open.
        if self.unannounced(&wished.open) {
            actions.push(Action::Announce {
                epoch: self.record.agent_epoch(),
                told: self.told_stamp(),
                ports: wished.open.clone(),
                cause: wished.cause.clone(),
            });
        }
        // 2. What it should be, whole.
        match known {
            None => actions.push(Action::Cloud(CloudAction::Create {
                spec: spec.clone(),
                unfit: wished.unfit,
                cause: Cause::observation(format!("droplet {droplet} has no firewall")),
            })),
            Some(known) if known.spec == *spec => {}
            Some(known) => actions.push(Action::Cloud(CloudAction::Update {
                id: known.id.clone(),
                spec: spec.clone(),
                unfit: wished.unfit,
                cause: difference(known, spec, wished, &self.record.open_ports()),
            })),
        }
        if !actions.is_empty() {
            return Plan {
                actions,
                status: None,
                requeue: Some(SETTLING),
            };
        }
        // 3. Off the record once it was seen to be closed.
        let plan = self.settle(known, &wished.open);
        self.judged(plan, known, wished)
    }

    /// A firewall whose droplet is on its way out: it is closed, and otherwise left alone.
    fn close(&self, droplet: DropletId, spec: &FirewallSpec, cause: &Cause) -> Plan<Action, FirewallState> {
        let nothing = BTreeSet::new();
        match self.firewall() {
            Observation::Unknown => again(RECHECK),
            Observation::Absent => self.settle(None, &nothing),
            // What is attached to nothing lets nobody in.
            Observation::Present(known) if !known.spec.droplet_ids.contains(&droplet.0) => self.settle(Some(known), &nothing),
            Observation::Present(known) if known.spec.inbound_rules == spec.inbound_rules => self.settle(Some(known), &nothing),
            Observation::Present(known) => Plan {
                actions: vec![Action::Cloud(CloudAction::Update {
                    id: known.id.clone(),
                    spec: spec.clone(),
                    unfit: 0,
                    cause: cause.clone(),
                })],
                status: None,
                requeue: Some(SETTLING),
            },
        }
    }

    /// No droplet, and none wanted: the firewall goes, and then its record.
    fn remove(&self, cause: &Cause) -> Plan<Action, FirewallState> {
        if self.withheld() {
            return again(RECHECK);
        }
        match (self.firewall(), self.recorded()) {
            (Observation::Unknown | Observation::Absent, None) => Plan::noop(),
            (Observation::Unknown, Some(_)) => self.look(),
            (Observation::Present(known), _) => Plan {
                actions: vec![Action::Cloud(CloudAction::Delete {
                    id: known.id.clone(),
                    cause: cause.clone(),
                })],
                status: None,
                requeue: Some(SignedDuration::ZERO),
            },
            (Observation::Absent, Some(recorded)) => match self.hidden_left(recorded) {
                Some(left) => again(left),
                None => Plan {
                    actions: vec![Action::Forget { cause: cause.clone() }],
                    status: None,
                    requeue: None,
                },
            },
        }
    }

    /// For how long an announced firewall that was never seen may still come true: the answer to its create may be lost.
    fn hidden_left(&self, recorded: &RecordedFirewall) -> Option<SignedDuration> {
        let left = self.policy.lag_window - self.now.duration_since(recorded.announced_at);
        (recorded.id.is_none() && left.is_positive()).then_some(left)
    }

    /// Whether a port is about to be opened that is not on record, or the record is that of another droplet.
    fn unannounced(&self, open: &BTreeSet<u16>) -> bool {
        self.recorded()
            .is_none_or(|recorded| recorded.epoch != self.record.agent_epoch() || !open.is_subset(&recorded.ports))
    }

    /// The stamp of the set that was decided from.
    fn told_stamp(&self) -> Option<model::Stamp> {
        let tools = self.record.tools.as_ref()?;
        tools.desired.as_ref().map(|set| set.stamp)
    }

    /// Puts on record what is in force, once it is.
    fn settle(&self, known: Option<&Known>, open: &BTreeSet<u16>) -> Plan<Action, FirewallState> {
        let Some(recorded) = self.recorded() else {
            return Plan::noop();
        };
        let id = known.map(|known| known.id.as_str());
        let same = recorded.ports == *open && (id.is_none() || recorded.id.as_deref() == id);
        if same && recorded.epoch == self.record.agent_epoch() {
            return Plan::noop();
        }
        if known.is_some_and(|known| !known.settled) {
            return self.look();
        }
        Plan {
            actions: vec![Action::Settle {
                id: id.map(ToOwned::to_owned),
                epoch: self.record.agent_epoch(),
                ports: open.clone(),
                cause: Cause::observation("it was seen in force"),
            }],
            status: None,
            requeue: None,
        }
    }

    /// Reads again when what was read is too old for something under way.
    fn look(&self) -> Plan<Action, FirewallState> {
        let patience = self.patience();
        // Nothing hangs on the moment, and the next sweep tells.
        if self.observed.short && self.recorded().is_none_or(|recorded| recorded.ports.is_empty()) {
            return again(patience);
        }
        let left = patience - self.age();
        if left.is_positive() {
            return again(left);
        }
        Plan {
            actions: vec![Action::Cloud(CloudAction::Look {
                cause: Cause::observation("a change of the firewall is not known to be in force"),
            })],
            status: None,
            requeue: Some(patience),
        }
    }

    /// How old what was read may be while a change comes into force: a quarter of the time that it has taken.
    fn patience(&self) -> SignedDuration {
        let since = self.observed.firewall.settling_since.unwrap_or(self.now);
        (self.now.duration_since(since) / 4).clamp(SETTLING, SETTLING_LONG)
    }

    /// How the firewall is, when nothing but its record is left to do.
    fn judged(&self, plan: Plan<Action, FirewallState>, known: Option<&Known>, wished: &Wished) -> Plan<Action, FirewallState> {
        let settled = known.is_some_and(|known| known.settled);
        match &self.observed.base {
            Observation::Absent => {
                let message = self.base_message("the installation's base firewall is not there");
                self.told(plan, ConditionStatus::False, "BaseFirewallMissing", &message)
            }
            Observation::Unknown | Observation::Present(_) if !settled => plan,
            Observation::Present(false) => {
                let message = self.base_message("the installation's base firewall is not as it should be");
                self.told(plan, ConditionStatus::False, "BaseFirewallDiffers", &message)
            }
            Observation::Unknown | Observation::Present(true) if wished.unfit > 0 => {
                let message = format!(
                    "{} ports do not fit into its {} rules and stay closed",
                    wished.unfit,
                    rules::MOST_RULES
                );
                self.told(plan, ConditionStatus::False, "TooManyPorts", &message)
            }
            Observation::Unknown | Observation::Present(true) => self.told(plan, ConditionStatus::True, "InForce", ""),
        }
    }

    /// What is wrong with the base firewall, and why, or where to look for that: one replica works on it.
    fn base_message(&self, wrong: &str) -> String {
        match &self.observed.base_failure {
            Some(why) => format!("{wrong}: {why}"),
            None => format!("{wrong}; if that lasts, the log of the replica that holds shard 0 says why"),
        }
    }

    /// Adds how the firewall is, unless the record says it already, or there is none to say it.
    fn told(
        &self,
        mut plan: Plan<Action, FirewallState>,
        state: ConditionStatus,
        reason: &str,
        message: &str,
    ) -> Plan<Action, FirewallState> {
        let said = self
            .recorded()
            .is_none_or(|recorded| recorded.state == state && recorded.reason == reason && recorded.message == message);
        plan.status = (!said).then(|| FirewallState {
            state,
            reason: reason.into(),
            message: message.to_owned(),
        });
        plan
    }
}

/// Why a firewall is replaced: ports that come and go by our own doing, or somebody else's edit.
fn difference(known: &Known, spec: &FirewallSpec, wished: &Wished, recorded: &BTreeSet<u16>) -> Cause {
    if known.spec.droplet_ids != spec.droplet_ids || known.spec.tags != spec.tags {
        return Cause::observation("the firewall is not applied to the environment's droplet and to nothing else");
    }
    if wished.open == *recorded && known.settled {
        return Cause::observation("the firewall was edited by somebody else");
    }
    wished.cause.clone()
}

fn again(requeue: SignedDuration) -> Plan<Action, FirewallState> {
    Plan {
        requeue: Some(requeue),
        ..Plan::noop()
    }
}
