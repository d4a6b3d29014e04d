//! Time in a story: milliseconds since its beginning. Owns: how they read as timestamps. The true time is the database's clock; each
//! replica's is off by its skew.

use jiff::{SignedDuration, Timestamp};

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

/// A pause that a core asked for.
pub fn millis(pause: SignedDuration) -> Millis {
    i64::try_from(pause.as_millis()).unwrap_or(Millis::MAX / 4)
}
