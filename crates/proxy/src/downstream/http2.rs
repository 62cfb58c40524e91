//! HTTP/2 with clients: one task drives the connection, one each stream.
//!
//! Requests are written as the same text and ranges as HTTP/1's, so that everything behind this
//! file is one. What h2 does not limit is limited here: streams that the client resets after they
//! were accepted, and the age of connections.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, SERVER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use telemetry::Counter;
use wire::{
    BodyLength, HeadLimits, Known, KnownSet, Method, Refusal, ResponseHead, build_request,
    build_upgrade_request,
};

use crate::answer::Answer;
use crate::buffer::Input;
use crate::downstream::client::ClientFacts;
use crate::downstream::{Begin, Downstream};
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Exchange, Outcome, Piece, Place, Work};
use crate::handle;
use crate::http2::{Gathering, fields_of_map, map_to_lines, poll_room, send_piece};
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
    watch.arm(worker.watches.after(ticks(limits.head_timeout)));
    let mut handshake = builder(limits).handshake::<_, Bytes>(io.clone());
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
                    tracing::debug!(%error, client = %shared.facts.peer, "HTTP/2 connection failed");
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
            match io.poll_drain(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(None),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let Some((request, respond)) = next else { return };
        requests += 1;
        shared.active.set(shared.active.get() + 1);
        tokio::task::spawn_local(stream(worker.clone(), shared.clone(), request, respond));
    }
}

/// Serves one stream.
async fn stream(
    worker: Rc<Worker>,
    shared: Rc<Shared>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let started = Instant::now();
    let watch = worker.watches.register();
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
    let stream = Stream::new(work, body, respond, is_websocket);
    let mut exchange = Exchange {
        down: Downstream::Http2(Box::new(stream)),
        client: shared.facts.clone(),
        watch: &watch,
        started,
        outcome: Outcome::default(),
    };
    match built {
        Ok(()) => handle::handle(&worker, &mut exchange).await,
        Err(refusal) => {
            handle::refuse(&worker, &mut exchange, &ProxyError::Refused(refusal)).await;
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

/// One request and its response on a stream.
pub(crate) struct Stream {
    work: Box<Work>,
    body: RecvStream,
    body_ended: bool,
    trailers: Vec<u8>,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    begun: bool,
    send_ended: bool,
    is_websocket: bool,
    /// 100 is owed before the body is waited for.
    owes_continue: bool,
    /// The client reset the stream.
    was_reset: bool,
}

impl Stream {
    fn new(
        work: Box<Work>,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        is_websocket: bool,
    ) -> Self {
        let body_ended = body.is_end_stream();
        Self {
            owes_continue: work.head.expect_continue,
            work,
            body,
            body_ended,
            trailers: Vec::new(),
            respond,
            send: None,
            begun: false,
            send_ended: false,
            is_websocket,
            was_reset: false,
        }
    }

    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn work_mut(&mut self) -> &mut Work {
        &mut self.work
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn has_body(&self) -> bool {
        self.work.head.body != BodyLength::None
    }

    pub(crate) fn body_is_pending(&self) -> bool {
        self.has_body() && !self.body_ended
    }

    /// Whether the request is an extended CONNECT.
    pub(crate) fn is_websocket(&self) -> bool {
        self.is_websocket
    }

    fn failed(&mut self, error: h2::Error) -> ProxyError {
        self.was_reset |= error.is_reset() && error.is_remote();
        ProxyError::ClientHttp2(error)
    }

    fn is_grpc(&self) -> bool {
        let bytes = self.work.input.filled();
        self.work
            .head
            .field(Known::ContentType)
            .is_some_and(|field| field.value.of(bytes).starts_with(b"application/grpc"))
    }

    pub(crate) fn inform(
        &mut self,
        _: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), ProxyError> {
        let response = response_of(head, bytes, KnownSet::EMPTY).map(|()| ());
        self.respond.send_informational(response).map_err(|error| self.failed(error))
    }

    pub(crate) fn begin_tunnel(
        &mut self,
        _: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), ProxyError> {
        // RFC 8441: 200 takes the place of 101, and there is no key to confirm.
        let drop = KnownSet::of(&[Known::SecWebsocketAccept]);
        let mut response = response_of(head, bytes, drop);
        *response.status_mut() = StatusCode::OK;
        self.start(response, false)
    }

    fn start(&mut self, response: Response<()>, ended: bool) -> Result<(), ProxyError> {
        self.begun = true;
        self.send_ended = ended;
        let sent = self.respond.send_response(response, ended);
        self.send = Some(sent.map_err(|error| self.failed(error))?);
        Ok(())
    }

    pub(crate) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        begin: &Begin<'_>,
    ) -> Result<(), ProxyError> {
        let drop =
            if begin.remove_server { KnownSet::of(&[Known::Server]) } else { KnownSet::EMPTY };
        let mut response = response_of(begin.head, begin.bytes, drop);
        let fields = response.headers_mut();
        if begin.head.field(Known::Date).is_none() {
            fields.insert(DATE, date(worker));
        }
        if begin.head.field(Known::Server).is_none() && !begin.remove_server {
            fields.insert(SERVER, server(worker));
        }
        let bodyless = self.work.head.method == Method::Head || begin.head.body == BodyLength::None;
        let ended = bodyless || (begin.end == Some(b"") && begin.first.is_empty());
        self.start(response, ended)?;
        if ended {
            return Ok(());
        }
        self.write(cx, begin.first, begin.end)
    }

    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        answer: &Answer<'_>,
    ) -> Result<(), ProxyError> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
        let fields = response.headers_mut();
        fields.insert(DATE, date(worker));
        fields.insert(SERVER, server(worker));
        if self.is_grpc() && answer.status >= 400 {
            // A client of gRPC reads the outcome from grpc-status; a bare 503 would tell it nothing.
            *response.status_mut() = StatusCode::OK;
            let fields = response.headers_mut();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            fields.insert("grpc-status", HeaderValue::from(grpc_status(answer.status)));
            if let Ok(message) = HeaderValue::from_str(answer.reason) {
                fields.insert("grpc-message", message);
            }
            return self.start(response, true);
        }
        let body = answer.body();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type()));
        fields.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if let Some(location) = answer.location.and_then(|text| HeaderValue::from_str(text).ok()) {
            fields.insert(LOCATION, location);
        }
        let is_head = self.work.head.method == Method::Head;
        self.start(response, is_head)?;
        if is_head {
            return Ok(());
        }
        self.write(cx, body.as_bytes(), Some(b""))
    }

    pub(crate) fn reset(&mut self, error: &ProxyError) {
        let reason = match error {
            ProxyError::ClientStalled => Reason::ENHANCE_YOUR_CALM,
            ProxyError::ClientClosed | ProxyError::ClientHttp2(_) => Reason::CANCEL,
            ProxyError::Refused(_) => Reason::PROTOCOL_ERROR,
            _ => Reason::INTERNAL_ERROR,
        };
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let reset = match &mut self.send {
            Some(_) if self.send_ended => return Poll::Pending,
            Some(send) => ready!(send.poll_reset(cx)),
            None => ready!(self.respond.poll_reset(cx)),
        };
        self.was_reset = true;
        Poll::Ready(match reset {
            Ok(_) => ProxyError::ClientClosed,
            Err(error) => ProxyError::ClientHttp2(error),
        })
    }
}

/// The status of gRPC for one of HTTP (gRPC documentation, HTTP to gRPC status code mapping).
fn grpc_status(status: u16) -> u16 {
    match status {
        400 | 413 | 431 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

fn date(worker: &Worker) -> HeaderValue {
    let date = worker.date.borrow();
    let value = date.line().get(6..35).unwrap_or_default();
    HeaderValue::from_bytes(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn server(worker: &Worker) -> HeaderValue {
    HeaderValue::from_str(&worker.settings.server_name)
        .unwrap_or_else(|_| HeaderValue::from_static("portcullis"))
}

/// A response head without the fields of its connection.
fn response_of(head: &ResponseHead, bytes: &[u8], drop: KnownSet) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let drop = drop.union(KnownSet::HOP_BY_HOP);
    let fields = response.headers_mut();
    fields.reserve(head.fields.len() + 2);
    for field in &head.fields {
        let length_is_void = field.known == Known::ContentLength
            && matches!(head.body, BodyLength::Chunked | BodyLength::UntilClose);
        if field.nominated || drop.contains(field.known) || length_is_void {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(field.name.of(bytes)),
            HeaderValue::from_bytes(field.value.of(bytes)),
        ) {
            fields.append(name, value);
        }
    }
    response
}

impl BodySource for Stream {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<Result<Piece, ProxyError>> {
        let nothing_more = Piece { place: Place::Scratch, len: 0, ended: true };
        if self.body_ended {
            return Poll::Ready(Ok(nothing_more));
        }
        let polled = self.body.poll_data(cx);
        if polled.is_pending() && std::mem::take(&mut self.owes_continue) && !self.begun {
            let mut told = Response::new(());
            *told.status_mut() = StatusCode::CONTINUE;
            self.respond.send_informational(told).map_err(|error| self.failed(error))?;
        }
        match ready!(polled) {
            Some(Ok(data)) => {
                let len = data.len();
                let ended = self.body.is_end_stream();
                self.body_ended = ended;
                Poll::Ready(Ok(Piece { place: Place::Shared(data), len, ended }))
            }
            Some(Err(error)) => Poll::Ready(Err(self.failed(error))),
            None => {
                let trailers = ready!(self.body.poll_trailers(cx));
                let trailers = trailers.map_err(|error| self.failed(error))?;
                self.trailers = trailers.as_ref().map(map_to_lines).unwrap_or_default();
                self.body_ended = true;
                Poll::Ready(Ok(nothing_more))
            }
        }
    }

    fn own(&self) -> &Input {
        &self.work.input
    }

    fn release(&mut self, piece: &Piece) {
        // Fails only for a stream that is gone, which the next poll tells.
        let _ = self.body.flow_control().release_capacity(piece.len);
    }

    fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

impl BodySink for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ProxyError>> {
        let Some(send) = &mut self.send else { return Poll::Pending };
        if self.send_ended {
            return Poll::Ready(Ok(usize::MAX));
        }
        let room = ready!(poll_room(send, cx));
        Poll::Ready(room.map_err(|error| self.failed(error)))
    }

    fn write(
        &mut self,
        _: &mut Context<'_>,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        let Some(send) = &mut self.send else { return Ok(()) };
        if self.send_ended {
            return Ok(());
        }
        self.send_ended = end.is_some();
        send_piece(send, data, end).map_err(|error| self.failed(error))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        // The connection's task writes what was queued.
        Poll::Ready(Ok(()))
    }
}
