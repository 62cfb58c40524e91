//! Reads that remember every key asked for, found or missing.
//!
//! What was asked for is all that a result can depend on: a change of anything else needs no build.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::SharedMap;

use crate::as_read::AsRead;
use crate::class::ClusterIngressParameters;
use crate::objects::{Change, ObjectKey, ObjectKind, ObjectStore, Stored, StoredSecret};

/// Every key that a translation asked for. Slices stand under the name of their Service.
#[derive(Clone, Debug, Default)]
pub struct References {
    keys: Arc<HashSet<ObjectKey, RandomState>>,
    /// Of parts that were linked anew since; bounded by [`MORE_MAX`].
    more: SharedMap<ObjectKey, ()>,
    /// All Namespaces were looked at.
    has_namespaces: bool,
}

/// More keys than this are not added one by one: everything is translated, and collected, anew.
pub(crate) const MORE_MAX: usize = 4_096;

impl References {
    /// Whether this object, or its absence, was looked at. Ingresses and classes always are.
    #[must_use]
    pub fn contains(&self, key: &ObjectKey) -> bool {
        matches!(key.kind, ObjectKind::Ingress | ObjectKind::IngressClass)
            || (self.has_namespaces && key.kind == ObjectKind::Namespace)
            || self.keys.contains(key)
            || self.more.contains_key(key)
    }

    /// Every key that was asked for, in no order. After a link of some parts, keys are among them
    /// that only their former versions asked for.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.keys.iter().chain(self.more.keys())
    }

    /// Whether a change can alter the result.
    #[must_use]
    pub fn concern(&self, change: &Change) -> bool {
        change.keys.iter().any(|key| self.contains(key))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() + self.more.len()
    }

    /// Whether nothing was looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn new(keys: HashSet<ObjectKey, RandomState>, has_namespaces: bool) -> Self {
        Self { keys: Arc::new(keys), more: SharedMap::new(), has_namespaces }
    }

    /// Adds what parts looked at; `false` when that is too much.
    pub(crate) fn add<'k>(&mut self, keys: impl IntoIterator<Item = &'k ObjectKey>) -> bool {
        for key in keys {
            if !self.keys.contains(key) && !self.more.contains_key(key) {
                self.more.insert(key.clone(), ());
            }
        }
        self.more.len() <= MORE_MAX
    }
}

/// Two are equal that have the same keys.
impl PartialEq for References {
    fn eq(&self, other: &Self) -> bool {
        self.has_namespaces == other.has_namespaces
            && self.len() == other.len()
            && self.keys().all(|key| other.keys.contains(key) || other.more.contains_key(key))
    }
}

impl Eq for References {}

/// A view of the store that writes down what is asked.
pub(crate) struct Lookup<'s> {
    store: &'s ObjectStore,
    asked: RefCell<Vec<ObjectKey>>,
}

impl<'s> Lookup<'s> {
    pub(crate) fn new(store: &'s ObjectStore) -> Self {
        Self { store, asked: RefCell::default() }
    }

    fn ask(&self, kind: ObjectKind, namespace: &Arc<str>, name: &Arc<str>) {
        self.asked.borrow_mut().push(ObjectKey {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
        });
    }

    pub(crate) fn service(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
    ) -> Option<&'s AsRead<Service>> {
        self.ask(ObjectKind::Service, namespace, name);
        self.store.services.get(&(namespace.clone(), name.clone())).map(|s| &*s.object)
    }

    pub(crate) fn config_map(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
    ) -> Option<&'s AsRead<ConfigMap>> {
        self.ask(ObjectKind::ConfigMap, namespace, name);
        self.store.config_maps.get(&(namespace.clone(), name.clone())).map(|s| &*s.object)
    }

    pub(crate) fn class_parameters(
        &self,
        name: &Arc<str>,
    ) -> Option<&'s AsRead<ClusterIngressParameters>> {
        let namespace: Arc<str> = "".into();
        self.ask(ObjectKind::ClusterIngressParameters, &namespace, name);
        self.store.class_parameters.get(&(namespace, name.clone())).map(|s| &*s.object)
    }

    pub(crate) fn secret(&self, namespace: &Arc<str>, name: &Arc<str>) -> Option<&'s StoredSecret> {
        self.ask(ObjectKind::Secret, namespace, name);
        self.store.secrets.get(&(namespace.clone(), name.clone()))
    }

    pub(crate) fn slices(
        &self,
        namespace: &Arc<str>,
        service: &Arc<str>,
    ) -> Option<&'s BTreeMap<Arc<str>, Stored<EndpointSlice>>> {
        self.ask(ObjectKind::EndpointSlice, namespace, service);
        self.store.slices.get(&(namespace.clone(), service.clone()))
    }

    pub(crate) fn endpoints(
        &self,
        namespace: &Arc<str>,
        name: &Arc<str>,
    ) -> Option<&'s AsRead<Endpoints>> {
        self.ask(ObjectKind::Endpoints, namespace, name);
        self.store.endpoints.get(&(namespace.clone(), name.clone())).map(|s| &*s.object)
    }

    /// Everything asked for so far, forgotten here.
    pub(crate) fn take(&self) -> Vec<ObjectKey> {
        self.asked.take()
    }
}
