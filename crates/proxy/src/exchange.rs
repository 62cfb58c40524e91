//! One request and its response, both directions, until both have ended.
//!
//! Client and endpoint each give a [`BodySource`] and take a [`BodySink`], whatever they speak; one
//! [`Relay`] moves both directions, with back-pressure and deadlines. Nothing is collected: a piece
//! is read when the other side has room, and handed over before the next is read.

use std::borrow::Cow;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use model::policy::AnswerBody;
use wire::{RequestHead, WebSocketFrames};

pub(crate) use crate::body::{BodySink, BodySource, Piece, Place};
use crate::buffer::Input;
use crate::decide::Scratch;
use crate::downstream::Downstream;
use crate::downstream::client::ClientFacts;
use crate::error::ProxyError;
use crate::publish::Phase;
use crate::splice::{Failure, Pipe, SPLICE_MIN, Stop};
use crate::upstream::stream::UpstreamStream;
use crate::watch::{Watch, ticks};
use crate::worker::Worker;

/// Bytes read at once towards a peer that takes them as they come, and towards one that does not.
const PIECE_FAST: usize = 256 * 1024;
const PIECE_SLOW: usize = 32 * 1024;

/// A body may be slow for this long before its rate is judged.
const RATE_GRACE: Duration = Duration::from_secs(10);

/// Working memory of one exchange, pooled by the worker while no request is served.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// The request as read.
    pub(crate) input: Input,
    /// Its head.
    pub(crate) head: RequestHead,
    /// For decisions.
    pub(crate) decide: Scratch,
    /// The `X-Request-ID` that is passed on.
    pub(crate) request_id: Vec<u8>,
}

impl Work {
    /// Makes it fit for another exchange; false when it should be freed.
    pub(crate) fn reset(&mut self) -> bool {
        self.head.clear();
        self.input.reset()
    }
}

/// Where heads are put together: one per worker, used between two waits only, so that it stays in
/// the processor's cache whatever the number of exchanges.
#[derive(Debug, Default)]
pub(crate) struct Pen {
    /// What is written: a head, and what of a body is small enough to stand behind it.
    pub(crate) out: Vec<u8>,
    /// Lines that are added to a head.
    pub(crate) add: Vec<u8>,
}

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Source,
    Sink,
}

/// One direction of a relay.
#[derive(Debug)]
pub(crate) struct Direction {
    /// The last piece was handed over.
    written: bool,
    /// Nothing is left to do.
    pub(crate) ended: bool,
    /// Payload bytes so far.
    pub(crate) bytes: u64,
    wait: Wait,
    /// The tick of the last progress.
    last: u32,
    /// The sink's progress when it was looked at last.
    progress: u64,
    piece_max: usize,
    /// In a WebSocket: where its frames end.
    frames: Option<WebSocketFrames>,
    /// As the sink said last.
    holding: bool,
    crowding: bool,
}

impl Direction {
    /// A direction that has still to move everything, or nothing.
    pub(crate) fn new(ended: bool, now: u32) -> Self {
        Self {
            written: ended,
            ended,
            bytes: 0,
            wait: Wait::Source,
            last: now,
            progress: 0,
            piece_max: PIECE_FAST,
            frames: None,
            holding: false,
            crowding: false,
        }
    }

    /// Whether its peer may be told by a frame that this is the end.
    pub(crate) fn may_close(&self) -> bool {
        !self.written && self.frames.as_ref().is_some_and(WebSocketFrames::may_close)
    }

    /// The last piece went out with the head.
    pub(crate) fn set_written(&mut self) {
        self.written = true;
    }

    /// Moves what is left through a pipe, between two cleartext sockets.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        pipe: &mut Pipe,
        ends: &mut Spliced<'_>,
    ) -> Result<(), ProxyError> {
        let (taken, given, stop) = pipe.pump(cx, ends.source, ends.sink, *ends.rest);
        *ends.rest -= taken;
        self.bytes += taken;
        if given > 0 {
            self.last = worker.watches.now();
        }
        match stop {
            Ok(Stop::Done) => self.written = true,
            Ok(Stop::Source) => self.wait = Wait::Source,
            Ok(Stop::Sink) => self.wait = Wait::Sink,
            Ok(Stop::Turn) => cx.waker().wake_by_ref(),
            Err(Failure::Source(error)) => return Err(ProxyError::UpstreamIo(error)),
            Err(Failure::Sink(error)) => return Err(ProxyError::ClientIo(error)),
        }
        Ok(())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        source: &mut impl BodySource,
        sink: &mut impl BodySink,
        bytes_max: u64,
    ) -> Poll<Result<(), ProxyError>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        while !self.written {
            let room = match sink.poll_ready(cx)? {
                Poll::Ready(room) => room,
                Poll::Pending => {
                    self.wait_for(worker, sink);
                    self.piece_max = PIECE_SLOW;
                    return Poll::Pending;
                }
            };
            let mut scratch = worker.scratch.borrow_mut();
            let max = self.piece_max.min(room).min(scratch.len());
            let piece = match source.poll_piece(cx, &mut scratch[..max])? {
                Poll::Ready(piece) => piece,
                Poll::Pending => {
                    self.wait = Wait::Source;
                    sink.rest();
                    return Poll::Pending;
                }
            };
            self.bytes += piece.len as u64;
            if self.bytes > bytes_max {
                return Poll::Ready(Err(ProxyError::BodyTooLarge));
            }
            let data = match &piece.place {
                Place::Own(start) => source.own().slice(*start, piece.len),
                Place::Scratch => &scratch[..piece.len],
                Place::Shared(bytes) => bytes,
            };
            sink.write(cx, data, piece.ended.then(|| source.trailers()))?;
            if let Some(frames) = &mut self.frames {
                frames.pass(data);
            }
            source.release(&piece);
            self.last = worker.watches.now();
            self.written = piece.ended;
        }
        match sink.poll_flush(cx)? {
            Poll::Ready(()) => {
                self.ended = true;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                self.wait_for(worker, sink);
                Poll::Pending
            }
        }
    }

    /// Waits for a sink. One that takes little at a time is slow, not stalled.
    fn wait_for(&mut self, worker: &Worker, sink: &impl BodySink) {
        self.wait = Wait::Sink;
        self.holding = sink.is_holding();
        let progress = sink.progress();
        if self.progress != progress {
            self.progress = progress;
            self.last = worker.watches.now();
        }
    }
}

/// Two cleartext sockets, and how much is to pass from one to the other.
struct Spliced<'a> {
    source: &'a tokio::net::TcpStream,
    sink: &'a tokio::net::TcpStream,
    rest: &'a mut u64,
}

/// How long each wait of a relay may take, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) client_read: Option<u32>,
    pub(crate) client_write: Option<u32>,
    /// The same, where others wait for the memory that this one holds.
    pub(crate) client_crowding: u32,
    pub(crate) endpoint: Option<u32>,
    /// The endpoint's time counts until its head is there, whatever the client still sends; what
    /// streams on after that may be silent. So it is for gRPC.
    pub(crate) until_head: bool,
    /// Least rate of the request body, bytes per second.
    pub(crate) rate_min: u64,
}

/// Both directions of an exchange.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Client to endpoint.
    pub(crate) request: Direction,
    /// Endpoint to client.
    pub(crate) response: Direction,
    pub(crate) patience: Patience,
    /// Largest request body.
    pub(crate) request_bytes_max: u64,
    started: u32,
    /// Both directions must end (a tunnel), not only the response.
    pub(crate) tunnel: bool,
    /// In use while the response is spliced.
    pipe: Option<Pipe>,
}

impl Relay {
    pub(crate) fn new(worker: &Worker, patience: Patience, request_bytes_max: u64) -> Self {
        let now = worker.watches.now();
        Self {
            request: Direction::new(false, now),
            response: Direction::new(false, now),
            patience,
            request_bytes_max,
            started: now,
            tunnel: false,
            pipe: None,
        }
    }

    /// From now on both directions carry bytes as they are, until both have ended.
    pub(crate) fn begin_tunnel(&mut self, worker: &Worker, idle: u32, is_websocket: bool) {
        let now = worker.watches.now();
        self.tunnel = true;
        let carried = self.request.bytes;
        self.request = Direction::new(false, now);
        self.request.bytes = carried;
        self.response = Direction::new(false, now);
        self.request.frames = is_websocket.then(WebSocketFrames::default);
        self.response.frames = is_websocket.then(WebSocketFrames::default);
        self.request_bytes_max = u64::MAX;
        self.patience = Patience {
            client_read: Some(idle),
            client_write: Some(idle),
            client_crowding: idle,
            endpoint: Some(idle),
            until_head: false,
            rate_min: 0,
        };
    }

    /// An answer waits until its connection has room for it. Ready on an error only.
    pub(crate) fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        watch: &Watch,
        down: &mut Downstream<'_>,
    ) -> Poll<Result<(), ProxyError>> {
        if self.response.wait != Wait::Sink {
            self.response.last = worker.watches.now();
        }
        self.response.wait_for(worker, down);
        self.check(worker, watch)?;
        if let Poll::Ready(gone) = down.poll_gone(cx) {
            return Poll::Ready(Err(gone));
        }
        self.arm(worker, watch);
        Poll::Pending
    }

    /// The endpoint's head was sent on.
    pub(crate) fn set_begun(&mut self) {
        // They talk to each other now, at their own pace.
        self.patience.rate_min = 0;
        if std::mem::take(&mut self.patience.until_head) {
            self.patience.endpoint = None;
        }
    }

    /// Starts the endpoint's time anew: it has been asked, or it has begun to answer.
    pub(crate) fn touch(&mut self, worker: &Worker) {
        self.response.last = worker.watches.now();
        self.request.last = self.response.last;
    }

    /// Moves the request body while the endpoint's head is awaited. Ready on an error only.
    pub(crate) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        down: &mut Downstream<'_>,
        up: &mut UpstreamStream,
    ) -> Poll<Result<(), ProxyError>> {
        if self.request.ended {
            return Poll::Pending;
        }
        match self.request.poll(cx, worker, down, up, self.request_bytes_max)? {
            Poll::Ready(()) => {
                // From now on the endpoint owes an answer.
                self.response.last = worker.watches.now();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Moves both directions until the response has ended (in a tunnel: until both have).
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        watch: &Watch,
        down: &mut Downstream<'_>,
        up: &mut UpstreamStream,
    ) -> Poll<Result<(), ProxyError>> {
        if watch.is_expired() {
            self.response.crowding = down.is_crowding();
        }
        self.check(worker, watch)?;
        match self.request.poll(cx, worker, down, up, self.request_bytes_max) {
            Poll::Ready(Err(error)) if self.tunnel => return Poll::Ready(Err(error)),
            // An endpoint that has answered need not read on; the client's own failures count.
            Poll::Ready(Err(error)) if error.side() != crate::error::Side::Upstream => {
                return Poll::Ready(Err(error));
            }
            Poll::Ready(Err(_)) => self.request.ended = true,
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        self.splice(cx, worker, down, up)?;
        let response = if self.pipe.is_some() {
            Poll::Pending
        } else {
            self.response.poll(cx, worker, up, down, u64::MAX)?
        };
        if response.is_pending()
            && self.response.wait == Wait::Source
            && let Poll::Ready(gone) = down.poll_gone(cx)
        {
            return Poll::Ready(Err(gone));
        }
        if response.is_ready() && (!self.tunnel || self.request.ended) {
            return Poll::Ready(Ok(()));
        }
        self.arm(worker, watch);
        Poll::Pending
    }

    /// Moves the response by splice where that is possible; otherwise does nothing.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        down: &mut Downstream<'_>,
        up: &mut UpstreamStream,
    ) -> Result<(), ProxyError> {
        let UpstreamStream::Http1(up) = up else { return Ok(()) };
        if self.response.written {
            return Ok(());
        }
        if self.pipe.is_none() {
            let long = up.plain_rest().is_some_and(|rest| rest >= SPLICE_MIN);
            if !long || up.plain_source().is_none() || down.plain_sink().is_none() {
                return Ok(());
            }
            // Without a pipe (out of descriptors) the body is copied.
            self.pipe = worker.take_pipe();
        }
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut rest = up.plain_rest().unwrap_or(0);
        let before = rest;
        let (Some(source), Some(sink)) = (up.plain_source(), down.plain_sink()) else {
            return Ok(());
        };
        let mut ends = Spliced { source, sink, rest: &mut rest };
        let moved = self.response.splice(cx, worker, pipe, &mut ends);
        up.advance(before - rest);
        if self.response.written
            && let Some(pipe) = self.pipe.take()
        {
            worker.give_pipe(pipe);
        }
        moved
    }

    /// The deadlines of what is waited for now: of the request's direction, of the response's.
    fn deadlines(&self) -> (Option<u32>, Option<u32>) {
        let patience = &self.patience;
        let after = |last: u32, ticks: Option<u32>| {
            // A tunnel lives while either direction does.
            let last = if self.tunnel { self.request.last.max(self.response.last) } else { last };
            ticks.map(|ticks| last.saturating_add(ticks))
        };
        let request = if self.request.ended {
            None
        } else {
            match self.request.wait {
                Wait::Source => after(self.request.last, patience.client_read)
                    .map(|idle| idle.min(self.rate_deadline())),
                // An endpoint that answers is alive, even when it reads no more.
                Wait::Sink => after(self.request.last.max(self.response.last), patience.endpoint),
            }
        };
        let response = if self.response.ended {
            None
        } else {
            match self.response.wait {
                Wait::Source if patience.until_head => {
                    after(self.response.last.max(self.request.last), patience.endpoint)
                }
                // While the client still sends, the endpoint may take its time.
                Wait::Source if !self.request.ended && !self.tunnel => None,
                Wait::Source => after(self.response.last, patience.endpoint),
                Wait::Sink if self.response.crowding => {
                    after(self.response.last, Some(patience.client_crowding))
                }
                Wait::Sink => after(self.response.last, patience.client_write),
            }
        };
        (request, response)
    }

    /// When the body will have been too slow, if nothing more comes.
    fn rate_deadline(&self) -> u32 {
        if self.patience.rate_min == 0 {
            return u32::MAX;
        }
        let earned = Duration::from_secs(self.request.bytes / self.patience.rate_min);
        self.started.saturating_add(ticks(RATE_GRACE.saturating_add(earned)))
    }

    /// Arms the watch with the earlier deadline.
    pub(crate) fn arm(&self, worker: &Worker, watch: &Watch) {
        let mut deadlines = self.deadlines();
        if self.response.holding {
            // Whether others want the memory is looked at again by then.
            let look = worker.watches.after(self.patience.client_crowding);
            deadlines.1 = Some(deadlines.1.unwrap_or(look).min(look));
        }
        match deadlines {
            (None, None) => watch.disarm(),
            (one, other) => {
                watch.arm(one.unwrap_or(u32::MAX).min(other.unwrap_or(u32::MAX)));
            }
        }
    }

    /// Whose deadline has passed, if one has.
    pub(crate) fn check(&self, worker: &Worker, watch: &Watch) -> Result<(), ProxyError> {
        if worker.phase() == Phase::Stopping {
            return Err(ProxyError::Stopping);
        }
        let now = worker.watches.now();
        if watch.is_over(now) {
            return Err(ProxyError::Withdrawn);
        }
        if !watch.is_expired() {
            return Ok(());
        }
        let passed = |deadline: Option<u32>| deadline.is_some_and(|deadline| deadline <= now);
        let (request, response) = self.deadlines();
        if passed(request) {
            return Err(match self.request.wait {
                Wait::Source => ProxyError::BodyTimeout,
                Wait::Sink => ProxyError::UpstreamTimeout,
            });
        }
        if passed(response) {
            return Err(match self.response.wait {
                Wait::Source => ProxyError::UpstreamTimeout,
                Wait::Sink if self.response.crowding => ProxyError::Http2Stalled,
                Wait::Sink => ProxyError::ClientStalled,
            });
        }
        Ok(())
    }
}

/// What is known of an exchange when it has ended: the one record is made from it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    /// Empty when an endpoint answered and nothing went wrong.
    pub(crate) reason: Cow<'static, str>,
    /// More about the reason, for people.
    pub(crate) detail: String,
    /// What stands in an answer that is made here.
    pub(crate) answer_body: AnswerBody,
    /// Answers leave without a `Server` field.
    pub(crate) hides_server: bool,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) upstream: Option<UpstreamOutcome>,
}

/// What is known of the last attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamOutcome {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) status: u16,
    /// When it was chosen; not known without a log, since reading a clock costs as much as routing.
    pub(crate) chosen: Option<Instant>,
    pub(crate) attempts: u32,
}

/// One request and its response.
pub(crate) struct Exchange<'c> {
    pub(crate) down: Downstream<'c>,
    pub(crate) client: Rc<ClientFacts>,
    pub(crate) watch: &'c Watch,
    pub(crate) started: Instant,
    pub(crate) outcome: Outcome,
}

impl Exchange<'_> {
    /// The request's bytes and head.
    pub(crate) fn request(&self) -> (&[u8], &RequestHead) {
        let work = self.down.work();
        (work.input.filled(), &work.head)
    }
}
