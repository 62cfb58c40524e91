//! Writes a head onward: dropped, kept and added fields in few copies.

use crate::{BodyLength, KnownSet, RequestHead, ResponseHead};

/// How a request head differs on its way to the endpoint.
///
/// Always left out: `Connection` and what it names, `Keep-Alive`, `Proxy-Connection`,
/// `Proxy-Authenticate`, `Proxy-Authorization`, `Proxy` (httpoxy), `TE` (rewritten as `TE: trailers`
/// where `te_trailers`), `Trailer` unless the body is chunked, `Transfer-Encoding`, `Content-Length`,
/// `Upgrade` (rewritten where `upgrade`), `Expect` unless `expect_continue`. Framing is written anew.
#[derive(Debug)]
pub struct RequestEdits<'a> {
    /// Replaces path and query (origin-form).
    pub path_and_query: Option<&'a [u8]>,
    /// Replaces `Host`; absent means the head's authority, or nothing for HTTP/1.0 without Host
    /// (then an empty `Host:` is written, for HTTP/1.1 is spoken upstream).
    pub host: Option<&'a [u8]>,
    /// Further fields to leave out.
    pub drop: KnownSet,
    /// Leave out every field whose name has `_`.
    pub drop_underscore: bool,
    /// Whole lines `Name: value\r\n` to add at the end.
    pub add: &'a [u8],
    /// How the body is framed upstream (`UntilClose` is not possible).
    pub body: BodyLength,
    /// Write `Connection: upgrade` and the head's `Upgrade` value.
    pub upgrade: bool,
    /// Write `Expect: 100-continue`.
    pub expect_continue: bool,
}

/// How a response head differs on its way to the client.
///
/// Always left out: hop-by-hop fields and what `Connection` names; framing is written anew.
#[derive(Debug)]
pub struct ResponseEdits<'a> {
    /// Further fields to leave out.
    pub drop: KnownSet,
    /// Whole lines to add at the end.
    pub add: &'a [u8],
    /// How the body is framed downstream. For HEAD and 304 the original Content-Length is kept.
    pub body: BodyLength,
    /// The client's version; HTTP/1.0 never gets chunked.
    pub version: crate::Version,
    /// Write `Connection: close` (or `keep-alive` for an HTTP/1.0 client that asked).
    pub keep_alive: bool,
    /// 101: write `Connection: upgrade` and keep `Upgrade`.
    pub upgrade: bool,
}

/// Appends the request head.
pub fn write_request(out: &mut Vec<u8>, buf: &[u8], head: &RequestHead, edits: &RequestEdits<'_>) { todo!() }

/// Appends the response head. Status line is `HTTP/1.1` always, with the reason kept.
pub fn write_response(out: &mut Vec<u8>, buf: &[u8], head: &ResponseHead, edits: &ResponseEdits<'_>) { todo!() }

/// Appends `hex CRLF`.
pub fn write_chunk_size(out: &mut Vec<u8>, payload: usize) { todo!() }

/// Appends `0 CRLF`, the trailer lines, CRLF.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) { todo!() }
