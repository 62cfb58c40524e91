//! `spec.tls`: which hosts have a certificate entry, and with which certificate.
//!
//! A Secret that is missing or broken costs its hosts their certificate and nothing else.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressTLS;
use model::{CertificateId, Code, Diagnostic, Effect, Hostname, Provenance};

use super::{HostRules, Walk};
use crate::class::DefaultCertificate;
use crate::listed::Listed;
use crate::lookup::Lookup;
use crate::memo::Leaves;
use crate::scope::Scope;
use crate::secret::ReadCertificate;
use crate::settings::Dialect;

/// Hosts of rules that the entries of an Ingress that list none speak for, each counted once for
/// each entry: somebody's few kilobytes of entries and rules would become everybody's gigabytes.
const SPOKEN_FOR_MAX: usize = 100_000;

/// How often it is looked whether a certificate of an Ingress covers a host of its rules.
const COVER_LOOKS_MAX: usize = 1_000_000;

/// What the entries of an Ingress before this one have come to.
#[derive(Default)]
pub(super) struct SoFar {
    spoken_for: usize,
    cover_looks: usize,
    /// Hosts with a certificate that can be used.
    claimed: HashSet<Hostname>,
    /// Certificates that were held against all hosts of the rules.
    held: HashSet<CertificateId>,
    /// The hosts of the rules are HTTPS hosts (nginx dialect).
    has_rule_hosts: bool,
}

/// One entry of `spec.tls`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsEntry {
    /// The hosts that it makes HTTPS hosts.
    pub(crate) hosts: Vec<Hostname>,
    /// It speaks for every host: its Ingress names none.
    pub(crate) any_host: bool,
    /// The hosts that the certificate is served for.
    pub(crate) claims: Vec<CertificateClaim>,
    /// The namespace and name of its Secret.
    pub(crate) secret: Option<(Arc<str>, Arc<str>)>,
    /// The certificate, usable or not for any of the hosts.
    pub(crate) certificate: Option<Arc<ReadCertificate>>,
    pub(crate) provenance: Provenance,
}

/// A wish to serve a certificate for a host; without one it holds the host's place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CertificateClaim {
    pub(crate) host: Hostname,
    pub(crate) certificate: Option<Arc<ReadCertificate>>,
}

impl Walk<'_> {
    pub(super) fn read_tls(
        &mut self,
        entry: &IngressTLS,
        rules: &[HostRules],
        scope: &Scope<'_>,
    ) -> TlsEntry {
        let hosts_scope = scope.at("hosts");
        let is_unclear = self.ingress.taken_within(&hosts_scope.path().0).is_some();
        let listed = self.listed_hosts(entry, &hosts_scope);
        let names_hosts = entry.hosts.as_ref().is_some_and(|hosts| !hosts.is_empty());
        let named = |rule: &&HostRules| rule.hostname != Hostname::Any;
        let has_rule_hosts = rules.iter().any(|rule| named(&rule));
        let rules_of_all = rules;
        let speaks_for_rules = !names_hosts || (is_unclear && self.dialect == Dialect::Kubernetes);
        let rules = if speaks_for_rules { self.spoken_for(rules, scope) } else { rules };
        let rule_hosts = || rules.iter().filter(named).map(|rule| rule.hostname.clone());
        let secret = entry.secret_name.as_deref().filter(|name| !name.is_empty());
        let secret_scope = scope.at("secretName");
        let taken_secret = self.ingress.taken_at(&secret_scope);
        let of_class = self.parameters.default_certificate.as_ref();
        let of_class = of_class.filter(|_| secret.is_none() && taken_secret.is_none());
        let certificate = match (secret, of_class) {
            (Some(name), _) => {
                certificate(&self.namespace, name, self.lookup, self.leaves, &secret_scope)
            }
            (None, Some(default)) => self.certificate_of_class(default, scope),
            (None, None) => None,
        };
        let secret = match (secret, of_class) {
            (Some(name), _) => Some((self.namespace.clone(), name.into())),
            (None, Some(default)) => Some((default.namespace.clone(), default.name.clone())),
            (None, None) => None,
        };
        let taken = self.ingress.taken_at(scope).map(|taken| (taken, scope));
        if let Some((taken, at)) = taken.or_else(|| Some((taken_secret?, &secret_scope))) {
            at.report(Code::InvalidObject, Effect::DefaultCertificate, &*taken.problem);
        } else if secret.is_none() {
            scope.report(
                Code::TlsWithoutSecret,
                Effect::DefaultCertificate,
                "the entry names no Secret",
            );
        }
        let served: Vec<Hostname> =
            if names_hosts { listed.clone() } else { rule_hosts().collect() };
        let mut claims = Vec::new();
        for host in &served {
            // An entry without a Secret leaves the host to other entries.
            if secret.is_some() || taken_secret.is_some() {
                claims.push(self.claim(host, certificate.as_ref(), scope));
            }
        }
        let hosts = match self.dialect {
            // Any of them may have been meant.
            Dialect::Kubernetes if is_unclear => served.into_iter().chain(rule_hosts()).collect(),
            Dialect::Kubernetes => served,
            // Every host of an Ingress with an entry is an HTTPS host, listed or not.
            Dialect::Nginx => {
                if let Some(found) = &certificate {
                    self.claim_covered(found, &served, rules_of_all, &mut claims, scope);
                }
                let mut hosts = served;
                if !std::mem::replace(&mut self.tls.has_rule_hosts, true) {
                    hosts.extend(rules_of_all.iter().filter(named).map(|r| r.hostname.clone()));
                }
                hosts
            }
        };
        TlsEntry {
            any_host: !names_hosts
                && !has_rule_hosts
                && hosts.is_empty()
                && self.dialect == Dialect::Kubernetes,
            hosts,
            claims,
            secret,
            certificate,
            provenance: scope.provenance(),
        }
    }

    /// The rules whose hosts an entry speaks for that lists none; the first one has them all.
    fn spoken_for<'r>(&mut self, rules: &'r [HostRules], scope: &Scope<'_>) -> &'r [HostRules] {
        let before = self.tls.spoken_for;
        if before > 0 && before + rules.len() > SPOKEN_FOR_MAX {
            report_too_many(scope);
            return &[];
        }
        self.tls.spoken_for += rules.len();
        rules
    }

    /// Claims the hosts of the rules that the certificate covers, that the entry does not list, and
    /// that no entry before has a certificate for: those would keep theirs.
    fn claim_covered(
        &mut self,
        certificate: &Arc<ReadCertificate>,
        listed: &[Hostname],
        rules: &[HostRules],
        claims: &mut Vec<CertificateClaim>,
        scope: &Scope<'_>,
    ) {
        let usable = claims.iter().filter(|claim| claim.certificate.is_some());
        self.tls.claimed.extend(usable.map(|claim| claim.host.clone()));
        if !self.tls.held.insert(certificate.id.clone()) {
            return;
        }
        self.tls.cover_looks += rules.len();
        if self.tls.cover_looks > COVER_LOOKS_MAX {
            report_too_many(scope);
            return;
        }
        let listed = Listed::new(listed);
        for HostRules { hostname: host, .. } in rules {
            let is_free =
                *host != Hostname::Any && !self.tls.claimed.contains(host) && !listed.has(host);
            if is_free && certificate.covers(host) {
                let certificate = Some(certificate.clone());
                claims.push(CertificateClaim { host: host.clone(), certificate });
                self.tls.claimed.insert(host.clone());
            }
        }
    }

    /// What is wrong with it is told where it is named.
    fn certificate_of_class(
        &self,
        default: &DefaultCertificate,
        scope: &Scope<'_>,
    ) -> Option<Arc<ReadCertificate>> {
        let scope = scope.of(&default.named_at.object);
        let scope = scope.at(&default.named_at.field.0);
        certificate(&default.namespace, &default.name, self.lookup, self.leaves, &scope)
    }

    fn listed_hosts(&self, entry: &IngressTLS, scope: &Scope<'_>) -> Vec<Hostname> {
        if let Some(taken) = self.ingress.taken_at(scope) {
            let message = format!("{}; it is read as a list of one", taken.problem);
            scope.report(Code::InvalidObject, Effect::None, message);
        }
        let (mut listed, mut known) = (Vec::new(), HashSet::new());
        for (index, text) in entry.hosts.iter().flatten().enumerate() {
            let scope = scope.index(index);
            if let Some(taken) = self.ingress.taken_at(&scope) {
                scope.report(Code::InvalidObject, Effect::FieldIgnored, &*taken.problem);
                continue;
            }
            let problem = match Hostname::parse(text) {
                Ok(Hostname::Any) => "is empty".to_owned(),
                Ok(host) => {
                    if known.insert(host.clone()) {
                        listed.push(host);
                    }
                    continue;
                }
                Err(problem) => problem.to_string(),
            };
            scope.report(Code::InvalidTlsHost, Effect::FieldIgnored, format!("`{text}` {problem}"));
        }
        listed
    }

    /// ingress-nginx serves no certificate for a host that it does not cover.
    fn claim(
        &self,
        host: &Hostname,
        certificate: Option<&Arc<ReadCertificate>>,
        scope: &Scope<'_>,
    ) -> CertificateClaim {
        let mut certificate = certificate.cloned();
        if let Some(found) = &certificate
            && !found.covers(host)
        {
            let names = found.some_names();
            let effect = match self.dialect {
                Dialect::Kubernetes => Effect::None,
                Dialect::Nginx => Effect::DefaultCertificate,
            };
            scope.report(
                Code::CertificateDoesNotCoverHost,
                effect,
                format!("the certificate is not for `{host}`; it is for {names}"),
            );
            if self.dialect == Dialect::Nginx {
                certificate = None;
            }
        }
        CertificateClaim { host: host.clone(), certificate }
    }
}

fn report_too_many(scope: &Scope<'_>) {
    scope.report(
        Code::TlsConflict,
        Effect::FieldIgnored,
        "the entries of this Ingress speak for too many hosts of its rules together; this one speaks \
         for those alone that it lists",
    );
}

/// What is said of a Secret that is not there.
pub(crate) fn secret_not_found(namespace: &str, name: &str) -> String {
    format!("Secret {namespace}/{name} does not exist")
}

/// Namespace and name of the Secret that is not there, of a diagnostic that says so.
#[must_use]
pub fn missing_secret(diagnostic: &Diagnostic) -> Option<(&str, &str)> {
    let message = &diagnostic.message;
    let is_missing = diagnostic.code == Code::SecretNotFound;
    let (namespace, name) = message.strip_prefix("Secret ")?.split_once('/')?;
    let name = name.strip_suffix(" does not exist")?;
    is_missing.then_some((namespace, name))
}

/// The certificate of a Secret: as it is, or as it last was when it could be used.
pub(crate) fn certificate(
    namespace: &Arc<str>,
    name: &str,
    lookup: &Lookup<'_>,
    leaves: &Leaves,
    scope: &Scope<'_>,
) -> Option<Arc<ReadCertificate>> {
    let Some(secret) = lookup.secret(namespace, &name.into()) else {
        scope.report(
            Code::SecretNotFound,
            Effect::DefaultCertificate,
            secret_not_found(namespace, name),
        );
        return None;
    };
    let problem = match leaves.certificate(&secret.object, secret.content) {
        Ok(certificate) => return Some(certificate),
        Err(problem) => problem,
    };
    let message = format!("Secret {namespace}/{name}: {problem}");
    let last_good = secret.last_good.as_ref();
    if let Some(Ok(kept)) = last_good.map(|(secret, content)| leaves.certificate(secret, *content))
    {
        scope.report(Code::CertificateKeptFromBefore, Effect::LastGoodServes, message);
        return Some(kept);
    }
    scope.report(Code::InvalidCertificate, Effect::DefaultCertificate, message);
    None
}
