//! How long a configuration that is built waits for objects that it names and that are still to
//! come from the source.
//!
//! A change of a certificate's name must not serve another certificate in between. But everything
//! but endpoints waits then, and whoever may write an Ingress can name what was never read, again
//! and again: each namespace has so much of everybody's time, and no more.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the objects of one namespace may be waited for in a [`WINDOW`]: a server that does not
/// answer must not hold up everything else.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(2);

/// The same before anything is served: then nothing is held up but the start, which would serve
/// the default certificate in place of one that is on its way.
pub(super) const FIRST_HOLD_MAX: Duration = Duration::from_secs(30);

/// How long all namespaces together may be waited for in a [`WINDOW`]: they are cheap to make.
const TOTAL_MAX: Duration = Duration::from_secs(10);

/// How long it is remembered what a namespace was waited for.
const WINDOW: Duration = Duration::from_mins(1);

/// A namespace of objects; empty for what is in none.
type Namespace = Arc<str>;

/// The time that was spent, and whom is waited for now.
#[derive(Debug, Default)]
pub(super) struct Hold {
    waiting: Option<Waiting>,
    /// Bound: the namespaces whose objects were waited for in a [`WINDOW`].
    spent: HashMap<Namespace, Spent>,
    /// By all of them.
    total: Option<Spent>,
}

#[derive(Debug)]
struct Waiting {
    namespaces: BTreeSet<Namespace>,
    since: Instant,
    until: Instant,
    /// It is the start that waits.
    is_first: bool,
    /// Something has come since the last attempt.
    has_news: bool,
}

#[derive(Debug)]
struct Spent {
    first: Instant,
    time: Duration,
}

impl Hold {
    /// Whether to wait for objects that are still to come, of these namespaces, each at most `max`.
    pub(super) fn waits_for(
        &mut self,
        namespaces: BTreeSet<Namespace>,
        max: Duration,
        now: Instant,
    ) -> bool {
        let mut was_first = false;
        if let Some(former) = self.waiting.take() {
            was_first = former.is_first;
            let nothing = || Spent { first: former.since, time: Duration::ZERO };
            let waited = now.min(former.until) - former.since;
            for namespace in former.namespaces {
                self.spent.entry(namespace).or_insert_with(nothing).time += waited;
            }
            self.total.get_or_insert_with(nothing).time += waited;
        }
        self.spent.retain(|_, spent| now < spent.first + WINDOW);
        self.total = self.total.take().filter(|total| now < total.first + WINDOW);
        let spent = |namespace| self.spent.get(namespace).map_or(Duration::ZERO, |s| s.time);
        let until = namespaces.iter().map(|namespace| now + max.saturating_sub(spent(namespace)));
        let total = self.total.as_ref().map_or(Duration::ZERO, |total| total.time);
        let at_last = now + TOTAL_MAX.max(max).saturating_sub(total);
        let until = until.max().map(|until| until.min(at_last));
        let Some(until) = until.filter(|&until| until > now) else {
            if was_first {
                // Nobody else was held up.
                self.spent.clear();
                self.total = None;
            }
            return false;
        };
        let is_first = max > HOLD_MAX;
        self.waiting = Some(Waiting { namespaces, since: now, until, is_first, has_news: false });
        true
    }

    /// Something has come; what was waited for may be among it.
    pub(super) fn has_news(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.has_news = true;
        }
    }

    /// Whether something is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// When to try again although nothing has come.
    pub(super) fn until(&self) -> Option<Instant> {
        self.waiting.as_ref().filter(|waiting| !waiting.has_news).map(|waiting| waiting.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> BTreeSet<Namespace> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn nothing_is_waited_for_longer_than_it_may_be() {
        let (mut hold, start) = (Hold::default(), Instant::now());
        assert!(hold.waits_for(of(&["a"]), HOLD_MAX, start));
        assert_eq!(hold.until(), Some(start + HOLD_MAX));
        let later = start + HOLD_MAX / 2;
        assert!(hold.waits_for(of(&["a"]), HOLD_MAX, later));
        assert_eq!(hold.until(), Some(start + HOLD_MAX));
        assert!(!hold.waits_for(of(&["a"]), HOLD_MAX, start + HOLD_MAX));
        assert!(!hold.is_waiting());
    }

    #[test]
    fn who_names_new_objects_again_and_again_has_used_up_its_time() {
        let (mut hold, start) = (Hold::default(), Instant::now());
        let mut waited = Duration::ZERO;
        let mut now = start;
        while now + HOLD_MAX < start + WINDOW {
            let step = Duration::from_millis(100);
            if hold.waits_for(of(&["tenant"]), HOLD_MAX, now) {
                waited += step;
            }
            now += step;
            // It has come, and the next name is written at once.
            hold.waits_for(of(&[]), HOLD_MAX, now);
        }
        assert_eq!(waited, HOLD_MAX);
        // Others are waited for as before, and that one is again after a while.
        assert!(hold.waits_for(of(&["tenant", "other"]), HOLD_MAX, now));
        assert_eq!(hold.until(), Some(now + HOLD_MAX));
        assert!(hold.waits_for(of(&["tenant"]), HOLD_MAX, start + WINDOW * 2));
    }

    #[test]
    fn many_namespaces_have_no_more_of_everybodys_time_than_a_few() {
        let (mut hold, start) = (Hold::default(), Instant::now());
        let mut now = start;
        let mut waited = Duration::ZERO;
        for tenant in 0..25 {
            let name = format!("tenant-{tenant}");
            if hold.waits_for(of(&[&name]), HOLD_MAX, now) {
                now += HOLD_MAX;
                waited += HOLD_MAX;
            }
        }
        assert_eq!(waited, TOTAL_MAX);
        assert!(hold.waits_for(of(&["other"]), HOLD_MAX, start + WINDOW * 2));
    }
}
