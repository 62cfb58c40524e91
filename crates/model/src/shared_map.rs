//! An ordered map whose copies share what they have in common.
//!
//! One configuration differs from the one before in a few entries of ten thousand. A copy of this
//! map costs no entries, a change of the copy those near the changed one, and what two maps have
//! in common is passed over where they are compared.
//!
//! ```text
//! chunks ─┬─ Arc [(a, …) (b, …)] ◄── shared with the copy
//!         └─ Arc [(c, …) (d, …)]     replaced in the copy that changes it
//! ```
//!
//! Control side alone: it is built for thousands of entries and looked up by binary search.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries of a chunk; one that would have more is split in two.
const CHUNK_MAX: usize = 64;

/// See the module. Entries are in the order of their keys, in iteration and in its encoding, which
/// is that of any map.
pub struct SharedMap<K, V> {
    /// None is empty, and all keys of one are before those of the next.
    chunks: Vec<Chunk<K, V>>,
    len: usize,
}

type Chunk<K, V> = Arc<Vec<(K, V)>>;

impl<K, V> SharedMap<K, V> {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, by key.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter { chunks: self.chunks.iter(), entries: [].iter(), left: self.len }
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let (chunk, entry) = self.find(key).ok()?;
        Some(&self.chunks[chunk][entry].1)
    }

    /// Whether a key has a value.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Chunk and entry of a key, or where it belongs; there is no such chunk in an empty map alone.
    fn find(&self, key: &K) -> Result<(usize, usize), (usize, usize)> {
        let after = self.chunks.partition_point(|chunk| chunk[0].0 <= *key);
        let at = after.saturating_sub(1);
        let Some(chunk) = self.chunks.get(at) else { return Err((0, 0)) };
        let entry = chunk.binary_search_by(|(known, _)| known.cmp(key));
        entry.map(|entry| (at, entry)).map_err(|entry| (at, entry))
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of a key; gives the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok((chunk, entry)) => {
                let known = &mut Arc::make_mut(&mut self.chunks[chunk])[entry].1;
                Some(std::mem::replace(known, value))
            }
            Err((at, entry)) => {
                self.len += 1;
                let Some(chunk) = self.chunks.get_mut(at) else {
                    self.chunks.push(Arc::new(vec![(key, value)]));
                    return None;
                };
                let chunk = Arc::make_mut(chunk);
                chunk.insert(entry, (key, value));
                if chunk.len() > CHUNK_MAX {
                    // Those that come in order leave full chunks behind.
                    let is_last = entry + 1 == chunk.len();
                    let rest = chunk.split_off(if is_last { entry } else { CHUNK_MAX / 2 });
                    self.chunks.insert(at + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// The value of a key, to be changed in place.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunk, entry) = self.find(key).ok()?;
        Some(&mut Arc::make_mut(&mut self.chunks[chunk])[entry].1)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (at, entry) = self.find(key).ok()?;
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        let (_, value) = chunk.remove(entry);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        Some(value)
    }
}

impl<K: Ord, V: PartialEq> SharedMap<K, V> {
    /// The keys whose values are not the same in both, those included that one of them lacks; in
    /// order. What the two share is not looked at.
    #[must_use]
    pub fn differing<'m>(&'m self, other: &'m Self) -> Vec<&'m K> {
        let mut keys = Vec::new();
        let (mut ours, mut theirs) = (Cursor::new(self), Cursor::new(other));
        loop {
            ours.pass_shared(&mut theirs);
            match (ours.entry(), theirs.entry()) {
                (None, None) => return keys,
                (Some((key, _)), None) => {
                    keys.push(key);
                    ours.step();
                }
                (None, Some((key, _))) => {
                    keys.push(key);
                    theirs.step();
                }
                (Some((ours_key, value)), Some((theirs_key, known))) => {
                    let order = ours_key.cmp(theirs_key);
                    if order != Ordering::Equal || value != known {
                        keys.push(if order == Ordering::Greater { theirs_key } else { ours_key });
                    }
                    if order != Ordering::Greater {
                        ours.step();
                    }
                    if order != Ordering::Less {
                        theirs.step();
                    }
                }
            }
        }
    }
}

/// A place in a map.
struct Cursor<'m, K, V> {
    chunks: &'m [Chunk<K, V>],
    entry: usize,
}

impl<'m, K, V> Cursor<'m, K, V> {
    fn new(map: &'m SharedMap<K, V>) -> Self {
        Self { chunks: &map.chunks, entry: 0 }
    }

    fn entry(&self) -> Option<&'m (K, V)> {
        self.chunks.first().map(|chunk| &chunk[self.entry])
    }

    fn step(&mut self) {
        self.entry += 1;
        if self.entry == self.chunks[0].len() {
            self.chunks = &self.chunks[1..];
            self.entry = 0;
        }
    }

    /// Goes over the chunks that both are about to enter. Where one map has more entries than the
    /// other, both come to the next chunk that they share at the same time all the same.
    fn pass_shared(&mut self, other: &mut Self) {
        while let ([ours, ..], [theirs, ..]) = (self.chunks, other.chunks)
            && self.entry == 0
            && other.entry == 0
            && Arc::ptr_eq(ours, theirs)
        {
            self.chunks = &self.chunks[1..];
            other.chunks = &other.chunks[1..];
        }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.differing(other).is_empty()
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

// A derive would ask keys and values for what only their chunks need.
impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    /// Of two with one key, the later stays.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(K, V)> = entries.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| {
            let is_same = later.0 == first.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut first.1);
            }
            is_same
        });
        let len = entries.len();
        let mut chunks = Vec::with_capacity(len.div_ceil(CHUNK_MAX));
        let mut entries = entries.into_iter();
        while entries.len() > 0 {
            chunks.push(Arc::new(entries.by_ref().take(CHUNK_MAX).collect()));
        }
        Self { chunks, len }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SharedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'m, K, V> IntoIterator for &'m SharedMap<K, V> {
    type Item = (&'m K, &'m V);
    type IntoIter = Iter<'m, K, V>;

    fn into_iter(self) -> Iter<'m, K, V> {
        self.iter()
    }
}

impl<K: Ord, V> std::ops::Index<&K> for SharedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the key is in the map")
    }
}

/// All entries of a [`SharedMap`], by key.
pub struct Iter<'m, K, V> {
    chunks: std::slice::Iter<'m, Chunk<K, V>>,
    entries: std::slice::Iter<'m, (K, V)>,
    left: usize,
}

impl<'m, K, V> Iterator for Iter<'m, K, V> {
    type Item = (&'m K, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.entries.next() {
                self.left -= 1;
                return Some((key, value));
            }
            self.entries = self.chunks.next()?.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), entries: self.entries.clone(), left: self.left }
    }
}

impl<K: Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K, V> Deserialize<'de> for SharedMap<K, V>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = std::collections::BTreeMap::<K, V>::deserialize(deserializer)?;
        Ok(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn is_whole(map: &SharedMap<u16, u8>) {
        assert!(map.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
        assert!(map.keys().is_sorted());
        assert_eq!(map.iter().count(), map.len());
    }

    #[test]
    fn a_copy_shares_all_but_what_is_changed() {
        let map: SharedMap<u16, u8> = (0..1_000).map(|key| (key, 0)).collect();
        let mut copy = map.clone();
        copy.insert(500, 1);
        let shared = map.chunks.iter().zip(&copy.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, map.chunks.len() - 1);
        assert_eq!((map[&500], copy[&500]), (0, 1));
        assert_eq!(map.differing(&copy), [&500]);
    }

    #[test]
    fn it_reads_back_what_it_writes_as_any_map() {
        let map = SharedMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(text, r#"{"a":1,"b":2}"#);
        assert_eq!(serde_json::from_str::<SharedMap<String, i32>>(&text).unwrap(), map);
    }

    proptest! {
        #[test]
        fn it_is_a_map(
            changes in proptest::collection::vec((0_u16..300, any::<Option<u8>>()), 0..600),
        ) {
            let (mut map, mut reference) = (SharedMap::new(), BTreeMap::new());
            for (key, value) in changes {
                if let Some(value) = value {
                    prop_assert_eq!(map.insert(key, value), reference.insert(key, value));
                } else {
                    prop_assert_eq!(map.remove(&key), reference.remove(&key));
                }
                prop_assert_eq!(map.get(&key), reference.get(&key));
            }
            is_whole(&map);
            prop_assert!(map.iter().eq(&reference));
        }

        #[test]
        fn what_differs_is_found_whatever_is_shared(
            start in proptest::collection::vec((0_u16..400, 0_u8..3), 0..400),
            changes in
                proptest::collection::vec((0_u16..400, proptest::option::of(0_u8..3)), 0..40),
        ) {
            let before: SharedMap<u16, u8> = start.into_iter().collect();
            let mut after = before.clone();
            for (key, value) in changes {
                match value {
                    Some(value) => drop(after.insert(key, value)),
                    None => drop(after.remove(&key)),
                }
            }
            is_whole(&after);
            let all = before.keys().chain(after.keys());
            let differs = all.filter(|key| before.get(key) != after.get(key));
            let expected: std::collections::BTreeSet<&u16> = differs.collect();
            let expected: Vec<&u16> = expected.into_iter().collect();
            prop_assert_eq!(before.differing(&after), expected.clone());
            prop_assert_eq!(after.differing(&before), expected.clone());
            prop_assert_eq!(before == after, expected.is_empty());
        }
    }
}
