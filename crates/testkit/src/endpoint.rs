//! A scripted TCP endpoint: says and does exactly what it is told, and records what it heard.
//!
//! Each connection is a [`Conversation`] on a thread of its own. A script that returns closes the
//! connection; one that fails (because the gateway hung up, say) closes it too, and that is no
//! failure of the test: what the test asserts is what came over the wire.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::{Message, PATIENCE, read_message};

/// How often a dying endpoint is asked whether it still accepts.
const KILL_TRIES: usize = 200;

/// A TCP endpoint with a script.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_stopped: AtomicBool,
    connections: AtomicUsize,
    open: AtomicUsize,
    /// What each connection sent us, in the order of accepting.
    received: Mutex<Vec<Vec<u8>>>,
    streams: Mutex<Vec<TcpStream>>,
    /// Signalled when the endpoint stops, for scripts that stall.
    gate: Condvar,
    gate_lock: Mutex<()>,
}

impl Endpoint {
    /// Starts listening on a free loopback port; `script` is run for each connection.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub fn start<F>(script: F) -> Self
    where
        F: Fn(&mut Conversation) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start_at(([127, 0, 0, 1], 0), script)
    }

    /// As [`Self::start`], at another address of this machine; port 0 is a free one.
    ///
    /// # Panics
    /// When it cannot be listened on.
    pub fn start_at<F>(address: impl Into<SocketAddr>, script: F) -> Self
    where
        F: Fn(&mut Conversation) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address.into()).expect("an address of ours");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared::default());
        let script = Arc::new(script);
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &of_listener, &script));
        Self { address, shared }
    }

    /// Answers every request on every connection with these bytes, whatever they are.
    pub fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        Self::answering_at(([127, 0, 0, 1], 0), bytes)
    }

    /// As [`Self::answering`], at another address of this machine; port 0 is a free one.
    ///
    /// # Panics
    /// When it cannot be listened on.
    pub fn answering_at(address: impl Into<SocketAddr>, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start_at(address, move |conversation| {
            loop {
                conversation.read_request()?;
                conversation.write(&bytes)?;
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// What each connection sent so far.
    pub fn received(&self) -> Vec<Vec<u8>> {
        lock(&self.shared.received).clone()
    }

    /// What all connections sent so far, as text, one after the other.
    pub fn text(&self) -> String {
        self.received().iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// Dies: resets its connections and refuses new ones.
    pub fn kill(&self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        let held = lock(&self.shared.gate_lock);
        self.shared.gate.notify_all();
        drop(held);
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The first wakes the accepting thread, which then closes the listener; until it has, the
        // kernel still takes connections, only to reset them.
        for _ in 0..KILL_TRIES {
            if TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.kill();
    }
}

fn accept<F>(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<F>)
where
    F: Fn(&mut Conversation) -> io::Result<()> + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        if shared.is_stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let index = shared.connections.fetch_add(1, Ordering::SeqCst);
        lock(&shared.received).push(Vec::new());
        if let Ok(copy) = stream.try_clone() {
            lock(&shared.streams).push(copy);
        }
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(PATIENCE));
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        let script = Arc::clone(script);
        thread::spawn(move || {
            let mut conversation =
                Conversation { stream, index, pending: Vec::new(), shared: Arc::clone(&shared) };
            let _ = script(&mut conversation);
            // The copy kept for `kill` would hold the connection open.
            let _ = conversation.stream.shutdown(Shutdown::Both);
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, from the endpoint's side.
pub struct Conversation {
    stream: TcpStream,
    index: usize,
    pending: Vec<u8>,
    shared: Arc<Shared>,
}

impl Conversation {
    /// The how-manieth connection this is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// How long a read may take.
    pub fn patience(&mut self, patience: Duration) {
        // Zero is refused, and changes nothing.
        let _ = self.stream.set_read_timeout(Some(patience));
    }

    /// Reads a whole request with its body.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn read_request(&mut self) -> io::Result<Message> {
        let mut recorded =
            Recorded { stream: &mut self.stream, shared: &self.shared, index: self.index };
        read_message(&mut recorded, &mut self.pending, None)
    }

    /// Reads exactly this many bytes.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            if self.read_more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.pending.drain(..count).collect())
    }

    /// Reads a head up to its blank line, and leaves the body.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn read_head(&mut self) -> io::Result<String> {
        loop {
            let end = self.pending.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.pending.drain(..end + 4).collect::<Vec<u8>>();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.read_more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until the other side ends its direction; everything it sent.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.read_more()? > 0 {}
        Ok(std::mem::take(&mut self.pending))
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let mut recorded =
            Recorded { stream: &mut self.stream, shared: &self.shared, index: self.index };
        let count = recorded.read(&mut buffer)?;
        self.pending.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends bytes one at a time with a pause after each.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.stream.write_all(&[*byte])?;
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Ends our direction; the other goes on.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        // The copy kept for `kill` has to go too, or no segment is sent.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        let ours = self.stream.peer_addr().ok();
        lock(&self.shared.streams).retain(|stream| stream.peer_addr().ok() != ours);
        if let Ok(placeholder) = unconnected() {
            self.stream = placeholder;
        }
    }

    /// Does nothing until the gateway hangs up or the endpoint is dropped.
    pub fn stall(&mut self) {
        let _ = self.stream.set_read_timeout(Some(Duration::from_millis(20)));
        while !self.shared.is_stopped.load(Ordering::SeqCst) {
            match self.read_more() {
                Ok(0) => break,
                Err(error)
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    break;
                }
                _ => {}
            }
        }
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
    }

    /// Holds the connection without reading from it, until the endpoint is dropped.
    pub fn freeze(&mut self) {
        let mut held = lock(&self.shared.gate_lock);
        while !self.shared.is_stopped.load(Ordering::SeqCst) {
            held = self.shared.gate.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A stream that stands in for one that was reset.
fn unconnected() -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    Ok(socket.into())
}

/// Reads from a connection and records what was read.
struct Recorded<'c> {
    stream: &'c mut TcpStream,
    shared: &'c Shared,
    index: usize,
}

impl Read for Recorded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if let Some(received) = lock(&self.shared.received).get_mut(self.index) {
            received.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::raw::RawClient;

    #[test]
    fn it_answers_as_told_and_records_what_it_heard() {
        let endpoint = Endpoint::answering("HTTP/1.1 204 No Content\r\n\r\n");
        let mut client = RawClient::connect(endpoint.address());
        client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(client.read_response("GET").status(), 204);
        assert_eq!(endpoint.text(), "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(endpoint.connections(), 1);
    }

    #[test]
    fn a_reset_is_seen_as_a_reset() {
        let endpoint = Endpoint::start(|conversation| {
            conversation.read_head()?;
            conversation.reset();
            Ok(())
        });
        let mut client = RawClient::connect(endpoint.address());
        client.send("GET / HTTP/1.1\r\n\r\n");
        let error = client.try_read_to_end().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_killed_endpoint_refuses_connections() {
        let endpoint = Endpoint::start(|conversation| {
            conversation.freeze();
            Ok(())
        });
        let _client = RawClient::connect(endpoint.address());
        endpoint.kill();
        crate::wait_until("the listener is closed", || {
            TcpStream::connect(endpoint.address()).is_err()
        });
    }
}
