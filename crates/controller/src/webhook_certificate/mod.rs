//! The webhook's certificate: made by ourselves, kept in a Secret, trusted by the API server.
//!
//! All replicas do the same, and the Secret's version decides between two that do it at once: whose
//! write is refused reads what the other wrote. A replica shows a certificate only once the
//! configuration of webhooks trusts its authority. What is right already is not written.

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

use crate::Clients;
use authority::Material;

/// Between two looks at the Secret: another replica may have renewed it.
const LOOK: Duration = Duration::from_mins(1);
/// After something failed.
const RETRY: Duration = Duration::from_secs(10);

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
/// told as it changes.
#[must_use]
pub fn keep_webhook_certificate(
    wanted: WebhookCertificate,
    clients: &Clients,
    runtime: &tokio::runtime::Handle,
) -> watch::Receiver<Option<KeyPair>> {
    let (tell, told) = watch::channel(None);
    let keeper = Keeper { wanted, client: clients.writing.clone() };
    runtime.spawn(keeper.run(tell));
    told
}

struct Keeper {
    wanted: WebhookCertificate,
    client: kube::Client,
}

impl Keeper {
    async fn run(self, tell: watch::Sender<Option<KeyPair>>) {
        let mut complaint = None;
        while !tell.is_closed() {
            let pause = match self.look().await {
                Ok(Some(material)) => {
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
                // Another replica was faster: look at what it wrote.
                Ok(None) => Duration::from_millis(100),
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

    fn secret(&self) -> String {
        let (namespace, name) = &self.wanted.secret;
        format!("{namespace}/{name}")
    }

    /// What is to be shown; `None` where another replica wrote at the same time.
    async fn look(&self) -> Result<Option<Material>, kube::Error> {
        let (namespace, name) = &self.wanted.secret;
        let secrets = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let today = authority::day(Timestamp::now());
        let names = self.names();
        let known = secrets.get_opt(name).await?;
        let data = known.as_ref().and_then(|secret| secret.data.clone()).unwrap_or_default();
        if let Some(material) = authority::usable(&data, &names, today) {
            return Ok(self.trust(&material.trusted).await?.then_some(material));
        }
        let data = authority::renew(&data, &names, today)
            .map_err(|error| kube::Error::Service(error.into()))?;
        let written = write(&secrets, namespace, name, known, data).await;
        match written {
            Ok(()) => Ok(None),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names by which an API server calls a Service.
    fn names(&self) -> Vec<String> {
        let (namespace, name) = &self.wanted.service;
        vec![format!("{name}.{namespace}.svc"), format!("{name}.{namespace}.svc.cluster.local")]
    }

    /// Has the configuration trust this authority; `false` when somebody else wrote it meanwhile.
    /// Without a configuration there is nobody yet who could ask.
    async fn trust(&self, trusted: &[u8]) -> Result<bool, kube::Error> {
        let Some(name) = &self.wanted.configuration else { return Ok(true) };
        let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
        let Some(mut configuration) = api.get_opt(name).await? else { return Ok(true) };
        let bundle = Some(ByteString(trusted.to_vec()));
        let mut is_changed = false;
        for webhook in configuration.webhooks.iter_mut().flatten() {
            if webhook.client_config.ca_bundle != bundle {
                webhook.client_config.ca_bundle.clone_from(&bundle);
                is_changed = true;
            }
        }
        if !is_changed {
            return Ok(true);
        }
        match api.replace(name, &PostParams::default(), &configuration).await {
            Ok(_) => {
                tracing::info!(configuration = name, "the API server trusts the webhook");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
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
    let secret = Secret { metadata, data: Some(data), ..Secret::default() };
    secrets.create(&parameters, &secret).await?;
    Ok(())
}
