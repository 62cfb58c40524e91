//! What watches found out and the compiler has not taken yet.
//!
//! At most one change waits for each object, the latest; so what waits is bounded by the objects
//! there are. The compiler is woken once and takes all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use model::Diagnostic;
use translate::{Object, ObjectEvent, ObjectKey};

use crate::compiler::Message;
use crate::source::Batch;

/// See the module.
pub(crate) struct Inflow {
    waiting: Mutex<Waiting>,
    inbox: Sender<Message>,
}

#[derive(Default)]
struct Waiting {
    events: HashMap<ObjectKey, ObjectEvent>,
    /// The watches whose first list is still to come; nothing is synced before the first is named.
    unsynced: Option<HashSet<Arc<str>>>,
    told_synced: bool,
    /// Of those, the ones whose namespace may not be read.
    excused: HashSet<Arc<str>>,
    /// The resources of which some list has come.
    resources: HashSet<String>,
    /// What each watch has to say.
    problems: BTreeMap<Arc<str>, Vec<Diagnostic>>,
    /// Objects that were asked for by name, and have been found or found missing.
    settled: HashSet<ObjectKey>,
    has_news: bool,
    /// The compiler was woken and has not come yet.
    woken: bool,
}

impl Inflow {
    pub(crate) fn new(inbox: Sender<Message>) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), inbox })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what waits, and wakes the compiler.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting();
        change(&mut waiting);
        waiting.has_news = true;
        self.wake(&mut waiting);
    }

    fn wake(self: &Arc<Self>, waiting: &mut Waiting) {
        if !waiting.woken && waiting.has_news {
            // A full inbox is tried again with the next change, or by `nudge`.
            waiting.woken = self.inbox.try_send(Message::Inflow(Arc::clone(self))).is_ok();
        }
    }

    /// Wakes the compiler where its inbox was full before.
    pub(super) fn nudge(self: &Arc<Self>) {
        self.wake(&mut self.waiting());
    }

    /// An object is there, or is another now.
    pub(super) fn applied(self: &Arc<Self>, key: ObjectKey, object: Object) {
        self.change(|waiting| {
            waiting.events.insert(key, ObjectEvent::Applied(object));
        });
    }

    /// An object is gone.
    pub(super) fn deleted(self: &Arc<Self>, key: ObjectKey) {
        self.change(|waiting| {
            waiting.events.insert(key.clone(), ObjectEvent::Deleted(key));
        });
    }

    /// A whole list at once: what is there, and what was and is no more.
    pub(super) fn listed(
        self: &Arc<Self>,
        there: Vec<(ObjectKey, Object)>,
        gone: impl IntoIterator<Item = ObjectKey>,
    ) {
        self.change(|waiting| {
            for key in gone {
                waiting.events.insert(key.clone(), ObjectEvent::Deleted(key));
            }
            for (key, object) in there {
                waiting.events.insert(key, ObjectEvent::Applied(object));
            }
        });
    }

    /// A watch must have listed once before anything is served.
    pub(super) fn expect(self: &Arc<Self>, watch: &Arc<str>) {
        let mut waiting = self.waiting();
        if !waiting.told_synced {
            waiting.unsynced.get_or_insert_default().insert(Arc::clone(watch));
        }
    }

    /// A watch has listed, or need not.
    pub(super) fn synced(self: &Arc<Self>, watch: &Arc<str>) {
        self.change(|waiting| {
            waiting.resources.insert(resource_of(watch).to_owned());
            if let Some(unsynced) = &mut waiting.unsynced {
                unsynced.remove(watch);
            }
        });
    }

    /// A watch of a namespace may not list: nothing waits for it where others of its kind have
    /// listed. Where none has, it is more likely that all rights are missing.
    pub(super) fn excused(self: &Arc<Self>, watch: &Arc<str>) {
        self.change(|waiting| {
            waiting.excused.insert(Arc::clone(watch));
        });
    }

    /// The watches whose first list is still to come.
    pub(crate) fn unsynced(&self) -> Vec<Arc<str>> {
        let mut all: Vec<_> = self.waiting().unsynced.iter().flatten().cloned().collect();
        all.sort();
        all
    }

    /// What a watch has to say now; replaces what it said before.
    pub(super) fn said(self: &Arc<Self>, watch: &Arc<str>, diagnostics: Vec<Diagnostic>) {
        if diagnostics.is_empty() && !self.waiting().problems.contains_key(watch) {
            return;
        }
        self.change(|waiting| {
            if diagnostics.is_empty() {
                waiting.problems.remove(watch);
            } else {
                waiting.problems.insert(Arc::clone(watch), diagnostics);
            }
        });
    }

    /// An object that was asked for by name has been found or found missing.
    pub(super) fn settled(self: &Arc<Self>, keys: impl IntoIterator<Item = ObjectKey>) {
        self.change(|waiting| waiting.settled.extend(keys));
    }

    /// A watch has ended for good: what it told is forgotten.
    pub(super) fn forget(
        self: &Arc<Self>,
        watch: &Arc<str>,
        known: impl IntoIterator<Item = ObjectKey>,
    ) {
        self.change(|waiting| {
            if let Some(unsynced) = &mut waiting.unsynced {
                unsynced.remove(watch);
            }
            waiting.problems.remove(watch);
            for key in known {
                waiting.events.insert(key.clone(), ObjectEvent::Deleted(key));
            }
        });
    }

    /// Nobody waits for these any more.
    pub(super) fn unsettled<'k>(&self, keys: impl IntoIterator<Item = &'k ObjectKey>) {
        let mut waiting = self.waiting();
        for key in keys {
            waiting.settled.remove(key);
        }
    }

    /// The namespaces of those that have not been found or found missing yet, or not been taken.
    pub(crate) fn namespaces_of_unsettled<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k ObjectKey>,
    ) -> BTreeSet<Arc<str>> {
        let waiting = self.waiting();
        let is_settled =
            |key: &ObjectKey| waiting.settled.contains(key) && !waiting.events.contains_key(key);
        let unsettled = keys.into_iter().filter(|key| !is_settled(key));
        unsettled.map(|key| key.namespace.clone()).collect()
    }

    /// Whether all of these have been found or found missing, and taken.
    #[cfg(test)]
    pub(crate) fn are_settled<'k>(&self, keys: impl IntoIterator<Item = &'k ObjectKey>) -> bool {
        self.namespaces_of_unsettled(keys).is_empty()
    }

    /// Takes all that waits.
    pub(crate) fn take(&self) -> Batch {
        let mut waiting = self.waiting();
        waiting.woken = false;
        waiting.has_news = false;
        let mut batch = Batch {
            events: std::mem::take(&mut waiting.events).into_values().collect(),
            diagnostics: waiting.problems.values().flatten().cloned().collect(),
            stale_files: 0,
        };
        let is_done = |watch: &Arc<str>| {
            waiting.excused.contains(watch) && waiting.resources.contains(resource_of(watch))
        };
        let is_synced =
            waiting.unsynced.as_ref().is_some_and(|unsynced| unsynced.iter().all(is_done));
        if !waiting.told_synced && is_synced {
            waiting.told_synced = true;
            batch.events.push(ObjectEvent::Synced);
        }
        batch
    }
}

/// The resource of a watch, by its name: `ingresses in shop`.
fn resource_of(watch: &str) -> &str {
    watch.split_once(' ').map_or(watch, |(resource, _)| resource)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;
    use k8s_openapi::api::core::v1::ConfigMap;
    use translate::{AsRead, ObjectKind};

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new(ObjectKind::ConfigMap, "shop", name)
    }

    fn object() -> Object {
        Object::ConfigMap(Arc::new(AsRead::from(ConfigMap::default())))
    }

    #[test]
    fn of_many_changes_of_an_object_the_latest_waits_and_the_compiler_is_woken_once() {
        let (inbox, messages) = bounded(8);
        let inflow = Inflow::new(inbox);
        for _ in 0..100 {
            inflow.applied(key("a"), object());
            inflow.deleted(key("a"));
        }
        assert_eq!(messages.len(), 1);
        let batch = inflow.take();
        assert!(matches!(batch.events.as_slice(), [ObjectEvent::Deleted(_)]));
        inflow.applied(key("a"), object());
        assert_eq!(messages.len(), 2);
    }

    #[test]
    fn an_inbox_that_was_full_is_tried_again() {
        let (inbox, messages) = bounded(1);
        inbox.send(Message::Stop).unwrap();
        let inflow = Inflow::new(inbox);
        inflow.applied(key("a"), object());
        messages.recv().unwrap();
        inflow.nudge();
        assert!(matches!(messages.try_recv(), Ok(Message::Inflow(_))));
        // Nothing waits that was not told already.
        inflow.nudge();
        assert!(messages.is_empty());
    }

    #[test]
    fn everything_is_synced_once_and_only_after_the_last_watch() {
        let (inbox, _messages) = bounded(8);
        let inflow = Inflow::new(inbox);
        let (first, second): (Arc<str>, Arc<str>) = ("first".into(), "second".into());
        assert!(inflow.take().events.is_empty(), "before the first watch nothing is known");
        inflow.expect(&first);
        inflow.expect(&second);
        inflow.synced(&first);
        assert!(inflow.take().events.is_empty());
        assert_eq!(inflow.unsynced(), std::slice::from_ref(&second));
        inflow.synced(&second);
        assert!(matches!(inflow.take().events.as_slice(), [ObjectEvent::Synced]));
        // A watch that comes later, such as that of a new namespace, takes nothing back.
        inflow.expect(&first);
        inflow.synced(&first);
        assert!(inflow.take().events.is_empty());
    }

    #[test]
    fn a_namespace_without_rights_holds_up_no_other_and_alone_is_not_done_without() {
        let (inbox, _messages) = bounded(8);
        let inflow = Inflow::new(inbox);
        let name = |namespace: &str| -> Arc<str> { format!("ingresses in {namespace}").into() };
        for namespace in ["shop", "bank"] {
            inflow.expect(&name(namespace));
        }
        inflow.excused(&name("shop"));
        inflow.excused(&name("bank"));
        assert!(inflow.take().events.is_empty(), "no right at all is a mistake");
        inflow.synced(&name("bank"));
        assert!(matches!(inflow.take().events.as_slice(), [ObjectEvent::Synced]));
    }

    #[test]
    fn what_was_asked_for_is_settled_when_the_compiler_has_it() {
        let (inbox, _messages) = bounded(8);
        let inflow = Inflow::new(inbox);
        assert!(!inflow.are_settled([&key("a")]));
        inflow.listed(vec![(key("a"), object())], []);
        inflow.settled([key("a"), key("missing")]);
        assert!(!inflow.are_settled([&key("a")]), "it waits to be taken");
        inflow.take();
        assert!(inflow.are_settled([&key("a"), &key("missing")]));
        inflow.unsettled([&key("a")]);
        assert!(!inflow.are_settled([&key("a")]));
    }
}
