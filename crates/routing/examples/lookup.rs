//! Nanoseconds per route look-up, over tables of growing size.
//!
//! Prints one line of JSON per table: its shape, its routes, the median nanoseconds of a look-up
//! that finds a route, and the same for a path that no rule names. The requests are drawn in a
//! fixed random order, so that large tables are met cold as they are in life.

#![allow(clippy::unwrap_used, reason = "a measurement ends where a value is missing")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use model::{Hostname, Miss, PathForm, PathKind, PathMatch};
use routing::{HostBlock, HostTable, RequestHead, RouteTable};

const ROUNDS: usize = 7;
const LOOKUPS: usize = 200_000;

fn main() {
    for routes in [10, 10_000, 100_000] {
        let spread = spread(routes);
        measure("hosts", routes, &table(spread), |n| {
            (format!("host-{}.example.com", n / 3), PATHS[n % 3].replace('#', &n.to_string()))
        });
        measure("one-host", routes, &table(vec![single(routes)]), |n| {
            ("one.example.com".to_owned(), path_of(n))
        });
    }
    measure("patterns", 100, &table(vec![patterns(100)]), |n| {
        ("one.example.com".to_owned(), format!("/api/v{n}/users/17"))
    });
}

const PATHS: [&str; 3] = ["/", "/api/v#/users", "/static/#"];

fn path_of(n: usize) -> String {
    format!("/team-{}/service-{n}/v1", n % 97)
}

fn block(host: &str, paths: impl Iterator<Item = PathMatch>) -> HostBlock<usize> {
    HostBlock {
        hostname: Hostname::Exact(host.into()),
        path_form: PathForm::Canonical,
        miss: Miss::FallThrough,
        ordered: false,
        routes: paths.enumerate().map(|(index, path)| (path, index)).collect(),
    }
}

/// Three paths on each of many hosts.
fn spread(routes: usize) -> Vec<HostBlock<usize>> {
    (0..routes.div_ceil(3))
        .map(|host| {
            let paths = PATHS.iter().enumerate().map(|(at, path)| {
                let value = path.replace('#', &(host * 3 + at).to_string());
                PathMatch::new(PathKind::Prefix, value)
            });
            block(&format!("host-{host}.example.com"), paths)
        })
        .collect()
}

/// All paths on one host.
fn single(routes: usize) -> HostBlock<usize> {
    let paths = (0..routes).map(|n| PathMatch::new(PathKind::Prefix, path_of(n)));
    block("one.example.com", paths)
}

/// An ordered list of patterns on one host.
fn patterns(routes: usize) -> HostBlock<usize> {
    let paths = (0..routes)
        .map(|n| PathMatch::new(PathKind::RegexIgnoreCase, format!("/api/v{n}/([a-z]+)(/|$)(.*)")));
    HostBlock { ordered: true, ..block("one.example.com", paths) }
}

fn table(blocks: Vec<HostBlock<usize>>) -> RouteTable<usize> {
    RouteTable::new(blocks.into_iter().map(|b| Arc::new(HostTable::build(b).unwrap())).collect())
}

/// Looks up requests for routes 0 to `routes`, and prints what it took.
fn measure(
    shape: &str,
    routes: usize,
    table: &RouteTable<usize>,
    request: impl Fn(usize) -> (String, String),
) {
    // A multiplier coprime to every count below, so that the order is scattered and repeatable.
    let requests: Vec<(String, String)> =
        (0..LOOKUPS.min(routes)).map(|n| request(n * 48_271 % routes)).collect();
    let hit = median(table, &requests, true);
    let misses: Vec<(String, String)> =
        requests.into_iter().map(|(host, _)| (format!("x-{host}"), "/none".into())).collect();
    let miss = median(table, &misses, false);
    println!(r#"{{"shape":"{shape}","routes":{routes},"hit_ns":{hit:.1},"miss_ns":{miss:.1}}}"#);
}

fn median(table: &RouteTable<usize>, requests: &[(String, String)], found: bool) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for (host, path) in requests.iter().cycle().take(LOOKUPS) {
                let head =
                    RequestHead { host: Some(host), canonical: path, decoded: path.as_bytes() };
                assert_eq!(black_box(table.find(black_box(&head))).is_some(), found);
            }
            start.elapsed().as_nanos() as f64 / LOOKUPS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}
