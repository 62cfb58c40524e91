//! TLS sessions: resumed at any worker and across changes; and the ends of long-lived connections.

use std::io;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use testkit::client::http2::Http2;
use testkit::client::raw::RawClient;
use testkit::fast::Fast;
use testkit::{Authority, Gateway, GatewayOptions, block_on, manifests, wait_until};

use crate::GET;

fn gateway(authority: &Authority, app: &Fast, flags: &str) -> Gateway {
    let ingress = |name: &str| {
        let host = format!("{name}.test");
        manifests::ingress(name, &host, "app") + &manifests::tls(&host, name)
    };
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[app.address()]),
                ingress("app"),
                ingress("other"),
                authority.leaf(&["app.test"]).secret("default", "app"),
                authority.leaf(&["other.test"]).secret("default", "other"),
            ]),
        )
        .flags(flags)
        .start()
}

/// A client that keeps sessions, and speaks this version of TLS alone.
fn client(
    authority: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(testkit::tls::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// One connection with one request: tickets of TLS 1.3 come with the answer.
fn visit(gateway: &Gateway, name: &str, config: &Arc<ClientConfig>) -> io::Result<HandshakeKind> {
    let mut client = RawClient::connect_tls(gateway.https(), name, config)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    assert_eq!(client.exchange(request).status(), 200);
    Ok(client.handshake_kind())
}

#[test]
fn a_session_is_resumed_at_every_worker_and_after_changes() {
    let authority = Authority::new();
    let app = Fast::start("app");
    let gateway = gateway(&authority, &app, "--workers 4");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = Arc::new(client(&authority, version));
        assert_eq!(visit(&gateway, "app.test", &config).unwrap(), HandshakeKind::Full);
        // The kernel spreads them over four workers.
        for _ in 0..20 {
            let kind = visit(&gateway, "app.test", &config).unwrap();
            assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
        }
        gateway.change(|gateway| {
            let host = format!("{:?}.test", version.version).to_lowercase().replace('_', "-");
            gateway.apply("more.yaml", manifests::ingress("more", &host, "app"));
        });
        let kind = visit(&gateway, "app.test", &config).unwrap();
        assert_eq!(kind, HandshakeKind::Resumed, "{version:?}");
        // A session is for its own name.
        assert_eq!(visit(&gateway, "other.test", &config).unwrap(), HandshakeKind::Full);
    }
}

#[test]
fn an_http_1_connection_of_age_ends_with_an_answer_that_says_so() {
    let authority = Authority::new();
    let app = Fast::start("app");
    let gateway = gateway(&authority, &app, "--connection-age-max 1s");
    let request = GET.replace("app.test", "plain.test");
    gateway.change(|gateway| {
        gateway.apply("plain.yaml", manifests::ingress("plain", "plain.test", "app"));
    });
    let mut client = gateway.connect();
    let mut answers = 0;
    wait_until("an answer says that it is the last", || {
        let response = client.exchange(&request);
        assert_eq!(response.status(), 200);
        answers += 1;
        response.field("connection").is_some_and(|option| option.eq_ignore_ascii_case("close"))
    });
    assert!(answers > 1);
    assert!(client.is_closed());
    // The endpoint's connections are others: they are not aged with the client's.
    assert_eq!(gateway.connect().exchange(&request).status(), 200);
}

#[test]
fn an_http_2_connection_of_age_or_number_ends_by_goaway_and_loses_no_stream() {
    let authority = Authority::new();
    let app = Fast::start("app");
    let config = testkit::tls::client(authority.roots(), &["h2"]);
    for flags in ["--connection-age-max 1s", "--connection-requests-max 50"] {
        let gateway = gateway(&authority, &app, flags);
        block_on(async {
            let client = Http2::connect_tls(gateway.https(), "app.test", &config).await;
            let mut answers = 0;
            let end = loop {
                let batch = futures_util::future::join_all(
                    (0..10).map(|_| client.get("https://app.test/")),
                );
                let mut end = None;
                for outcome in batch.await {
                    match outcome {
                        Ok(answer) => {
                            assert_eq!(answer.status, 200);
                            answers += 1;
                        }
                        Err(error) => end = Some(error),
                    }
                }
                if let Some(end) = end {
                    break end;
                }
            };
            // Told in time: what was not taken was not begun, and may be sent again elsewhere.
            assert!(end.is_go_away() || end.is_io() || end.get_io().is_none(), "{end:?}");
            assert_ne!(end.reason(), Some(h2::Reason::PROTOCOL_ERROR), "{end:?}");
            assert!(!end.is_reset() || end.reason() == Some(h2::Reason::REFUSED_STREAM), "{end:?}");
            assert!(answers >= 10, "{answers} with {flags}");
            let next = Http2::connect_tls(gateway.https(), "app.test", &config).await;
            assert_eq!(next.get("https://app.test/").await.unwrap().status, 200);
        });
    }
}
