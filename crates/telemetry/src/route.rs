//! Metrics of one Ingress, and the bounded set of all of them.
//!
//! The control side asks for them while it compiles a snapshot; routes hold them; workers write the
//! shard of their index. A label set lives as long as somebody holds it: that of a removed Ingress
//! goes with the last snapshot or exchange that knows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::counter::Cell;
use crate::histogram::{Histogram, HistogramSum};

/// The label value that stands for all Ingresses beyond the bound.
pub(crate) const OTHER: &str = "other";

/// How many classes of status codes there are: none, 1xx to 5xx.
pub(crate) const CODE_CLASSES: usize = 6;

/// What is counted for the requests of one Ingress.
///
/// A worker's shard is made at its first request, so that an Ingress without traffic costs two
/// words per worker and one with traffic about 250 bytes per worker.
#[derive(Debug)]
pub struct RouteMetrics {
    namespace: Box<str>,
    ingress: Box<str>,
    shards: Box<[OnceLock<Box<RouteShard>>]>,
    /// Told when this goes, so that the registry knows that there is something to clear away.
    gone: Arc<AtomicUsize>,
}

/// One worker's share. Aligned, so that two workers never write one cache line pair; what nearly
/// every request writes lies within the first pair.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct RouteShard {
    pub(crate) by_class: [Cell; CODE_CLASSES],
    pub(crate) bytes_in: Cell,
    pub(crate) bytes_out: Cell,
    pub(crate) duration: Histogram,
}

/// What one Ingress counted over all workers.
#[derive(Debug, Default, Clone)]
pub(crate) struct RouteSum {
    pub(crate) by_class: [u64; CODE_CLASSES],
    pub(crate) duration: HistogramSum,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl RouteMetrics {
    fn new(namespace: &str, ingress: &str, workers: usize, gone: &Arc<AtomicUsize>) -> Self {
        Self {
            namespace: namespace.into(),
            ingress: ingress.into(),
            shards: (0..workers).map(|_| OnceLock::new()).collect(),
            gone: Arc::clone(gone),
        }
    }

    /// The Ingress's namespace; empty for requests that no Ingress took.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Ingress's name; empty for requests that no Ingress took.
    #[must_use]
    pub fn ingress(&self) -> &str {
        &self.ingress
    }

    /// The shard of one worker; `None` for an index that the program never had.
    #[inline]
    pub(crate) fn shard(&self, worker: usize) -> Option<&RouteShard> {
        self.shards.get(worker).map(|shard| &**shard.get_or_init(Box::default))
    }

    /// What all workers counted.
    pub(crate) fn sum(&self) -> RouteSum {
        let mut sum = RouteSum::default();
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            for (total, cell) in sum.by_class.iter_mut().zip(&shard.by_class) {
                *total += cell.read();
            }
            shard.duration.add_to(&mut sum.duration);
            sum.bytes_in = sum.bytes_in.wrapping_add(shard.bytes_in.read());
            sum.bytes_out = sum.bytes_out.wrapping_add(shard.bytes_out.read());
        }
        sum
    }
}

impl Drop for RouteMetrics {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

/// All label sets. Bound: `max` of them beside `other` and the unrouted; more share `other`.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) unrouted: Arc<RouteMetrics>,
    pub(crate) other: Arc<RouteMetrics>,
    max: usize,
    workers: usize,
    gone: Arc<AtomicUsize>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<(Box<str>, Box<str>), Weak<RouteMetrics>>,
    /// The value of `gone` when the dead were last cleared away.
    cleared_at: usize,
}

impl Known {
    fn clear_away(&mut self, gone: usize) {
        if gone != self.cleared_at {
            self.by_name.retain(|_, route| route.strong_count() > 0);
            self.cleared_at = gone;
        }
    }
}

impl Routes {
    pub(crate) fn new(workers: usize, max: usize) -> Self {
        let gone = Arc::default();
        Self {
            unrouted: Arc::new(RouteMetrics::new("", "", workers, &gone)),
            other: Arc::new(RouteMetrics::new(OTHER, OTHER, workers, &gone)),
            max,
            workers,
            gone,
            known: Mutex::default(),
        }
    }

    pub(crate) fn of(&self, namespace: &str, ingress: &str) -> Arc<RouteMetrics> {
        if (namespace, ingress) == (OTHER, OTHER) {
            // An Ingress of that very name: no label set may stand on the page twice.
            return Arc::clone(&self.other);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(namespace), Box::from(ingress));
        if let Some(route) = known.by_name.get(&key).and_then(Weak::upgrade) {
            return route;
        }
        known.clear_away(self.gone.load(Ordering::Relaxed));
        if known.by_name.len() >= self.max {
            return Arc::clone(&self.other);
        }
        let route = Arc::new(RouteMetrics::new(namespace, ingress, self.workers, &self.gone));
        known.by_name.insert(key, Arc::downgrade(&route));
        route
    }

    /// All that are alive, ordered by namespace and name, then `other`, after the unrouted.
    pub(crate) fn all(&self) -> Vec<Arc<RouteMetrics>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear_away(self.gone.load(Ordering::Relaxed));
        let named = known.by_name.values().filter_map(Weak::upgrade);
        let mut all: Vec<_> = std::iter::once(Arc::clone(&self.unrouted)).chain(named).collect();
        all.push(Arc::clone(&self.other));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingress_keeps_its_metrics_while_they_are_held_and_loses_them_after() {
        let routes = Routes::new(1, 10);
        let first = routes.of("shop", "cart");
        assert!(Arc::ptr_eq(&first, &routes.of("shop", "cart")));
        assert_eq!(routes.all().len(), 3);
        drop(first);
        assert_eq!(routes.all().len(), 2);
    }

    #[test]
    fn ingresses_beyond_the_bound_share_one_label_set_until_there_is_room() {
        let routes = Routes::new(1, 2);
        let a = routes.of("n", "a");
        let _b = routes.of("n", "b");
        assert_eq!(routes.of("n", "c").ingress(), OTHER);
        assert_eq!(routes.of("n", "d").namespace(), OTHER);
        drop(a);
        assert_eq!(routes.of("n", "c").ingress(), "c");
    }

    #[test]
    fn a_route_that_nobody_asked_for_has_no_shards() {
        let routes = Routes::new(64, 2);
        let route = routes.of("n", "a");
        assert!(route.shards.iter().all(|shard| shard.get().is_none()));
        assert!(route.shard(63).is_some());
        assert!(route.shard(64).is_none());
    }
}
