//! Ages, as short as a column wants them.

use jiff::Timestamp;

/// `5s`, `3m12s`, `47m`, `5h3m`, `12d`; less of it the older it is. The future, by a clock's error, is `0s`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=599 => with(minutes, "m", seconds % 60, "s"),
        600..=7_199 => format!("{minutes}m"),
        7_200..=35_999 => with(hours, "h", minutes % 60, "m"),
        36_000..=172_799 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// How long ago something was seen, or `never`.
pub(crate) fn seen(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "never".to_owned(), |then| format!("{} ago", age(then, now)))
}

fn with(large: i64, unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large}{unit}")
    } else {
        format!("{large}{unit}{small}{small_unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn it_gets_coarser_with_age() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(10_000);
        for (seconds, expected) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (2_820, "47m"),
            (18_180, "5h3m"),
            (36_000, "10h"),
            (1_036_800, "12d"),
        ] {
            assert_eq!(age(now - SignedDuration::from_secs(seconds), now), expected);
        }
        assert_eq!(seen(None, now), "never");
    }
}
