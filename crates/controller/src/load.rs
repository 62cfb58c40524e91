//! Reads manifests once, for commands that look at them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::{FieldPath, ObjectRef};
use translate::manifests::{FileDiagnostic, Position};
use translate::{ObjectEvent, ObjectStore};

use crate::source::directory::Directory;

/// What was read, and where it stands.
#[derive(Debug)]
pub struct Loaded {
    /// The objects, each once, and `Synced`.
    pub events: Vec<ObjectEvent>,
    /// What is to be said about the files and the objects in them.
    pub diagnostics: Vec<FileDiagnostic>,
    directory: Directory,
}

/// Reads files, directories (recursively) or `-` as [`crate::start`] would, except that of a file
/// that cannot be read as a whole the readable objects count: it is looked at, not served.
///
/// # Errors
/// When a path does not exist.
pub fn load(paths: &[PathBuf]) -> io::Result<Loaded> {
    let mut directory = Directory::open_for_reading(paths)?;
    let batch = directory.start(io::stdin().lock());
    Ok(Loaded { events: batch.events, diagnostics: directory.diagnostics(), directory })
}

impl Loaded {
    /// The objects as a store.
    #[must_use]
    pub fn store(&self) -> ObjectStore {
        let mut store = ObjectStore::new();
        for event in &self.events {
            store.apply(event.clone());
        }
        store
    }

    /// The file and place of a field of an object, or of the nearest field around it; `None` for
    /// objects that no file has.
    #[must_use]
    pub fn locate(&self, object: &ObjectRef, field: &FieldPath) -> Option<(Arc<str>, Position)> {
        self.directory.locate(object, field)
    }

    /// How many files could not be read as a whole.
    #[must_use]
    pub fn unreadable_files(&self) -> usize {
        self.directory.unreadable_files()
    }
}
