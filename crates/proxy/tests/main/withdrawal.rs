//! What is in flight when its route, certificate or listener is withdrawn; and what is not touched.

use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use model::{
    Certificate, CertificateId, Hostname, KeyMaterial, KeyPair, Model, PathKind, PathMatch,
    PrivateKey, Sealed, SharedMap, VirtualHost,
};

use crate::client::{Client, connect};
use crate::endpoint::{Conversation, Endpoint};
use crate::http2_client;
use crate::tls::secure_as;
use crate::world::{PATIENCE, Plan, World, block_on, wait_until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const WEBSOCKET: &[u8] = b"HTTP/1.1 101 Y\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const OTHER: &[u8] = b"HTTP/1.1 101 Y\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// A Close with 1001 as servers send it.
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// A configuration with a route for each of these prefixes.
fn with_paths(world: &World, paths: &[&str]) -> Model {
    let mut model = world.model.clone();
    let host = model.hosts[&Hostname::Any].clone();
    let route = host.routes[0].clone();
    let routes = paths.iter().map(|path| model::Route {
        path: PathMatch::new(PathKind::Prefix, *path),
        ..route.clone()
    });
    let host = VirtualHost { routes: routes.collect(), ..VirtualHost::clone(&host) };
    model.hosts.insert(Hostname::Any, Sealed::new(host));
    model
}

fn publish(world: &World, paths: &[&str]) {
    world.publish(&with_paths(world, paths), &KeyMaterial::new());
}

/// Short for those that are withdrawn, for ever for all others.
fn plan(endpoint: &Endpoint) -> Plan {
    Plan::to(endpoint.address)
        .limits(|limits| limits.withdrawn_timeout = Duration::from_millis(300))
}

fn upgraded(world: &World, path: &str, protocol: &str) -> Client<TcpStream> {
    let mut client = connect(world.http);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    ));
    assert_eq!(client.response("GET").expect("an answer").status, 101);
    client
}

/// Switches to a WebSocket, says `first`, and then sends on all that it heard to its end.
fn websocket(first: &'static [u8]) -> (Endpoint, mpsc::Receiver<Vec<u8>>) {
    let (told, heard) = mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        conversation.request();
        conversation.say(WEBSOCKET);
        conversation.say(first);
        let mut bytes = Vec::new();
        while let Some(byte) = conversation.take(1) {
            bytes.extend(byte);
        }
        let _ = told.send(bytes);
    });
    (endpoint, heard)
}

/// What a client said in a masked frame.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    let mask = &frame[2..6];
    frame[6..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

#[test]
fn a_websocket_whose_route_was_withdrawn_hears_close_on_both_sides() {
    let (endpoint, heard) = websocket(b"\x81\x02hi");
    let world = plan(&endpoint).start();
    publish(&world, &["/gone", "/"]);
    let mut client = upgraded(&world, "/gone", "websocket");
    assert_eq!(client.take(4).unwrap(), b"\x81\x02hi");
    client.send(b"\x81\x81\x00\x00\x00\x00a");
    publish(&world, &["/"]);
    assert_eq!(client.rest().unwrap(), GOING_AWAY);
    let bytes = heard.recv_timeout(PATIENCE).unwrap();
    let (said, close) = bytes.split_at(7);
    assert_eq!(said, b"\x81\x81\x00\x00\x00\x00a");
    assert_eq!((close[0], close[1], &*unmasked(close)), (0x88, 0x82, &[0x03, 0xe9][..]));
    world.wait_for_reason("withdrawn");
}

#[test]
fn a_frame_that_is_half_said_is_not_spoiled_by_a_close() {
    let (endpoint, heard) = websocket(b"\x81\x05hal");
    let world = plan(&endpoint).start();
    publish(&world, &["/gone", "/"]);
    let mut client = upgraded(&world, "/gone", "websocket");
    assert_eq!(client.take(5).unwrap(), b"\x81\x05hal");
    // A length of two bytes, of which one has come.
    client.send(b"\x82\xfe\x01");
    publish(&world, &["/"]);
    assert_eq!(client.rest().unwrap(), b"", "an end in good order");
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"\x82\xfe\x01");
}

#[test]
fn a_stop_tells_websockets_and_ends_other_tunnels_in_good_order() {
    let (endpoint, _heard) = websocket(b"\x81\x02hi");
    let world = plan(&endpoint).start();
    let mut client = upgraded(&world, "/", "websocket");
    assert_eq!(client.take(4).unwrap(), b"\x81\x02hi");
    world.proxy.stop();
    assert_eq!(client.rest().unwrap(), GOING_AWAY);
    let endpoint = Endpoint::new(|conversation| {
        conversation.request();
        conversation.say(OTHER);
        conversation.say(b"hi");
        conversation.wait_for_end();
    });
    let world = plan(&endpoint).start();
    let mut client = upgraded(&world, "/", "echo");
    assert_eq!(client.take(2).unwrap(), b"hi");
    world.proxy.stop();
    assert_eq!(client.rest().unwrap(), b"");
}

/// Answers `/long` by a body that does not end, `/tunnel` by an echo, anything else by `ok`.
fn mixed() -> Endpoint {
    Endpoint::new(|conversation: &mut Conversation| {
        while let Some((head, _)) = conversation.request() {
            let path = head.split(' ').nth(1).unwrap_or_default();
            if path.ends_with("/tunnel") {
                conversation.say(OTHER);
                while let Some(byte) = conversation.take(1) {
                    conversation.say(&byte);
                }
                return;
            } else if path.ends_with("/long") {
                conversation
                    .say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
                return conversation.wait_for_end();
            }
            conversation.say(OK);
        }
    })
}

#[test]
fn what_merely_changed_lives_on() {
    let endpoint = mixed();
    let world = plan(&endpoint).start();
    publish(&world, &["/gone", "/kept", "/"]);
    let mut gone = upgraded(&world, "/gone/tunnel", "echo");
    let mut kept = upgraded(&world, "/kept/tunnel", "echo");
    // Another policy, in another order, under another name; and then without the other route.
    let mut changed = with_paths(&world, &["/", "/kept", "/gone"]);
    let mut host = VirtualHost::clone(&changed.hosts[&Hostname::Any]);
    for route in &mut host.routes {
        route.policy.remove_server_field = true;
        route.provenance.object.name = "other".into();
    }
    changed.hosts.insert(Hostname::Any, Sealed::new(host));
    world.publish(&changed, &KeyMaterial::new());
    gone.send("a");
    assert_eq!(gone.take(1).unwrap(), b"a");
    publish(&world, &["/kept", "/"]);
    assert_eq!(gone.rest().unwrap(), b"");
    kept.send("b");
    assert_eq!(kept.take(1).unwrap(), b"b");
}

#[test]
fn a_route_that_is_closed_is_withdrawn() {
    let endpoint = mixed();
    let world = plan(&endpoint).start();
    let mut tunnel = upgraded(&world, "/tunnel", "echo");
    let mut long = connect(world.http);
    long.send("GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(long.head().unwrap().starts_with("HTTP/1.1 200"));
    let mut closed = with_paths(&world, &["/"]);
    let mut host = VirtualHost::clone(&closed.hosts[&Hostname::Any]);
    host.routes[0].policy.closed =
        Some(model::ClosedReason { code: "unsupported-annotation".into(), field: "x".into() });
    closed.hosts.insert(Hostname::Any, Sealed::new(host));
    world.publish(&closed, &KeyMaterial::new());
    assert_eq!(tunnel.rest().unwrap(), b"");
    // Without its last chunk it is no complete response.
    assert_eq!(long.rest().unwrap(), b"1\r\na\r\n");
    assert_eq!(connect(world.http).get("/").status, 503);
    // What comes back is new, and lives.
    publish(&world, &["/"]);
    let mut again = upgraded(&world, "/tunnel", "echo");
    again.send("z");
    assert_eq!(again.take(1).unwrap(), b"z");
}

#[test]
fn a_connection_kept_alive_is_ended_by_its_next_answer() {
    let (asked, was_asked) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    let may_answer = std::sync::Mutex::new(may_answer);
    let endpoint = Endpoint::new(move |conversation| {
        while let Some((head, _)) = conversation.request() {
            if head.starts_with("GET /gone/slow") {
                asked.send(()).expect("the test waits for it");
                let may_answer = may_answer.lock().expect("nobody panics with it");
                may_answer.recv_timeout(PATIENCE).expect("the test says so");
            }
            conversation.say(OK);
        }
    });
    let world = Plan::to(endpoint.address).start();
    publish(&world, &["/gone", "/"]);
    let mut idle = connect(world.http);
    assert_eq!(idle.get("/gone").status, 200);
    let mut other = connect(world.http);
    assert_eq!(other.get("/").status, 200);
    let mut busy = connect(world.http);
    busy.send("GET /gone/slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    was_asked.recv_timeout(PATIENCE).unwrap();
    publish(&world, &["/"]);
    answer.send(()).unwrap();
    let response = busy.response("GET").unwrap();
    assert_eq!((response.status, &*response.body), (200, &b"ok"[..]));
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(busy.is_ended());
    let response = idle.get("/");
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(idle.is_ended());
    for _ in 0..2 {
        assert!(!other.get("/").has("connection: close"));
    }
}

#[test]
fn an_http_2_stream_is_reset_and_its_connection_lives() {
    let endpoint = mixed();
    let world = plan(&endpoint).start();
    publish(&world, &["/gone", "/"]);
    block_on(async {
        let send = http2_client::open(world.http, 1 << 16, 1 << 20).await;
        let gone = http2_client::ask(&send, http2_client::get("/gone/long")).await.unwrap();
        let mut kept =
            http2_client::ask(&send, http2_client::get("/long")).await.unwrap().into_body();
        publish(&world, &["/"]);
        let error = http2_client::read(gone).await.unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
        let answer = http2_client::ask(&send, http2_client::get("/")).await.unwrap();
        assert_eq!(http2_client::read(answer).await.unwrap().0, b"ok");
        assert_eq!(kept.data().await.unwrap().unwrap(), "a");
    });
}

#[test]
fn a_call_is_told_that_its_service_is_unavailable() {
    let endpoint = mixed();
    let world = plan(&endpoint).start();
    publish(&world, &["/gone", "/"]);
    block_on(async {
        let send = http2_client::open(world.http, 1 << 16, 1 << 20).await;
        let mut call = http2_client::get("/gone/long");
        call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let response = http2_client::ask(&send, call).await.unwrap();
        publish(&world, &["/"]);
        let (body, trailers) = http2_client::read(response).await.unwrap();
        let trailers = trailers.unwrap();
        assert_eq!(body, b"a");
        assert_eq!(trailers["grpc-status"], "14");
        assert_eq!(trailers["grpc-message"], "withdrawn");
    });
}

fn certificate(model: &mut Model, material: &mut KeyMaterial, name: &str) {
    let key = rcgen::KeyPair::generate().expect("a test's own means");
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a test's own means");
    let id = CertificateId(name.into());
    let known = Certificate {
        names: vec![name.into()],
        not_before: 0,
        not_after: i64::MAX,
        provenance: model.hosts[&Hostname::Any].provenance.clone(),
    };
    model.certificates.insert(id.clone(), known);
    model.sni.insert(Hostname::Exact(name.into()), id.clone());
    let pair = KeyPair {
        chain: vec![certificate.der().to_vec()],
        key: PrivateKey::Pkcs8(key.serialize_der().into()),
    };
    material.insert(id, Arc::new(pair));
}

/// An endpoint that says when it is asked for `/slow`, and answers that when it is told to.
fn held_up() -> (Endpoint, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (asked, was_asked) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    let may_answer = std::sync::Mutex::new(may_answer);
    let endpoint = Endpoint::new(move |conversation| {
        while let Some((head, _)) = conversation.request() {
            if head.starts_with("GET /slow") {
                asked.send(()).expect("the test waits for it");
                let may_answer = may_answer.lock().expect("nobody panics with it");
                may_answer.recv_timeout(PATIENCE).expect("the test says so");
            }
            conversation.say(OK);
        }
    });
    (endpoint, was_asked, answer)
}

#[test]
fn connections_whose_certificate_was_withdrawn_serve_no_other_request() {
    let (endpoint, was_asked, answer) = held_up();
    let world = Plan::to(endpoint.address).start();
    let (mut model, mut material) = (world.model.clone(), KeyMaterial::new());
    certificate(&mut model, &mut material, "gone.test");
    certificate(&mut model, &mut material, "kept.test");
    world.publish(&model, &material);
    let open = |name| {
        let mut client = secure_as(name, connect(world.https).stream);
        assert_eq!(client.get("/").status, 200);
        client
    };
    let (mut idle, mut busy) = (open("gone.test"), open("gone.test"));
    let (mut kept, mut unnamed) = (open("kept.test"), open("unknown.test"));
    busy.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    was_asked.recv_timeout(PATIENCE).unwrap();
    // A renewed certificate is not a withdrawn one.
    certificate(&mut model, &mut material, "kept.test");
    model.sni.remove(&Hostname::Exact("gone.test".into()));
    world.publish(&model, &material);
    assert!(idle.is_ended());
    answer.send(()).unwrap();
    let response = busy.response("GET").unwrap();
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(busy.is_ended());
    for client in [&mut kept, &mut unnamed] {
        assert!(!client.get("/").has("connection: close"));
    }
}

#[test]
fn connections_of_a_listener_that_went_end_with_their_next_answer() {
    let endpoint = mixed();
    let world = plan(&endpoint).start();
    let mut idle = connect(world.http);
    assert_eq!(idle.get("/").status, 200);
    let mut tunnel = upgraded(&world, "/tunnel", "echo");
    let mut model = world.model.clone();
    model.listeners.retain(|listener| listener.protocol == model::ListenerProtocol::Https);
    world.publish(&model, &KeyMaterial::new());
    let response = idle.get("/");
    assert_eq!(response.status, 200);
    assert!(response.has("connection: close"), "{}", response.head);
    assert_eq!(tunnel.rest().unwrap(), b"");
    wait_until("both to be gone", || world.proxy.connections() == 0);
}

#[test]
fn an_http_2_client_whose_certificate_was_withdrawn_is_told_to_go_away() {
    let (endpoint, was_asked, answer) = held_up();
    let world = Plan::to(endpoint.address).start();
    let (mut model, mut material) = (world.model.clone(), KeyMaterial::new());
    certificate(&mut model, &mut material, "a.test");
    world.publish(&model, &material);
    block_on(async {
        let send = http2_client::secured(&world).await;
        let mut ready = send.clone().ready().await.unwrap();
        let (slow, _) = ready.send_request(http2_client::get("/slow"), true).unwrap();
        let slow = tokio::spawn(slow);
        tokio::task::spawn_blocking(move || was_asked.recv_timeout(PATIENCE))
            .await
            .unwrap()
            .unwrap();
        model.sni = SharedMap::new();
        world.publish(&model, &material);
        while let Ok(served) = http2_client::ask(&send, http2_client::get("/")).await {
            // It came before the client had heard.
            assert_eq!(served.status(), 200);
        }
        answer.send(()).unwrap();
        let response = slow.await.unwrap().unwrap();
        assert_eq!(http2_client::read(response).await.unwrap().0, b"ok");
    });
}

#[test]
fn a_websocket_over_http_2_hears_close_and_its_stream_ends_in_order() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some(head) = conversation.head() {
            if head.starts_with("GET /first") {
                conversation.say(OK);
                continue;
            }
            conversation.say(WEBSOCKET);
            conversation.say(b"\x81\x02hi");
            conversation.wait_for_end();
        }
    });
    let world = plan(&endpoint).start();
    publish(&world, &["/chat", "/"]);
    block_on(async {
        let send = http2_client::open(world.http, 1 << 16, 1 << 20).await;
        let (response, _up) = http2_client::open_websocket(&send).await;
        let mut body = response.await.unwrap().into_body();
        publish(&world, &["/"]);
        let mut heard = Vec::new();
        while let Some(data) = body.data().await {
            heard.extend_from_slice(&data.expect("an end in good order"));
        }
        assert_eq!(heard, b"\x81\x02hi\x88\x02\x03\xe9");
    });
}
