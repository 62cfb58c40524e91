//! Rules about what code may say where.

use crate::expect_none;
use crate::files::{File, except, rust_files};
use crate::tables::{ALLOWED, BANNED, DRIVER_FILES, DRIVER_WORDS};

/// Code without comments and without the text of string literals, line by line.
///
/// Enough for searching words: raw strings and character literals that hold quotes are rare, and
/// a wrong answer here is a failing test that shows the line, not a passing one that hides it.
pub(crate) fn code_lines(text: &str) -> Vec<String> {
    text.lines().map(code_of_line).collect()
}

pub(crate) fn code_of_line(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut is_string = false;
    let mut previous = ' ';
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_string => {
                characters.next();
            }
            '"' if previous != '\'' => is_string = !is_string,
            '/' if !is_string && characters.peek() == Some(&'/') => break,
            _ if is_string => {}
            other => out.push(other),
        }
        previous = character;
    }
    out
}

/// Every line of the product code of these files that has the word.
fn uses<'f>(files: impl Iterator<Item = &'f File>, word: &str) -> Vec<(String, String)> {
    let mut places = Vec::new();
    for file in files {
        for (index, line) in code_lines(file.product()).iter().enumerate() {
            if line.contains(word) {
                places.push((file.path.clone(), format!(":{}: {}", index + 1, line.trim())));
            }
        }
    }
    places
}

#[test]
fn unfinished_work_is_not_committed() {
    let mut places = Vec::new();
    for file in rust_files() {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(word) = BANNED.iter().find(|word| line.contains(**word)) {
                places.push(format!("{}:{}: {word}", file.path, index + 1));
            }
        }
    }
    expect_none("banned words", &places);
}

#[test]
fn clocks_locks_and_unwraps_stay_where_they_are_reasoned() {
    let files = rust_files();
    let mut all = Vec::new();
    for allowed in ALLOWED {
        let places = uses(files.iter().filter(|file| file.is_product()), allowed.word);
        all.extend(except(allowed.files, &places));
    }
    expect_none("used outside the files allowed for it", &all);
}

#[test]
fn protocol_and_socket_crates_stay_in_the_driver_files() {
    let files = rust_files();
    let proxy = || files.iter().filter(|file| file.path.starts_with("crates/proxy/src/"));
    let mut places = Vec::new();
    for word in DRIVER_WORDS {
        places.extend(uses(proxy(), word));
    }
    expect_none("used outside the driver files", &except(DRIVER_FILES, &places));
}

#[test]
fn comments_and_strings_are_not_code() {
    assert_eq!(code_of_line(r#"let a = "x // y"; // nginx"#).trim(), "let a = ;");
    assert_eq!(code_of_line(r#"b("q\"nginx") + c"#), "b() + c");
}
