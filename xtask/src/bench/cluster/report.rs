//! The page of a cluster: medians of runs, each with the least and the most of them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::Result;
use super::super::place::Place;
use super::super::statistics::Samples;

/// The version of the JSON's shape.
const SCHEMA: u32 = 2;
/// Seconds of CPU from the start of the process to ready.
const START_AIM: f64 = 5.0;
/// MiB of resident memory at most.
const MEMORY_AIM: f64 = 400.0;
/// Milliseconds of the median change of endpoints, of any other change, and of a review.
const ENDPOINTS_AIM: f64 = 20.0;
const OTHERS_AIM: f64 = 60.0;
const REVIEW_AIM: f64 = 50.0;
/// Percent of the processors that may go to other work before the page says so at its top.
const CALM_PERCENT: f64 = 10.0;

/// Everything measured so far.
pub(super) struct Report {
    place: Place,
    ours: String,
    others_percent: f64,
    runs: Vec<Value>,
}

impl Report {
    pub(super) fn new(place: &Place, ours: String, others_percent: f64) -> Self {
        Self { place: place.clone(), ours, others_percent, runs: Vec::new() }
    }

    /// Takes what one run came to.
    pub(super) fn push(&mut self, run: Value) {
        self.runs.push(run);
    }

    /// The last run in a line.
    pub(super) fn last(&self) -> String {
        let Some(run) = self.runs.last() else { return String::new() };
        let figure = |path: &str| run.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
        format!(
            "  ready after {:.2} s, {:.0} MiB at most; medians: endpoints {:.1} ms, others {:.1} ms",
            figure("/start/ready_s"),
            figure("/start/peak_mib"),
            figure("/endpoint_changes/ms/median"),
            figure("/other_changes/ms/median"),
        )
    }

    /// Writes both files.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let told = |error| format!("{}: {error}", directory.display());
        fs::create_dir_all(directory).map_err(told)?;
        fs::write(directory.join("cluster.md"), self.markdown()).map_err(told)?;
        let json = json!({
            "schema": SCHEMA,
            "machine": self.place.machine_json(),
            "portcullis": self.ours,
            "others_percent": self.others_percent,
            "medians": fold(&self.runs),
            "runs": self.runs,
        });
        let json = serde_json::to_string_pretty(&json).map_err(|error| error.to_string())?;
        fs::write(directory.join("cluster.json"), json + "\n").map_err(told)
    }

    pub(super) fn markdown(&self) -> String {
        let folded = fold(&self.runs);
        let page = Page { folded: &folded };
        let count = |name: &str| thousands(page.number(&format!("/{name}")));
        let mut text = format!(
            "# A cluster of {} Ingresses\n\nWritten by `cargo xtask bench cluster`; the figures \
             are in [cluster.json](cluster.json). Against a real API server over a real etcd, on \
             the machine that also has the gateway and the client.\n\n",
            count("ingresses"),
        );
        if self.others_percent > CALM_PERCENT {
            let percent = self.others_percent;
            line(
                &mut text,
                format_args!(
                    "**The machine was not idle: {percent:.0} % of its processors went to other \
                     work as this began. Not for quoting.**\n"
                ),
            );
        }
        let kubernetes = folded["kubernetes"].as_str().unwrap_or("unknown");
        let runs = self.runs.len();
        line(
            &mut text,
            format_args!(
                "- Machine: {}.\n- Portcullis: {}.\n- Kubernetes: {kubernetes}.\n- {} Ingresses, \
                 {} Services, {} EndpointSlices in 100 namespaces. Starts of the process: {runs}. \
                 In each, {} changes of either kind, one at a time, and as many reviews of each \
                 kind. A figure is the median of the starts, with the least and the most of them.\n",
                self.place.machine(),
                self.ours.trim_end_matches('.'),
                count("ingresses"),
                count("services"),
                count("endpoint_slices"),
                count("changes"),
            ),
        );
        page.start(&mut text);
        page.changes(&mut text);
        page.reviews(&mut text);
        text
    }
}

/// What the tables of a page are read from.
struct Page<'v> {
    folded: &'v Value,
}

impl Page<'_> {
    fn number(&self, path: &str) -> f64 {
        let value = self.folded.pointer(path).map(|value| &value["median"]);
        value.and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// A figure with its spread, bold where it is above its aim.
    fn figure(&self, path: &str, decimals: usize, aim: Option<f64>) -> String {
        let Some(value) = self.folded.pointer(path) else { return "-".to_owned() };
        let part = |name: &str| value[name].as_f64().unwrap_or(f64::NAN);
        let median = part("median");
        let shown = if aim.is_some_and(|aim| median > aim) {
            format!("**{median:.decimals$}**")
        } else {
            format!("{median:.decimals$}")
        };
        format!("{shown} ({:.decimals$}-{:.decimals$})", part("least"), part("most"))
    }

    fn start(&self, text: &mut String) {
        line(text, format_args!("## Start\n\n| | measured | aimed at |\n|---|---|---|"));
        for (name, path, decimals, aim, unit) in [
            ("start of the process to ready", "ready_s", 2, None, "s"),
            ("CPU by then", "cpu_s", 2, Some(START_AIM), "s"),
            ("peak of resident memory by then", "peak_mib", 0, Some(MEMORY_AIM), "MiB"),
            ("resident memory 5 s later", "resident_after_mib", 0, None, "MiB"),
        ] {
            let figure = self.figure(&format!("/start/{path}"), decimals, aim);
            let aim = aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim:.0} {unit}"));
            line(text, format_args!("| {name} | {figure} {unit} | {aim} |"));
        }
        text.push('\n');
    }

    fn changes(&self, text: &mut String) {
        line(text, format_args!("## Changes, in milliseconds\n"));
        line(text, format_args!("| | median | p99 | most | median aimed at |"));
        line(text, format_args!("|---|---|---|---|---|"));
        let (endpoints, others) = ("/endpoint_changes", "/other_changes");
        for (name, path, aim) in [
            ("a change of endpoints is served", format!("{endpoints}/ms"), Some(ENDPOINTS_AIM)),
            ("any other change is served", format!("{others}/ms"), Some(OTHERS_AIM)),
            ("of it, until its build begins", format!("{others}/until_build_ms"), None),
            ("its build, and what is put away after it", format!("{others}/build_ms"), None),
        ] {
            let figure = |part: &str, aim| self.figure(&format!("{path}/{part}"), 1, aim);
            let shown = aim.map_or_else(|| "-".to_owned(), |aim| format!("{aim:.0}"));
            line(
                text,
                format_args!(
                    "| {name} | {} | {} | {} | {shown} |",
                    figure("median", aim),
                    figure("p99", None),
                    figure("max", None)
                ),
            );
        }
        line(
            text,
            format_args!(
                "\nA change is timed from the answer to its write until a request is answered as \
                 it says, looked at about every millisecond. What is before the build is the API \
                 server's watch, and the gateway that takes the event in; what the build replaced \
                 is put away after the change is served. The metrics of the gateway count {:.0} \
                 builds for {:.0} other changes, of {} ms on average.\n",
                self.number(&format!("{others}/builds")),
                self.number("/changes"),
                self.figure(&format!("{others}/build_mean_ms"), 1, None),
            ),
        );
        line(
            text,
            format_args!(
                "| for 100 changes of | CPU s | of it translating and compiling s | resident MiB after all |"
            ),
        );
        line(text, format_args!("|---|---|---|---|"));
        for (name, path) in [("endpoints", endpoints), ("anything else", others)] {
            line(
                text,
                format_args!(
                    "| {name} | {} | {} | {} |",
                    self.figure(&format!("{path}/cpu_s_per_100"), 2, None),
                    self.figure(&format!("{path}/compiler_cpu_s_per_100"), 2, None),
                    self.figure(&format!("{path}/resident_after_mib"), 0, None),
                ),
            );
        }
        line(
            text,
            format_args!(
                "\nThe CPU has with it what answers the requests that look for the change.\n"
            ),
        );
    }

    fn reviews(&self, text: &mut String) {
        line(text, format_args!("## Reviews by the webhook, in milliseconds\n"));
        line(text, format_args!("| review of | connection | meanwhile | median | p99 | most |"));
        line(text, format_args!("|---|---|---|---|---|---|"));
        let rows = self.folded["webhook"].as_array().map_or(0, Vec::len);
        for row in 0..rows {
            let word = |name: &str| self.folded["webhook"][row][name].as_str().unwrap_or("-");
            let figure =
                |part: &str, aim| self.figure(&format!("/webhook/{row}/ms/{part}"), 1, aim);
            line(
                text,
                format_args!(
                    "| {} | {} | {} | {} | {} | {} |",
                    word("review"),
                    word("connection"),
                    word("while"),
                    figure("median", Some(REVIEW_AIM)),
                    figure("p99", Some(REVIEW_AIM)),
                    figure("max", None)
                ),
            );
        }
        line(
            text,
            format_args!(
                "\nAimed at: {REVIEW_AIM:.0} ms. Asked as an API server asks, over TLS; an API \
                 server keeps its connections. *Changes* are ten in a second, so that a review \
                 often waits for a build. **Bold** misses its aim, here and above."
            ),
        );
    }
}

/// Runs of one shape as one of that shape, with a median, the least and the most for each number.
fn fold(runs: &[Value]) -> Value {
    match runs.first() {
        Some(Value::Object(first)) => {
            let of = |name: &String| runs.iter().map(|run| run[name].clone()).collect::<Vec<_>>();
            Value::Object(
                first.keys().map(|name| (name.clone(), fold(&of(name)))).collect::<Map<_, _>>(),
            )
        }
        Some(Value::Array(first)) => {
            let of = |index: usize| runs.iter().map(|run| run[index].clone()).collect::<Vec<_>>();
            Value::Array((0..first.len()).map(|index| fold(&of(index))).collect())
        }
        Some(Value::Number(_)) => {
            let samples: Samples = runs.iter().filter_map(Value::as_f64).collect();
            let (least, most) = samples.range().unwrap_or_default();
            json!({ "median": samples.median(), "least": least, "most": most })
        }
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

/// With commas, as people write it.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_folded_into_medians_with_their_spread_wherever_a_number_stands() {
        let run = |ms: f64| json!({ "name": "a", "parts": [{ "ms": ms }] });
        let folded = fold(&[run(3.0), run(1.0), run(2.0)]);
        let figure = json!({ "median": 2.0, "least": 1.0, "most": 3.0 });
        assert_eq!(folded, json!({ "name": "a", "parts": [{ "ms": figure }] }));
    }

    #[test]
    fn what_misses_its_aim_is_bold() {
        let folded = fold(&[json!({ "ms": 61.0 }), json!({ "ms": 59.0 }), json!({ "ms": 60.5 })]);
        let page = Page { folded: &folded };
        assert_eq!(page.figure("/ms", 1, Some(60.0)), "**60.5** (59.0-61.0)");
        assert_eq!(page.figure("/ms", 1, Some(61.0)), "60.5 (59.0-61.0)");
        assert_eq!(page.figure("/none", 1, None), "-");
    }

    #[test]
    fn numbers_have_commas_between_thousands() {
        assert_eq!([200.0, 10_000.0].map(thousands), ["200", "10,000"]);
    }
}
