//! `cargo xtask test`: every test there is, in one command.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
    let mut assets = None;
    steps.run("control plane", || control_plane(&mut assets));
    steps.run("tests", || tests(assets.as_deref(), &mut suites));
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

/// All test programs of the workspace, also after one has failed; with a control plane, those that
/// start one, too.
fn tests(assets: Option<&Path>, suites: &mut Suites) -> Outcome {
    let mut test = cargo();
    test.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
    if let Some(assets) = assets {
        test.args(["--features", "testkit/cluster"]).env("KUBEBUILDER_ASSETS", assets);
    }
    let result = command::run_seen(&mut test, |line| suites.see(line));
    let total = suites.total();
    match result {
        Err(why) => Outcome::Failed(format!("{} failed; {why}", total.failed)),
        Ok(()) if total.ignored > 0 => Outcome::Failed(format!("{} were ignored", total.ignored)),
        Ok(()) if total.passed == 0 => Outcome::Failed(String::from("there were none")),
        Ok(()) => Outcome::Passed(format!("{} passed", total.passed)),
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
