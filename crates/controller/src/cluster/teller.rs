//! What becomes of what a watch finds out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use model::Diagnostic;
use tokio::sync::mpsc::UnboundedSender;
use translate::{Object, ObjectKey};

use super::contact::Contact;
use super::follow::Follow;
use super::inflow::Inflow;

/// Whom a watch tells.
pub(super) trait Told: Send + Sync {
    /// Whether an object is to be kept until its list is complete. Whoever may write Secrets could
    /// fill our memory with those that nobody names.
    fn wants(&self, key: &ObjectKey) -> bool;
    /// An object is there, or is another now.
    fn applied(&self, follow: &Follow, key: ObjectKey, object: Object);
    /// An object is gone.
    fn deleted(&self, follow: &Follow, key: ObjectKey);
    /// All there is, and what was there and is no more.
    fn listed(&self, follow: &Follow, there: Vec<(ObjectKey, Object)>, gone: Vec<ObjectKey>);
    /// What is to be said about objects.
    fn said(&self, follow: &Follow, diagnostics: Vec<Diagnostic>);
    /// It is known that what was told is what there is.
    fn contact(&self, follow: &Follow);
    /// It is not known any more; `true` when it was until now.
    fn lost(&self, follow: &Follow) -> bool;
    /// The server answers, and not with what was asked for: nobody need wait for it.
    fn gave_up(&self, follow: &Follow);
    /// It may not be read for so long that nobody should wait for it.
    fn excused(&self, follow: &Follow);
    /// It may not be read, and what can be said about that.
    fn done_without(&self, follow: &Follow, why: Option<Diagnostic>);
}

/// Who else wants to know of some objects.
pub(super) enum Wanted {
    /// Every object is for the compiler.
    All,
    /// These alone, which somebody waits for.
    Named(Mutex<HashSet<ObjectKey>>),
    /// The names of namespaces, to be watched in turn.
    Namespaces(UnboundedSender<Selected>),
}

/// Which namespaces are selected.
#[derive(Debug)]
pub(super) enum Selected {
    /// These and no others.
    Are(Vec<Arc<str>>),
    /// One more.
    Joins(Arc<str>),
    /// One less.
    Leaves(Arc<str>),
}

/// Tells the compiler.
pub(super) struct Teller {
    pub(super) inflow: Arc<Inflow>,
    pub(super) contact: Arc<Contact>,
    pub(super) wanted: Wanted,
}

impl Teller {
    /// What somebody waits for is found, or found missing.
    fn settle(&self) {
        if let Wanted::Named(names) = &self.wanted {
            let names = names.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.inflow.settled(names);
        }
    }

    fn select(&self, selected: impl FnOnce() -> Selected) {
        if let Wanted::Namespaces(sender) = &self.wanted {
            // Nobody listens at the end of the process alone.
            let _ = sender.send(selected());
        }
    }
}

impl Told for Teller {
    fn wants(&self, key: &ObjectKey) -> bool {
        match &self.wanted {
            Wanted::All | Wanted::Namespaces(_) => true,
            Wanted::Named(names) => {
                names.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
            }
        }
    }

    fn applied(&self, _: &Follow, key: ObjectKey, object: Object) {
        if self.wants(&key) {
            self.select(|| Selected::Joins(Arc::clone(&key.name)));
            self.inflow.applied(key, object);
        }
    }

    fn deleted(&self, _: &Follow, key: ObjectKey) {
        self.select(|| Selected::Leaves(Arc::clone(&key.name)));
        self.inflow.deleted(key);
    }

    fn listed(&self, follow: &Follow, there: Vec<(ObjectKey, Object)>, gone: Vec<ObjectKey>) {
        self.contact.listed(follow.kind);
        self.select(|| Selected::Are(there.iter().map(|(key, _)| key.name.clone()).collect()));
        self.inflow.listed(there, gone);
        self.settle();
        if !matches!(self.wanted, Wanted::Namespaces(_)) {
            self.inflow.synced(&follow.name);
        }
    }

    fn said(&self, follow: &Follow, diagnostics: Vec<Diagnostic>) {
        self.inflow.said(&follow.name, diagnostics);
    }

    fn contact(&self, follow: &Follow) {
        if let Some(since) = self.contact.fresh(follow.kind, &follow.name) {
            let away = since.elapsed().unwrap_or_default();
            let away_s = format_args!("{:.1}", away.as_secs_f64());
            tracing::info!(watch = &*follow.name, away_s, "in contact with the API server again");
        }
    }

    fn lost(&self, follow: &Follow) -> bool {
        self.contact.stale(follow.kind, &follow.name)
    }

    /// One Secret that the server does not give, for whatever reason, holds up nothing else.
    fn gave_up(&self, _: &Follow) {
        self.settle();
    }

    fn excused(&self, follow: &Follow) {
        self.inflow.excused(&follow.name);
    }

    fn done_without(&self, follow: &Follow, why: Option<Diagnostic>) {
        if follow.is_optional {
            self.contact.fresh(follow.kind, &follow.name);
        }
        self.said(follow, why.into_iter().collect());
        self.settle();
        if follow.is_optional {
            self.select(|| Selected::Are(Vec::new()));
            self.inflow.synced(&follow.name);
        }
    }
}
