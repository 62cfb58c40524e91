//! Packages of a Debian suite in a private directory: fetched, checked, unpacked, never installed.
//!
//! The mirror is the one that the system's own configuration names; the suite may be another. What
//! a suite has is signed by Debian's keys, which `apt-get` checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The keys that Debian signs every suite with; the package that Debian systems have them from.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite, and the private directory that its lists and packages lie in.
pub(crate) struct Suite {
    home: PathBuf,
}

impl Suite {
    /// Reads the lists of a suite into `home`.
    pub(crate) fn open(home: &Path, suite: &str) -> Result<Self, String> {
        let mirror = mirror()?;
        let told = |error| format!("{}: {error}", home.display());
        for part in ["etc", "lists/partial", "cache/archives/partial", "root"] {
            fs::create_dir_all(home.join(part)).map_err(told)?;
        }
        let source = format!("deb [signed-by={KEYS}] {mirror} {suite} main\n");
        fs::write(home.join("etc/sources.list"), source).map_err(told)?;
        // An empty status makes every dependency wanted, as if on an empty system.
        fs::write(home.join("status"), "").map_err(told)?;
        let suite = Self { home: home.to_path_buf() };
        suite.apt("apt-get", &["update", "-qq"])?;
        Ok(suite)
    }

    /// Fetches packages with everything they need; all that is there lies in the answer.
    pub(crate) fn with_dependencies(&self, packages: &[&str]) -> Result<PathBuf, String> {
        let mut arguments =
            vec!["install", "-y", "-qq", "--download-only", "--no-install-recommends"];
        arguments.extend(packages);
        self.apt("apt-get", &arguments)?;
        Ok(self.home.join("cache/archives"))
    }

    /// Fetches one package at one version alone.
    pub(crate) fn package(&self, name: &str, version: &str) -> Result<PathBuf, String> {
        let directory = self.home.join("packages").join(name).join(version);
        let told = |error| format!("{}: {error}", directory.display());
        if let Some(package) = packages_in(&directory).pop() {
            return Ok(package);
        }
        fs::create_dir_all(&directory).map_err(told)?;
        let mut command = self.command("apt-get");
        command.current_dir(&directory).args(["download", "-qq"]).arg(format!("{name}={version}"));
        run(&mut command)?;
        packages_in(&directory).pop().ok_or_else(|| format!("{name} {version} was not fetched"))
    }

    /// The version that the suite has now.
    pub(crate) fn version(&self, name: &str) -> Result<String, String> {
        let text = self.apt("apt-cache", &["policy", name])?;
        let candidate = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        let version = candidate.filter(|version| *version != "(none)");
        version.map(str::to_owned).ok_or_else(|| format!("the suite has no package {name}"))
    }

    /// Runs apt on the private directory alone.
    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        run(self.command(program).args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, value) in [
            ("Dir::Etc::sourcelist", "etc/sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{key}={}", self.home.join(value).display()));
        }
        // Root may fetch into a directory that the user of apt's sandbox cannot enter.
        command.args(["-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root"]);
        command
    }
}

/// The packages in a directory, in order of their names.
pub(crate) fn packages_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    let mut packages: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(is_package).collect();
    packages.sort();
    packages
}

/// Lays the files of a package below `root`.
pub(crate) fn unpack(package: &Path, root: &Path) -> Result<(), String> {
    fs::create_dir_all(root).map_err(|error| format!("{}: {error}", root.display()))?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(root)).map(drop)
}

/// The address that the system's own packages come from.
fn mirror() -> Result<String, String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(SITE)", "Label: Debian", "Component: main"]);
    let text = run(&mut command).map_err(|why| format!("a Debian system is needed: {why}"))?;
    let first = text.lines().find(|line| !line.is_empty());
    first.map(str::to_owned).ok_or_else(|| "this system's apt names no Debian mirror".to_owned())
}

/// What a program wrote to its standard output.
fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("starting {program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended ({}): {}", output.status, errors.trim()))
}
