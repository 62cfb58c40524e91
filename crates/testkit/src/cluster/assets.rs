//! Where the programs of a control plane are.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of a program: in `KUBEBUILDER_ASSETS`, or in the cache of `cargo xtask kube-assets`.
///
/// # Panics
/// When it is in neither.
pub(super) fn program(name: &str) -> PathBuf {
    let given = std::env::var_os("KUBEBUILDER_ASSETS").filter(|path| !path.is_empty());
    let directory = given.map_or_else(cache, PathBuf::from);
    let path = directory.join(name);
    assert!(
        path.is_file(),
        "{} is absent: `cargo xtask kube-assets` builds it, and KUBEBUILDER_ASSETS names another \
         directory",
        path.display()
    );
    path
}

/// The path of Helm, which is in the cache of `cargo xtask kube-assets` alone.
///
/// # Panics
/// When it is not.
pub(super) fn helm() -> PathBuf {
    let version = version("helm", "helm.sh/helm/v4");
    let path = base().join(format!("helm-{version}")).join("helm");
    assert!(path.is_file(), "{} is absent: `cargo xtask kube-assets` builds it", path.display());
    path
}

/// The directory that the task writes for the versions of its two modules.
fn cache() -> PathBuf {
    let kubernetes = version("kubernetes", "k8s.io/kubernetes");
    let etcd = version("etcd", "go.etcd.io/etcd/server/v3");
    base().join(format!("kubernetes-{kubernetes}-etcd-{etcd}"))
}

fn base() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .unwrap_or_default();
    base.join("portcullis/kube-assets")
}

fn version(folder: &str, module: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("xtask/kube-assets").join(folder).join("go.mod");
    let text = fs::read_to_string(&file).expect("the modules are in the repository");
    let wanted = format!("require {module} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
    line.expect("the module requires what it builds").trim().to_owned()
}
