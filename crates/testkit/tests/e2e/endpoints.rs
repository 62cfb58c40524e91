//! Endpoints are trusted no more than clients: killed, stalling, resetting, lying.

use std::time::Duration;

use testkit::{Endpoint, GatewayOptions, wait_until};

use crate::{GET, OK, app, in_front_of, in_front_with};

/// Answers `first` to the first request of each connection, and `OK` to no other: whoever sends a
/// second request on it gets nothing.
fn once(first: &'static [u8]) -> Endpoint {
    Endpoint::start(move |conversation| {
        conversation.read_request()?;
        conversation.write(first)?;
        conversation.stall();
        Ok(())
    })
}

#[test]
fn a_malformed_answer_is_502_and_its_connection_is_not_used_again() {
    for answer in [
        &b"nonsense\r\n\r\n"[..],
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 Strange\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ] {
        let endpoint = once(answer);
        let gateway = in_front_of(&endpoint);
        let mut client = gateway.connect();
        let text = String::from_utf8_lossy(answer);
        assert_eq!(client.exchange(GET).status(), 502, "{text}");
        assert_eq!(client.exchange(GET).status(), 502, "{text}");
        assert!(endpoint.connections() >= 2, "{text}");
    }
}

#[test]
fn endless_informational_answers_are_502() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        loop {
            conversation.write("HTTP/1.1 103 Early Hints\r\n\r\n")?;
        }
    });
    let gateway = in_front_of(&endpoint);
    let response = gateway.connect().exchange(GET);
    assert_eq!(response.status(), 502, "{}", response.head);
    wait_until("the endpoint's connection is closed", || endpoint.open() == 0);
}

#[test]
fn an_unasked_101_is_502() {
    let endpoint =
        once(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n");
    let gateway = in_front_of(&endpoint);
    assert_eq!(gateway.connect().exchange(GET).status(), 502);
}

#[test]
fn a_101_to_another_protocol_than_was_asked_for_is_502() {
    let endpoint =
        once(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n");
    let gateway = in_front_of(&endpoint);
    let upgrade = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n";
    assert_eq!(gateway.connect().exchange(upgrade).status(), 502);
}

#[test]
fn bytes_after_the_end_end_the_connection_and_reach_nobody() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"))?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    for _ in 0..3 {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    assert_eq!(endpoint.connections(), 3);
}

#[test]
fn bytes_between_two_exchanges_end_the_connection() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write(OK)?;
        std::thread::sleep(Duration::from_millis(30));
        conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    assert_eq!(client.exchange(GET).text(), "ok");
    wait_until("the poisoned connection is closed", || endpoint.open() == 0);
    assert_eq!(client.exchange(GET).text(), "ok");
    assert_eq!(endpoint.connections(), 2);
}

#[test]
fn a_body_that_is_cut_off_is_not_passed_for_whole() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let endpoint = Endpoint::start(move |conversation| {
            conversation.read_request()?;
            conversation.write(answer)
        });
        let gateway = in_front_of(&endpoint);
        let mut client = gateway.connect();
        client.send(GET);
        let outcome = client.try_read_response("GET");
        assert!(outcome.is_err(), "{outcome:?}");
    }
}

#[test]
fn a_head_that_drips_is_given_up() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write("HTTP/1.1 200 OK\r\n")?;
        loop {
            conversation.write("X-More: of the same\r\n")?;
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let gateway = in_front_with(&endpoint, "--response-timeout 1s");
    let response = gateway.connect().exchange(GET);
    assert!(matches!(response.status(), 502 | 504), "{}", response.head);
    wait_until("the endpoint's connection is closed", || endpoint.open() == 0);
}

#[test]
fn a_head_without_end_is_502() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write("HTTP/1.1 200 OK\r\nX-Long: ")?;
        loop {
            conversation.write([b'x'; 16_384])?;
        }
    });
    let gateway = in_front_of(&endpoint);
    assert_eq!(gateway.connect().exchange(GET).status(), 502);
}

#[test]
fn one_that_says_nothing_is_504() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--response-timeout 1s");
    let mut client = gateway.connect();
    assert_eq!(client.exchange(GET).status(), 504);
    // A client that was answered 504 may go on.
    assert_eq!(client.exchange(GET).status(), 504);
}

#[test]
fn one_that_resets_before_it_answers_is_502() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.reset();
        Ok(())
    });
    let gateway = in_front_of(&endpoint);
    let request = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(gateway.connect().exchange(request).status(), 502);
    assert_eq!(endpoint.connections(), 1, "a request with a body is not sent twice");
}

#[test]
fn one_that_is_not_there_is_left_for_another() {
    let gone = Endpoint::answering(OK);
    let there = Endpoint::answering(OK);
    let gateway = GatewayOptions::new().file("app.yaml", app(&[&gone, &there])).start();
    gone.kill();
    for _ in 0..40 {
        assert_eq!(gateway.get("app.test", "/").text(), "ok");
    }
    there.kill();
    assert_eq!(gateway.get("app.test", "/").status(), 502);
}

#[test]
fn a_reused_connection_that_was_closed_meanwhile_costs_no_request() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write(OK)?;
        // The next request is read and the connection closed without a byte: the race of every
        // keep-alive connection.
        conversation.read_request()?;
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--workers 1");
    let mut client = gateway.connect();
    for _ in 0..20 {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
}

#[test]
fn what_is_not_idempotent_is_not_sent_again() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write(OK)?;
        conversation.read_request()?;
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--workers 1");
    let mut client = gateway.connect();
    let post = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(client.exchange(GET).text(), "ok");
    assert_eq!(client.exchange(post).status(), 502);
    assert_eq!(endpoint.text().matches("POST").count(), 1);
}

#[test]
fn an_endpoint_that_closes_after_its_answer_is_connected_to_anew() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    for _ in 0..10 {
        let response = client.exchange(GET);
        assert_eq!(response.text(), "ok");
        assert_eq!(response.field("connection"), None, "the client's connection is another");
    }
    assert_eq!(endpoint.connections(), 10);
}

#[test]
fn one_that_reads_nothing_holds_back_its_client_and_nobody_else() {
    let frozen = Endpoint::start(|conversation| {
        conversation.freeze();
        Ok(())
    });
    let gateway =
        GatewayOptions::new().file("frozen.yaml", app(&[&frozen])).flags("--workers 1").start();
    let other = testkit::Echo::start("other");
    gateway.change(|gateway| {
        gateway.apply(
            "other.yaml",
            testkit::manifests::all(&[
                testkit::manifests::service("other", &[other.address()]),
                testkit::manifests::ingress("other", "other.test", "other"),
            ]),
        );
    });
    let before = gateway.resident_kib();
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000000\r\n\r\n");
    let uploaded = std::thread::spawn(move || {
        let chunk = vec![0; 1 << 20];
        let mut sent = 0;
        client.patience(Duration::from_millis(200));
        for _ in 0..200 {
            if !fits(&mut client, &chunk) {
                break;
            }
            sent += 1;
        }
        sent
    });
    for _ in 0..20 {
        assert_eq!(gateway.get("other.test", "/").status(), 200);
    }
    drop(frozen);
    let sent = uploaded.join().unwrap();
    assert!(sent < 64, "{sent} MiB were taken for an endpoint that reads nothing");
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "it grew by {grown} KiB");
}

/// Whether the other side takes a chunk at all.
fn fits(client: &mut testkit::client::raw::RawClient, chunk: &[u8]) -> bool {
    client.try_send(chunk).is_ok()
}
