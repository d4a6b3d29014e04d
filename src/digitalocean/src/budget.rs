//! The request budget of one token: 250 requests a minute and 5,000 an hour, shared by all that use the token.
//!
//! Owns: who may send next, and what is known of the limits. Must not: send anything, or know an endpoint. Promises: no
//! sliding minute sees more than the limit; deletes go before creates, creates before changes, changes before reads; the last
//! part of the hour is kept for what is not a read; nobody waits longer than the configured patience, but is told when to
//! come back.
//!
//! The minute is governor's (nothing in an answer tells where it stands). The hour is DigitalOcean's own count, from the
//! headers of every answer: it includes what other processes spent of the same token. Until the first answer the hour is
//! governor's too. Several processes that share a token divide the minute between them ([`Budget::divide`]).

mod clock;
mod hour;
#[cfg(test)]
mod tests;

use clock::{Moment, Monotonic};
use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, state::InMemoryState, state::NotKeyed};
use hour::Hour;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

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

/// The limits to assume until the answers say otherwise, and how long to wait for them.
#[derive(Clone, Copy, Debug)]
pub struct BudgetConfig {
    /// Requests in any 60 seconds. DigitalOcean: 5 % of the hour's.
    pub per_minute: NonZeroU32,
    /// Requests in any hour.
    pub per_hour: NonZeroU32,
    /// How long [`Budget::acquire`] waits at most before it gives up with the time at which to come back.
    pub patience: Duration,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            per_minute: const { NonZeroU32::new(250).expect("not zero") },
            per_hour: const { NonZeroU32::new(5_000).expect("not zero") },
            patience: Duration::from_secs(10),
        }
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
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, Monotonic, NoOpMiddleware<Moment>>;

/// The budget of one token. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    replicas: NonZeroU32,
    /// The token's limit, of which this process takes its part.
    per_minute: u32,
    minute: Limiter,
    /// Three quarters of the minute: what reads may take of it, so that a sweep cannot hold up a delete.
    minute_reads: Limiter,
    hour_guess: Limiter,
    hour: Hour,
    blocked_until: Option<Instant>,
    /// Who waits, first come first served within a priority. Only the first one looks at the limits; the others are woken in turn.
    waiting: BTreeMap<(Priority, u64), Arc<Notify>>,
    tickets: u64,
}

impl Budget {
    /// A fresh budget.
    pub fn new(config: BudgetConfig) -> Self {
        let minute = config.per_minute.get();
        let state = State {
            replicas: NonZeroU32::MIN,
            per_minute: minute,
            minute: per_minute(minute),
            minute_reads: per_minute(reads_of(minute)),
            hour_guess: RateLimiter::direct_with_clock(Quota::per_hour(config.per_hour), Monotonic),
            hour: Hour::new(config.per_hour.get()),
            blocked_until: None,
            waiting: BTreeMap::new(),
            tickets: 0,
        };
        Self {
            shared: Arc::new(Shared {
                patience: config.patience,
                state: Mutex::new(state),
            }),
        }
    }

    /// Takes only this process's part of the minute, when `replicas` processes use the token. The hour needs no dividing:
    /// every answer tells what all of them left of it.
    pub fn divide(&self, replicas: NonZeroU32) {
        let mut state = self.shared.lock();
        if state.replicas != replicas {
            state.replicas = replicas;
            state.minute_start();
        }
    }

    /// What is known now.
    pub fn status(&self) -> BudgetStatus {
        let state = self.shared.lock();
        BudgetStatus {
            limit: state.hour.limit,
            remaining: state.hour.remaining(),
            reset_at: state.hour.reset_at(),
            blocked_until: state.blocked_until.filter(|at| *at > Instant::now()).map(wall),
        }
    }

    /// Waits for leave to send one request, at most for the configured patience.
    pub async fn acquire(&self, priority: Priority) -> Result<Permit, Exhausted> {
        let deadline = Instant::now() + self.shared.patience;
        let place = Place::take(&self.shared, priority);
        loop {
            let turn = place.attempt();
            let until = match turn {
                Turn::Granted => {
                    return Ok(Permit {
                        shared: Arc::clone(&self.shared),
                        settled: false,
                    });
                }
                Turn::NotBefore(at) if at > deadline => return Err(Exhausted { retry_at: wall(at) }),
                Turn::NotBefore(at) => at,
                Turn::Behind => deadline,
            };
            let timed_out = tokio::time::timeout_at(until, place.notify.notified()).await.is_err();
            if timed_out && Instant::now() >= deadline {
                return Err(Exhausted {
                    retry_at: wall(deadline),
                });
            }
        }
    }

    fn settle(shared: &Shared, headers: Option<RateHeaders>) {
        let mut state = shared.lock();
        let limit = state.hour.limit;
        state.hour.settle(headers);
        if state.hour.limit != limit {
            // The minute's limit is 5 % of the hour's, and no header tells it.
            state.per_minute = state.hour.limit / 20;
            state.minute_start();
        }
        if let Some(remaining) = state.hour.remaining() {
            metrics::gauge!("digitalocean_budget_remaining").set(remaining);
        }
        state.wake_first();
    }

    fn block(shared: &Shared, until: Instant) {
        let mut state = shared.lock();
        state.blocked_until = state.blocked_until.max(Some(until));
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BudgetConfig::default())
    }
}

/// Leave to send one request. Dropped without [`Permit::settle`], the request counts as spent.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    settled: bool,
}

impl Permit {
    /// Corrects the budget from an answer's headers.
    pub fn settle(mut self, headers: RateHeaders) {
        self.settled = true;
        Budget::settle(&self.shared, Some(headers));
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
        let until = Instant::now() + wait.unsigned_abs();
        Budget::block(&self.shared, until);
        self.settle(headers);
        wall(until)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            Budget::settle(&self.shared, None);
        }
    }
}

enum Turn {
    Granted,
    NotBefore(Instant),
    Behind,
}

/// A place in the queue. Leaving it, by success or by being dropped, lets the next one look.
struct Place<'a> {
    shared: &'a Shared,
    ticket: (Priority, u64),
    notify: Arc<Notify>,
}

impl<'a> Place<'a> {
    fn take(shared: &'a Shared, priority: Priority) -> Self {
        let mut state = shared.lock();
        state.tickets += 1;
        let ticket = (priority, state.tickets);
        let notify = Arc::new(Notify::new());
        state.waiting.insert(ticket, Arc::clone(&notify));
        drop(state);
        Self { shared, ticket, notify }
    }

    fn attempt(&self) -> Turn {
        let mut state = self.shared.lock();
        let first = state.waiting.keys().next().copied();
        if first != Some(self.ticket) {
            return Turn::Behind;
        }
        match state.spend(self.ticket.0) {
            Ok(()) => Turn::Granted,
            Err(at) => Turn::NotBefore(at),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.waiting.remove(&self.ticket);
        state.wake_first();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a panic elsewhere is no reason to stop sending.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Spends one request, or says when to look again.
    fn spend(&mut self, priority: Priority) -> Result<(), Instant> {
        let now = Instant::now();
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Err(until);
        }
        self.hour.check(priority, now)?;
        if self.hour.remaining().is_none() {
            self.hour_guess.check().map_err(|not| not.earliest_possible().0)?;
        }
        if priority == Priority::Read {
            self.minute_reads.check().map_err(|not| not.earliest_possible().0)?;
        }
        self.minute.check().map_err(|not| not.earliest_possible().0)?;
        self.hour.spend(now);
        Ok(())
    }

    fn minute_start(&mut self) {
        let mine = (self.per_minute / self.replicas).max(1);
        self.minute = per_minute(mine);
        self.minute_reads = per_minute(reads_of(mine));
    }

    fn wake_first(&self) {
        if let Some(notify) = self.waiting.values().next() {
            notify.notify_one();
        }
    }
}

/// A limiter that lets no sliding minute see more than `limit` requests: a tenth at once, nine tenths spread over the minute.
fn per_minute(limit: u32) -> Limiter {
    let burst = NonZeroU32::new(limit / 10).unwrap_or(NonZeroU32::MIN);
    let steady = limit.saturating_sub(burst.get()).max(1);
    let quota = Quota::with_period(Duration::from_mins(1) / steady).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
    RateLimiter::direct_with_clock(quota.allow_burst(burst), Monotonic)
}

fn reads_of(minute: u32) -> u32 {
    (minute / 4 * 3).max(1)
}

/// The wall-clock time of a moment.
fn wall(at: Instant) -> Timestamp {
    let ahead = at.saturating_duration_since(Instant::now());
    Timestamp::now() + ahead
}
