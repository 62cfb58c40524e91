//! `portcullis webhook`: a process that reviews Ingresses and serves no traffic.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use controller::{ControllerSettings, Source};
use telemetry::Telemetry;

use super::start::start;
use crate::admin::{self, Admin, Readiness};
use crate::control::Control;
use crate::run::{StartError, source};
use crate::settings::{Settings, SettingsError};
use crate::signals::{Signals, Wish};
use crate::wiring;

/// What the admin listener tells of such a process.
struct Facts {
    telemetry: Arc<Telemetry>,
    /// All objects have been read.
    is_read: AtomicBool,
    is_leaving: AtomicBool,
}

impl admin::Facts for Facts {
    fn readiness(&self) -> Readiness {
        if self.is_leaving.load(Ordering::Relaxed) {
            return Readiness::NotReady("the webhook is ending");
        }
        if !self.is_read.load(Ordering::Acquire) {
            return Readiness::NotReady("the objects of the cluster have not been read yet");
        }
        Readiness::Ready
    }

    fn metrics(&self) -> String {
        self.telemetry.render_prometheus()
    }

    fn snapshot(&self) -> Vec<u8> {
        b"{}".to_vec()
    }
}

/// Reviews until told to end.
pub(crate) fn run(settings: &Settings) -> Result<ExitCode, StartError> {
    wiring::process_log(settings);
    if settings.webhook.at().is_none() {
        let error = SettingsError::new("--webhook: names no address to listen on");
        return Err(StartError::Settings(error));
    }
    let control = Control::start("control").map_err(StartError::Control)?;
    let signals = control.handle().block_on(async { Signals::listen() });
    let mut signals = signals.map_err(StartError::Control)?;
    let telemetry = wiring::telemetry(settings, 1).map_err(StartError::Settings)?;
    let telemetry = Telemetry::new(telemetry);
    let facts = Arc::new(Facts {
        telemetry: Arc::clone(&telemetry),
        is_read: AtomicBool::new(false),
        is_leaving: AtomicBool::new(false),
    });
    let (listeners, failures) = Admin::bind(&Settings::addresses(&settings.admin));
    for (address, error) in failures {
        tracing::error!(%address, %error, "admin listener not bound");
    }
    listeners.serve(Arc::clone(&facts) as Arc<dyn admin::Facts>, &control);
    let (mut source, clients) = source(settings, &control)?;
    if let Source::Cluster(cluster) = &mut source {
        // Who serves says what is served.
        cluster.report = None;
    }
    let wanted = ControllerSettings {
        source,
        last_good: None,
        translation: wiring::translation(settings),
        // Names are not asked for: nothing is sent anywhere.
        runtime: Some(control.handle().clone()),
        name_servers: settings.name_server.clone(),
    };
    let read = Arc::clone(&facts);
    let publish = move |_: &translate::Translation, _| {
        read.is_read.store(true, Ordering::Release);
        Vec::new()
    };
    let tell = |_: &model::Report| {};
    let controller =
        controller::start(wanted, Arc::clone(&telemetry), Box::new(publish), Box::new(tell))
            .map_err(StartError::Controller)?;
    let bound = start(settings, &controller, clients.as_ref(), &telemetry, &control);
    if bound.is_none() {
        let error = SettingsError::new("--webhook: the address cannot be listened on");
        return Err(StartError::Settings(error));
    }
    while control.handle().block_on(signals.next()) != Wish::End {}
    facts.is_leaving.store(true, Ordering::Relaxed);
    if !settings.drain_delay.is_zero() {
        // The API server may still call here until it has heard that we leave.
        let delay = async { tokio::time::sleep(settings.drain_delay).await };
        control.handle().block_on(delay);
    }
    controller.stop();
    Ok(ExitCode::SUCCESS)
}
