//! What users hand to a cluster, made by the programs that they use: kustomize, which kubectl has,
//! and Helm. Neither needs a control plane.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::assets;
use super::ended::run;

/// A file or folder of `deploy/`.
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

/// What `kubectl kustomize` makes of a folder.
///
/// # Panics
/// When it fails; what it said is shown.
pub fn kustomize(folder: &Path) -> String {
    try_kustomize(folder)
        .unwrap_or_else(|why| panic!("kubectl kustomize {}: {why}", folder.display()))
}

/// As [`kustomize`].
///
/// # Errors
/// What kubectl said when it failed.
pub fn try_kustomize(folder: &Path) -> Result<String, String> {
    run(Command::new(assets::program("kubectl")).arg("kustomize").arg(folder), "")
}

/// What `helm template` makes of our chart with these values, for a release in the namespace
/// `portcullis-system`.
///
/// # Errors
/// What Helm said when it failed.
pub fn chart(release: &str, values: &str) -> Result<String, String> {
    let home = tempfile::tempdir().expect("a directory can be made");
    let mut helm = Command::new(assets::helm());
    helm.args(["template", release]).arg(deploy("chart/portcullis"));
    helm.args(["--namespace", "portcullis-system", "--values", "-"]);
    // Nothing of whoever runs the test is looked at.
    helm.env_clear().env("HOME", home.path());
    run(&mut helm, values)
}

/// The objects of a YAML text of many documents.
///
/// # Panics
/// When it cannot be read.
pub fn objects(text: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(text)
        .unwrap_or_else(|error| panic!("what was rendered cannot be read: {error}\n{text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}
