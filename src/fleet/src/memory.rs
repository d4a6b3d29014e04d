//! What a replica remembers of one kind: what sweeps found, and above it what was read singly since.
//!
//! ```text
//!  learned   read singly; counts until a sweep that began later
//!  swept     what all replicas share; as of the beginning of the last sweep
//! ```
//!
//! Owns: which of the two counts. Must not: make requests, or know what it remembers. Promises: what was read later is never
//! replaced by what was read earlier; what is missing from a list that is not believed is `Unknown`, never `Absent`.

use crate::trust::Trust;
use jiff::Timestamp;
use runtime::Observation;
use std::{borrow::Borrow, collections::HashMap, hash::Hash, sync::Arc};

/// What is known under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View<V> {
    pub(crate) value: Observation<V>,
    pub(crate) read_at: Option<Timestamp>,
    pub(crate) trust: Trust,
}

/// What a sweep says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Swept<V> {
    /// In the list.
    Seen(V),
    /// Not in the list, or not all of it, and the list is not believed. With what was there before.
    Missing(V),
    /// Not there.
    Gone,
}

/// What a sweep that is taken consists of.
pub(crate) struct Sweep<K, V> {
    /// Whether what is not in `keys` is not there, rather than as it was.
    pub(crate) whole: bool,
    pub(crate) keys: Vec<(K, Swept<V>)>,
    /// When the list began; `None` when there never was a whole one.
    pub(crate) began: Option<Timestamp>,
    pub(crate) trust: Trust,
}

#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    swept_at: Option<Timestamp>,
    trust: Trust,
    /// A doubt of this process alone, until a sweep that begins later.
    doubt: Option<(Timestamp, Trust)>,
    swept: HashMap<K, Entry<V>>,
    learned: HashMap<K, (Option<V>, Timestamp)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<V> {
    value: V,
    missing: bool,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self {
            swept_at: None,
            trust: Trust::Trusted,
            doubt: None,
            swept: HashMap::new(),
            learned: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone + PartialEq> Memory<K, V> {
    pub(crate) fn view<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> View<V>
    where
        K: Borrow<Q>,
    {
        // Of millions of looks hardly one finds something learned.
        let learned = if self.learned.is_empty() {
            None
        } else {
            self.learned.get(key)
        };
        let (value, read_at) = match (learned, self.swept.get(key)) {
            (Some((Some(value), read_at)), _) => (Observation::Present(value.clone()), Some(*read_at)),
            (Some((None, read_at)), _) => (Observation::Absent, Some(*read_at)),
            (None, Some(Entry { missing: true, .. })) => (Observation::Unknown, self.swept_at),
            (None, Some(Entry { value, .. })) => (Observation::Present(value.clone()), self.swept_at),
            (None, None) if self.swept_at.is_some() => (Observation::Absent, self.swept_at),
            (None, None) => (Observation::Unknown, None),
        };
        let trust = match value {
            Observation::Present(_) => Trust::Trusted,
            Observation::Absent | Observation::Unknown => self.trust(),
        };
        View { value, read_at, trust }
    }

    /// Whether something may follow from what is missing.
    pub(crate) fn trust(&self) -> Trust {
        match (&self.trust, &self.doubt) {
            (Trust::Trusted, Some((_, doubt))) => doubt.clone(),
            (Trust::Trusted, None) | (Trust::Withheld { .. }, _) => self.trust.clone(),
        }
    }

    /// From now on, until a sweep that begins later, what is missing is not believed to be gone.
    pub(crate) fn doubt(&mut self, since: Timestamp, reason: Arc<str>) {
        self.doubt = Some((since, Trust::Withheld { since, reason }));
    }

    /// What is known to be there, also while it is missing from the lists.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&K, &V)> {
        let swept = self.swept.iter().filter(|(key, _)| !self.learned.contains_key(key));
        let learned = self.learned.iter();
        swept
            .map(|(key, entry)| (key, &entry.value))
            .chain(learned.filter_map(|(key, (value, _))| Some((key, value.as_ref()?))))
    }

    /// Remembers what was read singly, at or after `read_at`. Returns whether that is other than what was known.
    pub(crate) fn learn(&mut self, key: K, value: Option<V>, read_at: Timestamp) -> bool {
        let later = self.learned.get(&key).is_some_and(|(_, known_at)| *known_at > read_at);
        if later || self.swept_at.is_some_and(|swept| swept > read_at) {
            return false;
        }
        let before = match self.learned.get(&key) {
            Some((before, _)) => before.as_ref(),
            None => self.swept.get(&key).map(|entry| &entry.value),
        };
        let changed = before != value.as_ref();
        self.learned.insert(key, (value, read_at));
        changed
    }

    /// Takes a sweep. Returns the keys of which something else is known now.
    pub(crate) fn sweep(&mut self, sweep: Sweep<K, V>) -> Vec<K> {
        if self.swept_at > sweep.began {
            return Vec::new();
        }
        let (began, learned) = (sweep.began, std::mem::take(&mut self.learned));
        let mut changed = Vec::new();
        let (overtaken, kept) = learned
            .into_iter()
            .partition(|(_, (_, read_at))| began.is_some_and(|began| *read_at <= began));
        self.learned = kept;
        let overtaken: HashMap<K, (Option<V>, Timestamp)> = overtaken;
        let mut before: HashMap<K, Option<Entry<V>>> = HashMap::new();
        for (key, (value, _)) in overtaken {
            before.insert(key, value.map(|value| Entry { value, missing: false }));
        }
        let mut rest = if sweep.whole {
            std::mem::take(&mut self.swept)
        } else {
            HashMap::new()
        };
        for (key, swept) in sweep.keys {
            let next = match swept {
                Swept::Seen(value) => Some(Entry { value, missing: false }),
                Swept::Missing(value) => Some(Entry { value, missing: true }),
                Swept::Gone => None,
            };
            let was = rest.remove(&key).or_else(|| self.swept.remove(&key));
            before.entry(key.clone()).or_insert(was);
            if let Some(next) = next {
                self.swept.insert(key, next);
            }
        }
        for (key, was) in rest {
            before.entry(key).or_insert(Some(was));
        }
        for (key, was) in before {
            if self.swept.get(&key) != was.as_ref() && !self.learned.contains_key(&key) {
                changed.push(key);
            }
        }
        self.swept_at = began;
        self.trust = sweep.trust;
        self.doubt.take_if(|(since, _)| began.is_some_and(|began| began > *since));
        changed
    }

    /// Forgets what was learned of a key, and what a sweep said of it.
    pub(crate) fn forget<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.learned.remove(key);
        self.swept.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn sweep(whole: bool, began: i64, keys: &[(u8, Swept<u8>)]) -> Sweep<u8, u8> {
        Sweep {
            whole,
            keys: keys.to_vec(),
            began: Some(at(began)),
            trust: Trust::Trusted,
        }
    }

    fn withheld() -> Trust {
        Trust::Withheld {
            since: at(0),
            reason: "test".into(),
        }
    }

    #[test]
    fn before_the_first_sweep_nothing_is_known_and_after_it_the_rest_is_absent() {
        let mut memory = Memory::<u8, u8>::default();
        assert_eq!((memory.view(&1).value, memory.view(&1).read_at), (Observation::Unknown, None));
        memory.sweep(sweep(true, 5, &[(2, Swept::Seen(20))]));
        assert_eq!(
            (memory.view(&1).value, memory.view(&1).read_at),
            (Observation::Absent, Some(at(5)))
        );
        assert_eq!(memory.view(&2).value, Observation::Present(20));
    }

    #[test]
    fn what_was_learned_counts_until_a_later_sweep_says_otherwise() {
        let mut memory = Memory::default();
        memory.sweep(sweep(true, 1, &[(1, Swept::Seen(10)), (2, Swept::Seen(20))]));
        assert!(memory.learn(1, None, at(10)));
        assert_eq!(memory.sweep(sweep(false, 9, &[])), Vec::<u8>::new());
        assert_eq!(memory.view(&1).value, Observation::Absent, "read later than the list");
        assert_eq!(
            memory.sweep(sweep(false, 11, &[])),
            [1],
            "the list of 11 has it, though it is no difference to the list before"
        );
        assert_eq!(memory.view(&1).value, Observation::Present(10));
        assert!(!memory.learn(1, None, at(10)), "read earlier than the list");
        assert_eq!(memory.view(&1).value, Observation::Present(10));
    }

    #[test]
    fn an_overtaken_sweep_is_no_news() {
        let mut memory = Memory::default();
        memory.sweep(sweep(true, 5, &[(1, Swept::Seen(10))]));
        assert!(memory.sweep(sweep(true, 4, &[])).is_empty());
        assert_eq!(memory.view(&1).value, Observation::Present(10));
    }

    #[test]
    fn what_is_missing_is_unknown_and_only_there_trust_is_withheld() {
        let mut memory = Memory::default();
        memory.sweep(sweep(true, 1, &[(1, Swept::Seen(10)), (2, Swept::Seen(20))]));
        let changed = memory.sweep(Sweep {
            trust: withheld(),
            ..sweep(false, 2, &[(1, Swept::Missing(10))])
        });
        assert_eq!(changed, [1]);
        assert_eq!(
            (memory.view(&1).value, memory.view(&1).trust),
            (Observation::Unknown, withheld())
        );
        assert_eq!(
            (memory.view(&2).value, memory.view(&2).trust),
            (Observation::Present(20), Trust::Trusted)
        );
        assert_eq!(
            (memory.view(&3).value, memory.view(&3).trust),
            (Observation::Absent, withheld())
        );
        memory.learn(1, None, at(3));
        assert_eq!(
            (memory.view(&1).value, memory.view(&1).trust),
            (Observation::Absent, withheld())
        );
        assert_eq!(memory.sweep(sweep(false, 4, &[(1, Swept::Seen(10))])), [1]);
        assert_eq!(memory.view(&1).trust, Trust::Trusted);
    }

    proptest! {
        /// Sweeps that tell of differences lead to the same as sweeps that tell everything.
        #[test]
        fn differences_come_to_the_same_as_whole_lists(lists in prop::collection::vec(prop::collection::btree_map(0..6_u8, 0..3_u8, 0..6), 1..8)) {
            let (mut whole, mut parts) = (Memory::default(), Memory::default());
            let mut before = std::collections::BTreeMap::new();
            for (number, list) in lists.into_iter().enumerate() {
                let began = i64::try_from(number).unwrap();
                let all: Vec<_> = list.iter().map(|(key, value)| (*key, Swept::Seen(*value))).collect();
                let gone = before.keys().filter(|key| !list.contains_key(key)).map(|key| (*key, Swept::Gone));
                let fresh = list.iter().filter(|(key, value)| before.get(*key) != Some(*value));
                let differences: Vec<_> = fresh.map(|(key, value)| (*key, Swept::Seen(*value))).chain(gone).collect();
                let mut one = whole.sweep(sweep(true, began, &all));
                let mut other = parts.sweep(sweep(false, began, &differences));
                one.sort_unstable();
                other.sort_unstable();
                prop_assert_eq!(one, other);
                for key in 0..6 {
                    prop_assert_eq!(whole.view(&key), parts.view(&key));
                }
                before = list;
            }
        }
    }
}
