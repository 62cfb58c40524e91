//! Many connections, and what a connection costs.

use testkit::client::raw::RawClient;
use testkit::{Endpoint, wait_until};

use crate::{GET, OK, in_front_of, in_front_with};

#[test]
fn ten_thousand_idle_connections_are_held_and_still_served() {
    const COUNT: usize = 10_000;
    raise_descriptors();
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--keepalive-timeout 10m --request-head-timeout 10m");
    let mut first = gateway.connect();
    assert_eq!(first.exchange(GET).text(), "ok");
    let before = gateway.resident_kib();
    let mut idle: Vec<RawClient> = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut client = gateway.connect();
        assert_eq!(client.exchange(GET).text(), "ok");
        idle.push(client);
    }
    let per_connection = gateway.resident_kib().saturating_sub(before) * 1024 / COUNT as u64;
    // A buffer kept for each would show as 16 KiB and more. What one costs exactly is a benchmark.
    assert!(per_connection < 16 * 1024, "an idle connection holds {per_connection} bytes");
    for client in idle.iter_mut().step_by(97) {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    let descriptors = gateway.descriptors();
    drop(idle);
    wait_until("their descriptors are closed", || gateway.descriptors() < descriptors - COUNT / 2);
}

/// Lets this process and the gateway that it starts have as many descriptors as it may.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("a soft limit may be raised to the hard one");
    let allowed = limit.current.unwrap_or(u64::MAX);
    assert!(allowed > 11_000, "this machine allows {allowed} descriptors; the test needs 11,000");
}

#[test]
fn above_the_limit_the_newest_are_turned_away_and_the_others_live() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--connections-max 10 --workers 1");
    let mut held: Vec<RawClient> = (0..10).map(|_| gateway.connect()).collect();
    for client in &mut held {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    let mut late = gateway.connect();
    let _ = late.try_send(GET);
    match late.try_read_response("GET") {
        Ok(response) => assert_eq!(response.status(), 503),
        Err(_) => assert!(late.is_closed()),
    }
    for client in &mut held {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    drop(held);
    wait_until("there is room again", || {
        let mut client = gateway.connect();
        client.try_send(GET).is_ok()
            && client.try_read_response("GET").is_ok_and(|response| response.status() == 200)
    });
}

#[test]
fn above_the_limit_a_connection_on_the_tls_port_is_closed_before_its_handshake() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--connections-max 2 --workers 1");
    let mut held: Vec<RawClient> = (0..2).map(|_| gateway.connect()).collect();
    for client in &mut held {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    let config = testkit::tls::trusting_client(&["http/1.1"]);
    assert!(RawClient::connect_tls(gateway.https(), "app.test", &config).is_err());
    let mut late = RawClient::connect(gateway.https());
    let bytes = late.try_read_to_end().unwrap_or_default();
    assert!(bytes.is_empty(), "nothing is said before a handshake: {bytes:?}");
    drop(held);
    wait_until("there is room again", || {
        RawClient::connect_tls(gateway.https(), "app.test", &config).is_ok()
    });
}

#[test]
fn after_its_last_request_a_connection_ends_in_good_order() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--connection-requests-max 3");
    let mut client = gateway.connect();
    for n in 1..=3 {
        let response = client.exchange(GET);
        assert_eq!(response.text(), "ok");
        let is_last = response.field("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
        assert_eq!(is_last, n == 3);
    }
    assert!(client.is_closed());
}

#[test]
fn endpoints_are_not_connected_to_more_than_requests_are_in_flight() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--workers 1");
    for _ in 0..100 {
        assert_eq!(gateway.get("app.test", "/").text(), "ok");
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn an_unanswered_connection_leaves_nothing_behind() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    let before = gateway.descriptors();
    for _ in 0..200 {
        let mut client = gateway.connect();
        let _ = client.try_send("GET / HT");
        client.reset();
    }
    wait_until("its descriptors are closed", || gateway.descriptors() <= before + 2);
}
