//! Bytes on their way in and out of one connection.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use crate::transport::Transport;

/// Where reading starts; grows to what the limits allow and falls back afterwards.
const INPUT_BYTES: usize = 16 * 1024;

/// Slices that one write gathers.
const PARTS_MAX: usize = 4;

/// A body of at most this size is copied behind its head: one plain send costs less than gathering.
pub(crate) const JOIN_BYTES: usize = 4 * 1024;

/// Bytes that were read: a head at the front, then what has not been consumed yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Grown by the first read, so that what is never read into (HTTP/2) is never zeroed.
    bytes: Vec<u8>,
    /// First byte not consumed.
    pub(crate) pos: usize,
    /// One past the last byte read.
    pub(crate) end: usize,
}

impl Input {
    /// Everything that was read.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// What was read and not consumed.
    pub(crate) fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.pos..self.end]
    }

    /// A part of what was read.
    pub(crate) fn slice(&self, start: usize, len: usize) -> &[u8] {
        &self.bytes[start..start + len]
    }

    /// Whether everything was consumed.
    pub(crate) fn is_drained(&self) -> bool {
        self.pos == self.end
    }

    /// Reads more behind what is there, growing up to `max` bytes. `Ok(0)` is the peer's end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.len() < INPUT_BYTES {
            self.bytes.resize(INPUT_BYTES, 0);
        } else if self.end == self.bytes.len() {
            let len = (self.bytes.len() * 2).min(max.max(self.bytes.len() + 1));
            self.bytes.resize(len, 0);
        }
        let read = ready!(transport.poll_read(cx, &mut self.bytes[self.end..]))?;
        self.end += read;
        Poll::Ready(Ok(read))
    }

    /// Appends bytes that were read elsewhere and belong here.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.end + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[self.end..end].copy_from_slice(bytes);
        self.end = end;
    }

    /// Lets go of what was consumed; the rest moves to the front.
    pub(crate) fn compact(&mut self) {
        self.bytes.copy_within(self.pos..self.end, 0);
        self.end -= self.pos;
        self.pos = 0;
    }

    /// The bytes as a growable buffer, for a head that is written here instead of read.
    pub(crate) fn write_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.bytes.clear();
        let result = write(&mut self.bytes);
        self.end = self.bytes.len();
        self.pos = self.end;
        result
    }

    /// Empties the buffer; false when it has grown so that it should be freed.
    pub(crate) fn reset(&mut self) -> bool {
        self.pos = 0;
        self.end = 0;
        self.bytes.len() <= 4 * INPUT_BYTES
    }
}

/// What the socket did not take. At most one write of the relay, so at most its scratch.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pending: Vec<u8>,
    pos: usize,
}

impl Outgoing {
    /// Changes with every write that a socket takes of what waits.
    pub(crate) fn progress(&self) -> u64 {
        self.pos as u64
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Writes what waits; ready when nothing does.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
    ) -> Poll<io::Result<()>> {
        while self.pos < self.pending.len() {
            let part = IoSlice::new(&self.pending[self.pos..]);
            match ready!(transport.poll_write(cx, &[part]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.pos += n,
            }
        }
        if !self.pending.is_empty() {
            // Freed, not kept: a slow connection must not own a large buffer for ever.
            self.pending = Vec::new();
            self.pos = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes `parts` behind what waits. What the socket does not take now waits in turn.
    pub(crate) fn send(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
        parts: &[&[u8]],
    ) -> io::Result<()> {
        let mut skip = 0;
        if self.poll_drain(cx, transport)?.is_ready() {
            let total: usize = parts.iter().map(|part| part.len()).sum();
            while skip < total {
                let mut slices = [IoSlice::new(&[]); PARTS_MAX];
                let count = gather(parts, skip, &mut slices);
                match transport.poll_write(cx, &slices[..count])? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(n) => skip += n,
                    Poll::Pending => break,
                }
            }
        }
        for part in parts {
            let taken = skip.min(part.len());
            skip -= taken;
            self.pending.extend_from_slice(&part[taken..]);
        }
        Ok(())
    }
}

/// Fills `slices` with `parts` from byte `skip` on; answers how many it filled.
fn gather<'a>(parts: &[&'a [u8]], mut skip: usize, slices: &mut [IoSlice<'a>; PARTS_MAX]) -> usize {
    let mut count = 0;
    for part in parts {
        let taken = skip.min(part.len());
        skip -= taken;
        if taken < part.len() && count < PARTS_MAX {
            slices[count] = IoSlice::new(&part[taken..]);
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathering_skips_what_was_written() {
        let parts: [&[u8]; 3] = [b"abc", b"", b"def"];
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let count = gather(&parts, 4, &mut slices);
        assert_eq!(count, 1);
        assert_eq!(&*slices[0], b"ef");
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        assert_eq!(gather(&parts, 1, &mut slices), 2);
    }

    #[test]
    fn compacting_keeps_what_was_not_consumed() {
        let mut input = Input::default();
        input.push(b"head+next");
        input.pos = 5;
        input.compact();
        assert_eq!(input.filled(), b"next");
    }
}
