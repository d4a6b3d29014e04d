//! Where the time of day that decisions are made from comes from.
//!
//! Owns: the one place at which a pass asks for the time, and what a process learns of a clock that it shares with others. Must not: be
//! used to measure how long something took; that is what [`tokio::time::Instant`] is for. Promises: a [`SharedClock`] never goes back; once
//! it has learnt the time it is never ahead of it by more than the machine's own ticks are too fast between two lessons, and behind it
//! by no more than the latest lesson was under way.

use jiff::{SignedDuration, Timestamp};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
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

/// The time of day by a clock that others go by too, such as a database's. A cheap clone.
///
/// Between two lessons it goes as the machine's monotonic clock does, which nobody sets. So does it before the first one, from the
/// time of day that the machine had.
#[derive(Clone, Debug)]
pub struct SharedClock {
    hands: Arc<Mutex<Hands>>,
}

/// What the clock shows.
#[derive(Clone, Copy, Debug)]
struct Hands {
    /// When they were set.
    set: Instant,
    /// What they showed then.
    shown: Timestamp,
    /// What they should have shown.
    right: Timestamp,
    learnt: bool,
}

impl SharedClock {
    /// One that has learnt nothing: it is `time` at `now`.
    pub fn starting_at(time: Timestamp, now: Instant) -> Self {
        let hands = Hands {
            set: now,
            shown: time,
            right: time,
            learnt: false,
        };
        Self {
            hands: Arc::new(Mutex::new(hands)),
        }
    }

    /// What it shows at a moment that is not before the last lesson.
    pub fn at(&self, now: Instant) -> Timestamp {
        self.hands().at(now)
    }

    /// It was `told` at some moment between the question and its answer. Returns by how much the clock was ahead of what that leaves
    /// possible; negative when it was behind.
    ///
    /// Of what is possible it takes what changes least; the first time, the earliest. A clock that is behind shortens no window. Being
    /// behind is made good at once: what was seen is as old as it is. Being ahead is made good by going at half the speed, since
    /// times that were taken before must not come to lie in the future.
    pub fn learn(&self, asked: Instant, told: Timestamp, answered: Instant) -> SignedDuration {
        self.hands().learn(asked, told, answered)
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SharedClock {
    /// From the machine's time of day.
    fn default() -> Self {
        Self::starting_at(Timestamp::now(), Instant::now())
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }
}

impl Hands {
    fn at(&self, now: Instant) -> Timestamp {
        let passed = now.saturating_duration_since(self.set);
        later(self.right, passed).max(later(self.shown, passed / 2))
    }

    fn learn(&mut self, asked: Instant, told: Timestamp, answered: Instant) -> SignedDuration {
        let latest = later(told, answered.saturating_duration_since(asked));
        let before = later(self.right, answered.saturating_duration_since(self.set));
        let right = if self.learnt { before.clamp(told, latest) } else { told };
        *self = Self {
            shown: if self.learnt { self.at(answered) } else { right },
            set: answered,
            right,
            learnt: true,
        };
        before.duration_since(right)
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
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
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn before_it_has_learnt_anything_it_goes_on_from_the_machine_s_time() {
        let clock = SharedClock::starting_at(at(1000), Instant::now());
        tokio::time::advance(secs(90)).await;
        assert_eq!(clock.now(), at(1090));
    }

    #[test]
    fn the_first_lesson_counts_at_once_however_far_off_the_machine_is() {
        for machine in [-3600, 3600] {
            let start = Instant::now();
            let clock = SharedClock::starting_at(at(100_000 + machine), start);
            let off = clock.learn(start, at(100_000), start + secs(2));
            assert_eq!(off, SignedDuration::from_secs(machine + 2));
            assert_eq!(
                clock.at(start + secs(2)),
                at(100_000),
                "it was at least that when the answer was here"
            );
            assert_eq!(clock.at(start + secs(12)), at(100_010));
        }
    }

    #[test]
    fn a_lesson_that_was_under_way_for_long_changes_nothing_and_a_quick_one_puts_right_what_a_slow_one_left() {
        let start = Instant::now();
        let clock = SharedClock::starting_at(at(0), start);
        // It is 1000 at the beginning.
        clock.learn(start, at(1000), start + secs(10));
        assert_eq!(clock.at(start + secs(10)), at(1000), "ten seconds behind at most");
        clock.learn(start + secs(20), at(1021), start + secs(21));
        assert_eq!(clock.at(start + secs(21)), at(1021));
        clock.learn(start + secs(30), at(1031), start + secs(90));
        assert_eq!(clock.at(start + secs(90)), at(1090));
    }

    /// What was read before the machine slept is as old as it is.
    #[test]
    fn being_behind_is_made_good_at_once() {
        let start = Instant::now();
        let clock = SharedClock::starting_at(at(0), start);
        clock.learn(start, at(1000), start);
        assert_eq!(
            clock.learn(start + secs(5), at(4605), start + secs(5)),
            SignedDuration::from_secs(-3600)
        );
        assert_eq!(clock.at(start + secs(5)), at(4605));
    }

    #[test]
    fn being_ahead_is_made_good_at_half_the_speed() {
        let start = Instant::now();
        let clock = SharedClock::starting_at(at(0), start);
        clock.learn(start, at(1000), start);
        clock.learn(start + secs(30), at(1010), start + secs(30));
        for (passed, shown) in [(30, 1030), (40, 1035), (70, 1050), (80, 1060)] {
            assert_eq!(clock.at(start + secs(passed)), at(shown), "{passed}");
        }
    }

    proptest! {
        /// Whatever it is told, by a clock that it may be told of late and that may be set: it never goes back, and by a clock that goes
        /// right it is never ahead, and behind by no more than its lesson was under way.
        #[test]
        fn it_never_goes_back_and_is_never_ahead(
            lessons in prop::collection::vec((0..60_u64, 0..20_u64, 0..=100_u64, prop::option::weighted(0.1, -5000..5000_i64)), 1..30),
            machine in -5000..5000_i64,
        ) {
            let (start, mut passed, mut offset, mut was_set) = (Instant::now(), 0, 100_000_i64, false);
            let clock = SharedClock::starting_at(at(offset + machine), start);
            let mut shown = None;
            for (pause, under_way, percent, set) in lessons {
                let asked = passed + pause;
                passed = asked + under_way;
                if let Some(by) = set {
                    (offset, was_set) = (offset + by, true);
                }
                let told = at(offset) + secs(asked) + secs(under_way) * u32::try_from(percent).unwrap() / 100;
                clock.learn(start + secs(asked), told, start + secs(passed));
                for after in [0, pause / 2] {
                    let now = clock.at(start + secs(passed + after));
                    let right = at(offset) + secs(passed + after);
                    prop_assert!(shown.is_none_or(|shown| shown <= now));
                    prop_assert!(was_set || now <= right, "ahead: {now} {right}");
                    prop_assert!(now >= right - secs(under_way), "behind: {now} {right}");
                    shown = Some(now);
                }
                passed += pause / 2;
            }
        }
    }

    #[test]
    fn delays_are_bounded_on_both_sides() {
        assert_eq!(bounded(SignedDuration::from_secs(-5)), Duration::ZERO);
        assert_eq!(bounded(SignedDuration::from_secs(5)), Duration::from_secs(5));
        assert_eq!(bounded(SignedDuration::MAX), Duration::from_hours(24));
    }
}
