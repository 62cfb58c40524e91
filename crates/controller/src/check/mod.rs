//! What stands between an installation and its traffic: one verdict for each thing that goes wrong
//! in clusters, with a remedy.
//!
//! ```text
//!  API server ─ ask ─► facts ─ verdicts, without I/O ─► Check ─► who asked
//! ```
//!
//! It is for whoever runs it, with whatever rights: what cannot be asked is skipped and says why,
//! and is never taken for good.

mod ask;
mod class;
mod clients;
mod objects;
mod replicas;
mod rights;
mod server;
mod service;
mod trial;
mod webhooks;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use translate::Settings;

use crate::cluster::ClusterSettings;
use crate::load::load_cluster;
use ask::Asker;

/// How long an API server may take to list everything.
const PATIENCE: Duration = Duration::from_mins(1);

/// An object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object that is looked for, and who says where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The object.
    pub object: Named,
    /// Nobody named it: it is where installations have it. Its absence may mean that this one has
    /// it elsewhere.
    pub is_guess: bool,
}

/// What is checked.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// What the gateway reads, and of whom.
    pub cluster: ClusterSettings,
    /// How it reads that.
    pub translation: Settings,
    /// Its namespace.
    pub namespace: String,
    /// The Lease of its election; none where it takes part in none.
    pub lease: Option<Named>,
    /// The Secret of the keys of session tickets, where replicas share them.
    pub ticket_keys: Option<Named>,
    /// The Service that brings traffic; none where other addresses are told.
    pub service: Option<Expected>,
    /// The nodes under the pods are told in the status of Ingresses.
    pub publishes_nodes: bool,
    /// Proxies in front are believed what they say of clients.
    pub trusts_proxies: bool,
    /// The configuration of the admission webhook; none where it is not ours to keep.
    pub webhook: Option<String>,
    /// The Secret with the certificate of the webhook.
    pub webhook_secret: Named,
    /// Whose rights are looked at; whoever asks when absent.
    pub account: Option<Expected>,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It is as it should be.
    Ok,
    /// It could not be looked at, or there is nothing to look at.
    Skipped,
    /// Something will go wrong, or goes on otherwise than it seems.
    Warning,
    /// Something does not work.
    Error,
}

/// One check and what it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked, in kebab-case. Several checks of one kind have the same.
    pub id: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
    /// What to do about it; nothing where there is nothing to do.
    pub remedy: Option<String>,
    /// The objects that it is about, where it is about several.
    pub objects: Vec<String>,
}

impl Check {
    fn ok(id: &'static str, message: impl Into<String>) -> Self {
        let (message, objects) = (message.into(), Vec::new());
        Self { id, outcome: Outcome::Ok, message, remedy: None, objects }
    }

    fn skipped(id: &'static str, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::ok(id, why) }
    }

    fn warning(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warning, ..Self::error(id, message, remedy) }
    }

    fn error(id: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { outcome: Outcome::Error, remedy: Some(remedy.into()), ..Self::ok(id, message) }
    }
}

/// Asks the API server, and judges. Nothing is written; waits for the answers.
#[must_use]
pub fn check(settings: &CheckSettings, runtime: &Handle) -> Vec<Check> {
    let asker = Asker::new(&settings.cluster.clients);
    let server = runtime.block_on(server::look(&asker, &settings.cluster.clients.address));
    let is_there = server.outcome != Outcome::Error;
    let mut checks = vec![server];
    if !is_there {
        checks.push(Check::skipped("rest", "nobody answers to be asked about anything else"));
        return checks;
    }
    let account = runtime.block_on(async {
        let (account, told) = rights::whose(&asker, settings).await;
        checks.extend(told);
        checks.extend(rights::look(&asker, settings, account.as_ref()).await);
        checks.extend(class::look(&asker, settings).await);
        checks.extend(service::look(&asker, settings).await);
        checks.extend(clients::look(&asker, settings).await);
        checks.extend(webhooks::look(&asker, settings, account.as_ref()).await);
        checks.extend(replicas::look(&asker, settings).await);
        account
    });
    let (cluster, translation) = (settings.cluster.clone(), &settings.translation);
    match load_cluster(cluster, translation, runtime.clone(), PATIENCE) {
        Ok(loaded) => {
            let references = &loaded.translation.references;
            let by_name = rights::look_by_name(&asker, account.as_ref(), references);
            checks.extend(runtime.block_on(by_name));
            checks.extend(objects::judge(loaded.translation.report.diagnostics()));
        }
        Err(error) => checks.extend(objects::unread(&error)),
    }
    checks
}
