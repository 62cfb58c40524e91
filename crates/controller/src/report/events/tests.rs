//! What is told, when, and of what nothing more is told.

use std::time::{Duration, Instant};

use k8s_openapi::api::networking::v1::{
    Ingress, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use model::{Code, FieldPath, Report};
use translate::ContentHash;

use super::*;

const NAME: &str = "portcullis";

/// One leader with what it sees, on a clock of the test's own.
struct World {
    now: Instant,
    ledger: Ledger,
    observed: Observed,
    served: Translation,
}

fn ingress(name: &str, uid: &str, is_published: bool) -> Ingress {
    let mut ingress = Ingress::default();
    ingress.metadata.namespace = Some("shop".into());
    ingress.metadata.name = Some(name.into());
    ingress.metadata.uid = Some(uid.into());
    ingress.metadata.resource_version = Some("5".into());
    ingress.metadata.generation = Some(3);
    if is_published {
        let entry = IngressLoadBalancerIngress {
            ip: Some("192.0.2.1".into()),
            ..IngressLoadBalancerIngress::default()
        };
        let balancer = IngressLoadBalancerStatus { ingress: Some(vec![entry]) };
        ingress.status = Some(IngressStatus { load_balancer: Some(balancer) });
        ingress.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
            manager: Some(NAME.into()),
            subresource: Some("status".into()),
            ..ManagedFieldsEntry::default()
        }]);
    }
    ingress
}

fn ours(name: &str, content: u8, routes: u32) -> OurIngress {
    OurIngress {
        namespace: "shop".into(),
        name: name.into(),
        content: ContentHash([content; 16]),
        hosts: routes.min(1),
        routes,
    }
}

fn diagnostic(code: Code, name: &str, field: &str) -> Diagnostic {
    Diagnostic {
        severity: code.info().severity,
        code,
        object: ObjectRef::new("Ingress", "shop", name),
        field: FieldPath(field.into()),
        message: "service \"cart\" does not exist".into(),
        help: None,
        related: Vec::new(),
        effect: Effect::RouteResponds(503),
    }
}

impl World {
    fn new(ingresses: &[OurIngress], diagnostics: Vec<Diagnostic>) -> Self {
        let observed = Observed::new(NAME);
        for one in ingresses {
            observed.observe(&ingress(&one.name, &format!("uid-{}", one.name), false));
        }
        let mut served = Translation::default();
        served.ingresses = ingresses.into();
        served.report = Report::new(diagnostics);
        let mut world = Self { now: Instant::now(), ledger: Ledger::default(), observed, served };
        world.take();
        world
    }

    fn take(&mut self) {
        self.ledger.take(self.now, &self.served, &self.observed);
    }

    fn report(&mut self, diagnostics: Vec<Diagnostic>) {
        self.served.report = Report::new(diagnostics);
        self.take();
    }

    /// Everything that is told within this time, as type, reason and how often it was told before.
    fn tell(&mut self, length: Duration) -> Vec<Telling> {
        self.tell_with(length, |telling| Told::Counted(telling.again.unwrap_or(0) + 1))
    }

    fn tell_with(&mut self, length: Duration, outcome: impl Fn(&Telling) -> Told) -> Vec<Telling> {
        let end = self.now + length;
        let mut all = Vec::new();
        while self.now <= end {
            match self.ledger.next(self.now, &self.observed) {
                Ok(telling) => {
                    self.ledger.ended(self.now, &telling, outcome(&telling));
                    all.push(telling);
                }
                Err(wait) => self.now += wait.max(Duration::from_millis(1)),
            }
        }
        self.now = end;
        all
    }
}

fn reasons(tellings: &[Telling]) -> Vec<&'static str> {
    tellings.iter().map(|telling| telling.happening.reason).collect()
}

const MOMENT: Duration = Duration::from_secs(5);

#[test]
fn a_diagnostic_is_told_once_with_object_field_effect_and_remedy() {
    let field = "spec.rules[0].http.paths[0].backend.service.name";
    let mut world =
        World::new(&[ours("web", 1, 0)], vec![diagnostic(Code::ServiceNotFound, "web", field)]);
    let told = world.tell(MOMENT);
    assert_eq!(told.len(), 1);
    let happening = &told[0].happening;
    assert!(happening.is_warning);
    assert_eq!(happening.reason, "ServiceNotFound");
    assert_eq!(happening.uid.as_deref(), Some("uid-web"));
    assert_eq!(happening.version.as_deref(), Some("5"));
    assert_eq!(
        happening.note,
        "spec.rules[0].http.paths[0].backend.service.name: service \"cart\" does not exist; \
         the route answers 503. To mend it: create the Service, or mend the name"
    );
    world.take();
    assert!(world.tell(MOMENT).is_empty());
}

#[test]
fn what_comes_and_goes_while_objects_are_applied_is_not_told() {
    let mut world =
        World::new(&[ours("web", 1, 0)], vec![diagnostic(Code::ServiceNotFound, "web", "a")]);
    assert!(world.tell(Duration::from_millis(900)).is_empty());
    world.report(Vec::new());
    assert!(world.tell(MOMENT).is_empty());
}

#[test]
fn infos_and_ingresses_of_others_and_what_is_no_object_are_not_told() {
    let mut of_file = diagnostic(Code::UnreadableManifest, "a.yaml", "");
    of_file.object = ObjectRef::new("File", "", "a.yaml");
    let mut of_all_classes = diagnostic(Code::DuplicateDefaultClass, "*", "");
    of_all_classes.object = ObjectRef::new("IngressClass", "", "*");
    let diagnostics = vec![
        diagnostic(Code::AnnotationWithoutEffect, "web", "a"),
        diagnostic(Code::InvalidObject, "theirs", "a"),
        of_file,
        of_all_classes,
    ];
    let mut world = World::new(&[ours("web", 1, 0)], diagnostics);
    world.observed.observe(&ingress("theirs", "uid-theirs", false));
    world.take();
    assert!(world.tell(MOMENT).is_empty());
}

#[test]
fn other_objects_are_told_of_without_an_identity_known_before() {
    let mut secret = diagnostic(Code::CertificateExpired, "cert", "");
    secret.object = ObjectRef::new("Secret", "shop", "cert");
    let mut world = World::new(&[], vec![secret]);
    let told = world.tell(MOMENT);
    assert_eq!(reasons(&told), ["CertificateExpired"]);
    assert_eq!(told[0].happening.uid, None);
}

#[test]
fn what_stands_is_told_again_as_the_same_event_twice_an_hour() {
    let mut world =
        World::new(&[ours("web", 1, 0)], vec![diagnostic(Code::ServiceNotFound, "web", "a")]);
    let told = world.tell(Duration::from_mins(95));
    let again: Vec<Option<i32>> = told.iter().map(|telling| telling.again).collect();
    assert_eq!(again, [None, Some(1), Some(2), Some(3)]);
    let digests: Vec<Digest> = told.iter().map(|telling| telling.happening.digest()).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[test]
fn what_comes_back_is_the_same_event_seen_once_more() {
    let standing = || vec![diagnostic(Code::NoEndpoints, "web", "a")];
    let mut world = World::new(&[ours("web", 1, 0)], standing());
    assert_eq!(world.tell(MOMENT).len(), 1);
    world.report(Vec::new());
    assert!(world.tell(MOMENT).is_empty());
    world.report(standing());
    let told = world.tell(MOMENT);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].again, Some(1));
}

#[test]
fn an_object_that_was_created_anew_is_told_anew() {
    let standing = || vec![diagnostic(Code::ServiceNotFound, "web", "a")];
    let mut world = World::new(&[ours("web", 1, 0)], standing());
    let before = world.tell(MOMENT);
    world.observed.observe(&ingress("web", "uid-second", false));
    world.take();
    let after = world.tell(MOMENT);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].again, None);
    assert_ne!(before[0].happening.digest(), after[0].happening.digest());
}

#[test]
fn an_object_has_a_burst_of_events_and_then_one_every_five_minutes() {
    let many = (0..40).map(|n| diagnostic(Code::ServiceNotFound, "web", &format!("f{n}")));
    let mut world = World::new(&[ours("web", 1, 0)], many.collect());
    assert_eq!(world.tell(Duration::from_mins(1)).len(), 25);
    assert_eq!(world.tell(Duration::from_mins(10)).len(), 2);
    // Another object has its own.
    let mut more: Vec<Diagnostic> = world.served.report.diagnostics().to_vec();
    more.push(diagnostic(Code::ServiceNotFound, "blog", "a"));
    world.observed.observe(&ingress("blog", "uid-blog", false));
    world.served.ingresses = [ours("blog", 1, 0), ours("web", 1, 0)].into();
    world.report(more);
    assert_eq!(world.tell(MOMENT).len(), 1);
}

#[test]
fn all_objects_together_have_a_rate() {
    let names: Vec<String> = (0..500).map(|n| format!("web-{n:03}")).collect();
    let ingresses: Vec<OurIngress> = names.iter().map(|name| ours(name, 1, 0)).collect();
    let all = names.iter().map(|name| diagnostic(Code::ServiceNotFound, name, "a")).collect();
    let mut world = World::new(&ingresses, all);
    let told = world.tell(Duration::from_secs(11)).len();
    assert!((195..=205).contains(&told), "{told}");
    assert_eq!(told + world.tell(Duration::from_mins(1)).len(), 500);
}

#[test]
fn errors_are_told_before_warnings() {
    let diagnostics = vec![
        diagnostic(Code::NoEndpoints, "a-web", "a"),
        diagnostic(Code::ServiceNotFound, "b-web", "a"),
    ];
    let mut world = World::new(&[ours("a-web", 1, 0), ours("b-web", 1, 0)], diagnostics);
    assert_eq!(reasons(&world.tell(MOMENT)), ["ServiceNotFound", "NoEndpoints"]);
}

#[test]
fn diagnostics_beyond_the_bound_are_not_told_and_errors_go_first() {
    let warnings = (0..STANDING_MAX).map(|n| diagnostic(Code::NoEndpoints, "web", &format!("{n}")));
    let mut all: Vec<Diagnostic> = warnings.collect();
    all.push(diagnostic(Code::ServiceNotFound, "web", "z"));
    let mut world = World::new(&[ours("web", 1, 0)], all);
    assert_eq!(world.ledger.standing.len(), STANDING_MAX);
    assert_eq!(world.tell(MOMENT)[0].happening.reason, "ServiceNotFound");
}

#[test]
fn objects_whose_events_are_counted_are_bounded() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    for index in 0..OBJECTS_MAX + 10 {
        ledger.spend(now, &ObjectRef::new("Ingress", "shop", format!("web-{index}")));
    }
    assert_eq!(ledger.objects.len(), OBJECTS_MAX);
}

#[test]
fn a_failure_is_tried_again() {
    let mut world =
        World::new(&[ours("web", 1, 1)], vec![diagnostic(Code::ServiceNotFound, "web", "a")]);
    let failed = world.tell_with(MOMENT, |_| Told::Failed);
    assert_eq!(reasons(&failed), ["Sync", "ServiceNotFound"]);
    assert!(world.ledger.has_failures());
    let told = world.tell(Duration::from_secs(20));
    assert!(!world.ledger.has_failures());
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|telling| telling.again.is_none()));
}

#[test]
fn what_cannot_be_told_is_tried_ever_more_seldom() {
    let mut world =
        World::new(&[ours("web", 1, 1)], vec![diagnostic(Code::ServiceNotFound, "web", "a")]);
    // After 1, 11, 31, 71, 151, 311, 631 and 1,271 seconds; and the Sync a second before each.
    let tried = world.tell_with(Duration::from_mins(25), |_| Told::Failed);
    assert_eq!(tried.len(), 16);
}

#[test]
fn an_ingress_is_told_to_be_served_when_it_first_is_and_when_its_content_changes() {
    let mut world = World::new(&[ours("broken", 1, 0), ours("web", 1, 3)], Vec::new());
    let told = world.tell(MOMENT);
    assert_eq!(told.len(), 1);
    assert!(!told[0].happening.is_warning);
    assert_eq!(told[0].happening.reason, "Sync");
    assert_eq!(told[0].happening.note, "serving 3 routes on 1 host (generation 3)");
    world.take();
    assert!(world.tell(MOMENT).is_empty());
    world.served.ingresses = [ours("broken", 1, 0), ours("web", 2, 3)].into();
    world.take();
    assert_eq!(reasons(&world.tell(MOMENT)), ["Sync"]);
}

#[test]
fn a_program_that_starts_anew_does_not_tell_of_what_was_served_before() {
    let mut world = World::new(&[], Vec::new());
    world.observed.observe(&ingress("web", "uid-web", true));
    world.served.ingresses = [ours("web", 1, 1)].into();
    world.take();
    assert!(world.tell(MOMENT).is_empty());
    world.served.ingresses = [ours("web", 2, 1)].into();
    world.take();
    assert_eq!(reasons(&world.tell(MOMENT)), ["Sync"]);
}

#[test]
fn an_address_that_is_written_before_the_event_does_not_make_it_old() {
    let mut world = World::new(&[], Vec::new());
    world.observed.observe(&ingress("web", "uid-web", false));
    let mut written = ingress("web", "uid-web", true);
    written.metadata.resource_version = Some("6".into());
    world.observed.settle(&written);
    world.served.ingresses = [ours("web", 1, 1)].into();
    world.take();
    assert_eq!(reasons(&world.tell(MOMENT)), ["Sync"]);
}

#[test]
fn a_second_leader_tells_what_is_new_and_nothing_else() {
    let old = diagnostic(Code::ServiceNotFound, "web", "old");
    let mut world = World::new(&[ours("web", 1, 1)], vec![old.clone()]);
    // As a follower, while the first leader tells; which then dies.
    world.now += Duration::from_mins(3);
    world.served.ingresses = [ours("blog", 1, 1), ours("web", 1, 1)].into();
    world.observed.observe(&ingress("blog", "uid-blog", false));
    let new = diagnostic(Code::SecretNotFound, "web", "new");
    world.report(vec![old, new]);
    world.now += Duration::from_secs(20);
    world.ledger.lead(world.now);
    let told = world.tell(MOMENT);
    assert_eq!(reasons(&told), ["SecretNotFound", "Sync"]);
    assert_eq!(&*told[1].happening.object.name, "blog");
    // What stood before is counted up when its time has come, from what the Event says.
    let later = world.tell(Duration::from_mins(31));
    let mut counted: Vec<_> = later.iter().map(|t| (t.happening.reason, t.again)).collect();
    counted.sort_unstable();
    assert_eq!(counted, [("SecretNotFound", Some(1)), ("ServiceNotFound", Some(0))]);
}

#[test]
fn an_event_that_is_there_already_is_not_told_again_soon() {
    let mut world =
        World::new(&[ours("web", 1, 1)], vec![diagnostic(Code::ServiceNotFound, "web", "a")]);
    assert_eq!(world.tell_with(MOMENT, |_| Told::Known).len(), 2);
    assert!(world.tell(Duration::from_mins(20)).is_empty());
}

/// The same, in another namespace; seen by whoever looks.
fn of_namespace(world: &World, namespace: &str, all: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let moved = |mut diagnostic: Diagnostic| {
        diagnostic.object.namespace = namespace.into();
        let mut seen = ingress(&diagnostic.object.name, &diagnostic.object.name, false);
        seen.metadata.namespace = Some(namespace.into());
        world.observed.observe(&seen);
        diagnostic
    };
    all.into_iter().map(moved).collect()
}

fn served_in(namespace: &str, diagnostics: &[Diagnostic]) -> Vec<OurIngress> {
    let of = |diagnostic: &Diagnostic| OurIngress {
        namespace: namespace.into(),
        ..ours(&diagnostic.object.name, 1, 0)
    };
    diagnostics.iter().map(of).collect()
}

#[test]
fn a_namespace_with_thousands_of_mistakes_does_not_silence_another() {
    for number in [3_000, STANDING_MAX + 1_000] {
        let mut world = World::new(&[], Vec::new());
        let loud: Vec<Diagnostic> = (0..number)
            .map(|number| diagnostic(Code::ServiceNotFound, &format!("a{number:05}"), "a"))
            .collect();
        let loud = of_namespace(&world, "aaa", loud);
        let quiet = vec![diagnostic(Code::CertificateDoesNotCoverHost, "web", "a")];
        let quiet = of_namespace(&world, "shop", quiet);
        let mut all = served_in("aaa", &loud);
        all.push(ours("web", 1, 1));
        world.served.ingresses = all.into();
        world.report([loud, quiet].concat());
        let told = world.tell(MOMENT);
        let of_shop = told.iter().take(10).filter(|t| &*t.happening.object.namespace == "shop");
        let reasons: Vec<_> = of_shop.map(|telling| telling.happening.reason).collect();
        // What is served stands at once; a diagnostic must have stood for a moment.
        assert_eq!(reasons, ["Sync", "CertificateHost"], "{number}");
    }
}
