//! The kinds that are read from an API server, and what is kept of an object.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{DynamicObject, TypeMeta};
use serde::de::DeserializeOwned;
use translate::manifests::{self, FileDiagnostic};
use translate::{ClusterIngressParameters, Object, ObjectKey, ObjectKind};

use crate::report::Observed;

/// Written by `kubectl apply` for itself: a second copy of the object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What a list or watch told about one object.
#[derive(Debug)]
pub(super) struct Taken {
    /// As far as it could be read.
    pub(super) object: Option<Object>,
    /// What is to be said about it; for objects that an API server would refuse today.
    pub(super) diagnostics: Vec<FileDiagnostic>,
}

/// What can be listed and watched.
pub(super) trait Item: Resource + Clone + DeserializeOwned + Debug + Send + 'static {
    /// Takes the object in, without what nobody reads.
    fn take(self) -> Taken;

    /// Items of a list do not say what they are, as the list says it for all of them.
    fn be_of(&mut self, _list: &TypeMeta) {}

    /// Shows an Ingress to who reports on them.
    fn show(&self, _observed: &Observed) {}
}

/// A kind with its type.
pub(super) trait Watched: Item + Resource<DynamicType = ()> {
    /// Its kind.
    const KIND: ObjectKind;
}

fn prune(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

macro_rules! watched {
    ($($kind:ident $(without $status:ident)? $(, $show:ident)?;)*) => {$(
        impl Item for $kind {
            fn take(mut self) -> Taken {
                prune(&mut self.metadata);
                $(self.$status = None;)?
                let object = Object::$kind(Arc::new(self.into()));
                Taken { object: Some(object), diagnostics: Vec::new() }
            }

            $(fn show(&self, observed: &Observed) {
                observed.$show(self);
            })?
        }

        impl Watched for $kind {
            const KIND: ObjectKind = ObjectKind::$kind;
        }
    )*};
}

watched! {
    Ingress without status, observe;
    IngressClass;
    Service without status;
    EndpointSlice;
    Secret;
    ConfigMap;
    Namespace without status;
    ClusterIngressParameters;
}

/// Objects that do not fit their type are read as manifests are: as far as they go.
impl Item for DynamicObject {
    fn be_of(&mut self, list: &TypeMeta) {
        let kind = list.kind.strip_suffix("List").unwrap_or(&list.kind);
        self.types.get_or_insert_with(|| TypeMeta {
            api_version: list.api_version.clone(),
            kind: kind.to_owned(),
        });
    }

    fn take(mut self) -> Taken {
        prune(&mut self.metadata);
        let text = serde_json::to_string(&self).unwrap_or_default();
        let mut parsed = manifests::parse("", &text);
        let object = parsed.objects.pop().map(|parsed| parsed.object);
        Taken { object, diagnostics: parsed.diagnostics }
    }

    fn show(&self, observed: &Observed) {
        // Only what fits, and no more is asked of it than its metadata and its status.
        let object = serde_json::json!({
            "metadata": self.metadata,
            "status": self.data.get("status"),
        });
        if let Ok(ingress) = serde_json::from_value::<Ingress>(object) {
            observed.observe(&ingress);
        }
    }
}

/// The identity of an object of a kind.
pub(super) fn key(kind: ObjectKind, metadata: &ObjectMeta) -> ObjectKey {
    let namespace =
        if kind.is_namespaced() { metadata.namespace.as_deref().unwrap_or_default() } else { "" };
    ObjectKey::new(kind, namespace, metadata.name.as_deref().unwrap_or_default())
}

/// A kind whose objects live in namespaces.
pub(super) trait Namespaced: Watched + Resource<Scope = NamespaceResourceScope> {}

impl<T: Watched + Resource<Scope = NamespaceResourceScope>> Namespaced for T {}
