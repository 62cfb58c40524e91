//! Bytes to messages and back, without I/O: the one strict HTTP/1 front (RFC 9110, 9112).
//!
//! Functions take bytes and append bytes; they know no sockets, no clock, no tasks. A message is a
//! buffer plus a head of [`Span`]s over it, so a head can be parsed in place, kept, moved with its
//! buffer, and written on with few copies. [`Refusal`] is the one table of what is not accepted.

mod authority;
mod build;
mod client_hello;
mod field;
mod framing;
mod head;
mod path;
mod reason;
mod refusal;
mod request;
mod request_line;
mod response;
mod text;
mod trailer;
mod websocket;
mod write;

pub use authority::Authority;
pub use build::{build_request, build_response, build_upgrade_request};
pub use client_hello::{CLIENT_HELLO_BYTES_MAX, ClientHello, Peek, peek_client_hello};
pub use field::{Field, Known, KnownSet, Span, same_folded_name};
pub use framing::{BodyDecoder, BodyLength, CHUNK_EXTENSION_BYTES_MAX, Decoded};
pub use path::{Canonical, canonical, decoded, encode_path, percent_decode};
pub use reason::reason_phrase;
pub use refusal::Refusal;
pub use request::{HeadLimits, Method, Parse, RequestHead, Target, Version};
pub use response::ResponseHead;
pub use trailer::trailer_is_allowed;
pub use websocket::{WebSocketFrames, websocket_close};
pub use write::{
    RequestEdits, ResponseEdits, write_chunk_size, write_last_chunk, write_request,
    write_request_with, write_response, write_response_with,
};

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
pub const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
