//! One limit: so many requests in any period of a length. Pure bookkeeping: no waiting, no sending.
//!
//! A request counts from before it is sent until the period has passed since its answer came. It reached the other side somewhere in
//! between; so by whatever clock is used there, no period sees more than the limit, however long requests are under way.

use super::Priority;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Window {
    length: Duration,
    /// Sent, not yet answered.
    under_way: u32,
    /// When answers came, oldest first.
    answered: VecDeque<Instant>,
}

/// Why nothing can be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until then.
    Until(Instant),
    /// Until something that is under way has ended.
    ForOthers,
}

/// By priority, how much of a limit may be used: what is left is for those that go before.
pub(super) fn ceilings(limit: u32, kept: impl Fn(Priority, u32) -> u32) -> [u32; Priority::COUNT] {
    Priority::ALL.map(|priority| limit.saturating_sub(kept(priority, limit)).max(1))
}

/// How much of a minute is kept for those that go before.
pub(super) fn kept_of_minute(priority: Priority, limit: u32) -> u32 {
    match priority {
        Priority::Delete => 0,
        Priority::Create => limit / 50,
        Priority::Change => limit / 25,
        Priority::Read => limit / 10,
    }
}

/// How much of an hour is kept for those that go before.
pub(super) fn kept_of_hour(priority: Priority, limit: u32) -> u32 {
    match priority {
        Priority::Delete => 0,
        Priority::Create => limit / 100,
        Priority::Change => limit / 50,
        Priority::Read => limit / 10,
    }
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            under_way: 0,
            answered: VecDeque::new(),
        }
    }

    /// Whether one more may be sent, when `most` may count at once.
    pub(super) fn check(&mut self, most: u32, now: Instant) -> Result<(), Wait> {
        while self.answered.front().is_some_and(|at| now.duration_since(*at) >= self.length) {
            self.answered.pop_front();
        }
        let used = self.under_way as usize + self.answered.len();
        // So many have to go before one more fits.
        let Some(surplus) = used.checked_sub(most as usize) else {
            return Ok(());
        };
        Err(self
            .answered
            .get(surplus)
            .map_or(Wait::ForOthers, |at| Wait::Until(*at + self.length)))
    }

    pub(super) fn send(&mut self) {
        self.under_way += 1;
    }

    /// It is not sent after all.
    pub(super) fn give_back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    pub(super) fn answer(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.answered.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_request_counts_until_a_period_after_its_answer() {
        let mut window = Window::new(MINUTE);
        window.send();
        window.send();
        let now = Instant::now();
        assert_eq!(window.check(3, now), Ok(()));
        assert_eq!(
            window.check(2, now),
            Err(Wait::ForOthers),
            "nobody knows when an answer comes"
        );
        let answered = now + Duration::from_secs(20);
        window.answer(answered);
        assert_eq!(window.check(2, answered), Err(Wait::Until(answered + MINUTE)));
        assert_eq!(window.check(1, answered), Err(Wait::ForOthers), "two have to go");
        assert_eq!(window.check(2, answered + MINUTE), Ok(()));
    }

    #[test]
    fn something_is_kept_for_those_that_go_before() {
        assert_eq!(ceilings(250, kept_of_minute), [250, 245, 240, 225]);
        assert_eq!(ceilings(5_000, kept_of_hour), [5_000, 4_950, 4_900, 4_500]);
        assert_eq!(ceilings(1, kept_of_minute), [1; 4]);
    }
}
