//! One manifest file, read.

use model::{Code, Effect};
use translate::Object;
use translate::manifests::{self, FileDiagnostic, Positions};

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    pub(crate) objects: Vec<Object>,
    /// Where the objects stand, in the same order; empty where nobody will ask.
    pub(crate) positions: Vec<Positions>,
    /// What is to be said about them.
    pub(crate) diagnostics: Vec<FileDiagnostic>,
}

/// A file, as far as it could be read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) manifest: Manifest,
    /// Why it could not be read as a whole; empty when it could.
    pub(crate) unreadable: Vec<FileDiagnostic>,
}

/// Reads a text.
pub(crate) fn read(name: &str, text: &str, keeps_positions: bool) -> Reading {
    let parsed = manifests::parse(name, text);
    let is_unreadable = |one: &FileDiagnostic| {
        one.diagnostic.code == Code::UnreadableManifest && !parsed.is_readable
    };
    let (unreadable, diagnostics) = parsed.diagnostics.into_iter().partition(is_unreadable);
    let mut manifest = Manifest { diagnostics, ..Manifest::default() };
    for object in parsed.objects {
        manifest.objects.push(object.object);
        if keeps_positions {
            manifest.positions.push(object.positions);
        }
    }
    Reading { manifest, unreadable }
}

/// Says what is done about a file that cannot be read.
pub(crate) fn with_effect(mut all: Vec<FileDiagnostic>, has_good: bool) -> Vec<FileDiagnostic> {
    for FileDiagnostic { diagnostic, .. } in &mut all {
        if has_good {
            diagnostic.effect = Effect::LastGoodServes;
        } else {
            diagnostic.effect = Effect::ObjectIgnored;
            diagnostic.help = Some("mend the file; until then it is left out".to_owned());
        }
    }
    all
}
