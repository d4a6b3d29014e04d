//! Leases, as `schema::LeaseKeeper` and the replica's share keep them. Owns: when they are renewed, and what is given back.

use super::{Address, Event, LEASE, Simulation};
use crate::{
    database::Renewed,
    moment::{Millis, instant, timestamp},
};
use std::{collections::BTreeSet, sync::Arc};

impl Simulation {
    pub(super) fn lease(&mut self, to: Address) {
        let Some(alive) = &self.replicas[to.replica].alive else {
            return;
        };
        let process = Arc::clone(&alive.process);
        self.after(LEASE / 3, Event::Lease(to));
        if process.monotonic() >= process.memory().until {
            let mut memory = process.memory();
            memory.epochs.clear();
            memory.records.clear();
        }
        if self.world.dice.permille(self.world.faults.database) {
            return;
        }
        let (asked, holder) = (self.world.now, process.holder);
        let renewed = self.world.database.lease_hold(asked, holder, LEASE);
        let pause = self.world.dice.between(1, 300);
        self.after(pause, Event::Leased { to, asked, renewed });
    }

    pub(super) fn leased(&mut self, to: Address, asked: Millis, renewed: &Renewed) {
        let Some(alive) = &self.replicas[to.replica].alive else {
            return;
        };
        let (asked_at, answered_at) = (instant(asked, self.origin), instant(self.world.now, self.origin));
        if !self.setup.sabotage.clock {
            alive.process.time.learn(asked_at, timestamp(asked), answered_at);
        }
        let mut epochs = renewed.epochs.clone();
        // What is more than its share, and not worked on, is given back.
        let idle = epochs.keys().rev().filter(|shard| !alive.works_on(**shard)).copied();
        let spare: BTreeSet<u16> = idle.take(epochs.len().saturating_sub(renewed.share)).collect();
        epochs.retain(|shard, _| !spare.contains(shard));
        // A shard that was won again begins once the passes of before have ended; the next renewal looks again.
        let before = alive.process.memory().epochs.clone();
        let left = |shard: &u16, epoch: &i64| before.get(shard) != Some(epoch) && alive.works_on(*shard);
        let careless = self.setup.sabotage.stale_read;
        epochs.retain(|shard, epoch| careless || !left(shard, epoch));
        let changed = {
            let mut memory = alive.process.memory();
            memory.until = asked + LEASE;
            let changed = memory.epochs != epochs;
            memory.epochs = epochs;
            changed
        };
        let holder = alive.process.holder;
        self.world.database.lease_release(holder, &spare);
        if changed {
            if self.world.story.is_told() {
                let held = alive.process.memory().epochs.clone();
                self.world
                    .tell(&format!("replica {}", to.replica), format_args!("holds {held:?}"));
            }
            self.read_all(to);
            self.follow(to);
        }
    }
}
