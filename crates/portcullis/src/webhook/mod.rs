//! The admission webhook: what the API server asks before it stores an Ingress.
//!
//! ```text
//! TLS ─► POST /validate, at most 8 MiB ─► review ─► compiler thread ─► verdict ─► allowed or not
//! ```
//!
//! Everything is bounded: connections, reviews at once, bytes and time. What is over a bound gets
//! an answer that is no review; then the `failurePolicy` of the configuration decides.

pub(crate) mod key_pair;
pub(crate) mod process;
mod review;
pub(crate) mod start;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry::Telemetry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use translate::{Proposal, Verdict};

use crate::control::Control;
use key_pair::Shown;

/// Connections at once. An API server keeps few, and there are few; one more ends the oldest of
/// those that never had a review answered, and where all had, the oldest.
const CONNECTIONS_MAX: usize = 64;
/// Reviews at once; more wait for their turn, and are answered 429 when their time is up. They wait
/// with their bodies read: who is slow to send has no turn.
const REVIEWS_MAX: usize = 16;
/// Bytes of a review; more are answered 413, and the `failurePolicy` decides. An object is at most
/// 1.5 MiB in etcd, is longer in JSON, and comes with the one that it replaces: who makes an
/// Ingress large must not have it stored without a review by that.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a larger one that are read off, so that its sender sees the answer.
const READ_OFF_MAX: usize = 16 * 1024 * 1024;
/// Bytes of all larger reviews that are being read or answered; beyond it their senders wait.
const BYTES_TOTAL_MAX: usize = 32 * 1024 * 1024;
/// Bytes of a review that are not counted: with [`CONNECTIONS_MAX`], 4 MiB. Nearly every review is
/// smaller, and waits for nobody who sends a large one slowly.
const UNCOUNTED_BYTES: usize = 64 * 1024;
/// What bytes are counted in.
const COUNTED_BYTES: usize = 1024;
/// For a review, from its head to its answer; later ones are answered 504.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(1);
/// For a handshake, and for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection with all its requests: API servers keep them as long as they may.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(10);

/// A verdict that is waited for; `None` where nothing can be said.
pub(crate) type Told = Pin<Box<dyn Future<Output = Option<Verdict>> + Send>>;

/// Who says what is to be said of a proposal.
pub(crate) type Review = Arc<dyn Fn(Proposal) -> Told + Send + Sync>;

struct Shared {
    review: Review,
    reviews: Arc<Semaphore>,
    /// Of [`COUNTED_BYTES`] each.
    bytes: Arc<Semaphore>,
    telemetry: Arc<Telemetry>,
}

impl Shared {
    fn new(review: Review, telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self {
            review,
            reviews: Arc::new(Semaphore::new(REVIEWS_MAX)),
            bytes: Arc::new(Semaphore::new(BYTES_TOTAL_MAX / COUNTED_BYTES)),
            telemetry,
        })
    }
}

/// The listener, bound and not serving yet.
#[derive(Debug)]
pub(crate) struct Webhook {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Webhook {
    /// Binds the address.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it is bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on the control runtime for as long as that lives.
    pub(crate) fn serve(
        self,
        shown: Arc<Shown>,
        review: Review,
        telemetry: Arc<Telemetry>,
        control: &Control,
    ) -> Result<(), rustls::Error> {
        self.serve_with(shown, Shared::new(review, telemetry), control)
    }

    fn serve_with(
        self,
        shown: Arc<Shown>,
        shared: Arc<Shared>,
        control: &Control,
    ) -> Result<(), rustls::Error> {
        let acceptor = TlsAcceptor::from(Arc::new(shown.config()?));
        control.handle().spawn(accept(self.listener, acceptor, shared));
        Ok(())
    }
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "webhook listener cannot be served");
            return;
        }
    };
    let mut open: VecDeque<Open> = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                make_room(&mut open);
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                let has_answered = Arc::new(AtomicBool::new(false));
                let served = serve(stream, acceptor, shared, Arc::clone(&has_answered));
                let served = tokio::spawn(async move {
                    // Slow or broken clients are no news.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
                });
                open.push_back(Open { task: served.abort_handle(), has_answered });
                // Those that can be answered are, before they are the oldest.
                tokio::task::yield_now().await;
            }
            // Out of files, most likely: wait for some to be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A connection, from its accept on.
struct Open {
    task: AbortHandle,
    /// A review that came by it was answered.
    has_answered: Arc<AtomicBool>,
}

fn make_room(open: &mut VecDeque<Open>) {
    open.retain(|connection| !connection.task.is_finished());
    if open.len() < CONNECTIONS_MAX {
        return;
    }
    let is_strange = |connection: &Open| !connection.has_answered.load(Ordering::Relaxed);
    let at = open.iter().position(is_strange).unwrap_or(0);
    if let Some(ended) = open.remove(at) {
        ended.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    has_answered: Arc<AtomicBool>,
) {
    // Else the first answer of a connection waits, behind the tickets of its handshake, until their
    // receipt is confirmed: 40 ms. It is served all the same where that cannot be set.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let (shared, has_answered) = (Arc::clone(&shared), Arc::clone(&has_answered));
        async move {
            let response = answer(request, &shared).await;
            has_answered.fetch_or(response.status() == StatusCode::OK, Ordering::Relaxed);
            Ok::<_, Infallible>(response)
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    if request.uri().path() != "/validate" {
        return plain(StatusCode::NOT_FOUND, "POST an AdmissionReview to /validate\n");
    }
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "POST only\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    match review(request.into_body(), shared).await {
        Ok((body, verdict)) => {
            let result = match (verdict.denied.is_empty(), verdict.warnings.is_empty()) {
                (false, _) => "denied",
                (true, false) => "warned",
                (true, true) => "allowed",
            };
            shared.telemetry.webhook_reviewed(result);
            respond(StatusCode::OK, "application/json", body.into())
        }
        Err(failure) => {
            shared.telemetry.webhook_reviewed("failed");
            failure.response()
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Busy,
    Late,
    TooLarge,
    Malformed(String),
    Unreadable,
    NotReady,
}

impl Failure {
    fn response(&self) -> Response<Full<Bytes>> {
        let (status, retry) = match self {
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, true),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, false),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, false),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, false),
            Self::Unreadable => (StatusCode::INTERNAL_SERVER_ERROR, false),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, true),
        };
        let mut response = plain(status, format!("{self}\n"));
        if retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many reviews were under way all the time"),
            Self::Late => f.write_str("the review took too long"),
            Self::TooLarge => write!(f, "a review is at most {BODY_BYTES_MAX} bytes"),
            Self::Malformed(why) => f.write_str(why),
            Self::Unreadable => f.write_str("the review could not be read: the log says why"),
            Self::NotReady => f.write_str("the objects of the cluster have not been read yet"),
        }
    }
}

/// A body, and what it has of the bytes of all.
struct Body {
    bytes: Vec<u8>,
    _counted: Option<OwnedSemaphorePermit>,
}

async fn review(body: Incoming, shared: &Shared) -> Result<(Vec<u8>, Verdict), Failure> {
    let deadline = Instant::now() + REVIEW_TIMEOUT;
    let body = read(body, &shared.bytes, deadline).await?;
    let turn = turn(&shared.reviews, 1, deadline).await?;
    by(deadline, Failure::Late, validate(body, turn, shared)).await?
}

/// Reads on a thread of its own: a large body is long in the reading, and the runtime has others to
/// serve meanwhile. There are no more threads than turns: a turn that nobody waits for any more is
/// kept until its body has been read.
async fn validate(
    body: Body,
    turn: OwnedSemaphorePermit,
    shared: &Shared,
) -> Result<(Vec<u8>, Verdict), Failure> {
    let read = tokio::task::spawn_blocking(move || {
        // All of it, with what it has of the bytes of all.
        let body = body;
        (review::read(&body.bytes), turn)
    });
    // A panic there was printed when it happened.
    let (question, _turn) = read.await.map_err(|_| Failure::Unreadable)?;
    let mut question = question.map_err(Failure::Malformed)?;
    let verdict = match question.proposal.take() {
        Some(proposal) => (shared.review)(proposal).await.ok_or(Failure::NotReady)?,
        None => Verdict::default(),
    };
    Ok((question.answer(&verdict), verdict))
}

/// The body, if it is not too large. What is too large is read off, within reason: a client that is
/// still sending would not see why it is refused.
async fn read(
    mut body: Incoming,
    bytes: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<Body, Failure> {
    let (mut kept, mut length) = (Vec::new(), 0);
    let mut counted: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = by(deadline, Failure::Late, body.frame()).await? {
        let frame = frame.map_err(|error| Failure::Malformed(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= BODY_BYTES_MAX {
            let of_length = length.saturating_sub(UNCOUNTED_BYTES).div_ceil(COUNTED_BYTES);
            let has = counted.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            if let Some(more) = of_length.checked_sub(has).filter(|&more| more > 0) {
                let more = turn(bytes, more, deadline).await?;
                match &mut counted {
                    Some(counted) => counted.merge(more),
                    None => counted = Some(more),
                }
            }
            kept.extend_from_slice(&data);
        } else if length > READ_OFF_MAX {
            break;
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(Failure::TooLarge);
    }
    Ok(Body { bytes: kept, _counted: counted })
}

/// A turn, or so many bytes, as soon as they are free.
async fn turn(
    of: &Arc<Semaphore>,
    count: usize,
    deadline: Instant,
) -> Result<OwnedSemaphorePermit, Failure> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let had = by(deadline, Failure::Busy, Arc::clone(of).acquire_many_owned(count)).await?;
    // It is never closed.
    had.map_err(|_| Failure::Busy)
}

/// What comes in time, else the failure.
async fn by<F: Future>(deadline: Instant, late: Failure, what: F) -> Result<F::Output, Failure> {
    tokio::time::timeout_at(deadline, what).await.map_err(|_| late)
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
