//! The webhook's certificate: made by ourselves, kept in a Secret, trusted by the API server.
//!
//! Where replicas elect a leader, it alone writes, and the others show what it wrote. Where there
//! is no election all do the same, and versions decide between two that write at once: whose write
//! is refused reads what the other wrote; so they do, too, while a Lease changes hands. A replica
//! shows a certificate only once the configuration of webhooks trusts its authority. What is right
//! already is not written.

mod authority;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use tokio::sync::watch;

use crate::{Clients, Leads};
use authority::Material;

/// Between two looks at the Secret: another replica may have renewed it.
const LOOK: Duration = Duration::from_mins(1);
/// While who leads has not yet done its part.
const WAIT: Duration = Duration::from_secs(1);
/// After something failed.
const RETRY: Duration = Duration::from_secs(10);

/// The type of the Secret: what is in one of another is not ours to write over.
const TYPE: &str = "portcullis.io/webhook-certificate";

/// Where the certificate is kept, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookCertificate {
    /// Namespace and name of the Secret.
    pub secret: (String, String),
    /// Namespace and name of the Service by which the API server calls.
    pub service: (String, String),
    /// The `ValidatingWebhookConfiguration` that is to trust it.
    pub configuration: Option<String>,
}

/// A certificate chain and its key in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub certificate: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair")
    }
}

/// Keeps the certificate on this runtime for as long as somebody listens; what is to be shown is
/// told as it changes. Without an election this process writes whatever others do.
#[must_use]
pub fn keep_webhook_certificate(
    wanted: WebhookCertificate,
    clients: &Clients,
    leads: Option<Leads>,
    runtime: &tokio::runtime::Handle,
) -> watch::Receiver<Option<KeyPair>> {
    let (tell, told) = watch::channel(None);
    let keeper = Keeper { wanted, client: clients.writing.clone(), leads };
    runtime.spawn(keeper.run(tell));
    told
}

struct Keeper {
    wanted: WebhookCertificate,
    client: kube::Client,
    leads: Option<Leads>,
}

/// What a look at the Secret and the configuration came to.
enum Found {
    /// It is trusted: show it.
    Ready(Material),
    /// Another replica wrote meanwhile, or we did: look at what there is now.
    Written,
    /// It is for who leads to write.
    OthersTurn,
}

/// Whether the configuration of webhooks trusts an authority.
enum Trust {
    Given,
    /// Somebody else wrote the configuration meanwhile.
    Contested,
    OthersTurn,
}

/// Why there is no certificate.
enum Failure {
    Api(kube::Error),
    Other(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl Keeper {
    async fn run(self, tell: watch::Sender<Option<KeyPair>>) {
        let mut complaint = None;
        while !tell.is_closed() {
            let pause = match self.look().await {
                Ok(Found::Ready(material)) => {
                    complaint = None;
                    let Material { certificate, key, .. } = material;
                    let pair = Some(KeyPair { certificate, key });
                    if tell.send_if_modified(|shown| {
                        let is_new = *shown != pair;
                        if is_new {
                            *shown = pair;
                        }
                        is_new
                    }) {
                        tracing::info!(secret = %self.secret(), "webhook certificate");
                    }
                    LOOK
                }
                Ok(Found::Written) => Duration::from_millis(100),
                Ok(Found::OthersTurn) => WAIT,
                Err(error) => {
                    let text = error.to_string();
                    if complaint.as_ref() != Some(&text) {
                        tracing::error!(
                            error = text,
                            secret = %self.secret(),
                            "the webhook's certificate cannot be kept"
                        );
                        complaint = Some(text);
                    }
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Whether it is for us to write.
    fn may_write(&self) -> bool {
        self.leads.as_ref().is_none_or(Leads::now)
    }

    fn secret(&self) -> String {
        let (namespace, name) = &self.wanted.secret;
        format!("{namespace}/{name}")
    }

    async fn look(&self) -> Result<Found, Failure> {
        let (namespace, name) = &self.wanted.secret;
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let today = authority::day(Timestamp::now());
        let names = self.names();
        let known = secrets.get_opt(name).await?;
        let data = known.as_ref().and_then(|secret| secret.data.clone()).unwrap_or_default();
        if let Some(material) = authority::usable(&data, &names, today) {
            return Ok(match self.trust(&material.trusted).await? {
                Trust::Given => Found::Ready(material),
                Trust::Contested => Found::Written,
                Trust::OthersTurn => Found::OthersTurn,
            });
        }
        if !self.may_write() {
            return Ok(Found::OthersTurn);
        }
        if known.as_ref().is_some_and(|secret| secret.type_.as_deref() != Some(TYPE)) {
            let why = format!("the Secret is not of type {TYPE}: name another, or delete it");
            return Err(Failure::Other(why));
        }
        let data = authority::renew(&data, &names, today)
            .map_err(|error| Failure::Other(error.to_string()))?;
        match write(&secrets, namespace, name, known, data).await {
            Ok(()) => Ok(Found::Written),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Found::Written),
            Err(error) => Err(error.into()),
        }
    }

    /// The names by which an API server calls a Service.
    fn names(&self) -> Vec<String> {
        let (namespace, name) = &self.wanted.service;
        vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
    }

    /// Has the configuration trust this authority. Without a configuration there is nobody yet who
    /// could ask.
    async fn trust(&self, trusted: &[u8]) -> Result<Trust, kube::Error> {
        let Some(name) = &self.wanted.configuration else { return Ok(Trust::Given) };
        let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let Some(mut configuration) = api.get_opt(name).await? else { return Ok(Trust::Given) };
        let bundle = Some(ByteString(trusted.to_vec()));
        let mut is_changed = false;
        for webhook in configuration.webhooks.iter_mut().flatten() {
            if webhook.client_config.ca_bundle != bundle {
                webhook.client_config.ca_bundle.clone_from(&bundle);
                is_changed = true;
            }
        }
        if !is_changed {
            return Ok(Trust::Given);
        }
        if !self.may_write() {
            return Ok(Trust::OthersTurn);
        }
        match api.replace(name, &PostParams::default(), &configuration).await {
            Ok(_) => {
                tracing::info!(configuration = name, "the API server trusts the webhook");
                Ok(Trust::Given)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Trust::Contested),
            Err(error) => Err(error),
        }
    }
}

/// Writes the Secret: anew, or over the very version that was read.
async fn write(
    secrets: &Api<Secret>,
    namespace: &str,
    name: &str,
    known: Option<Secret>,
    data: BTreeMap<String, ByteString>,
) -> Result<(), kube::Error> {
    let parameters = PostParams::default();
    if let Some(known) = known {
        let secret = Secret { data: Some(data), ..known };
        secrets.replace(name, &parameters, &secret).await?;
        return Ok(());
    }
    let labels = [("app.kubernetes.io/managed-by".to_owned(), "portcullis".to_owned())];
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.into()),
        ..ObjectMeta::default()
    };
    let type_ = Some(TYPE.to_owned());
    let secret = Secret { metadata, data: Some(data), type_, ..Secret::default() };
    secrets.create(&parameters, &secret).await?;
    Ok(())
}
