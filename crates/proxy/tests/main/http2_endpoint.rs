//! HTTP/2 with endpoints, for clients of HTTP/1 and HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use model::UpstreamProtocol;

use crate::client::connect;
use crate::http2_client;
use crate::world::{Plan, World, block_on};

/// An HTTP/2 endpoint in cleartext whose streams follow a script.
struct Http2Endpoint {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

type Asked = Request<RecvStream>;
type Answering = SendResponse<Bytes>;

impl Http2Endpoint {
    fn new<F>(
        builder: Builder,
        script: impl Fn(Asked, Answering) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a test's own means");
        listener.set_nonblocking(true).expect("a test's own means");
        let address = listener.local_addr().expect("a test's own means");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a test's own means");
            runtime.block_on(async move {
                let listener =
                    tokio::net::TcpListener::from_std(listener).expect("a test's own means");
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::SeqCst);
                    let (builder, script) = (builder.clone(), script.clone());
                    tokio::spawn(async move {
                        let Ok(mut connection) = builder.handshake(stream).await else { return };
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::spawn(script(request, respond));
                        }
                    });
                }
            });
        });
        Self { address, connections }
    }

    fn world(&self) -> World {
        Plan::to(self.address).protocol(UpstreamProtocol::H2c).start()
    }
}

fn status(code: u16) -> Response<()> {
    Response::builder().status(code).body(()).expect("a test's own means")
}

async fn drain(request: Asked) -> Vec<u8> {
    let mut stream = request.into_body();
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = stream.data().await {
        stream.flow_control().release_capacity(chunk.len()).expect("a test's own means");
        body.extend_from_slice(&chunk);
    }
    body
}

#[test]
fn answers_that_end_with_their_head_leave_an_http_1_connection_in_order() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        let code = request.uri().path()[1..].parse().unwrap();
        respond.send_response(status(code), true).unwrap();
    });
    let world = endpoint.world();
    let mut client = connect(world.http);
    for code in [200, 404, 302, 204, 304, 200] {
        let response = client.get(&format!("/{code}"));
        assert_eq!((response.status, response.body.len()), (code, 0));
    }
    for _ in 0..2 {
        client.send("HEAD /200 HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response("HEAD").unwrap().status, 200);
    }
}

#[test]
fn answers_without_a_body_that_end_after_their_head_leave_an_http_1_connection_in_order() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        let code = request.uri().path()[1..].parse().unwrap();
        let mut stream = respond.send_response(status(code), false).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.send_data(Bytes::new(), true).unwrap();
    });
    let world = endpoint.world();
    let mut client = connect(world.http);
    for (method, code) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("HEAD", 404), ("GET", 200)] {
        client.send(format!("{method} /{code} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response(method).unwrap();
        assert_eq!((response.status, response.body.len()), (code, 0), "{}", response.head);
    }
}

#[test]
fn bodies_and_trailers_pass_between_http_1_and_http_2() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        let body = drain(request).await;
        let mut stream = respond.send_response(status(200), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "9".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let world = endpoint.world();
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = connect(world.http);
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        let response = client.response("POST").unwrap();
        assert!(response.body == body, "{} bytes", response.body.len());
        assert_eq!(response.trailers, "x-sum: 9\r\n");
    }
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn streams_beyond_what_a_connection_allows_get_another_connection() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let endpoint = Http2Endpoint::new(builder, |request, mut respond| async move {
        if request.uri().path() == "/long" {
            let _stream = respond.send_response(status(200), false).unwrap();
            tokio::time::sleep(Duration::from_secs(20)).await;
        } else {
            respond.send_response(status(200), true).unwrap();
        }
    });
    let world = endpoint.world();
    assert_eq!(connect(world.http).get("/").status, 200);
    let mut long: Vec<_> = (0..4).map(|_| connect(world.http)).collect();
    for client in &mut long {
        client.send("GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(client.head().unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(connect(world.http).get("/").status, 200);
}

#[test]
fn a_stream_that_was_refused_is_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = tries.clone();
    let endpoint = Http2Endpoint::new(Builder::new(), move |_, mut respond| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                respond.send_response(status(200), true).unwrap();
            }
        }
    });
    let world = endpoint.world();
    assert_eq!(connect(world.http).get("/").status, 200);
    assert_eq!(tries.load(Ordering::SeqCst), 2);
}

#[test]
fn a_stream_that_fails_later_is_502_and_the_connection_lives() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        match request.uri().path() {
            "/head" => respond.send_reset(Reason::INTERNAL_ERROR),
            "/body" => {
                let mut stream = respond.send_response(status(200), false).unwrap();
                stream.send_data(Bytes::from_static(b"some"), false).unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.send_reset(Reason::INTERNAL_ERROR);
            }
            _ => drop(respond.send_response(status(200), true).unwrap()),
        }
    });
    let world = endpoint.world();
    assert_eq!(connect(world.http).get("/head").status, 502);
    let mut client = connect(world.http);
    client.send("GET /body HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.response("GET").is_err());
    assert_eq!(connect(world.http).get("/").status, 200);
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn an_early_answer_ends_the_upload() {
    let endpoint = Http2Endpoint::new(Builder::new(), |_, mut respond| async move {
        let mut stream = respond.send_response(status(403), false).unwrap();
        stream.send_data(Bytes::from_static(b"no"), true).unwrap();
    });
    let world = endpoint.world();
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nsome");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, &*response.body), (403, &b"no"[..]));
    assert!(response.has("connection: close"), "{}", response.head);
    assert_eq!(connect(world.http).get("/").status, 403);
}

#[test]
fn a_client_that_leaves_resets_its_stream() {
    let (gone, heard) = std::sync::mpsc::channel();
    let endpoint = Http2Endpoint::new(Builder::new(), move |_, mut respond| {
        let gone = gone.clone();
        async move {
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            gone.send(reason.unwrap()).unwrap();
        }
    });
    let world = endpoint.world();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    client.reset();
    assert_eq!(heard.recv_timeout(Duration::from_secs(5)).unwrap(), Reason::CANCEL);
}

#[test]
fn a_call_with_trailers_passes_from_end_to_end() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let body = drain(request).await;
        let mut stream = respond.send_response(status(200), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let world = endpoint.world();
    block_on(async {
        let send = http2_client::open(world.http, 1 << 16, 1 << 20).await;
        let mut ready = send.ready().await.unwrap();
        let request = Request::post("http://a.test/svc/Call")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut body) = ready.send_request(request, false).unwrap();
        body.send_data(Bytes::from(vec![7; 100_000]), true).unwrap();
        let (received, trailers) = http2_client::read(response.await.unwrap()).await.unwrap();
        assert_eq!(received, vec![7; 100_000]);
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    });
}

#[test]
fn an_endpoint_that_does_not_speak_http_2_is_502_and_one_that_says_nothing_504() {
    let http1 = crate::endpoint::Endpoint::new(|conversation| {
        conversation.line();
        conversation.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let world = Plan::to(http1.address).protocol(UpstreamProtocol::H2c).start();
    for _ in 0..3 {
        assert_eq!(connect(world.http).get("/").status, 502);
    }
    let silent = crate::endpoint::Endpoint::new(crate::endpoint::Conversation::wait_for_end);
    let world = Plan::to(silent.address)
        .protocol(UpstreamProtocol::H2c)
        .limits(|limits| limits.response_timeout = Duration::from_millis(400))
        .start();
    assert_eq!(connect(world.http).get("/").status, 504);
}

#[test]
fn requests_that_meet_a_connection_on_its_way_out_are_answered_all_the_same() {
    // Each connection says goodbye after its first request.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        connection.graceful_shutdown();
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            let _ = respond.send_response(status(200), true);
                        });
                    }
                });
            }
        });
    });
    let world = Plan::to(address).protocol(UpstreamProtocol::H2c).start();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let http = world.http;
            std::thread::spawn(move || {
                let mut client = connect(http);
                (0..50).filter(|_| client.get("/").status != 200).count()
            })
        })
        .collect();
    let failed: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(failed, 0);
}

#[test]
fn a_stalled_stream_does_not_stop_the_others_of_its_connection() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        let large = request.uri().path() == "/large";
        let mut stream = respond.send_response(status(200), false).unwrap();
        let size = if large { 3_000_000 } else { 3 };
        stream.send_data(Bytes::from(vec![b'x'; size]), true).unwrap();
        // Until everything was taken.
        let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
    });
    let world = endpoint.world();
    let mut stalled = connect(world.http);
    stalled.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    stalled.head().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    for _ in 0..20 {
        assert_eq!(connect(world.http).get("/small").body, b"xxx");
    }
    assert_eq!(endpoint.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn those_who_wait_for_one_connection_do_not_wait_for_each_other() {
    let silent = crate::endpoint::Endpoint::new(crate::endpoint::Conversation::wait_for_end);
    let world = Plan::to(silent.address)
        .protocol(UpstreamProtocol::Grpcs)
        .limits(|limits| limits.connect_timeout = Duration::from_millis(400))
        .start();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let http = world.http;
            std::thread::spawn(move || {
                let started = std::time::Instant::now();
                assert_eq!(connect(http).get("/").status, 504);
                started.elapsed()
            })
        })
        .collect();
    for client in clients {
        let took = client.join().unwrap();
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

/// An endpoint whose first connection serves one request, reads another, and ends; later ones serve
/// all.
fn cutting() -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a test's own means");
    listener.set_nonblocking(true).expect("a test's own means");
    let address = listener.local_addr().expect("a test's own means");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a test's own means");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a test's own means");
            while let Ok((stream, _)) = listener.accept().await {
                let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    let mut served = 0;
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        served += 1;
                        if is_first && served == 2 {
                            return;
                        }
                        let _ = respond.send_response(status(200), true);
                    }
                });
            }
        });
    });
    (address, connections)
}

#[test]
fn a_request_that_may_be_repeated_is_when_its_shared_connection_is_closed_under_it() {
    let (address, connections) = cutting();
    let world = Plan::to(address).protocol(UpstreamProtocol::H2c).start();
    for _ in 0..3 {
        assert_eq!(connect(world.http).get("/").status, 200);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_request_that_may_not_be_repeated_is_not() {
    let (address, _) = cutting();
    let world = Plan::to(address).protocol(UpstreamProtocol::H2c).start();
    let mut client = connect(world.http);
    assert_eq!(client.get("/").status, 200);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response("POST").unwrap().status, 502);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_call_that_is_never_answered_ends_with_the_status_of_a_deadline() {
    let endpoint = Http2Endpoint::new(Builder::new(), |request, respond| async move {
        let _open = (request, respond);
        tokio::time::sleep(Duration::from_mins(1)).await;
    });
    let world = Plan::to(endpoint.address)
        .protocol(UpstreamProtocol::H2c)
        .limits(|limits| limits.response_timeout = Duration::from_millis(400))
        .start();
    block_on(async {
        let send = http2_client::open(world.http, 1 << 16, 1 << 20).await;
        // One that has said all it says, and one that keeps its direction open.
        for ended in [true, false] {
            let mut ready = send.clone().ready().await.unwrap();
            let (response, _body) = ready.send_request(call("/svc/Call"), ended).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["grpc-status"], "4");
            assert_eq!(response.headers()["grpc-message"], "upstream-timeout");
        }
    });
}

fn call(path: &str) -> Request<()> {
    Request::post(format!("http://a.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a test's own means")
}

#[test]
fn a_call_that_was_answered_may_be_silent_and_one_whose_client_talks_is_not_late() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let endpoint = Http2Endpoint::new(Builder::new(), |request, mut respond| async move {
        let is_late = request.uri().path() == "/svc/Late";
        let mut body = request.into_body();
        if is_late {
            // Answers when all was said, which takes longer than the timeout.
            while let Some(Ok(_)) = body.data().await {}
        }
        let mut stream = respond.send_response(status(200), false).unwrap();
        if !is_late {
            // Silent for longer than the timeout.
            tokio::time::sleep(3 * TIMEOUT).await;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    });
    let world = Plan::to(endpoint.address)
        .protocol(UpstreamProtocol::H2c)
        .limits(|limits| limits.response_timeout = TIMEOUT)
        .start();
    block_on(async {
        let send = http2_client::open(world.http, 1 << 16, 1 << 20).await;
        let mut ready = send.clone().ready().await.unwrap();
        let (silent, _body) = ready.send_request(call("/svc/Silent"), false).unwrap();
        let (late, mut body) = ready.send_request(call("/svc/Late"), false).unwrap();
        for _ in 0..6 {
            tokio::time::sleep(TIMEOUT / 3).await;
            body.send_data(Bytes::from_static(b"x"), false).unwrap();
        }
        body.send_data(Bytes::new(), true).unwrap();
        for response in [late, silent] {
            let (_, trailers) = http2_client::read(response.await.unwrap()).await.unwrap();
            assert_eq!(trailers.unwrap()["grpc-status"], "0");
        }
    });
}
