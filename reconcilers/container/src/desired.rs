//! The desired set that the agent holds, in memory.
//!
//! Owns: the order of sets; an older stamp never replaces a newer one. Must not: persist or fetch anything, which is the agent's
//! part. Promises: as long as no set was offered, nothing is known of what is wanted, and so nothing is done.

use model::{DesiredInstance, DesiredSet, InstanceId, Stamp};
use std::sync::Arc;
use tokio::sync::watch;

/// A cheap-clone handle on the current desired set.
#[derive(Clone, Debug)]
pub struct DesiredHandle {
    sender: Arc<watch::Sender<Option<Arc<DesiredSet>>>>,
}

/// What became of an offered set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is the current one now.
    Accepted,
    /// The current one carries the same stamp.
    Unchanged,
    /// It was refused: the current one is newer.
    Older {
        /// The current one's stamp.
        held: Stamp,
    },
}

/// What is wanted of one instance; the reconciler's desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The set names it.
    Instance(DesiredInstance),
    /// The set does not name it: nothing of it may be left.
    Nothing,
}

impl Default for DesiredHandle {
    fn default() -> Self {
        Self::new()
    }
}

impl DesiredHandle {
    /// Holds no set yet.
    pub fn new() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Makes `set` the current one unless it is older than the one that is held.
    pub fn offer(&self, set: DesiredSet) -> Offer {
        let mut outcome = Offer::Unchanged;
        self.sender.send_if_modified(|held| {
            outcome = match held.as_ref().map(|held| held.stamp) {
                Some(held) if set.stamp < held => Offer::Older { held },
                Some(held) if set.stamp == held => Offer::Unchanged,
                Some(_) | None => Offer::Accepted,
            };
            let accepted = outcome == Offer::Accepted;
            if accepted {
                *held = Some(Arc::new(set));
            }
            accepted
        });
        outcome
    }

    /// The current set.
    pub fn current(&self) -> Option<Arc<DesiredSet>> {
        self.sender.borrow().clone()
    }

    /// The current set's stamp.
    pub fn stamp(&self) -> Option<Stamp> {
        self.sender.borrow().as_ref().map(|set| set.stamp)
    }

    /// Follows the current set.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<DesiredSet>>> {
        self.sender.subscribe()
    }

    /// What the current set wants of one instance; `None` while there is no set.
    pub(crate) fn wanted(&self, id: InstanceId) -> Option<Wanted> {
        let set = self.current()?;
        let named = set.instances.iter().find(|instance| instance.instance_id == id);
        Some(named.map_or(Wanted::Nothing, |instance| Wanted::Instance(instance.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::EnvironmentId;

    fn set(epoch: i64, generation: i64) -> DesiredSet {
        DesiredSet {
            environment_id: EnvironmentId(uuid::Uuid::nil()),
            stamp: Stamp { epoch, generation },
            instances: Vec::new(),
        }
    }

    #[test]
    fn an_older_set_never_replaces_a_newer_one() {
        let handle = DesiredHandle::new();
        let id = InstanceId::random();
        assert_eq!(
            (handle.stamp(), handle.wanted(id)),
            (None, None),
            "without a set nothing is known"
        );
        assert_eq!(handle.offer(set(1, 5)), Offer::Accepted);
        assert_eq!(handle.wanted(id), Some(Wanted::Nothing));
        assert_eq!(handle.offer(set(1, 5)), Offer::Unchanged);
        let held = Stamp { epoch: 1, generation: 5 };
        assert_eq!(handle.offer(set(1, 4)), Offer::Older { held });
        assert_eq!(handle.offer(set(0, 9)), Offer::Older { held });
        assert_eq!(handle.stamp(), Some(held));
        assert_eq!(handle.offer(set(2, 1)), Offer::Accepted, "a new epoch starts a new count");
    }
}
