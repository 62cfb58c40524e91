//! Rules about who may know whom: crates of ours, and crates of the world.

use std::collections::BTreeSet;

use crate::expect_none;
use crate::files::{File, files};
use crate::tables::{EDGES, NEVER};

/// The direct dependencies that one manifest names.
#[derive(Default)]
struct Manifest {
    name: String,
    normal: BTreeSet<String>,
    /// Of tests and build scripts.
    other: BTreeSet<String>,
    inherits_lints: bool,
}

/// Reads what is needed of a manifest: tables of `name = …` and `name.workspace = true`.
fn manifest(file: &File) -> Manifest {
    let mut read = Manifest::default();
    let mut table = String::new();
    for line in file.text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut table);
            // `[dependencies.name]` is a dependency too.
            let (head, tail) = table.rsplit_once('.').unwrap_or(("", ""));
            if head.ends_with("dependencies") {
                read.add(head, tail);
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if table == "package" && key == "name" {
            value.trim_matches('"').clone_into(&mut read.name);
        } else if table == "lints" && key == "workspace" && value == "true" {
            read.inherits_lints = true;
        } else if table.ends_with("dependencies") {
            let table = table.clone();
            read.add(&table, key.split('.').next().unwrap_or(key));
        }
    }
    read
}

impl Manifest {
    fn add(&mut self, table: &str, name: &str) {
        let is_normal = !table.contains("dev-") && !table.contains("build-");
        let set = if is_normal { &mut self.normal } else { &mut self.other };
        set.insert(name.to_owned());
    }
}

fn manifests() -> Vec<Manifest> {
    files(&["Cargo.toml"])
        .iter()
        .filter(|file| file.path.starts_with("crates/") || file.path.starts_with("xtask/"))
        .map(manifest)
        .collect()
}

/// What the table allows a crate to know, directly or through others.
fn reachable(name: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut open = vec![name];
    while let Some(next) = open.pop() {
        let edges = EDGES.iter().find(|edge| edge.0 == next).map_or(&[][..], |edge| edge.1);
        for &known in edges {
            if found.insert(known) {
                open.push(known);
            }
        }
    }
    found
}

#[test]
fn crates_know_only_whom_the_table_allows() {
    let ours: Vec<&str> = EDGES.iter().map(|edge| edge.0).collect();
    let mut places = Vec::new();
    for crate_manifest in manifests() {
        let name = &crate_manifest.name;
        let Some((_, allowed)) = EDGES.iter().find(|edge| edge.0 == name) else {
            places.push(format!("{name} is not in the table of edges"));
            continue;
        };
        for known in crate_manifest.normal.iter().filter(|known| ours.contains(&known.as_str())) {
            if !allowed.contains(&known.as_str()) {
                places.push(format!("{name} may not know {known}"));
            }
        }
        let for_tests = reachable(name);
        for known in crate_manifest.other.iter().filter(|known| ours.contains(&known.as_str())) {
            if known != "testkit" && known != name && !for_tests.contains(known.as_str()) {
                places.push(format!("tests of {name} may not know {known}"));
            }
        }
    }
    expect_none("crate edges (ARCHITECTURE.md)", &places);
}

#[test]
fn crates_keep_out_what_they_promise_to_keep_out() {
    let mut places = Vec::new();
    for crate_manifest in manifests() {
        for (name, forbidden, reason) in NEVER {
            if crate_manifest.name != *name {
                continue;
            }
            for known in crate_manifest.normal.iter().filter(|k| forbidden.contains(&k.as_str())) {
                places.push(format!("{name} depends on {known}: {reason}"));
            }
        }
    }
    expect_none("dependencies that a crate must not have", &places);
}

#[test]
fn every_crate_inherits_the_lints_of_the_workspace() {
    let places: Vec<String> =
        manifests().into_iter().filter(|m| !m.inherits_lints).map(|m| m.name).collect();
    expect_none("manifests without `[lints] workspace = true`", &places);
}

#[test]
fn every_direct_dependency_has_its_reason_in_deny_toml() {
    let ours: BTreeSet<&str> = EDGES.iter().map(|edge| edge.0).collect();
    let deny = files(&["deny.toml"]).pop().expect("deny.toml is at the root").text;
    let reasons: BTreeSet<&str> = deny
        .lines()
        .filter_map(|line| line.strip_prefix("#   ")?.split_once(": "))
        .filter(|(_, reason)| reason.split_whitespace().count() > 2)
        .map(|(name, _)| name.trim())
        .collect();
    let used: BTreeSet<String> = manifests()
        .into_iter()
        .flat_map(|m| m.normal.into_iter().chain(m.other))
        .filter(|name| !ours.contains(name.as_str()))
        .collect();
    let mut places: Vec<String> = used
        .iter()
        .filter(|name| !reasons.contains(name.as_str()))
        .map(|name| format!("{name} has no line `#   {name}: reason`"))
        .collect();
    places.extend(
        reasons
            .iter()
            .filter(|name| !used.contains(**name))
            .map(|name| format!("{name} has a reason and nobody depends on it")),
    );
    expect_none("reasons of dependencies (deny.toml)", &places);
}

#[test]
fn versions_stand_in_the_root_manifest_alone() {
    let mut places = Vec::new();
    for file in files(&["Cargo.toml"]) {
        if !file.path.starts_with("crates/") && !file.path.starts_with("xtask/") {
            continue;
        }
        let mut is_dependencies = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with('[') {
                is_dependencies = line.contains("dependencies");
            } else if is_dependencies && line.contains('=') && !line.contains("workspace = true") {
                places.push(format!("{}: {line}", file.path));
            }
        }
    }
    expect_none("dependencies that do not inherit their version", &places);
}
