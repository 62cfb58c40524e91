//! Literal paths: a hash of whole paths for `Exact`, a tree of segments for everything below.
//!
//! A path is walked once, segment by segment, and only as deep as some rule goes: the cost is
//! linear in the bytes walked, whatever the number of rules and however long a hostile path is.
//! Text before the first `/` is a segment like any other, empty for every ordinary path.
//!
//! A large table is met cold, so what counts is how many cache lines a walk touches: nodes, edges
//! and the text of segments lie in one array each, and an edge is compared by length before text.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use model::{PathKind, PathMatch};

/// More children than this are hashed instead of searched.
const SEARCHED_MAX: usize = 16;
/// The place of no entry: larger than any.
const NOWHERE: u32 = u32::MAX;

/// The literal conditions of one host. Patterns are not kept, but keep their places.
pub(crate) struct Literals {
    exact: HashMap<Box<[u8]>, u32, RandomState>,
    /// Bytes of the longest `Exact` path: longer requests are not hashed.
    exact_bytes_max: usize,
    /// The smallest place that the tree can give.
    tree_first: u32,
    /// Node 0 is above the first segment. Empty where there is no tree.
    nodes: Box<[Node]>,
    /// Invariant: the edges of one node lie together, in the order of [`Edge::order`].
    edges: Box<[Edge]>,
    /// The text that edges point into.
    text: Box<[u8]>,
    /// The children of nodes that have too many to search.
    hashed: Box<[Hashed]>,
    /// The node below a leading `/`, where every ordinary path begins.
    below_slash: Option<u32>,
}

type Hashed = HashMap<Box<[u8]>, u32, RandomState>;

#[derive(Clone, Copy)]
struct Node {
    /// The smallest place of a condition that holds here and below.
    prefix: u32,
    /// The smallest place of a condition that holds below only, that is behind another `/`.
    subtree: u32,
    /// The first of its edges, or its place in `hashed`.
    first: u32,
    /// How many edges, or `HASHED`.
    count: u32,
}

const HASHED: u32 = u32::MAX;

/// A segment and the node that it leads to.
#[derive(Clone, Copy)]
struct Edge {
    start: u32,
    bytes: u32,
    node: u32,
}

impl Literals {
    /// The literals among conditions that are given in the order in which they are tried.
    ///
    /// Places and text are counted in 32 bits: a host with more is far beyond the object limits.
    pub(crate) fn new<'p>(paths: impl Iterator<Item = &'p PathMatch>) -> Self {
        let mut exact = HashMap::with_hasher(RandomState::default());
        let mut exact_bytes_max = 0;
        let mut tree_first = NOWHERE;
        let mut growing = Growing::default();
        for (place, path) in (0u32..).zip(paths) {
            // A trailing slash of a rule is insignificant; below it everything is the same.
            let value = path.value.strip_suffix('/').unwrap_or(&path.value);
            match path.kind {
                PathKind::Exact => {
                    exact.entry(path.value.as_bytes().into()).or_insert(place);
                    exact_bytes_max = exact_bytes_max.max(path.value.len());
                    continue;
                }
                PathKind::Prefix | PathKind::ImplementationSpecific => {
                    let prefix = &mut growing.node(value).prefix;
                    *prefix = place.min(*prefix);
                }
                PathKind::Subtree => {
                    let subtree = &mut growing.node(value).subtree;
                    *subtree = place.min(*subtree);
                }
                PathKind::Regex | PathKind::RegexIgnoreCase => continue,
            }
            tree_first = tree_first.min(place);
        }
        let mut literals = growing.finish();
        literals.exact = exact;
        literals.exact_bytes_max = exact_bytes_max;
        literals.tree_first = tree_first;
        literals
    }

    /// The smallest place among the conditions that hold for a path.
    pub(crate) fn first(&self, path: &[u8]) -> Option<usize> {
        let mut best = NOWHERE;
        if path.len() <= self.exact_bytes_max
            && let Some(place) = self.exact.get(path)
        {
            best = *place;
        }
        if self.tree_first < best {
            best = best.min(self.first_in_tree(path));
        }
        (best != NOWHERE).then_some(best as usize)
    }

    fn first_in_tree(&self, path: &[u8]) -> u32 {
        // An empty path is no path: no prefix holds for it, not even `/`.
        let (mut node, mut rest) = match path.split_first() {
            None => return NOWHERE,
            Some((b'/', rest)) => (self.below_slash.and_then(|node| self.node(node)), rest),
            Some(_) => {
                let end = memchr::memchr(b'/', path).unwrap_or(path.len());
                let (segment, rest) = path.split_at(end);
                let node = self.nodes.first().and_then(|top| self.child(top, segment));
                match rest.split_first() {
                    Some((_, rest)) => (node, rest),
                    None => return node.map_or(NOWHERE, |node| node.prefix),
                }
            }
        };
        // Here `node` is the one whose segment was just closed by a slash.
        let mut best = NOWHERE;
        while let Some(at) = node {
            best = best.min(at.prefix).min(at.subtree);
            let Some(slash) = memchr::memchr(b'/', rest) else {
                return self.child(at, rest).map_or(best, |last| best.min(last.prefix));
            };
            node = self.child(at, &rest[..slash]);
            rest = &rest[slash + 1..];
        }
        best
    }

    fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    fn child(&self, node: &Node, segment: &[u8]) -> Option<&Node> {
        let first = node.first as usize;
        if node.count == HASHED {
            let child = self.hashed.get(first)?.get(segment)?;
            return self.node(*child);
        }
        let edges = self.edges.get(first..first + node.count as usize)?;
        let found = edges.binary_search_by(|edge| edge.order(&self.text, segment)).ok()?;
        self.node(edges.get(found)?.node)
    }
}

impl Edge {
    fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.bytes as usize
    }

    /// By length, then by text.
    fn order(&self, text: &[u8], segment: &[u8]) -> Ordering {
        (self.bytes as usize)
            .cmp(&segment.len())
            .then_with(|| text.get(self.range()).unwrap_or_default().cmp(segment))
    }
}

/// The tree while it is built: one hash of all children.
#[derive(Default)]
struct Growing {
    nodes: Vec<Node>,
    children: HashMap<(u32, Box<[u8]>), u32, RandomState>,
}

const LEAF: Node = Node { prefix: NOWHERE, subtree: NOWHERE, first: 0, count: 0 };

impl Growing {
    /// The node of a path, made where it is missing.
    fn node(&mut self, path: &str) -> &mut Node {
        if self.nodes.is_empty() {
            self.nodes.push(LEAF);
        }
        let mut at = 0;
        for segment in path.split('/') {
            at = *self.children.entry((at, segment.as_bytes().into())).or_insert_with(|| {
                self.nodes.push(LEAF);
                (self.nodes.len() - 1) as u32
            });
        }
        // `at` is 0 or the place of a push above.
        &mut self.nodes[at as usize]
    }

    fn finish(self) -> Literals {
        let Self { mut nodes, children } = self;
        let below_slash = children.get(&(0, Box::default())).copied();
        let mut children: Vec<(u32, Box<[u8]>, u32)> =
            children.into_iter().map(|((parent, segment), node)| (parent, segment, node)).collect();
        children.sort_unstable_by(|a, b| (a.0, a.1.len(), &a.1).cmp(&(b.0, b.1.len(), &b.1)));
        let (mut edges, mut text, mut hashed) = (Vec::new(), Vec::new(), Vec::new());
        for family in children.chunk_by(|a, b| a.0 == b.0) {
            // A chunk is not empty, and its parent was pushed before its children.
            let parent = &mut nodes[family[0].0 as usize];
            if family.len() > SEARCHED_MAX {
                (parent.first, parent.count) = (hashed.len() as u32, HASHED);
                hashed.push(family.iter().map(|(_, name, node)| (name.clone(), *node)).collect());
                continue;
            }
            (parent.first, parent.count) = (edges.len() as u32, family.len() as u32);
            for (_, segment, node) in family {
                let (start, bytes) = (text.len() as u32, segment.len() as u32);
                edges.push(Edge { start, bytes, node: *node });
                text.extend_from_slice(segment);
            }
        }
        Literals {
            exact: HashMap::default(),
            exact_bytes_max: 0,
            tree_first: NOWHERE,
            nodes: nodes.into(),
            edges: edges.into(),
            text: text.into(),
            hashed: hashed.into(),
            below_slash,
        }
    }
}
