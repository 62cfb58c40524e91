//! TLS with clients: what waits, what is cut, what is not TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::client::{Client, connect};
use crate::endpoint::Endpoint;
use crate::world::Plan;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(crate) type Secured = Client<StreamOwned<ClientConnection, TcpStream>>;

/// Takes any certificate: these tests are not about trust.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub(crate) fn config(protocols: &[&str]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("a test's own means")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn secure(stream: TcpStream) -> Secured {
    secure_as("a.test", stream)
}

/// A connection that asks for this name.
pub(crate) fn secure_as(name: &'static str, stream: TcpStream) -> Secured {
    let name = ServerName::try_from(name).expect("a test's own means");
    let session = ClientConnection::new(config(&["http/1.1"]), name).expect("a test's own means");
    Client::over(StreamOwned::new(session, stream))
}

pub(crate) fn connect_tls(address: SocketAddr) -> Secured {
    secure(connect(address).stream)
}

/// A connection whose buffers are small, so that a client that does not read is felt at once.
fn small(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .expect("a test's own means");
    socket.set_tcp_mss(536).expect("a test's own means");
    socket.set_recv_buffer_size(4096).expect("a test's own means");
    socket.connect(&address.into()).expect("a test's own means");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a test's own means");
    stream
}

#[test]
fn requests_follow_each_other_over_tls() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    let mut client = connect_tls(world.https);
    for _ in 0..3 {
        assert_eq!(client.get("/").body, b"ok");
    }
}

#[test]
fn what_was_written_reaches_a_slow_client_while_the_endpoint_is_silent() {
    // Where the last write to TLS falls depends on the kernel: several sizes find it.
    for part in [200_000, 250_000, 300_000, 400_000] {
        let endpoint = Endpoint::new(move |conversation| {
            conversation.request();
            let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n".to_vec();
            answer.resize(answer.len() + part, b'x');
            conversation.say(&answer);
            // Silent, and still connected.
            conversation.wait_for_end();
        });
        let world = Plan::to(endpoint.address).start();
        let mut client = secure(small(world.https));
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.head().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let body = client.take(part);
        assert!(body.is_ok(), "{part} bytes: {:?}", body.err());
    }
}

#[test]
fn a_cut_body_is_not_closed_in_order() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    });
    let world = Plan::to(endpoint.address).start();
    for _ in 0..5 {
        let mut client = connect_tls(world.https);
        client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
        let response = client.response("GET");
        assert!(response.is_err(), "looks complete: {response:?}");
    }
}

#[test]
fn an_orderly_end_is_told_by_close_notify() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    let mut client = connect_tls(world.https);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response("GET").unwrap().body, b"ok");
    assert!(client.is_ended());
}

#[test]
fn large_bodies_pass_both_ways() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((_, body)) = conversation.request() {
            conversation.say(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
            );
            conversation.say(&body);
        }
    });
    let world = Plan::to(endpoint.address).start();
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = connect_tls(world.https);
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        assert!(client.response("POST").unwrap().body == body);
    }
}

#[test]
fn cleartext_on_the_tls_port_is_told_so() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.https);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let response = client.response("GET").unwrap();
    assert_eq!(response.status, 400);
    assert!(response.body.ends_with(b"HTTPS\n"), "{}", response.body.escape_ascii());
    assert!(client.is_ended());
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.handshake_timeout = Duration::from_millis(300))
        .start();
    for bytes in [&b""[..], b"\x16\x03\x01"] {
        let mut client = connect(world.https);
        client.stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        let end = client.stream.read_to_end(&mut rest);
        let waits = matches!(&end, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!waits, "the connection ends");
    }
}

#[test]
fn a_hello_in_single_bytes_is_understood() {
    let endpoint = Endpoint::saying(OK);
    let world = Plan::to(endpoint.address).start();
    let name = ServerName::try_from("a.test").unwrap();
    let mut session = ClientConnection::new(config(&["http/1.1"]), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let mut stream = connect(world.https).stream;
    for byte in hello {
        stream.write_all(&[byte]).unwrap();
        std::thread::sleep(Duration::from_micros(100));
    }
    let mut client = Client::over(StreamOwned::new(session, stream));
    assert_eq!(client.get("/").body, b"ok");
}

#[test]
fn a_client_that_says_goodbye_after_its_request_is_still_answered() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        std::thread::sleep(Duration::from_millis(200));
        conversation.say(OK);
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect_tls(world.https);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    assert_eq!(client.response("GET").unwrap().body, b"ok");
}
