//! What became of each Ingress that is ours, for those who report it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::Model;

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
    let counts = counts(model);
    let mut ours: Vec<OurIngress> = fragments
        .iter()
        .filter_map(|fragment| {
            let (namespace, name) = (&fragment.object.namespace, &fragment.object.name);
            let found = counts.get(&(&**namespace, &**name)).copied().unwrap_or_default();
            Some(OurIngress {
                namespace: namespace.clone(),
                name: name.clone(),
                // The operator's default backend is no object.
                content: fragment.content?,
                hosts: found.hosts,
                routes: found.routes,
            })
        })
        .collect();
    ours.sort_unstable_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    ours.into()
}

fn counts(model: &Model) -> HashMap<(&str, &str), Counts, RandomState> {
    let mut counts: HashMap<(&str, &str), Counts, RandomState> = HashMap::default();
    for (position, host) in model.hosts.values().enumerate() {
        for route in &host.routes {
            let object = &route.provenance.object;
            if *object.kind != *ObjectKind::Ingress.name() {
                continue;
            }
            let known = counts.entry((&object.namespace, &object.name)).or_default();
            known.routes += 1;
            if known.last_host != Some(position) {
                known.last_host = Some(position);
                known.hosts += 1;
            }
        }
    }
    counts
}
