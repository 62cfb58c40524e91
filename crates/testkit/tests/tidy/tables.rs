//! The tables of what is allowed where, each row with its reason.

/// A file that is excepted from a rule.
pub(crate) struct Row {
    pub(crate) file: &'static str,
    pub(crate) reason: &'static str,
}

/// A word that may be used in these files alone.
pub(crate) struct Allowed {
    pub(crate) word: &'static str,
    pub(crate) files: &'static [Row],
}

/// Lines of a file from which it is looked at hard.
pub(crate) const LINES_MAX: usize = 600;

/// Which crate of ours may know which others (ARCHITECTURE.md). A new edge is a reviewed decision.
pub(crate) const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &[]),
    ("telemetry", &[]),
    ("routing", &["model"]),
    ("translate", &["model", "routing"]),
    ("controller", &["model", "translate", "telemetry"]),
    ("proxy", &["model", "wire", "routing", "telemetry"]),
    ("portcullis", &["model", "wire", "routing", "translate", "telemetry", "controller", "proxy"]),
    (
        "testkit",
        &[
            "model",
            "wire",
            "routing",
            "translate",
            "telemetry",
            "controller",
            "proxy",
            "portcullis",
        ],
    ),
    ("xtask", &[]),
];

/// What crates must never depend on, whoever adds it.
pub(crate) const NEVER: &[(&str, &[&str], &str)] = &[
    ("model", &["tokio", "http", "rustls", "k8s-openapi", "h2"], "the nouns know no I/O"),
    ("wire", &["tokio", "rustix", "socket2", "http", "bytes", "h2"], "sans-IO"),
    ("translate", &["tokio", "kube", "http", "h2", "notify"], "pure: objects in, Model out"),
    ("routing", &["tokio", "http", "k8s-openapi"], "pure: a lookup"),
    ("telemetry", &["k8s-openapi", "h2", "http"], "knows no routes and no protocols"),
    ("controller", &["h2", "rustls", "socket2"], "has no sockets of its own"),
    ("proxy", &["k8s-openapi", "kube", "serde-saphyr", "notify"], "knows no Kubernetes"),
];

/// Words that no file may have.
pub(crate) const BANNED: &[&str] =
    &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX", "#[ignore"];

/// Words that are allowed only where the reason says why.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed { word: "Instant::now", files: CLOCK },
    Allowed { word: "SystemTime::now", files: CALENDAR },
    Allowed { word: "std::sync::Mutex", files: LOCKS },
    Allowed { word: ".unwrap()", files: &[] },
];

/// Where time is read. Algorithms are given it.
const CLOCK: &[Row] = &[
    Row {
        file: "crates/controller/src/cluster/follow.rs",
        reason: "whether a watch that ended was one, or ended as it began",
    },
    Row {
        file: "crates/controller/src/cluster/line.rs",
        reason: "until when the API server wishes to be left alone",
    },
    Row {
        file: "crates/controller/src/compiler.rs",
        reason: "the compiler paces its own builds; the pace itself takes the time",
    },
    Row {
        file: "crates/controller/src/latest.rs",
        reason: "waiting for a generation has a deadline",
    },
    Row {
        file: "crates/controller/src/report/address_source.rs",
        reason: "when the same failure was logged last",
    },
    Row {
        file: "crates/controller/src/report/event_writer.rs",
        reason: "drives the ledger of Events, which is given the time",
    },
    Row {
        file: "crates/controller/src/report/lease.rs",
        reason: "drives the candidate of the election, which is given the time",
    },
    Row {
        file: "crates/controller/src/report/replica.rs",
        reason: "how often a replica says that it lives; what is dead is given the time",
    },
    Row {
        file: "crates/controller/src/report/ticket_keys.rs",
        reason: "whether this replica leads now; the rotation itself is given the time",
    },
    Row {
        file: "crates/controller/src/report/status_writer.rs",
        reason: "drives the plan of writes, which is given the time",
    },
    Row {
        file: "crates/controller/src/resolve/lookup.rs",
        reason: "answers of DNS say until when they are valid",
    },
    Row {
        file: "crates/controller/src/source/directory.rs",
        reason: "the first listing; later ones are given the time",
    },
    Row {
        file: "crates/controller/src/source/watch.rs",
        reason: "the thread that watches waits for events and for time",
    },
    Row {
        file: "crates/portcullis/src/webhook/mod.rs",
        reason: "a review has a deadline for all its parts together",
    },
    Row {
        file: "crates/proxy/src/downstream/http1.rs",
        reason: "the age of a connection and the length of an exchange",
    },
    Row {
        file: "crates/proxy/src/downstream/http2.rs",
        reason: "the age of a connection and of its window of resets",
    },
    Row { file: "crates/proxy/src/handle.rs", reason: "the end of an exchange, once" },
    Row { file: "crates/proxy/src/lib.rs", reason: "waiting for the drain has a deadline" },
    Row {
        file: "crates/proxy/src/upstream/http2.rs",
        reason: "one deadline over several waits for a connection",
    },
    Row {
        file: "crates/proxy/src/upstream/forward.rs",
        reason: "how long an endpoint took, for log and metrics",
    },
    Row {
        file: "crates/proxy/src/worker.rs",
        reason: "the tick that all deadlines of a worker are counted in",
    },
    Row {
        file: "crates/telemetry/src/access_log/writer.rs",
        reason: "the writer measures its own write",
    },
];

/// Where the time of day is read.
const CALENDAR: &[Row] = &[
    Row {
        file: "crates/controller/src/cluster/contact.rs",
        reason: "since when a watch is without contact: a metric that is a time",
    },
    Row {
        file: "crates/controller/src/compiler.rs",
        reason: "expiry of certificates; given to translate as an argument",
    },
    Row {
        file: "crates/controller/src/source/directory.rs",
        reason: "the age of a file that may still be written",
    },
    Row {
        file: "crates/portcullis/src/wiring.rs",
        reason: "expiry of certificates; given to translate as an argument",
    },
    Row { file: "crates/proxy/src/worker.rs", reason: "the Date field, and the time in the log" },
    Row { file: "crates/telemetry/src/control.rs", reason: "the time of a metric that is a time" },
];

/// Where threads wait for each other.
const LOCKS: &[Row] = &[Row {
    file: "crates/proxy/src/worker.rs",
    reason: "the handle of the thread: touched at its start and its end",
}];

/// What only the driver files of the proxy may say.
pub(crate) const DRIVER_WORDS: &[&str] = &["tokio::net", "tokio::time", "h2::", "http::"];

/// Where the proxy meets sockets, timers and other people's protocol types.
pub(crate) const DRIVER_FILES: &[Row] = &[
    Row { file: "crates/proxy/src/downstream/accept.rs", reason: "accepts sockets" },
    Row { file: "crates/proxy/src/downstream/http2.rs", reason: "the client side of HTTP/2" },
    Row {
        file: "crates/proxy/src/downstream/http1/stream.rs",
        reason: "names the plain socket of a client, for splice",
    },
    Row { file: "crates/proxy/src/downstream/http2/stream.rs", reason: "one stream of h2" },
    Row {
        file: "crates/proxy/src/downstream/mod.rs",
        reason: "names the plain socket of a client, for splice",
    },
    Row { file: "crates/proxy/src/error.rs", reason: "carries the errors of h2 to the log" },
    Row { file: "crates/proxy/src/exchange.rs", reason: "names the two plain sockets of a splice" },
    Row { file: "crates/proxy/src/http2.rs", reason: "what both sides of HTTP/2 share" },
    Row {
        file: "crates/proxy/src/splice.rs",
        reason: "moves bytes between two plain sockets in the kernel",
    },
    Row { file: "crates/proxy/src/transport.rs", reason: "a socket with or without TLS" },
    Row { file: "crates/proxy/src/upstream/connect.rs", reason: "opens sockets" },
    Row { file: "crates/proxy/src/upstream/http1.rs", reason: "the endpoint side of HTTP/1" },
    Row { file: "crates/proxy/src/upstream/http2.rs", reason: "the endpoint side of HTTP/2" },
    Row { file: "crates/proxy/src/worker.rs", reason: "the runtime of a worker and its tick" },
];

/// Files with lines over 100.
pub(crate) const LONG_LINES: &[Row] = &[
    Row {
        file: "crates/model/src/code.rs",
        reason: "one row per diagnostic code: a table is read across",
    },
    Row {
        file: "crates/wire/tests/properties.rs",
        reason: "bodies of a macro, which rustfmt leaves alone",
    },
];

/// Files over [`LINES_MAX`] lines.
pub(crate) const LONG_FILES: &[Row] = &[];

/// Files beside features that are not features themselves.
pub(crate) const WITHOUT_SPEC: &[Row] = &[
    Row {
        file: "crates/translate/src/annotation/keys.rs",
        reason: "the table of names; its effects are `annotations/unknown`",
    },
    Row {
        file: "crates/translate/src/annotation/suggest.rs",
        reason: "the name that was probably meant; in `annotations/unknown`",
    },
    Row {
        file: "crates/translate/src/annotation/value.rs",
        reason: "parsers of values, shared by the features",
    },
];
