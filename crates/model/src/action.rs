//! Where a request goes: forward, redirect or respond.

use serde::{Deserialize, Serialize};

use crate::UpstreamId;

/// What a route does with a request that passed its filters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Send it to an upstream.
    Forward(Split),
    /// Answer with another address.
    Redirect(Redirect),
    /// Answer with a fixed status.
    Respond(FixedResponse),
}

/// Weighted backends. Weights are relative; a weight of 0 gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// At least one.
    pub backends: Vec<Backend>,
}

/// A weighted reference from a route to an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Which upstream; always a key of `Model::upstreams`.
    pub upstream: UpstreamId,
    /// Relative weight.
    pub weight: u32,
}

/// An answer with a `Location`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Where to.
    pub target: RedirectTarget,
}

/// What a redirect's `Location` is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedirectTarget {
    /// This path on the same scheme and host, with the request's query.
    Path(Box<str>),
    /// This absolute URL, verbatim.
    Url(Box<str>),
}

/// An answer made here, such as 503 for a backend that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    /// The status.
    pub status: u16,
    /// The stable reason in the log: the kebab-case id of the diagnostic that caused it.
    pub reason: Box<str>,
}

impl Action {
    /// All traffic to one upstream.
    #[must_use]
    pub fn forward(upstream: UpstreamId) -> Self {
        Self::Forward(Split { backends: vec![Backend { upstream, weight: 1 }] })
    }

    /// 503 because of `reason`.
    pub fn unavailable(reason: impl Into<Box<str>>) -> Self {
        Self::Respond(FixedResponse { status: 503, reason: reason.into() })
    }
}
