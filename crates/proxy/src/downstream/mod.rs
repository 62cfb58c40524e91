//! From a socket to a request, and back: the client's side of an exchange.

pub(crate) mod accept;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod tickets;
pub(crate) mod tls;

use std::task::{Context, Poll};

use wire::ResponseHead;

use crate::answer::Answer;
use crate::buffer::Input;
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Piece, Work};
use crate::worker::Worker;

/// A request as its client sent it, whatever the protocol, and the way back.
pub(crate) enum Downstream<'c> {
    /// HTTP/1.0 and HTTP/1.1.
    Http1(http1::Stream<'c>),
    /// HTTP/2.
    Http2(Box<http2::Stream>),
}

/// An endpoint's response head on its way to the client, with what of the body came along.
pub(crate) struct Begin<'a> {
    pub(crate) head: &'a ResponseHead,
    /// The bytes that the head was parsed from.
    pub(crate) bytes: &'a [u8],
    /// Payload that is there already.
    pub(crate) first: &'a [u8],
    /// The payload lies right behind the head in `bytes`.
    pub(crate) is_contiguous: bool,
    /// The payload is complete; these are its trailers.
    pub(crate) end: Option<&'a [u8]>,
    /// Remove the endpoint's `Server` field.
    pub(crate) remove_server: bool,
}

macro_rules! each {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self {
            Self::Http1($stream) => $do,
            Self::Http2($stream) => $do,
        }
    };
}

impl Downstream<'_> {
    /// The working memory with the request.
    pub(crate) fn work(&self) -> &Work {
        each!(self, stream => stream.work())
    }

    /// The working memory with the request.
    pub(crate) fn work_mut(&mut self) -> &mut Work {
        each!(self, stream => stream.work_mut())
    }

    /// Sends an informational response (1xx, but 100 and 101). HTTP/1.0 clients hear nothing.
    pub(crate) fn inform(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), ProxyError> {
        each!(self, stream => stream.inform(cx, head, bytes))
    }

    /// Sends a response head and what there is of its body.
    pub(crate) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        begin: &Begin<'_>,
    ) -> Result<(), ProxyError> {
        each!(self, stream => stream.begin(cx, worker, begin))
    }

    /// Switches to a tunnel with the endpoint's 101 (or 200 for an extended CONNECT).
    pub(crate) fn begin_tunnel(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), ProxyError> {
        each!(self, stream => stream.begin_tunnel(cx, head, bytes))
    }

    /// Sends an answer made here.
    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        answer: &Answer<'_>,
    ) -> Result<(), ProxyError> {
        each!(self, stream => stream.answer(cx, worker, answer))
    }

    /// Bytes of the response head that was sent; none on HTTP/2, where what they become is h2's.
    pub(crate) fn head_bytes(&self) -> u64 {
        match self {
            Self::Http1(stream) => stream.head_bytes(),
            Self::Http2(_) => 0,
        }
    }

    /// Whether a response head was sent.
    pub(crate) fn has_begun(&self) -> bool {
        each!(self, stream => stream.has_begun())
    }

    /// Whether the request has a body of which something is still to come from the network.
    pub(crate) fn body_is_pending(&self) -> bool {
        each!(self, stream => stream.body_is_pending())
    }

    /// Whether the request has a body at all.
    pub(crate) fn has_body(&self) -> bool {
        each!(self, stream => stream.has_body())
    }

    /// Ends the exchange in a way the client takes for a failure, not for a complete response.
    pub(crate) fn reset(&mut self, error: &ProxyError) {
        each!(self, stream => stream.reset(error));
    }

    /// Ready when there is room to begin an answer.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http1(_) => Poll::Ready(()),
            Self::Http2(stream) => stream.poll_begin(cx),
        }
    }

    /// Ready when the client has gone away.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        each!(self, stream => stream.poll_gone(cx))
    }

    /// The protocol's name for log and echo.
    pub(crate) fn protocol(&self) -> telemetry::Protocol {
        match self {
            Self::Http1(stream) => stream.protocol(),
            Self::Http2(_) => telemetry::Protocol::Http2,
        }
    }

    /// The socket, where bytes may pass to it without being looked at.
    pub(crate) fn plain_sink(&mut self) -> Option<&tokio::net::TcpStream> {
        match self {
            Self::Http1(stream) => stream.plain_sink(),
            Self::Http2(_) => None,
        }
    }
}

impl BodySource for Downstream<'_> {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<Piece, ProxyError>> {
        each!(self, stream => stream.poll_piece(cx, scratch))
    }

    fn own(&self) -> &Input {
        each!(self, stream => stream.own())
    }

    fn release(&mut self, piece: &Piece) {
        each!(self, stream => stream.release(piece));
    }

    fn trailers(&self) -> &[u8] {
        each!(self, stream => stream.trailers())
    }
}

impl BodySink for Downstream<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ProxyError>> {
        each!(self, stream => stream.poll_ready(cx))
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        each!(self, stream => stream.write(cx, data, end))
    }

    fn rest(&mut self) {
        each!(self, stream => stream.rest());
    }

    fn is_holding(&self) -> bool {
        each!(self, stream => stream.is_holding())
    }

    fn is_crowding(&self) -> bool {
        each!(self, stream => stream.is_crowding())
    }

    fn progress(&self) -> u64 {
        each!(self, stream => stream.progress())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        each!(self, stream => stream.poll_flush(cx))
    }
}
