//! Which key is worked on next.
//!
//! Owns: where each key stands. Must not: work on anything. Promises:
//! - a key is in the queue at most once, and the earlier of two deadlines wins;
//! - a key that was given out is not given out again before it was [finished](Queue::finish); if it was woken in between, it is
//!   given out once more after that;
//! - keys that are due are given out in the order in which they became due, so that one that is woken all the time waits its
//!   turn like the others;
//! - a key that neither waits nor runs takes no memory.
//!
//! ```text
//!          wake(later)                 its time comes, wake(now)
//! (none) ---------------> Later ------------------------------------> Ready
//!    |                      ^                                           | pop
//!    +-------- wake(now) ---|---------------------------------> Ready   v
//!                           +---- finish, woken or to be seen again -- Running -- finish --> (none)
//! ```

use crate::{
    scheduler::{Scheduler, Ticket},
    wake::Reason,
};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::Hash,
    task::{Context, Poll},
};
use tokio::time::Instant;

/// When a key is to be worked on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Not before this.
    pub at: Instant,
    /// Why.
    pub reason: Reason,
}

impl Due {
    /// The earlier of two; of two at once, the first.
    fn earlier(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }
}

/// A key that is to be worked on now.
#[derive(Debug, PartialEq, Eq)]
pub struct Popped<K> {
    /// Which.
    pub key: K,
    /// Since when, and why.
    pub due: Due,
}

/// See the module.
#[derive(Debug)]
pub struct Queue<K> {
    slots: HashMap<K, Slot>,
    ready: VecDeque<K>,
    later: Scheduler<K>,
}

#[derive(Debug)]
enum Slot {
    /// In `later`; moves to `ready` when its time comes.
    Later { ticket: Ticket, due: Due },
    /// In `ready`; is given out in its turn.
    Ready { due: Due },
    /// Given out; `again` is when it is to be given out next.
    Running { again: Option<Due> },
}

/// Below this, a map that has emptied keeps its memory.
const SMALL: usize = 1024;

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// No key waits or runs.
    pub fn new() -> Self {
        Self {
            slots: HashMap::new(),
            ready: VecDeque::new(),
            later: Scheduler::new(),
        }
    }

    /// How many keys are due and not given out.
    pub fn depth(&self) -> usize {
        self.ready.len()
    }

    /// Whether no key waits or runs.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A key is to be worked on at `due.at`, or at once if that is past.
    pub fn wake(&mut self, key: K, due: Due, now: Instant) {
        match self.slots.entry(key) {
            Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                vacant.insert(place(&mut self.ready, &mut self.later, key, due, now));
            }
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Slot::Ready { .. } => {}
                Slot::Running { again } => *again = Some(again.map_or(due, |again| again.earlier(due))),
                Slot::Later { ticket, due: old } => {
                    if due.at < old.at {
                        if due.at > now {
                            self.later.reset(*ticket, due.at);
                            *old = due;
                        } else {
                            self.later.take_back(*ticket);
                            self.ready.push_back(occupied.key().clone());
                            occupied.insert(Slot::Ready { due });
                        }
                    }
                }
            },
        }
    }

    /// Moves the keys whose time has come to those that are due.
    pub fn poll_later(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(key) = self.later.poll_due(cx) {
            if let Some(slot) = self.slots.get_mut(&key)
                && let Slot::Later { due, .. } = *slot
            {
                *slot = Slot::Ready { due };
                self.ready.push_back(key);
            }
        }
    }

    /// Gives out the key that has been due for longest.
    pub fn pop(&mut self) -> Option<Popped<K>> {
        let key = self.ready.pop_front()?;
        match self.slots.insert(key.clone(), Slot::Running { again: None }) {
            Some(Slot::Ready { due }) => Some(Popped { key, due }),
            Some(Slot::Later { .. } | Slot::Running { .. }) | None => {
                unreachable!("a key among those that are due stands as due")
            }
        }
    }

    /// A key that was given out is done with. It is given out again at `again`, or when it was woken for in the meantime,
    /// though for the latter not before `floor`.
    pub fn finish(&mut self, key: K, again: Option<Due>, floor: Option<Instant>, now: Instant) {
        let Some(Slot::Running { again: woken }) = self.slots.remove(&key) else {
            unreachable!("a key is finished once for each time that it was given out");
        };
        let woken = woken.map(|due| Due {
            at: floor.map_or(due.at, |floor| due.at.max(floor)),
            ..due
        });
        let next = match (woken, again) {
            (Some(woken), Some(again)) => Some(woken.earlier(again)),
            (one, other) => one.or(other),
        };
        if let Some(due) = next {
            self.wake(key, due, now);
        } else if self.slots.is_empty() {
            self.shrink();
        }
    }

    /// Gives back memory that a crowd of keys needed: after a full read all keys were here, and mostly none is.
    fn shrink(&mut self) {
        if self.slots.capacity() > SMALL {
            self.slots.shrink_to(SMALL / 2);
            self.ready.shrink_to(SMALL / 2);
        }
        self.later.shrink();
    }
}

fn place<K>(ready: &mut VecDeque<K>, later: &mut Scheduler<K>, key: K, due: Due, now: Instant) -> Slot {
    if due.at > now {
        let ticket = later.insert(key, due.at);
        Slot::Later { ticket, due }
    } else {
        ready.push_back(key);
        Slot::Ready { due }
    }
}

#[cfg(test)]
mod tests;
