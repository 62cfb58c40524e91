//! What the tests of this crate share.

#![allow(dead_code, reason = "each test file uses its part")]

use wire::{
    BodyDecoder, BodyLength, HeadLimits, Method, Parse, Refusal, RequestHead, ResponseHead,
};

/// Small limits, so that a test for a limit is short.
pub(crate) const LIMITS: HeadLimits =
    HeadLimits { bytes_max: 4096, fields_max: 16, target_bytes_max: 1024 };

/// How many bytes of trailers the tests allow.
pub(crate) const TRAILER_BYTES_MAX: usize = 256;

/// Parses a complete request head.
pub(crate) fn request(bytes: &[u8]) -> Result<RequestHead, Refusal> {
    let mut head = RequestHead::default();
    match head.parse(bytes, &LIMITS)? {
        Parse::Complete(_) => Ok(head),
        Parse::Partial => panic!("incomplete: {:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Parses a complete response head.
pub(crate) fn response(bytes: &[u8], method: Method) -> Result<ResponseHead, Refusal> {
    let mut head = ResponseHead::default();
    match head.parse(bytes, method, &LIMITS)? {
        Parse::Complete(_) => Ok(head),
        Parse::Partial => panic!("incomplete: {:?}", String::from_utf8_lossy(bytes)),
    }
}

/// A body as far as its bytes went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// The payload.
    pub payload: Vec<u8>,
    /// How many bytes belonged to it.
    pub consumed: usize,
    /// Whether it is complete.
    pub ended: bool,
    /// Its trailers.
    pub trailers: Vec<u8>,
}

/// Decodes a body that arrives in these pieces.
pub(crate) fn body_in_pieces<'a>(
    length: BodyLength,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Body, Refusal> {
    let mut decoder = BodyDecoder::new(length, TRAILER_BYTES_MAX);
    let mut body = Body::default();
    for piece in pieces {
        let mut buf = piece.to_vec();
        let decoded = decoder.decode(&mut buf)?;
        assert_eq!(
            buf[decoded.consumed..],
            piece[decoded.consumed..],
            "bytes after the body moved"
        );
        body.payload.extend_from_slice(&buf[..decoded.payload]);
        body.consumed += decoded.consumed;
        body.ended = decoded.ended;
        assert_eq!(decoded.ended, decoder.ended());
        assert!(decoded.ended || decoded.consumed == piece.len(), "bytes were left");
    }
    body.ended = decoder.ended();
    body.trailers = decoder.trailers().to_vec();
    Ok(body)
}

/// Decodes a body that arrives at once.
pub(crate) fn body(length: BodyLength, bytes: &[u8]) -> Result<Body, Refusal> {
    body_in_pieces(length, [bytes])
}

/// Decodes a chunked body that must be complete.
pub(crate) fn chunked(bytes: &[u8]) -> Result<Body, Refusal> {
    let body = body(BodyLength::Chunked, bytes)?;
    if body.ended { Ok(body) } else { Err(Refusal::BodyIncomplete) }
}

/// The bytes as text for messages.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
