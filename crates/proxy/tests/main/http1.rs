//! HTTP/1 messages, whole and in every order.

use std::time::{Duration, Instant};

use crate::client::{Client, connect};
use crate::endpoint::{Conversation, Endpoint};
use crate::world::Plan;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_client_that_ends_its_direction_is_still_answered() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        std::thread::sleep(Duration::from_millis(150));
        conversation.say(OK);
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.half_close();
    let response = client.response("GET").unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(client.is_ended());
}

#[test]
fn requests_that_came_before_the_end_of_a_direction_are_all_answered() {
    let endpoint = Endpoint::new(|conversation| {
        while conversation.request().is_some() {
            std::thread::sleep(Duration::from_millis(150));
            conversation.say(OK);
        }
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(3));
    client.half_close();
    for is_last in [false, false, true] {
        let response = client.response("GET").unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
        assert_eq!(response.has("connection: close"), is_last, "{}", response.head);
    }
    assert!(client.is_ended());
}

#[test]
fn requests_behind_a_body_are_answered_in_their_order() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, body)) = conversation.request() {
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let text = format!("{path}={}", String::from_utf8_lossy(&body));
            let length = text.len();
            conversation.say(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes(),
            );
        }
    });
    let world = Plan::to(endpoint.address).start();
    let all = "POST /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello\
        POST /2 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-T: 1\r\n\r\n\
        GET /3 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    // In one piece, and in pieces of every size that divides it otherwise.
    for size in [all.len(), 1, 7, 60] {
        let mut client = connect(world.http);
        for piece in all.as_bytes().chunks(size) {
            client.send(piece);
        }
        for expected in ["/1=hello", "/2=abcde", "/3="] {
            let response = client.response("GET").unwrap();
            assert_eq!(String::from_utf8_lossy(&response.body), expected, "pieces of {size}");
        }
    }
}

#[test]
fn a_hundred_pipelined_requests_get_a_hundred_answers() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(100));
    for _ in 0..100 {
        assert_eq!(client.response("GET").unwrap().status, 200);
    }
    assert_eq!(endpoint.connections(), 1, "the endpoint's connection is used again");
}

#[test]
fn a_client_that_expects_to_be_told_to_continue_is_told_and_the_endpoint_is_not_asked() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, body)) = conversation.request() {
            assert!(!head.to_ascii_lowercase().contains("expect"), "{head}");
            let length = body.len();
            conversation
                .say(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{length}").as_bytes());
        }
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    let head =
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    client.send(head);
    assert_eq!(client.response("POST").unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.response("POST").unwrap().body, b"5");
    // A client that does not wait.
    client.send(format!("{head}hello"));
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"5"[..]));
}

#[test]
fn an_answer_before_the_body_is_delivered_and_says_that_the_connection_ends() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        conversation.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        conversation.wait_for_end();
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nfirst");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, &*response.body), (403, &b"no"[..]));
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(client.is_ended());
}

#[test]
fn an_answer_made_here_before_the_body_says_that_the_connection_ends() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    world.move_to(&[]);
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nfirst");
    let response = client.response("POST").unwrap();
    assert_eq!(response.status, 503);
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(client.is_ended());
}

#[test]
fn an_endpoint_that_answers_and_closes_during_a_large_upload_is_heard() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        conversation
            .say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    });
    let world = Plan::to(endpoint.address).start();
    for _ in 0..5 {
        let mut client = connect(world.http);
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000000\r\n\r\n");
        let mut writer = client.stream.try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            // Fails when the proxy has had enough.
            let _ = std::io::Write::write_all(&mut writer, &vec![b'x'; 20_000_000]);
        });
        let response = client.response("POST").unwrap();
        assert_eq!((response.status, &*response.body), (413, &b"no"[..]));
        upload.join().unwrap();
    }
}

#[test]
fn a_client_that_resets_takes_its_request_with_it() {
    let (gone, heard) = std::sync::mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        conversation.request();
        conversation.wait_for_end();
        gone.send(()).unwrap();
    });
    let world = Plan::to(endpoint.address).start();
    // Once alone, once with the next request already sent.
    for more in ["", "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
        let mut client = connect(world.http);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let before = endpoint.connections();
        crate::world::wait_until("the request", || {
            endpoint.connections() > before.saturating_sub(1)
        });
        std::thread::sleep(Duration::from_millis(50));
        client.send(more);
        std::thread::sleep(Duration::from_millis(50));
        client.reset();
        heard.recv_timeout(Duration::from_secs(3)).expect("the endpoint sees the end");
    }
    world.wait_for_reason("client-reset");
}

#[test]
fn answers_without_a_body_leave_the_connection_in_order() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, _)) = conversation.request() {
            let answer: &[u8] = match head.split(' ').nth(1) {
                Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n",
                Some("/304") => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                Some("/chunked") => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
            };
            conversation.say(answer);
        }
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    for (method, path, status) in [
        ("HEAD", "/", 200),
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("HEAD", "/chunked", 200),
        ("HEAD", "/", 200),
    ] {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let response = client.response("HEAD").unwrap();
        assert_eq!(response.status, status, "{method} {path}");
    }
    client.half_close();
    assert!(client.is_ended());
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn an_http_1_0_client_gets_a_chunked_body_until_the_end_of_its_connection() {
    let endpoint = Endpoint::saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response("GET").unwrap();
    assert_eq!(response.body, b"abcde");
    assert!(!response.head.to_ascii_lowercase().contains("transfer-encoding"));
}

#[test]
fn an_http_1_0_client_does_not_take_a_cut_body_for_a_whole_one() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    });
    let world = Plan::to(endpoint.address).start();
    for _ in 0..20 {
        let mut client = connect(world.http);
        client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
        let response = client.response("GET");
        assert!(response.is_err(), "looks complete: {response:?}");
    }
}

#[test]
fn a_body_of_unknown_length_above_the_limit_is_413() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(OK);
    });
    let world =
        Plan::to(endpoint.address).limits(|limits| limits.body_bytes_max = Some(10)).start();
    for chunks in ["b\r\n0123456789a\r\n0\r\n\r\n", "6\r\n012345\r\n"] {
        let mut client = connect(world.http);
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunks);
        if chunks.len() < 12 {
            std::thread::sleep(Duration::from_millis(50));
            client.send(chunks);
        }
        let response = client.response("POST").unwrap();
        assert_eq!(response.status, 413);
        assert!(response.has("connection: close"));
    }
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n");
    assert_eq!(client.response("POST").unwrap().status, 200);
}

#[test]
fn the_last_answer_of_a_connection_arrives_whatever_the_client_sent_behind() {
    const LENGTH: usize = 1_000_000;
    let endpoint = Endpoint::new(|conversation| {
        while conversation.request().is_some() {
            conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            conversation.say(&vec![b'z'; LENGTH]);
        }
    });
    let world =
        Plan::to(endpoint.address).limits(|limits| limits.requests_per_connection_max = 1).start();
    // A small window: most of the answer is in the proxy's kernel when it has written all of it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(&world.http.into()).unwrap();
    let stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut client = Client::over(stream);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(3000));
    std::thread::sleep(Duration::from_millis(200));
    let response = client.response("GET").expect("the whole answer");
    assert_eq!(response.body.len(), LENGTH);
    assert!(response.has("connection: close"));
    assert!(client.is_ended());
}

#[test]
fn trailers_and_informational_heads_pass() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        while conversation.line().is_some_and(|line| line != "\r\n") {}
        conversation.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        conversation
            .say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        conversation.say(b"1\r\na\r\n0\r\nX-Sum: 9\r\n\r\n");
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-R: 1\r\n\r\n",
    );
    let early = client.response("POST").unwrap();
    assert_eq!(early.status, 103);
    assert!(early.has("link: </a>"));
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"a"[..]));
    assert_eq!(response.trailers, "X-Sum: 9\r\n");
}

#[test]
fn a_large_body_passes_whole_by_length_by_chunks_and_until_close() {
    let body: &'static [u8] =
        (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().leak();
    let endpoint = Endpoint::new(move |conversation| {
        while let Some((head, received)) = conversation.request() {
            assert!(received.is_empty() || received == body);
            match head.split(' ').nth(1) {
                Some("/length") => {
                    conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
                    conversation.say(body);
                }
                Some("/chunks") => {
                    conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for piece in body.chunks(100_001) {
                        conversation.say(format!("{:x}\r\n", piece.len()).as_bytes());
                        conversation.say(piece);
                        conversation.say(b"\r\n");
                    }
                    conversation.say(b"0\r\n\r\n");
                }
                _ => {
                    conversation.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                    conversation.say(body);
                    return;
                }
            }
        }
    });
    let world = Plan::to(endpoint.address).start();
    for path in ["/length", "/chunks", "/close"] {
        for version in ["1.1", "1.0"] {
            let mut client = connect(world.http);
            client.send(format!("GET {path} HTTP/{version}\r\nHost: a.test\r\n\r\n"));
            let response = client.response("GET").unwrap();
            assert!(response.body == body, "{path} {version}: {} bytes", response.body.len());
            if version == "1.1" {
                // Up as well, on the same connection.
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                ));
                client.send(body);
                assert!(client.response("POST").unwrap().body == body, "{path} after an upload");
            }
        }
    }
}

#[test]
fn idle_connections_end_after_their_time_and_heads_that_drip_are_refused() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address)
        .limits(|limits| {
            limits.keep_alive_timeout = Duration::from_millis(400);
            limits.head_timeout = Duration::from_millis(400);
        })
        .start();
    let mut client = connect(world.http);
    client.get("/");
    let started = Instant::now();
    assert!(client.is_ended());
    assert!(started.elapsed() >= Duration::from_millis(350));
    let mut client = connect(world.http);
    client.get("/");
    let started = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Slow: aaaaaaaaaaaaaaaaaaaa" {
        if std::io::Write::write_all(&mut client.stream, &[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        if started.elapsed() > Duration::from_millis(900) {
            break;
        }
    }
    assert_eq!(client.response("GET").unwrap().status, 408);
}

#[test]
fn a_body_that_stops_is_408() {
    let endpoint = Endpoint::new(Conversation::wait_for_end);
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.body_idle_timeout = Duration::from_millis(300))
        .start();
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(client.response("POST").unwrap().status, 408);
}

#[test]
fn no_interim_answer_is_written_into_a_response_that_has_begun() {
    // The endpoint answers before it has read the head, and reads the head later: the body is asked
    // for when the response has begun.
    let endpoint = Endpoint::new(|conversation| {
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
        std::thread::sleep(Duration::from_millis(400));
        conversation.head();
        std::thread::sleep(Duration::from_millis(200));
        conversation.say(b"3\r\ntwo\r\n0\r\n\r\n");
        conversation.wait_for_end();
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.head_bytes_max = 32 * 1024 * 1024)
        .start();
    let mut client = connect(world.http);
    let value = "v".repeat(12 * 1024 * 1024);
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nX-Large: {value}\r\n"));
    client.send("Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let response = client.response("POST").unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"onetwo"[..]));
}
