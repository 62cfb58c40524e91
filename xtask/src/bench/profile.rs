//! Where the CPU of a process goes, by sampling.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use super::{Result, directory};

/// Symbols of more than this part of the samples are shown.
const LEAST_PERCENT: &str = "0.7";

/// Samples a process while `load` runs. Where that fails, the text says why.
pub(super) fn of(process: u32, load: impl FnOnce() -> Result<()>) -> String {
    sample(process, load).unwrap_or_else(|why| format!("not sampled: {why}\n"))
}

fn sample(process: u32, load: impl FnOnce() -> Result<()>) -> Result<String> {
    let file = directory().join("perf.data");
    let mut recorder = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", "1999", "-o"])
        .arg(&file)
        .args(["-p", &process.to_string(), "--", "sleep", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("starting perf: {error}"))?;
    let loaded = load();
    recorder.wait().map_err(|error| format!("perf: {error}"))?;
    loaded?;
    let output = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "-q",
            "--sort",
            "symbol",
            "--percent-limit",
            LEAST_PERCENT,
            "-i",
        ])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("starting perf: {error}"))?;
    let mut text = String::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()) {
        // Empty columns are shown as dashes. Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end_matches([' ', '-']));
    }
    Ok(text)
}
