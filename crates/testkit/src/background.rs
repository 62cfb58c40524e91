//! One thread with a runtime, on which the well-behaved endpoints of all tests live.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// The runtime; started when first asked for, ended with the process.
fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime needs nothing that a test lacks");
            send.send(runtime.handle().clone()).expect("somebody waits for it");
            runtime.block_on(pending::<()>());
        });
        receive.recv().expect("the thread answers")
    })
}

/// Listens on a free loopback port and serves each connection, until aborted.
pub(crate) fn serve<F, S>(serve: F) -> (SocketAddr, AbortHandle)
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    serve_at([127, 0, 0, 1].into(), serve)
}

/// Listens on a free port of an address of this machine and serves each connection, until aborted.
///
/// # Panics
/// When it cannot be listened on.
pub(crate) fn serve_at<F, S>(ip: IpAddr, serve: F) -> (SocketAddr, AbortHandle)
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind((ip, 0)).expect("an address of ours");
    listener.set_nonblocking(true).expect("a socket takes options");
    let address = listener.local_addr().expect("a bound listener has an address");
    let task = runtime().spawn(async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
        }
    });
    (address, task.abort_handle())
}
