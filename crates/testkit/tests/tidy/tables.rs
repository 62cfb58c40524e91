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
    ("translate", &["model"]),
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
    ("controller", &["h2", "rustls", "socket2", "http"], "has no sockets of its own"),
    ("proxy", &["k8s-openapi", "kube", "serde-saphyr", "notify"], "knows no Kubernetes"),
];

/// Words that no file may have.
pub(crate) const BANNED: &[&str] =
    &["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX", "#[ignore"];

/// Words that are allowed only where the reason says why.
pub(crate) const ALLOWED: &[Allowed] = &[
    Allowed { word: "Instant::now", files: &[] },
    Allowed { word: "SystemTime::now", files: &[] },
    Allowed { word: "std::sync::Mutex", files: &[] },
    Allowed { word: "Mutex::new", files: &[] },
    Allowed { word: ".unwrap()", files: &[] },
];

/// What only the driver files of the proxy may say.
pub(crate) const DRIVER_WORDS: &[&str] = &["tokio::net", "tokio::time", "h2::", "http::"];

/// Where the proxy meets sockets, timers and other people's protocol types.
pub(crate) const DRIVER_FILES: &[Row] = &[];

/// Files with lines over 100.
pub(crate) const LONG_LINES: &[Row] = &[Row {
    file: "crates/model/src/code.rs",
    reason: "one row per diagnostic code: a table is read across",
}];

/// Files over [`LINES_MAX`] lines.
pub(crate) const LONG_FILES: &[Row] = &[];

/// Files beside features that are not features themselves.
pub(crate) const WITHOUT_SPEC: &[Row] = &[];
