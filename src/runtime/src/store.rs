//! The rows that a reflector holds in memory, and the handle through which they are read.
//!
//! Owns: one `Arc` for each row, and which full read each was last seen by. Must not: ask a source for anything. Promises: a
//! read takes a short lock and copies a pointer; a row that is read stays as it was when it was read.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};
use tokio::sync::watch;

/// A cheap-to-clone handle that reads what the [`Reflector`](crate::Reflector) last saw.
pub struct Store<K, V> {
    rows: Arc<RwLock<HashMap<K, Row<V>>>>,
    complete: watch::Receiver<bool>,
}

/// Counts full reads. Everything that is learned belongs to the read that had last begun when it was asked for: what belongs
/// to a later read is newer, and within one read a fetch is newer than the read itself, because the read's snapshot was first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReadNumber(u32);

/// The writing end; one reflector has it.
pub(crate) struct Writer<K, V> {
    rows: Arc<RwLock<HashMap<K, Row<V>>>>,
    complete: watch::Sender<bool>,
    /// The full read that last began.
    read: ReadNumber,
    /// What was fetched since `read` began and not found, while `read` goes on: its snapshot may still have it.
    gone: Option<HashSet<K>>,
}

struct Row<V> {
    value: Arc<V>,
    read: ReadNumber,
}

/// An empty store.
pub(crate) fn store<K, V>() -> (Store<K, V>, Writer<K, V>) {
    let rows = Arc::new(RwLock::new(HashMap::new()));
    let (sender, complete) = watch::channel(false);
    let writer = Writer {
        rows: Arc::clone(&rows),
        complete: sender,
        read: ReadNumber::default(),
        gone: None,
    };
    (Store { rows, complete }, writer)
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Self {
            rows: Arc::clone(&self.rows),
            complete: self.complete.clone(),
        }
    }
}

impl<K, V> std::fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("complete", &*self.complete.borrow())
            .finish_non_exhaustive()
    }
}

impl<K, V> Store<K, V> {
    fn rows(&self) -> RwLockReadGuard<'_, HashMap<K, Row<V>>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }

    /// All rows as they are now, in no order.
    pub fn values(&self) -> Vec<Arc<V>> {
        self.rows().values().map(|row| Arc::clone(&row.value)).collect()
    }

    /// Whether the first full read is complete: from then on a row that is not here is not there, but for the time that a
    /// notification takes.
    pub fn is_ready(&self) -> bool {
        *self.complete.borrow()
    }

    /// Waits for the first full read. Waits for ever when the reflector ended before it.
    pub async fn ready(&self) {
        if self.complete.clone().wait_for(|complete| *complete).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<K: Clone + Eq + Hash, V> Store<K, V> {
    /// The row of this key, if there is one.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.rows().get(key).map(|row| Arc::clone(&row.value))
    }

    /// All keys, in no order.
    pub fn keys(&self) -> Vec<K> {
        self.rows().keys().cloned().collect()
    }
}

impl<K: Clone + Eq + Hash, V> Writer<K, V> {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The full read that last began.
    pub(crate) fn read(&self) -> ReadNumber {
        self.read
    }

    /// A full read begins; one that was under way is given up.
    pub(crate) fn begin_read(&mut self) {
        self.read = ReadNumber(self.read.0.wrapping_add(1));
        self.gone = Some(HashSet::new());
    }

    /// Takes rows that the full read saw, unless something newer is known. Returns the keys that were taken.
    pub(crate) fn merge_read(&mut self, values: impl IntoIterator<Item = (K, V)>) -> Vec<K> {
        let read = self.read;
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for (key, value) in values {
            let fetched_since = rows.get(&key).is_some_and(|row| row.read == read);
            let gone_since = self.gone.as_ref().is_some_and(|gone| gone.contains(&key));
            if !fetched_since && !gone_since {
                let value = Arc::new(value);
                rows.insert(key.clone(), Row { value, read });
                taken.push(key);
            }
        }
        taken
    }

    /// Takes what was fetched, asked for when `read` was the last to have begun, unless something newer is known; `None`
    /// removes. Returns the keys that were added, replaced or removed.
    pub(crate) fn merge_fetched(&mut self, values: impl IntoIterator<Item = (K, Option<V>)>, read: ReadNumber) -> Vec<K> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut touched = Vec::new();
        for (key, value) in values {
            if rows.get(&key).is_some_and(|row| row.read != read && row.read == self.read) {
                continue;
            }
            let changed = if let Some(value) = value {
                let value = Arc::new(value);
                rows.insert(key.clone(), Row { value, read });
                true
            } else {
                if let Some(gone) = self.gone.as_mut().filter(|_| read == self.read) {
                    gone.insert(key.clone());
                }
                rows.remove(&key).is_some()
            };
            if changed {
                touched.push(key);
            }
        }
        touched
    }

    /// The full read is complete: removes the rows that it did not see, and returns their keys.
    pub(crate) fn complete_read(&mut self) -> Vec<K> {
        let read = self.read;
        self.gone = None;
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let removed = rows.extract_if(|_, row| row.read != read).map(|(key, _)| key).collect();
        drop(rows);
        self.complete.send_if_modified(|complete| !std::mem::replace(complete, true));
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// A store that saw these rows in its first full read.
    fn filled<const N: usize>(rows: [(&'static str, u8); N]) -> (Store<&'static str, u8>, Writer<&'static str, u8>) {
        let (store, mut writer) = store();
        writer.begin_read();
        writer.merge_read(rows);
        writer.complete_read();
        (store, writer)
    }

    fn value(store: &Store<&'static str, u8>, key: &'static str) -> Option<u8> {
        store.get(&key).map(|value| *value)
    }

    #[test]
    fn a_store_is_ready_after_its_first_full_read() {
        let (store, mut writer) = store::<u8, u8>();
        writer.begin_read();
        assert_eq!(writer.merge_read([(1, 1)]), [1]);
        assert!(!store.is_ready() && store.ready().now_or_never().is_none());
        writer.complete_read();
        assert!(store.is_ready() && store.ready().now_or_never().is_some());
    }

    #[test]
    fn a_full_read_replaces_and_removes() {
        let (store, mut writer) = filled([("a", 1), ("b", 1)]);
        writer.begin_read();
        assert_eq!(writer.merge_read([("a", 2)]), ["a"]);
        assert_eq!(writer.complete_read(), ["b"]);
        assert_eq!((value(&store, "a"), value(&store, "b"), store.len()), (Some(2), None, 1));
    }

    #[test]
    fn what_was_fetched_during_a_read_outlives_it() {
        let (store, mut writer) = filled([("a", 1), ("b", 1), ("c", 1)]);
        writer.begin_read();
        let read = writer.read();
        assert_eq!(
            writer.merge_fetched([("a", Some(3)), ("c", None), ("new", Some(3)), ("none", None)], read),
            ["a", "c", "new"]
        );
        assert_eq!(writer.merge_read([("a", 2), ("b", 2), ("c", 2)]), ["b"]);
        assert!(writer.complete_read().is_empty());
        assert_eq!(
            ["a", "b", "c", "new"].map(|key| value(&store, key)),
            [Some(3), Some(2), None, Some(3)]
        );
    }

    #[test]
    fn what_was_asked_for_before_a_read_began_gives_way_to_it() {
        let (store, mut writer) = filled([("a", 1), ("b", 1), ("c", 1)]);
        let before = writer.read();
        writer.begin_read();
        writer.merge_read([("a", 3), ("c", 3)]);
        assert!(writer.merge_fetched([("a", Some(2)), ("b", Some(2)), ("c", None)], before) == ["b"]);
        assert_eq!(writer.merge_read([("b", 3)]), ["b"]);
        writer.complete_read();
        assert_eq!(["a", "b", "c"].map(|key| value(&store, key)), [Some(3), Some(3), Some(3)]);
    }

    #[test]
    fn a_key_that_was_gone_in_one_read_may_be_back_in_the_next() {
        let (store, mut writer) = filled([("a", 1)]);
        writer.begin_read();
        let read = writer.read();
        writer.merge_fetched([("a", None)], read);
        writer.complete_read();
        writer.begin_read();
        assert_eq!(writer.merge_read([("a", 2)]), ["a"]);
        assert_eq!(value(&store, "a"), Some(2));
    }

    #[tokio::test]
    async fn ready_waits_for_ever_once_the_reflector_is_gone() {
        let (store, writer) = store::<u8, u8>();
        drop(writer);
        assert!(store.ready().now_or_never().is_none());
    }
}
