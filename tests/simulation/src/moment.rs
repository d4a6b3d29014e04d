//! Time in a story: milliseconds since its beginning. Owns: how they read as timestamps and as moments of tokio's clock. The true
//! time is the database's clock; that of each replica's machine is off by its skew.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// Milliseconds since the story began, or so many of them.
pub type Millis = i64;

/// So many seconds.
pub const fn seconds(count: i64) -> Millis {
    count * 1000
}

/// When the story begins: 2026-01-01 00:00 UTC.
const BEGINNING: i64 = 1_767_225_600_000;

/// A moment as the models and the cores write it.
pub fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(BEGINNING + at).unwrap_or(Timestamp::MAX)
}

/// The same by tokio's clock, which showed `origin` when the story began.
pub fn instant(at: Millis, origin: Instant) -> Instant {
    origin + Duration::from_millis(at.max(0).unsigned_abs())
}

/// A pause that a core asked for.
pub fn millis(pause: SignedDuration) -> Millis {
    i64::try_from(pause.as_millis()).unwrap_or(Millis::MAX / 4)
}
