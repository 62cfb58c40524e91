//! One request and its response on a client's HTTP/1 connection: the body in, the answer out.

use std::task::{Context, Poll, ready};

use wire::{
    BodyDecoder, BodyLength, Known, KnownSet, Method, RequestHead, ResponseEdits, ResponseHead,
    Version, write_chunk_size, write_last_chunk, write_response,
};

use super::{After, CHUNKED_READ, Connection};
use crate::answer::{Answer, phrase};
use crate::buffer::{Input, JOIN_BYTES};
use crate::downstream::Begin;
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Pen, Piece, Place, Work};
use crate::publish::Phase;
use crate::watch::Watch;
use crate::worker::Worker;

/// How a response body is framed towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// As it comes: counted by its source, or until close.
    Plain,
    Chunked,
}

/// One request and its response on a connection.
pub(crate) struct Stream<'c> {
    worker: &'c Worker,
    connection: &'c mut Connection,
    work: &'c mut Work,
    watch: &'c Watch,
    body: BodyDecoder,
    framing: Framing,
    begun: bool,
    /// 100 is owed before the body is read.
    owes_continue: bool,
    keep_alive: bool,
    failed: bool,
    /// A client can tell where the response ends, so that a close in good order is no lie.
    is_delimited: bool,
    /// It failed, and the connection may yet end in good order.
    in_order: bool,
    /// Bytes of the response head that was sent.
    head_bytes: usize,
    /// Bytes pass as they are, both ways.
    tunnel: bool,
}

impl<'c> Stream<'c> {
    pub(super) fn new(
        worker: &'c Worker,
        connection: &'c mut Connection,
        work: &'c mut Work,
        watch: &'c Watch,
    ) -> Self {
        let limits = &worker.settings.limits;
        let keep_alive = work.head.keep_alive
            && connection.requests < limits.requests_per_connection_max
            && worker.watches.now() < connection.old_at;
        Self {
            body: BodyDecoder::new(work.head.body, limits.trailer_bytes_max),
            framing: Framing::Plain,
            begun: false,
            owes_continue: work.head.expect_continue,
            keep_alive,
            failed: false,
            is_delimited: false,
            in_order: false,
            head_bytes: 0,
            tunnel: false,
            worker,
            connection,
            work,
            watch,
        }
    }

    pub(crate) fn work(&self) -> &Work {
        self.work
    }

    pub(crate) fn work_mut(&mut self) -> &mut Work {
        self.work
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn has_body(&self) -> bool {
        self.work.head.body != BodyLength::None
    }

    pub(crate) fn body_is_pending(&self) -> bool {
        match self.body.remaining() {
            Some(left) => left > (self.work.input.end - self.work.input.pos) as u64,
            None => !self.body.ended(),
        }
    }

    pub(crate) fn protocol(&self) -> telemetry::Protocol {
        match self.work.head.version {
            Version::Http10 => telemetry::Protocol::Http10,
            Version::Http11 => telemetry::Protocol::Http11,
        }
    }

    pub(crate) fn plain_sink(&mut self) -> Option<&tokio::net::TcpStream> {
        if self.framing == Framing::Plain && self.connection.out.is_empty() {
            self.connection.transport.plain()
        } else {
            None
        }
    }

    pub(super) fn after(&mut self) -> After {
        if self.in_order {
            return After::Linger;
        }
        if self.failed && self.begun {
            return After::Abort;
        }
        if self.failed || !self.begun || self.tunnel {
            return After::Close;
        }
        if !self.body.ended() && !self.skip_buffered() {
            return After::Linger;
        }
        match self.keep_alive {
            true if !self.is_last() => After::Next,
            // We end what the client did not: its next request may be under way, and a close with
            // bytes unread would throw the answer away.
            false if !self.connection.read_closed && self.work.head.keep_alive => After::Linger,
            _ => After::Close,
        }
    }

    /// Consumes what is left of the request's body, if all of it has arrived already.
    fn skip_buffered(&mut self) -> bool {
        let input = &mut self.work.input;
        match self.body.decode(input.rest_mut()) {
            Ok(decoded) => {
                input.pos += decoded.consumed;
                decoded.ended && !self.owes_continue
            }
            Err(_) => false,
        }
    }

    /// What of the body has arrived already. Reads nothing.
    pub(crate) fn buffered_piece(&mut self) -> Result<Option<Piece>, ProxyError> {
        let Self { work, body, .. } = self;
        let input = &mut work.input;
        if input.is_drained() || body.ended() {
            return Ok(None);
        }
        let start = input.pos;
        let decoded = body.decode(input.rest_mut()).map_err(ProxyError::Refused)?;
        input.pos += decoded.consumed;
        let (len, ended) = (decoded.payload, decoded.ended);
        Ok((len > 0 || ended).then_some(Piece { place: Place::Own(start), len, ended }))
    }

    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Result<(), ProxyError> {
        let Connection { out, transport, .. } = &mut *self.connection;
        out.send(cx, transport, &[bytes]).map_err(ProxyError::ClientIo)
    }

    /// Sends a head that no body follows for now.
    fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
        upgrade: bool,
    ) -> Result<(), ProxyError> {
        let out = &mut self.worker.pen.borrow_mut().out;
        out.clear();
        write_response(
            out,
            bytes,
            head,
            &ResponseEdits {
                drop: KnownSet::EMPTY,
                add: b"",
                body: BodyLength::None,
                version: Version::Http11,
                keep_alive: true,
                upgrade,
            },
        );
        self.send(cx, out)
    }

    pub(crate) fn inform(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), ProxyError> {
        if self.work.head.version == Version::Http10 {
            return Ok(());
        }
        self.send_head(cx, head, bytes, false)
    }

    pub(crate) fn begin_tunnel(
        &mut self,
        cx: &mut Context<'_>,
        head: &ResponseHead,
        bytes: &[u8],
    ) -> Result<(), ProxyError> {
        self.begun = true;
        self.tunnel = true;
        self.framing = Framing::Plain;
        self.body = BodyDecoder::new(BodyLength::UntilClose, 0);
        self.send_head(cx, head, bytes, true)
    }

    /// Ends politely from now on, where the process or a withdrawal asks for it.
    fn decide_keep_alive(&mut self, worker: &Worker) {
        self.keep_alive &=
            worker.phase() < Phase::Draining && !self.watch.is_leaving() && !self.is_last();
    }

    /// The client has ended its direction, and nothing that it sent before is left to answer.
    fn is_last(&self) -> bool {
        self.connection.read_closed && self.work.input.is_drained()
    }

    pub(crate) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        begin: &Begin<'_>,
    ) -> Result<(), ProxyError> {
        let head = begin.head;
        let version = self.work.head.version;
        let (body, framing) = match head.body {
            BodyLength::None => (BodyLength::None, Framing::Plain),
            BodyLength::Length(n) => (BodyLength::Length(n), Framing::Plain),
            BodyLength::Chunked | BodyLength::UntilClose if version == Version::Http11 => {
                (BodyLength::Chunked, Framing::Chunked)
            }
            BodyLength::Chunked | BodyLength::UntilClose => {
                self.keep_alive = false;
                (BodyLength::UntilClose, Framing::Plain)
            }
        };
        self.decide_keep_alive(worker);
        // What the client still sends is not waited for once it has its answer.
        self.keep_alive &= !self.body_is_pending();
        self.framing = framing;
        self.is_delimited = body != BodyLength::UntilClose;
        self.begun = true;
        let has_date = head.field(Known::Date).is_some();
        let has_server = head.field(Known::Server).is_some();
        let as_is = !head.needs_rewrite
            && has_date
            && has_server != begin.remove_server
            && self.keep_alive
            && version == Version::Http11
            && head.version == Version::Http11
            && framing == Framing::Plain
            && begin.is_contiguous;
        if as_is {
            // The payload lies behind its head, just as it was read.
            let whole = &begin.bytes[..head.bytes + begin.first.len()];
            debug_assert_eq!(&whole[head.bytes..], begin.first);
            self.head_bytes = head.bytes;
            return self.send(cx, whole);
        }
        let pen = &mut *worker.pen.borrow_mut();
        let Pen { out, add } = pen;
        add.clear();
        if !has_date {
            add.extend_from_slice(worker.date.borrow().line());
        }
        if !has_server && !begin.remove_server {
            server_line(add, worker);
        }
        let drop =
            if begin.remove_server { KnownSet::of(&[Known::Server]) } else { KnownSet::EMPTY };
        out.clear();
        write_response(
            out,
            begin.bytes,
            head,
            &ResponseEdits {
                drop,
                add,
                body,
                version,
                keep_alive: self.keep_alive,
                upgrade: false,
            },
        );
        self.head_bytes = out.len();
        self.write_framed(cx, pen, begin.first, begin.end)
    }

    /// Bytes of the response head that was sent.
    pub(crate) fn head_bytes(&self) -> u64 {
        self.head_bytes as u64
    }

    /// Writes the pen's `out` (a head, or nothing) and a piece of the body behind it.
    fn write_framed(
        &mut self,
        cx: &mut Context<'_>,
        pen: &mut Pen,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        let Self { connection, framing, .. } = self;
        let Connection { out: outgoing, transport, .. } = &mut **connection;
        let Pen { out, add } = pen;
        let sent = match framing {
            Framing::Plain if !out.is_empty() && data.len() <= JOIN_BYTES => {
                out.extend_from_slice(data);
                outgoing.send(cx, transport, &[out])
            }
            Framing::Plain => outgoing.send(cx, transport, &[out, data]),
            Framing::Chunked => {
                add.clear();
                if !data.is_empty() {
                    write_chunk_size(out, data.len());
                    add.extend_from_slice(b"\r\n");
                }
                if let Some(trailers) = end {
                    write_last_chunk(add, trailers);
                }
                if data.len() <= JOIN_BYTES {
                    out.extend_from_slice(data);
                    out.extend_from_slice(add);
                    outgoing.send(cx, transport, &[out])
                } else {
                    outgoing.send(cx, transport, &[out, data, add])
                }
            }
        };
        sent.map_err(ProxyError::ClientIo)
    }

    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        answer: &Answer<'_>,
    ) -> Result<(), ProxyError> {
        self.decide_keep_alive(worker);
        self.keep_alive &= !answer.close && (self.body.ended() || self.skip_buffered());
        let is_head = self.work.head.method == Method::Head;
        let asked = self.work.head.version == Version::Http10;
        let body = answer.body();
        let out = &mut worker.pen.borrow_mut().out;
        out.clear();
        let connection = match (self.keep_alive, asked) {
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
            (false, _) => "Connection: close\r\n",
        };
        out.extend_from_slice(
            format!(
                "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{connection}",
                answer.status,
                phrase(answer.status),
                answer.content_type(),
                body.len(),
            )
            .as_bytes(),
        );
        if let Some(location) = answer.location {
            out.extend_from_slice(format!("Location: {location}\r\n").as_bytes());
        }
        out.extend_from_slice(worker.date.borrow().line());
        if !answer.hides_server {
            server_line(out, worker);
        }
        out.extend_from_slice(b"\r\n");
        self.head_bytes = out.len();
        if !is_head {
            out.extend_from_slice(body.as_bytes());
        }
        self.begun = true;
        self.framing = Framing::Plain;
        self.send(cx, out)
    }

    pub(crate) fn reset(&mut self, error: &ProxyError) {
        self.failed = true;
        let is_ours = matches!(error, ProxyError::Stopping | ProxyError::Withdrawn);
        self.in_order = self.begun && is_ours && (self.tunnel || self.is_delimited);
        if self.begun && !self.in_order {
            // A close that looks orderly would make a body without length look complete.
            let _ = self.connection.transport.socket().set_zero_linger();
        }
    }

    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<ProxyError> {
        let Self { connection, work, body, .. } = self;
        // The body's bytes are the relay's; an ended direction is no farewell.
        if !body.ended() || connection.read_closed || work.input.end > 8 * 1024 {
            return Poll::Pending;
        }
        // Until nothing is left: only then is the task woken by what comes next.
        while work.input.end <= 8 * 1024 {
            let max = work.input.end + 4096;
            match ready!(work.input.poll_fill(cx, &mut connection.transport, max)) {
                Ok(0) => {
                    connection.read_closed = true;
                    return Poll::Pending;
                }
                // The next request, ahead of its turn.
                Ok(_) => {}
                Err(error) => return Poll::Ready(ProxyError::ClientIo(error)),
            }
        }
        Poll::Pending
    }
}

fn server_line(out: &mut Vec<u8>, worker: &Worker) {
    out.extend_from_slice(b"Server: ");
    out.extend_from_slice(worker.settings.server_name.as_bytes());
    out.extend_from_slice(b"\r\n");
}

impl BodySource for Stream<'_> {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<Piece, ProxyError>> {
        let Self { connection, work, body, owes_continue, tunnel, begun, .. } = self;
        let input = &mut work.input;
        loop {
            if !input.is_drained() || body.ended() {
                let start = input.pos;
                let decoded = body.decode(input.rest_mut()).map_err(ProxyError::Refused)?;
                input.pos += decoded.consumed;
                if decoded.payload > 0 || decoded.ended {
                    let (len, ended) = (decoded.payload, decoded.ended);
                    return Poll::Ready(Ok(Piece { place: Place::Own(start), len, ended }));
                }
                if decoded.consumed > 0 && !input.is_drained() {
                    continue;
                }
            }
            // Within a response that has begun it would be taken for a part of it.
            if std::mem::take(owes_continue) && !*begun {
                let line: &[&[u8]] = &[b"HTTP/1.1 100 Continue\r\n\r\n"];
                let sent = connection.out.send(cx, &mut connection.transport, line);
                sent.map_err(ProxyError::ClientIo)?;
            }
            let max = match body.remaining() {
                // Not a byte of the next request is read here.
                Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len()),
                None if *tunnel => scratch.len(),
                None => CHUNKED_READ.min(scratch.len()),
            };
            let read = ready!(connection.transport.poll_read(cx, &mut scratch[..max]))
                .map_err(ProxyError::ClientIo)?;
            if read == 0 {
                connection.read_closed = true;
                body.end_of_input().map_err(|_| ProxyError::ClientClosed)?;
                return Poll::Ready(Ok(Piece { place: Place::Scratch, len: 0, ended: true }));
            }
            let decoded = body.decode(&mut scratch[..read]).map_err(ProxyError::Refused)?;
            if decoded.consumed < read {
                input.push(&scratch[decoded.consumed..read]);
            }
            if decoded.payload > 0 || decoded.ended {
                let (len, ended) = (decoded.payload, decoded.ended);
                return Poll::Ready(Ok(Piece { place: Place::Scratch, len, ended }));
            }
        }
    }

    fn own(&self) -> &Input {
        &self.work.input
    }

    fn release(&mut self, _: &Piece) {}

    fn trailers(&self) -> &[u8] {
        self.body.trailers()
    }
}

impl BodySink for Stream<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ProxyError>> {
        let Connection { out, transport, .. } = &mut *self.connection;
        ready!(out.poll_drain(cx, transport)).map_err(ProxyError::ClientIo)?;
        // What TLS has taken and the socket has not must not wait for the next piece.
        ready!(transport.poll_flush(cx)).map_err(ProxyError::ClientIo)?;
        Poll::Ready(Ok(usize::MAX))
    }

    fn progress(&self) -> u64 {
        self.connection.out.progress() + self.connection.transport.progress()
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        let pen = &mut *self.worker.pen.borrow_mut();
        pen.out.clear();
        self.write_framed(cx, pen, data, end)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        let Connection { out, transport, .. } = &mut *self.connection;
        ready!(out.poll_drain(cx, transport)).map_err(ProxyError::ClientIo)?;
        if self.tunnel {
            // The endpoint has ended its direction: so do we, and go on reading.
            return transport.poll_shutdown(cx).map_err(ProxyError::ClientIo);
        }
        transport.poll_flush(cx).map_err(ProxyError::ClientIo)
    }
}

/// The request head's own declared length, for limits that are known before the body.
pub(crate) fn declared_length(head: &RequestHead) -> Option<u64> {
    match head.body {
        BodyLength::Length(n) => Some(n),
        BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => None,
    }
}
