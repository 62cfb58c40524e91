//! One host's paths: the first route, in the order in which they are tried, whose condition holds.
//!
//! There are two orders and one structure. An ordinary host is tried in the order of
//! [`PathMatch`]'s `Ord`; a host of regular expressions (nginx) in the order of its list, whatever
//! the kinds. In both, an entry's place in `entries` is its rank, so the answer is the smallest
//! place among the literals that hold and the patterns that hold. Literals are found through a
//! hash of whole paths and a tree of segments, patterns through one automaton, each giving its
//! smallest place; the smaller of the two wins.

use std::fmt;

use model::{Hostname, Miss, PathForm, PathMatch};

use crate::pattern::Patterns;
use crate::segments::Literals;
use crate::{Regex, RegexProblem};

/// One host block to build from.
#[derive(Clone, Debug)]
pub struct HostBlock<T> {
    /// Which hosts.
    pub hostname: Hostname,
    /// In which form paths are compared.
    pub path_form: PathForm,
    /// What happens on a miss.
    pub miss: Miss,
    /// One ordered list instead of precedence.
    pub ordered: bool,
    /// The routes. Where `ordered`, tried as listed; otherwise in the order of [`PathMatch`], and
    /// as listed among equals.
    pub routes: Vec<(PathMatch, T)>,
}

/// One host block, compiled.
pub struct HostTable<T> {
    hostname: Hostname,
    path_form: PathForm,
    miss: Miss,
    ordered: bool,
    /// Invariant: in the order in which they are tried.
    entries: Vec<Entry<T>>,
    literals: Literals,
    patterns: Patterns,
}

/// One route of a host.
pub(crate) struct Entry<T> {
    pub(crate) path: PathMatch,
    pub(crate) route: T,
    /// Place in the block as given.
    pub(crate) given: usize,
    /// Present exactly where `path` is a regular expression.
    pub(crate) regex: Option<Regex>,
}

/// Why a host block cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A pattern that `check_regex` refuses.
    Regex {
        /// Place in [`HostBlock::routes`].
        index: usize,
        /// What is wrong with it.
        problem: RegexProblem,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regex { index, problem } => write!(f, "the pattern of route {index} {problem}"),
        }
    }
}

impl std::error::Error for BuildError {}

impl<T> HostTable<T> {
    /// Compiles one block. Fails only on a pattern that `check_regex` refuses.
    pub fn build(block: HostBlock<T>) -> Result<Self, BuildError> {
        let HostBlock { hostname, path_form, miss, ordered, routes } = block;
        let mut entries = routes
            .into_iter()
            .enumerate()
            .map(|(given, (path, route))| Entry::new(given, path, route))
            .collect::<Result<Vec<_>, _>>()?;
        if !ordered {
            // Stable: among equal conditions the first given wins.
            entries.sort_by(|a, b| a.path.cmp(&b.path));
        }
        let literals = Literals::new(entries.iter().map(|entry| &entry.path));
        let patterns = Patterns::new(entries.iter().map(|entry| entry.regex.as_ref()));
        Ok(Self { hostname, path_form, miss, ordered, entries, literals, patterns })
    }

    /// Which hosts it answers for.
    pub fn hostname(&self) -> &Hostname {
        &self.hostname
    }

    /// In which form paths are compared.
    pub fn path_form(&self) -> PathForm {
        self.path_form
    }

    /// What happens when no route holds.
    pub fn miss(&self) -> Miss {
        self.miss
    }

    /// Whether the routes are tried as listed instead of by precedence.
    pub fn is_ordered(&self) -> bool {
        self.ordered
    }

    /// The routes in the order in which they are tried.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = (&PathMatch, &T)> {
        self.entries.iter().map(|entry| (&entry.path, &entry.route))
    }

    /// The payload of a route by its place in the block as given. Takes time linear in the routes.
    pub fn route(&self, given: usize) -> Option<&T> {
        self.entries.iter().find(|entry| entry.given == given).map(|entry| &entry.route)
    }

    pub(crate) fn entries(&self) -> &[Entry<T>] {
        &self.entries
    }

    /// The first entry whose condition holds for a path in this block's form.
    pub(crate) fn first(&self, path: &[u8]) -> Option<&Entry<T>> {
        let literal = self.literals.first(path);
        let place = self.patterns.first_before(literal, path).or(literal)?;
        self.entries.get(place)
    }
}

impl<T> Entry<T> {
    fn new(given: usize, path: PathMatch, route: T) -> Result<Self, BuildError> {
        let regex =
            Regex::of(&path).map_err(|problem| BuildError::Regex { index: given, problem })?;
        Ok(Self { path, route, given, regex })
    }
}

impl<T> fmt::Debug for HostTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTable")
            .field("hostname", &self.hostname)
            .field("path_form", &self.path_form)
            .field("miss", &self.miss)
            .field("ordered", &self.ordered)
            .field("routes", &self.entries.len())
            .finish_non_exhaustive()
    }
}
