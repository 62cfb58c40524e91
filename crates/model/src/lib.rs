//! The nouns: what is wanted, as plain, always-valid data.
//!
//! ```text
//! Model ─┬─ listeners      where traffic comes in
//!        ├─ hosts ─ VirtualHost ─ Route ─┬─ PathMatch
//!        │                               ├─ RoutePolicy
//!        │                               └─ Action ─ Forward(Split) ─ Backend ──┐
//!        ├─ upstreams ─ Upstream (how to speak to a set of endpoints)  ◄────────┘
//!        └─ certificates, sni, default_certificate (by digest; the keys travel beside)
//! ```
//!
//! Nothing here does I/O, knows Kubernetes types, or can be half-made: after `translate` has
//! produced a [`Model`], nothing about configuration can fail any more. Endpoints are not part of
//! the Model, so that pods that come and go never change its [`Generation`].

mod action;
mod certificate;
mod code;
mod diagnostic;
mod endpoint;
mod generation;
mod hostname;
mod listener;
mod matching;
pub mod policy;
mod provenance;
mod route;
mod sealed;
mod shared_map;
mod upstream;
mod virtual_host;

pub use action::{Action, Backend, FixedResponse, Redirect, RedirectTarget, Split};
pub use certificate::{Certificate, CertificateId, KeyMaterial, KeyPair, PrivateKey};
pub use code::{CODES, Code, CodeInfo, Locality};
pub use diagnostic::{Diagnostic, Effect, Related, Report, Severity};
pub use endpoint::{Endpoint, EndpointTable};
pub use generation::Generation;
pub use hostname::{Hostname, HostnameError};
pub use listener::{Listener, ListenerId, ListenerProtocol};
pub use matching::{PathKind, PathMatch};
pub use provenance::{FieldPath, ObjectRef, Provenance};
pub use route::{ClosedReason, Route, RoutePolicy};
pub use sealed::Sealed;
pub use shared_map::SharedMap;
pub use upstream::{
    Affinity, ExternalName, LoadBalancing, Upstream, UpstreamId, UpstreamProtocol, UpstreamTls,
};
pub use virtual_host::{Miss, PathForm, VirtualHost};

use serde::{Deserialize, Serialize};

/// The version of the Model's encoding. It changes when the same bytes would mean something else.
pub const ENCODING_VERSION: u32 = 1;

/// Everything that is wanted, endpoints and key material apart.
///
/// All maps are ordered, so that equal input encodes to equal bytes and has an equal generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Where traffic comes in. Every virtual host is served on every HTTP and HTTPS listener.
    pub listeners: Vec<Listener>,
    /// The virtual hosts by hostname; [`Hostname::Any`] holds host-less rules and global defaults.
    pub hosts: SharedMap<Hostname, Sealed<VirtualHost>>,
    /// What stands in answers to requests that no virtual host covers.
    #[serde(default, skip_serializing_if = "policy::AnswerBody::is_text")]
    pub answer_body: policy::AnswerBody,
    /// How to speak to each set of endpoints.
    pub upstreams: SharedMap<UpstreamId, Sealed<Upstream>>,
    /// Server certificates, by digest of chain and key.
    pub certificates: SharedMap<CertificateId, Certificate>,
    /// Which certificate a server name gets. Names absent here get the default certificate.
    pub sni: SharedMap<Hostname, CertificateId>,
    /// The configured default certificate; without one the proxy generates one at start.
    pub default_certificate: Option<CertificateId>,
}

impl Model {
    /// The canonical encoding: JSON with ordered keys, preceded by the encoding version.
    ///
    /// # Panics
    /// Never: every type of the Model has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("portcullis-model/{ENCODING_VERSION}\n").into_bytes();
        serde_json::to_writer(&mut out, self).expect("the Model has no value without a JSON form");
        out
    }

    /// Reads [`Model::encode`]'s output back.
    ///
    /// # Errors
    /// When the bytes are not a Model of this encoding version.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let header = format!("portcullis-model/{ENCODING_VERSION}\n");
        let body = bytes
            .strip_prefix(header.as_bytes())
            .ok_or_else(|| format!("not a Model of encoding version {ENCODING_VERSION}"))?;
        let model: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        // An encoding is canonical. What is not encoded again was passed over, and might be what
        // restricts access.
        if model.encode() != bytes {
            return Err("it has more than this version of the program knows".to_owned());
        }
        Ok(model)
    }

    /// The hash over the encodings of all parts: equal in every replica and after a restart.
    #[must_use]
    pub fn generation(&self) -> Generation {
        Generation::of(self)
    }
}
