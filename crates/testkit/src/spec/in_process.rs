//! A scene in process: manifests translated and compiled, each request decided as the proxy does.
//!
//! No sockets, no time: what is checked here is what translation, routing and `decide` promise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use model::{CertificateId, Listener, ListenerProtocol, Report, Severity};
use proxy::{Facts, RequestLine, Scratch, Snapshot, Step, Verdict, decide};
use translate::{Dialect, Memo, ObjectEvent, ObjectStore, Settings, manifests, translate};
use wire::{BodyLength, HeadLimits, Parse, RequestHead};

use super::page::Scene;
use super::request::{Item, Request, Served};
use super::world::World;

/// Manifests as they are decided, without a proxy.
pub struct InProcess {
    snapshot: Snapshot,
    names: BTreeMap<SocketAddr, String>,
}

impl InProcess {
    /// Manifests with these flags; `names` says which endpoint is whose.
    ///
    /// # Errors
    /// A flag that the runner does not know.
    pub fn new(
        manifests: &str,
        flags: &[String],
        names: BTreeMap<SocketAddr, String>,
    ) -> Result<Self, String> {
        let (snapshot, _) = compile(manifests, &settings(flags)?);
        Ok(Self { snapshot, names })
    }

    /// What is decided for a request.
    pub fn decide(&self, request: &Request) -> Decided {
        decided(&self.snapshot, &self.names, request)
    }
}

/// Runs a scene; everything that is not as expected.
pub fn run(scene: &Scene) -> Vec<String> {
    let mut next = 40_000;
    let world = World::prepare(scene, |_| {
        next += 1;
        SocketAddr::from(([127, 0, 0, 1], next))
    });
    let (world, settings) = match world.and_then(|world| Ok((settings(&world.flags)?, world))) {
        Ok((settings, world)) => (world, settings),
        Err(why) => return vec![why],
    };
    let (snapshot, report) = compile(&world.manifests, &settings);
    let mut failures = diagnostics(scene, &report);
    for request in &scene.requests {
        let told = check(&snapshot, &world, request);
        failures.extend(
            told.into_iter().map(|why| format!("{}: {}: {why}", request.line, request.describe())),
        );
    }
    failures
}

/// The settings that these flags make, of those that translation depends on.
fn settings(flags: &[String]) -> Result<Settings, String> {
    let mut settings = Settings { controller_names: Vec::new(), ..Settings::standalone() };
    let mut words = flags.iter();
    while let Some(flag) = words.next() {
        if flag == "--watch-ingress-without-class" {
            settings.watch_without_class = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{flag} has no value"))?;
        match flag.as_str() {
            "--dialect" => settings.dialect = Some(value.parse::<Dialect>()?),
            "--ingress-class" => settings.ingress_classes.push(value.clone()),
            "--controller-name" => settings.controller_names.push(value.clone()),
            "--external-name" => settings.external_name = Some(value.parse()?),
            "--endpoint-addresses" => settings.endpoint_addresses = Some(value.parse()?),
            "--zone" => settings.zone = Some(value.clone()),
            "--node-name" => settings.node_name = Some(value.clone()),
            "--host-ownership" => settings.host_ownership = value.parse()?,
            "--host-owner" => settings.host_owners.push(value.parse()?),
            "--endpoint" => settings.endpoint_overrides.push(value.parse()?),
            "--default-backend-service" => settings.default_backend = Some(value.parse()?),
            "--refused-annotations" => settings
                .ignored_annotations
                .extend(value.split([' ', ',']).skip(1).map(ToOwned::to_owned)),
            "--default-tls-secret" => {
                let (namespace, name) =
                    value.split_once('/').ok_or_else(|| format!("`{value}` has no `/`"))?;
                settings.default_certificate = Some((namespace.to_owned(), name.to_owned()));
            }
            // What the proxy alone is told.
            "--trusted-proxies" => {}
            _ => return Err(format!("{flag}: the runner does not know this setting")),
        }
    }
    if settings.controller_names.is_empty() {
        settings.controller_names.push(translate::DEFAULT_CONTROLLER_NAME.to_owned());
    }
    settings.listeners = vec![listener(80), listener(443)];
    Ok(settings)
}

fn listener(port: u16) -> Listener {
    let protocol = if port == 443 { ListenerProtocol::Https } else { ListenerProtocol::Http };
    Listener {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        protocol,
        public_port: Some(port),
        redirect_port: Some(443),
    }
}

/// Manifests to a snapshot, and everything that was reported on the way.
fn compile(text: &str, settings: &Settings) -> (Snapshot, Report) {
    let parsed = manifests::parse("scene.yaml", text);
    let merged = manifests::merge([&parsed]);
    let mut objects = ObjectStore::new();
    for object in &merged.objects {
        objects.apply(ObjectEvent::Applied(object.object.clone()));
    }
    objects.apply(ObjectEvent::Synced);
    let translation = translate(&objects, settings, &mut Memo::default());
    let mut report = translation.report;
    let files = parsed.diagnostics.iter().chain(&merged.duplicates);
    report.extend(files.map(|told| told.diagnostic.clone()));
    let snapshot =
        proxy::compile(&translation.model, &translation.endpoints, &translation.material);
    (snapshot, report)
}

/// Errors and warnings are exactly those of the page; infos at least.
fn diagnostics(scene: &Scene, report: &Report) -> Vec<String> {
    let mut failures = Vec::new();
    let mut open: Vec<_> = scene.diagnostics.iter().collect();
    for diagnostic in report.diagnostics() {
        let mut head =
            format!("{}[{}] {}", diagnostic.severity, diagnostic.code, diagnostic.object);
        if !diagnostic.field.0.is_empty() {
            head = format!("{head} {}", diagnostic.field);
        }
        let listed = |line: &&super::page::DiagnosticLine| {
            line.head == head && diagnostic.message.contains(&line.part)
        };
        if let Some(index) = open.iter().position(listed) {
            open.remove(index);
        } else if diagnostic.severity != Severity::Info {
            failures.push(format!("not on the page: {head}: {}", diagnostic.message));
        }
    }
    failures.extend(open.iter().map(|line| format!("{}: not reported: {}", line.line, line.head)));
    failures
}

/// What was decided for a request, in the words of expectations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// The status; 200 for a request that is forwarded.
    pub status: u16,
    /// Why the gateway answers itself.
    pub reason: Option<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The names of all endpoints that may be chosen.
    pub served: BTreeSet<String>,
    /// The path that the endpoint sees.
    pub path: Option<String>,
    is_http2: bool,
    is_tls: bool,
}

fn check(snapshot: &Snapshot, world: &World, request: &Request) -> Vec<String> {
    let decided = decided(snapshot, &world.names, request);
    let mut failures = Vec::new();
    let expected = &request.expectation;
    if decided.status != expected.status {
        let reason = decided.reason.as_deref().unwrap_or_default();
        failures.push(format!("{} {reason} instead of {}", decided.status, expected.status));
    }
    let wanted: BTreeSet<String> = match &expected.served {
        Served::Unsaid => BTreeSet::new(),
        Served::OneOf(names) | Served::All(names) => names.iter().cloned().collect(),
    };
    let is_served = match &expected.served {
        Served::Unsaid => expected.status < 300 || decided.served.is_empty(),
        Served::OneOf(_) => !decided.served.is_empty() && decided.served.is_subset(&wanted),
        Served::All(_) => decided.served == wanted,
    };
    if !is_served {
        failures.push(format!("served by {:?} instead of {wanted:?}", decided.served));
    }
    for item in &expected.items {
        failures.extend(claim(snapshot, world, request, &decided, item));
    }
    failures
}

/// What is wrong with one claim; claims about what passed over a wire are for the wire.
fn claim(
    snapshot: &Snapshot,
    world: &World,
    request: &Request,
    decided: &Decided,
    item: &Item,
) -> Option<String> {
    let differs = |what: &str, found: Option<&str>, wanted: &str| {
        (found != Some(wanted)).then(|| format!("{what} is {found:?} instead of {wanted:?}"))
    };
    match item {
        Item::Field(name, value) if name.eq_ignore_ascii_case("location") => {
            differs("location", decided.location.as_deref(), value)
        }
        Item::Path(path) => differs("the path", decided.path.as_deref(), path),
        Item::Protocol(name) => {
            let found = if decided.is_http2 { "HTTP/2" } else { "HTTP/1.1" };
            differs("the protocol", Some(found), name)
        }
        Item::Tls(is_tls) => (decided.is_tls != *is_tls)
            .then(|| format!("TLS is {} instead of {is_tls}", decided.is_tls)),
        Item::Reason(reason) => differs("the reason", decided.reason.as_deref(), reason),
        Item::Certificate(name) => {
            let found = certificate(snapshot, world, request);
            differs("the certificate", Some(&found), name)
        }
        Item::Field(..)
        | Item::HasField(_)
        | Item::NoField(_)
        | Item::Seen(..)
        | Item::NotSeen(_)
        | Item::Query(_)
        | Item::Sni(_)
        | Item::Says(_)
        | Item::Host(_) => None,
    }
}

/// Which of the page's certificates a handshake with this server name gets.
fn certificate(snapshot: &Snapshot, world: &World, request: &Request) -> String {
    let name = request.server_name.as_deref().unwrap_or_else(|| request.host());
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let name = name.to_ascii_lowercase();
    let id: Option<&CertificateId> = snapshot
        .certificate_for((!is_address && !name.is_empty()).then_some(name.as_str()))
        .or(snapshot.model().default_certificate.as_ref());
    let names = id
        .and_then(|id| snapshot.model().certificates.get(id))
        .map(|certificate| certificate.names.clone())
        .unwrap_or_default();
    let ours = |name: &&String| names.iter().any(|other| **other == ***name);
    world.certificates.keys().find(ours).map_or_else(|| "default".to_owned(), Clone::clone)
}

fn decided(
    snapshot: &Snapshot,
    endpoints: &BTreeMap<SocketAddr, String>,
    request: &Request,
) -> Decided {
    let bytes = request.bytes();
    let mut head = RequestHead::default();
    match head.parse(&bytes, &HeadLimits::default()) {
        Ok(Parse::Complete(_)) => {}
        Ok(Parse::Partial) => return Decided::default(),
        Err(refusal) => return refused(refusal),
    }
    let listener = snapshot
        .listeners()
        .iter()
        .find(|listener| listener.is_tls() == request.is_tls)
        .expect("there is a listener of each kind");
    let facts = Facts {
        listener,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        is_https: request.is_tls || claims_https(request),
        body_bytes_max: None,
    };
    let line = RequestLine {
        method: head.method,
        target: head.target,
        authority: head.authority.map(|span| span.of(&bytes)),
        path: head.path.of(&bytes),
        query: head.query.of(&bytes),
        declared_length: match head.body {
            BodyLength::Length(length) => Some(length),
            _ => None,
        },
    };
    let mut steps: Vec<Step> = Vec::new();
    let decision = decide(snapshot, &facts, &line, &mut Scratch::default(), &mut steps);
    match decision.verdict {
        Verdict::Refuse(refusal) => refused(refusal),
        Verdict::Respond { status, reason } => {
            Decided { status, reason: Some(reason.into_owned()), ..Decided::default() }
        }
        Verdict::Redirect { status, location, .. } => {
            Decided { status, location: Some(location), ..Decided::default() }
        }
        Verdict::Forward { split, .. } => {
            let mut decided = Decided { status: 200, ..Decided::default() };
            for (upstream, _) in split.upstreams() {
                decided.is_http2 = upstream.spec().protocol.is_http2();
                decided.is_tls = upstream.spec().protocol.is_tls();
                let names = upstream.addresses().map(|address| {
                    endpoints.get(&address).cloned().unwrap_or_else(|| address.to_string())
                });
                decided.served.extend(names);
            }
            decided.path = Some(forwarded_path(&steps, &line));
            decided
        }
    }
}

/// Trusted proxies of specifications are the machine itself.
fn claims_https(request: &Request) -> bool {
    request.fields.iter().any(|(name, value)| name == "x-forwarded-proto" && value == "https")
}

fn refused(refusal: wire::Refusal) -> Decided {
    let reason = Some(refusal.reason().to_owned());
    Decided { status: refusal.status(), reason, ..Decided::default() }
}

/// The path that the endpoint sees: the rewritten one, or the one that was sent.
fn forwarded_path(steps: &[Step], line: &RequestLine<'_>) -> String {
    let rewritten = steps.iter().find(|step| step.name == "rewrite").map(|step| &*step.finding);
    let sent = if line.path.is_empty() { b"/" } else { line.path };
    let text = rewritten.map_or_else(|| String::from_utf8_lossy(sent).into_owned(), str::to_owned);
    text.split('?').next().unwrap_or_default().to_owned()
}
