//! Dial an endpoint: TCP, then TLS where the upstream asks for it.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use rustls::ClientConnection;
use telemetry::Counter;
use tokio::net::TcpStream;

use crate::error::ProxyError;
use crate::registry::ConnectionIdentity;
use crate::transport::{TlsTransport, Transport};
use crate::upstream::tls;
use crate::worker::Worker;

/// Connects within `timeout`, handshake included.
pub(crate) async fn connect(
    worker: &Worker,
    identity: &ConnectionIdentity,
    timeout: Duration,
) -> Result<Transport, ProxyError> {
    // A timer per connection is cheap; a timer per request would not be.
    let result = tokio::time::timeout(timeout, dial(worker, identity)).await;
    match result {
        Ok(Ok(transport)) => {
            worker.metrics.count(Counter::UpstreamConnectsOk);
            Ok(transport)
        }
        Ok(Err(error)) => {
            worker.metrics.count(Counter::UpstreamConnectsFailed);
            Err(ProxyError::Connect(error))
        }
        Err(_) => {
            worker.metrics.count(Counter::UpstreamConnectsFailed);
            Err(ProxyError::ConnectTimeout)
        }
    }
}

async fn dial(worker: &Worker, identity: &ConnectionIdentity) -> io::Result<Transport> {
    let stream = TcpStream::connect(identity.address).await?;
    stream.set_nodelay(true)?;
    let Some(spec) = &identity.tls else { return Ok(Transport::Plain(stream)) };
    let http2 = identity.protocol.is_http2();
    let config = worker.client_tls.get(spec, http2).map_err(io::Error::other)?;
    let name = tls::server_name(spec, identity.address);
    let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut tls = TlsTransport::new(stream, session);
    poll_fn(|cx| tls.poll_handshake(cx)).await?;
    let transport = Transport::Tls(Box::new(tls));
    let alpn = transport.tls().and_then(|session| session.alpn_protocol());
    if http2 && alpn != Some(b"h2") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the endpoint does not speak h2"));
    }
    Ok(transport)
}

/// Lets a future be dropped by a deadline of the coarse clock.
pub(crate) async fn unless_expired<T>(
    watch: &crate::watch::Watch,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if watch.is_expired() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}
