//! `cargo xtask kube-assets`: the programs of a Kubernetes control plane, built once for tests.
//!
//! The versions are those of the two Go modules in `xtask/kube-assets`: two, because etcd and
//! Kubernetes ask for different versions of what they share. What is built goes under a name of its
//! own and is moved when all of it is there, so that a build that was killed leaves nothing half.
//! `KUBEBUILDER_ASSETS` is the convention of the field for such programs, and wins. Helm, which is
//! not among them, has a module and a directory of its own.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::command::{self, root};
use crate::step::Outcome;
use crate::unexpected;

/// What tests start.
const PROGRAMS: &[&str] = &["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"];

/// The module of each `go.mod`, its folder, and the packages of its programs.
const ETCD: Module = Module {
    folder: "etcd",
    path: "go.etcd.io/etcd/server/v3",
    packages: &[("etcd", "go.etcd.io/etcd/server/v3")],
};
const KUBERNETES: Module = Module {
    folder: "kubernetes",
    path: "k8s.io/kubernetes",
    packages: &[
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ],
};

const HELM: Module = Module {
    folder: "helm",
    path: "helm.sh/helm/v4",
    packages: &[("helm", "helm.sh/helm/v4/cmd/helm")],
};

/// Where the programs of Kubernetes keep the version that they tell; a plain build leaves it empty.
const STAMPED: &[&str] = &["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];

/// How many packages are compiled between two lines of progress.
const PROGRESS: usize = 100;

struct Module {
    folder: &'static str,
    path: &'static str,
    packages: &'static [(&'static str, &'static str)],
}

/// Why there are no programs.
pub(crate) enum Absent {
    /// They cannot be built here.
    NoGo,
    /// They could not be built.
    Failed(String),
}

impl Absent {
    /// As a step ends that needed them.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::NoGo => Outcome::Skipped(String::from(
                "no Go: the tests against a real control plane did not run; install Go, or set \
                 KUBEBUILDER_ASSETS",
            )),
            Self::Failed(why) => Outcome::Failed(why),
        }
    }
}

pub(crate) fn run(rest: &[String]) -> ExitCode {
    if let Some(usage) = unexpected(rest) {
        return usage;
    }
    let directories = directory().and_then(|programs| Ok((programs, helm()?)));
    match directories {
        Ok((programs, helm)) => {
            println!("{}\n{}", programs.display(), helm.display());
            ExitCode::SUCCESS
        }
        Err(Absent::NoGo) => {
            eprintln!("error: Go is needed to build them, and `go` is not on the path");
            ExitCode::FAILURE
        }
        Err(Absent::Failed(why)) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Where the programs are; builds them where they are not.
pub(crate) fn directory() -> Result<PathBuf, Absent> {
    if let Some(given) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|path| !path.is_empty()) {
        return has_all(PathBuf::from(given)).map_err(Absent::Failed);
    }
    let etcd = ETCD.version().map_err(Absent::Failed)?;
    let kubernetes = KUBERNETES.version().map_err(Absent::Failed)?;
    let cache = cache().map_err(Absent::Failed)?;
    let directory = cache.join(format!("kubernetes-{kubernetes}-etcd-{etcd}"));
    if directory.is_dir() {
        return has_all(directory).map_err(Absent::Failed);
    }
    let go = go().ok_or(Absent::NoGo)?;
    println!("building etcd {etcd} and Kubernetes {kubernetes}: once, and it takes minutes");
    let building = cache.join(format!("building-{}", std::process::id()));
    let built = build(go, &building, &kubernetes);
    built.and_then(|()| keep(&building, &directory)).map_err(Absent::Failed)?;
    has_all(directory).map_err(Absent::Failed)
}

/// Where Helm is; builds it where it is not.
pub(crate) fn helm() -> Result<PathBuf, Absent> {
    let version = HELM.version().map_err(Absent::Failed)?;
    let cache = cache().map_err(Absent::Failed)?;
    let directory = cache.join(format!("helm-{version}"));
    if !directory.is_dir() {
        let go = go().ok_or(Absent::NoGo)?;
        println!("building Helm {version}: once, and it takes minutes");
        let building = cache.join(format!("building-{}", std::process::id()));
        forget_the_killed(&cache);
        let built = fs::create_dir_all(&building)
            .map_err(|error| format!("{}: {error}", building.display()))
            .and_then(|()| HELM.build(go, &building, "-s -w"));
        built.and_then(|()| keep(&building, &directory)).map_err(Absent::Failed)?;
    }
    Ok(directory)
}

/// The directory, when every program is in it.
fn has_all(directory: PathBuf) -> Result<PathBuf, String> {
    match PROGRAMS.iter().find(|program| !directory.join(program).is_file()) {
        Some(program) => Err(format!("{} has no {program}", directory.display())),
        None => Ok(directory),
    }
}

fn cache() -> Result<PathBuf, String> {
    let set = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let base = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("portcullis").join("kube-assets"))
}

/// The Go to build with: that of the path, or where its own installer puts it.
fn go() -> Option<&'static str> {
    ["go", "/usr/local/go/bin/go"].into_iter().find(|go| command::answers(go, &["version"]))
}

fn build(go: &str, building: &Path, kubernetes: &str) -> Result<(), String> {
    forget_the_killed(building.parent().unwrap_or(building));
    fs::create_dir_all(building).map_err(|error| format!("{}: {error}", building.display()))?;
    let plain = "-s -w";
    ETCD.build(go, building, plain)?;
    let mut stamped = String::from(plain);
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    for package in STAMPED {
        for (name, value) in [
            ("gitVersion", kubernetes),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "archive"),
        ] {
            // Writing to a `String` cannot fail.
            let _ = write!(stamped, " -X {package}.{name}={value}");
        }
    }
    KUBERNETES.build(go, building, &stamped)
}

/// Moves what was built to where it is looked for. Who was quicker has built the same.
fn keep(building: &Path, directory: &Path) -> Result<(), String> {
    match fs::rename(building, directory) {
        Ok(()) => Ok(()),
        Err(_) if directory.is_dir() => {
            fs::remove_dir_all(building).map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("{}: {error}", directory.display())),
    }
}

/// Removes what builds left that ended before they were done.
fn forget_the_killed(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().and_then(|name| name.strip_prefix("building-")) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            // What cannot be removed now is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Module {
    fn directory(&self) -> PathBuf {
        root().join("xtask").join("kube-assets").join(self.folder)
    }

    /// The version that its `go.mod` asks for.
    fn version(&self) -> Result<String, String> {
        let file = self.directory().join("go.mod");
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        required(&text, self.path)
            .map(ToOwned::to_owned)
            .ok_or_else(|| format!("{} does not require {}", file.display(), self.path))
    }

    fn build(&self, go: &str, into: &Path, linker: &str) -> Result<(), String> {
        for (program, package) in self.packages {
            let mut build = Command::new(go);
            build.current_dir(self.directory()).stdin(Stdio::null()).stderr(Stdio::piped());
            build.args(["build", "-v", "-mod=readonly", "-trimpath", "-ldflags", linker]);
            build.arg("-o").arg(into.join(program)).arg(package);
            build.env("CGO_ENABLED", "0").env_remove("GOOS").env_remove("GOARCH");
            if std::env::var_os("GOTOOLCHAIN").is_none() {
                // An older Go fetches the one that the module names.
                build.env("GOTOOLCHAIN", "auto");
            }
            println!("{program}: {package}");
            let mut child = build.spawn().map_err(|error| format!("{go}: {error}"))?;
            let said = child.stderr.take().map(BufReader::new);
            let mut rest = Vec::new();
            for (index, line) in
                said.into_iter().flat_map(|said| said.lines().map_while(Result::ok)).enumerate()
            {
                if index % PROGRESS == PROGRESS - 1 {
                    println!("{program}: {} packages", index + 1);
                }
                // A package is one word; what has several is for a reader.
                if line.contains(' ') && !line.starts_with("go: downloading ") {
                    rest.push(line);
                }
            }
            let status = child.wait().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("{program} was not built ({status}):\n{}", rest.join("\n")));
            }
        }
        Ok(())
    }
}

/// The version that a `go.mod` requires of a module.
fn required<'t>(text: &'t str, module: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        let is_it = words.next() == Some(module);
        words.next().filter(|word| is_it && word.starts_with('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_required_and_not_one_that_replaces() {
        let text = "module m\n\nrequire k8s.io/kubernetes v1.36.3\n\nrequire (\n\
                    \tk8s.io/api v0.0.0 // indirect\n)\nreplace (\n\tk8s.io/api => k8s.io/api v0.36.3\n)\n";
        assert_eq!(required(text, "k8s.io/kubernetes"), Some("v1.36.3"));
        assert_eq!(required(text, "k8s.io/api"), Some("v0.0.0"));
        assert_eq!(required("\tk8s.io/api => k8s.io/api v0.36.3", "k8s.io/api"), None);
        assert_eq!(required(text, "k8s.io/kube"), None);
    }

    #[test]
    fn all_modules_are_pinned() {
        for module in [&ETCD, &KUBERNETES, &HELM] {
            let version = module.version().unwrap();
            assert!(version.starts_with('v') && version.split('.').count() == 3, "{version}");
        }
    }

    #[test]
    fn every_program_is_of_a_module() {
        let mut built: Vec<_> =
            [&ETCD, &KUBERNETES].iter().flat_map(|m| m.packages).map(|(name, _)| *name).collect();
        built.sort_unstable();
        assert_eq!(built, PROGRAMS);
    }
}
