//! Host, `:authority` and absolute-form authorities.
//!
//! What passes here is safe to compare, to log and to send on: no user information, no
//! percent-encoding, no character that another parser could read as the end of the host.

use std::net::Ipv6Addr;

use crate::Refusal;

/// The longest host: a DNS name of 253 bytes with its trailing dot.
const HOST_BYTES_MAX: usize = 254;

/// A validated authority, without user information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as sent, brackets of an IPv6 literal included; never empty unless the field was.
    pub host: &'a str,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Validates `host[:port]`: reg-name characters of DNS names and `_`, IPv4, bracketed IPv6,
    /// port 0-65535. Empty text is the authority of a request without one. A colon without a port
    /// and user information are refused.
    pub fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(text).map_err(|_| Refusal::HostInvalid)?;
        if text.is_empty() {
            return Ok(Self { host: "", port: None });
        }
        let (host, port) = if text.starts_with('[') {
            let end = text.find(']').ok_or(Refusal::HostInvalid)? + 1;
            let (host, rest) = text.split_at(end);
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok()).ok_or(Refusal::HostInvalid)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(Refusal::HostInvalid),
            }
        } else {
            let (host, port) = match text.bytes().position(|byte| byte == b':') {
                Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
                None => (text, None),
            };
            if !is_name(host) {
                return Err(Refusal::HostInvalid);
            }
            (host, port)
        };
        Ok(Self { host, port: port.map(parse_port).transpose()? })
    }

    /// The host as it is matched: lower-case, one trailing dot dropped, written to `out` (cleared
    /// first).
    pub fn normalized<'o>(&self, out: &'o mut String) -> &'o str {
        out.clear();
        out.push_str(self.host.strip_suffix('.').unwrap_or(self.host));
        out.make_ascii_lowercase();
        out
    }

    /// Whether both name one place, where `is_default` says which ports go without saying.
    pub(crate) fn matches(&self, other: &Authority<'_>, is_default: impl Fn(u16) -> bool) -> bool {
        let port = |port: Option<u16>| port.filter(|port| !is_default(*port));
        self.host.eq_ignore_ascii_case(other.host) && port(self.port) == port(other.port)
    }
}

/// Whether the text is a DNS name as people use them: labels of letters, digits, `-` and `_`, at
/// most 63 bytes each, with or without a trailing dot. Covers IPv4 addresses.
pub(crate) fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    if host.len() > HOST_BYTES_MAX {
        return false;
    }
    // One pass, as every request comes by here.
    let mut label = 0;
    for byte in labels.bytes() {
        match byte {
            b'.' if label > 0 => label = 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < 63 => label += 1,
            _ => return false,
        }
    }
    label > 0
}

fn parse_port(digits: &str) -> Result<u16, Refusal> {
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::HostInvalid);
    }
    digits.parse().map_err(|_| Refusal::HostInvalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports_are_read() {
        for (text, host, port) in [
            ("", "", None),
            ("example.com", "example.com", None),
            ("Example.com.:8080", "Example.com.", Some(8080)),
            ("my_service", "my_service", None),
            ("127.0.0.1:0", "127.0.0.1", Some(0)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:65535", "[2001:DB8::1]", Some(65535)),
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), Ok(Authority { host, port }), "{text}");
        }
    }

    #[test]
    fn whatever_another_parser_could_misread_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(128);
        for text in [
            "a b",
            "a/b",
            "user@a",
            "a b@c/d",
            "a:",
            ":80",
            "a:65536",
            "a:+1",
            "a:1 ",
            "a:000080",
            "a:80:80",
            "a..b",
            ".a",
            ".",
            "a,b",
            "a%41",
            "a\\b",
            "[::1",
            "[::1]x",
            "[::1%25eth0]",
            "[]",
            "[v1.a]",
            "::1",
            "é",
            "a\0",
            "a?b",
            "a#b",
            "*",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), Err(Refusal::HostInvalid), "{text}");
        }
        assert_eq!(Authority::parse(b"\xff"), Err(Refusal::HostInvalid));
    }

    #[test]
    fn the_matched_host_is_lower_case_without_trailing_dot() {
        let mut out = String::from("before");
        assert_eq!(Authority::parse(b"Foo.BAR.:80").unwrap().normalized(&mut out), "foo.bar");
        assert_eq!(
            Authority::parse(b"[2001:DB8::1]").unwrap().normalized(&mut out),
            "[2001:db8::1]"
        );
    }
}
