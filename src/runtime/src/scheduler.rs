//! Keys that wait for a moment to come.
//!
//! Owns: the timers. Must not: know why a key waits, or whether it is worked on. Promises: a key comes out once, not before its
//! deadline, and within about two milliseconds after it.

use std::task::{Context, Poll};
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

/// See the module.
#[derive(Debug)]
pub(crate) struct Scheduler<K>(DelayQueue<K>);

/// Names a key that waits. Good until the key comes out or is taken back.
pub(crate) type Ticket = delay_queue::Key;

impl<K> Scheduler<K> {
    pub(crate) fn new() -> Self {
        Self(DelayQueue::new())
    }

    pub(crate) fn insert(&mut self, key: K, at: Instant) -> Ticket {
        self.0.insert_at(key, at)
    }

    pub(crate) fn reset(&mut self, ticket: Ticket, at: Instant) {
        self.0.reset_at(&ticket, at);
    }

    pub(crate) fn take_back(&mut self, ticket: Ticket) {
        self.0.try_remove(&ticket);
    }

    /// The next key whose moment has come. When it is pending, the task is woken for the next one, if there is any.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<K> {
        match self.0.poll_expired(cx) {
            Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Gives back memory that a crowd needed and that is no longer used.
    pub(crate) fn shrink(&mut self) {
        if self.0.capacity() / 4 > self.0.len().max(256) {
            self.0.shrink_to_fit();
        }
    }
}
