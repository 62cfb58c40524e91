//! What others are told of what is served: who asks later, the report, the log and the metrics.

use std::sync::Arc;

use model::{Diagnostic, EndpointTable, Generation, Model, Report};
use telemetry::CertificateExpiry;
use translate::Translation;

use super::Compiler;
use crate::changes::{RouteChanges, route_count};
use crate::{Change, cluster, resolve};

impl Compiler {
    /// Lays the current translation out for others and tells the report.
    pub(super) fn share(&mut self, merged: Option<EndpointTable>) {
        let Some(current) = &self.current else { return };
        let mut served = current.clone();
        if merged.is_none() && !self.known_names.is_empty() {
            let (known, own) = (&self.known_names, &self.own_listeners);
            self.from_names = resolve::merge(&current.model, known, own, &mut served.endpoints);
        }
        served.report = self.full_report();
        if let Some(merged) = merged {
            served.endpoints = merged;
        }
        let served = Arc::new(served);
        if let Some(tell) = &mut self.outside.served {
            tell(&served);
        }
        // Who waits for the first configuration may ask what is to be said of it.
        self.report();
        self.outside.latest.replace(served);
    }

    pub(super) fn full_report(&self) -> Report {
        let mut all: Vec<Diagnostic> = Vec::new();
        if let Some(current) = &self.current {
            all.extend_from_slice(current.report.diagnostics());
        }
        let from_source = cluster::explain(&mut all, &self.from_source);
        for more in [&from_source, &self.from_publish, &self.from_names] {
            all.extend_from_slice(more);
        }
        Report::new(all)
    }

    /// Tells the report as it is now.
    pub(super) fn report(&mut self) {
        self.is_report_due = false;
        let report = self.full_report();
        let severity = |diagnostic: &Diagnostic| match diagnostic.severity {
            model::Severity::Error => "error",
            model::Severity::Warning => "warning",
            model::Severity::Info => "info",
        };
        let counted = report.diagnostics().iter().map(|d| (d.code.id(), severity(d)));
        self.outside.telemetry.diagnostics(counted);
        (self.outside.report)(&report);
    }

    /// Metrics and one line about a build that is served. After the fact: none of it delays
    /// serving.
    pub(super) fn tell_all(&mut self, before: Option<&Translation>, change: Change) {
        let Some(current) = &self.current else { return };
        let took = self.took;
        let generation = current.model.generation();
        let telemetry = &self.outside.telemetry;
        telemetry.build_served(change.build_kind(), &generation.to_string(), took);
        telemetry.certificates(certificates(&current.model));
        let nothing = Model::default();
        let old = before.map_or(&nothing, |before| &before.model);
        let from = self.generation.replace(generation);
        if from == Some(generation) {
            tracing::debug!(%generation, "serving the same configuration, built anew");
            return;
        }
        let from =
            from.map_or_else(|| "none".to_owned(), |generation: Generation| generation.to_string());
        let report = self.full_report();
        tracing::info!(
            from,
            to = %generation,
            hosts = current.model.hosts.len(),
            routes = route_count(&current.model),
            changes = %RouteChanges::between(old, &current.model),
            certificates = current.model.certificates.len(),
            errors = report.count(model::Severity::Error),
            warnings = report.count(model::Severity::Warning),
            took_ms = format_args!("{:.1}", took.as_secs_f64() * 1e3),
            "serving"
        );
    }
}

fn certificates(model: &Model) -> Vec<CertificateExpiry> {
    let expiry = |certificate: &model::Certificate| CertificateExpiry {
        not_after: certificate.not_after,
        namespace: (*certificate.provenance.object.namespace).into(),
        secret: (*certificate.provenance.object.name).into(),
    };
    model.certificates.values().map(expiry).collect()
}
