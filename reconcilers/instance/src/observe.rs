//! What is there. Owns: the memory of what this process has told which agent. Must not: decide. The agents' reports are part of
//! the record: they come in by themselves.

use model::{EnvironmentId, Stamp};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One environment's outside that is not in its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The set that this process last pushed and the agent took. A restart forgets it, which costs one repeated push.
    pub pushed: Option<Stamp>,
}

/// What was pushed.
#[derive(Debug, Default)]
pub(crate) struct Pushed(Mutex<HashMap<EnvironmentId, Stamp>>);

impl Pushed {
    pub(crate) fn get(&self, environment: EnvironmentId) -> Option<Stamp> {
        self.lock().get(&environment).copied()
    }

    pub(crate) fn took(&self, environment: EnvironmentId, stamp: Stamp) {
        self.lock().insert(environment, stamp);
    }

    pub(crate) fn forget(&self, environment: EnvironmentId) {
        self.lock().remove(&environment);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EnvironmentId, Stamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
