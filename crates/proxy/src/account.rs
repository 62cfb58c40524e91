//! What one HTTP/2 connection holds in memory, over all its streams.
//!
//! h2 does not tell what it still holds, but it drops what it has written: each piece handed to it
//! is [`Held`] on the connection's account until then. Heads that we send count until the socket
//! has taken everything, which no window hinders; heads of requests for the life of their streams.
//! A stream that finds the account full waits, and whoever feeds it is not read; a stream that
//! holds some of it while its own window is closed is ended before the others.
//!
//! Bound: `Limits::http2_memory_max` and one piece. Heads take at most half of it, so that there is
//! always room to answer. Bodies on their way in are bounded by the connection's window, which is
//! given back only when they were handed on.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

/// The account of one connection.
#[derive(Debug)]
pub(crate) struct Account {
    bytes_max: usize,
    held: Cell<usize>,
    heads: Cell<usize>,
    /// Heads that were handed to h2 since the socket last took everything.
    sent_heads: Cell<usize>,
    /// Bytes given back, ever.
    released: Cell<u64>,
    /// The socket takes nothing: whoever holds memory is slow, and not stalled.
    blocked: Cell<bool>,
    /// Tasks that wait for room; bounded by the connection's streams.
    waiting: RefCell<Vec<Waker>>,
    /// What all accounts of the worker hold, for its gauge.
    total: Rc<Cell<usize>>,
}

impl Account {
    pub(crate) fn new(bytes_max: usize, total: &Rc<Cell<usize>>) -> Rc<Self> {
        Rc::new(Self {
            bytes_max,
            held: Cell::new(0),
            heads: Cell::new(0),
            sent_heads: Cell::new(0),
            released: Cell::new(0),
            blocked: Cell::new(false),
            waiting: RefCell::default(),
            total: total.clone(),
        })
    }

    fn is_full(&self) -> bool {
        self.held.get() >= self.bytes_max
    }

    /// Holds a request's head; `None` when all heads together would be too much.
    pub(crate) fn hold_head(self: &Rc<Self>, bytes: usize) -> Option<HeldHead> {
        let heads = self.heads.get() + bytes;
        if heads > self.bytes_max / 2 {
            return None;
        }
        self.heads.set(heads);
        self.hold(bytes);
        Some(HeldHead { account: self.clone(), bytes })
    }

    /// The connection has ended: nothing is sent any more.
    pub(crate) fn close(&self) {
        self.set_blocked(false);
    }

    /// Says whether the socket takes what it is given. The task that drives the connection calls
    /// this when it has done what it can.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.set(blocked);
        if !blocked {
            self.give_back(self.sent_heads.take());
        }
    }

    fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        self.total.set(self.total.get() + bytes);
    }

    fn give_back(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.held.set(self.held.get().saturating_sub(bytes));
        self.total.set(self.total.get().saturating_sub(bytes));
        self.released.set(self.released.get() + bytes as u64);
        if !self.is_full() {
            self.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // Heads that were handed over after the end; everything else was given back before.
        self.total.set(self.total.get().saturating_sub(self.held.get()));
    }
}

/// A request's head, while its stream lives.
#[derive(Debug)]
pub(crate) struct HeldHead {
    account: Rc<Account>,
    bytes: usize,
}

impl Drop for HeldHead {
    fn drop(&mut self) {
        let heads = &self.account.heads;
        heads.set(heads.get().saturating_sub(self.bytes));
        self.account.give_back(self.bytes);
    }
}

/// One stream's part of an account.
#[derive(Debug)]
pub(crate) struct Share {
    account: Rc<Account>,
    held: Cell<usize>,
    released: Cell<u64>,
    waits_for_room: Cell<bool>,
    /// Told whenever something is given back.
    waker: RefCell<Option<Waker>>,
}

impl Share {
    pub(crate) fn new(account: &Rc<Account>) -> Rc<Self> {
        Rc::new(Self {
            account: account.clone(),
            held: Cell::new(0),
            released: Cell::new(0),
            waits_for_room: Cell::new(false),
            waker: RefCell::default(),
        })
    }

    /// A copy of `data` that is held until it is dropped.
    pub(crate) fn hold(self: &Rc<Self>, data: &[u8]) -> Held {
        self.held.set(self.held.get() + data.len());
        self.account.hold(data.len());
        Held { bytes: Bytes::copy_from_slice(data), share: self.clone(), charged: data.len() }
    }

    /// A head of so many bytes is handed over.
    pub(crate) fn send_head(&self, bytes: usize) {
        let sent_heads = &self.account.sent_heads;
        sent_heads.set(sent_heads.get() + bytes);
        self.account.hold(bytes);
    }

    /// Ready when the connection has room for another piece, whatever its size.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let is_full = self.account.is_full();
        self.waits_for_room.set(is_full);
        if !is_full {
            return Poll::Ready(());
        }
        let mut waiting = self.account.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Ready when nothing of this stream is held.
    pub(crate) fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.held.get() == 0 {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether this stream takes room that others want, while its own window is closed: what has
    /// window leaves as soon as the socket takes it. From half of the account on, so that not one
    /// stream at a time makes room.
    pub(crate) fn is_crowding(&self) -> bool {
        let Account { bytes_max, held, blocked, .. } = &*self.account;
        held.get() >= bytes_max / 2 && !blocked.get() && self.held.get() > 0
    }

    /// Changes with everything that leaves: of the connection, while this stream waits for room.
    pub(crate) fn progress(&self) -> u64 {
        if self.waits_for_room.get() { self.account.released.get() } else { self.released.get() }
    }
}

/// Payload in h2's hands.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Bytes,
    share: Rc<Share>,
    charged: usize,
}

impl Buf for Held {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Self { share, charged, .. } = self;
        share.held.set(share.held.get().saturating_sub(*charged));
        share.released.set(share.released.get() + *charged as u64);
        share.account.give_back(*charged);
        if let Some(waker) = share.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn account(bytes_max: usize) -> Rc<Account> {
        Account::new(bytes_max, &Rc::default())
    }

    #[test]
    fn a_full_account_has_room_again_when_something_was_written() {
        let account = account(100);
        let (one, other) = (Share::new(&account), Share::new(&account));
        let held = one.hold(&[0; 60]);
        assert!(other.poll_room(&mut cx()).is_ready());
        let last = other.hold(&[0; 60]);
        assert!(one.poll_room(&mut cx()).is_pending());
        assert!(one.is_crowding() && other.is_crowding());
        drop(held);
        assert!(one.poll_room(&mut cx()).is_ready());
        assert!(one.poll_empty(&mut cx()).is_ready());
        assert!(other.poll_empty(&mut cx()).is_pending());
        drop(last);
        assert_eq!((account.held.get(), account.released.get()), (0, 120));
    }

    #[test]
    fn heads_leave_half_of_the_room_to_answers() {
        let account = account(100);
        let first = account.hold_head(40).unwrap();
        assert!(account.hold_head(20).is_none());
        let second = account.hold_head(10).unwrap();
        assert!(Share::new(&account).poll_room(&mut cx()).is_ready());
        drop((first, second));
        assert!(account.hold_head(50).is_some());
        assert_eq!(account.held.get(), 0);
    }

    #[test]
    fn heads_that_are_sent_count_until_the_socket_took_everything() {
        let account = account(100);
        let share = Share::new(&account);
        account.set_blocked(true);
        share.send_head(100);
        assert!(share.poll_room(&mut cx()).is_pending());
        account.set_blocked(true);
        assert!(share.poll_room(&mut cx()).is_pending());
        account.set_blocked(false);
        assert!(share.poll_room(&mut cx()).is_ready());
        assert_eq!(account.held.get(), 0);
    }

    #[test]
    fn whoever_waits_for_a_slow_socket_is_not_crowding() {
        let account = account(10);
        let share = Share::new(&account);
        let _held = share.hold(&[0; 10]);
        account.blocked.set(true);
        assert!(!share.is_crowding());
    }
}
