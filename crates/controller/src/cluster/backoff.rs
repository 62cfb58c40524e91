//! How long to wait before the API server is asked again.

use std::time::Duration;

/// The first wait.
const LEAST: Duration = Duration::from_millis(250);

/// The longest wait, so that a server that comes back is noticed soon.
const MOST: Duration = Duration::from_secs(10);

/// Waits that double, each shortened or lengthened by chance, so that many replicas do not ask at
/// the same moment.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many times in a row it did not.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// It failed: the wait before the next attempt, at least what the server asked for. `chance` is
    /// from 0 to 1.
    pub(super) fn next(&mut self, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = LEAST.saturating_mul(1 << self.failures.min(10)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        let wait = doubled.mul_f64(0.8 + 0.4 * chance);
        asked.map_or(wait, |asked| asked.mul_f64(1.0 + 0.2 * chance).max(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_after_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(None, 0.5).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.next(None, 0.5).as_millis(), 250);
    }

    #[test]
    fn the_server_may_ask_for_more_but_not_for_less() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
        for _ in 0..6 {
            backoff.next(None, 0.5);
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(1)), 0.5), MOST);
    }
}
