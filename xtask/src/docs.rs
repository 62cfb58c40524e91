//! `cargo xtask docs`: the reference pages, written by the program from its own tables.
//!
//! That the committed pages are what the program writes is a test of the program, so nothing is
//! compared here.

use std::path::Path;
use std::process::ExitCode;

use crate::command::{self, cargo, root};
use crate::step::{Outcome, Steps};
use crate::{test, unexpected};

pub(crate) fn run(rest: &[String]) -> ExitCode {
    if let Some(usage) = unexpected(rest) {
        return usage;
    }
    let mut steps = Steps::default();
    steps.run("build", test::build_program);
    steps.run("write the reference", || match write() {
        Ok(count) => Outcome::Passed(format!("{count} pages")),
        Err(why) => Outcome::Failed(why),
    });
    steps.finish()
}

/// Writes every page that is there; a new page begins as an empty file.
fn write() -> Result<usize, String> {
    let directory = root().join("docs/reference");
    let entries = std::fs::read_dir(&directory).map_err(|error| error.to_string())?;
    let mut count = 0;
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = page(&path) else { continue };
        let mut program = cargo();
        program.args(["run", "--locked", "--quiet", "--package", "portcullis", "--"]);
        program.args(["reference", name]);
        let text = command::output(&mut program)?;
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        count += 1;
    }
    Ok(count)
}

/// The name of a page: its file without `.md`.
fn page(path: &Path) -> Option<&str> {
    let is_page = path.extension().is_some_and(|extension| extension == "md");
    path.file_stem().filter(|_| is_page)?.to_str()
}
