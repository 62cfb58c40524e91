//! A list of named steps, each run even if one before it failed, and the table at the end.
//!
//! A step that cannot run here is skipped with its reason; where `CI` is set, that is a failure:
//! what continuous integration calls green has run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::command;

/// How a step ended.
pub(crate) enum Outcome {
    /// As it should; with a word on what was found.
    Passed(String),
    /// Not as it should, and why.
    Failed(String),
    /// It could not run here, and why.
    Skipped(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Passed(String::new()),
            Err(why) => Self::Failed(why),
        }
    }
}

/// The steps that have run.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(&'static str, Outcome, Duration)>,
}

impl Steps {
    /// Runs a step and remembers how it ended.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Outcome) {
        println!("\n=== {name}");
        let started = Instant::now();
        let outcome = match step() {
            Outcome::Skipped(why) if command::is_ci() => {
                Outcome::Failed(format!("nothing may be skipped here: {why}"))
            }
            other => other,
        };
        if let Outcome::Failed(why) = &outcome {
            println!("=== {name}: failed: {why}");
        }
        self.done.push((name, outcome, started.elapsed()));
    }

    /// Prints the table; failure when a step failed.
    pub(crate) fn finish(self) -> ExitCode {
        println!("\n{:<28} {:<8} {:>8}  remarks", "step", "result", "seconds");
        let mut is_failed = false;
        for (name, outcome, took) in &self.done {
            let (result, remark) = match outcome {
                Outcome::Passed(remark) => ("ok", remark),
                Outcome::Failed(why) => ("FAILED", why),
                Outcome::Skipped(why) => ("skipped", why),
            };
            is_failed |= matches!(outcome, Outcome::Failed(_));
            println!("{name:<28} {result:<8} {:>8.1}  {remark}", took.as_secs_f64());
        }
        let skipped = self.done.iter().filter(|(_, o, _)| matches!(o, Outcome::Skipped(_))).count();
        if skipped == 0 {
            println!("nothing was skipped");
        } else {
            println!("{skipped} skipped, for the reasons above");
        }
        if is_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
