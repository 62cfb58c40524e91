//! HTTP/2 from clients: streams at once, flow control, resets, and what h2 does not limit.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use testkit::client::http2::{Http2, read};
use testkit::{Echo, Endpoint, Gateway, block_on, manifests, wait_until};

use crate::{OK, in_front_of, in_front_with};

fn echo_gateway(echo: &Echo) -> Gateway {
    Gateway::serving(manifests::all(&[
        manifests::service("app", &[echo.address()]),
        manifests::ingress("app", "app.test", "app"),
    ]))
}

#[test]
fn many_streams_run_at_once_and_each_has_its_answer() {
    let echo = Echo::start("app");
    let gateway = echo_gateway(&echo);
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let mut tasks = Vec::new();
        for n in 0..90 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                let request = Request::post(format!("http://app.test/{n}")).body(()).unwrap();
                let body = "b".repeat(n * 1_000);
                let answer = client.send(request, body.as_bytes()).await.unwrap();
                assert_eq!(answer.json()["path"], format!("/{n}"));
                assert_eq!(answer.json()["body"].as_str().map(str::len), Some(n * 1_000));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn large_bodies_flow_both_ways_within_the_windows() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            let request = conversation.read_request()?;
            let length = request.body.len();
            conversation.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"))?;
            conversation.write(&request.body)?;
        }
    });
    let gateway = in_front_of(&endpoint);
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 253) as u8).collect();
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let request = Request::post("http://app.test/").body(()).unwrap();
        let (response, mut stream) = client.open(request, false).await.unwrap();
        let sent = body.clone();
        let upload = async move {
            for chunk in sent.chunks(60_000) {
                stream.reserve_capacity(chunk.len());
                let mut rest = Bytes::copy_from_slice(chunk);
                while !rest.is_empty() {
                    let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    let room = room.unwrap().unwrap().min(rest.len());
                    stream.send_data(rest.split_to(room), false).unwrap();
                }
            }
            stream.send_data(Bytes::new(), true).unwrap();
        };
        let download = async move { read(response.await.unwrap()).await.unwrap() };
        let ((), answer) = tokio::join!(upload, download);
        assert_eq!((answer.status, answer.body == body), (200, true));
    });
}

#[test]
fn a_head_is_answered_without_a_body_and_a_trailer_arrives() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            let request = conversation.read_request()?;
            conversation.write(match request.method() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-End: 1\r\n\r\n",
            })?;
        }
    });
    let gateway = in_front_of(&endpoint);
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let head = Request::head("http://app.test/").body(()).unwrap();
        let answer = client.send(head, b"").await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        let answer = client.get("http://app.test/").await.unwrap();
        assert_eq!(answer.text(), "hi");
        assert_eq!(answer.trailers.unwrap().get("x-end").unwrap(), "1");
    });
}

#[test]
fn a_stream_that_is_reset_ends_its_exchange_and_no_other() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            let request = conversation.read_request()?;
            if request.target() == "/slow" {
                conversation.stall();
                return Ok(());
            }
            conversation.write(OK)?;
        }
    });
    let gateway = in_front_of(&endpoint);
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let request = Request::get("http://app.test/slow").body(()).unwrap();
        let (response, mut stream) = client.open(request, true).await.unwrap();
        while endpoint.open() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
        assert_eq!(client.get("http://app.test/").await.unwrap().text(), "ok");
        wait_until("the slow exchange is given up", || endpoint.open() <= 1);
    });
}

#[test]
fn a_client_that_resets_without_end_is_sent_away() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--http2-resets-max 50");
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let mut opened = 0;
        for _ in 0..2_000 {
            let request = Request::get("http://app.test/").body(()).unwrap();
            let Ok((response, mut stream)) = client.open(request, true).await else { break };
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            opened += 1;
            if opened % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(opened < 1_000, "{opened} resets were taken");
    });
    // Others are served.
    let mut client = gateway.connect();
    client.send("GET /none HTTP/1.1\r\nHost: none.test\r\n\r\n");
    assert_eq!(client.read_response("GET").status(), 404);
}

#[test]
fn what_no_front_may_pass_on_is_refused_on_its_stream_alone() {
    let echo = Echo::start("app");
    let gateway = echo_gateway(&echo);
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        for (path, field) in [
            ("/a%00b", ("x-a", "b")),
            ("/../a", ("x-a", "b")),
            ("/", ("host", "other.test")),
            ("/", ("content-length", "5")),
        ] {
            let request = Request::get(format!("http://app.test{path}"))
                .header(field.0, field.1)
                .body(())
                .unwrap();
            match client.send(request, b"").await {
                Ok(answer) => assert_eq!(answer.status, 400, "{path} {field:?}"),
                Err(error) => assert!(error.is_reset(), "{path} {field:?}: {error}"),
            }
        }
        assert_eq!(client.get("http://app.test/").await.unwrap().status, 200);
    });
    assert_eq!(echo.requests().len(), 1);
}

#[test]
fn cookie_crumbs_are_joined_for_http_1() {
    let echo = Echo::start("app");
    let gateway = echo_gateway(&echo);
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let request = Request::get("http://app.test/")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        assert_eq!(client.send(request, b"").await.unwrap().status, 200);
    });
    let seen = echo.requests()[0]["headers"].to_string();
    assert!(seen.contains(r#""a=1; b=2""#), "{seen}");
}

#[test]
fn more_fields_than_the_limit_are_431() {
    let echo = Echo::start("app");
    let gateway = echo_gateway(&echo);
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let mut request = Request::get("http://app.test/");
        for n in 0..150 {
            request = request.header(format!("x-{n}"), "1");
        }
        match client.send(request.body(()).unwrap(), b"").await {
            Ok(answer) => assert_eq!(answer.status, 431),
            Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
        }
    });
    assert_eq!(echo.requests().len(), 0);
}

#[test]
fn draining_sends_goaway_and_finishes_what_was_begun() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        std::thread::sleep(Duration::from_millis(500));
        conversation.write(OK)
    });
    let gateway = in_front_with(&endpoint, "--drain-timeout 10s");
    block_on(async {
        let client = Http2::connect(gateway.http()).await;
        let request = Request::get("http://app.test/").body(()).unwrap();
        let (response, _) = client.open(request, true).await.unwrap();
        while endpoint.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        gateway.terminate();
        assert_eq!(read(response.await.unwrap()).await.unwrap().text(), "ok");
        // The connection takes no more streams.
        let mut refused = false;
        for _ in 0..100 {
            if client.get("http://app.test/").await.is_err() {
                refused = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(refused);
    });
    assert!(gateway.wait().success());
}
