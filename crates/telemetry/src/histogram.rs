//! Durations in fixed buckets: written by one worker, merged on read.

use crate::counter::Cell;

/// Upper bounds of the buckets in microseconds, ascending; the last bucket has none.
///
/// The bounds from 5 ms to 10 s are those of ingress-nginx, so that panels made for it keep their
/// meaning; the finer ones below show what a proxy alone costs, the two above what clients wait
/// for.
pub(crate) const BOUNDS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The same bounds as the exposition writes them, in seconds.
pub(crate) const BOUNDS_SECONDS: [&str; 16] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1",
    "2.5", "5", "10", "30", "60",
];

/// One worker's share of a histogram.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Histogram {
    sum_us: Cell,
    buckets: [Cell; BOUNDS_US.len() + 1],
}

impl Histogram {
    /// Counts one duration; only the owner of the shard may.
    #[inline]
    pub(crate) fn observe(&self, duration_us: u64) {
        // Nearly all durations end within the first few bounds, so that walking beats halving.
        let index = BOUNDS_US.iter().position(|&bound| duration_us <= bound);
        self.buckets[index.unwrap_or(BOUNDS_US.len())].add(1);
        self.sum_us.add(duration_us);
    }

    /// Adds this share to a sum over workers.
    pub(crate) fn add_to(&self, sum: &mut HistogramSum) {
        for (total, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.read();
        }
        sum.sum_us = sum.sum_us.wrapping_add(self.sum_us.read());
    }
}

/// A histogram over all workers. Buckets are not cumulative here.
#[derive(Debug, Default, Clone)]
pub(crate) struct HistogramSum {
    pub(crate) buckets: [u64; BOUNDS_US.len() + 1],
    pub(crate) sum_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_is_within_it() {
        let histogram = Histogram::default();
        histogram.observe(500);
        histogram.observe(501);
        histogram.observe(60_000_001);
        let mut sum = HistogramSum::default();
        histogram.add_to(&mut sum);
        assert_eq!(sum.buckets[0], 1);
        assert_eq!(sum.buckets[1], 1);
        assert_eq!(sum.buckets[16], 1);
        assert_eq!(sum.sum_us, 60_001_002);
    }

    #[test]
    fn bounds_in_seconds_say_the_same_as_bounds_in_microseconds() {
        for (us, seconds) in BOUNDS_US.iter().zip(BOUNDS_SECONDS) {
            let seconds: f64 = seconds.parse().unwrap();
            assert!((seconds * 1e6 - *us as f64).abs() < 1e-6);
        }
        assert!(BOUNDS_US.is_sorted());
    }
}
