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
mod link;
mod listed;
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
mod wiped;

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{EndpointTable, KeyMaterial, Model, Report, SharedMap, UpstreamId};

pub use admission::{Proposal, Verdict, review};
pub use annotation::{
    AnnotationInfo, AnnotationStatus, CLASS_ANNOTATION, NGINX_PREFIX, OWN_PREFIX, annotations,
    may_ignore,
};
pub use as_read::{AsRead, Unreadable};
pub use class::ClusterIngressParameters;
pub use ingress::missing_secret;
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
pub use wiped::{Wiped, wipe_secret};

use endpoints::{Endpoints, Finding};
use link::Linked;
use lookup::Lookup;
use scope::Reports;

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
    sources: SharedMap<UpstreamId, Arc<Endpoints>>,
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
    memo.begin(settings);
    memo.linked = None;
    let (linked, translation) = Linked::whole(objects, settings, memo);
    memo.linked = Some(Box::new(linked));
    translation
}

/// Translates what depends on some objects, and takes over the rest from the last translation with
/// this memo: what [`translate`] would give, but for references, of which some may be left over,
/// and for what is said of the time that certificates have left.
///
/// `changed` are the keys of all objects that have changed since. `None` where everything must be
/// translated: when that concerns all Ingresses, or nothing was translated before.
#[must_use]
pub fn relink(
    objects: &ObjectStore,
    settings: &Settings,
    memo: &mut Memo,
    changed: &BTreeSet<ObjectKey>,
) -> Option<Translation> {
    memo.begin(settings);
    let mut linked = memo.linked.take()?;
    let translation = linked.update(objects, settings, memo, changed)?;
    memo.linked = Some(linked);
    Some(translation)
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
    let (table, is_all) = endpoints_where(objects, settings, previous, |_, _| true)?;
    is_all.then_some(table)
}

/// As [`endpoints_only`], where only those of some Services have changed since `previous`: their
/// namespaces and names. What it costs does not grow with all endpoints there are.
#[must_use]
pub fn endpoints_of(
    objects: &ObjectStore,
    settings: &Settings,
    previous: &Translation,
    services: &Services,
) -> Option<EndpointTable> {
    let (table, is_all) = endpoints_where(objects, settings, previous, is_one_of(services))?;
    is_all.then_some(table)
}

/// As [`endpoints_of`], while a translation waits: what is to be said of upstreams that have no
/// endpoints any more, or their first, is said by that.
///
/// `None` when `previous` is no whole translation.
#[must_use]
pub fn endpoints_meanwhile(
    objects: &ObjectStore,
    settings: &Settings,
    previous: &Translation,
    services: &Services,
) -> Option<EndpointTable> {
    endpoints_where(objects, settings, previous, is_one_of(services)).map(|(table, _)| table)
}

/// Namespaces and names of Services.
pub type Services = BTreeSet<(Arc<str>, Arc<str>)>;

fn is_one_of(services: &Services) -> impl Fn(&Arc<str>, &Arc<str>) -> bool {
    |namespace, service| services.iter().any(|(of, name)| (of, name) == (namespace, service))
}

/// The table, and whether it is all that changes.
fn endpoints_where(
    objects: &ObjectStore,
    settings: &Settings,
    previous: &Translation,
    is_concerned: impl Fn(&Arc<str>, &Arc<str>) -> bool,
) -> Option<(EndpointTable, bool)> {
    let lookup = Lookup::new(objects);
    let finding = Finding::new(&lookup, settings);
    let (mut table, mut is_all) = (previous.endpoints.clone(), true);
    for (id, source) in &previous.sources {
        if !is_concerned(&source.namespace, &source.service) {
            continue;
        }
        let reports = Reports::default();
        let found = source.find(&finding, &reports);
        let known = table.get(id)?;
        is_all &= known.is_empty() == found.is_empty();
        if *known != found {
            table.insert(id.clone(), found);
        }
    }
    Some((table, is_all))
}
