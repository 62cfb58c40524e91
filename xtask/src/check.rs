//! `cargo xtask check`: what is quick to know, for the loop of edit and look.

use std::process::ExitCode;

use crate::command::{self, cargo};
use crate::step::{Outcome, Steps};
use crate::unexpected;

pub(crate) fn run(rest: &[String]) -> ExitCode {
    if let Some(usage) = unexpected(rest) {
        return usage;
    }
    let mut steps = Steps::default();
    steps.run("format", format);
    steps.run("lints", lints);
    steps.run("tidy", || test(&["--package", "testkit", "--test", "tidy"]));
    steps.run("unit and golden tests", || {
        test(&["--workspace", "--exclude", "testkit", "--lib", "--bins", "--tests"])
    });
    steps.finish()
}

/// Every file is as rustfmt writes it.
pub(crate) fn format() -> Outcome {
    command::run(cargo().args(["fmt", "--all", "--check"])).into()
}

/// No warning anywhere, tests included.
pub(crate) fn lints() -> Outcome {
    let mut clippy = cargo();
    clippy.args(["clippy", "--locked", "--workspace", "--all-targets"]);
    clippy.args(["--features", "testkit/cluster", "--", "-D", "warnings"]);
    command::run(&mut clippy).into()
}

fn test(arguments: &[&str]) -> Outcome {
    command::run(cargo().args(["test", "--locked", "--quiet"]).args(arguments)).into()
}
