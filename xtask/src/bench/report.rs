//! The report: one page for people, one file for programs.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::Result;
use super::engine::{OURS, OURS_LOG};
use super::options::Options;
use super::place::Place;
use super::program::Programs;
use super::scenario::{LOG_TARGET, Row, Table};
use super::statistics::Samples;
use crate::command::root;

/// The version of the JSON's shape.
const SCHEMA: u32 = 1;
/// The 99th percentile at a steady rate, over that of the best peer.
const P99_TARGET: f64 = 1.25;
/// MiB of PSS under load above nginx's.
const MEMORY_TARGET: f64 = 20.0;
/// Percent of the proxy's core that may go to other work before a report says so at its top.
const CALM_PERCENT: f64 = 10.0;

/// Everything measured so far.
pub(super) struct Report {
    place: Place,
    versions: Vec<(String, String)>,
    rounds: usize,
    seconds: u64,
    pub(super) scenarios: Vec<Table>,
    pub(super) idle: Vec<Value>,
    pub(super) change: Value,
    pub(super) lookup: Vec<Value>,
    pub(super) compile: Vec<Value>,
}

impl Report {
    pub(super) fn new(options: &Options, programs: &Programs, place: &Place) -> Self {
        Self {
            place: place.clone(),
            versions: programs.versions(),
            rounds: options.rounds,
            seconds: options.seconds,
            scenarios: Vec::new(),
            idle: Vec::new(),
            change: Value::Null,
            lookup: Vec::new(),
            compile: Vec::new(),
        }
    }

    /// Writes both files.
    pub(super) fn write(&self, options: &Options) -> Result<()> {
        let directory = options.out.clone().unwrap_or_else(|| root().join("docs/benchmarks"));
        let told = |error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(told)?;
        fs::write(directory.join("latest.md"), self.markdown()).map_err(told)?;
        let json = serde_json::to_string_pretty(&self.json()).map_err(|error| error.to_string())?;
        fs::write(directory.join("latest.json"), json + "\n").map_err(told)
    }

    fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "machine": self.place.json(),
            "versions": self.versions.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "others_percent_most": self.others_percent(),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "hosts_routed": super::fleet::HOSTS,
            "scenarios": self.scenarios.iter().map(Table::json).collect::<Vec<_>>(),
            "idle_connections": self.idle,
            "change": self.change,
            "route_lookup": self.lookup,
            "start": self.compile,
        })
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::from(
            "# Benchmarks\n\nWritten by `cargo xtask bench`. Every figure is from one run, \
             in which the proxies took turns; ratios are the ones to compare, absolute figures \
             are this machine's.\n\n",
        );
        if let Some(percent) = self.others_percent().filter(|percent| *percent > CALM_PERCENT) {
            line(
                &mut text,
                format_args!(
                    "**The machine was not idle: up to {percent:.0} % of the proxy's core went to \
                     other work. Not for quoting.**\n"
                ),
            );
        }
        self.conditions(&mut text);
        self.ratios(&mut text);
        for table in &self.scenarios {
            scenario(&mut text, table);
        }
        self.memory(&mut text);
        self.configuration(&mut text);
        text
    }

    /// The most that other work took of the proxy's core, over the medians of all rows.
    fn others_percent(&self) -> Option<f64> {
        let rows = self.scenarios.iter().flat_map(|table| &table.rows);
        rows.filter_map(|row| row.others_percent.median()).max_by(f64::total_cmp)
    }

    fn conditions(&self, text: &mut String) {
        line(text, format_args!("- Machine: {}.", self.place.markdown()));
        for (name, version) in &self.versions {
            line(text, format_args!("- {name}: {}.", version.trim_end_matches('.')));
        }
        line(
            text,
            format_args!(
                "- One worker each on core 0; load generator and backend on core 1. {} \
                 rounds of {} s, medians. {} hosts of three paths are routed; requests visit all \
                 of them in a scattered order (HTTP/2 and steady rates: one host). All set the \
                 same six request fields. Ours counts its metrics throughout.",
                self.rounds,
                self.seconds,
                super::fleet::HOSTS,
            ),
        );
        line(
            text,
            format_args!(
                "- CPU is the scheduler's run time of the proxy's threads and children per \
                 answered request. Answers were checked: all 2xx, bodies of full size.\n"
            ),
        );
    }

    fn ratios(&self, text: &mut String) {
        if self.scenarios.is_empty() {
            return;
        }
        line(text, format_args!("## CPU per request, as a ratio\n"));
        line(
            text,
            format_args!(
                "| scenario | to nginx | aimed at | to HAProxy | aimed at | with access log \
                 | aimed at | p99 to best peer | aimed at | MiB above nginx | aimed at |"
            ),
        );
        line(text, format_args!("|---|---|---|---|---|---|---|---|---|---|---|"));
        for table in &self.scenarios {
            let [nginx, haproxy] = table.scenario.peers;
            line(
                text,
                format_args!(
                    "| ({}) {} | {} | {:.2} | {} | 1.00 | {} | {LOG_TARGET:.2} | {} | \
                     {P99_TARGET:.2} | {} | {MEMORY_TARGET:.0} |",
                    table.scenario.name,
                    table.scenario.title,
                    judged(table.ratio(OURS, nginx), table.scenario.target),
                    table.scenario.target,
                    judged(table.ratio(OURS, haproxy), 1.0),
                    judged(table.ratio(OURS_LOG, OURS), LOG_TARGET),
                    judged(table.steady_p99_ratio(), P99_TARGET),
                    judged(table.memory_above(nginx), MEMORY_TARGET),
                ),
            );
        }
        text.push_str(
            "\nBulk is compared with the peers' large buffers. **Bold** misses its aim.\n\n",
        );
    }

    fn memory(&self, text: &mut String) {
        if !self.idle.is_empty() {
            line(text, format_args!("## Idle keep-alive connections\n"));
            line(text, format_args!("| proxy | | connections | bytes each |\n|---|---|---|---|"));
            for row in &self.idle {
                let protocol = if row["tls"] == true { "TLS" } else { "plaintext" };
                line(
                    text,
                    format_args!(
                        "| {} | {protocol} | {} | {} |",
                        word(&row["engine"]),
                        row["connections"],
                        figure(&row["bytes_per_connection"], 0),
                    ),
                );
            }
            text.push_str(
                "\nGrowth of PSS from a process that has done nothing else. Aimed at: 4,096 \
                 plaintext, 16,384 TLS.\n\n",
            );
        }
    }

    fn configuration(&self, text: &mut String) {
        if self.change.is_object() {
            let (quiet, loaded) = (&self.change["quiet_ms"], &self.change["under_load"]);
            line(text, format_args!("## Changes, at {} Ingresses\n", self.change["ingresses"]));
            line(text, format_args!("| | p50 ms | p99 ms | most ms |\n|---|---|---|---|"));
            for (name, row) in [("file to served, quiet", quiet), ("under load", &loaded["ms"])] {
                let columns = ["p50", "p99", "max"].map(|column| figure(&row[column], 1));
                line(text, format_args!("| {name} | {} |", columns.join(" | ")));
            }
            line(
                text,
                format_args!(
                    "\nAimed at: 50 ms. {} requests were answered during {} changes; {} failed.\n",
                    loaded["requests"], loaded["changes"], loaded["failed_requests"],
                ),
            );
        }
        if !self.lookup.is_empty() {
            line(text, format_args!("## Route look-up\n"));
            line(text, format_args!("| table | routes | found, ns | unknown host or path, ns |"));
            line(text, format_args!("|---|---|---|---|"));
            for row in &self.lookup {
                line(
                    text,
                    format_args!(
                        "| {} | {} | {} | {} |",
                        word(&row["shape"]),
                        row["routes"],
                        figure(&row["hit_ns"], 0),
                        figure(&row["miss_ns"], 0),
                    ),
                );
            }
            text.push('\n');
        }
        if !self.compile.is_empty() {
            line(text, format_args!("## Building the configuration\n"));
            line(
                text,
                format_args!(
                    "| Ingresses | read ms | translate ms | compile ms | translate one change | \
                     compile it | objects MiB | Model and snapshot MiB | start to served ms | \
                     process PSS MiB |\n|---|---|---|---|---|---|---|---|---|---|"
                ),
            );
            for row in &self.compile {
                let mib = |name: &str| {
                    let bytes = row[name].as_f64().unwrap_or(0.0);
                    format!("{:.0}", bytes / f64::from(1 << 20))
                };
                let columns = [
                    row["ingresses"].to_string(),
                    figure(&row["parse_ms"], 0),
                    figure(&row["translate_ms"], 1),
                    figure(&row["compile_ms"], 1),
                    figure(&row["change_translate_ms"], 1),
                    figure(&row["change_compile_ms"], 1),
                    mib("objects_bytes"),
                    mib("built_bytes"),
                    figure(&row["start_to_served_ms"], 0),
                    mib("process_pss_bytes"),
                ];
                line(text, format_args!("| {} |", columns.join(" | ")));
            }
        }
    }
}

fn scenario(text: &mut String, table: &Table) {
    line(text, format_args!("## ({}) {}\n", table.scenario.name, table.scenario.title));
    line(
        text,
        format_args!(
            "| proxy | CPU us/request (least-most) | of it user | requests/s | p50 us | p99 us | \
             steady p50 | steady p99 | PSS MiB | others on the core |"
        ),
    );
    line(text, format_args!("|---|---|---|---|---|---|---|---|---|---|"));
    for row in &table.rows {
        line(text, format_args!("| {} |", columns(row).join(" | ")));
    }
    if let Some(rate) = table.steady_rate {
        line(text, format_args!("\nSteady: {rate:.0} requests/s, 60 % of what nginx reached."));
    }
    for (kind, profile) in &table.profiles {
        let name = kind.name();
        line(text, format_args!("\nWhere the CPU of {name} went:\n\n```text\n{profile}```"));
    }
    text.push('\n');
}

fn columns(row: &Row) -> [String; 10] {
    let number = |samples: &Samples, decimals: usize| {
        samples.median().map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
    };
    let (least, most) = row.cpu_us.range().unwrap_or_default();
    [
        row.kind.name().to_owned(),
        format!("{} ({least:.1}-{most:.1})", number(&row.cpu_us, 1)),
        number(&row.user_us, 1),
        number(&row.per_second, 0),
        number(&row.p50_us, 0),
        number(&row.p99_us, 0),
        number(&row.steady_p50_us, 0),
        number(&row.steady_p99_us, 0),
        number(&row.pss_mib, 0),
        format!("{} %", number(&row.others_percent, 0)),
    ]
}

/// A ratio, bold where it is above its aim.
fn judged(ratio: Option<f64>, aim: f64) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(ratio) if ratio > aim => format!("**{ratio:.2}**"),
        Some(ratio) => format!("{ratio:.2}"),
    }
}

fn figure(value: &Value, decimals: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}
