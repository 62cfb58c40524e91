//! What became of each Ingress that is ours, for those who report it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Hostname, Model, Sealed, VirtualHost};

use crate::ingress::Fragment;
use crate::objects::{ContentHash, ObjectKind};

/// An Ingress of ours, and how much of it is in the Model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurIngress {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The hash of what matters of it: another one is another wish.
    pub content: ContentHash,
    /// Virtual hosts with a route of it.
    pub hosts: u32,
    /// Its routes, those included that keep their place and answer 503.
    pub routes: u32,
}

impl OurIngress {
    /// Whether requests can meet anything of it: a route that serves, or one that keeps its place.
    #[must_use]
    pub fn is_programmed(&self) -> bool {
        self.routes > 0
    }
}

/// Hosts and routes of an Ingress.
#[derive(Clone, Copy, Default)]
struct Counts {
    hosts: u32,
    routes: u32,
    /// The host that was counted last, by its position.
    last_host: Option<usize>,
}

/// All Ingresses of ours, by namespace and name.
pub(crate) fn summary(fragments: &[Arc<Fragment>], model: &Model) -> Arc<[OurIngress]> {
    let mut counts: HashMap<(&str, &str), Counts, RandomState> = HashMap::default();
    for (position, owner) in owners(model.hosts.values()) {
        counts.entry(owner).or_default().add(position);
    }
    let found = fragments.iter().filter_map(|fragment| {
        let (namespace, name) = (&*fragment.object.namespace, &*fragment.object.name);
        ours(fragment, counts.get(&(namespace, name)).copied().unwrap_or_default())
    });
    let mut all: Vec<OurIngress> = found.collect();
    all.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all.into()
}

/// One Ingress of ours. It has no routes on other hosts than its own, and on that of all hosts.
pub(crate) fn one(fragment: &Fragment, model: &Model) -> Option<OurIngress> {
    let mut counts = Counts::default();
    let own = fragment.hosts.iter().map(|rules| &rules.hostname);
    let names: BTreeSet<&Hostname> = own.chain([&Hostname::Any]).collect();
    let hosts = names.into_iter().filter_map(|name| model.hosts.get(name));
    let wanted = (&*fragment.object.namespace, &*fragment.object.name);
    let found = owners(hosts).filter(|(_, owner)| *owner == wanted);
    found.for_each(|(position, _)| counts.add(position));
    ours(fragment, counts)
}

/// None for the operator's default backend, which is no object.
fn ours(fragment: &Fragment, counts: Counts) -> Option<OurIngress> {
    Some(OurIngress {
        namespace: fragment.object.namespace.clone(),
        name: fragment.object.name.clone(),
        content: fragment.content?,
        hosts: counts.hosts,
        routes: counts.routes,
    })
}

/// The Ingress of each route, with the position of its host.
fn owners<'m>(
    hosts: impl Iterator<Item = &'m Sealed<VirtualHost>>,
) -> impl Iterator<Item = (usize, (&'m str, &'m str))> {
    hosts.enumerate().flat_map(|(position, host)| {
        let objects = host.routes.iter().map(|route| &route.provenance.object);
        let ingresses = objects.filter(|object| *object.kind == *ObjectKind::Ingress.name());
        ingresses.map(move |object| (position, (&*object.namespace, &*object.name)))
    })
}

impl Counts {
    fn add(&mut self, position: usize) {
        self.routes += 1;
        if self.last_host != Some(position) {
            self.last_host = Some(position);
            self.hosts += 1;
        }
    }
}
