//! The scenarios by which the community judges Ingress controllers, one by one, with our backends.
//!
//! As there, requests are sent once, over connections of their own, as soon as the status of the
//! Ingress has an address; and nothing is tried again.

use serde_json::{Value, json};
use testkit::certs::Leaf;
use testkit::client::raw::RawClient;
use testkit::{Authority, Echo, Gateway, Message, tls};

use crate::world::{World, endpoint, put_class, rule, to, wait_until};

/// What status is to say.
const ADDRESS: &str = "192.0.2.10";

fn serving(world: &World<'_>) -> Gateway {
    world.options().flags(&format!("--publish-address {ADDRESS}")).start()
}

/// Waits for the address that says: send requests now.
fn wait_for_address(world: &World<'_>, ingress: &str) {
    wait_until("the status has an address", || world.addresses(ingress) == [ADDRESS]);
}

fn request(gateway: &Gateway, method: &str, host: &str, path: &str) -> Message {
    let mut client = RawClient::connect(gateway.http());
    client.exchange(format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\n\
         Content-Length: 0\r\n\r\n"
    ))
}

/// Fields that every answer has.
fn has_the_usual_fields(answer: &Message) {
    assert!(answer.start.starts_with("HTTP/1.1 "), "{}", answer.start);
    for name in ["Content-Length", "Content-Type", "Date", "Server"] {
        assert!(answer.field(name).is_some(), "no {name}: {}", answer.head);
    }
}

#[test]
fn an_ingress_with_a_default_backend_alone_sends_everything_to_it() {
    let world = World::new("default-backend");
    let _echo = world.backend("echo-service");
    let gateway = serving(&world);
    world.put_ingress(
        "default-backend",
        &json!({ "ingressClassName": "portcullis", "defaultBackend": to("echo-service") }),
    );
    wait_for_address(&world, "default-backend");
    let none = gateway.http().to_string();
    for (method, host, path) in [
        ("GET", "my-host", "/"),
        ("GET", "my-host", "/sub-path"),
        ("POST", "some-host", "/"),
        ("PUT", none.as_str(), "/resource"),
        ("DELETE", "some-host", "/resource"),
        ("PATCH", "my-host", "/resource"),
    ] {
        let answer = request(&gateway, method, host, path);
        assert_eq!(answer.status(), 200, "{method} {host}{path}");
        has_the_usual_fields(&answer);
        let seen = answer.json();
        assert_eq!(seen["name"], "echo-service");
        assert_eq!((&seen["method"], &seen["path"]), (&json!(method), &json!(path)));
        assert_eq!((&seen["protocol"], &seen["host"]), (&json!("HTTP/1.1"), &json!(host)));
        let agent = seen["headers"].as_array().unwrap().iter().any(|field| {
            field[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("user-agent"))
                && field[1] == "Go-http-client/1.1"
        });
        assert!(agent, "{seen}");
    }
}

struct HostRules {
    world: World<'static>,
    gateway: Gateway,
    leaf: Leaf,
    authority: Authority,
    _backends: [Echo; 2],
}

fn host_rules() -> HostRules {
    let world = World::new("host-rules");
    let backends = [world.backend("wildcard-foo-com"), world.backend("foo-bar-com")];
    let authority = Authority::new();
    let leaf = authority.leaf(&["foo.bar.com"]);
    world.secret("conformance-tls", &leaf);
    let gateway = serving(&world);
    let by_name = json!({
        "host": "foo.bar.com",
        "http": { "paths": [{
            "path": "/", "pathType": "Prefix",
            "backend": { "service": { "name": "foo-bar-com", "port": { "name": "http" } } },
        }] },
    });
    world.put_ingress(
        "host-rules",
        &json!({
            "ingressClassName": "portcullis",
            "tls": [{ "hosts": ["foo.bar.com"], "secretName": "conformance-tls" }],
            "rules": [rule("*.foo.com", &[("Prefix", "/", "wildcard-foo-com")]), by_name],
        }),
    );
    wait_for_address(&world, "host-rules");
    HostRules { world, gateway, leaf, authority, _backends: backends }
}

#[test]
fn host_rules_match_whole_names_and_one_label_of_a_wildcard() {
    let scene = host_rules();
    // Its certificate is that of the Secret, and verifies.
    let config = tls::client(scene.authority.roots(), &[]);
    let mut client = RawClient::connect_tls(scene.gateway.https(), "foo.bar.com", &config).unwrap();
    assert_eq!(client.certificate(), scene.leaf.chain()[0]);
    let answer = client.exchange("GET / HTTP/1.1\r\nHost: foo.bar.com\r\n\r\n");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["name"], "foo-bar-com");
    assert_eq!(answer.json()["host"], "foo.bar.com");

    // In cleartext, a redirect to the same is as good as the answer.
    let answer = request(&scene.gateway, "GET", "foo.bar.com", "/");
    assert_eq!(answer.status(), 308);
    let same = format!("https://foo.bar.com:{}/", scene.gateway.https().port());
    assert_eq!(answer.field("location"), Some(same.as_str()));

    let answer = request(&scene.gateway, "GET", "bar.foo.com", "/");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["name"], "wildcard-foo-com");
    assert_eq!(answer.json()["host"], "bar.foo.com");
    for host in ["subdomain.bar.com", "baz.bar.foo.com", "foo.com"] {
        assert_eq!(request(&scene.gateway, "GET", host, "/").status(), 404, "{host}");
    }
    assert_eq!(scene.world.addresses("host-rules"), [ADDRESS]);
}

#[test]
fn an_ingress_of_a_class_that_is_not_there_never_gets_an_address() {
    let world = World::new("ingress-class");
    let _echo = world.backend("echo-service");
    let gateway = serving(&world);
    world.ingress_of("some-invalid-class-name", "ingress-class", "ingress-class", "echo-service");
    // What is written after it has been served, and it has not.
    world.ingress("later", "later", "echo-service");
    wait_for_address(&world, "later");
    world.ingress("last", "last", "echo-service");
    wait_for_address(&world, "last");
    assert!(world.addresses("ingress-class").is_empty());
    assert_eq!(request(&gateway, "GET", "ingress-class", "/").status(), 404);
}

#[test]
fn requests_are_spread_over_all_endpoints_of_a_service() {
    let world = World::new("load-balancing");
    let endpoints: Vec<_> = (0..10).map(|index| endpoint(&format!("pod-{index}"))).collect();
    let addresses: Vec<_> = endpoints.iter().map(Echo::address).collect();
    world.service("echo-service", &addresses[..1]);
    let gateway = serving(&world);
    world.put_ingress(
        "load-balancing",
        &json!({ "ingressClassName": "portcullis", "defaultBackend": to("echo-service") }),
    );
    wait_for_address(&world, "load-balancing");
    world.service("echo-service", &addresses);
    let usable = |snapshot: &Value| snapshot.to_string().matches("198.18.").count();
    wait_until("all ten endpoints are there", || usable(&gateway.snapshot()) >= 10);
    for _ in 0..100 {
        let answer = request(&gateway, "GET", "load-balancing", "/");
        assert_eq!(answer.status(), 200);
    }
    for endpoint in &endpoints {
        assert!(!endpoint.requests().is_empty(), "one of ten endpoints got none of 100 requests");
    }
}

#[test]
fn path_rules_match_exactly_and_by_elements() {
    let world = World::new("path-rules");
    let names = [
        "foo-exact",
        "foo-prefix",
        "aaa-slash-bbb-prefix",
        "aaa-prefix",
        "aaa-slash-bbb-slash-prefix",
        "foo-slash-exact",
    ];
    let _backends = names.map(|name| world.backend(name));
    let gateway = serving(&world);
    world.put_ingress(
        "path-rules",
        &json!({ "ingressClassName": "portcullis", "rules": [
            rule("exact-path-rules", &[("Exact", "/foo", "foo-exact")]),
            rule("prefix-path-rules", &[
                ("Prefix", "/foo", "foo-prefix"),
                ("Prefix", "/aaa/bbb", "aaa-slash-bbb-prefix"),
                ("Prefix", "/aaa", "aaa-prefix"),
            ]),
            rule("mixed-path-rules", &[
                ("Prefix", "/foo", "foo-prefix"),
                ("Exact", "/foo", "foo-exact"),
            ]),
            rule("trailing-slash-path-rules", &[
                ("Prefix", "/aaa/bbb/", "aaa-slash-bbb-slash-prefix"),
                ("Exact", "/foo/", "foo-slash-exact"),
            ]),
        ] }),
    );
    wait_for_address(&world, "path-rules");
    for (host, path, wanted) in [
        ("exact", "/foo", "foo-exact"),
        ("exact", "/foo/", "404"),
        ("exact", "/FOO", "404"),
        ("exact", "/bar", "404"),
        ("prefix", "/foo", "foo-prefix"),
        ("prefix", "/foo/", "foo-prefix"),
        ("prefix", "/FOO", "404"),
        ("prefix", "/aaa/bbb", "aaa-slash-bbb-prefix"),
        ("prefix", "/aaa/bbb/ccc", "aaa-slash-bbb-prefix"),
        ("prefix", "/aaa/ccc", "aaa-prefix"),
        ("prefix", "/aaaccc", "404"),
        ("prefix", "/foo/", "foo-prefix"),
        ("mixed", "/foo", "foo-exact"),
        ("trailing-slash", "/aaa/bbb", "aaa-slash-bbb-slash-prefix"),
        ("trailing-slash", "/aaa/bbb/", "aaa-slash-bbb-slash-prefix"),
        ("trailing-slash", "/foo", "404"),
    ] {
        let answer = request(&gateway, "GET", &format!("{host}-path-rules"), path);
        let seen = match answer.status() {
            200 => answer.json()["name"].as_str().unwrap().to_owned(),
            status => status.to_string(),
        };
        assert_eq!(seen, wanted, "{host}{path}");
    }
}

#[test]
fn a_class_of_another_controller_is_left_to_it() {
    let world = World::new("other-controller");
    put_class(world.plane, "somebody-elses", "example.com/ingress-controller");
    let _echo = world.backend("echo-service");
    let gateway = serving(&world);
    world.ingress_of("somebody-elses", "theirs", "theirs", "echo-service");
    world.ingress("ours", "ours", "echo-service");
    wait_for_address(&world, "ours");
    assert!(world.addresses("theirs").is_empty());
    assert_eq!(request(&gateway, "GET", "theirs", "/").status(), 404);
}
