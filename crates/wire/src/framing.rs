//! Where a body ends: content-length, chunked, until close.

use crate::Refusal;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    #[default]
    None,
    /// This many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends (responses only).
    UntilClose,
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Payload bytes, now at `buf[..payload]`.
    pub payload: usize,
    /// Input bytes that belong to this body; `buf[consumed..]` is untouched.
    pub consumed: usize,
    /// The body is complete.
    pub ended: bool,
}

/// Finds a body's payload and end. Chunked payload is moved to the front of the given buffer, so
/// that each read gives one contiguous run whatever the chunking.
#[derive(Debug)]
pub struct BodyDecoder { _todo: () }

impl BodyDecoder {
    /// A decoder at the start of a body. Trailers over `trailer_bytes_max` are refused.
    #[must_use]
    pub fn new(length: BodyLength, trailer_bytes_max: usize) -> Self { todo!() }

    /// Takes bytes that were read. With `Length` and `UntilClose` nothing moves.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, Refusal> { todo!() }

    /// Whether the body is complete.
    #[must_use]
    pub fn ended(&self) -> bool { todo!() }

    /// Bytes that are still to come, where known (`Length`).
    #[must_use]
    pub fn remaining(&self) -> Option<u64> { todo!() }

    /// Counts `n` payload bytes of a `Length` body that were moved without passing through here
    /// (splice). `n` is at most `remaining`.
    pub fn advance(&mut self, n: u64) { todo!() }

    /// The connection ended: completes `UntilClose`, refuses any other unfinished body.
    pub fn end_of_input(&mut self) -> Result<(), Refusal> { todo!() }

    /// Trailer fields as `Name: value\r\n` lines, forbidden ones (RFC 9110 section 6.5.1: framing,
    /// routing, authentication, hop-by-hop, content) left out; empty without trailers.
    #[must_use]
    pub fn trailers(&self) -> &[u8] { todo!() }
}
