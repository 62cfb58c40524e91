//! From the close of a manifest to its being served by a proxy, with many Ingresses around it:
//! `cargo run --release -p portcullis --example change -- 10000`.
//!
//! Everything that a change costs the compiler's thread, without a cluster: translation, compiling,
//! publishing, and what is told of it.

#![allow(clippy::unwrap_used, reason = "a measurement ends where a value is missing")]

use std::fs;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use controller::{Change, ControllerSettings, Source};
use proxy::ProxySettings;
use telemetry::{Telemetry, TelemetrySettings};
use translate::{HostOwnership, Settings};

fn manifest(index: usize, path: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: i{index}, namespace: n{namespace}}}
spec: {{rules: [{{host: h{index}.test, http: {{paths: [{{path: {path}, pathType: Prefix,
  backend: {{service: {{name: s{index}, port: {{number: 80}}}}}}}}]}}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: s{index}, namespace: n{namespace}}}
spec: {{selector: {{app: a}}, ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{index}-1
  namespace: n{namespace}
  labels: {{kubernetes.io/service-name: s{index}}}
addressType: IPv4
ports: [{{name: '', port: 8080}}]
endpoints: [{{addresses: [10.0.0.1]}}]
",
        namespace = index % 100,
    )
}

fn main() {
    let number = |at: usize, or: usize| {
        std::env::args().nth(at).map_or(or, |text| text.parse().expect("a number"))
    };
    let (count, changes) = (number(1, 10_000), number(2, 40));
    let folder = tempfile::tempdir().unwrap();
    for index in 0..count {
        fs::write(folder.path().join(format!("{index:06}.yaml")), manifest(index, "/")).unwrap();
    }
    let telemetry = Telemetry::new(TelemetrySettings::new(1));
    let proxy = proxy::start(ProxySettings::default(), &telemetry).unwrap();
    let (published, publishes) = mpsc::channel();
    let mut settings = Settings::standalone();
    settings.host_ownership = HostOwnership::FirstNamespace;
    let served = Arc::new(proxy);
    let serving = Arc::clone(&served);
    let controller = controller::start(
        ControllerSettings {
            source: Source::Manifests(vec![folder.path().to_owned()]),
            last_good: None,
            translation: settings,
            runtime: None,
            name_servers: Vec::new(),
        },
        telemetry,
        Box::new(move |translation, change| {
            let begin = Instant::now();
            match change {
                Change::EndpointsOnly => serving.replace_endpoints(&translation.endpoints),
                Change::Full | Change::CertificatesOnly => {
                    let (model, endpoints) = (&translation.model, &translation.endpoints);
                    let _ = serving.publish(model, endpoints, &translation.material);
                }
            }
            let _ = published.send((begin, Instant::now()));
            Vec::new()
        }),
        Box::new(|_| {}),
    )
    .unwrap();
    let started = Instant::now();
    let _ = publishes.recv().unwrap();
    println!("{count} Ingresses: start to first publish {:?}", started.elapsed());
    std::thread::sleep(Duration::from_secs(3));
    let (mut times, mut publishing) = (Vec::new(), Vec::new());
    for round in 0..changes {
        std::thread::sleep(Duration::from_millis(300));
        let index = round * 37 % count;
        let file = folder.path().join(format!("{index:06}.yaml"));
        fs::write(file, manifest(index, &format!("/{round}"))).unwrap();
        let written = Instant::now();
        let (begin, end) = publishes.recv().unwrap();
        times.push(end - written);
        publishing.push(end - begin);
    }
    times.sort();
    publishing.sort();
    println!(
        "file closed to served: median {:?}, worst {:?}; of it publish {:?}",
        times[times.len() / 2],
        times[times.len() - 1],
        publishing[publishing.len() / 2]
    );
    controller.stop();
    served.stop();
}
