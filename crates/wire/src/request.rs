//! Request heads: parse, or refuse (RFC 9112 sections 2, 3, 5 and 6).
//!
//! A parsed head is safe to route and to send on: one method token, one target in origin-form or
//! `*`, one valid authority, one unambiguous way to delimit the body. Whatever two servers could
//! read in two ways is refused here, before anybody has to choose.

use std::mem::MaybeUninit;

use httparse::{Header, Request};

use crate::authority::Authority;
use crate::head::{self, FIELDS_MAX, Facts, Framing};
use crate::request_line::{self, RequestLine};
use crate::text::{is_token_byte, members};
use crate::{BodyLength, Field, Known, KnownSet, Refusal, Span};

/// Bounds on one head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head; more is 431 (or 414 when the target alone is longer).
    pub bytes_max: usize,
    /// Number of fields; more is 431. At most 256.
    pub fields_max: usize,
    /// Bytes of the request target; more is 414.
    pub target_bytes_max: usize,
}

impl Default for HeadLimits {
    /// 32 KiB, 100 fields, a target of 16 KiB.
    fn default() -> Self {
        Self { bytes_max: 32 * 1024, fields_max: 100, target_bytes_max: 16 * 1024 }
    }
}

/// Whether a head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The head is in the first `n` bytes; what follows belongs to the body or the next message.
    Complete(usize),
    /// More bytes are needed.
    Partial,
}

/// HTTP/1.0 or HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// The methods that we treat apart, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    #[default]
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `PATCH`
    Patch,
    /// `TRACE`
    Trace,
    /// `CONNECT`: refused in requests, here for answers to requests of our own.
    Connect,
    /// Any other token; its text is `RequestHead::method_text`.
    Other,
}

impl Method {
    /// The method of a token; methods are case-sensitive.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }
}

/// The form of a request target (RFC 9112 section 3.2), reduced to what is routed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// `/path?query`, also what remains of absolute-form.
    #[default]
    Origin,
    /// `*` of `OPTIONS *`, also `OPTIONS` of an absolute-form without path and query (its
    /// `path_and_query` is empty then).
    Asterisk,
}

/// A request head as ranges over its buffer. Reused from message to message: parsing clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_text: Span,
    /// The form of the target.
    pub target: Target,
    /// Path and query as sent, origin-form: for absolute-form the part after the authority; empty
    /// path of absolute-form gives an empty span, to be read as `/`.
    pub path_and_query: Span,
    /// The path part of `path_and_query`.
    pub path: Span,
    /// The query with its `?`, or empty.
    pub query: Span,
    /// The version.
    pub version: Version,
    /// The authority: `Host`'s value, or absolute-form's authority (which must be equal); `None`
    /// only for HTTP/1.0 without Host. An empty `Host` gives an empty span: a request to no host in
    /// particular, to be routed like one without Host.
    pub authority: Option<Span>,
    /// The fields in the order of arrival.
    pub fields: Vec<Field>,
    /// Which treated fields there are.
    pub seen: KnownSet,
    /// How the body is delimited.
    pub body: BodyLength,
    /// Whether the client lets the connection live after this exchange.
    pub keep_alive: bool,
    /// `Upgrade`'s value, when `Connection: upgrade` is there too (HTTP/1.1 only). Absent for
    /// protocols that would hide requests from the gateway: `h2c`, `HTTP/*`, `TLS/*`.
    pub upgrade: Option<Span>,
    /// `Expect: 100-continue` with a body to come.
    pub expect_continue: bool,
    /// `TE: trailers` was sent.
    pub te_trailers: bool,
    /// Bytes of the head, blank line included.
    pub bytes: usize,
    /// Where the search for the end of the head goes on: nothing is scanned twice.
    pub(crate) scanned: usize,
    /// Where the field lines begin; 0 until the request line was read.
    pub(crate) fields_start: usize,
    /// The authority of an absolute-form target, with its default port.
    pub(crate) target_authority: Option<(Span, u16)>,
}

impl RequestHead {
    /// Forgets the message, keeps the allocation. Call before the first bytes of each message.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// Parses the head at the start of `buf`. Call again with more bytes after `Parse::Partial`.
    ///
    /// One CRLF before the request line is allowed (RFC 9112 section 2.2) and counted into the
    /// head. Once a head is complete or refused, the next call must follow [`RequestHead::clear`].
    pub fn parse(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Parse, Refusal> {
        if self.fields_start == 0 && !self.parse_request_line(buf, limits)? {
            return Ok(Parse::Partial);
        }
        let Some(end) = head::find_end(buf, &mut self.scanned, limits)? else {
            return Ok(Parse::Partial);
        };
        self.parse_fields(buf, end, limits)?;
        self.bytes = end;
        Ok(Parse::Complete(end))
    }

    /// The first field of this kind.
    #[must_use]
    pub fn field(&self, known: Known) -> Option<&Field> {
        if !self.seen.contains(known) {
            return None;
        }
        head::first(&self.fields, known)
    }

    /// Reads the request line once it is complete, so that what is not HTTP is refused early.
    fn parse_request_line(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<bool, Refusal> {
        let start = match buf {
            [] | [b'\r'] => return Ok(false),
            [b'\r', b'\n', ..] => 2,
            [b'\r', ..] => return Err(Refusal::BareCarriageReturn),
            [b'\n', ..] => return Err(Refusal::BareLineFeed),
            _ => 0,
        };
        match buf.get(start) {
            None => return Ok(false),
            Some(b'\r') => {
                return match buf.get(start + 1) {
                    None => Ok(false),
                    Some(b'\n') => Err(Refusal::EmptyLines),
                    Some(_) => Err(Refusal::BareCarriageReturn),
                };
            }
            Some(b'\n') => return Err(Refusal::BareLineFeed),
            Some(byte) if !is_token_byte(*byte) => return Err(Refusal::MethodInvalid),
            Some(_) => {}
        }
        let line_end = match head::find_line(buf, start, &mut self.scanned, limits) {
            Ok(Some(line_end)) => line_end,
            Ok(None) => return Ok(false),
            Err(Refusal::HeadTooLarge) => {
                return Err(request_line::too_large(&head::window(buf, limits)[start..], limits));
            }
            Err(refusal) => return Err(refusal),
        };
        let line = RequestLine::read(buf, start, line_end, limits)?;
        self.method_text = line.method;
        self.method = Method::of(line.method.of(buf));
        self.version = line.version;
        self.target = line.target;
        self.path_and_query = Span { start: line.path.start, end: line.query.end };
        self.path = line.path;
        self.query = line.query;
        self.target_authority = line.authority;
        self.fields_start = line_end + 2;
        // The blank line may follow the request line at once: its LF is looked for from here.
        self.scanned = self.fields_start;
        Ok(true)
    }

    fn parse_fields(&mut self, buf: &[u8], end: usize, limits: &HeadLimits) -> Result<(), Refusal> {
        let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
        let storage = &mut storage[..limits.fields_max.min(FIELDS_MAX)];
        let mut request = Request::new(&mut []);
        match request.parse_with_uninit_headers(&buf[..end], storage) {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
            Ok(httparse::Status::Partial) | Err(_) => {
                return Err(head::diagnose(buf, self.fields_start, end));
            }
        }
        let facts = head::collect(&mut self.fields, buf, request.headers, end)?;
        self.seen = facts.seen;
        self.read_authority(buf, &facts)?;
        self.body = match head::framing(&self.fields, buf, &facts, self.version)? {
            Framing::Unsaid => BodyLength::None,
            Framing::Length(length) => BodyLength::Length(length),
            Framing::Chunked => BodyLength::Chunked,
        };
        self.keep_alive = facts.lets_live(self.version);
        self.read_upgrade(buf, &facts);
        self.read_expect(buf)?;
        self.te_trailers = self.fields.iter().filter(|field| field.known == Known::Te).any(|te| {
            members(te.value.of(buf)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
        });
        Ok(())
    }

    /// RFC 9112 section 3.2: exactly one Host, equal to the target's authority if it has one.
    fn read_authority(&mut self, buf: &[u8], facts: &Facts) -> Result<(), Refusal> {
        if facts.repeated.contains(Known::Host) {
            return Err(Refusal::HostRepeated);
        }
        let Some(host) = self.field(Known::Host).map(|field| field.value) else {
            if self.version == Version::Http11 {
                return Err(Refusal::HostMissing);
            }
            self.authority = self.target_authority.map(|(span, _)| span);
            return Ok(());
        };
        let authority = Authority::parse(host.of(buf))?;
        if let Some((target, default_port)) = self.target_authority {
            let target = Authority::parse(target.of(buf))?;
            if !target.matches(&authority, |port| port == default_port) {
                return Err(Refusal::HostMismatch);
            }
        }
        self.authority = Some(host);
        Ok(())
    }

    fn read_upgrade(&mut self, buf: &[u8], facts: &Facts) {
        if self.version == Version::Http10
            || !facts.upgrade
            || facts.repeated.contains(Known::Upgrade)
        {
            return;
        }
        let Some(value) = self.field(Known::Upgrade).map(|field| field.value) else { return };
        let mut protocols = members(value.of(buf)).peekable();
        if protocols.peek().is_some() && !protocols.any(hides_requests) {
            self.upgrade = Some(value);
        }
    }

    fn read_expect(&mut self, buf: &[u8]) -> Result<(), Refusal> {
        if !self.seen.contains(Known::Expect) {
            return Ok(());
        }
        for field in self.fields.iter().filter(|field| field.known == Known::Expect) {
            if !field.value.of(buf).eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::ExpectationFailed);
            }
        }
        // An HTTP/1.0 client cannot mean it (RFC 9110 section 10.1.1).
        self.expect_continue = self.version == Version::Http11
            && !matches!(self.body, BodyLength::None | BodyLength::Length(0));
        Ok(())
    }
}

/// Whether a protocol of `Upgrade` carries HTTP requests that the gateway could not see.
fn hides_requests(protocol: &[u8]) -> bool {
    let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
    ["h2c", "h2", "http", "tls"].iter().any(|hidden| name.eq_ignore_ascii_case(hidden.as_bytes()))
}
