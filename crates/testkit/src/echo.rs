//! A well-behaved endpoint that answers every request with what it saw, as JSON.
//!
//! One port speaks whatever the first bytes say: HTTP/1.1, HTTP/2 by prior knowledge, and both over
//! TLS. So a specification needs one endpoint for a Service whatever its protocol is, and the
//! answer tells which protocol the gateway chose.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::{Authority, background, tls};

/// The endpoint. Dropped, it stops accepting; connections that are open go on until they end.
pub struct Echo {
    address: SocketAddr,
    task: AbortHandle,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    name: String,
    connections: AtomicUsize,
    requests: Mutex<Vec<Value>>,
}

impl Echo {
    /// Starts on a free loopback port; `name` is in every answer.
    pub fn start(name: &str) -> Self {
        Self::start_at([127, 0, 0, 1].into(), name)
    }

    /// As [`Self::start`], at another address of this machine.
    pub fn start_at(ip: IpAddr, name: &str) -> Self {
        let seen = Arc::new(Seen { name: name.to_owned(), ..Seen::default() });
        let of_listener = Arc::clone(&seen);
        let leaf = Authority::new().leaf(&["echo.test"]);
        let acceptor = TlsAcceptor::from(tls::server(&leaf, &["h2", "http/1.1"]));
        let (address, task) = background::serve_at(ip, move |stream| {
            let seen = Arc::clone(&of_listener);
            let acceptor = acceptor.clone();
            async move {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                // A gateway that hangs up ends its own connection.
                let _ = serve(stream, &acceptor, &seen).await;
            }
        });
        Self { address, task, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// What was answered so far: one JSON object for each request.
    pub fn requests(&self) -> Vec<Value> {
        self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection that a request came over.
struct Line {
    is_tls: bool,
    server_name: Option<String>,
}

impl Seen {
    /// Notes a request and makes its answer.
    fn answer(
        &self,
        line: &Line,
        start: (&str, &str, &str),
        fields: &[(String, String)],
        body: &[u8],
    ) -> String {
        let (protocol, method, target) = start;
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let is_host = |name: &str| name.eq_ignore_ascii_case("host") || name == ":authority";
        let host = fields.iter().find(|(name, _)| is_host(name)).map(|(_, value)| value);
        let answer = json!({
            "name": self.name,
            "protocol": protocol,
            "tls": line.is_tls,
            "serverName": line.server_name,
            "method": method,
            "path": path,
            "query": query,
            "host": host,
            "headers": fields,
            "body": String::from_utf8_lossy(body),
        });
        let text = answer.to_string();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        text
    }
}

async fn serve(stream: TcpStream, acceptor: &TlsAcceptor, seen: &Seen) -> io::Result<()> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    if first[0] != 0x16 {
        return serve_messages(stream, Line { is_tls: false, server_name: None }, seen).await;
    }
    let stream = acceptor.accept(stream).await?;
    let server_name = stream.get_ref().1.server_name().map(ToOwned::to_owned);
    serve_messages(stream, Line { is_tls: true, server_name }, seen).await
}

async fn serve_messages<S>(mut stream: S, line: Line, seen: &Seen) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut start = Vec::new();
    while start.len() < 3 {
        if stream.read_buf(&mut start).await? == 0 {
            return Ok(());
        }
    }
    if PREFACE.starts_with(&start[..3]) {
        serve_http2(Rewound { start, stream }, &line, seen).await.map_err(io::Error::other)
    } else {
        serve_http1(stream, start, &line, seen).await
    }
}

async fn serve_http1<S>(
    mut stream: S,
    mut pending: Vec<u8>,
    line: &Line,
    seen: &Seen,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Some(request) = read_request(&mut stream, &mut pending).await? else { return Ok(()) };
        let start = ("HTTP/1.1", request.method.as_str(), request.target.as_str());
        let body = seen.answer(line, start, &request.fields, &request.body);
        let is_head = request.method == "HEAD";
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if !is_head {
            let _ = write!(answer, "{body}");
        }
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

struct EchoRequest {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Reads a request with its body; `None` at the end of the connection.
async fn read_request<S>(stream: &mut S, pending: &mut Vec<u8>) -> io::Result<Option<EchoRequest>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        // The synchronous reader is tried on what has come; it asks for nothing when that is whole.
        let mut rest = pending.clone();
        if let Ok(message) = crate::read_message(&mut io::empty(), &mut rest, None) {
            *pending = rest;
            return Ok(Some(EchoRequest {
                method: message.method().to_owned(),
                target: message.target().to_owned(),
                fields: message.fields,
                body: message.body,
            }));
        }
        let expects =
            pending.windows(12).any(|window| window.eq_ignore_ascii_case(b"100-continue"));
        if expects && pending.ends_with(b"\r\n\r\n") {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if stream.read_buf(pending).await? == 0 {
            return Ok(None);
        }
    }
}

async fn serve_http2<S>(stream: S, line: &Line, seen: &Seen) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = h2::server::handshake(stream).await?;
    // One at a time: an answer that waits for its request's body would wait for ever otherwise,
    // because the connection is driven by `accept`. Bodies of echoed requests fit the window.
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let (parts, mut body) = request.into_parts();
        let mut fields: Vec<(String, String)> = Vec::new();
        if let Some(authority) = parts.uri.authority() {
            fields.push((":authority".to_owned(), authority.to_string()));
        }
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            fields.push((name.to_string(), value));
        }
        let mut bytes = Vec::new();
        if !body.is_end_stream() {
            while let Some(chunk) = next_chunk(&mut connection, &mut body).await {
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                bytes.extend_from_slice(&chunk);
            }
        }
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let start = ("HTTP/2", parts.method.as_str(), target);
        let text = seen.answer(line, start, &fields, &bytes);
        let head = http::Response::builder().header("content-type", "application/json");
        let mut stream = respond.send_response(head.body(()).expect("constants"), false)?;
        stream.send_data(Bytes::from(text), true)?;
    }
    Ok(())
}

/// The next piece of a body, while the connection is driven.
async fn next_chunk<S>(
    connection: &mut h2::server::Connection<S, Bytes>,
    body: &mut h2::RecvStream,
) -> Option<Result<Bytes, h2::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    std::future::poll_fn(|context| {
        if let Poll::Ready(Err(error)) = connection.poll_closed(context) {
            return Poll::Ready(Some(Err(error)));
        }
        body.poll_data(context)
    })
    .await
}

/// A stream whose first bytes were read already.
struct Rewound<S> {
    start: Vec<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.start.len().min(buffer.remaining());
        buffer.put_slice(&self.start[..count]);
        self.start.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::http2::Http2;
    use crate::client::raw::RawClient;

    #[test]
    fn one_port_speaks_what_the_first_bytes_say() {
        let echo = Echo::start("a");
        let mut client = RawClient::connect(echo.address());
        let answer =
            client.exchange("POST /p?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(answer.json()["protocol"], "HTTP/1.1");
        assert_eq!(answer.json()["body"], "hi");

        let mut client =
            RawClient::connect_tls(echo.address(), "x.test", &tls::trusting_client(&[])).unwrap();
        let answer = client.exchange("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(answer.json()["serverName"], "x.test");

        crate::block_on(async {
            let client = Http2::connect(echo.address()).await;
            let request = http::Request::post("http://h/p").body(()).unwrap();
            let answer = client.send(request, b"body").await.unwrap();
            assert_eq!(answer.json()["protocol"], "HTTP/2");
            assert_eq!(answer.json()["body"], "body");
        });
        assert_eq!((echo.requests().len(), echo.connections()), (3, 3));
    }
}
