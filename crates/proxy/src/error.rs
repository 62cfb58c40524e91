//! What goes wrong with a request, whose fault it is, and what the client is told.

use std::io;

use wire::Refusal;

/// Whose fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The endpoint's.
    Upstream,
    /// Ours, or the configuration's.
    Ours,
}

/// What went wrong with one exchange.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("refused: {}", .0.reason())]
    Refused(Refusal),
    #[error("the client closed")]
    ClientClosed,
    #[error("the client's connection failed: {0}")]
    ClientIo(io::Error),
    #[error("the request head took too long")]
    HeadTimeout,
    #[error("the request body took too long")]
    BodyTimeout,
    #[error("the client does not read")]
    ClientStalled,
    #[error("the request heads of the connection are too large together")]
    Http2Memory,
    #[error("the stream holds memory without window")]
    Http2Stalled,
    #[error("the request body is larger than allowed")]
    BodyTooLarge,
    #[error("no endpoint")]
    NoEndpoint,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("connecting took too long")]
    ConnectTimeout,
    #[error("the endpoint's connection failed: {0}")]
    UpstreamIo(io::Error),
    #[error("the endpoint closed before it answered")]
    UpstreamClosed,
    #[error("the endpoint's answer is malformed: {}", .0.reason())]
    UpstreamMalformed(Refusal),
    #[error("the endpoint answered 101 unasked")]
    UpstreamUpgrade,
    #[error("the endpoint did not switch to a WebSocket")]
    UpstreamNoUpgrade,
    #[error("the endpoint sent informational answers without end")]
    UpstreamInformational,
    #[error("the endpoint took too long")]
    UpstreamTimeout,
    #[error("HTTP/2 with the endpoint failed: {0}")]
    UpstreamHttp2(h2::Error),
    #[error("HTTP/2 with the client failed: {0}")]
    ClientHttp2(h2::Error),
    #[error("the same request came by too often")]
    Loop,
    #[error("stopping")]
    Stopping,
    #[error("its route, certificate or listener was withdrawn")]
    Withdrawn,
}

impl ProxyError {
    /// Whose fault.
    pub(crate) fn side(&self) -> Side {
        match self {
            Self::Refused(_)
            | Self::ClientClosed
            | Self::ClientIo(_)
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::ClientStalled
            | Self::Http2Memory
            | Self::Http2Stalled
            | Self::BodyTooLarge
            | Self::ClientHttp2(_)
            | Self::Loop => Side::Downstream,
            Self::NoEndpoint | Self::Stopping | Self::Withdrawn => Side::Ours,
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::UpstreamIo(_)
            | Self::UpstreamClosed
            | Self::UpstreamMalformed(_)
            | Self::UpstreamUpgrade
            | Self::UpstreamNoUpgrade
            | Self::UpstreamInformational
            | Self::UpstreamTimeout
            | Self::UpstreamHttp2(_) => Side::Upstream,
        }
    }

    /// The status the client gets, or that the log shows where nobody is left to answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::ClientClosed
            | Self::ClientIo(_)
            | Self::ClientStalled
            | Self::Http2Memory
            | Self::Http2Stalled
            | Self::ClientHttp2(_) => 499,
            Self::HeadTimeout | Self::BodyTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::NoEndpoint | Self::Stopping | Self::Withdrawn => 503,
            Self::Connect(_)
            | Self::UpstreamIo(_)
            | Self::UpstreamClosed
            | Self::UpstreamMalformed(_)
            | Self::UpstreamUpgrade
            | Self::UpstreamNoUpgrade
            | Self::UpstreamInformational
            | Self::UpstreamHttp2(_) => 502,
            Self::ConnectTimeout | Self::UpstreamTimeout => 504,
            Self::Loop => 508,
        }
    }

    /// The stable reason in log and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::ClientClosed => "client-closed",
            Self::ClientIo(_) => "client-reset",
            Self::HeadTimeout => "request-head-timeout",
            Self::BodyTimeout => "request-body-timeout",
            Self::ClientStalled => "client-stalled",
            Self::Http2Memory => "http2-memory",
            Self::Http2Stalled => "http2-stalled",
            Self::BodyTooLarge => "body-too-large",
            Self::NoEndpoint => "no-endpoint",
            Self::Connect(_) => "connect-failed",
            Self::ConnectTimeout => "connect-timeout",
            Self::UpstreamIo(_) => "upstream-reset",
            Self::UpstreamClosed => "upstream-closed",
            Self::UpstreamMalformed(_) => "upstream-malformed",
            Self::UpstreamUpgrade => "upstream-unasked-upgrade",
            Self::UpstreamNoUpgrade => "upstream-no-upgrade",
            Self::UpstreamInformational => "upstream-informational-flood",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamHttp2(_) => "upstream-http2-error",
            Self::ClientHttp2(_) => "client-http2-error",
            Self::Loop => "loop",
            Self::Stopping => "stopping",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A worker thread or its runtime.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// The TLS configuration.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}
