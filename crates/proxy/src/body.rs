//! Bodies on their way, whatever the protocol: what receives one, what sends one, and the pieces
//! that pass between them.
//!
//! Nothing is collected: a piece is read when the sink has room, and handed over before the next.

use std::task::{Context, Poll};

use crate::buffer::Input;
use crate::error::ProxyError;

/// Some payload, and where it lies.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Where.
    pub(crate) place: Place,
    /// How many bytes.
    pub(crate) len: usize,
    /// Nothing follows but trailers.
    pub(crate) ended: bool,
}

/// Where a piece lies.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the source's own buffer, from here on.
    Own(usize),
    /// At the front of the worker's scratch.
    Scratch,
    /// In shared memory of the HTTP/2 library.
    Shared(bytes::Bytes),
}

/// A body that is received.
pub(crate) trait BodySource {
    /// The next piece; at most `scratch` is read at once.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<Piece, ProxyError>>;

    /// The source's own buffer, for pieces that lie there.
    fn own(&self) -> &Input;

    /// A piece was handed over.
    fn release(&mut self, piece: &Piece);

    /// Trailer lines, once the body has ended.
    fn trailers(&self) -> &[u8];
}

/// A body that is sent.
pub(crate) trait BodySink {
    /// Ready when another piece may be written; the number is how large it may be.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ProxyError>>;

    /// Sends a piece; with `end`, the last one and the trailers. Call after `poll_ready`.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError>;

    /// Whether it holds what its peer has no window for.
    fn is_holding(&self) -> bool {
        false
    }

    /// Whether others of its connection wait for the memory that it holds.
    fn is_crowding(&self) -> bool {
        false
    }

    /// There is nothing to send for now: what was kept for this sink alone is given back.
    fn rest(&mut self) {}

    /// A number that changes whenever the socket takes something of what waits in our memory.
    fn progress(&self) -> u64 {
        0
    }

    /// Ready when nothing waits in our memory.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>>;
}
