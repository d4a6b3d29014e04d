//! The actions that are known. Those that ended long ago are dropped, and counted.

use super::{Action, Progress};
use std::collections::{BTreeMap, VecDeque};

/// An action's number when there was none before it.
const FIRST: u64 = 36_804_636;

/// All actions that are known.
#[derive(Debug)]
pub(crate) struct Actions {
    known: BTreeMap<u64, Action>,
    /// In the order in which they ended.
    ended: VecDeque<u64>,
    dropped: u64,
    next: u64,
}

impl Default for Actions {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
            ended: VecDeque::new(),
            dropped: 0,
            next: FIRST,
        }
    }
}

impl Actions {
    pub(crate) fn get(&self, id: u64) -> Option<&Action> {
        self.known.get(&id)
    }

    /// The latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Action> {
        self.known.values().rev()
    }

    /// How many were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Records an action under the next number.
    pub(super) fn insert(&mut self, action: impl FnOnce(u64) -> Action) -> u64 {
        let id = self.next;
        self.next += 1;
        self.known.insert(id, action(id));
        id
    }

    /// Ends an action, and drops the one that ended first when there are more than are kept. Whether it was running.
    pub(super) fn end(&mut self, id: u64, end: impl FnOnce(&mut Action), kept: usize) -> bool {
        let Some(running) = self.known.get_mut(&id).filter(|action| action.status == Progress::Running) else {
            return false;
        };
        end(running);
        self.ended.push_back(id);
        while self.ended.len() > kept {
            if let Some(first) = self.ended.pop_front() {
                self.known.remove(&first);
                self.dropped += 1;
            }
        }
        true
    }
}
