//! Response heads from upstream: parse, or refuse. Endpoints are trusted no more than clients.
//!
//! A response that two readers could delimit differently is refused: passing it on would let one
//! endpoint's bytes become the answer to somebody else's request.

use std::mem::MaybeUninit;

use httparse::{Header, Response};

use crate::head::{self, FIELDS_MAX, Facts, Framing};
use crate::text::{is_value_byte, members, trim};
use crate::{
    BodyLength, Field, HeadLimits, Known, KnownSet, Method, Parse, Refusal, Span, Version,
};

/// A response head as ranges over its buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 599 (anything else is refused).
    pub status: u16,
    /// The reason phrase as sent; may be empty.
    pub reason: Span,
    /// The version.
    pub version: Version,
    /// The fields in the order of arrival.
    pub fields: Vec<Field>,
    /// Which treated fields there are.
    pub seen: KnownSet,
    /// How the body is delimited, given the request's method (HEAD, 204, 304, 1xx have none).
    pub body: BodyLength,
    /// Whether the endpoint lets the connection live.
    pub keep_alive: bool,
    /// `Keep-Alive: timeout=n`, in seconds.
    pub keep_alive_timeout: Option<u32>,
    /// Has at least one field that may not be forwarded as it is (hop-by-hop, nominated, framing
    /// other than one plain Content-Length), or is HTTP/1.0: the head must be rewritten.
    pub needs_rewrite: bool,
    /// Bytes of the head, blank line included.
    pub bytes: usize,
    pub(crate) scanned: usize,
    pub(crate) fields_start: usize,
}

impl ResponseHead {
    /// Forgets the message, keeps the allocation.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }

    /// Parses the head at the start of `buf`, as the answer to a `request` method.
    ///
    /// 205 is delimited by its framing fields like any other response (RFC 9112 section 6.3 does
    /// not exempt it). A 204 or 1xx that announces a body has none, and its connection is not
    /// reused. Once complete or refused, the next call must follow [`ResponseHead::clear`].
    pub fn parse(
        &mut self,
        buf: &[u8],
        request: Method,
        limits: &HeadLimits,
    ) -> Result<Parse, Refusal> {
        if self.fields_start == 0 && !self.parse_status_line(buf, limits)? {
            return Ok(Parse::Partial);
        }
        let Some(end) = head::find_end(buf, &mut self.scanned, limits)? else {
            return Ok(Parse::Partial);
        };
        self.parse_fields(buf, end, request, limits)?;
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

    fn parse_status_line(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<bool, Refusal> {
        let prefix = buf.len().min(7);
        if buf[..prefix] != b"HTTP/1."[..prefix] {
            return Err(Refusal::StatusLine);
        }
        let Some(line_end) = head::find_line(buf, 0, &mut self.scanned, limits)? else {
            return Ok(false);
        };
        let (version, rest) = match buf[..line_end].split_at_checked(9) {
            Some((b"HTTP/1.1 ", rest)) => (Version::Http11, rest),
            Some((b"HTTP/1.0 ", rest)) => (Version::Http10, rest),
            _ => return Err(Refusal::StatusLine),
        };
        let (digits, rest) = rest.split_at_checked(3).ok_or(Refusal::StatusLine)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::StatusLine);
        }
        let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        if !(100..=599).contains(&status) {
            return Err(Refusal::StatusInvalid);
        }
        // Some servers leave out the blank before an empty reason phrase.
        let reason = match rest {
            [] => rest,
            [b' ', reason @ ..] if reason.iter().all(|byte| is_value_byte(*byte)) => reason,
            _ => return Err(Refusal::StatusLine),
        };
        self.version = version;
        self.status = status;
        self.reason = Span::new(line_end - reason.len(), line_end);
        self.fields_start = line_end + 2;
        self.scanned = self.fields_start;
        Ok(true)
    }

    fn parse_fields(
        &mut self,
        buf: &[u8],
        end: usize,
        request: Method,
        limits: &HeadLimits,
    ) -> Result<(), Refusal> {
        let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
        let storage = &mut storage[..limits.fields_max.min(FIELDS_MAX)];
        let mut response = Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            &buf[..end],
            storage,
        );
        match parsed {
            Ok(httparse::Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
            Ok(httparse::Status::Partial) | Err(_) => {
                return Err(head::diagnose(buf, self.fields_start, end));
            }
        }
        let facts = head::collect(&mut self.fields, buf, response.headers, end)?;
        self.seen = facts.seen;
        let framing = head::framing(&self.fields, buf, &facts, self.version)?;
        self.keep_alive = facts.lets_live(self.version);
        self.read_body(request, framing);
        self.read_keep_alive_timeout(buf);
        self.needs_rewrite = self.differs_when_forwarded(buf, &facts);
        Ok(())
    }

    /// RFC 9112 section 6.3.
    fn read_body(&mut self, request: Method, framing: Framing) {
        let announces = matches!(framing, Framing::Chunked | Framing::Length(1..));
        self.body = match (self.status, request) {
            (100..=199 | 204, _) => {
                self.keep_alive &= !announces;
                BodyLength::None
            }
            (304, _) | (_, Method::Head) | (200..=299, Method::Connect) => BodyLength::None,
            _ => match framing {
                Framing::Chunked => BodyLength::Chunked,
                Framing::Length(length) => BodyLength::Length(length),
                Framing::Unsaid => {
                    self.keep_alive = false;
                    BodyLength::UntilClose
                }
            },
        };
    }

    fn read_keep_alive_timeout(&mut self, buf: &[u8]) {
        let Some(field) = self.field(Known::KeepAlive) else { return };
        self.keep_alive_timeout = members(field.value.of(buf)).find_map(|parameter| {
            let equals = memchr::memchr(b'=', parameter)?;
            let (name, value) = (trim(&parameter[..equals]), trim(&parameter[equals + 1..]));
            if !name.eq_ignore_ascii_case(b"timeout") {
                return None;
            }
            std::str::from_utf8(value).ok()?.parse().ok()
        });
    }

    fn differs_when_forwarded(&self, buf: &[u8], facts: &Facts) -> bool {
        if self.version == Version::Http10
            || facts.nominated
            || !facts.seen.intersection(KnownSet::HOP_BY_HOP).is_empty()
            || self.body == BodyLength::UntilClose
        {
            return true;
        }
        let Some(length) = self.field(Known::ContentLength) else { return false };
        let is_bodiless = matches!(self.status, 100..=199 | 204);
        let has_zeros = matches!(length.value.of(buf), [b'0', _, ..]);
        is_bodiless || has_zeros
    }
}
