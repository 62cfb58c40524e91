//! Model to Snapshot. Total: a Model is valid by construction, so nothing here can fail.
//!
//! Host blocks that did not change since the last snapshot are taken over as they are.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use model::{
    Action, Code, EndpointTable, KeyMaterial, Model, ObjectRef, PathKind, PathMatch, Route,
    RoutePolicy, VirtualHost,
};
use routing::{BuildError, HostBlock, HostTable, RouteTable};
use telemetry::{RouteMetrics, Telemetry};

use crate::downstream::certificates::CertificateTable;
use crate::registry::{ConnectionIdentity, Registry, RouteId};
use crate::snapshot::{
    Blocks, CompiledAction, CompiledEndpoint, CompiledRoute, CompiledUpstream, ListenerFacts,
    Snapshot, Split,
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
    let mut routes =
        RouteCompiler { registry, telemetry: inputs.telemetry, metrics: HashMap::new() };
    let mut blocks = Blocks::new();
    for (hostname, host) in &model.hosts {
        let known = inputs
            .previous
            .and_then(|previous| previous.blocks.get(hostname))
            .filter(|(before, _)| before == host)
            .filter(|_| routes.has_slots(host));
        let table = if let Some((_, table)) = known {
            table.clone()
        } else {
            let before = inputs.previous.and_then(|previous| previous.blocks.get(hostname));
            Arc::new(routes.host(host, before.map(|(_, table)| &**table)))
        };
        blocks.insert(hostname.clone(), (host.clone(), table));
    }
    let hosts = RouteTable::new(blocks.values().map(|(_, table)| table.clone()).collect());
    let upstreams = upstreams(model, inputs.endpoints, registry, None);
    Snapshot {
        generation: model.generation(),
        listeners: inputs.listeners.clone().into(),
        hosts: Arc::new(hosts),
        blocks: Arc::new(blocks),
        upstreams,
        certificates: Arc::new(CertificateTable::new(
            model,
            inputs.material,
            inputs.previous.map(|previous| &*previous.certificates),
        )),
        model: Arc::new(model.clone()),
        endpoints: Arc::new(inputs.endpoints.clone()),
    }
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
        blocks: previous.blocks.clone(),
        upstreams: upstreams(&previous.model, endpoints, registry, Some(previous)),
        certificates: previous.certificates.clone(),
        model: previous.model.clone(),
        endpoints: Arc::new(endpoints.clone()),
    }
}

fn upstreams(
    model: &Model,
    endpoints: &EndpointTable,
    registry: &mut Registry,
    previous: Option<&Snapshot>,
) -> Arc<[Option<Arc<CompiledUpstream>>]> {
    let mut slots: Vec<Option<Arc<CompiledUpstream>>> = Vec::new();
    for (id, spec) in &model.upstreams {
        let slot = registry.slot(id);
        let wanted = endpoints.get(id).map_or(&[][..], |list| list);
        let unchanged = previous
            .filter(|before| before.endpoints.get(id).map_or(&[][..], |list| list) == wanted)
            .and_then(|before| before.upstream(slot).cloned());
        let compiled = unchanged.unwrap_or_else(|| {
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
            Arc::new(CompiledUpstream {
                spec: spec.clone(),
                balancing: spec.balancing,
                affinity: spec.affinity,
                endpoints,
            })
        });
        slots.resize(registry.slot_count().max(slots.len()), None);
        if let Some(place) = slots.get_mut(slot.0 as usize) {
            *place = Some(compiled);
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
