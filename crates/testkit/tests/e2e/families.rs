//! IPv4 and IPv6 side by side: listeners, clients, endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde_json::Value;
use testkit::client::raw::RawClient;
use testkit::curl::curl;
use testkit::{Authority, Echo, Endpoint, Gateway, GatewayOptions, manifests, wait_until};

use crate::{GET, app, in_front_with};

const LOCALHOST: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn free() -> SocketAddr {
    testkit::gateway::free_address_of(LOCALHOST)
}

fn answering(name: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())
}

/// A gateway for `app.test` that listens on `address`, too.
fn listening(address: SocketAddr, echo: &Echo, flags: &str) -> Gateway {
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                manifests::ingress("app", "app.test", "app"),
            ]),
        )
        .flags(&format!("--http {address} {flags}"))
        .start()
}

/// The value of a field that the endpoint saw.
fn seen(answer: &Value, name: &str) -> Vec<String> {
    let fields = answer["headers"].as_array().unwrap();
    fields
        .iter()
        .filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name))
        .map(|field| field[1].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn endpoints_of_both_families_serve_one_service() {
    let four = Endpoint::answering(answering("four"));
    let six = Endpoint::answering_at((LOCALHOST, 0), answering("six"));
    let gateway = in_front_with(&four, "--workers 1");
    gateway.apply("app.yaml", app(&[&four, &six]));
    let mut heard = BTreeSet::new();
    wait_until("both have answered", || {
        heard.insert(gateway.get("app.test", "/").text());
        heard == BTreeSet::from(["four".to_owned(), "six".to_owned()])
    });
    // One of them is gone: the other family serves alone.
    four.kill();
    for _ in 0..10 {
        assert_eq!(gateway.get("app.test", "/").text(), "six");
    }
}

#[test]
fn a_client_of_ipv6_is_told_and_logged_by_its_address() {
    let echo = Echo::start("app");
    let address = free();
    let gateway = listening(address, &echo, "--access-log json");
    let answer = RawClient::connect(address).exchange(GET).json();
    assert_eq!(seen(&answer, "x-forwarded-for"), ["::1"]);
    assert_eq!(seen(&answer, "x-real-ip"), ["::1"]);
    assert_eq!(seen(&answer, "x-forwarded-port"), [address.port().to_string()]);
    gateway.wait_for_log("app.test");
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("app.test")).unwrap();
    let record: Value = serde_json::from_str(line).unwrap();
    assert_eq!(record["client"], "::1", "{record}");
    // The listener of IPv4 serves beside it.
    let answer = gateway.connect().exchange(GET).json();
    assert_eq!(seen(&answer, "x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn one_that_is_trusted_by_its_ipv6_network_is_believed() {
    let echo = Echo::start("app");
    let address = free();
    let _gateway =
        listening(address, &echo, "--trusted-proxies ::/64 --trusted-proxies 2001:db8::/32");
    for (said, client) in [
        ("2001:470::9", "2001:470::9"),
        ("2001:470::9, 2001:db8::1", "2001:470::9"),
        ("[2001:470::9]:4711, 2001:db8::1", "2001:470::9"),
        ("192.0.2.1, [2001:db8::1]", "192.0.2.1"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
    ] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: {said}\r\n\r\n");
        let answer = RawClient::connect(address).exchange(request).json();
        assert_eq!(seen(&answer, "x-real-ip"), [client], "{said}");
        assert_eq!(seen(&answer, "x-forwarded-for"), [format!("{said}, ::1")], "{said}");
    }
}

#[test]
fn a_redirect_leads_to_the_port_of_the_same_family() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let [http, https] = [free(), free()];
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                manifests::ingress("app", "app.test", "app") + &manifests::tls("app.test", "app"),
                authority.leaf(&["app.test"]).secret("default", "app"),
            ]),
        )
        .flags(&format!("--http {http} --https {https}"))
        .start();
    for (from, to) in [(http, https), (gateway.http(), gateway.https())] {
        let response = RawClient::connect(from).exchange(GET);
        let location = format!("https://app.test:{}/", to.port());
        assert_eq!(response.field("location"), Some(location.as_str()));
    }
    let config = testkit::tls::client(authority.roots(), &["http/1.1"]);
    let mut client = RawClient::connect_tls(https, "app.test", &config).unwrap();
    let answer = client.exchange(GET).json();
    assert_eq!(seen(&answer, "x-forwarded-for"), ["::1"]);
    assert_eq!(seen(&answer, "x-forwarded-proto"), ["https"]);
}

#[test]
fn an_address_of_ipv6_is_a_host_like_any_other() {
    let echo = Echo::start("app");
    let address = free();
    let gateway = listening(address, &echo, "");
    let without_host = manifests::ingress("any", "any.test", "app")
        .replace("  - host: any.test\n    http:", "  - http:");
    gateway.change(|gateway| gateway.apply("any.yaml", without_host));
    for flags in [&["--http1.1"][..], &["--http2-prior-knowledge"], &["--http1.0"]] {
        let url = format!("http://[::1]:{}/x", address.port());
        let answer = curl(address, flags, &url);
        assert_eq!(answer.json()["path"], "/x", "{flags:?}");
        assert_eq!(answer.json()["host"], format!("[::1]:{}", address.port()), "{flags:?}");
    }
    for host in ["[::1", "::1", "[::g]", "[::1]x"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(RawClient::connect(address).exchange(request).status(), 400, "{host}");
    }
}

#[test]
fn operators_are_answered_over_ipv6() {
    let echo = Echo::start("app");
    let (address, admin) = (free(), free());
    let _gateway = listening(address, &echo, &format!("--admin {admin}"));
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    assert_eq!(RawClient::connect(admin).exchange(request).status(), 200);
}

#[test]
fn all_addresses_of_both_families_may_have_one_port() {
    let echo = Echo::start("app");
    let port = free().port();
    let all = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                manifests::ingress("app", "app.test", "app"),
            ]),
        )
        .flags(&format!("--http {} --http {}", all[0], all[1]))
        .start();
    for (ip, client) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
        let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
        let answer = RawClient::connect(address).exchange(GET).json();
        assert_eq!(seen(&answer, "x-forwarded-for"), [client]);
    }
    assert!(!gateway.log().contains("listener-not-bound"), "{}", gateway.log());
}
