//! How things were a while ago, for lists that lag.
//!
//! Promises: memory is bounded; what changed longer ago than the latest [`KEPT`] changes is shown as it is now.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// How many changes are kept.
const KEPT: usize = 20_000;

/// What things of one kind were like before their latest changes.
#[derive(Debug)]
pub(super) struct History<K, T>(VecDeque<Change<K, T>>);

#[derive(Debug)]
struct Change<K, T> {
    at: Instant,
    id: K,
    /// `None` when there was no such thing.
    before: Option<T>,
}

impl<K, T> Default for History<K, T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Copy + Ord, T> History<K, T> {
    /// Something changes now.
    pub(super) fn record(&mut self, id: K, before: Option<T>) {
        let at = Instant::now();
        self.0.push_back(Change { at, id, before });
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// There never was such a thing.
    pub(super) fn erase(&mut self, id: K) {
        self.0.retain(|change| change.id != id);
    }

    /// Everything as it was a while ago, by what there is now.
    pub(super) fn ago<'a>(&'a self, ago: Duration, now: impl Iterator<Item = (K, &'a T)>) -> Vec<&'a T> {
        let mut all: BTreeMap<K, &T> = now.collect();
        let present = Instant::now();
        let later = self.0.iter().rev();
        // The oldest change since then comes last, and tells what was before all of them.
        for change in later.take_while(|change| present.duration_since(change.at) < ago) {
            match &change.before {
                Some(before) => all.insert(change.id, before),
                None => all.remove(&change.id),
            };
        }
        all.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn things_are_shown_as_they_were() {
        let mut history = History::default();
        let second = Duration::from_secs(1);
        history.record(1, None);
        tokio::time::advance(second).await;
        history.record(1, Some("young"));
        tokio::time::advance(second).await;
        history.record(1, Some("old"));
        history.record(2, None);
        let now = [(2, "other")];
        let ago = |seconds| history.ago(second * seconds, now.iter().map(|(id, thing)| (*id, thing)));
        assert_eq!(ago(0), [&"other"]);
        assert_eq!(ago(1), [&"old"]);
        assert_eq!(ago(2), [&"young"]);
        assert!(ago(3).is_empty());
    }

    #[test]
    fn what_never_was_leaves_no_trace() {
        let mut history = History::default();
        history.record(1, Some("thing"));
        history.erase(1);
        assert!(
            history
                .ago(Duration::from_secs(9), std::iter::empty::<(u64, &&str)>())
                .is_empty()
        );
    }
}
