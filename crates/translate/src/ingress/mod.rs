//! One Ingress to a fragment: everything about it that does not depend on other Ingresses.
//!
//! A fragment depends on the Ingress, on the objects it names and on settings; it can be kept as
//! long as none of them changes. What hosts make of it (conflicts, redirects to HTTPS, the habits
//! of a host in the nginx dialect) is decided in `merge`.

mod place;
mod rule;
mod tls;
mod unreadable;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use model::policy::Rewrite;
use model::{Action, ClosedReason, Code, Diagnostic, Effect, Hostname, ObjectRef, Provenance};

use crate::annotation::{self, Wishes};
use crate::as_read::AsRead;
use crate::class::Parameters;
use crate::default_backend;
use crate::lookup::Lookup;
use crate::memo::Leaves;
use crate::objects::{ContentHash, ObjectKey};
use crate::order::Age;
use crate::scope::{Reports, Scope};
use crate::service::{self, UpstreamPlan, Wanted, WantedPort};
use crate::settings::{Dialect, Settings};

pub(crate) use place::canonical;
pub use tls::missing_secret;
pub(crate) use tls::{CertificateClaim, TlsEntry, certificate, secret_not_found};

/// What one Ingress says.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) object: ObjectRef,
    /// The content of the Ingress; none for what is no object.
    pub(crate) content: Option<ContentHash>,
    pub(crate) age: Age,
    pub(crate) ssl_redirect: bool,
    pub(crate) force_ssl_redirect: bool,
    /// The hosts of its rules, each once, in the order of first mention.
    pub(crate) hosts: Vec<HostRules>,
    /// `spec.defaultBackend`.
    pub(crate) default_backend: Option<PathRule>,
    /// What its class has answer where no path of a host of it does.
    pub(crate) class_default: Option<PathRule>,
    /// Whether it has rules at all, of use or not.
    pub(crate) has_rules: bool,
    /// It is no Ingress, but the operator's default backend: it comes after all others, in silence.
    pub(crate) is_operators: bool,
    /// Its class closes it.
    pub(crate) class_closed: Option<ClosedReason>,
    pub(crate) tls: Vec<TlsEntry>,
    pub(crate) plans: Vec<UpstreamPlan>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Everything that was looked at.
    pub(crate) references: Vec<ObjectKey>,
}

/// The rules of one host.
#[derive(Clone, Debug)]
pub(crate) struct HostRules {
    pub(crate) hostname: Hostname,
    pub(crate) provenance: Provenance,
    pub(crate) paths: Vec<PathRule>,
    /// No rule names the host in so many words: the Ingress's default backend is not for it.
    pub(crate) is_guess: bool,
    /// A rule names the host and no path.
    pub(crate) bare: Option<Provenance>,
}

/// How a rule wants its path compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

/// One path of a rule.
#[derive(Clone, Debug)]
pub(crate) struct PathRule {
    pub(crate) path_type: PathType,
    /// As written, and at least `/`.
    pub(crate) path: Box<str>,
    /// Whether it is compared as a regular expression, by its own Ingress's wish.
    pub(crate) is_regex: bool,
    /// Whether it is its literal text even where its host has all paths compared as patterns: as
    /// one, it would be over what the patterns of its Ingress may take.
    pub(crate) is_literal: bool,
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) closed: Option<ClosedReason>,
    pub(crate) action: Action,
    /// Its path cannot be read: it has `/` before any other, so that whatever no other route of the
    /// host names answers 503.
    pub(crate) takes_rest: bool,
    pub(crate) provenance: Provenance,
}

/// An Ingress that is ours.
pub(crate) struct Ours<'o> {
    pub(crate) ingress: &'o AsRead<Ingress>,
    pub(crate) object: &'o ObjectRef,
    pub(crate) content: ContentHash,
    pub(crate) age: Age,
    /// Its class closes it.
    pub(crate) class_closed: Option<ClosedReason>,
}

/// What every Ingress is read with.
pub(crate) struct Reading<'r> {
    pub(crate) lookup: &'r Lookup<'r>,
    pub(crate) settings: &'r Settings,
    pub(crate) parameters: &'r Parameters,
    pub(crate) leaves: &'r Leaves,
}

/// What the walk through one Ingress has at hand.
struct Walk<'w> {
    ingress: &'w AsRead<Ingress>,
    namespace: Arc<str>,
    dialect: Dialect,
    settings: &'w Settings,
    parameters: &'w Parameters,
    lookup: &'w Lookup<'w>,
    leaves: &'w Leaves,
    wishes: Wishes,
    plans: Vec<UpstreamPlan>,
    /// What the patterns so far take.
    pattern_bytes: Cell<usize>,
    /// Where in the fragment its hosts are.
    places: HashMap<Hostname, usize>,
    tls: tls::SoFar,
}

/// Reads one Ingress of ours; all its routes answer 503 where its class closes it.
pub(crate) fn read(ours: Ours<'_>, reading: &Reading<'_>) -> Fragment {
    let Ours { ingress, object, content, age, class_closed } = ours;
    let &Reading { lookup, settings, parameters, leaves } = reading;
    let reports = Reports::default();
    let root = Scope::root(object, &reports);
    let empty = std::collections::BTreeMap::new();
    let annotations = ingress.metadata.annotations.as_ref().unwrap_or(&empty);
    let scope = root.at("metadata.annotations");
    let mut wishes = annotation::read(annotations, settings, parameters, &scope);
    let unreadable = unreadable::metadata(ingress, class_closed.as_ref(), &root);
    wishes.closed = class_closed.clone().or(unreadable).or(wishes.closed);
    let mut walk = Walk {
        ingress,
        namespace: age.namespace.clone(),
        dialect: age.dialect,
        settings,
        parameters,
        lookup,
        leaves,
        wishes,
        plans: Vec::new(),
        pattern_bytes: Cell::new(0),
        places: HashMap::new(),
        tls: tls::SoFar::default(),
    };
    let mut fragment = Fragment {
        object: object.clone(),
        content: Some(content),
        age,
        class_closed,
        ssl_redirect: walk.wishes.ssl_redirect,
        force_ssl_redirect: walk.wishes.force_ssl_redirect,
        hosts: Vec::new(),
        default_backend: None,
        class_default: None,
        has_rules: false,
        is_operators: false,
        tls: Vec::new(),
        plans: Vec::new(),
        diagnostics: Vec::new(),
        references: Vec::new(),
    };
    if !walk.wishes.canary {
        walk.read_spec(&mut fragment, &root.at("spec"));
        if fragment.has_rules && fragment.default_backend.is_none() {
            fragment.class_default = walk.class_default(&reports);
        }
    }
    fragment.plans = walk.plans;
    fragment.references = lookup.take();
    fragment.diagnostics = reports.take_capped();
    fragment
}

impl Walk<'_> {
    fn read_spec(&mut self, fragment: &mut Fragment, scope: &Scope<'_>) {
        let ingress = self.ingress;
        let Some(spec) = &ingress.spec else {
            match ingress.taken_at(scope) {
                Some(taken) => unreadable::report_no_place(taken, scope),
                None => scope.report(Code::EmptyIngress, Effect::ObjectIgnored, "it has no spec"),
            }
            return;
        };
        let rules = spec.rules.as_deref().unwrap_or_default();
        let default_scope = scope.at("defaultBackend");
        let has_default =
            spec.default_backend.is_some() || ingress.taken_at(&default_scope).is_some();
        if rules.is_empty() && !has_default {
            scope.report(
                Code::EmptyIngress,
                Effect::ObjectIgnored,
                "it has neither rules nor a defaultBackend",
            );
        }
        fragment.has_rules = !rules.is_empty();
        self.close_unless_list(&scope.at("rules"));
        for (index, rule) in rules.iter().enumerate() {
            self.read_rule(rule, fragment, &scope.at("rules").index(index));
        }
        if has_default {
            let backend = spec.default_backend.as_ref();
            fragment.default_backend = Some(self.default_backend(backend, &default_scope));
        }
        let scope = scope.at("tls");
        if let Some(taken) = ingress.taken_at(&scope) {
            let message = format!("{}; it is read as a list of one", taken.problem);
            scope.report(Code::InvalidObject, Effect::None, message);
        }
        for (index, entry) in spec.tls.iter().flatten().enumerate() {
            let hosts = &fragment.hosts;
            let entry = self.read_tls(entry, hosts, &scope.index(index));
            fragment.tls.push(entry);
        }
    }

    /// The default backend answers for every path, closed where its Ingress is, never rewritten.
    fn default_backend(&mut self, backend: Option<&IngressBackend>, scope: &Scope<'_>) -> PathRule {
        PathRule {
            path_type: PathType::Prefix,
            path: "/".into(),
            is_regex: false,
            is_literal: false,
            rewrite: None,
            closed: self.wishes.closed.clone(),
            action: self.action(backend, scope),
            takes_rest: false,
            provenance: scope.provenance(),
        }
    }

    /// The default backend of the class, with what is wrong with it told at its own place.
    fn class_default(&mut self, reports: &Reports) -> Option<PathRule> {
        let (service, named_at) = self.parameters.default_backend.as_ref()?;
        let scope = Scope::root(&named_at.object, reports);
        let scope = scope.at(&named_at.field.0);
        let age = Age {
            created: None,
            dialect: self.dialect,
            namespace: service.namespace.as_str().into(),
            name: service.name.as_str().into(),
        };
        let found = default_backend::upstream(service, &age, self.lookup, self.settings, &scope);
        let action = match found {
            Ok(plan) => {
                let id = plan.upstream.id.clone();
                self.plans.push(plan);
                Action::forward(id)
            }
            Err(code) => Action::unavailable(code.id()),
        };
        Some(PathRule {
            path_type: PathType::Prefix,
            path: "/".into(),
            is_regex: false,
            is_literal: false,
            rewrite: None,
            closed: self.wishes.closed.clone(),
            action,
            takes_rest: false,
            provenance: scope.provenance(),
        })
    }

    /// Where a backend leads; 503 at the same place when it leads nowhere.
    fn action(&mut self, backend: Option<&IngressBackend>, scope: &Scope<'_>) -> Action {
        if self.report_backend(scope) {
            return Action::unavailable(Code::InvalidObject.id());
        }
        let Some(backend) = backend else {
            return Action::unavailable(Code::InvalidBackend.id());
        };
        match self.upstream(backend, scope) {
            Ok(plan) => {
                let id = plan.upstream.id.clone();
                self.plans.push(plan);
                Action::forward(id)
            }
            Err(code) => Action::unavailable(code.id()),
        }
    }

    fn upstream(
        &mut self,
        backend: &IngressBackend,
        scope: &Scope<'_>,
    ) -> Result<UpstreamPlan, Code> {
        if let Some(resource) = &backend.resource {
            scope.at("resource").report(
                Code::UnsupportedBackend,
                Effect::RouteResponds(503),
                format!("a backend of kind `{}` is not supported", resource.kind),
            );
            return Err(Code::UnsupportedBackend);
        }
        let invalid = |scope: &Scope<'_>, message: &str| {
            scope.report(Code::InvalidBackend, Effect::RouteResponds(503), message);
            Err(Code::InvalidBackend)
        };
        let Some(service) = &backend.service else {
            return invalid(scope, "it names no service");
        };
        let scope = scope.at("service");
        if service.name.is_empty() {
            return invalid(&scope.at("name"), "the service has no name");
        }
        let port = service.port.as_ref();
        let number = port.and_then(|port| port.number);
        let name = port.and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
        let port = match (number, name) {
            (Some(number), None) => match u16::try_from(number) {
                Ok(number) if number != 0 => WantedPort::Number(number),
                _ => return invalid(&scope.at("port.number"), "a port is from 1 to 65535"),
            },
            (None, Some(name)) => WantedPort::Name(name.into()),
            (None, None) => return invalid(&scope.at("port"), "it names no port"),
            (Some(_), Some(_)) => {
                return invalid(&scope.at("port"), "it names a port by number and by name");
            }
        };
        let name: Arc<str> = service.name.as_str().into();
        let wanted = Wanted {
            namespace: &self.namespace,
            service: &name,
            port: &port,
            dialect: self.dialect,
            protocol: self.wishes.protocol,
        };
        service::resolve(&wanted, self.lookup, self.settings, &scope)
    }
}
