//! The token's rate limits, as the real thing counts them: sliding windows of an hour and of a minute.
//!
//! How long a minute and an hour are is a setting, so that tests need not wait for them. Headers are in seconds all the same.

use crate::{config::Settings, problem::Problem};
use axum::{
    http::{HeaderMap, HeaderValue},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What the limits have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Requests that were let through.
    pub let_through: u64,
    /// Requests that the minute's limit answered with 429.
    pub by_minute: u64,
    /// Requests that the hour's limit answered with 429.
    pub by_hour: u64,
    /// The most requests that were let through in any one minute.
    pub busiest_minute: u32,
}

/// When the latest requests came.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Windows>);

#[derive(Debug, Default)]
struct Windows {
    minute: VecDeque<Instant>,
    hour: VecDeque<Instant>,
    limited: Limited,
}

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
        let (now, minute_long, hour_long) = (Instant::now(), settings.minute(), settings.hour());
        let mut windows = self.lock();
        expire(&mut windows.minute, now, minute_long);
        expire(&mut windows.hour, now, hour_long);
        let burst = count(&windows.minute) >= settings.requests_per_minute;
        let allowed = !burst && count(&windows.hour) < settings.requests_per_hour;
        windows.note(now, allowed, burst);
        let left = settings.requests_per_hour.saturating_sub(count(&windows.hour));
        let until_expired = |oldest: Option<&Instant>, long: Duration| {
            let oldest = oldest.copied().unwrap_or(now);
            long.saturating_sub(now.duration_since(oldest))
        };
        Verdict {
            allowed,
            limit: settings.requests_per_hour,
            remaining: if burst { 0 } else { left },
            reset: epoch_after(until_expired(windows.hour.front(), hour_long)),
            retry_after: burst.then(|| whole_seconds(until_expired(windows.minute.front(), minute_long))),
        }
    }

    pub(crate) fn limited(&self) -> Limited {
        self.lock().limited
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    fn note(&mut self, now: Instant, allowed: bool, burst: bool) {
        if allowed {
            self.minute.push_back(now);
            self.hour.push_back(now);
            self.limited.let_through += 1;
            self.limited.busiest_minute = self.limited.busiest_minute.max(count(&self.minute));
        } else if burst {
            self.limited.by_minute += 1;
        } else {
            self.limited.by_hour += 1;
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

    /// A made-up one, for a fault.
    pub(crate) fn refusal(settings: &Settings, retry_after: Option<u64>, reset_after: Duration) -> Response {
        let verdict = Self {
            allowed: false,
            limit: settings.requests_per_hour,
            remaining: 0,
            reset: epoch_after(reset_after),
            retry_after,
        };
        let mut answer = Problem::too_many_requests().into_response();
        verdict.write(answer.headers_mut());
        answer
    }
}

fn expire(window: &mut VecDeque<Instant>, now: Instant, long: Duration) {
    while window.pop_front_if(|at| now.duration_since(*at) >= long).is_some() {}
}

fn count(window: &VecDeque<Instant>) -> u32 {
    u32::try_from(window.len()).unwrap_or(u32::MAX)
}

/// Rounded up, and never none: who waits as long as it says is let in.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// A time from now, in seconds since the epoch.
fn epoch_after(duration: Duration) -> i64 {
    let now = Timestamp::now();
    now.checked_add(duration).unwrap_or(now).as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const HOUR: Duration = Duration::from_hours(1);

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
        assert_eq!((burst.allowed, burst.remaining, burst.retry_after), (false, 0, Some(60)));
        tokio::time::advance(MINUTE).await;
        assert!(rates.request(&settings).allowed);
        assert!(rates.request(&settings).allowed);
        let hourly = rates.request(&settings);
        assert_eq!((hourly.allowed, hourly.remaining, hourly.retry_after), (false, 0, None));
        tokio::time::advance(HOUR.saturating_sub(MINUTE)).await;
        assert_eq!(rates.request(&settings).remaining, 2, "the first three have expired");
        let expected = Limited {
            let_through: 6,
            by_minute: 1,
            by_hour: 1,
            busiest_minute: 3,
        };
        assert_eq!(rates.limited(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn each_request_expires_by_itself() {
        let (rates, settings) = (Rates::default(), settings(2, 100));
        assert!(rates.request(&settings).allowed);
        tokio::time::advance(Duration::from_millis(20_500)).await;
        assert!(rates.request(&settings).allowed);
        assert_eq!(rates.request(&settings).retry_after, Some(40), "39.5 s, rounded up");
        tokio::time::advance(Duration::from_millis(39_500)).await;
        assert!(rates.request(&settings).allowed);
        assert_eq!(
            rates.request(&settings).retry_after,
            Some(21),
            "20.5 s until the second expires"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn minutes_and_hours_are_as_long_as_the_settings_say() {
        let mut settings = settings(1, 2);
        (settings.minute_ms, settings.hour_ms) = (500, 1_500);
        let rates = Rates::default();
        assert!(rates.request(&settings).allowed);
        assert_eq!(
            rates.request(&settings).retry_after,
            Some(1),
            "less than a second cannot be said"
        );
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(rates.request(&settings).allowed);
        tokio::time::advance(Duration::from_millis(500)).await;
        let hourly = rates.request(&settings);
        assert_eq!((hourly.allowed, hourly.retry_after), (false, None));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(rates.request(&settings).allowed);
    }
}
