//! Reads manifests or an API server once, for commands that look at them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use model::{Code, Diagnostic, FieldPath, ObjectRef, Report};
use telemetry::{Telemetry, TelemetrySettings};
use tokio::runtime::Handle;
use translate::manifests::{FileDiagnostic, Position};
use translate::{Memo, ObjectEvent, ObjectStore, Settings, Translation};

use crate::cluster::{self, ClusterSettings, Inflow, Watches};
use crate::compiler::Message;
use crate::report::reason;
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

/// Why an API server could not be read.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be asked anything.
    Unreachable {
        /// Where it should be.
        address: String,
        /// What came of a question.
        why: String,
    },
    /// It has not listed these in time.
    TooSlow(Vec<Arc<str>>),
    /// It refuses to list something.
    Forbidden(Box<Diagnostic>),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { address, why } => {
                write!(f, "the API server at {address} does not answer: {why}\n  help: is it up?")
            }
            Self::TooSlow(missing) => {
                let missing = missing.join(", ");
                write!(f, "the API server has not listed in time: {missing}\n  help: is it up?")
            }
            Self::Forbidden(diagnostic) => {
                f.write_str(&diagnostic.message)?;
                write!(f, "\n  help: {}", diagnostic.help.as_deref().unwrap_or_default())
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// What an API server said, translated.
#[derive(Debug)]
pub struct LoadedCluster {
    /// What a gateway would serve.
    pub translation: Translation,
    /// What is to be said beside it, such as of Secrets that may not be read.
    pub diagnostics: Vec<Diagnostic>,
    /// How many objects were read.
    pub objects: usize,
}

/// Reads an API server once, as [`crate::start`] would, with the objects that Ingresses name.
///
/// # Errors
/// When it does not list within `patience`, or refuses.
pub fn load_cluster(
    cluster: ClusterSettings,
    settings: &Settings,
    runtime: Handle,
    patience: Duration,
) -> Result<LoadedCluster, LoadError> {
    reach(&cluster, &runtime, patience)?;
    let (inbox, messages) = bounded(1);
    let inflow = Inflow::new(inbox);
    let telemetry = Telemetry::new(TelemetrySettings::new(1));
    let watches = Watches::start(cluster, Arc::clone(&inflow), None, telemetry, runtime);
    let deadline = crossbeam_channel::after(patience);
    let mut objects = ObjectStore::new();
    let mut told = 0;
    loop {
        let (diagnostics, events) = wait(&messages, &deadline, &inflow)?;
        for event in events {
            told += usize::from(matches!(event, ObjectEvent::Applied(_)));
            objects.apply(event);
        }
        if !objects.is_synced() {
            let refused = diagnostics.into_iter().find(|one| one.code == Code::ReadForbidden);
            if let Some(refused) = refused {
                return Err(LoadError::Forbidden(Box::new(refused)));
            }
            continue;
        }
        let mut translation = translate::translate(&objects, settings, &mut Memo::default());
        if watches.want(&translation.references).is_empty() {
            let mut found = translation.report.diagnostics().to_vec();
            let diagnostics = cluster::explain(&mut found, &diagnostics);
            translation.report = Report::new(found);
            return Ok(LoadedCluster { translation, diagnostics, objects: told });
        }
    }
}

/// Asks a first question: watches would try for ever. What it refuses is for them to find out.
fn reach(cluster: &ClusterSettings, runtime: &Handle, patience: Duration) -> Result<(), LoadError> {
    let unreachable =
        |why| LoadError::Unreachable { address: cluster.clients.address.clone(), why };
    let question = cluster.clients.reading.apiserver_version();
    match runtime.block_on(async { tokio::time::timeout(patience, question).await }) {
        Ok(Ok(_) | Err(kube::Error::Api(_))) => Ok(()),
        Ok(Err(error)) => Err(unreachable(reason(&error))),
        Err(_) => Err(unreachable(format!("nothing came in {patience:?}"))),
    }
}

/// Waits for news: what is to be said now, and what changed.
fn wait(
    messages: &Receiver<Message>,
    deadline: &Receiver<std::time::Instant>,
    inflow: &Inflow,
) -> Result<(Vec<Diagnostic>, Vec<ObjectEvent>), LoadError> {
    crossbeam_channel::select! {
        recv(messages) -> _ => {
            let batch = inflow.take();
            Ok((batch.diagnostics, batch.events))
        }
        recv(deadline) -> _ => Err(LoadError::TooSlow(inflow.unsynced())),
    }
}
