//! The Debian packages whose files are in the image, pinned by version and digest.
//!
//! A mirror has the newest version of a suite alone. Where a pinned one is gone, a release stops
//! and the pins are renewed in a commit; the test of every day goes on with what there is and says
//! so.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ARCHITECTURE;
use crate::debian::{Suite, unpack};

/// Debian's stable suite: its C library is new enough to copy large pieces quickly, and settled.
pub(super) const SUITE: &str = "trixie";

/// Name, version and SHA-256.
const PINS: &[(&str, &str, &str)] = &[
    (
        "libc6",
        "2.41-12+deb13u5",
        "b59b0625cd1a791375d40dab23a4d5d3d0641e3d0a773501becdc3725b7f99cf",
    ),
    ("libgcc-s1", "14.2.0-19", "3c71917b490d1a17aed43196a2787a256ecf060526cdb20216a74bedc061b150"),
    // Has the copyright of libgcc-s1.
    (
        "gcc-14-base",
        "14.2.0-19",
        "5b6825de4263824b78c4c51f6476414f3b4e89c2ab63e81dc8b9b5501e867cf6",
    ),
    (
        "ca-certificates",
        "20250419+deb13u1",
        "c10585ac22c7f617a73d394eea29ba71d0356f350ae973b19043d1b017f80f54",
    ),
];

/// A package, fetched and unpacked.
pub(super) struct Package {
    /// What Debian calls it.
    pub(super) name: &'static str,
    /// The version that was taken.
    pub(super) version: String,
    /// The digest of the package's file.
    pub(super) sha256: String,
    /// Where its files lie.
    pub(super) root: PathBuf,
    /// Whether it is another than the pinned one.
    pub(super) is_newer: bool,
}

impl Package {
    /// Its name in the way of package URLs.
    pub(super) fn url(&self) -> String {
        let version = self.version.replace('+', "%2B").replace(':', "%3A");
        format!("pkg:deb/debian/{}@{version}?arch={ARCHITECTURE}&distro={SUITE}", self.name)
    }
}

/// Fetches and unpacks all of them below `home`.
pub(super) fn fetch(home: &Path, accepts_newer: bool) -> Result<Vec<Package>, String> {
    let home = home.join(SUITE);
    let suite = Suite::open(&home, SUITE)?;
    let mut packages = Vec::new();
    for &(name, pinned, digest) in PINS {
        let now = suite.version(name)?;
        let is_newer = now != pinned;
        if is_newer && !accepts_newer {
            return Err(format!(
                "{name} {pinned} is pinned, and {SUITE} has {now}: renew the pins in \
                 xtask/src/image/packages.rs, or use --accept-newer"
            ));
        }
        let file = suite.package(name, &now)?;
        let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let sha256 = hexadecimal(&bytes);
        if !is_newer && sha256 != digest {
            return Err(format!("{name} {now} has the digest {sha256}, and not the pinned one"));
        }
        let root = home.join("root").join(name).join(&now);
        unpack(&file, &root)?;
        packages.push(Package { name, version: now, sha256, root, is_newer });
    }
    Ok(packages)
}

/// The SHA-256 of some bytes, as text.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}
