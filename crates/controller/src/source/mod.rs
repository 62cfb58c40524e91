//! Where objects come from: a stream of batches for the compiler.

mod claims;
pub(crate) mod directory;
mod listing;
mod manifest;
mod watch;

use model::{Diagnostic, ObjectRef};
use translate::ObjectEvent;

pub(crate) use watch::Watching;

/// What a source found out at one moment: taken together, or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// What changed.
    pub(crate) events: Vec<ObjectEvent>,
    /// All that the source has to say about its input now; replaces what it said before.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// How many files cannot be read while their last good objects serve.
    pub(crate) stale_files: usize,
}

/// A file in a diagnostic, where an object would stand. The name is as the user wrote it.
pub(crate) fn file_ref(name: &str) -> ObjectRef {
    ObjectRef::new("File", "", name)
}
