//! The one pointer that workers read, and the one writer of it.
//!
//! Publishing compiles, binds what the Model names and is not bound yet, swaps the pointer, wakes
//! idle workers so that none pins the old snapshot, and keeps the old one until nobody holds it:
//! freeing a snapshot takes milliseconds and never happens on a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use model::{EndpointTable, KeyMaterial, ListenerId, Model};
use telemetry::Telemetry;

use crate::compile::{self, Inputs};
use crate::registry::Registry;
use crate::snapshot::Snapshot;
use crate::sockets::SocketTable;
use crate::withdrawal::Withdrawal;
use crate::worker::{Command, WorkerHandle};

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Serving.
    Serving = 0,
    /// Readiness fails; everything is still accepted.
    Leaving = 1,
    /// Nothing new is accepted; what is in flight ends.
    Draining = 2,
    /// What is left is cut.
    Stopping = 3,
}

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Published {
    current: ArcSwap<Snapshot>,
    /// Goes up before a swap and after it: a worker compares this, and loads the pointer only when
    /// it changed. Odd while a swap is under way.
    version: AtomicU64,
    phase: AtomicU8,
    /// Open client connections over all workers.
    pub(crate) connections: AtomicUsize,
    untrusted_claim_told: AtomicBool,
}

impl Published {
    pub(crate) fn new(first: Snapshot) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
            version: AtomicU64::new(0),
            phase: AtomicU8::new(0),
            connections: AtomicUsize::new(0),
            untrusted_claim_told: AtomicBool::new(false),
        }
    }

    pub(crate) fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The snapshot that every request gets from now on: while a swap is under way some workers
    /// have not heard of it, and whoever is told of a new one may rely on it.
    pub(crate) fn served(&self) -> Arc<Snapshot> {
        loop {
            let before = self.version();
            let snapshot = self.load();
            if before.is_multiple_of(2) && self.version() == before {
                return snapshot;
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            2 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// True once: whether the log may say that a peer claims HTTPS and is not believed.
    pub(crate) fn may_tell_untrusted_claim(&self) -> bool {
        !self.untrusted_claim_told.swap(true, Ordering::Relaxed)
    }

    fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.version.fetch_add(1, Ordering::AcqRel);
        let old = self.current.swap(Arc::new(snapshot));
        self.version.fetch_add(1, Ordering::AcqRel);
        old
    }
}

/// What a publication did.
#[derive(Debug, Default)]
pub struct PublishOutcome {
    /// Every listener that is bound now, with the address it got.
    pub bound: Vec<(ListenerId, SocketAddr)>,
    /// Listeners that could not be bound; they are tried again at the next publication.
    pub failed: Vec<(ListenerId, io::Error)>,
}

/// The writer's side: registry, sockets, retired snapshots.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) published: Arc<Published>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) workers: Vec<WorkerHandle>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    registry: Registry,
    sockets: SocketTable,
    /// Bound: drained by `retire`, which every publication and the janitor call.
    retired: Vec<Arc<Snapshot>>,
    /// Something was published since the registry was swept.
    is_sweep_due: bool,
}

impl Publisher {
    pub(crate) fn new(
        published: Arc<Published>,
        telemetry: Arc<Telemetry>,
        workers: Vec<WorkerHandle>,
    ) -> Self {
        Self { published, telemetry, workers, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles and serves a Model.
    pub(crate) fn publish(
        &self,
        model: &Model,
        endpoints: &EndpointTable,
        material: &KeyMaterial,
    ) -> PublishOutcome {
        let mut state = self.state();
        let State { registry, sockets, .. } = &mut *state;
        let mut plan = sockets.plan(&model.listeners, self.workers.len());
        let previous = self.published.load();
        let inputs = Inputs {
            endpoints,
            material,
            listeners: plan.facts.clone(),
            telemetry: &self.telemetry,
            previous: Some(&previous),
        };
        let snapshot = compile::compile(model, &inputs, registry);
        drop(previous);
        self.replace(&mut state, snapshot);
        // Only now: a new listener never serves the old configuration.
        for (facts, listeners) in plan.opened.drain(..) {
            for (worker, listener) in self.workers.iter().zip(listeners) {
                worker.send(Command::Listen(facts.clone(), listener));
            }
        }
        for id in &plan.closed {
            self.workers.iter().for_each(|worker| worker.send(Command::Unlisten(*id)));
        }
        let bound = plan.facts.iter().map(|facts| (facts.id, facts.bound)).collect();
        self.retire_in(&mut state);
        PublishOutcome { bound, failed: plan.failed }
    }

    /// Serves other endpoints with the same Model.
    pub(crate) fn replace_endpoints(&self, endpoints: &EndpointTable) {
        let mut state = self.state();
        let previous = self.published.load();
        let snapshot = compile::with_endpoints(&previous, endpoints, &mut state.registry);
        drop(previous);
        self.replace(&mut state, snapshot);
        self.retire_in(&mut state);
    }

    /// Frees retired snapshots that nobody holds any more; answers how many are still held.
    pub(crate) fn retire(&self) -> usize {
        let mut state = self.state();
        self.retire_in(&mut state);
        state.retired.len()
    }

    fn replace(&self, state: &mut State, snapshot: Snapshot) {
        let old = self.published.swap(snapshot);
        let withdrawal = Withdrawal::between(&old, &self.published.load()).map(Arc::new);
        state.retired.push(old);
        state.is_sweep_due = true;
        for worker in &self.workers {
            worker.send(Command::Refresh(withdrawal.clone()));
        }
    }

    fn retire_in(&self, state: &mut State) {
        state.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.telemetry.snapshots_live(1 + state.retired.len() as u64);
        if state.retired.is_empty() && std::mem::take(&mut state.is_sweep_due) {
            let current = self.published.load();
            state.registry.sweep(|id| current.model.upstreams.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests;
