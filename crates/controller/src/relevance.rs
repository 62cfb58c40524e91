//! Does a change matter, and how much must be built for it?
//!
//! The store has said already whether content changed. What remains: whether the last translation
//! looked at the object, or looked for it and did not find it. Everything else cannot alter it.

use translate::{ObjectKey, ObjectKind, References};

/// What must be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relevance {
    /// Nothing: nobody looked at it.
    None,
    /// Endpoints alone.
    Endpoints,
    /// What has to do with the object.
    Parts,
    /// Everything.
    Full,
}

/// How much the change of one object matters to a translation that looked at `references`.
pub(crate) fn of(key: &ObjectKey, references: &References) -> Relevance {
    if !references.contains(key) {
        return Relevance::None;
    }
    match key.kind {
        ObjectKind::EndpointSlice | ObjectKind::Endpoints => Relevance::Endpoints,
        ObjectKind::Ingress | ObjectKind::Service | ObjectKind::Secret | ObjectKind::ConfigMap => {
            Relevance::Parts
        }
        // These concern all Ingresses.
        ObjectKind::IngressClass | ObjectKind::Namespace | ObjectKind::ClusterIngressParameters => {
            Relevance::Full
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_nobody_looked_at_does_not_matter() {
        let references = References::default();
        let secret = ObjectKey::new(ObjectKind::Secret, "shop", "other");
        assert_eq!(of(&secret, &references), Relevance::None);
    }

    #[test]
    fn ingresses_and_classes_always_matter() {
        let references = References::default();
        let of = |kind| of(&ObjectKey::new(kind, "", "new"), &references);
        assert_eq!(of(ObjectKind::Ingress), Relevance::Parts);
        assert_eq!(of(ObjectKind::IngressClass), Relevance::Full);
    }
}
