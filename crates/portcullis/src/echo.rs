//! An echo backend: HTTP/1.0, HTTP/1.1, cleartext HTTP/2 by prior knowledge, WebSocket and gRPC.
//!
//! It answers with what it received, so that people and tests see what a gateway made of a request.
//! It stands alone: nothing of the gateway's own protocol code is used, so that a fault there
//! cannot hide behind the same fault here. It trusts its clients and is not meant for the open
//! network.

mod answer;
mod http1;
mod http2;
#[cfg(test)]
mod tests;
mod websocket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use crate::control::Control;

pub use answer::Received;

/// What an HTTP/2 client says first when it knows that HTTP/2 is spoken (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A running echo backend; it stops when dropped.
#[derive(Debug)]
pub struct Echo {
    addresses: Vec<SocketAddr>,
    _control: Control,
}

impl Echo {
    /// Binds every address (port 0 takes a free one) and serves on a thread of its own.
    pub fn start(name: &str, addresses: &[SocketAddr]) -> io::Result<Self> {
        let listeners = addresses.iter().map(bind).collect::<io::Result<Vec<_>>>()?;
        let bound =
            listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<_, _>>()?;
        let control = Control::start(&format!("echo-{name}"))?;
        let name: Arc<str> = name.into();
        for listener in listeners {
            control.handle().spawn(accept(listener, Arc::clone(&name)));
        }
        Ok(Self { addresses: bound, _control: control })
    }

    /// The addresses bound, in the order given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first address bound.
    ///
    /// # Panics
    /// When it was started without an address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

fn bind(address: &SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn accept(listener: std::net::TcpListener, name: Arc<str>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let name = Arc::clone(&name);
                // A client that breaks off is no event worth a word.
                tokio::spawn(async move { serve(stream, &name).await.ok() });
            }
            // Out of files, most likely: wait for some to be closed.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}

/// Serves one connection in the protocol that its first bytes speak.
async fn serve(stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; HTTP2_PREFACE.len()];
    loop {
        stream.readable().await?;
        let seen = stream.peek(&mut first).await?;
        if seen == 0 {
            return Ok(());
        }
        if !HTTP2_PREFACE.starts_with(&first[..seen]) {
            return http1::serve(stream, name).await;
        }
        if seen == HTTP2_PREFACE.len() {
            return http2::serve(stream, name).await;
        }
        // A part of the preface, of which the kernel would tell again at once: wait a little.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
