//! `cargo xtask golden`: rewrites the golden files from what the code does now.
//!
//! The difference is for a reader to judge: a golden file is rewritten on purpose, never to make
//! a test pass.

use std::process::ExitCode;

use crate::command::{self, cargo};
use crate::step::Steps;
use crate::unexpected;

pub(crate) fn run(rest: &[String]) -> ExitCode {
    if let Some(usage) = unexpected(rest) {
        return usage;
    }
    let mut steps = Steps::default();
    steps.run("rewrite golden files", || {
        let mut test = cargo();
        test.args(["test", "--locked", "--workspace", "--exclude", "testkit", "--no-fail-fast"]);
        test.env("UPDATE_GOLDEN", "1");
        command::run(&mut test).into()
    });
    steps.finish()
}
