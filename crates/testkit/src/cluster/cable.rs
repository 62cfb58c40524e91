//! A TCP line that can be cut, slowed, blocked, and laid anew: to an API server whose connections
//! are to suffer, or to gateways whose replicas come and go.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use crate::wait_until;

/// A line from an address of its own to others, in turn; it ends when dropped.
pub struct Cable {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_ended: AtomicBool,
    is_refusing: AtomicBool,
    connections: AtomicUsize,
    targets: Mutex<Vec<SocketAddr>>,
    delay_ms: AtomicU64,
    /// Both ends of what is open.
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    is_blocked: Mutex<bool>,
    unblocked: Condvar,
}

impl Cable {
    /// A line to `target`.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &of_listener));
        let cable = Self { address, shared };
        cable.lead_to(&[target]);
        cable
    }

    /// Leads new connections to these from now on, one after the other.
    pub fn lead_to(&self, targets: &[SocketAddr]) {
        targets.clone_into(&mut lock(&self.shared.targets));
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made through it so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Resets every connection; new ones can be made.
    pub fn cut_connections(&self) {
        for (client, server) in lock(&self.shared.open).drain(..) {
            for end in [client, server] {
                let _ = SockRef::from(&end).set_linger(Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Lets what is open lead nowhere: nothing that either side sends is even acknowledged, as when
    /// a machine or a route is gone. New connections can be made.
    ///
    /// # Panics
    /// When the system does not allow that.
    pub fn vanish(&self) {
        // Of every packet nothing: dropped before the kernel looks at it.
        let nothing = [SockFilter::new(6, 0, 0, 0)];
        for (client, server) in lock(&self.shared.open).drain(..) {
            let ends = [client, server];
            // What an end still has to send it would send again and again, and whoever is gone
            // sends nothing.
            wait_until("all that was sent is acknowledged", || {
                if ends.iter().any(has_bytes_under_way) {
                    return false;
                }
                for end in &ends {
                    let filtered = SockRef::from(end).attach_filter(&nothing);
                    filtered.expect("a filter of one's own socket");
                }
                // What came in between has to be sent again, once it can be heard.
                let is_quiet = !ends.iter().any(has_bytes_under_way);
                if !is_quiet {
                    for end in &ends {
                        SockRef::from(end).detach_filter().expect("its own filter");
                    }
                }
                is_quiet
            });
            // Its end would be a word.
            for end in ends {
                std::mem::forget(end);
            }
        }
    }

    /// Ends new connections as soon as they are made, until told otherwise.
    pub fn refuse(&self, is_refusing: bool) {
        self.shared.is_refusing.store(is_refusing, Ordering::SeqCst);
    }

    /// Delays every piece that passes by this much.
    pub fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(delay, Ordering::SeqCst);
    }

    /// Holds all bytes back, on connections that stay as they are: what a lost route looks like.
    pub fn block(&self, is_blocked: bool) {
        *lock(&self.shared.is_blocked) = is_blocked;
        self.shared.unblocked.notify_all();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::SeqCst);
        self.block(false);
        self.cut_connections();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.is_ended.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.is_refusing.load(Ordering::SeqCst) {
            continue;
        }
        let turn = shared.connections.fetch_add(1, Ordering::SeqCst);
        let targets = lock(&shared.targets).clone();
        let target = targets.get(turn % targets.len().max(1)).copied();
        let Some(Ok(server)) = target.map(TcpStream::connect) else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        if let (Ok(c), Ok(s)) = (client.try_clone(), server.try_clone()) {
            lock(&shared.open).push((c, s));
        }
        for (from, to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))] {
            let shared = Arc::clone(shared);
            if let (Ok(from), Ok(to)) = (from, to) {
                thread::spawn(move || pass(from, to, &shared));
            }
        }
    }
}

/// Passes bytes on in one direction until it ends.
fn pass(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let delay = shared.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        let mut is_blocked = lock(&shared.is_blocked);
        while *is_blocked {
            is_blocked = shared.unblocked.wait(is_blocked).unwrap_or_else(PoisonError::into_inner);
        }
        drop(is_blocked);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Whether bytes wait in this end: to be acknowledged by the peer, or to be read.
fn has_bytes_under_way(end: &TcpStream) -> bool {
    let port = |address: std::io::Result<SocketAddr>| address.map(|address| address.port());
    let (Ok(own), Ok(of_peer)) = (port(end.local_addr()), port(end.peer_addr())) else {
        return false;
    };
    // A line has a number, both addresses, the state, and how many bytes wait, in hexadecimal.
    let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("the table of connections");
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|row| {
        let is = |column: usize, port: u16| {
            row.get(column).is_some_and(|address| address.ends_with(&format!(":{port:04X}")))
        };
        is(1, own) && is(2, of_peer)
    });
    row.is_some_and(|row| row.get(4) != Some(&"00000000:00000000"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;
    use crate::client::raw::{RawClient, is_timeout};

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn a_cut_ends_what_is_open_and_not_what_comes() {
        let endpoint = Endpoint::answering("HTTP/1.1 204 No Content\r\n\r\n");
        let cable = Cable::to(endpoint.address());
        let mut client = RawClient::connect(cable.address());
        assert_eq!(client.exchange(GET).status(), 204);
        cable.cut_connections();
        assert!(client.try_send(GET).is_err() || client.try_read_response("GET").is_err());
        assert_eq!(RawClient::connect(cable.address()).exchange(GET).status(), 204);
        assert_eq!(cable.connections(), 2);
    }

    #[test]
    fn what_vanished_says_nothing_more_and_ends_nothing() {
        let endpoint = Endpoint::answering("HTTP/1.1 204 No Content\r\n\r\n");
        let cable = Cable::to(endpoint.address());
        let mut client = RawClient::connect(cable.address());
        assert_eq!(client.exchange(GET).status(), 204);
        cable.vanish();
        client.send(GET);
        client.patience(Duration::from_millis(100));
        assert!(is_timeout(&client.read_some().expect_err("an answer")));
        assert_eq!(RawClient::connect(cable.address()).exchange(GET).status(), 204);
    }

    #[test]
    fn connections_are_led_to_the_targets_of_now_in_turn() {
        let answering = |body: &str| {
            Endpoint::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{body}"))
        };
        let (one, two, three) = (answering("1"), answering("2"), answering("3"));
        let cable = Cable::to(one.address());
        let ask = || RawClient::connect(cable.address()).exchange(GET).text();
        assert_eq!(ask(), "1");
        cable.lead_to(&[two.address(), three.address()]);
        let mut seen = [ask(), ask()];
        seen.sort();
        assert_eq!(seen, ["2", "3"]);
    }

    #[test]
    fn what_is_blocked_comes_later_on_the_same_connection() {
        let endpoint = Endpoint::answering("HTTP/1.1 204 No Content\r\n\r\n");
        let cable = Cable::to(endpoint.address());
        let mut client = RawClient::connect(cable.address());
        cable.block(true);
        client.send(GET);
        wait_until("the line is up", || cable.connections() == 1);
        assert_eq!(endpoint.text(), "");
        cable.block(false);
        assert_eq!(client.read_response("GET").status(), 204);
    }
}
