//! HTTP/2 with endpoints: connections shared by the streams of one worker.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request};
use telemetry::Counter;
use wire::{BodyLength, HeadLimits, Known, KnownSet, ResponseHead, build_response};

use crate::account::{Account, Held, Share};
use crate::buffer::Input;
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Piece, Place};
use crate::http2::{
    Gathering, fields_of, fields_of_map, map_to_lines, name_of, poll_room, send_piece,
};
use crate::registry::ConnectionIdentity;
use crate::upstream::connect::connect;
use crate::upstream::http1::ResponseWork;
use crate::upstream::pool::{InFlight, Local};
use crate::worker::Worker;

/// Streams put on one connection before another is made, whatever the endpoint allows.
const STREAMS_MAX: u32 = 100;

/// What one stream may have in its send buffer.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Fields that HTTP/2 says otherwise.
const OTHERWISE_SAID: KnownSet = KnownSet::of(&[
    Known::Host,
    Known::Connection,
    Known::TransferEncoding,
    Known::KeepAlive,
    Known::Upgrade,
    Known::ProxyConnection,
]);

/// A connection as its streams share it.
#[derive(Clone)]
pub(crate) struct Handle {
    send: SendRequest<Held>,
    io: Gathering,
    account: Rc<Account>,
    state: Rc<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: Cell<bool>,
    /// A request was sent on it.
    used: Cell<bool>,
    active: Cell<u32>,
    /// Sweeps since the last stream ended.
    idle_sweeps: Cell<u32>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Handle {
    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.closed.get()
    }

    /// Whether no stream has used it for this many sweeps.
    pub(crate) fn is_stale(&self, sweeps: u32) -> bool {
        if self.state.active.get() > 0 {
            self.state.idle_sweeps.set(0);
            return false;
        }
        self.state.idle_sweeps.set(self.state.idle_sweeps.get() + 1);
        self.state.idle_sweeps.get() > sweeps
    }

    /// A stream beyond what the endpoint allows would wait in the library until another ends.
    fn has_room(&self) -> bool {
        let max = self.send.current_max_send_streams();
        !self.is_closed() && (self.state.active.get() as usize) < max.min(STREAMS_MAX as usize)
    }
}

/// Counts a stream on its connection while it lives.
struct Active(Rc<State>);

impl Active {
    fn new(state: &Rc<State>) -> Self {
        state.active.set(state.active.get() + 1);
        state.idle_sweeps.set(0);
        Self(state.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
    }
}

/// A stream on a connection that has room, or on a new one.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    local: &Rc<Local>,
    identity: &ConnectionIdentity,
    in_flight: InFlight,
    timeout: Duration,
) -> Result<Stream, ProxyError> {
    // One deadline in all, however many others fail to connect before.
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let known = local.http2.borrow().iter().find(|handle| handle.has_room()).cloned();
        if let Some(mut handle) = known {
            let active = Active::new(&handle.state);
            let ready = poll_fn(|cx| handle.send.poll_ready(cx));
            match tokio::time::timeout_at(deadline, ready).await {
                Ok(Ok(())) => {
                    let reused = handle.state.used.replace(true);
                    worker.metrics.count(if reused {
                        Counter::UpstreamRequestsReused
                    } else {
                        Counter::UpstreamRequestsNew
                    });
                    return Ok(Stream::new(worker, handle, identity, in_flight, active, reused));
                }
                Ok(Err(_)) => {
                    handle.state.closed.set(true);
                    continue;
                }
                Err(_) => return Err(ProxyError::UpstreamTimeout),
            }
        }
        // One connects, the others wait for what comes of it.
        if local.connecting.replace(true) {
            let connected = local.connected.notified();
            if tokio::time::timeout_at(deadline, connected).await.is_err() {
                return Err(ProxyError::ConnectTimeout);
            }
            continue;
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let made = make(worker, identity, left).await;
        local.connecting.set(false);
        local.connected.notify_waiters();
        let handle = made?;
        local.http2.borrow_mut().push(handle);
    }
}

/// Connects and spawns the task that drives the connection.
async fn make(
    worker: &Rc<Worker>,
    identity: &ConnectionIdentity,
    timeout: Duration,
) -> Result<Handle, ProxyError> {
    let limits = &worker.settings.limits;
    let transport = connect(worker, identity, timeout).await?;
    let io = Gathering::new(transport, &[]);
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits.http2_stream_window)
        .initial_connection_window_size(limits.http2_connection_window)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(limits.response_head_bytes_max).unwrap_or(u32::MAX));
    let handshake = builder.handshake::<_, Held>(io.clone());
    let (send, mut connection) = handshake.await.map_err(ProxyError::UpstreamHttp2)?;
    let state = Rc::new(State::default());
    let account = Account::new(limits.http2_memory_max, &worker.held);
    let handle = Handle { send, io: io.clone(), account: account.clone(), state: state.clone() };
    tokio::task::spawn_local(async move {
        let result = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            let drained = io.poll_drain(cx);
            if let Poll::Ready(Err(error)) = drained {
                tracing::debug!(%error, "HTTP/2 connection to an endpoint failed");
                return Poll::Ready(Ok(()));
            }
            account.set_blocked(drained.is_pending());
            polled
        })
        .await;
        if let Err(error) = result {
            tracing::debug!(%error, "HTTP/2 connection to an endpoint ended");
        }
        state.closed.set(true);
        account.close();
    });
    Ok(handle)
}

/// A request at an endpoint, and its answer.
pub(crate) struct Stream {
    worker: Rc<Worker>,
    request: SendRequest<Held>,
    share: Rc<Share>,
    io: Gathering,
    authority: String,
    response: Option<ResponseFuture>,
    send: Option<SendStream<Held>>,
    body: Option<RecvStream>,
    body_ended: bool,
    trailers: Vec<u8>,
    work: Option<Box<ResponseWork>>,
    /// The connection had carried a request before.
    pub(crate) reused: bool,
    /// What the connection had taken when the request was handed to it.
    handed_at: u64,
    /// A head came, if only an informational one.
    heard: bool,
    refused: bool,
    lost: bool,
    is_head: bool,
    _in_flight: InFlight,
    active: Active,
}

impl Stream {
    fn new(
        worker: &Rc<Worker>,
        handle: Handle,
        identity: &ConnectionIdentity,
        in_flight: InFlight,
        active: Active,
        reused: bool,
    ) -> Self {
        let Handle { send: request, io, account, .. } = handle;
        Self {
            worker: worker.clone(),
            request,
            share: Share::new(&account),
            io,
            authority: identity.address.to_string(),
            response: None,
            send: None,
            body: None,
            body_ended: false,
            trailers: Vec::new(),
            work: None,
            reused,
            handed_at: 0,
            heard: false,
            refused: false,
            lost: false,
            is_head: false,
            _in_flight: in_flight,
            active,
        }
    }

    /// Whether the endpoint did not begin to process the request: it said so, or the connection
    /// ended before anything of the request was written.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether the connection ended before anything of the answer was there.
    pub(crate) fn was_lost(&self) -> bool {
        self.lost
    }

    fn failed(&mut self, error: h2::Error) -> ProxyError {
        let ended = error.is_io() || error.is_go_away();
        if ended {
            // The next stream need not find out for itself.
            self.active.0.closed.set(true);
        }
        let unprocessed = error.reason() == Some(Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(Reason::NO_ERROR))
            || (ended && self.io.accepted() == self.handed_at);
        self.refused |= unprocessed && !self.heard;
        self.lost |= ended && !self.heard;
        ProxyError::UpstreamHttp2(error)
    }

    fn work(&self) -> &ResponseWork {
        self.work.as_ref().expect("an answer is looked at when its head has been read")
    }

    /// Sends the request. `text` is its head as HTTP/1 text, which was written here.
    pub(crate) fn send_head(
        &mut self,
        text: &[u8],
        is_tls: bool,
        ended: bool,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        self.is_head = text.starts_with(b"HEAD ");
        let request = request_of(text, is_tls, &self.authority)
            .ok_or(ProxyError::Refused(wire::Refusal::TargetForm))?;
        self.handed_at = self.io.accepted();
        let sent = self.request.send_request(request, ended);
        let (response, send) = sent.map_err(|error| self.failed(error))?;
        self.share.send_head(text.len());
        self.response = Some(response);
        self.send = (!ended).then_some(send);
        if !data.is_empty() || end.is_some() {
            self.write_piece(data, end)?;
        }
        Ok(())
    }

    fn write_piece(&mut self, data: &[u8], end: Option<&[u8]>) -> Result<(), ProxyError> {
        let Some(send) = &mut self.send else { return Ok(()) };
        let sent = send_piece(send, &self.share, data, end);
        if end.is_some() {
            self.send = None;
        }
        sent.map_err(|error| self.failed(error))
    }

    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        let Some(response) = &mut self.response else {
            return Poll::Ready(Err(ProxyError::UpstreamClosed));
        };
        if let Poll::Ready(Some(informational)) = response.poll_informational(cx) {
            let informational = informational.map_err(|error| self.failed(error))?;
            self.heard = true;
            let (parts, ()) = informational.into_parts();
            return Poll::Ready(self.take_head(&parts, BodyLength::None));
        }
        let answered = ready!(Pin::new(response).poll(cx));
        let (parts, body) = answered.map_err(|error| self.failed(error))?.into_parts();
        let ended = body.is_end_stream();
        self.heard = true;
        self.body = Some(body);
        self.body_ended = ended;
        let is_bodiless = self.is_head || matches!(parts.status.as_u16(), 204 | 304);
        if is_bodiless {
            // Whatever else the stream says, there is nothing to send on.
            self.body_ended = true;
            return Poll::Ready(self.take_head(&parts, BodyLength::None));
        }
        if !ended {
            return Poll::Ready(self.take_head(&parts, BodyLength::Chunked));
        }
        self.take_head(&parts, BodyLength::None)?;
        if let Some(work) = &mut self.work {
            // An empty body, which HTTP/1 has to be told of.
            work.head.body = BodyLength::Length(0);
            work.head.needs_rewrite = true;
        }
        Poll::Ready(Ok(()))
    }

    fn take_head(
        &mut self,
        parts: &http::response::Parts,
        body: BodyLength,
    ) -> Result<(), ProxyError> {
        let limits = &self.worker.settings.limits;
        let head_limits = HeadLimits {
            bytes_max: limits.response_head_bytes_max + 1024,
            fields_max: limits.response_fields_max,
            target_bytes_max: 0,
        };
        let Self { worker, work, .. } = self;
        let work = work.get_or_insert_with(|| worker.take_response_work());
        let ResponseWork { input, head } = &mut **work;
        let status = parts.status.as_u16();
        let fields = fields_of_map(&parts.headers);
        input
            .write_with(|out| build_response(out, head, status, fields, body, &head_limits))
            .map_err(ProxyError::UpstreamMalformed)
    }

    pub(crate) fn head(&self) -> (&ResponseHead, &[u8]) {
        let work = self.work();
        (&work.head, work.input.filled())
    }

    pub(crate) fn first_piece(&mut self) -> Option<Piece> {
        self.body_ended.then_some(Piece { place: Place::Scratch, len: 0, ended: true })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(send) = &mut self.send {
            // The answer came first, or nobody wants it any more.
            send.send_reset(Reason::CANCEL);
        }
        if let Some(work) = self.work.take() {
            self.worker.give_response_work(work);
        }
    }
}

/// A request of HTTP/2 from the head as HTTP/1 text.
fn request_of(text: &[u8], is_tls: bool, fallback_authority: &str) -> Option<Request<()>> {
    let line_end = memchr::memchr(b'\n', text)?;
    let (line, lines) = text.split_at(line_end + 1);
    let mut words = line.trim_ascii_end().split(|&byte| byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut request = Request::new(());
    *request.method_mut() = http::Method::from_bytes(method).ok()?;
    let mut authority = None;
    for (name, value) in fields_of(lines) {
        let known = Known::of(name);
        if known == Known::Host {
            authority = std::str::from_utf8(value).ok().filter(|text| !text.is_empty());
        }
        if OTHERWISE_SAID.contains(known) {
            continue;
        }
        let name = name_of(known, name)?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority.unwrap_or(fallback_authority).parse::<Authority>().ok()?);
    uri.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = http::Version::HTTP_2;
    Some(request)
}

impl BodySource for Stream {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<Result<Piece, ProxyError>> {
        let nothing_more = Piece { place: Place::Scratch, len: 0, ended: true };
        let Some(body) = &mut self.body else {
            return Poll::Ready(Err(ProxyError::UpstreamClosed));
        };
        if self.body_ended {
            return Poll::Ready(Ok(nothing_more));
        }
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => {
                let len = data.len();
                let ended = body.is_end_stream();
                self.body_ended = ended;
                Poll::Ready(Ok(Piece { place: Place::Shared(data), len, ended }))
            }
            Some(Err(error)) => Poll::Ready(Err(self.failed(error))),
            None => {
                let trailers = ready!(body.poll_trailers(cx));
                let trailers = trailers.map_err(|error| self.failed(error))?;
                self.trailers = trailers.as_ref().map(map_to_lines).unwrap_or_default();
                self.body_ended = true;
                Poll::Ready(Ok(nothing_more))
            }
        }
    }

    fn own(&self) -> &Input {
        &self.work().input
    }

    fn release(&mut self, piece: &Piece) {
        if let Some(body) = &mut self.body {
            // Fails only for a stream that is gone, which the next poll tells.
            let _ = body.flow_control().release_capacity(piece.len);
        }
    }

    fn trailers(&self) -> &[u8] {
        &self.trailers
    }
}

impl BodySink for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ProxyError>> {
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(usize::MAX)) };
        ready!(self.share.poll_room(cx));
        let room = ready!(poll_room(send, cx));
        Poll::Ready(room.map_err(|error| self.failed(error)))
    }

    fn write(
        &mut self,
        _: &mut Context<'_>,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        self.write_piece(data, end)
    }

    fn rest(&mut self) {
        if let Some(send) = &mut self.send {
            // The connection's window is for all its streams.
            send.reserve_capacity(0);
        }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        // The connection's task writes what was queued.
        Poll::Ready(Ok(()))
    }
}
