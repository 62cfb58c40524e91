//! Kubernetes objects to a Model and diagnostics: pure.
//!
//! ```text
//! manifests ─► ObjectStore ─► class ─► ingress (a fragment each) ─► order
//!                                                                    ├─► tls    certificates
//!                                                                    ├─► merge  hosts and routes
//!                                                                    └─► endpoints
//! ```
//!
//! No I/O, no clock, no global state: equal objects and settings give equal results, whatever order
//! the objects came in and whatever the memo holds. Nothing that an object says can make it fail;
//! what cannot be served keeps its place, answers 503, and is reported.

pub mod address;
mod admission;
mod annotation;
mod as_read;
mod class;
mod default_backend;
mod endpoints;
mod ingress;
mod lookup;
pub mod manifests;
mod memo;
mod merge;
mod nginx;
mod objects;
mod order;
mod ours;
mod ownership;
mod pattern;
mod scope;
mod secret;
mod service;
mod settings;
mod tls;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{
    Action, Code, Effect, EndpointTable, KeyMaterial, Model, ObjectRef, Report, UpstreamId,
};

pub use admission::{Proposal, Verdict, review};
pub use annotation::{
    AnnotationInfo, AnnotationStatus, CLASS_ANNOTATION, NGINX_PREFIX, OWN_PREFIX, annotations,
    may_ignore,
};
pub use as_read::{AsRead, Unreadable};
pub use class::ClusterIngressParameters;
pub use lookup::References;
pub use memo::Memo;
pub use objects::{
    Change, ContentHash, Object, ObjectEvent, ObjectKey, ObjectKind, ObjectStore,
    SERVICE_NAME_LABEL,
};
pub use ours::OurIngress;
pub use ownership::{ALLOWED_HOSTS_ANNOTATION, RefusedClaim};
pub use settings::{
    DEFAULT_CONTROLLER_NAME, Dialect, EndpointAddresses, EndpointOverride, ExternalNamePolicy,
    HostOwner, HostOwnership, HostPattern, NGINX_CONTROLLER_NAME, NamedService, Settings,
};

use class::Classes;
use endpoints::{Endpoints, Finding};
use ingress::Fragment;
use lookup::Lookup;
use order::Age;
use scope::{Reports, Scope};
use service::UpstreamPlan;

/// Everything that one pass over the objects found out.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// What is wanted.
    pub model: Model,
    /// The usable endpoints of every upstream of the Model.
    pub endpoints: EndpointTable,
    /// The key pairs of the Model's certificates.
    pub material: KeyMaterial,
    /// What users should know about their objects.
    pub report: Report,
    /// What was looked at, found or missing.
    pub references: References,
    /// Every Ingress that is ours, by namespace and name, and how much of it is in the Model.
    pub ingresses: Arc<[OurIngress]>,
    /// What Ingresses say of hosts that are not their namespaces', where hosts belong to any.
    pub refused: Arc<[RefusedClaim]>,
    /// Where the endpoints of each upstream come from.
    sources: BTreeMap<UpstreamId, Arc<Endpoints>>,
}

impl Translation {
    /// What an earlier translation came to, without the objects it was made of.
    #[must_use]
    pub fn of(model: Model, endpoints: EndpointTable, material: KeyMaterial) -> Self {
        Self { model, endpoints, material, ..Self::default() }
    }
}

/// Translates all objects.
#[must_use]
pub fn translate(objects: &ObjectStore, settings: &Settings, memo: &mut Memo) -> Translation {
    let reports = Reports::default();
    let lookup = Lookup::new(objects);
    memo.begin(settings);
    let mut references = References::default();
    let mut refused = Vec::new();
    let fragments =
        fragments(objects, settings, &lookup, memo, &reports, &mut references, &mut refused);
    let mut model = Model { listeners: settings.listeners.clone(), ..Model::default() };
    model.listeners.sort_unstable();
    let is_owned = settings.host_ownership != HostOwnership::Off;
    let https = tls::HttpsHosts::new(&fragments, is_owned);
    model.answer_body = merge::unrouted_answer_body(&fragments);
    model.hosts = merge::hosts(&fragments, &https, is_owned, memo, &reports);
    let material = tls::fill(&mut model, &fragments, &lookup, settings, &memo.leaves, &reports);
    let sources = upstreams(&mut model, &fragments);
    let finding = Finding::new(&lookup, settings);
    let endpoints =
        sources.iter().map(|(id, source)| (id.clone(), source.find(&finding, &reports))).collect();
    references.extend(lookup.take());
    references.include_namespaces(settings.host_ownership == HostOwnership::AllowList);
    for fragment in &fragments {
        references.extend(fragment.references.iter().cloned());
    }
    let mut diagnostics = reports.take();
    diagnostics.extend(fragments.iter().flat_map(|f| f.diagnostics.iter().cloned()));
    memo.end(objects, &model);
    let ingresses = ours::summary(&fragments, &model);
    Translation {
        model,
        endpoints,
        material,
        report: Report::new(diagnostics),
        references,
        ingresses,
        refused: refused.into(),
        sources,
    }
}

impl Translation {
    /// An Ingress, if it is ours.
    #[must_use]
    pub fn ingress(&self, namespace: &str, name: &str) -> Option<&OurIngress> {
        let place = self
            .ingresses
            .binary_search_by(|known| (&*known.namespace, &*known.name).cmp(&(namespace, name)));
        Some(&self.ingresses[place.ok()?])
    }
}

/// The endpoints alone, where only slices, `Endpoints` or overrides have changed since `previous`.
///
/// `None` when some upstream gained its first endpoint or lost its last: the report says which have
/// none, so that a whole translation is due.
#[must_use]
pub fn endpoints_only(
    objects: &ObjectStore,
    settings: &Settings,
    previous: &Translation,
) -> Option<EndpointTable> {
    endpoints_where(objects, settings, previous, |_, _| true)
}

/// As [`endpoints_only`], where only those of some Services have changed since `previous`: their
/// namespaces and names. What it costs does not grow with all endpoints there are.
#[must_use]
pub fn endpoints_of(
    objects: &ObjectStore,
    settings: &Settings,
    previous: &Translation,
    services: &BTreeSet<(Arc<str>, Arc<str>)>,
) -> Option<EndpointTable> {
    let is_one = |namespace: &Arc<str>, service: &Arc<str>| {
        services.iter().any(|(of, name)| (of, name) == (namespace, service))
    };
    endpoints_where(objects, settings, previous, is_one)
}

fn endpoints_where(
    objects: &ObjectStore,
    settings: &Settings,
    previous: &Translation,
    is_concerned: impl Fn(&Arc<str>, &Arc<str>) -> bool,
) -> Option<EndpointTable> {
    let lookup = Lookup::new(objects);
    let finding = Finding::new(&lookup, settings);
    let mut table = previous.endpoints.clone();
    for (id, source) in &previous.sources {
        if !is_concerned(&source.namespace, &source.service) {
            continue;
        }
        let reports = Reports::default();
        let found = source.find(&finding, &reports);
        let known = table.get_mut(id)?;
        if known.is_empty() != found.is_empty() {
            return None;
        }
        if *known != found {
            *known = found;
        }
    }
    Some(table)
}

/// The fragments of all Ingresses that are ours, oldest first; then that of the operator's default.
fn fragments(
    objects: &ObjectStore,
    settings: &Settings,
    lookup: &Lookup<'_>,
    memo: &mut Memo,
    reports: &Reports,
    references: &mut References,
    refused: &mut Vec<RefusedClaim>,
) -> Vec<Arc<Fragment>> {
    let classes = Classes::new(objects, settings, lookup, reports);
    references.extend(lookup.take());
    let kind: Arc<str> = ObjectKind::Ingress.name().into();
    let mut fragments = Vec::with_capacity(objects.ingresses.len());
    for ((namespace, name), stored) in &objects.ingresses {
        let (namespace, name) = (namespace.clone(), name.clone());
        let object = ObjectRef { kind: kind.clone(), namespace, name };
        let scope = Scope::root(&object, reports);
        let Some(membership) = classes.membership(&stored.object, &scope) else {
            for taken in stored.object.unreadable() {
                let scope = scope.at(&taken.field.0);
                scope.report(Code::InvalidObject, Effect::ObjectIgnored, &*taken.problem);
            }
            continue;
        };
        let created = stored.object.metadata.creation_timestamp.clone();
        let age = Age {
            created,
            dialect: membership.dialect,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let (closed, parameters) = (membership.closed, membership.parameters);
        let class = memo::OfClass { closed: closed.as_ref(), parameters: &parameters };
        let fragment = memo.take(stored.content, &age, &class, objects).unwrap_or_else(|| {
            let reading = ingress::Reading {
                lookup,
                settings,
                parameters: &parameters,
                leaves: &memo.leaves,
            };
            let ours = ingress::Ours {
                ingress: &stored.object,
                object: &object,
                content: stored.content,
                age,
                class_closed: closed.clone(),
            };
            let fragment = Arc::new(ingress::read(ours, &reading));
            memo.put(stored.content, &fragment, &parameters, objects);
            fragment
        });
        fragments.push(fragment);
    }
    fragments.sort_by(|a, b| a.age.cmp(&b.age));
    fragments = ownership::enforce(fragments, objects, settings, memo, reports, refused);
    // Younger than any Ingress, whatever their times.
    fragments.extend(default_backend::fragment(objects, settings, lookup, memo));
    fragments
}

/// Enters the upstreams that some route leads to; the oldest Ingress to ask for one describes it.
fn upstreams(
    model: &mut Model,
    fragments: &[Arc<Fragment>],
) -> BTreeMap<UpstreamId, Arc<Endpoints>> {
    let mut plans: HashMap<&UpstreamId, &UpstreamPlan, RandomState> = HashMap::default();
    for plan in fragments.iter().flat_map(|fragment| &fragment.plans) {
        plans.entry(&plan.upstream.id).or_insert(plan);
    }
    let mut used: Vec<&UpstreamPlan> = Vec::new();
    for route in model.hosts.values().flat_map(|host| &host.routes) {
        let Action::Forward(split) = &route.action else { continue };
        for backend in &split.backends {
            // Taken out, so that each is used once.
            used.extend(plans.remove(&backend.upstream));
        }
    }
    let upstreams = used.iter().map(|plan| (plan.upstream.id.clone(), plan.upstream.clone()));
    model.upstreams = upstreams.collect();
    used.iter().map(|plan| (plan.upstream.id.clone(), plan.endpoints.clone())).collect()
}
