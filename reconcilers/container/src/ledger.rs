//! The ledger of one instance's failures, and when to try again.
//!
//! Owns: the backoff. Must not: read a clock. Promises: the first failure is tried again at once, each further one after twice
//! the time of the one before up to five minutes, and a stable run or another specification forgets them.

use crate::container::ContainerId;
use jiff::{SignedDuration, Timestamp};

/// A run that lasted this long, or has been ready for as long, ends a row of failures.
pub(crate) const STABLE: SignedDuration = SignedDuration::from_secs(60);

/// The longest time between two attempts.
pub(crate) const LONGEST_DELAY: SignedDuration = SignedDuration::from_mins(5);

/// Why the last attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One upper-camel-case word: `Crashed`, `OutOfMemory`, `ImagePullFailed`, ...
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What has to be remembered of an instance from pass to pass. A restarted agent starts with an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The hash of the specification that the failures are of.
    pub spec: Option<String>,
    /// How often its container was started again.
    pub restarts: u32,
    /// Failures in a row.
    pub streak: u32,
    /// The latest of them.
    pub failure: Option<Failure>,
    /// The exit that was counted last.
    pub exit: Option<(ContainerId, Timestamp)>,
    /// That exit's code.
    pub exit_code: Option<i64>,
    /// Whether this agent started the container or saw it run, so that an exit is a crash and not a droplet's reboot.
    pub supervised: bool,
}

impl Ledger {
    /// This ledger for a specification: another one starts without failures.
    #[must_use]
    pub fn for_spec(mut self, spec: &str) -> Self {
        if self.spec.as_deref() != Some(spec) {
            self.spec = Some(spec.to_owned());
            self.forgive();
        }
        self
    }

    /// Counts one more failure, unless it is the one that was counted last.
    pub fn fail(&mut self, failure: Failure) {
        if self.failure.as_ref() != Some(&failure) {
            self.streak = self.streak.saturating_add(1);
            self.failure = Some(failure);
        }
    }

    /// Ends a row of failures.
    pub fn forgive(&mut self) {
        self.streak = 0;
        self.failure = None;
    }

    /// The time before which nothing is to be tried; `None` without failures.
    pub fn retry_at(&self) -> Option<Timestamp> {
        let failure = self.failure.as_ref()?;
        Some(failure.at.checked_add(delay(self.streak)).unwrap_or(Timestamp::MAX))
    }

    /// How long is still to be waited; `None` when it is time.
    pub fn wait(&self, now: Timestamp) -> Option<SignedDuration> {
        let left = self.retry_at()?.duration_since(now);
        left.is_positive().then_some(left)
    }
}

/// The pause after so many failures in a row: none, 1 s, 2 s, 4 s, ... [`LONGEST_DELAY`].
pub(crate) fn delay(streak: u32) -> SignedDuration {
    match streak {
        0 | 1 => SignedDuration::ZERO,
        more => SignedDuration::from_secs(1i64 << (more - 2).min(20)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_limit() {
        let seconds: Vec<i64> = (0..13).map(|streak| delay(streak).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn another_specification_starts_afresh_and_a_failure_counts_once() {
        let now = Timestamp::from_second(1_000).unwrap();
        let failure = Failure {
            reason: "Crashed",
            message: String::new(),
            at: now,
        };
        let mut ledger = Ledger::default().for_spec("a");
        ledger.fail(failure.clone());
        ledger.fail(failure.clone());
        assert_eq!((ledger.streak, ledger.wait(now)), (1, None));
        ledger.fail(Failure {
            message: "again".into(),
            ..failure
        });
        assert_eq!(ledger.wait(now), Some(SignedDuration::from_secs(1)));
        assert_eq!(ledger.clone().for_spec("a").streak, 2);
        assert_eq!(ledger.for_spec("b").wait(now), None);
    }
}
