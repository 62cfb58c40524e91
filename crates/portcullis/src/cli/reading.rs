//! Manifests read once, for commands that only look: objects, translation, and where things stand.

use std::collections::BTreeMap;
use std::path::PathBuf;

use controller::Loaded;
use model::{Diagnostic, FieldPath, ObjectRef, Severity};
use translate::{Memo, ObjectEvent, Translation};

use super::paint::Tone;
use super::render::{Located, Place};
use super::{Failure, complain};
use crate::settings::Settings;
use crate::wiring;

/// What manifests say.
pub(super) struct Reading {
    loaded: Loaded,
    /// What a gateway would serve.
    pub(super) translation: Translation,
    /// How many objects were read.
    pub(super) objects: usize,
}

/// A diagnostic and its place, owned.
pub(super) struct Remark {
    diagnostic: Diagnostic,
    place: Option<Place>,
    excerpt: Option<String>,
}

impl Remark {
    /// The form that is rendered.
    pub(super) fn located(&self) -> Located<'_> {
        Located {
            diagnostic: &self.diagnostic,
            place: self.place.clone(),
            excerpt: self.excerpt.as_deref(),
        }
    }

    /// How much it matters.
    pub(super) fn severity(&self) -> Severity {
        self.diagnostic.severity
    }
}

impl Reading {
    /// Reads the manifests that the settings name, and translates them.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failure> {
        if settings.manifests.is_empty() {
            return Err(Failure::usage("name a directory, a file, or `-` for standard input"));
        }
        let paths: Vec<PathBuf> = settings.manifests.iter().map(PathBuf::from).collect();
        let loaded = controller::load(&paths).map_err(|error| Failure::usage(error.to_string()))?;
        let is_object = |event: &&ObjectEvent| matches!(event, ObjectEvent::Applied(_));
        let objects = loaded.events.iter().filter(is_object).count();
        let chosen =
            translate::Settings { now: wiring::seconds_now(), ..wiring::translation(settings) };
        let translation = translate::translate(&loaded.store(), &chosen, &mut Memo::default());
        Ok(Self { loaded, translation, objects })
    }

    /// The name of the configuration.
    pub(super) fn generation(&self) -> String {
        self.translation.model.generation().to_string()
    }

    /// Where a field was written.
    pub(super) fn place(&self, object: &ObjectRef, field: &FieldPath) -> Option<Place> {
        let (file, position) = self.loaded.locate(object, field)?;
        Some(Place {
            file: file.to_string(),
            line: position.line as usize,
            column: position.column as usize,
        })
    }

    /// Everything that is to be said, in the order of files and lines.
    pub(super) fn remarks(&self) -> Vec<Remark> {
        let mut remarks: Vec<Remark> = self
            .translation
            .report
            .diagnostics()
            .iter()
            .map(|diagnostic| Remark {
                place: self.place(&diagnostic.object, &diagnostic.field),
                diagnostic: diagnostic.clone(),
                excerpt: None,
            })
            .collect();
        remarks.extend(self.loaded.diagnostics.iter().map(|one| Remark {
            place: Some(Place {
                file: one.file.to_string(),
                line: one.position.line as usize,
                column: one.position.column as usize,
            }),
            diagnostic: one.diagnostic.clone(),
            excerpt: None,
        }));
        remarks.sort_by(|a, b| (&a.place, &a.diagnostic).cmp(&(&b.place, &b.diagnostic)));
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for remark in &mut remarks {
            let Some(place) = &remark.place else { continue };
            let lines = texts.entry(place.file.clone()).or_insert_with(|| {
                // Standard input cannot be read again; then places go without their lines.
                let text = std::fs::read_to_string(&place.file).unwrap_or_default();
                text.lines().map(ToOwned::to_owned).collect()
            });
            remark.excerpt = place.line.checked_sub(1).and_then(|at| lines.get(at)).cloned();
        }
        remarks
    }

    /// Says on standard error that something is not served as written, where that is so.
    pub(super) fn warn_of_errors(&self) {
        let report = &self.translation.report;
        let from_files = &self.loaded.diagnostics;
        let errors = report.count(Severity::Error)
            + from_files.iter().filter(|d| d.diagnostic.severity == Severity::Error).count();
        if errors > 0 {
            let what = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
            let message = format!("{what} in these manifests; `portcullis lint` says which");
            complain(Tone::Warning, "warning", &message);
        }
    }
}
