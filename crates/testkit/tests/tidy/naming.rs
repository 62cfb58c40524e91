//! Rules about words.

use crate::expect_none;
use crate::files::rust_files;
use crate::source::code_lines;

#[test]
fn the_model_knows_no_dialect() {
    let mut places = Vec::new();
    for file in rust_files() {
        let is_neutral = ["crates/model/", "crates/routing/", "crates/wire/", "crates/proxy/"]
            .iter()
            .any(|room| file.path.starts_with(room));
        if !is_neutral {
            continue;
        }
        for (index, line) in code_lines(file.product()).iter().enumerate() {
            if line.to_ascii_lowercase().contains("nginx") {
                places.push(format!("{}:{}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    expect_none("identifiers that name a dialect behind translate", &places);
}

#[test]
fn files_have_names_that_say_something() {
    const EMPTY: &[&str] = &["util", "utils", "helper", "helpers", "misc", "common", "manager"];
    let places: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| {
            let stem = file.path.rsplit('/').next().unwrap_or_default();
            EMPTY.iter().any(|word| stem == format!("{word}.rs"))
        })
        .map(|file| file.path)
        .collect();
    expect_none("file names without a meaning", &places);
}
