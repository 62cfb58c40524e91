//! Finds and reads the files of the repository; and the rules about whole files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::expect_none;
use crate::source::code_of_line;
use crate::tables::{LINES_MAX, LONG_FILES, LONG_LINES, Row, WITHOUT_SPEC};

/// One file: its path from the root, with `/`, and its text.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The part of the file that is product code: up to its inline tests.
    pub(crate) fn product(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap_or_default()
    }

    /// Whether this is shipped code, and not a test, the fakes or a task.
    pub(crate) fn is_product(&self) -> bool {
        self.path.starts_with("crates/")
            && self.path.contains("/src/")
            && !self.path.starts_with("crates/testkit/")
            && !self.path.ends_with("/tests.rs")
            && !self.path.contains("/tests/")
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files that end with one of these, in order of their paths.
pub(crate) fn files(endings: &[&str]) -> Vec<File> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths.sort();
    let root = root();
    paths
        .into_iter()
        .filter_map(|path| {
            let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
            endings.iter().any(|ending| name.ends_with(ending)).then_some((path, name))
        })
        .filter_map(|(path, name)| Some(File { path: name, text: fs::read_to_string(path).ok()? }))
        .collect()
}

/// The Rust files, without those of this test (they spell what they forbid).
pub(crate) fn rust_files() -> Vec<File> {
    let mut found = files(&[".rs"]);
    found.retain(|file| !file.path.starts_with("crates/testkit/tests/tidy/"));
    found
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    const NOT_OURS: &[&str] = &["target", ".git", "corpus", "artifacts", "node_modules"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_symlink() || NOT_OURS.iter().any(|skip| name == *skip) {
            continue;
        }
        if path.is_dir() { walk(&path, paths) } else { paths.push(path) }
    }
}

/// Keeps the places that no row of the table excepts; rows that except nothing are places too.
pub(crate) fn except(table: &[Row], places: &[(String, String)]) -> Vec<String> {
    let excepted = |path: &str| table.iter().any(|row| row.file == path);
    let mut left: Vec<String> = places
        .iter()
        .filter(|(path, _)| !excepted(path))
        .map(|(path, what)| format!("{path}{what}"))
        .collect();
    for row in table {
        assert!(!row.reason.is_empty(), "{} is excepted without a reason", row.file);
        if !places.iter().any(|(path, _)| path == row.file) {
            left.push(format!("{}: excepted for nothing; remove the row of the table", row.file));
        }
    }
    left
}

#[test]
fn every_rust_file_opens_with_what_it_is() {
    let places: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| !file.text.trim_start().starts_with("//! "))
        .map(|file| file.path)
        .collect();
    expect_none("these do not open with `//!`", &places);
}

/// A text that is data cannot be broken where a line of code can: the inside of string literals
/// does not count.
#[test]
fn lines_are_at_most_a_hundred_wide() {
    let mut places = Vec::new();
    for file in rust_files() {
        let mut is_text = false;
        for (index, line) in file.text.lines().enumerate() {
            // A text over many lines: its last line ends with the mark of its end.
            let was_text = is_text;
            is_text =
                if is_text { !line.contains("\"#") } else { line.trim_end().ends_with("r#\"") };
            if was_text {
                continue;
            }
            let whole = line.chars().count();
            let is_comment = line.trim_start().starts_with("//");
            let width = if is_comment { whole } else { code_of_line(line).chars().count() };
            if width > 100 && !line.contains("://") {
                places.push((file.path.clone(), format!(":{}: {width} wide", index + 1)));
            }
        }
    }
    expect_none("lines over 100", &except(LONG_LINES, &places));
}

#[test]
fn files_are_short_enough_to_be_one_idea() {
    let places = rust_files()
        .into_iter()
        .map(|file| (file.path, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| (path, format!(": {lines} lines")))
        .collect::<Vec<_>>();
    expect_none("long files", &except(LONG_FILES, &places));
}

#[test]
fn every_source_file_belongs_to_its_crate() {
    let all = rust_files();
    let mut places = Vec::new();
    for file in all.iter().filter(|file| file.path.contains("/src/")) {
        let path = Path::new(&file.path);
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let in_bin = path.parent().is_some_and(|directory| directory.ends_with("src/bin"));
        if matches!(stem, "lib" | "main" | "build") || in_bin {
            continue;
        }
        // `a/b.rs` is declared in `a/mod.rs`, `a.rs`, or the root file of the crate.
        let (directory, name) = if stem == "mod" {
            let Some(directory) = path.parent() else { continue };
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            (directory.parent().unwrap_or(directory), name)
        } else {
            (path.parent().unwrap_or(path), stem)
        };
        let homes = [
            directory.join("mod.rs"),
            directory.join("lib.rs"),
            directory.join("main.rs"),
            directory.with_extension("rs"),
        ];
        let is_declared = all
            .iter()
            .filter(|home| homes.iter().any(|path| Path::new(&home.path) == path))
            .any(|home| home.text.contains(&format!("mod {name};")));
        if !is_declared {
            places.push(file.path.clone());
        }
    }
    expect_none("files that no module declares", &places);
}

#[test]
fn every_annotation_and_filter_has_a_specification() {
    let pages: Vec<String> = files(&[".md"])
        .into_iter()
        .filter_map(|file| file.path.strip_prefix("spec/").map(ToOwned::to_owned))
        .collect();
    let mut places = Vec::new();
    for file in rust_files() {
        let is_feature = file.path.starts_with("crates/translate/src/annotation/")
            || file.path.starts_with("crates/proxy/src/filter/");
        let Some(stem) = Path::new(&file.path).file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        if !is_feature || matches!(stem, "mod" | "tests") {
            continue;
        }
        let page = format!("{}.md", stem.replace('_', "-"));
        let has_page = pages.iter().any(|p| *p == page || p.ends_with(&format!("/{page}")));
        if !has_page {
            places.push((file.path, format!(": no spec page `{page}`")));
        }
    }
    expect_none("features without a specification", &except(WITHOUT_SPEC, &places));
}

#[test]
fn no_file_names_a_place_on_a_machine() {
    let machine = ["/work/", "/root/", "/Users/", "/home/"];
    let kinds = [".rs", ".md", ".toml", ".yaml", ".yml", ".json", ".sh", "/run"];
    let mut places = Vec::new();
    for file in files(&kinds) {
        if file.path.starts_with("crates/testkit/tests/tidy/") {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            if machine.iter().any(|word| line.contains(word)) {
                places.push(format!("{}:{}", file.path, index + 1));
            }
        }
    }
    expect_none("absolute paths of a machine", &places);
}
