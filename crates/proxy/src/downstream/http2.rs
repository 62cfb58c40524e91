//! HTTP/2 with clients: one task drives the connection, one each stream.
//!
//! Requests are written as the same text and ranges as HTTP/1's, so that everything behind this
//! file is one. What h2 does not limit is limited here: streams that the client resets after they
//! were accepted, and the age of connections.

mod stream;

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use telemetry::Counter;
use wire::{BodyLength, HeadLimits, Refusal, build_request, build_upgrade_request};

pub(crate) use stream::Stream;

use crate::account::{Account, Held, Share};
use crate::downstream::Downstream;
use crate::downstream::client::ClientFacts;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Outcome, Work};
use crate::handle;
use crate::http2::{Gathering, fields_of_map};
use crate::publish::Phase;
use crate::settings::Limits;
use crate::transport::Transport;
use crate::watch::{Registered, ticks};
use crate::worker::Worker;

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The window in which resets are counted.
const RESET_WINDOW: Duration = Duration::from_secs(30);

/// What one stream may have in its send buffer.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Whether a connection begins as HTTP/2 by prior knowledge. No HTTP/1 method is `PRI`.
pub(crate) fn is_preface(bytes: &[u8]) -> bool {
    bytes.len() >= 4 && bytes.iter().zip(PREFACE).all(|(a, b)| a == b)
}

/// Whether the first bytes of a connection are too few to tell.
pub(crate) fn may_become_preface(bytes: &[u8]) -> bool {
    bytes.len() < 4 && PREFACE.starts_with(bytes)
}

/// Serves a cleartext connection that began with the preface.
pub(crate) async fn serve_cleartext(
    worker: Rc<Worker>,
    transport: Transport,
    facts: Rc<ClientFacts>,
    work: Box<Work>,
    watch: &Registered,
) {
    let ahead = work.input.filled().to_vec();
    worker.give_work(work);
    serve(worker, transport, facts, &ahead, watch).await;
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .initial_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(32)
        .reset_stream_duration(Duration::from_secs(10))
        .data_frame_budget(128 * 1024)
        .enable_connect_protocol();
    builder
}

/// What the tasks of one connection share.
struct Shared {
    facts: Rc<ClientFacts>,
    account: Rc<Account>,
    /// Streams that have not ended.
    active: Cell<u32>,
    /// Streams that the client reset since the window began.
    resets: Cell<u32>,
    window_start: Cell<Instant>,
}

impl Shared {
    /// Counts a stream that the client reset after it was accepted.
    fn count_reset(&self) {
        if self.window_start.get().elapsed() > RESET_WINDOW {
            self.window_start.set(Instant::now());
            self.resets.set(0);
        }
        self.resets.set(self.resets.get() + 1);
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    transport: Transport,
    facts: Rc<ClientFacts>,
    ahead: &[u8],
    watch: &Registered,
) {
    let limits = &worker.settings.limits;
    let io = Gathering::new(transport, ahead);
    watch.set_client(&facts);
    watch.arm(worker.watches.after(ticks(limits.head_timeout)));
    let mut handshake = builder(limits).handshake::<_, Held>(io.clone());
    let connection = poll_fn(|cx| {
        let polled = Pin::new(&mut handshake).poll(cx);
        if polled.is_pending() {
            if watch.is_expired() {
                return Poll::Ready(None);
            }
            let _ = io.poll_drain(cx);
        }
        polled.map(Result::ok)
    })
    .await;
    let Some(mut connection) = connection else { return };
    let shared = Rc::new(Shared {
        facts,
        account: Account::new(limits.http2_memory_max, &worker.held),
        active: Cell::new(0),
        resets: Cell::new(0),
        window_start: Cell::new(Instant::now()),
    });
    let idle_ticks = ticks(limits.keep_alive_timeout);
    let old_at = worker.watches.after(ticks(limits.connection_age_max));
    watch.arm(worker.watches.after(idle_ticks));
    watch.set_idle(true);
    let mut requests = 0_u64;
    let mut leaving = false;
    let mut was_idle = true;
    loop {
        let next = poll_fn(|cx| {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    return Poll::Ready(Some((request, respond)));
                }
                Poll::Ready(Some(Err(error))) => {
                    let client = shared.facts.peer;
                    tracing::debug!(%error, %client, "HTTP/2 connection failed");
                    let _ = io.poll_drain(cx);
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => {
                    let _ = io.poll_drain(cx);
                    return Poll::Ready(None);
                }
                Poll::Pending => {}
            }
            if shared.resets.get() > limits.http2_resets_max && !leaving {
                leaving = true;
                worker.metrics.count(Counter::Http2ResetsByUs);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                cx.waker().wake_by_ref();
            }
            let idle = shared.active.get() == 0;
            if idle && !was_idle {
                watch.arm(worker.watches.after(idle_ticks));
            } else if !idle && was_idle {
                watch.disarm();
            }
            was_idle = idle;
            let phase = worker.phase();
            let old = requests >= limits.requests_per_connection_max
                || worker.watches.now() >= old_at
                || phase >= Phase::Draining
                || watch.is_leaving()
                || (idle && watch.is_expired());
            if old && !leaving {
                leaving = true;
                connection.graceful_shutdown();
                // The client has this long to say goodbye.
                watch.arm(worker.watches.after(ticks(limits.head_timeout)));
                cx.waker().wake_by_ref();
            } else if leaving && idle && watch.is_expired() {
                return Poll::Ready(None);
            }
            let drained = io.poll_drain(cx);
            shared.account.set_blocked(drained.is_pending());
            if matches!(drained, Poll::Ready(Err(_))) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        let Some((request, respond)) = next else { break };
        requests += 1;
        shared.active.set(shared.active.get() + 1);
        let stream_watch = worker.watches.register();
        stream_watch.set_client(&shared.facts);
        stream_watch.follow(watch);
        let stream = stream(worker.clone(), shared.clone(), stream_watch, request, respond);
        tokio::task::spawn_local(stream);
    }
    shared.account.close();
}

/// Serves one stream.
async fn stream(
    worker: Rc<Worker>,
    shared: Rc<Shared>,
    watch: Registered,
    request: http::Request<RecvStream>,
    respond: SendResponse<Held>,
) {
    let started = Instant::now();
    poll_fn(|cx| {
        watch.attach(cx);
        Poll::Ready(())
    })
    .await;
    let mut work = worker.take_work();
    let (parts, body) = request.into_parts();
    let built = read_head(&worker.settings.limits, &mut work, &parts, &body);
    let is_websocket = parts.extensions.get::<h2::ext::Protocol>().is_some();
    drop(parts);
    let head = shared.account.hold_head(work.input.filled().len());
    let share = Share::new(&shared.account);
    let stream = Stream::new(work, body, respond, share, is_websocket);
    let mut exchange = Exchange {
        down: Downstream::Http2(Box::new(stream)),
        client: shared.facts.clone(),
        watch: &watch,
        started,
        outcome: Outcome::default(),
    };
    // Boxed: the library moves the future of a task several times over.
    match built {
        _ if head.is_none() => {
            Box::pin(handle::refuse(&worker, &mut exchange, &ProxyError::Http2Memory)).await;
        }
        Ok(()) => Box::pin(handle::handle(&worker, &mut exchange)).await,
        Err(refusal) => {
            let error = ProxyError::Refused(refusal);
            Box::pin(handle::refuse(&worker, &mut exchange, &error)).await;
        }
    }
    shared.active.set(shared.active.get().saturating_sub(1));
    if let Downstream::Http2(stream) = exchange.down {
        if stream.was_reset {
            worker.metrics.count(Counter::Http2ResetsByClient);
            shared.count_reset();
        }
        worker.give_work(stream.work);
    }
}

/// Writes the request as HTTP/1 text and ranges.
fn read_head(
    limits: &Limits,
    work: &mut Work,
    parts: &http::request::Parts,
    body: &RecvStream,
) -> Result<(), Refusal> {
    let Work { input, head, .. } = work;
    let head_limits = HeadLimits {
        // The text adds a line end and a version to what was limited as a list.
        bytes_max: limits.head_bytes_max + 1024,
        fields_max: limits.head_fields_max,
        target_bytes_max: limits.target_bytes_max,
    };
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let fields = fields_of_map(&parts.headers);
    if let Some(protocol) = parts.extensions.get::<h2::ext::Protocol>() {
        if parts.method != http::Method::CONNECT || protocol.as_str() != "websocket" {
            return Err(Refusal::MethodConnect);
        }
        return input.write_with(|out| {
            let protocol = protocol.as_str().as_bytes();
            build_upgrade_request(
                out,
                head,
                path.as_bytes(),
                authority,
                fields,
                protocol,
                &head_limits,
            )
        });
    }
    let length = if body.is_end_stream() { BodyLength::None } else { BodyLength::Chunked };
    let method = parts.method.as_str().as_bytes();
    input.write_with(|out| {
        build_request(out, head, method, path.as_bytes(), authority, fields, length, &head_limits)
    })
}
