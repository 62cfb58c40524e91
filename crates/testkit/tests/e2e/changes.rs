//! Change under load: nothing in flight is touched, nothing is lost, what cannot be read is kept.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use testkit::client::grpc::{self, GrpcClient};
use testkit::client::raw::RawClient;
use testkit::client::websocket::{self, WebSocket};
use testkit::{Echo, Endpoint, Gateway, GatewayOptions, block_on, manifests, wait_until};

use crate::{GET, OK, app, in_front_of};

fn ingress(name: &str, host: &str) -> String {
    manifests::ingress(name, host, "app")
}

#[test]
fn what_is_saved_is_served_and_what_is_removed_is_gone() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    assert_eq!(gateway.get("new.test", "/").status(), 404);
    gateway.change(|gateway| gateway.apply("new.yaml", ingress("new", "new.test")));
    assert_eq!(gateway.get("new.test", "/").text(), "ok");
    gateway.change(|gateway| gateway.apply("new.yaml", ingress("new", "other.test")));
    assert_eq!(gateway.get("new.test", "/").status(), 404);
    assert_eq!(gateway.get("other.test", "/").text(), "ok");
    gateway.change(|gateway| gateway.apply("below/deep/er.yaml", ingress("deep", "deep.test")));
    assert_eq!(gateway.get("deep.test", "/").text(), "ok");
    gateway.change(|gateway| gateway.remove("new.yaml"));
    assert_eq!(gateway.get("other.test", "/").status(), 404);
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
}

#[test]
fn a_file_that_cannot_be_read_keeps_what_it_last_said() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    gateway.change(|gateway| gateway.apply("new.yaml", ingress("new", "new.test")));
    gateway.apply("new.yaml", "apiVersion: networking.k8s.io/v1\nkind: [Ingress\n");
    gateway.wait_for_log("unreadable-manifest");
    assert_eq!(gateway.get("new.test", "/").text(), "ok");
    assert!(gateway.is_ready());
    gateway.change(|gateway| gateway.apply("new.yaml", ingress("new", "mended.test")));
    assert_eq!(gateway.get("mended.test", "/").text(), "ok");
    assert_eq!(gateway.get("new.test", "/").status(), 404);
}

#[test]
fn endpoints_come_and_go_without_another_generation() {
    let first = Endpoint::answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    let second = Endpoint::answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    let gateway = in_front_of(&first);
    let generation = gateway.generation();
    assert_eq!(gateway.get("app.test", "/").text(), "1");
    gateway.apply("app.yaml", app(&[&second]));
    wait_until("the second endpoint answers", || gateway.get("app.test", "/").text() == "2");
    assert_eq!(gateway.generation(), generation);
}

#[test]
fn nothing_is_lost_while_everything_changes() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            conversation.read_request()?;
            conversation.write(OK)?;
        }
    });
    let gateway = Arc::new(in_front_of(&endpoint));
    let is_over = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (gateway, is_over, served) =
                (Arc::clone(&gateway), Arc::clone(&is_over), Arc::clone(&served));
            std::thread::spawn(move || {
                let mut kept = gateway.connect();
                while !is_over.load(Ordering::SeqCst) {
                    // Two clients keep their connection, two connect each time.
                    let response =
                        if n % 2 == 0 { kept.exchange(GET) } else { gateway.get("app.test", "/") };
                    assert_eq!(response.text(), "ok", "{}", response.head);
                    // Every connection ends in good order after its share of requests.
                    let last = response.field("connection");
                    if last.is_some_and(|option| option.eq_ignore_ascii_case("close")) {
                        kept = gateway.connect();
                    }
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for n in 0..100 {
        let name = format!("storm-{}.yaml", n % 10);
        gateway.change(|gateway| {
            gateway.apply(&name, ingress(&format!("storm-{}", n % 10), &format!("storm{n}.test")));
        });
        assert_eq!(gateway.get(&format!("storm{n}.test"), "/").text(), "ok");
    }
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no request was lost");
    }
    assert!(served.load(Ordering::SeqCst) > 100);
}

#[test]
fn long_exchanges_live_through_any_number_of_changes() {
    let socket = websocket::echo_endpoint();
    let slow = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n")?;
        conversation.drip(&[b'x'; 200], Duration::from_millis(10))
    });
    let gateway = GatewayOptions::new()
        .file(
            "all.yaml",
            manifests::all(&[
                manifests::service("slow", &[slow.address()]),
                manifests::ingress("slow", "slow.test", "slow"),
                manifests::service("socket", &[socket]),
                manifests::ingress("socket", "socket.test", "socket"),
            ]),
        )
        .start();
    let mut download = gateway.connect();
    download.send("GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n");
    block_on(async {
        let mut socket = WebSocket::connect(gateway.http(), "ws://socket.test/").await.unwrap();
        for n in 0..20 {
            gateway.change(|gateway| {
                gateway.apply("more.yaml", ingress("more", &format!("more{n}.test")));
            });
            assert_eq!(socket.say("still here?").await.unwrap(), "still here?");
        }
        socket.close().await.unwrap();
    });
    assert_eq!(download.read_response("GET").body, [b'x'; 200]);
}

#[test]
fn a_certificate_is_replaced_without_a_connection_lost() {
    let authority = testkit::Authority::new();
    let echo = Echo::start("app");
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                ingress("app", "app.test") + &manifests::tls("app.test", "app"),
            ]),
        )
        .file("secret.yaml", authority.leaf(&["app.test"]).secret("default", "app"))
        .start();
    let config = testkit::tls::client(authority.roots(), &["http/1.1"]);
    let connect =
        |gateway: &Gateway| RawClient::connect_tls(gateway.https(), "app.test", &config).unwrap();
    let mut old = connect(&gateway);
    let shown = old.certificate();
    assert_eq!(old.exchange(GET).status(), 200);
    gateway.apply("secret.yaml", authority.leaf(&["app.test"]).secret("default", "app"));
    wait_until("new handshakes get the new certificate", || {
        connect(&gateway).certificate() != shown
    });
    assert_eq!(old.exchange(GET).status(), 200);
    // A Secret that no longer parses keeps its last certificate.
    let now = connect(&gateway).certificate();
    let broken = "apiVersion: v1\nkind: Secret\nmetadata: { name: app, namespace: default }\n\
                  type: kubernetes.io/tls\nstringData: { tls.crt: broken, tls.key: broken }\n";
    gateway.apply("secret.yaml", broken);
    gateway.wait_for_log("certificate-kept");
    assert_eq!(connect(&gateway).certificate(), now);
}

#[test]
fn equal_objects_make_an_equal_generation_after_a_restart() {
    let endpoint = Endpoint::answering(OK);
    let first = GatewayOptions::new()
        .file("a.yaml", app(&[&endpoint]))
        .file("b.yaml", ingress("b", "b.test"))
        .start();
    let second = GatewayOptions::new()
        .file("1.yaml", ingress("b", "b.test"))
        .file("2.yaml", app(&[&endpoint]))
        .start();
    let generation = |gateway: &Gateway| {
        // Listeners are part of the Model; their ports differ here.
        let mut snapshot = gateway.snapshot();
        let model = snapshot["model"].take();
        assert!(model.is_object(), "a snapshot has the Model");
        (model["hosts"].clone(), model["upstreams"].clone())
    };
    assert_eq!(generation(&first), generation(&second));
}

#[test]
fn listeners_come_and_go_without_a_request_lost() {
    let endpoint = Endpoint::answering(OK);
    let gateway = GatewayOptions::new()
        .file("app.yaml", app(&[&endpoint]))
        .config("http: [\"{http}\"]\n")
        .start();
    let second = testkit::gateway::free_address();
    let mut kept = gateway.connect();
    assert_eq!(kept.exchange(GET).text(), "ok");
    gateway.reconfigure(&format!("http: [\"{{http}}\", \"{second}\"]\n"));
    wait_until("the second listener answers", || TcpStream::connect(second).is_ok());
    let mut other = RawClient::connect(second);
    assert_eq!(other.exchange(GET).text(), "ok");
    assert_eq!(kept.exchange(GET).text(), "ok");
    gateway.reconfigure(&format!("http: [\"{second}\"]\n"));
    wait_until("the first listener is gone", || TcpStream::connect(gateway.http()).is_err());
    assert_eq!(other.exchange(GET).text(), "ok");
    assert_eq!(RawClient::connect(second).exchange(GET).text(), "ok");
    // What came through the listener that is gone is served to its end.
    if kept.try_send(GET).is_ok()
        && let Ok(response) = kept.try_read_response("GET")
    {
        assert_eq!(response.text(), "ok");
    }
}

#[test]
fn a_grpc_stream_lives_through_any_number_of_changes() {
    let gateway = GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[grpc::echo_endpoint()]),
                manifests::ingress_with("app", "grpc.test", "app", &[("backend-protocol", "GRPC")]),
            ]),
        )
        .start();
    block_on(async {
        let mut client = GrpcClient::connect(gateway.http(), "grpc.test").await;
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let messages = futures_util::stream::unfold(receive, |mut receive| async {
            receive.recv().await.map(|message: Bytes| (message, receive))
        });
        send.send(Bytes::from("first")).await.unwrap();
        let mut answers = client.stream("/test.Echo/Talk", messages).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap(), "first");
        for n in 0..20 {
            gateway.change(|gateway| {
                gateway.apply("more.yaml", ingress("more", &format!("more{n}.test")));
            });
            send.send(Bytes::from(n.to_string())).await.unwrap();
            assert_eq!(answers.message().await.unwrap().unwrap(), n.to_string());
        }
        drop(send);
        assert_eq!(answers.message().await.unwrap(), None);
    });
}

#[test]
fn listeners_flicker_under_load_and_the_one_that_stays_loses_nothing() {
    let slow = Endpoint::start(|conversation| {
        loop {
            conversation.read_request()?;
            std::thread::sleep(Duration::from_millis(20));
            conversation.write(OK)?;
        }
    });
    let gateway =
        GatewayOptions::new().file("app.yaml", app(&[&slow])).config("http: \"{http}\"\n").start();
    let is_over = Arc::new(AtomicBool::new(false));
    let staying = {
        let (address, is_over) = (gateway.http(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                let mut client = RawClient::connect(address);
                for _ in 0..3 {
                    assert_eq!(client.exchange(GET).text(), "ok");
                }
            }
        })
    };
    let second = testkit::gateway::free_address();
    for _ in 0..10 {
        gateway.reconfigure(&format!("http: [\"{{http}}\", \"{second}\"]\n"));
        wait_until("the second listener is there", || TcpStream::connect(second).is_ok());
        // One that is in flight when the listener goes is answered, and told to come no more.
        let mut leaving = RawClient::connect(second);
        leaving.send(GET);
        let before = slow.text().len();
        wait_until("the endpoint is asked", || slow.text().len() > before || slow.open() > 1);
        gateway.reconfigure("http: \"{http}\"\n");
        assert_eq!(leaving.read_response("GET").text(), "ok");
        wait_until("the second listener is gone", || TcpStream::connect(second).is_err());
    }
    is_over.store(true, Ordering::SeqCst);
    staying.join().expect("the listener that stays lost nothing");
}
