//! One replica: a process while it lives, and the loops that work its queues.
//!
//! Owns: the queues (the runtime's own), the passes that run (the runtime's own), and what follows from how they end, as
//! `runtime::Controller` has it but for the jitter. Must not: know what a pass does. Promises: a crash takes everything away at once,
//! but for what is on the wire.

use crate::{
    moment::{Millis, instant, seconds},
    process::Process,
    reconcilers::{EnvironmentModel, FirewallModel, InstanceModel, Kind, OrphanModel, sweep},
};
use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use model::EnvironmentId;
use runtime::{
    Error, Outcome, Queue, Reason, Wake,
    queue::{Due, Popped},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::time::Instant;

/// The shortest pause after a failure, and the longest: `runtime::Backoff`.
const BACKOFF: (Millis, Millis) = (seconds(1), seconds(300));

type Pass = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The loop of one kind.
#[derive(Default)]
struct Loop {
    queue: Queue<EnvironmentId>,
    running: BTreeMap<EnvironmentId, Pass>,
    failures: BTreeMap<EnvironmentId, (u32, Millis)>,
}

/// A process that lives.
pub struct Alive {
    /// Its memory and its wire.
    pub process: Arc<Process>,
    loops: BTreeMap<Kind, Loop>,
    changes: BoxStream<'static, Wake<EnvironmentId>>,
}

/// See the module.
pub struct Replica {
    /// In the order of their names.
    pub index: usize,
    /// How often it was started; what is on its way to an earlier process is lost.
    pub incarnation: u64,
    /// The process, unless it is dead.
    pub alive: Option<Alive>,
    /// It does nothing until then: it was stopped, and remembers everything.
    pub stopped_until: Millis,
    /// How far its machine's time of day is off.
    pub skew: Millis,
}

/// What polling a pass came to.
pub enum Polled {
    /// It waits for the answer to what it has sent.
    Waits,
    /// It has ended, and its key is looked at again at that time.
    Ended(Option<Millis>),
}

impl Replica {
    /// Its name in the story.
    pub fn name(&self) -> String {
        format!("replica {}", self.index)
    }
}

impl Alive {
    /// A process with nothing to do yet.
    pub fn new(process: Arc<Process>) -> Self {
        let loops = Kind::ALL.into_iter().map(|kind| (kind, Loop::default())).collect();
        let changes = stream::select(process.fleet.changes(), process.firewalls.changes()).boxed();
        Self { process, loops, changes }
    }

    /// A key is to be worked on now by every kind.
    pub fn wake_all(&mut self, key: EnvironmentId, now: Millis, origin: Instant) {
        for kind in Kind::OF_ENVIRONMENTS {
            self.wake(kind, key, now, origin);
        }
    }

    /// A key is to be worked on now, or as soon as its failures allow; returns when that is.
    pub fn wake(&mut self, kind: Kind, key: EnvironmentId, now: Millis, origin: Instant) {
        let Some(one) = self.loops.get_mut(&kind) else { return };
        let at = one.failures.get(&key).map_or(now, |(_, floor)| now.max(*floor));
        one.queue.wake(key, due(at, origin, Reason::Changed), instant(now, origin));
    }

    /// Keys whose time has come are due. The clock of tokio has to be at `now`.
    pub fn look_at_queues(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for one in self.loops.values_mut() {
            one.queue.poll_later(&mut context);
        }
    }

    /// Begins a pass over the next key that is due.
    pub fn begin(&mut self) -> Option<(Kind, EnvironmentId)> {
        let (kind, key) = self.loops.iter_mut().find_map(|(kind, one)| {
            let Popped { key, .. } = one.queue.pop()?;
            Some((*kind, key))
        })?;
        let process = Arc::clone(&self.process);
        let pass: Pass = match kind {
            Kind::Environment => Box::pin(pass(EnvironmentModel::new(Arc::clone(&process)), key, process)),
            Kind::Firewall => Box::pin(pass(FirewallModel::new(Arc::clone(&process)), key, process)),
            Kind::Instance => Box::pin(pass(InstanceModel::new(Arc::clone(&process)), key, process)),
            Kind::Orphan => Box::pin(pass(OrphanModel::new(Arc::clone(&process)), key, process)),
            Kind::Sweep => Box::pin(sweep::sweep(process)),
        };
        self.loops.get_mut(&kind)?.running.insert(key, pass);
        Some((kind, key))
    }

    /// Lets a pass go on for as far as it comes.
    pub fn poll(&mut self, kind: Kind, key: EnvironmentId, now: Millis, origin: Instant) -> Polled {
        let Some(one) = self.loops.get_mut(&kind) else {
            return Polled::Waits;
        };
        let Some(pass) = one.running.get_mut(&key) else {
            return Polled::Waits;
        };
        match pass.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Polled::Waits,
            Poll::Ready(outcome) => {
                one.running.remove(&key);
                Polled::Ended(one.conclude(key, &outcome, now, origin))
            }
        }
    }

    /// Whether a pass acts on this shard. A sweep is none: it keeps the fence that it began with.
    pub fn works_on(&self, shard: u16) -> bool {
        let passes = self.loops.iter().filter(|(kind, _)| **kind != Kind::Sweep);
        let mut running = passes.flat_map(|(_, one)| one.running.keys());
        running.any(|key| key.shard() == shard)
    }

    /// The environments whose droplets or firewall were seen to change since this was last asked.
    pub fn changed(&mut self) -> BTreeSet<EnvironmentId> {
        let mut changed = BTreeSet::new();
        // What happens at once is not told twice; in which order it is told is the memory's affair, and forgotten here.
        while let Some(Some(wake)) = self.changes.next().now_or_never() {
            changed.insert(wake.key);
        }
        changed
    }
}

impl Loop {
    /// What follows from how a pass ended: `Passes::conclude`.
    fn conclude(&mut self, key: EnvironmentId, outcome: &Outcome, now: Millis, origin: Instant) -> Option<Millis> {
        let again = match outcome {
            Outcome::Gone => {
                self.failures.remove(&key);
                None
            }
            Outcome::Noop { requeue } | Outcome::Done { requeue } => {
                self.failures.remove(&key);
                // Timers are never early: parts of a millisecond count as a whole one.
                requeue.map(|delay| now + i64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(Millis::MAX / 4))
            }
            Outcome::Failed(Error::Retriable { .. }) => {
                let (count, _) = self.failures.get(&key).copied().unwrap_or_default();
                self.failures.insert(key, (count + 1, now + BACKOFF.0));
                Some(now + (BACKOFF.0 << count.min(16)).min(BACKOFF.1))
            }
            Outcome::Failed(Error::Waiting { after, .. }) => {
                let (count, _) = self.failures.get(&key).copied().unwrap_or_default();
                self.failures.insert(key, (count, now + BACKOFF.0));
                Some(now + crate::moment::millis(*after).max(0))
            }
            Outcome::Failed(Error::Terminal { .. }) => {
                let (count, _) = self.failures.get(&key).copied().unwrap_or_default();
                self.failures.insert(key, (count, now + BACKOFF.0));
                None
            }
        };
        let floor = self.failures.get(&key).map(|(_, floor)| *floor);
        let next = again.map(|at| due(at, origin, Reason::Requeued));
        let floored = floor.map(|floor| instant(floor, origin));
        self.queue.finish(key, next, floored, instant(now, origin));
        // The earlier of both: a look at the queue that finds nothing costs nothing.
        again.into_iter().chain(floor).min()
    }
}

async fn pass<R: runtime::Reconciler<Key = EnvironmentId>>(model: R, key: EnvironmentId, process: Arc<Process>) -> Outcome {
    runtime::pass(&model, &key, &*process).await
}

fn due(at: Millis, origin: Instant, reason: Reason) -> Due {
    Due {
        at: instant(at, origin),
        reason,
    }
}
