//! The programs: the peers and their tools from packages, ours from this repository.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use super::engine::Engine;
use super::fleet::Fleet;
use super::options::Options;
use super::place::{PROXY_CORE, on_core};
use super::process::pss_bytes;
use super::{Result, directory, manifests, packages};
use crate::command::{cargo, root};

/// Fetches the peers and builds ours; done before the network is left.
pub(super) fn prepare(options: &Options) -> Result<()> {
    packages::fetch(&directory(), &options.suite)?;
    if options.wants_engine("portcullis") && options.binary.is_none() {
        build(&["-p", "portcullis"])?;
    }
    if options.wants("lookup") {
        build(&["-p", "routing", "--example", "lookup"])?;
    }
    if options.wants("compile") && options.wants_engine("portcullis") {
        build(&["-p", "portcullis", "--example", "compile"])?;
    }
    Ok(())
}

/// Builds something in the release profile.
pub(super) fn build(what: &[&str]) -> Result<()> {
    let status = cargo().args(["build", "--release", "--locked"]).args(what).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build {} ended ({status})", what.join(" "))),
        Err(error) => Err(format!("starting cargo: {error}")),
    }
}

/// The release directory of cargo.
pub(super) fn release() -> PathBuf {
    directory().parent().map(|target| target.join("release")).unwrap_or_default()
}

/// Where the programs are.
pub(super) struct Programs {
    packages: PathBuf,
    ours: PathBuf,
    suite: String,
    /// Whether ours is a program given, of which nothing more is known.
    is_given: bool,
}

impl Programs {
    pub(super) fn find(options: &Options) -> Result<Self> {
        let packages = packages::fetch(&directory(), &options.suite)?;
        let ours = options.binary.clone().unwrap_or_else(|| release().join("portcullis"));
        if options.wants_engine("portcullis") && !ours.is_file() {
            return Err(format!("{} is not there", ours.display()));
        }
        let is_given = options.binary.is_some();
        Ok(Self { packages, ours, suite: options.suite.clone(), is_given })
    }

    /// A program of the packages, run by their loader and with their libraries.
    pub(super) fn peer(&self, path: &str) -> Command {
        let mut command = self.loader();
        command.arg(self.packages.join(path));
        command
    }

    /// Ours, by the same loader: the same C library.
    pub(super) fn ours(&self) -> Command {
        let mut command = self.loader();
        command.arg(&self.ours);
        command
    }

    fn loader(&self) -> Command {
        let mut command = Command::new(self.packages.join("usr/lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.packages.join("usr/lib/x86_64-linux-gnu"));
        command
    }

    /// What runs, by name and version.
    pub(super) fn versions(&self) -> Vec<(String, String)> {
        let mut versions = vec![(
            "Portcullis".to_owned(),
            format!("{}, {}", first_line(self.ours().arg("--version")), origin(self.is_given)),
        )];
        let suite = &self.suite;
        let nginx = all_lines(self.peer("usr/sbin/nginx").arg("-V"));
        let openssl = nginx.iter().find_map(|line| line.strip_prefix("built with "));
        let version = nginx.first().map_or("", |line| line.trim_start_matches("nginx version: "));
        versions.push((
            "nginx".to_owned(),
            format!("{version} (Debian {suite}, {})", openssl.unwrap_or("TLS library unknown")),
        ));
        let haproxy = first_line(self.peer("usr/sbin/haproxy").arg("-v"));
        let haproxy = haproxy.split(" - ").next().unwrap_or_default().to_owned();
        versions.push(("HAProxy".to_owned(), format!("{haproxy} (Debian {suite})")));
        let loader = first_line(self.loader().arg("--version"));
        versions.push(("C library of all".to_owned(), loader));
        let wrk = first_line(self.peer("usr/bin/wrk").arg("-v"));
        let wrk = wrk.split(" Copyright").next().unwrap_or_default().to_owned();
        versions.push(("wrk".to_owned(), wrk));
        versions
            .push(("h2load".to_owned(), first_line(self.peer("usr/bin/h2load").arg("--version"))));
        versions
    }
}

/// What ours was built from.
pub(super) fn origin(is_given: bool) -> String {
    if is_given {
        return "a program given".to_owned();
    }
    let mut git = Command::new("git");
    let git = git.args(["describe", "--always", "--dirty"]).current_dir(root());
    match git.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            format!("commit {}", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => "commit unknown".to_owned(),
    }
}

fn all_lines(command: &mut Command) -> Vec<String> {
    let Ok(output) = command.stdin(Stdio::null()).output() else { return Vec::new() };
    // What could not start speaks of this machine's paths.
    if output.status.code() == Some(127) {
        return Vec::new();
    }
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

pub(super) fn first_line(command: &mut Command) -> String {
    all_lines(command).into_iter().next().unwrap_or_else(|| "unknown".to_owned())
}

/// Nanoseconds of a route look-up, as the example of `routing` measures them.
pub(super) fn lookups() -> Result<Vec<Value>> {
    example("lookup", &[])
}

/// Runs an example on the proxy's core; what it prints, a line of JSON each.
fn example(name: &str, arguments: &[&Path]) -> Result<Vec<Value>> {
    let program = release().join("examples").join(name);
    let output = on_core(PROXY_CORE, || {
        Command::new(&program).args(arguments).stdin(Stdio::null()).output()
    })?
    .map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{line}: {error}")))
        .collect()
}

/// What growing numbers of Ingresses cost: in parts, as the example measures them, and the whole
/// program from its start to the first answer.
pub(super) fn compiles(fleet: &Fleet<'_>) -> Result<Vec<Value>> {
    if !fleet.options.wants_engine("portcullis") {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    for ingresses in [1_000, 10_000] {
        let objects = fleet.home.join(format!("objects-{ingresses}"));
        manifests::write_many(fleet, &objects, ingresses)?;
        let mut parts = example("compile", &[&objects])?;
        let mut row = parts.pop().ok_or("the example printed nothing")?;
        let start = Instant::now();
        let engine = Engine::start_ours(fleet, &objects, &format!("start-{ingresses}"))?;
        row["start_to_served_ms"] = json!(start.elapsed().as_secs_f64() * 1e3);
        row["process_pss_bytes"] = json!(pss_bytes(engine.id()));
        rows.push(row);
    }
    Ok(rows)
}
