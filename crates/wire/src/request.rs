//! Request heads: parse, or refuse.

use crate::{BodyLength, Field, Refusal, Span};

/// Bounds on one head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head; more is 431 (or 414 when the target alone is longer).
    pub bytes_max: usize,
    /// Number of fields; more is 431. At most 256.
    pub fields_max: usize,
    /// Bytes of the request target; more is 414.
    pub target_bytes_max: usize,
}

/// Whether a head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The head is in the first `n` bytes; what follows belongs to the body or the next message.
    Complete(usize),
    /// More bytes are needed.
    Partial,
}

/// HTTP/1.0 or HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// The methods that we treat apart, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Get, Head, Post, Put, Delete, Options, Patch, Trace, Connect,
    /// Any other token; its text is `RequestHead::method_text`.
    Other,
}

/// The form of a request target (RFC 9112 section 3.2), reduced to what is routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`, also what remains of absolute-form.
    #[default]
    Origin,
    /// `*` of `OPTIONS *`.
    Asterisk,
}

/// A request head as ranges over its buffer. Reused from message to message: parsing clears it.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_text: Span,
    /// The form of the target.
    pub target: Target,
    /// Path and query as sent, origin-form: for absolute-form the part after the authority; empty
    /// path of absolute-form gives an empty span, to be read as `/`.
    pub path_and_query: Span,
    /// The path part of `path_and_query`.
    pub path: Span,
    /// The query with its `?`, or empty.
    pub query: Span,
    /// The version.
    pub version: Version,
    /// The authority: `Host`'s value, or absolute-form's authority (which must be equal); `None`
    /// only for HTTP/1.0 without Host.
    pub authority: Option<Span>,
    /// The fields in the order of arrival.
    pub fields: Vec<Field>,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the client lets the connection live after this exchange.
    pub keep_alive: bool,
    /// `Upgrade`'s value, when `Connection: upgrade` is there too (HTTP/1.1 only).
    pub upgrade: Option<Span>,
    /// `Expect: 100-continue` with a body to come.
    pub expect_continue: bool,
    /// `TE: trailers` was sent.
    pub te_trailers: bool,
    /// Bytes of the head, blank line included.
    pub bytes: usize,
    /// Where the search for the end of the head goes on: nothing is scanned twice.
    pub(crate) scanned: usize,
}

impl RequestHead {
    /// Forgets the message, keeps the allocation. Call before the first bytes of each message.
    pub fn clear(&mut self) { todo!() }

    /// Parses the head at the start of `buf`. Call again with more bytes after `Parse::Partial`.
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Parse, Refusal> { todo!() }

    /// The first field of this kind.
    #[must_use]
    pub fn field(&self, known: crate::Known) -> Option<&Field> { todo!() }
}
