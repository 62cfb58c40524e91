//! How Portcullis fares against an API server with many objects: start, memory, how long a change
//! takes to be served, and how long a review by the webhook takes.
//!
//! `cargo xtask bench cluster` runs it, and makes a page of what it prints: one line of JSON for
//! each start of the program, against one control plane. Progress goes to the other output. To run
//! it by hand, as root or behind `unshare --map-root-user --net`:
//!
//! ```text
//! cargo build --release && cargo build -p testkit --example cluster_scale
//! target/debug/examples/cluster_scale target/release/portcullis [INGRESSES [CHANGES [RUNS]]]
//! ```
//!
//! Times of changes begin when the API server has answered the write, which is when its watchers
//! are told, and end when a request is answered as the change says. Whatever ends it, nothing is
//! left running: the control plane's keeper ends the gateway, too.

mod gateway;
mod objects;
mod reviews;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use serde_json::{Value, json};
use testkit::ControlPlane;

use gateway::{Build, Client, Gateway};
use objects::{Backends, NAMES};

/// Between two changes, so that none waits for the build of the one before.
const APART: Duration = Duration::from_millis(300);

/// By then, what was freed after a start is given back, and the check of the first build done.
const SETTLE: Duration = Duration::from_secs(5);

/// A change that takes longer is not served at all.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    end_with_parent();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let program = arguments.first().expect("the first argument is the program");
    let number = |index: usize, or: usize| {
        arguments.get(index).map_or(or, |text| text.parse().expect("a number"))
    };
    let (ingresses, changes, runs) = (number(1, 10_000), number(2, 200), number(3, 1));
    eprintln!("starting etcd and an API server");
    let cluster = ControlPlane::start();
    let backends = Backends::start();
    let seeding = Instant::now();
    objects::seed(&cluster, ingresses, backends.address(0));
    eprintln!("{ingresses} Ingresses after {:.0?}", seeding.elapsed());
    let version = cluster.look("/version").unwrap_or_default();
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        let measured = measure(program, &cluster, &backends, Size { ingresses, changes, run });
        let mut line = json!({
            "kubernetes": version["gitVersion"],
            "ingresses": ingresses,
            "services": ingresses,
            "endpoint_slices": ingresses * objects::SLICES_PER_SERVICE,
            "changes": changes,
        });
        line.as_object_mut().expect("an object").extend(measured);
        println!("{line}");
    }
}

/// Ends this process when the one that started it ends, even where that was killed.
fn end_with_parent() {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM)).expect("Linux has it");
    // It may have ended in between.
    assert_eq!(parent, getppid(), "who started this has ended");
}

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    ingresses: usize,
    changes: usize,
    run: usize,
}

impl Size {
    /// Which Ingress a change is about: they lie far apart, and no run begins with the first.
    fn index(self, change: usize) -> usize {
        (self.run * 7 + change * 37) % self.ingresses
    }
}

/// One start of the program, and all that is asked of it.
fn measure(
    program: &str,
    cluster: &ControlPlane,
    backends: &Backends,
    size: Size,
) -> serde_json::Map<String, Value> {
    let mut gateway = Gateway::start(program, cluster);
    let ready = gateway.wait_ready();
    eprintln!("  ready after {ready:.2?}");
    let (cpu, peak) = (gateway.cpu(), gateway.peak_mib());
    std::thread::sleep(SETTLE);
    let start = json!({
        "ready_s": ready.as_secs_f64(),
        "cpu_s": cpu,
        "peak_mib": peak,
        "resident_after_mib": gateway.resident_mib(),
        "pss_after_mib": gateway.pss_mib(),
    });
    let webhook = reviews::measure(&gateway, cluster, size);
    let mut client = Client::new(gateway.http);
    let endpoints = endpoint_changes(&mut client, &gateway, cluster, backends, size);
    let others = other_changes(&mut client, &gateway, cluster, size);
    let parts = [
        ("start", start),
        ("endpoint_changes", endpoints),
        ("other_changes", others),
        ("webhook", webhook),
    ];
    parts.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

fn endpoint_changes(
    client: &mut Client,
    gateway: &Gateway,
    cluster: &ControlPlane,
    backends: &Backends,
    size: Size,
) -> Value {
    let used = Used::of(gateway);
    let mut all_ms = Vec::new();
    for change in 0..size.changes {
        let index = size.index(change);
        // To the one that does not answer now.
        let to = usize::from(client.answer(index) == NAMES[0]);
        let slice = objects::slice(index, 0, backends.address(to));
        cluster.replace(&objects::slice_path(index, 0), &slice);
        all_ms.push(until(|| client.answer(index) == NAMES[to]));
        std::thread::sleep(APART);
        progress("endpoint changes", change, size.changes);
    }
    used.since(gateway, size.changes, json!({ "ms": summary(&all_ms) }))
}

fn other_changes(
    client: &mut Client,
    gateway: &Gateway,
    cluster: &ControlPlane,
    size: Size,
) -> Value {
    let used = Used::of(gateway);
    let (mut all, mut before, mut build) = (vec![], vec![], vec![]);
    for change in 0..size.changes {
        let index = size.index(change);
        let target = format!("/new-{}-{change}", size.run);
        gateway.forget_builds();
        cluster.replace(
            &objects::ingress_path(index),
            &objects::ingress(index, std::slice::from_ref(&target)),
        );
        let written = Instant::now();
        all.push(until(|| client.status(index, &target) == 200));
        std::thread::sleep(APART);
        // Of several, the first is of the change.
        if let Some(Build { told, took_ms }) = gateway.first_build() {
            before.push(ms(written, told) - took_ms);
            build.push(took_ms);
        }
        progress("other changes", change, size.changes);
    }
    let builds = used.builds(gateway);
    let parts = json!({
        "ms": summary(&all),
        "until_build_ms": summary(&before),
        "build_ms": summary(&build),
        "builds": builds.0,
        "build_mean_ms": builds.1,
    });
    used.since(gateway, size.changes, parts)
}

/// What a gateway had used when changes began.
struct Used {
    cpu: f64,
    compiler: f64,
    builds: f64,
    build_seconds: f64,
}

impl Used {
    const DURATION: &str = "portcullis_config_build_duration_seconds";

    fn of(gateway: &Gateway) -> Self {
        let metrics = gateway.metrics();
        let value = |suffix| gateway::sample(&metrics, &format!("{}{suffix}", Self::DURATION));
        Self {
            cpu: gateway.cpu(),
            compiler: gateway.compiler_cpu(),
            builds: value("_count"),
            build_seconds: value("_sum"),
        }
    }

    /// How many builds its metrics count since, and how many milliseconds they took on average.
    fn builds(&self, gateway: &Gateway) -> (f64, f64) {
        let now = Self::of(gateway);
        let builds = now.builds - self.builds;
        (builds, tenths((now.build_seconds - self.build_seconds) * 1e3 / builds.max(1.0)))
    }

    /// Adds to `found` what these changes used.
    fn since(self, gateway: &Gateway, changes: usize, mut found: Value) -> Value {
        let now = Self::of(gateway);
        let hundred = |seconds: f64| (seconds * 1e4 / changes as f64).round() / 100.0;
        found["cpu_s_per_100"] = json!(hundred(now.cpu - self.cpu));
        found["compiler_cpu_s_per_100"] = json!(hundred(now.compiler - self.compiler));
        found["resident_after_mib"] = json!(gateway.resident_mib());
        found["pss_after_mib"] = json!(gateway.pss_mib());
        found
    }
}

/// A line for every hundredth.
fn progress(what: &str, done: usize, all: usize) {
    if (done + 1).is_multiple_of(100) || done + 1 == all {
        eprintln!("  {what}: {} of {all}", done + 1);
    }
}

/// Milliseconds until a condition holds, looked at about every millisecond.
fn until(mut condition: impl FnMut() -> bool) -> f64 {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "a change is not served");
        std::thread::sleep(Duration::from_micros(500));
    }
    begun.elapsed().as_secs_f64() * 1e3
}

/// Milliseconds from one to the other, below zero where they are the other way round.
fn ms(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(after) => after.as_secs_f64() * 1e3,
        None => -(from - to).as_secs_f64() * 1e3,
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The middle, the 99th percentile and the most; nothing of nothing.
fn summary(all: &[f64]) -> BTreeMap<&'static str, f64> {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    let Some(last) = all.len().checked_sub(1) else { return BTreeMap::new() };
    let at = |percent: usize| tenths(all[last * percent / 100]);
    BTreeMap::from([("median", at(50)), ("p99", at(99)), ("max", at(100))])
}
