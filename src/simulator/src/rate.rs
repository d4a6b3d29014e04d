//! The token's rate limits, as the real thing counts them: sliding windows of an hour and of a minute.

use crate::config::Settings;
use axum::http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// When the requests of the last hour came.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<VecDeque<Instant>>);

/// Whether a request is let through, and what its answer's headers say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) allowed: bool,
    limit: u32,
    remaining: u32,
    reset: i64,
    /// Only when the minute's limit is reached.
    retry_after: Option<u64>,
}

impl Rates {
    /// Counts a request, unless a limit is reached: a refused one does not count.
    pub(crate) fn request(&self, settings: &Settings) -> Verdict {
        let now = Instant::now();
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while hour.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
            hour.pop_front();
        }
        let minute = hour.iter().rev().take_while(|at| now.duration_since(**at) < MINUTE);
        let (minute, oldest) = minute.fold((0_u32, now), |(count, _), at| (count + 1, *at));
        let burst = minute >= settings.requests_per_minute;
        let allowed = !burst && count(&hour) < settings.requests_per_hour;
        if allowed {
            hour.push_back(now);
        }
        let left = settings.requests_per_hour.saturating_sub(count(&hour));
        Verdict {
            allowed,
            limit: settings.requests_per_hour,
            remaining: if burst { 0 } else { left },
            reset: reset(hour.front().copied().unwrap_or(now), now),
            retry_after: burst.then(|| MINUTE.saturating_sub(now.duration_since(oldest)).as_secs() + 1),
        }
    }
}

impl Verdict {
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert("ratelimit-limit", self.limit.into());
        headers.insert("ratelimit-remaining", self.remaining.into());
        headers.insert("ratelimit-reset", HeaderValue::from(self.reset));
        if let Some(seconds) = self.retry_after {
            headers.insert("retry-after", seconds.into());
        }
    }
}

fn count(hour: &VecDeque<Instant>) -> u32 {
    u32::try_from(hour.len()).unwrap_or(u32::MAX)
}

/// When the oldest request of the hour expires, in seconds since the epoch.
fn reset(oldest: Instant, now: Instant) -> i64 {
    let left = HOUR.saturating_sub(now.duration_since(oldest)).as_secs();
    Timestamp::now().as_second() + i64::try_from(left).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(minute: u32, hour: u32) -> Settings {
        Settings {
            requests_per_minute: minute,
            requests_per_hour: hour,
            ..Settings::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn both_windows_slide() {
        let (rates, settings) = (Rates::default(), settings(3, 5));
        for left in [4, 3, 2] {
            let verdict = rates.request(&settings);
            assert_eq!((verdict.allowed, verdict.remaining), (true, left));
        }
        let burst = rates.request(&settings);
        assert_eq!((burst.allowed, burst.remaining, burst.retry_after), (false, 0, Some(61)));
        tokio::time::advance(MINUTE).await;
        assert!(rates.request(&settings).allowed);
        assert!(rates.request(&settings).allowed);
        let hourly = rates.request(&settings);
        assert_eq!((hourly.allowed, hourly.remaining, hourly.retry_after), (false, 0, None));
        tokio::time::advance(HOUR.saturating_sub(MINUTE)).await;
        assert_eq!(rates.request(&settings).remaining, 2, "the first three have expired");
    }
}
