//! Every limit can be set, and does what its setting says: one below, one above.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use testkit::client::http2::Http2;
use testkit::client::raw::RawClient;
use testkit::client::websocket::{self, WebSocket};
use testkit::{Conversation, Endpoint, GatewayOptions, block_on, manifests, wait_until};

use crate::{GET, OK, in_front_with};

/// `GET /` of `app.test` with so many fields, `Host` among them.
fn with_fields(count: usize) -> String {
    let mut request = "GET / HTTP/1.1\r\nHost: app.test\r\n".to_owned();
    for n in 1..count {
        let _ = write!(request, "X-{n}: a\r\n");
    }
    request + "\r\n"
}

fn with_target(length: usize) -> String {
    format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", "a".repeat(length - 1))
}

/// A request of so many bytes.
fn with_head(bytes: usize) -> String {
    let start = "GET / HTTP/1.1\r\nHost: app.test\r\nX: ";
    format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4))
}

fn with_trailer(bytes: usize) -> String {
    format!(
        "PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX: {}\r\n\r\n",
        "a".repeat(bytes)
    )
}

fn with_loops(count: usize) -> String {
    let passes = vec!["portcullis"; count].join(", ");
    format!("GET / HTTP/1.1\r\nHost: app.test\r\nCDN-Loop: {passes}\r\n\r\n")
}

#[test]
fn limits_on_requests_are_as_they_are_set() {
    let endpoint = Endpoint::answering(OK);
    for (flags, below, above, status) in [
        ("--request-fields-max 5", with_fields(5), with_fields(6), 431),
        ("--request-target-bytes-max 100", with_target(100), with_target(101), 414),
        ("--request-head-bytes-max 1KiB", with_head(1024), with_head(1025), 431),
        ("--trailer-bytes-max 64", with_trailer(40), with_trailer(100), 431),
        ("--loop-max 3", with_loops(2), with_loops(3), 508),
    ] {
        let gateway = in_front_with(&endpoint, flags);
        let mut client = gateway.connect();
        assert_eq!(client.exchange(below).status(), 200, "below {flags}");
        let response = client.exchange(above);
        assert_eq!(response.status(), status, "above {flags}: {}", response.text());
    }
}

#[test]
fn limits_on_fields_hold_on_http_2_too() {
    let endpoint = Endpoint::answering(OK);
    for (flags, below, above, status) in [
        ("--request-fields-max 8", 3, 9, 431),
        ("--request-target-bytes-max 100", 0, 0, 414),
        ("--loop-max 1", 0, 0, 508),
    ] {
        let gateway = in_front_with(&endpoint, flags);
        block_on(async {
            let client = Http2::connect(gateway.http()).await;
            let request = |fields: usize, is_above: bool| {
                let path = if is_above && status == 414 { "a".repeat(100) } else { String::new() };
                let mut request = http::Request::get(format!("http://app.test/{path}"));
                for n in 0..fields {
                    request = request.header(format!("x-{n}"), "a");
                }
                if is_above && status == 508 {
                    request = request.header("cdn-loop", "portcullis");
                }
                request.body(()).unwrap()
            };
            let answer = client.send(request(below, false), b"").await.unwrap();
            assert_eq!(answer.status, 200, "below {flags}");
            let answer = client.send(request(above, true), b"").await.unwrap();
            assert_eq!(answer.status, status, "above {flags}");
            let answer = client.send(request(below, false), b"").await.unwrap();
            assert_eq!(answer.status, 200, "the connection lives with {flags}");
        });
    }
}

/// An endpoint that answers every request by this head and a body of two bytes.
fn answering(head: &str) -> Endpoint {
    Endpoint::answering(format!("{head}Content-Length: 2\r\n\r\nok"))
}

#[test]
fn limits_on_answers_are_as_they_are_set() {
    let fields = |count: usize| {
        let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
        for n in 1..count {
            let _ = write!(head, "X-{n}: a\r\n");
        }
        head
    };
    let hints =
        |count: usize| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count) + "HTTP/1.1 200 OK\r\n";
    let long = |bytes: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "a".repeat(bytes));
    for (flags, below, above) in [
        ("--response-fields-max 5", fields(5), fields(6)),
        ("--informational-max 2", hints(2), hints(3)),
        ("--response-head-bytes-max 1KiB", long(800), long(1100)),
    ] {
        for (head, status) in [(below, 200), (above, 502)] {
            let endpoint = answering(&head);
            let gateway = in_front_with(&endpoint, flags);
            let response = gateway.connect().exchange(GET);
            assert_eq!(response.status(), status, "{flags}: {}", response.head);
        }
    }
}

#[test]
fn no_idle_connection_is_kept_where_none_may_be_nor_longer_than_it_may() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--upstream-idle-max 0 --workers 1");
    let mut client = gateway.connect();
    for _ in 0..5 {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    assert_eq!(endpoint.connections(), 5);
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--upstream-idle-timeout 1s --workers 1");
    let mut client = gateway.connect();
    for _ in 0..5 {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    assert_eq!(endpoint.connections(), 1);
    wait_until("the idle connection is closed", || endpoint.open() == 0);
    assert_eq!(client.exchange(GET).text(), "ok");
}

#[test]
fn a_request_whose_reused_connection_closed_is_not_repeated_where_that_is_off() {
    let once = |conversation: &mut Conversation| -> io::Result<()> {
        conversation.read_request()?;
        conversation.write(OK)?;
        conversation.read_request().map(drop)
    };
    for (flags, status) in [("--retry-reused", 200), ("--retry-reused=false", 502)] {
        let endpoint = Endpoint::start(once);
        let gateway = in_front_with(&endpoint, &format!("{flags} --workers 1"));
        let mut client = gateway.connect();
        assert_eq!(client.exchange(GET).status(), 200);
        assert_eq!(client.exchange(GET).status(), status, "{flags}");
    }
}

#[test]
fn a_silent_tunnel_ends_after_its_time() {
    let socket = websocket::echo_endpoint();
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[socket]),
                manifests::ingress("app", "app.test", "app"),
            ]),
        )
        .flags("--tunnel-idle-timeout 1s")
        .start();
    block_on(async {
        let mut socket = WebSocket::connect(gateway.http(), "ws://app.test/").await.unwrap();
        // Longer than its time in all, and never silent for so long.
        for n in 0..8 {
            assert_eq!(socket.say(&n.to_string()).await.unwrap(), n.to_string());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(socket.hear().await.is_err(), "it ends");
    });
}

#[test]
fn no_more_streams_are_open_at_once_than_may_be() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--http2-streams-max 2 --workers 1");
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        // What the gateway allows is known once it has answered something.
        assert_eq!(client.get("http://none.test/").await.unwrap().status, 404);
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.get("http://app.test/").await })
            })
            .collect();
        while endpoint.connections() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut other = RawClient::connect(gateway.http());
        for _ in 0..20 {
            assert_eq!(other.exchange("GET / HTTP/1.1\r\nHost: none.test\r\n\r\n").status(), 404);
            tokio::task::yield_now().await;
        }
        assert_eq!(endpoint.connections(), 2);
        for task in tasks {
            task.abort();
        }
    });
}
