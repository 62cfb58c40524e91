//! The admission webhook: what the API server asks before it stores an Ingress.
//!
//! ```text
//! TLS ─► POST /validate, at most 1 MiB ─► review ─► compiler thread ─► verdict ─► allowed or not
//! ```
//!
//! Everything is bounded: connections, reviews at once, bytes and time. What is over a bound gets
//! an answer that is no review; then the `failurePolicy` of the configuration decides.

pub(crate) mod key_pair;
pub(crate) mod process;
mod review;
pub(crate) mod start;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use telemetry::Telemetry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use translate::{Proposal, Verdict};

use crate::control::Control;
use key_pair::Shown;

/// Connections at once; more wait to be accepted. An API server keeps few, and there are few.
const CONNECTIONS_MAX: usize = 64;
/// Reviews at once; more are answered 429.
const REVIEWS_MAX: usize = 16;
/// Bytes of a review; more are answered 413. An object is at most 1.5 MiB in etcd, and an Ingress
/// that comes near is a mistake.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a larger one that are read off. An API server takes 3 MiB, and sends it twice.
const READ_OFF_MAX: usize = 8 * 1024 * 1024;
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
    reviews: Semaphore,
    connections: Arc<Semaphore>,
    telemetry: Arc<Telemetry>,
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
        let acceptor = TlsAcceptor::from(Arc::new(shown.config()?));
        let shared = Arc::new(Shared {
            review,
            reviews: Semaphore::new(REVIEWS_MAX),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            telemetry,
        });
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
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let served = serve(stream, acceptor, shared);
                    // Slow or broken clients are no news.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
                    drop(permit);
                });
            }
            // Out of files, most likely: wait for some to be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // Else the first answer of a connection waits, behind the tickets of its handshake, until their
    // receipt is confirmed: 40 ms. It is served all the same where that cannot be set.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await else {
        return;
    };
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
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
    let outcome = match shared.reviews.try_acquire() {
        Err(_) => Err(Failure::Busy),
        Ok(_permit) => tokio::time::timeout(REVIEW_TIMEOUT, validate(request, shared))
            .await
            .unwrap_or(Err(Failure::Late)),
    };
    match outcome {
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
    NotReady,
}

impl Failure {
    fn response(&self) -> Response<Full<Bytes>> {
        let (status, retry) = match self {
            Self::Busy => (StatusCode::TOO_MANY_REQUESTS, true),
            Self::Late => (StatusCode::GATEWAY_TIMEOUT, false),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, false),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, false),
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
            Self::Busy => write!(f, "{REVIEWS_MAX} reviews are under way"),
            Self::Late => f.write_str("the review took too long"),
            Self::TooLarge => write!(f, "a review is at most {BODY_BYTES_MAX} bytes"),
            Self::Malformed(why) => f.write_str(why),
            Self::NotReady => f.write_str("the objects of the cluster have not been read yet"),
        }
    }
}

async fn validate(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<(Vec<u8>, Verdict), Failure> {
    let body = read(request.into_body()).await?;
    let mut question = review::read(&body).map_err(Failure::Malformed)?;
    let verdict = match question.proposal.take() {
        Some(proposal) => (shared.review)(proposal).await.ok_or(Failure::NotReady)?,
        None => Verdict::default(),
    };
    Ok((question.answer(&verdict), verdict))
}

/// The body, if it is not too large. What is too large is read off, within reason: a client that
/// is still sending would not see why it is refused.
async fn read(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Malformed(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= BODY_BYTES_MAX {
            kept.extend_from_slice(&data);
        } else if length > READ_OFF_MAX {
            break;
        }
    }
    if length > BODY_BYTES_MAX { Err(Failure::TooLarge) } else { Ok(kept) }
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
