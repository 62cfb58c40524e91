//! `cargo xtask bench cluster`: what 10,000 Ingresses cost, against a real API server.
//!
//! The measurement itself is the example `cluster_scale` of `testkit`, which has the control plane;
//! it prints a line of JSON for each start of the program. Here, these become a page. Figures of
//! trials, smaller or fewer than what is published, never get to where the published ones are.

mod report;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::options::count;
use super::place::Place;
use super::process::core_busy_ns;
use super::program::{build, first_line, origin, release};
use super::{Result, directory, finish};
use crate::command::{self, answers, cargo, root};
use crate::kube_assets::{self, Absent};
use report::Report;

const HELP: &str = "\
Measure this proxy in a cluster: start, memory, changes and reviews, at 10,000 Ingresses

  cargo xtask bench cluster [OPTION...]

  --runs N          starts of the program that are measured; medians are reported (3)
  --ingresses N     Ingresses, each with a Service and three EndpointSlices (10000)
  --changes N       changes of each kind, and reviews of each kind (200)
  --quick           one run of 200 Ingresses and 10 changes: to see that it runs
  --binary PATH     measure this program instead of building the release profile
  --out DIRECTORY   where cluster.md and cluster.json go (docs/benchmarks; for fewer than 3 runs,
                    10000 Ingresses or 100 changes, the target directory)

The control plane is that of `cargo xtask kube-assets`, in a network of its own. It takes about ten
minutes, and wants the machine for itself. Interrupted, it leaves nothing running.
";

/// What is published has at least this.
const RUNS: usize = 3;
const INGRESSES: usize = 10_000;
const CHANGES_MIN: usize = 100;

/// How long the machine is looked at for other work before it is measured on.
const LOOK: Duration = Duration::from_secs(3);

struct Options {
    runs: usize,
    ingresses: usize,
    changes: usize,
    binary: Option<PathBuf>,
    out: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; `None` where help is wanted.
    fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let (runs, ingresses, changes) = (RUNS, INGRESSES, 200);
        let mut options = Self { runs, ingresses, changes, binary: None, out: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--runs" => options.runs = count(argument, &value()?)?,
                "--ingresses" => options.ingresses = count(argument, &value()?)?,
                "--changes" => options.changes = count(argument, &value()?)?,
                "--quick" => {
                    (options.runs, options.ingresses, options.changes) = (1, 200, 10);
                }
                "--binary" => options.binary = Some(value()?.into()),
                "--out" => options.out = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unexpected argument `{other}`")),
            }
        }
        Ok(Some(options))
    }

    fn is_trial(&self) -> bool {
        self.runs < RUNS || self.ingresses < INGRESSES || self.changes < CHANGES_MIN
    }

    /// Where the page goes.
    fn out(&self) -> PathBuf {
        match &self.out {
            Some(out) => out.clone(),
            None if self.is_trial() => directory(),
            None => root().join("docs/benchmarks"),
        }
    }
}

/// Runs the task.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    match Options::parse(arguments) {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => finish(measure(&options)),
        Err(why) => {
            eprintln!("error: {why}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let assets = match kube_assets::directory() {
        Ok(assets) => assets,
        Err(Absent::Failed(why)) => return Err(why),
        Err(Absent::NoGo) => {
            return Err("no control plane: install Go, or set KUBEBUILDER_ASSETS".to_owned());
        }
    };
    let example = example()?;
    if options.binary.is_none() {
        build(&["-p", "portcullis"])?;
    }
    let program = options.binary.clone().unwrap_or_else(|| release().join("portcullis"));
    let place = Place::here()?;
    let ours = format!(
        "{}, {}",
        first_line(Command::new(&program).arg("--version")),
        origin(options.binary.is_some())
    );
    let mut report = Report::new(&place, ours, others_percent(&place));
    let mut command = in_a_network(example)?;
    command.arg(&program);
    command.args([options.ingresses, options.changes, options.runs].map(|n| n.to_string()));
    command.env("KUBEBUILDER_ASSETS", assets).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the measurement: {error}"))?;
    let said = child.stdout.take().map(BufReader::new);
    for line in said.into_iter().flat_map(|said| said.lines().map_while(std::io::Result::ok)) {
        let run: Value = serde_json::from_str(&line).map_err(|error| format!("{line}: {error}"))?;
        report.push(run);
        eprintln!("{}", report.last());
    }
    let status = child.wait().map_err(|error| format!("the measurement: {error}"))?;
    if !status.success() {
        return Err(format!("the measurement ended early ({status}); nothing was written"));
    }
    report.write(&options.out())?;
    println!("{}", report.markdown());
    println!("Written to {}.", options.out().display());
    Ok(())
}

/// The program that measures, which is not what is measured: built quickly.
fn example() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--locked", "--package", "testkit", "--example", "cluster_scale"]);
    command::run(&mut build)?;
    Ok(release().with_file_name("debug").join("examples/cluster_scale"))
}

/// A program that may make networks: root may, and everybody may where they are root.
fn in_a_network(program: PathBuf) -> Result<Command> {
    let as_root = ["--map-root-user", "--net"];
    if answers("unshare", &["--net", "true"]) {
        Ok(Command::new(program))
    } else if answers("unshare", &[&as_root[..], &["true"]].concat()) {
        let mut unshare = Command::new("unshare");
        unshare.args(as_root).arg(program);
        Ok(unshare)
    } else {
        Err("no network namespaces: `unshare --net` is refused".to_owned())
    }
}

/// How much of the processors goes to other work.
fn others_percent(place: &Place) -> f64 {
    let busy = || -> u64 { (0..place.processors()).map(core_busy_ns).sum() };
    let before = busy();
    std::thread::sleep(LOOK);
    let possible = LOOK.as_nanos() as f64 * place.processors() as f64;
    busy().saturating_sub(before) as f64 * 100.0 / possible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn figures_of_trials_do_not_get_to_the_published_ones() {
        let published = root().join("docs/benchmarks");
        assert_eq!(parse("").unwrap().unwrap().out(), published);
        for trial in ["--quick", "--runs 2", "--ingresses 9999", "--changes 99"] {
            assert_ne!(parse(trial).unwrap().unwrap().out(), published, "{trial}");
        }
        assert_eq!(parse("--quick --out x").unwrap().unwrap().out(), PathBuf::from("x"));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["--runs 0", "--runs", "--rounds 3", "more"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("--help").unwrap().is_none());
    }
}
