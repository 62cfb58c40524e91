//! The socket table: which addresses are bound, one socket per address and worker.
//!
//! Flags only name Listeners in the Model; this table opens and closes what the Model names, while
//! running. An address is first tried without `SO_REUSEPORT`, so that another program on it is an
//! error with a remedy and not half of the traffic.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

use model::{Listener, ListenerId};
use socket2::{Domain, Protocol, Socket, Type};

use crate::snapshot::ListenerFacts;

/// Connections that wait to be accepted, per socket. The kernel drops more (and may answer by
/// SYN cookies); `net.core.somaxconn` caps it.
pub(crate) const BACKLOG: i32 = 4096;

/// Which addresses are bound.
#[derive(Debug, Default)]
pub(crate) struct SocketTable {
    bound: BTreeMap<ListenerId, SocketAddr>,
}

/// What changes for a new list of listeners.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Every listener that is bound.
    pub(crate) facts: Vec<ListenerFacts>,
    /// New ones, a socket per worker.
    pub(crate) opened: Vec<(ListenerFacts, Vec<TcpListener>)>,
    /// Those that went.
    pub(crate) closed: Vec<ListenerId>,
    /// Those that could not be bound.
    pub(crate) failed: Vec<(ListenerId, io::Error)>,
}

impl SocketTable {
    /// Binds what is new and names what went.
    pub(crate) fn plan(&mut self, wanted: &[Listener], workers: usize) -> Plan {
        let mut plan = Plan::default();
        for listener in wanted {
            let id = listener.id();
            if let Some(bound) = self.bound.get(&id) {
                plan.facts.push(ListenerFacts::new(listener, *bound));
                continue;
            }
            match bind(id.address, workers) {
                Ok((bound, sockets)) => {
                    self.bound.insert(id, bound);
                    let facts = ListenerFacts::new(listener, bound);
                    plan.facts.push(facts.clone());
                    plan.opened.push((facts, sockets));
                }
                Err(error) => plan.failed.push((id, error)),
            }
        }
        self.bound.retain(|id, _| {
            let stays = wanted.iter().any(|listener| listener.id() == *id);
            if !stays {
                plan.closed.push(*id);
            }
            stays
        });
        plan
    }
}

fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // The first listens before it shares the address: until then nobody else could bind it, and
    // from then on only our own sockets can, even where two programs start at once.
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.listen(BACKLOG)?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first.into()];
    for _ in 1..workers {
        let socket = socket(bound)?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok((bound, sockets))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a former life in TIME_WAIT do not keep the address.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners that can be told apart.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ListenerProtocol;

    fn listener(address: SocketAddr) -> Listener {
        Listener {
            address,
            protocol: ListenerProtocol::Http,
            public_port: None,
            redirect_port: None,
        }
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_and_the_others_are_bound() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut table = SocketTable::default();
        let wanted = [listener(taken.local_addr().unwrap()), listener(([127, 0, 0, 1], 0).into())];
        let plan = table.plan(&wanted, 2);
        assert_eq!(plan.failed.len(), 1);
        assert_eq!(plan.failed[0].1.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(plan.opened.len(), 1);
        assert_eq!(plan.opened[0].1.len(), 2);
        assert_ne!(plan.facts[0].bound.port(), 0);
    }

    #[test]
    fn of_two_that_bind_at_once_one_has_all_of_the_address() {
        let wanted = [listener(free_address())];
        for _ in 0..200 {
            let start = std::sync::Barrier::new(2);
            let bind = || {
                let mut table = SocketTable::default();
                start.wait();
                let plan = table.plan(&wanted, 4);
                // Both keep what they have until both have tried.
                start.wait();
                plan.opened.len()
            };
            let bound = std::thread::scope(|scope| {
                let other = scope.spawn(bind);
                bind() + other.join().unwrap()
            });
            assert!(bound <= 1, "both have a part of {wanted:?}");
        }
    }

    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn a_listener_that_stays_is_not_bound_again() {
        let mut table = SocketTable::default();
        let wanted = [listener(([127, 0, 0, 1], 0).into())];
        let first = table.plan(&wanted, 1);
        let second = table.plan(&wanted, 1);
        assert!(second.opened.is_empty() && second.closed.is_empty());
        assert_eq!(second.facts, first.facts);
        let third = table.plan(&[], 1);
        assert_eq!(third.closed, [wanted[0].id()]);
    }
}
