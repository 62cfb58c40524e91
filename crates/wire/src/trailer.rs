//! Trailer sections: as strict as heads, bounded, and without fields that must not stand there.

use crate::field::{Known, KnownSet};
use crate::head::check_line;
use crate::{Refusal, text};

/// Names, beside the treated ones, that change how a message is framed, routed, authenticated,
/// cached or read (RFC 9110 section 6.5.1): too late for that in a trailer.
const FORBIDDEN: &[&str] = &[
    "accept-charset",
    "accept-language",
    "age",
    "authentication-info",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "proxy-authentication-info",
    "retry-after",
    "warning",
];

/// Whether a field may stand in a trailer section. Of the treated fields only `Grpc-Status` may.
#[must_use]
pub fn trailer_is_allowed(name: &[u8]) -> bool {
    match Known::of(name) {
        Known::GrpcStatus => true,
        Known::Other => {
            text::is_token(name)
                && !KnownSet::GUARDED.contains(Known::of_folded(name))
                && !FORBIDDEN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        }
        _ => false,
    }
}

/// The trailer section of one body, taken byte by byte.
#[derive(Debug)]
pub(crate) struct Trailers {
    /// Kept lines, then the line that is being read.
    text: Vec<u8>,
    /// Where the line that is being read begins.
    line_start: usize,
    /// Bytes of the whole section, dropped fields included.
    bytes: usize,
    bytes_max: usize,
}

impl Trailers {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { text: Vec::new(), line_start: 0, bytes: 0, bytes_max }
    }

    pub(crate) fn lines(&self) -> &[u8] {
        &self.text[..self.line_start]
    }

    /// Takes one byte; returns whether the section is complete.
    pub(crate) fn push(&mut self, byte: u8) -> Result<bool, Refusal> {
        self.bytes += 1;
        // The blank line that ends the section is not counted against the limit.
        if self.bytes > self.bytes_max.saturating_add(2) {
            return Err(Refusal::TrailersTooLarge);
        }
        let after_cr = self.text.len() > self.line_start && self.text.last() == Some(&b'\r');
        match (byte, after_cr) {
            (b'\n', false) => return Err(Refusal::BareLineFeed),
            (b'\n', true) => {}
            (_, true) => return Err(Refusal::BareCarriageReturn),
            (_, false) => {
                self.text.push(byte);
                return Ok(false);
            }
        }
        self.text.pop();
        let line = &self.text[self.line_start..];
        if line.is_empty() {
            return Ok(true);
        }
        let (name, value) = check_line(line)?;
        let (is_kept, name_length, value_length) =
            (trailer_is_allowed(name), name.len(), value.len());
        if is_kept {
            self.normalize(name_length, value_length);
        } else {
            self.text.truncate(self.line_start);
        }
        self.line_start = self.text.len();
        Ok(false)
    }

    /// Writes the line that was read as `Name: value CRLF`.
    fn normalize(&mut self, name_length: usize, value_length: usize) {
        let after_colon = self.line_start + name_length + 1;
        let blanks =
            self.text[after_colon..].iter().take_while(|byte| text::is_blank(**byte)).count();
        let value_start = after_colon + if value_length == 0 { 0 } else { blanks };
        self.text.truncate(value_start + value_length);
        self.text.splice(after_colon..value_start, *b" ");
        self.text.extend_from_slice(b"\r\n");
    }
}
