//! The clients that users have: curl, openssl, WebSocket, gRPC.

use std::io::Write as _;
use std::process::{Command, Stdio};

use bytes::Bytes;
use testkit::client::grpc::{self, GrpcClient};
use testkit::client::websocket::{self, WebSocket};
use testkit::curl::{curl, try_curl};
use testkit::{Authority, Echo, Endpoint, Gateway, GatewayOptions, block_on, manifests};

/// A gateway for `app.test` in cleartext and TLS, with a certificate of this authority.
fn with_tls(authority: &Authority, echo: &Echo) -> Gateway {
    let ingress = manifests::ingress_with("app", "app.test", "app", &[("ssl-redirect", "false")]);
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                ingress + &manifests::tls("app.test", "app"),
                authority.leaf(&["app.test"]).secret("default", "app"),
            ]),
        )
        .start()
}

#[test]
fn curl_is_answered_in_cleartext_and_by_prior_knowledge() {
    let echo = Echo::start("app");
    let gateway = with_tls(&Authority::new(), &echo);
    let answer = curl(gateway.http(), &["--http1.1"], "http://app.test/x?y=z");
    assert_eq!(answer.json()["path"], "/x");
    let answer = curl(gateway.http(), &["--http2-prior-knowledge"], "http://app.test/h2");
    assert!(answer.start.starts_with("HTTP/2 200"), "{}", answer.head);
    assert_eq!(answer.json()["path"], "/h2");
    let answer = curl(gateway.http(), &["--http1.0"], "http://app.test/old");
    assert_eq!(answer.json()["path"], "/old");
    let answer = curl(gateway.http(), &["--head"], "http://app.test/");
    assert_eq!(answer.status(), 200);
}

#[test]
fn a_client_that_offers_to_switch_to_http_2_is_answered_in_http_1() {
    let echo = Echo::start("app");
    let ingress = manifests::ingress("app", "app.test", "app");
    let service = manifests::service("app", &[echo.address()]);
    let gateway = Gateway::serving(manifests::all(&[service, ingress]));
    // curl asks by `Upgrade: h2c`, which no endpoint must hear: it would hide requests from us.
    let answer = curl(gateway.http(), &["--http2"], "http://app.test/");
    assert!(answer.start.starts_with("HTTP/1.1 200"), "{}", answer.head);
    let seen = answer.json()["headers"].to_string().to_lowercase();
    assert!(!seen.contains("h2c") && !seen.contains("http2-settings"), "{seen}");
}

#[test]
fn curl_verifies_the_certificate_and_speaks_both_protocols_over_tls() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let gateway = with_tls(&authority, &echo);
    let root = gateway.directory().join("root.pem.txt");
    std::fs::write(&root, authority.pem()).unwrap();
    let root = root.to_str().unwrap();
    for (flag, start) in [("--http1.1", "HTTP/1.1 200"), ("--http2", "HTTP/2 200")] {
        for version in ["1.2", "1.3"] {
            let flags = ["--cacert", root, flag, "--tls-max", version];
            let answer = curl(gateway.https(), &flags, "https://app.test/x");
            assert!(answer.start.starts_with(start), "{}", answer.head);
            assert_eq!(answer.json()["path"], "/x");
        }
    }
    let error = try_curl(gateway.https(), &["--cacert", root], "https://other.test/").unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn curl_uploads_with_100_continue_and_in_chunks() {
    let echo = Echo::start("app");
    let gateway = with_tls(&Authority::new(), &echo);
    let body = "b".repeat(200_000);
    let file = gateway.directory().join("body.txt");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    for flags in [
        &["--http1.1", "--header", "Expect: 100-continue"][..],
        &["--http1.1", "--header", "Transfer-Encoding: chunked"],
        &["--http2-prior-knowledge"],
    ] {
        let flags = [flags, &["--data-binary", &data]].concat();
        let answer = curl(gateway.http(), &flags, "http://app.test/upload");
        assert_eq!(answer.json()["body"].as_str().map(str::len), Some(body.len()), "{flags:?}");
    }
}

#[test]
fn openssl_sees_the_chain_the_versions_and_a_resumed_session() {
    let authority = Authority::new();
    let echo = Echo::start("app");
    let gateway = with_tls(&authority, &echo);
    let root = gateway.directory().join("root.pem.txt");
    std::fs::write(&root, authority.pem()).unwrap();
    let root = root.to_str().unwrap();
    let request = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let session = gateway.directory().join(format!("session{version}.txt"));
        let session = session.to_str().unwrap();
        let first = s_client(&gateway, &[version, "-CAfile", root, "-sess_out", session], request);
        assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
        assert!(first.contains("HTTP/1.1 200 OK"), "{first}");
        let again = s_client(&gateway, &[version, "-CAfile", root, "-sess_in", session], request);
        assert!(again.contains("Reused, "), "{again}");
    }
    let old = s_client(&gateway, &["-tls1_1"], request);
    assert!(!old.contains("HTTP/1.1 200"), "{old}");
    let alpn = s_client(&gateway, &["-alpn", "h2,http/1.1"], "");
    assert!(alpn.contains("ALPN protocol: h2"), "{alpn}");
}

/// Runs `openssl s_client` with this input; everything that it said.
fn s_client(gateway: &Gateway, flags: &[&str], input: &str) -> String {
    let address = gateway.https().to_string();
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "app.test", "-ign_eof"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed (.ci/run installs it)");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let _ = stdin.write_all(input.as_bytes());
    if input.is_empty() {
        // Without a request the server waits; the handshake is all that is asked for.
        let _ = stdin.write_all(b"PRI");
        std::thread::sleep(std::time::Duration::from_millis(500));
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn websockets_carry_messages_both_ways() {
    let address = websocket::echo_endpoint();
    let gateway = Gateway::serving(manifests::all(&[
        manifests::service("app", &[address]),
        manifests::ingress("app", "app.test", "app"),
    ]));
    block_on(async {
        let mut socket = WebSocket::connect(gateway.http(), "ws://app.test/chat").await.unwrap();
        for n in 0..100 {
            let text = format!("{n} {}", "m".repeat(n * 500));
            assert_eq!(socket.say(&text).await.unwrap(), text);
        }
        socket.close().await.unwrap();
    });
}

#[test]
fn a_websocket_is_refused_where_there_is_none() {
    let endpoint = Endpoint::answering(crate::OK);
    let gateway = crate::in_front_of(&endpoint);
    block_on(async {
        assert!(WebSocket::connect(gateway.http(), "ws://app.test/").await.is_err());
        assert!(WebSocket::connect(gateway.http(), "ws://none.test/").await.is_err());
    });
}

/// A gateway for `grpc.test` in cleartext and TLS, to a gRPC endpoint.
fn grpc_gateway(authority: &Authority) -> Gateway {
    let annotations = [("backend-protocol", "GRPC"), ("ssl-redirect", "false")];
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[grpc::echo_endpoint()]),
                manifests::ingress_with("app", "grpc.test", "app", &annotations)
                    + &manifests::tls("grpc.test", "app"),
                authority.leaf(&["grpc.test"]).secret("default", "app"),
            ]),
        )
        .start()
}

#[test]
fn grpc_calls_have_their_answers_and_statuses() {
    let authority = Authority::new();
    let gateway = grpc_gateway(&authority);
    block_on(async {
        for is_tls in [false, true] {
            let mut client = if is_tls {
                GrpcClient::connect_tls(gateway.https(), "grpc.test", authority.pem()).await
            } else {
                GrpcClient::connect(gateway.http(), "grpc.test").await
            };
            let large = "x".repeat(1_000_000);
            for message in ["", "hello", &large] {
                let answer = client.unary("/test.Echo/Say", message.as_bytes()).await.unwrap();
                assert_eq!(answer, message);
            }
            let status = client.unary("/test.Echo/Fail", b"hello").await.unwrap_err();
            assert_eq!(status.code() as i32, 5);
        }
    });
}

#[test]
fn grpc_streams_run_both_ways_at_once() {
    let authority = Authority::new();
    let gateway = grpc_gateway(&authority);
    block_on(async {
        let mut client = GrpcClient::connect(gateway.http(), "grpc.test").await;
        let (send, receive) = tokio::sync::mpsc::channel(1);
        let messages = futures_util::stream::unfold(receive, |mut receive| async {
            receive.recv().await.map(|message: Bytes| (message, receive))
        });
        send.send(Bytes::from("0")).await.unwrap();
        let mut answers = client.stream("/test.Echo/Talk", messages).await.unwrap();
        for n in 1..50 {
            assert_eq!(answers.message().await.unwrap().unwrap(), (n - 1).to_string());
            send.send(Bytes::from(n.to_string())).await.unwrap();
        }
        drop(send);
        assert_eq!(answers.message().await.unwrap().unwrap(), "49");
        assert_eq!(answers.message().await.unwrap(), None);
        let trailers = answers.trailers().await.unwrap().unwrap_or_default();
        assert!(trailers.get("grpc-status").is_none_or(|status| status == "0"));
    });
}

#[test]
fn a_grpc_client_learns_of_a_missing_endpoint_in_its_own_words() {
    let gone = Endpoint::answering(crate::OK);
    let gateway = Gateway::serving(manifests::all(&[
        manifests::service("app", &[gone.address()]),
        manifests::ingress_with("app", "grpc.test", "app", &[("backend-protocol", "GRPC")]),
    ]));
    gone.kill();
    block_on(async {
        let mut client = GrpcClient::connect(gateway.http(), "grpc.test").await;
        let status = client.unary("/test.Echo/Say", b"hello").await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
    });
}
