//! Fetches the peers from the package mirror of this machine into a private directory.
//!
//! Nothing is installed: packages of a newer suite are unpacked with everything they need, their C
//! library included, and run by the loader among them.

use std::fs;
use std::path::{Path, PathBuf};

use super::Result;
use crate::debian::{Suite, packages_in, unpack};

const WANTED: &[&str] = &["nginx", "haproxy", "wrk", "nghttp2-client", "libgcc-s1"];

/// The root of the unpacked packages of one suite; fetched where it is not there yet.
pub(super) fn fetch(directory: &Path, suite: &str) -> Result<PathBuf> {
    let home = directory.join("packages").join(suite);
    let root = home.join("root");
    let complete = home.join("complete");
    if complete.is_file() {
        return Ok(root);
    }
    eprintln!("fetching the peers of Debian {suite}");
    let archives = Suite::open(&home, suite)?.with_dependencies(WANTED)?;
    for package in packages_in(&archives) {
        unpack(&package, &root)?;
    }
    fs::write(&complete, "").map_err(|error| format!("{}: {error}", complete.display()))?;
    Ok(root)
}
