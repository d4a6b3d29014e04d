//! Numbers and how they are told.

use std::{fmt, time::Duration};

/// The two sides of one comparison, measured one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<T> {
    pub(crate) ours: T,
    pub(crate) peers: T,
}

/// A ratio of our side to the peer's, and what it may be at most.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: &'static str,
    ratio: f64,
    bar: f64,
}

impl Figure {
    /// The median of the ratios over pairs of runs.
    pub(crate) fn of_pairs(name: &'static str, pairs: impl IntoIterator<Item = Pair<f64>>, bar: f64) -> Self {
        let ratio = median(pairs.into_iter().map(|pair| pair.ours / pair.peers).collect());
        Self { name, ratio, bar }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ratio, bar } = self;
        let verdict = if ratio <= bar { "ok" } else { "falls short" };
        write!(f, "bench {name}: {ratio:.2} x-peer, bar <= {bar:.1}: {verdict}")
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
        let ok = Figure::of_pairs("cold-start", [pair(1.0, 2.0), pair(1.0, 4.0), pair(3.0, 4.0)], 0.5);
        assert_eq!(ok.to_string(), "bench cold-start: 0.50 x-peer, bar <= 0.5: ok");
        let short = Figure::of_pairs("memory", [pair(3.0, 4.0)], 0.5);
        assert_eq!(short.to_string(), "bench memory: 0.75 x-peer, bar <= 0.5: falls short");
    }
}
