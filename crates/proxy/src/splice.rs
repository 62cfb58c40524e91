//! Bulk bodies between two cleartext sockets, through a pipe: the kernel moves them, nobody copies.
//!
//! Only for bodies of known length, so that not a byte beyond the end is moved.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bodies with less to come are copied: a pipe costs more calls than it saves.
pub(crate) const SPLICE_MIN: u64 = 128 * 1024;

/// What a pipe may hold.
const PIPE_BYTES: usize = 1024 * 1024;

/// What one turn moves before other tasks get theirs.
const TURN_BYTES: u64 = 8 * 1024 * 1024;

/// Pipes a worker keeps for the next bodies.
pub(crate) const PIPES_KEPT_MAX: usize = 16;

/// A pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

/// What a turn was stopped by.
pub(crate) enum Stop {
    /// All was moved.
    Done,
    /// The endpoint has nothing more for now.
    Source,
    /// The client takes nothing more for now.
    Sink,
    /// Enough for one turn.
    Turn,
}

/// Why bytes could not be moved.
pub(crate) enum Failure {
    Source(io::Error),
    Sink(io::Error),
}

impl Pipe {
    pub(crate) fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Smaller where the user's limit is reached, which is only slower.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Self { read, write, held: 0 })
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves up to `rest` bytes. Answers how many were taken from `source`, how many `sink` took,
    /// and what stopped it; wakes the task when it may go on.
    pub(crate) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
        sink: &TcpStream,
        rest: u64,
    ) -> (u64, u64, Result<Stop, Failure>) {
        let (mut taken, mut given) = (0, 0);
        let result = loop {
            if given >= TURN_BYTES {
                break Ok(Stop::Turn);
            }
            let wanted = rest - taken;
            if self.held == 0 {
                if wanted == 0 {
                    break Ok(Stop::Done);
                }
                match self.fill(cx, source, wanted) {
                    Poll::Ready(Ok(0)) => {
                        break Err(Failure::Source(io::ErrorKind::UnexpectedEof.into()));
                    }
                    Poll::Ready(Ok(n)) => taken += n as u64,
                    Poll::Ready(Err(error)) => break Err(Failure::Source(error)),
                    Poll::Pending => break Ok(Stop::Source),
                }
            }
            match self.empty(cx, sink, rest > taken) {
                Poll::Ready(Ok(n)) => given += n as u64,
                Poll::Ready(Err(error)) => break Err(Failure::Sink(error)),
                Poll::Pending => break Ok(Stop::Sink),
            }
        };
        (taken, given, result)
    }

    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        source: &TcpStream,
        rest: u64,
    ) -> Poll<io::Result<usize>> {
        let max = usize::try_from(rest).unwrap_or(usize::MAX).min(PIPE_BYTES);
        let write = &self.write;
        let moved = poll_io(cx, source, Interest::READABLE, || {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(splice(source.as_fd(), None, write, None, max, flags)?)
        });
        if let Poll::Ready(Ok(n)) = moved {
            self.held += n;
        }
        moved
    }

    fn empty(
        &mut self,
        cx: &mut Context<'_>,
        sink: &TcpStream,
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let (read, held) = (&self.read, self.held);
        let moved = poll_io(cx, sink, Interest::WRITABLE, || {
            let mut flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            if more {
                flags |= SpliceFlags::MORE;
            }
            Ok(splice(read, None, sink.as_fd(), None, held, flags)?)
        });
        if let Poll::Ready(Ok(n)) = moved {
            self.held -= n;
        }
        moved
    }
}

/// Tries until it works or the socket is not ready; then the task is woken when it is.
fn poll_io(
    cx: &mut Context<'_>,
    socket: &TcpStream,
    interest: Interest,
    mut work: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        match socket.try_io(interest, &mut work) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        let ready = if interest == Interest::READABLE {
            socket.poll_read_ready(cx)
        } else {
            socket.poll_write_ready(cx)
        };
        match ready {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
}
