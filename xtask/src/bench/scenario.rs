//! The scenarios, and the rounds in which the engines take turns.

use std::time::Instant;

use serde_json::{Value, json};

use super::Result;
use super::engine::{
    Engine, HAPROXY, HAPROXY_LARGE, Kind, NGINX, NGINX_LARGE, NGINX_LOG, OURS, OURS_LOG,
};
use super::fleet::Fleet;
use super::load::{Fields, Load, Outcome, Protocol, at_rate, run as load_port};
use super::options::Options;
use super::place::PROXY_CORE;
use super::process::{CpuTime, core_busy_ns, pss_bytes};
use super::profile;
use super::statistics::Samples;

/// One kind of traffic, and who carries it.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) load: Load,
    engines: &'static [Kind],
    /// What ratios are taken to.
    pub(super) peers: [Kind; 2],
    /// The ratio to the first peer that is aimed at.
    pub(super) target: f64,
    /// Whether latency is also measured at a steady rate.
    steady: bool,
}

const SMALL: &[Kind] = &[NGINX, NGINX_LOG, HAPROXY, OURS, OURS_LOG];
const BULK: &[Kind] = &[NGINX, NGINX_LARGE, HAPROXY, HAPROXY_LARGE, OURS, OURS_LOG];

const GET: Load = Load {
    protocol: Protocol::Http1,
    tls: false,
    connections: 64,
    body: "1k",
    fields: Fields::Few,
};

/// All scenarios.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a",
        title: "small GET, 64 connections, 1 KiB",
        load: GET,
        engines: SMALL,
        peers: [NGINX, HAPROXY],
        target: 0.75,
        steady: true,
    },
    Scenario {
        name: "b",
        title: "fields of a browser, 256 connections, 10 KiB",
        load: Load { connections: 256, body: "10k", fields: Fields::Browser, ..GET },
        engines: SMALL,
        peers: [NGINX, HAPROXY],
        target: 0.75,
        steady: true,
    },
    Scenario {
        name: "c",
        title: "TLS 1.3 keep-alive, 64 connections, 1 KiB",
        load: Load { tls: true, ..GET },
        engines: SMALL,
        peers: [NGINX, HAPROXY],
        target: 0.70,
        steady: true,
    },
    Scenario {
        name: "d",
        title: "download of 1 MiB, 16 connections",
        load: Load { connections: 16, body: "1m", ..GET },
        engines: BULK,
        peers: [NGINX_LARGE, HAPROXY_LARGE],
        target: 0.90,
        steady: false,
    },
    Scenario {
        name: "d-tls",
        title: "download of 1 MiB over TLS 1.3, 16 connections",
        load: Load { connections: 16, body: "1m", tls: true, ..GET },
        engines: BULK,
        peers: [NGINX_LARGE, HAPROXY_LARGE],
        target: 0.75,
        steady: false,
    },
    Scenario {
        name: "e",
        title: "HTTP/2 over TLS, 16 connections of 10 streams, 1 KiB",
        load: Load { protocol: Protocol::Http2 { streams: 10 }, tls: true, connections: 16, ..GET },
        engines: SMALL,
        peers: [NGINX, HAPROXY],
        target: 0.60,
        steady: true,
    },
];

/// The part of CPU that the access log may add.
pub(super) const LOG_TARGET: f64 = 1.05;

/// The part of nginx's peak rate at which latencies are compared.
const STEADY_PART: f64 = 0.6;

/// The scenarios asked for.
pub(super) fn chosen(options: &Options) -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS.iter().filter(|scenario| options.wants(scenario.name))
}

/// What one engine did in one scenario.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    /// CPU microseconds per request.
    pub(super) cpu_us: Samples,
    /// Of these in user space, estimated by sampling.
    pub(super) user_us: Samples,
    pub(super) per_second: Samples,
    pub(super) p50_us: Samples,
    pub(super) p99_us: Samples,
    /// At a steady rate below saturation.
    pub(super) steady_p50_us: Samples,
    pub(super) steady_p99_us: Samples,
    pub(super) pss_mib: Samples,
    /// Percent of the time that something else was on the proxy's core.
    pub(super) others_percent: Samples,
}

impl Row {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            cpu_us: Samples::default(),
            user_us: Samples::default(),
            per_second: Samples::default(),
            p50_us: Samples::default(),
            p99_us: Samples::default(),
            steady_p50_us: Samples::default(),
            steady_p99_us: Samples::default(),
            pss_mib: Samples::default(),
            others_percent: Samples::default(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "engine": self.kind.name(),
            "cpu_us_per_request": self.cpu_us.json(),
            "user_us_per_request": self.user_us.json(),
            "requests_per_second": self.per_second.json(),
            "p50_us": self.p50_us.json(),
            "p99_us": self.p99_us.json(),
            "steady_p50_us": self.steady_p50_us.json(),
            "steady_p99_us": self.steady_p99_us.json(),
            "pss_mib": self.pss_mib.json(),
            "others_percent": self.others_percent.json(),
        })
    }
}

/// What came of a scenario.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) scenario: &'static Scenario,
    pub(super) rows: Vec<Row>,
    /// Requests per second at which the steady latencies were taken.
    pub(super) steady_rate: Option<f64>,
    /// Where the CPU of ours went, for those of ours that miss what is aimed at.
    pub(super) profiles: Vec<(Kind, String)>,
}

impl Table {
    /// The median CPU per request of an engine.
    pub(super) fn cpu(&self, kind: Kind) -> Option<f64> {
        self.row(kind)?.cpu_us.median()
    }

    pub(super) fn row(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }

    /// CPU per request of one engine over another's.
    pub(super) fn ratio(&self, kind: Kind, to: Kind) -> Option<f64> {
        Some(self.cpu(kind)? / self.cpu(to)?)
    }

    /// The 99th percentile of ours at the steady rate over that of the better peer.
    pub(super) fn steady_p99_ratio(&self) -> Option<f64> {
        let p99 = |kind| self.row(kind)?.steady_p99_us.median();
        let best = self.scenario.peers.into_iter().filter_map(p99).min_by(f64::total_cmp)?;
        Some(p99(OURS)? / best)
    }

    /// MiB that ours holds after load above what a peer holds.
    pub(super) fn memory_above(&self, peer: Kind) -> Option<f64> {
        let mib = |kind| self.row(kind)?.pss_mib.median();
        Some(mib(OURS)? - mib(peer)?)
    }

    pub(super) fn json(&self) -> Value {
        let [first, second] = self.scenario.peers;
        json!({
            "name": self.scenario.name,
            "title": self.scenario.title,
            "target_ratio": self.scenario.target,
            "ratio_to": {
                first.name(): self.ratio(OURS, first),
                second.name(): self.ratio(OURS, second),
            },
            "ratio_with_access_log": self.ratio(OURS_LOG, OURS),
            "steady_p99_to_best_peer": self.steady_p99_ratio(),
            "pss_mib_above": self.memory_above(first),
            "steady_requests_per_second": self.steady_rate,
            "engines": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
        })
    }
}

/// Measures one scenario: every engine in turn, as many times as there are rounds.
pub(super) fn run(scenario: &'static Scenario, fleet: &Fleet<'_>) -> Result<Table> {
    eprintln!("({}) {}", scenario.name, scenario.title);
    let mut engines = Vec::new();
    for kind in scenario.engines {
        if fleet.options.wants_engine(kind.family()) {
            engines.push(Engine::start(fleet, *kind)?);
        }
    }
    let mut rows: Vec<Row> = engines.iter().map(|engine| Row::new(engine.kind)).collect();
    for engine in &engines {
        // Pools are filled and code is warm before anything counts.
        load_port(fleet, &scenario.load, port(scenario, engine), 1)?;
    }
    for round in 0..fleet.options.rounds {
        let turns = engines.iter_mut().zip(&mut rows);
        // To and fro, so that none always follows the same one.
        let turns: Vec<_> = if round % 2 == 0 { turns.collect() } else { turns.rev().collect() };
        for (engine, row) in turns {
            turn(scenario, fleet, engine, row)?;
        }
    }
    let mut table = Table { scenario, rows, steady_rate: None, profiles: Vec::new() };
    if scenario.steady {
        steady(fleet, &engines, &mut table)?;
    }
    if fleet.options.profile {
        for (kind, is_missed) in [
            (OURS, table.ratio(OURS, scenario.peers[0]) > Some(scenario.target)),
            (OURS_LOG, table.ratio(OURS_LOG, OURS) > Some(LOG_TARGET)),
        ] {
            let engine = engines.iter().find(|engine| engine.kind == kind && is_missed);
            table.profiles.extend(engine.map(|engine| (kind, profiled(scenario, fleet, engine))));
        }
    }
    Ok(table)
}

/// Where the CPU of an engine goes under a scenario's load.
fn profiled(scenario: &Scenario, fleet: &Fleet<'_>, engine: &Engine) -> String {
    profile::of(engine.id(), || {
        load_port(fleet, &scenario.load, port(scenario, engine), 4).map(drop)
    })
}

fn port(scenario: &Scenario, engine: &Engine) -> u16 {
    if scenario.load.tls { engine.ports.https } else { engine.ports.http }
}

/// One engine's turn in a round.
fn turn(scenario: &Scenario, fleet: &Fleet<'_>, engine: &mut Engine, row: &mut Row) -> Result<()> {
    let (began, busy) = (Instant::now(), core_busy_ns(PROXY_CORE));
    let start = CpuTime::of(engine.id());
    let outcome = load_port(fleet, &scenario.load, port(scenario, engine), fleet.options.seconds)
        .map_err(|why| format!("{}: {why}", engine.kind.name()))?;
    let used = CpuTime::of(engine.id()).since(start);
    let busy = core_busy_ns(PROXY_CORE).saturating_sub(busy);
    let others_percent =
        busy.saturating_sub(used.total_ns) as f64 / 1e7 / began.elapsed().as_secs_f64();
    engine.check()?;
    engine.empty_log();
    let cpu_us = used.total_ns as f64 / 1e3 / outcome.requests as f64;
    row.cpu_us.push(cpu_us);
    row.user_us.push(cpu_us * used.user_ticks as f64 / (used.ticks.max(1)) as f64);
    row.others_percent.push(others_percent);
    row.per_second.push(outcome.per_second());
    row.p50_us.push(outcome.p50_us);
    row.p99_us.push(outcome.p99_us);
    row.pss_mib.push(pss_bytes(engine.id()) as f64 / f64::from(1 << 20));
    eprintln!(
        "  {:24} {cpu_us:7.1} us of CPU, {:8.0} requests/s, others {others_percent:3.0} %",
        engine.kind.name(),
        outcome.per_second()
    );
    Ok(())
}

/// Latencies at one rate for all: a part of what the first peer reaches.
fn steady(fleet: &Fleet<'_>, engines: &[Engine], table: &mut Table) -> Result<()> {
    let scenario = table.scenario;
    let peak = table.row(scenario.peers[0]).and_then(|row| row.per_second.median());
    let Some(peak) = peak else { return Ok(()) };
    let rate = peak * STEADY_PART;
    table.steady_rate = Some(rate);
    for _ in 0..fleet.options.rounds {
        for (engine, row) in engines.iter().zip(&mut table.rows) {
            let port = port(scenario, engine);
            let outcome: Outcome =
                at_rate(fleet, &scenario.load, port, fleet.options.seconds, rate)
                    .map_err(|why| format!("{}: {why}", engine.kind.name()))?;
            row.steady_p50_us.push(outcome.p50_us);
            row.steady_p99_us.push(outcome.p99_us);
            engine.empty_log();
        }
    }
    Ok(())
}
