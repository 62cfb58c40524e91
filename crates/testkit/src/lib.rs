//! The fakes: endpoints that misbehave on command, clients that say exactly what they are told,
//! the real program as a child process, and the runner of `spec/`.
//!
//! A test of the gateway reads: an [`Endpoint`] with a script, a [`Gateway`] with manifests that
//! lead to it, a client, what the client saw, what the endpoint saw. Nothing here waits for a
//! fixed time to pass: it waits for an event and gives up after [`PATIENCE`].

mod background;
pub mod certs;
pub mod client;
pub mod cluster;
pub mod curl;
pub mod dns;
pub mod echo;
pub mod endpoint;
pub mod fast;
pub mod gateway;
pub mod manifests;
mod message;
pub mod spec;
pub mod tls;

pub use certs::Authority;
pub use cluster::{ControlPlane, ControlPlaneOptions};
pub use echo::Echo;
pub use endpoint::{Conversation, Endpoint};
pub use gateway::{Gateway, GatewayOptions};
pub use message::{Message, read_message};

use std::time::{Duration, Instant};

/// How long anything that must happen may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not hold within [`PATIENCE`]; `what` says what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes for a failure's message: readable, and one line.
pub fn in_words(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Runs a future to its end on this thread, with sockets and timers.
///
/// # Panics
/// When it does not end within three times [`PATIENCE`].
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs nothing that a test lacks");
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE * 3, future).await.expect("a test ends in time")
    })
}
