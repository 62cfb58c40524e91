//! What the compiler publishes, when, and in which order; and that it is what a whole build gives.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use model::{Code, Effect, FieldPath, Listener, ListenerProtocol, Report, UpstreamId};
use proptest::prelude::*;
use telemetry::TelemetrySettings;
use translate::{Object, ObjectEvent, ObjectKey, manifests};

use super::pace::{CHECK_QUIET, REBUILD};
use super::*;

mod failures;

/// What a proxy would serve after all publishes.
#[derive(Default)]
struct Served {
    translation: Translation,
    /// In order: `publish Full`, `report`, …
    log: Vec<String>,
    report: Report,
    observed: Vec<Diagnostic>,
}

struct Fixture {
    compiler: Compiler,
    served: Arc<Mutex<Served>>,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Settings { now: Some(1_700_000_000), ..Settings::standalone() })
    }

    fn with(settings: Settings) -> Self {
        let served = Arc::new(Mutex::new(Served::default()));
        let (publishing, reporting) = (Arc::clone(&served), Arc::clone(&served));
        let outside = Outside {
            last_good: None,
            want: None,
            served: None,
            publish: Box::new(move |new, change| {
                let mut served = publishing.lock().unwrap();
                served.log.push(format!("publish {change:?}"));
                match change {
                    Change::Full => served.translation = new.clone(),
                    Change::EndpointsOnly => served.translation.endpoints = new.endpoints.clone(),
                    Change::CertificatesOnly => {
                        served.translation.model.certificates = new.model.certificates.clone();
                        served.translation.model.sni = new.model.sni.clone();
                        served.translation.model.default_certificate =
                            new.model.default_certificate.clone();
                        served.translation.material = new.material.clone();
                    }
                }
                served.observed.clone()
            }),
            report: Box::new(move |report| {
                let mut served = reporting.lock().unwrap();
                served.log.push("report".to_owned());
                served.report = report.clone();
            }),
            telemetry: Telemetry::new(TelemetrySettings::new(0)),
            latest: Arc::default(),
        };
        Self { compiler: Compiler::new(settings, None, outside), served }
    }

    /// Takes events in and does what is due as soon as the pause is over. Returns what happened.
    fn tell(&mut self, events: Vec<ObjectEvent>) -> Vec<String> {
        let from = self.compiler.from_source.clone();
        let batch = Batch { events, diagnostics: from, stale_files: 0 };
        self.send(Message::Batch(batch))
    }

    fn send(&mut self, message: Message) -> Vec<String> {
        assert!(self.compiler.take(message));
        // Past the pause after a build, however long that took, and otherwise before the check that
        // follows a short one.
        let now = Instant::now();
        let soon = now + CHECK_QUIET / 2;
        let at = match self.compiler.due {
            Relevance::None => soon,
            _ => self.compiler.next_step(now).map_or(soon, |due| due.max(soon)),
        };
        self.compiler.step(at);
        std::mem::take(&mut self.served.lock().unwrap().log)
    }

    fn apply(&mut self, yaml: &str) -> Vec<String> {
        self.tell(applied(yaml))
    }

    fn start(&mut self, yaml: &str) -> Vec<String> {
        let mut events = applied(yaml);
        events.push(ObjectEvent::Synced);
        self.tell(events)
    }

    /// Lets the quiet pass after which a short build is checked.
    fn check(&mut self) -> Vec<String> {
        self.compiler.step(Instant::now() + CHECK_QUIET * 60);
        std::mem::take(&mut self.served.lock().unwrap().log)
    }

    fn endpoints(&self, upstream: &str) -> Vec<String> {
        let served = self.served.lock().unwrap();
        let id = UpstreamId(upstream.into());
        served.translation.endpoints[&id].iter().map(|e| e.address.to_string()).collect()
    }
}

fn objects(yaml: &str) -> Vec<Object> {
    let parsed = manifests::parse("test.yaml", yaml);
    assert!(parsed.is_readable, "{:?}", parsed.diagnostics);
    parsed.objects.into_iter().map(|object| object.object).collect()
}

fn applied(yaml: &str) -> Vec<ObjectEvent> {
    objects(yaml).into_iter().map(ObjectEvent::Applied).collect()
}

fn deleted(yaml: &str) -> Vec<ObjectEvent> {
    objects(yaml).iter().map(|object| ObjectEvent::Deleted(object.key())).collect()
}

fn ingress(name: &str, host: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  rules:
  - host: {host}
    http:
      paths:
      - path: /
        pathType: Prefix
        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}
---
"
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80}}]}}
---
"
    )
}

fn slice(name: &str, service: &str, addresses: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{name: '', port: 8080}}]
endpoints: [{addresses}]
---
"
    )
}

fn address(last: u8) -> String {
    format!("{{addresses: [10.0.0.{last}]}}")
}

fn shop() -> String {
    ingress("front", "shop.test", "cart") + &service("cart") + &slice("cart-1", "cart", &address(1))
}

const FULL: [&str; 2] = ["publish Full", "report"];
const ENDPOINTS: [&str; 2] = ["publish EndpointsOnly", "report"];
const NOTHING: [&str; 0] = [];

#[test]
fn nothing_is_published_before_everything_has_been_told() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.apply(&shop()), NOTHING);
    assert!(fixture.compiler.outside.latest.get().is_none());
    assert_eq!(fixture.tell(vec![ObjectEvent::Synced]), FULL);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.1:8080"]);
    assert!(fixture.compiler.outside.latest.get().is_some());
}

#[test]
fn an_empty_directory_is_published_too() {
    assert_eq!(Fixture::new().tell(vec![ObjectEvent::Synced]), FULL);
}

#[test]
fn the_report_is_told_after_what_it_is_about_is_served() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    assert_eq!(fixture.apply(&ingress("more", "more.test", "missing")), FULL);
    let served = fixture.served.lock().unwrap();
    assert!(served.report.diagnostics().iter().any(|d| d.code == Code::ServiceNotFound));
}

#[test]
fn what_nobody_looked_at_and_what_did_not_change_builds_nothing() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    assert_eq!(fixture.apply(&shop()), NOTHING);
    assert_eq!(fixture.apply(&service("other")), NOTHING);
    assert_eq!(fixture.apply(&slice("other-1", "other", &address(9))), NOTHING);
    assert_eq!(fixture.tell(deleted(&service("other"))), NOTHING);
}

#[test]
fn an_object_that_was_looked_for_and_missing_matters_when_it_comes() {
    let mut fixture = Fixture::new();
    fixture.start(&ingress("front", "shop.test", "cart"));
    assert_eq!(fixture.apply(&service("cart")), FULL);
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(1))), ENDPOINTS);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.1:8080"]);
}

#[test]
fn a_change_of_endpoints_alone_replaces_endpoints_alone() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    let two = format!("{}, {}", address(1), address(2));
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &two)), ENDPOINTS);
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    assert!(page.contains("portcullis_config_builds_total{kind=\"endpoints\",result=\"ok\"} 1\n"));
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let latest = fixture.compiler.outside.latest.get().unwrap();
    assert_eq!(latest.endpoints, fixture.served.lock().unwrap().translation.endpoints);
    assert_eq!(fixture.check(), ["report"], "a whole build finds the same");
}

#[test]
fn short_builds_in_a_row_each_start_from_the_one_before() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(2))), ENDPOINTS);
    assert_eq!(fixture.apply(&ingress("more", "more.test", "cart")), FULL);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.2:8080"]);
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(3))), ENDPOINTS);
    assert_eq!(fixture.apply(&ingress("third", "third.test", "cart")), FULL);
    assert_eq!(fixture.tell(deleted(&ingress("front", "shop.test", "cart"))), FULL);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.3:8080"]);
    let builds = |kind: &str| format!("builds_total{{kind=\"{kind}\",result=\"ok\"}} ");
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    assert!(page.contains(&format!("{}2\n", builds("endpoints"))), "{page}");
    assert!(fixture.compiler.pace.next_check().is_some_and(|at| at < Instant::now() + REBUILD));
    assert_eq!(fixture.check(), ["report"], "a whole build finds the same");
}

#[test]
fn the_report_says_at_once_when_an_upstream_has_lost_its_last_endpoint() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    let has_none = |fixture: &Fixture| {
        let served = fixture.served.lock().unwrap();
        served.report.diagnostics().iter().any(|d| d.code == Code::NoEndpoints)
    };
    assert!(!has_none(&fixture));
    assert_eq!(fixture.tell(deleted(&slice("cart-1", "cart", ""))), ENDPOINTS);
    assert_eq!(fixture.endpoints("default/cart:80"), [""; 0]);
    assert!(has_none(&fixture));
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(1))), ENDPOINTS);
    assert!(!has_none(&fixture));
}

#[test]
fn another_certificate_replaces_certificates_alone() {
    let mut fixture = Fixture::new();
    let tls = "spec:\n  tls: [{hosts: [a.test], secretName: t0}]\n";
    let front = ingress("front", "a.test", "cart").replace("spec:\n", tls);
    fixture.start(&(front + &SECRETS[0]));
    let first = fixture.served.lock().unwrap().translation.material.clone();
    assert_eq!(first.len(), 1);
    assert_eq!(fixture.apply(&SECRETS[1]), ["publish CertificatesOnly", "report"]);
    let second = fixture.served.lock().unwrap().translation.material.clone();
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    let labels = "{secret_namespace=\"default\",secret=\"t0\"} ";
    assert!(page.contains(&format!("portcullis_certificate_expiry_timestamp_seconds{labels}")));
}

#[test]
fn what_comes_together_is_built_once() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    for name in ["a", "b", "c"] {
        let batch = Batch { events: applied(&ingress(name, name, "cart")), ..Batch::default() };
        fixture.compiler.take(Message::Batch(batch));
    }
    fixture.compiler.step(Instant::now() + CHECK_QUIET / 2);
    assert_eq!(fixture.served.lock().unwrap().log, FULL);
}

#[test]
fn a_build_waits_as_long_after_the_last_as_that_took() {
    let mut pace = Pace::default();
    let start = Instant::now();
    assert_eq!(pace.next_build(start), start, "the first one at once");
    let end = start + Duration::from_millis(30);
    pace.built(true, start, end);
    assert_eq!(pace.next_build(end), end + Duration::from_millis(30));
    assert_eq!(pace.next_check(), Some(end + REBUILD));
    let later = end + Duration::from_secs(1);
    pace.built(false, later, later + Duration::from_millis(1));
    assert_eq!(pace.next_build(later), later + Duration::from_millis(2));
    assert_eq!(pace.next_check(), Some(later + Duration::from_millis(1) + CHECK_QUIET));
    pace.built(true, later, later + Duration::from_millis(200));
    pace.built(false, later, later);
    assert_eq!(pace.next_check(), Some(later + Duration::from_secs(4)), "twenty times as long");
    // However often something changes, everything is built once in a minute.
    let whole = later + Duration::from_millis(200);
    let busy = whole + Duration::from_secs(59);
    pace.built(false, busy, busy);
    assert_eq!(pace.next_check(), Some(whole + Duration::from_mins(1)));
    assert!(!pace.is_whole_due(busy));
    assert!(pace.is_whole_due(whole + Duration::from_mins(1)));
}

#[test]
fn other_listeners_are_published_with_the_same_routes() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    let listener = Listener {
        address: "127.0.0.1:8080".parse().unwrap(),
        protocol: ListenerProtocol::Http,
        public_port: None,
        redirect_port: None,
    };
    let settings = Settings { listeners: vec![listener], ..fixture.compiler.settings.clone() };
    assert_eq!(fixture.send(Message::Settings(Box::new(settings))), FULL);
    let served = fixture.served.lock().unwrap();
    assert_eq!(served.translation.model.listeners.len(), 1);
    assert_eq!(served.translation.model.hosts.len(), 1);
}

#[test]
fn what_publishing_observes_stands_in_the_report_until_the_next_publish_that_may_mend_it() {
    let mut fixture = Fixture::new();
    let observed = Diagnostic {
        severity: Code::ListenerNotBound.info().severity,
        code: Code::ListenerNotBound,
        object: model::ObjectRef::new("Listener", "", "127.0.0.1:80"),
        field: FieldPath::default(),
        message: "address in use".to_owned(),
        help: None,
        related: Vec::new(),
        effect: Effect::ListenerNotBound,
    };
    fixture.served.lock().unwrap().observed = vec![observed.clone()];
    fixture.start(&shop());
    let has_it = |fixture: &Fixture| {
        let served = fixture.served.lock().unwrap();
        served.report.diagnostics().contains(&observed)
    };
    assert!(has_it(&fixture));
    fixture.served.lock().unwrap().observed.clear();
    fixture.apply(&slice("cart-1", "cart", &address(2)));
    assert!(has_it(&fixture), "endpoints bind nothing");
    fixture.apply(&ingress("more", "more.test", "cart"));
    assert!(!has_it(&fixture));
}

#[test]
fn what_a_source_says_is_reported_without_a_build() {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    let said = Diagnostic {
        severity: Code::UnreadableManifest.info().severity,
        code: Code::UnreadableManifest,
        object: crate::source::file_ref("a.yaml"),
        field: FieldPath::default(),
        message: "cut off".to_owned(),
        help: None,
        related: Vec::new(),
        effect: Effect::LastGoodServes,
    };
    let batch = Batch { diagnostics: vec![said.clone()], stale_files: 1, ..Batch::default() };
    assert_eq!(fixture.send(Message::Batch(batch)), ["report"]);
    assert!(fixture.served.lock().unwrap().report.diagnostics().contains(&said));
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    assert!(page.contains("portcullis_config_stale_files 1\n"));
}

const EXTERNAL: &str = "apiVersion: v1
kind: Service
metadata: {name: db}
spec: {type: ExternalName, externalName: db.example, ports: [{port: 80}]}
---
";

#[test]
fn addresses_of_names_are_merged_into_what_is_published_and_survive_other_changes() {
    let mut fixture = Fixture::new();
    fixture.start(&(shop() + &ingress("db", "db.test", "db") + EXTERNAL));
    assert_eq!(fixture.endpoints("default/db:80"), [""; 0]);
    let query = Query { name: "db.example".into(), search: false };
    let addresses = vec!["127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
    let resolved = Resolved { addresses, problem: None };
    assert_eq!(fixture.send(Message::Resolved(query, resolved)), ENDPOINTS);
    assert_eq!(fixture.endpoints("default/db:80"), ["192.0.2.1:80"]);
    let has_refusal = |fixture: &Fixture| {
        let served = fixture.served.lock().unwrap();
        served.report.diagnostics().iter().any(|d| d.code == Code::ExternalNameForbidden)
    };
    assert!(has_refusal(&fixture), "the loopback address is refused");
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(2))), ENDPOINTS);
    assert_eq!(fixture.endpoints("default/db:80"), ["192.0.2.1:80"]);
    assert_eq!(fixture.apply(&ingress("more", "more.test", "cart")), FULL);
    assert_eq!(fixture.endpoints("default/db:80"), ["192.0.2.1:80"]);
    assert!(has_refusal(&fixture));
    fixture.tell(deleted(&ingress("db", "db.test", "db")));
    assert!(fixture.compiler.known_names.is_empty());
    assert!(!has_refusal(&fixture));
}

/// Two versions of a Secret, each with a certificate of its own. None without: what a Secret held
/// before matters then, so that a whole build of the present alone would not tell the same.
static SECRETS: LazyLock<[String; 2]> = LazyLock::new(|| {
    [(), ()].map(|()| {
        let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let indented = |pem: String| pem.replace('\n', "\n    ");
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: t0}}\ntype: kubernetes.io/tls\n\
             stringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n---\n",
            indented(pair.cert.pem()).trim_end(),
            indented(pair.signing_key.serialize_pem()).trim_end()
        )
    })
});

/// Any of a small world's objects, in one of its versions.
fn any_object() -> impl Strategy<Value = String> {
    let host = prop_oneof![Just("a.test"), Just("'*.a.test'"), Just("b.test"), Just("NOT VALID")];
    let service_name = prop_oneof![Just("s0"), Just("s1"), Just("s2")];
    let name = prop_oneof![Just("n0"), Just("n1"), Just("n2")];
    let addresses = prop_oneof![
        Just(String::new()),
        Just(address(1)),
        Just(address(2)),
        Just(format!("{}, {}", address(1), address(3))),
        Just("{addresses: [10.0.0.4], conditions: {ready: false}}".to_owned()),
        Just("{addresses: [nonsense]}".to_owned()),
    ];
    let tls =
        |text: &str| text.replace("spec:\n", "spec:\n  tls: [{hosts: [a.test], secretName: t0}]\n");
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: c}\n\
                 spec: {controller: example.com/other}\n---\n";
    prop_oneof![
        6 => (name.clone(), host.clone(), service_name.clone())
            .prop_map(|(n, h, s)| ingress(n, h, s)),
        1 => (name.clone(), host, service_name.clone())
            .prop_map(move |(n, h, s)| tls(&ingress(n, h, s))),
        3 => service_name.clone().prop_map(service),
        8 => (name, service_name, addresses).prop_map(|(n, s, a)| slice(n, s, &a)),
        1 => any::<bool>().prop_map(|second| SECRETS[usize::from(second)].clone()),
        1 => Just(class.to_owned()),
    ]
}

/// What is said but for what finding endpoints says, which waits for a whole build.
fn but_of_endpoints(report: &Report) -> Vec<Diagnostic> {
    let of_endpoints = [Code::EndpointAddressRefused, Code::InvalidEndpoint, Code::NoEndpoints];
    let said = report.diagnostics().iter();
    said.filter(|said| !of_endpoints.contains(&said.code)).cloned().collect()
}

fn key_of(yaml: &str) -> ObjectKey {
    objects(yaml).first().unwrap_or_else(|| panic!("no object in {yaml}")).key()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_happens_what_is_served_is_what_a_whole_build_gives(
        events in prop::collection::vec((any_object(), prop::bool::weighted(0.75)), 1..40),
        batch_size in 1..4_usize,
        // So many short builds, each upon the one before, until a whole one checks them.
        short_builds in 1..6_usize,
    ) {
        let mut fixture = Fixture::new();
        fixture.start("");
        let mut there: BTreeMap<ObjectKey, String> = BTreeMap::new();
        for (index, batch) in events.chunks(batch_size).enumerate() {
            let mut told = Vec::new();
            for (yaml, is_applied) in batch {
                if *is_applied {
                    there.insert(key_of(yaml), yaml.clone());
                    told.extend(applied(yaml));
                } else {
                    there.remove(&key_of(yaml));
                    told.extend(deleted(yaml));
                }
            }
            fixture.tell(told);
            let mut store = ObjectStore::new();
            for yaml in there.values() {
                for event in applied(yaml) {
                    store.apply(event);
                }
            }
            let settings = fixture.compiler.settings.clone();
            let whole: Translation = translate::translate(&store, &settings, &mut Memo::default());
            {
                let served = fixture.served.lock().unwrap();
                prop_assert_eq!(&served.translation.model, &whole.model);
                prop_assert_eq!(&served.translation.endpoints, &whole.endpoints);
                let keys = |of: &Translation| of.material.keys().cloned().collect::<Vec<_>>();
                prop_assert_eq!(keys(&served.translation), keys(&whole));
                let generation = served.translation.model.generation();
                prop_assert_eq!(generation, whole.model.generation());
                prop_assert_eq!(but_of_endpoints(&served.report), but_of_endpoints(&whole.report));
            }
            let is_checked = (index + 1).is_multiple_of(short_builds);
            if is_checked {
                let log = fixture.check();
                prop_assert!(!log.iter().any(|line| line.starts_with("publish")), "{log:?}");
            }
            let served = fixture.served.lock().unwrap();
            let latest = fixture.compiler.outside.latest.get().unwrap();
            prop_assert_eq!(&latest.model, &whole.model);
            prop_assert_eq!(&latest.endpoints, &whole.endpoints);
            if is_checked {
                prop_assert_eq!(&served.report, &whole.report);
                prop_assert_eq!(&latest.report, &whole.report);
            }
        }
    }
}
