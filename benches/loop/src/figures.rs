//! Numbers and how they are told.

use std::{fmt, time::Duration};

/// The two sides of one comparison, measured one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<T> {
    pub(crate) ours: T,
    pub(crate) peers: T,
}

/// What a figure has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bar {
    /// Less is better.
    AtMost(f64),
    /// More is better.
    AtLeast(f64),
}

/// A ratio of our side to the other, or a count, and the bar for it.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bar: Bar,
}

impl Figure {
    /// The median of the ratios over pairs of runs.
    pub(crate) fn of_pairs(name: &'static str, pairs: impl IntoIterator<Item = Pair<f64>>, bar: Bar) -> Self {
        Self {
            name,
            value: median(pairs.into_iter().map(|pair| pair.ours / pair.peers).collect()),
            unit: "x-peer",
            bar,
        }
    }

    /// Something by itself, or a ratio to something else than the peer.
    pub(crate) fn of(name: &'static str, value: f64, unit: &'static str, bar: Bar) -> Self {
        Self { name, value, unit, bar }
    }

    /// The same ratio, of another unit.
    pub(crate) fn in_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, bar } = self;
        let (sign, bar, reached) = match *bar {
            Bar::AtMost(bar) => ("<=", bar, *value <= bar),
            Bar::AtLeast(bar) => (">=", bar, *value >= bar),
        };
        // 1.15 has two digits behind the point, 1.0 has one.
        let digits = if (bar * 10.0).fract().abs() < 1e-9 { 1 } else { 2 };
        let verdict = if reached { "ok" } else { "falls short" };
        write!(f, "bench {name}: {value:.2} {unit}, bar {sign} {bar:.digits$}: {verdict}")
    }
}

/// The middle one, or the mean of the middle two. NaN of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.get(half) {
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[half - 1], *upper),
        None => f64::NAN,
    }
}

/// The smallest value that at least so many hundredths of all are not above.
pub(crate) fn percentile(values: &mut [Duration], hundredths: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * hundredths).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        let mut values: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 50), Duration::from_millis(100));
        assert_eq!(percentile(&mut values, 99), Duration::from_millis(198));
    }

    #[test]
    fn a_figure_is_told_in_one_line() {
        let pair = |ours, peers| Pair { ours, peers };
        let ok = Figure::of_pairs(
            "cold-start",
            [pair(1.0, 2.0), pair(1.0, 4.0), pair(3.0, 4.0)],
            Bar::AtMost(0.5),
        );
        assert_eq!(ok.to_string(), "bench cold-start: 0.50 x-peer, bar <= 0.5: ok");
        let short = Figure::of_pairs("memory", [pair(3.0, 4.0)], Bar::AtMost(0.5));
        assert_eq!(short.to_string(), "bench memory: 0.75 x-peer, bar <= 0.5: falls short");
        let ok = Figure::of_pairs("passes", [pair(3.0, 4.0)], Bar::AtLeast(0.5));
        assert_eq!(ok.to_string(), "bench passes: 0.75 x-peer, bar >= 0.5: ok");
        let short = Figure::of("creates", 1.2, "x-limit", Bar::AtMost(1.15));
        assert_eq!(short.to_string(), "bench creates: 1.20 x-limit, bar <= 1.15: falls short");
    }
}
