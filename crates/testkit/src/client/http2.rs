//! An HTTP/2 client over the h2 crate: by prior knowledge in cleartext, or by ALPN over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One HTTP/2 connection. Requests may be in flight at once on clones of the handle.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields.
    pub fields: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The trailer fields, if any came.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The first value of a field as text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }
}

impl Http2 {
    /// Connects in cleartext, by prior knowledge.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Self::over(stream).await
    }

    /// Connects over TLS; the server must choose `h2`.
    ///
    /// # Panics
    /// When the handshake fails or chooses another protocol.
    pub async fn connect_tls(
        address: SocketAddr,
        server_name: &str,
        config: &Arc<ClientConfig>,
    ) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let name = ServerName::try_from(server_name.to_owned()).expect("a server name");
        let stream = TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await
            .expect("the handshake succeeds");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the protocol chosen");
        Self::over(stream).await
    }

    async fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 22)
            .handshake(stream)
            .await
            .expect("the preface is answered");
        tokio::spawn(async move {
            // Its error is seen by the requests that it ends.
            let _ = connection.await;
        });
        Self { sender }
    }

    /// Sends a request with a whole body and reads the whole response.
    ///
    /// # Errors
    /// When the stream or the connection is ended by the other side.
    pub async fn send(&self, request: Request<()>, body: &[u8]) -> Result<Answer, h2::Error> {
        let (response, mut stream) = self.open(request, body.is_empty()).await?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        read(response.await?).await
    }

    /// `GET` of an absolute URL.
    ///
    /// # Errors
    /// When the stream or the connection is ended by the other side.
    ///
    /// # Panics
    /// When it is not a URL.
    pub async fn get(&self, url: &str) -> Result<Answer, h2::Error> {
        self.send(Request::get(url).body(()).expect("a URL"), b"").await
    }

    /// Opens a stream: the response to come, and the body to send.
    ///
    /// # Errors
    /// When the connection takes no more streams.
    pub async fn open(
        &self,
        request: Request<()>,
        is_complete: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let mut ready = self.sender.clone().ready().await?;
        ready.send_request(request, is_complete)
    }
}

/// Reads a response to its end.
///
/// # Errors
/// When the stream is ended before.
pub async fn read(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?;
    Ok(Answer { status: parts.status.as_u16(), fields: parts.headers, body, trailers })
}
