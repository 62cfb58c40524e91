//! Hosts belong to the namespaces whose list has them: an annotation of the Namespace, which
//! whoever may edit Namespaces sets, and the operator's setting.
//!
//! The most specific entry holds: a namespace with `*.example.com` does not have
//! `shop.example.com` where another one lists that. Two namespaces with the same entry share.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Code, Effect, Hostname, ObjectRef};

use super::{ALLOWED_HOSTS_ANNOTATION, Refusal, above};
use crate::objects::ObjectStore;
use crate::scope::{Reports, Scope};
use crate::settings::{HostPattern, Settings};

/// The namespaces of each entry, sorted.
#[derive(Default)]
pub(super) struct AllowList {
    entries: HashMap<Hostname, Vec<Arc<str>>, RandomState>,
}

impl AllowList {
    pub(super) fn new(objects: &ObjectStore, settings: &Settings, reports: &Reports) -> Self {
        let mut list = Self::default();
        for given in &settings.host_owners {
            list.enter(&given.host, &given.namespace.as_str().into());
        }
        for ((_, name), stored) in &objects.namespaces {
            let annotations = stored.object.metadata.annotations.as_ref();
            let Some(text) = annotations.and_then(|all| all.get(ALLOWED_HOSTS_ANNOTATION)) else {
                continue;
            };
            let object = ObjectRef::new("Namespace", "", name.clone());
            let scope = Scope::root(&object, reports);
            for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                match entry.parse::<HostPattern>() {
                    Ok(pattern) => list.enter(&pattern, name),
                    Err(why) => {
                        let scope = scope.at("metadata.annotations");
                        scope.key(ALLOWED_HOSTS_ANNOTATION).report(
                            Code::InvalidAnnotationValue,
                            Effect::FieldIgnored,
                            format!("`{entry}` {why}"),
                        );
                    }
                }
            }
        }
        list.entries.values_mut().for_each(|namespaces| namespaces.sort_unstable());
        list
    }

    fn enter(&mut self, pattern: &HostPattern, namespace: &Arc<str>) {
        let namespaces = self.entries.entry(pattern.0.clone()).or_default();
        if !namespaces.contains(namespace) {
            namespaces.push(namespace.clone());
        }
    }

    /// Whether a namespace has a host.
    pub(super) fn check(&self, host: &Hostname, namespace: &Arc<str>) -> Result<(), Refusal> {
        let wildcard = match host {
            Hostname::Exact(name) => above(name),
            Hostname::Wildcard(_) | Hostname::Any => None,
        };
        let entries = [Some(host), wildcard.as_ref(), Some(&Hostname::Any)];
        let Some(owners) = entries.into_iter().flatten().find_map(|host| self.entries.get(host))
        else {
            return Err(Refusal::NotGiven);
        };
        if owners.contains(namespace) {
            return Ok(());
        }
        Err(Refusal::Given { to: owners.clone() })
    }
}
