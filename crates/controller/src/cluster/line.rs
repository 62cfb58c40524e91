//! The line to the API server: connections that find out when nobody is there any more, and answers
//! that say how long the server wishes to be left alone.
//!
//! ```text
//!  request ─► tries ─► gate ─► who we are ─► connection ─► answer
//!                       ▲                                    │
//!                       └────── Retry-After ── heed ◄────────┘
//! ```
//!
//! It is the client's own stack with two differences. A peer that vanishes without a word is found
//! out by the kernel, within [`Liveness`], and not by the end of a watch that never comes. And what
//! the field `Retry-After` says is told in the error: flow control of an API server says it there
//! alone (Kubernetes documentation, API Priority and Fairness), and the client drops fields.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Builder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::retry::RetryPolicy;
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::config::Config;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// The longest that a server is left alone at its own wish: a mistake of somebody in between must
/// not end all watches for a day.
pub(super) const ASKED_MAX: Duration = Duration::from_mins(5);

/// The largest body of a refusal that is read; of a larger one only the status is told.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// When a connection on which nothing comes is looked after, and given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    /// So long nothing may come before the peer is asked whether it is there.
    pub(super) idle: Duration,
    /// And so long between two questions.
    pub(super) interval: Duration,
    /// After so many questions without an answer nobody is there.
    pub(super) questions: u32,
}

impl Default for Liveness {
    /// Half a minute in all. A server that only pauses answers: its kernel does.
    fn default() -> Self {
        let (idle, interval) = (Duration::from_secs(15), Duration::from_secs(5));
        Self { idle, interval, questions: 3 }
    }
}

impl Liveness {
    /// The same for what was sent and is not acknowledged.
    fn unacknowledged(self) -> Duration {
        self.idle + self.interval * self.questions
    }
}

/// Who holds requests back while the server wishes to be left alone. Those that wait are those of
/// our writers, of which each has a handful under way at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Option<Instant>>>);

impl Gate {
    /// Waits until the server has what it asked for.
    async fn pass(&self) {
        while let Some(until) = self.shut_until() {
            tokio::time::sleep_until(until).await;
        }
    }

    fn shut_until(&self) -> Option<Instant> {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.filter(|&until| Instant::now() < until);
        *until
    }

    fn look_at(&self, answer: &Response<impl Sized>) {
        let Some(asked) = asked(answer.status(), answer.headers()) else { return };
        if self.shut_until().is_none() {
            let status = answer.status().as_u16();
            let wait_s = asked.as_secs();
            tracing::warn!(status, wait_s, "the API server is busy: what we write to it waits");
        }
        let until = Instant::now() + asked;
        let mut shut = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *shut = Some(shut.map_or(until, |shut| shut.max(until)));
    }
}

/// A client for this server. With a gate, it tries again what the server was too busy for, and
/// nothing passes before the time that the server asked for.
pub(super) fn client(
    config: Config,
    liveness: Liveness,
    gate: Option<Gate>,
) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // The client knows what proxies it can use.
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(liveness.idle));
    tcp.set_keepalive_interval(Some(liveness.interval));
    tcp.set_keepalive_retries(Some(liveness.questions));
    tcp.set_tcp_user_timeout(Some(liveness.unacknowledged()));
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    // One that was left idle may be as dead as the one whose end has us connect anew: a request on
    // it would find that out after half a minute more.
    let pool = Builder::new(TokioExecutor::new()).pool_idle_timeout(liveness.idle).to_owned();
    let tries = gate.as_ref().map(|_| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(tries)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_future(move |sent| {
            let gate = gate.clone();
            async move {
                let Some(gate) = gate else { return sent.await };
                gate.pass().await;
                let answer: Result<Response<_>, BoxError> = sent.await;
                if let Ok(answer) = &answer {
                    gate.look_at(answer);
                }
                answer
            }
        })
        .and_then(heed)
        .map_err(BoxError::from)
        .service(pool.build::<_, kube::client::Body>(connector));
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

/// How long a refusal asks to be left alone for.
fn asked(status: StatusCode, fields: &HeaderMap) -> Option<Duration> {
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    // A date, which the field may have as well, no API server sends.
    let seconds: u64 = fields.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(ASKED_MAX)).filter(|asked| !asked.is_zero())
}

/// Puts what a refusal asks for where the client looks: into the `Status` that is its body.
async fn heed(
    answer: Response<Incoming>,
) -> Result<Response<Either<Incoming, Full<Bytes>>>, BoxError> {
    let Some(asked) = asked(answer.status(), answer.headers()) else {
        return Ok(answer.map(Either::Left));
    };
    let (mut head, body) = answer.into_parts();
    let read = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
    let text = read.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = refusal(head.status, asked, &text).to_string();
    head.headers.remove(CONTENT_LENGTH);
    // Who tries again reads the field, and must not sleep for a day either.
    head.headers.insert(RETRY_AFTER, asked.as_secs().into());
    Ok(Response::from_parts(head, Either::Right(Full::from(body))))
}

/// The `Status` of a refusal, with the wait that it asks for.
fn refusal(code: StatusCode, asked: Duration, body: &[u8]) -> Value {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let mut status = said.filter(|said| said["kind"] == "Status").unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let message = match text.trim() {
            "" => code.canonical_reason().unwrap_or("refused"),
            text => text,
        };
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "code": code.as_u16(),
        })
    });
    if !status["details"].is_object() {
        status["details"] = json!({});
    }
    status["details"]["retryAfterSeconds"] = asked.as_secs().into();
    status
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Refuses the first request with a wait of a second, and answers all others; tells when each
    /// came.
    fn busy_at_first() -> (String, std::sync::mpsc::Receiver<std::time::Instant>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (came, times) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for (index, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                // Nobody looks at what comes after the end.
                let _ = came.send(std::time::Instant::now());
                let start = if index == 0 { "429 Busy\r\nRetry-After: 1" } else { "200 OK" };
                let rest = "Content-Length: 2\r\nConnection: close\r\n\r\n{}";
                write!(stream, "HTTP/1.1 {start}\r\n{rest}").unwrap();
            }
        });
        (address, times)
    }

    #[test]
    fn what_is_written_waits_as_long_as_one_was_asked_to_and_is_tried_again_then() {
        let (address, times) = busy_at_first();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = Config::new(address.parse().unwrap());
            let client = client(config, Liveness::default(), Some(Gate::default())).unwrap();
            let ask = async || {
                let request = http::Request::get("/").body(Vec::new()).unwrap();
                client.request_text(request).await.unwrap()
            };
            let later = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                ask().await
            };
            assert_eq!(tokio::join!(ask(), later), ("{}".to_owned(), "{}".to_owned()));
        });
        let times: Vec<_> = times.try_iter().collect();
        assert_eq!(times.len(), 3);
        for time in &times[1..] {
            assert!(*time - times[0] >= Duration::from_secs(1), "before its time");
        }
    }

    fn fields(value: &str) -> HeaderMap {
        [(RETRY_AFTER, value.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn a_refusal_may_ask_for_a_while_and_not_for_a_day() {
        let asked = |code: u16, value: &str| {
            asked(StatusCode::from_u16(code).unwrap(), &fields(value)).map(|asked| asked.as_secs())
        };
        assert_eq!(asked(429, "7"), Some(7));
        assert_eq!(asked(503, "1"), Some(1));
        assert_eq!(asked(429, "86400"), Some(300));
        assert_eq!(asked(429, "0"), None);
        assert_eq!(asked(429, "soon"), None);
        assert_eq!(asked(200, "7"), None, "no refusal");
    }

    #[test]
    fn what_the_field_says_is_in_the_status_whatever_the_body_was() {
        let code = StatusCode::TOO_MANY_REQUESTS;
        let wait = Duration::from_secs(7);
        // As flow control answers.
        let plain = refusal(code, wait, b"Too many requests, please try again later.\n");
        assert_eq!(plain["message"], "Too many requests, please try again later.");
        assert_eq!(
            (&plain["code"], &plain["details"]["retryAfterSeconds"]),
            (&json!(429), &json!(7))
        );
        let told = br#"{"kind":"Status","message":"busy","code":429,"details":{"kind":"x"}}"#;
        let told = refusal(code, wait, told);
        assert_eq!(told["details"], json!({ "kind": "x", "retryAfterSeconds": 7 }));
        assert_eq!(refusal(code, wait, b"")["message"], "Too Many Requests");
    }
}
