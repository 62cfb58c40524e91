//! The admin listener over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Admin, Facts, Readiness};
use crate::control::Control;

#[derive(Default)]
struct Fake {
    is_ready: AtomicBool,
}

impl Facts for Fake {
    fn readiness(&self) -> Readiness {
        if self.is_ready.load(Ordering::Relaxed) {
            Readiness::Ready
        } else {
            Readiness::NotReady("nothing is served yet")
        }
    }

    fn metrics(&self) -> String {
        "portcullis_up 1\n".to_owned()
    }

    fn snapshot(&self) -> Vec<u8> {
        b"{\"generation\":\"0\"}".to_vec()
    }
}

struct Running {
    facts: Arc<Fake>,
    address: SocketAddr,
    _control: Control,
}

fn start() -> Running {
    let (admin, failures) = Admin::bind(&[([127, 0, 0, 1], 0).into()]);
    assert!(failures.is_empty());
    let address = admin.addresses()[0];
    let facts = Arc::new(Fake::default());
    let control = Control::start("admin").unwrap();
    let shown: Arc<Fake> = Arc::clone(&facts);
    admin.serve(shown, &control);
    Running { facts, address, _control: control }
}

fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    raw(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

#[test]
fn readiness_follows_the_facts_and_health_does_not() {
    let running = start();
    assert!(get(running.address, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(running.address, "/healthz").starts_with("HTTP/1.1 200"));
    let answer = get(running.address, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("not ready: nothing is served yet\n"), "{answer}");
    running.facts.is_ready.store(true, Ordering::Relaxed);
    assert!(get(running.address, "/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn metrics_and_snapshot_have_their_types() {
    let running = start();
    let metrics = get(running.address, "/metrics");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4\r\n"), "{metrics}");
    assert!(metrics.ends_with("\r\n\r\nportcullis_up 1\n"));
    let snapshot = get(running.address, "/snapshot");
    assert!(snapshot.contains("content-type: application/json\r\n"), "{snapshot}");
    assert!(snapshot.contains("cache-control: no-store\r\n"), "{snapshot}");
    assert!(snapshot.ends_with("{\"generation\":\"0\"}"));
}

#[test]
fn a_name_from_elsewhere_is_refused() {
    let running = start();
    for path in ["/snapshot", "/healthz"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
        assert!(raw(running.address, &request).starts_with("HTTP/1.1 403"), "{path}");
    }
    let two = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example\r\n\r\n";
    assert!(!raw(running.address, two).starts_with("HTTP/1.1 200"));
}

#[test]
fn the_authority_of_an_absolute_target_counts_as_a_name() {
    let running = start();
    let ask = |target: &str, host: &str| {
        raw(running.address, &format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    };
    let rebound = "http://rebound.example/snapshot";
    for host in ["localhost", "rebound.example"] {
        let answer = ask(rebound, host);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    // A name of ours in the target does not hide the one in Host.
    assert!(ask("http://localhost/snapshot", "rebound.example").starts_with("HTTP/1.1 403"));
    for authority in ["user@localhost", "localhost:x", "127.0.0.1.rebound.example"] {
        let answer = ask(&format!("http://{authority}/snapshot"), "localhost");
        assert!(answer.starts_with("HTTP/1.1 4"), "{authority}: {answer}");
    }
    assert!(ask("http://localhost/healthz", "localhost").starts_with("HTTP/1.1 200"));
    assert!(ask("http://127.0.0.1:9090/healthz", "127.0.0.1:9090").starts_with("HTTP/1.1 200"));
}

#[test]
fn nothing_can_be_written() {
    let running = start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request =
            format!("{method} /snapshot HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let answer = raw(running.address, &request);
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    let head = raw(running.address, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_head_that_never_ends_is_cut_off() {
    let running = start();
    let endless = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(100_000));
    let mut stream = TcpStream::connect(running.address).unwrap();
    // The listener may close before everything is written.
    let _ = stream.write_all(endless.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn an_address_in_use_is_reported_beside_the_others() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (admin, failures) = Admin::bind(&[address, ([127, 0, 0, 1], 0).into()]);
    assert_eq!(admin.addresses().len(), 1);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0, address);
}

#[test]
fn whoever_holds_all_connections_keeps_no_probe_waiting() {
    let running = start();
    let connect = || TcpStream::connect(running.address).unwrap();
    let idle: Vec<TcpStream> = (0..super::CONNECTIONS_MAX * 3).map(|_| connect()).collect();
    let mut probe = connect();
    // Less than the time in which a request's head must come, and so in which they would end.
    probe.set_read_timeout(Some(super::HEAD_TIMEOUT / 2)).unwrap();
    probe.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    probe.read_exact(&mut answer).expect("an answer in time");
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(idle);
}
