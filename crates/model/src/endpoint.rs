//! One address behind an upstream, and the table of all of them.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{SharedMap, UpstreamId};

/// One address that may be sent requests now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddr,
    /// Relative weight, at least 1.
    pub weight: u16,
    /// It is shutting down and is used only because no other is ready.
    pub terminating: bool,
    /// Its zone, where known.
    pub zone: Option<Box<str>>,
}

/// The usable endpoints of every upstream, each list sorted by address and without repetition.
///
/// Beside the Model, not in it: pods that come and go do not change the generation.
pub type EndpointTable = SharedMap<UpstreamId, Arc<[Endpoint]>>;
