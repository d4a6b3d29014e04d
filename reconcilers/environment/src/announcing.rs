//! How many passes are announcing a droplet at this moment. They wait for requests next, so whoever decides meanwhile comes after them.
//!
//! Owns: the count. Must not: know the budget. Promises: a pass is counted until its announcement is committed or has failed, also when it
//! is given up.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The passes of one process.
#[derive(Debug, Default)]
pub(crate) struct Announcing(AtomicUsize);

/// Counts one pass until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<'a>(&'a Announcing);

impl Announcing {
    pub(crate) fn begin(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
