//! Cleartext HTTP/2 by prior knowledge: the same answers, and gRPC whose messages come back.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::TcpStream;

use super::answer::{Received, Switches, TRAILERS, filler};

/// Serves one connection; each stream is a task.
pub(super) async fn serve(stream: TcpStream, name: &str) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    let mut connection = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .max_concurrent_streams(1024)
        .handshake(stream)
        .await
        .map_err(io::Error::other)?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted.map_err(io::Error::other)?;
        let name = name.to_owned();
        // A stream that breaks off takes nothing else along.
        tokio::spawn(async move { answer(request, respond, &name, peer).await.ok() });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    name: &str,
    peer: SocketAddr,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let mut received = received(&head, name, peer);
    let is_grpc = head
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return grpc(body, respond, &received).await;
    }
    while let Some(data) = body.data().await {
        let data = data?;
        received.body_bytes += data.len() as u64;
        body.flow_control().release_capacity(data.len())?;
    }
    received.trailers = fields(&body.trailers().await?.unwrap_or_default());

    let switches = Switches::of(&received.path);
    tokio::time::sleep(switches.delay).await;
    let answer_body = if switches.bytes.is_none() { received.to_body() } else { Vec::new() };
    let length = switches.bytes.unwrap_or(answer_body.len() as u64);
    let has_body = switches.may_have_body() && head.method != http::Method::HEAD;
    let mut response = Response::builder()
        .status(switches.status)
        .header(
            "content-type",
            if switches.bytes.is_some() { "text/plain" } else { "application/json" },
        )
        .header(
            "x-echo-name",
            HeaderValue::from_str(name).unwrap_or(HeaderValue::from_static("?")),
        );
    if switches.may_have_body() && !switches.chunked && !switches.trailers {
        response = response.header("content-length", length);
    }
    // The status was checked to be in range and the fields are plain.
    let Ok(response) = response.body(()) else { return Ok(()) };
    let ends_here = !has_body || (length == 0 && !switches.trailers);
    let mut stream = respond.send_response(response, ends_here)?;
    if ends_here {
        return Ok(());
    }
    if switches.bytes.is_some() {
        for piece in filler(length) {
            send(&mut stream, Bytes::from_static(piece)).await?;
        }
    } else {
        send(&mut stream, answer_body.into()).await?;
    }
    if switches.trailers {
        let trailers = TRAILERS
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        stream.send_trailers(trailers.collect())
    } else {
        stream.send_data(Bytes::new(), true)
    }
}

/// Sends the frames of a gRPC call back as they come, then says that all went well.
async fn grpc(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    received: &Received,
) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Ok(name) = HeaderValue::from_str(&received.name) {
        response.headers_mut().insert("x-echo-name", name);
    }
    let mut stream = respond.send_response(response, false)?;
    while let Some(data) = body.data().await {
        let data = data?;
        let length = data.len();
        send(&mut stream, data).await?;
        body.flow_control().release_capacity(length)?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// Sends data as the peer's window allows.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(granted) => granted?,
            // The stream was reset: nobody listens any more.
            None => return Ok(()),
        };
        let piece = data.split_to(granted.min(data.len()));
        stream.send_data(piece, false)?;
    }
    Ok(())
}

fn received(head: &http::request::Parts, name: &str, peer: SocketAddr) -> Received {
    let path = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let authority = head.uri.authority().map(|authority| authority.as_str().to_owned());
    let host = head.headers.get(http::header::HOST).map(text);
    Received {
        name: name.to_owned(),
        method: head.method.to_string(),
        path: path.to_owned(),
        host: authority.or(host).unwrap_or_default(),
        headers: fields(&head.headers),
        protocol: "HTTP/2".to_owned(),
        peer: peer.to_string(),
        ..Received::default()
    }
}

fn fields(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}
