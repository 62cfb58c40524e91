//! Carries the plan of status writes out against the API server.
//!
//! Addresses are applied on the server's side under a name of our own: the server then knows which
//! entries are ours, keeps whatever else the object has, and takes away, when we ask for it, what
//! is still ours and nothing that another wrote since. Every write names the object's identity and
//! version: what was decided on one version is not written to another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use telemetry::Telemetry;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use translate::Translation;

use super::ReportSettings;
use super::address::Address;
use super::complaint::{Complaint, reason};
use super::lease::Leadership;
use super::observed::{IngressKey, Observed, Seen};
use super::replica::has_others;
use super::status::{Outcome, Plan, WRITES_MAX, Write, is_served, wanted};
use crate::cluster::Clients;

/// The least time between two looks through all Ingresses.
const PACE: Duration = Duration::from_millis(200);

/// How long a write may take, with the waits that the server asks for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked for other replicas before status is cleared, and the time in between.
const OTHERS_LOOKS: u32 = 3;
const OTHERS_WAIT: Duration = Duration::from_secs(1);

/// Writes status while this process leads.
pub(crate) struct StatusWriter {
    pub(crate) writer: Writer,
    pub(crate) served: watch::Receiver<Option<Arc<Translation>>>,
    pub(crate) addresses: watch::Receiver<Vec<Address>>,
    pub(crate) clients: Clients,
    pub(crate) settings: ReportSettings,
}

/// What a single write needs.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) manager: Arc<str>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl StatusWriter {
    /// Works until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut plan = Plan::default();
        let mut complaint = Complaint::new("the status of an Ingress cannot be written");
        let mut writes: JoinSet<Ended> = JoinSet::new();
        let mut looked = Instant::now();
        // When to look through all of them.
        let mut look = Some(looked);
        loop {
            let now = Instant::now();
            let served = self.served.borrow().clone();
            if let Some(served) = served.filter(|_| self.writer.leads(now)) {
                let addresses = self.addresses.borrow().clone();
                if look.is_some_and(|at| at <= now) {
                    looked = now;
                    look = plan.look_through(now, &self.writer.observed, &served, &addresses);
                }
                while let Some((key, seen, write)) =
                    plan.begin(&self.writer.observed, &served, &addresses)
                {
                    let writer = self.writer.clone();
                    writes.spawn(async move { writer.write(key, seen, write).await });
                }
            } else if look.is_some_and(|at| at <= now) {
                // Whoever begins to lead looks then.
                look = None;
            }
            let wait = look.map_or(PATIENCE, |at| at.saturating_duration_since(now));
            let has_changed = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = writes.join_next() => {
                    if let Ok(Ended { key, outcome, why }) = ended {
                        let now = Instant::now();
                        let next = plan.ended(now, &key, outcome);
                        match why {
                            Some(why) => complaint.about(now, &why),
                            None if !plan.has_failures() => complaint.mended(),
                            None => {}
                        }
                        look = Some(look.map_or(next, |at| at.min(next)));
                    }
                    false
                }
                Ok(()) = self.served.changed() => true,
                Ok(()) = self.addresses.changed() => true,
                Ok(()) = self.writer.leadership.changed() => true,
                () = self.writer.observed.changed() => true,
                () = tokio::time::sleep(wait) => false,
            };
            if has_changed {
                let next = looked + PACE;
                look = Some(look.map_or(next, |at| at.min(next)));
            }
        }
        while writes.join_next().await.is_some() {}
        if self.settings.clear_status_on_exit {
            self.clear().await;
        }
    }

    /// Takes away everything that we wrote, unless another replica goes on: what it would write
    /// again is not taken away. Replicas that are told to end together need a moment to be gone.
    async fn clear(&self) {
        let Some(served) = self.served.borrow().clone() else { return };
        if !self.writer.leads(Instant::now()) {
            return;
        }
        let mut looks = 0;
        while has_others(&self.clients, &self.settings).await {
            looks += 1;
            if looks == OTHERS_LOOKS {
                tracing::info!("the status of our Ingresses stays: another replica goes on");
                return;
            }
            tokio::time::sleep(OTHERS_WAIT).await;
        }
        let mut ours: Vec<(IngressKey, Seen)> = Vec::new();
        self.writer.observed.each(|key, seen| {
            let is_ours = is_served(&served, key).is_some() && seen.is_written_by_us;
            if is_ours && !seen.addresses.is_empty() {
                ours.push((key.clone(), seen.clone()));
            }
        });
        tracing::info!(ingresses = ours.len(), "clearing the status of our Ingresses");
        let mut writes: JoinSet<Ended> = JoinSet::new();
        for (key, seen) in ours {
            if writes.len() >= WRITES_MAX {
                writes.join_next().await;
            }
            let writer = self.writer.clone();
            writes.spawn(async move {
                let mut ended = writer.write(key.clone(), seen, Write::Withdraw).await;
                // Once more with what is there now; a third time nobody waits for.
                if ended.outcome == Outcome::Again
                    && let Some(seen) = writer.observed.get(&key)
                    && wanted(&seen, None, &[]).is_some()
                {
                    ended = writer.write(key, seen, Write::Withdraw).await;
                }
                ended
            });
        }
        while writes.join_next().await.is_some() {}
    }
}

/// A write that has ended, and what went wrong.
struct Ended {
    key: IngressKey,
    outcome: Outcome,
    why: Option<String>,
}

impl Writer {
    fn leads(&self, now: Instant) -> bool {
        self.leadership.borrow().holds(now)
    }

    async fn write(&self, key: IngressKey, seen: Seen, write: Write) -> Ended {
        // The last look before it is sent: this process may have been stopped in between.
        if !self.leads(Instant::now()) {
            return Ended { key, outcome: Outcome::Again, why: None };
        }
        let (namespace, name) = (&*key.0, &*key.1);
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(&self.manager).force();
        let body = Patch::Apply(body(&key, &seen, &write));
        let written = timeout(PATIENCE, ingresses.patch_status(name, &params, &body)).await;
        let (result, outcome, why) = match written {
            Ok(Ok(ingress)) => {
                self.observed.settle(&ingress);
                log(&key, &write);
                ("written", Outcome::Done, None)
            }
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
                self.observed.forget(namespace, name);
                ("gone", Outcome::Done, None)
            }
            // With the namespace the right went.
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() && seen.has_left => {
                self.leave_as_it_is(&key, &status.message);
                ("failed", Outcome::Done, None)
            }
            // Another version, or another object under this name.
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() || status.is_invalid() => {
                let why = self.read_again(&ingresses, &key, seen.has_left).await;
                ("conflict", Outcome::Again, why)
            }
            Ok(Err(error)) => ("failed", Outcome::Again, Some(reason(&error))),
            Err(_) => ("failed", Outcome::Again, Some("no answer in time".to_owned())),
        };
        self.telemetry.status_written(result);
        Ended { key, outcome, why }
    }

    /// What is not ours any more and may not be written is not tried again.
    fn leave_as_it_is(&self, key: &IngressKey, why: &str) {
        self.observed.forget(&key.0, &key.1);
        let ingress = format_args!("{}/{}", key.0, key.1);
        tracing::info!(%ingress, why, "not ours any more: its status stays as it is");
    }

    async fn read_again(
        &self,
        ingresses: &Api<Ingress>,
        key: &IngressKey,
        has_left: bool,
    ) -> Option<String> {
        match timeout(PATIENCE, ingresses.get_opt(&key.1)).await {
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() && has_left => {
                self.leave_as_it_is(key, &status.message);
            }
            Ok(Ok(Some(ingress))) => self.observed.settle(&ingress),
            Ok(Ok(None)) => self.observed.forget(&key.0, &key.1),
            Ok(Err(error)) => return Some(reason(&error)),
            Err(_) => return Some("no answer in time".to_owned()),
        }
        None
    }
}

fn body(key: &IngressKey, seen: &Seen, write: &Write) -> Value {
    let mut body = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "namespace": key.0,
            "name": key.1,
            "uid": seen.uid,
            "resourceVersion": seen.version,
        },
    });
    // What an application does not name any more, the server takes away.
    if let Write::Publish(addresses) = write {
        let entries: Vec<_> = addresses.iter().map(Address::entry).collect();
        body["status"] = json!({ "loadBalancer": { "ingress": entries } });
    }
    body
}

fn log(key: &IngressKey, write: &Write) {
    let ingress = format_args!("{}/{}", key.0, key.1);
    match write {
        Write::Publish(addresses) => {
            tracing::debug!(%ingress, addresses = addresses.len(), "status written");
        }
        Write::Withdraw => tracing::info!(%ingress, "addresses taken out of the status"),
    }
}
