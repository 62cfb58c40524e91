//! Which of two Ingresses comes first: the older one, whatever order they were read in.
//!
//! Objects without a time of creation are younger than any with one. Among equals the name decides,
//! `namespace/name` ascending, and descending in the nginx dialect, after all others.

use std::cmp::Ordering;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::settings::Dialect;

/// What an Ingress is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) created: Option<Time>,
    pub(crate) dialect: Dialect,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Age {
    /// Compares `namespace/name` as one text.
    fn cmp_name(&self, other: &Self) -> Ordering {
        if self.namespace == other.namespace {
            return self.name.cmp(&other.name);
        }
        let full = self.namespace.bytes().chain([b'/']).chain(self.name.bytes());
        full.cmp(other.namespace.bytes().chain([b'/']).chain(other.name.bytes()))
    }
}

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_time = match (&self.created, &other.created) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_time.then_with(|| self.dialect.cmp(&other.dialect)).then_with(|| match self.dialect {
            Dialect::Kubernetes => self.cmp_name(other),
            Dialect::Nginx => other.cmp_name(self),
        })
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(created: Option<i64>, dialect: Dialect, name: &str) -> Age {
        Age {
            created: created.map(|seconds| Time(jiff::Timestamp::from_second(seconds).unwrap())),
            dialect,
            namespace: "default".into(),
            name: name.into(),
        }
    }

    #[test]
    fn the_older_one_comes_first_and_one_without_time_last() {
        let old = age(Some(1), Dialect::Kubernetes, "z");
        let young = age(Some(2), Dialect::Kubernetes, "a");
        let unknown = age(None, Dialect::Kubernetes, "a");
        assert!(old < young);
        assert!(young < unknown);
    }

    #[test]
    fn names_break_ties_upwards_and_in_nginx_downwards() {
        assert!(age(None, Dialect::Kubernetes, "a") < age(None, Dialect::Kubernetes, "b"));
        assert!(age(None, Dialect::Nginx, "b") < age(None, Dialect::Nginx, "a"));
    }
}
