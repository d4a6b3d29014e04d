//! What the answers' headers tell of the hour's limit. Pure bookkeeping: no waiting, no sending.

use super::{Priority, RateHeaders, window::kept_of_hour};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Headers tell whole seconds: what they name may be as much later.
const RESOLUTION: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Hour {
    pub(super) limit: u32,
    /// When the count has run out and its reset has passed, one request in this time may go and see.
    probe: Duration,
    /// Sent, not yet answered: the server's count may or may not include them.
    in_flight: u32,
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    remaining: u32,
    reset: Timestamp,
    /// From here on a probe may go, whatever is left.
    probe_at: Instant,
}

impl Hour {
    pub(super) fn new(limit: u32, probe: Duration) -> Self {
        Self {
            limit,
            probe,
            in_flight: 0,
            known: None,
        }
    }

    pub(super) fn remaining(&self) -> Option<u32> {
        self.known.as_ref().map(|known| known.remaining)
    }

    pub(super) fn reset_at(&self) -> Option<Timestamp> {
        self.known.as_ref().map(|known| known.reset)
    }

    /// Whether a request of this priority may go as far as the hour is concerned, or when to look again.
    pub(super) fn check(&self, priority: Priority, now: Instant) -> Result<(), Instant> {
        match &self.known {
            Some(known) if known.remaining <= kept_of_hour(priority, self.limit) && now < known.probe_at => Err(known.probe_at),
            Some(_) | None => Ok(()),
        }
    }

    /// One request goes out. When it went as a probe, the next one waits for its answer or for another probe's turn.
    pub(super) fn spend(&mut self, now: Instant) {
        self.in_flight += 1;
        if let Some(known) = &mut self.known {
            known.remaining = known.remaining.saturating_sub(1);
            if now >= known.probe_at {
                known.probe_at = now + self.probe;
            }
        }
    }

    /// A request was answered (with what headers it had), or given up (`None`).
    pub(super) fn settle(&mut self, headers: Option<RateHeaders>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(headers) = headers else { return };
        if let Some(limit) = headers.limit.filter(|limit| *limit > 0) {
            self.limit = limit;
        }
        if let Some((remaining, reset)) = headers.remaining.zip(headers.reset) {
            let ahead = reset.duration_since(Timestamp::now()).max(jiff::SignedDuration::ZERO);
            self.known = Some(Known {
                remaining: remaining.saturating_sub(self.in_flight),
                reset,
                probe_at: Instant::now() + (ahead.unsigned_abs() + RESOLUTION).max(self.probe),
            });
        }
    }
}
