//! The objects as last read: typed maps that sources fill and translation reads.
//!
//! What counts as a change is a content hash over spec, labels, annotations, data and time of
//! creation: resource versions and our own status writes never cause a build. One piece of state
//! outlives a version: a Secret whose new content holds no usable certificate keeps the content
//! that did, until it is deleted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;

use foldhash::fast::RandomState;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::ObjectRef;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::as_read::AsRead;
use crate::class::ClusterIngressParameters;
use crate::ownership::ALLOWED_HOSTS_ANNOTATION;
use crate::secret;
use crate::wiped::Wiped;

/// The label by which a slice names its Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of the Kubernetes API")]
pub enum ObjectKind {
    Ingress,
    IngressClass,
    Service,
    EndpointSlice,
    Endpoints,
    Secret,
    ConfigMap,
    Namespace,
    ClusterIngressParameters,
}

impl ObjectKind {
    /// The name of the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Endpoints => "Endpoints",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Namespace => "Namespace",
            Self::ClusterIngressParameters => "ClusterIngressParameters",
        }
    }

    /// Whether objects of this kind have a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::IngressClass | Self::Namespace | Self::ClusterIngressParameters)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: ObjectKind,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key.
    pub fn new(
        kind: ObjectKind,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The form that the Model and diagnostics use.
    #[must_use]
    pub fn to_ref(&self) -> ObjectRef {
        ObjectRef::new(self.kind.name(), self.namespace.clone(), self.name.clone())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// An object as read.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the Kubernetes API")]
pub enum Object {
    Ingress(Arc<AsRead<Ingress>>),
    IngressClass(Arc<AsRead<IngressClass>>),
    Service(Arc<AsRead<Service>>),
    EndpointSlice(Arc<AsRead<EndpointSlice>>),
    Endpoints(Arc<AsRead<Endpoints>>),
    Secret(Arc<AsRead<Wiped>>),
    ConfigMap(Arc<AsRead<ConfigMap>>),
    Namespace(Arc<AsRead<Namespace>>),
    ClusterIngressParameters(Arc<AsRead<ClusterIngressParameters>>),
}

impl Object {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Ingress(_) => ObjectKind::Ingress,
            Self::IngressClass(_) => ObjectKind::IngressClass,
            Self::Service(_) => ObjectKind::Service,
            Self::EndpointSlice(_) => ObjectKind::EndpointSlice,
            Self::Endpoints(_) => ObjectKind::Endpoints,
            Self::Secret(_) => ObjectKind::Secret,
            Self::ConfigMap(_) => ObjectKind::ConfigMap,
            Self::Namespace(_) => ObjectKind::Namespace,
            Self::ClusterIngressParameters(_) => ObjectKind::ClusterIngressParameters,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Ingress(object) => &object.metadata,
            Self::IngressClass(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Endpoints(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::ClusterIngressParameters(object) => &object.metadata,
        }
    }

    /// Its identity.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let metadata = self.metadata();
        let namespace = if self.kind().is_namespaced() {
            metadata.namespace.as_deref().unwrap_or("default")
        } else {
            ""
        };
        ObjectKey::new(self.kind(), namespace, metadata.name.as_deref().unwrap_or_default())
    }

    /// The hash of what matters of it.
    #[must_use]
    pub fn content(&self) -> ContentHash {
        let meta = self.metadata();
        let created = &meta.creation_timestamp;
        match self {
            Self::Ingress(o) => hash(&(created, &meta.annotations, &o.spec, o.unreadable())),
            Self::IngressClass(o) => hash(&(created, &meta.annotations, &o.spec, o.unreadable())),
            Self::Service(o) => hash(&(&meta.annotations, &o.spec, o.unreadable())),
            Self::EndpointSlice(o) => {
                hash(&(&meta.labels, &o.address_type, &o.endpoints, &o.ports, o.unreadable()))
            }
            // Its annotations carry the time of the last change.
            Self::Endpoints(o) => hash(&(
                &meta.labels,
                meta.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER_ANNOTATION)),
                &o.subsets,
                o.unreadable(),
            )),
            Self::Secret(o) => secret::content(o),
            Self::ConfigMap(o) => hash(&(&o.data, &o.binary_data)),
            Self::ClusterIngressParameters(o) => hash(&(&o.spec, o.unreadable())),
            Self::Namespace(_) => {
                let annotations = meta.annotations.as_ref();
                hash(&(&meta.labels, annotations.and_then(|a| a.get(ALLOWED_HOSTS_ANNOTATION))))
            }
        }
    }
}

/// An `Endpoints` object with this annotation is a lock and no list of endpoints.
pub(crate) const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// The first half of a SHA-256 over the part of an object that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 16]);

fn hash(content: &impl Serialize) -> ContentHash {
    struct Sink(Sha256);
    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut sink = io::BufWriter::with_capacity(512, Sink(Sha256::new()));
    serde_json::to_writer(&mut sink, content)
        .expect("Kubernetes types have a JSON form, and a hash takes every byte");
    let sink = sink.into_inner().unwrap_or_else(|_| unreachable!("a hash takes every byte"));
    ContentHash::of(sink.0)
}

impl ContentHash {
    pub(crate) fn of(digest: Sha256) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&digest.finalize()[..16]);
        Self(half)
    }
}

/// What a source tells.
#[derive(Clone, Debug)]
pub enum ObjectEvent {
    /// The object is there, or has changed.
    Applied(Object),
    /// The object is gone.
    Deleted(ObjectKey),
    /// All objects that were there at the start have been told.
    Synced,
}

/// What an event changed, as keys to hold against [`crate::References`].
///
/// A change of an `EndpointSlice` names the Services it belongs to: their names stand in the keys
/// in place of the slice's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Empty when the content is what it was.
    pub keys: Vec<ObjectKey>,
}

impl Change {
    /// Whether nothing that matters has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// An object with the hash of its content.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) object: Arc<AsRead<T>>,
    pub(crate) content: ContentHash,
}

/// A Secret, and its former version where that is the last with a usable certificate.
#[derive(Clone, Debug)]
pub(crate) struct StoredSecret {
    pub(crate) object: Arc<AsRead<Wiped>>,
    pub(crate) content: ContentHash,
    pub(crate) last_good: Option<(Arc<AsRead<Wiped>>, ContentHash)>,
}

impl StoredSecret {
    /// The content of both versions: equal only where both are.
    fn identity(&self) -> ContentHash {
        let mut identity = self.content;
        if let Some((_, kept)) = &self.last_good {
            for (byte, kept) in identity.0.iter_mut().zip(kept.0) {
                *byte ^= kept;
            }
        }
        identity
    }
}

/// A namespace and a name.
pub(crate) type Name = (Arc<str>, Arc<str>);

/// Objects of one kind. Results are sorted later, so that the order here never shows.
pub(crate) type Named<T> = HashMap<Name, T, RandomState>;

/// All objects, by kind, namespace and name.
#[derive(Clone, Debug, Default)]
pub struct ObjectStore {
    pub(crate) ingresses: Named<Stored<Ingress>>,
    pub(crate) classes: Named<Stored<IngressClass>>,
    pub(crate) services: Named<Stored<Service>>,
    pub(crate) endpoints: Named<Stored<Endpoints>>,
    pub(crate) config_maps: Named<Stored<ConfigMap>>,
    pub(crate) namespaces: Named<Stored<Namespace>>,
    pub(crate) class_parameters: Named<Stored<ClusterIngressParameters>>,
    pub(crate) secrets: Named<StoredSecret>,
    /// By namespace and Service, then by the slice's name.
    pub(crate) slices: Named<BTreeMap<Arc<str>, Stored<EndpointSlice>>>,
    /// The Service that each slice belongs to; none for a slice without the label.
    slice_owners: Named<(Option<Arc<str>>, ContentHash)>,
    synced: bool,
}

impl ObjectStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event in, and says what it changed.
    pub fn apply(&mut self, event: ObjectEvent) -> Change {
        match event {
            ObjectEvent::Applied(object) => self.insert(object),
            ObjectEvent::Deleted(key) => self.remove(&key),
            ObjectEvent::Synced => {
                self.synced = true;
                Change::default()
            }
        }
    }

    /// Whether every initial object has been told.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// How many Ingresses there are.
    #[must_use]
    pub fn ingress_count(&self) -> usize {
        self.ingresses.len()
    }

    /// The content hash of an object, `None` when there is no such object. What is kept of a
    /// Secret's former version counts as content.
    #[must_use]
    pub fn content(&self, key: &ObjectKey) -> Option<ContentHash> {
        let name = (key.namespace.clone(), key.name.clone());
        match key.kind {
            ObjectKind::Ingress => self.ingresses.get(&name).map(|s| s.content),
            ObjectKind::IngressClass => self.classes.get(&name).map(|s| s.content),
            ObjectKind::Service => self.services.get(&name).map(|s| s.content),
            ObjectKind::Endpoints => self.endpoints.get(&name).map(|s| s.content),
            ObjectKind::ConfigMap => self.config_maps.get(&name).map(|s| s.content),
            ObjectKind::Namespace => self.namespaces.get(&name).map(|s| s.content),
            ObjectKind::ClusterIngressParameters => {
                self.class_parameters.get(&name).map(|s| s.content)
            }
            ObjectKind::Secret => self.secrets.get(&name).map(StoredSecret::identity),
            ObjectKind::EndpointSlice => self.slice_owners.get(&name).map(|(_, content)| *content),
        }
    }

    fn insert(&mut self, object: Object) -> Change {
        let key = object.key();
        let content = object.content();
        let known = match &object {
            Object::Secret(_) => {
                let secret = self.secrets.get(&(key.namespace.clone(), key.name.clone()));
                secret.map(|secret| secret.content)
            }
            _ => self.content(&key),
        };
        if known == Some(content) {
            return Change::default();
        }
        let name = (key.namespace.clone(), key.name.clone());
        match object {
            Object::Ingress(object) => {
                drop(self.ingresses.insert(name, Stored { object, content }));
            }
            Object::IngressClass(object) => {
                drop(self.classes.insert(name, Stored { object, content }));
            }
            Object::Service(object) => drop(self.services.insert(name, Stored { object, content })),
            Object::Endpoints(object) => {
                drop(self.endpoints.insert(name, Stored { object, content }));
            }
            Object::ConfigMap(object) => {
                drop(self.config_maps.insert(name, Stored { object, content }));
            }
            Object::ClusterIngressParameters(object) => {
                drop(self.class_parameters.insert(name, Stored { object, content }));
            }
            Object::Namespace(object) => {
                drop(self.namespaces.insert(name, Stored { object, content }));
            }
            Object::Secret(object) => self.insert_secret(name, object, content),
            Object::EndpointSlice(object) => return self.insert_slice(&key, object, content),
        }
        Change { keys: vec![key] }
    }

    /// Only a change of a Secret is looked into: at the start there is nothing to keep.
    fn insert_secret(&mut self, name: Name, object: Arc<AsRead<Wiped>>, content: ContentHash) {
        let last_good = self.secrets.remove(&name).and_then(|before| {
            if secret::read(&object).is_ok() {
                None
            } else if secret::read(&before.object).is_ok() {
                Some((before.object, before.content))
            } else {
                before.last_good
            }
        });
        self.secrets.insert(name, StoredSecret { object, content, last_good });
    }

    fn insert_slice(
        &mut self,
        key: &ObjectKey,
        object: Arc<AsRead<EndpointSlice>>,
        content: ContentHash,
    ) -> Change {
        let mut change = self.remove_slice(key);
        let labels = object.metadata.labels.as_ref();
        let owner: Option<Arc<str>> =
            labels.and_then(|l| l.get(SERVICE_NAME_LABEL)).map(|name| name.as_str().into());
        self.slice_owners
            .insert((key.namespace.clone(), key.name.clone()), (owner.clone(), content));
        if let Some(owner) = owner {
            let touched = ObjectKey { name: owner.clone(), ..key.clone() };
            if !change.keys.contains(&touched) {
                change.keys.push(touched);
            }
            self.slices
                .entry((key.namespace.clone(), owner))
                .or_default()
                .insert(key.name.clone(), Stored { object, content });
        }
        change
    }

    fn remove_slice(&mut self, key: &ObjectKey) -> Change {
        let name = (key.namespace.clone(), key.name.clone());
        let Some((Some(owner), _)) = self.slice_owners.remove(&name) else {
            return Change::default();
        };
        let service = (key.namespace.clone(), owner.clone());
        if let Some(slices) = self.slices.get_mut(&service) {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.slices.remove(&service);
            }
        }
        Change { keys: vec![ObjectKey { name: owner, ..key.clone() }] }
    }

    fn remove(&mut self, key: &ObjectKey) -> Change {
        let name = (key.namespace.clone(), key.name.clone());
        let existed = match key.kind {
            ObjectKind::Ingress => self.ingresses.remove(&name).is_some(),
            ObjectKind::IngressClass => self.classes.remove(&name).is_some(),
            ObjectKind::Service => self.services.remove(&name).is_some(),
            ObjectKind::Endpoints => self.endpoints.remove(&name).is_some(),
            ObjectKind::ConfigMap => self.config_maps.remove(&name).is_some(),
            ObjectKind::Namespace => self.namespaces.remove(&name).is_some(),
            ObjectKind::ClusterIngressParameters => self.class_parameters.remove(&name).is_some(),
            ObjectKind::Secret => self.secrets.remove(&name).is_some(),
            ObjectKind::EndpointSlice => return self.remove_slice(key),
        };
        Change { keys: if existed { vec![key.clone()] } else { Vec::new() } }
    }
}
