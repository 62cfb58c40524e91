//! SNI and ALPN from a peeked `ClientHello`, over many records and reads.
//!
//! Nothing is consumed: the bytes stay with the connection, for the TLS library or for the endpoint
//! that they are passed on to. The hello is reassembled from as many records as it was cut into;
//! hellos with post-quantum key shares do not fit one network packet.

use std::borrow::Cow;

use crate::authority::is_name;

/// How many bytes are asked for at most.
pub const CLIENT_HELLO_BYTES_MAX: usize = 64 * 1024;
/// How many records a hello may be cut into; more serves nobody but a flood.
const RECORDS_MAX: usize = 128;
/// The longest plaintext of one record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

/// What the `ClientHello` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name, lower-case, trailing dot dropped. Absent too when an address was sent, which
    /// RFC 6066 does not allow and TLS libraries ignore.
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
pub fn peek_client_hello(bytes: &[u8]) -> Peek {
    match bytes.first() {
        None => Peek::Partial,
        Some(b'A'..=b'Z' | b'a'..=b'z') => Peek::Cleartext,
        Some(22) => match reassemble(&bytes[..bytes.len().min(CLIENT_HELLO_BYTES_MAX)]) {
            Ok(Some(hello)) => read_hello(&hello).map_or(Peek::NotTls, Peek::Hello),
            Ok(None) if bytes.len() < CLIENT_HELLO_BYTES_MAX => Peek::Partial,
            Ok(None) | Err(Malformed) => Peek::NotTls,
        },
        Some(_) => Peek::NotTls,
    }
}

struct Malformed;

/// A part and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The body of the first handshake message, which must be a `ClientHello`; `None` while incomplete.
fn reassemble(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, Malformed> {
    let mut message: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut rest = bytes;
    for _ in 0..RECORDS_MAX {
        let Some((fragment, after)) = record(rest)? else { return Ok(None) };
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        rest = after;
        if message.first() != Some(&1) {
            return Err(Malformed);
        }
        if let [_, high, middle, low, ..] = *message {
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if length > CLIENT_HELLO_BYTES_MAX {
                return Err(Malformed);
            }
            if message.len() >= 4 + length {
                return Ok(Some(match message {
                    Cow::Borrowed(whole) => Cow::Borrowed(&whole[4..4 + length]),
                    Cow::Owned(whole) => Cow::Owned(whole[4..4 + length].to_vec()),
                }));
            }
        }
    }
    Err(Malformed)
}

/// The fragment of the first record, and what follows it; `None` while incomplete.
fn record(bytes: &[u8]) -> Result<Option<Split<'_>>, Malformed> {
    // Each byte of the header is judged as soon as it is there, so that what is not TLS is not
    // waited for.
    if bytes.first().is_some_and(|kind| *kind != 22)
        || bytes.get(1).is_some_and(|major| *major != 3)
    {
        return Err(Malformed);
    }
    let [_, _, _, high, low, rest @ ..] = bytes else { return Ok(None) };
    let length = usize::from(*high) << 8 | usize::from(*low);
    if length == 0 || length > RECORD_BYTES_MAX {
        return Err(Malformed);
    }
    Ok(rest.split_at_checked(length))
}

/// A reader of length-prefixed parts.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(part)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1).map(|part| usize::from(part[0]))
    }

    fn word(&mut self) -> Option<usize> {
        self.take(2).map(|part| usize::from(part[0]) << 8 | usize::from(part[1]))
    }

    /// A part preceded by its length in one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length)
    }

    /// A part preceded by its length in two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.word()?;
        self.take(length)
    }
}

/// RFC 8446 section 4.1.2; also what TLS 1.2 sends.
fn read_hello(message: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(message);
    let version = reader.word()?;
    let _random = reader.take(32)?;
    let session = reader.short()?;
    let suites = reader.long()?;
    let compression = reader.short()?;
    let is_sound = version >> 8 == 3
        && session.len() <= 32
        && !suites.is_empty()
        && suites.len().is_multiple_of(2)
        && !compression.is_empty();
    if !is_sound {
        return None;
    }
    let mut hello = ClientHello::default();
    if reader.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(reader.long()?);
    if !reader.0.is_empty() {
        return None;
    }
    let (mut has_name, mut has_alpn) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.word()?;
        let content = extensions.long()?;
        match kind {
            0 if std::mem::replace(&mut has_name, true) => return None,
            0 => {
                let name = read_server_name(content)?;
                if name.parse::<std::net::IpAddr>().is_err() {
                    hello.server_name = Some(normalize(name)?);
                }
            }
            16 if std::mem::replace(&mut has_alpn, true) => return None,
            16 => hello.alpn = read_alpn(content)?,
            // Everything else, GREASE (RFC 8701) included, is for the TLS library.
            _ => {}
        }
    }
    Some(hello)
}

/// RFC 6066 section 3: exactly one name, of type `host_name`.
fn read_server_name(content: &[u8]) -> Option<&str> {
    let mut reader = Reader(content);
    let mut list = Reader(reader.long()?);
    let kind = list.byte()?;
    let name = list.long()?;
    let is_sound = kind == 0 && list.0.is_empty() && reader.0.is_empty();
    std::str::from_utf8(name).ok().filter(|_| is_sound)
}

fn normalize(name: &str) -> Option<String> {
    is_name(name).then(|| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
}

/// RFC 7301 section 3.1.
fn read_alpn(content: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader(content);
    let mut list = Reader(reader.long()?);
    if !reader.0.is_empty() || list.0.is_empty() {
        return None;
    }
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.short()?;
        if protocol.is_empty() {
            return None;
        }
        protocols.push(protocol.to_vec());
    }
    Some(protocols)
}
