//! The gateway: settings in, everything wired, served, drained, stopped.
//!
//! ```text
//! directory or API server ─► controller ─► publish ─► proxy (workers)
//!                                  └─────► report ──► process log, metrics, /snapshot
//! control runtime ─► admin, names
//! ```

mod reload;
mod report;
mod snapshot;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use controller::{Change, Clients, Controller, ControllerSettings, Source};
use model::{Diagnostic, ListenerId, ListenerProtocol, Report};
use proxy::{Phase, Proxy, TicketKey};
use telemetry::Telemetry;
use translate::Translation;

use crate::admin::{self, Admin, Readiness};
use crate::control::Control;
use crate::machine;
use crate::settings::{Settings, SettingsError};
use crate::signals::{Signals, Wish};
use crate::{webhook, wiring};

/// Why the gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// A setting that only the attempt showed to be wrong.
    Settings(SettingsError),
    /// Nothing says where objects are read.
    NoSource,
    /// There is no way to the API server.
    Cluster(controller::ConnectError),
    /// A path of manifests does not exist, or a thread could not be made.
    Controller(io::Error),
    /// The workers could not be started.
    Proxy(proxy::StartError),
    /// The control runtime could not be started.
    Control(io::Error),
    /// Not one address could be bound.
    NothingBound(Vec<String>),
    /// The first configuration did not come to be.
    NothingPublished,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::NoSource => f.write_str(
                "no manifests to serve\n  help: name a directory, a file or `-` with --manifests, \
                 read from an API server with --cluster, or see `portcullis demo`",
            ),
            Self::Cluster(error) => write!(
                f,
                "{error}\n  help: name a kubeconfig with --kubeconfig, or serve manifests with \
                 --manifests"
            ),
            Self::Controller(error) => error.fmt(f),
            Self::Proxy(error) => error.fmt(f),
            Self::Control(error) => write!(f, "the control runtime cannot be started: {error}"),
            Self::NothingBound(failures) => {
                f.write_str("no address could be bound")?;
                failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))?;
                f.write_str("\n  help: free them, or choose others with --http and --https")
            }
            Self::NothingPublished => f.write_str("the first configuration could not be built"),
        }
    }
}

impl std::error::Error for StartError {}

/// What is observed from outside while the gateway runs.
struct Shared {
    proxy: Proxy,
    telemetry: Arc<Telemetry>,
    /// Filled by each publication.
    bound: ArcSwap<Bound>,
    report: ArcSwap<Report>,
    is_published: AtomicBool,
    /// What is to be said of what is served was, once at least.
    is_told: AtomicBool,
    is_leaving: AtomicBool,
}

/// What the last publication bound, and what not.
#[derive(Debug, Default)]
struct Bound {
    listeners: Vec<(ListenerId, SocketAddr)>,
    failures: Vec<(ListenerId, String)>,
}

/// A running gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    /// Dropped in order: no build any more, then no admin.
    controller: Option<Controller>,
    _control: Control,
    admin: Vec<SocketAddr>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Starts everything; when this returns, the first configuration is served.
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        let gateway = Self::begin(settings)?;
        while !gateway.is_served()? {}
        Ok(gateway)
    }

    /// Starts everything; the first configuration is still to come.
    fn begin(settings: &Settings) -> Result<Self, StartError> {
        if settings.manifests.is_empty() && !wiring::is_cluster(settings) {
            return Err(StartError::NoSource);
        }
        let mut settings = settings.clone();
        wiring::settle_ports(&mut settings).map_err(StartError::Controller)?;
        let open_files = machine::raise_open_files();
        let (workers, why) = wiring::workers(&settings);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            workers,
            workers_because = why,
            open_files,
            "starting"
        );
        let telemetry = wiring::telemetry(&settings, workers).map_err(StartError::Settings)?;
        let telemetry = Telemetry::new(telemetry);
        let control = Control::start("control").map_err(StartError::Control)?;
        let proxy = proxy::start(wiring::proxy(&settings, workers, open_files), &telemetry)
            .map_err(StartError::Proxy)?;
        let shared = Arc::new(Shared {
            proxy,
            telemetry: Arc::clone(&telemetry),
            bound: ArcSwap::default(),
            report: ArcSwap::default(),
            is_published: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
        });
        let admin = start_admin(&settings, &shared, &control);
        let controller = start_controller(&settings, &shared, &control)?;
        Ok(Self { shared, controller: Some(controller), _control: control, admin })
    }

    /// Waits for the first configuration, a moment; an error when it cannot be served anywhere.
    /// Reading may take as long as it takes: standard input ends when somebody ends it.
    fn is_served(&self) -> Result<bool, StartError> {
        let controller = self.controller.as_ref().ok_or(StartError::NothingPublished)?;
        if !controller.wait_first_publish(Duration::from_millis(50)) {
            return Ok(false);
        }
        let bound = self.shared.bound.load();
        if bound.listeners.is_empty() && !bound.failures.is_empty() {
            let failures = bound.failures.iter().map(|(id, error)| format!("{id}: {error}"));
            return Err(StartError::NothingBound(failures.collect()));
        }
        Ok(true)
    }

    /// Every address that is bound, with its protocol.
    pub fn addresses(&self) -> Vec<(ListenerProtocol, SocketAddr)> {
        let bound = self.shared.bound.load();
        bound.listeners.iter().map(|(id, address)| (id.protocol, *address)).collect()
    }

    /// The first address that speaks this protocol.
    pub fn address(&self, protocol: ListenerProtocol) -> Option<SocketAddr> {
        self.addresses().into_iter().find(|(p, _)| *p == protocol).map(|(_, address)| address)
    }

    /// The addresses of the admin listener.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin
    }

    /// The generation that is served.
    pub fn generation(&self) -> model::Generation {
        self.shared.proxy.snapshot().generation()
    }

    /// All that is said about the objects that are served now.
    pub fn report(&self) -> Report {
        let latest = self.controller.as_ref().and_then(Controller::latest);
        latest.map(|translation| translation.report.clone()).unwrap_or_default()
    }

    /// Listens where these settings say, from the next publication on: added addresses are bound,
    /// removed ones are drained, all others notice nothing.
    pub fn replace_listeners(&mut self, settings: &Settings) -> io::Result<()> {
        let mut settings = settings.clone();
        wiring::settle_ports(&mut settings)?;
        if let Some(controller) = &mut self.controller {
            controller.replace_listeners(wiring::listeners(&settings));
        }
        Ok(())
    }

    /// Lets readiness fail; everything is still accepted.
    pub fn leave(&self) {
        self.shared.is_leaving.store(true, Ordering::Relaxed);
        if let Some(controller) = &self.controller {
            controller.leave();
        }
        self.shared.proxy.leave();
    }

    /// Accepts nothing more, and waits for what is in flight; answers how many connections are left
    /// after `timeout`.
    pub fn drain(&self, timeout: Duration) -> usize {
        self.leave();
        self.shared.proxy.drain();
        self.shared.proxy.wait_drained(timeout)
    }

    /// Cuts what is left, and ends every thread.
    pub fn stop(mut self) {
        self.leave();
        drop(self.controller.take());
        self.shared.proxy.stop();
        // What was logged last is written before the process ends.
        self.shared.telemetry.flush(Duration::from_secs(2));
    }
}

/// Binds and serves what can be bound of the admin addresses; the others are told.
fn start_admin(settings: &Settings, shared: &Arc<Shared>, control: &Control) -> Vec<SocketAddr> {
    let (admin, failures) = Admin::bind(&Settings::addresses(&settings.admin));
    for (address, error) in failures {
        tracing::error!(
            %address,
            %error,
            "admin listener not bound: free the address, or choose another with --admin"
        );
    }
    let bound = admin.addresses().to_vec();
    for address in &bound {
        tracing::info!(address = %format_args!("http://{address}"), "admin listening");
    }
    admin.serve(Arc::clone(shared) as Arc<dyn admin::Facts>, control);
    bound
}

fn start_controller(
    settings: &Settings,
    shared: &Arc<Shared>,
    control: &Control,
) -> Result<Controller, StartError> {
    let (mut source, clients) = source(settings, control)?;
    if let Source::Cluster(cluster) = &mut source
        && let Some(report) = &mut cluster.report
    {
        let shared = Arc::clone(shared);
        report.ticket_keys = wiring::ticket_keys(settings, move |keys| {
            let keys: Vec<TicketKey> = keys.iter().map(TicketKey::new).collect();
            shared.proxy.replace_ticket_keys(&keys);
        });
    }
    let controller = ControllerSettings {
        source,
        last_good: wiring::last_good(settings),
        translation: wiring::translation(settings),
        runtime: Some(control.handle().clone()),
        name_servers: settings.name_server.clone(),
    };
    let publisher = Arc::clone(shared);
    let publish =
        move |translation: &Translation, change: Change| publisher.publish(translation, change);
    let reporter = Arc::clone(shared);
    let tell = move |report: &Report| reporter.tell(report);
    let telemetry = Arc::clone(&shared.telemetry);
    let controller = controller::start(controller, telemetry, Box::new(publish), Box::new(tell))
        .map_err(StartError::Controller)?;
    webhook::start::start(settings, &controller, clients.as_ref(), &shared.telemetry, control);
    Ok(controller)
}

/// Where objects are read; with it how to reach the API server, where that is it.
pub(crate) fn source(
    settings: &Settings,
    control: &Control,
) -> Result<(Source, Option<Clients>), StartError> {
    if !wiring::is_cluster(settings) {
        if settings.manifests.is_empty() {
            return Err(StartError::NoSource);
        }
        let paths = settings.manifests.iter().map(PathBuf::from);
        return Ok((Source::Manifests(paths.collect()), None));
    }
    let connecting = wiring::api_server(settings);
    let clients = control.handle().block_on(connecting.connect());
    let clients = clients.map_err(StartError::Cluster)?;
    Ok((Source::Cluster(Box::new(wiring::cluster(settings, clients.clone()))), Some(clients)))
}

impl Shared {
    /// Has the proxy serve a translation; what cannot be bound is a diagnostic.
    fn publish(&self, translation: &Translation, change: Change) -> Vec<Diagnostic> {
        match change {
            Change::EndpointsOnly => {
                self.proxy.replace_endpoints(&translation.endpoints);
                Vec::new()
            }
            Change::Full | Change::CertificatesOnly => {
                let Translation { model, endpoints, material, .. } = translation;
                let outcome = self.proxy.publish(model, endpoints, material);
                let failures: Vec<(ListenerId, String)> =
                    outcome.failed.iter().map(|(id, error)| (*id, error.to_string())).collect();
                let diagnostics =
                    failures.iter().map(|(id, error)| report::not_bound(id, error)).collect();
                let bound = Bound { listeners: outcome.bound, failures };
                report::log_listeners(&self.bound.load().listeners, &bound.listeners);
                self.bound.store(Arc::new(bound));
                self.is_published.store(true, Ordering::Release);
                diagnostics
            }
        }
    }

    /// Logs what is new in a report, and keeps it for `/snapshot`.
    fn tell(&self, report: &Report) {
        report::log_news(&self.report.load(), report);
        self.report.store(Arc::new(report.clone()));
        self.is_told.store(self.is_published.load(Ordering::Acquire), Ordering::Release);
    }
}

impl admin::Facts for Shared {
    fn readiness(&self) -> Readiness {
        if self.is_leaving.load(Ordering::Relaxed) || self.proxy.phase() != Phase::Serving {
            return Readiness::NotReady("the gateway is draining");
        }
        // And what is to be said of it can be asked for.
        if !self.is_told.load(Ordering::Acquire) {
            return Readiness::NotReady("no configuration is served yet");
        }
        if self.bound.load().listeners.is_empty() {
            return Readiness::NotReady("no listener is bound");
        }
        Readiness::Ready
    }

    fn metrics(&self) -> String {
        self.telemetry.render_prometheus()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::document(
            &self.proxy.snapshot(),
            &self.bound.load().listeners,
            &self.report.load(),
        )
    }
}

/// Reads the settings anew.
pub type Reload<'r> = &'r dyn Fn() -> Result<Settings, Vec<SettingsError>>;

/// `portcullis run`: serves until told to end; then drains as the settings say.
pub fn run(settings: &Settings, reload: Reload<'_>) -> Result<ExitCode, StartError> {
    wiring::process_log(settings);
    // Before anything else, so that a signal during the start ends the start.
    let control = Control::start("signals").map_err(StartError::Control)?;
    let handle = control.handle();
    let mut signals = handle.block_on(async { Signals::listen() }).map_err(StartError::Control)?;
    let gateway = Gateway::begin(settings)?;
    while !gateway.is_served()? {
        // Only looked at: nothing is served yet that could be drained.
        let told = async { tokio::time::timeout(Duration::ZERO, signals.next()).await };
        if handle.block_on(told) == Ok(Wish::End) {
            gateway.stop();
            return Ok(ExitCode::SUCCESS);
        }
    }
    Ok(serve_until_told(gateway, signals, &control, settings.clone(), reload))
}

/// Does what signals wish until one says to end; then drains and stops. Told again, it ends at
/// once.
pub(crate) fn serve_until_told(
    mut gateway: Gateway,
    mut signals: Signals,
    control: &Control,
    mut settings: Settings,
    reload: Reload<'_>,
) -> ExitCode {
    let handle = control.handle();
    loop {
        match handle.block_on(signals.next()) {
            Wish::End => break,
            Wish::Reopen => {
                gateway.shared.telemetry.reopen_access_log();
                tracing::info!("access log opened anew");
            }
            Wish::Reload => reload::apply(&mut gateway, &mut settings, reload()),
        }
    }
    gateway.leave();
    let second = async move { while signals.next().await != Wish::End {} };
    let second = handle.spawn(second);
    let is_told_again = || second.is_finished();
    if !settings.drain_delay.is_zero() {
        tracing::info!(delay = ?settings.drain_delay, "leaving: readiness fails, all is accepted");
        wait(settings.drain_delay, is_told_again);
    }
    let connections = gateway.shared.proxy.connections();
    tracing::info!(connections, timeout = ?settings.drain_timeout, "draining");
    gateway.shared.proxy.drain();
    wait(settings.drain_timeout, || is_told_again() || gateway.shared.proxy.connections() == 0);
    let left = gateway.shared.proxy.connections();
    if left > 0 {
        let why = if is_told_again() { "told again" } else { "the drain timeout has passed" };
        tracing::warn!(connections = left, why, "cutting what is left");
    }
    gateway.stop();
    tracing::info!("ended");
    ExitCode::SUCCESS
}

/// Waits until `is_over`, at most this long.
fn wait(most: Duration, is_over: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(20);
    let mut left = most;
    while !left.is_zero() && !is_over() {
        let step = left.min(STEP);
        std::thread::sleep(step);
        left -= step;
    }
}
