//! Records in the replicas' memory: the reflector, and the look for silent agents.
//!
//! Owns: when they are read, and whom that wakes. Must not: change one. Promises: what a notification fails to tell, the next full read
//! tells.

use super::{Address, Event, HEARTBEAT, RESYNC, Simulation};
use model::EnvironmentId;
use std::sync::Arc;

impl Simulation {
    pub(crate) fn notify(&mut self) {
        if std::mem::take(&mut self.world.database.swept) {
            for index in 0..self.replicas.len() {
                if self.replicas[index].alive.is_some() && !self.world.dice.permille(self.world.faults.deaf) {
                    let to = Address {
                        replica: index,
                        incarnation: self.replicas[index].incarnation,
                    };
                    let pause = self.world.dice.between(1, 150);
                    self.after(pause, Event::Follow(to));
                }
            }
        }
        let changed = std::mem::take(&mut self.world.database.changed);
        for id in changed {
            for index in 0..self.replicas.len() {
                if self.replicas[index].alive.is_some() && !self.world.dice.permille(self.world.faults.deaf) {
                    let to = Address {
                        replica: index,
                        incarnation: self.replicas[index].incarnation,
                    };
                    let pause = self.world.dice.between(1, 150);
                    self.after(pause, Event::Notified(to, id));
                }
            }
        }
    }

    pub(super) fn notified(&mut self, to: Address, id: EnvironmentId) {
        self.reflect(to, id);
        self.work(to.replica);
    }

    /// Reads one record into memory, and wakes its key when it changed.
    fn reflect(&mut self, to: Address, id: EnvironmentId) {
        let (now, origin) = (self.world.now, self.origin);
        let Some(alive) = &mut self.replicas[to.replica].alive else {
            return;
        };
        let process = Arc::clone(&alive.process);
        let mut memory = process.memory();
        if !memory.epochs.contains_key(&id.shard()) {
            memory.records.remove(&id);
            return;
        }
        let fresh = self.world.database.record(id).map(Arc::new);
        if memory.records.get(&id) == fresh.as_ref() {
            return;
        }
        match fresh {
            Some(record) => memory.records.insert(id, record),
            None => memory.records.remove(&id),
        };
        drop(memory);
        alive.wake_all(id, now, origin);
        self.tick_at(to, now + 1000);
    }

    pub(super) fn resync(&mut self, to: Address) {
        self.after(RESYNC, Event::Resync(to));
        self.read_all(to);
    }

    /// Reads every record of the shards that are held, and wakes every key.
    pub(super) fn read_all(&mut self, to: Address) {
        let (now, origin) = (self.world.now, self.origin);
        let keys = self.world.database.keys();
        let known: Vec<EnvironmentId> = match &self.replicas[to.replica].alive {
            Some(alive) => alive.process.memory().records.keys().copied().collect(),
            None => return,
        };
        for id in keys.iter().chain(known.iter().filter(|id| !keys.contains(id))) {
            self.reflect(to, *id);
        }
        if let Some(alive) = &mut self.replicas[to.replica].alive {
            let held: Vec<EnvironmentId> = alive.process.memory().records.keys().copied().collect();
            for id in held {
                alive.wake_all(id, now, origin);
            }
        }
        self.tick_at(to, now + 1000);
        self.work(to.replica);
    }

    /// `Heartbeats::run`: looks the overdue ones up, and wakes those that are silent.
    pub(super) fn look_for_silence(&mut self, to: Address) {
        self.after(HEARTBEAT, Event::Heartbeats(to));
        let Some(alive) = &self.replicas[to.replica].alive else {
            return;
        };
        let process = Arc::clone(&alive.process);
        let silence = self.setup.environments.silence();
        let now = runtime::Clock::now(&*process);
        let records: Vec<_> = process.memory().records.values().cloned().collect();
        let mut silent = Vec::new();
        for record in records {
            let id = record.id();
            let model::record::Subject::Row(row) = &record.subject else {
                continue;
            };
            if row.status.phase != model::EnvironmentPhase::Active {
                continue;
            }
            let Some(reported) = record.current_report().map(|report| report.received_at) else {
                continue;
            };
            let mut memory = process.memory();
            let known = memory.heard.get(&id).map_or(reported, |heard| reported.max(*heard));
            if now.duration_since(known) <= silence {
                continue;
            }
            let looked_up = self
                .world
                .database
                .record(id)
                .and_then(|record| Some(record.current_report()?.received_at));
            let heard = looked_up.map_or(known, |at| at.max(known));
            memory.heard.insert(id, heard);
            if now.duration_since(heard) > silence {
                silent.push(id);
            }
        }
        for id in silent {
            self.wake(to, id);
        }
        self.work(to.replica);
    }
}
