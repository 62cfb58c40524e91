//! Readiness of endpoints in traffic: who leaves finishes, who is not ready gets nothing new.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use testkit::fast::Fast;
use testkit::{Endpoint, Gateway, GatewayOptions, manifests, wait_until};

use crate::{GET, OK};

const READY: &str = "ready: true";
const UNREADY: &str = "ready: false, serving: false";
const LEAVING: &str = "ready: false, serving: true, terminating: true";
const GONE: &str = "ready: false, serving: false, terminating: true";

/// The Service, and one slice with an endpoint of each address in this condition.
fn service(endpoints: &[(SocketAddr, &str)]) -> String {
    let mut text = manifests::service("app", &[]);
    for (n, (address, conditions)) in endpoints.iter().enumerate() {
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: app-{n}\n  namespace: default\n  labels: {{ kubernetes.io/service-name: app }}\n\
             addressType: IPv4\nports: [{{ name: http, port: {} }}]\n\
             endpoints: [{{ addresses: [\"{}\"], conditions: {{ {conditions} }} }}]\n",
            address.port(),
            address.ip()
        );
    }
    text
}

fn gateway(endpoints: &[(SocketAddr, &str)]) -> Gateway {
    GatewayOptions::new()
        .file("service.yaml", service(endpoints))
        .file("app.yaml", manifests::ingress("app", "app.test", "app"))
        .start()
}

fn name(gateway: &Gateway) -> String {
    let response = gateway.get("app.test", "/");
    let text =
        if response.status() == 200 { response.text() } else { response.status().to_string() };
    text.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn traffic_follows_the_conditions_of_endpoints() {
    let [a, b] = ["a", "b"].map(Fast::start);
    let [a, b] = [a.address(), b.address()].map(|address| address);
    let gateway = gateway(&[(a, READY), (b, UNREADY)]);
    let generation = gateway.generation();
    assert_eq!(name(&gateway), "a");
    for (conditions, expected) in [
        // The rollout of one replica, step by step.
        ([(a, READY), (b, READY)], None),
        ([(a, LEAVING), (b, READY)], Some("b")),
        ([(a, GONE), (b, READY)], Some("b")),
        // Whoever is the last goes on while it serves.
        ([(a, GONE), (b, LEAVING)], Some("b")),
        ([(a, LEAVING), (b, GONE)], Some("a")),
        ([(a, GONE), (b, GONE)], Some("503")),
        ([(a, UNREADY), (b, GONE)], Some("503")),
        ([(a, READY), (b, GONE)], Some("a")),
    ] {
        gateway.apply("service.yaml", service(&conditions));
        let Some(expected) = expected else { continue };
        // One answer may still be of the conditions before, in which both had a part.
        let is_expected = || (0..20).all(|_| name(&gateway) == expected);
        wait_until(&format!("{expected} answers"), is_expected);
        for _ in 0..10 {
            assert_eq!(name(&gateway), expected, "{conditions:?}");
        }
    }
    assert_eq!(gateway.generation(), generation, "endpoints alone make no other generation");
}

#[test]
fn no_request_is_lost_while_endpoints_come_and_go() {
    let endpoints = ["a", "b", "c"].map(Fast::start);
    let addresses = endpoints.each_ref().map(Fast::address);
    let conditions = |ready: usize| {
        let of =
            |n: usize| if n == ready { READY } else { [LEAVING, GONE, UNREADY][(n + ready) % 3] };
        [0, 1, 2].map(|n| (addresses[n], of(n)))
    };
    let gateway = Arc::new(gateway(&conditions(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = ["GET", "POST"]
        .map(|method| {
            let (gateway, is_over, served) =
                (Arc::clone(&gateway), Arc::clone(&is_over), Arc::clone(&served));
            let request =
                format!("{method} / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi");
            std::thread::spawn(move || {
                let mut client = gateway.connect();
                while !is_over.load(Ordering::SeqCst) {
                    let response = client.exchange(&request);
                    assert_eq!(response.status(), 200, "{}{}", response.head, response.text());
                    served.fetch_add(1, Ordering::SeqCst);
                    if response.field("connection").is_some() {
                        client = gateway.connect();
                    }
                }
            })
        })
        .into();
    for round in 1..=60 {
        gateway.apply("service.yaml", service(&conditions(round % 3)));
        let expected = ["a", "b", "c"][round % 3];
        wait_until("the change is served", || name(&gateway) == expected);
    }
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no request was lost");
    }
    assert!(served.load(Ordering::SeqCst) > 60);
}

#[test]
fn what_an_endpoint_was_asked_before_it_left_is_answered() {
    let slow = Endpoint::start(|conversation| {
        conversation.read_request()?;
        std::thread::sleep(Duration::from_millis(500));
        conversation.write(OK)
    });
    let fast = Fast::start("fast");
    let gateway = gateway(&[(slow.address(), READY), (fast.address(), UNREADY)]);
    let mut client = gateway.connect();
    client.send(GET);
    wait_until("the slow one is asked", || slow.open() == 1);
    gateway.apply("service.yaml", service(&[(fast.address(), READY)]));
    wait_until("the fast one has taken over", || name(&gateway) == "fast");
    assert_eq!(client.read_response("GET").text(), "ok");
}
