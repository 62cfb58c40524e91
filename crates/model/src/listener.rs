//! Where traffic comes in: address, port, protocol.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Listener {
    /// The address to bind. Port 0 lets the kernel choose one.
    pub address: SocketAddr,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
    /// The port clients see, for redirects and `X-Forwarded-Port`; the bound port when absent.
    pub public_port: Option<u16>,
    /// The HTTPS port that redirects from this listener name; absent without an HTTPS listener.
    pub redirect_port: Option<u16>,
}

impl Listener {
    /// The identity that survives generations.
    #[must_use]
    pub fn id(&self) -> ListenerId {
        ListenerId { address: self.address, protocol: self.protocol }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// Cleartext: HTTP/1.0, HTTP/1.1 and HTTP/2 by prior knowledge.
    Http,
    /// TLS, with HTTP/1.1 or HTTP/2 chosen by ALPN.
    Https,
}

/// A listener's identity: equal in every generation that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerId {
    /// The address as configured.
    pub address: SocketAddr,
    /// What is spoken on it.
    pub protocol: ListenerProtocol,
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            ListenerProtocol::Http => "http",
            ListenerProtocol::Https => "https",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}
