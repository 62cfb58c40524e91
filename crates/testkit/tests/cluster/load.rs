//! Requests without a pause while a test does something, and what became of them.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::client::raw::RawClient;
use testkit::cluster::Cable;
use testkit::{Gateway, Message};

use crate::world::wait_until;

/// How many failures are shown.
const SHOWN: usize = 5;

/// Clients of one host: one on a connection that is kept, one that connects for every request.
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins to send requests for `/` of a host to a gateway, whose connections are not to end.
    pub(crate) fn on(gateway: &Gateway, host: &str) -> Self {
        Self::begin(gateway.http(), host, false)
    }

    /// Begins to send requests to what leads to gateways that come and go.
    pub(crate) fn through(cable: &Cable, host: &str) -> Self {
        Self::begin(cable.address(), host, true)
    }

    fn begin(address: SocketAddr, host: &str, may_end: bool) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let clients = [true, false].map(|keeps| {
            let host = host.to_owned();
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            let failures = Arc::clone(&failures);
            std::thread::spawn(move || {
                let mut kept = None;
                while !is_over.load(Ordering::SeqCst) {
                    match request(&mut kept, address, &host, may_end) {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::SeqCst)),
                        Err(why) => {
                            kept = None;
                            failures.lock().unwrap().push(why);
                        }
                    }
                    if !keeps {
                        kept = None;
                    }
                    // Two cores have other things to do as well.
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        });
        let load = Self { is_over, answered, failures, clients: clients.into() };
        load.goes_on();
        load
    }

    /// Waits until more requests have been answered.
    pub(crate) fn goes_on(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        wait_until("more requests are answered", || {
            self.answered.load(Ordering::SeqCst) > before + 10
        });
    }

    /// Ends; every request must have been answered with 200.
    pub(crate) fn end(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        let failures = self.failures.lock().unwrap();
        let shown: Vec<_> = failures.iter().take(SHOWN).collect();
        let answered = self.answered.load(Ordering::SeqCst);
        assert!(shown.is_empty(), "{} of {answered} failed: {shown:?}", failures.len());
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// Sends a request and reads its answer. Where connections may end, one that a connection used
/// before did not take is sent once more over a new one, as every client does.
fn request(
    kept: &mut Option<RawClient>,
    address: SocketAddr,
    host: &str,
    may_end: bool,
) -> Result<(), String> {
    let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let exchange = |client: &mut RawClient| -> io::Result<Message> {
        client.try_send(&text)?;
        client.try_read_response("GET")
    };
    let (client, answer) = match kept.take().map(|mut used| (exchange(&mut used), used)) {
        Some((Ok(answer), used)) => (used, Ok(answer)),
        Some((Err(error), _)) if !(may_end && is_idle_end(&error)) => return Err(error.to_string()),
        _ => {
            let mut client = RawClient::connect(address);
            let answer = exchange(&mut client);
            (client, answer)
        }
    };
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.field("connection") != Some("close") {
        *kept = Some(client);
    }
    if answer.status() == 200 { Ok(()) } else { Err(answer.start) }
}

/// Whether a connection ended before a byte of an answer came.
fn is_idle_end(error: &io::Error) -> bool {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => true,
        ErrorKind::UnexpectedEof => error.to_string().ends_with("after \"\""),
        _ => false,
    }
}
