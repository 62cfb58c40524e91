//! Which manifest files there are under the paths that were given.
//!
//! Directories are read recursively, symbolic links followed (no directory twice), hidden names
//! left out: `..data` and the directory behind it belong to the link, not to the reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many files are read at most; what is beyond is told and left out.
pub(crate) const FILES_MAX: usize = 200_000;

/// What a file's metadata said: equal stamps, equal contents, nearly always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// The stamp of what is no file.
    pub(crate) fn none() -> Self {
        Self { device: 0, inode: 0, bytes: 0, modified: (0, 0) }
    }

    /// Whether both are of one and the same file, whatever was written to it.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// When it was last written to, in seconds since the epoch.
    pub(crate) fn modified_seconds(&self) -> i64 {
        self.modified.0
    }
}

/// What is there now.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) files: BTreeMap<Arc<Path>, Stamp>,
    /// Every directory that was read, to be watched.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Files and directories that could not be looked at. What lies there counts as unchanged.
    pub(crate) unlisted: Vec<(PathBuf, io::Error)>,
    visited: BTreeSet<(u64, u64)>,
}

impl Listing {
    /// Lists all that lies under `roots`, which are absolute.
    pub(crate) fn of<'r>(roots: impl IntoIterator<Item = &'r Path>) -> Self {
        let mut listing = Self::default();
        for root in roots {
            listing.add_root(root);
        }
        listing
    }

    /// A root that is a file is read whatever its name. Its directory is watched, and that of the
    /// file behind a link, so that a file moved over it is seen.
    fn add_root(&mut self, root: &Path) {
        let real = root.canonicalize().ok();
        let parents = [root.parent(), real.as_deref().and_then(Path::parent)];
        match fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                self.directories.extend(root.parent().map(Path::to_owned));
                self.add_directory(root, &metadata);
            }
            Ok(metadata) => {
                self.directories.extend(parents.into_iter().flatten().map(Path::to_owned));
                self.add_file(root, &metadata);
            }
            Err(error) => {
                self.directories.extend(root.parent().map(Path::to_owned));
                self.unlisted.push((root.to_owned(), error));
            }
        }
    }

    fn add_file(&mut self, path: &Path, metadata: &Metadata) {
        if !metadata.is_file() {
            let error = io::Error::other("neither a file nor a directory");
            self.unlisted.push((path.to_owned(), error));
        } else if self.files.len() >= FILES_MAX {
            let error = io::Error::other(format!("beyond {FILES_MAX} files"));
            self.unlisted.push((path.to_owned(), error));
        } else {
            self.files.insert(path.into(), Stamp::of(metadata));
        }
    }

    fn add_directory(&mut self, path: &Path, metadata: &Metadata) {
        // A link back to a directory above would go round for ever.
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        self.directories.insert(path.to_owned());
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.unlisted.push((path.to_owned(), error)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.add_entry(&entry.path()),
                Err(error) => self.unlisted.push((path.to_owned(), error)),
            }
        }
    }

    fn add_entry(&mut self, path: &Path) {
        if is_hidden(path) {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.add_directory(path, &metadata),
            Ok(metadata) if is_manifest(path) && metadata.is_file() => {
                self.add_file(path, &metadata);
            }
            // One that is gone since the directory was read is an absence that was seen.
            Err(error)
                if is_manifest(path)
                    && (error.kind() != io::ErrorKind::NotFound || path.is_symlink()) =>
            {
                self.unlisted.push((path.to_owned(), error));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether a name begins with a dot.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Whether a name found in a directory is that of a manifest.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    !is_hidden(path) && matches!(extension, Some("yaml" | "yml" | "json"))
}
