//! Hosts: the exact name, then the wildcard one label up, then the block for every host.
//!
//! An Ingress wildcard stands for exactly one label, so one look-up finds it: the first label is
//! cut off and the rest compared (Kubernetes API, `IngressRule.host`). Each block says whether a
//! miss falls through to the next class or ends the search.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Hostname, Miss, PathForm, PathMatch, SharedMap};

use crate::explain::Trace;
use crate::path::Entry;
use crate::{Explanation, HostTable, Regex, RequestHead};

/// The host blocks behind one listener.
pub struct RouteTable<T> {
    /// Most specific first.
    tables: SharedMap<Hostname, Arc<HostTable<T>>>,
    exact: ByName<T>,
    /// By the text after `*.`.
    wildcard: ByName<T>,
    any: Option<Arc<HostTable<T>>>,
}

/// Tables are shared with the list, not looked up in it: that is one cold read less.
type ByName<T> = HashMap<Arc<str>, Arc<HostTable<T>>, RandomState>;

/// The route that serves a request.
pub struct Found<'t, T> {
    /// The payload.
    pub route: &'t T,
    /// The condition that held.
    pub path: &'t PathMatch,
    /// The host block.
    pub host: &'t Hostname,
    /// Position in [`HostBlock::routes`](crate::HostBlock::routes) as it was given.
    pub index: usize,
    /// The form in which the path was compared.
    pub path_form: PathForm,
    /// The compiled pattern, where the condition is a regular expression.
    pub regex: Option<&'t Regex>,
}

/// The outcome of a search: enough for a 404 to say why.
#[derive(Clone, Copy, Debug)]
pub enum Lookup<'t, T> {
    /// A route.
    Route(Found<'t, T>),
    /// No host block covers the host.
    NoHost,
    /// A host block covers the host, and no path holds.
    NoPath {
        /// The most specific block that covers the host.
        nearest: &'t Hostname,
    },
}

/// The classes of host blocks, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Exact,
    Wildcard,
    Any,
}

const CLASSES: [Class; 3] = [Class::Exact, Class::Wildcard, Class::Any];

impl<T> RouteTable<T> {
    /// A table of these blocks. Where two have one hostname, the first is kept.
    pub fn new(tables: Vec<Arc<HostTable<T>>>) -> Self {
        let mut all = Self {
            tables: SharedMap::new(),
            exact: HashMap::with_capacity_and_hasher(tables.len(), RandomState::default()),
            wildcard: HashMap::default(),
            any: None,
        };
        for table in tables {
            if all.host(table.hostname()).is_none() {
                all.insert(table);
            }
        }
        all
    }

    /// The same table with other blocks for some hostnames, or none. What it costs is mostly that
    /// of copying the references to all others.
    #[must_use]
    pub fn with(
        &self,
        changes: impl IntoIterator<Item = (Hostname, Option<Arc<HostTable<T>>>)>,
    ) -> Self {
        let mut changed = Self {
            tables: self.tables.clone(),
            exact: self.exact.clone(),
            wildcard: self.wildcard.clone(),
            any: self.any.clone(),
        };
        for (hostname, table) in changes {
            match table {
                Some(table) => changed.insert(table),
                None => changed.remove(&hostname),
            }
        }
        changed
    }

    fn insert(&mut self, table: Arc<HostTable<T>>) {
        let hostname = table.hostname().clone();
        let shared = Arc::clone(&table);
        match &hostname {
            Hostname::Exact(name) => drop(self.exact.insert(name.clone(), shared)),
            Hostname::Wildcard(suffix) => drop(self.wildcard.insert(suffix.clone(), shared)),
            Hostname::Any => self.any = Some(shared),
        }
        self.tables.insert(hostname, table);
    }

    fn remove(&mut self, hostname: &Hostname) {
        match hostname {
            Hostname::Exact(name) => drop(self.exact.remove(name)),
            Hostname::Wildcard(suffix) => drop(self.wildcard.remove(suffix)),
            Hostname::Any => self.any = None,
        }
        self.tables.remove(hostname);
    }

    /// The host blocks, most specific first.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = &Arc<HostTable<T>>> {
        self.tables.values()
    }

    /// The block for exactly this hostname pattern.
    pub fn host(&self, hostname: &Hostname) -> Option<&Arc<HostTable<T>>> {
        match hostname {
            Hostname::Exact(name) => self.exact.get(name),
            Hostname::Wildcard(suffix) => self.wildcard.get(suffix),
            Hostname::Any => self.any.as_ref(),
        }
    }

    /// The route that serves a request.
    pub fn find(&self, head: &RequestHead<'_>) -> Option<Found<'_, T>> {
        match self.lookup(head) {
            Lookup::Route(found) => Some(found),
            Lookup::NoHost | Lookup::NoPath { .. } => None,
        }
    }

    /// The route that serves a request, or what was missing.
    pub fn lookup(&self, head: &RequestHead<'_>) -> Lookup<'_, T> {
        self.walk(head, &mut ())
    }

    /// The same search, with every candidate and why it lost.
    pub fn explain(&self, head: &RequestHead<'_>) -> Explanation<'_, T> {
        crate::explain::explain(self, head)
    }

    /// The one walk. Each block tried is told to `trace`, which for `find` is `()` and nothing.
    pub(crate) fn walk<'t, R: Trace<'t, T>>(
        &'t self,
        head: &RequestHead<'_>,
        trace: &mut R,
    ) -> Lookup<'t, T> {
        let mut nearest = None;
        for class in CLASSES {
            let Some(table) = self.block(class, head.host) else { continue };
            let winner = table.first(head.text(table.path_form()));
            trace.tried(table, winner);
            if let Some(entry) = winner {
                return Lookup::Route(Found::new(table, entry));
            }
            nearest.get_or_insert(table.hostname());
            if table.miss() == Miss::Hide {
                break;
            }
        }
        nearest.map_or(Lookup::NoHost, |nearest| Lookup::NoPath { nearest })
    }

    /// Every block that covers the host, in the order in which they would be tried.
    pub(crate) fn covering<'t>(
        &'t self,
        host: Option<&str>,
    ) -> impl Iterator<Item = &'t HostTable<T>> {
        CLASSES.into_iter().filter_map(move |class| self.block(class, host))
    }

    fn block(&self, class: Class, host: Option<&str>) -> Option<&HostTable<T>> {
        let table = match class {
            Class::Exact => self.exact.get(host?)?,
            Class::Wildcard => {
                let (label, rest) = host?.split_once('.')?;
                if label.is_empty() || self.wildcard.is_empty() {
                    return None;
                }
                self.wildcard.get(rest)?
            }
            Class::Any => self.any.as_ref()?,
        };
        Some(table)
    }
}

impl<'t, T> Found<'t, T> {
    pub(crate) fn new(table: &'t HostTable<T>, entry: &'t Entry<T>) -> Self {
        Self {
            route: &entry.route,
            path: &entry.path,
            host: table.hostname(),
            index: entry.given,
            path_form: table.path_form(),
            regex: entry.regex.as_ref(),
        }
    }
}

// Derives would ask the payload for what only references to it need.
impl<T> Clone for Found<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Found<'_, T> {}

impl<T> fmt::Debug for Found<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("host", &self.host)
            .field("path", &self.path)
            .field("index", &self.index)
            .field("path_form", &self.path_form)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RouteTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tables.values()).finish()
    }
}
