//! A set of endpoints and how to speak to them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Provenance;

/// The identity of an upstream: stable over generations, readable by people.
///
/// `namespace/service:port` with `+protocol` where it is not plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UpstreamId(pub Arc<str>);

impl fmt::Display for UpstreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How to speak to a set of endpoints. The endpoints themselves are in the `EndpointTable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its identity.
    pub id: UpstreamId,
    /// What the endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How TLS is done; present exactly when the protocol is over TLS.
    pub tls: Option<UpstreamTls>,
    /// How an endpoint is chosen.
    pub balancing: LoadBalancing,
    /// Whether a client stays with one endpoint.
    pub affinity: Option<Affinity>,
    /// Set when the endpoints come from DNS.
    pub external_name: Option<ExternalName>,
    /// The Service.
    pub provenance: Provenance,
}

/// What endpoints speak.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1 in cleartext.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in cleartext by prior knowledge (`kubernetes.io/h2c`).
    H2c,
    /// gRPC: HTTP/2 in cleartext by prior knowledge.
    Grpc,
    /// gRPC over TLS: HTTP/2 by ALPN.
    Grpcs,
}

impl UpstreamProtocol {
    /// Whether connections are TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }

    /// Whether connections speak HTTP/2.
    #[must_use]
    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::Grpc | Self::Grpcs)
    }
}

/// TLS towards endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// The name sent as SNI and, where verified, checked; `None` sends no SNI.
    pub server_name: Option<Box<str>>,
    /// Whether the certificate is verified against the system's roots.
    pub verify: bool,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadBalancing {
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewer requests in flight out of two drawn at random.
    #[default]
    LeastRequest,
}

/// Whether a client stays with one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Affinity {
    /// By client address (Service `sessionAffinity: ClientIP`): a rendezvous hash.
    ClientIp,
}

/// Endpoints that come from DNS (Service `type: ExternalName`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExternalName {
    /// The name to resolve, lower-case.
    pub name: Box<str>,
    /// The port to connect to.
    pub port: u16,
    /// Whether the resolver's search list applies (nginx dialect).
    pub search: bool,
    /// Whether addresses that are loopback, link-local and the like are accepted.
    pub any_address: bool,
}
