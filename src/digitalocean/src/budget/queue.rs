//! Who waits for leave to send, in which order, and what leave depends on.

use super::{
    BudgetConfig, Priority, Shared,
    hour::Hour,
    ledger::{Ask, Blocks},
    window::{Wait, Window, ceilings, kept_of_hour, kept_of_minute},
};
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};

/// From which number on tickets are given to those that are not urgent.
const NOT_URGENT: u64 = 1 << 63;
/// One in so many requests of a minute is let ahead.
const AHEAD: u32 = 20;

#[derive(Debug)]
pub(super) struct State {
    pub(super) replicas: NonZeroU32,
    /// The token's limits, as the answers tell.
    pub(super) per_minute: u32,
    pub(super) minute: Window,
    pub(super) hour: Window,
    /// Those of the minute that were let ahead: what would otherwise go last, and has waited for long.
    pub(super) ahead: Window,
    /// Until when a create had to wait, the last time that one had to.
    pub(super) short_until: Option<Instant>,
    /// What DigitalOcean says of the hour.
    pub(super) told: Hour,
    pub(super) blocked_until: Option<Instant>,
    /// A 429 that the ledger has not been told of.
    pub(super) refused: Option<Duration>,
    /// What the ledger granted; `None` without a ledger, and while it cannot be reached.
    pub(super) blocks: Option<Blocks>,
    /// Who waits, first come first served within a priority. Only the first one looks at the limits; the others are woken in turn.
    pub(super) waiting: BTreeMap<(Priority, u64), Arc<Notify>>,
    /// Before this nobody is granted anything of a priority, as a ledger said that nothing is taken from.
    pub(super) foretold: [Option<Instant>; Priority::COUNT],
    /// The first of those that wait cannot go before this; so nobody behind it can.
    pub(super) stuck_until: Option<Instant>,
    pub(super) tickets: u64,
}

pub(super) enum Turn {
    /// Of this block, which may be sent until then; and whether it was let ahead.
    Granted {
        block: Option<(i64, Instant)>,
        let_ahead: bool,
    },
    NotBefore(Instant),
    Behind,
}

/// A place in the queue. Leaving it, by success or by being dropped, lets the next one look.
pub(super) struct Place<'a> {
    shared: &'a Shared,
    /// As what it came, and counts at the end of the hour.
    priority: Priority,
    /// As what it waits, and since when.
    ticket: (Priority, u64),
    /// It takes one of those that are let ahead, unless it gives up.
    let_ahead: bool,
    pub(super) notify: Arc<Notify>,
}

impl<'a> Place<'a> {
    /// The last place among those of a priority, or of those of it that are urgent.
    pub(super) fn take(shared: &'a Shared, priority: Priority, urgent: bool) -> Self {
        let mut state = shared.lock();
        state.tickets += 1;
        let ticket = (priority, if urgent { state.tickets } else { NOT_URGENT + state.tickets });
        let notify = Arc::new(Notify::new());
        state.waiting.insert(ticket, Arc::clone(&notify));
        state.show();
        drop(state);
        Self {
            shared,
            priority,
            ticket,
            let_ahead: false,
            notify,
        }
    }

    /// Whether it may come to be let ahead.
    pub(super) fn is_last(&self) -> bool {
        self.ticket.0 > Priority::Create
    }

    /// Lets it ahead, among the creates and before those that came later, if few enough were.
    pub(super) fn go_ahead(&mut self) {
        let mut state = self.shared.lock();
        let share = state.share(AHEAD);
        let now = Instant::now();
        // Who could not go there either would only keep creates back.
        if !self.is_last() || state.ahead.check(share, now).is_err() || state.told.check(self.priority, now).is_err() {
            return;
        }
        state.ahead.send();
        self.let_ahead = true;
        let ahead = (Priority::Create, self.ticket.1);
        if let Some(notify) = state.waiting.remove(&self.ticket) {
            state.waiting.insert(ahead, notify);
        }
        self.ticket = ahead;
        // Who was the first so far may not be it any more.
        state.stuck_until = None;
        state.wake_first();
    }

    pub(super) fn attempt(&mut self) -> Turn {
        let now = Instant::now();
        let mut state = self.shared.lock();
        let first = state.waiting.keys().next().copied();
        if first != Some(self.ticket) {
            // Those before it may take more of a limit than it may; when they cannot go, it cannot.
            let stuck = state.stuck_until.filter(|until| *until > now);
            return stuck.map_or(Turn::Behind, Turn::NotBefore);
        }
        match state.spend(self.ticket.0, self.priority, now) {
            Ok(block) => {
                state.stuck_until = None;
                let let_ahead = std::mem::take(&mut self.let_ahead);
                Turn::Granted { block, let_ahead }
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
        if self.let_ahead {
            state.ahead.give_back();
        }
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
            ahead: Window::new(config.lengths().minute),
            short_until: None,
            told: Hour::new(config.per_hour.get(), config.probe()),
            blocked_until: None,
            refused: None,
            blocks: None,
            foretold: [None; Priority::COUNT],
            waiting: BTreeMap::new(),
            stuck_until: None,
            tickets: 0,
        }
    }

    /// Whether one more of this priority may be sent now, in this place. The place counts for the minute: who is let ahead there
    /// still leaves the end of the hour to others.
    pub(super) fn check(&mut self, place: Priority, priority: Priority, now: Instant) -> Result<(), Wait> {
        let checked = self.room(place, priority, now);
        if place <= Priority::Create {
            let short_until = match checked {
                Ok(()) => None,
                Err(Wait::Until(at)) => Some(at),
                Err(Wait::ForOthers) => Some(now),
            };
            self.short_until = self.short_until.max(short_until);
        }
        checked
    }

    fn room(&mut self, place: Priority, priority: Priority, now: Instant) -> Result<(), Wait> {
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Err(Wait::Until(until));
        }
        self.told.check(priority, now).map_err(Wait::Until)?;
        if let Some(blocks) = &self.blocks {
            return blocks.check(place, now);
        }
        let mine = self.share(1);
        self.minute.check(ceilings(mine, kept_of_minute)[place as usize], now)?;
        self.hour
            .check(ceilings(self.told.limit, kept_of_hour)[priority as usize], now)
    }

    /// One in so many of the minute's requests, of this process's equal part.
    fn share(&self, one_in: u32) -> u32 {
        (self.per_minute / self.replicas / one_in).max(1)
    }

    /// Spends one request, and says of which block; or says when to look again.
    fn spend(&mut self, place: Priority, priority: Priority, now: Instant) -> Result<Option<(i64, Instant)>, Wait> {
        self.check(place, priority, now)?;
        let block = self.blocks.as_mut().map(|blocks| blocks.spend(place, now)).transpose()?;
        self.minute.send();
        self.hour.send();
        self.told.spend(now);
        Ok(block)
    }

    /// What to ask the ledger for, if somebody waits for that, and the first priority among them.
    pub(super) fn ask(&self, config: &BudgetConfig, now: Instant) -> Option<(Priority, Ask)> {
        let (first, _) = *self.waiting.keys().next()?;
        let mut ask = self.standing(config);
        let blocks = self.blocks.as_ref().filter(|blocks| blocks.has_to_ask(first, now))?;
        for (priority, _) in self.waiting.keys() {
            ask.wanted[*priority as usize] += 1;
        }
        ask.wanted[Priority::Read as usize] += blocks.spare();
        Some((first, ask))
    }

    /// What is asked by, when nothing is wanted.
    pub(super) fn standing(&self, config: &BudgetConfig) -> Ask {
        Ask {
            wanted: [0; Priority::COUNT],
            minute: ceilings(self.per_minute, kept_of_minute),
            hour: ceilings(self.told.limit, kept_of_hour),
            lengths: config.lengths(),
            lasts: config.lasts(),
            under_way: config.lasts(),
        }
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
