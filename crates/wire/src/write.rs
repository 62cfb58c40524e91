//! Writes a head onward: dropped, kept and added fields in few copies.
//!
//! Kept field lines that follow each other are copied as one run, byte for byte. Framing is written
//! anew from a [`BodyLength`], never copied, so that the next reader delimits the body as we did.

use crate::field::{Field, Known, KnownSet};
use crate::{BodyLength, RequestHead, ResponseHead, Target, Version};

/// How a request head differs on its way to the endpoint.
///
/// Always left out: `Connection` and what it names, `Keep-Alive`, `Proxy-Connection`,
/// `Proxy-Authenticate`, `Proxy-Authorization`, `Proxy` (httpoxy), `TE` (rewritten as `TE:
/// trailers`
/// where `te_trailers`), `Trailer` unless the body is chunked, `Transfer-Encoding`,
/// `Content-Length`,
/// `Upgrade` (rewritten where `upgrade`), `Expect` unless `expect_continue`, and every field that
/// shadows a guarded one ([`Field::shadows`]). Framing is written anew.
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
    /// How the body is framed downstream. `None` says that no body bytes follow and is for HEAD,
    /// 304, 204 and 1xx alone (an empty body is `Length(0)`). For HEAD and 304 the original
    /// Content-Length is kept.
    pub body: BodyLength,
    /// The client's version; HTTP/1.0 never gets chunked.
    pub version: Version,
    /// Write `Connection: close` (or `keep-alive` for an HTTP/1.0 client that asked).
    pub keep_alive: bool,
    /// 101: write `Connection: upgrade` and keep `Upgrade`.
    pub upgrade: bool,
}

/// What never goes to the endpoint as it came.
const REQUEST_DROP: KnownSet = KnownSet::HOP_BY_HOP.union(KnownSet::of(&[
    Known::Host,
    Known::ContentLength,
    Known::Expect,
    Known::Proxy,
]));

/// What never goes to the client as it came.
const RESPONSE_DROP: KnownSet =
    KnownSet::HOP_BY_HOP.union(KnownSet::of(&[Known::ContentLength, Known::Proxy]));

/// The announcement of trailers: kept where trailers can be sent on.
const TRAILER: KnownSet = KnownSet::of(&[Known::Trailer]);

/// Appends the request head.
pub fn write_request(out: &mut Vec<u8>, buf: &[u8], head: &RequestHead, edits: &RequestEdits<'_>) {
    write_request_with(out, buf, head, edits, |_| true);
}

/// Appends the request head, leaving out fields that `keep` does not want as well: for names that
/// only the configuration knows.
pub fn write_request_with(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &RequestHead,
    edits: &RequestEdits<'_>,
    keep: impl Fn(&Field) -> bool,
) {
    debug_assert!(edits.body != BodyLength::UntilClose, "a request has an end");
    out.reserve(head.bytes + edits.add.len() + 128);
    out.extend_from_slice(head.method_text.of(buf));
    out.push(b' ');
    write_target(out, buf, head, edits.path_and_query);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    let authority = head.authority.map_or(&[][..], |authority| authority.of(buf));
    out.extend_from_slice(edits.host.unwrap_or(authority));
    out.extend_from_slice(b"\r\n");

    let mut drop = REQUEST_DROP.union(edits.drop);
    if edits.body == BodyLength::Chunked {
        drop = drop.without(TRAILER.without(edits.drop));
    }
    copy_fields(out, buf, &head.fields, |field| {
        let is_barred =
            field.nominated || field.shadows || edits.drop_underscore && field.underscore;
        !drop.contains(field.known) && !is_barred && keep(field)
    });

    write_framing(out, edits.body);
    match head.upgrade {
        Some(upgrade) if edits.upgrade => write_upgrade(out, upgrade.of(buf)),
        // Without `Connection: TE` the next hop would have to ignore it (RFC 9110 section 10.1.4).
        _ if head.te_trailers => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        _ => {}
    }
    if edits.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    out.extend_from_slice(edits.add);
    out.extend_from_slice(b"\r\n");
}

fn write_target(out: &mut Vec<u8>, buf: &[u8], head: &RequestHead, replacement: Option<&[u8]>) {
    if let Some(replacement) = replacement {
        out.extend_from_slice(replacement);
        return;
    }
    if head.path.is_empty() {
        out.push(if head.target == Target::Asterisk { b'*' } else { b'/' });
    }
    out.extend_from_slice(head.path_and_query.of(buf));
}

/// Appends the response head. Status line is `HTTP/1.1` always, with the reason kept.
pub fn write_response(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    edits: &ResponseEdits<'_>,
) {
    write_response_with(out, buf, head, edits, |_| true);
}

/// Appends the response head, leaving out fields that `keep` does not want as well.
pub fn write_response_with(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    edits: &ResponseEdits<'_>,
    keep: impl Fn(&Field) -> bool,
) {
    out.reserve(head.bytes + edits.add.len() + 128);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(head.status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.reason.of(buf));
    out.extend_from_slice(b"\r\n");

    let is_chunked = edits.body == BodyLength::Chunked && edits.version == Version::Http11;
    let mut drop = RESPONSE_DROP.union(edits.drop);
    if is_chunked {
        drop = drop.without(TRAILER.without(edits.drop));
    }
    let is_bodiless = matches!(head.status, 100..=199 | 204);
    if edits.body == BodyLength::None && !is_bodiless {
        // HEAD and 304 tell the length of what they do not send. It was read as a plain number.
        let length = KnownSet::of(&[Known::ContentLength]);
        drop = drop.without(length.without(edits.drop));
    }
    copy_fields(out, buf, &head.fields, |field| {
        !drop.contains(field.known) && !field.nominated && keep(field)
    });

    if !is_bodiless {
        write_framing(out, if is_chunked { BodyLength::Chunked } else { unchunked(edits.body) });
    }
    write_response_connection(out, buf, head, edits);
    out.extend_from_slice(edits.add);
    out.extend_from_slice(b"\r\n");
}

/// A body that is not framed as chunked ends with the connection if its length is unknown.
fn unchunked(body: BodyLength) -> BodyLength {
    if body == BodyLength::Chunked { BodyLength::UntilClose } else { body }
}

fn write_response_connection(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    edits: &ResponseEdits<'_>,
) {
    let upgrade = head.field(Known::Upgrade).map_or(&[][..], |upgrade| upgrade.value.of(buf));
    if edits.upgrade {
        write_upgrade(out, upgrade);
        return;
    }
    if head.status < 200 {
        return;
    }
    let ends_with_connection = edits.body == BodyLength::UntilClose
        || edits.body == BodyLength::Chunked && edits.version == Version::Http10;
    let keep_alive = edits.keep_alive && !ends_with_connection;
    // 426 tells which protocol it wants (RFC 9110 section 15.5.22).
    if head.status == 426 && !upgrade.is_empty() {
        write_upgrade(out, upgrade);
    }
    match (keep_alive, edits.version) {
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (true, Version::Http11) => {}
    }
}

/// Appends `hex CRLF`.
pub fn write_chunk_size(out: &mut Vec<u8>, payload: usize) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    let mut start = digits.len();
    let mut rest = payload;
    while rest > 0 || start == digits.len() {
        start -= 1;
        digits[start] = HEX[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[start..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends `0 CRLF`, the trailer lines, CRLF.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// Copies maximal runs of kept lines.
fn copy_fields(out: &mut Vec<u8>, buf: &[u8], fields: &[Field], keep: impl Fn(&Field) -> bool) {
    let mut run: Option<crate::Span> = None;
    for field in fields {
        if !keep(field) {
            continue;
        }
        match &mut run {
            Some(run) if run.end == field.line.start => run.end = field.line.end,
            _ => {
                if let Some(done) = run.replace(field.line) {
                    out.extend_from_slice(done.of(buf));
                }
            }
        }
    }
    if let Some(done) = run {
        out.extend_from_slice(done.of(buf));
    }
}

fn write_framing(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        BodyLength::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
    out.extend_from_slice(protocol);
    out.extend_from_slice(b"\r\n");
}
