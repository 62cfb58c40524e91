//! What one worker knows of endpoints: idle connections, requests in flight, recent failures.
//!
//! Last in, first out: the warm connection is used, the surplus ages out. An idle connection that
//! its endpoint closed was reported by epoll, so checking it costs no system call.
//!
//! Bounds: `Limits::upstream_idle_max` connections per endpoint, one entry per endpoint of the
//! current snapshot.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use telemetry::Gauge;

use crate::registry::EndpointState;
use crate::snapshot::{CompiledUpstream, Snapshot};
use crate::transport::Transport;
use crate::upstream::http2;
use crate::watch::{TICK, ticks};
use crate::worker::Worker;

/// Ticks between two looks at the idle connections.
pub(crate) const SWEEP_TICKS: u32 = 5;

/// For how long an endpoint that refused a connection is asked last: doubled at each failure.
const EJECT_FIRST_TICKS: u32 = 10;
const EJECT_LAST_TICKS: u32 = 300;

/// One endpoint as this worker knows it.
#[derive(Debug)]
pub(crate) struct Local {
    state: Arc<EndpointState>,
    idle: RefCell<Vec<Idle>>,
    /// The HTTP/2 connection, shared by streams.
    pub(crate) http2: RefCell<Vec<http2::Handle>>,
    /// Somebody makes an HTTP/2 connection; the others wait for it.
    pub(crate) connecting: Cell<bool>,
    pub(crate) connected: tokio::sync::Notify,
    /// Requests that have not ended.
    pub(crate) in_flight: Cell<u32>,
    /// Stride scheduling: the endpoint with the smallest pass is next.
    pub(crate) pass: Cell<u64>,
    /// When it was drawn last, by a count of draws.
    pub(crate) drawn: Cell<u64>,
    ejected_until: Cell<u32>,
    failures: Cell<u32>,
    /// The age at which the endpoint closed an idle connection last, in ticks.
    closed_at_age: Cell<u32>,
}

#[derive(Debug)]
struct Idle {
    transport: Transport,
    since: u32,
}

/// All endpoints of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    locals: RefCell<HashMap<u64, std::rc::Rc<Local>, foldhash::fast::FixedState>>,
    pub(crate) draws: Cell<u64>,
}

impl Pools {
    /// What this worker knows of an endpoint.
    pub(crate) fn local(&self, state: &Arc<EndpointState>) -> std::rc::Rc<Local> {
        let mut locals = self.locals.borrow_mut();
        if let Some(local) = locals.get(&state.key) {
            return local.clone();
        }
        // A newcomer starts where the others are, not with all the turns it missed.
        let pass = locals.values().map(|local| local.pass.get()).min().unwrap_or(0);
        let local = std::rc::Rc::new(Local {
            state: state.clone(),
            idle: RefCell::default(),
            http2: RefCell::default(),
            connecting: Cell::new(false),
            connected: tokio::sync::Notify::new(),
            in_flight: Cell::new(0),
            pass: Cell::new(pass),
            drawn: Cell::new(self.draws.get()),
            ejected_until: Cell::new(0),
            failures: Cell::new(0),
            closed_at_age: Cell::new(0),
        });
        locals.insert(state.key, local.clone());
        local
    }

    /// Closes what belongs to endpoints that a snapshot no longer has.
    pub(crate) fn retain(&self, snapshot: &Snapshot) {
        let live: std::collections::HashSet<u64> = snapshot
            .upstreams
            .iter()
            .flatten()
            .flat_map(|upstream: &Arc<CompiledUpstream>| &*upstream.endpoints)
            .map(|endpoint| endpoint.state.key)
            .collect();
        self.locals.borrow_mut().retain(|key, local| {
            let stays = live.contains(key);
            if !stays {
                local.idle.borrow_mut().clear();
                local.http2.borrow_mut().clear();
            }
            stays
        });
    }

    /// Closes idle connections that are old, or that their endpoint closed.
    pub(crate) fn sweep(&self, worker: &Worker) {
        let now = worker.watches.now();
        let max = ticks(worker.settings.limits.upstream_idle_timeout);
        let (mut idle, mut open) = (0, 0);
        for local in self.locals.borrow().values() {
            local.sweep(now, max);
            idle += local.idle.borrow().len() as u64;
            open += local.http2.borrow().len() as u64;
            if !local.state.identity.protocol.is_http2() {
                open += u64::from(local.in_flight.get());
            }
        }
        worker.metrics.set(Gauge::UpstreamConnectionsIdle, idle);
        worker.metrics.set(Gauge::UpstreamConnectionsOpen, idle + open);
    }
}

impl Local {
    /// An idle connection that is fit for use.
    pub(crate) fn checkout(&self, now: u32) -> Option<Transport> {
        let lifetime = self.lifetime();
        let mut idle = self.idle.borrow_mut();
        while let Some(mut connection) = idle.pop() {
            let age = now.saturating_sub(connection.since);
            if age > lifetime {
                // The ones below are older still.
                idle.clear();
                return None;
            }
            if connection.transport.is_quiet() {
                return Some(connection.transport);
            }
            self.observe_close(age);
        }
        None
    }

    /// Keeps a connection for the next request, or closes it at the bound.
    pub(crate) fn checkin(&self, transport: Transport, now: u32, max: usize) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < max {
            idle.push(Idle { transport, since: now });
        }
    }

    /// Whether it failed just now and is asked last.
    pub(crate) fn is_ejected(&self, now: u32) -> bool {
        now < self.ejected_until.get()
    }

    /// A connection could not be made.
    pub(crate) fn failed(&self, now: u32) {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let wait = (EJECT_FIRST_TICKS << failures.min(6).saturating_sub(1)).min(EJECT_LAST_TICKS);
        self.ejected_until.set(now.saturating_add(wait));
    }

    /// The endpoint told how long it keeps idle connections.
    pub(crate) fn learn_idle_lifetime(&self, ms: u32) {
        self.state.learn_idle_lifetime(ms);
    }

    /// It answered.
    pub(crate) fn succeeded(&self) {
        self.failures.set(0);
        self.ejected_until.set(0);
    }

    fn lifetime(&self) -> u32 {
        self.state.idle_lifetime_ms().map_or(u32::MAX, |ms| ms / TICK.as_millis() as u32)
    }

    /// The endpoint closed a connection that was idle for `age` ticks. Twice at about the same age
    /// is its habit; once may be a restart. It may have closed any time since the last look.
    fn observe_close(&self, age: u32) {
        let before = self.closed_at_age.replace(age);
        if age >= 10 && before.abs_diff(age) <= age / 8 + SWEEP_TICKS {
            let closed = age.min(before).saturating_sub(SWEEP_TICKS);
            self.state.learn_idle_lifetime(closed * TICK.as_millis() as u32);
        }
    }

    fn sweep(&self, now: u32, max: u32) {
        let lifetime = self.lifetime().min(max);
        let mut closed_at = None;
        self.idle.borrow_mut().retain_mut(|connection| {
            let age = now.saturating_sub(connection.since);
            if age > lifetime {
                return false;
            }
            let quiet = connection.transport.is_quiet();
            if !quiet {
                closed_at = Some(age);
            }
            quiet
        });
        if let Some(age) = closed_at {
            self.observe_close(age);
        }
        let sweeps_max = max / SWEEP_TICKS;
        self.http2
            .borrow_mut()
            .retain(|handle| !handle.is_closed() && !handle.is_stale(sweeps_max));
    }
}

/// Counts a request in flight while it lives.
#[derive(Debug)]
pub(crate) struct InFlight(std::rc::Rc<Local>);

impl InFlight {
    pub(crate) fn new(local: &std::rc::Rc<Local>) -> Self {
        local.in_flight.set(local.in_flight.get() + 1);
        Self(local.clone())
    }

    pub(crate) fn local(&self) -> &Local {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}
