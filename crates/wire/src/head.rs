//! What request and response heads share: finding the end, tokenising fields, reading framing.
//!
//! A head is taken in two steps. [`find_end`] looks for the blank line in bytes that arrive bit by
//! bit, never at the same byte twice, and insists that each LF follows a CR: httparse would accept
//! a
//! lone LF, and lines are copied onward verbatim. Then the complete head is tokenised once, by
//! httparse, and every field classified. What is refused does not depend on how the bytes arrived.

use httparse::Header;

use crate::field::{Field, Known, KnownSet, Span};
use crate::text::{is_blank, is_token, is_value_byte, members, trim};
use crate::{HeadLimits, Refusal, Version};

/// The most fields that any limit allows: the size of the tokeniser's array on the stack.
pub(crate) const FIELDS_MAX: usize = 256;
/// The longest head that any limit allows; spans count in 32 bits.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 20;
/// The most options of `Connection` that are looked at; more is refused, as each is compared with
/// every field.
const CONNECTION_OPTIONS_MAX: usize = 64;

/// Looks for the end of the line that begins at `start`: returns where its CR is.
pub(crate) fn find_line(
    buf: &[u8],
    start: usize,
    scanned: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, Refusal> {
    let from = (*scanned).max(start);
    let window = window(buf, limits);
    let Some(found) = window.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
        *scanned = window.len();
        return incomplete(buf, limits);
    };
    let at = from + found;
    *scanned = at + 1;
    if at > start && window[at - 1] == b'\r' {
        Ok(Some(at - 1))
    } else {
        Err(Refusal::BareLineFeed)
    }
}

/// Looks for the blank line after the line that ended before byte `*scanned`: returns where the
/// head ends.
pub(crate) fn find_end(
    buf: &[u8],
    scanned: &mut usize,
    limits: &HeadLimits,
) -> Result<Option<usize>, Refusal> {
    let window = window(buf, limits);
    let from = (*scanned).min(window.len());
    for found in memchr::memchr_iter(b'\n', &window[from..]) {
        let at = from + found;
        *scanned = at + 1;
        // At least the first line lies before, so there are bytes to look back at.
        match window.get(..at) {
            Some([.., b'\n', b'\r']) => return Ok(Some(at + 1)),
            Some([.., b'\r']) => {}
            _ => return Err(Refusal::BareLineFeed),
        }
    }
    *scanned = window.len();
    incomplete(buf, limits)
}

/// The bytes that a head may lie in.
pub(crate) fn window<'b>(buf: &'b [u8], limits: &HeadLimits) -> &'b [u8] {
    &buf[..buf.len().min(limits.bytes_max).min(HEAD_BYTES_MAX)]
}

/// More bytes are needed, if more are allowed.
fn incomplete(buf: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
    if buf.len() >= limits.bytes_max.min(HEAD_BYTES_MAX) {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(None)
}

/// What the fields of a head say about the connection and the body.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Treated fields that are there.
    pub(crate) seen: KnownSet,
    /// Treated fields that are there more than once.
    pub(crate) repeated: KnownSet,
    /// `Connection: close`
    pub(crate) close: bool,
    /// `Connection: keep-alive`
    pub(crate) keep_alive: bool,
    /// `Connection: upgrade`
    pub(crate) upgrade: bool,
    /// A field is nominated.
    pub(crate) nominated: bool,
}

impl Facts {
    /// Whether the connection may live after this message (RFC 9112 section 9.3).
    pub(crate) fn lets_live(&self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Turns tokens into fields; `end` is where the head ends. `headers` are slices of `buf`.
pub(crate) fn collect(
    fields: &mut Vec<Field>,
    buf: &[u8],
    headers: &[Header<'_>],
    end: usize,
) -> Result<Facts, Refusal> {
    let mut facts = Facts::default();
    fields.clear();
    fields.reserve(headers.len());
    for header in headers {
        let name = Span::within(buf, header.name.as_bytes());
        let value = Span::within(buf, trim(header.value));
        if let Some(previous) = fields.last_mut() {
            previous.line.end = name.start;
        }
        let known = Known::of(header.name.as_bytes());
        // Names are short: a plain loop is over before a vector one has begun.
        let underscore = known == Known::Other && header.name.bytes().any(|byte| byte == b'_');
        let shadows =
            underscore && KnownSet::GUARDED.contains(Known::of_folded(header.name.as_bytes()));
        if facts.seen.contains(known) {
            facts.repeated = facts.repeated.with(known);
        }
        facts.seen = facts.seen.with(known);
        let line = Span { start: name.start, end: name.start };
        fields.push(Field { name, value, line, known, nominated: false, underscore, shadows });
    }
    if let Some(last) = fields.last_mut() {
        // The blank line's CRLF is the head's last two bytes.
        last.line.end = end as u32 - 2;
    }
    if facts.seen.contains(Known::Connection) {
        connection(fields, buf, &mut facts)?;
    }
    Ok(facts)
}

/// Reads every `Connection` field and marks what it names.
///
/// Protected from nomination is every treated field that is not hop-by-hop anyway: a client must
/// not be able to remove `Host`, `Authorization`, `X-Forwarded-For` and the like on their way.
fn connection(fields: &mut [Field], buf: &[u8], facts: &mut Facts) -> Result<(), Refusal> {
    let mut options = 0;
    for index in 0..fields.len() {
        if fields[index].known != Known::Connection {
            continue;
        }
        for option in members(fields[index].value.of(buf)) {
            options += 1;
            if options > CONNECTION_OPTIONS_MAX {
                return Err(Refusal::ConnectionOptions);
            }
            if option.eq_ignore_ascii_case(b"close") {
                facts.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                facts.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                facts.upgrade = true;
            } else {
                facts.nominated |= nominate(fields, buf, option);
            }
        }
    }
    Ok(())
}

fn nominate(fields: &mut [Field], buf: &[u8], option: &[u8]) -> bool {
    let mut found = false;
    for field in fields.iter_mut().filter(|field| field.known == Known::Other) {
        if field.name.of(buf).eq_ignore_ascii_case(option) {
            field.nominated = true;
            found = true;
        }
    }
    found
}

/// Where httparse saw something else than a field, says what it was.
pub(crate) fn diagnose(buf: &[u8], fields_start: usize, end: usize) -> Refusal {
    let mut lines = buf.get(fields_start..end.saturating_sub(2)).unwrap_or_default();
    while !lines.is_empty() {
        let length = memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
        let (line, rest) = lines.split_at(length);
        if let Err(refusal) = check_line(line.strip_suffix(b"\r\n").unwrap_or(line)) {
            return refusal;
        }
        lines = rest;
    }
    Refusal::FieldName
}

/// Checks one field line without its CRLF; returns name and trimmed value.
pub(crate) fn check_line(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if line.first().is_some_and(|byte| is_blank(*byte)) {
        return Err(Refusal::FieldFolded);
    }
    let colon = memchr::memchr(b':', line).ok_or(Refusal::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.last().is_some_and(|byte| is_blank(*byte)) {
        return Err(Refusal::FieldSpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(Refusal::FieldName);
    }
    check_value(value)?;
    Ok((name, trim(value)))
}

/// Checks a field value.
pub(crate) fn check_value(value: &[u8]) -> Result<(), Refusal> {
    match value.iter().find(|byte| !is_value_byte(**byte)) {
        None => Ok(()),
        Some(b'\r') => Err(Refusal::BareCarriageReturn),
        Some(_) => Err(Refusal::FieldValue),
    }
}

/// How framing fields delimit a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No field says.
    Unsaid,
    /// `Content-Length`
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// Reads `Content-Length` and `Transfer-Encoding` (RFC 9112 section 6).
pub(crate) fn framing(
    fields: &[Field],
    buf: &[u8],
    facts: &Facts,
    version: Version,
) -> Result<Framing, Refusal> {
    let has_length = facts.seen.contains(Known::ContentLength);
    let has_coding = facts.seen.contains(Known::TransferEncoding);
    if !has_length && !has_coding {
        return Ok(Framing::Unsaid);
    }
    if has_length && has_coding {
        return Err(Refusal::LengthAndCoding);
    }
    if facts.repeated.contains(Known::ContentLength) {
        return Err(Refusal::LengthRepeated);
    }
    if facts.repeated.contains(Known::TransferEncoding) {
        return Err(Refusal::CodingRepeated);
    }
    if has_length {
        let value = first(fields, Known::ContentLength).map_or(&[][..], |f| f.value.of(buf));
        return content_length(value).map(Framing::Length);
    }
    if version == Version::Http10 {
        return Err(Refusal::CodingVersion);
    }
    let value = first(fields, Known::TransferEncoding).map_or(&[][..], |f| f.value.of(buf));
    transfer_encoding(value).map(|()| Framing::Chunked)
}

/// The first field of a kind.
pub(crate) fn first(fields: &[Field], known: Known) -> Option<&Field> {
    fields.iter().find(|field| field.known == known)
}

/// Reads a `Content-Length` value: one to twenty digits.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 20 {
        return Err(Refusal::LengthInvalid);
    }
    let mut length: u64 = 0;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(Refusal::LengthInvalid);
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(byte - b'0')))
            .ok_or(Refusal::LengthInvalid)?;
    }
    if i64::try_from(length).is_err() {
        return Err(Refusal::LengthTooLarge);
    }
    Ok(length)
}

/// Accepts `chunked` alone. Other codings before a final `chunked` could be framed but not
/// understood (501); anything else does not say where the body ends (400).
fn transfer_encoding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = value.rsplit(|byte| *byte == b',').map(trim);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some_and(is_chunked)
        && codings.all(|coding| is_token(coding) && !is_chunked(coding))
    {
        return Err(Refusal::CodingUnsupported);
    }
    Err(Refusal::CodingInvalid)
}
