//! `cargo xtask fuzz`: every fuzz target for a while, on the stable toolchain.
//!
//! Targets are the programs of `fuzz/`, a workspace of its own. Each takes the flags of libFuzzer
//! that are needed here, so that the same targets run under a coverage-guided engine elsewhere.

use std::process::ExitCode;

use crate::command::{self, cargo, root};
use crate::step::{Outcome, Steps};

pub(crate) fn run(rest: &[String]) -> ExitCode {
    let seconds = match rest {
        [] => 30,
        [text] if text.parse::<u64>().is_ok() => text.parse().unwrap_or(30),
        _ => {
            eprintln!("error: `cargo xtask fuzz` takes a number of seconds");
            return ExitCode::from(2);
        }
    };
    let mut steps = Steps::default();
    steps.run("fuzz", || targets(seconds));
    steps.finish()
}

/// Runs each target for this long.
pub(crate) fn targets(seconds: u64) -> Outcome {
    let names = match std::fs::read_to_string(root().join("fuzz/Cargo.toml")) {
        Ok(text) => names(&text),
        Err(error) => return Outcome::Failed(format!("fuzz/Cargo.toml: {error}")),
    };
    if names.is_empty() {
        return Outcome::Failed(String::from("fuzz/Cargo.toml names no [[bin]]"));
    }
    let mut failed = Vec::new();
    for name in &names {
        if let Err(why) = target(name, seconds) {
            failed.push(format!("{name}: {why}"));
        }
    }
    if failed.is_empty() {
        Outcome::Passed(format!("{} targets, {seconds} s each", names.len()))
    } else {
        Outcome::Failed(failed.join("; "))
    }
}

/// Runs one target inside `fuzz/`, whose own cargo configuration has the compiler's flags.
fn target(name: &str, seconds: u64) -> Result<(), String> {
    let directory = root().join("fuzz");
    for made in [directory.join("corpus").join(name), directory.join("artifacts")] {
        std::fs::create_dir_all(&made).map_err(|error| format!("{}: {error}", made.display()))?;
    }
    let mut command = cargo();
    command.current_dir(&directory).env_remove("RUSTFLAGS");
    command.args(["run", "--locked", "--release", "--bin", name, "--"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.args(["-print_final_stats=1", "-verbosity=0", "-artifact_prefix=artifacts/"]);
    command.arg("-dict=http.dict").arg(format!("corpus/{name}"));
    // What a run starts from is kept, where there is any.
    if directory.join("seeds").join(name).is_dir() {
        command.arg(format!("seeds/{name}"));
    }
    command::run(&mut command)
}

/// The names of the `[[bin]]` tables of a manifest.
fn names(manifest: &str) -> Vec<String> {
    let mut is_bin = false;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            is_bin = line == "[[bin]]";
        } else if let Some(value) = line.strip_prefix("name").filter(|_| is_bin) {
            names.push(value.trim_matches([' ', '=', '"']).to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_programs_of_the_manifest() {
        let manifest =
            "[package]\nname = \"fuzz\"\n[[bin]]\nname = \"head\"\n[lib]\nname = \"x\"\n";
        assert_eq!(names(manifest), ["head"]);
    }
}
