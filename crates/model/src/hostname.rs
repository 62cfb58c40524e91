//! The hostname of a virtual host: exact, wildcard, or any.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A hostname pattern, lower-case, without port and trailing dot.
///
/// `Ord` is specificity and nothing else: exact names before wildcards before [`Hostname::Any`],
/// longer wildcards before shorter ones, then by text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hostname {
    /// One full name, such as `shop.example.com`.
    Exact(Arc<str>),
    /// The part after `*.`; the star stands for exactly one label (Ingress).
    Wildcard(Arc<str>),
    /// Every host, also a missing one.
    Any,
}

/// Why a text is no hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostnameError {
    /// An IP address: Ingress hosts are names.
    Address,
    /// A port, or a character no DNS name has.
    Character(char),
    /// An empty label, a label over 63 or a name over 253 bytes.
    Length,
    /// A `*` that is not the whole first label, or stands alone.
    Wildcard,
    /// A label that begins or ends with `-`.
    Hyphen,
}

impl fmt::Display for HostnameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("is an IP address; a host is a DNS name"),
            Self::Character(c) => write!(f, "contains {c:?}, which no DNS name has"),
            Self::Length => f.write_str("has an empty or over-long label"),
            Self::Wildcard => {
                f.write_str("uses `*` other than as the whole first label of a longer name")
            }
            Self::Hyphen => f.write_str("has a label that begins or ends with `-`"),
        }
    }
}

impl std::error::Error for HostnameError {}

impl Hostname {
    /// Reads a rule's host as an Ingress writes it (Kubernetes API, `IngressRule.host`).
    ///
    /// Upper-case letters and one trailing dot are accepted and folded away.
    pub fn parse(text: &str) -> Result<Self, HostnameError> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() {
            return Ok(Self::Any);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostnameError::Address);
        }
        if text.len() > 253 {
            return Err(HostnameError::Length);
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        for label in name.split('.') {
            check_label(label)?;
        }
        Ok(if wildcard { Self::Wildcard(name.into()) } else { Self::Exact(name.into()) })
    }

    /// Whether a lower-case request host without port is covered by this pattern.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == &**suffix),
            Self::Any => true,
        }
    }

    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Wildcard(suffix) => (1, usize::MAX - suffix.len()),
            Self::Any => (2, 0),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => name,
            Self::Any => "",
        }
    }
}

fn check_label(label: &str) -> Result<(), HostnameError> {
    if label.is_empty() || label.len() > 63 {
        return Err(HostnameError::Length);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(HostnameError::Hyphen);
    }
    match label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        Some('*') => Err(HostnameError::Wildcard),
        Some(c) => Err(HostnameError::Character(c)),
        None => Ok(()),
    }
}

impl Ord for Hostname {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| self.text().cmp(other.text()))
    }
}

impl PartialOrd for Hostname {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl FromStr for Hostname {
    type Err = HostnameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" { Ok(Self::Any) } else { Self::parse(text) }
    }
}

impl Serialize for Hostname {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hostname {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_exactly_one_label() {
        let wildcard = Hostname::parse("*.foo.com").unwrap();
        assert!(wildcard.covers("bar.foo.com"));
        assert!(!wildcard.covers("baz.bar.foo.com"));
        assert!(!wildcard.covers("foo.com"));
        assert!(!wildcard.covers(".foo.com"));
    }

    #[test]
    fn specificity_is_the_order() {
        let mut hosts: Vec<Hostname> =
            ["*", "*.com", "a.b.com", "*.b.com"].iter().map(|text| text.parse().unwrap()).collect();
        hosts.sort();
        let shown: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a.b.com", "*.b.com", "*.com", "*"]);
    }

    #[test]
    fn what_is_no_hostname_is_named() {
        assert_eq!(Hostname::parse("10.0.0.1"), Err(HostnameError::Address));
        assert_eq!(Hostname::parse("a:80"), Err(HostnameError::Character(':')));
        assert_eq!(Hostname::parse("f*.com"), Err(HostnameError::Wildcard));
        assert_eq!(Hostname::parse("*"), Err(HostnameError::Wildcard));
        assert_eq!(Hostname::parse("a..b"), Err(HostnameError::Length));
        assert_eq!(Hostname::parse("-a.b"), Err(HostnameError::Hyphen));
        assert_eq!(Hostname::parse("FOO.com."), Ok(Hostname::Exact("foo.com".into())));
    }
}
