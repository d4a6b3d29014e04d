//! Wake-ups in, passes out: the loop that every reconciler runs in.
//!
//! Owns: how many passes run at once, and what follows from how a pass ended. Must not: know what a pass does. Promises: a pass
//! that finds nothing to do costs no task and no timer; a pass that has to wait for something runs in a task of its own, so
//! that it delays no other; a pass that panics or outlasts its deadline is a failed pass and nothing more; on shutdown no pass
//! begins, those that run may end within a grace, and then none runs any more.

use crate::{
    backoff::{Backoff, Failures},
    chain::Chain,
    clock::{Clock, SystemClock, bounded},
    queue::{Due, Popped, Queue},
    reconciler::{Error, Reconciler},
    runner::{self, Outcome},
    wake::{Reason, Wake},
};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use std::{
    any::Any,
    num::NonZeroUsize,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::Instrument;

/// How a controller works.
#[derive(Clone)]
pub struct Config {
    /// The most passes that run at once.
    pub concurrency: NonZeroUsize,
    /// Between tries of a key that fails.
    pub backoff: Backoff,
    /// The longest that a pass may take. Longer than anything that it waits for waits, so that it ends only what hangs.
    pub deadline: Duration,
    /// How long passes that run when shutdown begins may take to end.
    pub grace: Duration,
    /// What decisions are told the time by.
    pub clock: Arc<dyn Clock>,
}

impl Default for Config {
    /// 512 passes at once, 15 minutes for each, 10 seconds of grace, the machine's clock.
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::new(512).unwrap_or(NonZeroUsize::MIN),
            backoff: Backoff::default(),
            deadline: Duration::from_mins(15),
            grace: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("concurrency", &self.concurrency)
            .field("backoff", &self.backoff)
            .field("deadline", &self.deadline)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// A reconciler, what wakes it, and how it works. Does nothing until it is [run](Self::run).
pub struct Controller<R: Reconciler> {
    reconciler: Arc<R>,
    config: Config,
    wakes: Vec<BoxStream<'static, Wake<R::Key>>>,
}

/// A pass that ended.
#[derive(Debug)]
pub struct Ended<K> {
    /// What it was about.
    pub key: K,
    /// Its number; no other pass of this process has it.
    pub pass: u64,
    /// Why it was run.
    pub reason: Reason,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

impl<R: Reconciler> std::fmt::Debug for Controller<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("kind", &R::KIND)
            .field("config", &self.config)
            .field("wakes", &self.wakes.len())
            .finish_non_exhaustive()
    }
}

impl<R: Reconciler> Controller<R>
where
    R::Key: Unpin,
{
    /// A controller that nothing wakes yet.
    pub fn new(reconciler: Arc<R>, config: Config) -> Self {
        Self {
            reconciler,
            config,
            wakes: Vec::new(),
        }
    }

    /// Adds a stream of wake-ups. None of several starves another.
    #[must_use]
    pub fn wakes(mut self, wakes: impl Stream<Item = Wake<R::Key>> + Send + 'static) -> Self {
        self.wakes.push(wakes.boxed());
        self
    }

    /// Works until shutdown, or until every stream of wake-ups has ended and no key is left to be worked on.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut passes = self.passes(shutdown);
        while passes.next().await.is_some() {
            // Passes that end at once would otherwise keep others on this thread from running.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// As [`run`](Self::run), as the stream of the passes that ended. Nothing happens while it is not polled.
    pub fn passes(self, shutdown: CancellationToken) -> Passes<R> {
        Passes {
            reconciler: self.reconciler,
            failures: Failures::new(self.config.backoff),
            meters: Meters::new(R::KIND),
            config: self.config,
            wakes: self.wakes,
            turn: 0,
            begun: 0,
            queue: Queue::new(),
            running: JoinSet::new(),
            phase: Phase::Working(Box::pin(shutdown.cancelled_owned())),
        }
    }
}

/// See [`Controller::passes`].
pub struct Passes<R: Reconciler> {
    reconciler: Arc<R>,
    config: Config,
    wakes: Vec<BoxStream<'static, Wake<R::Key>>>,
    /// Which stream of wake-ups is asked next.
    turn: usize,
    /// How many passes have begun since wake-ups were last taken.
    begun: usize,
    queue: Queue<R::Key>,
    failures: Failures<R::Key>,
    running: JoinSet<Ended<R::Key>>,
    phase: Phase,
    meters: Meters,
}

/// ```text
/// Working --(shutdown)--> Leaving --(none runs, or the grace is over)--> Left
/// ```
enum Phase {
    /// Keys are taken and worked on, until this comes.
    Working(Pin<Box<WaitForCancellationFutureOwned>>),
    /// Passes that run may end, until this comes.
    Leaving(Pin<Box<Sleep>>),
    /// What still ran was told to stop where it stands.
    Left,
}

struct Meters {
    gone: Counter,
    noop: Counter,
    done: Counter,
    retriable: Counter,
    waiting: Counter,
    terminal: Counter,
    seconds: Histogram,
    waited: Histogram,
    depth: Gauge,
    running: Gauge,
}

impl Meters {
    fn new(kind: &'static str) -> Self {
        let total = |result| counter!("toolplane_reconcile_total", "kind" => kind, "result" => result);
        Self {
            gone: total("gone"),
            noop: total("noop"),
            done: total("done"),
            retriable: total("retriable"),
            waiting: total("waiting"),
            terminal: total("terminal"),
            seconds: histogram!("toolplane_reconcile_seconds", "kind" => kind),
            waited: histogram!("toolplane_reconcile_wait_seconds", "kind" => kind),
            depth: gauge!("toolplane_reconcile_queue_depth", "kind" => kind),
            running: gauge!("toolplane_reconcile_running", "kind" => kind),
        }
    }

    fn of(&self, outcome: &Outcome) -> &Counter {
        match outcome {
            Outcome::Gone => &self.gone,
            Outcome::Noop { .. } => &self.noop,
            Outcome::Done { .. } => &self.done,
            Outcome::Failed(Error::Retriable { .. }) => &self.retriable,
            Outcome::Failed(Error::Waiting { .. }) => &self.waiting,
            Outcome::Failed(Error::Terminal { .. }) => &self.terminal,
        }
    }
}

/// How many wake-ups are taken, and how many passes begin, before the other gets its turn.
const TURN: usize = 64;

impl<R: Reconciler> Stream for Passes<R>
where
    R::Key: Unpin,
{
    type Item = Ended<R::Key>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        this.poll_shutdown(cx);
        if let Poll::Ready(ended) = this.poll_running(cx) {
            return Poll::Ready(Some(ended));
        }
        let working = matches!(this.phase, Phase::Working(_));
        if working && let Poll::Ready(ended) = this.poll_work(cx) {
            return Poll::Ready(Some(ended));
        }
        // Once more, for the passes that have just begun: this task has to be woken when one of them ends.
        if let Poll::Ready(ended) = this.poll_running(cx) {
            return Poll::Ready(Some(ended));
        }
        let over = if working {
            this.wakes.is_empty() && this.queue.is_empty()
        } else {
            this.running.is_empty()
        };
        if over { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<R: Reconciler> Passes<R>
where
    R::Key: Unpin,
{
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) {
        if let Phase::Working(shutdown) = &mut self.phase
            && shutdown.poll_unpin(cx).is_ready()
        {
            self.phase = Phase::Leaving(Box::pin(sleep(self.config.grace)));
        }
        if let Phase::Leaving(grace) = &mut self.phase
            && grace.poll_unpin(cx).is_ready()
        {
            if !self.running.is_empty() {
                tracing::warn!(
                    kind = R::KIND,
                    passes = self.running.len(),
                    "passes outlasted the grace and were dropped"
                );
            }
            self.running.abort_all();
            self.phase = Phase::Left;
        }
    }

    /// The next pass that ended in a task of its own.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Poll<Ended<R::Key>> {
        // A task that was aborted left nothing to conclude; that happens in `Left` only.
        while let Poll::Ready(Some(joined)) = self.running.poll_join_next(cx) {
            if let Ok(ended) = joined {
                return Poll::Ready(self.conclude(ended));
            }
        }
        Poll::Pending
    }

    /// Takes wake-ups and begins passes, up to the first that ends at once.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Ended<R::Key>> {
        self.queue.poll_later(cx);
        if self.begun >= TURN {
            self.take_wakes(cx);
        }
        loop {
            if let Poll::Ready(ended) = self.poll_begin(cx) {
                return Poll::Ready(self.conclude(ended));
            }
            // While there is no room, wake-ups stay where they are, and where they cost least.
            if !self.has_room() {
                break;
            }
            let taken = self.take_wakes(cx);
            if taken == TURN && self.queue.depth() == 0 {
                // Somebody wakes keys that run without pause. Others on this thread have to get their turn.
                cx.waker().wake_by_ref();
            }
            if self.queue.depth() == 0 {
                break;
            }
        }
        self.show();
        Poll::Pending
    }

    fn has_room(&self) -> bool {
        self.running.len() < self.config.concurrency.get()
    }

    fn show(&self) {
        #[allow(clippy::cast_precision_loss)] // gauges are floats
        {
            self.meters.depth.set(self.queue.depth() as f64);
            self.meters.running.set(self.running.len() as f64);
        }
    }

    /// Takes up to [`TURN`] wake-ups, one of each stream in turn. When fewer come, none is left for now.
    fn take_wakes(&mut self, cx: &mut Context<'_>) -> usize {
        self.begun = 0;
        let now = Instant::now();
        let (mut taken, mut silent) = (0, 0);
        while taken < TURN && silent < self.wakes.len() {
            self.turn %= self.wakes.len();
            match self.wakes[self.turn].poll_next_unpin(cx) {
                Poll::Ready(Some(wake)) => {
                    let at = wake.at.unwrap_or(now);
                    let at = self.failures.floor(&wake.key).map_or(at, |floor| at.max(floor));
                    let reason = wake.reason;
                    self.queue.wake(wake.key, Due { at, reason }, now);
                    (taken, silent) = (taken + 1, 0);
                    self.turn += 1;
                }
                Poll::Ready(None) => drop(self.wakes.remove(self.turn)),
                Poll::Pending => {
                    silent += 1;
                    self.turn += 1;
                }
            }
        }
        taken
    }

    /// Begins passes while keys are due and there is room, up to the first that ends at once.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Ended<R::Key>> {
        while self.has_room() {
            let Some(Popped { key, due }) = self.queue.pop() else {
                break;
            };
            self.begun += 1;
            let begun = Begun::now(key, due);
            self.meters.waited.record(begun.at.saturating_duration_since(due.at));
            let span = begun.span(R::KIND);
            let clock = Arc::clone(&self.config.clock);
            let mut pass = watched(Arc::clone(&self.reconciler), begun.key.clone(), clock)
                .instrument(span.clone())
                .boxed();
            match pass.poll_unpin(cx) {
                Poll::Ready(outcome) => return Poll::Ready(begun.ended(outcome)),
                Poll::Pending => {
                    let pass = bounded_by(self.config.deadline, pass).instrument(span);
                    self.running.spawn(pass.map(|outcome| begun.ended(outcome)));
                }
            }
        }
        Poll::Pending
    }

    /// What follows from how a pass ended.
    fn conclude(&mut self, ended: Ended<R::Key>) -> Ended<R::Key> {
        self.meters.of(&ended.outcome).increment(1);
        self.meters.seconds.record(ended.took);
        let now = Instant::now();
        let again = match &ended.outcome {
            Outcome::Gone => {
                self.failures.forget(&ended.key);
                None
            }
            Outcome::Noop { requeue } | Outcome::Done { requeue } => {
                self.failures.forget(&ended.key);
                requeue.map(|delay| (delay, Reason::Requeued))
            }
            Outcome::Failed(Error::Retriable { after, .. }) => {
                let delay = self.failures.retriable(&ended.key, now);
                Some((delay.max(after.map_or(Duration::ZERO, bounded)), Reason::Retried))
            }
            Outcome::Failed(Error::Waiting { after, .. }) => {
                self.failures.waiting(&ended.key, now);
                Some((bounded(*after), Reason::Retried))
            }
            Outcome::Failed(Error::Terminal { .. }) => {
                self.failures.terminal(&ended.key, now);
                None
            }
        };
        let again = again.map(|(delay, reason)| Due { at: now + delay, reason });
        let floor = self.failures.floor(&ended.key);
        self.queue.finish(ended.key.clone(), again, floor, now);
        ended
    }
}

/// A pass that has begun.
struct Begun<K> {
    key: K,
    pass: u64,
    reason: Reason,
    at: Instant,
}

impl<K: std::fmt::Debug> Begun<K> {
    fn now(key: K, due: Due) -> Self {
        static PASSES: AtomicU64 = AtomicU64::new(1);
        Self {
            key,
            pass: PASSES.fetch_add(1, Ordering::Relaxed),
            reason: due.reason,
            at: Instant::now(),
        }
    }

    /// The pass's span. A reconciler records the row's generation in it once it knows it.
    fn span(&self, kind: &'static str) -> tracing::Span {
        tracing::info_span!(
            "reconcile",
            kind,
            key = ?self.key,
            generation = tracing::field::Empty,
            reason = self.reason.as_str(),
            pass = self.pass,
        )
    }

    fn ended(self, outcome: Outcome) -> Ended<K> {
        Ended {
            took: self.at.elapsed(),
            key: self.key,
            pass: self.pass,
            reason: self.reason,
            outcome,
        }
    }
}

/// A pass whose panic is a failure, and whose end is in the log.
async fn watched<R: Reconciler>(reconciler: Arc<R>, key: R::Key, clock: Arc<dyn Clock>) -> Outcome {
    let pass = AssertUnwindSafe(runner::pass(&*reconciler, &key, &*clock)).catch_unwind();
    let outcome = pass.await.unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        tracing::error!(message, "a pass panicked");
        Outcome::Failed(Error::retriable("Panicked", format!("the pass panicked: {message}")))
    });
    match &outcome {
        Outcome::Gone | Outcome::Noop { .. } => tracing::trace!(outcome = outcome.as_str(), "pass ended"),
        Outcome::Done { .. } => tracing::debug!(outcome = outcome.as_str(), "pass ended"),
        Outcome::Failed(error) => tracing::warn!(outcome = outcome.as_str(), error = %Chain(error), "pass failed"),
    }
    outcome
}

/// A pass that is dropped, and failed, when it takes too long.
async fn bounded_by(deadline: Duration, pass: BoxFuture<'static, Outcome>) -> Outcome {
    timeout(deadline, pass).await.unwrap_or_else(|_| {
        tracing::error!(?deadline, "a pass outlasted its deadline and was dropped");
        let message = format!("the pass took longer than {} s", deadline.as_secs());
        Outcome::Failed(Error::retriable("DeadlineExceeded", message))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of no text")
}

#[cfg(test)]
mod tests;
