//! A gRPC client (tonic) whose messages are plain bytes, and an endpoint that answers it.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Status, Streaming};

use crate::background;

/// One channel to one gateway.
#[derive(Clone)]
pub struct GrpcClient {
    grpc: Grpc<Channel>,
}

impl GrpcClient {
    /// Connects in cleartext, with this authority as the host.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr, authority: &str) -> Self {
        let origin = format!("http://{authority}").parse().expect("a host");
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).expect("an address").origin(origin);
        Self { grpc: Grpc::new(endpoint.connect().await.expect("somebody listens")) }
    }

    /// Connects over TLS, with this authority as the host and server name.
    ///
    /// # Panics
    /// When the handshake fails.
    pub async fn connect_tls(address: SocketAddr, authority: &str, root_pem: &str) -> Self {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(root_pem))
            .domain_name(authority);
        let origin = format!("https://{authority}").parse().expect("a host");
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .expect("an address")
            .origin(origin)
            .tls_config(tls)
            .expect("PEM");
        Self { grpc: Grpc::new(endpoint.connect().await.expect("the handshake succeeds")) }
    }

    /// One message, one answer.
    ///
    /// # Errors
    /// The status that the endpoint or the gateway gave.
    ///
    /// # Panics
    /// When `method` is not a path.
    pub async fn unary(&mut self, method: &str, message: &[u8]) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = method.parse().expect("a method's path");
        let message = Bytes::copy_from_slice(message);
        let answer = self.grpc.unary(tonic::Request::new(message), path, BytesCodec).await?;
        Ok(answer.into_inner())
    }

    /// Many messages, many answers, both at once.
    ///
    /// # Errors
    /// The status that the endpoint or the gateway gave before the first answer.
    ///
    /// # Panics
    /// When `method` is not a path.
    pub async fn stream<S>(&mut self, method: &str, messages: S) -> Result<Streaming<Bytes>, Status>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        self.ready().await?;
        let path = method.parse().expect("a method's path");
        let answer = self.grpc.streaming(tonic::Request::new(messages), path, BytesCodec).await?;
        Ok(answer.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// Messages are the bytes that they are.
#[derive(Clone, Copy, Debug, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// An endpoint that answers each message with the same message, then `grpc-status: 0` in trailers.
///
/// The method `/test.Echo/Fail` answers status 5 without a message.
pub fn echo_endpoint() -> SocketAddr {
    background::serve(serve).0
}

async fn serve(stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move {
            // A client that goes away ends its own stream.
            let _ = answer(request, respond).await;
        });
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.body(()).expect("a head of constants");
    let is_failure = request.uri().path().ends_with("/Fail");
    let mut stream = respond.send_response(head, false)?;
    let mut body = request.into_body();
    let mut pending = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        pending.extend_from_slice(&chunk);
        while let Some(message) = take_message(&mut pending) {
            if !is_failure {
                stream.send_data(message, false)?;
            }
        }
    }
    let mut trailers = HeaderMap::new();
    let status = if is_failure { "5" } else { "0" };
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    stream.send_trailers(trailers)
}

/// Takes a whole message with its five bytes of prefix.
fn take_message(pending: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(pending.get(1..5)?.try_into().ok()?) as usize;
    (pending.len() >= 5 + length).then(|| pending.split_to(5 + length).freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_statuses_come_back() {
        crate::block_on(async {
            let address = echo_endpoint();
            let mut client = GrpcClient::connect(address, "grpc.test").await;
            assert_eq!(client.unary("/test.Echo/Say", b"hello").await.unwrap(), "hello");
            let status = client.unary("/test.Echo/Fail", b"hello").await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::NotFound);
        });
    }
}
