//! Who the client is: the peer, what trusted proxies say of it, and the fields that tell upstream.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use wire::{Known, KnownSet, RequestHead};

use crate::snapshot::ListenerFacts;

/// A request id of a client is kept when it is at most this long and plain.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What is known about a connection from its first byte to its last.
#[derive(Debug)]
pub(crate) struct ClientFacts {
    /// The listener as it was when the connection came.
    pub(crate) listener: ListenerFacts,
    /// The address at the other end.
    pub(crate) peer: SocketAddr,
    /// The peer is a proxy that is believed.
    pub(crate) trusted: bool,
    /// Server name and version of TLS.
    pub(crate) tls: Option<TlsFacts>,
    /// The forwarded lines that are the same for every request of an untrusted peer.
    lines: Box<[u8]>,
}

/// What TLS said when the connection was made.
#[derive(Debug)]
pub(crate) struct TlsFacts {
    pub(crate) server_name: Option<Box<str>>,
    pub(crate) version: &'static str,
}

/// Fields that a client may not choose: replaced, or left out.
pub(crate) const REPLACED: KnownSet = KnownSet::of(&[
    Known::XForwardedFor,
    Known::XForwardedProto,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XForwardedScheme,
    Known::XScheme,
    Known::XRealIp,
    Known::XRequestId,
    Known::XOriginalUri,
    Known::XOriginalMethod,
    Known::XOriginalForwardedFor,
    Known::XAuthRequestRedirect,
    Known::Forwarded,
    Known::SslClientVerify,
    Known::SslClientCert,
    Known::SslClientSubjectDn,
    Known::SslClientIssuerDn,
    Known::Proxy,
]);

/// The client as the policies see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came by HTTPS.
    pub is_https: bool,
}

impl Identity {
    /// Who is behind a request that came from `self`, where that peer is one of the proxies that
    /// are believed.
    #[must_use]
    pub fn behind(self, head: &RequestHead, bytes: &[u8], trusted_proxies: &[IpNet]) -> Self {
        let is_trusted = trusted_proxies.iter().any(|net| net.contains(&self.address));
        if is_trusted { self.believing(head, bytes, trusted_proxies) } else { self }
    }

    /// What the fields of a trusted peer say.
    fn believing(self, head: &RequestHead, bytes: &[u8], trusted_proxies: &[IpNet]) -> Self {
        let proto = last_value(head, bytes, Known::XForwardedProto);
        let is_https = proto.map_or(self.is_https, |proto| proto.eq_ignore_ascii_case(b"https"));
        let mut address = self.address;
        // From the right: the last hop that is not believed is the client.
        'lines: for field in head.fields.iter().rev() {
            if field.known != Known::XForwardedFor {
                continue;
            }
            for element in field.value.of(bytes).rsplit(|&byte| byte == b',') {
                let Some(hop) = parse_hop(element.trim_ascii()) else { break 'lines };
                address = hop;
                if !trusted_proxies.iter().any(|net| net.contains(&hop)) {
                    break 'lines;
                }
            }
        }
        Self { address, is_https }
    }
}

impl Identity {
    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

impl ClientFacts {
    pub(crate) fn new(
        listener: ListenerFacts,
        peer: SocketAddr,
        tls: Option<TlsFacts>,
        trusted_proxies: &[IpNet],
    ) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let ip = peer.ip();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let mut lines = String::with_capacity(128);
        // Writing to a String cannot fail.
        let _ = write!(
            lines,
            "X-Forwarded-For: {ip}\r\nX-Real-IP: {ip}\r\n\
             X-Forwarded-Proto: {scheme}\r\nX-Forwarded-Port: {}\r\n",
            listener.public_port
        );
        Self {
            trusted: trusted_proxies.iter().any(|net| net.contains(&ip)),
            listener,
            peer,
            tls,
            lines: lines.into_bytes().into(),
        }
    }

    /// Who is behind this request, given the fields of a trusted peer.
    pub(crate) fn identify(
        &self,
        head: &RequestHead,
        bytes: &[u8],
        trusted_proxies: &[IpNet],
    ) -> Identity {
        let own = Identity { address: self.peer.ip(), is_https: self.tls.is_some() };
        if self.trusted { own.believing(head, bytes, trusted_proxies) } else { own }
    }

    /// Appends the lines that tell the endpoint who asked.
    pub(crate) fn write_forwarded(
        &self,
        out: &mut Vec<u8>,
        head: &RequestHead,
        bytes: &[u8],
        identity: &Identity,
        request_id: &[u8],
    ) {
        if self.trusted {
            self.write_trusted(out, head, bytes, identity);
        } else {
            out.extend_from_slice(&self.lines);
            if let Some(authority) = head.authority {
                line(out, "X-Forwarded-Host", authority.of(bytes));
            }
        }
        line(out, "X-Request-ID", request_id);
    }

    fn write_trusted(
        &self,
        out: &mut Vec<u8>,
        head: &RequestHead,
        bytes: &[u8],
        identity: &Identity,
    ) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        for field in head.fields.iter().filter(|field| field.known == Known::XForwardedFor) {
            if !field.value.is_empty() {
                out.extend_from_slice(field.value.of(bytes));
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(self.peer.ip().to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
        line(out, "X-Real-IP", identity.address.to_string().as_bytes());
        line(out, "X-Forwarded-Proto", identity.scheme().as_bytes());
        let port = last_value(head, bytes, Known::XForwardedPort);
        match port {
            Some(port) => line(out, "X-Forwarded-Port", port),
            None => {
                line(out, "X-Forwarded-Port", self.listener.public_port.to_string().as_bytes());
            }
        }
        let host = last_value(head, bytes, Known::XForwardedHost)
            .or_else(|| head.authority.map(|authority| authority.of(bytes)));
        if let Some(host) = host {
            line(out, "X-Forwarded-Host", host);
        }
    }
}

/// Appends the scheme once more, by the names that ingress-nginx has for it.
pub(crate) fn write_scheme_fields(out: &mut Vec<u8>, identity: &Identity) {
    let scheme = identity.scheme().as_bytes();
    line(out, "X-Forwarded-Scheme", scheme);
    line(out, "X-Scheme", scheme);
}

/// A client's own request id, where it may be believed to be one.
pub(crate) fn request_id<'b>(head: &RequestHead, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let value = head.field(Known::XRequestId)?.value.of(bytes);
    let plain = value.iter().all(u8::is_ascii_graphic);
    (plain && !value.is_empty() && value.len() <= REQUEST_ID_BYTES_MAX).then_some(value)
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn last_value<'b>(head: &RequestHead, bytes: &'b [u8], known: Known) -> Option<&'b [u8]> {
    head.fields
        .iter()
        .rev()
        .find(|field| field.known == known)
        .map(|field| field.value.of(bytes))
        .filter(|value| !value.is_empty())
}

/// An address of a forwarded list, with or without port and brackets.
fn parse_hop(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let address: IpAddr = text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(address.to_canonical())
}
