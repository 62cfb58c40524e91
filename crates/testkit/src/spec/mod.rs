//! Runs the pages of `spec/`: the same page in process and over the wire.
//!
//! ```text
//! page.rs        Markdown to scenes: manifests, settings, requests, expectations
//! request.rs     the lines of a http block
//! world.rs       what a scene needs besides its text: Services, endpoints, certificates
//! in_process.rs  translate, compile, decide
//! wire.rs        the real program, real sockets, real endpoints
//! ```
//!
//! `spec/README.md` describes the format for those who write pages.

mod in_process;
mod page;
mod request;
mod wire;
mod world;

pub use in_process::{Decided, InProcess, run as run_in_process};
pub use page::{DiagnosticLine, Explain, Page, Scene};
pub use request::{Expectation, Item, Request, Served};
pub use wire::run as run_over_the_wire;
pub use world::World;

use std::path::{Path, PathBuf};

/// All pages, in order of their names.
///
/// # Errors
/// What cannot be read, with file and line.
pub fn pages() -> Result<Vec<Page>, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec");
    let mut paths = Vec::new();
    collect(&directory, &mut paths).map_err(|error| format!("spec: {error}"))?;
    paths.sort();
    let mut pages = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&directory).unwrap_or(&path).with_extension("");
        let name = name.to_string_lossy().replace('\\', "/");
        if name == "README" {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        pages.push(Page::parse(&name, &text)?);
    }
    Ok(pages)
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    Ok(())
}
