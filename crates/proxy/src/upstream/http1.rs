//! HTTP/1.1 with endpoints: one request on one connection, which is reused only when everything
//! about the exchange was in order.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use wire::{
    BodyDecoder, BodyLength, HeadLimits, Method, Parse, ResponseHead, write_chunk_size,
    write_last_chunk,
};

use crate::buffer::{Input, Outgoing};
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Piece, Place};
use crate::transport::Transport;
use crate::upstream::pool::InFlight;
use crate::worker::Worker;

/// What is read at once of a chunked body.
const CHUNKED_READ: usize = 64 * 1024;

/// Buffers of a response, pooled by the worker.
#[derive(Debug, Default)]
pub(crate) struct ResponseWork {
    pub(crate) input: Input,
    pub(crate) head: ResponseHead,
}

impl ResponseWork {
    /// Makes it fit for another response; false when it should be freed.
    pub(crate) fn reset(&mut self) -> bool {
        self.head.clear();
        self.input.reset()
    }
}

/// A request at an endpoint, and its answer.
pub(crate) struct Stream {
    worker: Rc<Worker>,
    /// Present until the stream ends.
    transport: Option<Transport>,
    /// Taken when the answer's first byte can be read: while many wait for their endpoints, the
    /// answers that come pass through the same few buffers, which stay in the processor's cache.
    work: Option<Box<ResponseWork>>,
    in_flight: InFlight,
    out: Outgoing,
    frame: Vec<u8>,
    /// How the request's body is framed.
    request: BodyLength,
    request_ended: bool,
    method: Method,
    body: BodyDecoder,
    /// A final head was parsed.
    answered: bool,
    pub(crate) reused: bool,
    /// Any byte of the request, and of the answer, passed.
    pub(crate) wrote: bool,
    pub(crate) heard: bool,
    tunnel: bool,
    failed: bool,
}

impl Stream {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        transport: Transport,
        in_flight: InFlight,
        reused: bool,
        method: Method,
        request: BodyLength,
    ) -> Self {
        Self {
            worker: worker.clone(),
            transport: Some(transport),
            work: None,
            in_flight,
            out: Outgoing::default(),
            frame: Vec::new(),
            request,
            request_ended: request == BodyLength::None,
            method,
            body: BodyDecoder::new(BodyLength::None, 0),
            answered: false,
            reused,
            wrote: false,
            heard: false,
            tunnel: false,
            failed: false,
        }
    }

    fn work(&self) -> &ResponseWork {
        self.work.as_ref().expect("an answer is looked at when its head has been read")
    }

    /// Sends the request's head with what there is of its body.
    pub(crate) fn send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        first: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        let mut size = Vec::new();
        let mut tail = Vec::new();
        if self.request == BodyLength::Chunked {
            frame(&mut size, &mut tail, first, end);
        }
        self.request_ended |= end.is_some();
        let transport = self.transport.as_mut().ok_or(ProxyError::UpstreamClosed)?;
        self.out
            .send(cx, transport, &[head, &size, first, &tail])
            .map_err(ProxyError::UpstreamIo)?;
        self.wrote = true;
        Ok(())
    }

    pub(crate) fn head(&self) -> (&ResponseHead, &[u8]) {
        let work = self.work();
        (&work.head, work.input.filled())
    }

    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        let Self { worker, transport, work, method, body, heard, answered, .. } = self;
        let limits = &worker.settings.limits;
        let head_limits = HeadLimits {
            bytes_max: limits.response_head_bytes_max,
            fields_max: limits.response_fields_max,
            target_bytes_max: 0,
        };
        let Some(transport) = transport else {
            return Poll::Ready(Err(ProxyError::UpstreamClosed));
        };
        let ResponseWork { input, head } =
            &mut **work.get_or_insert_with(|| worker.take_response_work());
        if head.status != 0 && !*answered {
            // An informational head was taken: the next one follows it.
            input.pos = head.bytes;
            input.compact();
            head.clear();
        }
        loop {
            if input.end > 0 {
                let parsed = head
                    .parse(input.filled(), *method, &head_limits)
                    .map_err(ProxyError::UpstreamMalformed)?;
                if let Parse::Complete(n) = parsed {
                    input.pos = n;
                    if head.status >= 200 || head.status == 101 {
                        *answered = true;
                        *body = BodyDecoder::new(head.body, limits.trailer_bytes_max);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
            let max = limits.response_head_bytes_max + 1;
            let Poll::Ready(filled) = input.poll_fill(cx, transport, max) else {
                if input.end == 0
                    && let Some(unused) = work.take()
                {
                    worker.give_response_work(unused);
                }
                return Poll::Pending;
            };
            match filled {
                Ok(0) => {
                    let malformed = input.end > 0;
                    return Poll::Ready(Err(if malformed {
                        ProxyError::UpstreamIo(io::ErrorKind::UnexpectedEof.into())
                    } else {
                        ProxyError::UpstreamClosed
                    }));
                }
                Ok(_) => *heard = true,
                Err(error) => return Poll::Ready(Err(ProxyError::UpstreamIo(error))),
            }
        }
    }

    pub(crate) fn first_piece(&mut self) -> Result<Option<Piece>, ProxyError> {
        let Self { work, body, .. } = self;
        let Some(work) = work else { return Ok(None) };
        let input = &mut work.input;
        let start = input.pos;
        let decoded = body.decode(input.rest_mut()).map_err(ProxyError::UpstreamMalformed)?;
        input.pos += decoded.consumed;
        let (len, ended) = (decoded.payload, decoded.ended);
        Ok((len > 0 || ended).then_some(Piece { place: Place::Own(start), len, ended }))
    }

    pub(crate) fn begin_tunnel(&mut self) {
        self.tunnel = true;
        self.request = BodyLength::UntilClose;
        self.request_ended = false;
        self.body = BodyDecoder::new(BodyLength::UntilClose, 0);
    }

    /// Payload that is still to come and may pass without being looked at.
    pub(crate) fn plain_rest(&self) -> Option<u64> {
        let drained = self.work.as_ref().is_some_and(|work| work.input.is_drained());
        if drained && !self.tunnel { self.body.remaining() } else { None }
    }

    /// The socket, where its bytes need no looking at.
    pub(crate) fn plain_source(&self) -> Option<&tokio::net::TcpStream> {
        self.transport.as_ref().and_then(Transport::plain)
    }

    /// Bytes of the body passed without being looked at.
    pub(crate) fn advance(&mut self, n: u64) {
        self.body.advance(n);
    }

    /// Whether the connection is fit for another request.
    fn is_reusable(&self) -> bool {
        let Some(work) = &self.work else { return false };
        self.answered
            && !self.tunnel
            && !self.failed
            && self.body.ended()
            && self.request_ended
            && self.out.is_empty()
            && work.head.keep_alive
            && work.head.status != 101
            // An endpoint that says more than it announced is not believed again.
            && work.input.is_drained()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let reusable = self.is_reusable();
        if reusable {
            let local = self.in_flight.local();
            if let Some(seconds) = self.work().head.keep_alive_timeout {
                local.learn_idle_lifetime(seconds.saturating_mul(1000));
            }
            if let Some(transport) = self.transport.take() {
                let max = self.worker.settings.limits.upstream_idle_max;
                local.checkin(transport, self.worker.watches.now(), max);
            }
        }
        if let Some(work) = self.work.take() {
            self.worker.give_response_work(work);
        }
    }
}

/// Writes what stands before and behind a chunk.
fn frame(size: &mut Vec<u8>, tail: &mut Vec<u8>, data: &[u8], end: Option<&[u8]>) {
    size.clear();
    tail.clear();
    if !data.is_empty() {
        write_chunk_size(size, data.len());
        tail.extend_from_slice(b"\r\n");
    }
    if let Some(trailers) = end {
        write_last_chunk(tail, trailers);
    }
}

impl BodySource for Stream {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<Result<Piece, ProxyError>> {
        loop {
            if let Some(piece) = self.first_piece()? {
                return Poll::Ready(Ok(piece));
            }
            let Self { transport, work, body, tunnel, failed, .. } = &mut *self;
            let (Some(transport), Some(work)) = (transport, work) else {
                return Poll::Ready(Err(ProxyError::UpstreamClosed));
            };
            let max = match body.remaining() {
                Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len()),
                None if *tunnel => scratch.len(),
                None => scratch.len().min(CHUNKED_READ),
            };
            let read = match ready!(transport.poll_read(cx, &mut scratch[..max])) {
                Ok(read) => read,
                Err(error) => {
                    *failed = true;
                    return Poll::Ready(Err(ProxyError::UpstreamIo(error)));
                }
            };
            if read == 0 {
                *failed = true;
                let end = body.end_of_input();
                end.map_err(|_| ProxyError::UpstreamIo(io::ErrorKind::UnexpectedEof.into()))?;
                return Poll::Ready(Ok(Piece { place: Place::Scratch, len: 0, ended: true }));
            }
            let decoded =
                body.decode(&mut scratch[..read]).map_err(ProxyError::UpstreamMalformed)?;
            if decoded.consumed < read {
                // Bytes after the end: kept, so that the connection is seen not to be drained.
                work.input.push(&scratch[decoded.consumed..read]);
            }
            if decoded.payload > 0 || decoded.ended {
                let (len, ended) = (decoded.payload, decoded.ended);
                return Poll::Ready(Ok(Piece { place: Place::Scratch, len, ended }));
            }
        }
    }

    fn own(&self) -> &Input {
        &self.work().input
    }

    fn release(&mut self, _: &Piece) {}

    fn trailers(&self) -> &[u8] {
        self.body.trailers()
    }
}

impl BodySink for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, ProxyError>> {
        let Self { transport, out, .. } = self;
        let Some(transport) = transport else {
            return Poll::Ready(Err(ProxyError::UpstreamClosed));
        };
        ready!(out.poll_drain(cx, transport)).map_err(ProxyError::UpstreamIo)?;
        ready!(transport.poll_flush(cx)).map_err(ProxyError::UpstreamIo)?;
        Poll::Ready(Ok(usize::MAX))
    }

    fn progress(&self) -> u64 {
        self.out.progress() + self.transport.as_ref().map_or(0, Transport::progress)
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        end: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        let mut tail = Vec::new();
        self.frame.clear();
        if self.request == BodyLength::Chunked {
            frame(&mut self.frame, &mut tail, data, end);
        }
        let Self { transport, out, frame, .. } = self;
        let transport = transport.as_mut().ok_or(ProxyError::UpstreamClosed)?;
        out.send(cx, transport, &[frame, data, &tail]).map_err(ProxyError::UpstreamIo)?;
        self.request_ended |= end.is_some();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        let Self { transport, out, tunnel, .. } = self;
        let Some(transport) = transport else {
            return Poll::Ready(Err(ProxyError::UpstreamClosed));
        };
        ready!(out.poll_drain(cx, transport)).map_err(ProxyError::UpstreamIo)?;
        if *tunnel {
            return transport.poll_shutdown(cx).map_err(ProxyError::UpstreamIo);
        }
        transport.poll_flush(cx).map_err(ProxyError::UpstreamIo)
    }
}
