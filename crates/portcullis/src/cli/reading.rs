//! Manifests or an API server read once, for commands that only look: objects, translation, and
//! where things stand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use controller::{Loaded, LoadedCluster};
use model::{Diagnostic, FieldPath, ObjectRef, Severity};
use translate::manifests::{FileDiagnostic, Position};
use translate::{Memo, ObjectEvent, Translation};

use super::paint::Tone;
use super::render::{Located, Place};
use super::{Failure, complain};
use crate::control::Control;
use crate::settings::Settings;
use crate::wiring;

/// How long an API server may take to list everything.
const PATIENCE: Duration = Duration::from_mins(1);

/// What manifests or an API server say.
pub(super) struct Reading {
    /// The files; none where objects came from an API server.
    loaded: Option<Loaded>,
    /// What is to be said beside the report.
    beside: Vec<FileDiagnostic>,
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
    /// Reads what the settings name, and translates it.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failure> {
        if wiring::is_cluster(settings) {
            return Self::of_cluster(settings);
        }
        if settings.manifests.is_empty() {
            return Err(Failure::usage(
                "name a directory, a file, `-` for standard input, or a cluster with --cluster",
            ));
        }
        let paths: Vec<PathBuf> = settings.manifests.iter().map(PathBuf::from).collect();
        let loaded = controller::load(&paths).map_err(|error| Failure::usage(error.to_string()))?;
        let is_object = |event: &&ObjectEvent| matches!(event, ObjectEvent::Applied(_));
        let objects = loaded.events.iter().filter(is_object).count();
        let store = loaded.store();
        let translation = translate::translate(&store, &chosen(settings), &mut Memo::default());
        let beside = loaded.diagnostics.clone();
        Ok(Self { loaded: Some(loaded), beside, translation, objects })
    }

    fn of_cluster(settings: &Settings) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::usage(error.to_string());
        let control = Control::start("control").map_err(|error| failed(&error))?;
        let connecting = wiring::api_server(settings);
        let clients = control.handle().block_on(connecting.connect());
        let cluster = wiring::cluster(settings, clients.map_err(|error| failed(&error))?);
        let loaded = controller::load_cluster(
            cluster,
            &chosen(settings),
            control.handle().clone(),
            PATIENCE,
        );
        let LoadedCluster { translation, diagnostics, objects } =
            loaded.map_err(|error| failed(&error))?;
        let nowhere =
            |diagnostic| FileDiagnostic { file: "".into(), position: Position::START, diagnostic };
        let beside = diagnostics.into_iter().map(nowhere).collect();
        Ok(Self { loaded: None, beside, translation, objects })
    }

    /// The name of the configuration.
    pub(super) fn generation(&self) -> String {
        self.translation.model.generation().to_string()
    }

    /// Where a field was written.
    pub(super) fn place(&self, object: &ObjectRef, field: &FieldPath) -> Option<Place> {
        let (file, position) = self.loaded.as_ref()?.locate(object, field)?;
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
        remarks.extend(self.beside.iter().map(|one| Remark {
            place: self.loaded.as_ref().map(|_| Place {
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
        let errors = report.count(Severity::Error)
            + self.beside.iter().filter(|d| d.diagnostic.severity == Severity::Error).count();
        if errors > 0 {
            let what = if errors == 1 { "1 error".to_owned() } else { format!("{errors} errors") };
            let message = format!("{what} in these objects; `portcullis lint` says which");
            complain(Tone::Warning, "warning", &message);
        }
    }
}

/// How objects are read.
fn chosen(settings: &Settings) -> translate::Settings {
    translate::Settings { now: wiring::seconds_now(), ..wiring::translation(settings) }
}
