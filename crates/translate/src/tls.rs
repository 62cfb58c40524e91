//! The TLS entries of all Ingresses to one table: which server name gets which certificate.
//!
//! Entries come oldest first. In the Kubernetes dialect the first entry for a host keeps it, usable
//! certificate or not; in the nginx dialect the first usable certificate does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Certificate, CertificateId, Code, Diagnostic, Effect, Hostname, KeyMaterial, Model, ObjectRef,
    Provenance, Related,
};

use crate::ingress::{CertificateClaim, Fragment, TlsEntry, certificate};
use crate::lookup::Lookup;
use crate::memo::Leaves;
use crate::scope::{Reports, Scope};
use crate::secret::ReadCertificate;
use crate::settings::{Dialect, Settings};

/// Warned about so many days before a certificate ends, as ingress-nginx does.
const EXPIRY_WARNING_SECONDS: i64 = 10 * 24 * 60 * 60;

/// The hosts with a certificate entry, usable or not: plain requests for them go to HTTPS.
#[derive(Debug, Default)]
pub(crate) struct HttpsHosts {
    names: BTreeSet<Hostname>,
    any: bool,
    /// Of each wildcard the namespaces that have an entry for it, where hosts belong to namespaces:
    /// then what one says of its wildcard is not for another's host below it.
    wildcards: Option<BTreeSet<(Hostname, Arc<str>)>>,
}

impl HttpsHosts {
    pub(crate) fn new(fragments: &[Arc<Fragment>], is_owned: bool) -> Self {
        let mut hosts = Self { wildcards: is_owned.then(BTreeSet::new), ..Self::default() };
        for entry in fragments.iter().flat_map(|fragment| &fragment.tls) {
            if let Some(known) = &mut hosts.wildcards {
                let namespace = &entry.provenance.object.namespace;
                let wildcards = entry.hosts.iter().filter(|h| matches!(h, Hostname::Wildcard(_)));
                known.extend(wildcards.map(|host| (host.clone(), namespace.clone())));
            }
            hosts.names.extend(entry.hosts.iter().cloned());
            hosts.any |= entry.any_host;
        }
        hosts
    }

    /// The hosts that have another answer in `other`; of wildcards, those below them, too.
    pub(crate) fn differing(&self, other: &Self) -> Vec<Hostname> {
        let mut hosts: Vec<Hostname> =
            self.names.symmetric_difference(&other.names).cloned().collect();
        let (none, other_none) = (BTreeSet::new(), BTreeSet::new());
        let ours = self.wildcards.as_ref().unwrap_or(&none);
        let theirs = other.wildcards.as_ref().unwrap_or(&other_none);
        hosts.extend(ours.symmetric_difference(theirs).map(|(host, _)| host.clone()));
        if self.any != other.any {
            hosts.push(Hostname::Any);
        }
        hosts
    }

    /// Whether requests for this host have an entry: their own name, or the wildcard above it.
    /// `namespace` is that of its oldest Ingress.
    pub(crate) fn contains(&self, host: &Hostname, namespace: &Arc<str>) -> bool {
        if self.names.contains(host) {
            return true;
        }
        match host {
            Hostname::Exact(name) => name.split_once('.').is_some_and(|(_, suffix)| {
                let wildcard = Hostname::Wildcard(suffix.into());
                match &self.wildcards {
                    None => self.names.contains(&wildcard),
                    Some(known) => known.contains(&(wildcard, namespace.clone())),
                }
            }),
            Hostname::Wildcard(_) => false,
            Hostname::Any => self.any,
        }
    }
}

/// Fills in certificates, the table of server names and the default certificate, and gives the
/// keys.
pub(crate) fn fill(
    model: &mut Model,
    fragments: &[Arc<Fragment>],
    lookup: &Lookup<'_>,
    settings: &Settings,
    leaves: &Leaves,
    reports: &Reports,
) -> KeyMaterial {
    let mut keys = KeyMaterial::new();
    let mut held: BTreeMap<&Hostname, (&TlsEntry, &CertificateClaim)> = BTreeMap::new();
    for fragment in fragments {
        for entry in &fragment.tls {
            for claim in &entry.claims {
                match held.get(&claim.host) {
                    Some((winner, won)) => {
                        report_conflict(fragment, entry, claim, winner, won, reports);
                    }
                    None if claim.certificate.is_none()
                        && fragment.age.dialect == Dialect::Nginx => {}
                    None => drop(held.insert(&claim.host, (entry, claim))),
                }
            }
        }
    }
    for (host, (entry, claim)) in held {
        if let Some(certificate) = &claim.certificate {
            let secret = secret_ref(&entry.provenance.object, entry);
            let id = add(model, &mut keys, certificate, secret, settings, reports);
            model.sni.insert(host.clone(), id);
        }
    }
    model.default_certificate =
        default_certificate(model, &mut keys, fragments, lookup, settings, leaves, reports);
    keys
}

fn default_certificate(
    model: &mut Model,
    keys: &mut KeyMaterial,
    fragments: &[Arc<Fragment>],
    lookup: &Lookup<'_>,
    settings: &Settings,
    leaves: &Leaves,
    reports: &Reports,
) -> Option<CertificateId> {
    if let Some((namespace, name)) = &settings.default_certificate {
        let object = ObjectRef::new("Secret", namespace.as_str(), name.as_str());
        let scope = Scope::root(&object, reports);
        let found = certificate(&namespace.as_str().into(), name, lookup, leaves, &scope)?;
        return Some(add(model, keys, &found, object.clone(), settings, reports));
    }
    // An entry for every host stands in where no default was configured; the oldest does.
    let entries = fragments.iter().flat_map(|fragment| &fragment.tls);
    let entry = entries.into_iter().find(|entry| entry.any_host && entry.certificate.is_some())?;
    let found = entry.certificate.as_ref()?;
    let secret = secret_ref(&entry.provenance.object, entry);
    Some(add(model, keys, found, secret, settings, reports))
}

fn secret_ref(ingress: &ObjectRef, entry: &TlsEntry) -> ObjectRef {
    let (namespace, name) =
        entry.secret.clone().unwrap_or_else(|| (ingress.namespace.clone(), Arc::from("")));
    ObjectRef::new("Secret", namespace, name)
}

fn add(
    model: &mut Model,
    keys: &mut KeyMaterial,
    certificate: &ReadCertificate,
    secret: ObjectRef,
    settings: &Settings,
    reports: &Reports,
) -> CertificateId {
    let id = certificate.id.clone();
    report_validity(certificate, &secret, settings, reports);
    let provenance = Provenance::new(secret, "data");
    // The same pair may be in several Secrets; which one is named does not hang on order.
    if let Some(known) = model.certificates.get_mut(&id) {
        known.provenance = known.provenance.clone().min(provenance);
        return id;
    }
    let entry = Certificate {
        names: certificate.names.clone(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        provenance,
    };
    model.certificates.insert(id.clone(), entry);
    keys.insert(id.clone(), certificate.key_pair.clone());
    id
}

fn report_validity(
    certificate: &ReadCertificate,
    secret: &ObjectRef,
    settings: &Settings,
    reports: &Reports,
) {
    let scope = Scope::root(secret, reports);
    let scope = scope.at("data").key("tls.crt").path();
    let report = |code: Code, message: String| {
        reports.push(Diagnostic {
            severity: code.info().severity,
            code,
            object: secret.clone(),
            field: scope.clone(),
            message,
            help: None,
            related: Vec::new(),
            effect: Effect::None,
        });
    };
    if let Some(digest) = certificate.weak_signature {
        let message = format!("it is signed with {digest}, which browsers and most clients refuse");
        report(Code::CertificateWeakSignature, message);
    }
    let Some(now) = settings.now else { return };
    let left = certificate.not_after - now;
    let days = |seconds: i64| seconds.unsigned_abs() / 86_400;
    if left < 0 {
        report(Code::CertificateExpired, format!("it expired {} days ago", days(left)));
    } else if certificate.not_before > now {
        let message = format!("it is valid only in {} days", days(certificate.not_before - now));
        report(Code::CertificateExpired, message);
    } else if left < EXPIRY_WARNING_SECONDS {
        report(Code::CertificateExpiresSoon, format!("it expires in {} days", days(left)));
    }
}

/// A loser with the winner's own certificate lost nothing.
fn report_conflict(
    fragment: &Fragment,
    entry: &TlsEntry,
    claim: &CertificateClaim,
    winner: &TlsEntry,
    won: &CertificateClaim,
    reports: &Reports,
) {
    let id = |claim: &CertificateClaim| claim.certificate.as_ref().map(|c| c.id.clone());
    if entry.secret == winner.secret || id(claim) == id(won) {
        return;
    }
    let related = vec![Related {
        object: winner.provenance.object.clone(),
        field: winner.provenance.field.clone(),
        message: "the certificate of this entry is served".to_owned(),
    }];
    Scope::root(&fragment.object, reports).at(&entry.provenance.field.0).report_with(
        Code::TlsConflict,
        Effect::FieldIgnored,
        format!("`{}` has a certificate of {} already", claim.host, winner.provenance.object),
        None,
        related,
    );
}
