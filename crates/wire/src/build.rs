//! Heads of messages that came by HTTP/2, made into the same text and ranges as HTTP/1's.
//!
//! The message is written as HTTP/1.1 text and then read by the one strict parser, so nothing that
//! HTTP/1 would be refused for can come in by another door. What text cannot show is checked before
//! it is written: bytes that would end a line, fields that belong to connections, a `Host` that
//! differs from `:authority` (RFC 9113 section 8.2 and 8.3).

use crate::authority::Authority;
use crate::head::{check_value, content_length};
use crate::text::{is_token, trim};
use crate::{
    BodyLength, HeadLimits, Known, KnownSet, Method, Parse, Refusal, RequestHead, ResponseHead,
    reason_phrase,
};

/// Fields that speak about an HTTP/1 connection: malformed in HTTP/2 (RFC 9113 section 8.2.2).
const CONNECTION_SPECIFIC: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Http2Settings,
]);

/// What each cookie crumb is charged beside its bytes: a crumb that is one byte to the client must
/// not be free to us. RFC 9113 section 6.5.2 counts fields so.
const CRUMB_BYTES: usize = 32;

/// Makes a request into a head. `out` is cleared, filled with the head's text, and is the buffer of
/// the head's ranges.
///
/// `body` is what the stream says: `None` when it ended with its head, `Chunked` when its length
/// is not known; a `Content-Length` field makes `Chunked` a `Length`. Cookie fields are joined.
///
/// # Errors
/// Whatever is refused in HTTP/1, connection-specific fields, and an authority that is absent or
/// differs from `Host`.
#[expect(clippy::too_many_arguments, reason = "the parts of an HTTP/2 request, each once")]
pub fn build_request<'f>(
    out: &mut Vec<u8>,
    head: &mut RequestHead,
    method: &[u8],
    path_and_query: &[u8],
    authority: Option<&[u8]>,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    body: BodyLength,
    limits: &HeadLimits,
) -> Result<(), Refusal> {
    let request = Parts { method, path_and_query, authority, protocol: None, body };
    request.build(out, head, fields, limits)
}

/// Makes an extended CONNECT (RFC 8441) into the `GET` with `Upgrade` that means the same in
/// HTTP/1. The `Sec-WebSocket-Key` that HTTP/1 wants is the caller's to add.
///
/// # Errors
/// As [`build_request`].
pub fn build_upgrade_request<'f>(
    out: &mut Vec<u8>,
    head: &mut RequestHead,
    path_and_query: &[u8],
    authority: Option<&[u8]>,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    protocol: &[u8],
    limits: &HeadLimits,
) -> Result<(), Refusal> {
    let protocol = Some(protocol);
    let body = BodyLength::None;
    let request = Parts { method: b"GET", path_and_query, authority, protocol, body };
    request.build(out, head, fields, limits)
}

struct Parts<'a> {
    method: &'a [u8],
    path_and_query: &'a [u8],
    authority: Option<&'a [u8]>,
    protocol: Option<&'a [u8]>,
    body: BodyLength,
}

impl Parts<'_> {
    fn build<'f>(
        &self,
        out: &mut Vec<u8>,
        head: &mut RequestHead,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        out.clear();
        head.clear();
        self.write_line(out)?;
        if let Some(authority) = self.authority {
            Authority::parse(authority)?;
            push_field(out, b"host", authority);
        }
        let mut seen = Seen::new(self.authority);
        for (name, value) in fields {
            seen.request_field(out, name, value, limits)?;
        }
        if !seen.cookies.is_empty() {
            push_field(out, b"cookie", &seen.cookies);
        }
        if let Some(protocol) = self.protocol {
            check_protocol(protocol)?;
            push_field(out, b"connection", b"upgrade");
            push_field(out, b"upgrade", protocol);
        }
        let body = seen.body(out, self.body)?;
        out.extend_from_slice(b"\r\n");
        match head.parse(out, limits)? {
            Parse::Complete(_) => {}
            // The text ends with a blank line.
            Parse::Partial => return Err(Refusal::RequestLine),
        }
        head.body = body;
        Ok(())
    }

    /// The request line. The parser checks what stands in it; here only what could end it early.
    fn write_line(&self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        if !is_token(self.method) {
            return Err(Refusal::MethodInvalid);
        }
        let is_asterisk = self.path_and_query == b"*" && self.method == b"OPTIONS";
        if self.path_and_query.first() != Some(&b'/') && !is_asterisk {
            return Err(Refusal::TargetForm);
        }
        if self.path_and_query.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return Err(Refusal::TargetControl);
        }
        out.extend_from_slice(self.method);
        out.push(b' ');
        out.extend_from_slice(self.path_and_query);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Ok(())
    }
}

fn check_protocol(protocol: &[u8]) -> Result<(), Refusal> {
    let is_sound = !protocol.is_empty() && protocol.split(|byte| *byte == b'/').all(is_token);
    if is_sound { Ok(()) } else { Err(Refusal::FieldValue) }
}

/// What was met among the fields so far.
struct Seen<'a> {
    authority: Option<&'a [u8]>,
    has_host: bool,
    length: Option<u64>,
    cookies: Vec<u8>,
    crumbs: usize,
}

impl<'a> Seen<'a> {
    fn new(authority: Option<&'a [u8]>) -> Self {
        Self { authority, has_host: false, length: None, cookies: Vec::new(), crumbs: 0 }
    }

    fn request_field(
        &mut self,
        out: &mut Vec<u8>,
        name: &[u8],
        value: &[u8],
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        let (known, value) = check_field(name, value)?;
        let bytes = out.len() + self.cookies.len() + self.crumbs * CRUMB_BYTES;
        if bytes + name.len() + value.len() > limits.bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        match known {
            Known::Te if !value.eq_ignore_ascii_case(b"trailers") => {
                Err(Refusal::FieldConnectionSpecific)
            }
            Known::ContentLength => self.content_length(value),
            Known::Host => self.host(out, value),
            Known::Cookie => {
                // HTTP/2 may cut cookies up for compression (RFC 9113 section 8.2.3).
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.crumbs += 1;
                self.cookies.extend_from_slice(value);
                Ok(())
            }
            _ => {
                push_field(out, name, value);
                Ok(())
            }
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthRepeated);
        }
        self.length = Some(content_length(value)?);
        Ok(())
    }

    fn host(&mut self, out: &mut Vec<u8>, value: &[u8]) -> Result<(), Refusal> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(Refusal::HostRepeated);
        }
        let host = Authority::parse(value)?;
        match self.authority {
            None => push_field(out, b"host", value),
            // The scheme is not known here; both default ports go without saying.
            Some(authority) => {
                let authority = Authority::parse(authority)?;
                if !authority.matches(&host, |port| port == 80 || port == 443) {
                    return Err(Refusal::HostMismatch);
                }
            }
        }
        Ok(())
    }

    /// Writes framing and returns how the body is delimited.
    fn body(&self, out: &mut Vec<u8>, body: BodyLength) -> Result<BodyLength, Refusal> {
        let body = match (body, self.length) {
            (body, None) => body,
            (BodyLength::Chunked | BodyLength::UntilClose, Some(length)) => {
                BodyLength::Length(length)
            }
            (BodyLength::Length(said), Some(length)) if said == length => body,
            (BodyLength::None, Some(0)) => BodyLength::Length(0),
            (BodyLength::None | BodyLength::Length(_), Some(_)) => {
                return Err(Refusal::LengthMismatch);
            }
        };
        push_framing(out, body);
        Ok(body)
    }
}

/// Makes a response that came by HTTP/2 into a head. `out` is cleared, filled with the head's text,
/// and is the buffer of the head's ranges.
///
/// `body` is what the stream says: `None` when it ended with its head (a `Content-Length` then
/// tells of HEAD or 304, or is 0), `Chunked` when its length is not known.
///
/// # Errors
/// Whatever is refused in HTTP/1, and connection-specific fields.
pub fn build_response<'f>(
    out: &mut Vec<u8>,
    head: &mut ResponseHead,
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    body: BodyLength,
    limits: &HeadLimits,
) -> Result<(), Refusal> {
    out.clear();
    head.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut seen = Seen::new(None);
    for (name, value) in fields {
        let (known, value) = check_field(name, value)?;
        if out.len() + name.len() + value.len() > limits.bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        if known == Known::ContentLength {
            seen.content_length(value)?;
        } else {
            push_field(out, name, value);
        }
    }
    let body = match (body, seen.length) {
        // A length without a body: HEAD or 304 speak of what they do not send.
        (BodyLength::None, Some(length)) => {
            push_framing(out, BodyLength::Length(length));
            BodyLength::None
        }
        _ => seen.body(out, body)?,
    };
    out.extend_from_slice(b"\r\n");
    let method = if body == BodyLength::None { Method::Head } else { Method::Get };
    match head.parse(out, method, limits)? {
        Parse::Complete(_) => {}
        Parse::Partial => return Err(Refusal::StatusLine),
    }
    head.body = body;
    head.keep_alive = true;
    Ok(())
}

/// Checks a field as HTTP/2 must have it; outer blanks of the value are trimmed.
fn check_field<'f>(name: &[u8], value: &'f [u8]) -> Result<(Known, &'f [u8]), Refusal> {
    if !is_token(name) {
        return Err(Refusal::FieldName);
    }
    check_value(value)?;
    let known = Known::of(name);
    if CONNECTION_SPECIFIC.contains(known) {
        return Err(Refusal::FieldConnectionSpecific);
    }
    Ok((known, trim(value)))
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_framing(out: &mut Vec<u8>, body: BodyLength) {
    match body {
        BodyLength::None | BodyLength::UntilClose => {}
        BodyLength::Length(length) => {
            push_field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        BodyLength::Chunked => push_field(out, b"transfer-encoding", b"chunked"),
    }
}
