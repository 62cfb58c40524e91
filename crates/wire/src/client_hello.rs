//! SNI and ALPN from a peeked ClientHello, over many records and reads.

/// What the ClientHello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name, lower-case, trailing dot dropped.
    pub server_name: Option<String>,
    /// ALPN protocols in order.
    pub alpn: Vec<Vec<u8>>,
}

/// Whether the hello is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// More bytes are needed.
    Partial,
    /// The hello.
    Hello(ClientHello),
    /// The first bytes look like HTTP/1 or an HTTP/2 preface in cleartext.
    Cleartext,
    /// Not TLS at all, or malformed.
    NotTls,
}

/// Looks at the first bytes of a connection without consuming them. At most 64 KiB are asked for.
#[must_use]
pub fn peek_client_hello(bytes: &[u8]) -> Peek { todo!() }
