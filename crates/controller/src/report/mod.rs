//! Tells the API server what became of its objects: addresses in the status of Ingresses, and
//! Events. One of all replicas does so: the one that holds a Lease.
//!
//! ```text
//!  publish ─ Translation ─►┐                       ┌─► status.loadBalancer of each Ingress of ours
//!  watch ─ Observed ──────►├─ plans, without I/O ──┤
//!  Service, nodes ────────►│                       └─► Events, on the objects
//!  Lease ─ Leadership ────►┘
//! ```
//!
//! Beside it every replica says what it serves, on a Lease of its own, and reads the keys of TLS
//! session tickets, which who leads rotates.
//!
//! What must hold: only who leads writes, and only what is served already. Nothing here is ever
//! waited for by who serves: without an API server everything is served as before.

mod address;
mod address_source;
mod complaint;
mod election;
mod event;
mod event_writer;
mod events;
mod lease;
mod observed;
mod replica;
mod status;
mod status_writer;
mod ticket_keys;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use model::ObjectRef;
use telemetry::Telemetry;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use translate::Translation;

pub use address::Address;
pub(crate) use address::{OfService, of_service};
pub use address_source::Published;
pub(crate) use complaint::reason;
pub(crate) use observed::Observed;
#[cfg(test)]
pub(crate) use replica::sample;
pub use replica::{Condition, Replica, Replicas, replicas};
pub(crate) use replica::{ELECTION, seen};
pub use ticket_keys::{TICKET_KEY_LEN, TicketKeySettings, UseKeys};

use crate::cluster::Clients;
use election::{Candidate, TIMING};
use event::Teller;
use event_writer::EventWriter;
use events::Happening;
pub use lease::Leads;
use lease::{Election, Leadership, OnChange};
use replica::Presence;
use status_writer::{StatusWriter, Writer};
use ticket_keys::TicketKeys;

/// The longest name under which the API server knows a writer.
const MANAGER_MAX: usize = 128;

/// How long the end of the process waits for the last words to the API server.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Events of the election that wait to be told; further ones are not told.
const ELECTION_EVENTS_MAX: usize = 8;

/// What reporting depends on.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// The name of this pod: of the holder of the Lease, and of who tells Events.
    pub pod: String,
    /// The name of the node under it; empty where nobody knows.
    pub node: String,
    /// The version of this program.
    pub version: String,
    /// The namespace of the Lease.
    pub lease_namespace: String,
    /// The name of the Lease. Installations that serve different classes have different ones.
    pub lease_name: String,
    /// Who tells Events, such as `portcullis.io/ingress-controller`.
    pub controller: String,
    /// The addresses that status tells.
    pub published: Published,
    /// Take the addresses that we wrote out again when this process ends while it leads.
    pub clear_status_on_exit: bool,
    /// The keys of TLS session tickets that replicas share.
    pub ticket_keys: Option<TicketKeySettings>,
}

impl ReportSettings {
    /// The name under which this installation writes status: of its Lease, so that what one
    /// installation wrote is not taken for another's.
    #[must_use]
    pub fn manager(&self) -> String {
        let name = format!("portcullis/{}/{}", self.lease_namespace, self.lease_name);
        name[..name.floor_char_boundary(MANAGER_MAX)].to_owned()
    }
}

/// What tells the API server, while it runs.
#[derive(Debug)]
pub(crate) struct Reporter {
    leadership: watch::Receiver<Leadership>,
    served: watch::Sender<Option<Arc<Translation>>>,
    stop: watch::Sender<bool>,
    ended: Receiver<()>,
}

/// Starts to take part in the election, and to report while leading.
///
/// `observed` is what the watch of Ingresses fills.
#[must_use]
pub(crate) fn start(
    settings: ReportSettings,
    clients: &Clients,
    observed: Arc<Observed>,
    telemetry: Arc<Telemetry>,
    runtime: &Handle,
) -> Reporter {
    let (leading, leadership) = watch::channel(Leadership::default());
    let (served, served_seen) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let (over, ended) = crossbeam_channel::bounded(1);
    let clients = clients.clone();
    runtime.spawn(async move {
        report(settings, clients, observed, telemetry, leading, served_seen, stopped).await;
        // Nobody may wait for it.
        let _ = over.try_send(());
    });
    Reporter { leadership, served, stop, ended }
}

impl Reporter {
    /// Whether this process leads, now and later.
    pub(crate) fn leads(&self) -> Leads {
        Leads::new(self.leadership.clone())
    }

    /// This is served from now on, with the whole report. Does not wait; of what comes faster than
    /// it can be told, the last counts.
    pub(crate) fn served(&self, translation: &Arc<Translation>) {
        self.served.send_replace(Some(Arc::clone(translation)));
    }

    /// Ends, without waiting for it: clears status where that is wished, and then gives the Lease
    /// back.
    pub(crate) fn leave(&self) {
        self.stop.send_replace(true);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.leave();
        if self.ended.recv_timeout(LEAVE_MAX).is_err() {
            tracing::info!("ended without waiting longer for the API server");
        }
    }
}

/// Runs everything until told to stop; the Lease is given back last.
async fn report(
    settings: ReportSettings,
    clients: Clients,
    observed: Arc<Observed>,
    telemetry: Arc<Telemetry>,
    leading: watch::Sender<Leadership>,
    served: watch::Receiver<Option<Arc<Translation>>>,
    mut stopped: watch::Receiver<bool>,
) {
    let (reading, client) = (clients.reading.clone(), clients.writing.clone());
    let manager: Arc<str> = settings.manager().into();
    let leadership = leading.subscribe();
    let (telling, addresses) = watch::channel(Vec::new());
    let (release, released) = watch::channel(false);
    let teller = Teller::new(client.clone(), &settings.controller, &settings.pod);

    let (on_change, mut events) = election_events();
    let identity = format!("{}_{:016x}", settings.pod, fastrand::u64(..));
    let (namespace, name) = (&settings.lease_namespace, &settings.lease_name);
    let election = Election {
        candidate: Candidate::new(namespace, name, identity.clone(), TIMING),
        // Without the client's own attempts: the election has a time for each of its own.
        leases: Api::namespaced(reading.clone(), namespace),
        name: name.clone(),
        telemetry: Arc::clone(&telemetry),
        leadership: leading,
        on_change,
    };
    let election = tokio::spawn(election.run(released));

    let mut aside = JoinSet::new();
    aside.spawn(address_source::run(settings.published.clone(), client.clone(), telling));
    let election_teller = teller.clone();
    aside.spawn(async move {
        while let Some(happening) = events.recv().await {
            if let Err(error) = election_teller.tell(&happening, None).await {
                tracing::debug!(why = reason(&error), "an Event of the election was not told");
            }
        }
    });

    if let Some(keys) = settings.ticket_keys.clone() {
        let secrets = Api::namespaced(client.clone(), &keys.namespace);
        let keys = TicketKeys { settings: keys, secrets, leadership: leadership.clone() };
        aside.spawn(keys.run());
    }

    let mut writers = JoinSet::new();
    let presence = Presence {
        leases: Api::namespaced(reading, namespace),
        settings: settings.clone(),
        identity,
        served: served.clone(),
        leadership: leadership.clone(),
    };
    writers.spawn(presence.run(stopped.clone()));
    let status = StatusWriter {
        writer: Writer {
            client,
            manager,
            observed: Arc::clone(&observed),
            leadership: leadership.clone(),
            telemetry: Arc::clone(&telemetry),
        },
        served: served.clone(),
        addresses,
        clients,
        settings: settings.clone(),
    };
    writers.spawn(status.run(stopped.clone()));
    let events = EventWriter { teller, served, observed, leadership, telemetry };
    writers.spawn(events.run(stopped.clone()));

    // An error is the end of who would have told us to stop.
    let _ = stopped.wait_for(|stopped| *stopped).await;
    while writers.join_next().await.is_some() {}
    release.send_replace(true);
    // A panic there was printed when it happened.
    let _ = election.await;
    aside.shutdown().await;
}

/// Where the election says what became of the Lease, and where that comes out as Events on it.
fn election_events() -> (OnChange, mpsc::Receiver<Happening>) {
    let (sender, receiver) = mpsc::channel(ELECTION_EVENTS_MAX);
    let on_change: OnChange = Box::new(move |lease: &Lease, won| {
        let metadata = &lease.metadata;
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.unwrap_or_default();
        let text = |part: &Option<String>| part.as_deref().unwrap_or_default().to_owned();
        let happening = Happening {
            object: ObjectRef::new("Lease", text(&metadata.namespace), text(&metadata.name)),
            uid: metadata.uid.as_deref().map(Into::into),
            version: metadata.resource_version.as_deref().map(Into::into),
            is_warning: false,
            reason: "LeaderElection",
            action: "Elect",
            note: format!("{holder} {won}"),
        };
        // Full while nothing can be told: then it is not told.
        let _ = sender.try_send(happening);
    });
    (on_change, receiver)
}
