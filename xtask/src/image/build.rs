//! Puts the image together with buildah, and writes it for registries and for engines.
//!
//! buildah keeps its storage in a directory of ours, in plain files, so that it works without an
//! engine, a daemon or a file system of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::quietly;
use super::tree::Tree;
use crate::command::root;

/// What the image says about itself.
const LABELS: &[(&str, &str)] = &[
    ("org.opencontainers.image.title", "Portcullis"),
    ("org.opencontainers.image.description", "A Kubernetes Ingress gateway"),
    ("org.opencontainers.image.licenses", "Apache-2.0"),
    ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY")),
];

/// An image, built and laid out as the Open Container Initiative has it.
pub(super) struct Image {
    storage: PathBuf,
    layout: PathBuf,
    name: String,
    digest: String,
    manifest: Value,
}

impl Image {
    /// Builds it from the tree.
    pub(super) fn build(
        home: &Path,
        tree: &Tree,
        name: &str,
        version: &str,
    ) -> Result<Self, String> {
        let (storage, layout) = (home.join("storage"), home.join("layout"));
        // Layers of former builds are of no use, and plain files share nothing.
        for old in [&storage, &layout].into_iter().filter(|old| old.exists()) {
            fs::remove_dir_all(old).map_err(|error| format!("{}: {error}", old.display()))?;
        }
        let mut build = buildah(&storage);
        build.args(["bud", "--quiet", "--isolation", "chroot", "--timestamp", "0", "--layers"]);
        build.args(["--format", "oci", "--tag", name]);
        for (label, value) in LABELS {
            build.arg("--label").arg(format!("{label}={value}"));
        }
        build.arg("--label").arg(format!("org.opencontainers.image.version={version}"));
        build.arg("--label").arg(format!("org.opencontainers.image.revision={}", revision()));
        build.arg("--file").arg(root().join("deploy/image/Containerfile"));
        quietly(build.arg(tree.directory()))?;

        let target = format!("oci:{}:{name}", layout.display());
        quietly(buildah(&storage).args(["push", "--quiet", name, &target]))?;
        let index = json(&layout.join("index.json"))?;
        let digest = text(&index, "/manifests/0/digest")?.to_owned();
        let manifest = json(&blob(&layout, &digest))?;
        Ok(Self { storage, layout, name: name.to_owned(), digest, manifest })
    }

    /// The digest of its manifest: what a registry calls it.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// How it wants to be run: user, environment, program and arguments.
    pub(super) fn config(&self) -> Result<Value, String> {
        let config = json(&blob(&self.layout, text(&self.manifest, "/config/digest")?))?;
        config.get("config").cloned().ok_or_else(|| String::from("the image has no configuration"))
    }

    /// Unpacks all layers into a directory, as an engine does.
    pub(super) fn unpack(&self, directory: &Path) -> Result<(), String> {
        let layers = self.manifest.pointer("/layers").and_then(Value::as_array);
        for layer in layers.into_iter().flatten() {
            let mut tar = Command::new("tar");
            tar.args(["--extract", "--preserve-permissions", "--numeric-owner", "--xattrs"]);
            tar.args(["--xattrs-include=*", "--file"])
                .arg(blob(&self.layout, text(layer, "/digest")?));
            tar.args(["--gzip", "--directory"]).arg(directory);
            quietly(&mut tar)?;
        }
        Ok(())
    }

    /// Writes it as files: one for registries, one for engines.
    pub(super) fn write(&self, output: &Path) -> Result<(), String> {
        let archive = output.with_added_extension("oci.tar");
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"]);
        tar.args(["--numeric-owner", "--file"]).arg(&archive).arg("--directory").arg(&self.layout);
        quietly(tar.args(["blobs", "index.json", "oci-layout"]))?;
        let archive = output.with_added_extension("docker.tar");
        // buildah does not write over an archive.
        if archive.exists() {
            fs::remove_file(&archive).map_err(|error| format!("{}: {error}", archive.display()))?;
        }
        let target = format!("docker-archive:{}:{}", archive.display(), self.name);
        quietly(buildah(&self.storage).args(["push", "--quiet", &self.name, &target])).map(drop)
    }
}

fn buildah(storage: &Path) -> Command {
    let mut command = Command::new("buildah");
    command.args(["--storage-driver", "vfs", "--root"]).arg(storage.join("root"));
    command.arg("--runroot").arg(storage.join("run"));
    command
}

/// The commit that it is built from.
fn revision() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]);
    let commit = quietly(git.current_dir(root())).unwrap_or_default();
    let commit = String::from_utf8_lossy(&commit).trim().to_owned();
    if commit.is_empty() { String::from("unknown") } else { commit }
}

/// The file of a digest, `sha256:…`.
fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

fn json(path: &Path) -> Result<Value, String> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

fn text<'v>(value: &'v Value, pointer: &str) -> Result<&'v str, String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.ok_or_else(|| format!("the layout has no {pointer}"))
}
