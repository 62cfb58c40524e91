//! A worker's handle: the only writer of its shard.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::access_log::batch::Batch;
use crate::counter::Cell;
use crate::metrics::{Counter, Gauge, REASONS_MAX};
use crate::route::CODE_CLASSES;
use crate::{AccessRecord, RouteMetrics, Telemetry};

/// One worker's cells. Aligned, so that two workers never write one cache line pair.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct WorkerShard {
    counters: [Cell; Counter::COUNT],
    gauges: [Cell; Gauge::COUNT],
    pub(crate) requests: Cell,
    pub(crate) log_records: Cell,
    pub(crate) log_dropped: Cell,
    pub(crate) reasons: [Cell; REASONS_MAX],
    /// Whether a handle for this shard is alive.
    claimed: AtomicBool,
}

impl Default for WorkerShard {
    fn default() -> Self {
        Self {
            counters: Default::default(),
            gauges: Default::default(),
            requests: Cell::default(),
            log_records: Cell::default(),
            log_dropped: Cell::default(),
            reasons: std::array::from_fn(|_| Cell::default()),
            claimed: AtomicBool::new(false),
        }
    }
}

impl WorkerShard {
    #[inline]
    pub(crate) fn counter(&self, counter: Counter) -> &Cell {
        &self.counters[counter as usize]
    }

    #[inline]
    pub(crate) fn gauge(&self, gauge: Gauge) -> &Cell {
        &self.gauges[gauge as usize]
    }
}

/// What one worker counts and logs with. Not `Sync`: it belongs to its worker's thread.
#[derive(Debug)]
pub struct WorkerMetrics {
    telemetry: Arc<Telemetry>,
    shard: Arc<WorkerShard>,
    index: usize,
    batch: Option<RefCell<Batch>>,
    /// The reasons that this worker has met, so that the shared list is asked once for each.
    reasons: RefCell<HashMap<Box<str>, usize>>,
}

impl WorkerMetrics {
    pub(crate) fn claim(telemetry: &Arc<Telemetry>, index: usize) -> Self {
        let workers = telemetry.shards.len();
        assert!(index < workers, "worker {index} of {workers}");
        let shard = Arc::clone(&telemetry.shards[index]);
        let claimed = shard.claimed.swap(true, Ordering::Acquire);
        assert!(!claimed, "the metrics of worker {index} have a writer already");
        let batch = telemetry
            .writer
            .as_ref()
            .map(|writer| RefCell::new(Batch::new(telemetry.access_log, writer.handle())));
        Self { telemetry: Arc::clone(telemetry), shard, index, batch, reasons: RefCell::default() }
    }

    /// The worker's index.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// What all of this belongs to.
    #[must_use]
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Counts one.
    #[inline]
    pub fn count(&self, counter: Counter) {
        self.shard.counter(counter).add(1);
    }

    /// Counts `amount`.
    #[inline]
    pub fn add(&self, counter: Counter, amount: u64) {
        self.shard.counter(counter).add(amount);
    }

    /// Raises a gauge by one.
    #[inline]
    pub fn raise(&self, gauge: Gauge) {
        self.shard.gauge(gauge).add(1);
    }

    /// Lowers a gauge by one.
    #[inline]
    pub fn lower(&self, gauge: Gauge) {
        self.shard.gauge(gauge).subtract(1);
    }

    /// Sets this worker's share of a gauge, for what is counted elsewhere, such as a pool.
    #[inline]
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.shard.gauge(gauge).set(value);
    }

    /// A connection of a client was accepted.
    #[inline]
    pub fn connection_opened(&self, tls: bool) {
        self.count(if tls { Counter::ConnectionsHttps } else { Counter::ConnectionsHttp });
        self.raise(if tls { Gauge::ConnectionsOpenHttps } else { Gauge::ConnectionsOpenHttp });
    }

    /// A connection told to [`Self::connection_opened`] has ended.
    #[inline]
    pub fn connection_closed(&self, tls: bool) {
        self.lower(if tls { Gauge::ConnectionsOpenHttps } else { Gauge::ConnectionsOpenHttp });
    }

    /// A request has ended in both directions. `status` is 0 when there was no answer; bytes are
    /// those on the client's side, heads included.
    #[inline]
    pub fn request(
        &self,
        route: &RouteMetrics,
        status: u16,
        duration_us: u64,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        self.shard.requests.add(1);
        // `None` would be a worker that the route was not made for; there is none in one program.
        let Some(shard) = route.shard(self.index) else { return };
        let class = usize::from(status / 100);
        shard.by_class[if class < CODE_CLASSES { class } else { 0 }].add(1);
        shard.duration.observe(duration_us);
        shard.bytes_in.add(bytes_in);
        shard.bytes_out.add(bytes_out);
    }

    /// A response was made here instead of by an endpoint; `reason` is the access log's.
    pub fn response_reason(&self, reason: &str) {
        let mut reasons = self.reasons.borrow_mut();
        let index = if let Some(&index) = reasons.get(reason) {
            index
        } else {
            let index = self.telemetry.control.reasons.index(reason);
            // Bound: as many as are told apart. A flood of others asks the shared list each time.
            if reasons.len() < REASONS_MAX {
                reasons.insert(reason.into(), index);
            }
            index
        };
        // The list gives indices below `REASONS_MAX`, which is the length of the array.
        self.shard.reasons[index].add(1);
    }

    /// Whether [`Self::access`] writes anything: when not, no record need be put together.
    #[inline]
    #[must_use]
    pub fn logs_access(&self) -> bool {
        self.batch.is_some()
    }

    /// Appends one record to this worker's batch, and hands the batch over when it is full.
    #[inline]
    pub fn access(&self, record: &AccessRecord<'_>) {
        if let Some(batch) = &self.batch {
            batch.borrow_mut().append(record, &self.shard);
        }
    }

    /// Hands over what has been logged since. To be called every 100 to 250 ms, and when idle.
    pub fn flush_tick(&self) {
        if let Some(batch) = &self.batch {
            batch.borrow_mut().flush(&self.shard);
        }
    }
}

impl Drop for WorkerMetrics {
    fn drop(&mut self) {
        if let Some(batch) = &self.batch {
            batch.borrow_mut().give_up(&self.shard);
        }
        self.shard.claimed.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TelemetrySettings;

    #[test]
    #[should_panic(expected = "have a writer already")]
    fn two_handles_of_one_worker_are_refused() {
        let telemetry = Telemetry::new(TelemetrySettings::new(1));
        let _first = telemetry.worker(0);
        let _second = telemetry.worker(0);
    }

    #[test]
    fn a_handle_can_be_taken_again_after_it_was_dropped() {
        let telemetry = Telemetry::new(TelemetrySettings::new(1));
        drop(telemetry.worker(0));
        assert_eq!(telemetry.worker(0).index(), 0);
    }

    #[test]
    fn reasons_beyond_the_bound_count_as_other() {
        let telemetry = Telemetry::new(TelemetrySettings::new(1));
        let worker = telemetry.worker(0);
        for reason in 0..1_000 {
            worker.response_reason(&format!("reason-{reason}"));
        }
        let sums = telemetry.control.reasons.sums(&telemetry.shards);
        assert_eq!(sums.len(), REASONS_MAX);
        assert_eq!(sums.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        let other = sums.iter().find(|(reason, _)| &**reason == "other").unwrap();
        assert_eq!(other.1, 1_000 - (REASONS_MAX as u64 - 1));
    }
}
