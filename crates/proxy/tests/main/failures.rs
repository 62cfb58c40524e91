//! Endpoints that fail, lie and stall, and clients that do not read.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::client::connect;
use crate::endpoint::Endpoint;
use crate::world::Plan;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The status of an answer to a GET when the endpoint says this and closes.
fn status_when_endpoint_says(bytes: &'static [u8]) -> u16 {
    let endpoint = Endpoint::new(move |conversation| {
        conversation.request();
        conversation.say(bytes);
    });
    let world = Plan::to(endpoint.address).start();
    connect(world.http).get("/").status
}

#[test]
fn what_is_no_answer_is_502() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        assert_eq!(status_when_endpoint_says(bytes), 502, "{}", bytes.escape_ascii());
    }
}

#[test]
fn informational_heads_without_end_are_502() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        while conversation.say(b"HTTP/1.1 102 Processing\r\n\r\n") {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let last = std::iter::repeat_with(|| client.response("GET").unwrap().status)
        .take(20)
        .find(|&status| status >= 200);
    assert_eq!(last, Some(502));
}

#[test]
fn a_cut_body_is_an_error_for_the_client_and_not_an_end() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T",
    ] {
        let endpoint = Endpoint::new(move |conversation| {
            conversation.request();
            conversation.say(answer);
        });
        let world = Plan::to(endpoint.address).start();
        let mut client = connect(world.http);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let response = client.response("GET");
        let refused = response.as_ref().is_ok_and(|response| response.status == 502);
        assert!(response.is_err() || refused, "{}: {response:?}", answer.escape_ascii());
    }
}

#[test]
fn a_head_that_drips_has_one_deadline_in_all() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        for byte in b"HTTP/1.1 200 OK\r\nX-Drip: ".iter().chain(std::iter::repeat(&b'a')) {
            if conversation.stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.response_timeout = Duration::from_millis(500))
        .start();
    let started = Instant::now();
    assert_eq!(connect(world.http).get("/").status, 504);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn a_connection_on_which_more_was_said_than_announced_is_not_used_again() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
    ] {
        let endpoint = Endpoint::new(move |conversation| {
            conversation.request();
            conversation.say(answer);
            conversation.wait_for_end();
        });
        let world = Plan::to(endpoint.address).start();
        let mut client = connect(world.http);
        for _ in 0..3 {
            let body = client.get("/").body;
            assert!(body == b"ok" || body.is_empty(), "{}", body.escape_ascii());
        }
        assert_eq!(endpoint.connections(), 3);
    }
}

#[test]
fn bytes_that_come_late_on_an_idle_connection_are_nobodys_answer() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(OK);
        std::thread::sleep(Duration::from_millis(50));
        conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        conversation.wait_for_end();
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    for _ in 0..3 {
        assert_eq!(client.get("/").body, b"ok");
        std::thread::sleep(Duration::from_millis(150));
    }
}

#[test]
fn a_get_on_a_connection_that_was_closed_meanwhile_is_sent_again_and_a_post_is_not() {
    // The endpoint takes the second request of each connection and closes without an answer.
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(OK);
        conversation.request();
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.get("/").status, 200, "sent again on a new connection");
    assert_eq!(endpoint.connections(), 2);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response("POST").unwrap().status, 502);
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn a_get_on_a_new_connection_that_closes_is_not_sent_again() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
    });
    let world = Plan::to(endpoint.address).start();
    assert_eq!(connect(world.http).get("/").status, 502);
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn a_refused_connection_moves_to_another_endpoint_body_and_all() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::new(|conversation| {
        while let Some((_, body)) = conversation.request() {
            conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
            conversation.say(&body);
        }
    });
    let mut plan = Plan::to(closed);
    plan.endpoints.push(endpoint.address);
    let world = plan.start();
    let mut client = connect(world.http);
    for _ in 0..6 {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
        let response = client.response("POST").unwrap();
        assert_eq!((response.status, &*response.body), (200, &b"hello"[..]));
    }
}

#[test]
fn an_endpoint_that_does_not_read_is_504() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        std::thread::sleep(Duration::from_secs(5));
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.response_timeout = Duration::from_millis(400))
        .start();
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000000\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let _ = writer.write_all(&vec![b'x'; 50_000_000]);
    });
    assert_eq!(client.response("POST").unwrap().status, 504);
}

#[test]
fn a_large_head_without_a_body_reaches_an_endpoint_that_reads_late() {
    const FIELD: usize = 12 * 1024 * 1024;
    let endpoint = Endpoint::new(|conversation| {
        std::thread::sleep(Duration::from_millis(300));
        let head = conversation.head().map_or(0, |head| head.len());
        let text = if head > FIELD { OK } else { b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" };
        conversation.say(text);
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| {
            limits.head_bytes_max = 2 * FIELD;
            limits.response_timeout = Duration::from_secs(4);
        })
        .start();
    let mut client = connect(world.http);
    let value = "v".repeat(FIELD);
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Large: {value}\r\n\r\n"));
    assert_eq!(client.response("GET").unwrap().status, 200);
}

#[test]
fn a_client_that_does_not_read_is_cut_and_its_endpoint_let_go() {
    let (gone, heard) = std::sync::mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while conversation.say(b"5\r\nhello\r\n") {}
        gone.send(()).unwrap();
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.write_idle_timeout = Duration::from_millis(500))
        .start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    heard.recv_timeout(Duration::from_secs(8)).expect("the endpoint is let go");
    world.wait_for_reason("client-stalled");
}

#[test]
fn a_client_that_reads_slowly_but_steadily_is_not_cut() {
    const BODY: usize = 600_000;
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        conversation.say(format!("{BODY:x}\r\n").as_bytes());
        conversation.say(&vec![b'x'; BODY]);
        conversation.say(b"\r\n0\r\n\r\n");
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.write_idle_timeout = Duration::from_millis(1500))
        .start();
    // Small segments and a small window make the kernel's own buffers small as well.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&world.http.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut total = 0;
    let mut scratch = [0; 16 * 1024];
    loop {
        match std::io::Read::read(&mut stream, &mut scratch) {
            Ok(0) => break,
            Ok(read) => total += read,
            Err(error) => panic!("cut after {total} bytes: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(total > BODY, "{total} bytes");
}

#[test]
fn an_answer_that_flows_is_not_cut_because_its_endpoint_reads_no_more() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            conversation.say(b"1\r\nx\r\n");
        }
        conversation.say(b"0\r\n\r\n");
        std::thread::sleep(Duration::from_millis(500));
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.response_timeout = Duration::from_millis(600))
        .start();
    let mut client = connect(world.http);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 50000000\r\n\r\n");
    let mut writer = client.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let _ = writer.write_all(&vec![b'x'; 50_000_000]);
    });
    assert_eq!(client.response("POST").expect("the whole answer").body, [b'x'; 20]);
}

#[test]
fn an_answer_that_stops_is_cut_after_its_time() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n");
        conversation.say(&vec![b'x'; 500_000]);
        conversation.wait_for_end();
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.response_timeout = Duration::from_millis(400))
        .start();
    let mut client = connect(world.http);
    let started = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(client.response("GET").is_err());
    assert!(started.elapsed() < Duration::from_secs(4));
    world.wait_for_reason("upstream-timeout");
}
