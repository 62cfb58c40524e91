//! What a route matches: the path, and the order in which paths are tried.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A path condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathMatch {
    /// How `value` is compared.
    pub kind: PathKind,
    /// The path, or the pattern, as the object wrote it.
    pub value: Box<str>,
}

/// How a path is compared (Kubernetes documentation, Ingress path types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathKind {
    /// Byte-wise equality.
    Exact,
    /// Element-wise prefix; one trailing slash of either side is insignificant.
    Prefix,
    /// Element-wise prefix said by `ImplementationSpecific`: like `Prefix`, tried after it.
    ImplementationSpecific,
    /// Everything below a path that ends in `/`, and not the path without the slash (nginx).
    Subtree,
    /// A regular expression, anchored at the start.
    Regex,
    /// A regular expression without regard to case, anchored at the start (nginx).
    RegexIgnoreCase,
}

impl PathMatch {
    /// A path condition.
    pub fn new(kind: PathKind, value: impl Into<Box<str>>) -> Self {
        Self { kind, value: value.into() }
    }

    /// Whether this is a regular expression.
    #[must_use]
    pub fn is_regex(&self) -> bool {
        matches!(self.kind, PathKind::Regex | PathKind::RegexIgnoreCase)
    }

    /// Whether a literal condition holds for `path` (no query). The plain definition, against
    /// which the routing tables are tested. Regular expressions answer `false` here.
    #[must_use]
    pub fn matches_literal(&self, path: &str) -> bool {
        let value = &*self.value;
        match self.kind {
            PathKind::Exact => path == value,
            PathKind::Prefix | PathKind::ImplementationSpecific => {
                let prefix = value.strip_suffix('/').unwrap_or(value);
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    && !path.is_empty()
            }
            PathKind::Subtree => path.starts_with(value),
            PathKind::Regex | PathKind::RegexIgnoreCase => false,
        }
    }
}

/// The order in which the routes of one virtual host are tried: exact first, then the longest text,
/// then `Prefix` before `ImplementationSpecific`, regular expressions after literals of their
/// length.
impl Ord for PathMatch {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |m: &Self| (m.kind != PathKind::Exact, Reverse(m.value.len()), m.kind);
        key(self).cmp(&key(other)).then_with(|| self.value.cmp(&other.value))
    }
}

impl PartialOrd for PathMatch {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "Exact",
            Self::Prefix => "Prefix",
            Self::ImplementationSpecific => "ImplementationSpecific",
            Self::Subtree => "Subtree",
            Self::Regex => "Regex",
            Self::RegexIgnoreCase => "RegexIgnoreCase",
        })
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.value)
    }
}
