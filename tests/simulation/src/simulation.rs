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

use crate::{
    agent::{Agent, Errand},
    cloud::Cloud,
    database::{Database, Heartbeat, Renewed},
    dice::Dice,
    invariants::Invariants,
    moment::{Millis, seconds},
    process::{Process, Setup},
    reconcilers::{Kind, orphan, sweep},
    replica::{Alive, Polled, Replica},
    sabotage::Sabotage,
    schedule::{Faults, Script},
    story::Story,
    wire::{Arrival, Request, Trouble},
    world::World,
};
use jiff::SignedDuration;
use model::{EnvironmentId, InstallationId, IntentId};
use schema::HeartbeatOutcome;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicI64, atomic::Ordering},
    time::Duration,
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

/// Something that happens.
pub(crate) enum Event {
    /// A request has its effect.
    Land(u64),
    /// A request is answered, or is not; its process may die before it hears that.
    Answer {
        flight: u64,
        verdict: Result<(), Trouble>,
        dies: bool,
    },
    /// A replica looks at its queues.
    Tick(Address),
    /// A replica renews its leases.
    Lease(Address),
    /// The answer to that.
    Leased { to: Address, asked: Millis, renewed: Renewed },
    /// A replica hears that a record changed.
    Notified(Address, EnvironmentId),
    /// A replica reads all its records.
    Resync(Address),
    /// A replica looks for silent agents.
    Heartbeats(Address),
    /// A replica hears that something was swept, and loads it.
    Follow(Address),
    /// A replica loads what was swept, told or not.
    Poll(Address),
    /// A replica starts.
    Start(usize),
    /// A process dies.
    Die(Address),
    /// An agent goes on.
    Agent(u64),
    /// A heartbeat arrives, for the first time or again.
    Heartbeat {
        droplet: u64,
        heartbeat: Box<Heartbeat>,
        again: bool,
    },
    /// A user edits something.
    Edit,
    /// Somebody changes something at DigitalOcean.
    Drift,
    /// Something befalls an agent, a tool or a replica.
    Misfortune,
}

/// One incarnation of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) replica: usize,
    pub(crate) incarnation: u64,
}

/// A request on its way.
pub(crate) struct Flight {
    pub(crate) from: Address,
    pub(crate) kind: Kind,
    pub(crate) key: EnvironmentId,
    pub(crate) arrival: Arrival,
    pub(crate) request: Request,
}

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

    /// The replica that an event is for.
    fn addressee(event: &Event) -> Option<Address> {
        match event {
            Event::Tick(to)
            | Event::Lease(to)
            | Event::Leased { to, .. }
            | Event::Notified(to, _)
            | Event::Resync(to)
            | Event::Heartbeats(to)
            | Event::Follow(to)
            | Event::Poll(to)
            | Event::Die(to) => Some(*to),
            Event::Land(_)
            | Event::Answer { .. }
            | Event::Start(_)
            | Event::Agent(_)
            | Event::Heartbeat { .. }
            | Event::Edit
            | Event::Drift
            | Event::Misfortune => None,
        }
    }

    async fn happen(&mut self, event: Event) {
        let addressee = match &event {
            Event::Answer { flight, .. } => self.flights.get(flight).map(|flight| flight.from),
            other => Self::addressee(other),
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

    // Replicas.

    fn start(&mut self, index: usize) {
        let holder = self.world.dice.uuid();
        let replica = &mut self.replicas[index];
        if replica.alive.is_some() {
            return;
        }
        replica.incarnation += 1;
        replica.stopped_until = 0;
        let process = Process::new(holder, Arc::clone(&self.setup), Arc::clone(&self.clock), replica.skew);
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

    async fn tick(&mut self, to: Address) {
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
    fn go_on(&mut self, index: usize, kind: Kind, key: EnvironmentId) {
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
    fn tick_at(&mut self, to: Address, at: Millis) {
        if at < Millis::MAX / 8 {
            self.at(at + 2, Event::Tick(to));
        }
    }

    fn land(&mut self, flight: u64) {
        let Some(Flight {
            arrival,
            request,
            kind,
            key,
            ..
        }) = self.flights.get_mut(&flight)
        else {
            return;
        };
        let land = std::mem::replace(&mut request.land, Box::new(|_, _| String::new()));
        let (arrival, kind, key, what) = (*arrival, *kind, *key, request.what.clone());
        let answer = land(&mut self.world, &arrival);
        if self.world.story.is_told() {
            let (name, late) = (self.world.name(key), if arrival.late { " (LATE)" } else { "" });
            let who = format!("replica {}", arrival.replica);
            self.world
                .tell(&who, format_args!("{kind:?} {name}: {what}{late} = {answer}"));
        }
        self.adopt_agents();
    }

    fn answered(&mut self, flight: u64, verdict: Result<(), Trouble>, dies: bool) {
        let Some(Flight {
            from,
            kind,
            key,
            request,
            ..
        }) = self.flights.remove(&flight)
        else {
            return;
        };
        if dies {
            return self.die(from);
        }
        if let Err(trouble) = verdict
            && self.world.story.is_told()
        {
            let (name, who) = (self.world.name(key), format!("replica {}", from.replica));
            let what = &request.what;
            self.world
                .story
                .tell(self.world.now, who, format_args!("{kind:?} {name}: {what}: {trouble:?}"));
        }
        (request.answer)(verdict);
        self.go_on(from.replica, kind, key);
        self.work(from.replica);
    }

    // Leases.

    fn lease(&mut self, to: Address) {
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

    fn leased(&mut self, to: Address, asked: Millis, renewed: &Renewed) {
        let Some(alive) = &self.replicas[to.replica].alive else {
            return;
        };
        let mut epochs = renewed.epochs.clone();
        // What is more than its share, and not worked on, is given back.
        let idle = epochs.keys().rev().filter(|shard| !alive.works_on(**shard)).copied();
        let spare: BTreeSet<u16> = idle.take(epochs.len().saturating_sub(renewed.share)).collect();
        epochs.retain(|shard, _| !spare.contains(shard));
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
                let held = renewed
                    .epochs
                    .iter()
                    .filter(|(shard, _)| !spare.contains(shard))
                    .collect::<BTreeMap<_, _>>();
                self.world
                    .tell(&format!("replica {}", to.replica), format_args!("holds {held:?}"));
            }
            self.read_all(to);
            self.follow(to);
        }
    }

    /// Loads what was swept, for the shards that are held.
    fn follow(&mut self, to: Address) {
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
    fn look_for_orphans(&mut self, to: Address) {
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
    fn wake_changed(&mut self, index: usize) {
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

    // Records in memory.

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

    fn notified(&mut self, to: Address, id: EnvironmentId) {
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

    fn resync(&mut self, to: Address) {
        self.after(RESYNC, Event::Resync(to));
        self.read_all(to);
    }

    /// Reads every record of the shards that are held, and wakes every key.
    fn read_all(&mut self, to: Address) {
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

    /// Wakes one key of one replica.
    pub(crate) fn wake(&mut self, to: Address, id: EnvironmentId) {
        let (now, origin) = (self.world.now, self.origin);
        if let Some(alive) = &mut self.replicas[to.replica].alive {
            alive.wake_all(id, now, origin);
            self.tick_at(to, now + 1000);
        }
    }

    /// `Heartbeats::run`: looks the overdue ones up, and wakes those that are silent.
    fn look_for_silence(&mut self, to: Address) {
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

    // Agents.

    /// Droplets that were made have an agent.
    fn adopt_agents(&mut self) {
        let World {
            cloud,
            agents,
            dice,
            installation,
            now,
            ..
        } = &mut self.world;
        let mut fresh = Vec::new();
        for (id, real) in cloud.droplets.range(agents.keys().next_back().map_or(0, |last| last + 1)..) {
            let carried = real.shown.tags.iter().map(String::as_str);
            let owner = model::tags::owner(carried.clone(), installation);
            if let (Some(owner), Some(intent)) = (owner, model::tags::intent_of(carried)) {
                let intent: IntentId = intent;
                fresh.push((*id, Agent::new(*id, owner, intent, format!("key-{}", dice.any()))));
            }
        }
        let now = *now;
        for (id, agent) in fresh {
            self.world.agents.insert(id, agent);
            self.at(now + seconds(2), Event::Agent(id));
        }
    }

    fn agent(&mut self, droplet: u64) {
        let now = self.world.now;
        let World {
            cloud,
            database,
            agents,
            dice,
            invariants,
            ..
        } = &mut self.world;
        let (Some(agent), Some(real)) = (agents.get_mut(&droplet), cloud.droplets.get(&droplet)) else {
            return;
        };
        if !real.lives(now) {
            agent.power_lost(now);
            return;
        }
        if !real.runs(now) {
            agent.power_lost(now);
            return self.after(seconds(2), Event::Agent(droplet));
        }
        if !agent.is_up() {
            agent.start(now, dice);
        }
        if now < agent.silent_until {
            let until = agent.silent_until;
            return self.at(until, Event::Agent(droplet));
        }
        let stopped = agent.work(now, dice);
        let errand = agent.errand(now, dice);
        let next = agent.next().max(now + 20);
        for one in stopped {
            let excused = database.waited_out(agent.environment, one.port);
            invariants.stopping(cloud, now, droplet, one, excused);
            agent.served.remove(&one.port);
        }
        self.at(next, Event::Agent(droplet));
        match errand {
            Some(Errand::Enrol) => self.enrol(droplet),
            Some(Errand::Beat(heartbeat)) => {
                let lost = self.world.dice.permille(self.world.faults.agent);
                if !lost {
                    let (pause, heartbeat) = (self.world.dice.between(1, 300), Box::new(heartbeat));
                    self.after(
                        pause,
                        Event::Heartbeat {
                            droplet,
                            heartbeat,
                            again: false,
                        },
                    );
                }
            }
            None => {}
        }
    }

    /// Whether any replica answers its API.
    fn api_answers(&self) -> bool {
        let now = self.world.now;
        self.replicas
            .iter()
            .any(|replica| replica.alive.is_some() && replica.stopped_until <= now)
    }

    fn enrol(&mut self, droplet: u64) {
        let answers = self.api_answers() && !self.world.dice.permille(self.world.faults.agent);
        let World {
            database,
            agents,
            dice,
            now,
            story,
            ..
        } = &mut self.world;
        let Some(agent) = agents.get_mut(&droplet) else { return };
        agent.later(*now + dice.between(500, seconds(15)));
        if !answers {
            return;
        }
        let (enrolled, epoch) = database.intent_enrol(*now, agent.intent, &agent.key);
        story.tell(
            *now,
            format!("droplet {droplet}"),
            format_args!("enrols: {enrolled:?} {epoch:?}"),
        );
        if let Some(epoch) = epoch {
            agent.enrolled(*now, epoch);
        }
        self.notify();
    }

    fn heartbeat(&mut self, droplet: u64, heartbeat: &Heartbeat, again: bool) {
        if !self.api_answers() {
            return;
        }
        let id = heartbeat.environment;
        let World {
            database,
            agents,
            dice,
            now,
            story,
            invariants,
            faults,
            ..
        } = &mut self.world;
        let before = database
            .reports
            .get(&id)
            .filter(|row| row.received.epoch == heartbeat.epoch)
            .map(|row| row.made_at);
        let outcome = database.heartbeat_record(*now, heartbeat);
        if again {
            story.tell(
                *now,
                format!("droplet {droplet}"),
                format_args!("its heartbeat comes again: {outcome:?}"),
            );
        }
        let desired = match outcome {
            HeartbeatOutcome::Recorded { desired, .. } => {
                invariants.heard(id, before, heartbeat.made_at);
                desired
            }
            HeartbeatOutcome::Replayed => return,
            HeartbeatOutcome::StaleEpoch | HeartbeatOutcome::UnknownEnvironment => {
                if let Some(agent) = agents.get_mut(&droplet).filter(|_| !again) {
                    agent.epoch = None;
                    agent.later(*now + seconds(5));
                }
                return;
            }
        };
        if dice.permille(faults.agent / 2) && !again {
            let later = *now + dice.between(seconds(1), seconds(60));
            let heartbeat = Box::new(heartbeat.clone());
            self.at(
                later,
                Event::Heartbeat {
                    droplet,
                    heartbeat,
                    again: true,
                },
            );
        } else if let Some(agent) = agents.get_mut(&droplet).filter(|agent| agent.listens(*now) && !again) {
            let held = agent.set.as_ref().map(|set| set.stamp);
            if desired > held
                && let Some((_, set)) = agent.epoch.and_then(|epoch| database.desired_set_get(id, epoch))
            {
                agent.offer(*now, set);
                self.at(self.world.now + 20, Event::Agent(droplet));
            }
        }
    }
}

impl Setup {
    /// What is the same for all processes of a story.
    fn new(sabotage: Sabotage, database: &Database) -> Self {
        // A fixed name, that is valid.
        let installation: InstallationId = match "story".parse() {
            Ok(installation) => installation,
            Err(_) => unreachable!("the name of the installation is valid"),
        };
        let network = ipnet::IpNet::from(std::net::IpAddr::from([192, 0, 2, 1]));
        Self {
            environments: sabotage.policy(),
            firewalls: firewall_reconciler::Policy {
                installation: installation.clone(),
                sources: firewall_reconciler::Sources {
                    backend: vec![network],
                    admin: Vec::new(),
                },
                max_age: SignedDuration::from_secs(120),
                lag_window: sabotage.policy().lag_window,
            },
            instances: instance_reconciler::Policy::default(),
            limits: sweep::limits(sabotage.breaker),
            catalog: Arc::new(database.catalog.clone()),
            installation,
            sabotage,
        }
    }
}
