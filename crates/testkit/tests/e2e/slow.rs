//! Slow clients: deadlines for the handshake, the head, the body and idling.

use std::time::Duration;

use testkit::client::raw::RawClient;
use testkit::{Endpoint, wait_until};

use crate::{GET, OK, in_front_with};

#[test]
fn a_head_that_drips_is_given_up_with_408() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--request-head-timeout 1s");
    let mut client = gateway.connect();
    let head = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n\r\n", "x".repeat(2_000));
    let _ = client.drip(head.as_bytes(), Duration::from_millis(10));
    let bytes = client.try_read_to_end().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn a_head_that_drips_and_ends_in_time_is_served() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--request-head-timeout 10s");
    let mut client = gateway.connect();
    client.drip(GET.as_bytes(), Duration::from_millis(1)).unwrap();
    assert_eq!(client.read_response("GET").text(), "ok");
}

#[test]
fn a_body_that_stands_still_is_given_up() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_head()?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--body-idle-timeout 1s");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhalf");
    let bytes = client.try_read_to_end().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    wait_until("the endpoint's connection is closed", || endpoint.open() == 0);
}

#[test]
fn a_body_below_the_least_rate_is_given_up() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write(OK)
    });
    let gateway = in_front_with(&endpoint, "--body-rate-min 10000");
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000\r\n\r\n");
    let body = vec![b'x'; 100_000];
    // 100 bytes a second, for as long as the gateway takes them.
    let given_up = client.drip(&body[..4_000], Duration::from_millis(10)).is_err();
    let bytes = client.try_read_to_end().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    assert!(given_up || text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
    wait_until("the endpoint's connection is closed", || endpoint.open() == 0);
}

#[test]
fn a_connection_that_asks_nothing_is_closed() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--keepalive-timeout 1s --request-head-timeout 1s");
    let mut used = gateway.connect();
    assert_eq!(used.exchange(GET).text(), "ok");
    let mut unused = gateway.connect();
    assert!(used.is_closed());
    assert!(unused.is_closed());
}

#[test]
fn a_handshake_that_does_not_come_is_given_up() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--handshake-timeout 1s");
    let mut silent = RawClient::connect(gateway.https());
    assert!(silent.is_closed());
    let mut half = RawClient::connect(gateway.https());
    half.send(b"\x16\x03\x01\x02\x00\x01\x00");
    let bytes = half.try_read_to_end().unwrap_or_default();
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
}

#[test]
fn a_client_that_reads_nothing_holds_no_memory_of_ours() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        let chunk = vec![0; 1 << 20];
        for _ in 0..1_000 {
            conversation.write(&chunk)?;
        }
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--write-idle-timeout 2s");
    let before = gateway.resident_kib();
    let mut clients: Vec<RawClient> = (0..20).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    wait_until("all are being answered", || endpoint.connections() == clients.len());
    std::thread::sleep(Duration::from_millis(500));
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "it grew by {grown} KiB");
    wait_until("they are given up", || endpoint.open() == 0);
}
