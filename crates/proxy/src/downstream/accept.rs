//! Accept, count, handshake, and hand the connection to its protocol.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustls::ServerConnection;
use telemetry::Counter;
use tokio::net::{TcpListener, TcpStream};
use wire::{Peek, peek_client_hello};

use crate::buffer::Input;
use crate::downstream::client::{ClientFacts, TlsFacts};
use crate::downstream::{http1, http2};
use crate::snapshot::ListenerFacts;
use crate::sockets::BACKLOG;
use crate::transport::{TlsTransport, Transport};
use crate::watch::{Registered, ticks};
use crate::worker::{Counted, Gate, Worker};

/// A `ClientHello` with post-quantum keys and many extensions fits; more is no hello.
const HELLO_BYTES_MAX: usize = 64 * 1024;

/// The answer to a request that was sent in cleartext to a TLS port.
const CLEARTEXT_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
Content-Length: 60\r\n\
Connection: close\r\n\r\n\
400 Bad Request: cleartext HTTP on a port that speaks HTTPS\n";

/// Accepts until the gate closes; then takes what the kernel's queue holds, and ends.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    facts: ListenerFacts,
    listener: TcpListener,
    gate: Rc<Gate>,
) {
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(&worker, &facts, &gate, stream, peer),
                Err(error) => failed(&worker, &facts, &error).await,
            },
            () = gate.notify.notified() => break,
        }
    }
    // The kernel is asked itself: the runtime may not have heard yet of the last to come. What
    // waited when the gate closed is no more than the queue holds; those who come after it, however
    // many, do not keep the worker.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((stream, peer)) = listener.accept() else { return };
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        match stream {
            Ok(stream) => admit(&worker, &facts, &gate, stream, peer),
            Err(error) => return failed(&worker, &facts, &error).await,
        }
    }
}

/// Out of descriptors, most likely: the queue keeps what waits, and we do not spin.
async fn failed(worker: &Worker, facts: &ListenerFacts, error: &io::Error) {
    worker.metrics.count(Counter::AcceptFailures);
    if worker.may_notice() {
        tracing::warn!(listener = %facts.id, %error, "cannot accept; is `ulimit -n` too low?");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn admit(
    worker: &Rc<Worker>,
    facts: &ListenerFacts,
    gate: &Gate,
    stream: TcpStream,
    peer: std::net::SocketAddr,
) {
    let max = worker.settings.limits.connections_max;
    let Some(counted) = Counted::try_new(&worker.published, max) else {
        worker.metrics.count(Counter::ConnectionsShed);
        return;
    };
    let worker = worker.clone();
    let facts = facts.clone();
    let watch = worker.watches.register();
    if gate.closing.get() {
        // It came while its listener went, and after the others were told.
        let timeout = worker.settings.limits.withdrawn_timeout;
        watch.withdraw(worker.watches.after(ticks(timeout)));
    }
    tokio::task::spawn_local(async move {
        let tls = facts.is_tls();
        worker.metrics.connection_opened(tls);
        poll_fn(|cx| {
            watch.attach(cx);
            Poll::Ready(())
        })
        .await;
        connection(&worker, facts, stream, peer, &watch).await;
        worker.metrics.connection_closed(tls);
        drop(counted);
    });
}

async fn connection(
    worker: &Rc<Worker>,
    listener: ListenerFacts,
    stream: TcpStream,
    peer: std::net::SocketAddr,
    watch: &Registered,
) {
    // Small responses must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let trusted = &worker.settings.trusted_proxies;
    if !listener.is_tls() {
        let facts = Rc::new(ClientFacts::new(listener, peer, None, trusted));
        return http1::serve(worker.clone(), Transport::Plain(stream), facts, watch).await;
    }
    let handshake = worker.settings.limits.handshake_timeout;
    watch.arm(worker.watches.after(ticks(handshake)));
    let Some((tls, server_name)) = Box::pin(handshaken(worker, stream, watch)).await else {
        worker.metrics.count(Counter::TlsHandshakesFailed);
        return;
    };
    worker.metrics.count(Counter::TlsHandshakesOk);
    let transport = Transport::Tls(Box::new(tls));
    let Some(session) = transport.tls() else { return };
    if session.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
        worker.metrics.count(Counter::TlsResumed);
    }
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let tls = TlsFacts { server_name: server_name.map(String::into_boxed_str), version };
    let facts = Rc::new(ClientFacts::new(listener, peer, Some(tls), trusted));
    if is_http2 {
        Box::pin(http2::serve(worker.clone(), transport, facts, &[], watch)).await;
    } else {
        http1::serve(worker.clone(), transport, facts, watch).await;
    }
}

/// Peeks at the `ClientHello`, keeps its bytes, and drives the handshake.
async fn handshaken(
    worker: &Rc<Worker>,
    stream: TcpStream,
    watch: &Registered,
) -> Option<(TlsTransport, Option<String>)> {
    let mut input = Input::default();
    let mut plain = Transport::Plain(stream);
    let hello = loop {
        let read = poll_fn(|cx| {
            if watch.is_expired() {
                return Poll::Ready(Ok(0));
            }
            input.poll_fill(cx, &mut plain, HELLO_BYTES_MAX)
        })
        .await;
        if !matches!(read, Ok(n) if n > 0) || input.end > HELLO_BYTES_MAX {
            return None;
        }
        match peek_client_hello(input.filled()) {
            Peek::Hello(hello) => break hello,
            Peek::Partial => {}
            Peek::Cleartext => {
                let _ =
                    poll_fn(|cx| plain.poll_write(cx, &[io::IoSlice::new(CLEARTEXT_ANSWER)])).await;
                return None;
            }
            Peek::NotTls => return None,
        }
    };
    let Transport::Plain(stream) = plain else { return None };
    let is_named =
        |worker: &Worker| worker.pin().certificate_for(hello.server_name.as_deref()).is_some();
    let was_named = is_named(worker);
    let mut session = ServerConnection::new(worker.tls.clone()).ok()?;
    let mut bytes = input.filled();
    while !bytes.is_empty() {
        session.read_tls(&mut bytes).ok()?;
        if session.process_new_packets().is_err() {
            break;
        }
    }
    let mut tls = TlsTransport::new(stream, session);
    let done = poll_fn(|cx| {
        if watch.is_expired() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        tls.poll_handshake(cx)
    })
    .await;
    done.ok()?;
    if was_named && !is_named(worker) {
        // Its certificate was withdrawn meanwhile, and the client not known yet.
        return None;
    }
    Some((tls, hello.server_name))
}
