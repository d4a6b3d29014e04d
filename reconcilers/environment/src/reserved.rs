//! Leave to send creates that have just been announced.
//!
//! Owns: the leave, until it is used or has run out. Must not: know the budget.

use digitalocean::Permit;
use model::IntentId;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Of one process.
#[derive(Debug, Default)]
pub(crate) struct Reserved(Mutex<HashMap<IntentId, Permit>>);

impl Reserved {
    pub(crate) fn put(&self, intent: IntentId, leave: Permit) {
        let mut reserved = self.lock();
        // Of passes that were given up in between.
        reserved.retain(|_, leave| leave.is_valid());
        reserved.insert(intent, leave);
    }

    pub(crate) fn take(&self, intent: IntentId) -> Option<Permit> {
        self.lock().remove(&intent)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IntentId, Permit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
