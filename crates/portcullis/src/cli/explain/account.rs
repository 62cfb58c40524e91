//! Everything found out about one request, as data: what the text and the JSON form are made of.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Affinity, ListenerProtocol, Provenance};
use proxy::{
    Decision, Facts, Identity, ListenerFacts, RequestLine, Scratch, Snapshot, SplitView, Step,
    Verdict,
};
use routing::{HostOutcome, RouteOutcome};
use serde::Serialize;
use wire::{Authority, HeadLimits, Refusal, RequestHead, Target};

use super::question::{Question, declared_length};

/// The schema of the JSON form.
pub(crate) const SCHEMA: &str = "portcullis.explain/v1";

/// What would become of a request, and why.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) schema: &'static str,
    pub(crate) generation: String,
    pub(crate) method: String,
    pub(crate) url: String,
    /// Where it would come in; absent where nothing listens for its scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<String>,
    /// What was assumed about the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listener_note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<CertificateAccount>,
    /// The host blocks that were considered, in order.
    pub(crate) hosts: Vec<HostAccount>,
    /// What Ingresses of other namespaces say of the host, and may not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<RefusedAccount>,
    /// The steps of the decision.
    pub(crate) steps: Vec<StepAccount>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Serialize)]
pub(crate) struct CertificateAccount {
    /// The Secret, or `default`.
    pub(crate) secret: String,
    pub(crate) names: Vec<String>,
    /// Seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RefusedAccount {
    pub(crate) provenance: Provenance,
    /// `file:line:column`, where a file was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    pub(crate) why: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct HostAccount {
    pub(crate) hostname: String,
    pub(crate) answers: bool,
    pub(crate) finding: String,
    pub(crate) routes: Vec<RouteAccount>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RouteAccount {
    pub(crate) path: String,
    #[serde(rename = "match")]
    pub(crate) kind: String,
    pub(crate) answers: bool,
    /// It would have answered, had no other stood before it.
    pub(crate) holds: bool,
    pub(crate) finding: String,
    pub(crate) target: String,
    pub(crate) provenance: Provenance,
    /// `file:line:column`, where a file was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StepAccount {
    pub(crate) name: &'static str,
    pub(crate) finding: String,
}

/// What the client would get.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// What an endpoint answers.
    Forward {
        /// Where it may go.
        backends: Vec<BackendAccount>,
        /// The path that the endpoint sees.
        path: String,
    },
    /// An answer made by the gateway.
    Answer {
        status: u16,
        reason: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// A sentence for people, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        sentence: Option<String>,
    },
    /// The connection is not taken at all.
    NoListener,
}

#[derive(Debug, Serialize)]
pub(crate) struct BackendAccount {
    pub(crate) upstream: String,
    pub(crate) weight: u32,
    pub(crate) endpoints: Vec<String>,
    /// How one of them is chosen, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) choice: Option<&'static str>,
    /// The one of several that this client gets, where that is determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chosen: Option<String>,
}

/// Who connects, whose word is believed, and the limits that hold for everybody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'s> {
    pub(crate) peer: IpAddr,
    pub(crate) trusted_proxies: &'s [IpNet],
    pub(crate) head: HeadLimits,
    pub(crate) body_bytes_max: Option<u64>,
    pub(crate) health_path: Option<&'s str>,
}

/// Asks the snapshot about a request, by the same functions that serve.
pub(crate) fn account(
    snapshot: &Snapshot,
    question: &Question,
    url: &str,
    method: &str,
    around: &Surroundings<'_>,
) -> Account {
    let mut account = Account {
        schema: SCHEMA,
        generation: snapshot.generation().to_string(),
        method: method.to_owned(),
        url: url.to_owned(),
        listener: None,
        listener_note: None,
        certificate: None,
        hosts: Vec::new(),
        refused: Vec::new(),
        steps: Vec::new(),
        outcome: Outcome::NoListener,
    };
    let Some((listener, note)) = listener(snapshot, question) else { return account };
    account.listener = Some(listener.id.to_string());
    account.listener_note = note;
    if question.is_https {
        account.certificate = Some(certificate(snapshot, &question.host));
    }
    let head = match question.parse(&around.head) {
        Ok(head) => head,
        Err(refusal) => {
            account.outcome = refused(refusal);
            return account;
        }
    };
    let request = request_line(&head, &question.bytes);
    let is_health = |path| proxy::asks_for_health(path, request.method, request.path);
    if around.health_path.is_some_and(is_health) {
        account.outcome = Outcome::Answer {
            status: 200,
            reason: "health".to_owned(),
            location: None,
            sentence: Some("The gateway answers for itself; 503 while it drains.".to_owned()),
        };
        return account;
    }
    account.hosts = hosts(snapshot, &request);
    let own = Identity { address: around.peer, is_https: question.is_https };
    let client = own.behind(&head, &question.bytes, around.trusted_proxies);
    let facts = Facts {
        listener,
        client: client.address,
        is_https: client.is_https,
        body_bytes_max: around.body_bytes_max,
    };
    let mut scratch = Scratch::default();
    let mut steps: Vec<Step> = Vec::new();
    let decision = proxy::decide(snapshot, &facts, &request, &mut scratch, &mut steps);
    let rewritten = steps.iter().find(|step| step.name == "rewrite").map(|s| s.finding.clone());
    let path = rewritten.unwrap_or_else(|| sent(&request));
    account.outcome = outcome(decision, path, client.address);
    let decided = steps.into_iter().map(|s| StepAccount { name: s.name, finding: s.finding });
    account.steps = believed(own, client).into_iter().chain(decided).collect();
    account
}

/// The step by which a trusted proxy spoke for its client.
fn believed(peer: Identity, client: Identity) -> Option<StepAccount> {
    let scheme = if client.is_https { "HTTPS" } else { "HTTP" };
    let finding = format!("{} by {scheme}, as {} says", client.address, peer.address);
    (client != peer).then_some(StepAccount { name: "client", finding })
}

/// The listener that the URL's scheme and port lead to, and what was assumed about it.
fn listener<'s>(
    snapshot: &'s Snapshot,
    question: &Question,
) -> Option<(&'s ListenerFacts, Option<String>)> {
    let protocol = if question.is_https { ListenerProtocol::Https } else { ListenerProtocol::Http };
    let mut listeners = snapshot.listeners().iter().filter(|l| l.id.protocol == protocol);
    let first = listeners.clone().next()?;
    let usual = if question.is_https { 443 } else { 80 };
    let port = question.port.unwrap_or(usual);
    let named = listeners.find(|l| l.public_port == port || l.id.address.port() == port);
    match (named, question.port) {
        (Some(listener), _) => Some((listener, None)),
        (None, None) => Some((first, None)),
        (None, Some(port)) => {
            Some((first, Some(format!("nothing listens on port {port}; this one is assumed"))))
        }
    }
}

fn certificate(snapshot: &Snapshot, host: &str) -> CertificateAccount {
    let model = snapshot.model();
    let name = host.strip_suffix('.').unwrap_or(host);
    let id = snapshot.certificate_for(Some(name)).or(model.default_certificate.as_ref());
    match id.and_then(|id| model.certificates.get(id)) {
        Some(certificate) => CertificateAccount {
            secret: format!(
                "{}/{}",
                certificate.provenance.object.namespace, certificate.provenance.object.name
            ),
            names: certificate.names.iter().map(ToString::to_string).collect(),
            not_after: Some(certificate.not_after),
        },
        None => {
            CertificateAccount { secret: "default".to_owned(), names: Vec::new(), not_after: None }
        }
    }
}

fn request_line<'a>(head: &RequestHead, bytes: &'a [u8]) -> RequestLine<'a> {
    RequestLine {
        method: head.method,
        target: head.target,
        authority: head.authority.map(|span| span.of(bytes)),
        path: head.path.of(bytes),
        query: head.query.of(bytes),
        declared_length: declared_length(head),
    }
}

fn sent(request: &RequestLine<'_>) -> String {
    let path = if request.path.is_empty() { b"/" } else { request.path };
    format!("{}{}", String::from_utf8_lossy(path), String::from_utf8_lossy(request.query))
}

/// Every block and route that could have answered. Empty where the request is refused before.
fn hosts(snapshot: &Snapshot, request: &RequestLine<'_>) -> Vec<HostAccount> {
    if request.target == Target::Asterisk {
        return Vec::new();
    }
    let mut normalized = String::new();
    let host = match request.authority.map(Authority::parse) {
        Some(Ok(authority)) => Some(authority.normalized(&mut normalized)),
        Some(Err(_)) => return Vec::new(),
        None => None,
    };
    let path = if request.path.is_empty() { b"/" } else { request.path };
    let (Ok(canonical), Ok(decoded)) = (wire::canonical(path), wire::decoded(path)) else {
        return Vec::new();
    };
    let head = routing::RequestHead { host, canonical: &canonical, decoded: &decoded };
    let explanation = snapshot.routes().explain(&head);
    explanation
        .hosts
        .iter()
        .map(|host| HostAccount {
            hostname: host.hostname.to_string(),
            answers: host.outcome == HostOutcome::Won,
            finding: host.outcome.to_string(),
            routes: host
                .routes
                .iter()
                .map(|trial| RouteAccount {
                    path: trial.path.value.to_string(),
                    kind: trial.path.kind.to_string(),
                    answers: trial.outcome == RouteOutcome::Won,
                    holds: matches!(
                        trial.outcome,
                        RouteOutcome::Outranked(_) | RouteOutcome::HostNotReached
                    ),
                    finding: trial.outcome.to_string(),
                    target: crate::cli::routes::target(trial.route.route()),
                    provenance: trial.route.route().provenance.clone(),
                    place: None,
                })
                .collect(),
        })
        .collect()
}

fn outcome(decision: Decision<'_>, path: String, client: IpAddr) -> Outcome {
    match decision.verdict {
        Verdict::Forward { split, .. } => {
            Outcome::Forward { backends: backends(split, client), path }
        }
        Verdict::Redirect { status, location, reason } => Outcome::Answer {
            status,
            reason: reason.to_owned(),
            location: Some(location),
            sentence: None,
        },
        Verdict::Respond { status, reason } => {
            Outcome::Answer { status, reason: reason.into_owned(), location: None, sentence: None }
        }
        Verdict::Refuse(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> Outcome {
    Outcome::Answer {
        status: refusal.status(),
        reason: refusal.reason().to_owned(),
        location: None,
        sentence: Some(refusal.sentence().to_owned()),
    }
}

fn backends(split: SplitView<'_>, client: IpAddr) -> Vec<BackendAccount> {
    split
        .upstreams()
        .map(|(upstream, weight)| {
            let endpoints: Vec<String> =
                upstream.addresses().map(|address| address.to_string()).collect();
            let spec = upstream.spec();
            let choice = match (endpoints.len(), spec.affinity) {
                (0 | 1, _) => None,
                (_, Some(Affinity::ClientIp)) => Some("by the client's address"),
                (_, None) => Some(match spec.balancing {
                    model::LoadBalancing::RoundRobin => "in turn",
                    model::LoadBalancing::LeastRequest => "by the fewest requests in flight",
                }),
            };
            let chosen = upstream
                .endpoint_of(client)
                .filter(|_| endpoints.len() > 1)
                .map(|address| address.to_string());
            BackendAccount { upstream: spec.id.to_string(), weight, endpoints, choice, chosen }
        })
        .collect()
}

impl Account {
    /// Whether the outcome is what was expected: a status, an upstream, or the Service of one.
    pub(crate) fn meets(&self, expected: &str) -> bool {
        match &self.outcome {
            Outcome::Forward { backends, .. } => backends
                .iter()
                .filter(|backend| backend.weight > 0)
                .any(|backend| names(&backend.upstream, expected)),
            Outcome::Answer { status, .. } => expected == status.to_string(),
            Outcome::NoListener => false,
        }
    }
}

/// Whether `expected` is `namespace/service:port+protocol`, or the front of it up to a joint.
fn names(upstream: &str, expected: &str) -> bool {
    upstream.strip_prefix(expected).is_some_and(|rest| {
        !expected.is_empty() && (rest.is_empty() || rest.starts_with([':', '+']))
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_backend_is_expected_by_its_service_or_in_full() {
        assert!(names("shop/cart:80", "shop/cart"));
        assert!(names("shop/cart:80", "shop/cart:80"));
        assert!(names("shop/cart:80+grpc", "shop/cart:80"));
        assert!(!names("shop/cart:80", "shop/car"));
        assert!(!names("shop/cart:80", "shop/cart:8"));
        assert!(!names("shop/cart:80", ""));
    }
}
