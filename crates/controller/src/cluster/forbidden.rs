//! What is said where a right is missing.

use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef};
use translate::ObjectKind;

use super::follow::Follow;

/// A diagnostic that names the right and where to give it.
pub(super) fn diagnostic(follow: &Follow, why: &str) -> Diagnostic {
    let (group, resource) = resource(follow.kind);
    let group = if group.is_empty() { "the core group".to_owned() } else { format!("`{group}`") };
    let place = match &follow.namespace {
        Some(namespace) => format!("a Role in namespace `{namespace}`"),
        None => "a ClusterRole".to_owned(),
    };
    let namespace = follow.namespace.clone().unwrap_or_default();
    let name = follow.object.clone().unwrap_or_else(|| "*".into());
    Diagnostic {
        severity: Code::ReadForbidden.info().severity,
        code: Code::ReadForbidden,
        object: ObjectRef { kind: follow.kind.name().into(), namespace, name },
        field: FieldPath("".into()),
        message: why.to_owned(),
        help: Some(format!(
            "give the service account `list` and `watch` on `{resource}` of {group} by {place}"
        )),
        related: Vec::new(),
        effect: Effect::ObjectIgnored,
    }
}

/// API group and resource of a kind, as RBAC names them.
pub(crate) fn resource(kind: ObjectKind) -> (&'static str, &'static str) {
    match kind {
        ObjectKind::Ingress => ("networking.k8s.io", "ingresses"),
        ObjectKind::IngressClass => ("networking.k8s.io", "ingressclasses"),
        ObjectKind::Service => ("", "services"),
        ObjectKind::EndpointSlice => ("discovery.k8s.io", "endpointslices"),
        ObjectKind::Endpoints => ("", "endpoints"),
        ObjectKind::Secret => ("", "secrets"),
        ObjectKind::ConfigMap => ("", "configmaps"),
        ObjectKind::Namespace => ("", "namespaces"),
        ObjectKind::ClusterIngressParameters => ("portcullis.io", "clusteringressparameters"),
    }
}
