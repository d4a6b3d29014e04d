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
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Timestamp,
    /// The generation of the specification that this speaks of.
    pub observed_generation: i64,
}

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

    /// Sets a condition. `lastTransitionTime` moves to `now` only when the status changed, so that setting the same
    /// thing twice changes nothing.
    pub fn set(
        &mut self,
        kind: &str,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
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
