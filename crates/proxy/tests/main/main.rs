//! The data plane over sockets: scripted endpoints and clients that say exactly what they are
//! told, around a proxy in this process. What must hold is the name of each test.

mod client;
mod drain;
mod endpoint;
mod failures;
mod http1;
mod http2_client;
mod http2_endpoint;
mod http2_memory;
mod mixture;
mod tls;
mod tls_endpoint;
mod tunnel;
mod withdrawal;
mod world;
