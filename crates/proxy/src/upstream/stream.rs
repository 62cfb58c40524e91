//! An endpoint's side of an exchange, whatever it speaks.

use std::task::{Context, Poll};

use wire::ResponseHead;

use crate::buffer::Input;
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Piece};
use crate::upstream::{http1, http2};

/// A request at an endpoint, and its answer.
pub(crate) enum UpstreamStream {
    /// HTTP/1.1 on a connection of its own.
    Http1(Box<http1::Stream>),
    /// A stream of an HTTP/2 connection.
    Http2(Box<http2::Stream>),
}

macro_rules! each {
    ($self:ident, $stream:ident => $do:expr) => {
        match $self {
            Self::Http1($stream) => $do,
            Self::Http2($stream) => $do,
        }
    };
}

impl UpstreamStream {
    /// Ready when a response head is there: informational ones too, one after the other.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        each!(self, stream => stream.poll_head(cx))
    }

    /// The head, and the bytes it was parsed from.
    pub(crate) fn head(&self) -> (&ResponseHead, &[u8]) {
        each!(self, stream => stream.head())
    }

    /// Payload that arrived together with the head.
    pub(crate) fn first_piece(&mut self) -> Result<Option<Piece>, ProxyError> {
        match self {
            Self::Http1(stream) => stream.first_piece(),
            Self::Http2(stream) => Ok(stream.first_piece()),
        }
    }

    /// From now on bytes pass as they are.
    pub(crate) fn begin_tunnel(&mut self) {
        match self {
            Self::Http1(stream) => stream.begin_tunnel(),
            // Only an answer of 101 begins a tunnel, and HTTP/2 has none.
            Self::Http2(_) => {}
        }
    }
}

impl BodySource for UpstreamStream {
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

impl BodySink for UpstreamStream {
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

    fn progress(&self) -> u64 {
        each!(self, stream => stream.progress())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        each!(self, stream => stream.poll_flush(cx))
    }
}
