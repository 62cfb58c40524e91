//! Literal paths: a hash of whole paths for `Exact`, a tree of segments for everything below.
//!
//! A path is walked once, segment by segment, and only as deep as some rule goes: the cost is
//! linear in the bytes walked, whatever the number of rules and however long a hostile path is.
//! Text before the first `/` is a segment like any other, empty for every ordinary path.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use model::{PathKind, PathMatch};

/// From this many children on, a node hashes its segments instead of searching a sorted list.
const HASHED_FROM: usize = 12;

/// The literal conditions of one host. Patterns are not kept, but keep their places.
pub(crate) struct Literals {
    exact: HashMap<Box<[u8]>, usize, RandomState>,
    /// Bytes of the longest `Exact` path: longer requests are not hashed.
    exact_bytes_max: usize,
    /// The smallest place that the tree can give.
    tree_first: Option<usize>,
    /// Node 0 is above the first segment.
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    /// The smallest place of a condition that holds here and below.
    prefix: Option<usize>,
    /// The smallest place of a condition that holds below only, that is behind another `/`.
    subtree: Option<usize>,
    children: Children,
}

enum Children {
    /// Sorted by segment.
    Few(Box<[(Box<[u8]>, usize)]>),
    Many(HashMap<Box<[u8]>, usize, RandomState>),
}

impl Literals {
    /// The literals among conditions that are given in the order in which they are tried.
    pub(crate) fn new<'p>(paths: impl Iterator<Item = &'p PathMatch>) -> Self {
        let mut exact = HashMap::with_hasher(RandomState::default());
        let mut exact_bytes_max = 0;
        let mut tree_first = None;
        let mut growing = Growing::default();
        for (place, path) in paths.enumerate() {
            match path.kind {
                PathKind::Exact => {
                    exact.entry(path.value.as_bytes().into()).or_insert(place);
                    exact_bytes_max = exact_bytes_max.max(path.value.len());
                }
                PathKind::Prefix | PathKind::ImplementationSpecific => {
                    tree_first.get_or_insert(place);
                    let value = path.value.strip_suffix('/').unwrap_or(&path.value);
                    growing.node(value).prefix.get_or_insert(place);
                }
                PathKind::Subtree => {
                    tree_first.get_or_insert(place);
                    let value = path.value.strip_suffix('/').unwrap_or(&path.value);
                    growing.node(value).subtree.get_or_insert(place);
                }
                PathKind::Regex | PathKind::RegexIgnoreCase => {}
            }
        }
        Self { exact, exact_bytes_max, tree_first, nodes: growing.finish() }
    }

    /// The smallest place among the conditions that hold for a path.
    pub(crate) fn first(&self, path: &[u8]) -> Option<usize> {
        let exact = if self.exact.is_empty() || path.len() > self.exact_bytes_max {
            None
        } else {
            self.exact.get(path).copied()
        };
        match (exact, self.tree_first) {
            (_, None) => exact,
            (Some(exact), Some(tree)) if exact < tree => Some(exact),
            _ => smaller(exact, self.first_in_tree(path)),
        }
    }

    fn first_in_tree(&self, path: &[u8]) -> Option<usize> {
        // An empty path is no path: no prefix holds for it, not even `/`.
        if path.is_empty() {
            return None;
        }
        let mut best = None;
        let mut rest = path;
        let mut node = self.nodes.first()?;
        loop {
            let slash = memchr::memchr(b'/', rest);
            let segment = &rest[..slash.unwrap_or(rest.len())];
            let Some(child) = node.children.get(segment).and_then(|child| self.nodes.get(child))
            else {
                return best;
            };
            best = smaller(best, child.prefix);
            let Some(slash) = slash else { return best };
            best = smaller(best, child.subtree);
            rest = &rest[slash + 1..];
            node = child;
        }
    }
}

/// The smaller of two places, where an absent one is larger than any.
fn smaller(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Children {
    fn get(&self, segment: &[u8]) -> Option<usize> {
        match self {
            Self::Few(children) => {
                let found = children.binary_search_by(|(name, _)| (**name).cmp(segment)).ok()?;
                children.get(found).map(|(_, node)| *node)
            }
            Self::Many(children) => children.get(segment).copied(),
        }
    }
}

impl Default for Children {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

/// The tree while it is built: every node hashes its children.
#[derive(Default)]
struct Growing {
    nodes: Vec<Node>,
    children: HashMap<(usize, Box<[u8]>), usize, RandomState>,
}

impl Growing {
    /// The node of a path, made where it is missing.
    fn node(&mut self, path: &str) -> &mut Node {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for segment in path.split('/') {
            at = *self.children.entry((at, segment.as_bytes().into())).or_insert_with(|| {
                self.nodes.push(Node::default());
                self.nodes.len() - 1
            });
        }
        // `at` is 0 or was given by a push above.
        &mut self.nodes[at]
    }

    fn finish(self) -> Vec<Node> {
        let Self { mut nodes, children } = self;
        let mut lists: Vec<Vec<(Box<[u8]>, usize)>> = Vec::new();
        lists.resize_with(nodes.len(), Vec::new);
        for ((parent, segment), node) in children {
            lists[parent].push((segment, node));
        }
        for (node, mut list) in nodes.iter_mut().zip(lists) {
            node.children = if list.len() < HASHED_FROM {
                list.sort_unstable();
                Children::Few(list.into())
            } else {
                Children::Many(list.into_iter().collect())
            };
        }
        nodes
    }
}
