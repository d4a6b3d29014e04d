//! Wake-ups: what a stream of them carries, and the mailbox from which each subscriber takes its own.
//!
//! Owns: the hand-over from whoever saw a change to whoever works on it. Must not: carry anything but keys; a pass reloads
//! what it needs. Promises: posting never waits, nothing posted is lost, and a subscriber that is slow or stuck costs memory
//! for each key at most once.

use futures::{Stream, task::AtomicWaker};
use std::{
    collections::HashMap,
    hash::Hash,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tokio::time::Instant;

/// Why a key is worked on: for spans and logs, never for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its row was added, changed or removed.
    Changed,
    /// It was part of a full read.
    Resynced,
    /// Something else that it depends on changed.
    Related,
    /// Its last pass asked to look again.
    Requeued,
    /// Its last pass failed and its backoff is over.
    Retried,
}

impl Reason {
    /// One lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Resynced => "resynced",
            Self::Related => "related",
            Self::Requeued => "requeued",
            Self::Retried => "retried",
        }
    }
}

/// A key that should be worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake<K> {
    /// Which.
    pub key: K,
    /// Why.
    pub reason: Reason,
    /// Not before this; `None` means at once.
    pub at: Option<Instant>,
}

impl<K> Wake<K> {
    /// At once.
    pub const fn now(key: K, reason: Reason) -> Self {
        Self { key, reason, at: None }
    }

    /// Not before `at`.
    pub const fn at(key: K, reason: Reason, at: Instant) -> Self {
        Self {
            key,
            reason,
            at: Some(at),
        }
    }
}

/// The wake-ups of one subscriber, as an endless stream; it ends when nobody can post any more. A key that is posted again
/// before it was taken comes once.
#[derive(Debug)]
pub struct Subscription<K> {
    mailbox: Arc<Mailbox<K>>,
    taken: std::vec::IntoIter<(K, Reason)>,
}

#[derive(Debug)]
struct Mailbox<K> {
    posted: Mutex<HashMap<K, Reason>>,
    reader: AtomicWaker,
    /// Set when either end is gone.
    closed: AtomicBool,
}

impl<K> Mailbox<K> {
    fn posted(&self) -> MutexGuard<'_, HashMap<K, Reason>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The posting end of a [`Subscription`].
#[derive(Debug)]
pub(crate) struct Poster<K>(Arc<Mailbox<K>>);

/// The two ends of a mailbox.
pub(crate) fn mailbox<K>() -> (Poster<K>, Subscription<K>) {
    let mailbox = Arc::new(Mailbox {
        posted: Mutex::new(HashMap::new()),
        reader: AtomicWaker::new(),
        closed: AtomicBool::new(false),
    });
    let subscription = Subscription {
        mailbox: Arc::clone(&mailbox),
        taken: Vec::new().into_iter(),
    };
    (Poster(mailbox), subscription)
}

impl<K: Clone + Eq + Hash> Poster<K> {
    /// Posts keys, without ever waiting.
    pub(crate) fn post<'k>(&self, keys: impl IntoIterator<Item = &'k K>, reason: Reason)
    where
        K: 'k,
    {
        let mut posted = self.0.posted();
        for key in keys {
            // A change says more than a full read does.
            if posted.get(key) != Some(&Reason::Changed) {
                posted.insert(key.clone(), reason);
            }
        }
        drop(posted);
        self.0.reader.wake();
    }

    /// Whether somebody still reads.
    pub(crate) fn is_read(&self) -> bool {
        !self.0.closed.load(Ordering::Acquire)
    }
}

impl<K> Drop for Poster<K> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.reader.wake();
    }
}

impl<K> Drop for Subscription<K> {
    fn drop(&mut self) {
        self.mailbox.closed.store(true, Ordering::Release);
        *self.mailbox.posted() = HashMap::new();
    }
}

impl<K: Eq + Hash + Unpin> Stream for Subscription<K> {
    type Item = Wake<K>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some((key, reason)) = self.taken.next() {
            return Poll::Ready(Some(Wake::now(key, reason)));
        }
        self.mailbox.reader.register(cx.waker());
        // The order matters: whoever posts last and then closes must have been heard.
        let closed = self.mailbox.closed.load(Ordering::Acquire);
        let posted = std::mem::take(&mut *self.mailbox.posted());
        self.taken = posted.into_iter().collect::<Vec<_>>().into_iter();
        match self.taken.next() {
            Some((key, reason)) => Poll::Ready(Some(Wake::now(key, reason))),
            None if closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, StreamExt};

    #[tokio::test]
    async fn a_key_posted_twice_comes_once_and_a_change_outranks_a_resync() {
        let (poster, mut subscription) = mailbox();
        poster.post(&[1], Reason::Changed);
        poster.post(&[1, 2], Reason::Resynced);
        let mut got = vec![subscription.next().await.unwrap(), subscription.next().await.unwrap()];
        got.sort_by_key(|wake| wake.key);
        assert_eq!(got, [Wake::now(1, Reason::Changed), Wake::now(2, Reason::Resynced)]);
        assert!(subscription.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_is_posted_while_earlier_keys_are_read_is_not_lost() {
        let (poster, mut subscription) = mailbox();
        poster.post(&[1, 2], Reason::Changed);
        let first = subscription.next().await.unwrap().key;
        poster.post(&[first], Reason::Changed);
        drop(poster);
        let rest: Vec<i32> = subscription.map(|wake| wake.key).collect().await;
        assert_eq!(rest, [3 - first, first]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_reader_is_woken() {
        let (poster, mut subscription) = mailbox();
        let reader = tokio::spawn(async move { subscription.next().await });
        tokio::task::yield_now().await;
        poster.post(&[7], Reason::Changed);
        let read = tokio::time::timeout(std::time::Duration::from_secs(1), reader).await.unwrap();
        assert_eq!(read.unwrap(), Some(Wake::now(7, Reason::Changed)));
    }

    #[test]
    fn a_poster_learns_that_nobody_reads() {
        let (poster, subscription) = mailbox::<u8>();
        assert!(poster.is_read());
        drop(subscription);
        assert!(!poster.is_read());
    }
}
