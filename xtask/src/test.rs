//! `cargo xtask test`: every test there is, in one command.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::command::{self, cargo};
use crate::step::{Outcome, Steps};
use crate::suites::Suites;
use crate::{check, fuzz, image, kube_assets, unexpected};

/// How long each fuzz target runs here. Longer runs are `cargo xtask fuzz SECONDS`.
const FUZZ_SECONDS: u64 = 30;

/// How long load and change are kept up here; with the other tests they last five seconds.
const SOAK_SECONDS: u64 = 120;

/// How many generated requests the running program and `explain` must agree on here.
const DECISIONS: u64 = 1_000_000;

pub(crate) fn run(rest: &[String]) -> ExitCode {
    if let Some(usage) = unexpected(rest) {
        return usage;
    }
    let mut suites = Suites::default();
    let mut steps = Steps::default();
    steps.run("format", check::format);
    steps.run("lints", check::lints);
    // End-to-end tests start the program itself, which tests of another crate do not build.
    steps.run("build", build_program);
    steps.run("tests", || tests(&mut suites));
    let mut assets = None;
    steps.run("control plane", || control_plane(&mut assets));
    if let Some(assets) = assets {
        steps.run("tests in a cluster", || tests_in_a_cluster(&assets, &mut suites));
    }
    steps.run("documentation", documentation);
    steps.run("dependencies", dependencies);
    steps.run("image", image::step);
    steps.run("a million decisions", || longer("decisions", "DECISIONS", DECISIONS));
    steps.run("soak", || longer("soak", "SOAK_SECONDS", SOAK_SECONDS));
    steps.run("fuzz", || fuzz::targets(FUZZ_SECONDS));
    let code = steps.finish();
    suites.print();
    code
}

/// The program, where end-to-end tests look for it.
pub(crate) fn build_program() -> Outcome {
    command::run(cargo().args(["build", "--locked", "--package", "portcullis"])).into()
}

/// The programs of a control plane, for the tests that start one, and Helm.
fn control_plane(assets: &mut Option<PathBuf>) -> Outcome {
    match kube_assets::directory().and_then(|directory| kube_assets::helm().map(|_| directory)) {
        Ok(directory) => {
            *assets = Some(directory);
            Outcome::Passed(String::new())
        }
        Err(absent) => absent.outcome(),
    }
}

/// All test programs of the workspace, also after one has failed.
fn tests(suites: &mut Suites) -> Outcome {
    let mut test = cargo();
    test.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    seen(&mut test, suites)
}

/// The tests that start a control plane. They have a network for themselves: root may make one, and
/// everybody may make one in which they are root.
fn tests_in_a_cluster(assets: &Path, suites: &mut Suites) -> Outcome {
    let as_root = ["--map-root-user", "--net"];
    let mut test = if command::answers("unshare", &["--net", "true"]) {
        cargo()
    } else if command::answers("unshare", &[&as_root[..], &["true"]].concat()) {
        let cargo = cargo();
        let mut unshare = Command::new("unshare");
        unshare.args(as_root).arg(cargo.get_program()).current_dir(command::root());
        unshare
    } else {
        return Outcome::Skipped(String::from("no network namespaces: `unshare --net` is refused"));
    };
    test.args(["test", "--locked", "--package", "testkit", "--no-fail-fast"]);
    test.args(["--features", "cluster", "--test", "cluster", "--test", "install"]);
    test.env("KUBEBUILDER_ASSETS", assets);
    seen(&mut test, suites)
}

/// Runs tests and counts them.
fn seen(test: &mut Command, suites: &mut Suites) -> Outcome {
    let before = suites.total();
    let result = command::run_seen(test, |line| suites.see(line));
    let now = suites.total();
    let (passed, failed) = (now.passed - before.passed, now.failed - before.failed);
    match result {
        Err(why) => Outcome::Failed(format!("{failed} failed; {why}")),
        Ok(()) if now.ignored > 0 => Outcome::Failed(format!("{} were ignored", now.ignored)),
        Ok(()) if passed == 0 => Outcome::Failed(String::from("there were none")),
        Ok(()) => Outcome::Passed(format!("{passed} passed")),
    }
}

/// A test of the testkit for longer than it runs with the others.
fn longer(name: &str, variable: &str, value: u64) -> Outcome {
    let mut test = cargo();
    test.args(["test", "--locked", "--package", "testkit", "--test", name, "--", "--nocapture"]);
    test.env(variable, value.to_string());
    command::run(&mut test).into()
}

fn documentation() -> Outcome {
    let mut doc = cargo();
    doc.args(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    command::run(&mut doc).into()
}

/// Licences, sources, bans and duplicates. Advisories need a database that is given by hand.
fn dependencies() -> Outcome {
    if !command::answers("cargo-deny", &["--version"]) {
        return Outcome::Skipped(String::from(
            "cargo-deny is absent; `cargo install --locked cargo-deny` installs it",
        ));
    }
    let mut deny = cargo();
    deny.args(["deny", "--locked", "check", "bans", "licenses", "sources"]);
    command::run(&mut deny).into()
}
