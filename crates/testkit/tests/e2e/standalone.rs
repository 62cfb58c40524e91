//! Started by hand: endpoints by flag, ports that clients see, what the log says of what is not
//! served, and whether a question to `explain` has the answer that traffic gets.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::client::http2::Http2;
use testkit::client::raw::RawClient;
use testkit::{Authority, Echo, Gateway, GatewayOptions, block_on, gateway, manifests, wait_until};

use crate::GET;

/// The value of a field that the endpoint saw.
fn seen<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let fields = answer["headers"].as_array()?;
    fields.iter().find(|field| field[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))?[1]
        .as_str()
}

#[test]
fn endpoints_by_flag_serve_what_no_manifest_gives_any() {
    let [own, named, ported, star] = ["own", "named", "ported", "star"].map(Echo::start);
    let app = |name: &str, endpoints: &[SocketAddr]| {
        let host = format!("{name}.test");
        manifests::service(name, endpoints) + "---\n" + &manifests::ingress(name, &host, name)
    };
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                app("own", &[own.address()]),
                app("named", &[]),
                app("ported", &[]),
                app("left", &[]),
            ]),
        )
        .flags(&format!(
            "--endpoint default/named={} --endpoint default/ported:http={} --endpoint *={}",
            named.address(),
            ported.address(),
            star.address()
        ))
        .start();
    for (host, name) in [("own", "own"), ("named", "named"), ("ported", "ported"), ("left", "star")]
    {
        let answer = gateway.get(&format!("{host}.test"), "/").json();
        assert_eq!(answer["name"], name, "{host}");
    }
    assert!(!gateway.log().contains("no-endpoints"), "{}", gateway.log());
}

#[test]
fn without_endpoints_the_diagnostic_names_the_flag() {
    let gateway = Gateway::serving(manifests::all(&[
        manifests::service("app", &[]),
        manifests::ingress("app", "app.test", "app"),
    ]));
    assert_eq!(gateway.get("app.test", "/").status(), 503);
    gateway.wait_for_log("no-endpoints");
    assert!(gateway.log().contains("--endpoint default/app"), "{}", gateway.log());
}

/// A gateway for `app.test` with TLS, whose host is redirected to HTTPS.
fn with_tls(authority: &Authority, echo: &Echo, flags: &str) -> Gateway {
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                manifests::ingress("app", "app.test", "app") + &manifests::tls("app.test", "app"),
                authority.leaf(&["app.test"]).secret("default", "app"),
                manifests::ingress("plain", "plain.test", "app"),
            ]),
        )
        .flags(flags)
        .start()
}

#[test]
fn redirects_and_endpoints_are_told_the_port_that_clients_see() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let config = testkit::tls::client(authority.roots(), &["http/1.1"]);
    let plain = "GET /a?b HTTP/1.1\r\nHost: plain.test\r\n\r\n";
    let asked = "GET /a?b HTTP/1.1\r\nHost: app.test:81\r\n\r\n";
    for (flags, location, http_port, https_port) in [
        (
            "--public-http-port 80 --public-https-port 443",
            "https://app.test/a?b",
            Some("80"),
            Some("443"),
        ),
        ("--public-https-port 9443", "https://app.test:9443/a?b", None, Some("9443")),
    ] {
        let gateway = with_tls(&authority, &echo, flags);
        let http_port = http_port.map_or(gateway.http().port().to_string(), ToOwned::to_owned);
        let response = gateway.connect().exchange(asked);
        assert_eq!((response.status(), response.field("location")), (308, Some(location)));
        let answer = gateway.connect().exchange(plain).json();
        assert_eq!(seen(&answer, "x-forwarded-port"), Some(http_port.as_str()));
        let mut client = RawClient::connect_tls(gateway.https(), "app.test", &config).unwrap();
        let answer = client.exchange(GET).json();
        assert_eq!(seen(&answer, "x-forwarded-port"), https_port);
    }
}

#[test]
fn a_404_says_in_the_log_which_hosts_exist_and_what_came_nearest() {
    let echo = Echo::start("app");
    let narrow =
        manifests::ingress("narrow", "narrow.test", "app").replace("path: /", "path: /cart");
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                manifests::ingress("app", "app.test", "app"),
                narrow,
            ]),
        )
        .flags("--access-log json --workers 1")
        .start();
    assert_eq!(gateway.get("ap.test", "/x").status(), 404);
    gateway.wait_for_log("no route (404)");
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("no route (404)")).unwrap();
    for part in ["ap.test", "/x", "app.test", "narrow.test"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(gateway.get("narrow.test", "/card").status(), 404);
    let detail = || {
        let log = gateway.log();
        let records: Vec<Value> =
            log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        records.iter().find(|record| record["path"] == "/card").map(|r| r["detail"].to_string())
    };
    wait_until("the record is written", || detail().is_some());
    let detail = detail().unwrap();
    assert!(detail.contains("narrow.test") && detail.contains("/cart"), "{detail}");
}

#[test]
fn a_claim_of_https_by_a_stranger_is_told_once_with_the_flag_that_would_believe_it() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let claim = "GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Proto: https\r\n\r\n";
    let gateway = with_tls(&authority, &echo, "--workers 2");
    assert_eq!(gateway.connect().exchange(GET).status(), 308);
    assert!(!gateway.log().contains("--trusted-proxies"), "{}", gateway.log());
    for _ in 0..20 {
        assert_eq!(gateway.connect().exchange(claim).status(), 308);
    }
    gateway.wait_for_log("--trusted-proxies 127.0.0.1");
    assert_eq!(gateway.get("none.test", "/").status(), 404);
    gateway.wait_for_log("no route (404)");
    assert_eq!(gateway.log().matches("--trusted-proxies").count(), 1, "{}", gateway.log());
    // The flag does what was promised.
    let gateway = with_tls(&authority, &echo, "--trusted-proxies 127.0.0.1");
    assert_eq!(gateway.connect().exchange(claim).status(), 200);
    assert!(!gateway.log().contains("redirecting to HTTPS"), "{}", gateway.log());
}

#[test]
fn health_is_answered_on_every_listener_and_in_every_protocol() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let gateway = with_tls(&authority, &echo, "--health-path /up --drain-delay 3s");
    let trusting = testkit::tls::trusting_client(&["http/1.1"]);
    let check = |expected: u16| {
        for request in [
            "GET /up HTTP/1.0\r\n\r\n",
            "HEAD /up HTTP/1.0\r\n\r\n",
            "GET /up?from=balancer HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n",
            "GET /up HTTP/1.1\r\nHost: app.test\r\n\r\n",
        ] {
            assert_eq!(gateway.connect().exchange(request).status(), expected, "{request}");
            let mut tls =
                RawClient::connect_tls(gateway.https(), "by-address.test", &trusting).unwrap();
            assert_eq!(tls.exchange(request).status(), expected, "{request}");
        }
        block_on(async {
            let client = Http2::connect(gateway.http()).await;
            assert_eq!(client.get("http://10.0.0.1/up").await.unwrap().status, expected);
        });
    };
    check(200);
    // What is not asked by GET or HEAD, or is another path, is traffic.
    assert_eq!(gateway.get("none.test", "/up/").status(), 404);
    let post = "POST /up HTTP/1.1\r\nHost: none.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(gateway.connect().exchange(post).status(), 404);
    gateway.terminate();
    wait_until("readiness fails", || !gateway.is_ready());
    check(503);
    assert_eq!(gateway.get("plain.test", "/").status(), 200);
}

#[test]
fn it_is_alive_at_once_and_ready_when_the_first_configuration_serves() {
    let echo = Echo::start("app");
    let (http, admin) = (gateway::free_address(), gateway::free_address());
    let mut child = Command::new(gateway::program())
        .args(["run", "--manifests", "-", "--https", "off"])
        .args(["--http", &http.to_string(), "--admin", &admin.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ask = |path: &str| {
        let mut client = RawClient::connect(admin);
        client.exchange(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"))
    };
    // Its input has not ended: who knows what is still to come?
    wait_until("operators are answered", || TcpStream::connect(admin).is_ok());
    assert_eq!(ask("/healthz").status(), 200);
    let response = ask("/readyz");
    assert_eq!(response.status(), 503, "{}", response.text());
    assert!(response.text().contains("no configuration"), "{}", response.text());
    assert!(TcpStream::connect(http).is_err());
    let manifests = manifests::all(&[
        manifests::service("app", &[echo.address()]),
        manifests::ingress("app", "app.test", "app"),
    ]);
    child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
    wait_until("it is ready", || ask("/readyz").status() == 200);
    assert_eq!(RawClient::connect(http).exchange(GET).status(), 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What `explain` says of a request.
fn explain(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = Command::new(gateway::program())
        .args(["explain", "--format", "json", "--manifests"])
        .arg(gateway.directory())
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn explain_answers_as_traffic_does_with_ipv6_trusted_proxies_and_the_default_certificate() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let six = gateway::free_address_of([0, 0, 0, 0, 0, 0, 0, 1].into());
    let gateway = with_tls(&authority, &echo, &format!("--http {six} --trusted-proxies ::1"));
    let listeners = [
        "--http".to_owned(),
        gateway.http().to_string(),
        "--http".to_owned(),
        six.to_string(),
        "--https".to_owned(),
        gateway.https().to_string(),
    ];
    let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
    let ask = |arguments: &[&str]| explain(&gateway, &[&listeners[..], arguments].concat());

    // A stranger who claims HTTPS is redirected; a proxy that is trusted is believed.
    let claim = "GET /x HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    let fields = ["-H", "X-Forwarded-Proto: https", "-H", "X-Forwarded-For: 192.0.2.7"];
    let url = format!("http://app.test:{}/x", six.port());
    let said = ask(&[&fields[..], &["--client-ip", "127.0.0.1", &url]].concat());
    let told = gateway.connect().exchange(claim);
    assert_eq!(said["outcome"]["status"], told.status(), "{said}");
    assert_eq!(told.status(), 308);
    let trusted = ["--client-ip", "::1", "--trusted-proxies", "::1", &url];
    let said = ask(&[&fields[..], &trusted].concat());
    let told = RawClient::connect(six).exchange(claim);
    assert_eq!(told.status(), 200);
    assert_eq!(said["outcome"]["kind"], "forward", "{said}");

    // The certificate: its own, and the default one where none fits.
    let trusting = testkit::tls::trusting_client(&["http/1.1"]);
    let shown = |name: &str| {
        RawClient::connect_tls(gateway.https(), name, &trusting).unwrap().certificate()
    };
    for url in ["https://app.test/", "https://APP.Test./"] {
        assert_eq!(ask(&[url])["certificate"]["secret"], "default/app", "{url}");
    }
    assert_eq!(ask(&["https://none.test/"])["certificate"]["secret"], "default");
    assert_ne!(shown("app.test"), shown("none.test"));
    assert_eq!(shown("none.test"), shown("also-none.test"));

    // A Host that is an address of IPv6.
    let said = ask(&[&format!("http://[::1]:{}/", six.port())]);
    let host = format!("GET / HTTP/1.1\r\nHost: [::1]:{}\r\n\r\n", six.port());
    assert_eq!(said["outcome"]["status"], RawClient::connect(six).exchange(host).status());
}

#[test]
fn explain_knows_the_default_certificate_that_was_chosen() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let gateway = with_tls(&authority, &echo, "--default-tls-secret default/app");
    let trusting = testkit::tls::trusting_client(&["http/1.1"]);
    let shown = |name: &str| {
        RawClient::connect_tls(gateway.https(), name, &trusting).unwrap().certificate()
    };
    assert_eq!(shown("none.test"), shown("app.test"));
    let said = explain(&gateway, &["--default-tls-secret", "default/app", "https://none.test/"]);
    assert_eq!(said["certificate"]["secret"], "default/app", "{said}");
    fs::remove_file(gateway.directory().join("app.yaml")).unwrap();
    wait_until("the Secret is gone", || gateway.get("plain.test", "/").status() == 404);
}

#[test]
fn explain_knows_what_the_gateway_answers_for_itself() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let gateway = with_tls(&authority, &echo, "--health-path /up");
    for (method, url) in [
        ("GET", "http://plain.test/up"),
        ("HEAD", "http://none.test/up?x"),
        ("POST", "http://none.test/up"),
        ("GET", "http://none.test/up/"),
    ] {
        let said = explain(&gateway, &["--health-path", "/up", "-X", method, url]);
        let (host, target) = url.trim_start_matches("http://").split_once('/').unwrap();
        let request = format!("{method} /{target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let told = gateway.connect().exchange(request);
        assert_eq!(said["outcome"]["status"], told.status(), "{method} {url}: {said}");
    }
}
