//! The queue against a model that is simple enough to be seen to be right: a list of keys with a deadline each.

use super::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, task::Waker, time::Duration};

type Key = u8;

#[derive(Clone, Debug)]
enum Step {
    Wake {
        key: Key,
        delay: u64,
    },
    Advance {
        by: u64,
    },
    Pop,
    Finish {
        nth: usize,
        again: Option<u64>,
        floor: Option<u64>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys and short delays, so that deadlines meet, pass and are brought forward.
    prop_oneof![
        4 => (0..5_u8, 0..8_u64).prop_map(|(key, delay)| Step::Wake { key, delay }),
        2 => (1..6_u64).prop_map(|by| Step::Advance { by }),
        4 => Just(Step::Pop),
        3 => (0..5_usize, prop::option::of(0..8_u64), prop::option::of(0..8_u64))
            .prop_map(|(nth, again, floor)| Step::Finish { nth, again, floor }),
    ]
}

/// What the queue should hold. Times are milliseconds from the start.
#[derive(Default)]
struct Model {
    now: u64,
    /// Deadline, and since which step the key has been due.
    waiting: BTreeMap<Key, (u64, Option<usize>)>,
    running: BTreeMap<Key, Option<u64>>,
}

impl Model {
    fn wake(&mut self, key: Key, at: u64) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |old| old.min(at)));
        } else {
            let waiting = self.waiting.entry(key).or_insert((at, None));
            waiting.0 = waiting.0.min(at);
        }
    }

    fn finish(&mut self, key: Key, again: Option<u64>, floor: Option<u64>) {
        let woken = self.running.remove(&key).unwrap().map(|at| at.max(floor.unwrap_or(0)));
        if let Some(at) = woken.into_iter().chain(again).min() {
            self.wake(key, at);
        }
    }

    /// Those whose time came in this step are due since this step.
    fn settle(&mut self, step: usize) {
        for (at, since) in self.waiting.values_mut() {
            if *at <= self.now {
                since.get_or_insert(step);
            }
        }
    }

    fn pop(&mut self, key: Key) {
        self.waiting.remove(&key);
        self.running.insert(key, None);
    }

    /// The keys that may come next: those that have been due for longest.
    fn next(&self) -> Vec<Key> {
        let longest = self.waiting.values().filter_map(|(_, since)| *since).min();
        let due = self
            .waiting
            .iter()
            .filter(|(_, (_, since))| since.is_some() && *since == longest);
        due.map(|(key, _)| *key).collect()
    }
}

async fn agrees(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let due = |ms: u64| Due {
        at: at(ms),
        reason: Reason::Changed,
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut queue = Queue::new();
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Wake { key, delay } => {
                queue.wake(key, due(model.now + delay), Instant::now());
                model.wake(key, model.now + delay);
            }
            Step::Advance { by } => {
                tokio::time::advance(Duration::from_millis(by)).await;
                model.now += by;
            }
            Step::Pop => {
                let may_come = model.next();
                match queue.pop() {
                    Some(Popped { key, due }) => {
                        prop_assert!(may_come.contains(&key), "{key} came, but {may_come:?} have waited longest");
                        prop_assert_eq!(due.at, at(model.waiting[&key].0), "the earlier deadline wins");
                        model.pop(key);
                    }
                    None => prop_assert!(may_come.is_empty(), "nothing came, but {may_come:?} are due"),
                }
            }
            Step::Finish { nth, again, floor } => {
                if let Some(key) = model.running.keys().nth(nth).copied() {
                    let (again, floor) = (again.map(|ms| model.now + ms), floor.map(|ms| model.now + ms));
                    queue.finish(key, again.map(due), floor.map(at), Instant::now());
                    model.finish(key, again, floor);
                }
            }
        }
        queue.poll_later(&mut cx);
        model.settle(number);
        prop_assert_eq!(queue.is_empty(), model.waiting.is_empty() && model.running.is_empty());
        prop_assert_eq!(
            queue.depth(),
            model.waiting.values().filter(|(_, since)| since.is_some()).count()
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_agrees_with_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(agrees(steps))?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_has_left_takes_no_memory() {
    let now = Instant::now();
    let due = Due {
        at: now,
        reason: Reason::Resynced,
    };
    let mut queue = Queue::new();
    for key in 0..100_000_u32 {
        queue.wake(key, due, now);
    }
    while let Some(popped) = queue.pop() {
        queue.finish(popped.key, None, None, now);
    }
    assert!(queue.slots.capacity() <= SMALL && queue.ready.capacity() <= SMALL);
}
