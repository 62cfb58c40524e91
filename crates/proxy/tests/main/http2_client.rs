//! HTTP/2 with clients: windows, resets, trailers, and what HTTP/1 endpoints say to them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};

use crate::client::connect;
use crate::endpoint::Endpoint;
use crate::world::{Plan, World, block_on};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection by prior knowledge, with windows of these sizes.
pub(crate) async fn open(
    address: SocketAddr,
    window: u32,
    connection_window: u32,
) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("the proxy listens");
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(connection_window)
        .handshake(stream)
        .await
        .expect("the preface is taken");
    tokio::spawn(async move {
        // What fails here is seen by the streams.
        let _ = connection.await;
    });
    send
}

/// A connection over TLS with the protocol chosen by ALPN.
pub(crate) async fn secured(world: &World) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(world.https).await.expect("the proxy listens");
    let name = rustls::pki_types::ServerName::try_from("a.test").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(crate::tls::config(&["h2"]));
    let stream = connector.connect(name, stream).await.expect("a handshake");
    let (send, connection) = h2::client::handshake(stream).await.expect("the preface is taken");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    send
}

async fn plain(world: &World) -> SendRequest<Bytes> {
    open(world.http, 1 << 20, 1 << 22).await
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.test{path}")).body(()).expect("a request")
}

fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a.test{path}")).body(()).expect("a request")
}

/// Body and trailers.
pub(crate) async fn read(
    response: Response<RecvStream>,
) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    Ok((body, stream.trailers().await?))
}

pub(crate) async fn ask(
    send: &SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Response<RecvStream>, h2::Error> {
    let mut send = send.clone().ready().await?;
    send.send_request(request, true)?.0.await
}

#[test]
fn many_streams_share_a_connection_and_get_their_own_answers() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, _)) = conversation.request() {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let body = path.repeat(2000);
            conversation.say(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                    .as_bytes(),
            );
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        // Behind this answer the client knows how many streams it may open.
        ask(&send, get("/")).await.unwrap();
        let tasks: Vec<_> = (0..300)
            .map(|n| {
                let send = send.clone();
                tokio::spawn(async move {
                    let path = format!("/{n:04}");
                    let response = ask(&send, get(&path)).await.unwrap();
                    let (body, _) = read(response).await.unwrap();
                    assert!(body == path.repeat(2000).as_bytes());
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn large_bodies_pass_through_small_windows_both_ways() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((_, body)) = conversation.request() {
            conversation.say(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
            );
            conversation.say(&body);
        }
    });
    let world = Plan::to(endpoint.address).start();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    block_on(async {
        let send = open(world.http, 1000, 65_535).await;
        let mut ready = send.clone().ready().await.unwrap();
        let (response, mut body) = ready.send_request(post("/"), false).unwrap();
        body.send_data(Bytes::from(sent.clone()), true).unwrap();
        let (received, _) = read(response.await.unwrap()).await.unwrap();
        assert!(received == sent, "{} bytes", received.len());
    });
}

#[test]
fn trailers_pass_both_ways() {
    let endpoint = Endpoint::new(|conversation| {
        let mut lines = String::new();
        conversation.head();
        while let Some(line) = conversation.line() {
            lines.push_str(&line);
            if lines.ends_with("\r\n\r\n") {
                break;
            }
        }
        assert_eq!(lines, "2\r\nhi\r\n0\r\nx-up: 1\r\n\r\n");
        conversation
            .say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Down: 2\r\n\r\n");
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let mut ready = send.ready().await.unwrap();
        let (response, mut body) = ready.send_request(post("/"), false).unwrap();
        body.send_data(Bytes::from_static(b"hi"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let (received, trailers) = read(response.await.unwrap()).await.unwrap();
        assert!(received.is_empty());
        assert_eq!(trailers.unwrap()["x-down"], "2");
    });
}

#[test]
fn a_stream_that_is_reset_takes_its_request_with_it_and_the_connection_lives() {
    let (gone, heard) = std::sync::mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        while let Some((head, _)) = conversation.request() {
            if head.starts_with("GET /wait") {
                conversation.wait_for_end();
                gone.send(()).unwrap();
                return;
            }
            conversation.say(OK);
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let mut ready = send.clone().ready().await.unwrap();
        let (response, mut stream) = ready.send_request(get("/wait"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.send_reset(Reason::CANCEL);
        drop(response);
        tokio::task::spawn_blocking(move || heard.recv_timeout(Duration::from_secs(5)))
            .await
            .unwrap()
            .expect("the endpoint sees the end");
        assert_eq!(ask(&send, get("/")).await.unwrap().status(), 200);
    });
}

#[test]
fn a_cut_body_resets_the_stream() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        // The reset may overtake the head.
        let error = match ask(&send, get("/")).await {
            Ok(response) => read(response).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.is_reset(), "{error}");
    });
}

#[test]
fn a_preface_in_single_bytes_is_understood() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // An empty SETTINGS frame.
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for byte in bytes {
        client.send([byte]);
        std::thread::sleep(Duration::from_millis(2));
    }
    let frame = client.take(9).unwrap();
    assert_eq!(frame[3], 4, "a SETTINGS frame: {}", frame.escape_ascii());
}

#[test]
fn a_client_that_expects_to_be_told_to_continue_is_told() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((_, body)) = conversation.request() {
            conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
            conversation.say(&body);
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let mut ready = send.ready().await.unwrap();
        let mut request = post("/");
        request.headers_mut().insert("expect", "100-continue".parse().unwrap());
        request.headers_mut().insert("content-length", "2".parse().unwrap());
        let (mut response, mut body) = ready.send_request(request, false).unwrap();
        let told = std::future::poll_fn(|cx| response.poll_informational(cx));
        let told = tokio::time::timeout(Duration::from_secs(3), told).await.expect("is told");
        assert_eq!(told.unwrap().unwrap().status(), 100);
        body.send_data(Bytes::from_static(b"hi"), true).unwrap();
        let (received, _) = read(response.await.unwrap()).await.unwrap();
        assert_eq!(received, b"hi");
    });
}

fn websocket() -> Request<()> {
    let mut request = Request::builder()
        .method(http::Method::CONNECT)
        .uri("http://a.test/chat")
        .body(())
        .expect("a request");
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    request
        .headers_mut()
        .insert("sec-websocket-version", "13".parse().expect("a test's own means"));
    request
}

/// Waits until extended CONNECT is allowed, then opens one.
pub(crate) async fn open_websocket(
    send: &SendRequest<Bytes>,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    // The first answer comes behind the settings.
    let _ = ask(send, get("/first")).await;
    let mut ready = send.clone().ready().await.expect("a test's own means");
    ready.send_request(websocket(), false).expect("a test's own means")
}

#[test]
fn a_websocket_passes_to_an_http_1_endpoint_and_ends_on_both_sides() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some(head) = conversation.head() {
            if head.starts_with("GET /first") {
                conversation.say(OK);
                continue;
            }
            let lower = head.to_ascii_lowercase();
            assert!(head.starts_with("GET /chat HTTP/1.1"), "{head}");
            assert!(lower.contains("sec-websocket-key: "), "{head}");
            assert!(lower.contains("\r\nupgrade: websocket\r\n"), "{head}");
            conversation
                .say(b"HTTP/1.1 101 Y\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly");
            let four = conversation.take(4).unwrap();
            conversation.say(&four);
            conversation.wait_for_end();
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let (response, mut up) = open_websocket(&send).await;
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        up.send_data(Bytes::from_static(b"ping"), false).unwrap();
        let mut body = response.into_body();
        let mut received = Vec::new();
        while received.len() < 9 {
            received.extend_from_slice(&body.data().await.unwrap().unwrap());
        }
        assert_eq!(received, b"earlyping");
        up.send_data(Bytes::new(), true).unwrap();
        // The endpoint ended as well.
        while let Some(more) = body.data().await {
            assert_eq!(more.unwrap(), "");
        }
    });
}

#[test]
fn an_endpoint_that_answers_200_to_a_websocket_has_opened_none() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let (response, _up) = open_websocket(&send).await;
        // 2xx would tell the client that the tunnel stands.
        assert_eq!(response.await.unwrap().status(), 502);
    });
}

#[test]
fn a_client_that_resets_streams_without_end_is_sent_away() {
    let endpoint = Endpoint::new(|conversation| {
        while conversation.request().is_some() {
            std::thread::sleep(Duration::from_millis(20));
            conversation.say(OK);
        }
    });
    let world = Plan::to(endpoint.address).limits(|limits| limits.http2_resets_max = 10).start();
    block_on(async {
        let send = plain(&world).await;
        let mut ended = None;
        for _ in 0..100 {
            let Ok(mut ready) = send.clone().ready().await else {
                ended = Some(());
                break;
            };
            let Ok((response, mut stream)) = ready.send_request(get("/"), true) else {
                ended = Some(());
                break;
            };
            tokio::time::sleep(Duration::from_millis(5)).await;
            stream.send_reset(Reason::CANCEL);
            drop(response);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(ended.is_some(), "100 resets were taken");
    });
}

#[test]
fn a_stream_whose_client_opens_no_window_is_cut_and_others_go_on() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, _)) = conversation.request() {
            if head.starts_with("GET /large") {
                conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                conversation.say(&vec![b'x'; 1_000_000]);
            } else {
                conversation.say(OK);
            }
        }
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.write_idle_timeout = Duration::from_millis(500))
        .start();
    block_on(async {
        let send = open(world.http, 10_000, 1 << 20).await;
        let stalled = ask(&send, get("/large")).await.unwrap();
        assert_eq!(stalled.status(), 200);
        assert_eq!(ask(&send, get("/")).await.unwrap().status(), 200);
        let mut body = stalled.into_body();
        let mut error = None;
        while error.is_none() {
            // Read and never released.
            match body.data().await {
                Some(Ok(_)) => {}
                Some(Err(cut)) => error = Some(cut),
                None => panic!("not the whole body"),
            }
        }
        assert!(error.unwrap().is_reset());
        assert_eq!(ask(&send, get("/")).await.unwrap().status(), 200);
    });
}

#[test]
fn draining_says_goodbye_and_lets_streams_end() {
    let endpoint = Endpoint::new(|conversation| {
        while conversation.request().is_some() {
            std::thread::sleep(Duration::from_millis(400));
            conversation.say(OK);
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let mut ready = send.clone().ready().await.unwrap();
        let (response, _) = ready.send_request(get("/"), true).unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        world.proxy.drain();
        let (body, _) = read(response.await.unwrap()).await.unwrap();
        assert_eq!(body, b"ok");
        drop((send, ready));
    });
    assert_eq!(world.proxy.wait_drained(Duration::from_secs(5)), 0);
}

#[test]
fn a_request_whose_host_differs_from_its_authority_is_400_and_the_connection_lives() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let mut request = get("/");
        request.headers_mut().insert("host", "other.test".parse().unwrap());
        assert_eq!(ask(&send, request).await.unwrap().status(), 400);
        assert_eq!(ask(&send, get("/")).await.unwrap().status(), 200);
    });
}

#[test]
fn a_client_that_leaves_during_an_upload_takes_its_request_with_it() {
    let (gone, heard) = std::sync::mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        let whole = conversation.request();
        gone.send(whole.is_some()).unwrap();
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = plain(&world).await;
        let mut ready = send.ready().await.unwrap();
        let (response, mut body) = ready.send_request(post("/"), false).unwrap();
        body.send_data(Bytes::from_static(b"some"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        body.send_reset(Reason::CANCEL);
        drop(response);
        let whole = tokio::task::spawn_blocking(move || heard.recv_timeout(Duration::from_secs(5)));
        assert!(!whole.await.unwrap().expect("the endpoint sees the end"), "not a whole request");
    });
}

#[test]
fn large_bodies_pass_over_tls_in_many_streams_at_once() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((_, body)) = conversation.request() {
            conversation.say(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
            );
            conversation.say(&body);
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        let send = secured(&world).await;
        let tasks: Vec<_> = (0..8_u32)
            .map(|n| {
                let send = send.clone();
                tokio::spawn(async move {
                    let sent: Vec<u8> = (0..700_000_u32).map(|k| ((k + n) % 251) as u8).collect();
                    let mut ready = send.ready().await.unwrap();
                    let (response, mut body) = ready.send_request(post("/"), false).unwrap();
                    body.send_data(Bytes::from(sent.clone()), true).unwrap();
                    let (received, _) = read(response.await.unwrap()).await.unwrap();
                    assert!(received == sent, "{} bytes", received.len());
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn what_a_stream_was_given_arrives_while_its_endpoint_is_silent() {
    const PART: usize = 40_000;
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        conversation.say(format!("{PART:x}\r\n").as_bytes());
        conversation.say(&vec![b'x'; PART]);
        conversation.say(b"\r\n");
        conversation.wait_for_end();
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        for send in [plain(&world).await, secured(&world).await] {
            let mut body = ask(&send, get("/")).await.unwrap().into_body();
            let mut received = 0;
            while received < PART {
                let data = tokio::time::timeout(Duration::from_secs(3), body.data()).await;
                let data = data.unwrap_or_else(|_| panic!("silent after {received} bytes"));
                let data = data.unwrap().unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                received += data.len();
            }
        }
    });
}

#[test]
fn a_silent_stream_leaves_the_window_of_its_connection_to_the_others() {
    const BODY: usize = 200_000;
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, _)) = conversation.request() {
            if head.starts_with("GET /silent") {
                conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                return conversation.wait_for_end();
            }
            conversation
                .say(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").as_bytes());
            conversation.say(&vec![b'x'; BODY]);
        }
    });
    let world = Plan::to(endpoint.address).start();
    block_on(async {
        // The windows that a client has which says nothing about them.
        let send = open(world.http, 65_535, 65_535).await;
        let silent = ask(&send, get("/silent")).await.unwrap();
        let large = ask(&send, get("/large")).await.unwrap();
        let large = tokio::time::timeout(Duration::from_secs(5), read(large)).await;
        assert_eq!(large.expect("there is window").unwrap().0.len(), BODY);
        drop(silent);
    });
}
