//! What is kept from one translation to the next: fragments, virtual hosts, and dear leaves.
//!
//! A fragment is kept by the contents of its Ingress and of everything it looked at; a virtual host
//! by the fragments it was made of; a leaf (a certificate, a pattern) by its own content. A memo
//! never changes a result: translating with one
//! gives what translating without one gives. What was not used in a translation is forgotten.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use k8s_openapi::api::core::v1::Secret;
use model::{ClosedReason, Diagnostic, EndpointTable, Hostname, Model, Sealed, VirtualHost};

use crate::class::Parameters;
use crate::ingress::Fragment;
use crate::link::Linked;
use crate::lookup::References;
use crate::objects::{ContentHash, Name, Named, ObjectKey, ObjectStore};
use crate::order::Age;
use crate::pattern::{self, Pattern};
use crate::scope::Reports;
use crate::secret::{self, ReadCertificate};
use crate::settings::Settings;

/// Results to be used again. Start with an empty one, and pass the same one every time.
#[derive(Debug, Default)]
pub struct Memo {
    /// The settings that everything here was made with.
    settings: Option<Settings>,
    fragments: Named<KeptFragment>,
    default_backend: Option<KeptFragment>,
    reduced: Named<ReducedFragment>,
    hosts: HashMap<Hostname, KeptHost, RandomState>,
    /// What the last translation put together; none after one that failed half-way.
    pub(crate) linked: Option<Box<Linked>>,
    pub(crate) leaves: Leaves,
}

#[derive(Debug)]
struct KeptFragment {
    ingress: ContentHash,
    age: Age,
    /// The contents of what the fragment looked at, in the order of its references.
    references: Vec<Option<ContentHash>>,
    /// What its class said.
    parameters: Arc<Parameters>,
    fragment: Arc<Fragment>,
}

/// What a fragment has of its class.
pub(crate) struct OfClass<'c> {
    pub(crate) closed: Option<&'c ClosedReason>,
    pub(crate) parameters: &'c Parameters,
}

impl KeptFragment {
    fn new(
        ingress: ContentHash,
        fragment: &Arc<Fragment>,
        parameters: &Arc<Parameters>,
        store: &ObjectStore,
    ) -> Self {
        Self {
            ingress,
            parameters: parameters.clone(),
            age: fragment.age.clone(),
            references: contents(&fragment.references, store).collect(),
            fragment: fragment.clone(),
        }
    }
}

/// A fragment without what it may not say of some hosts.
#[derive(Debug)]
struct ReducedFragment {
    whole: Arc<Fragment>,
    refused: Vec<Hostname>,
    reduced: Arc<Fragment>,
}

/// A virtual host, and all that it was made of.
#[derive(Debug)]
struct KeptHost {
    ingredients: Ingredients,
    host: Sealed<VirtualHost>,
    diagnostics: Vec<Diagnostic>,
}

/// What a virtual host depends on. Fragments are the same only if they are the very same.
#[derive(Clone, Debug)]
pub(crate) struct Ingredients {
    pub(crate) fragments: Vec<Arc<Fragment>>,
    pub(crate) global_default: Option<Arc<Fragment>>,
    pub(crate) operators_default: Option<Arc<Fragment>>,
    pub(crate) has_certificate: bool,
    pub(crate) is_apart: bool,
}

impl PartialEq for Ingredients {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Fragment>>, b: &Option<Arc<Fragment>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        self.has_certificate == other.has_certificate
            && self.is_apart == other.is_apart
            && self.fragments.len() == other.fragments.len()
            && same(&self.global_default, &other.global_default)
            && same(&self.operators_default, &other.operators_default)
            && self.fragments.iter().zip(&other.fragments).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Memo {
    /// A memo that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the last translation with this memo looked at; `None` before the first, and after one
    /// that failed half-way.
    #[must_use]
    pub fn references(&self) -> Option<&References> {
        self.linked.as_ref().map(|linked| linked.references())
    }

    /// These endpoints were found since the last translation with this memo.
    pub fn keep_endpoints(&mut self, endpoints: &EndpointTable) {
        if let Some(linked) = &mut self.linked {
            linked.keep_endpoints(endpoints);
        }
    }

    /// Forgets everything if the settings are not those it was made with. Time, listeners and
    /// addresses of this machine do not enter into anything that is kept.
    pub(crate) fn begin(&mut self, settings: &Settings) {
        let settings = Settings {
            now: None,
            listeners: Vec::new(),
            other_listeners: Vec::new(),
            local_addresses: BTreeSet::new(),
            ..settings.clone()
        };
        if self.settings.as_ref() != Some(&settings) {
            *self = Self { settings: Some(settings), ..Self::default() };
        }
    }

    /// What is kept of Ingresses, whether it still holds or not.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = &Arc<Fragment>> {
        self.fragments.values().map(|kept| &kept.fragment)
    }

    /// The fragment of an Ingress, if it still holds; it is taken out until it is put back.
    pub(crate) fn take(
        &mut self,
        ingress: ContentHash,
        age: &Age,
        class: &OfClass<'_>,
        store: &ObjectStore,
    ) -> Option<Arc<Fragment>> {
        let kept = self.fragments.get(&(age.namespace.clone(), age.name.clone()))?;
        let holds = kept.ingress == ingress
            && kept.age == *age
            && kept.fragment.class_closed.as_ref() == class.closed
            && *kept.parameters == *class.parameters
            && contents(&kept.fragment.references, store).eq(kept.references.iter().copied());
        holds.then(|| kept.fragment.clone())
    }

    /// Keeps a new fragment.
    pub(crate) fn put(
        &mut self,
        ingress: ContentHash,
        fragment: &Arc<Fragment>,
        parameters: &Arc<Parameters>,
        store: &ObjectStore,
    ) {
        let Age { namespace, name, .. } = fragment.age.clone();
        let kept = KeptFragment::new(ingress, fragment, parameters, store);
        self.fragments.insert((namespace, name), kept);
    }

    /// The fragment of the operator's default backend, if it still holds.
    pub(crate) fn take_default_backend(&self, store: &ObjectStore) -> Option<Arc<Fragment>> {
        let kept = self.default_backend.as_ref()?;
        let holds = contents(&kept.fragment.references, store).eq(kept.references.iter().copied());
        holds.then(|| kept.fragment.clone())
    }

    /// Keeps a new one; what it is about are settings, which hold as long as the memo.
    pub(crate) fn put_default_backend(&mut self, fragment: &Arc<Fragment>, store: &ObjectStore) {
        let (content, parameters) = (ContentHash([0; 16]), Arc::default());
        self.default_backend = Some(KeptFragment::new(content, fragment, &parameters, store));
    }

    /// The fragment without what it says of these hosts: the one from before, or a new one.
    pub(crate) fn reduced(
        &mut self,
        whole: &Arc<Fragment>,
        refused: Vec<Hostname>,
        reduce: impl FnOnce(&Fragment, &[Hostname]) -> Fragment,
    ) -> Arc<Fragment> {
        let name = (whole.object.namespace.clone(), whole.object.name.clone());
        if let Some(kept) = self.reduced.get(&name)
            && Arc::ptr_eq(&kept.whole, whole)
            && kept.refused == refused
        {
            return kept.reduced.clone();
        }
        let reduced = Arc::new(reduce(whole, &refused));
        let kept = ReducedFragment { whole: whole.clone(), refused, reduced: reduced.clone() };
        self.reduced.insert(name, kept);
        reduced
    }

    /// The virtual host of these ingredients: the one from before, or what `make` makes. What is
    /// reported of it is kept beside it.
    pub(crate) fn host(
        &mut self,
        hostname: &Hostname,
        ingredients: Ingredients,
        make: impl FnOnce(&Leaves, &Reports) -> VirtualHost,
    ) -> Sealed<VirtualHost> {
        if let Some(kept) = self.hosts.get(hostname)
            && kept.ingredients == ingredients
        {
            return kept.host.clone();
        }
        let reports = Reports::default();
        let host = Sealed::new(make(&self.leaves, &reports));
        let kept = KeptHost { ingredients, host: host.clone(), diagnostics: reports.take() };
        self.hosts.insert(hostname.clone(), kept);
        host
    }

    /// What is reported of the virtual hosts that are kept.
    pub(crate) fn host_diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.hosts.values().flat_map(|kept| &kept.diagnostics)
    }

    /// Forgets a virtual host that is no more.
    pub(crate) fn forget_host(&mut self, hostname: &Hostname) {
        self.hosts.remove(hostname);
    }

    /// What is kept of one Ingress, whether it still holds or not.
    pub(crate) fn fragment(&self, name: &Name) -> Option<&Arc<Fragment>> {
        self.fragments.get(name).map(|kept| &kept.fragment)
    }

    /// Forgets an Ingress that is no more.
    pub(crate) fn forget_fragment(&mut self, name: &Name) {
        self.fragments.remove(name);
        self.reduced.remove(name);
    }

    /// The fragment without what it says of hosts that were taken out of `before`, of which `after`
    /// is the successor; `reduced` is what was made of that.
    pub(crate) fn reduced_again(
        &mut self,
        before: &Arc<Fragment>,
        reduced: &Arc<Fragment>,
        after: &Arc<Fragment>,
        reduce: impl FnOnce(&Fragment, &[Hostname]) -> Fragment,
    ) -> Option<Arc<Fragment>> {
        if Arc::ptr_eq(before, reduced) {
            return Some(after.clone());
        }
        let name = (before.object.namespace.clone(), before.object.name.clone());
        let kept = self.reduced.get(&name)?;
        if !Arc::ptr_eq(&kept.reduced, reduced) {
            return None;
        }
        let refused = kept.refused.clone();
        Some(self.reduced(after, refused, reduce))
    }

    /// Forgets what was made of Ingresses and hosts that are no more, and an excess of leaves.
    pub(crate) fn end(&mut self, store: &ObjectStore, model: &Model) {
        if self.hosts.len() > model.hosts.len() {
            self.hosts.retain(|hostname, _| model.hosts.contains_key(hostname));
        }
        if self.fragments.len() > store.ingresses.len() {
            self.fragments.retain(|name, _| store.ingresses.contains_key(name));
        }
        // One that is whole again holds as little as the fragment itself.
        self.reduced.retain(|name, _| store.ingresses.contains_key(name));
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
    /// Held by who uses them: a private key goes with the last of these.
    certificates: RefCell<HashMap<ContentHash, Result<Weak<ReadCertificate>, String>>>,
    /// Those that were asked for since the end of the translation before the last; for those that
    /// ask every time and keep nothing.
    asked: RefCell<Vec<Arc<ReadCertificate>>>,
    /// How many of `asked` the last translation left.
    asked_before: usize,
    /// From how many certificates on those that nobody holds are looked for.
    swept: usize,
    patterns: RefCell<HashMap<Box<str>, Pattern>>,
    /// Bytes of the texts of `patterns`.
    pattern_bytes: Cell<usize>,
}

/// More bytes of patterns than this are dropped all at once: who writes others again and again must
/// not fill the memory. What is said of a pattern repeats it once or twice.
const PATTERN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Fewer certificates than this are not looked through for those that nobody holds.
const SWEEP_MIN: usize = 64;

/// More leaves than this are dropped all at once; those still in use are read again.
const LEAVES_MAX: usize = 200_000;

impl Leaves {
    pub(crate) fn certificate(
        &self,
        secret: &Secret,
        content: ContentHash,
    ) -> Result<Arc<ReadCertificate>, String> {
        let mut certificates = self.certificates.borrow_mut();
        let known = match certificates.get(&content) {
            Some(Ok(known)) => known.upgrade().map(Ok),
            Some(Err(problem)) => return Err(problem.clone()),
            None => None,
        };
        let read = known.unwrap_or_else(|| {
            let read = secret::read(secret).map(Arc::new);
            let kept = read.as_ref().map(Arc::downgrade).map_err(Clone::clone);
            certificates.insert(content, kept);
            read
        });
        let mut asked = self.asked.borrow_mut();
        if asked.len() < LEAVES_MAX {
            asked.extend(read.iter().cloned());
        }
        read
    }

    pub(crate) fn pattern(&self, text: &str) -> Pattern {
        if let Some(known) = self.patterns.borrow().get(text) {
            return known.clone();
        }
        let checked = pattern::check(text);
        let mut patterns = self.patterns.borrow_mut();
        if self.pattern_bytes.get() + text.len() > PATTERN_BYTES_MAX {
            patterns.clear();
            self.pattern_bytes.set(0);
        }
        self.pattern_bytes.set(self.pattern_bytes.get() + text.len());
        patterns.insert(text.into(), checked.clone());
        checked
    }

    fn forget_unused(&mut self) {
        let asked = self.asked.get_mut();
        asked.drain(..self.asked_before);
        self.asked_before = asked.len();
        let certificates = self.certificates.get_mut();
        if certificates.len() > LEAVES_MAX {
            certificates.clear();
        }
        if certificates.len() > 2 * self.swept + SWEEP_MIN {
            certificates.retain(|_, known| match known {
                Ok(known) => known.strong_count() > 0,
                Err(_) => true,
            });
            self.swept = certificates.len();
        }
        if self.patterns.get_mut().len() > LEAVES_MAX {
            self.patterns.get_mut().clear();
            self.pattern_bytes.set(0);
        }
    }
}
