//! What is kept from one translation to the next: fragments of Ingresses, and dear leaves.
//!
//! A fragment is kept by the contents of its Ingress and of everything it looked at; a leaf (a
//! certificate, a pattern) by its own content. A memo never changes a result: translating with one
//! gives what translating without one gives. What was not used in a translation is forgotten.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use crate::ingress::Fragment;
use crate::objects::{ContentHash, ObjectKey, ObjectStore};
use crate::order::Age;
use crate::pattern::{self, Pattern};
use crate::secret::{self, ReadCertificate};
use crate::settings::Settings;

/// Results to be used again. Start with an empty one, and pass the same one every time.
#[derive(Debug, Default)]
pub struct Memo {
    /// The settings that everything here was made with.
    settings: Option<Settings>,
    fragments: HashMap<(Arc<str>, Arc<str>), KeptFragment>,
    pub(crate) leaves: Leaves,
}

#[derive(Debug)]
struct KeptFragment {
    ingress: ContentHash,
    age: Age,
    /// The contents of what the fragment looked at, in the order of its references.
    references: Vec<Option<ContentHash>>,
    fragment: Arc<Fragment>,
}

impl Memo {
    /// A memo that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything if the settings are not those it was made with. Time and listeners do not
    /// enter into anything that is kept.
    pub(crate) fn begin(&mut self, settings: &Settings) {
        let settings = Settings { now: None, listeners: Vec::new(), ..settings.clone() };
        if self.settings.as_ref() != Some(&settings) {
            *self = Self { settings: Some(settings), ..Self::default() };
        }
    }

    /// The fragment of an Ingress, if it still holds; it is taken out until it is put back.
    pub(crate) fn take(
        &mut self,
        ingress: ContentHash,
        age: &Age,
        store: &ObjectStore,
    ) -> Option<Arc<Fragment>> {
        let kept = self.fragments.get(&(age.namespace.clone(), age.name.clone()))?;
        let holds = kept.ingress == ingress
            && kept.age == *age
            && contents(&kept.fragment.references, store).eq(kept.references.iter().copied());
        holds.then(|| kept.fragment.clone())
    }

    /// Keeps a new fragment.
    pub(crate) fn put(
        &mut self,
        ingress: ContentHash,
        fragment: &Arc<Fragment>,
        store: &ObjectStore,
    ) {
        let age = fragment.age.clone();
        let kept = KeptFragment {
            ingress,
            references: contents(&fragment.references, store).collect(),
            fragment: fragment.clone(),
            age: age.clone(),
        };
        self.fragments.insert((age.namespace, age.name), kept);
    }

    /// Forgets the fragments of Ingresses that are no more, and leaves that nobody asked for.
    pub(crate) fn end(&mut self, store: &ObjectStore) {
        if self.fragments.len() > store.ingresses.len() {
            self.fragments.retain(|name, _| store.ingresses.contains_key(name));
        }
        self.leaves.forget_unused();
    }
}

fn contents<'c>(
    references: &'c [ObjectKey],
    store: &'c ObjectStore,
) -> impl Iterator<Item = Option<ContentHash>> + 'c {
    references.iter().map(|key| store.content(key))
}

/// Leaves by content.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    certificates: RefCell<HashMap<ContentHash, Result<Arc<ReadCertificate>, String>>>,
    patterns: RefCell<HashMap<Box<str>, Pattern>>,
}

/// More leaves than this are dropped all at once; those still in use are read again.
const LEAVES_MAX: usize = 200_000;

impl Leaves {
    pub(crate) fn certificate(
        &self,
        secret: &Secret,
        content: ContentHash,
    ) -> Result<Arc<ReadCertificate>, String> {
        let mut known = self.certificates.borrow_mut();
        known.entry(content).or_insert_with(|| secret::read(secret).map(Arc::new)).clone()
    }

    pub(crate) fn pattern(&self, text: &str) -> Pattern {
        if let Some(known) = self.patterns.borrow().get(text) {
            return known.clone();
        }
        let checked = pattern::check(text);
        self.patterns.borrow_mut().insert(text.into(), checked.clone());
        checked
    }

    fn forget_unused(&mut self) {
        if self.certificates.get_mut().len() > LEAVES_MAX {
            self.certificates.get_mut().clear();
        }
        if self.patterns.get_mut().len() > LEAVES_MAX {
            self.patterns.get_mut().clear();
        }
    }
}
