//! What operators see: health, readiness, metrics, the snapshot, the access log.

use std::process::Command;

use testkit::client::raw::RawClient;
use testkit::{Authority, Endpoint, GatewayOptions, gateway, manifests, wait_until};

use crate::{GET, OK, app, in_front_of, in_front_with};

#[test]
fn health_and_readiness_are_answered_and_the_rest_is_read_only() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    for path in ["/livez", "/healthz", "/readyz", "/metrics", "/snapshot"] {
        assert_eq!(gateway.ask(path).status(), 200, "{path}");
    }
    assert_eq!(gateway.ask("/none").status(), 404);
    let mut client = RawClient::connect(gateway.admin());
    let host = gateway.admin();
    let response = client
        .exchange(format!("POST /snapshot HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(response.status(), 405);
}

#[test]
fn a_web_page_cannot_reach_the_admin_listener_by_another_name() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    for host in ["evil.test", "evil.test:9090", "localhost.evil.test"] {
        let mut client = RawClient::connect(gateway.admin());
        let response = client.exchange(format!("GET /snapshot HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!((400..500).contains(&response.status()), "{host}: {}", response.head);
        assert!(!response.text().contains("generation"), "{host}");
    }
    for host in ["localhost", "127.0.0.1"] {
        let mut client = RawClient::connect(gateway.admin());
        let port = gateway.admin().port();
        let response =
            client.exchange(format!("GET /snapshot HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"));
        assert_eq!(response.status(), 200, "{host}");
    }
}

#[test]
fn no_key_leaves_the_process() {
    let leaf = Authority::new().leaf(&["app.test"]);
    let endpoint = Endpoint::answering(OK);
    let gateway = GatewayOptions::new()
        .file("app.yaml", app(&[&endpoint]) + &manifests::tls("app.test", "app"))
        .file("secret.yaml", leaf.secret("default", "app"))
        .flags("--log-level debug --access-log json")
        .start();
    assert_eq!(gateway.get("app.test", "/").status(), 308);
    let key: Vec<&str> = leaf.key.lines().filter(|line| !line.starts_with('-')).collect();
    let everything = [gateway.ask("/snapshot").text(), gateway.metrics(), gateway.log()].join("\n");
    for part in key {
        assert!(!everything.contains(part), "a part of the key is told");
    }
    assert!(!everything.contains("PRIVATE KEY"));
}

#[test]
fn metrics_count_what_was_served_and_why_not() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    for _ in 0..5 {
        assert_eq!(gateway.get("app.test", "/").status(), 200);
    }
    assert_eq!(gateway.get("none.test", "/").status(), 404);
    let total = |labels: &[&str]| gateway.metric("portcullis_requests_total", labels);
    wait_until("the counters have it", || total(&[]) >= 6.0);
    let metrics = gateway.metrics();
    assert!(metrics.contains("portcullis_requests_total"), "{metrics}");
    // Label values come from objects and from a fixed set, never from clients.
    assert!(!metrics.contains("none.test"), "{metrics}");
}

#[test]
fn label_sets_do_not_grow_with_what_clients_send() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let lines = |gateway: &testkit::Gateway| gateway.metrics().lines().count();
    for n in 0..20 {
        gateway.get(&format!("h{n}.test"), &format!("/{n}"));
    }
    let before = lines(&gateway);
    for n in 20..200 {
        let mut client = gateway.connect();
        client.exchange(format!("M{n} /{n} HTTP/1.1\r\nHost: h{n}.test\r\n\r\n"));
    }
    assert!(lines(&gateway) <= before + 10, "{}", gateway.metrics());
}

#[test]
fn the_access_log_is_one_line_of_json_for_each_request() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--access-log json");
    let hostile = "GET /a?b=%22 HTTP/1.1\r\nHost: app.test\r\nUser-Agent: \"\\ \u{1f600}\r\n\r\n";
    assert_eq!(gateway.connect().exchange(hostile).status(), 200);
    assert_eq!(gateway.get("none.test", "/x").status(), 404);
    let records = || -> Vec<serde_json::Value> {
        gateway.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait_until("both are written", || records().len() >= 2);
    let records = records();
    // Two workers served them, and each hands its records over at its own tick.
    let of = |host: &str| records.iter().find(|record| record["host"] == host).unwrap().to_string();
    let text = of("app.test");
    for part in ["app.test", "/a", "200", "default/app"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains(&gateway.generation()), "the generation in {text}");
    assert!(of("none.test").contains("no-route"), "{records:?}");
}

#[test]
fn health_is_answered_on_traffic_listeners_without_a_host() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--health-path /lb-health");
    for request in [
        "GET /lb-health HTTP/1.0\r\n\r\n",
        "GET /lb-health HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
        "HEAD /lb-health HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(gateway.connect().exchange(request).status(), 200, "{request}");
    }
    assert_eq!(gateway.connect().exchange(GET).text(), "ok");
}

#[test]
fn a_second_program_on_the_port_is_an_error_with_a_remedy() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let other = Command::new(gateway::program())
        .args(["run", "--manifests"])
        .arg(gateway.directory())
        .args(["--http", &gateway.http().to_string(), "--https", "off", "--admin", "off"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success(), "{said}");
    assert!(said.contains("in use"), "{said}");
    for _ in 0..20 {
        assert_eq!(gateway.get("app.test", "/").text(), "ok");
    }
}

#[test]
fn lint_names_file_line_and_column_and_its_exit_says_what_was_found() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    std::fs::write(&file, manifests::ingress("app", "Bad_Host!", "app")).unwrap();
    let lint = |flags: &[&str]| {
        let output = Command::new(gateway::program())
            .arg("lint")
            .args(flags)
            .arg(directory.path())
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = lint(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("invalid-host") && said.contains("bad.yaml:8:"), "{said}");
    let (code, said) = lint(&["--format", "json"]);
    assert_eq!(code, Some(1));
    assert!(serde_json::from_str::<serde_json::Value>(&said).is_ok(), "{said}");
    let (code, _) = lint(&["--no-such-flag"]);
    assert_eq!(code, Some(2));
}

#[test]
fn explain_expects_and_its_exit_says_whether_it_was_so() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::answering(OK);
    std::fs::write(directory.path().join("app.yaml"), app(&[&endpoint])).unwrap();
    let explain = |expect: &str, url: &str| {
        let output = Command::new(gateway::program())
            .args(["explain", "--manifests"])
            .arg(directory.path())
            .args(["--expect", expect, url])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(explain("default/app", "http://app.test/").0, Some(0));
    assert_eq!(explain("404", "http://none.test/").0, Some(0));
    let (code, said) = explain("404", "http://app.test/");
    assert_eq!(code, Some(1), "{said}");
}

#[test]
fn who_is_ready_can_be_asked_what_is_to_be_said_of_what_is_served() {
    let mut all = String::new();
    // Enough to say that saying it takes a while.
    for index in 0..5_000 {
        let (name, host) = (format!("web-{index}"), format!("web-{index}.test"));
        all.push_str(&manifests::ingress(&name, &host, "missing"));
        all.push_str("---\n");
    }
    let gateway = GatewayOptions::new().file("all.yaml", all).start();
    let snapshot = gateway.snapshot();
    let told = snapshot["diagnostics"].as_array().unwrap().iter();
    assert_eq!(told.filter(|one| one["code"] == "service-not-found").count(), 5_000);
}
