//! The breaker: how much may be missing at once before the list, and not the fleet, is in doubt.
//!
//! ```text
//!            empty, truncated, suddenly shorter, too many gone within the window
//!  trusted ------------------------------------------------------------------------> withheld
//!     ^                                                                                 |
//!     +---- they are back; or each was asked for by id, twice, and is gone; or a -------+
//!           person confirmed it
//! ```
//!
//! Owns: when it trips. Must not: do I/O, read a clock. Promises: what nobody wants any more is not counted; a few are never a
//! reason but for an empty list.

use jiff::{SignedDuration, Timestamp};
use schema::FleetKind;
use std::fmt;

/// When the breaker trips, and how it is sure again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// It trips when more than so many percent of what is known are missing,
    pub percent: u32,
    /// and at least so many,
    pub least: usize,
    /// within this time.
    pub window: SignedDuration,
    /// What is missing is gone once it was asked for by id twice, with at least this between.
    pub pause: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            percent: 20,
            least: 3,
            window: SignedDuration::from_mins(10),
            pause: SignedDuration::from_secs(10),
        }
    }
}

impl Limits {
    /// Whether so many are too many.
    pub fn exceeded(&self, missing: usize, known: usize) -> bool {
        let (missing_share, limit) = (missing.saturating_mul(100), known.saturating_mul(self.percent as usize));
        missing >= self.least && missing_share > limit
    }
}

/// A list in numbers, beside what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// How many the list has.
    pub listed: usize,
    /// How many were known before it, without those that nobody wants any more.
    pub known: usize,
    /// How many of those the list lacks, and nobody confirmed to be gone.
    pub missing: usize,
    /// How many went before, within the window, and nobody confirmed to be gone.
    pub vanished: usize,
}

/// Why a list is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has nothing.
    Empty(Count),
    /// It lacks too many.
    Shorter(Count),
    /// It lacks few, but with those before they are too many.
    Vanishing(Count),
    /// It is not whole.
    Truncated(String),
}

/// Judges a whole list.
pub fn judge(limits: &Limits, count: Count) -> Option<Doubt> {
    let Count {
        listed,
        known,
        missing,
        vanished,
    } = count;
    if missing == 0 {
        None
    } else if listed == 0 {
        Some(Doubt::Empty(count))
    } else if limits.exceeded(missing, known) {
        Some(Doubt::Shorter(count))
    } else if limits.exceeded(missing + vanished, known + vanished) {
        Some(Doubt::Vanishing(count))
    } else {
        None
    }
}

impl Doubt {
    /// A sentence for people, about the list of this time.
    pub fn sentence(&self, kind: FleetKind, began: Timestamp) -> String {
        Sentence {
            doubt: self,
            kind,
            began,
        }
        .to_string()
    }
}

struct Sentence<'a> {
    doubt: &'a Doubt,
    kind: FleetKind,
    began: Timestamp,
}

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, at) = (self.kind.as_str(), self.began.strftime("%H:%M:%S"));
        match self.doubt {
            Doubt::Empty(count) => write!(f, "the list of {kind} of {at} is empty, and {} are known", count.known),
            Doubt::Shorter(Count { missing, known, .. }) => {
                write!(f, "{missing} of {known} {kind} are missing from the list of {at}")
            }
            Doubt::Vanishing(Count {
                missing,
                known,
                vanished,
                ..
            }) => write!(
                f,
                "{missing} of {known} {kind} are missing from the list of {at}, after {vanished} more went shortly before"
            ),
            Doubt::Truncated(message) => write!(f, "the list of {kind} of {at} is not whole: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(listed: usize, known: usize, missing: usize, vanished: usize) -> Count {
        Count {
            listed,
            known,
            missing,
            vanished,
        }
    }

    #[test]
    fn what_trips_it() {
        let cases = [
            (count(120, 120, 0, 0), "trusted"),
            (count(0, 0, 0, 0), "trusted"),
            (count(0, 1, 1, 0), "empty"),
            (count(0, 120, 120, 0), "empty"),
            (count(1, 3, 2, 0), "trusted"),
            (count(1, 4, 3, 0), "shorter"),
            (count(96, 120, 24, 0), "trusted"),
            (count(95, 120, 25, 0), "shorter"),
            (count(83, 120, 37, 0), "shorter"),
            (count(96, 97, 1, 23), "trusted"),
            (count(95, 96, 1, 24), "vanishing"),
            (count(5, 6, 1, 1), "trusted"),
            (count(5, 6, 1, 2), "vanishing"),
            (count(400, 100, 30, 0), "shorter"),
        ];
        for (count, expected) in cases {
            let found = match judge(&Limits::default(), count) {
                None => "trusted",
                Some(Doubt::Empty(_)) => "empty",
                Some(Doubt::Shorter(_)) => "shorter",
                Some(Doubt::Vanishing(_)) => "vanishing",
                Some(Doubt::Truncated(_)) => "truncated",
            };
            assert_eq!(found, expected, "{count:?}");
        }
    }

    #[test]
    fn people_are_told_numbers() {
        let at: Timestamp = "2026-11-22T11:02:13Z".parse().unwrap();
        let doubt = Doubt::Shorter(count(83, 120, 37, 0));
        assert_eq!(
            doubt.sentence(FleetKind::Droplets, at),
            "37 of 120 droplets are missing from the list of 11:02:13"
        );
    }
}
