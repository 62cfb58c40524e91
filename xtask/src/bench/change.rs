//! How long a change takes to be served, and whether any request fails while a thousand are made.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::engine::{Engine, OURS};
use super::fleet::{Fleet, HOSTS, SERVICES, host};
use super::load::{self, Fields, Load, Protocol};
use super::statistics::percentile;
use super::{Result, manifests};

/// Changes without load.
const QUIET_CHANGES: usize = 100;
/// Changes under load.
const LOADED_CHANGES: usize = 1_000;

/// Moves `/api` of one host after another to another service and waits until that is served.
pub(super) fn run(fleet: &Fleet<'_>) -> Result<Value> {
    if !fleet.options.wants_engine(OURS.family()) {
        return Ok(Value::Null);
    }
    let mut engine = Engine::start(fleet, OURS)?;
    let quiet = changes(fleet, &engine, QUIET_CHANGES)?;
    let load = Load {
        protocol: Protocol::Http1,
        tls: false,
        connections: 64,
        body: "1k",
        fields: Fields::Few,
    };
    let background = load::Background::start(fleet, &load, engine.ports.http)?;
    let loaded = changes(fleet, &engine, LOADED_CHANGES);
    let requests = background.finish()?;
    let loaded = loaded?;
    engine.check()?;
    eprintln!("  change: {requests} requests during {LOADED_CHANGES} changes, none failed");
    Ok(json!({
        "ingresses": HOSTS,
        "quiet_ms": spread(&quiet),
        "under_load": {
            "changes": LOADED_CHANGES,
            "requests": requests,
            "failed_requests": 0,
            "ms": spread(&loaded),
        },
    }))
}

fn spread(milliseconds: &[f64]) -> Value {
    json!({
        "p50": percentile(milliseconds, 50.0),
        "p99": percentile(milliseconds, 99.0),
        "max": percentile(milliseconds, 100.0),
    })
}

/// Makes changes one after the other; the milliseconds that each took to be served.
fn changes(fleet: &Fleet<'_>, engine: &Engine, count: usize) -> Result<Vec<f64>> {
    let objects = engine.home.join("manifests");
    let [_, (api, _), (other, _)] = SERVICES;
    let mut client = Client::connect(engine.ports.http).map_err(|error| error.to_string())?;
    let mut taken = Vec::with_capacity(count);
    for change in 0..count {
        let index = change % HOSTS;
        let port_now = client.get(&host(index), "/api/1k")?;
        let is_moved = port_now.field("x-port") == Some(&fleet.ports[2].to_string());
        let (service, port) =
            if is_moved { (api, fleet.ports[1]) } else { (other, fleet.ports[2]) };
        let wanted = port.to_string();
        let start = replace(fleet, &objects, index, service)?;
        loop {
            let asked = Instant::now();
            let answer = client.get(&host(index), "/api/1k")?;
            if answer.status != 200 {
                return Err(format!("a request during a change was answered {}", answer.status));
            }
            if answer.field("x-port") == Some(&wanted) {
                taken.push(asked.duration_since(start).as_secs_f64() * 1e3);
                break;
            }
            if start.elapsed() > Duration::from_secs(10) {
                return Err(format!("change {change} was not served within 10 s"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(taken)
}

/// Puts a new file in the place of the old one, as editors and deployment tools do; the time when
/// it was there.
fn replace(fleet: &Fleet<'_>, objects: &Path, index: usize, service: &str) -> Result<Instant> {
    let file = objects.join(format!("ingress-{index}.yaml"));
    let new = fleet.home.join("new.yaml");
    let told = |error| format!("{}: {error}", file.display());
    fs::write(&new, manifests::ingress(index, service)).map_err(told)?;
    let start = Instant::now();
    fs::rename(new, &file).map_err(told)?;
    Ok(start)
}
