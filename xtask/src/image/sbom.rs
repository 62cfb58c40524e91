//! What is in the image, as a `CycloneDX` document: our crates, and all others that are linked
//! into the program, Rust's standard library, and the files of Debian packages.
//!
//! It says no time and no random number: equal inputs make an equal document, so an equal image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::packages::{Package, hexadecimal};
use super::{MACHINE, quietly};
use crate::command::{cargo, root};

/// What cargo knows of the program and all it is made of.
pub(super) struct Metadata {
    packages: BTreeMap<String, Value>,
    /// What each package is linked with.
    linked: BTreeMap<String, Vec<String>>,
    root: String,
    checksums: BTreeMap<(String, String), String>,
    rust: String,
}

impl Metadata {
    /// Asks cargo, and reads `Cargo.lock`.
    pub(super) fn read() -> Result<Self, String> {
        let mut command = cargo();
        command.args(["metadata", "--locked", "--format-version", "1", "--filter-platform"]);
        let text = quietly(command.arg(format!("{MACHINE}-unknown-linux-gnu")))?;
        let metadata: Value =
            serde_json::from_slice(&text).map_err(|error| format!("cargo metadata: {error}"))?;
        let packages: BTreeMap<_, _> = list(&metadata, "/packages")
            .iter()
            .map(|package| (string(package, "/id").to_owned(), package.clone()))
            .collect();
        let linked = list(&metadata, "/resolve/nodes")
            .iter()
            .map(|node| (string(node, "/id").to_owned(), linked_with(node)))
            .collect();
        let is_root = |package: &&Value| {
            string(package, "/name") == "portcullis" && package["source"].is_null()
        };
        let root_package = packages.values().find(is_root).ok_or("cargo knows no portcullis")?;
        let root_id = string(root_package, "/id").to_owned();
        let lock = fs::read_to_string(root().join("Cargo.lock"))
            .map_err(|error| format!("Cargo.lock: {error}"))?;
        let rust = quietly(Command::new("rustc").arg("--version").current_dir(root()))?;
        let rust = String::from_utf8_lossy(&rust);
        let rust = rust.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
        Ok(Self { packages, linked, root: root_id, checksums: checksums(&lock), rust })
    }

    /// The version of the program.
    pub(super) fn version(&self) -> Result<String, String> {
        let package = self.packages.get(&self.root).ok_or("cargo knows no portcullis")?;
        Ok(string(package, "/version").to_owned())
    }

    /// The document.
    pub(super) fn bill(&self, debian: &[Package], program: &[u8]) -> Result<Vec<u8>, String> {
        let mut crates = self.reached();
        crates.remove(&self.root);
        let rust = format!("pkg:generic/rust-std@{}", self.rust);
        let mut components: Vec<Value> = crates.iter().map(|id| self.component(id)).collect();
        components.push(json!({
            "type": "library", "bom-ref": rust, "name": "rust-std", "version": self.rust,
            "purl": rust, "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        }));
        components.extend(debian.iter().map(|package| {
            json!({
                "type": "library", "bom-ref": package.url(), "name": package.name,
                "version": package.version, "purl": package.url(),
                "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
            })
        }));
        let version = self.version()?;
        let us = self.url(&self.root);
        let mut below_us = self.dependencies(&self.root);
        below_us.push(rust);
        below_us.extend(debian.iter().map(Package::url));
        let mut dependencies = vec![json!({ "ref": us, "dependsOn": below_us })];
        dependencies.extend(
            crates
                .iter()
                .map(|id| json!({ "ref": self.url(id), "dependsOn": self.dependencies(id) })),
        );
        let digest = hexadecimal(program);
        let document = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": serial(&digest),
            "version": 1,
            "metadata": { "component": {
                "type": "application", "bom-ref": us, "name": "portcullis", "version": version,
                "purl": us, "licenses": [{ "expression": "Apache-2.0" }],
                "hashes": [{ "alg": "SHA-256", "content": digest }],
            } },
            "components": components,
            "dependencies": dependencies,
        });
        let mut text = serde_json::to_vec_pretty(&document).map_err(|error| error.to_string())?;
        text.push(b'\n');
        Ok(text)
    }

    /// All that the program is linked with. What runs in the compiler alone is not in the program.
    fn reached(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root.clone()];
        while let Some(id) = open.pop() {
            if self.packages.get(&id).is_some_and(runs_in_the_compiler) || !found.insert(id.clone())
            {
                continue;
            }
            open.extend(self.linked.get(&id).into_iter().flatten().cloned());
        }
        found
    }

    fn component(&self, id: &str) -> Value {
        let Some(package) = self.packages.get(id) else { return Value::Null };
        let (name, version) = (string(package, "/name"), string(package, "/version"));
        let mut component = json!({
            "type": "library", "bom-ref": self.url(id), "name": name, "version": version,
            "purl": self.url(id),
        });
        if let Some(license) = package["license"].as_str() {
            // The older way to write a choice.
            let expression = license.replace(" OR ", "/").replace('/', " OR ");
            component["licenses"] = json!([{ "expression": expression }]);
        }
        if let Some(checksum) = self.checksums.get(&(name.to_owned(), version.to_owned())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component
    }

    fn dependencies(&self, id: &str) -> Vec<String> {
        let is_linked = |id: &&String| !self.packages.get(*id).is_some_and(runs_in_the_compiler);
        let below = self.linked.get(id).into_iter().flatten().filter(is_linked);
        below.map(|id| self.url(id)).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The name of a crate in the way of package URLs. Ours are in no registry.
    fn url(&self, id: &str) -> String {
        let Some(package) = self.packages.get(id) else { return id.to_owned() };
        let kind = if package["source"].is_null() { "generic" } else { "cargo" };
        let version = string(package, "/version").replace('+', "%2B");
        format!("pkg:{kind}/{}@{version}", string(package, "/name"))
    }
}

/// What a node of cargo's graph is linked with: dependencies of tests and build scripts are not.
fn linked_with(node: &Value) -> Vec<String> {
    let is_linked = |dependency: &&Value| {
        list(dependency, "/dep_kinds").iter().any(|kind| kind["kind"].is_null())
    };
    let linked = list(node, "/deps").iter().filter(is_linked);
    linked.map(|dependency| string(dependency, "/pkg").to_owned()).collect()
}

fn runs_in_the_compiler(package: &Value) -> bool {
    list(package, "/targets")
        .iter()
        .any(|target| list(target, "/kind").iter().any(|kind| kind == "proc-macro"))
}

/// The digests of `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for block in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_start_matches(" = ").trim_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(checksum)) =
            (value("name"), value("version"), value("checksum"))
        {
            found.insert((name, version), checksum);
        }
    }
    found
}

/// A name for the document that follows from the program: a UUID of version 8.
fn serial(digest: &str) -> String {
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn string<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_stand_by_name_and_version() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"77\"\n\n\
                    [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";
        let found = checksums(lock);
        let key = (String::from("a"), String::from("1.0.0"));
        assert_eq!(found.get(&key).map(String::as_str), Some("77"));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn the_name_of_a_document_is_a_uuid_that_follows_from_the_program() {
        let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        assert_eq!(serial(digest), "urn:uuid:01234567-89ab-8cde-8f01-23456789abcd");
    }
}
