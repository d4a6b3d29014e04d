//! A machine that has every tool running or stopped the moment it is told.

use super::Machine;
use model::{DesiredInstance, DesiredSet, InstanceReport, InstanceState, Stamp, desired::RunState};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub struct Obedient {
    held: Mutex<Option<DesiredSet>>,
    changed: Notify,
    silent: AtomicBool,
}

impl Obedient {
    /// From now on no heartbeat of its agent gets through, or they do again.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
        self.changed.notify_one();
    }

    /// How many of its tools run.
    pub fn running(&self) -> usize {
        let held = self.lock();
        let tools = held.iter().flat_map(|set| &set.instances);
        tools.filter(|tool| tool.run == RunState::Running).count()
    }

    fn lock(&self) -> MutexGuard<'_, Option<DesiredSet>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine for Obedient {
    fn take(&self, set: DesiredSet) -> Option<Stamp> {
        let mut held = self.lock();
        let newer = held.as_ref().map(|held| held.stamp).filter(|held| *held > set.stamp);
        if newer.is_none() {
            *held = Some(set);
            self.changed.notify_one();
        }
        newer
    }

    fn report(&self) -> (Option<Stamp>, Vec<InstanceReport>) {
        let held = self.lock();
        let tools = held.iter().flat_map(|set| &set.instances).map(report);
        (held.as_ref().map(|set| set.stamp), tools.collect())
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }
}

fn report(told: &DesiredInstance) -> InstanceReport {
    InstanceReport {
        instance_id: told.instance_id,
        generation: told.generation,
        state: match told.run {
            RunState::Running => InstanceState::Running,
            RunState::Stopped => InstanceState::Stopped,
        },
        version: (told.run == RunState::Running).then(|| told.version.clone()),
        image_digest: None,
        container_id: None,
        port: Some(told.port),
        restarts: 0,
        exit_code: None,
        reason: None,
        message: None,
    }
}
