//! Towards the endpoints: pick, connect or reuse, send, get an answer.

pub(crate) mod connect;
pub(crate) mod forward;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod load_balancing;
pub(crate) mod pool;
pub(crate) mod stream;
pub(crate) mod tls;
