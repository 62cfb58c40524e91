//! What is said where a right is missing.

use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef};
use translate::{ObjectKind, missing_secret};

use super::follow::Follow;

/// The name of all objects of a kind.
const ALL: &str = "*";

/// A diagnostic that names the right and where to give it.
pub(super) fn diagnostic(follow: &Follow, why: &str) -> Diagnostic {
    let (group, resource) = resource(follow.kind);
    let group = if group.is_empty() { "the core group".to_owned() } else { format!("`{group}`") };
    let place = match &follow.namespace {
        Some(namespace) => format!("a Role in namespace `{namespace}`"),
        None => "a ClusterRole".to_owned(),
    };
    let namespace = follow.namespace.clone().unwrap_or_default();
    let name = follow.object.clone().unwrap_or_else(|| ALL.into());
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

/// Says of the Ingresses that name a Secret which may not be read that this is why they do without:
/// the object may well be there. Returns what is left to say beside them.
pub(crate) fn explain(found: &mut [Diagnostic], source: &[Diagnostic]) -> Vec<Diagnostic> {
    let is_of = |source: &Diagnostic, namespace: &str, name: &str| {
        // Where many are named, a namespace is watched as a whole.
        let is_it = &*source.object.name == name || &*source.object.name == ALL;
        is_it && &*source.object.namespace == namespace
    };
    let mut left = source.to_vec();
    left.retain(|source| {
        let is_secret = &*source.object.kind == ObjectKind::Secret.name();
        if source.code != Code::ReadForbidden || !is_secret {
            return true;
        }
        let mut is_told = false;
        for found in found.iter_mut() {
            let Some((namespace, name)) = missing_secret(found) else { continue };
            if is_of(source, namespace, name) {
                found.message =
                    format!("Secret {namespace}/{name} may not be read: {}", source.message);
                found.code = source.code;
                found.severity = source.severity;
                found.help.clone_from(&source.help);
                is_told = true;
            }
        }
        !is_told
    });
    left
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

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(name: &str) -> Diagnostic {
        Diagnostic {
            severity: Code::SecretNotFound.info().severity,
            code: Code::SecretNotFound,
            object: ObjectRef {
                kind: "Ingress".into(),
                namespace: "shop".into(),
                name: "i".into(),
            },
            field: FieldPath("spec.tls[0].secretName".into()),
            message: format!("Secret shop/{name} does not exist"),
            help: None,
            related: Vec::new(),
            effect: Effect::DefaultCertificate,
        }
    }

    fn forbidden(kind: &str, namespace: &str, name: &str) -> Diagnostic {
        Diagnostic {
            code: Code::ReadForbidden,
            object: ObjectRef { kind: kind.into(), namespace: namespace.into(), name: name.into() },
            message: "no".to_owned(),
            help: Some("a Role".to_owned()),
            ..missing("")
        }
    }

    #[test]
    fn what_may_not_be_read_is_said_where_it_is_named_and_else_where_it_is() {
        let mut found = [missing("one"), missing("two")];
        let source = [
            forbidden("Secret", "shop", "one"),
            forbidden("Secret", "shop", "unnamed"),
            forbidden("ConfigMap", "shop", "two"),
        ];
        assert_eq!(explain(&mut found, &source), source[1..]);
        assert_eq!(found[0].message, "Secret shop/one may not be read: no");
        assert_eq!(
            (found[0].code, found[0].help.as_deref()),
            (Code::ReadForbidden, Some("a Role"))
        );
        assert_eq!(found[1], missing("two"));
    }

    #[test]
    fn a_namespace_whose_secrets_may_not_be_read_explains_all_of_them() {
        let mut found = [missing("one"), missing("two")];
        assert_eq!(explain(&mut found, &[forbidden("Secret", "shop", ALL)]), []);
        assert!(found.iter().all(|found| found.code == Code::ReadForbidden));
        let elsewhere = [forbidden("Secret", "bank", ALL)];
        assert_eq!(explain(&mut [missing("one")], &elsewhere), elsewhere);
    }
}
