//! How long a key that failed waits: longer with each failure in a row, with jitter, and forgotten on success.
//!
//! Owns: one small entry for each key that is failing now, and none for the others. Must not: decide whether trying again makes
//! sense; the error says that. Promises: a failing key is never worked on more often than once in the shortest delay, however
//! often it is woken.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::{collections::HashMap, hash::Hash, time::Duration};
use tokio::time::Instant;

/// The bounds of a delay that doubles with each failure in a row. Jitter then adds up to as much again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub min: Duration,
    /// However many there were.
    pub max: Duration,
}

impl Default for Backoff {
    /// One second to five minutes.
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_mins(5),
        }
    }
}

impl Backoff {
    /// The endless sequence of delays.
    pub(crate) fn delays(self) -> Delays {
        Delays {
            max: self.max,
            delays: ExponentialBuilder::new()
                .with_min_delay(self.min)
                .with_max_delay(self.max)
                .with_jitter()
                .with_jitter_seed(rand::random())
                .without_max_times()
                .build(),
        }
    }
}

/// See [`Backoff::delays`].
#[derive(Debug)]
pub(crate) struct Delays {
    max: Duration,
    delays: ExponentialBackoff,
}

impl Delays {
    pub(crate) fn next(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max)
    }
}

/// The keys that are failing now.
#[derive(Debug)]
pub(crate) struct Failures<K> {
    backoff: Backoff,
    keys: HashMap<K, Failure>,
}

#[derive(Debug)]
struct Failure {
    delays: Delays,
    /// No wake-up brings the key forward to before this.
    floor: Instant,
}

impl<K: Clone + Eq + Hash> Failures<K> {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            keys: HashMap::new(),
        }
    }

    /// The key failed and trying again may help: how long to wait.
    pub(crate) fn retriable(&mut self, key: &K, now: Instant) -> Duration {
        self.failed(key, now).delays.next()
    }

    /// The key failed and trying again is of no use until it is woken.
    pub(crate) fn terminal(&mut self, key: &K, now: Instant) {
        self.failed(key, now);
    }

    /// The key waits for something: it may not be worked on without pause meanwhile, and its next delay stays as it was.
    pub(crate) fn waiting(&mut self, key: &K, now: Instant) {
        self.failed(key, now);
    }

    fn failed(&mut self, key: &K, now: Instant) -> &mut Failure {
        let floor = now + self.backoff.min;
        let failure = self.keys.entry(key.clone()).or_insert_with(|| Failure {
            delays: self.backoff.delays(),
            floor,
        });
        failure.floor = floor;
        failure
    }

    /// The key succeeded, or is gone.
    pub(crate) fn forget(&mut self, key: &K) {
        self.keys.remove(key);
    }

    /// The soonest that a wake-up may have the key worked on, if the key is failing.
    pub(crate) fn floor(&self, key: &K) -> Option<Instant> {
        self.keys.get(key).map(|failure| failure.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        min: Duration::from_secs(1),
        max: Duration::from_secs(8),
    };

    #[test]
    fn delays_double_up_to_the_bound_with_jitter_on_top() {
        let mut delays = BACKOFF.delays();
        for base in [1, 2, 4, 8, 8, 8] {
            let base = Duration::from_secs(base);
            let delay = delays.next();
            assert!(base <= delay && delay <= base * 2, "{delay:?} for {base:?}");
        }
    }

    #[test]
    fn two_keys_do_not_wait_in_step() {
        assert_ne!(BACKOFF.delays().next(), BACKOFF.delays().next());
    }

    #[tokio::test(start_paused = true)]
    async fn success_forgets() {
        let mut failures = Failures::new(BACKOFF);
        let now = Instant::now();
        failures.retriable(&"a", now);
        failures.retriable(&"a", now);
        assert!(failures.retriable(&"a", now) >= Duration::from_secs(4));
        assert_eq!((failures.floor(&"a"), failures.floor(&"b")), (Some(now + BACKOFF.min), None));
        failures.forget(&"a");
        assert_eq!(failures.floor(&"a"), None);
        assert!(failures.retriable(&"a", now) <= Duration::from_secs(2));
    }
}
