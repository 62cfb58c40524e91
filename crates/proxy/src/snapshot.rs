//! The compiled configuration: immutable, shared by all workers, replaced as a whole or by slot.

use std::net::SocketAddr;
use std::sync::Arc;

use model::policy::{AnswerBody, HttpsRedirect};
use model::{
    Affinity, EndpointTable, Generation, Hostname, Listener, ListenerId, ListenerProtocol,
    LoadBalancing, Model, Redirect, Sealed, Upstream,
};
use routing::RouteTable;
use telemetry::RouteMetrics;

use crate::downstream::certificates::CertificateTable;
use crate::registry::{EndpointState, RouteId, UpstreamSlot};

/// What every worker serves from. Each part has its own `Arc`, so that endpoints or certificates
/// are replaced without touching the rest.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) generation: Generation,
    pub(crate) listeners: Arc<[ListenerFacts]>,
    pub(crate) hosts: Arc<RouteTable<Arc<CompiledRoute>>>,
    /// By slot; a slot without an upstream belongs to another snapshot.
    pub(crate) upstreams: Arc<[Option<Arc<CompiledUpstream>>]>,
    pub(crate) certificates: Arc<CertificateTable>,
    pub(crate) model: Arc<Model>,
    pub(crate) endpoints: EndpointTable,
}

impl Snapshot {
    /// The hash of the Model that this was compiled from.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The Model that this was compiled from.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The endpoints that are in use.
    #[must_use]
    pub fn endpoints(&self) -> &EndpointTable {
        &self.endpoints
    }

    /// The routing table.
    #[must_use]
    pub fn routes(&self) -> &RouteTable<Arc<CompiledRoute>> {
        &self.hosts
    }

    /// The listeners.
    #[must_use]
    pub fn listeners(&self) -> &[ListenerFacts] {
        &self.listeners
    }

    /// Which certificate a server name gets; `None` is the default certificate.
    #[must_use]
    pub fn certificate_for(&self, server_name: Option<&str>) -> Option<&model::CertificateId> {
        let name = server_name?;
        let exact = self.model.sni.get(&Hostname::Exact(name.into()));
        exact.or_else(|| {
            let (_, suffix) = name.split_once('.')?;
            self.model.sni.get(&Hostname::Wildcard(suffix.into()))
        })
    }

    pub(crate) fn upstream(&self, slot: UpstreamSlot) -> Option<&Arc<CompiledUpstream>> {
        self.upstreams.get(slot.0 as usize)?.as_ref()
    }
}

/// What a connection knows of the listener it came through. Survives generations by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFacts {
    /// Its identity.
    pub id: ListenerId,
    /// The address that is bound; differs from the id's where port 0 was asked for.
    pub bound: SocketAddr,
    /// The port clients see.
    pub public_port: u16,
    /// The port that redirects to HTTPS name; absent without an HTTPS listener.
    pub redirect_port: Option<u16>,
}

impl ListenerFacts {
    pub(crate) fn new(listener: &Listener, bound: SocketAddr) -> Self {
        Self {
            id: listener.id(),
            bound,
            public_port: listener.public_port.unwrap_or(bound.port()),
            redirect_port: listener.redirect_port,
        }
    }

    /// Whether TLS is ended here.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.id.protocol == ListenerProtocol::Https
    }
}

/// One route, everything looked up beforehand.
#[derive(Debug)]
pub struct CompiledRoute {
    pub(crate) id: RouteId,
    pub(crate) route: model::Route,
    pub(crate) hostname: Hostname,
    pub(crate) action: CompiledAction,
    pub(crate) https_redirect: Option<HttpsRedirect>,
    /// What stands in answers that are made here.
    pub(crate) answer_body: AnswerBody,
    /// Requests that two forms of a path send to routes of different access are refused.
    pub(crate) access: u64,
    pub(crate) metrics: Arc<RouteMetrics>,
}

impl CompiledRoute {
    /// The route as the Model has it.
    #[must_use]
    pub fn route(&self) -> &model::Route {
        &self.route
    }

    /// The host block it belongs to.
    #[must_use]
    pub fn hostname(&self) -> &Hostname {
        &self.hostname
    }
}

/// What a route does, by slot.
#[derive(Debug)]
pub(crate) enum CompiledAction {
    Forward(Split),
    Redirect(Redirect),
    Respond { status: u16, reason: Box<str> },
}

/// Weighted backends by slot.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) backends: Box<[(UpstreamSlot, u32)]>,
    pub(crate) total: u32,
}

impl Split {
    /// The backend at `point` of `0..total`.
    pub(crate) fn at(&self, mut point: u32) -> Option<UpstreamSlot> {
        for (slot, weight) in &self.backends {
            if point < *weight {
                return Some(*slot);
            }
            point -= weight;
        }
        None
    }
}

/// A set of endpoints and how to speak to them.
#[derive(Debug)]
pub struct CompiledUpstream {
    pub(crate) spec: Sealed<Upstream>,
    pub(crate) balancing: LoadBalancing,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) endpoints: Box<[CompiledEndpoint]>,
}

/// One endpoint of an upstream.
#[derive(Debug)]
pub(crate) struct CompiledEndpoint {
    pub(crate) state: Arc<EndpointState>,
    pub(crate) weight: u16,
}

impl CompiledUpstream {
    /// The upstream as the Model has it.
    #[must_use]
    pub fn spec(&self) -> &Upstream {
        &self.spec
    }

    /// The endpoint that a client gets, where configuration alone determines it: the only one, or
    /// the one it has an affinity to.
    #[must_use]
    pub fn endpoint_of(&self, client: std::net::IpAddr) -> Option<SocketAddr> {
        crate::upstream::load_balancing::determined(self, client)
    }

    /// The addresses that requests may go to.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.endpoints.iter().map(|endpoint| endpoint.state.identity.address)
    }
}
