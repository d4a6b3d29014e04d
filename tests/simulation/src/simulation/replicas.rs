//! Replicas: they start, work, and die.
//!
//! Owns: when passes begin and go on. Must not: know what a pass does. Promises: what a dead process would have heard is lost.

use super::{Address, Event, HEARTBEAT, MOST_STEPS, POLL, RESYNC, Simulation};
use crate::{
    moment::{Millis, seconds},
    process::Process,
    reconcilers::{Kind, sweep},
    replica::{Alive, Polled},
};
use model::EnvironmentId;
use std::{sync::Arc, time::Duration};

impl Simulation {
    pub(super) fn start(&mut self, index: usize) {
        let holder = self.world.dice.uuid();
        let replica = &mut self.replicas[index];
        if replica.alive.is_some() {
            return;
        }
        replica.incarnation += 1;
        replica.stopped_until = 0;
        let process = Process::new(
            holder,
            Arc::clone(&self.setup),
            Arc::clone(&self.clock),
            self.origin,
            replica.skew,
        );
        let mut alive = Alive::new(Arc::new(process));
        alive.wake(Kind::Sweep, sweep::KEY, self.world.now, self.origin);
        replica.alive = Some(alive);
        let to = Address {
            replica: index,
            incarnation: replica.incarnation,
        };
        let name = replica.name();
        self.world.tell(&name, format_args!("starts"));
        self.after(10, Event::Lease(to));
        self.after(1000, Event::Tick(to));
        self.after(POLL, Event::Poll(to));
        self.after(RESYNC, Event::Resync(to));
        self.after(HEARTBEAT, Event::Heartbeats(to));
    }

    pub(crate) fn die(&mut self, at: Address) {
        let replica = &mut self.replicas[at.replica];
        if replica.incarnation != at.incarnation || replica.alive.take().is_none() {
            return;
        }
        let name = replica.name();
        self.world.tell(&name, format_args!("DIES"));
        let pause = self.world.dice.between(seconds(1), seconds(25));
        self.after(pause, Event::Start(at.replica));
    }

    pub(super) async fn tick(&mut self, to: Address) {
        let behind = Duration::from_millis(self.world.now.saturating_sub(self.told).max(0).unsigned_abs());
        self.told = self.world.now;
        tokio::time::advance(behind).await;
        if let Some(alive) = &mut self.replicas[to.replica].alive {
            alive.look_at_queues();
        }
        self.work(to.replica);
    }

    /// Lets a replica begin what is due.
    pub(crate) fn work(&mut self, index: usize) {
        self.wake_changed(index);
        while let Some((kind, key)) = self.replicas[index].alive.as_mut().and_then(Alive::begin) {
            self.passes += 1;
            if self.passes > MOST_STEPS {
                let name = self.world.name(key);
                return self
                    .world
                    .invariants
                    .violated(format!("{kind:?} {name} is worked on without end"));
            }
            self.go_on(index, kind, key);
        }
    }

    /// Lets one pass go on to its next request, or to its end.
    pub(super) fn go_on(&mut self, index: usize, kind: Kind, key: EnvironmentId) {
        let (now, origin) = (self.world.now, self.origin);
        let replica = &mut self.replicas[index];
        let from = Address {
            replica: index,
            incarnation: replica.incarnation,
        };
        let Some(alive) = &mut replica.alive else { return };
        let polled = alive.poll(kind, key, now, origin);
        let requests = alive.process.wire.take();
        for request in requests {
            self.depart(from, kind, key, request);
        }
        if let Polled::Ended(Some(again)) = polled {
            self.tick_at(from, again);
        }
    }

    /// A little later than asked: timers are never early.
    pub(super) fn tick_at(&mut self, to: Address, at: Millis) {
        if at < Millis::MAX / 8 {
            self.at(at + 2, Event::Tick(to));
        }
    }

    /// Wakes one key of one replica.
    pub(crate) fn wake(&mut self, to: Address, id: EnvironmentId) {
        let (now, origin) = (self.world.now, self.origin);
        if let Some(alive) = &mut self.replicas[to.replica].alive {
            alive.wake_all(id, now, origin);
            self.tick_at(to, now + 1000);
        }
    }
}
