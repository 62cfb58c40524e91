//! From a file's close to its being published, with many Ingresses around it:
//! `cargo run --release -p controller --example latency -- 1000`.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use controller::{ControllerSettings, Source};
use telemetry::{Telemetry, TelemetrySettings};
use translate::Settings;

fn manifest(index: usize, path: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: i{index}}}
spec: {{rules: [{{host: h{index}.test, http: {{paths: [{{path: {path}, pathType: Prefix,
  backend: {{service: {{name: s{index}, port: {{number: 80}}}}}}}}]}}}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: s{index}}}
spec: {{selector: {{app: a}}, ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{index}-1, labels: {{kubernetes.io/service-name: s{index}}}}}
addressType: IPv4
ports: [{{name: '', port: 8080}}]
endpoints: [{{addresses: [10.0.0.1]}}]
"
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: usize = std::env::args().nth(1).map_or(Ok(1_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    for index in 0..count {
        fs::write(folder.path().join(format!("{index:06}.yaml")), manifest(index, "/"))?;
    }
    let (published, publishes) = mpsc::channel();
    let started = Instant::now();
    let controller = controller::start(
        ControllerSettings {
            source: Source::Manifests(vec![folder.path().to_owned()]),
            last_good: None,
            translation: Settings::standalone(),
            runtime: None,
            name_servers: Vec::new(),
        },
        Telemetry::new(TelemetrySettings::new(0)),
        Box::new(move |_, change| {
            let _ = published.send((Instant::now(), change));
            Vec::new()
        }),
        Box::new(|_| {}),
    )?;
    let (first, _) = publishes.recv()?;
    println!("{count} Ingresses: start to first publish {:?}", first - started);
    let mut times = Vec::new();
    for round in 0..20 {
        std::thread::sleep(Duration::from_millis(400));
        fs::write(folder.path().join("000000.yaml"), manifest(0, &format!("/{round}")))?;
        let written = Instant::now();
        let (at, _) = publishes.recv()?;
        times.push(at - written);
    }
    times.sort();
    println!("file closed to published: median {:?}, worst {:?}", times[10], times[19]);
    controller.stop();
    Ok(())
}
