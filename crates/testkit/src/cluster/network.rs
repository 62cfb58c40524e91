//! A network for the programs of a test alone, with addresses that endpoints may have.
//!
//! An API server refuses endpoints on loopback, and a gateway those on its own machine. Here, a
//! whole range is at hand that is neither: a network namespace whose loopback device has one
//! address of 198.18.0.0/15, which RFC 2544 gives to tests of network devices, and so takes the
//! others of it as well. Whoever runs outside sees nothing of it.
//!
//! A namespace belongs to a thread, and to the threads and processes that it starts: every test
//! joins before it starts anything.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The address that the machine of a test has, where a gateway refuses endpoints.
pub const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// Makes the namespace and lives until its input ends.
const SCRIPT: &str =
    "ip link set lo up && ip address add 198.18.0.1/15 dev lo && echo ready && exec cat";

/// An address for an endpoint that no other has.
///
/// # Panics
/// When a process has had tens of thousands.
pub fn endpoint_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Of 198.18.0.0/16, the first 256 are not given away.
    let [high, low] = NEXT.fetch_add(1, Ordering::SeqCst).to_be_bytes();
    let high = high.checked_add(1).expect("no test needs that many endpoints");
    IpAddr::V4(Ipv4Addr::new(198, 18, high, low))
}

/// Moves this thread, and what it starts from now on, into the network of this process's tests.
///
/// # Panics
/// When the system does not allow that.
pub(super) fn join() {
    static NETWORK: OnceLock<File> = OnceLock::new();
    thread_local! {
        static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    if IS_INSIDE.get() {
        return;
    }
    let network = NETWORK.get_or_init(make);
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(network.as_fd(), kind).expect("a network of our own can be joined");
    IS_INSIDE.set(true);
}

/// Makes the namespace; it is there as long as somebody has it open, or lives in it.
fn make() -> File {
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare is part of every system");
    let mut line = String::new();
    let said = child.stdout.take().map(BufReader::new);
    let read = said.map(|mut said| said.read_line(&mut line));
    assert!(
        matches!(read, Some(Ok(_))) && line.trim() == "ready",
        "no network namespace can be made: run as root with `ip` of iproute2 installed, or by \
         `unshare --map-root-user --net COMMAND`"
    );
    let network = File::open(format!("/proc/{}/ns/net", child.id())).expect("the child lives");
    drop(child.stdin.take());
    let _ = child.wait();
    network
}
