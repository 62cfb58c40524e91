//! Serve: our own proxy, a thread per core.
//!
//! ```text
//! accept → by listener: plain | TLS                         downstream/
//!   → head parsed, refused or canonical          wire       is it a message
//!   → decide: host, route, filters, backends     decide     what should happen, and why
//!   → balance → pool or connect → send           upstream/  which endpoint, get an answer
//!   → relay both directions                      exchange
//!   → one record                                 telemetry  what happened
//! ```
//!
//! Protocols differ only in `downstream/*` and `upstream/*`; they meet in one exchange. Workers
//! read one immutable [`Snapshot`] by one pointer; [`Proxy::publish`] swaps it.

mod account;
mod answer;
mod body;
mod buffer;
mod compile;
mod decide;
mod downstream;
mod error;
mod exchange;
mod farewell;
mod handle;
mod http2;
mod publish;
mod registry;
mod settings;
mod snapshot;
mod sockets;
mod splice;
mod transport;
mod upstream;
mod watch;
mod withdrawal;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{EndpointTable, KeyMaterial, Model};
use telemetry::Telemetry;

pub use decide::{
    Decision, Facts, RequestLine, Scratch, SplitView, Step, Trace, Verdict, asks_for_health, decide,
};
pub use downstream::client::Identity;
pub use downstream::tickets::TicketKey;
pub use error::{Side, StartError};
pub use publish::{Phase, PublishOutcome};
pub use settings::{Limits, ProxySettings};
pub use snapshot::{CompiledRoute, CompiledUpstream, ListenerFacts, Snapshot};

use compile::Inputs;
use downstream::tickets::Tickets;
use publish::{Published, Publisher};
use registry::Registry;
use upstream::tls::ClientConfigs;
use worker::{Command, Start};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    publisher: Arc<Publisher>,
    tickets: Arc<Tickets>,
}

/// Compiles a Model without serving it, for commands that only ask.
#[must_use]
pub fn compile(model: &Model, endpoints: &EndpointTable, material: &KeyMaterial) -> Snapshot {
    let telemetry = Telemetry::new(telemetry::TelemetrySettings::new(0));
    let listeners = model
        .listeners
        .iter()
        .map(|listener| ListenerFacts::new(listener, listener.address))
        .collect();
    let inputs = Inputs { endpoints, material, listeners, telemetry: &telemetry, previous: None };
    compile::compile(model, &inputs, &mut Registry::default())
}

/// Starts the workers. They serve nothing until the first publication.
///
/// # Errors
/// When a thread or its runtime cannot be made, or TLS cannot be set up.
pub fn start(settings: ProxySettings, telemetry: &Arc<Telemetry>) -> Result<Proxy, StartError> {
    let settings = Arc::new(settings);
    let empty = compile(&Model::default(), &EndpointTable::new(), &KeyMaterial::new());
    let published = Arc::new(Published::new(empty));
    let (tls, tickets) = downstream::tls::server_config(published.clone())?;
    let client_tls = Arc::new(ClientConfigs::default());
    let mut workers = Vec::with_capacity(settings.workers);
    for index in 0..settings.workers {
        let telemetry = telemetry.clone();
        let start = Start {
            index,
            published: published.clone(),
            settings: settings.clone(),
            unrouted: telemetry.unrouted(),
            metrics: Box::new(move || telemetry.worker(index)),
            tls: tls.clone(),
            client_tls: client_tls.clone(),
        };
        workers.push(worker::spawn(start).map_err(StartError::Worker)?);
    }
    let publisher = Arc::new(Publisher::new(published, telemetry.clone(), workers));
    spawn_janitor(&publisher).map_err(StartError::Worker)?;
    Ok(Proxy { publisher, tickets })
}

/// Frees retired snapshots once a second, until the proxy is dropped.
fn spawn_janitor(publisher: &Arc<Publisher>) -> std::io::Result<()> {
    let publisher = Arc::downgrade(publisher);
    std::thread::Builder::new().name("retire".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let Some(publisher) = publisher.upgrade() else { return };
            publisher.retire();
        }
    })?;
    Ok(())
}

impl Proxy {
    /// Compiles a Model and serves it: binds its listeners, swaps the snapshot.
    pub fn publish(
        &self,
        model: &Model,
        endpoints: &EndpointTable,
        material: &KeyMaterial,
    ) -> PublishOutcome {
        self.publisher.publish(model, endpoints, material)
    }

    /// Serves other endpoints; the Model and everything compiled from it stay.
    pub fn replace_endpoints(&self, endpoints: &EndpointTable) {
        self.publisher.replace_endpoints(endpoints);
    }

    /// Seals TLS session tickets with the first of these keys from now on, and opens them with
    /// each: replicas with the same keys resume each other's sessions. Without any, the process has
    /// a key of its own.
    pub fn replace_ticket_keys(&self, keys: &[TicketKey]) {
        self.tickets.replace(keys);
    }

    /// What is served now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.publisher.published.served()
    }

    /// Frees snapshots that nobody holds any more; answers how many are still held.
    pub fn retire(&self) -> usize {
        self.publisher.retire()
    }

    /// Open client connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.publisher.published.connections.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// How far the process is on its way out.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.publisher.published.phase()
    }

    /// Lets the health path fail; everything is still accepted.
    pub fn leave(&self) {
        self.publisher.published.set_phase(Phase::Leaving);
    }

    /// Accepts nothing more and ends connections as they become idle.
    pub fn drain(&self) {
        self.publisher.published.set_phase(Phase::Draining);
        self.publisher.workers.iter().for_each(|worker| worker.send(Command::Drain));
    }

    /// Waits until no client connection is left, or `timeout` has passed; answers how many are.
    pub fn wait_drained(&self, timeout: Duration) -> usize {
        let until = Instant::now() + timeout;
        loop {
            let left = self.connections();
            if left == 0 || Instant::now() >= until {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Cuts what is left and ends the workers.
    pub fn stop(&self) {
        self.publisher.published.set_phase(Phase::Stopping);
        for worker in &self.publisher.workers {
            worker.send(Command::Stop);
        }
        self.publisher.workers.iter().for_each(worker::WorkerHandle::join);
    }
}
