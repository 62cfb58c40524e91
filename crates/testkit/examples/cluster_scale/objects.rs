//! The objects of the cluster, and the endpoints behind them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};

use serde_json::{Value, json};
use testkit::ControlPlane;
use testkit::cluster::network::OWN_ADDRESS;

const NAMESPACES: usize = 100;
pub(crate) const SLICES_PER_SERVICE: usize = 3;

/// Two endpoints whose answers say which one it is.
pub(crate) struct Backends([SocketAddr; 2]);

/// What they answer.
pub(crate) const NAMES: [&str; 2] = ["one", "two"];

impl Backends {
    pub(crate) fn start() -> Self {
        Self(NAMES.map(backend))
    }

    pub(crate) fn address(&self, which: usize) -> SocketAddr {
        self.0[which]
    }
}

fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((OWN_ADDRESS, 0)).expect("the address is ours");
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

fn ingresses_path(index: usize) -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses", namespace(index))
}

pub(crate) fn ingress_path(index: usize) -> String {
    format!("{}/web-{index}", ingresses_path(index))
}

fn slices_path(index: usize) -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", namespace(index))
}

pub(crate) fn slice_path(index: usize, part: usize) -> String {
    format!("{}/web-{index}-{part}", slices_path(index))
}

/// An Ingress with two paths, and these further ones.
pub(crate) fn ingress(index: usize, further: &[String]) -> Value {
    let backend =
        json!({ "service": { "name": format!("web-{index}"), "port": { "number": 80 } } });
    let path =
        |path: &str, kind: &str| json!({ "path": path, "pathType": kind, "backend": backend });
    let mut paths = vec![path("/", "Exact"), path("/api", "Prefix")];
    paths.extend(further.iter().map(|further| path(further, "Prefix")));
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

pub(crate) fn host(index: usize) -> String {
    format!("web-{index}.example.test")
}

pub(crate) fn slice(index: usize, part: usize, address: SocketAddr) -> Value {
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

pub(crate) fn seed(cluster: &ControlPlane, ingresses: usize, address: SocketAddr) {
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
        for part in 0..SLICES_PER_SERVICE {
            cluster.create(&slices_path(index), &slice(index, part, address));
        }
        cluster.create(&ingresses_path(index), &ingress(index, &[]));
        if index % 1_000 == 999 {
            eprintln!("{} of {ingresses} Ingresses", index + 1);
        }
    }
}
