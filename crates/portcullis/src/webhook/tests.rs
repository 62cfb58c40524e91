//! The webhook over real sockets, asked as an API server asks.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use controller::KeyPair;
use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use telemetry::{Telemetry, TelemetrySettings};

use super::*;

/// A webhook whose verdicts the test gives.
struct Running {
    address: SocketAddr,
    shown: Arc<Shown>,
    shared: Arc<Shared>,
    root: CertificateDer<'static>,
    _control: Control,
}

fn key_pair() -> (KeyPair, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["webhook.test".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    (KeyPair { certificate: certificate.into(), key: key.into() }, made.cert.der().clone())
}

fn start(review: Review) -> Running {
    let webhook = Webhook::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = webhook.address();
    let shown = Arc::new(Shown::default());
    let (pair, root) = key_pair();
    shown.replace(&pair).unwrap();
    let telemetry = Telemetry::new(TelemetrySettings::new(1));
    let control = Control::start("webhook").unwrap();
    let shared = Shared::new(review, telemetry);
    webhook.serve_with(Arc::clone(&shown), Arc::clone(&shared), &control).unwrap();
    Running { address, shown, shared, root, _control: control }
}

fn saying(verdict: Verdict) -> Review {
    Arc::new(move |_| {
        let verdict = verdict.clone();
        Box::pin(async move { Some(verdict) })
    })
}

fn found(code: Code, message: &str) -> Diagnostic {
    Diagnostic {
        severity: code.info().severity,
        code,
        object: ObjectRef::new("Ingress", "shop", "web"),
        field: FieldPath("spec.rules[0].host".into()),
        message: message.to_owned(),
        help: None,
        related: Vec::new(),
        effect: Effect::None,
    }
}

impl Running {
    fn connect(&self, root: &CertificateDer<'static>) -> StreamOwned<ClientConnection, TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("webhook.test").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, TcpStream::connect(self.address).unwrap())
    }

    /// The status and the body of an answer.
    fn send(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = self.connect(&self.root);
        let length = body.len();
        write!(stream, "{head} HTTP/1.1\r\nHost: webhook.test\r\nConnection: close\r\n").unwrap();
        write!(stream, "Content-Length: {length}\r\n\r\n").unwrap();
        // A refusal may come before all of it was sent.
        let _ = stream.write_all(body);
        let _ = stream.flush();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn ask(&self, review: &Value) -> Value {
        let (status, body) = self.send("POST /validate?timeout=10s", review.to_string().as_bytes());
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

fn review(operation: &str, kind: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "7", "operation": operation, "object": object, "oldObject": null,
            "kind": {"group": "networking.k8s.io", "version": "v1", "kind": kind},
        },
    })
}

fn ingress() -> Value {
    json!({"metadata": {"namespace": "shop", "name": "web"}, "spec": {}})
}

#[test]
fn what_is_right_is_allowed() {
    let running = start(saying(Verdict::default()));
    let answer = running.ask(&review("CREATE", "Ingress", &ingress()));
    let expected = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": "7", "allowed": true},
    });
    assert_eq!(answer, expected);
    let metrics = running.shared.telemetry.render_prometheus();
    assert!(metrics.contains("portcullis_webhook_reviews_total{result=\"allowed\"} 1"));
}

#[test]
fn what_is_denied_says_why_and_what_to_do() {
    let denied = vec![found(Code::InvalidHost, "`x:1` contains ':'")];
    let warnings = vec![found(Code::ServiceNotFound, &"é".repeat(300))];
    let running = start(saying(Verdict { denied, warnings }));
    let answer = running.ask(&review("UPDATE", "Ingress", &ingress()));
    let response = &answer["response"];
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    assert_eq!(
        response["status"]["message"],
        "Ingress shop/web spec.rules[0].host: `x:1` contains ':' (help: write a lower-case DNS \
         name, or `*.` and a DNS name) [invalid-host]"
    );
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(warning.len() <= 256 && warning.ends_with('…'), "{warning}");
}

#[test]
fn more_warnings_than_anybody_reads_are_counted() {
    let warnings = (0..20).map(|n| found(Code::ServiceNotFound, &n.to_string())).collect();
    let running = start(saying(Verdict { denied: Vec::new(), warnings }));
    let answer = running.ask(&review("CREATE", "Ingress", &ingress()));
    let warnings = answer["response"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 15);
    assert!(warnings[14].as_str().unwrap().starts_with("and 6 more"));
}

#[test]
fn other_kinds_and_deletions_are_allowed_without_a_look() {
    let never: Review = Arc::new(|_| panic!("it is none of our business"));
    let running = start(never);
    for (operation, kind) in [("CREATE", "NetworkPolicy"), ("DELETE", "Ingress")] {
        let answer = running.ask(&review(operation, kind, &Value::Null));
        assert_eq!(answer["response"]["allowed"], true);
    }
}

#[test]
fn what_is_no_review_is_refused() {
    let running = start(saying(Verdict::default()));
    let mut old = review("CREATE", "Ingress", &ingress());
    old["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let wrong = review("CREATE", "Ingress", &json!({"spec": 7}));
    let none = review("CREATE", "Ingress", &Value::Null);
    for body in ["", "{", "{}", &old.to_string(), &wrong.to_string(), &none.to_string()] {
        assert_eq!(running.send("POST /validate", body.as_bytes()).0, 400, "{body}");
    }
    assert_eq!(running.send("GET /validate", b"").0, 405);
    assert_eq!(running.send("POST /", b"{}").0, 404);
    let metrics = running.shared.telemetry.render_prometheus();
    assert!(metrics.contains("portcullis_webhook_reviews_total{result=\"failed\"} 6"));
}

#[test]
fn an_object_and_its_successor_of_any_size_are_reviewed_and_no_more() {
    let running = start(saying(Verdict::default()));
    assert_eq!(running.send("POST /validate", &vec![b' '; BODY_BYTES_MAX + 1]).0, 413);
    let mut just = review("CREATE", "Ingress", &ingress()).to_string().into_bytes();
    just.resize(BODY_BYTES_MAX, b' ');
    assert_eq!(running.send("POST /validate", &just).0, 200);
}

#[test]
fn before_the_objects_have_been_read_nothing_is_said() {
    let running = start(Arc::new(|_| Box::pin(async { None })));
    let body = review("CREATE", "Ingress", &ingress()).to_string();
    assert_eq!(running.send("POST /validate", body.as_bytes()).0, 503);
}

/// A review that takes until the test says so.
fn slow() -> (Review, Sender<()>, Receiver<()>) {
    let (begun, has_begun) = channel();
    let (go, wait) = channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let review: Review = Arc::new(move |_| {
        let (begun, wait) = (begun.clone(), Arc::clone(&wait));
        Box::pin(async move {
            begun.send(()).unwrap();
            let waited = move || wait.lock().unwrap().recv();
            tokio::task::spawn_blocking(waited).await.unwrap().ok()?;
            Some(Verdict::default())
        })
    });
    (review, go, has_begun)
}

#[test]
fn what_takes_too_long_gets_no_review_and_what_is_too_much_at_once_waits() {
    let (review_slowly, go, has_begun) = slow();
    let running = start(review_slowly);
    let body = review("CREATE", "Ingress", &ingress()).to_string();
    std::thread::scope(|scope| {
        let ask = || running.send("POST /validate", body.as_bytes()).0;
        let mut waiting: Vec<_> = (0..REVIEWS_MAX).map(|_| scope.spawn(ask)).collect();
        for _ in 0..REVIEWS_MAX {
            has_begun.recv().unwrap();
        }
        waiting.push(scope.spawn(ask));
        assert!(has_begun.recv_timeout(REVIEW_TIMEOUT / 4).is_err(), "it has no turn yet");
        go.send(()).unwrap();
        has_begun.recv().expect("its turn comes when another is answered");
        let answered: Vec<u16> = waiting.into_iter().map(|asked| asked.join().unwrap()).collect();
        assert_eq!(answered.iter().filter(|&&status| status == 200).count(), 1, "{answered:?}");
        assert_eq!(answered.iter().filter(|&&status| status == 504).count(), REVIEWS_MAX);
    });
    drop(go);
}

#[test]
fn who_is_slow_to_send_and_who_never_asks_keeps_no_review_waiting() {
    let running = start(saying(Verdict::default()));
    let body = review("CREATE", "Ingress", &ingress()).to_string();
    let mut known = running.connect(&running.root);
    let mut ask = || {
        let length = body.len();
        write!(
            known,
            "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = [0; 12];
        known.read_exact(&mut answer).expect("an answer in time");
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest of the head, and a body of JSON.
        let mut rest = vec![0; 16 * 1024];
        let _ = known.read(&mut rest).unwrap();
    };
    ask();
    let silent: Vec<_> =
        (0..CONNECTIONS_MAX * 2).map(|_| TcpStream::connect(running.address).unwrap()).collect();
    let slow: Vec<_> = (0..REVIEWS_MAX * 2)
        .map(|_| {
            let mut stream = running.connect(&running.root);
            let head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    ask();
    assert_eq!(running.send("POST /validate", body.as_bytes()).0, 200);
    drop((silent, slow));
}

#[test]
fn while_large_reviews_have_all_bytes_there_are_only_large_ones_wait() {
    let running = start(saying(Verdict::default()));
    let all = BYTES_TOTAL_MAX / COUNTED_BYTES;
    let taken = Arc::clone(&running.shared.bytes);
    let taken = taken.try_acquire_many_owned(u32::try_from(all).unwrap()).unwrap();
    let mut body = review("CREATE", "Ingress", &ingress()).to_string().into_bytes();
    body.resize(UNCOUNTED_BYTES, b' ');
    let large = [&*body, b" "].concat();
    assert_eq!(running.send("POST /validate", &body).0, 200);
    assert_eq!(running.send("POST /validate", &large).0, 429);
    drop(taken);
    assert_eq!(running.send("POST /validate", &large).0, 200);
    assert_eq!(running.shared.bytes.available_permits(), all, "what is answered gives back");
}

#[test]
fn a_new_certificate_is_shown_from_the_next_handshake_on() {
    let running = start(saying(Verdict::default()));
    let (pair, root) = key_pair();
    let unusable = KeyPair { certificate: b"nonsense".to_vec(), ..pair.clone() };
    assert!(running.shown.replace(&unusable).is_err());
    assert_eq!(running.send("GET /", b"").0, 404);
    running.shown.replace(&pair).unwrap();
    let mut stream = running.connect(&root);
    write!(stream, "GET / HTTP/1.1\r\nHost: webhook.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
