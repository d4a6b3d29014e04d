//! Where the time of day that decisions are made from comes from.
//!
//! Owns: the one place at which a pass asks for the time. Must not: be used to measure how long something took; that is what
//! [`tokio::time::Instant`] is for. Promises: under a paused tokio clock, [`TokioClock`] stands still and jumps with it.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A time of day that passes as tokio's clock does, so that tests that pause tokio's clock pause this one too.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: Timestamp,
    started: Instant,
}

impl TokioClock {
    /// It is `origin` now.
    pub fn starting_at(origin: Timestamp) -> Self {
        Self {
            origin,
            started: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.origin.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}

/// A delay that somebody asked for, as one that a timer takes: never negative, and at most a day. Looking once a day where
/// nothing was to be seen for longer costs a cached pass.
pub(crate) fn bounded(delay: SignedDuration) -> Duration {
    const LONGEST: Duration = Duration::from_hours(24);
    Duration::try_from(delay).unwrap_or(Duration::ZERO).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_tokio_clock_jumps_with_tokio_s() {
        let origin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = TokioClock::starting_at(origin);
        assert_eq!(clock.now(), origin);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), "2026-01-01T00:01:30Z".parse().unwrap());
    }

    #[test]
    fn delays_are_bounded_on_both_sides() {
        assert_eq!(bounded(SignedDuration::from_secs(-5)), Duration::ZERO);
        assert_eq!(bounded(SignedDuration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(bounded(SignedDuration::MAX), Duration::from_hours(24));
    }
}
