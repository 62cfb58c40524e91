//! The access log: one record per request, formatted on the worker, written by a thread of its own.
//!
//! ```text
//!  worker: AccessRecord ─ format ─► Batch (32 KiB) ─► channel (64 batches) ─► Writer ─► one write
//! ```
//!
//! A worker never waits for the log: when the writer cannot keep up, whole batches are dropped and
//! `portcullis_access_log_dropped_total` counts their records.
//!
//! Formatting happens on the worker. Measured with `examples/cost.rs`, a typical record costs about
//! 0.2 us to format; a compact copy of its fields would cost the worker 0.03 us, and then as much
//! again on another core: more CPU time in all, and a second form of every record to keep right.

pub(crate) mod batch;
mod format;
mod timestamp;
pub(crate) mod writer;

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Whether requests are logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Not at all.
    #[default]
    Off,
    /// A line of `key=value` after the request line; see [`AccessRecord`].
    Text,
    /// A JSON object per line; see [`AccessRecord`].
    Json,
}

/// Where the access log goes.
#[derive(Debug)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of a file.
    File(LogFile),
}

impl LogTarget {
    /// Opens the file at `path` for appending, and creates it if needed.
    ///
    /// # Errors
    /// When it can be neither opened nor created.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::File(LogFile { file: open(path)?, path: path.to_owned() }))
    }
}

/// An open log file and where it was opened, so that it can be opened anew after a rotation.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    path: PathBuf,
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// What a client spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// The name, as in a request line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// One request, as the access log tells it. What is empty or absent is left out.
///
/// The names of the JSON fields are promises; `v` is the version of the schema and changes when one
/// of them changes its meaning. The text format has, in this order and parted by single spaces: the
/// time, the client, the request line in quotes, the status, and then `key=value` pairs with the
/// names and the order of the JSON fields. Values are bare where they are numbers, addresses or
/// fixed words, and otherwise stand in quotes, within which `"` and `\` have a backslash and
/// everything outside printable ASCII is `\xHH`.
///
/// | Field | JSON name |
/// |---|---|
/// | (schema version, JSON only) | `v` |
/// | `time_us` | `time`: RFC 3339 in UTC with microseconds |
/// | `client` | `client` |
/// | `peer` | `peer`, when its address is not the client's |
/// | `method`, `path`, `query`, `protocol` | the same |
/// | `status` | `status`; 0 when the client left before an answer |
/// | `tls` | `scheme`, `tls`, `sni` |
/// | `host`, `reason`, `detail` | the same |
/// | `bytes_in`, `bytes_out`, `duration_us` | the same |
/// | `namespace`, `ingress`, `route`, `service` | the same |
/// | `upstream` | `upstream`, `upstream_status`, `upstream_duration_us`, `attempts` |
/// | `request_id`, `generation`, `user_agent`, `referer` | the same |
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// When the request's first byte arrived, in microseconds since the epoch.
    pub time_us: u64,
    /// The client: the peer, or whom trusted proxies name.
    pub client: IpAddr,
    /// Who is connected.
    pub peer: SocketAddr,
    /// The method.
    pub method: &'a [u8],
    /// The host asked for, as received, without port.
    pub host: &'a [u8],
    /// The path as received.
    pub path: &'a [u8],
    /// The query as received, without `?`.
    pub query: Option<&'a [u8]>,
    /// What the client spoke.
    pub protocol: Protocol,
    /// The status sent; 0 when the client left before.
    pub status: u16,
    /// Why the response was made here, such as `no-route`; empty when an endpoint made it.
    pub reason: &'a str,
    /// More about the reason, for people.
    pub detail: &'a str,
    /// Bytes received from the client, head included.
    pub bytes_in: u64,
    /// Bytes sent to the client, head included (HTTP/2: the body alone).
    pub bytes_out: u64,
    /// Time from the first byte received to the last byte sent.
    pub duration_us: u64,
    /// The endpoint that was asked last.
    pub upstream: Option<UpstreamRecord>,
    /// The Ingress's namespace; empty without a route.
    pub namespace: &'a str,
    /// The Ingress's name; empty without a route.
    pub ingress: &'a str,
    /// The route's path as its object wrote it.
    pub route: &'a str,
    /// The upstream's identity, such as `shop/cart:80`.
    pub service: &'a str,
    /// The `X-Request-ID` that was passed on.
    pub request_id: &'a [u8],
    /// The generation that served, as 16 hex digits.
    pub generation: &'a str,
    /// TLS with the client; absent for cleartext.
    pub tls: Option<TlsRecord<'a>>,
    /// The client's `User-Agent`.
    pub user_agent: &'a [u8],
    /// The client's `Referer`.
    pub referer: &'a [u8],
}

/// The endpoint that was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamRecord {
    /// Its address.
    pub address: SocketAddr,
    /// The status that it answered; 0 when it did not.
    pub status: u16,
    /// Time from the choice of the endpoint to the last byte of its answer.
    pub duration_us: u64,
    /// How many endpoints were asked, this one included.
    pub attempts: u32,
}

/// TLS with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsRecord<'a> {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// The server name that the client asked for; empty without.
    pub sni: &'a str,
}

impl AccessRecord<'_> {
    /// A record with nothing but time and peer, to be filled in.
    #[must_use]
    pub fn new(time_us: u64, peer: SocketAddr) -> Self {
        Self {
            time_us,
            client: peer.ip(),
            peer,
            method: b"",
            host: b"",
            path: b"",
            query: None,
            protocol: Protocol::default(),
            status: 0,
            reason: "",
            detail: "",
            bytes_in: 0,
            bytes_out: 0,
            duration_us: 0,
            upstream: None,
            namespace: "",
            ingress: "",
            route: "",
            service: "",
            request_id: b"",
            generation: "",
            tls: None,
            user_agent: b"",
            referer: b"",
        }
    }
}
