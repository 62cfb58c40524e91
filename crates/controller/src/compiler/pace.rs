//! When the compiler builds: at once when idle, and never more than half of the time.

use std::time::{Duration, Instant};

/// Without any change everything is built this often, since certificates expire by themselves.
pub(super) const REBUILD: Duration = Duration::from_hours(1);

/// After a short build, this much quiet is waited for before a whole one checks it and renews the
/// report; more, where a whole build takes more than a twentieth of it.
pub(super) const CHECK_QUIET: Duration = Duration::from_secs(1);

/// So long after a whole build the next one comes, however many short builds there are: caches are
/// swept by it, and what is said of time is renewed.
const WHOLE_AT_LAST: Duration = Duration::from_mins(1);

/// When builds may start.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last_end: Option<Instant>,
    last_took: Duration,
    last_full_took: Duration,
    last_full_end: Option<Instant>,
    /// A short build was served that no whole one has checked.
    is_unchecked: bool,
}

impl Pace {
    pub(super) fn built(&mut self, is_full: bool, started: Instant, ended: Instant) {
        self.last_took = ended - started;
        self.last_end = Some(ended);
        self.is_unchecked = !is_full;
        if is_full {
            self.last_full_took = self.last_took;
            self.last_full_end = Some(ended);
        }
    }

    /// When a build that is due may start.
    pub(super) fn next_build(&self, now: Instant) -> Instant {
        self.last_end.map_or(now, |end| end + self.last_took)
    }

    /// When a whole build is due although nothing changed.
    pub(super) fn next_check(&self) -> Option<Instant> {
        if self.is_unchecked {
            let quiet = self.last_end? + CHECK_QUIET.max(self.last_full_took * 20);
            return Some(self.whole_at_last().map_or(quiet, |at_last| quiet.min(at_last)));
        }
        Some(self.last_full_end? + REBUILD)
    }

    /// Whether a build that is due must be a whole one.
    pub(super) fn is_whole_due(&self, now: Instant) -> bool {
        self.is_unchecked && self.whole_at_last().is_some_and(|at_last| at_last <= now)
    }

    fn whole_at_last(&self) -> Option<Instant> {
        Some(self.last_full_end? + WHOLE_AT_LAST.max(self.last_full_took * 20))
    }
}
