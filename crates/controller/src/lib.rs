//! Watch and report: sources to compiler to whoever serves and whoever is told.
//!
//! ```text
//!  directory ─ Batch ──►┐
//!  cluster ── Inflow ──►│
//!  resolver ─ answer ──►├─ compiler thread ─ translate ─► publish (the program's) ─► report
//!  operator ─ listeners►┘        owns the objects
//! ```
//!
//! This crate never serves: what is built is handed to the function that [`start`] was given. It is
//! handed over only once everything that was there at the start has been read.

mod changes;
mod check;
mod cluster;
mod compiler;
mod last_good;
mod latest;
mod load;
mod relevance;
mod report;
mod resolve;
mod reviews;
mod source;
mod webhook_certificate;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use model::{Diagnostic, Listener, Report};
use telemetry::{BuildKind, Telemetry};
use translate::{References, Settings, Translation};

pub use check::{Check, CheckSettings, Expected, Named, Outcome, check};
pub use cluster::{
    ApiServer, Clients, ClusterSettings, ConnectError, Scope, is_in_pod, pod_namespace,
};
pub use last_good::LastGood;
pub use load::{LoadError, Loaded, LoadedCluster, load, load_cluster};
pub use report::{
    Address, Condition, Leads, Published, Replica, Replicas, ReportSettings, TICKET_KEY_LEN,
    TicketKeySettings, UseKeys, replicas,
};
pub use resolve::local_addresses;
pub use reviews::Reviewer;
pub use webhook_certificate::{KeyPair, WebhookCertificate, keep_webhook_certificate};

use cluster::{Inflow, Watches};
use compiler::{Compiler, MESSAGES_MAX, Message, Outside, Served, Want};
use last_good::Keeper;
use latest::Latest;
use report::{Observed, Reporter};
use resolve::{Names, SystemLookup};
use source::Watching;
use source::directory::Directory;

/// How much of what is served a publish changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Anything.
    Full,
    /// Endpoints; the Model and the keys are what they were.
    EndpointsOnly,
    /// Certificates, server names and keys; everything else is what it was.
    CertificatesOnly,
}

impl Change {
    fn build_kind(self) -> BuildKind {
        match self {
            Self::Full => BuildKind::Full,
            Self::EndpointsOnly => BuildKind::Endpoints,
            Self::CertificatesOnly => BuildKind::Certificates,
        }
    }
}

/// Has a translation served, and says what was observed, such as an address that cannot be bound.
/// Observations hold until the next publish that is more than endpoints.
pub type Publish = Box<dyn FnMut(&Translation, Change) -> Vec<Diagnostic> + Send>;

/// Is told all diagnostics whenever they may have changed, after what they are about is served.
pub type Tell = Box<dyn FnMut(&Report) + Send>;

/// Where objects come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files, directories, or `-`.
    Manifests(Vec<PathBuf>),
    /// An API server.
    Cluster(Box<ClusterSettings>),
}

/// What [`start`] needs besides functions.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// Where objects come from.
    pub source: Source,
    /// What translation depends on besides objects. Without `now`, the time of each build is taken.
    pub translation: Settings,
    /// Where what is served is kept, for the next start.
    pub last_good: Option<LastGood>,
    /// Where names are resolved; without it names have no endpoints. Needs I/O and time enabled.
    pub runtime: Option<tokio::runtime::Handle>,
    /// Whom names are asked of; where nobody is named, of whom the system asks.
    pub name_servers: Vec<SocketAddr>,
}

/// A running controller. Stops when dropped.
#[derive(Debug)]
pub struct Controller {
    inbox: Sender<Message>,
    compiler: Option<JoinHandle<()>>,
    source: Option<Running>,
    keeper: Option<Keeper>,
    reporter: Option<Arc<Reporter>>,
    latest: Arc<Latest>,
    settings: Settings,
}

/// A source that runs, until it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "held to be dropped")]
enum Running {
    Manifests(Watching),
    Cluster(Arc<Watches>),
}

/// Starts reading, watching and building.
///
/// # Errors
/// When a path does not exist, no thread can be started, or there is a cluster and no runtime.
pub fn start(
    settings: ControllerSettings,
    telemetry: Arc<Telemetry>,
    publish: Publish,
    report: Tell,
) -> io::Result<Controller> {
    let (inbox, messages) = bounded(MESSAGES_MAX);
    let mut reporter = None;
    // Paths are looked at before anything runs.
    let source = match settings.source {
        Source::Manifests(paths) => Reader::Directory(Box::new(Directory::open(&paths)?)),
        Source::Cluster(cluster) => {
            let runtime = settings.runtime.clone();
            let runtime = runtime.ok_or_else(|| io::Error::other("a cluster needs a runtime"))?;
            let inflow = Inflow::new(inbox.clone());
            let telemetry = Arc::clone(&telemetry);
            let observed = cluster.report.clone().map(|settings| {
                let observed = Arc::new(Observed::new(settings.manager()));
                let (seen, telemetry) = (Arc::clone(&observed), Arc::clone(&telemetry));
                let started = report::start(settings, &cluster.clients, seen, telemetry, &runtime);
                reporter = Some(Arc::new(started));
                observed
            });
            let watches = Watches::start(*cluster, inflow, observed, telemetry, runtime);
            Reader::Cluster(Arc::new(watches))
        }
    };
    let want = match &source {
        Reader::Directory(_) => None,
        Reader::Cluster(watches) => {
            let watches = Arc::clone(watches);
            Some(Box::new(move |references: &References| watches.want(references)) as Want)
        }
    };
    let names = settings.runtime.map(|runtime| {
        let inbox = inbox.clone();
        let tell: resolve::Tell = Arc::new(move |query, resolved| {
            inbox.try_send(Message::Resolved(query.clone(), resolved.clone())).is_ok()
        });
        Names::new(runtime, SystemLookup::new(settings.name_servers), tell)
    });
    let latest = Arc::new(Latest::default());
    let last_good = settings.last_good.as_ref().and_then(read_last_good);
    let keeper = match settings.last_good {
        Some(last_good) => Some(Keeper::start(last_good, Arc::clone(&latest))?),
        None => None,
    };
    let served = reporter.clone().map(|reporter| {
        Box::new(move |served: &Arc<Translation>| reporter.served(served)) as Served
    });
    let shared = Arc::clone(&latest);
    let outside = Outside { last_good, want, served, publish, report, telemetry, latest: shared };
    let compiler = Compiler::new(settings.translation.clone(), names, outside);
    let compiler = std::thread::Builder::new()
        .name("compiler".into())
        .spawn(move || compiler.run(&messages))?;
    let source = match source {
        Reader::Directory(directory) => {
            let batches = inbox.clone();
            let tell = move |batch| batches.send(Message::Batch(batch)).is_ok();
            Running::Manifests(Watching::start(*directory, tell)?)
        }
        Reader::Cluster(watches) => Running::Cluster(watches),
    };
    Ok(Controller {
        inbox,
        compiler: Some(compiler),
        source: Some(source),
        keeper,
        reporter,
        latest,
        settings: settings.translation,
    })
}

/// What an earlier process served last, where it can be read.
fn read_last_good(last_good: &LastGood) -> Option<Translation> {
    let path = last_good.path.display();
    match last_good.read() {
        Ok(translation) => Some(translation),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::info!(%path, "no last good configuration there yet");
            None
        }
        Err(error) => {
            tracing::error!(%path, %error, "the last good configuration is not used");
            None
        }
    }
}

/// A source before anybody listens to it.
enum Reader {
    Directory(Box<Directory>),
    Cluster(Arc<Watches>),
}

impl Controller {
    /// What is served, with the whole report; `None` before the first publish.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<Translation>> {
        self.latest.get()
    }

    /// Whom to ask what is to be said of an Ingress before it is stored.
    #[must_use]
    pub fn reviewer(&self) -> Reviewer {
        Reviewer::new(self.inbox.clone())
    }

    /// Whether this process leads; `None` where there is no election.
    #[must_use]
    pub fn leads(&self) -> Option<Leads> {
        self.reporter.as_ref().map(|reporter| reporter.leads())
    }

    /// Waits for the first publish; `false` when it does not come in time.
    #[must_use]
    pub fn wait_first_publish(&self, timeout: Duration) -> bool {
        self.latest.wait(timeout)
    }

    /// Replaces the listeners; everything is built anew.
    pub fn replace_listeners(&mut self, listeners: Vec<Listener>) {
        self.settings.listeners = listeners;
        // Nobody listens only after a stop, and then nothing is served.
        let _ = self.inbox.send(Message::Settings(Box::new(self.settings.clone())));
    }

    /// This replica is about to end: another may lead. Everything else goes on; does not wait.
    pub fn leave(&self) {
        if let Some(reporter) = &self.reporter {
            reporter.leave();
        }
    }

    /// Stops watching and building, and waits for a build under way. What is served stays.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // First the compiler, so that a source that waits for it is let go.
        let _ = self.inbox.send(Message::Stop);
        if let Some(compiler) = self.compiler.take() {
            // A panic there was printed when it happened.
            let _ = compiler.join();
        }
        // What is told to the API server last needs what the watches have seen.
        drop(self.reporter.take());
        drop(self.source.take());
        // What was served last is kept.
        drop(self.keeper.take());
    }
}
