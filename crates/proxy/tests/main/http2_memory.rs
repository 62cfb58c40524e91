//! What an HTTP/2 connection makes us hold, over all its streams.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::Request;

use crate::endpoint::Endpoint;
use crate::http2_client::{ask, get, open, read};
use crate::world::{Plan, World, block_on, wait_until};

const STREAMS: usize = 100;
const MEMORY: usize = 256 * 1024;

/// What may come on top: the one piece that met an account with room.
const PIECE: usize = 64 * 1024;

fn held(world: &World) -> usize {
    world.metric("portcullis_http2_held_bytes") as usize
}

/// Answers with a body of as many bytes as the path says.
fn bodies() -> Endpoint {
    Endpoint::new(|conversation| {
        while let Some((head, _)) = conversation.request() {
            let path = head.split([' ', '/']).find_map(|word| word.parse().ok());
            let length: usize = path.unwrap_or_default();
            let mut answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            if !head.starts_with("HEAD") {
                answer.resize(answer.len() + length, b'x');
            }
            conversation.say(&answer);
        }
    })
}

#[test]
fn a_client_that_reads_nothing_makes_us_hold_no_more_than_allowed() {
    let endpoint = bodies();
    let world =
        Plan::to(endpoint.address).limits(|limits| limits.http2_memory_max = MEMORY).start();
    let address = world.http;
    block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 28)
            .handshake::<_, Bytes>(stream)
            .await
            .unwrap();
        let mut connection = Box::pin(connection);
        let asking = async {
            // Taken without giving window back: the proxy knows of windows enough for everything.
            let mut body = ask(&send, get("/200000")).await.unwrap().into_body();
            let mut received = 0;
            while received < 200_000 {
                received += body.data().await.unwrap().unwrap().len();
            }
            let mut streams = Vec::new();
            for _ in 0..STREAMS {
                let mut send = send.clone().ready().await.unwrap();
                // More than its window, so that none has ended when the last arrives.
                streams.push(send.send_request(get("/2000000"), true).unwrap());
            }
            streams
        };
        let _streams = tokio::select! {
            streams = asking => streams,
            _ = &mut connection => panic!("the connection lives"),
        };
        // Until all that was asked has arrived; from then on nobody reads the socket.
        while (world.metric("portcullis_requests_in_flight") as usize) < STREAMS {
            let once = std::future::poll_fn(|cx| {
                let _ = connection.as_mut().poll(cx);
                std::task::Poll::Ready(())
            });
            once.await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        wait_until("the account to be full", || held(&world) >= MEMORY);
        let most = (0..60).map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            held(&world)
        });
        let most = most.max().unwrap();
        assert!(most <= MEMORY + PIECE, "{most} bytes");
        drop(connection);
    });
    wait_until("it to be given back", || held(&world) == 0);
}

fn head_of(bytes: usize) -> Request<()> {
    let mut request = get("/0");
    request.headers_mut().insert("x-large", "x".repeat(bytes).parse().expect("a value"));
    request
}

#[test]
fn streams_without_window_are_ended_where_others_want_their_memory() {
    let endpoint = bodies();
    let world = Plan::to(endpoint.address)
        .limits(|limits| {
            limits.http2_memory_max = MEMORY;
            limits.http2_stalled_timeout = Duration::from_millis(200);
        })
        .start();
    block_on(async {
        let send = open(world.http, 0, 1 << 20).await;
        // Behind this answer the client knows how many streams it may open.
        assert_eq!(ask(&send, head_only()).await.unwrap().status(), 200);
        let (ended, mut endings) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..STREAMS {
            let (send, ended) = (send.clone(), ended.clone());
            tokio::spawn(async move {
                let error = match ask(&send, get("/12000")).await {
                    Ok(response) => read(response).await.unwrap_err(),
                    Err(error) => error,
                };
                let _ = ended.send(error.reason());
            });
        }
        // As many as make room: the last ones hold what nobody else wants.
        for _ in 0..STREAMS / 2 {
            assert_eq!(endings.recv().await.unwrap(), Some(Reason::ENHANCE_YOUR_CALM));
            let most = held(&world);
            assert!(most <= MEMORY + PIECE, "{most} bytes");
        }
        world.wait_for_reason("http2-stalled");
        assert_eq!(ask(&send, head_only()).await.unwrap().status(), 200);
    });
}

fn head_only() -> Request<()> {
    Request::head("http://a.test/0").body(()).expect("a request")
}

#[test]
fn heads_that_are_too_large_together_are_refused_and_not_alone() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.wait_for_end();
    });
    let world =
        Plan::to(endpoint.address).limits(|limits| limits.http2_memory_max = 64 * 1024).start();
    block_on(async {
        let send = open(world.http, 1 << 16, 1 << 20).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let mut ready: SendRequest<Bytes> = send.clone().ready().await.unwrap();
            waiting.push(ready.send_request(head_of(10_000), true).unwrap());
        }
        let refused = ask(&send, head_of(10_000)).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM));
        world.wait_for_reason("http2-memory");
        // A place is free when another has gone.
        let (response, mut stream) = waiting.pop().unwrap();
        stream.send_reset(Reason::CANCEL);
        drop((response, stream));
        let mut ready = send.clone().ready().await.unwrap();
        let (response, _) = ready.send_request(head_of(10_000), true).unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(300), response).await;
        assert!(waits.is_err(), "it is not refused");
    });
}
