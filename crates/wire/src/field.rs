//! Fields of a head, as ranges over its buffer.

/// A range of bytes in the buffer that a head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes. `buf` must be the buffer that the head was parsed from.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end as usize]
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The name as sent.
    pub name: Span,
    /// The value, outer blanks trimmed.
    pub value: Span,
    /// The whole line with its CRLF, for verbatim copies.
    pub line: Span,
    /// Which field it is, if it is one we treat.
    pub known: Known,
    /// Named by `Connection` (and not protected): not forwarded.
    pub nominated: bool,
}
