//! TLS with endpoints.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use model::UpstreamProtocol;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::client::connect;
use crate::endpoint::Endpoint;
use crate::world::{Plan, World};

type Secured = StreamOwned<ServerConnection, TcpStream>;

fn config() -> Arc<ServerConfig> {
    let names = vec!["endpoint.test".to_owned()];
    let pair = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("all versions")
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key.into())
        .expect("the key of the certificate");
    Arc::new(config)
}

/// An endpoint over TLS; the script sees plaintext.
fn endpoint(script: impl Fn(&mut Secured) + Send + Sync + 'static) -> (Endpoint, World) {
    let config = config();
    let endpoint = Endpoint::new(move |conversation| {
        let session = ServerConnection::new(config.clone()).expect("a session");
        let stream = conversation.stream.try_clone().expect("a descriptor");
        script(&mut StreamOwned::new(session, stream));
    });
    let world = Plan::to(endpoint.address)
        .protocol(UpstreamProtocol::Https)
        .limits(|limits| limits.response_timeout = Duration::from_secs(3))
        .start();
    (endpoint, world)
}

/// Reads a head; what was read behind it.
fn head(stream: &mut Secured) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut scratch = [0; 16 * 1024];
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return Some(bytes.split_off(at + 4));
        }
        let read = stream.read(&mut scratch).ok()?;
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&scratch[..read]);
    }
}

#[test]
fn large_bodies_pass_both_ways_and_the_connection_is_used_again() {
    const LENGTH: usize = 2_000_000;
    let (endpoint, world) = endpoint(|stream| {
        while let Some(mut body) = head(stream) {
            let read = body.len();
            body.resize(LENGTH, 0);
            if stream.read_exact(&mut body[read..]).is_err() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("the proxy reads");
            stream.write_all(&body).expect("the proxy reads");
        }
    });
    let body: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
    let mut client = connect(world.http);
    for _ in 0..3 {
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LENGTH}\r\n\r\n"));
        client.send(&body);
        assert!(client.response("POST").unwrap().body == body);
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn what_a_client_has_sent_reaches_a_slow_endpoint_while_the_client_is_silent() {
    for part in [5_000_000, 5_100_000, 5_200_000] {
        let (_endpoint, world) = endpoint(move |stream| {
            let Some(mut body) = head(stream) else { return };
            std::thread::sleep(Duration::from_millis(300));
            let read = body.len();
            body.resize(part, 0);
            if stream.read_exact(&mut body[read..]).is_err() {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            let mut byte = [0];
            let _ = stream.read(&mut byte);
        });
        let mut client = connect(world.http);
        // One byte is kept back: the upload does not end.
        let length = part + 1;
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n"));
        client.send(vec![b'x'; part]);
        assert_eq!(client.response("POST").expect("an early answer").status, 200, "{part}");
    }
}

#[test]
fn a_body_until_close_is_whole_only_with_a_goodbye() {
    for polite in [true, false] {
        let (_endpoint, world) = endpoint(move |stream| {
            head(stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody").unwrap();
            if polite {
                stream.conn.send_close_notify();
            }
            let _ = stream.flush();
        });
        let mut client = connect(world.http);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let response = client.response("GET");
        assert_eq!(response.is_ok_and(|response| response.body == b"body"), polite);
    }
}

#[test]
fn an_endpoint_that_does_not_speak_tls_is_502_and_one_that_says_nothing_504() {
    let plain = Endpoint::new(|conversation| {
        conversation.say(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        conversation.wait_for_end();
    });
    let world = Plan::to(plain.address).protocol(UpstreamProtocol::Https).start();
    assert_eq!(connect(world.http).get("/").status, 502);
    let silent = Endpoint::new(crate::endpoint::Conversation::wait_for_end);
    let world = Plan::to(silent.address)
        .protocol(UpstreamProtocol::Https)
        .limits(|limits| limits.connect_timeout = Duration::from_millis(300))
        .start();
    assert_eq!(connect(world.http).get("/").status, 504);
}
