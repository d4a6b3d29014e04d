//! Conditions: the machine-readable "why" of a status, as in Kubernetes (`metav1.Condition`).

use crate::Word;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told now.
    Unknown,
}

/// One aspect of a status. Stored as an element of the `conditions` JSON array, in camel case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What is spoken of: `Ready`, `DropletReady`, `AgentReady`, `Reconciled`, ... in upper camel case.
    #[serde(rename = "type")]
    pub kind: Word,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One upper-camel-case word for programs.
    pub reason: Word,
    /// A sentence for people; may be empty.
    pub message: Box<str>,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The generation of the specification that this speaks of.
    pub observed_generation: i64,
}

impl Condition {
    /// What it says, in one line.
    pub fn said(&self) -> String {
        if self.message.is_empty() {
            self.reason.to_string()
        } else {
            format!("{}: {}", self.reason, self.message)
        }
    }
}

/// What holds everything else up, whatever else does not hold.
const FIRST: [&str; 3] = ["BudgetAvailable", "FleetTrusted", "ToolsStopped"];
/// What sums the others up.
const SUMS: [&str; 2] = ["Reconciled", "Ready"];

/// The conditions of one row: at most one of each kind, in the order of their first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(pub Vec<Condition>);

impl Conditions {
    /// The condition of this kind, if it was ever set.
    pub fn get(&self, kind: &str) -> Option<&Condition> {
        self.0.iter().find(|condition| condition.kind == kind)
    }

    /// Whether the condition of this kind is known and holds.
    pub fn holds(&self, kind: &str) -> bool {
        self.get(kind)
            .is_some_and(|condition| condition.status == ConditionStatus::True)
    }

    /// The condition that stands in the way: what holds everything up, else the first that does not hold. Those that sum the
    /// others up speak only when they are alone.
    pub fn blocker(&self) -> Option<&Condition> {
        let open = |condition: &&Condition| condition.status != ConditionStatus::True;
        let named = |kind: &&str| self.get(kind).filter(open);
        let detail = |condition: &&Condition| !SUMS.contains(&&*condition.kind);
        let first = FIRST.iter().find_map(named);
        first
            .or_else(|| self.0.iter().filter(detail).find(open))
            .or_else(|| SUMS.iter().find_map(named))
    }

    /// Sets a condition. `lastTransitionTime` moves to `now` only when the status changed, so that setting the same
    /// thing twice changes nothing.
    pub fn set(
        &mut self,
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<Box<str>>,
        observed_generation: i64,
        now: Timestamp,
    ) {
        let fresh = Condition {
            kind: kind.into(),
            status,
            reason: reason.into(),
            message: message.into(),
            last_transition_time: now,
            observed_generation,
        };
        match self.0.iter_mut().find(|condition| condition.kind == kind) {
            Some(old) if old.status == status => {
                let last_transition_time = old.last_transition_time;
                *old = Condition {
                    last_transition_time,
                    ..fresh
                };
            }
            Some(old) => *old = fresh,
            None => self.0.push(fresh),
        }
    }

    /// Removes a condition that no longer has a meaning.
    pub fn remove(&mut self, kind: &str) {
        self.0.retain(|condition| condition.kind != kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let (early, late) = (
            Timestamp::UNIX_EPOCH,
            Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(9),
        );
        let mut conditions = Conditions::default();
        conditions.set("Ready", ConditionStatus::False, "Creating", "", 1, early);
        conditions.set("Ready", ConditionStatus::False, "Booting", "still", 1, late);
        assert_eq!(conditions.get("Ready").unwrap().last_transition_time, early);
        assert_eq!(conditions.get("Ready").unwrap().reason, "Booting");
        conditions.set("Ready", ConditionStatus::True, "Ready", "", 1, late);
        assert_eq!(conditions.get("Ready").unwrap().last_transition_time, late);
        assert!(conditions.holds("Ready"));
        conditions.remove("Ready");
        assert_eq!(conditions.0, []);
    }

    #[test]
    fn the_blocker_is_the_first_that_does_not_hold_after_what_holds_everything_up() {
        let mut conditions = Conditions::default();
        let said = |conditions: &Conditions| conditions.blocker().map(Condition::said);
        assert_eq!(said(&conditions), None);
        let mut set = |kind, status, reason, message| {
            conditions.set(kind, status, reason, message, 1, Timestamp::UNIX_EPOCH);
            said(&conditions)
        };
        assert_eq!(set("Ready", ConditionStatus::False, "NotReady", "").unwrap(), "NotReady");
        set("DropletReady", ConditionStatus::True, "Active", "");
        let booting = set("AgentReady", ConditionStatus::False, "Booting", "no heartbeat yet");
        assert_eq!(booting.unwrap(), "Booting: no heartbeat yet");
        let withheld = set(
            "FleetTrusted",
            ConditionStatus::False,
            "Withheld",
            "3 of 9 droplets are missing",
        );
        assert_eq!(withheld.unwrap(), "Withheld: 3 of 9 droplets are missing");
    }

    #[test]
    fn it_is_spelled_as_in_kubernetes() {
        let mut conditions = Conditions::default();
        conditions.set("Ready", ConditionStatus::True, "Ready", "", 3, Timestamp::UNIX_EPOCH);
        assert_eq!(
            serde_json::to_value(&conditions).unwrap(),
            serde_json::json!([{"type": "Ready", "status": "True", "reason": "Ready", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z", "observedGeneration": 3}])
        );
    }
}
