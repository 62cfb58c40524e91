//! What differs between two translations: what must be published, and the numbers that an operator
//! asks for first.

use std::fmt;

use model::{Model, PathMatch, Route, VirtualHost};
use translate::Translation;

use crate::Change;

/// What of the Model, the endpoints and the keys differs from what was there before; `None` when
/// nothing does.
pub(crate) fn between(before: Option<&Translation>, current: &Translation) -> Option<Change> {
    let Some(before) = before else { return Some(Change::Full) };
    let (old, new) = (&before.model, &current.model);
    if old.listeners != new.listeners
        || old.hosts != new.hosts
        || old.answer_body != new.answer_body
        || old.upstreams != new.upstreams
    {
        return Some(Change::Full);
    }
    let has_certificates_changed = old.certificates != new.certificates
        || old.sni != new.sni
        || old.default_certificate != new.default_certificate
        // Keys are named by their digest.
        || before.material != current.material;
    match (before.endpoints != current.endpoints, has_certificates_changed) {
        (true, true) => Some(Change::Full),
        (true, false) => Some(Change::EndpointsOnly),
        (false, true) => Some(Change::CertificatesOnly),
        (false, false) => None,
    }
}

/// How many routes came, went, or do something else now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteChanges {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    pub(crate) changed: usize,
}

impl RouteChanges {
    /// Compares host by host; what the two share is not looked into.
    pub(crate) fn between(old: &Model, new: &Model) -> Self {
        let mut changes = Self::default();
        for name in old.hosts.differing(&new.hosts) {
            match (old.hosts.get(name), new.hosts.get(name)) {
                (Some(before), Some(host)) => changes.compare(before, host),
                (None, Some(host)) => changes.added += host.routes.len(),
                (Some(before), None) => changes.removed += before.routes.len(),
                (None, None) => {}
            }
        }
        changes
    }

    /// A path stands once on a host, so that it identifies a route there.
    fn compare(&mut self, old: &VirtualHost, new: &VirtualHost) {
        let mut before = by_path(old);
        for (path, route) in by_path(new) {
            match before.remove(path) {
                None => self.added += 1,
                Some(former) if former == route => {}
                Some(_) => self.changed += 1,
            }
        }
        self.removed += before.len();
    }
}

fn by_path(host: &VirtualHost) -> std::collections::HashMap<&PathMatch, &Route> {
    host.routes.iter().map(|route| (&route.path, route)).collect()
}

impl fmt::Display for RouteChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{} -{} ~{}", self.added, self.removed, self.changed)
    }
}

/// How many routes a Model has.
pub(crate) fn route_count(model: &Model) -> usize {
    model.hosts.values().map(|host| host.routes.len()).sum()
}

#[cfg(test)]
mod tests {
    use model::{Action, Hostname, Miss, ObjectRef, PathForm, PathKind, Provenance, Sealed};

    use super::*;
    use model::policy::AnswerBody;

    fn model(hosts: &[(&str, &[(&str, &str)])]) -> Model {
        let provenance = Provenance::new(ObjectRef::new("Ingress", "n", "i"), "");
        let route = |(path, reason): &(&str, &str)| Route {
            path: PathMatch::new(PathKind::Prefix, *path),
            policy: model::RoutePolicy::default(),
            action: Action::unavailable(*reason),
            provenance: provenance.clone(),
        };
        let host = |(name, routes): &(&str, &[(&str, &str)])| {
            let hostname = Hostname::parse(name).unwrap();
            let host = VirtualHost {
                hostname: hostname.clone(),
                path_form: PathForm::default(),
                miss: Miss::default(),
                ordered: false,
                answer_body: AnswerBody::default(),
                routes: routes.iter().map(route).collect(),
                provenance: provenance.clone(),
            };
            (hostname, Sealed::new(host))
        };
        Model { hosts: hosts.iter().map(host).collect(), ..Model::default() }
    }

    #[test]
    fn routes_are_told_apart_by_host_and_path() {
        let old = model(&[
            ("a.test", &[("/", "x"), ("/b", "x"), ("/c", "x")]),
            ("b.test", &[("/", "x")]),
        ]);
        let new = model(&[
            ("a.test", &[("/", "x"), ("/b", "y"), ("/d", "x")]),
            ("c.test", &[("/", "x")]),
        ]);
        let changes = RouteChanges::between(&old, &new);
        assert_eq!(changes, RouteChanges { added: 2, removed: 2, changed: 1 });
        assert_eq!(changes.to_string(), "+2 -2 ~1");
        assert_eq!(route_count(&new), 4);
        assert_eq!(RouteChanges::between(&new, &new), RouteChanges::default());
    }
}
