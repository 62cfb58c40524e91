//! What is said of an Ingress before it is stored: what is refused, what is warned about, and that
//! it is what translation says once it is stored.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::Ingress;
use model::{Code, Locality, Severity};
use serde_json::{Value, json};
use translate::{
    HostOwnership, Memo, Object, ObjectEvent, ObjectStore, Proposal, References, Settings, Verdict,
    manifests, review, translate,
};

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: ours}
spec: {controller: portcullis.io/ingress-controller}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: blog, name: web}
spec: {ports: [{port: 80}]}
";

struct World {
    objects: ObjectStore,
    settings: Settings,
    memo: Memo,
    references: References,
}

impl World {
    fn new(host_ownership: HostOwnership, ingresses: &[Value]) -> Self {
        let mut objects = ObjectStore::new();
        for parsed in manifests::parse("", CLASS).objects {
            objects.apply(ObjectEvent::Applied(parsed.object));
        }
        for ingress in ingresses {
            objects.apply(ObjectEvent::Applied(object(ingress)));
        }
        let settings = Settings { host_ownership, ..Settings::cluster() };
        let mut memo = Memo::new();
        let references = translate(&objects, &settings, &mut memo).references;
        Self { objects, settings, memo, references }
    }

    fn says(&self, ingress: &Value, before: Option<&Value>) -> Verdict {
        let text = |value: &Value| value.to_string().into_bytes();
        let proposal = Proposal::read(&text(ingress), before.map(text).as_deref())
            .expect("the test writes an Ingress");
        review(&self.objects, &self.settings, &self.memo, &self.references, &proposal)
    }
}

fn object(value: &Value) -> Object {
    let ingress: Ingress = serde_json::from_value(value.clone()).expect("it is an Ingress");
    Object::Ingress(Arc::new(ingress.into()))
}

/// An Ingress of ours, as old as its number says.
fn ingress(name: &str, age: u8, host: &str, path: &str) -> Value {
    let (namespace, name) = name.split_once('/').expect("a namespace and a name");
    json!({
        "metadata": {
            "namespace": namespace, "name": name,
            "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z"),
        },
        "spec": {
            "ingressClassName": "ours",
            "rules": [{"host": host, "http": {"paths": [{
                "path": path, "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}],
        },
    })
}

fn with(mut ingress: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a path to a field");
    ingress.pointer_mut(parent).expect("the parent is there")[key.replace("~1", "/")] = value;
    ingress
}

fn codes(found: &[model::Diagnostic]) -> Vec<&'static str> {
    found.iter().map(|found| found.code.id()).collect()
}

#[test]
fn what_is_right_is_let_through_in_silence() {
    let world = World::new(HostOwnership::Off, &[ingress("shop/a", 1, "shop.test", "/a")]);
    assert_eq!(world.says(&ingress("shop/b", 2, "shop.test", "/b"), None), Verdict::default());
}

#[test]
fn what_is_wrong_in_the_object_is_refused() {
    let world = World::new(HostOwnership::Off, &[]);
    let good = ingress("shop/a", 1, "shop.test", "/a");
    let annotations =
        |name: &str, value: &str| with(good.clone(), "/metadata/annotations", json!({name: value}));
    let nginx = "nginx.ingress.kubernetes.io";
    for (proposed, code) in [
        (annotations(&format!("{nginx}/configuration-snippet"), "deny all;"), "refused-snippet"),
        (annotations(&format!("{nginx}/auth-url"), "http://x"), "unsupported-access-control"),
        (annotations(&format!("{nginx}/ssl-redirect"), "maybe"), "invalid-annotation-value"),
        (ingress("shop/a", 1, "shop.test", "a"), "invalid-path"),
        (ingress("shop/a", 1, "https://shop.test", "/a"), "invalid-host"),
    ] {
        let verdict = world.says(&proposed, None);
        assert_eq!(codes(&verdict.denied), [code]);
    }
}

#[test]
fn what_depends_on_other_objects_is_a_warning() {
    let world = World::new(HostOwnership::Off, &[]);
    let service = "/spec/rules/0/http/paths/0/backend/service/name";
    let proposed = with(ingress("shop/a", 1, "shop.test", "/a"), service, json!("later"));
    let proposed =
        with(proposed, "/spec/tls", json!([{"hosts": ["shop.test"], "secretName": "tls"}]));
    // A Secret that nobody has named yet has not been read, and may be there.
    let verdict = world.says(&proposed, None);
    assert_eq!(codes(&verdict.denied), [""; 0]);
    assert_eq!(codes(&verdict.warnings), ["service-not-found"]);
    let tls = json!([{"hosts": ["other.test"], "secretName": "tls"}]);
    let named = with(ingress("shop/other", 1, "other.test", "/"), "/spec/tls", tls);
    let verdict = World::new(HostOwnership::Off, &[named]).says(&proposed, None);
    assert_eq!(codes(&verdict.warnings), ["service-not-found", "secret-not-found"]);
}

#[test]
fn a_conflict_names_the_other_object() {
    let world = World::new(HostOwnership::Off, &[ingress("blog/first", 5, "shop.test", "/a")]);
    let verdict = world.says(&ingress("shop/later", 9, "shop.test", "/a"), None);
    assert_eq!(codes(&verdict.warnings), ["route-conflict"]);
    assert!(verdict.warnings[0].message.contains("Ingress blog/first"), "{verdict:?}");
    // An older one takes the path from it.
    let verdict = world.says(&ingress("shop/older", 1, "shop.test", "/a"), None);
    assert_eq!(codes(&verdict.warnings), ["route-conflict"]);
    assert_eq!(&*verdict.warnings[0].object.name, "first");
    // Its own former version is no other object.
    let own = ingress("blog/first", 5, "shop.test", "/a");
    assert_eq!(world.says(&own, Some(&own)), Verdict::default());
}

#[test]
fn a_canary_beside_its_primary_is_stored_with_a_warning_that_it_is_left_out() {
    let world = World::new(HostOwnership::FirstNamespace, &[ingress("shop/a", 5, "a.test", "/")]);
    let canary = ingress("shop/a-canary", 1, "a.test", "/");
    let annotations = json!({
        "nginx.ingress.kubernetes.io/canary": "true",
        "nginx.ingress.kubernetes.io/canary-weight": "20",
    });
    let verdict = world.says(&with(canary, "/metadata/annotations", annotations), None);
    assert_eq!(codes(&verdict.denied), [""; 0]);
    assert!(verdict.warnings.iter().all(|d| d.code == Code::UnsupportedAnnotation), "{verdict:?}");
    assert!(verdict.warnings.iter().any(|d| d.message.contains("canaries")), "{verdict:?}");
}

#[test]
fn an_ingress_of_another_class_is_none_of_our_business() {
    let world = World::new(HostOwnership::Off, &[]);
    let proposed = with(ingress("shop/a", 1, "x", "bad"), "/spec/ingressClassName", json!("other"));
    assert_eq!(world.says(&proposed, None), Verdict::default());
}

#[test]
fn what_was_wrong_before_may_be_stored_again_but_no_new_mistake() {
    let world = World::new(HostOwnership::Off, &[]);
    let wrong = ingress("shop/a", 1, "shop.test", "a");
    let labelled = with(wrong.clone(), "/metadata/labels", json!({"x": "y"}));
    let verdict = world.says(&labelled, Some(&wrong));
    assert_eq!((codes(&verdict.denied), codes(&verdict.warnings)), (vec![], vec!["invalid-path"]));
    let worse = with(labelled, "/spec/rules/0/host", json!("https://shop.test"));
    assert_eq!(codes(&world.says(&worse, Some(&wrong)).denied), ["invalid-host"]);
}

/// An Ingress of the shop whose only path on each of these hosts is this.
fn rules(of: &[(&str, &str)]) -> Value {
    let one =
        |(host, path): &(&str, &str)| ingress("shop/a", 1, host, path)["spec"]["rules"][0].clone();
    let rules = of.iter().map(one).collect();
    with(ingress("shop/a", 1, "", "/"), "/spec/rules", Value::Array(rules))
}

#[test]
fn a_stored_mistake_that_has_moved_is_no_new_one() {
    let world = World::new(HostOwnership::Off, &[]);
    let before = rules(&[("a.test", "a"), ("b.test", "/b"), ("c.test", "c")]);
    for after in [
        rules(&[("new.test", "/"), ("a.test", "a"), ("b.test", "/b"), ("c.test", "c")]),
        rules(&[("c.test", "c"), ("a.test", "a")]),
        rules(&[("a.test", "/a"), ("c.test", "c")]),
    ] {
        let verdict = world.says(&after, Some(&before));
        assert_eq!(codes(&verdict.denied), [""; 0], "{after}");
        assert!(verdict.warnings.iter().all(|d| d.code == Code::InvalidPath), "{verdict:?}");
    }
}

#[test]
fn a_mistake_that_is_made_once_more_is_refused_where_it_is_new() {
    let world = World::new(HostOwnership::Off, &[]);
    let before = rules(&[("a.test", "a")]);
    let verdict = world.says(&rules(&[("a.test", "a"), ("b.test", "a")]), Some(&before));
    assert_eq!(codes(&verdict.warnings), ["invalid-path"]);
    assert_eq!(codes(&verdict.denied), ["invalid-path"]);
    assert_eq!(&*verdict.denied[0].field.0, "spec.rules[1].http.paths[0].path");
    // Another value is another mistake, also in the place of the former one.
    let verdict = world.says(&rules(&[("a.test", "b")]), Some(&before));
    assert_eq!(codes(&verdict.denied), ["invalid-path"]);
}

#[test]
fn who_mends_one_of_more_mistakes_than_are_told_is_let_through() {
    let world = World::new(HostOwnership::Off, &[]);
    let hosts: Vec<String> = (0..150).map(|index| format!("h{index}.test")).collect();
    let paths: Vec<String> = (0..150).map(|index| format!("bad{index}")).collect();
    let written = |mended: usize| {
        let path = |index: usize| if index < mended { "/good" } else { &*paths[index] };
        let all: Vec<(&str, &str)> = (0..150).map(|index| (&*hosts[index], path(index))).collect();
        rules(&all)
    };
    let verdict = world.says(&written(1), Some(&written(0)));
    assert_eq!(codes(&verdict.denied), [""; 0]);
    let verdict = world.says(&written(0), None);
    assert_eq!(verdict.denied.len(), 101);
}

#[test]
fn an_annotation_that_was_wrong_stays_one_mistake_with_another_rule() {
    let world = World::new(HostOwnership::Off, &[]);
    let nginx = "nginx.ingress.kubernetes.io";
    let mut refused = 0;
    for (name, value) in [
        ("configuration-snippet", "deny all;"),
        ("auth-url", "http://x"),
        ("whitelist-source-range", "everybody"),
        ("ssl-redirect", "maybe"),
        ("proxy-body-size", "much"),
        ("rewrite-target", "/$9"),
        ("permanent-redirect", "nowhere"),
        ("canary-weight", "-1"),
        ("auth-type", "magic"),
        ("cors-allow-origin", "x y"),
        ("backend-protocol", "FTP"),
        ("affinity", "sticky"),
        ("limit-rps", "often"),
        ("session-cookie-name", "a b"),
        ("proxy-read-timeout", "long"),
        ("server-alias", "a b/c"),
        ("app-root", "home"),
        ("mirror-target", "x y"),
        ("custom-http-errors", "all"),
        ("default-backend", "none"),
        ("upstream-vhost", "a b"),
        ("x-forwarded-prefix", "a b"),
        ("denylist-source-range", "x"),
        ("load-balance", "luck"),
        ("use-regex", "perhaps"),
    ] {
        let annotated = |hosts: &[(&str, &str)]| {
            let annotations = json!({
                format!("{nginx}/{name}"): value, format!("{nginx}/canary"): "true",
            });
            with(rules(hosts), "/metadata/annotations", annotations)
        };
        let before = annotated(&[("a.test", "/")]);
        let after = annotated(&[("new.test", "/x"), ("new.test", "/y"), ("a.test", "/")]);
        let verdict = world.says(&after, Some(&before));
        assert_eq!(codes(&verdict.denied), [""; 0], "{name}: {verdict:?}");
        refused += usize::from(!world.says(&after, None).denied.is_empty());
    }
    assert!(refused > 5, "{refused} were mistakes");
}

#[test]
fn what_is_being_deleted_is_let_go() {
    let world = World::new(HostOwnership::Off, &[]);
    let wrong = ingress("shop/a", 1, "shop.test", "a");
    let leaving = with(wrong, "/metadata/deletionTimestamp", json!("2026-01-02T00:00:00Z"));
    assert_eq!(world.says(&leaving, None), Verdict::default());
}

#[test]
fn a_foreign_host_is_a_warning_and_taking_it_away_is_refused() {
    let known = [ingress("blog/blog", 5, "blog.test", "/"), ingress("shop/old", 1, "a.test", "/")];
    let world = World::new(HostOwnership::FirstNamespace, &known);
    let verdict = world.says(&ingress("shop/later", 9, "blog.test", "/x"), None);
    assert_eq!(
        (codes(&verdict.denied), codes(&verdict.warnings)),
        (vec![], vec!["host-not-owned"])
    );
    // Older than what names the host: it would become its owner.
    let verdict = world.says(&ingress("shop/old", 1, "blog.test", "/x"), Some(&known[1]));
    assert_eq!(codes(&verdict.denied), ["host-not-owned"]);
    assert_eq!(&*verdict.denied[0].object.namespace, "blog");
    let verdict = world.says(&ingress("shop/old", 1, "*.test", "/x"), Some(&known[1]));
    assert_eq!(codes(&verdict.denied), ["host-not-owned"]);
}

#[test]
fn what_is_no_ingress_is_an_error() {
    assert!(Proposal::read(b"{", None).is_err());
    assert!(Proposal::read(br#"{"spec": 7}"#, None).is_err());
    assert!(Proposal::read(b"{}", Some(b"7")).is_err());
}

#[test]
fn what_is_refused_is_what_translation_would_have_said() {
    let known = [ingress("blog/first", 5, "shop.test", "/a")];
    let proposals = [
        ingress("shop/a", 9, "shop.test", "/a"),
        ingress("shop/a", 9, "shop.test", "bad"),
        ingress("shop/a", 1, "*.test", "/(?!x)"),
        with(
            ingress("shop/a", 9, "shop.test", "/b"),
            "/metadata/annotations",
            json!({"nginx.ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8"}),
        ),
    ];
    for proposed in proposals {
        let world = World::new(HostOwnership::Off, &known);
        let verdict = world.says(&proposed, None);
        let mut objects = world.objects.clone();
        objects.apply(ObjectEvent::Applied(object(&proposed)));
        let report = translate(&objects, &world.settings, &mut Memo::new()).report;
        let own = report.diagnostics().iter().filter(|found| {
            // Endpoints come and go, and are not asked for.
            *found.object.name == *"a" && found.code != Code::NoEndpoints
        });
        let (wrong, rest): (Vec<_>, Vec<_>) = own.cloned().partition(|found| {
            found.severity == Severity::Error && found.code.info().locality == Locality::Object
        });
        let sorted = |found: &[model::Diagnostic]| model::Report::new(found.to_vec());
        assert_eq!(sorted(&verdict.denied), sorted(&wrong));
        let rest: Vec<_> = rest.into_iter().filter(|d| d.severity != Severity::Info).collect();
        assert_eq!(sorted(&verdict.warnings), sorted(&rest));
    }
}

/// Others are looked at only where they have to do with the same hosts.
#[test]
fn among_many_only_those_of_the_same_host_are_put_together() {
    let many: Vec<Value> =
        (0..200).map(|n| ingress(&format!("shop/i{n}"), 1, &format!("h{n}.test"), "/")).collect();
    let world = World::new(HostOwnership::FirstNamespace, &many);
    let verdict = world.says(&ingress("shop/new", 9, "h7.test", "/"), None);
    assert_eq!(codes(&verdict.warnings), ["route-conflict"]);
    assert!(verdict.warnings[0].message.contains("shop/i7"));
}
