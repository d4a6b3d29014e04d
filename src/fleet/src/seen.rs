//! One kind's memory, as all of a process share it.
//!
//! Owns: the lock, who is told of changes, and what stored rows mean. Must not: know what it remembers. Promises: a key whose value
//! changed is handed to every subscriber once it is remembered, and never before.

use crate::{
    memory::{Memory, Sweep, Swept, View},
    trust::Trust,
    wakes::Wakes,
};
use futures::Stream;
use jiff::Timestamp;
use model::EnvironmentId;
use runtime::Wake;
use schema::{FleetRow, Standing};
use serde::de::DeserializeOwned;
use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// What a replica loads of the last sweep.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// All rows of each key that it speaks of.
    pub(crate) rows: Vec<FleetRow>,
    /// Whether what is not in the rows is not there, rather than as it was.
    pub(crate) whole: bool,
    /// When the list began, by the clock that reads are dated by; `None` when there never was a whole one.
    pub(crate) began: Option<Timestamp>,
    /// Whether something may follow from what is missing.
    pub(crate) trust: Trust,
}

/// The memory, and who follows it.
#[derive(Debug)]
pub(crate) struct Seen<K, V> {
    memory: RwLock<Memory<K, V>>,
    wakes: Wakes,
}

impl<K, V> Default for Seen<K, V> {
    fn default() -> Self {
        Self {
            memory: RwLock::default(),
            wakes: Wakes::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, V: Clone + PartialEq> Seen<K, V> {
    /// Costs a lock and a clone.
    pub(crate) fn view<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> View<V>
    where
        K: Borrow<Q>,
    {
        self.read().view(key)
    }

    /// Remembers what was read singly. Returns whether that is other than what was known, and what trust it has.
    pub(crate) fn learn(&self, key: K, value: Option<V>, read_at: Timestamp) -> (bool, Trust) {
        let mut memory = self.write();
        let trust = if value.is_some() { Trust::Trusted } else { memory.trust() };
        (memory.learn(key, value, read_at), trust)
    }

    /// Takes a sweep, and wakes the owners of what changed.
    pub(crate) fn take(&self, sweep: Sweep<K, V>, owner: impl Fn(&K) -> Option<EnvironmentId>) {
        let changed = self.write().sweep(sweep);
        self.wake(changed.iter().filter_map(owner));
    }

    /// Takes what a replica loaded: rows are grouped by key, and the values of those that are there made into one.
    pub(crate) fn load<P: DeserializeOwned>(
        &self,
        loaded: Loaded,
        key: impl Fn(&FleetRow) -> Option<K>,
        value: impl Fn(Vec<P>) -> Option<V>,
        owner: impl Fn(&K) -> Option<EnvironmentId>,
    ) -> Result<(), serde_json::Error> {
        let mut keys: HashMap<K, (Vec<P>, bool)> = HashMap::new();
        for row in loaded.rows {
            let Some(key) = key(&row) else { continue };
            let (parts, missing) = keys.entry(key).or_default();
            match row.standing {
                Standing::Seen => parts.push(serde_json::from_value(row.seen)?),
                Standing::Missing => {
                    *missing = true;
                    parts.push(serde_json::from_value(row.seen)?);
                }
                Standing::Gone | Standing::Removed => {}
            }
        }
        let keys = keys.into_iter().map(|(key, (parts, missing))| {
            let swept = match (value(parts), missing) {
                (None, _) => Swept::Gone,
                (Some(value), true) => Swept::Missing(value),
                (Some(value), false) => Swept::Seen(value),
            };
            (key, swept)
        });
        let sweep = Sweep {
            whole: loaded.whole,
            keys: keys.collect(),
            began: loaded.began,
            trust: loaded.trust,
        };
        self.take(sweep, owner);
        Ok(())
    }

    /// What is asked of everything that is there.
    pub(crate) fn present<T>(&self, ask: impl FnOnce(&mut dyn Iterator<Item = (&K, &V)>) -> T) -> T {
        ask(&mut self.read().present())
    }

    pub(crate) fn trust(&self) -> Trust {
        self.read().trust()
    }

    pub(crate) fn doubt(&self, since: Timestamp, reason: Arc<str>) {
        self.write().doubt(since, reason);
    }

    pub(crate) fn forget<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.write().forget(key);
    }

    pub(crate) fn wake(&self, environments: impl IntoIterator<Item = EnvironmentId>) {
        self.wakes.wake(environments);
    }

    pub(crate) fn changes(&self) -> impl Stream<Item = Wake<EnvironmentId>> + Send + use<K, V> {
        self.wakes.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory<K, V>> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory<K, V>> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use runtime::Observation;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    /// Rows of the key "one": its parts, and how each stands.
    fn load(seen: &Seen<String, Vec<u8>>, began: i64, parts: &[(u8, Standing)], trust: Trust) {
        let rows = parts.iter().map(|(part, standing)| FleetRow {
            key: "one".to_owned(),
            environment_id: None,
            seen: json!(part),
            standing: *standing,
            since: at(0),
        });
        let loaded = Loaded {
            rows: rows.collect(),
            whole: false,
            began: Some(at(began)),
            trust,
        };
        let value = |parts: Vec<u8>| (!parts.is_empty()).then_some(parts);
        seen.load(loaded, |row| Some(row.key.clone()), value, |_| None).unwrap();
    }

    #[test]
    fn what_a_doubted_list_lacks_is_unknown_and_found_absent_without_trust() {
        let doubt = Trust::Withheld {
            since: at(2),
            reason: "test".into(),
        };
        let seen = Seen::default();
        load(&seen, 1, &[(1, Standing::Seen), (2, Standing::Seen)], Trust::Trusted);
        assert_eq!(seen.view("one").value, Observation::Present(vec![1, 2]));
        // One of its parts is missing: nothing of it is known.
        load(&seen, 2, &[(1, Standing::Seen), (2, Standing::Missing)], doubt.clone());
        assert_eq!(
            (seen.view("one").value, seen.view("one").trust),
            (Observation::Unknown, doubt.clone())
        );
        assert_eq!(seen.learn("one".to_owned(), None, at(3)).1, doubt, "read singly");
        assert_eq!(
            seen.learn("one".to_owned(), Some(vec![1]), at(4)).1,
            Trust::Trusted,
            "what is there is there"
        );
        load(&seen, 5, &[(1, Standing::Gone), (2, Standing::Removed)], Trust::Trusted);
        assert_eq!(
            (seen.view("one").value, seen.view("one").trust),
            (Observation::Absent, Trust::Trusted)
        );
    }
}
