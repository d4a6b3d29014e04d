//! What replicas hear of the outside: the last sweep, orphans in it, and whose droplets or firewall changed.

use super::{Address, Simulation};
use crate::reconcilers::{Kind, orphan, sweep};
use std::sync::Arc;

impl Simulation {
    /// Loads what was swept, for the shards that are held.
    pub(super) fn follow(&mut self, to: Address) {
        let Some(alive) = &self.replicas[to.replica].alive else {
            return;
        };
        let process = Arc::clone(&alive.process);
        if process.memory().epochs.is_empty() {
            return;
        }
        if let Err(error) = sweep::follow(&process, &self.world) {
            self.world
                .invariants
                .violated(format!("a sweep cannot be understood: {error}"));
        }
        self.wake_changed(to.replica);
        self.work(to.replica);
    }

    /// `OrphanReconciler::wakes`.
    pub(super) fn look_for_orphans(&mut self, to: Address) {
        let (now, origin) = (self.world.now, self.origin);
        let Some(alive) = &mut self.replicas[to.replica].alive else {
            return;
        };
        let process = Arc::clone(&alive.process);
        for id in orphan::found(&process) {
            alive.wake(Kind::Orphan, id, now, origin);
        }
        self.work(to.replica);
    }

    /// Wakes the environments whose outside was seen to change.
    pub(super) fn wake_changed(&mut self, index: usize) {
        let (now, origin) = (self.world.now, self.origin);
        let replica = &mut self.replicas[index];
        let to = Address {
            replica: index,
            incarnation: replica.incarnation,
        };
        let Some(alive) = &mut replica.alive else { return };
        let changed = alive.changed();
        for id in &changed {
            alive.wake(Kind::Environment, *id, now, origin);
            alive.wake(Kind::Firewall, *id, now, origin);
        }
        if !changed.is_empty() {
            self.tick_at(to, now + 1000);
        }
    }
}
