//! The namespace of the oldest Ingress that names a host owns it.
//!
//! A wildcard and the hosts that it covers go together: while one namespace has the wildcard, no
//! other gets a host below it, and while one has a host, no other gets the wildcard above it. The
//! older of the two decides. What the operator gives by setting is older than anything, and
//! between two gifts the more specific one holds.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Hostname, Provenance};

use super::{Refusal, above};
use crate::settings::Settings;

/// Who has a host.
struct Owner {
    namespace: Arc<str>,
    /// Where it is named first; nowhere for a gift of the operator.
    by: Option<Provenance>,
}

impl Owner {
    fn refusal(&self, overlap: Option<&Hostname>) -> Refusal {
        let (owner, by) = (self.namespace.clone(), self.by.clone());
        Refusal::Taken { owner, overlap: overlap.cloned(), by }
    }
}

/// The owners so far.
#[derive(Default)]
pub(super) struct FirstNamespaces {
    owners: HashMap<Hostname, Owner, RandomState>,
    /// Of each wildcard, a host that it covers of each of the first two namespaces to have one:
    /// enough to find one that is another's.
    below: HashMap<Arc<str>, Vec<Hostname>, RandomState>,
}

impl FirstNamespaces {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut owners = Self::default();
        for given in &settings.host_owners {
            let namespace: Arc<str> = given.namespace.as_str().into();
            owners.enter(&given.host.0, Owner { namespace, by: None });
        }
        owners
    }

    /// Gives a host to a namespace, unless it is another's.
    pub(super) fn claim(
        &mut self,
        host: &Hostname,
        namespace: &Arc<str>,
        by: &Provenance,
    ) -> Result<(), Refusal> {
        if let Some(owner) = self.owners.get(host) {
            if owner.namespace == *namespace {
                return Ok(());
            }
            return Err(owner.refusal(None));
        }
        if let Some((other, owner)) = self.overlapping(host, namespace) {
            return Err(owner.refusal(Some(other)));
        }
        self.enter(host, Owner { namespace: namespace.clone(), by: Some(by.clone()) });
        Ok(())
    }

    /// A host of another namespace that shares names with this one.
    fn overlapping(&self, host: &Hostname, namespace: &str) -> Option<(&Hostname, &Owner)> {
        let is_others = |(_, owner): &(&Hostname, &Owner)| *owner.namespace != *namespace;
        match host {
            Hostname::Exact(name) => self.owners.get_key_value(&above(name)?).filter(is_others),
            Hostname::Wildcard(suffix) => {
                let below = self.below.get(suffix)?.iter();
                below.filter_map(|host| self.owners.get_key_value(host)).find(is_others)
            }
            Hostname::Any => None,
        }
    }

    /// The first to be entered stays.
    fn enter(&mut self, host: &Hostname, owner: Owner) {
        if self.owners.contains_key(host) {
            return;
        }
        if let Hostname::Exact(name) = host
            && let Some((_, suffix)) = name.split_once('.')
        {
            let below = self.below.entry(suffix.into()).or_default();
            let is_known = |known: &Hostname| {
                self.owners.get(known).is_some_and(|known| known.namespace == owner.namespace)
            };
            if below.len() < 2 && !below.iter().any(is_known) {
                below.push(host.clone());
            }
        }
        self.owners.insert(host.clone(), owner);
    }
}
