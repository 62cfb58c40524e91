//! The tasks of this repository: `cargo xtask TASK`.
//!
//! One task, one file. `test` is what continuous integration runs and what a contributor runs
//! before proposing a change; the others are parts of it or tools beside it. No task needs a shell.

mod audit;
mod bench;
mod check;
mod command;
mod debian;
mod deploy;
mod docs;
mod fuzz;
mod golden;
mod image;
mod kube_assets;
mod step;
mod suites;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
Tasks of this repository

  cargo xtask test             everything: format, lints, tests, documentation, dependencies,
                               fuzz targets for 30 s each, soak for 2 minutes
  cargo xtask check            the fast part: format, lints, tidy, unit and golden tests
  cargo xtask golden           rewrite the golden files from what the code does now
  cargo xtask docs             write the reference pages from the program's tables
  cargo xtask deploy           write what follows in deploy/: the flat manifest, the chart's page
  cargo xtask fuzz [SECONDS]   every fuzz target, 30 s each unless told otherwise
  cargo xtask kube-assets      build a Kubernetes control plane for tests, once; needs Go
  cargo xtask image            the container image, built and tried (--help tells more)
  cargo xtask audit PATH       compare Cargo.lock with a clone of the Rust advisory database
  cargo xtask bench            measure beside nginx and HAProxy, and in a cluster (--help)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("help", &[][..]),
    };
    match task {
        "test" => test::run(rest),
        "check" => check::run(rest),
        "golden" => golden::run(rest),
        "docs" => docs::run(rest),
        "deploy" => deploy::run(rest),
        "fuzz" => fuzz::run(rest),
        "kube-assets" => kube_assets::run(rest),
        "image" => image::run(rest),
        "audit" => audit::run(rest),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        other => {
            eprintln!("error: there is no task `{other}`\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

/// Tells that arguments were given to a task that takes none.
fn unexpected(rest: &[String]) -> Option<ExitCode> {
    let first = rest.first()?;
    eprintln!("error: unexpected argument `{first}`\n\n{HELP}");
    Some(ExitCode::from(2))
}
