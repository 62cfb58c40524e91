//! The gateway in this process, over real sockets: start, change, admin, drain.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails, helpers included")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use model::ListenerProtocol;
use portcullis::echo::{Echo, Received};
use portcullis::run::{Gateway, StartError};
use portcullis::settings::Settings;
use portcullis::settings::value::{Auto, HttpPath, OrOff};
use tempfile::TempDir;

const ANYWHERE: &str = "127.0.0.1:0";

fn anywhere() -> OrOff<SocketAddr> {
    OrOff::At(ANYWHERE.parse().unwrap())
}

fn settings(manifests: &Path) -> Settings {
    Settings {
        manifests: vec![manifests.display().to_string()],
        http: vec![anywhere()],
        https: vec![anywhere()],
        admin: vec![anywhere()],
        workers: Auto::Set(NonZeroUsize::MIN),
        health_path: OrOff::At(HttpPath("/up".to_owned())),
        ..Settings::defaults()
    }
}

fn ingress(host: &str, service: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
  - host: {host}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}
"
    )
}

fn service(name: &str, endpoint: SocketAddr) -> String {
    let (ip, port) = (endpoint.ip(), endpoint.port());
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  ports: [{{port: 80}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
endpoints: [{{addresses: [\"{ip}\"]}}]
ports: [{{name: \"\", port: {port}}}]
"
    )
}

struct Running {
    gateway: Gateway,
    directory: TempDir,
    _echo: Echo,
}

fn start() -> Running {
    let echo = Echo::start("web-1", &[ANYWHERE.parse().unwrap()]).unwrap();
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("services.yaml"), service("web", echo.address())).unwrap();
    fs::write(directory.path().join("web.yaml"), ingress("a.test", "web")).unwrap();
    let gateway = Gateway::start(&settings(directory.path())).unwrap();
    Running { gateway, directory, _echo: echo }
}

impl Running {
    fn http(&self) -> SocketAddr {
        self.gateway.address(ListenerProtocol::Http).unwrap()
    }

    fn get(&self, host: &str, path: &str) -> String {
        get(self.http(), host, path)
    }

    fn ask(&self, path: &str) -> String {
        let admin = self.gateway.admin_addresses()[0];
        get(admin, &admin.to_string(), path)
    }
}

fn get(address: SocketAddr, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_start_returns_is_served() {
    let running = start();
    let answer = running.get("a.test", "/hello?x=1");
    assert_eq!(status(&answer), 200, "{answer}");
    let received: Received =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((received.name.as_str(), received.path.as_str()), ("web-1", "/hello?x=1"));
    assert_eq!(status(&running.get("b.test", "/")), 404);
    running.gateway.stop();
}

#[test]
fn a_change_of_a_file_is_served() {
    let running = start();
    let before = running.gateway.generation();
    fs::write(running.directory.path().join("web.yaml"), ingress("b.test", "web")).unwrap();
    wait_until("another generation", || running.gateway.generation() != before);
    assert_eq!(status(&running.get("a.test", "/")), 404);
    assert_eq!(status(&running.get("b.test", "/")), 200);
    running.gateway.stop();
}

#[test]
fn the_admin_listener_tells_generation_and_diagnostics_and_no_keys() {
    let running = start();
    fs::write(running.directory.path().join("web.yaml"), ingress("a.test", "nobody")).unwrap();
    wait_until("the diagnostic", || running.ask("/snapshot").contains("service-not-found"));
    let answer = running.ask("/snapshot");
    let document: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(document["schema"], "portcullis.snapshot/v1");
    assert_eq!(document["generation"], running.gateway.generation().to_string());
    assert!(document["bound"].as_array().unwrap().len() == 2);
    assert!(!answer.contains("PRIVATE KEY"));
    assert_eq!(status(&running.get("a.test", "/")), 503);
    let metrics = running.ask("/metrics");
    assert!(
        metrics.contains("portcullis_diagnostics{code=\"service-not-found\",severity=\"error\"} 1"),
        "{metrics}"
    );
    running.gateway.stop();
}

#[test]
fn leaving_fails_readiness_and_still_serves() {
    let running = start();
    assert_eq!(status(&running.ask("/readyz")), 200);
    assert_eq!(status(&running.get("whatever", "/up")), 200);
    running.gateway.leave();
    assert_eq!(status(&running.ask("/readyz")), 503);
    assert_eq!(status(&running.ask("/healthz")), 200);
    assert_eq!(status(&running.get("whatever", "/up")), 503);
    assert_eq!(status(&running.get("a.test", "/")), 200);
    running.gateway.stop();
}

#[test]
fn draining_lets_what_is_in_flight_end_and_takes_nothing_new() {
    let running = start();
    let address = running.http();
    let in_flight = std::thread::spawn(move || get(address, "a.test", "/?delay_ms=400"));
    std::thread::sleep(Duration::from_millis(100));
    let left = running.gateway.drain(Duration::from_secs(10));
    assert_eq!(left, 0);
    assert_eq!(status(&in_flight.join().unwrap()), 200);
    assert!(TcpStream::connect(address).is_err());
    running.gateway.stop();
}

#[test]
fn an_address_in_use_is_told_and_the_others_serve() {
    let taken = TcpListener::bind(ANYWHERE).unwrap();
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("web.yaml"), ingress("a.test", "web")).unwrap();
    let mut settings = settings(directory.path());
    settings.http.push(OrOff::At(taken.local_addr().unwrap()));
    let gateway = Gateway::start(&settings).unwrap();
    let codes: Vec<String> =
        gateway.report().diagnostics().iter().map(|d| d.code.to_string()).collect();
    assert!(codes.contains(&"listener-not-bound".to_owned()), "{codes:?}");
    assert_eq!(gateway.addresses().len(), 2);
    gateway.stop();

    settings.http = vec![OrOff::At(taken.local_addr().unwrap())];
    settings.https = vec![OrOff::Off];
    match Gateway::start(&settings) {
        Err(StartError::NothingBound(failures)) => {
            assert!(failures[0].contains("in use"), "{failures:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_manifests_there_is_nothing_to_start() {
    let settings = Settings { manifests: Vec::new(), ..settings(Path::new("")) };
    assert!(matches!(Gateway::start(&settings), Err(StartError::NoSource)));
    let absent = Settings { manifests: vec!["/nonexistent".to_owned()], ..settings };
    let error = Gateway::start(&absent).unwrap_err().to_string();
    assert!(error.contains("/nonexistent"), "{error}");
}

#[test]
fn listeners_come_and_go_while_others_serve() {
    let mut running = start();
    let http = running.http();
    let mut kept = TcpStream::connect(http).unwrap();
    let mut settings = settings(running.directory.path());
    settings.http = vec![OrOff::At(http), anywhere()];
    settings.https = vec![OrOff::Off];
    running.gateway.replace_listeners(&settings).unwrap();
    wait_until("the new listener", || {
        let addresses = running.gateway.addresses();
        addresses.len() == 2 && addresses.iter().all(|(p, _)| *p == ListenerProtocol::Http)
    });
    for (_, address) in running.gateway.addresses() {
        assert_eq!(status(&get(address, "a.test", "/")), 200);
    }
    kept.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 200);

    settings.http = vec![OrOff::At(http)];
    let gone = running.gateway.addresses().into_iter().find(|(_, a)| *a != http).unwrap().1;
    running.gateway.replace_listeners(&settings).unwrap();
    wait_until("the listener to go", || running.gateway.addresses().len() == 1);
    wait_until("its port to be closed", || TcpStream::connect(gone).is_err());
    assert_eq!(status(&running.get("a.test", "/")), 200);
    running.gateway.stop();
}
