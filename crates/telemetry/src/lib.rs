//! What happened: metrics, access log, process log.
//!
//! ```text
//!  worker 0 ─ WorkerMetrics ─┬─ counters, gauges    a shard per worker, summed on read ─► /metrics
//!                            ├─ RouteMetrics shard  one per Ingress and worker
//!                            └─ access log batch ─► bounded channel ─► writer thread ─► sink
//!  control side ─ Telemetry ─── configuration, diagnostics, certificates ───────────────► /metrics
//! ```
//!
//! A worker writes only cells that nobody else writes, so counting costs a load and a store on a
//! cache line of its own: no lock, no locked instruction, no allocation. Reading sums the shards
//! and may see one worker a little ahead of another; each single value never goes backwards.
//!
//! Knows none of our other crates: what is counted is named by the caller.

mod access_log;
mod control;
mod counter;
pub mod escape;
mod exposition;
mod histogram;
pub mod log;
pub mod metrics;
mod process;
mod route;
mod worker;

use std::sync::Arc;
use std::time::Duration;

pub use access_log::{
    AccessLog, AccessRecord, LogFile, LogTarget, Protocol, TlsRecord, UpstreamRecord,
};
pub use control::{BuildKind, CertificateExpiry};
pub use metrics::{Counter, Gauge};
pub use route::RouteMetrics;
pub use worker::WorkerMetrics;

use access_log::writer::Writer;
use control::Control;
use route::Routes;
use worker::WorkerShard;

/// What [`Telemetry`] is made with.
#[derive(Debug)]
pub struct TelemetrySettings {
    /// How many workers there are; [`Telemetry::worker`] takes indices below this.
    pub workers: usize,
    /// Whether requests are logged, and how.
    pub access_log: AccessLog,
    /// Where the access log goes.
    pub target: LogTarget,
    /// How many Ingresses have metrics of their own; those beyond share the label value `other`.
    pub route_label_sets_max: usize,
    /// The version told by `portcullis_build_info`.
    pub version: &'static str,
}

impl TelemetrySettings {
    /// Settings for `workers` workers: no access log, 1,000 label sets.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            access_log: AccessLog::Off,
            target: LogTarget::Stdout,
            route_label_sets_max: 1_000,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// All that is counted and logged, shared by workers, control side and scraper.
#[derive(Debug)]
pub struct Telemetry {
    pub(crate) shards: Box<[Arc<WorkerShard>]>,
    pub(crate) routes: Routes,
    pub(crate) control: Control,
    pub(crate) writer: Option<Writer>,
    pub(crate) access_log: AccessLog,
    pub(crate) version: &'static str,
}

impl Telemetry {
    /// Starts the log writer, if there is anything to log, and makes the shards.
    #[must_use]
    pub fn new(settings: TelemetrySettings) -> Arc<Self> {
        let writer = match settings.access_log {
            AccessLog::Off => None,
            AccessLog::Text | AccessLog::Json => Some(Writer::start(settings.target)),
        };
        Arc::new(Self {
            shards: (0..settings.workers).map(|_| Arc::default()).collect(),
            routes: Routes::new(settings.workers, settings.route_label_sets_max),
            control: Control::default(),
            writer,
            access_log: settings.access_log,
            version: settings.version,
        })
    }

    /// The handle with which worker `index` counts and logs. One at a time per index.
    ///
    /// # Panics
    /// When `index` is not below the number of workers, or its handle is still alive: two writers
    /// of one shard would lose counts.
    #[must_use]
    pub fn worker(self: &Arc<Self>, index: usize) -> WorkerMetrics {
        WorkerMetrics::claim(self, index)
    }

    /// The metrics of one Ingress: the same ones for as long as anybody holds them.
    ///
    /// Called on the control side while a snapshot is compiled. Beyond the bound of label sets all
    /// further Ingresses share one whose labels are `other`.
    #[must_use]
    pub fn route(&self, namespace: &str, ingress: &str) -> Arc<RouteMetrics> {
        self.routes.of(namespace, ingress)
    }

    /// The metrics of requests that no Ingress took; both labels are empty.
    #[must_use]
    pub fn unrouted(&self) -> Arc<RouteMetrics> {
        Arc::clone(&self.routes.unrouted)
    }

    /// Waits until everything handed over so far is written, or `timeout` has passed.
    ///
    /// Workers hand over at [`WorkerMetrics::flush_tick`] and when their handle is dropped.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.writer.as_ref().is_none_or(|writer| writer.flush(timeout))
    }

    /// Opens the log file anew, after it was moved away. Nothing for standard streams.
    pub fn reopen_access_log(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// All metrics in Prometheus's text format 0.0.4.
    #[must_use]
    pub fn render_prometheus(&self) -> String {
        metrics::render(self)
    }
}
