//! How long a translation takes: `cargo run --release -p translate --example scale -- 10000`.
//!
//! Each Ingress has one host, two paths, its own Service and one slice. Times are those of the
//! processor, so that a busy machine does not blur them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use translate::{
    Memo, Object, ObjectEvent, ObjectStore, Proposal, References, Settings, endpoints_only,
    manifests, review, translate,
};

/// Processor time of this thread so far, where the system tells.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

struct Stopwatch(Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(spent())
    }

    fn elapsed(&self) -> Duration {
        spent().saturating_sub(self.0)
    }
}

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let text = manifests_of(count);
    let begin = Stopwatch::start();
    let parsed = manifests::parse("all.yaml", &text);
    println!("parse {count} Ingresses, {} KiB: {:?}", text.len() / 1024, begin.elapsed());
    let begin = Stopwatch::start();
    let mut store = ObjectStore::new();
    for object in parsed.objects {
        store.apply(ObjectEvent::Applied(object.object));
    }
    println!("store: {:?}", begin.elapsed());
    let settings = Settings::standalone();
    let mut memo = Memo::new();
    for round in ["first", "again", "again"] {
        let begin = Stopwatch::start();
        let translation = translate(&store, &settings, &mut memo);
        let elapsed = begin.elapsed();
        println!("translate {round}: {elapsed:?}, {} hosts", translation.model.hosts.len());
    }
    let proposal = store_ingress(1).to_string();
    for round in ["first", "again"] {
        let begin = Stopwatch::start();
        let proposal = Proposal::read(proposal.as_bytes(), None).expect("it is an Ingress");
        let verdict = review(&store, &settings, &memo, &References::default(), &proposal);
        println!("review {round}: {:?}, {} warnings", begin.elapsed(), verdict.warnings.len());
    }
    store.apply(ObjectEvent::Applied(changed(&store_ingress(1))));
    let begin = Stopwatch::start();
    let translation = translate(&store, &settings, &mut memo);
    println!("translate after one change: {:?}", begin.elapsed());
    let begin = Stopwatch::start();
    let table = endpoints_only(&store, &settings, &translation);
    println!("endpoints only: {:?}, {:?} upstreams", begin.elapsed(), table.map(|t| t.len()));
    let begin = Stopwatch::start();
    let encoding = translation.model.encode();
    println!("encode: {:?}, {} KiB", begin.elapsed(), encoding.len() / 1024);
}

fn manifests_of(count: usize) -> String {
    let documents = (0..count).flat_map(|n| {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("svc-{n}")},
            "spec": {"ports": [{"port": 80, "name": "http", "targetPort": 8080}], "selector": {"app": "a"}},
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": format!("svc-{n}-1"), "labels": {"kubernetes.io/service-name": format!("svc-{n}")}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [format!("10.{}.{}.1", n / 256 % 256, n % 256)]}, {"addresses": [format!("10.{}.{}.2", n / 256 % 256, n % 256)]}],
        });
        [store_ingress(n), service, slice]
    });
    documents.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n")
}

fn store_ingress(n: usize) -> Value {
    let backend = json!({"service": {"name": format!("svc-{n}"), "port": {"name": "http"}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": format!("ing-{n}")},
        "spec": {
            "rules": [{"host": format!("host-{n}.example.com"), "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": backend},
                {"path": "/api", "pathType": "Exact", "backend": backend},
            ]}}],
        },
    })
}

fn changed(ingress: &Value) -> Object {
    let mut ingress = ingress.clone();
    ingress["spec"]["rules"][0]["http"]["paths"][1]["path"] = json!("/changed");
    let ingress: Ingress = serde_json::from_value(ingress).expect("it is an Ingress");
    Object::Ingress(Arc::new(ingress.into()))
}
