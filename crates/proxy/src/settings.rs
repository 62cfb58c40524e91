//! What the operator set for the data plane, with its defaults. Plain data, shared by all workers.

use std::time::Duration;

use ipnet::IpNet;

/// Settings of the proxy that hold for the life of the process.
#[derive(Clone, Debug)]
pub struct ProxySettings {
    /// Number of worker threads, at least 1.
    pub workers: usize,
    /// Peers whose `X-Forwarded-*` are believed. Empty: nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Answered 200 on the traffic listeners whatever the host (503 while draining).
    pub health_path: Option<String>,
    /// A request on a reused connection that was closed before any answer is sent once more.
    pub retry_reused: bool,
    /// Value of the `Server` field where the endpoint sent none.
    pub server_name: String,
    /// Every bound.
    pub limits: Limits,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            workers: 1,
            trusted_proxies: Vec::new(),
            health_path: None,
            retry_reused: true,
            server_name: "portcullis".to_owned(),
            limits: Limits::default(),
        }
    }
}

/// Every bound of the data plane. What happens at each stands beside it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request head; more is 431.
    pub head_bytes_max: usize,
    /// Fields of a request head; more is 431.
    pub head_fields_max: usize,
    /// Bytes of a request target; more is 414.
    pub target_bytes_max: usize,
    /// From a request's first byte to the end of its head; later is 408 and close.
    pub head_timeout: Duration,
    /// Between two reads of a request body; later is 408 and close.
    pub body_idle_timeout: Duration,
    /// Least rate of a request body in bytes per second after ten seconds; 0 is off; slower is 408.
    pub body_rate_min: u64,
    /// Largest request body where the route sets none; more is 413. `None` is no limit.
    pub body_bytes_max: Option<u64>,
    /// Bytes of trailers; more is refused like a bad body.
    pub trailer_bytes_max: usize,
    /// An idle client connection is closed after this time.
    pub keep_alive_timeout: Duration,
    /// After this many requests the connection is closed politely.
    pub requests_per_connection_max: u64,
    /// After this time the connection is closed politely.
    pub connection_age_max: Duration,
    /// Between two successful writes to a client; later the connection is reset.
    pub write_idle_timeout: Duration,
    /// For the TLS handshake; later the connection is closed.
    pub handshake_timeout: Duration,
    /// Open client connections over all workers; further ones are closed at once.
    pub connections_max: usize,
    /// Concurrent streams of one HTTP/2 connection; more are refused by `REFUSED_STREAM`.
    pub http2_streams_max: u32,
    /// Flow-control window of one HTTP/2 stream, in bytes.
    pub http2_stream_window: u32,
    /// Flow-control window of one HTTP/2 connection, in bytes.
    pub http2_connection_window: u32,
    /// Streams that a client may reset in 30 s on one connection; more ends it by GOAWAY.
    pub http2_resets_max: u32,
    /// Heads and buffered bodies of one HTTP/2 connection over all its streams; at the bound nobody
    /// is read who feeds it, and more heads than half of it are `REFUSED_STREAM`.
    pub http2_memory_max: usize,
    /// A stream that holds such memory without window is reset after this time, while half of it is
    /// in use.
    pub http2_stalled_timeout: Duration,
    /// To establish a connection to an endpoint; later the next endpoint is tried, then 504.
    pub connect_timeout: Duration,
    /// For an endpoint's response head, and between two reads of its body; later is 504 or a reset.
    pub response_timeout: Duration,
    /// Bytes of a response head; more is 502.
    pub response_head_bytes_max: usize,
    /// Fields of a response head; more is 502.
    pub response_fields_max: usize,
    /// Informational responses before a final one; more is 502.
    pub informational_max: u32,
    /// Idle connections kept per endpoint and worker; further ones are closed.
    pub upstream_idle_max: usize,
    /// An idle upstream connection retires after this time, or earlier where its endpoint said so.
    pub upstream_idle_timeout: Duration,
    /// Upgraded connections that move no byte for this time are closed.
    pub tunnel_idle_timeout: Duration,
    /// What is in flight when its route, certificate or listener is withdrawn ends after this time.
    pub withdrawn_timeout: Duration,
    /// Passes through proxies of this name before a request is called a loop (508).
    pub loop_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            head_fields_max: 100,
            target_bytes_max: 16 * 1024,
            head_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_mins(1),
            body_rate_min: 240,
            body_bytes_max: None,
            trailer_bytes_max: 8 * 1024,
            keep_alive_timeout: Duration::from_secs(75),
            requests_per_connection_max: 10_000,
            connection_age_max: Duration::from_hours(1),
            write_idle_timeout: Duration::from_mins(1),
            handshake_timeout: Duration::from_secs(10),
            connections_max: 50_000,
            http2_streams_max: 100,
            http2_stream_window: 64 * 1024,
            http2_connection_window: 1024 * 1024,
            http2_resets_max: 100,
            http2_memory_max: 2 * 1024 * 1024,
            http2_stalled_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_mins(1),
            response_head_bytes_max: 64 * 1024,
            response_fields_max: 200,
            informational_max: 8,
            upstream_idle_max: 256,
            upstream_idle_timeout: Duration::from_mins(1),
            tunnel_idle_timeout: Duration::from_hours(1),
            withdrawn_timeout: Duration::from_mins(5),
            loop_max: 10,
        }
    }
}
