//! A name server that answers as it is told: UDP, one question at a time.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is answered about a name.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These addresses, for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    /// No such name (NXDOMAIN).
    NoSuchName,
    /// The server cannot say (SERVFAIL).
    Failure,
}

/// The name server. Dropped, it stops.
pub struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    names: Mutex<BTreeMap<String, Reply>>,
    questions: AtomicUsize,
    is_stopped: AtomicBool,
}

impl NameServer {
    /// Starts on a free loopback port; every name does not exist until it is told of.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback can be bound");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("more than zero");
        let address = socket.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            while !of_thread.is_stopped.load(Ordering::SeqCst) {
                // A question that is malformed, or that did not come, is not answered.
                let _ = of_thread.answer_one(&socket);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is said about a name from now on.
    pub fn tell(&self, name: &str, reply: Reply) {
        let mut names = self.shared.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), reply);
    }

    /// How many questions were answered so far.
    pub fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn answer_one(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut query = [0; 512];
        let (length, client) = socket.recv_from(&mut query)?;
        let Some((name, kind, question)) = read_question(&query[..length]) else { return Ok(()) };
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = names.get(&name).cloned().unwrap_or(Reply::NoSuchName);
        drop(names);
        self.questions.fetch_add(1, Ordering::SeqCst);
        socket.send_to(&answer(&query[..2], kind, question, &reply), client)?;
        Ok(())
    }
}

/// Types of records (RFC 1035 section 3.2.2, RFC 3596 section 2.1).
const A: u16 = 1;
const AAAA: u16 = 28;

/// The name asked for, the type of record, and the bytes of the question (RFC 1035 section 4.1.2).
fn read_question(query: &[u8]) -> Option<(String, u16, &[u8])> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes(query.get(at + 1..at + 3)?.try_into().ok()?);
    Some((labels.join("."), kind, query.get(12..at + 5)?))
}

fn answer(id: &[u8], kind: u16, question: &[u8], reply: &Reply) -> Vec<u8> {
    let (code, addresses, ttl) = match reply {
        Reply::Addresses(addresses, ttl) => (0, addresses.as_slice(), *ttl),
        Reply::NoSuchName => (3, &[][..], 0),
        Reply::Failure => (2, &[][..], 0),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, kind) {
            (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let count = u8::try_from(records.len()).unwrap_or(u8::MAX);
    let mut answer = id.to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for record in records.iter().take(usize::from(count)) {
        // The name is the question's; class IN.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend(u16::try_from(record.len()).unwrap_or_default().to_be_bytes());
        answer.extend(record);
    }
    answer
}
