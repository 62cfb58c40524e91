//! The admin listener: health, readiness, metrics and the compiled configuration, read-only.
//!
//! It runs on the control runtime, beside the workers. Everything about it is bounded: connections,
//! the time and size of a request, one request a connection. It answers GET and HEAD alone, and
//! only requests whose `Host` and absolute target, if any, name this machine.

mod host;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use crate::control::Control;

/// Connections of a listener served at once. One more ends the oldest: it has had its time, and
/// whoever holds all of them must not have the probes of the kubelet wait.
const CONNECTIONS_MAX: usize = 64;

/// `/snapshot` answers in the making at once: each is as large as the configuration.
const SNAPSHOTS_MAX: usize = 2;

/// For a whole connection: its one request and the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// For the request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of the request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Whether this process should be sent traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It should.
    Ready,
    /// It should not, because of this.
    NotReady(&'static str),
}

/// What the admin listener tells; asked anew at each request.
pub trait Facts: Send + Sync + 'static {
    /// Whether to send traffic here.
    fn readiness(&self) -> Readiness;

    /// All metrics in Prometheus's text format.
    fn metrics(&self) -> String;

    /// The compiled configuration as JSON, without secrets.
    fn snapshot(&self) -> Vec<u8>;
}

/// What all connections share.
struct Shared {
    facts: Arc<dyn Facts>,
    snapshots: Semaphore,
    machine: String,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("machine", &self.machine).finish_non_exhaustive()
    }
}

/// The admin listeners, bound and not serving yet.
#[derive(Debug)]
pub struct Admin {
    listeners: Vec<std::net::TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Admin {
    /// Binds what can be bound; each failure stands beside its address.
    pub fn bind(addresses: &[SocketAddr]) -> (Self, Vec<(SocketAddr, io::Error)>) {
        let mut admin = Self { listeners: Vec::new(), addresses: Vec::new() };
        let mut failures = Vec::new();
        for &address in addresses {
            match bind(address) {
                Ok((listener, bound)) => {
                    admin.listeners.push(listener);
                    admin.addresses.push(bound);
                }
                Err(error) => failures.push((address, error)),
            }
        }
        (admin, failures)
    }

    /// The addresses that are bound.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves on the control runtime for as long as that lives.
    pub fn serve(self, facts: Arc<dyn Facts>, control: &Control) {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let shared = Arc::new(Shared { facts, snapshots: Semaphore::new(SNAPSHOTS_MAX), machine });
        for listener in self.listeners {
            control.handle().spawn(accept(listener, Arc::clone(&shared)));
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "admin listener cannot be served");
            return;
        }
    };
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let shared = Arc::clone(&shared);
                let served = tokio::spawn(async move {
                    // Slow or broken clients are no news.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, shared)).await;
                });
                open.push_back(served.abort_handle());
                // Those that can be answered are, before they are the oldest.
                tokio::task::yield_now().await;
            }
            // Out of files, most likely: wait for some to be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&request, &shared).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    // An unreadable name is no name of ours.
    let host = hosts.next().map(|value| value.to_str().unwrap_or_default());
    // The authority of an absolute target is the name that was asked for (RFC 9112, 3.2.2).
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let are_ours =
        host::is_ours(host, &shared.machine) && host::is_ours(authority, &shared.machine);
    if hosts.next().is_some() || !are_ours {
        return plain(
            StatusCode::FORBIDDEN,
            "this listener answers to IP addresses, localhost and the name of this machine\n",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/" => plain(StatusCode::OK, "/livez\n/readyz\n/metrics\n/snapshot\n"),
        // Kubernetes has called it by both names.
        "/livez" | "/healthz" => plain(StatusCode::OK, "ok\n"),
        "/readyz" => match shared.facts.readiness() {
            Readiness::Ready => plain(StatusCode::OK, "ready\n"),
            Readiness::NotReady(why) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
            }
        },
        "/metrics" => {
            respond(StatusCode::OK, "text/plain; version=0.0.4", shared.facts.metrics().into())
        }
        "/snapshot" => {
            // The semaphore is never closed; the permit is held until the answer is made.
            let _permit = shared.snapshots.acquire().await;
            let facts = Arc::clone(&shared.facts);
            // As large as the configuration: not on the thread that answers probes.
            match tokio::task::spawn_blocking(move || facts.snapshot()).await {
                Ok(body) => respond(StatusCode::OK, "application/json", body.into()),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "no snapshot could be made\n"),
            }
        }
        _ => plain(StatusCode::NOT_FOUND, "try /livez, /readyz, /metrics or /snapshot\n"),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
