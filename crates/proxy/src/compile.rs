//! Model to Snapshot. Total: a Model is valid by construction, so nothing here can fail.
//!
//! What did not change since the last snapshot is taken over as it is, and not looked at: what a
//! compile costs is what changed, and a copy of the references to all else.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use model::{
    Action, Code, EndpointTable, KeyMaterial, Model, ObjectRef, PathKind, PathMatch, Route,
    RoutePolicy, UpstreamId, VirtualHost,
};
use routing::{BuildError, HostBlock, HostTable, RouteTable};
use telemetry::{RouteMetrics, Telemetry};

use crate::downstream::certificates::CertificateTable;
use crate::registry::{ConnectionIdentity, Registry, RouteId};
use crate::snapshot::{
    CompiledAction, CompiledEndpoint, CompiledRoute, CompiledUpstream, ListenerFacts, Snapshot,
    Split,
};

/// What a compile takes besides the Model.
pub(crate) struct Inputs<'a> {
    pub(crate) endpoints: &'a EndpointTable,
    pub(crate) material: &'a KeyMaterial,
    pub(crate) listeners: Vec<ListenerFacts>,
    pub(crate) telemetry: &'a Telemetry,
    pub(crate) previous: Option<&'a Snapshot>,
}

/// Compiles a Model.
pub(crate) fn compile(model: &Model, inputs: &Inputs<'_>, registry: &mut Registry) -> Snapshot {
    let previous = inputs.previous;
    let hosts = hosts(model, inputs, registry);
    let upstreams = upstreams(model, inputs.endpoints, registry, previous);
    Snapshot {
        generation: model.generation(),
        listeners: inputs.listeners.clone().into(),
        hosts: Arc::new(hosts),
        upstreams,
        certificates: certificates(model, inputs),
        model: Arc::new(model.clone()),
        endpoints: inputs.endpoints.clone(),
    }
}

fn hosts(
    model: &Model,
    inputs: &Inputs<'_>,
    registry: &mut Registry,
) -> RouteTable<Arc<CompiledRoute>> {
    let mut routes =
        RouteCompiler { registry, telemetry: inputs.telemetry, metrics: HashMap::new() };
    // Slots that were freed may be in host blocks that did not change, and given anew.
    let has_freed = routes.registry.take_has_freed();
    let Some(previous) = inputs.previous.filter(|_| !has_freed) else {
        let before = |hostname| inputs.previous.and_then(|known| known.hosts.host(hostname));
        let tables = model.hosts.iter().map(|(hostname, host)| {
            let known = inputs.previous.and_then(|previous| previous.model.hosts.get(hostname));
            let table = before(hostname);
            match table {
                Some(table) if known == Some(host) && routes.has_slots(host) => Arc::clone(table),
                _ => Arc::new(routes.host(host, table.map(|table| &**table))),
            }
        });
        return RouteTable::new(tables.collect());
    };
    let changes = model.hosts.differing(&previous.model.hosts).into_iter().map(|hostname| {
        let before = previous.hosts.host(hostname).map(|table| &**table);
        let host = model.hosts.get(hostname);
        (hostname.clone(), host.map(|host| Arc::new(routes.host(host, before))))
    });
    previous.hosts.with(changes)
}

fn certificates(model: &Model, inputs: &Inputs<'_>) -> Arc<CertificateTable> {
    if let Some(Snapshot { model: known, certificates, .. }) = inputs.previous
        && model.certificates == known.certificates
        && model.sni == known.sni
        && model.default_certificate == known.default_certificate
        // The last good configuration comes without keys, and they come with what is read then.
        && certificates.has_all(model)
    {
        return Arc::clone(certificates);
    }
    let previous = inputs.previous.map(|previous| &*previous.certificates);
    Arc::new(CertificateTable::new(model, inputs.material, previous))
}

/// The same snapshot with other endpoints.
pub(crate) fn with_endpoints(
    previous: &Snapshot,
    endpoints: &EndpointTable,
    registry: &mut Registry,
) -> Snapshot {
    Snapshot {
        generation: previous.generation,
        listeners: previous.listeners.clone(),
        hosts: previous.hosts.clone(),
        upstreams: upstreams(&previous.model, endpoints, registry, Some(previous)),
        certificates: previous.certificates.clone(),
        model: previous.model.clone(),
        endpoints: endpoints.clone(),
    }
}

fn upstreams(
    model: &Model,
    endpoints: &EndpointTable,
    registry: &mut Registry,
    previous: Option<&Snapshot>,
) -> Arc<[Option<Arc<CompiledUpstream>>]> {
    let mut slots: Vec<Option<Arc<CompiledUpstream>>> = Vec::new();
    let mut changed: BTreeSet<&UpstreamId> = BTreeSet::new();
    if let Some(previous) = previous {
        slots.extend_from_slice(&previous.upstreams);
        changed.extend(model.upstreams.differing(&previous.model.upstreams));
        changed.extend(endpoints.differing(&previous.endpoints));
    } else {
        changed.extend(model.upstreams.keys());
    }
    for id in changed {
        let Some(spec) = model.upstreams.get(id) else {
            // The slot is free once no snapshot has it any more.
            if let Some(place) = registry.known_slot(id).and_then(|s| slots.get_mut(s.0 as usize)) {
                *place = None;
            }
            continue;
        };
        let slot = registry.slot(id);
        let wanted = endpoints.get(id).map_or(&[][..], |list| list);
        let endpoints = wanted
            .iter()
            .map(|endpoint| CompiledEndpoint {
                state: registry.endpoint(ConnectionIdentity {
                    address: endpoint.address,
                    protocol: spec.protocol,
                    tls: spec.tls.clone(),
                }),
                weight: endpoint.weight.max(1),
            })
            .collect();
        let compiled = CompiledUpstream {
            spec: spec.clone(),
            balancing: spec.balancing,
            affinity: spec.affinity,
            endpoints,
        };
        slots.resize(registry.slot_count().max(slots.len()), None);
        if let Some(place) = slots.get_mut(slot.0 as usize) {
            *place = Some(Arc::new(compiled));
        }
    }
    slots.into()
}

struct RouteCompiler<'a> {
    registry: &'a mut Registry,
    telemetry: &'a Telemetry,
    metrics: HashMap<ObjectRef, Arc<RouteMetrics>>,
}

impl RouteCompiler<'_> {
    /// Whether every upstream of a host block compiled earlier still has its slot.
    fn has_slots(&self, host: &VirtualHost) -> bool {
        host.routes.iter().all(|route| match &route.action {
            Action::Forward(split) => split
                .backends
                .iter()
                .all(|backend| self.registry.known_slot(&backend.upstream).is_some()),
            Action::Redirect(_) | Action::Respond(_) => true,
        })
    }

    fn host(
        &mut self,
        host: &VirtualHost,
        before: Option<&HostTable<Arc<CompiledRoute>>>,
    ) -> HostTable<Arc<CompiledRoute>> {
        let known: HashMap<&PathMatch, RouteId> = before
            .into_iter()
            .flat_map(HostTable::routes)
            .map(|(path, route)| (path, route.id))
            .filter(|(_, id)| *id != RouteId::NONE)
            .collect();
        let routes = host
            .routes
            .iter()
            .map(|route| {
                let id = if route.policy.closed.is_some() {
                    RouteId::NONE
                } else {
                    known.get(&route.path).copied().unwrap_or_else(|| self.registry.new_route())
                };
                (route.path.clone(), Arc::new(self.route(host, route, id)))
            })
            .collect();
        let block = HostBlock {
            hostname: host.hostname.clone(),
            path_form: host.path_form,
            miss: host.miss,
            ordered: host.ordered,
            routes,
        };
        HostTable::build(block).unwrap_or_else(|error| self.closed(host, &error))
    }

    /// Patterns are checked by translate, so a block that cannot be built is a fault of ours: the
    /// whole host answers 503, and is not left to a broader one.
    fn closed(&mut self, host: &VirtualHost, error: &BuildError) -> HostTable<Arc<CompiledRoute>> {
        tracing::error!(host = %host.hostname, %error, "a checked host block cannot be compiled");
        let route = Route {
            path: PathMatch::new(PathKind::Prefix, "/"),
            policy: RoutePolicy::default(),
            action: Action::unavailable(Code::InvalidRegex.id()),
            provenance: host.provenance.clone(),
        };
        let compiled = Arc::new(self.route(host, &route, RouteId::NONE));
        let block = HostBlock {
            hostname: host.hostname.clone(),
            path_form: host.path_form,
            miss: host.miss,
            ordered: false,
            routes: vec![(route.path, compiled)],
        };
        HostTable::build(block).expect("a block without patterns can be built")
    }

    fn route(&mut self, host: &VirtualHost, route: &Route, id: RouteId) -> CompiledRoute {
        let object = &route.provenance.object;
        let telemetry = self.telemetry;
        let metrics = self
            .metrics
            .entry(object.clone())
            .or_insert_with(|| telemetry.route(&object.namespace, &object.name))
            .clone();
        CompiledRoute {
            id,
            action: self.action(route),
            https_redirect: route.policy.https_redirect,
            answer_body: host.answer_body,
            access: access(route),
            hostname: host.hostname.clone(),
            route: route.clone(),
            metrics,
        }
    }

    fn action(&mut self, route: &Route) -> CompiledAction {
        match &route.action {
            Action::Forward(split) => {
                let backends: Box<[_]> = split
                    .backends
                    .iter()
                    .map(|backend| (self.registry.slot(&backend.upstream), backend.weight))
                    .collect();
                let total = backends.iter().map(|(_, weight)| *weight).sum();
                CompiledAction::Forward(Split { backends, total })
            }
            Action::Redirect(redirect) => CompiledAction::Redirect(redirect.clone()),
            Action::Respond(fixed) => {
                CompiledAction::Respond { status: fixed.status, reason: fixed.reason.clone() }
            }
        }
    }
}

/// A digest of everything about a route that restricts access: equal for routes that admit the
/// same requests.
fn access(route: &Route) -> u64 {
    let mut hasher = DefaultHasher::new();
    route.policy.closed.is_some().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use model::{Certificate, CertificateId, KeyPair, PrivateKey, Provenance};
    use telemetry::TelemetrySettings;

    use super::*;

    #[test]
    fn keys_that_come_after_their_certificate_are_used() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let id = CertificateId("one".into());
        let certificate = Certificate {
            names: vec!["a.test".into()],
            not_before: 0,
            not_after: i64::MAX,
            provenance: Provenance::new(ObjectRef::new("Secret", "default", "a"), "data"),
        };
        let mut model = Model::default();
        model.certificates.insert(id.clone(), certificate);
        let key = PrivateKey::Pkcs8(made.signing_key.serialize_der().into());
        let pair = KeyPair { chain: vec![made.cert.der().to_vec()], key };
        let with: KeyMaterial = [(id, Arc::new(pair))].into();
        let telemetry = Telemetry::new(TelemetrySettings::new(0));
        let mut registry = Registry::default();
        let mut build = |material: &KeyMaterial, previous: Option<&Snapshot>| {
            let endpoints = EndpointTable::new();
            let listeners = Vec::new();
            let inputs = Inputs {
                endpoints: &endpoints,
                material,
                listeners,
                telemetry: &telemetry,
                previous,
            };
            compile(&model, &inputs, &mut registry)
        };
        let without = build(&KeyMaterial::new(), None);
        assert!(!without.certificates.has_all(&without.model));
        let whole = build(&with, Some(&without));
        assert!(whole.certificates.has_all(&whole.model));
    }
}
