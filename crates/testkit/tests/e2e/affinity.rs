//! `sessionAffinity: ClientIP` in traffic: a client keeps its endpoint, whatever else changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use testkit::client::raw::RawClient;
use testkit::fast::Fast;
use testkit::{Gateway, GatewayOptions, manifests, wait_until};

const CLIENTS: u8 = 40;

fn service(endpoints: &[&Fast]) -> String {
    let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address()).collect();
    manifests::service("app", &addresses).replacen(
        "spec: {",
        "spec: { sessionAffinity: ClientIP,",
        1,
    )
}

/// A gateway that believes its peers, so that a test may be many clients.
fn gateway(endpoints: &[&Fast]) -> Gateway {
    GatewayOptions::new()
        .file("service.yaml", service(endpoints))
        .file("app.yaml", manifests::ingress("app", "app.test", "app"))
        .flags("--workers 4 --trusted-proxies 127.0.0.1")
        .start()
}

fn client(n: u8) -> IpAddr {
    if n.is_multiple_of(2) {
        [198, 51, 100, n].into()
    } else {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into()
    }
}

/// Which endpoint answers a client on a connection of its own.
fn endpoint_of(gateway: &Gateway, client: IpAddr) -> String {
    ask(&mut gateway.connect(), client)
}

fn ask(connection: &mut RawClient, client: IpAddr) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: {client}\r\n\r\n");
    let response = connection.exchange(request);
    assert_eq!(response.status(), 200, "{}", response.head);
    response.text().split(' ').next().unwrap_or_default().to_owned()
}

fn all(gateway: &Gateway) -> BTreeMap<IpAddr, String> {
    (0..CLIENTS).map(|n| (client(n), endpoint_of(gateway, client(n)))).collect()
}

#[test]
fn a_client_keeps_its_endpoint_over_connections_workers_and_restarts() {
    let endpoints = ["a", "b", "c", "d"].map(Fast::start);
    let endpoints: Vec<&Fast> = endpoints.iter().collect();
    let first = gateway(&endpoints);
    let homes = all(&first);
    let used: BTreeSet<&String> = homes.values().collect();
    assert!(used.len() > 1, "{homes:?}");
    // Each round is a new connection, which any of the four workers may take.
    for _ in 0..10 {
        assert_eq!(all(&first), homes);
    }
    // And many clients behind one connection.
    let mut shared = first.connect();
    for (client, home) in &homes {
        assert_eq!(&ask(&mut shared, *client), home);
    }
    assert_eq!(all(&gateway(&endpoints)), homes);
}

#[test]
fn only_the_clients_of_an_endpoint_that_goes_move() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(Fast::start);
    let gateway = gateway(&[&a, &b, &c, &d]);
    let before = all(&gateway);
    gateway.apply("service.yaml", service(&[&a, &b, &c]));
    let moved: Vec<IpAddr> =
        before.iter().filter(|(_, home)| *home == "d").map(|(client, _)| *client).collect();
    assert!(!moved.is_empty(), "{before:?}");
    wait_until("the endpoint is gone", || endpoint_of(&gateway, moved[0]) != "d");
    let after = all(&gateway);
    for (client, home) in &before {
        if moved.contains(client) {
            assert_ne!(after[client], "d");
        } else {
            assert_eq!(&after[client], home, "{client}");
        }
    }
    // When it comes back, so do its clients.
    gateway.apply("service.yaml", service(&[&d, &c, &b, &a]));
    wait_until("the endpoint is back", || endpoint_of(&gateway, moved[0]) == "d");
    assert_eq!(all(&gateway), before);
}

#[test]
fn explain_names_the_endpoint_that_a_client_gets() {
    let endpoints = ["a", "b", "c"].map(Fast::start);
    let refs: Vec<&Fast> = endpoints.iter().collect();
    let gateway = gateway(&refs);
    for n in 0..8 {
        let output = std::process::Command::new(testkit::gateway::program())
            .args(["explain", "--format", "json", "--manifests"])
            .arg(gateway.directory())
            .args(["--client-ip", &client(n).to_string(), "http://app.test/"])
            .output()
            .unwrap();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let chosen = said["outcome"]["backends"][0]["chosen"].as_str().unwrap_or_default();
        let names = ["a", "b", "c"];
        let name = names.iter().zip(&endpoints).find(|(_, e)| e.address().to_string() == chosen);
        let name = name.map(|(name, _)| *name);
        assert_eq!(name, Some(endpoint_of(&gateway, client(n)).as_str()), "{said}");
    }
}
