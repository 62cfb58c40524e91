//! The request that is asked about: a URL, a method and fields, as the bytes a client would send.
//!
//! The bytes are read by the same parser as those of a connection, so that what would be refused on
//! the wire is refused here, for the same reason.

use std::fmt::Write as _;

use wire::{BodyLength, HeadLimits, Parse, Refusal, RequestHead};

/// A request in the form that it would arrive in.
#[derive(Debug)]
pub(crate) struct Question {
    /// Whether the URL says `https`.
    pub(crate) is_https: bool,
    /// The URL's port, where it names one.
    pub(crate) port: Option<u16>,
    /// The URL's host, lower-case, for the server name of TLS.
    pub(crate) host: String,
    /// The message.
    pub(crate) bytes: Vec<u8>,
}

impl Question {
    /// Reads `http[s]://host[:port]/path?query`; fields are `Name: value`.
    pub(crate) fn new(url: &str, method: &str, fields: &[String]) -> Result<Self, String> {
        let (is_https, rest) = if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(format!("`{url}` is no URL: begin with http:// or https://"));
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() {
            return Err(format!("`{url}` names no host"));
        }
        // Clients keep fragments to themselves, and send `/` for nothing.
        let target = target.split('#').next().unwrap_or_default();
        let slash = if target.starts_with('/') { "" } else { "/" };
        let mut message = format!("{method} {slash}{target} HTTP/1.1\r\n");
        if !fields.iter().any(|field| is_named(field, "host")) {
            // Writing to a String cannot fail; so it is below.
            let _ = write!(message, "Host: {authority}\r\n");
        }
        for field in fields {
            let _ = write!(message, "{}\r\n", spaced(field)?);
        }
        message.push_str("\r\n");
        let (host, port) = split_port(authority);
        Ok(Self { is_https, port, host: host.to_ascii_lowercase(), bytes: message.into_bytes() })
    }

    /// The head, or why a listener would refuse it.
    pub(crate) fn parse(&self, limits: &HeadLimits) -> Result<RequestHead, Refusal> {
        let mut head = RequestHead::default();
        match head.parse(&self.bytes, limits)? {
            Parse::Complete(_) => Ok(head),
            // The message ends in an empty line; only line ends in a field could make it go on.
            Parse::Partial => Err(Refusal::RequestLine),
        }
    }
}

/// The declared length of a body.
pub(crate) fn declared_length(head: &RequestHead) -> Option<u64> {
    match head.body {
        BodyLength::Length(length) => Some(length),
        _ => None,
    }
}

fn is_named(field: &str, name: &str) -> bool {
    field.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name))
}

/// A field as curl sends it: one space after the colon.
fn spaced(field: &str) -> Result<String, String> {
    match field.split_once(':') {
        Some((name, value)) => Ok(format!("{name}: {}", value.trim())),
        None => Err(format!("`{field}` is no field: write 'Name: value'")),
    }
}

fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(url: &str, fields: &[&str]) -> String {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        String::from_utf8(Question::new(url, "GET", &fields).unwrap().bytes).unwrap()
    }

    #[test]
    fn a_url_becomes_the_message_that_curl_would_send() {
        assert_eq!(
            message("http://Shop.test:8080/a/../b?c=d#e", &["X-A:1"]),
            "GET /a/../b?c=d HTTP/1.1\r\nHost: Shop.test:8080\r\nX-A: 1\r\n\r\n"
        );
        assert_eq!(message("https://a?b", &[]), "GET /?b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(message("http://a/", &["host: b"]), "GET / HTTP/1.1\r\nhost: b\r\n\r\n");
    }

    #[test]
    fn host_and_port_are_known_apart() {
        let question = Question::new("https://[::1]:8443/", "GET", &[]).unwrap();
        assert_eq!((question.host.as_str(), question.port), ("[::1]", Some(8443)));
        assert!(question.is_https);
        assert_eq!(Question::new("http://[::1]/", "GET", &[]).unwrap().port, None);
    }

    #[test]
    fn what_is_no_url_or_field_is_an_error() {
        assert!(Question::new("shop.test/", "GET", &[]).is_err());
        assert!(Question::new("http:///a", "GET", &[]).is_err());
        assert!(Question::new("http://a/", "GET", &["nonsense".to_owned()]).is_err());
    }

    #[test]
    fn what_the_wire_refuses_is_refused_here() {
        let limits = HeadLimits { bytes_max: 4096, fields_max: 10, target_bytes_max: 100 };
        let refused = |url: &str, fields: &[String]| {
            Question::new(url, "GET", fields).unwrap().parse(&limits).map(|_| ()).unwrap_err()
        };
        let two = ["Content-Length: 1".to_owned(), "Content-Length: 1".to_owned()];
        assert_eq!(refused("http://a/", &two).status(), 400);
        let long = format!("http://a/{}", "x".repeat(200));
        assert_eq!(refused(&long, &[]).status(), 414);
    }
}
