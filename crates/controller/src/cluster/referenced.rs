//! Secrets and `ConfigMap` objects that something names: these are read, and no others.
//!
//! Each is watched by its name, so that what nobody references never leaves the API server, and
//! the right to one name suffices. Every such watch is a connection; where a namespace has more
//! than [`BY_NAME_MAX`] of them, or there are more than [`BY_NAME_TOTAL`] in all, the namespace is
//! watched as a whole and what is not wanted is dropped as it comes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::sync::watch;
use translate::{ObjectKey, ObjectKind};

use super::teller::Wanted;
use super::{Ending, Maker};

/// Objects of a kind that are watched one by one in a namespace.
const BY_NAME_MAX: usize = 16;

/// Objects that are watched one by one in all namespaces together.
const BY_NAME_TOTAL: usize = 256;

/// A kind in a namespace.
type Place = (ObjectKind, Arc<str>);

/// How the objects of a place are watched.
enum Group {
    ByName(HashMap<ObjectKey, Ending>),
    Whole(BTreeSet<ObjectKey>, Ending),
}

/// Watches what is wanted, until nobody wants anything any more.
pub(super) async fn run(maker: Maker, mut wants: watch::Receiver<Arc<BTreeSet<ObjectKey>>>) {
    let mut groups: BTreeMap<Place, Group> = BTreeMap::new();
    while wants.changed().await.is_ok() {
        let wanted = Arc::clone(&wants.borrow_and_update());
        let mut places: BTreeMap<Place, BTreeSet<ObjectKey>> = BTreeMap::new();
        for key in wanted.iter() {
            places.entry((key.kind, key.namespace.clone())).or_default().insert(key.clone());
        }
        let unwanted: Vec<Place> =
            groups.keys().filter(|place| !places.contains_key(place)).cloned().collect();
        for place in unwanted {
            if let Some(group) = groups.remove(&place) {
                group.end(&maker);
            }
        }
        let mut by_name = 0;
        for (place, keys) in places {
            let is_by_name = keys.len() <= BY_NAME_MAX && by_name + keys.len() <= BY_NAME_TOTAL;
            if is_by_name {
                by_name += keys.len();
            }
            let before = groups.remove(&place);
            groups.insert(place, follow(&maker, before, keys, is_by_name));
        }
    }
}

/// Has these objects of one place watched, with what is watched already.
fn follow(
    maker: &Maker,
    before: Option<Group>,
    keys: BTreeSet<ObjectKey>,
    is_by_name: bool,
) -> Group {
    match before {
        // Once whole, it stays so: names come and go.
        Some(Group::Whole(names, watch)) if keys.is_subset(&names) => Group::Whole(names, watch),
        Some(Group::ByName(mut watches)) if is_by_name => {
            let unwanted: Vec<ObjectKey> =
                watches.keys().filter(|key| !keys.contains(*key)).cloned().collect();
            for key in unwanted {
                if let Some(watch) = watches.remove(&key) {
                    maker.inflow.unsettled([&key]);
                    watch.end(maker);
                }
            }
            for key in keys {
                watches.entry(key.clone()).or_insert_with(|| one(maker, &key));
            }
            Group::ByName(watches)
        }
        None if is_by_name => {
            Group::ByName(keys.into_iter().map(|key| (key.clone(), one(maker, &key))).collect())
        }
        before => {
            // What is known serves on until the new watch has listed.
            let watch = all(maker, &keys);
            let known: Vec<Ending> = match before {
                Some(Group::Whole(names, watch)) => {
                    // What nobody names is not kept up to date any more.
                    maker.inflow.unsettled(names.difference(&keys));
                    vec![watch]
                }
                Some(Group::ByName(watches)) => watches.into_values().collect(),
                None => Vec::new(),
            };
            for former in known {
                watch.known.adopt(former.replace(maker));
            }
            Group::Whole(keys, watch)
        }
    }
}

fn one(maker: &Maker, key: &ObjectKey) -> Ending {
    let wanted = Wanted::Named(Mutex::new([key.clone()].into()));
    let name = Some(key.name.clone());
    match key.kind {
        ObjectKind::ConfigMap => maker.within::<ConfigMap>(&key.namespace, name, wanted),
        _ => maker.within::<Secret>(&key.namespace, name, wanted),
    }
}

fn all(maker: &Maker, keys: &BTreeSet<ObjectKey>) -> Ending {
    let wanted = Wanted::Named(Mutex::new(keys.iter().cloned().collect()));
    let first = keys.first();
    let namespace = first.map(|key| key.namespace.clone()).unwrap_or_default();
    match first.map(|key| key.kind) {
        Some(ObjectKind::ConfigMap) => maker.within::<ConfigMap>(&namespace, None, wanted),
        _ => maker.within::<Secret>(&namespace, None, wanted),
    }
}

impl Group {
    fn end(self, maker: &Maker) {
        let watches: Vec<Ending> = match self {
            Self::ByName(watches) => {
                maker.inflow.unsettled(watches.keys());
                watches.into_values().collect()
            }
            Self::Whole(names, watch) => {
                maker.inflow.unsettled(&names);
                vec![watch]
            }
        };
        for watch in watches {
            watch.end(maker);
        }
    }
}
