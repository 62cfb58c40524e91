//! Which file says what about which object.
//!
//! The same object in two places is claimed twice. The first claim by sorted path, then by position
//! in the file, holds; the others are told. The order in which files were read does not matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef, Related};
use translate::{Object, ObjectKey, ObjectKind};

/// Where a claim stands: the file's name, then the position among its objects.
pub(crate) type Claimant = (Arc<str>, usize);

const KINDS: [ObjectKind; 9] = [
    ObjectKind::Ingress,
    ObjectKind::IngressClass,
    ObjectKind::Service,
    ObjectKind::EndpointSlice,
    ObjectKind::Endpoints,
    ObjectKind::Secret,
    ObjectKind::ConfigMap,
    ObjectKind::Namespace,
    ObjectKind::ClusterIngressParameters,
];

/// All claims, by object.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_key: HashMap<ObjectKey, BTreeMap<Claimant, Object>>,
    by_file: HashMap<Arc<str>, BTreeSet<ObjectKey>>,
    /// Objects with more than one claim.
    contested: BTreeSet<ObjectKey>,
}

impl Claims {
    /// Replaces what `file` claims, and names the objects that may be others now.
    pub(crate) fn replace(&mut self, file: &Arc<str>, objects: &[Object]) -> BTreeSet<ObjectKey> {
        let mut touched = self.by_file.remove(file).unwrap_or_default();
        for key in &touched {
            if let Some(claims) = self.by_key.get_mut(key) {
                claims.retain(|(claimant, _), _| claimant != file);
            }
        }
        let mut claimed = BTreeSet::new();
        for (position, object) in objects.iter().enumerate() {
            let key = object.key();
            let claims = self.by_key.entry(key.clone()).or_default();
            claims.insert((Arc::clone(file), position), object.clone());
            claimed.insert(key);
        }
        touched.extend(claimed.iter().cloned());
        if !claimed.is_empty() {
            self.by_file.insert(Arc::clone(file), claimed);
        }
        for key in &touched {
            self.settle(key);
        }
        touched
    }

    /// Keeps `contested` right, and forgets objects that nobody claims.
    fn settle(&mut self, key: &ObjectKey) {
        let count = self.by_key.get(key).map_or(0, BTreeMap::len);
        if count > 1 {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(key);
        }
        if count == 0 {
            self.by_key.remove(key);
        }
    }

    /// The object whose claim holds.
    pub(crate) fn holder(&self, key: &ObjectKey) -> Option<&Object> {
        self.by_key.get(key)?.values().next()
    }

    /// The file whose claim holds, and the object's position among the file's objects.
    pub(crate) fn holding(&self, key: &ObjectKey) -> Option<&Claimant> {
        self.by_key.get(key)?.keys().next()
    }

    /// The same, by the form that diagnostics use.
    pub(crate) fn locate(&self, object: &ObjectRef) -> Option<&Claimant> {
        let kind = KINDS.into_iter().find(|kind| *kind.name() == *object.kind)?;
        let (namespace, name) = (object.namespace.clone(), object.name.clone());
        self.holding(&ObjectKey { kind, namespace, name })
    }

    /// One diagnostic per claim that does not hold, and where that claim stands.
    pub(crate) fn duplicates(&self) -> impl Iterator<Item = (&Claimant, Diagnostic)> {
        self.contested.iter().filter_map(|key| Some((key, self.by_key.get(key)?))).flat_map(
            |(key, claims)| {
                let first = claims.keys().next().map_or("", |(name, _)| name);
                claims.keys().skip(1).map(move |later| (later, duplicate(key, first, &later.0)))
            },
        )
    }
}

fn duplicate(key: &ObjectKey, first: &str, later: &str) -> Diagnostic {
    Diagnostic {
        severity: Code::DuplicateObject.info().severity,
        code: Code::DuplicateObject,
        object: key.to_ref(),
        field: FieldPath::default(),
        message: format!("written again in {later}; the one in {first} is used"),
        help: None,
        related: vec![Related {
            object: super::file_ref(first),
            field: FieldPath::default(),
            message: "the one that is used".to_owned(),
        }],
        effect: Effect::ObjectIgnored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Namespace;

    fn namespace(name: &str) -> Object {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        Object::Namespace(Arc::new(namespace.into()))
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(ObjectKind::Namespace, "", name)
    }

    fn holder(claims: &Claims, name: &str) -> Option<String> {
        claims.holding(&key(name)).map(|(file, position)| format!("{file}#{position}"))
    }

    #[test]
    fn the_first_by_file_name_then_position_holds_whatever_was_read_first() {
        let mut claims = Claims::default();
        claims.replace(&"b".into(), &[namespace("x")]);
        assert_eq!(holder(&claims, "x").unwrap(), "b#0");
        claims.replace(&"a".into(), &[namespace("y"), namespace("x"), namespace("x")]);
        assert_eq!(holder(&claims, "x").unwrap(), "a#1");
        let told: Vec<_> =
            claims.duplicates().map(|(at, said)| (at.clone(), said.message)).collect();
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].0, ("a".into(), 2));
        assert_eq!(told[1].1, "written again in b; the one in a is used");
    }

    #[test]
    fn when_the_claim_that_held_goes_the_next_one_holds() {
        let mut claims = Claims::default();
        claims.replace(&"a".into(), &[namespace("x")]);
        claims.replace(&"b".into(), &[namespace("x")]);
        assert_eq!(claims.replace(&"a".into(), &[]), BTreeSet::from([key("x")]));
        assert_eq!(holder(&claims, "x").unwrap(), "b#0");
        assert_eq!(claims.duplicates().count(), 0);
        claims.replace(&"b".into(), &[]);
        assert!(claims.holder(&key("x")).is_none());
        assert!(claims.by_key.is_empty());
    }
}
