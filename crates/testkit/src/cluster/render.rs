//! What users hand to a cluster, made by the programs that they use: kustomize, which kubectl has,
//! and Helm. Neither needs a control plane.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::assets;

/// A file or folder of `deploy/`.
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path)
}

/// What `kubectl kustomize` makes of a folder.
///
/// # Panics
/// When it fails; what it said is shown.
pub fn kustomize(folder: &Path) -> String {
    let mut kubectl = Command::new(assets::program("kubectl"));
    run(kubectl.arg("kustomize").arg(folder), "")
        .unwrap_or_else(|why| panic!("kubectl kustomize {}: {why}", folder.display()))
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

/// Runs a program to its end with this on its input.
fn run(command: &mut Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program can be started");
    // The input is short: it fits into the pipe before anything is read.
    let mut stdin = child.stdin.take().expect("its input is ours");
    stdin.write_all(input.as_bytes()).expect("the program takes its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
