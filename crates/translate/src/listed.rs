//! Lists of hosts that other hosts are looked up in. Those of an Ingress may be tens of thousands
//! long, and whoever writes one must not have everybody wait for it.

use std::collections::HashSet;

use model::Hostname;

/// So many are compared one by one.
const SHORT: usize = 16;

/// A list that is looked into.
pub(crate) struct Listed<'h> {
    hosts: &'h [Hostname],
    /// Empty for a short list.
    index: HashSet<&'h Hostname>,
}

impl<'h> Listed<'h> {
    pub(crate) fn new(hosts: &'h [Hostname]) -> Self {
        let index = if hosts.len() > SHORT { hosts.iter().collect() } else { HashSet::new() };
        Self { hosts, index }
    }

    pub(crate) fn has(&self, host: &Hostname) -> bool {
        if self.index.is_empty() { self.hosts.contains(host) } else { self.index.contains(host) }
    }
}
