//! One request and its response on a client's HTTP/2 stream.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION, SERVER};
use http::{HeaderValue, Response, StatusCode};
use wire::{BodyLength, Known, KnownSet, Method, ResponseHead};

use crate::account::{Held, Share};
use crate::answer::Answer;
use crate::buffer::Input;
use crate::downstream::Begin;
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Piece, Place, Work};
use crate::http2::{map_to_lines, name_of, poll_room, send_piece};
use crate::worker::Worker;

/// What came with a head and is at most so long is sent without a look at the window.
const UNASKED_BYTES: usize = 4 * 1024;

/// One request and its response on a stream.
pub(crate) struct Stream {
    pub(super) work: Box<Work>,
    body: RecvStream,
    body_ended: bool,
    trailers: Vec<u8>,
    respond: SendResponse<Held>,
    send: Option<SendStream<Held>>,
    share: Rc<Share>,
    /// What was handed over is more than the window, so that its leaving is waited for.
    overfull: bool,
    /// Bytes of the body that were handed on, and whose window was not given back yet.
    owed: usize,
    begun: bool,
    send_ended: bool,
    is_websocket: bool,
    /// 100 is owed before the body is waited for.
    owes_continue: bool,
    /// The client reset the stream.
    pub(super) was_reset: bool,
}

impl Stream {
    pub(super) fn new(
        work: Box<Work>,
        body: RecvStream,
        respond: SendResponse<Held>,
        share: Rc<Share>,
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
            share,
            overfull: false,
            owed: 0,
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
        self.share.send_head(begin.head.bytes);
        if ended {
            return Ok(());
        }
        if let Some(send) = self.send.as_mut().filter(|_| begin.first.len() > UNASKED_BYTES) {
            send.reserve_capacity(begin.first.len());
            self.overfull = send.capacity() < begin.first.len();
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
        if !answer.hides_server {
            fields.insert(SERVER, server(worker));
        }
        if self.is_grpc() && answer.status >= 400 {
            // A client of gRPC reads the outcome from grpc-status; a bare 503 tells it nothing.
            *response.status_mut() = StatusCode::OK;
            let fields = response.headers_mut();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            fields.insert("grpc-status", HeaderValue::from(grpc_status(answer)));
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

    /// Ends an answered call of gRPC by a status that makes its client try again; false where this
    /// is none.
    fn end_call(&mut self, error: &ProxyError) -> bool {
        let is_grpc = self.is_grpc();
        let Some(send) = self.send.as_mut().filter(|_| is_grpc) else { return false };
        let lines = format!("grpc-status: 14\r\ngrpc-message: {}\r\n", error.reason());
        self.send_ended = true;
        send_piece(send, &self.share, &[], Some(lines.as_bytes())).is_ok()
    }

    pub(crate) fn reset(&mut self, error: &ProxyError) {
        let is_ours = matches!(error, ProxyError::Stopping | ProxyError::Withdrawn);
        if is_ours && (self.send_ended || self.end_call(error)) {
            // The end was said; a reset would take it back.
            return;
        }
        let reason = match error {
            ProxyError::ClientStalled | ProxyError::Http2Stalled => Reason::ENHANCE_YOUR_CALM,
            ProxyError::Http2Memory => Reason::REFUSED_STREAM,
            ProxyError::ClientClosed
            | ProxyError::ClientHttp2(_)
            | ProxyError::Stopping
            | ProxyError::Withdrawn => Reason::CANCEL,
            ProxyError::Refused(_) => Reason::PROTOCOL_ERROR,
            _ => Reason::INTERNAL_ERROR,
        };
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        if self.send_ended { Poll::Pending } else { self.poll_reset(cx) }
    }

    /// Ready when there is room to begin an answer.
    pub(crate) fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.share.poll_room(cx)
    }

    fn give_window(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 {
            // Fails only for a stream that is gone, which the next poll tells.
            let _ = self.body.flow_control().release_capacity(owed);
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let reset = match &mut self.send {
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

/// The status of gRPC for one of HTTP (gRPC documentation, HTTP to gRPC status code mapping). An
/// endpoint that was asked and did not answer in time is a deadline that passed.
fn grpc_status(answer: &Answer<'_>) -> u16 {
    match answer.status {
        504 if answer.reason == ProxyError::UpstreamTimeout.reason() => 4,
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
    // One copy for all values.
    let shared = Bytes::copy_from_slice(&bytes[..head.bytes]);
    for field in &head.fields {
        let length_is_void = field.known == Known::ContentLength
            && matches!(head.body, BodyLength::Chunked | BodyLength::UntilClose);
        if field.nominated || drop.contains(field.known) || length_is_void {
            continue;
        }
        let value = shared.slice(field.value.start as usize..field.value.end as usize);
        if let (Some(name), Ok(value)) =
            (name_of(field.known, field.name.of(bytes)), HeaderValue::from_maybe_shared(value))
        {
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
        // What was handed on has left our hands when more is asked for.
        self.give_window();
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
        self.owed += piece.len;
        if piece.ended {
            self.give_window();
        }
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
        let Some(send) = &mut self.send else { return Ok(()) };
        if self.send_ended {
            return Ok(());
        }
        self.send_ended = end.is_some();
        send_piece(send, &self.share, data, end).map_err(|error| self.failed(error))
    }

    fn rest(&mut self) {
        if let Some(send) = &mut self.send {
            // The connection's window is for all its streams.
            send.reserve_capacity(0);
        }
    }

    fn progress(&self) -> u64 {
        self.share.progress()
    }

    fn is_holding(&self) -> bool {
        self.overfull
    }

    fn is_crowding(&self) -> bool {
        self.share.is_crowding()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        // The connection's task writes what was queued, and what has window leaves.
        if self.overfull {
            if let Poll::Ready(gone) = self.poll_reset(cx) {
                return Poll::Ready(Err(gone));
            }
            ready!(self.share.poll_empty(cx));
            self.overfull = false;
        }
        Poll::Ready(Ok(()))
    }
}
