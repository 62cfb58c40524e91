//! A number that one thread writes and anybody reads.
//!
//! Addition is a relaxed load and a relaxed store, so it needs no locked instruction. That is right
//! only with a single writer; `WorkerMetrics` is what makes sure of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or gauge cell with one writer.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds `amount`; only the owner of the shard may.
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` away; only the owner of the shard may. A gauge's shard may pass below zero,
    /// when what one worker began another one ended: shards are summed wrapping.
    #[inline]
    pub(crate) fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Replaces the value; only the owner of the shard may.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, as anybody sees it.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_that_one_worker_raised_and_another_lowered_sums_to_zero() {
        let (one, other) = (Cell::default(), Cell::default());
        one.add(3);
        other.subtract(3);
        assert_eq!(one.read().wrapping_add(other.read()), 0);
    }
}
