//! Clients: one that sends exactly the bytes it is given, and the real ones of each protocol.

pub mod grpc;
pub mod http2;
pub mod raw;
pub mod websocket;
