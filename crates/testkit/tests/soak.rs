//! Load and change at once, for a while: nothing lost, and no growth.
//!
//! Runs for five seconds with the other tests, and for as many as `SOAK_SECONDS` says where that is
//! set: `cargo xtask test` says 120.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testkit::client::http2::Http2;
use testkit::{Authority, Gateway, GatewayOptions, block_on, fast::Fast, manifests, tls};

/// What growth is noise: buffers of connections that happen to be open, pages of the allocator.
const GROWTH_KIB_MAX: u64 = 24 * 1024;

#[test]
fn under_load_and_change_nothing_is_lost_and_nothing_grows() {
    let seconds = std::env::var_os("SOAK_SECONDS").and_then(|text| text.to_str()?.parse().ok());
    let length = Duration::from_secs(seconds.unwrap_or(5));
    let endpoints: Vec<Fast> = (0..4).map(|n| Fast::start(&format!("e{n}"))).collect();
    let authority = Authority::new();
    let gateway = Arc::new(start(&endpoints, &authority));
    let soak = Arc::new(Soak::default());
    let mut clients = Vec::new();
    for client in [keeps_its_connection, connects_each_time, uploads] {
        let (gateway, soak) = (Arc::clone(&gateway), Arc::clone(&soak));
        clients.push(std::thread::spawn(move || client(&gateway, &soak)));
    }
    let (of_thread, roots) = (Arc::clone(&soak), authority.roots());
    let https = Arc::clone(&gateway);
    clients.push(std::thread::spawn(move || block_on_long(&https, &of_thread, roots)));

    let started = Instant::now();
    let mut warm = None;
    let mut changes = 0_u64;
    while started.elapsed() < length {
        change(&gateway, &endpoints, changes);
        changes += 1;
        // The first quarter fills caches, pools and tables.
        if warm.is_none() && started.elapsed() > length / 4 {
            warm = Some((gateway.resident_kib(), gateway.descriptors()));
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    soak.is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no request was lost");
    }
    let served = soak.served.load(Ordering::SeqCst);
    let (warm_kib, warm_descriptors) = warm.expect("a quarter of the time passed");
    let grown = gateway.resident_kib().saturating_sub(warm_kib);
    println!("{served} served, {changes} changes, {grown} KiB grown");
    assert!(served > changes, "{served} requests in {changes} changes");
    assert!(grown < GROWTH_KIB_MAX, "it grew by {grown} KiB");
    assert!(gateway.descriptors() < warm_descriptors + 64, "descriptors are left open");
}

#[derive(Default)]
struct Soak {
    is_over: AtomicBool,
    served: AtomicU64,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    fn count(&self, status: u16, body: &str, expected: &str) {
        assert_eq!(status, 200, "{body}");
        assert!(body.ends_with(expected), "{body} instead of {expected}");
        self.served.fetch_add(1, Ordering::Relaxed);
    }
}

fn start(endpoints: &[Fast], authority: &Authority) -> Gateway {
    let ingress = manifests::ingress_with("app", "app.test", "app", &[("ssl-redirect", "false")]);
    GatewayOptions::new()
        .file("service.yaml", service(&endpoints[..2]))
        .file("app.yaml", ingress + &manifests::tls("app.test", "app"))
        .file("secret.yaml", authority.leaf(&["app.test"]).secret("default", "app"))
        .start()
}

fn service(endpoints: &[Fast]) -> String {
    let addresses: Vec<_> = endpoints.iter().map(Fast::address).collect();
    manifests::service("app", &addresses)
}

/// Another endpoint, another host, another host gone: in turn.
fn change(gateway: &Gateway, endpoints: &[Fast], n: u64) {
    let name = format!("more-{}.yaml", n % 20);
    match n % 3 {
        0 => {
            let first = (n as usize / 3) % 3;
            gateway.apply("service.yaml", service(&endpoints[first..first + 2]));
        }
        1 => {
            let ingress = format!("more-{}", n % 20);
            gateway.apply(&name, manifests::ingress(&ingress, &format!("h{n}.test"), "app"));
        }
        _ if gateway.directory().join(&name).exists() => gateway.remove(&name),
        _ => {}
    }
}

fn keeps_its_connection(gateway: &Gateway, soak: &Soak) {
    let mut client = gateway.connect();
    let mut n = 0_u64;
    while soak.goes_on() {
        n += 1;
        let response = client.exchange(format!("GET /kept/{n} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        soak.count(response.status(), &response.text(), &format!(" /kept/{n}"));
        // Every connection ends in good order after its share of requests.
        if response.field("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")) {
            client = gateway.connect();
        }
    }
}

fn connects_each_time(gateway: &Gateway, soak: &Soak) {
    let mut n = 0_u64;
    while soak.goes_on() {
        n += 1;
        let response = gateway.get("app.test", &format!("/new/{n}"));
        soak.count(response.status(), &response.text(), &format!(" /new/{n}"));
    }
}

fn uploads(gateway: &Gateway, soak: &Soak) {
    let body = "b".repeat(50_000);
    while soak.goes_on() {
        let mut client = gateway.connect();
        for _ in 0..20 {
            let response = client.exchange(format!(
                "POST /up HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            soak.count(response.status(), &response.text(), " /up");
        }
    }
}

/// HTTP/2 over TLS, ten streams at once, a new connection now and then.
fn block_on_long(gateway: &Gateway, soak: &Arc<Soak>, roots: rustls::RootCertStore) {
    let config = tls::client(roots, &["h2"]);
    while soak.goes_on() {
        block_on(async {
            let client = Http2::connect_tls(gateway.https(), "app.test", &config).await;
            for n in 0..50 {
                let mut streams = Vec::new();
                for stream in 0..10 {
                    let client = client.clone();
                    streams.push(tokio::spawn(async move {
                        client.get(&format!("https://app.test/h2/{n}/{stream}")).await
                    }));
                }
                for (stream, answer) in streams.into_iter().enumerate() {
                    let answer = answer.await.expect("it does not panic").expect("an answer");
                    soak.count(answer.status, &answer.text(), &format!(" /h2/{n}/{stream}"));
                }
            }
        });
    }
}
