//! How Portcullis fares against an API server with many objects: start, memory, and how long a
//! change takes to be served.
//!
//! ```text
//! cargo build --release && cargo build -p testkit --example cluster_scale
//! unshare --user --map-root-user --net -- target/debug/examples/cluster_scale \
//!     target/release/portcullis [INGRESSES] [CHANGES]
//! ```
//!
//! In a network of its own, since an API server takes no endpoints on loopback addresses.
//!
//! Prints one JSON object. Times of changes begin when the API server has answered the write, which
//! is when its watchers are told, and end when a request is answered as the change says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::ControlPlane;
use testkit::client::raw::RawClient;
use testkit::gateway::free_address;

/// Between two changes, so that none waits for the build of the one before.
const APART: Duration = Duration::from_millis(300);

const NAMESPACES: usize = 100;
const SLICES_PER_SERVICE: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = arguments.first().expect("the first argument is the program");
    let number = |index: usize, or: usize| {
        arguments.get(index).map_or(or, |text| text.parse().expect("a number"))
    };
    let (ingresses, changes) = (number(1, 10_000), number(2, 200));
    own_network();
    let cluster = ControlPlane::start();
    let addresses = [backend("one"), backend("two")];
    let seeding = Instant::now();
    seed(&cluster, ingresses, addresses[0]);
    eprintln!("{ingresses} Ingresses after {:.0?}", seeding.elapsed());

    let mut gateway = Gateway::start(program, &cluster);
    let ready = gateway.wait_ready();
    eprintln!("ready after {ready:.2?}");
    let (cpu, peak) = (gateway.cpu(), gateway.peak_kib());
    // What was freed after the start is given back by then, and the check of the first build done.
    std::thread::sleep(Duration::from_secs(5));
    let resident = gateway.pss_kib();

    let mut client = Client { address: gateway.http, connection: RawClient::connect(gateway.http) };
    let mut endpoint_ms = Vec::new();
    let mut route_ms = Vec::new();
    for change in 0..changes {
        let index = change * 37 % ingresses;
        let to = (change + 1) % 2;
        let name = ["one", "two"][to];
        let path = slice_path(index, 0);
        let before = answer(&mut client, index, "/");
        // Where the name is served already, the change would be seen before it is made.
        let (to, name) =
            if before.starts_with(name) { (1 - to, ["one", "two"][1 - to]) } else { (to, name) };
        cluster.replace(&path, &slice(index, 0, addresses[to]));
        endpoint_ms.push(until(|| answer(&mut client, index, "/").starts_with(name)));

        std::thread::sleep(APART);
        let object = ingress(index, Some(change));
        cluster.replace(&ingress_path(index), &object);
        let target = format!("/new-{change}");
        route_ms.push(until(|| status(&mut client, index, &target) == 200));
        std::thread::sleep(APART);
    }
    let report = json!({
        "ingresses": ingresses,
        "services": ingresses,
        "endpoint_slices": ingresses * SLICES_PER_SERVICE,
        "start": {
            "ready_s": ready.as_secs_f64(),
            "cpu_s": cpu,
            "peak_mib": peak / 1024,
            "pss_after_mib": resident / 1024,
        },
        "endpoint_change_ms": summary(&mut endpoint_ms),
        "other_change_ms": summary(&mut route_ms),
    });
    println!("{report:#}");
}

/// Gives the network, which has nothing yet, a loopback device with an address that is none.
fn own_network() {
    let commands = "ip link set lo up && ip address add 198.18.0.1/15 dev lo";
    let done = Command::new("sh").args(["-c", commands]).status().expect("there is a shell");
    assert!(done.success(), "run this in a network of its own, see its source");
}

/// An endpoint whose answers say which one it is.
fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("198.18.0.1:0").expect("the address is ours");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() {
                        let length = name.len();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn namespace(index: usize) -> String {
    format!("team-{:03}", index % NAMESPACES)
}

fn ingress_path(index: usize) -> String {
    let namespace = namespace(index);
    format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/web-{index}")
}

fn slice_path(index: usize, part: usize) -> String {
    let namespace = namespace(index);
    format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/web-{index}-{part}")
}

fn ingress(index: usize, extra: Option<usize>) -> Value {
    let backend =
        json!({ "service": { "name": format!("web-{index}"), "port": { "number": 80 } } });
    let path =
        |path: &str, kind: &str| json!({ "path": path, "pathType": kind, "backend": backend });
    let mut paths = vec![path("/", "Exact"), path("/api", "Prefix")];
    paths.extend(extra.map(|extra| path(&format!("/new-{extra}"), "Prefix")));
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": format!("web-{index}"), "namespace": namespace(index) },
        "spec": {
            "ingressClassName": "portcullis",
            "rules": [{ "host": host(index), "http": { "paths": paths } }],
        },
    })
}

fn host(index: usize) -> String {
    format!("web-{index}.example.test")
}

fn slice(index: usize, part: usize, address: SocketAddr) -> Value {
    // The second and third have endpoints that are not ready: they count, and serve nobody.
    let ready = part == 0;
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("web-{index}-{part}"),
            "namespace": namespace(index),
            "labels": { "kubernetes.io/service-name": format!("web-{index}") },
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": [address.ip().to_string()],
            "conditions": { "ready": ready, "serving": ready, "terminating": false },
            "nodeName": "node-1",
            "zone": "zone-a",
        }],
        "ports": [{ "name": "http", "port": address.port(), "protocol": "TCP" }],
    })
}

fn seed(cluster: &ControlPlane, ingresses: usize, address: SocketAddr) {
    cluster.create(
        "/apis/networking.k8s.io/v1/ingressclasses",
        &json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": { "name": "portcullis" },
            "spec": { "controller": "portcullis.io/ingress-controller" },
        }),
    );
    for index in 0..NAMESPACES.min(ingresses) {
        let name = namespace(index);
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        cluster.create("/api/v1/namespaces", &object);
    }
    for index in 0..ingresses {
        let namespace = namespace(index);
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": format!("web-{index}"), "namespace": namespace },
            "spec": {
                "clusterIP": "None",
                "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }],
            },
        });
        cluster.create(&format!("/api/v1/namespaces/{namespace}/services"), &service);
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        for part in 0..SLICES_PER_SERVICE {
            cluster.create(&slices, &slice(index, part, address));
        }
        let all = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses");
        cluster.create(&all, &ingress(index, None));
        if index % 1_000 == 999 {
            eprintln!("{} of {ingresses} Ingresses", index + 1);
        }
    }
}

struct Gateway {
    child: Child,
    http: SocketAddr,
    admin: SocketAddr,
    started: Instant,
}

impl Gateway {
    fn start(program: &str, cluster: &ControlPlane) -> Self {
        let (http, admin) = (free_address(), free_address());
        let started = Instant::now();
        let child = Command::new(program)
            .args(["run", "--cluster", "--https", "off", "--endpoint-addresses", "any"])
            .args(["--log-level", "warn", "--http", &http.to_string()])
            .args(["--admin", &admin.to_string()])
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .stdin(Stdio::null())
            .spawn()
            .expect("the program can be started");
        Self { child, http, admin, started }
    }

    fn wait_ready(&mut self) -> Duration {
        loop {
            if std::net::TcpStream::connect(self.admin).is_ok() {
                let mut client = RawClient::connect(self.admin);
                if client.exchange("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").status()
                    == 200
                {
                    return self.started.elapsed();
                }
            }
            assert!(self.child.try_wait().expect("it is ours").is_none(), "it ended");
            assert!(self.started.elapsed() < Duration::from_mins(2), "it does not get ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Seconds of CPU so far.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // After the name, which is in parentheses, the 12th and 13th field; in ticks of 10 ms.
        let rest = stat.rsplit_once(')').expect("a name").1;
        let ticks =
            rest.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().expect("ticks"));
        ticks.sum::<f64>() / 100.0
    }

    fn peak_kib(&self) -> u64 {
        self.kib("status", "VmHWM:")
    }

    fn pss_kib(&self) -> u64 {
        self.kib("smaps_rollup", "Pss:")
    }

    fn kib(&self, file: &str, name: &str) -> u64 {
        let text =
            fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("it runs");
        let line = text.lines().find(|line| line.starts_with(name)).expect("the kernel says it");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that is opened anew when it ends.
struct Client {
    address: SocketAddr,
    connection: RawClient,
}

fn answer(client: &mut Client, index: usize, target: &str) -> String {
    let message = ask(client, index, target);
    String::from_utf8_lossy(&message.body).into_owned()
}

fn status(client: &mut Client, index: usize, target: &str) -> u16 {
    ask(client, index, target).status()
}

fn ask(client: &mut Client, index: usize, target: &str) -> testkit::Message {
    let mut request = String::new();
    let _ = write!(request, "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", host(index));
    // A connection ends after some thousand requests.
    if client.connection.try_send(&request).is_ok()
        && let Ok(message) = client.connection.try_read_response("GET")
    {
        return message;
    }
    client.connection = RawClient::connect(client.address);
    client.connection.exchange(request)
}

/// Milliseconds until a condition holds, looked at about every millisecond.
fn until(mut condition: impl FnMut() -> bool) -> f64 {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "a change is not served");
        std::thread::sleep(Duration::from_micros(500));
    }
    begun.elapsed().as_secs_f64() * 1e3
}

fn summary(all: &mut [f64]) -> BTreeMap<&'static str, f64> {
    all.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let index = (all.len() - 1) * percent / 100;
        (all[index] * 10.0).round() / 10.0
    };
    BTreeMap::from([("median", at(50)), ("p99", at(99)), ("max", at(100))])
}
