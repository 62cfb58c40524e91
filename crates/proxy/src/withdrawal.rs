//! What a publication took away: routes, names of certificates, listeners.
//!
//! What was in flight for them is drained; everything else is not touched. A route is the same as
//! long as its host has its path, whatever becomes of its policy and its endpoints; one that is
//! closed is gone. Found by the publisher, so that workers only compare.

use std::collections::HashSet;
use std::sync::Arc;

use model::{Hostname, ListenerId};

use crate::downstream::client::ClientFacts;
use crate::registry::RouteId;
use crate::snapshot::Snapshot;

/// The difference of two snapshots, as far as it ends something.
#[derive(Debug, Default)]
pub(crate) struct Withdrawal {
    pub(crate) routes: HashSet<RouteId>,
    /// Names that had a certificate.
    names: HashSet<Hostname>,
    listeners: HashSet<ListenerId>,
}

/// What a connection has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The certificate that it was made with; a new connection would get the default one.
    Certificate,
    /// The listener that it came through.
    Listener,
}

impl Withdrawal {
    /// What `old` had and `new` has not; `None` when that is nothing.
    pub(crate) fn between(old: &Snapshot, new: &Snapshot) -> Option<Self> {
        if Arc::ptr_eq(&old.model, &new.model) {
            // Other endpoints, and nothing else.
            return None;
        }
        let mut withdrawal = Self::default();
        for hostname in old.model.hosts.differing(&new.model.hosts) {
            let Some(table) = old.hosts.host(hostname) else { continue };
            let kept = new.hosts.host(hostname);
            let kept: HashSet<RouteId> =
                kept.into_iter().flat_map(|table| table.routes()).map(|(_, r)| r.id).collect();
            let gone = table.routes().map(|(_, route)| route.id).filter(|id| !kept.contains(id));
            withdrawal.routes.extend(gone.filter(|id| *id != RouteId::NONE));
        }
        let names = old.model.sni.differing(&new.model.sni).into_iter();
        let names = names.filter(|name| !new.model.sni.contains_key(name));
        withdrawal.names = names.cloned().collect();
        let kept = |id| new.listeners.iter().any(|listener| listener.id == id);
        let listeners = old.listeners.iter().map(|listener| listener.id);
        withdrawal.listeners = listeners.filter(|id| !kept(*id)).collect();
        let Self { routes, names, listeners } = &withdrawal;
        let is_empty = routes.is_empty() && names.is_empty() && listeners.is_empty();
        (!is_empty).then_some(withdrawal)
    }

    /// What a client's connection has lost.
    pub(crate) fn loss(&self, client: &ClientFacts, snapshot: &Snapshot) -> Option<Loss> {
        if self.listeners.contains(&client.listener.id) {
            return Some(Loss::Listener);
        }
        if self.names.is_empty() {
            return None;
        }
        let name = client.tls.as_ref()?.server_name.as_deref()?;
        let had = self.names.contains(&Hostname::Exact(name.into()))
            || name
                .split_once('.')
                .is_some_and(|(_, rest)| self.names.contains(&Hostname::Wildcard(rest.into())));
        (had && snapshot.certificate_for(Some(name)).is_none()).then_some(Loss::Certificate)
    }
}
