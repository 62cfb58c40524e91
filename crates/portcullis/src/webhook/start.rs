//! From settings to a webhook that serves.

use std::net::SocketAddr;
use std::sync::Arc;

use controller::{Clients, Controller, Leads, WebhookCertificate, keep_webhook_certificate};
use telemetry::Telemetry;

use super::key_pair::{Shown, follow_files};
use super::{Review, Webhook};
use crate::control::Control;
use crate::settings::Settings;
use crate::settings::value::NamespacedName;
use crate::wiring;

/// The name of our Service and of our Secret, where none is set.
const DEFAULT_NAME: &str = "portcullis-webhook";

/// Serves the webhook where the settings say, if they do; what goes wrong is told, since traffic
/// does not need it. Gives the address that is bound.
pub(crate) fn start(
    settings: &Settings,
    controller: &Controller,
    clients: Option<&Clients>,
    telemetry: &Arc<Telemetry>,
    control: &Control,
) -> Option<SocketAddr> {
    let wanted = settings.webhook.at()?;
    let webhook = match Webhook::bind(wanted) {
        Ok(webhook) => webhook,
        Err(error) => {
            tracing::error!(
                address = %wanted,
                %error,
                "webhook not bound: free the address, or choose another with --webhook"
            );
            return None;
        }
    };
    let address = webhook.address();
    let shown = Arc::new(Shown::default());
    follow_certificate(settings, clients, controller.leads(), &shown, control);
    let reviewer = controller.reviewer();
    let review: Review = Arc::new(move |proposal| {
        let reviewer = reviewer.clone();
        Box::pin(async move { reviewer.review(proposal).await })
    });
    if let Err(error) = webhook.serve(shown, review, Arc::clone(telemetry), control) {
        tracing::error!(%error, "webhook cannot be served");
        return None;
    }
    tracing::info!(address = %format_args!("https://{address}/validate"), "webhook listening");
    Some(address)
}

fn follow_certificate(
    settings: &Settings,
    clients: Option<&Clients>,
    leads: Option<Leads>,
    shown: &Arc<Shown>,
    control: &Control,
) {
    let shown = Arc::clone(shown);
    let files = (settings.webhook_certificate.at(), settings.webhook_key.at());
    if let (Some(certificate), Some(key)) = files {
        control.handle().spawn(follow_files(certificate, key, shown));
        return;
    }
    let Some(clients) = clients else {
        tracing::error!(
            "the webhook has no certificate: without an API server, name one with \
             --webhook-certificate and --webhook-key"
        );
        return;
    };
    let wanted = certificate(settings);
    let mut told = keep_webhook_certificate(wanted, clients, leads, control.handle());
    control.handle().spawn(async move {
        while told.changed().await.is_ok() {
            let pair = told.borrow_and_update().clone();
            if let Some(Err(problem)) = pair.map(|pair| shown.replace(&pair)) {
                tracing::error!(problem, "webhook: no new certificate");
            }
        }
    });
}

fn certificate(settings: &Settings) -> WebhookCertificate {
    let own = || NamespacedName {
        namespace: wiring::pod_namespace(settings),
        name: DEFAULT_NAME.to_owned(),
    };
    let pair = |name: NamespacedName| (name.namespace, name.name);
    WebhookCertificate {
        secret: pair(settings.webhook_secret.set().unwrap_or_else(own)),
        service: pair(settings.webhook_service.set().unwrap_or_else(own)),
        configuration: settings.webhook_configuration.at(),
    }
}
