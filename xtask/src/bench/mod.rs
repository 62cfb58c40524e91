//! `cargo xtask bench`: what a request costs here, in nginx and in `HAProxy`, side by side.
//!
//! Every proxy runs one worker on one core; load generator and backend share another. All proxies
//! route the same thousand hosts and set the same request fields, and are measured in turns within
//! each round, so that what disturbs the machine disturbs them alike. The figure that counts is the
//! CPU time of the proxy process per answered request; medians over rounds are reported, ratios are
//! taken within the run, and nothing is asserted: thresholds in tests measure the machine.
//!
//! The peers are the newest that the package mirror of this machine has, run from a private
//! directory by their own loader, and ours runs by the same loader: one C library for all.

mod backend;
mod change;
mod client;
mod cluster;
mod engine;
mod fleet;
mod haproxy;
mod idle;
mod load;
mod manifests;
mod nginx;
mod options;
mod packages;
mod place;
mod process;
mod profile;
mod program;
mod report;
mod scenario;
mod statistics;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use options::Options;
use place::Place;

use crate::command::root;

/// Why a measurement could not be made.
type Result<T> = std::result::Result<T, String>;

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    if arguments.first().is_some_and(|first| first == "backend") {
        return finish(backend::serve(&arguments[1..]));
    }
    if arguments.first().is_some_and(|first| first == "cluster") {
        return cluster::run(&arguments[1..]);
    }
    match Options::parse(arguments) {
        Ok(None) => {
            print!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Some(options)) if options.inside => finish(measure(&options)),
        Ok(Some(options)) => all(&options, arguments),
        Err(why) => {
            eprintln!("error: {why}\n\n{}", options::HELP);
            ExitCode::from(2)
        }
    }
}

fn finish(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Where everything of a run lives: outside the sources, kept between runs.
fn directory() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("bench")
}

/// The proxies side by side, then the cluster: what was asked for of them.
fn all(options: &Options, arguments: &[String]) -> ExitCode {
    if options.wants_proxies() {
        let ended = prepare_and_enter(options, arguments);
        if ended != ExitCode::SUCCESS {
            return ended;
        }
    }
    if options.wants("cluster") {
        return cluster::run(&options.of_cluster());
    }
    ExitCode::SUCCESS
}

/// Does what needs the network and the compiler, then measures in a network of its own where the
/// system allows one: nothing else's traffic, and one congestion control for all.
fn prepare_and_enter(options: &Options, arguments: &[String]) -> ExitCode {
    if let Err(why) = program::prepare(options) {
        eprintln!("error: {why}");
        return ExitCode::FAILURE;
    }
    let isolated =
        Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).status();
    let itself = match std::env::current_exe() {
        Ok(path) => path,
        Err(error) => {
            eprintln!("error: the path of this program: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut command = if isolated.is_ok_and(|status| status.success()) {
        let mut command = Command::new("unshare");
        command.arg("--net").arg(itself);
        command
    } else {
        eprintln!("note: no network namespace may be made here; measuring in this one");
        Command::new(itself)
    };
    let status = command.args(["bench", "--inside"]).args(arguments).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: starting the measurement: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let place = Place::enter()?;
    let programs = program::Programs::find(options)?;
    let mut report = report::Report::new(options, &programs, &place);
    let fleet = fleet::Fleet::start(options, &programs, &place)?;
    for scenario in scenario::chosen(options) {
        report.scenarios.push(scenario::run(scenario, &fleet)?);
        report.write(options)?;
    }
    if options.wants("idle") {
        report.idle = idle::run(&fleet)?;
        report.write(options)?;
    }
    if options.wants("change") {
        report.change = change::run(&fleet)?;
        report.write(options)?;
    }
    if options.wants("lookup") {
        report.lookup = program::lookups()?;
    }
    if options.wants("compile") {
        report.compile = program::compiles(&fleet)?;
    }
    drop(fleet);
    report.write(options)?;
    println!("{}", report.markdown());
    Ok(())
}
