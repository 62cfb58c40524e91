//! HTTP/1.0 and HTTP/1.1 with clients: one task per connection, one exchange after the other.
//!
//! A connection owns memory only from a request's first byte to its response's last one. Requests
//! that arrive ahead of their turn wait in the buffer they were read into.

mod stream;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use wire::{HeadLimits, Parse};

pub(crate) use stream::{Stream, declared_length};

use crate::buffer::Outgoing;
use crate::downstream::client::ClientFacts;
use crate::downstream::{Downstream, http2};
use crate::error::ProxyError;
use crate::exchange::{Exchange, Outcome, Work};
use crate::handle;
use crate::publish::Phase;
use crate::transport::Transport;
use crate::watch::{Registered, Watch, ticks};
use crate::worker::Worker;

/// What is read at once of a chunked body: what lies behind its end belongs to the next request and
/// is copied.
const CHUNKED_READ: usize = 64 * 1024;

/// How long, and how much, is read from a client that was answered before it had finished: closing
/// at once would make the kernel throw the answer away.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// A client's connection.
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    pub(crate) facts: Rc<ClientFacts>,
    out: Outgoing,
    /// The client has ended its direction.
    read_closed: bool,
    requests: u64,
    /// The tick after which the connection ends politely.
    old_at: u32,
}

/// What happens after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Next,
    Close,
    /// Answered before the client had said all it says: read on for a moment.
    Linger,
    /// Failed after the response had begun: nothing that looks like an orderly end may follow.
    Abort,
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    transport: Transport,
    facts: Rc<ClientFacts>,
    watch: &Registered,
) {
    let old_at = worker.watches.after(ticks(worker.settings.limits.connection_age_max));
    watch.set_client(&facts);
    let mut connection = Connection {
        transport,
        facts,
        out: Outgoing::default(),
        read_closed: false,
        requests: 0,
        old_at,
    };
    let mut ahead: Option<Box<Work>> = None;
    loop {
        let mut work = match ahead.take() {
            Some(work) => work,
            None => match idle(&worker, &mut connection, watch).await {
                Some(work) => work,
                None => return close(&worker, &mut connection, watch).await,
            },
        };
        let started = Instant::now();
        while connection.requests == 0
            && connection.facts.tls.is_none()
            && http2::may_become_preface(work.input.filled())
            && read_on(&worker, &mut connection, watch, &mut work).await
        {}
        if connection.requests == 0
            && connection.facts.tls.is_none()
            && http2::is_preface(work.input.filled())
        {
            let Connection { transport, facts, .. } = connection;
            let served = http2::serve_cleartext(worker, transport, facts, work, watch);
            return Box::pin(served).await;
        }
        let head = read_head(&worker, &mut connection, watch, &mut work).await;
        connection.requests += 1;
        // Boxed: what an exchange needs is not carried by the connections that idle.
        let after = match head {
            Head::Ready => {
                Box::pin(exchange(&worker, &mut connection, watch, &mut work, started)).await
            }
            Head::Gone => After::Close,
            Head::Failed(error) => {
                Box::pin(refuse(&worker, &mut connection, watch, &mut work, started, error)).await
            }
        };
        match after {
            After::Next => {
                work.input.compact();
                if work.input.is_drained() {
                    worker.give_work(work);
                } else {
                    work.head.clear();
                    ahead = Some(work);
                }
            }
            After::Close => {
                worker.give_work(work);
                return close(&worker, &mut connection, watch).await;
            }
            After::Linger => {
                worker.give_work(work);
                return linger(&worker, &mut connection, watch).await;
            }
            After::Abort => return worker.give_work(work),
        }
    }
}

/// Waits for the first bytes of a request without owning a buffer. `None`: the connection ends.
async fn idle(
    worker: &Rc<Worker>,
    connection: &mut Connection,
    watch: &Registered,
) -> Option<Box<Work>> {
    let limits = &worker.settings.limits;
    let timeout =
        if connection.requests == 0 { limits.head_timeout } else { limits.keep_alive_timeout };
    watch.arm(worker.watches.after(ticks(timeout)));
    watch.set_idle(true);
    let first = connection.requests == 0;
    let work = poll_fn(|cx| {
        let mut work = worker.take_work();
        let read = work.input.poll_fill(cx, &mut connection.transport, limits.head_bytes_max);
        match read {
            Poll::Ready(Ok(n)) if n > 0 => return Poll::Ready(Some(work)),
            Poll::Ready(_) => {
                worker.give_work(work);
                return Poll::Ready(None);
            }
            Poll::Pending => worker.give_work(work),
        }
        // A connection that was accepted is owed one request even while draining.
        let leaving = worker.phase() >= Phase::Draining && !first || watch.is_untrusted();
        if watch.is_expired() || leaving || worker.phase() == Phase::Stopping {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;
    watch.set_idle(false);
    work
}

/// Reads a little more of what may be either protocol; false when nothing comes.
async fn read_on(
    worker: &Worker,
    connection: &mut Connection,
    watch: &Watch,
    work: &mut Work,
) -> bool {
    let max = worker.settings.limits.head_bytes_max;
    poll_fn(|cx| {
        if watch.is_expired() {
            return Poll::Ready(false);
        }
        let read = work.input.poll_fill(cx, &mut connection.transport, max);
        read.map(|read| read.is_ok_and(|n| n > 0))
    })
    .await
}

enum Head {
    Ready,
    /// The client left before a whole request.
    Gone,
    Failed(ProxyError),
}

/// Reads until the head is complete.
async fn read_head(
    worker: &Rc<Worker>,
    connection: &mut Connection,
    watch: &Watch,
    work: &mut Work,
) -> Head {
    let limits = &worker.settings.limits;
    let head_limits = HeadLimits {
        bytes_max: limits.head_bytes_max,
        fields_max: limits.head_fields_max,
        target_bytes_max: limits.target_bytes_max,
    };
    match work.head.parse(work.input.filled(), &head_limits) {
        Ok(Parse::Complete(n)) => {
            work.input.pos = n;
            return Head::Ready;
        }
        Ok(Parse::Partial) => watch.arm(worker.watches.after(ticks(limits.head_timeout))),
        Err(refusal) => return Head::Failed(ProxyError::Refused(refusal)),
    }
    loop {
        let read = poll_fn(|cx| {
            if watch.is_expired() {
                return Poll::Ready(None);
            }
            // One byte beyond the limit, so that the parser sees that it is passed.
            work.input.poll_fill(cx, &mut connection.transport, limits.head_bytes_max + 1).map(Some)
        })
        .await;
        match read {
            None => return Head::Failed(ProxyError::HeadTimeout),
            Some(Err(_) | Ok(0)) => return Head::Gone,
            Some(Ok(_)) => {}
        }
        match work.head.parse(work.input.filled(), &head_limits) {
            Ok(Parse::Complete(n)) => {
                work.input.pos = n;
                return Head::Ready;
            }
            Ok(Parse::Partial) => {}
            Err(refusal) => return Head::Failed(ProxyError::Refused(refusal)),
        }
    }
}

/// One exchange from a complete head on.
async fn exchange(
    worker: &Rc<Worker>,
    connection: &mut Connection,
    watch: &Watch,
    work: &mut Work,
    started: Instant,
) -> After {
    let facts = connection.facts.clone();
    let stream = Stream::new(worker, connection, work, watch);
    let mut exchange = Exchange {
        down: Downstream::Http1(stream),
        client: facts,
        watch,
        started,
        outcome: Outcome::default(),
    };
    handle::handle(worker, &mut exchange).await;
    match &mut exchange.down {
        Downstream::Http1(stream) => stream.after(),
        Downstream::Http2(_) => After::Close,
    }
}

/// Answers a head that is not a request.
async fn refuse(
    worker: &Rc<Worker>,
    connection: &mut Connection,
    watch: &Watch,
    work: &mut Work,
    started: Instant,
    error: ProxyError,
) -> After {
    let facts = connection.facts.clone();
    work.input.pos = work.input.end;
    work.head.clear();
    let stream = Stream::new(worker, connection, work, watch);
    let mut exchange = Exchange {
        down: Downstream::Http1(stream),
        client: facts,
        watch,
        started,
        outcome: Outcome::default(),
    };
    handle::refuse(worker, &mut exchange, &error).await;
    After::Linger
}

/// Lets what was written leave, and ends the connection.
async fn close(worker: &Rc<Worker>, connection: &mut Connection, watch: &Watch) {
    watch.arm(worker.watches.after(ticks(LINGER)));
    poll_fn(|cx| {
        if watch.is_expired()
            || connection.out.poll_drain(cx, &mut connection.transport)?.is_pending()
        {
            return if watch.is_expired() { Poll::Ready(Ok(())) } else { Poll::Pending };
        }
        connection.transport.poll_shutdown(cx)
    })
    .await
    .unwrap_or(());
}

/// Ends our direction and reads for a moment what the client still sends.
async fn linger(worker: &Rc<Worker>, connection: &mut Connection, watch: &Watch) {
    close(worker, connection, watch).await;
    let mut read = 0;
    watch.arm(worker.watches.after(ticks(LINGER)));
    poll_fn(|cx| {
        let mut scratch = worker.scratch.borrow_mut();
        while read < LINGER_BYTES && !watch.is_expired() {
            match ready!(connection.transport.poll_read(cx, &mut scratch[..CHUNKED_READ])) {
                Ok(n) if n > 0 => read += n,
                _ => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}
