//! Services of type `ExternalName`, asked of a real name server while requests come.

use std::net::IpAddr;

use testkit::dns::{NameServer, Reply};
use testkit::{Endpoint, Gateway, GatewayOptions, manifests, wait_until};

use crate::OK;

/// A gateway whose host `app.test` leads to the name `db.example`, at the port of an endpoint.
fn in_front_of_name(server: &NameServer, port: u16, flags: &str) -> Gateway {
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: app, namespace: default }}\n\
         spec: {{ type: ExternalName, externalName: db.example, ports: [{{ port: {port} }}] }}\n"
    );
    let ingress = manifests::ingress("app", "app.test", "app")
        .replace("number: 80", &format!("number: {port}"));
    GatewayOptions::new()
        .file("app.yaml", manifests::all(&[service, ingress]))
        .flags(&format!("--name-server {} {flags}", server.address()))
        .start()
}

fn address(text: &str) -> Vec<IpAddr> {
    vec![text.parse().unwrap()]
}

fn answering(name: char) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}")
}

#[test]
fn a_name_is_followed_when_its_answer_changes() {
    let server = NameServer::start();
    let first = Endpoint::answering(answering('1'));
    let port = first.address().port();
    let _second = Endpoint::answering_at(([127, 0, 0, 2], port), answering('2'));
    server.tell("db.example", Reply::Addresses(address("127.0.0.1"), 0));
    let gateway = in_front_of_name(&server, port, "--external-name any");
    wait_until("the first address answers", || gateway.get("app.test", "/").text() == "1");
    server.tell("db.example", Reply::Addresses(address("127.0.0.2"), 0));
    wait_until("the second address answers", || gateway.get("app.test", "/").text() == "2");
}

#[test]
fn the_last_answer_stands_while_the_server_fails_and_not_when_the_name_is_gone() {
    let server = NameServer::start();
    let endpoint = Endpoint::answering(OK);
    server.tell("db.example", Reply::Addresses(address("127.0.0.1"), 0));
    let gateway = in_front_of_name(&server, endpoint.address().port(), "--external-name any");
    wait_until("the name is resolved", || gateway.get("app.test", "/").status() == 200);
    server.tell("db.example", Reply::Failure);
    gateway.wait_for_log("its last addresses are used");
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    server.tell("db.example", Reply::NoSuchName);
    wait_until("the name is gone", || gateway.get("app.test", "/").status() == 503);
    gateway.wait_for_log("no such name");
    server.tell("db.example", Reply::Addresses(address("127.0.0.1"), 0));
    wait_until("the name is back", || gateway.get("app.test", "/").status() == 200);
}

#[test]
fn an_answer_that_leads_to_this_machine_is_refused_whenever_it_comes() {
    let server = NameServer::start();
    let endpoint = Endpoint::answering(OK);
    // Nobody is there (RFC 5737), and it may be asked.
    server.tell("db.example", Reply::Addresses(address("192.0.2.1"), 0));
    let port = endpoint.address().port();
    let gateway = in_front_of_name(&server, port, "--connect-timeout 50ms");
    let known = format!("192.0.2.1:{port}");
    wait_until("the name is resolved", || gateway.snapshot().to_string().contains(&known));
    assert!(matches!(gateway.get("app.test", "/").status(), 502 | 504));
    for inside in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "169.254.169.254"] {
        server.tell("db.example", Reply::Addresses(address(inside), 0));
        let inside: IpAddr = inside.parse().unwrap();
        gateway.wait_for_log(&format!("resolves to {}", inside.to_canonical()));
        assert_eq!(gateway.get("app.test", "/").status(), 503);
    }
    assert_eq!(endpoint.connections(), 0);
    assert!(gateway.log().contains("external-name-forbidden"), "{}", gateway.log());
}

#[test]
fn of_several_addresses_those_that_may_be_used_are() {
    let server = NameServer::start();
    let outside = ["192.0.2.1".parse().unwrap(), "127.0.0.1".parse().unwrap()];
    server.tell("db.example", Reply::Addresses(outside.to_vec(), 60));
    let gateway = in_front_of_name(&server, 8080, "");
    gateway.wait_for_log("resolves to 127.0.0.1");
    let endpoints = gateway.snapshot()["endpoints"].to_string();
    assert!(endpoints.contains("192.0.2.1:8080"), "{endpoints}");
    assert!(!endpoints.contains("127.0.0.1"), "{endpoints}");
}

#[test]
fn no_name_is_asked_where_names_are_off() {
    let server = NameServer::start();
    server.tell("db.example", Reply::Addresses(address("192.0.2.1"), 60));
    let gateway = in_front_of_name(&server, 8080, "--external-name off");
    assert_eq!(gateway.get("app.test", "/").status(), 503);
    gateway.wait_for_log("external-name-forbidden");
    assert_eq!(server.questions(), 0);
}
