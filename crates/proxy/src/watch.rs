//! Coarse deadlines: one number per task and one sweep per tick, no timer per request.
//!
//! A task arms its [`Watch`] before it waits; the worker's sweep marks watches that are past their
//! deadline and wakes their tasks; every wait of the task looks at the mark. Arming is a store.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use slab::Slab;

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
#[derive(Debug, Default)]
pub(crate) struct Watch {
    deadline: Cell<u32>,
    expired: Cell<bool>,
    /// The task waits for a next request and may be told to stop.
    idle: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
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
        let watch = Rc::new(Watch { deadline: Cell::new(NEVER), ..Watch::default() });
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
