//! The echo backend over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::{Echo, Received};

fn echo() -> Echo {
    Echo::start("here", &[([127, 0, 0, 1], 0).into()]).unwrap()
}

/// Sends bytes and reads to the end of the stream.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn received(answer: &str) -> Received {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_request_comes_back_with_its_fields_in_order_and_case() {
    let echo = echo();
    let answer = raw(
        echo.address(),
        "POST /a/b?c=d HTTP/1.1\r\nHost: shop.test\r\nX-Second: 2\r\nx-First: 1\r\nX-Second: 3\r\n\
         Connection: close\r\nContent-Length: 5\r\n\r\nhello",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let received = received(&answer);
    assert_eq!(received.name, "here");
    assert_eq!(received.method, "POST");
    assert_eq!(received.path, "/a/b?c=d");
    assert_eq!(received.host, "shop.test");
    assert_eq!(received.protocol, "HTTP/1.1");
    assert_eq!(received.body_bytes, 5);
    let names: Vec<&str> = received.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-Second", "x-First", "X-Second", "Connection", "Content-Length"]);
}

#[test]
fn a_chunked_body_and_its_trailers_are_counted() {
    let echo = echo();
    let answer = raw(
        echo.address(),
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
         3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nDigest: 7\r\n\r\n",
    );
    let received = received(&answer);
    assert_eq!(received.body_bytes, 5);
    assert_eq!(received.trailers, [("Digest".to_owned(), "7".to_owned())]);
}

#[test]
fn requests_in_one_write_are_answered_one_after_the_other() {
    let echo = echo();
    let answer = raw(
        echo.address(),
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2?status=404 HTTP/1.1\r\nHost: a\r\n\r\n\
         HEAD /3?close=1 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!(answer.matches("HTTP/1.1 404 Not Found").count(), 1);
    assert!(answer.contains("\"/1\"") && answer.contains("\"/2?status=404\""));
    assert!(answer.ends_with("Connection: close\r\n\r\n"), "HEAD has no body: {answer}");
}

#[test]
fn http10_ends_its_connection() {
    let echo = echo();
    let answer = raw(echo.address(), "GET /?chunked=1 HTTP/1.0\r\n\r\n");
    assert!(!answer.contains("chunked\r\n"), "{answer}");
    assert_eq!(received(&answer).protocol, "HTTP/1.0");
}

#[test]
fn a_chunked_answer_with_trailers_is_well_formed() {
    let echo = echo();
    let answer =
        raw(echo.address(), "GET /?bytes=3&trailers=1&close=1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(
        answer.ends_with(
            "\r\n\r\n3\r\n...\r\n0\r\necho-trailer: after the body\r\necho-last: 1\r\n\r\n"
        ),
        "{answer}"
    );
}

#[test]
fn what_is_no_request_is_400() {
    let echo = echo();
    assert!(raw(echo.address(), "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn an_expectation_is_met_before_the_body() {
    let echo = echo();
    let mut stream = TcpStream::connect(echo.address()).unwrap();
    let head =
        "POST /?close=1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(received(&answer).body_bytes, 2);
}

#[tokio::test]
async fn a_websocket_message_comes_back() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;

    let echo = echo();
    let url = format!("ws://{}/chat?hello=1", echo.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let hello = socket.next().await.unwrap().unwrap();
    let hello: Received = serde_json::from_str(hello.to_text().unwrap()).unwrap();
    assert_eq!(hello.path, "/chat?hello=1");
    for message in [Message::text("hi"), Message::binary(vec![1; 70_000])] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.send(Message::Close(None)).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
}

mod grpc_and_http2 {
    use bytes::Bytes;
    use http::Request;
    use tokio::net::TcpStream;

    use super::{Received, echo};

    async fn client(address: std::net::SocketAddr) -> h2::client::SendRequest<Bytes> {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client.ready().await.unwrap()
    }

    async fn collect(body: &mut h2::RecvStream) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            all.extend_from_slice(&data);
        }
        all
    }

    #[tokio::test]
    async fn a_request_by_prior_knowledge_comes_back() {
        let echo = echo();
        let mut client = client(echo.address()).await;
        let request =
            Request::get("http://shop.test/a?trailers=1").header("x-a", "1").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let received: Received = serde_json::from_slice(&collect(&mut body).await).unwrap();
        assert_eq!(received.protocol, "HTTP/2");
        assert_eq!(received.host, "shop.test");
        assert_eq!(received.path, "/a?trailers=1");
        assert_eq!(received.headers, [("x-a".to_owned(), "1".to_owned())]);
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["echo-last"], "1");
    }

    #[tokio::test]
    async fn a_grpc_stream_comes_back_frame_by_frame_with_its_status() {
        let echo = echo();
        let mut client = client(echo.address()).await;
        let request = Request::post("http://a/echo.Echo/Stream")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let (response, mut stream) = client.send_request(request, false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for message in [&b"\0\0\0\0\x02hi"[..], b"\0\0\0\0\x01!"] {
            stream.send_data(Bytes::from_static(message), false).unwrap();
            let data = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            assert_eq!(data, message);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(collect(&mut body).await, b"");
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
}
