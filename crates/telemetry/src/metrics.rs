//! Every metric by name, and how it is put on the page.
//!
//! The names, labels and label values of [`FAMILIES`] are promises to dashboards: they do not
//! change, and one that goes is named in the CHANGELOG. [`reference()`] writes the table of the
//! documentation.
//!
//! Own exposition instead of a metrics crate: our numbers lie in shards of single writers, so that
//! a crate would only see copies made for it at each scrape; what remains is twenty lines of text
//! format.
//!
//! Cardinality is bounded: label values come from fixed sets, except those of Ingresses (bounded by
//! `TelemetrySettings::route_label_sets_max`), reasons ([`REASONS_MAX`]), workers and certificates.

use std::fmt::Write as _;

use crate::Telemetry;
use crate::access_log::writer::Writer;
use crate::exposition::Exposition;
use crate::process;
use crate::worker::WorkerShard;

/// How many reasons are told apart; those beyond count as `other`.
pub const REASONS_MAX: usize = 128;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric: a name with its labels.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// The names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// What it counts, in a sentence.
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident $name:literal $kind:ident [$($label:literal)*] $help:literal;)*) => {
        $(pub(crate) const $id: Family = Family {
            name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help,
        };)*

        /// All metrics.
        pub const FAMILIES: &[Family] = &[$($id),*];
    };
}

families! {
    // Requests
    REQUESTS "portcullis_requests_total" Counter ["ingress_namespace" "ingress" "status_class"]
        "Requests that ended, by Ingress and class of status (none: the client left before).";
    REQUEST_DURATION "portcullis_request_duration_seconds" Histogram ["ingress_namespace" "ingress"]
        "Time from a request's first byte to the last byte of its response.";
    REQUEST_BYTES "portcullis_request_bytes_total" Counter ["ingress_namespace" "ingress"]
        "Bytes received from clients, heads included.";
    RESPONSE_BYTES "portcullis_response_bytes_total" Counter ["ingress_namespace" "ingress"]
        "Bytes sent to clients, heads of HTTP/1 included.";
    RESPONSES_BY_REASON "portcullis_responses_by_reason_total" Counter ["reason"]
        "Responses made here instead of by an endpoint, by the reason of the access log.";
    REQUESTS_BY_PROTOCOL "portcullis_protocol_requests_total" Counter ["protocol"]
        "Requests that ended, by the client's protocol.";
    REQUESTS_IN_FLIGHT "portcullis_requests_in_flight" Gauge []
        "Requests whose response has not ended.";

    // Connections
    CONNECTIONS "portcullis_connections_total" Counter ["listener"]
        "Connections accepted from clients.";
    CONNECTIONS_OPEN "portcullis_connections_open" Gauge ["listener"]
        "Connections of clients that are open.";
    CONNECTIONS_SHED "portcullis_connections_shed_total" Counter []
        "Connections closed at once because a limit was reached.";
    ACCEPT_FAILURES "portcullis_accept_failures_total" Counter []
        "Failures to accept a connection, such as too many open files.";
    TLS_HANDSHAKES "portcullis_tls_handshakes_total" Counter ["result"]
        "TLS handshakes with clients.";
    TLS_RESUMED "portcullis_tls_resumed_total" Counter []
        "TLS handshakes with clients that resumed an earlier session.";
    HTTP2_RESETS "portcullis_http2_resets_total" Counter ["by"]
        "HTTP/2 streams of clients that were reset, by whom.";
    HTTP2_HELD "portcullis_http2_held_bytes" Gauge []
        "Memory that HTTP/2 connections, of clients and to endpoints, hold for heads and bodies.";
    UPGRADES_OPEN "portcullis_upgrades_open" Gauge []
        "Upgraded connections, such as WebSockets, that are open.";

    // Upstream
    UPSTREAM_CONNECTS "portcullis_upstream_connects_total" Counter ["result"]
        "Connections opened to endpoints.";
    UPSTREAM_CONNECTIONS_OPEN "portcullis_upstream_connections_open" Gauge []
        "Connections to endpoints that are open, idle ones included.";
    UPSTREAM_CONNECTIONS_IDLE "portcullis_upstream_connections_idle" Gauge []
        "Connections to endpoints that wait for a request.";
    UPSTREAM_REQUESTS "portcullis_upstream_requests_total" Counter ["connection"]
        "Requests sent to endpoints, by whether the connection was new.";
    UPSTREAM_RETRIES "portcullis_upstream_retries_total" Counter []
        "Requests sent once more, after an attempt that an endpoint did not answer.";

    // Workers
    WORKER_REQUESTS "portcullis_worker_requests_total" Counter ["worker"]
        "Requests that ended, by worker.";
    WORKER_CONNECTIONS "portcullis_worker_connections_open" Gauge ["worker"]
        "Connections of clients that are open, by worker.";

    // Access log
    ACCESS_LOG_RECORDS "portcullis_access_log_records_total" Counter []
        "Records handed to the log writer.";
    ACCESS_LOG_DROPPED "portcullis_access_log_dropped_total" Counter []
        "Records dropped because the log writer could not keep up.";
    ACCESS_LOG_FAILURES "portcullis_access_log_write_failures_total" Counter []
        "Failures to write or open the access log.";

    // Configuration
    GENERATION "portcullis_generation_info" Gauge ["generation"]
        "1, with the generation that is served.";
    SNAPSHOTS_LIVE "portcullis_snapshots_live" Gauge []
        "Compiled configurations that somebody still holds, the served one included.";
    CONFIG_BUILDS "portcullis_config_builds_total" Counter ["kind" "result"]
        "Builds of the configuration; a failed one panicked and left the served one in place.";
    CONFIG_BUILD_DURATION "portcullis_config_build_duration_seconds" Histogram []
        "Time from the start of a build to its being served.";
    CONFIG_LAST_SUCCESS "portcullis_config_last_success_timestamp_seconds" Gauge []
        "When a build was last served, in seconds since the epoch; 0 before the first.";
    CONFIG_LAST_SUCCESSFUL "portcullis_config_last_build_successful" Gauge []
        "1 when the last build was served, 0 when it failed or there was none.";
    CONFIG_STALE_FILES "portcullis_config_stale_files" Gauge []
        "Manifest files that cannot be read and whose last good objects serve.";
    CONFIG_LAST_GOOD "portcullis_config_serves_last_good" Gauge []
        "1 while what is served was read from the file of --last-good.";
    WATCH_FAILURES "portcullis_watch_failures_total" Counter ["kind"]
        "Lists and watches of the API server that failed.";
    WATCH_LISTS "portcullis_watch_lists_total" Counter ["kind"]
        "Complete lists taken from the API server.";
    WATCH_STALE_SINCE "portcullis_watch_stale_since_timestamp_seconds" Gauge ["kind"]
        "Since when objects of a kind may have changed unseen, in seconds since the epoch; \
         0 while the API server tells.";
    DIAGNOSTICS "portcullis_diagnostics" Gauge ["code" "severity"]
        "Diagnostics about the objects that are served now.";
    CERTIFICATE_EXPIRY "portcullis_certificate_expiry_timestamp_seconds" Gauge
        ["secret_namespace" "secret"]
        "When a served certificate expires, in seconds since the epoch.";

    // Reporting to a cluster
    LEADER "portcullis_leader" Gauge []
        "1 while this replica leads: it alone writes status and Events.";
    STATUS_WRITES "portcullis_status_writes_total" Counter ["result"]
        "Writes of the status of an Ingress.";
    EVENTS "portcullis_events_total" Counter ["result"]
        "Events told to the API server; those that it knew from another leader are known.";

    WEBHOOK_REVIEWS "portcullis_webhook_reviews_total" Counter ["result"]
        "Ingresses reviewed before they were stored: allowed, warned, denied, failed.";

    // Process
    PROCESS_CPU "process_cpu_seconds_total" Counter []
        "CPU time of this process, user and system.";
    PROCESS_RSS "process_resident_memory_bytes" Gauge []
        "Memory of this process that is resident.";
    PROCESS_VIRTUAL "process_virtual_memory_bytes" Gauge []
        "Address space of this process.";
    PROCESS_FDS "process_open_fds" Gauge []
        "File descriptors that are open.";
    PROCESS_FDS_MAX "process_max_fds" Gauge []
        "File descriptors that may be open.";
    PROCESS_START "process_start_time_seconds" Gauge []
        "When this process started, in seconds since the epoch.";
    BUILD_INFO "portcullis_build_info" Gauge ["version"]
        "1, with the version of the program.";
}

macro_rules! cells {
    ($(#[$doc:meta])* $enum:ident $rows:ident {
        $($variant:ident $family:ident [$($value:literal)*];)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum {
            $(#[doc = concat!($("`", $value, "` of ",)* "`", stringify!($family), "`")] $variant,)*
        }

        impl $enum {
            /// How many there are.
            pub(crate) const COUNT: usize = [$($enum::$variant),*].len();
        }

        const $rows: &[($enum, &Family, &[&str])] =
            &[$(($enum::$variant, &$family, &[$($value),*])),*];
    };
}

cells! {
    /// What a worker counts up, apart from what it counts per Ingress.
    Counter COUNTERS {
        RequestsHttp10 REQUESTS_BY_PROTOCOL ["HTTP/1.0"];
        RequestsHttp11 REQUESTS_BY_PROTOCOL ["HTTP/1.1"];
        RequestsHttp2 REQUESTS_BY_PROTOCOL ["HTTP/2"];
        ConnectionsHttp CONNECTIONS ["http"];
        ConnectionsHttps CONNECTIONS ["https"];
        ConnectionsShed CONNECTIONS_SHED [];
        AcceptFailures ACCEPT_FAILURES [];
        TlsHandshakesOk TLS_HANDSHAKES ["ok"];
        TlsHandshakesFailed TLS_HANDSHAKES ["failed"];
        TlsResumed TLS_RESUMED [];
        Http2ResetsByClient HTTP2_RESETS ["client"];
        Http2ResetsByUs HTTP2_RESETS ["gateway"];
        UpstreamConnectsOk UPSTREAM_CONNECTS ["ok"];
        UpstreamConnectsFailed UPSTREAM_CONNECTS ["failed"];
        UpstreamRequestsNew UPSTREAM_REQUESTS ["new"];
        UpstreamRequestsReused UPSTREAM_REQUESTS ["reused"];
        UpstreamRetries UPSTREAM_RETRIES [];
    }
}

cells! {
    /// What a worker counts up and down.
    Gauge GAUGES {
        RequestsInFlight REQUESTS_IN_FLIGHT [];
        ConnectionsOpenHttp CONNECTIONS_OPEN ["http"];
        ConnectionsOpenHttps CONNECTIONS_OPEN ["https"];
        Http2BytesHeld HTTP2_HELD [];
        UpgradesOpen UPGRADES_OPEN [];
        UpstreamConnectionsOpen UPSTREAM_CONNECTIONS_OPEN [];
        UpstreamConnectionsIdle UPSTREAM_CONNECTIONS_IDLE [];
    }
}

const STATUS_CLASSES: [&str; crate::route::CODE_CLASSES] =
    ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The metrics as a Markdown table, for the reference documentation.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from("| Metric | Type | Labels | What it counts |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (family.name, family.kind.word());
        let _ = writeln!(out, "| `{name}` | {kind} | {} | {} |", labels.join(", "), family.help);
    }
    out
}

/// The page: every family once, also without samples; families and samples in a stable order.
pub(crate) fn render(telemetry: &Telemetry) -> String {
    let mut page = Exposition::default();
    requests(telemetry, &mut page);
    workers(telemetry, &mut page);
    access_log(telemetry, &mut page);
    telemetry.control.render(&mut page);
    process::render(&mut page);
    page.family(&BUILD_INFO);
    page.sample(&BUILD_INFO, &[telemetry.version], 1);
    page.finish()
}

fn requests(telemetry: &Telemetry, page: &mut Exposition) {
    let routes: Vec<_> =
        telemetry.routes.all().into_iter().map(|route| (route.sum(), route)).collect();
    page.family(&REQUESTS);
    for (sum, route) in &routes {
        for (class, count) in STATUS_CLASSES.iter().zip(sum.by_class) {
            // A class that never occurred has no sample: most Ingresses have two or three.
            if count > 0 {
                page.sample(&REQUESTS, &[route.namespace(), route.ingress(), class], count);
            }
        }
    }
    let used = || routes.iter().filter(|(sum, _)| sum.by_class.iter().any(|&count| count > 0));
    page.family(&REQUEST_DURATION);
    for (sum, route) in used() {
        page.histogram(&REQUEST_DURATION, &[route.namespace(), route.ingress()], &sum.duration);
    }
    page.family(&REQUEST_BYTES);
    for (sum, route) in used() {
        page.sample(&REQUEST_BYTES, &[route.namespace(), route.ingress()], sum.bytes_in);
    }
    page.family(&RESPONSE_BYTES);
    for (sum, route) in used() {
        page.sample(&RESPONSE_BYTES, &[route.namespace(), route.ingress()], sum.bytes_out);
    }
    page.family(&RESPONSES_BY_REASON);
    for (reason, count) in telemetry.control.reasons.sums(&telemetry.shards) {
        page.sample(&RESPONSES_BY_REASON, &[&reason], count);
    }
}

fn workers(telemetry: &Telemetry, page: &mut Exposition) {
    let shards = &telemetry.shards;
    let sum = |cell: &dyn Fn(&WorkerShard) -> u64| {
        shards.iter().fold(0_u64, |sum, shard| sum.wrapping_add(cell(shard)))
    };
    // Rows of one family stand together in the tables: its head is written before the first.
    let mut last = "";
    let mut head = |family: &Family, page: &mut Exposition| {
        if last != family.name {
            page.family(family);
            last = family.name;
        }
    };
    for &(counter, family, labels) in COUNTERS {
        head(family, page);
        page.sample(family, labels, sum(&|shard| shard.counter(counter).read()));
    }
    for &(gauge, family, labels) in GAUGES {
        head(family, page);
        page.sample(family, labels, signed(sum(&|shard| shard.gauge(gauge).read())));
    }
    page.family(&WORKER_REQUESTS);
    for (index, shard) in shards.iter().enumerate() {
        page.sample(&WORKER_REQUESTS, &[&index.to_string()], shard.requests.read());
    }
    page.family(&WORKER_CONNECTIONS);
    for (index, shard) in shards.iter().enumerate() {
        let open = [Gauge::ConnectionsOpenHttp, Gauge::ConnectionsOpenHttps];
        let open = open.iter().fold(0_u64, |sum, &g| sum.wrapping_add(shard.gauge(g).read()));
        page.sample(&WORKER_CONNECTIONS, &[&index.to_string()], signed(open));
    }
}

/// A sum of shards that may pass below zero for a moment, when the shard of the worker that ended
/// something is read later than that of the one that began it.
fn signed(sum: u64) -> i64 {
    sum.cast_signed().max(0)
}

fn access_log(telemetry: &Telemetry, page: &mut Exposition) {
    let records = telemetry.shards.iter().map(|shard| shard.log_records.read()).sum::<u64>();
    let dropped = telemetry.shards.iter().map(|shard| shard.log_dropped.read()).sum::<u64>();
    let failures = telemetry.writer.as_ref().map_or(0, Writer::failures);
    for (family, value) in [
        (&ACCESS_LOG_RECORDS, records),
        (&ACCESS_LOG_DROPPED, dropped),
        (&ACCESS_LOG_FAILURES, failures),
    ] {
        page.family(family);
        page.sample(family, &[], value);
    }
}
