//! Answers that the gateway makes itself: one short body, JSON where it is wanted, and the same
//! reason in body, log and metrics.

use serde_json::Value;
use testkit::client::http2::Http2;
use testkit::{Endpoint, Gateway, GatewayOptions, block_on, manifests, wait_until};

use crate::OK;

/// A gateway with a route for each way to fail, and short limits.
struct World {
    gateway: Gateway,
    _endpoints: Vec<Endpoint>,
}

impl World {
    fn start() -> Self {
        let good = Endpoint::answering(OK);
        let liar = Endpoint::answering("HTTP/1.1 twohundred\r\n\r\n");
        let mute = Endpoint::start(|conversation| {
            conversation.read_head()?;
            conversation.stall();
            Ok(())
        });
        let closing = Endpoint::start(|conversation| conversation.read_head().map(drop));
        let dead = Endpoint::answering(OK);
        let app = |name: &str, endpoints: &[&Endpoint]| {
            let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address()).collect();
            let host = format!("{name}.test");
            manifests::service(name, &addresses) + "---\n" + &manifests::ingress(name, &host, name)
        };
        let closed = manifests::ingress_with(
            "closed",
            "closed.test",
            "good",
            &[("whitelist-source-range", "10.0.0.0/8")],
        );
        let gateway = GatewayOptions::new()
            .file(
                "all.yaml",
                manifests::all(&[
                    app("good", &[&good]),
                    app("liar", &[&liar]),
                    app("mute", &[&mute]),
                    app("closing", &[&closing]),
                    app("dead", &[&dead]),
                    app("empty", &[]),
                    closed,
                ]),
            )
            .flags("--access-log json --workers 1 --response-timeout 300ms")
            .flags("--request-body-bytes-max 10 --request-head-timeout 500ms")
            .start();
        dead.kill();
        Self { gateway, _endpoints: vec![good, liar, mute, closing, dead] }
    }

    fn records(&self) -> Vec<Value> {
        let log = self.gateway.log();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// Requests that are parsed, what they are answered, and why: a host, a method, further fields.
const ANSWERED: &[(&str, &str, &str, u16, &str)] = &[
    ("none.test", "GET", "", 404, "no-route"),
    ("liar.test", "GET", "", 502, "upstream-malformed"),
    ("dead.test", "GET", "", 502, "connect-failed"),
    ("closing.test", "POST", "Content-Length: 0\r\n", 502, "upstream-closed"),
    ("mute.test", "GET", "", 504, "upstream-timeout"),
    ("empty.test", "GET", "", 503, "no-endpoint"),
    ("closed.test", "GET", "", 503, "unsupported-access-control"),
    ("good.test", "POST", "Content-Length: 11\r\n", 413, "body-too-large"),
    (
        "good.test",
        "GET",
        "CDN-Loop: portcullis, portcullis, portcullis, portcullis, portcullis\r\n\
         CDN-Loop: portcullis, portcullis, portcullis, portcullis, portcullis\r\n",
        508,
        "loop",
    ),
];

#[test]
fn each_has_a_short_body_with_its_reason_as_text_or_json_and_the_log_has_the_same() {
    let world = World::start();
    for (n, (host, method, fields, status, reason)) in ANSWERED.iter().enumerate() {
        let ask = |target: &str, accept: &str| {
            world.gateway.connect().exchange(format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n{fields}\r\n"
            ))
        };
        let text = ask(&format!("/text-{n}"), "text/html, */*;q=0.8");
        assert_eq!(text.status(), *status, "{host}: {}{}", text.head, text.text());
        assert_eq!(text.field("content-type"), Some("text/plain; charset=utf-8"));
        let body = text.text();
        assert!(body.starts_with(&format!("{status} ")), "{body}");
        assert!(body.ends_with(&format!(": {reason}\n")), "{body}");
        assert!(body.len() < 100 && body.lines().count() == 1, "{body}");
        let json = ask(&format!("/json-{n}"), "application/json");
        assert_eq!(json.field("content-type"), Some("application/json"));
        assert_eq!(json.json()["status"], *status, "{}", json.text());
        assert_eq!(json.json()["reason"], *reason, "{}", json.text());
        for path in [format!("/text-{n}"), format!("/json-{n}")] {
            wait_until("the record is written", || {
                world.records().iter().any(|record| record["path"] == path.as_str())
            });
            let records = world.records();
            let record = records.iter().find(|record| record["path"] == path.as_str()).unwrap();
            assert_eq!(record["status"], *status, "{record}");
            assert_eq!(record["reason"], *reason, "{record}");
            assert_eq!(record["host"], *host, "{record}");
        }
        let label = format!("reason=\"{reason}\"");
        let count = world.gateway.metric("portcullis_responses_by_reason_total", &[&label]);
        assert!(count >= 2.0, "{label} {count}");
    }
}

/// Bytes that are no request, what they are answered, and why.
#[rustfmt::skip]
const REFUSED: &[(&str, u16, &str)] = &[
    ("GET / HTTP/1.1\r\nHost: good.test\r\nA : b\r\n\r\n", 400, "field-space-before-colon"),
    ("CONNECT good.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n", 405, "method-connect"),
    ("POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 1\r\nExpect: x\r\n\r\n", 417, "expectation-failed"),
    ("POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, "coding-unsupported"),
    ("GET / HTTP/1.2\r\nHost: good.test\r\n\r\n", 505, "version-unsupported"),
    ("POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 9223372036854775808\r\n\r\n", 413, "length-too-large"),
    ("GET / HTTP/1.1\r\nHost: good.test\r\n", 408, "request-head-timeout"),
];

#[test]
fn what_is_no_request_is_answered_and_logged_with_its_reason_too() {
    let world = World::start();
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: good.test\r\n\r\n", "a".repeat(20_000));
    let long_head =
        format!("GET / HTTP/1.1\r\nHost: good.test\r\nA: {}\r\n\r\n", "a".repeat(40_000));
    let more = [
        (long_target.as_str(), 414, "target-too-long"),
        (long_head.as_str(), 431, "head-too-large"),
    ];
    for (bytes, status, reason) in REFUSED.iter().copied().chain(more) {
        let mut client = world.gateway.connect();
        client.send(bytes);
        let response = client.read_response("GET");
        assert_eq!(response.status(), status, "{reason}: {}", response.head);
        assert!(response.text().ends_with(&format!(": {reason}\n")), "{}", response.text());
        assert!(client.is_closed(), "{reason}");
        let is_it = |record: &Value| record["reason"] == reason && record["status"] == status;
        wait_until(&format!("{reason} is logged"), || world.records().iter().any(is_it));
        let records = world.records();
        let record = records.iter().find(|record| is_it(record)).unwrap();
        assert_eq!(record["client"], "127.0.0.1", "{record}");
        let size = record.to_string().len();
        assert!(size < 20_000, "a record of {size} bytes");
    }
}

#[test]
fn over_http_2_they_are_the_same_and_the_connection_lives() {
    let world = World::start();
    block_on(async {
        let client = Http2::connect(world.gateway.http()).await;
        for (host, method, fields, status, reason) in ANSWERED {
            let mut request = http::Request::builder()
                .method(*method)
                .uri(format!("http://{host}/"))
                .header("accept", "application/json");
            let mut body = &b""[..];
            for line in fields.split_terminator("\r\n") {
                let (name, value) = line.split_once(": ").unwrap();
                request = request.header(name.to_lowercase(), value);
                if (name, value) == ("Content-Length", "11") {
                    body = b"eleven-byte";
                }
            }
            let answer = client.send(request.body(()).unwrap(), body).await.unwrap();
            assert_eq!(answer.status, *status, "{host}: {}", answer.text());
            assert_eq!(answer.json()["reason"], *reason, "{}", answer.text());
        }
    });
}

#[test]
fn to_head_they_have_no_body() {
    let world = World::start();
    for (host, status) in [("none.test", 404), ("empty.test", 503), ("dead.test", 502)] {
        let mut client = world.gateway.connect();
        client.send(format!(
            "HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\nGET / HTTP/1.1\r\nHost: good.test\r\n\r\n"
        ));
        let response = client.read_response("HEAD");
        assert_eq!(response.status(), status, "{}", response.head);
        assert_ne!(response.field("content-length"), Some("0"), "{}", response.head);
        assert_eq!(client.read_response("GET").text(), "ok", "the next answer follows the head");
    }
}

#[test]
fn a_body_that_is_too_long_is_not_asked_for_and_reaches_nobody() {
    let endpoint = Endpoint::answering(OK);
    let gateway = crate::in_front_with(&endpoint, "--request-body-bytes-max 10");
    let mut client = gateway.connect();
    client.send(
        "PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.read_response("PUT").status(), 413);
    assert!(client.is_closed());
    assert_eq!(endpoint.connections(), 0);
    // One that fits is served, and one that does not say how long it is has its bytes counted.
    let ten = "PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\n0123456789";
    assert_eq!(gateway.connect().exchange(ten).text(), "ok");
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        for (body, status) in [(&b"0123456789"[..], 200), (b"0123456789a", 413)] {
            let request = http::Request::put("http://app.test/").body(()).unwrap();
            assert_eq!(client.send(request, body).await.unwrap().status, status);
        }
        let request = http::Request::put("http://app.test/").body(()).unwrap();
        assert_eq!(client.send(request, b"again").await.unwrap().status, 200);
    });
}
