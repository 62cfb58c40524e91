//! A connected socket, plain or TLS, read and written without owning a buffer.
//!
//! A driver of tokio and rustls: everything above it sees `poll_read` and `poll_write` on borrowed
//! bytes. Reads go straight into the caller's buffer; a read that came back short means that the
//! socket is drained, and the next poll costs no system call.

use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::Connection as TlsConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Plaintext that one write hands to TLS at most, so that a slow client bounds what is encrypted
/// ahead of its reading.
const TLS_WRITE_MAX: usize = 128 * 1024;

/// A connected byte stream.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Cleartext.
    Plain(TcpStream),
    /// TLS, either side.
    Tls(Box<TlsTransport>),
}

/// TLS over a socket.
pub(crate) struct TlsTransport {
    stream: TcpStream,
    tls: TlsConnection,
    /// The peer's bytes have ended.
    ended: bool,
    /// Bytes of TLS that the socket took.
    sent: u64,
}

impl std::fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsTransport").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Transport {
    /// Reads into `buf`; `Ok(0)` is the peer's end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => {
                let mut read = ReadBuf::new(buf);
                ready!(Pin::new(stream).poll_read(cx, &mut read))?;
                Poll::Ready(Ok(read.filled().len()))
            }
            Self::Tls(tls) => tls.poll_read(cx, buf),
        }
    }

    /// Writes some of `bufs`.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => match bufs {
                // `send` is cheaper than `writev` of one.
                [buf] => Pin::new(stream).poll_write(cx, buf),
                _ => Pin::new(stream).poll_write_vectored(cx, bufs),
            },
            Self::Tls(tls) => tls.poll_write(cx, bufs),
        }
    }

    /// Changes with every write that the socket takes of what TLS holds.
    pub(crate) fn progress(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.sent,
        }
    }

    /// Ready when nothing that was written waits in our memory any more.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Ends our direction; the peer may go on sending.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(tls) => {
                tls.tls.send_close_notify();
                ready!(tls.poll_flush(cx))?;
                Pin::new(&mut tls.stream).poll_shutdown(cx)
            }
        }
    }

    /// Whether an idle connection still is one: nothing arrived, nobody closed. No system call
    /// where epoll reported nothing.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // A probe by `poll_read` would register the no-op waker for nobody; `try_read` asks the
        // readiness flag alone.
        let mut byte = [0; 1];
        match self {
            Self::Plain(stream) => {
                let read = stream.try_read(&mut byte);
                matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            // Session tickets of TLS 1.3 arrive on idle connections and are no answer.
            Self::Tls(tls) => tls.poll_read(&mut cx, &mut byte).is_pending(),
        }
    }

    /// The socket, where bytes may pass without being looked at.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &tls.stream,
        }
    }

    /// The TLS session, if this is one.
    pub(crate) fn tls(&self) -> Option<&TlsConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(&tls.tls),
        }
    }
}

impl TlsTransport {
    /// TLS over `stream`. `tls` may already hold bytes that were read from it.
    pub(crate) fn new(stream: TcpStream, tls: impl Into<TlsConnection>) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(Some(2 * TLS_WRITE_MAX));
        Self { stream, tls, ended: false, sent: 0 }
    }

    /// Drives the handshake to its end.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_flush(cx))?;
            if !self.tls.is_handshaking() {
                break;
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        // In TLS 1.3 a server's tickets wait for the first response and leave with it in one
        // write, and
        // a client's Finished leaves with its first request. In TLS 1.2 the peer waits for our
        // Finished.
        if self.tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
            return Poll::Ready(Ok(()));
        }
        self.poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.tls.reader().read(buf) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// Reads and decrypts what the socket has; 0 at its end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = match self.tls.read_tls(&mut Driver { stream: &mut self.stream, cx }) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.ended |= read == 0;
        if let Err(error) = self.tls.process_new_packets() {
            // The alert is worth one attempt.
            let _ = self.poll_flush(cx);
            return Poll::Ready(Err(invalid(error)));
        }
        Poll::Ready(Ok(read))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.tls.wants_write() && self.poll_flush(cx)?.is_pending() {
            return Poll::Pending;
        }
        let mut taken = 0;
        for buf in bufs {
            let room = TLS_WRITE_MAX - taken;
            let part = &buf[..buf.len().min(room)];
            let written = self.tls.writer().write(part)?;
            taken += written;
            // What follows may not overtake what was left out.
            if written < buf.len() {
                break;
            }
        }
        // What the socket does not take now leaves with the next write or flush.
        let _ = self.poll_flush(cx)?;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Driver { stream: &mut self.stream, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => self.sent = self.sent.wrapping_add(n as u64),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Lets rustls, which reads and writes synchronously, drive a non-blocking socket.
struct Driver<'a, 'b> {
    stream: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Read for Driver<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut read = ReadBuf::new(buf);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut read) {
            Poll::Ready(result) => result.map(|()| read.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Driver<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write(self.cx, buf) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [buf] = bufs {
            // `send` is cheaper than `writev` of one.
            return self.write(buf);
        }
        match Pin::new(&mut *self.stream).poll_write_vectored(self.cx, bufs) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
