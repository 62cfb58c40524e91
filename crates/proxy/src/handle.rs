//! Decide, then perform: the whole exchange, with one exit where it is recorded.

use std::borrow::Cow;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use model::{Generation, Hostname};
use telemetry::{AccessRecord, Gauge, TlsRecord, UpstreamRecord};
use wire::Known;

use crate::answer::{Answer, Form};
use crate::decide::{Facts, RequestLine, Verdict, asks_for_health, decide};
use crate::downstream::Downstream;
use crate::downstream::client::{Identity, request_id};
use crate::downstream::http1::declared_length;
use crate::error::ProxyError;
use crate::exchange::{Exchange, Work};
use crate::publish::Phase;
use crate::snapshot::{CompiledRoute, ListenerFacts};
use crate::upstream::forward;
use crate::watch::ticks;
use crate::worker::Worker;

/// The word by which our own passes are counted (RFC 8586).
const LOOP_FIELD: &[u8] = b"cdn-loop";
const LOOP_WORD: &[u8] = b"portcullis";

/// One exchange, top to bottom.
pub(crate) async fn handle(worker: &Rc<Worker>, exchange: &mut Exchange<'_>) {
    worker.metrics.raise(Gauge::RequestsInFlight);
    let pinned = worker.pin();
    let generation = pinned.generation;
    let client = exchange.client.clone();
    let listener = pinned.listeners.iter().find(|known| known.id == client.listener.id);
    let listener: &ListenerFacts = listener.unwrap_or(&client.listener);
    let trusted = &worker.settings.trusted_proxies;
    let identity = {
        let (bytes, head) = exchange.request();
        client.identify(head, bytes, trusted)
    };
    exchange.outcome.bytes_in = exchange.request().1.bytes as u64;
    exchange.outcome.answer_body = pinned.model().answer_body;
    if let Some(status) = health(worker, exchange) {
        let reason = if status == 200 { "health" } else { "stopping" };
        respond(worker, exchange, status, reason, None).await;
        return record(worker, exchange, &identity, None, generation, "");
    }
    if is_loop(worker, exchange) {
        fail(worker, exchange, &ProxyError::Loop).await;
        return record(worker, exchange, &identity, None, generation, "");
    }
    set_request_id(worker, exchange.down.work_mut());
    let decision = {
        let Work { input, head, decide: scratch, .. } = exchange.down.work_mut();
        let bytes = input.filled();
        let line = RequestLine {
            method: head.method,
            target: head.target,
            authority: head.authority.map(|authority| authority.of(bytes)),
            path: head.path.of(bytes),
            query: head.query.of(bytes),
            declared_length: declared_length(head),
        };
        let facts = Facts {
            listener,
            client: identity.address,
            is_https: identity.is_https,
            body_bytes_max: worker.settings.limits.body_bytes_max,
        };
        decide(&pinned, &facts, &line, scratch, &mut ())
    };
    let route = decision.route;
    if let Some(route) = route {
        exchange.outcome.answer_body = route.answer_body;
        exchange.outcome.hides_server = route.route.policy.remove_server_field;
    } else if let Some(host) = decision.nearest.and_then(|host| pinned.model().hosts.get(host)) {
        exchange.outcome.answer_body = host.answer_body;
    }
    match decision.verdict {
        Verdict::Forward { split, rewritten } => {
            let random = worker.rng.borrow_mut().u32(..);
            let (Some(route), Some(upstream)) = (route, split.draw(random)) else {
                fail(worker, exchange, &ProxyError::NoEndpoint).await;
                return record(worker, exchange, &identity, route.map(|r| &**r), generation, "");
            };
            // Before anything is waited for: a later withdrawal finds this exchange.
            exchange.watch.enter(route.id);
            let is_http2 = matches!(exchange.down, Downstream::Http2(_));
            if is_http2 || exchange.down.body_is_pending() {
                // An upload or a call of gRPC may take long: it holds its route, and lets the
                // snapshot go. Others hold it until their response begins.
                let (route, upstream) = (route.clone(), upstream.clone());
                drop(pinned);
                let opened =
                    forward::open(worker, exchange, &route, &upstream, rewritten, &identity).await;
                finish(worker, exchange, opened).await;
                let service = &upstream.spec.id.0;
                return record(worker, exchange, &identity, Some(&route), generation, service);
            }
            let opened =
                forward::open(worker, exchange, route, upstream, rewritten, &identity).await;
            if opened.as_ref().is_ok_and(|answered| !answered.is_complete()) {
                let (route, upstream) = (route.clone(), upstream.clone());
                drop(pinned);
                finish(worker, exchange, opened).await;
                let service = &upstream.spec.id.0;
                return record(worker, exchange, &identity, Some(&route), generation, service);
            }
            finish(worker, exchange, opened).await;
            let service = &upstream.spec.id.0;
            record(worker, exchange, &identity, Some(route), generation, service);
        }
        Verdict::Redirect { status, location, reason } => {
            tell_untrusted_claim(worker, exchange, reason);
            respond(worker, exchange, status, reason, Some(&location)).await;
            record(worker, exchange, &identity, route.map(|r| &**r), generation, "");
        }
        Verdict::Respond { status, reason } => {
            if status == 404 && route.is_none() {
                tell_unrouted(worker, exchange, &pinned, decision.nearest);
            }
            respond(worker, exchange, status, &reason, None).await;
            record(worker, exchange, &identity, route.map(|r| &**r), generation, "");
        }
        Verdict::Refuse(refusal) => {
            fail(worker, exchange, &ProxyError::Refused(refusal)).await;
            record(worker, exchange, &identity, route.map(|r| &**r), generation, "");
        }
    }
}

/// Answers what is not a request, and records it.
pub(crate) async fn refuse(worker: &Rc<Worker>, exchange: &mut Exchange<'_>, error: &ProxyError) {
    worker.metrics.raise(Gauge::RequestsInFlight);
    let generation = {
        let pinned = worker.pin();
        exchange.outcome.answer_body = pinned.model().answer_body;
        pinned.generation
    };
    fail(worker, exchange, error).await;
    let identity =
        Identity { address: exchange.client.peer.ip(), is_https: exchange.client.tls.is_some() };
    record(worker, exchange, &identity, None, generation, "");
}

async fn finish(
    worker: &Rc<Worker>,
    exchange: &mut Exchange<'_>,
    opened: Result<forward::Answered, ProxyError>,
) {
    let result = match opened {
        Ok(mut answered) => forward::stream(worker, exchange, &mut answered).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        fail(worker, exchange, &error).await;
    }
}

/// Ends an exchange that failed: by an answer where none has begun, else by a reset.
async fn fail(worker: &Rc<Worker>, exchange: &mut Exchange<'_>, error: &ProxyError) {
    tracing::debug!(%error, client = %exchange.client.peer, "exchange failed");
    let status = error.status();
    if exchange.down.has_begun() || status == 499 {
        if !exchange.down.has_begun() {
            exchange.outcome.status = status;
        }
        exchange.outcome.reason = Cow::Borrowed(error.reason());
        exchange.down.reset(error);
        return;
    }
    respond(worker, exchange, status, error.reason(), None).await;
}

/// Sends an answer made here.
async fn respond(
    worker: &Rc<Worker>,
    exchange: &mut Exchange<'_>,
    status: u16,
    reason: &str,
    location: Option<&str>,
) {
    exchange.outcome.status = status;
    exchange.outcome.reason = Cow::Owned(reason.to_owned());
    let form =
        if wants_json(exchange) { Form::Json } else { Form::Of(exchange.outcome.answer_body) };
    let hides_server = exchange.outcome.hides_server;
    let close =
        matches!(status, 400 | 408 | 413 | 414 | 417 | 431 | 501 | 505) && location.is_none();
    let answer = Answer { status, reason, location, form, hides_server, close };
    exchange.outcome.bytes_out = answer.body().len() as u64;
    let patience = ticks(worker.settings.limits.write_idle_timeout);
    exchange.watch.arm(worker.watches.after(patience));
    let mut sent = false;
    let Exchange { down, watch, .. } = exchange;
    let result = poll_fn(|cx| {
        if !std::mem::replace(&mut sent, true) {
            down.answer(cx, worker, &answer)?;
        }
        if watch.is_expired() {
            return Poll::Ready(Err(ProxyError::ClientStalled));
        }
        crate::exchange::BodySink::poll_flush(down, cx)
    })
    .await;
    if let Err(error) = result {
        exchange.down.reset(&error);
    }
}

fn wants_json(exchange: &Exchange<'_>) -> bool {
    let (bytes, head) = exchange.request();
    head.field(Known::Accept).is_some_and(|field| {
        memchr::memmem::find(field.value.of(bytes), b"application/json").is_some()
    })
}

/// The status of the health path, if that is what was asked for.
fn health(worker: &Worker, exchange: &Exchange<'_>) -> Option<u16> {
    let path = worker.settings.health_path.as_deref()?;
    let (bytes, head) = exchange.request();
    let asked = asks_for_health(path, head.method, head.path.of(bytes));
    asked.then(|| if worker.phase() == Phase::Serving { 200 } else { 503 })
}

/// Whether this request has passed here too often.
fn is_loop(worker: &Worker, exchange: &Exchange<'_>) -> bool {
    let (bytes, head) = exchange.request();
    let mut passes = 0;
    for field in &head.fields {
        if field.known == Known::Other
            && field.name.len() == LOOP_FIELD.len()
            && field.name.of(bytes).eq_ignore_ascii_case(LOOP_FIELD)
        {
            let words = field.value.of(bytes).split(|&byte| byte == b',');
            passes += words.filter(|word| word.trim_ascii() == LOOP_WORD).count() as u32;
        }
    }
    passes >= worker.settings.limits.loop_max
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The client's own request id, or a new one of 32 hex digits.
fn set_request_id(worker: &Worker, work: &mut Work) {
    let Work { input, head, request_id: id, .. } = work;
    id.clear();
    if let Some(own) = request_id(head, input.filled()) {
        id.extend_from_slice(own);
        return;
    }
    let number = worker.rng.borrow_mut().u128(..);
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_ne_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 0xf)];
    }
    id.extend_from_slice(&text);
}

/// A redirect to HTTPS of a request that says it came by HTTPS is the start of an endless loop: a
/// balancer ends TLS, and is not believed. Said once in the life of the process.
fn tell_untrusted_claim(worker: &Worker, exchange: &Exchange<'_>, reason: &str) {
    if reason != "https-redirect" || exchange.client.trusted {
        return;
    }
    let (bytes, head) = exchange.request();
    let claims = head
        .field(Known::XForwardedProto)
        .is_some_and(|field| field.value.of(bytes).eq_ignore_ascii_case(b"https"));
    if claims && worker.published.may_tell_untrusted_claim() {
        tracing::warn!(
            peer = %exchange.client.peer.ip(),
            "redirecting to HTTPS a request that claims to have come by HTTPS; if this peer is a \
             balancer of yours, start with --trusted-proxies {}",
            exchange.client.peer.ip(),
        );
    }
}

/// Hosts that a 404 names at most.
const HOSTS_TOLD_MAX: usize = 8;

/// A 404 says what came nearest, or which hosts exist: in the access log always, in the process log
/// at most once a second.
fn tell_unrouted(
    worker: &Worker,
    exchange: &mut Exchange<'_>,
    snapshot: &crate::Snapshot,
    nearest: Option<&Hostname>,
) {
    let notice = worker.may_notice();
    if !notice && !worker.metrics.logs_access() {
        return;
    }
    let hosts = &snapshot.model().hosts;
    let detail = if let Some(host) = nearest {
        let paths: Vec<String> = hosts
            .get(host)
            .into_iter()
            .flat_map(|block| &block.routes)
            .take(HOSTS_TOLD_MAX)
            .map(|route| route.path.to_string())
            .collect();
        format!("host {host} has: {}", paths.join(", "))
    } else {
        let known: Vec<String> =
            hosts.keys().take(HOSTS_TOLD_MAX).map(ToString::to_string).collect();
        format!("{} hosts: {}", hosts.len(), known.join(", "))
    };
    if notice {
        let (bytes, head) = exchange.request();
        let host = head.authority.map_or(&b""[..], |authority| authority.of(bytes));
        tracing::info!(
            host = %host.escape_ascii(),
            path = %head.path.of(bytes).escape_ascii(),
            "no route (404); {detail}"
        );
    }
    exchange.outcome.detail = detail;
}

/// The one record of an exchange.
fn record(
    worker: &Worker,
    exchange: &Exchange<'_>,
    identity: &Identity,
    route: Option<&CompiledRoute>,
    generation: Generation,
    service: &str,
) {
    worker.metrics.lower(Gauge::RequestsInFlight);
    let outcome = &exchange.outcome;
    let bytes_out = outcome.bytes_out + exchange.down.head_bytes();
    let ended = Instant::now();
    let duration = ended.saturating_duration_since(exchange.started);
    let duration_us = micros(duration);
    let metrics = route.map_or(&worker.unrouted, |route| &route.metrics);
    worker.metrics.request(metrics, outcome.status, duration_us, outcome.bytes_in, bytes_out);
    worker.metrics.count(match exchange.down.protocol() {
        telemetry::Protocol::Http10 => telemetry::Counter::RequestsHttp10,
        telemetry::Protocol::Http11 => telemetry::Counter::RequestsHttp11,
        telemetry::Protocol::Http2 => telemetry::Counter::RequestsHttp2,
    });
    if !outcome.reason.is_empty() {
        worker.metrics.response_reason(&outcome.reason);
    }
    if !worker.metrics.logs_access() {
        return;
    }
    let (bytes, head) = exchange.request();
    let value = |known| head.field(known).map_or(&b""[..], |field| field.value.of(bytes));
    let query = head.query.of(bytes);
    let object = route.map(|route| &route.route.provenance.object);
    let authority = head.authority.map_or(&b""[..], |authority| authority.of(bytes));
    let generation = generation.hex();
    worker.metrics.access(&AccessRecord {
        time_us: micros(worker.wall_clock.get().of(exchange.started)),
        client: identity.address,
        peer: exchange.client.peer,
        method: head.method_text.of(bytes),
        host: authority,
        path: head.path.of(bytes),
        query: (!query.is_empty()).then(|| &query[1..]),
        protocol: exchange.down.protocol(),
        status: outcome.status,
        reason: &outcome.reason,
        detail: &outcome.detail,
        bytes_in: outcome.bytes_in,
        bytes_out,
        duration_us,
        upstream: outcome.upstream.map(|upstream| UpstreamRecord {
            address: upstream.address,
            status: upstream.status,
            duration_us: upstream
                .chosen
                .map_or(0, |chosen| micros(ended.saturating_duration_since(chosen))),
            attempts: upstream.attempts,
        }),
        namespace: object.map_or("", |object| &object.namespace),
        ingress: object.map_or("", |object| &object.name),
        route: route.map_or("", |route| &route.route.path.value),
        service,
        request_id: &exchange.down.work().request_id,
        generation: std::str::from_utf8(&generation).unwrap_or_default(),
        tls: exchange.client.tls.as_ref().map(|tls| TlsRecord {
            version: tls.version,
            sni: tls.server_name.as_deref().unwrap_or(""),
        }),
        user_agent: value(Known::UserAgent),
        referer: value(Known::Referer),
    });
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
