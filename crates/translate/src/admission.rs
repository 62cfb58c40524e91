//! What is to be said of an Ingress before it is stored: what an admission webhook answers.
//!
//! It is read as translation reads it, and put together with those that name the same hosts, by the
//! same functions; nothing else is translated. What is wrong in the object itself is a reason to
//! refuse it. What depends on other objects, which may come or go, is a warning: but for what would
//! take a host away from the namespace that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::Ingress;
use model::{Code, Diagnostic, Hostname, Locality, Model, ObjectRef, Severity};

use crate::as_read::AsRead;
use crate::class::Classes;
use crate::ingress::{self, Fragment, secret_not_found};
use crate::lookup::{Lookup, References};
use crate::memo::Memo;
use crate::merge;
use crate::objects::{Object, ObjectKind, ObjectStore};
use crate::order::Age;
use crate::ownership;
use crate::scope::{Reports, Scope, is_summary};
use crate::settings::{HostOwnership, Settings};
use crate::tls;

/// An Ingress that somebody wants to store.
#[derive(Clone, Debug)]
pub struct Proposal {
    object: Arc<AsRead<Ingress>>,
    before: Option<Arc<AsRead<Ingress>>>,
}

/// What is to be said of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Why it is refused; empty where it is not.
    pub denied: Vec<Diagnostic>,
    /// What its writer should know.
    pub warnings: Vec<Diagnostic>,
}

impl Proposal {
    /// Reads the object, and what it replaces, from JSON.
    ///
    /// # Errors
    /// When one of them is no Ingress; the text says why.
    pub fn read(object: &[u8], before: Option<&[u8]>) -> Result<Self, String> {
        let read = |text: &[u8]| -> Result<Arc<AsRead<Ingress>>, String> {
            let object: Ingress = serde_json::from_slice(text).map_err(|e| e.to_string())?;
            Ok(Arc::new(object.into()))
        };
        Ok(Self { object: read(object)?, before: before.map(read).transpose()? })
    }
}

/// Looks at a proposal as if it were stored. `memo` and `references` are those of the last
/// translation of these objects: without the one, other Ingresses are not seen, and a Secret that
/// is not among the others may be there and not have been read.
#[must_use]
pub fn review(
    objects: &ObjectStore,
    settings: &Settings,
    memo: &Memo,
    references: &References,
    proposal: &Proposal,
) -> Verdict {
    // Who removes the last finalizer must not be held up.
    if proposal.object.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let lookup = Lookup::new(objects);
    let classes = Classes::new(objects, settings, &lookup, &Reports::default());
    let reader = Reader { objects, settings, lookup: &lookup, classes: &classes };
    let Some((fragment, mut own)) = reader.read(&proposal.object) else {
        return Verdict::default();
    };
    let unread: Vec<String> = fragment
        .references
        .iter()
        .filter(|key| key.kind == ObjectKind::Secret && !references.contains(key))
        .map(|key| secret_not_found(&key.namespace, &key.name))
        .collect();
    own.retain(|d| d.code != Code::SecretNotFound || !unread.contains(&d.message));
    let (known, taken) = match proposal.before.as_ref().and_then(|before| reader.read(before)) {
        Some((before, own)) => (own, reader.beside(&before, memo)),
        None => (Vec::new(), Vec::new()),
    };
    let object = fragment.object.clone();
    let mut verdict = Verdict::default();
    for (found, is_new) in against(&known, own) {
        let is_wrong =
            found.severity == Severity::Error && found.code.info().locality == Locality::Object;
        // What was stored already may be stored again: others than its writer update it, too.
        if is_wrong && is_new { verdict.denied.push(found) } else { verdict.warn(found) }
    }
    for (found, is_new) in against(&taken, reader.beside(&fragment, memo)) {
        if found.object == object {
            verdict.warn(found);
        } else if found.related.iter().any(|related| related.object == object) && is_new {
            // Another loses what it has.
            let is_takeover = found.code == Code::HostNotOwned;
            if is_takeover { verdict.denied.push(found) } else { verdict.warn(found) }
        }
    }
    let mut told = BTreeSet::new();
    verdict.warnings.retain(|found| told.insert(found.clone()));
    verdict
}

/// What is found, with whether it is new beside what was known.
///
/// Entries of lists move when others come and go before them: what is known at its very place is
/// known, and else what was known as often in some entry of the same list.
fn against(known_all: &[Diagnostic], found: Vec<Diagnostic>) -> Vec<(Diagnostic, bool)> {
    let known: BTreeSet<Place<'_>> = known_all.iter().map(place).collect();
    let places: BTreeSet<Place<'_>> = found.iter().map(place).collect();
    let mut moved: BTreeMap<Place<'_, String>, usize> = BTreeMap::new();
    for gone in known.difference(&places) {
        *moved.entry(in_some_entry(*gone)).or_default() += 1;
    }
    let mut new = BTreeSet::new();
    for found in places.difference(&known) {
        match moved.get_mut(&in_some_entry(*found)) {
            Some(left) if *left > 0 => *left -= 1,
            _ => drop(new.insert(*found)),
        }
    }
    // Of what there were too many of to be told, nobody knows which are new: who mends one of them
    // must not be refused for the next.
    let untold: BTreeSet<(Code, &ObjectRef)> =
        known_all.iter().filter(|d| is_summary(d)).map(|d| (d.code, &d.object)).collect();
    let is_new = |found: &Diagnostic| {
        new.contains(&place(found)) && !untold.contains(&(found.code, &found.object))
    };
    let is_new: Vec<bool> = found.iter().map(is_new).collect();
    found.into_iter().zip(is_new).collect()
}

/// What is wrong, and where.
type Place<'d, F = &'d str> = (Code, &'d ObjectRef, F, &'d str);

fn place(found: &Diagnostic) -> Place<'_> {
    (found.code, &found.object, &found.field.0, &found.message)
}

/// The same in whichever entry of the lists on the way: `spec.rules[].host`.
fn in_some_entry((code, object, field, message): Place<'_>) -> Place<'_, String> {
    let mut parts = field.split('[');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        path.push('[');
        path.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    (code, object, path, message)
}

impl Verdict {
    fn warn(&mut self, found: Diagnostic) {
        if found.severity != Severity::Info {
            self.warnings.push(found);
        }
    }
}

struct Reader<'r> {
    objects: &'r ObjectStore,
    settings: &'r Settings,
    lookup: &'r Lookup<'r>,
    classes: &'r Classes<'r>,
}

impl Reader<'_> {
    /// The fragment of an Ingress and what it says itself; none for one that is not ours.
    fn read(&self, ingress: &Arc<AsRead<Ingress>>) -> Option<(Arc<Fragment>, Vec<Diagnostic>)> {
        let stored = Object::Ingress(ingress.clone());
        let object = stored.key().to_ref();
        let reports = Reports::default();
        let membership = self.classes.membership(ingress, &Scope::root(&object, &reports))?;
        let age = Age {
            created: ingress.metadata.creation_timestamp.clone(),
            dialect: membership.dialect,
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let ours = ingress::Ours {
            ingress,
            object: &object,
            content: stored.content(),
            age,
            class_closed: membership.closed,
        };
        let empty = Memo::new();
        let reading = ingress::Reading {
            lookup: self.lookup,
            settings: self.settings,
            parameters: &membership.parameters,
            leaves: &empty.leaves,
        };
        let fragment = ingress::read(ours, &reading);
        let mut own = reports.take_capped();
        own.extend(fragment.diagnostics.iter().cloned());
        Some((Arc::new(fragment), own))
    }

    /// What is to be said once it stands beside the others that have to do with its hosts.
    fn beside(&self, fragment: &Arc<Fragment>, memo: &Memo) -> Vec<Diagnostic> {
        let concerned = Concerned::of(fragment);
        let mut fragments: Vec<Arc<Fragment>> = memo
            .fragments()
            .filter(|known| known.object != fragment.object && concerned.has(known))
            .filter(|known| self.is_current(known))
            .cloned()
            .collect();
        fragments.push(fragment.clone());
        fragments.sort_by(|a, b| a.age.cmp(&b.age));
        let reports = Reports::default();
        let mut fresh = Memo::new();
        let fragments = ownership::enforce(
            fragments,
            self.objects,
            self.settings,
            &mut fresh,
            &reports,
            &mut Vec::new(),
        );
        let is_owned = self.settings.host_ownership != HostOwnership::Off;
        let https = tls::HttpsHosts::new(&fragments, is_owned);
        merge::hosts(&fragments, &https, is_owned, None, &mut fresh, &reports);
        fresh.host_diagnostics().cloned().for_each(|diagnostic| reports.push(diagnostic));
        let mut model = Model::default();
        // Its expiry is its own affair.
        let settings = Settings { now: None, ..self.settings.clone() };
        tls::fill(&mut model, &fragments, self.lookup, &settings, &fresh.leaves, &reports);
        reports.take_capped()
    }

    /// The memo may hold one that has changed since, or is not ours any more.
    fn is_current(&self, fragment: &Fragment) -> bool {
        let ObjectRef { namespace, name, .. } = &fragment.object;
        let stored = self.objects.ingresses.get(&(namespace.clone(), name.clone()));
        stored.is_some_and(|stored| {
            let scope_reports = Reports::default();
            let scope = Scope::root(&fragment.object, &scope_reports);
            Some(stored.content) == fragment.content
                && self.classes.membership(&stored.object, &scope).is_some()
        })
    }
}

/// Which hosts are looked at together.
struct Concerned<'f> {
    hosts: BTreeSet<&'f Hostname>,
    /// The wildcards over its hosts, and what its own are over.
    above: BTreeSet<Hostname>,
    suffixes: BTreeSet<&'f str>,
}

impl<'f> Concerned<'f> {
    fn of(fragment: &'f Fragment) -> Self {
        let hosts: BTreeSet<&Hostname> = ownership::hosts_of(fragment).collect();
        let above = hosts.iter().filter_map(|host| match host {
            Hostname::Exact(name) => ownership::above(name),
            Hostname::Wildcard(_) | Hostname::Any => None,
        });
        let suffixes = hosts.iter().filter_map(|host| match host {
            Hostname::Wildcard(suffix) => Some(&**suffix),
            Hostname::Exact(_) | Hostname::Any => None,
        });
        Self { above: above.collect(), suffixes: suffixes.collect(), hosts }
    }

    fn has(&self, other: &Fragment) -> bool {
        ownership::hosts_of(other).any(|host| {
            self.hosts.contains(host)
                || self.above.contains(host)
                || matches!(host, Hostname::Exact(name) if name
                    .split_once('.')
                    .is_some_and(|(_, suffix)| self.suffixes.contains(suffix)))
        })
    }
}
