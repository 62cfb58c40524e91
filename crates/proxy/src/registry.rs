//! What outlives snapshots: the numbers that routes, upstreams and endpoints keep.
//!
//! A compiled route names its upstream by slot, a worker keeps its connections by endpoint key.
//! Both are interned here, on the control side, so that an unchanged host block compiled long ago
//! fits a
//! new snapshot, and an unchanged endpoint keeps its connections. It holds only names and what
//! observation taught; never what configuration said.
//!
//! Bound: one entry per upstream and endpoint of the snapshots that are alive; `sweep` drops the
//! others.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use model::{UpstreamId, UpstreamProtocol, UpstreamTls};

/// A route as long as a host has its path. Never used twice in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RouteId(u64);

impl RouteId {
    /// Of nothing, and of routes that serve nothing.
    pub(crate) const NONE: Self = Self(0);
}

/// Where an upstream stands in every snapshot that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct UpstreamSlot(pub(crate) u32);

/// What makes two connections interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionIdentity {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: UpstreamProtocol,
    pub(crate) tls: Option<UpstreamTls>,
}

/// One endpoint as all workers know it.
#[derive(Debug)]
pub(crate) struct EndpointState {
    /// Never used twice in the life of the process.
    pub(crate) key: u64,
    pub(crate) identity: ConnectionIdentity,
    /// The idle lifetime this endpoint told or showed, in milliseconds; 0 is unknown.
    idle_lifetime_ms: AtomicU32,
}

impl EndpointState {
    /// How long an idle connection may be kept so that the endpoint does not close it first.
    pub(crate) fn idle_lifetime_ms(&self) -> Option<u32> {
        match self.idle_lifetime_ms.load(Ordering::Relaxed) {
            0 => None,
            learned => Some(learned),
        }
    }

    /// The endpoint said `Keep-Alive: timeout`, or closed a connection that was idle so long.
    pub(crate) fn learn_idle_lifetime(&self, ms: u32) {
        // A second is kept back for the way: a request must not meet the endpoint's close.
        let safe = ms.saturating_sub((ms / 4).clamp(250, 1000)).max(100);
        if self.idle_lifetime_ms.load(Ordering::Relaxed) != safe {
            self.idle_lifetime_ms.store(safe, Ordering::Relaxed);
        }
    }
}

/// The interning tables. Owned by the publisher, behind its lock.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    slots: BTreeMap<UpstreamId, UpstreamSlot>,
    free: Vec<u32>,
    slots_used: u32,
    endpoints: HashMap<ConnectionIdentity, Arc<EndpointState>>,
    next_key: u64,
    last_route: u64,
    has_freed: bool,
}

impl Registry {
    /// A number for a route that is new.
    pub(crate) fn new_route(&mut self) -> RouteId {
        self.last_route += 1;
        RouteId(self.last_route)
    }

    /// The slot of an upstream: the same as long as any live snapshot has it.
    pub(crate) fn slot(&mut self, id: &UpstreamId) -> UpstreamSlot {
        if let Some(slot) = self.slots.get(id) {
            return *slot;
        }
        let slot = UpstreamSlot(self.free.pop().unwrap_or_else(|| {
            self.slots_used += 1;
            self.slots_used - 1
        }));
        self.slots.insert(id.clone(), slot);
        slot
    }

    /// The slot of an upstream that was interned before.
    pub(crate) fn known_slot(&self, id: &UpstreamId) -> Option<UpstreamSlot> {
        self.slots.get(id).copied()
    }

    /// Whether slots were freed since this was asked last.
    pub(crate) fn take_has_freed(&mut self) -> bool {
        std::mem::take(&mut self.has_freed)
    }

    /// One past the highest slot ever given.
    pub(crate) fn slot_count(&self) -> usize {
        self.slots_used as usize
    }

    /// The shared state of an endpoint.
    pub(crate) fn endpoint(&mut self, identity: ConnectionIdentity) -> Arc<EndpointState> {
        let next_key = &mut self.next_key;
        self.endpoints
            .entry(identity)
            .or_insert_with_key(|identity| {
                *next_key += 1;
                Arc::new(EndpointState {
                    key: *next_key,
                    identity: identity.clone(),
                    idle_lifetime_ms: AtomicU32::new(0),
                })
            })
            .clone()
    }

    /// Forgets what no live snapshot has. Called when no retired snapshot is left, so that a slot
    /// is never given anew while a request may still hold the old one.
    pub(crate) fn sweep(&mut self, is_live: impl Fn(&UpstreamId) -> bool) {
        let Self { free, has_freed, .. } = self;
        self.slots.retain(|id, slot| {
            let live = is_live(id);
            if !live {
                free.push(slot.0);
                *has_freed = true;
            }
            live
        });
        self.endpoints.retain(|_, state| Arc::strong_count(state) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> UpstreamId {
        UpstreamId(name.into())
    }

    #[test]
    fn a_slot_is_stable_and_reused_only_after_a_sweep() {
        let mut registry = Registry::default();
        let a = registry.slot(&id("a"));
        let b = registry.slot(&id("b"));
        assert_ne!(a, b);
        assert_eq!(registry.slot(&id("a")), a);
        registry.sweep(|known| known == &id("b"));
        assert_eq!(registry.slot(&id("c")), a);
        assert_eq!(registry.slot(&id("b")), b);
    }

    #[test]
    fn a_learned_lifetime_keeps_a_margin() {
        let mut registry = Registry::default();
        let state = registry.endpoint(ConnectionIdentity {
            address: ([127, 0, 0, 1], 80).into(),
            protocol: UpstreamProtocol::Http,
            tls: None,
        });
        assert_eq!(state.idle_lifetime_ms(), None);
        state.learn_idle_lifetime(5000);
        assert_eq!(state.idle_lifetime_ms(), Some(4000));
        state.learn_idle_lifetime(1000);
        assert_eq!(state.idle_lifetime_ms(), Some(750));
    }
}
