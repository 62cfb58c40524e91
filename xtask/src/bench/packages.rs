//! Fetches the peers from the package mirror of this machine into a private directory.
//!
//! Nothing is installed: packages of a newer suite are unpacked with everything they need, their C
//! library included, and run by the loader among them. The mirror is the one that the system's own
//! configuration names; the suite is another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;

const WANTED: &[&str] = &["nginx", "haproxy", "wrk", "nghttp2-client", "libgcc-s1"];
/// The keys that Debian signs every suite with; the package that Debian systems have them from.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The root of the unpacked packages of one suite; fetched where it is not there yet.
pub(super) fn fetch(directory: &Path, suite: &str) -> Result<PathBuf> {
    let home = directory.join("packages").join(suite);
    let root = home.join("root");
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(root);
    }
    eprintln!("fetching the peers of Debian {suite}");
    let mirror = mirror()?;
    let told = |error| format!("{}: {error}", home.display());
    for part in ["etc", "lists/partial", "cache/archives/partial", "root"] {
        fs::create_dir_all(home.join(part)).map_err(told)?;
    }
    let source = format!("deb [signed-by={KEYS}] {mirror} {suite} main\n");
    fs::write(home.join("etc/sources.list"), source).map_err(told)?;
    // An empty status makes every dependency wanted, as if on an empty system.
    fs::write(home.join("status"), "").map_err(told)?;
    apt(&home, &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--download-only", "--no-install-recommends"];
    arguments.extend(WANTED);
    apt(&home, &arguments)?;
    for package in fs::read_dir(home.join("cache/archives")).map_err(told)?.flatten() {
        if package.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(package.path()).arg(&root))?;
        }
    }
    fs::write(complete, "").map_err(told)?;
    Ok(root)
}

/// The address that the system's own packages come from.
fn mirror() -> Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(SITE)", "Label: Debian", "Component: main"])
        .output()
        .map_err(|error| {
            format!("the peers are Debian packages, and apt-get is not here: {error}")
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().find(|line| !line.is_empty());
    first.map(str::to_owned).ok_or_else(|| "this system's apt names no Debian mirror".to_owned())
}

/// Runs apt on the private directory alone.
fn apt(home: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    for (key, value) in [
        ("Dir::Etc::sourcelist", "etc/sources.list"),
        ("Dir::State::lists", "lists"),
        ("Dir::State::status", "status"),
        ("Dir::Cache", "cache"),
    ] {
        command.arg("-o").arg(format!("{key}={}", home.join(value).display()));
    }
    run(command.args(["-o", "Dir::Etc::sourceparts=-"]).args(arguments))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("starting {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended ({}): {}", output.status, errors.trim()))
}
