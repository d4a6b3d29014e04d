//! The request budget of one token: 250 requests a minute and 5,000 an hour, shared by all that use the token.
//!
//! Owns: who may send next, and what is known of the limits. Must not: send anything, know an endpoint, or know where several
//! processes keep what they agreed on. Promises: no sliding minute and no sliding hour sees more than the limit; deletes go before
//! creates, creates before changes, changes before reads, and the last part of each limit is kept for what goes before; but a
//! twentieth of the minute is let ahead after it has waited for a tenth of the patience, so that no storm of creates keeps a port from
//! being closed, or a list that has begun from being read to its end; nobody waits longer than the configured patience, but is told when to come back.
//!
//! A process alone keeps both windows itself (`window.rs`). Processes that share a token take blocks of requests from a ledger
//! ([`Budget::share`]), so that whoever has work may use what the others leave; while the ledger cannot be reached, each takes an
//! equal part of the minute ([`Budget::divide`]). DigitalOcean's own count of the hour comes with the headers of every answer: it
//! includes what anybody else spent of the same token (`hour.rs`).

mod hour;
pub(crate) mod ledger;
mod queue;
#[cfg(test)]
mod tests;
mod window;

use jiff::{SignedDuration, Timestamp};
use ledger::{Blocks, Ledger, LedgerError, Lengths, Taken};
use queue::{Place, State, Turn};
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use window::Wait;

/// Who goes first when requests are short. Ordered: the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Ends something that costs money, or a hole in a firewall.
    Delete,
    /// Makes a droplet, a firewall, a tag.
    Create,
    /// Changes what is there: actions, rules, tags.
    Change,
    /// Looks. The first to be shed.
    Read,
}

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them, the first to go first.
    pub const ALL: [Self; Self::COUNT] = [Self::Delete, Self::Create, Self::Change, Self::Read];
}

/// The limits to assume until the answers say otherwise, and how long to wait for them.
#[derive(Clone, Copy, Debug)]
pub struct BudgetConfig {
    /// Requests in any minute. DigitalOcean: 5 % of the hour's.
    pub per_minute: NonZeroU32,
    /// Requests in any hour.
    pub per_hour: NonZeroU32,
    /// How long a minute is. Another length is of use only where time is compressed.
    pub minute: Duration,
    /// How long an hour is.
    pub hour: Duration,
    /// By how much both windows are kept longer than they are: their clock may be slower than ours.
    pub margin: Duration,
    /// How long [`Budget::acquire`] waits at most before it gives up with the time at which to come back.
    pub patience: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            per_minute: const { NonZeroU32::new(250).expect("not zero") },
            per_hour: const { NonZeroU32::new(5_000).expect("not zero") },
            minute: Duration::from_mins(1),
            hour: Duration::from_hours(1),
            margin: Duration::from_secs(1),
            patience: Duration::from_secs(10),
        }
    }
}

impl BudgetConfig {
    /// The same limits where time passes `factor` times as fast.
    #[must_use]
    pub fn compressed(self, factor: u32) -> Self {
        Self {
            minute: self.minute / factor,
            hour: self.hour / factor,
            margin: self.margin / factor,
            patience: self.patience / factor,
            ..self
        }
    }

    fn lengths(&self) -> Lengths {
        Lengths {
            minute: self.minute + self.margin,
            hour: self.hour + self.margin,
        }
    }

    /// When the hour's count has run out and its reset has passed, one request in this time may go and see: five seconds.
    fn probe(&self) -> Duration {
        self.hour / 720
    }

    /// For how long a block of a ledger may be sent: a twentieth of the minute.
    fn lasts(&self) -> Duration {
        self.minute / 20
    }
}

/// The rate headers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHeaders {
    /// `ratelimit-limit`: requests an hour.
    pub limit: Option<u32>,
    /// `ratelimit-remaining`: requests left in the hour.
    pub remaining: Option<u32>,
    /// `ratelimit-reset`: when the oldest request of the hour expires.
    pub reset: Option<Timestamp>,
    /// `retry-after`: only with a 429 of the minute.
    pub retry_after: Option<SignedDuration>,
}

/// There is nothing to spend now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The soonest time at which it makes sense to ask again.
    pub retry_at: Timestamp,
}

/// What is known of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetStatus {
    /// Requests an hour.
    pub limit: u32,
    /// Requests left in the hour, when an answer has told.
    pub remaining: Option<u32>,
    /// When the oldest request of the hour expires, when an answer has told.
    pub reset_at: Option<Timestamp>,
    /// Nothing is sent before this: DigitalOcean answered 429.
    pub blocked_until: Option<Timestamp>,
    /// How many wait for leave to send.
    pub waiting: usize,
}

/// The budget of one token. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: BudgetConfig,
    state: Mutex<State>,
    /// Something may have to be asked of the ledger, or told to it.
    ledger: Notify,
}

impl Budget {
    /// A fresh budget.
    pub fn new(config: BudgetConfig) -> Self {
        let state = State::new(&config);
        Self {
            shared: Arc::new(Shared {
                config,
                state: Mutex::new(state),
                ledger: Notify::new(),
            }),
        }
    }

    /// Takes only this process's part of the minute when no ledger tells better, and `replicas` processes use the token. The hour
    /// needs no dividing: every answer tells what all of them left of it.
    pub fn divide(&self, replicas: NonZeroU32) {
        self.shared.lock().replicas = replicas;
    }

    /// What is known now.
    pub fn status(&self) -> BudgetStatus {
        let state = self.shared.lock();
        BudgetStatus {
            limit: state.told.limit,
            remaining: state.told.remaining(),
            reset_at: state.told.reset_at(),
            blocked_until: state.blocked_until.filter(|at| *at > Instant::now()).map(wall),
            waiting: state.waiting.len(),
        }
    }

    /// For how long nothing of this priority can be sent, as far as it is known: for whoever would rather not begin what it cannot
    /// end. `None` when one could be sent now, in its turn.
    pub fn pending(&self, priority: Priority) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let behind = state.waiting.keys().next().is_some_and(|(first, _)| *first <= priority);
        let stuck = state.stuck_until.filter(|until| behind && *until > now);
        let until = stuck.or_else(|| match state.check(priority, priority, now) {
            Ok(()) => None,
            Err(Wait::Until(at)) => Some(at),
            Err(Wait::ForOthers) => Some(now + self.shared.config.lasts()),
        });
        let foretold = state.foretold[priority as usize].filter(|until| *until > now);
        let until = until.max(foretold)?;
        Some(until.saturating_duration_since(now))
    }

    /// Whether creates have to wait, or had to within the last quarter of a minute, or the hour has nothing left for reads. Who only
    /// looks then does it seldom, and for all at once.
    pub fn is_short(&self) -> bool {
        let (state, now) = (self.shared.lock(), Instant::now());
        let recently = |until| now < until + self.shared.config.minute / 4;
        state.short_until.is_some_and(recently) || state.told.check(Priority::Read, now).is_err()
    }

    /// Over how long so many reads are spread that can wait: of the limit of 250 a minute 60, and 12 while requests are short.
    pub fn spread(&self, requests: usize) -> Duration {
        let of_250 = if self.is_short() { 12 } else { 60 };
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.shared.config.minute.saturating_mul(requests).saturating_mul(250) / of_250 / self.shared.lock().per_minute
    }

    /// How long the minute of its limit is: another length only where time is compressed.
    pub fn minute(&self) -> Duration {
        self.shared.config.minute
    }

    /// How long [`Budget::acquire`] waits at most.
    pub fn patience(&self) -> Duration {
        self.shared.config.patience
    }

    /// Waits for leave to send one request, at most for the configured patience. What others wait for goes as they do.
    pub async fn acquire(&self, priority: Priority) -> Result<Permit, Exhausted> {
        self.acquire_as(priority, false).await
    }

    /// As [`acquire`](Self::acquire), before all of the same priority that are not urgent, for what is worth nothing when it comes
    /// late. What would go last is let ahead without having waited.
    pub async fn acquire_urgent(&self, priority: Priority) -> Result<Permit, Exhausted> {
        self.acquire_as(priority, true).await
    }

    async fn acquire_as(&self, priority: Priority, urgent: bool) -> Result<Permit, Exhausted> {
        let began = Instant::now();
        let deadline = began + self.shared.config.patience;
        let mut place = Place::take(&self.shared, priority, urgent);
        let patience = if urgent {
            Duration::ZERO
        } else {
            self.shared.config.patience / 10
        };
        let mut ahead_at = place.is_last().then(|| began + patience);
        loop {
            let until = match place.attempt() {
                Turn::Granted { block, let_ahead } => {
                    let alone = || Instant::now() + self.shared.config.lasts();
                    return Ok(Permit {
                        shared: Arc::clone(&self.shared),
                        until: block.map_or_else(alone, |(_, until)| until),
                        block: block.map(|(block, _)| block),
                        let_ahead,
                        settled: false,
                    });
                }
                Turn::NotBefore(at) if at > deadline => return Err(Exhausted { retry_at: wall(at) }),
                Turn::NotBefore(at) => at,
                Turn::Behind => deadline,
            };
            if ahead_at.is_some_and(|at| Instant::now() >= at) {
                ahead_at = None;
                place.go_ahead();
                continue;
            }
            let until = ahead_at.map_or(until, |at| until.min(at));
            let timed_out = tokio::time::timeout_at(until, place.notify.notified()).await.is_err();
            if timed_out && Instant::now() >= deadline {
                return Err(Exhausted {
                    retry_at: wall(deadline),
                });
            }
        }
    }

    /// Asks a ledger how the limits stand, and takes nothing: from then on [`Budget::pending`] knows. For whoever says what those
    /// would do that share it.
    pub async fn consult(&self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let ask = self.shared.lock().standing(&self.shared.config);
        let waits = self.shared.in_time(ledger.wait(&ask)).await?;
        let now = Instant::now();
        self.shared.lock().foretold = waits.map(|wait| (!wait.is_zero()).then(|| now + wait));
        Ok(())
    }

    /// Takes what it sends from a ledger that others take from too, until `end`; then gives back what is left. Runs beside those
    /// that send.
    pub async fn share(&self, ledger: &dyn Ledger, end: impl Future<Output = ()>) {
        self.shared.lock().blocks = Some(Blocks::default());
        let work = async {
            loop {
                if let Err(error) = self.shared.supply(ledger).await {
                    tracing::warn!(%error, cause = error.0, "an equal part of the request limit is taken meanwhile");
                    // Those that wait go by the windows of this process now, until the ledger is there again.
                    self.shared.lock().alone();
                    tokio::time::sleep(self.shared.config.lasts()).await;
                    self.shared.lock().blocks.get_or_insert_default();
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = end => {}
        }
        let settled = {
            let mut state = self.shared.lock();
            let left = state.blocks.as_mut().map(|blocks| blocks.settled(Instant::now(), true));
            state.alone();
            left.unwrap_or_default()
        };
        if settled.is_empty() {
            return;
        }
        if let Err(error) = self
            .shared
            .in_time(ledger.settle(&settled, self.shared.config.lengths()))
            .await
        {
            tracing::warn!(%error, cause = error.0, "requests that were not sent are not given back; they run out");
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BudgetConfig::default())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic elsewhere is no reason to stop sending.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round with the ledger: tells it what has ended, asks for what waits, and waits until there is something to do again.
    async fn supply(&self, ledger: &dyn Ledger) -> Result<(), LedgerError> {
        let (settled, refused, ask) = {
            let (mut state, now) = (self.lock(), Instant::now());
            let settled = state.blocks.as_mut().map(|blocks| blocks.settled(now, false));
            (
                settled.unwrap_or_default(),
                state.refused.take(),
                state.ask(&self.config, now),
            )
        };
        if let Some(wait) = refused {
            self.in_time(ledger.block(wait)).await?;
        }
        if !settled.is_empty() {
            self.in_time(ledger.settle(&settled, self.config.lengths())).await?;
        }
        if let Some((first, ask)) = ask {
            // Counted from before the ledger counts.
            let asked = Instant::now();
            let taken = self.in_time(ledger.take(&ask)).await?;
            let mut state = self.lock();
            if let Some(blocks) = &mut state.blocks {
                match taken {
                    Taken::Granted { block, requests } => blocks.granted(block, requests, asked + ask.lasts),
                    // Never so soon that asking would be all that is done.
                    Taken::Later(after) => blocks.dried_up(first, Instant::now() + after.max(ask.lasts / 20)),
                }
            }
            state.wake_first();
            return Ok(());
        }
        let next_end = self.lock().blocks.as_ref().and_then(|blocks| blocks.next_end(Instant::now()));
        let block_ends = async {
            match next_end {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.ledger.notified() => {}
            () = block_ends => {}
        }
        Ok(())
    }

    /// A ledger that does not answer is as good as one that cannot be reached.
    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, LedgerError>>) -> Result<T, LedgerError> {
        let answer = tokio::time::timeout(self.config.lasts(), answer).await;
        answer.unwrap_or_else(|late| Err(LedgerError(late.into())))
    }

    fn settle(&self, block: Option<i64>, let_ahead: bool, headers: Option<RateHeaders>) {
        let now = Instant::now();
        let mut state = self.lock();
        state.minute.answer(now);
        state.hour.answer(now);
        if let_ahead {
            state.ahead.answer(now);
        }
        if let (Some(blocks), Some(block)) = (&mut state.blocks, block) {
            blocks.answer(block);
            self.ledger.notify_one();
        }
        state.told.settle(headers);
        // The minute's limit is 5 % of the hour's, and no header tells it.
        state.per_minute = if state.told.limit == self.config.per_hour.get() {
            self.config.per_minute.get()
        } else {
            (state.told.limit / 20).max(1)
        };
        if let Some(remaining) = state.told.remaining() {
            metrics::gauge!("digitalocean_budget_remaining").set(remaining);
        }
        state.wake_first();
    }

    fn block(&self, wait: Duration) -> Instant {
        let mut state = self.lock();
        let until = Instant::now() + wait;
        state.blocked_until = state.blocked_until.max(Some(until));
        state.refused = state.refused.max(Some(wait));
        self.ledger.notify_one();
        until
    }
}

/// Leave to send one request. Dropped without [`Permit::settle`], the request counts as spent.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    block: Option<i64>,
    let_ahead: bool,
    until: Instant,
    settled: bool,
}

impl Permit {
    /// Whether the request may still be sent under it.
    pub fn is_valid(&self) -> bool {
        Instant::now() < self.until
    }

    /// Corrects the budget from an answer's headers.
    pub fn settle(mut self, headers: RateHeaders) {
        self.settled = true;
        self.shared.settle(self.block, self.let_ahead, Some(headers));
    }

    /// The answer was a 429: nothing is sent before the returned time.
    pub fn refused(self, headers: RateHeaders) -> Timestamp {
        let now = Timestamp::now();
        let wait = match (headers.retry_after, headers.reset) {
            (Some(after), _) => after,
            (None, Some(reset)) => reset.duration_since(now),
            (None, None) => SignedDuration::from_mins(1),
        };
        // A reset in the past (a clock that is ahead, an hour's window that just moved) is no leave to hammer.
        let wait = wait.clamp(SignedDuration::from_secs(1), SignedDuration::from_hours(1));
        let until = self.shared.block(wait.unsigned_abs());
        // A 429 of the minute says nothing of the hour, whatever its headers say is left.
        let remaining = headers.remaining.filter(|_| headers.retry_after.is_none());
        self.settle(RateHeaders { remaining, ..headers });
        wall(until)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.shared.settle(self.block, self.let_ahead, None);
        }
    }
}

/// The wall-clock time of a moment.
fn wall(at: Instant) -> Timestamp {
    let ahead = at.saturating_duration_since(Instant::now());
    Timestamp::now() + ahead
}
