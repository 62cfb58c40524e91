//! Fragments to a Translation: of all Ingresses, or of those that changed.
//!
//! ```text
//! changed objects ─► Ingresses ─► fragments ─► ownership ─► hosts ─► upstreams ─► endpoints
//!                                                  └─► certificates
//! ```
//!
//! Most changes are of one Ingress among thousands. What was put together is kept, and a change
//! goes down the same road as everything does, with the Ingresses, hosts and upstreams that it
//! concerns. What concerns all of them at once (classes, lists of hosts, Ingresses for every host)
//! is not followed one by one: then everything is put together anew.

mod update;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use k8s_openapi::api::networking::v1::Ingress;
use model::{
    Action, Code, Diagnostic, Effect, EndpointTable, KeyMaterial, Model, ObjectRef, Report,
    SharedMap, UpstreamId,
};

use crate::Translation;
use crate::class::Classes;
use crate::default_backend;
use crate::endpoints::{Endpoints, Finding};
use crate::ingress::{self, Fragment};
use crate::lookup::{Lookup, References};
use crate::memo::{Memo, OfClass};
use crate::merge;
use crate::objects::{Name, ObjectKey, ObjectKind, ObjectStore, Stored};
use crate::order::Age;
use crate::ours;
use crate::ownership::{self, RefusedClaim};
use crate::scope::{Reports, Scope, capped};
use crate::service::UpstreamPlan;
use crate::settings::{HostOwnership, Settings};
use crate::tls::{self, HttpsHosts};

/// What a translation put together, as the next one finds it.
#[derive(Debug)]
pub(crate) struct Linked {
    /// Of all Ingresses that are ours, as they are written, oldest first.
    whole: Vec<Arc<Fragment>>,
    /// The same without what they say of hosts that are another's; then the operator's default.
    fragments: Vec<Arc<Fragment>>,
    https: HttpsHosts,
    said: Said,
    /// What was looked at for no single Ingress.
    common: HashSet<ObjectKey, RandomState>,
    /// Its report is empty: it is put together of what is kept here and in the memo.
    translation: Translation,
}

/// What is to be said that stands in no fragment and on no host.
#[derive(Debug, Default)]
struct Said {
    classes: Vec<Diagnostic>,
    /// Of Ingresses, whether they are ours or not.
    membership: BTreeMap<Name, Vec<Diagnostic>>,
    ownership: Vec<Diagnostic>,
    defaults: Vec<Diagnostic>,
    certificates: Vec<Diagnostic>,
    endpoints: BTreeMap<UpstreamId, Vec<Diagnostic>>,
}

/// What one translation reads from.
struct Inputs<'i> {
    objects: &'i ObjectStore,
    settings: &'i Settings,
    lookup: &'i Lookup<'i>,
}

impl Inputs<'_> {
    fn is_owned(&self) -> bool {
        self.settings.host_ownership != HostOwnership::Off
    }
}

impl Linked {
    /// Puts everything together.
    pub(crate) fn whole(
        objects: &ObjectStore,
        settings: &Settings,
        memo: &mut Memo,
    ) -> (Self, Translation) {
        let lookup = Lookup::new(objects);
        let inputs = Inputs { objects, settings, lookup: &lookup };
        let mut said = Said::default();
        let reports = Reports::default();
        let classes = Classes::new(objects, settings, &lookup, &reports);
        said.classes = reports.take();
        let mut common: HashSet<ObjectKey, RandomState> = lookup.take().into_iter().collect();

        let mut whole = Vec::with_capacity(objects.ingresses.len());
        for (name, stored) in &objects.ingresses {
            whole.extend(inputs.fragment(name, stored, &classes, memo, &mut said));
        }
        whole.sort_by(|a, b| a.age.cmp(&b.age));
        let mut refused = Vec::new();
        let mut fragments = inputs.enforce(&whole, memo, &mut said, &mut refused);
        // Younger than any Ingress, whatever their times.
        let operators = default_backend::fragment(objects, settings, &lookup, memo);
        common.extend(operators.iter().flat_map(|f| f.references.iter().cloned()));
        fragments.extend(operators);

        let mut model = Model { listeners: settings.listeners.clone(), ..Model::default() };
        model.listeners.sort_unstable();
        let https = HttpsHosts::new(&fragments, inputs.is_owned());
        model.answer_body = merge::unrouted_answer_body(&fragments);
        let is_owned = inputs.is_owned();
        let hosts = merge::hosts(&fragments, &https, is_owned, None, memo, &reports);
        model.hosts = hosts.into_iter().collect();
        said.defaults = reports.take();
        let material = inputs.certificates(&mut model, &fragments, memo, &mut said);
        common.extend(lookup.take());

        let sources = upstreams(&mut model, &fragments);
        let finding = Finding::new(&lookup, settings);
        let endpoints = sources
            .iter()
            .map(|(id, source)| {
                let found = source.find(&finding, &reports);
                keep(&mut said.endpoints, id, &reports);
                (id.clone(), found)
            })
            .collect();
        let mut keys = common.clone();
        keys.extend(lookup.take());
        keys.extend(fragments.iter().flat_map(|fragment| fragment.references.iter().cloned()));
        let has_namespaces = settings.host_ownership == HostOwnership::AllowList;
        memo.end(objects, &model);
        let ingresses = ours::summary(&fragments, &model);
        let translation = Translation {
            model,
            endpoints,
            material,
            report: Report::default(),
            references: References::new(keys, has_namespaces),
            ingresses,
            refused: refused.into(),
            sources,
        };
        let linked = Self { whole, fragments, https, said, common, translation };
        let translation = linked.reported(memo);
        (linked, translation)
    }

    pub(crate) fn references(&self) -> &References {
        &self.translation.references
    }

    pub(crate) fn keep_endpoints(&mut self, endpoints: &EndpointTable) {
        self.translation.endpoints = endpoints.clone();
    }

    /// The translation with its report.
    fn reported(&self, memo: &Memo) -> Translation {
        let said = &self.said;
        let lists = [&said.classes, &said.ownership, &said.defaults, &said.certificates];
        let merged = lists
            .into_iter()
            .chain(said.membership.values())
            .chain(said.endpoints.values())
            .flatten()
            .chain(memo.host_diagnostics());
        // In their order, so that it does not hang on anything else which of them are kept.
        let merged = Report::new(merged.cloned().collect());
        let mut all = capped(merged.diagnostics().to_vec());
        all.extend(self.fragments.iter().flat_map(|fragment| &fragment.diagnostics).cloned());
        Translation { report: Report::new(all), ..self.translation.clone() }
    }
}

/// Most have nothing to be said of.
fn keep<K: Ord + Clone>(said: &mut BTreeMap<K, Vec<Diagnostic>>, key: &K, reports: &Reports) {
    let diagnostics = reports.take();
    if diagnostics.is_empty() {
        said.remove(key);
    } else {
        said.insert(key.clone(), diagnostics);
    }
}

impl Inputs<'_> {
    /// The fragment of an Ingress: the one from before, or a new one; none where it is not ours.
    fn fragment(
        &self,
        (namespace, name): &Name,
        stored: &Stored<Ingress>,
        classes: &Classes<'_>,
        memo: &mut Memo,
        said: &mut Said,
    ) -> Option<Arc<Fragment>> {
        let (namespace, name) = (namespace.clone(), name.clone());
        let key = (namespace.clone(), name.clone());
        let object = ObjectRef { kind: ObjectKind::Ingress.name().into(), namespace, name };
        let reports = Reports::default();
        let scope = Scope::root(&object, &reports);
        let membership = classes.membership(&stored.object, &scope);
        if membership.is_none() {
            for taken in stored.object.unreadable() {
                let scope = scope.at(&taken.field.0);
                scope.report(Code::InvalidObject, Effect::ObjectIgnored, &*taken.problem);
            }
        }
        keep(&mut said.membership, &key, &reports);
        let membership = membership?;
        let age = Age {
            created: stored.object.metadata.creation_timestamp.clone(),
            dialect: membership.dialect,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let (closed, parameters) = (membership.closed, membership.parameters);
        let class = OfClass { closed: closed.as_ref(), parameters: &parameters };
        if let Some(kept) = memo.take(stored.content, &age, &class, self.objects) {
            return Some(kept);
        }
        let reading = ingress::Reading {
            lookup: self.lookup,
            settings: self.settings,
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
        memo.put(stored.content, &fragment, &parameters, self.objects);
        Some(fragment)
    }

    /// The fragments without what they say of hosts that are another's.
    fn enforce(
        &self,
        whole: &[Arc<Fragment>],
        memo: &mut Memo,
        said: &mut Said,
        refused: &mut Vec<RefusedClaim>,
    ) -> Vec<Arc<Fragment>> {
        let reports = Reports::default();
        let (objects, settings) = (self.objects, self.settings);
        let whole = whole.to_vec();
        let fragments = ownership::enforce(whole, objects, settings, memo, &reports, refused);
        said.ownership = reports.take();
        fragments
    }

    fn certificates(
        &self,
        model: &mut Model,
        fragments: &[Arc<Fragment>],
        memo: &Memo,
        said: &mut Said,
    ) -> KeyMaterial {
        let reports = Reports::default();
        let (lookup, settings) = (self.lookup, self.settings);
        let keys = tls::fill(model, fragments, lookup, settings, &memo.leaves, &reports);
        said.certificates = reports.take();
        keys
    }
}

/// Enters the upstreams that some route leads to; the oldest Ingress to ask for one describes it.
fn upstreams(
    model: &mut Model,
    fragments: &[Arc<Fragment>],
) -> SharedMap<UpstreamId, Arc<Endpoints>> {
    let mut plans: HashMap<&UpstreamId, &UpstreamPlan, RandomState> = HashMap::default();
    for plan in fragments.iter().flat_map(|fragment| &fragment.plans) {
        plans.entry(&plan.upstream.id).or_insert(plan);
    }
    let mut used: Vec<&UpstreamPlan> = Vec::new();
    for id in model.hosts.values().flat_map(|host| &host.routes).flat_map(backends) {
        // Taken out, so that each is used once.
        used.extend(plans.remove(id));
    }
    let upstreams = used.iter().map(|plan| (plan.upstream.id.clone(), plan.upstream.clone()));
    model.upstreams = upstreams.collect();
    used.iter().map(|plan| (plan.upstream.id.clone(), plan.endpoints.clone())).collect()
}

/// The upstreams that a route leads to.
fn backends(route: &model::Route) -> impl Iterator<Item = &UpstreamId> {
    let split = match &route.action {
        Action::Forward(split) => Some(split),
        Action::Redirect(_) | Action::Respond(_) => None,
    };
    split.into_iter().flat_map(|split| split.backends.iter().map(|backend| &backend.upstream))
}
