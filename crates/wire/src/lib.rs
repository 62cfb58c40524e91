//! Bytes to messages and back, without I/O: the one strict HTTP/1 front (RFC 9110, 9112).
//!
//! Functions take bytes and append bytes; they know no sockets, no clock, no tasks. A message is a
//! buffer plus a head of [`Span`]s over it, so a head can be parsed in place, kept, moved with its
//! buffer, and written on with few copies. [`Refusal`] is the one table of what is not accepted.

mod authority;
mod client_hello;
mod field;
mod framing;
mod path;
mod refusal;
mod request;
mod response;
mod write;

pub use authority::Authority;
pub use client_hello::{ClientHello, Peek, peek_client_hello};
pub use field::{Field, Known, KnownSet, Span};
pub use framing::{BodyDecoder, BodyLength, Decoded};
pub use path::{Canonical, canonical, decoded};
pub use refusal::Refusal;
pub use request::{HeadLimits, Method, Parse, RequestHead, Target, Version};
pub use response::ResponseHead;
pub use write::{
    RequestEdits, ResponseEdits, write_chunk_size, write_last_chunk, write_request, write_response,
};
