//! Pick, connect or reuse, send; once more elsewhere where that is safe; then relay.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use telemetry::{Counter, Gauge};
use wire::{BodyLength, Known, Method, RequestEdits, write_request};

use crate::downstream::client::{Identity, REPLACED, write_scheme_fields};
use crate::downstream::{Begin, Downstream};
use crate::error::ProxyError;
use crate::exchange::{
    BodySource, Exchange, Patience, Pen, Piece, Place, Relay, UpstreamOutcome, Work,
};
use crate::farewell;
use crate::snapshot::{CompiledRoute, CompiledUpstream};
use crate::upstream::connect::{connect, unless_expired};
use crate::upstream::load_balancing::{Pick, Picked};
use crate::upstream::pool::InFlight;
use crate::upstream::stream::UpstreamStream;
use crate::upstream::{http1, http2};
use crate::watch::ticks;
use crate::worker::Worker;

/// How often a request is sent at most.
const ATTEMPTS_MAX: u32 = 2;

/// An endpoint's answer that has begun: its final head is there, nothing of it was sent on.
pub(crate) struct Answered {
    up: UpstreamStream,
    relay: Relay,
    first: Option<Piece>,
    remove_server: bool,
    tunnel_idle: u32,
}

impl Answered {
    /// Whether the whole response is in memory.
    pub(crate) fn is_complete(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.ended)
    }
}

/// What an attempt may do over again.
struct Failure {
    error: ProxyError,
    again: bool,
}

impl Failure {
    fn last(error: ProxyError) -> Self {
        Self { error, again: false }
    }
}

/// Sends the request and waits for the head of its answer.
pub(crate) async fn open(
    worker: &Rc<Worker>,
    exchange: &mut Exchange<'_>,
    route: &CompiledRoute,
    upstream: &CompiledUpstream,
    rewritten: bool,
    identity: &Identity,
) -> Result<Answered, ProxyError> {
    let mut tried = None;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let pick = Pick {
            pools: &worker.pools,
            client: identity.address,
            now: worker.watches.now(),
            tried,
        };
        let picked = pick.endpoint(upstream, &mut worker.rng.borrow_mut());
        let picked = picked.ok_or(ProxyError::NoEndpoint)?;
        let key = picked.endpoint.state.key;
        exchange.outcome.upstream = Some(UpstreamOutcome {
            address: picked.endpoint.state.identity.address,
            status: 0,
            chosen: worker.metrics.logs_access().then(Instant::now),
            attempts: attempt,
        });
        let one = Attempt { worker, route, upstream, rewritten, identity, picked };
        match one.run(exchange).await {
            Ok(answered) => return Ok(answered),
            Err(failure) if failure.again && attempt < ATTEMPTS_MAX => {
                worker.metrics.count(Counter::UpstreamRetries);
                tried = Some(key);
            }
            Err(failure) => return Err(failure.error),
        }
    }
}

struct Attempt<'a> {
    worker: &'a Rc<Worker>,
    route: &'a CompiledRoute,
    upstream: &'a CompiledUpstream,
    rewritten: bool,
    identity: &'a Identity,
    picked: Picked<'a>,
}

impl Attempt<'_> {
    async fn run(&self, exchange: &mut Exchange<'_>) -> Result<Answered, Failure> {
        let worker = self.worker;
        let mut up = self.connected(exchange).await?;
        let patience = self.patience(exchange);
        let body_max = self.body_bytes_max();
        let mut relay = Relay::new(worker, patience, body_max);
        if !exchange.down.has_body() {
            // Its head may still have to be flushed.
            relay.request.set_written();
        }
        self.send(exchange, &mut up, &mut relay)
            .await
            .map_err(|error| self.judge(exchange, &up, &relay, error))?;
        self.answer(exchange, &mut up, &mut relay)
            .await
            .map_err(|error| self.judge(exchange, &up, &relay, error))?;
        self.picked.local.succeeded();
        let (head, _) = up.head();
        let status = head.status;
        if let Some(outcome) = &mut exchange.outcome.upstream {
            outcome.status = status;
        }
        let first = if status == 101 { None } else { up.first_piece().map_err(Failure::last)? };
        Ok(Answered {
            up,
            relay,
            first,
            remove_server: self.route.route().policy.remove_server_field,
            tunnel_idle: ticks(worker.settings.limits.tunnel_idle_timeout),
        })
    }

    /// A stream on a connection that is idle, shared or new.
    async fn connected(&self, exchange: &mut Exchange<'_>) -> Result<UpstreamStream, Failure> {
        let worker = self.worker;
        let local = &self.picked.local;
        let identity = &self.picked.endpoint.state.identity;
        let timeout = self
            .route
            .route()
            .policy
            .timeouts
            .connect_ms
            .map_or(worker.settings.limits.connect_timeout, |ms| {
                Duration::from_millis(u64::from(ms))
            });
        let in_flight = InFlight::new(local);
        if identity.protocol.is_http2() {
            let stream = Box::pin(http2::open(worker, local, identity, in_flight, timeout)).await;
            return match stream {
                Ok(stream) => Ok(UpstreamStream::Http2(Box::new(stream))),
                Err(error) => Err(self.unconnected(error)),
            };
        }
        let (_, head) = exchange.request();
        let method = head.method;
        let body = request_framing(head.body);
        let (transport, reused) = if let Some(transport) = local.checkout(worker.watches.now()) {
            (transport, true)
        } else {
            exchange.watch.disarm();
            // Boxed: rare, and large.
            let dial = Box::pin(connect(worker, identity, timeout));
            let connected = unless_expired(exchange.watch, dial);
            match connected.await {
                Some(Ok(transport)) => (transport, false),
                Some(Err(error)) => return Err(self.unconnected(error)),
                None => return Err(self.unconnected(ProxyError::ConnectTimeout)),
            }
        };
        let counter =
            if reused { Counter::UpstreamRequestsReused } else { Counter::UpstreamRequestsNew };
        worker.metrics.count(counter);
        let stream = http1::Stream::new(worker, transport, in_flight, reused, method, body);
        Ok(UpstreamStream::Http1(Box::new(stream)))
    }

    /// A failed connect moves to another endpoint.
    fn unconnected(&self, error: ProxyError) -> Failure {
        self.picked.local.failed(self.worker.watches.now());
        Failure { error, again: true }
    }

    /// Whether a failure after connecting may be tried again: nothing was written, or a reused
    /// connection was closed under a request that may be repeated and has no body.
    fn judge(
        &self,
        exchange: &Exchange<'_>,
        up: &UpstreamStream,
        relay: &Relay,
        error: ProxyError,
    ) -> Failure {
        let closed = matches!(error, ProxyError::UpstreamClosed | ProxyError::UpstreamIo(_));
        let bodyless = !exchange.down.has_body();
        let (_, head) = exchange.request();
        let is_repeatable = self.worker.settings.retry_reused
            && matches!(head.method, Method::Get | Method::Head | Method::Options);
        let again = match up {
            UpstreamStream::Http1(stream) => {
                closed
                    && !stream.heard
                    && bodyless
                    && (!stream.wrote || (stream.reused && is_repeatable))
            }
            UpstreamStream::Http2(stream) => {
                (stream.was_refused() && relay.request.bytes == 0)
                    || (stream.was_lost() && stream.reused && bodyless && is_repeatable)
            }
        };
        Failure { error, again: again && !exchange.down.has_begun() }
    }

    fn body_bytes_max(&self) -> u64 {
        let route = self.route.route().policy.body_limit.map(|limit| limit.bytes_max);
        route.or(self.worker.settings.limits.body_bytes_max).unwrap_or(u64::MAX)
    }

    fn patience(&self, exchange: &Exchange<'_>) -> Patience {
        let limits = &self.worker.settings.limits;
        let (bytes, head) = exchange.request();
        let is_grpc = head
            .field(Known::ContentType)
            .is_some_and(|field| field.value.of(bytes).starts_with(b"application/grpc"));
        let response = self
            .route
            .route()
            .policy
            .timeouts
            .response_ms
            .map_or(limits.response_timeout, |ms| Duration::from_millis(u64::from(ms)));
        Patience {
            client_read: (!is_grpc).then(|| ticks(limits.body_idle_timeout)),
            client_write: Some(ticks(limits.write_idle_timeout)),
            client_crowding: ticks(limits.http2_stalled_timeout),
            endpoint: Some(ticks(response)),
            until_head: is_grpc,
            rate_min: if is_grpc { 0 } else { limits.body_rate_min },
        }
    }

    /// Writes the request's head with what there is of its body.
    async fn send(
        &self,
        exchange: &mut Exchange<'_>,
        up: &mut UpstreamStream,
        relay: &mut Relay,
    ) -> Result<(), ProxyError> {
        let first = match &mut exchange.down {
            Downstream::Http1(stream) => stream.buffered_piece()?,
            Downstream::Http2(_) => None,
        };
        if let Some(piece) = &first {
            relay.request.bytes = piece.len as u64;
            if relay.request.bytes > relay.request_bytes_max {
                return Err(ProxyError::BodyTooLarge);
            }
        }
        let Exchange { down, client, .. } = exchange;
        let ends = first.as_ref().is_some_and(|piece| piece.ended);
        poll_fn(|cx| {
            let pen = &mut *self.worker.pen.borrow_mut();
            let sent = match up {
                UpstreamStream::Http1(stream) => {
                    let upgrade = wants_upgrade(down);
                    let body = request_framing(down.work().head.body);
                    let key = websocket_key(self.worker, down);
                    self.write_head(pen, client, down.work(), body, upgrade, key.as_deref());
                    let data = match &first {
                        Some(Piece { place: Place::Own(start), len, .. }) => {
                            down.own().slice(*start, *len)
                        }
                        Some(Piece { place: Place::Scratch | Place::Shared(_), .. }) | None => &[],
                    };
                    let end = ends.then(|| down.trailers());
                    stream.send_head(cx, &pen.out, data, end)
                }
                UpstreamStream::Http2(stream) => {
                    let body = down.work().head.body;
                    self.write_head(pen, client, down.work(), body, false, None);
                    let ended = !down.has_body();
                    let data = match &first {
                        Some(Piece { place: Place::Own(start), len, .. }) => {
                            down.own().slice(*start, *len)
                        }
                        Some(Piece { place: Place::Scratch | Place::Shared(_), .. }) | None => &[],
                    };
                    let end = ends.then(|| down.trailers());
                    let scheme = self.upstream.spec.protocol.is_tls();
                    stream.send_head(&pen.out, scheme, ended, data, end)
                }
            };
            Poll::Ready(sent)
        })
        .await?;
        if ends {
            relay.request.set_written();
        }
        relay.touch(self.worker);
        Ok(())
    }

    /// The head as the endpoint gets it, into the pen's `out`.
    fn write_head(
        &self,
        pen: &mut Pen,
        client: &crate::downstream::client::ClientFacts,
        work: &Work,
        body: BodyLength,
        upgrade: bool,
        websocket_key: Option<&str>,
    ) {
        let Work { input, head, decide, request_id } = work;
        let Pen { out, add } = pen;
        let bytes = input.filled();
        add.clear();
        client.write_forwarded(add, head, bytes, self.identity, request_id);
        if self.route.route().policy.scheme_fields {
            write_scheme_fields(add, self.identity);
        }
        add.extend_from_slice(b"CDN-Loop: portcullis\r\n");
        if let Some(key) = websocket_key {
            add.extend_from_slice(b"Sec-WebSocket-Key: ");
            add.extend_from_slice(key.as_bytes());
            add.extend_from_slice(b"\r\n");
        }
        out.clear();
        let edits = RequestEdits {
            path_and_query: self.rewritten.then_some(decide.forward.as_bytes()),
            host: None,
            drop: REPLACED,
            drop_underscore: self.route.route().policy.drop_underscore_fields,
            add,
            body,
            upgrade,
            expect_continue: false,
        };
        write_request(out, bytes, head, &edits);
    }

    /// Waits for the final head; sends informational ones on.
    async fn answer(
        &self,
        exchange: &mut Exchange<'_>,
        up: &mut UpstreamStream,
        relay: &mut Relay,
    ) -> Result<(), ProxyError> {
        let worker = self.worker;
        let upgrade = wants_upgrade(&exchange.down);
        let mut informational = 0;
        let mut unread = None;
        let Exchange { down, watch, .. } = exchange;
        poll_fn(|cx| {
            relay.check(worker, watch)?;
            loop {
                if let Poll::Ready(Err(error)) = relay.poll_request(cx, worker, down, up) {
                    if error.side() != crate::error::Side::Upstream {
                        return Poll::Ready(Err(error));
                    }
                    // An endpoint that stopped reading may have answered: its word counts first,
                    // also when it is heard of later than the end of its reading.
                    relay.request.ended = true;
                    relay.touch(worker);
                    unread = Some(error);
                }
                match up.poll_head(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(unread.take().unwrap_or(error)));
                    }
                    Poll::Pending => {
                        if let Poll::Ready(gone) = down.poll_gone(cx) {
                            return Poll::Ready(Err(gone));
                        }
                        relay.arm(worker, watch);
                        return Poll::Pending;
                    }
                }
                let (head, bytes) = up.head();
                match head.status {
                    101 if upgrade && is_as_asked(down, head, bytes) => return Poll::Ready(Ok(())),
                    101 => return Poll::Ready(Err(ProxyError::UpstreamUpgrade)),
                    100..=199 => {
                        informational += 1;
                        if informational > worker.settings.limits.informational_max {
                            return Poll::Ready(Err(ProxyError::UpstreamInformational));
                        }
                        // 100 was answered here, when the body was first asked for.
                        if head.status != 100 {
                            down.inform(cx, head, bytes)?;
                        }
                        relay.touch(worker);
                    }
                    // To a client of HTTP/2 any 2xx would say that the tunnel stands.
                    200..=299 if is_websocket(down) => {
                        return Poll::Ready(Err(ProxyError::UpstreamNoUpgrade));
                    }
                    _ => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    }
}

/// Sends an answer on to its end.
pub(crate) async fn stream(
    worker: &Rc<Worker>,
    exchange: &mut Exchange<'_>,
    answered: &mut Answered,
) -> Result<(), ProxyError> {
    let Answered { up, relay, first, remove_server, tunnel_idle } = answered;
    let Exchange { down, watch, outcome, .. } = exchange;
    let status = up.head().0.status;
    outcome.status = status;
    let result = poll_fn(|cx| {
        if !down.has_begun() {
            if down.poll_begin(cx).is_pending() {
                return relay.poll_room(cx, worker, watch, down);
            }
            if status == 101 {
                let (head, bytes) = up.head();
                let protocol = head.field(Known::Upgrade).map(|field| field.value.of(bytes));
                let is_websocket =
                    protocol.is_some_and(|name| name.eq_ignore_ascii_case(b"websocket"));
                down.begin_tunnel(cx, head, bytes)?;
                up.begin_tunnel();
                relay.begin_tunnel(worker, *tunnel_idle, is_websocket);
                worker.metrics.raise(Gauge::UpgradesOpen);
            } else {
                let (head, bytes) = up.head();
                let payload = match &*first {
                    Some(Piece { place: Place::Own(start), len, .. }) => {
                        up.own().slice(*start, *len)
                    }
                    Some(Piece { place: Place::Shared(bytes), .. }) => bytes,
                    Some(Piece { place: Place::Scratch, .. }) | None => &[],
                };
                let ended = first.as_ref().is_some_and(|piece| piece.ended);
                let begin = Begin {
                    head,
                    bytes,
                    first: payload,
                    is_contiguous: match &*first {
                        Some(Piece { place: Place::Own(start), .. }) => *start == head.bytes,
                        Some(_) => false,
                        None => true,
                    },
                    end: ended.then(|| up.trailers()),
                    remove_server: *remove_server,
                };
                relay.response.bytes = payload.len() as u64;
                down.begin(cx, worker, &begin)?;
                if let Some(piece) = first.take() {
                    up.release(&piece);
                }
                if ended {
                    relay.response.set_written();
                }
            }
            relay.touch(worker);
            relay.set_begun();
        }
        relay.poll(cx, worker, watch, down, up)
    })
    .await;
    if relay.tunnel {
        if let Err(ProxyError::Stopping | ProxyError::Withdrawn) = &result {
            farewell::say(worker, watch, relay, down, up).await;
        }
        worker.metrics.lower(Gauge::UpgradesOpen);
    }
    outcome.bytes_in += relay.request.bytes;
    outcome.bytes_out += relay.response.bytes;
    result
}

/// An upgrade is passed on when the client asks for it on HTTP/1.1 without a body. `h2c` is a
/// matter between neighbours, never of the endpoint.
fn wants_upgrade(down: &Downstream<'_>) -> bool {
    let work = down.work();
    let Some(upgrade) = work.head.upgrade else { return false };
    let value = upgrade.of(work.input.filled());
    !down.has_body() && !value.to_ascii_lowercase().starts_with(b"h2c")
}

/// Whether the client asked for a WebSocket by extended CONNECT.
fn is_websocket(down: &Downstream<'_>) -> bool {
    matches!(down, Downstream::Http2(stream) if stream.is_websocket())
}

/// The key that HTTP/1 wants of a WebSocket that came by HTTP/2 (RFC 8441 section 5.1): sixteen
/// random bytes in Base64.
fn websocket_key(worker: &Worker, down: &Downstream<'_>) -> Option<String> {
    let Downstream::Http2(stream) = down else { return None };
    if !stream.is_websocket() {
        return None;
    }
    let mut rng = worker.rng.borrow_mut();
    let mut key: String = (0..21).map(|_| rng.alphanumeric()).collect();
    // The last character before the padding carries two bits.
    key.push(rng.choice(['A', 'Q', 'g', 'w']).unwrap_or('A'));
    key.push_str("==");
    Some(key)
}

/// Whether a 101 switches to what the client asked for: a protocol that it named (RFC 9110 section
/// 7.8).
fn is_as_asked(down: &Downstream<'_>, head: &wire::ResponseHead, bytes: &[u8]) -> bool {
    let work = down.work();
    let asked = work.head.upgrade.map_or(&b""[..], |value| value.of(work.input.filled()));
    let Some(given) = head.field(Known::Upgrade) else { return false };
    let given = given.value.of(bytes);
    asked.split(|&byte| byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(given))
}

/// How a request's body is framed on HTTP/1.1.
fn request_framing(body: BodyLength) -> BodyLength {
    match body {
        BodyLength::UntilClose => BodyLength::Chunked,
        known => known,
    }
}
