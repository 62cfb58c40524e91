//! A gate in front of an API server that turns requests away as one does that is too busy: what a
//! real one does only under a load that no test should make.
//!
//! It ends TLS with a certificate of the cluster's own authority, asks the API server as somebody
//! who may do everything, and passes answers on as they come, watches as well.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;

use super::{ControlPlane, lock};
use crate::tls;

/// A request as it came to the gate.
#[derive(Clone, Debug)]
pub struct Passing {
    /// When.
    pub at: Instant,
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// It was turned away.
    pub is_refused: bool,
}

/// Whether a request is turned away, by method and target: the status, and the seconds to wait.
pub type Rule = Box<dyn Fn(&str, &str) -> Option<(u16, u32)> + Send>;

/// See the module. It ends when dropped.
pub struct Turnstile {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    is_ended: AtomicBool,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Passing>>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    target: SocketAddr,
}

impl Turnstile {
    /// A gate to the API server that turns nobody away.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub fn to(plane: &ControlPlane) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let admin = plane.authority.user("turnstile", "system:masters");
        let shared = Arc::new(Shared {
            is_ended: AtomicBool::new(false),
            rule: Mutex::new(Box::new(|_, _| None)),
            seen: Mutex::default(),
            server: tls::server(&plane.authority.leaf(&["127.0.0.1"]), &[]),
            client: tls::client_as(plane.authority.roots(), &admin),
            target: plane.address(),
        });
        let of_listener = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_listener.is_ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_listener);
                // A connection that ends is the matter of who made it.
                thread::spawn(move || drop(pass(stream, &shared)));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Turns requests away by this rule from now on.
    pub fn refuse(&self, rule: impl Fn(&str, &str) -> Option<(u16, u32)> + Send + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// What came so far, in order.
    pub fn seen(&self) -> Vec<Passing> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// One request and its answer, and the end of the connection.
fn pass(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let connection = ServerConnection::new(Arc::clone(&shared.server)).map_err(io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(connection, stream));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body)?;
    let refused = (*lock(&shared.rule))(&method, &target);
    let is_refused = refused.is_some();
    lock(&shared.seen).push(Passing { at: Instant::now(), method, target, is_refused });
    let mut client = client.into_inner();
    if let Some((status, seconds)) = refused {
        // As flow control answers: in plain text, with the wait in a field alone.
        let said = "Too many requests, please try again later.\n";
        write!(
            client,
            "HTTP/1.1 {status} Busy\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Retry-After: {seconds}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
            said.len()
        )?;
        return end(client);
    }
    let name = ServerName::from(shared.target.ip());
    let connection =
        ClientConnection::new(Arc::clone(&shared.client), name).map_err(io::Error::other)?;
    let mut server = StreamOwned::new(connection, TcpStream::connect(shared.target)?);
    let (start, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    server.write_all(format!("{start}\r\nConnection: close\r\n{fields}").as_bytes())?;
    server.write_all(&body)?;
    server.flush()?;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        client.write_all(&buffer[..count])?;
        client.flush()?;
    }
    end(client)
}

fn end(mut client: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    client.conn.send_close_notify();
    client.flush()
}
