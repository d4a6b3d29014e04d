//! One story, from its seed: the loop that lets one thing happen after the other.
//!
//! Owns: the order of events. Must not: judge. Promises: single-threaded, and a function of the seed and of what is sabotaged alone.
//!
//! ```text
//! events (by time) --> something arrives, is answered, ticks, dies, is edited ...
//!                        |                                    ^
//!                        v                                    | fate.rs: when it arrives, whether it is answered, who dies of it
//!                     a replica's passes go on, up to their next request
//! ```

mod agents;
mod event;
mod leases;
mod records;
mod replicas;
mod requests;
mod sightings;

pub(crate) use event::{Address, Event, Flight};

use crate::{
    cloud::Cloud,
    database::Database,
    dice::Dice,
    invariants::Invariants,
    moment::{Millis, seconds},
    process::Setup,
    replica::Replica,
    sabotage::Sabotage,
    schedule::{Faults, Script},
    story::Story,
    world::World,
};
use model::EnvironmentId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicI64, atomic::Ordering},
};
use tokio::time::Instant;

/// How long a lease holds.
const LEASE: Millis = seconds(15);
/// Between two full reads of a reflector.
const RESYNC: Millis = seconds(60);
/// Between two looks for sweeps that nobody told of.
const POLL: Millis = seconds(15);
/// Between two looks for silent agents.
const HEARTBEAT: Millis = seconds(10);
/// More steps than any story needs.
const MOST_STEPS: u64 = 3_000_000;

/// See the module.
pub(crate) struct Simulation {
    pub(crate) world: World,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) setup: Arc<Setup>,
    pub(crate) steps: u64,
    pub(crate) passes: u64,
    events: BTreeMap<(Millis, u64), Event>,
    sequence: u64,
    pub(crate) flights: BTreeMap<u64, Flight>,
    clock: Arc<AtomicI64>,
    origin: Instant,
    told: Millis,
}

impl Simulation {
    /// Before anything has happened. Within a tokio runtime whose clock is paused.
    pub(crate) fn new(seed: u64, script: Script, sabotage: Sabotage, told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let faults = match script {
            Script::Everything => Faults::drawn(&mut dice),
            Script::Blackout => Faults::none(),
            Script::Standstills => Faults::standstills(),
        };
        let count = dice.between(3, 5);
        let environments: Vec<EnvironmentId> = (0..count).map(|_| EnvironmentId(dice.uuid())).collect();
        let shards: BTreeSet<u16> = environments.iter().map(|id| id.shard()).chain([0]).collect();
        let replicas: Vec<Replica> = (0..usize::try_from(dice.between(2, 3)).unwrap_or(2))
            .map(|index| Replica {
                index,
                incarnation: 0,
                alive: None,
                stopped_until: 0,
                skew: dice.between(-faults.skew, faults.skew),
            })
            .collect();
        let database = Database::new(shards, sabotage.loose());
        let setup = Arc::new(Setup::new(sabotage, &database));
        let mut simulation = Self {
            world: World {
                now: 0,
                cloud: Cloud::new(faults.lag),
                dice,
                faults,
                database,
                agents: BTreeMap::new(),
                story: Story::new(told),
                invariants: Invariants::default(),
                installation: setup.installation.clone(),
                environments,
            },
            replicas,
            setup,
            steps: 0,
            passes: 0,
            events: BTreeMap::new(),
            sequence: 0,
            flights: BTreeMap::new(),
            clock: Arc::default(),
            origin: Instant::now(),
            told: 0,
        };
        simulation.begin();
        simulation
    }

    fn begin(&mut self) {
        let faults = self.world.faults.clone();
        self.world.tell("story", format_args!("{faults:?}"));
        for index in 0..self.replicas.len() {
            let at = self.world.dice.between(0, seconds(5));
            self.at(at, Event::Start(index));
        }
        self.settle_in();
        if let Some(every) = faults.edits {
            self.at(every, Event::Edit);
        }
        if let Some(every) = faults.drift {
            self.at(every, Event::Drift);
        }
        if let Some(every) = faults.misfortunes {
            self.at(every, Event::Misfortune);
        }
    }

    /// Something will happen at that time.
    pub(crate) fn at(&mut self, at: Millis, event: Event) {
        self.sequence += 1;
        self.events.insert((at.max(self.world.now), self.sequence), event);
    }

    /// Something will happen after so long.
    pub(crate) fn after(&mut self, pause: Millis, event: Event) {
        self.at(self.world.now + pause, event);
    }

    /// Lets things happen until then, or until something happened that must not.
    pub(crate) async fn run_until(&mut self, until: Millis) {
        while let Some(next) = self.events.first_entry() {
            let (at, _) = *next.key();
            if at > until || self.world.invariants.violation().is_some() {
                break;
            }
            let event = next.remove();
            self.world.now = at;
            self.clock.store(at, Ordering::Relaxed);
            self.steps += 1;
            if self.steps > MOST_STEPS {
                self.world.invariants.violated("it never comes to rest".to_owned());
            }
            self.happen(event).await;
            self.notify();
        }
        self.world.now = self.world.now.max(until);
        self.clock.store(self.world.now, Ordering::Relaxed);
    }

    async fn happen(&mut self, event: Event) {
        let addressee = match &event {
            Event::Answer { flight, .. } => self.flights.get(flight).map(|flight| flight.from),
            other => other.addressee(),
        };
        if let Some(to) = addressee {
            let replica = &self.replicas[to.replica];
            if replica.incarnation != to.incarnation || replica.alive.is_none() {
                return;
            }
            // What reaches a stopped process waits there.
            if replica.stopped_until > self.world.now && !matches!(event, Event::Die(_)) {
                return self.at(replica.stopped_until, event);
            }
        }
        match event {
            Event::Land(flight) => self.land(flight),
            Event::Answer { flight, verdict, dies } => self.answered(flight, verdict, dies),
            Event::Tick(to) => self.tick(to).await,
            Event::Lease(to) => self.lease(to),
            Event::Leased { to, asked, renewed } => self.leased(to, asked, &renewed),
            Event::Notified(to, id) => self.notified(to, id),
            Event::Resync(to) => self.resync(to),
            Event::Heartbeats(to) => self.look_for_silence(to),
            Event::Follow(to) => self.follow(to),
            Event::Poll(to) => {
                self.after(POLL, Event::Poll(to));
                self.follow(to);
                self.look_for_orphans(to);
            }
            Event::Start(replica) => self.start(replica),
            Event::Die(at) => self.die(at),
            Event::Agent(droplet) => self.agent(droplet),
            Event::Heartbeat {
                droplet,
                heartbeat,
                again,
            } => self.heartbeat(droplet, &heartbeat, again),
            Event::Edit => self.edit(),
            Event::Drift => self.drift(),
            Event::Misfortune => self.misfortune(),
        }
    }
}
