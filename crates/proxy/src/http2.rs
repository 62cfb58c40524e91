//! What both sides of HTTP/2 share: a transport that gathers writes, sending with flow control,
//! and fields as lines.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::Known;

use crate::account::{Held, Share};
use crate::transport::Transport;

/// Frames gathered before they are written although more may come.
const GATHER_BYTES: usize = 64 * 1024;

/// Frames held for a peer that does not read; at the bound h2 is told to wait.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// A write of at least this size goes out without being copied here first.
const BYPASS_BYTES: usize = 8 * 1024;

/// What is read at once of a peer that sends frames of a few requests, and of one that uploads.
const READ_BYTES: usize = 2 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// What one stream offers to send at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A transport whose writes are gathered until the connection's task has nothing more to do.
///
/// h2 flushes after every frame; one socket write per frame is most of its cost. Here a flush is
/// only noted, and the task that drives the connection calls [`Gathering::poll_drain`] when h2 has
/// said all it had to say.
#[derive(Clone)]
pub(crate) struct Gathering(Rc<RefCell<Inner>>);

struct Inner {
    transport: Transport,
    /// Bytes that were read before it was known that this is HTTP/2.
    ahead: Vec<u8>,
    out: Vec<u8>,
    pos: usize,
    /// Bytes that h2 handed over, ever.
    accepted: u64,
    /// What is read at once: little, until a peer sends much.
    read_part: usize,
}

impl Gathering {
    pub(crate) fn new(transport: Transport, ahead: &[u8]) -> Self {
        let inner = Inner {
            transport,
            ahead: ahead.to_vec(),
            out: Vec::new(),
            pos: 0,
            accepted: 0,
            read_part: READ_BYTES,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Bytes that h2 handed over so far: as long as the number stands, nothing was written.
    pub(crate) fn accepted(&self) -> u64 {
        self.0.borrow().accepted
    }

    /// Writes what was gathered.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        inner.transport.poll_flush(cx)
    }
}

impl Inner {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pos < self.out.len() {
            let part = IoSlice::new(&self.out[self.pos..]);
            match ready!(self.transport.poll_write(cx, &[part]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.pos += n,
            }
        }
        if self.out.capacity() > GATHER_BYTES {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        self.pos = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.poll_take(cx, bufs))?;
        self.accepted += taken as u64;
        Poll::Ready(Ok(taken))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.out.len() - self.pos >= GATHER_BYTES
            && self.poll_drain(cx)?.is_pending()
            && self.out.len() - self.pos >= HELD_BYTES_MAX
        {
            return Poll::Pending;
        }
        if total >= BYPASS_BYTES
            && self.poll_drain(cx)?.is_ready()
            && let Poll::Ready(written) = self.transport.poll_write(cx, bufs)?
        {
            return Poll::Ready(Ok(written));
        }
        for buf in bufs {
            self.out.extend_from_slice(buf);
        }
        Poll::Ready(Ok(total))
    }
}

impl AsyncRead for Gathering {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        if !inner.ahead.is_empty() {
            let n = inner.ahead.len().min(buf.remaining());
            buf.put_slice(&inner.ahead[..n]);
            inner.ahead.drain(..n);
            return Poll::Ready(Ok(()));
        }
        // What is read into must be zeroed before: only as much as is likely to come.
        let part = inner.read_part.min(buf.remaining());
        let read = ready!(inner.transport.poll_read(cx, buf.initialize_unfilled_to(part)))?;
        buf.advance(read);
        inner.read_part = if read == part { READ_BYTES_MAX } else { READ_BYTES };
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Gathering {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        inner.transport.poll_shutdown(cx)
    }
}

/// Ready when the peer's windows and the send buffer have room; the number is how much.
pub(crate) fn poll_room(
    send: &mut SendStream<Held>,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, h2::Error>> {
    loop {
        let room = send.capacity();
        if room > 0 {
            return Poll::Ready(Ok(room));
        }
        send.reserve_capacity(PIECE_BYTES);
        match ready!(send.poll_capacity(cx)) {
            Some(Ok(0)) => {}
            Some(Ok(room)) => return Poll::Ready(Ok(room)),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
        }
    }
}

/// Sends a piece; with `end`, the last one and the trailers.
pub(crate) fn send_piece(
    send: &mut SendStream<Held>,
    share: &Rc<Share>,
    data: &[u8],
    end: Option<&[u8]>,
) -> Result<(), h2::Error> {
    let trailers = end.map(lines_to_map).filter(|map| !map.is_empty());
    let ends_here = end.is_some() && trailers.is_none();
    if !data.is_empty() || ends_here {
        send.send_data(share.hold(data), ends_here)?;
    }
    if let Some(trailers) = trailers {
        send.send_trailers(trailers)?;
    }
    Ok(())
}

/// The name of a field; the most usual ones need not be read again.
pub(crate) fn name_of(known: Known, text: &[u8]) -> Option<HeaderName> {
    Some(match known {
        Known::Date => header::DATE,
        Known::Server => header::SERVER,
        Known::ContentType => header::CONTENT_TYPE,
        Known::ContentLength => header::CONTENT_LENGTH,
        Known::ContentEncoding => header::CONTENT_ENCODING,
        Known::CacheControl => header::CACHE_CONTROL,
        Known::Vary => header::VARY,
        Known::SetCookie => header::SET_COOKIE,
        Known::Location => header::LOCATION,
        Known::Cookie => header::COOKIE,
        Known::Accept => header::ACCEPT,
        Known::AcceptEncoding => header::ACCEPT_ENCODING,
        Known::UserAgent => header::USER_AGENT,
        Known::Authorization => header::AUTHORIZATION,
        _ => return HeaderName::from_bytes(text).ok(),
    })
}

/// `Name: value` lines as a map; what is no field is left out.
pub(crate) fn lines_to_map(lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields_of(lines) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// The fields of `Name: value` lines.
pub(crate) fn fields_of(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr::memchr(b':', line)?;
        (colon > 0).then(|| (&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// A map of trailers as lines; forbidden ones are left out.
pub(crate) fn map_to_lines(map: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in map {
        if wire::trailer_is_allowed(name.as_str().as_bytes()) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes().trim_ascii());
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines
}

/// The fields of a map as bytes.
pub(crate) fn fields_of_map(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_maps_are_the_same_fields() {
        let map = lines_to_map(b"Grpc-Status: 0\r\nX-A:  b \r\n");
        assert_eq!(map["grpc-status"], "0");
        assert_eq!(map["x-a"], "b");
        assert_eq!(map_to_lines(&map), b"grpc-status: 0\r\nx-a: b\r\n");
    }
}
