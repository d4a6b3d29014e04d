//! Who waits for leave to send, in which order, and what leave depends on.

use super::{
    BudgetConfig, Priority, Shared,
    hour::Hour,
    ledger::{Ask, Blocks},
    window::{Wait, Window, ceilings, kept_of_hour, kept_of_minute},
};
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};

#[derive(Debug)]
pub(super) struct State {
    pub(super) replicas: NonZeroU32,
    /// The token's limits, as the answers tell.
    pub(super) per_minute: u32,
    pub(super) minute: Window,
    pub(super) hour: Window,
    /// What DigitalOcean says of the hour.
    pub(super) told: Hour,
    pub(super) blocked_until: Option<Instant>,
    /// A 429 that the ledger has not been told of.
    pub(super) refused: Option<Duration>,
    /// What the ledger granted; `None` without a ledger, and while it cannot be reached.
    pub(super) blocks: Option<Blocks>,
    /// Who waits, first come first served within a priority. Only the first one looks at the limits; the others are woken in turn.
    pub(super) waiting: BTreeMap<(Priority, u64), Arc<Notify>>,
    /// The first of those that wait cannot go before this; so nobody behind it can.
    pub(super) stuck_until: Option<Instant>,
    pub(super) tickets: u64,
}

pub(super) enum Turn {
    /// Of this block, which may be sent until then.
    Granted {
        block: Option<(i64, Instant)>,
    },
    NotBefore(Instant),
    Behind,
}

/// A place in the queue. Leaving it, by success or by being dropped, lets the next one look.
pub(super) struct Place<'a> {
    shared: &'a Shared,
    ticket: (Priority, u64),
    pub(super) notify: Arc<Notify>,
}

impl<'a> Place<'a> {
    pub(super) fn take(shared: &'a Shared, priority: Priority) -> Self {
        let mut state = shared.lock();
        state.tickets += 1;
        let ticket = (priority, state.tickets);
        let notify = Arc::new(Notify::new());
        state.waiting.insert(ticket, Arc::clone(&notify));
        state.show();
        drop(state);
        Self { shared, ticket, notify }
    }

    pub(super) fn attempt(&self) -> Turn {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let first = state.waiting.keys().next().copied();
        if first != Some(self.ticket) {
            // Those before it may take more of a limit than it may; when they cannot go, it cannot.
            let stuck = state.stuck_until.filter(|until| *until > now);
            return stuck.map_or(Turn::Behind, Turn::NotBefore);
        }
        match state.spend(self.ticket.0, now) {
            Ok(block) => {
                state.stuck_until = None;
                Turn::Granted { block }
            }
            Err(Wait::Until(at)) => {
                state.stuck_until = Some(at);
                Turn::NotBefore(at)
            }
            Err(Wait::ForOthers) => {
                state.stuck_until = None;
                if state.blocks.is_some() {
                    self.shared.ledger.notify_one();
                }
                Turn::Behind
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.waiting.remove(&self.ticket);
        state.show();
        state.wake_first();
    }
}

impl State {
    pub(super) fn new(config: &BudgetConfig) -> Self {
        Self {
            replicas: NonZeroU32::MIN,
            per_minute: config.per_minute.get(),
            minute: Window::new(config.lengths().minute),
            hour: Window::new(config.lengths().hour),
            told: Hour::new(config.per_hour.get()),
            blocked_until: None,
            refused: None,
            blocks: None,
            waiting: BTreeMap::new(),
            stuck_until: None,
            tickets: 0,
        }
    }

    /// Whether one more of this priority may be sent now.
    pub(super) fn check(&mut self, priority: Priority, now: Instant) -> Result<(), Wait> {
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Err(Wait::Until(until));
        }
        self.told.check(priority, now).map_err(Wait::Until)?;
        if let Some(blocks) = &self.blocks {
            return blocks.check(priority, now);
        }
        let mine = (self.per_minute / self.replicas).max(1);
        let place = priority as usize;
        self.minute.check(ceilings(mine, kept_of_minute)[place], now)?;
        self.hour.check(ceilings(self.told.limit, kept_of_hour)[place], now)
    }

    /// Spends one request, and says of which block; or says when to look again.
    fn spend(&mut self, priority: Priority, now: Instant) -> Result<Option<(i64, Instant)>, Wait> {
        self.check(priority, now)?;
        let block = self.blocks.as_mut().map(|blocks| blocks.spend(priority, now)).transpose()?;
        self.minute.send();
        self.hour.send();
        self.told.spend(now);
        Ok(block)
    }

    /// What to ask the ledger for, if somebody waits for that, and the first priority among them.
    pub(super) fn ask(&self, config: &BudgetConfig, now: Instant) -> Option<(Priority, Ask)> {
        let (first, _) = *self.waiting.keys().next()?;
        let blocks = self.blocks.as_ref().filter(|blocks| blocks.has_to_ask(first, now))?;
        let mut wanted = [0; Priority::COUNT];
        for (priority, _) in self.waiting.keys() {
            wanted[*priority as usize] += 1;
        }
        wanted[Priority::Read as usize] += blocks.spare();
        let ask = Ask {
            wanted,
            minute: ceilings(self.per_minute, kept_of_minute),
            hour: ceilings(self.told.limit, kept_of_hour),
            lengths: config.lengths(),
            lasts: config.lasts(),
            under_way: config.lasts(),
        };
        Some((first, ask))
    }

    /// From here on without the ledger.
    pub(super) fn alone(&mut self) {
        self.blocks = None;
        self.stuck_until = None;
        self.wake_first();
    }

    fn show(&self) {
        #[allow(clippy::cast_precision_loss)] // a gauge is a float
        metrics::gauge!("digitalocean_budget_waiting").set(self.waiting.len() as f64);
    }

    pub(super) fn wake_first(&self) {
        if let Some(notify) = self.waiting.values().next() {
            notify.notify_one();
        }
    }
}
