//! `ClusterIngressParameters` of `portcullis.io/v1alpha1`: parameters of a class that are no
//! namespace's.

use std::collections::BTreeMap;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The API group of our own kinds.
pub(crate) const GROUP: &str = "portcullis.io";
/// Our own kind.
pub(crate) const KIND: &str = "ClusterIngressParameters";

/// What a class says of all its Ingresses, in the words of its definition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIngressParameters {
    /// Its version, where it is told: in lists it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// The parameters by name; names that are not known are told, and so none is left out here.
    #[serde(default)]
    pub spec: BTreeMap<String, Value>,
}

impl k8s_openapi::Resource for ClusterIngressParameters {
    const API_VERSION: &'static str = "portcullis.io/v1alpha1";
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = KIND;
    const VERSION: &'static str = "v1alpha1";
    const URL_PATH_SEGMENT: &'static str = "clusteringressparameters";
    type Scope = ClusterResourceScope;
}

impl k8s_openapi::ListableResource for ClusterIngressParameters {
    const LIST_KIND: &'static str = "ClusterIngressParametersList";
}

impl k8s_openapi::Metadata for ClusterIngressParameters {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
