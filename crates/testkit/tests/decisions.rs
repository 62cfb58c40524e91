//! The decision of `explain` is what the running proxy did, over many generated requests.
//!
//! Requests are drawn from hosts, paths and targets that are made to be confused with each other:
//! encoded and decoded, with dots, slashes, cases and lengths that differ by one. The seed is
//! printed; `DECISIONS` says how many requests are drawn, `cargo xtask test` says a million.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use testkit::client::raw::RawClient;
use testkit::fast::Fast;
use testkit::spec::{Decided, Expectation, InProcess, Request};
use testkit::{Gateway, GatewayOptions};

/// Requests sent at once on a connection.
const BATCH: usize = 64;

const HOSTS: &[&str] = &[
    "a.test",
    "A.Test",
    "a.test:80",
    "a.test.",
    "b.test",
    "x.wild.test",
    "y.wild.test",
    "x.y.wild.test",
    "wild.test",
    "none.test",
    "127.0.0.1",
    "n.test",
    "r.test",
];

const SEGMENTS: &[&str] = &[
    "foo", "foo", "Foo", "fo%6F", "bar", "foobar", "..", ".", "%2e%2E", "%2e", "", "a%2Fb", "a;b",
    "a+b", "%7Efoo", "~foo", "admin", "%61dmin", "api", "v1", "v22", "x.png", "%C3%A9", "a%5Cb",
    "%00", "%zz",
];

#[test]
fn what_explain_says_is_what_the_proxy_does() {
    let count = std::env::var_os("DECISIONS")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(20_000_usize);
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    for dialect in ["kubernetes", "nginx"] {
        let world = World::start(dialect);
        let mut draw = Draw(seed);
        let mut client = world.gateway.connect();
        let mut checked = 0;
        while checked < count / 2 {
            let requests: Vec<Request> = (0..BATCH).map(|_| draw.request()).collect();
            checked += world.check(&mut client, &requests);
        }
    }
}

struct World {
    gateway: Gateway,
    in_process: InProcess,
    _endpoints: Vec<Fast>,
}

impl World {
    fn start(dialect: &str) -> Self {
        let services = ["s1", "s2", "s3", "s4", "s5"];
        let endpoints: Vec<Fast> = services.iter().map(|name| Fast::start(name)).collect();
        let names: BTreeMap<SocketAddr, String> = endpoints
            .iter()
            .zip(services)
            .map(|(endpoint, name)| (endpoint.address(), name.to_owned()))
            .collect();
        let mut text = INGRESSES.to_owned();
        for (endpoint, name) in endpoints.iter().zip(services) {
            text.push_str("---\n");
            text.push_str(&testkit::manifests::service(name, &[endpoint.address()]));
        }
        let flags = vec!["--dialect".to_owned(), dialect.to_owned()];
        let in_process = InProcess::new(&text, &flags, names).expect("flags that are known");
        let ports =
            "--public-http-port 80 --public-https-port 443 --connection-requests-max 1000000000";
        let gateway = GatewayOptions::new()
            .file("world.yaml", text)
            .flags(&format!("--dialect {dialect} {ports}"))
            .start();
        Self { gateway, in_process, _endpoints: endpoints }
    }

    /// Sends requests on one connection, in as few writes as can be; how many were answered. After
    /// one that is refused the connection ends, and the rest are left.
    fn check(&self, client: &mut RawClient, requests: &[Request]) -> usize {
        let decisions: Vec<Decided> =
            requests.iter().map(|request| self.in_process.decide(request)).collect();
        let end = decisions.iter().position(|d| d.status == 400).map_or(requests.len(), |p| p + 1);
        let bytes: Vec<u8> = requests[..end].iter().flat_map(Request::bytes).collect();
        client.send(bytes);
        for (request, decided) in requests[..end].iter().zip(&decisions) {
            let response = client.read_response(&request.method);
            let text = response.text();
            let context =
                || format!("{}\n{decided:?}\n{}{text}", request.describe(), response.head);
            assert_eq!(response.status(), decided.status, "{}", context());
            if decided.status == 200 {
                let (name, target) = text.split_once(' ').expect("a name and a target");
                let path = target.split('?').next().unwrap_or_default();
                assert!(decided.served.contains(name), "{}", context());
                assert_eq!(Some(path), decided.path.as_deref(), "{}", context());
            } else if let Some(location) = &decided.location {
                assert_eq!(response.field("location"), Some(location.as_str()), "{}", context());
            } else if let Some(reason) = &decided.reason {
                assert_eq!(response.json()["reason"], reason.as_str(), "{}", context());
            }
        }
        if decisions[end - 1].status == 400 {
            assert!(client.is_closed());
            *client = self.gateway.connect();
        }
        end
    }
}

/// A small generator whose draws are told by its seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn request(&mut self) -> Request {
        let mut target = String::new();
        for _ in 0..=self.below(4) {
            // Most segments are harmless, so that connections last for some requests.
            let pool = if self.below(8) == 0 { SEGMENTS.len() } else { SEGMENTS.len() - 3 };
            target.push('/');
            target.push_str(SEGMENTS[self.below(pool)]);
        }
        if self.below(4) == 0 {
            target.push('/');
        }
        if self.below(5) == 0 {
            target.push_str("?q=/../x%2e");
        }
        Request {
            method: "GET".to_owned(),
            is_tls: false,
            authority: Some(HOSTS[self.below(HOSTS.len())].to_owned()),
            target,
            version: "HTTP/1.1".to_owned(),
            server_name: None,
            fields: Vec::new(),
            body: String::new(),
            expectation: Expectation::default(),
            line: 0,
        }
    }
}

/// Hosts and paths that lie close to each other.
const INGRESSES: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: a }
spec:
  rules:
  - host: a.test
    http:
      paths:
      - { path: /, pathType: Prefix, backend: { service: { name: s1, port: { number: 80 } } } }
      - { path: /foo, pathType: Prefix, backend: { service: { name: s2, port: { number: 80 } } } }
      - { path: /foo, pathType: Exact, backend: { service: { name: s3, port: { number: 80 } } } }
      - { path: /foo/bar/, pathType: Prefix, backend: { service: { name: s4, port: { number: 80 } } } }
      - { path: /a%2Fb, pathType: ImplementationSpecific, backend: { service: { name: s5, port: { number: 80 } } } }
  - host: b.test
    http:
      paths:
      - { path: /foo/, pathType: Exact, backend: { service: { name: s1, port: { number: 80 } } } }
      - { path: /bar, pathType: Prefix, backend: { service: { name: absent, port: { number: 80 } } } }
  - host: "*.wild.test"
    http:
      paths:
      - { path: /, pathType: Prefix, backend: { service: { name: s2, port: { number: 80 } } } }
  - host: x.wild.test
    http:
      paths:
      - { path: /foo, pathType: Prefix, backend: { service: { name: s3, port: { number: 80 } } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: closed
  annotations: { nginx.ingress.kubernetes.io/whitelist-source-range: 10.0.0.0/8 }
spec:
  rules:
  - host: a.test
    http:
      paths:
      - { path: /admin, pathType: Prefix, backend: { service: { name: s4, port: { number: 80 } } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: redirected
  annotations: { nginx.ingress.kubernetes.io/force-ssl-redirect: "true" }
spec:
  rules:
  - host: n.test
    http:
      paths:
      - { path: /foo, pathType: Prefix, backend: { service: { name: s4, port: { number: 80 } } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: rewritten
  annotations:
    nginx.ingress.kubernetes.io/use-regex: "true"
    nginx.ingress.kubernetes.io/rewrite-target: /new/$2
spec:
  rules:
  - host: r.test
    http:
      paths:
      - { path: "/api/(v[0-9]+)/(.*)", pathType: ImplementationSpecific, backend: { service: { name: s5, port: { number: 80 } } } }
      - { path: "/foo(/|$)(.*)", pathType: ImplementationSpecific, backend: { service: { name: s1, port: { number: 80 } } } }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: any }
spec:
  rules:
  - http:
      paths:
      - { path: /bar, pathType: Prefix, backend: { service: { name: s5, port: { number: 80 } } } }
"#;
