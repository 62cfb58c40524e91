//! Response heads from upstream: parse, or refuse. Endpoints are trusted no more than clients.

use crate::{BodyLength, Field, HeadLimits, Method, Parse, Refusal, Span, Version};

/// A response head as ranges over its buffer.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// 100 to 599 (anything else is refused).
    pub status: u16,
    /// The reason phrase as sent; may be empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// The fields in the order of arrival.
    pub fields: Vec<Field>,
    /// How the body is delimited, given the request's method (HEAD, 204, 304, 1xx have none).
    pub body: BodyLength,
    /// Whether the endpoint lets the connection live.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=n`, in seconds.
    pub keep_alive_timeout: Option<u32>,
    /// Has at least one field that may not be forwarded as it is (hop-by-hop, nominated, framing
    /// other than one plain Content-Length): the head must be rewritten.
    pub needs_rewrite: bool,
    /// Bytes of the head, blank line included.
    pub bytes: usize,
    pub(crate) scanned: usize,
}

impl ResponseHead {
    /// Forgets the message, keeps the allocation.
    pub fn clear(&mut self) { todo!() }

    /// Parses the head at the start of `buf`, as the answer to a `request` method.
    pub fn parse(&mut self, buf: &[u8], request: Method, limits: &HeadLimits) -> Result<Parse, Refusal> { todo!() }

    /// The first field of this kind.
    #[must_use]
    pub fn field(&self, known: crate::Known) -> Option<&Field> { todo!() }
}
