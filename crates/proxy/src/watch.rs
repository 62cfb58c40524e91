//! Coarse deadlines: one number per task and one sweep per tick, no timer per request.
//!
//! A task arms its [`Watch`] before it waits; the worker's sweep marks watches that are past their
//! deadline and wakes their tasks; every wait of the task looks at the mark. Arming is a store.
//!
//! A watch also says which route its task serves and which client, so that a [`Withdrawal`] finds
//! the tasks it concerns. Nothing is looked up for that while requests are served.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use slab::Slab;

use crate::downstream::client::ClientFacts;
use crate::registry::RouteId;
use crate::snapshot::Snapshot;
use crate::withdrawal::{Loss, Withdrawal};

/// Length of one tick.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// No deadline.
const NEVER: u32 = u32::MAX;

/// Converts a duration to ticks, rounded up, so that a deadline is never early.
pub(crate) fn ticks(duration: Duration) -> u32 {
    let ticks = duration.as_millis().div_ceil(TICK.as_millis());
    u32::try_from(ticks).unwrap_or(NEVER - 1).saturating_add(1).min(NEVER - 1)
}

/// The deadline of one task.
#[derive(Debug)]
pub(crate) struct Watch {
    deadline: Cell<u32>,
    expired: Cell<bool>,
    /// The task waits for a next request and may be told to stop.
    idle: Cell<bool>,
    /// The route of the exchange in progress, or of the last one.
    route: Cell<RouteId>,
    client: RefCell<Option<Rc<ClientFacts>>>,
    /// No further request is wanted on this connection.
    leaving: Cell<bool>,
    /// What the connection was made with is gone: not even the next request is served.
    untrusted: Cell<bool>,
    /// When the exchange in progress is ended, because its route or its connection was withdrawn.
    end: Cell<u32>,
    /// The same for every exchange of the connection.
    connection_end: Cell<u32>,
    /// The task was told that the end has come.
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    fn new() -> Self {
        Self {
            deadline: Cell::new(NEVER),
            expired: Cell::new(false),
            idle: Cell::new(false),
            route: Cell::new(RouteId::NONE),
            client: RefCell::new(None),
            leaving: Cell::new(false),
            untrusted: Cell::new(false),
            end: Cell::new(NEVER),
            connection_end: Cell::new(NEVER),
            told: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Says whose connection the task serves.
    pub(crate) fn set_client(&self, client: &Rc<ClientFacts>) {
        *self.client.borrow_mut() = Some(client.clone());
    }

    /// Says which route is served from here on.
    pub(crate) fn enter(&self, route: RouteId) {
        self.route.set(route);
        self.end.set(self.connection_end.get());
        self.told.set(false);
    }

    /// Whether the connection ends with the exchange in progress.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Whether the connection ends without another exchange.
    pub(crate) fn is_untrusted(&self) -> bool {
        self.untrusted.get()
    }

    /// Whether what the exchange in progress rests on was withdrawn, and its time is over.
    pub(crate) fn is_over(&self, now: u32) -> bool {
        self.end.get() <= now
    }

    /// The connection is withdrawn: its exchanges end at this tick.
    pub(crate) fn withdraw(&self, end: u32) {
        self.leaving.set(true);
        self.connection_end.set(end.min(self.connection_end.get()));
        self.end.set(end.min(self.end.get()));
    }

    /// A stream of a connection that was withdrawn already ends with it.
    pub(crate) fn follow(&self, connection: &Self) {
        if connection.is_leaving() {
            self.withdraw(connection.connection_end.get());
        }
    }

    /// Remembers whom to wake. A task's waker does not change, so once is enough.
    pub(crate) fn attach(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Expires at `tick`.
    pub(crate) fn arm(&self, tick: u32) {
        self.deadline.set(tick);
        self.expired.set(false);
    }

    /// Never expires.
    pub(crate) fn disarm(&self) {
        self.arm(NEVER);
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_expired(&self) -> bool {
        self.expired.get()
    }

    /// Says whether the task only waits for a next request.
    pub(crate) fn set_idle(&self, idle: bool) {
        self.idle.set(idle);
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// All watches of one worker. Bounded by its connections and streams.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    slab: RefCell<Slab<Rc<Watch>>>,
    now: Cell<u32>,
}

/// A watch that leaves the table when its task ends.
#[derive(Debug)]
pub(crate) struct Registered {
    watch: Rc<Watch>,
    key: usize,
    table: Rc<Watches>,
}

impl std::ops::Deref for Registered {
    type Target = Watch;

    fn deref(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.table.slab.borrow_mut().remove(self.key);
    }
}

impl Watches {
    /// Adds a watch without a deadline.
    pub(crate) fn register(self: &Rc<Self>) -> Registered {
        let watch = Rc::new(Watch::new());
        let key = self.slab.borrow_mut().insert(watch.clone());
        Registered { watch, key, table: self.clone() }
    }

    /// The current tick.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// The tick that is `ticks` from now.
    pub(crate) fn after(&self, ticks: u32) -> u32 {
        self.now.get().saturating_add(ticks).min(NEVER - 1)
    }

    /// Advances time and wakes what has expired.
    pub(crate) fn sweep(&self, now: u32) {
        self.now.set(now);
        for (_, watch) in self.slab.borrow().iter() {
            if watch.deadline.get() <= now && !watch.expired.replace(true) {
                watch.wake();
            }
            if watch.end.get() <= now && !watch.told.replace(true) {
                watch.wake();
            }
        }
    }

    /// Tells the tasks whose route or connection was withdrawn; what they are at ends at `end`.
    pub(crate) fn withdraw(&self, withdrawal: &Withdrawal, snapshot: &Snapshot, end: u32) {
        for (_, watch) in self.slab.borrow().iter() {
            let loss =
                watch.client.borrow().as_ref().and_then(|client| withdrawal.loss(client, snapshot));
            match loss {
                Some(Loss::Certificate) => {
                    watch.untrusted.set(true);
                    watch.withdraw(end);
                    watch.wake();
                }
                Some(Loss::Listener) => {
                    watch.withdraw(end);
                    watch.wake();
                }
                None if withdrawal.routes.contains(&watch.route.get()) => {
                    watch.leaving.set(true);
                    watch.end.set(end.min(watch.end.get()));
                }
                None => {}
            }
        }
    }

    /// Wakes everything: the process stops, and each exchange is to be recorded.
    pub(crate) fn wake_all(&self) {
        for (_, watch) in self.slab.borrow().iter() {
            watch.wake();
        }
    }

    /// Wakes every task that waits for a next request.
    pub(crate) fn wake_idle(&self) {
        for (_, watch) in self.slab.borrow().iter() {
            if watch.idle.get() {
                watch.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_expires_at_its_tick_and_not_before() {
        let watches = Rc::new(Watches::default());
        let watch = watches.register();
        watch.arm(3);
        watches.sweep(2);
        assert!(!watch.is_expired());
        watches.sweep(3);
        assert!(watch.is_expired());
        watch.arm(9);
        assert!(!watch.is_expired());
    }

    #[test]
    fn a_duration_is_never_shortened() {
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(100)), 2);
        assert_eq!(ticks(Duration::from_secs(1)), 11);
    }
}
