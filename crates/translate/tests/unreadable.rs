//! Whatever stands in a closed Ingress in place of what belongs there, nothing of it opens.
//!
//! Every value of such an Ingress is replaced in turn by values of every other type. A broad
//! Ingress stands beside it: a request for the closed path must never get there, but for the few
//! fields without which nobody can tell which requests were meant, and then the report says so.

use model::{Action, Code, Effect, Hostname, Model};
use serde_json::{Value, json};
use translate::{Dialect, Memo, ObjectEvent, ObjectStore, Settings, Translation, manifests};

const BROAD: &str = r#"{
    "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "z-broad"},
    "spec": {"rules": [
        {"host": "a.test", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
        ]}},
        {"http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
        ]}}
    ]}
}
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
"#;

fn closed() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": "closed", "namespace": "default", "labels": {"a": "b"},
            "annotations": {"nginx.ingress.kubernetes.io/auth-url": "https://auth.test"}
        },
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["a.test"], "secretName": "absent"}],
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
            "rules": [{"host": "a.test", "http": {"paths": [
                {"path": "/closed", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
            ]}}]
        }
    })
}

fn legacy() -> Value {
    json!({
        "apiVersion": "extensions/v1beta1", "kind": "Ingress",
        "metadata": {
            "name": "closed",
            "annotations": {"nginx.ingress.kubernetes.io/auth-url": "https://auth.test"}
        },
        "spec": {
            "backend": {"serviceName": "web", "servicePort": 80},
            "rules": [{"host": "a.test", "http": {"paths": [
                {"path": "/closed", "pathType": "Exact", "backend": {"serviceName": "web", "servicePort": 80}}
            ]}}]
        }
    })
}

/// The pointers of all values below, and of the value itself.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                pointers(value, &format!("{at}/{key}"), all);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                pointers(value, &format!("{at}/{index}"), all);
            }
        }
        _ => {}
    }
}

/// Values that are of another type than this one.
fn junk(value: &Value) -> impl Iterator<Item = Value> {
    let kind = std::mem::discriminant(value);
    let all = [json!(5), json!(1.5), json!(true), json!("junk"), json!([5]), json!([[]])];
    let all = all.into_iter().chain([json!([]), json!({}), json!({"x": [5]})]);
    all.filter(move |junk| std::mem::discriminant(junk) != kind)
}

fn translated(text: &str, dialect: Dialect) -> Option<Translation> {
    let parsed = manifests::parse("all.json", text);
    let mut store = ObjectStore::new();
    for object in &parsed.objects {
        store.apply(ObjectEvent::Applied(object.object.clone()));
    }
    let settings = Settings { dialect: Some(dialect), ..Settings::standalone() };
    parsed.is_readable.then(|| translate::translate(&store, &settings, &mut Memo::new()))
}

/// Whether a request for this host and path gets to an endpoint; plainly, route by route.
fn is_open(model: &Model, host: &str, path: &str) -> bool {
    let hosts = [Hostname::Exact(host.into()), Hostname::Any];
    let mut routes = hosts.iter().filter_map(|host| model.hosts.get(host)).flat_map(|h| &h.routes);
    let first = routes.find(|route| route.path.matches_literal(path));
    first.is_some_and(|route| {
        route.policy.closed.is_none() && matches!(route.action, Action::Forward(_))
    })
}

/// Fields without which nobody can tell which host was meant.
const PLACES: &[&str] = &["", "/spec", "/spec/rules", "/spec/rules/0", "/spec/rules/0/host"];

fn nothing_opens(ingress: &Value, path: &str, dialect: Dialect) {
    let with = |ingress: &Value| translated(&format!("{BROAD}{ingress}"), dialect);
    let whole = with(ingress).expect("it is readable");
    assert!(!is_open(&whole.model, "a.test", path));
    assert!(is_open(&whole.model, "a.test", "/else"));
    let mut all = Vec::new();
    pointers(ingress, "", &mut all);
    for pointer in all {
        let former = ingress.pointer(&pointer).expect("the pointer is of this value");
        for junk in junk(former) {
            let mut wrong = ingress.clone();
            *wrong.pointer_mut(&pointer).expect("it was there") = junk.clone();
            // What is no object at all keeps the last good contents of its file.
            let Some(translation) = with(&wrong) else { continue };
            if is_open(&translation.model, "a.test", path) {
                assert!(PLACES.contains(&&*pointer), "{pointer} = {junk} opens {path}");
                let told = translation
                    .report
                    .diagnostics()
                    .iter()
                    .any(|one| &*one.object.name == "closed" && one.effect != Effect::None);
                assert!(told, "{pointer} = {junk} opens {path} in silence");
            }
        }
    }
}

#[test]
fn nothing_of_a_closed_ingress_opens() {
    nothing_opens(&closed(), "/closed", Dialect::Kubernetes);
    nothing_opens(&closed(), "/closed", Dialect::Nginx);
}

#[test]
fn nothing_of_a_closed_legacy_ingress_opens() {
    nothing_opens(&legacy(), "/closed", Dialect::Kubernetes);
    nothing_opens(&legacy(), "/closed", Dialect::Nginx);
}

/// What an API server refuses or drops although each field has its type.
fn slips() -> Vec<(&'static str, Value)> {
    let annotations = || json!({"nginx.ingress.kubernetes.io/auth-url": "https://auth.test"});
    let mut slips = Vec::new();
    let mut slip = |name, change: &dyn Fn(&mut Value)| {
        let mut wrong = closed();
        change(&mut wrong);
        slips.push((name, wrong));
    };
    slip("annotations beside the metadata", &|o| {
        o["metadata"]["annotations"] = json!({});
        o["annotations"] = annotations();
    });
    slip("annotations in the spec", &|o| {
        o["metadata"]["annotations"] = json!({});
        o["spec"]["annotations"] = annotations();
    });
    slip("annotations in a rule", &|o| {
        o["metadata"]["annotations"] = json!({});
        o["spec"]["rules"][0]["metadata"] = json!({"annotations": annotations()});
    });
    slip("annotations by another name", &|o| {
        o["metadata"]["annotations"] = json!({});
        o["metadata"]["annotation"] = annotations();
    });
    slip("an annotation behind a space", &|o| {
        o["metadata"]["annotations"] = json!({" nginx.ingress.kubernetes.io/auth-url": "x"});
    });
    slip("a version that was never", &|o| o["apiVersion"] = json!("networking.k8s.io/v1beta2"));
    slip("a group that has none", &|o| o["apiVersion"] = json!("v1"));
    slip("a kind in small letters", &|o| o["kind"] = json!("ingress"));
    let hosts = ["*", "\"a.test\"", "//a.test", "a.test|b.test", "(b.test|a.test)", "me@a.test"];
    for host in hosts {
        slip(host, &|o| o["spec"]["rules"][0]["host"] = json!(host));
    }
    let paths = [
        " /closed",
        "a.test/closed",
        "https://a.test/closed",
        "^~ /closed",
        "~* ^/closed",
        "\\closed",
    ];
    for path in paths {
        slip(path, &|o| o["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!(path));
    }
    slips
}

#[test]
fn a_slip_of_the_pen_opens_nothing() {
    for (name, wrong) in slips() {
        // A lone `*` is every host that nobody names.
        let host = if name == "*" { "nobody.test" } else { "a.test" };
        for dialect in [Dialect::Kubernetes, Dialect::Nginx] {
            let text = format!("{BROAD}{wrong}");
            let translation = translated(&text, dialect).expect("it is readable");
            assert!(!is_open(&translation.model, host, "/closed"), "{name} ({dialect:?})");
            assert!(is_open(&translation.model, host, "/else"), "{name} ({dialect:?})");
        }
    }
}

#[test]
fn a_closed_path_takes_the_form_of_its_host() {
    let broad = BROAD.replacen(
        "z-broad\"",
        "z-broad\", \"creationTimestamp\": \"2020-01-01T00:00:00Z\"",
        1,
    );
    for (written, asked) in [("/a b", "/a%20b"), ("/\u{e9}", "/%C3%A9"), ("/%c3%a9", "/%C3%A9")] {
        let mut nginx = closed();
        nginx["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!(written);
        let parsed = manifests::parse("all.json", &format!("{broad}{nginx}"));
        let mut store = ObjectStore::new();
        for object in &parsed.objects {
            store.apply(ObjectEvent::Applied(object.object.clone()));
        }
        let translation = translate::translate(&store, &Settings::standalone(), &mut Memo::new());
        assert!(!is_open(&translation.model, "a.test", asked), "{written}");
        assert!(is_open(&translation.model, "a.test", "/else"));
        let is_told = |code| translation.report.diagnostics().iter().any(|one| one.code == code);
        assert!(!is_told(Code::RouteConflict), "{written} is in its own way");
    }
}

#[test]
fn what_takes_the_rest_comes_before_patterns_of_everything() {
    let pattern = r#""annotations": {"nginx.ingress.kubernetes.io/use-regex": "true"}"#;
    for everything in ["/.*", "/(.*)", "/()(.*)", "/?(.*)"] {
        let broad = BROAD.replacen("\"z-broad\"", &format!("\"a-broad\", {pattern}"), 1).replace(
            r#""/", "pathType": "Prefix""#,
            &format!(r#""{everything}", "pathType": "ImplementationSpecific""#),
        );
        let mut of_no_path = closed();
        of_no_path["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!(["/closed"]);
        let mut of_no_pattern = closed();
        let use_regex = "nginx.ingress.kubernetes.io/use-regex";
        of_no_pattern["metadata"]["annotations"][use_regex] = json!("true");
        let path = &mut of_no_pattern["spec"]["rules"][0]["http"]["paths"][0];
        path["path"] = json!("/(?=closed)");
        path["pathType"] = json!("ImplementationSpecific");
        for closed in [of_no_path, of_no_pattern] {
            for dialect in [Dialect::Kubernetes, Dialect::Nginx] {
                let text = format!("{broad}{closed}");
                let translation = translated(&text, dialect).expect("it is readable");
                let host = &translation.model.hosts[&Hostname::Exact("a.test".into())];
                let first = host.routes.first().expect("there are two");
                assert!(first.policy.closed.is_some(), "{everything} ({dialect:?}): {first:?}");
                let open = host.routes.iter().position(|route| {
                    *route.path.value == *everything && route.policy.closed.is_none()
                });
                assert_eq!(open, None, "{everything} ({dialect:?})");
            }
        }
    }
}

#[test]
fn an_ingress_of_another_product_is_left_alone() {
    let mut other = closed();
    other["apiVersion"] = json!("config.openshift.io/v1");
    let text = format!("{BROAD}{other}");
    let translation = translated(&text, Dialect::Kubernetes).expect("it is readable");
    assert!(is_open(&translation.model, "a.test", "/closed"));
}

const CLASSES: &str = r#"
{"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "second"},
 "spec": {"controller": "portcullis.io/ingress-controller"}}
{"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "other"},
 "spec": {"controller": "example.com/other"}}
{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "of-other"},
 "spec": {"ingressClassName": "other", "rules": [{"host": "other.test"}]}}
"#;

#[test]
fn nothing_of_a_class_opens_or_serves_what_belongs_to_others() {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": "nginx", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "portcullis.io/ingress-controller", "parameters": {"kind": "x", "name": "y"}}
    });
    let broad = BROAD.replacen(r#""spec": {"#, r#""spec": {"ingressClassName": "second", "#, 1);
    let mut all = Vec::new();
    pointers(&class, "", &mut all);
    // Without its name it is another class.
    all.retain(|pointer| !["", "/metadata", "/metadata/name"].contains(&&**pointer));
    // Closed by its class alone, and a second time without naming it.
    let mut named = closed();
    named["metadata"]["annotations"] = json!({});
    let mut unnamed = named.clone();
    unnamed["metadata"]["name"] = json!("unnamed");
    unnamed["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!("/unnamed");
    let _ = unnamed["spec"].as_object_mut().and_then(|spec| spec.remove("ingressClassName"));
    for pointer in all {
        for junk in junk(class.pointer(&pointer).expect("the pointer is of this value")) {
            // A number is the text of it, which marks no default class.
            if junk.is_number() && pointer.ends_with("is-default-class") {
                continue;
            }
            let mut wrong = class.clone();
            *wrong.pointer_mut(&pointer).expect("it was there") = junk.clone();
            let text = format!("{broad}{CLASSES}{named}{unnamed}{wrong}");
            let Some(translation) = translated(&text, Dialect::Kubernetes) else { continue };
            let model = &translation.model;
            assert!(!model.hosts.contains_key(&Hostname::Exact("other.test".into())));
            let host = &model.hosts[&Hostname::Exact("a.test".into())];
            for path in ["/closed", "/unnamed"] {
                let is_there = host.routes.iter().any(|route| *route.path.value == *path);
                assert!(is_there, "{pointer} = {junk} gives {path} to others");
            }
        }
    }
}

#[test]
fn a_service_leads_where_it_led_or_nowhere() {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {
            "type": "ClusterIP", "selector": {"app": "web"}, "sessionAffinity": "None",
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "appProtocol": "http"}]
        }
    });
    let slice = r#"{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}]}"#;
    let (ingress, _) = BROAD.split_once("{\"apiVersion\": \"v1\"").expect("the Service is last");
    let addresses = |text: &str| {
        let translation = translated(text, Dialect::Kubernetes)?;
        let endpoints = translation.endpoints.values().flat_map(|all| all.iter());
        Some(endpoints.map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>())
    };
    let whole = addresses(&format!("{ingress}{slice}{service}")).expect("it is readable");
    assert_eq!(whole, ["10.0.0.1:8080"]);
    let slice: Value = serde_json::from_str(slice).expect("it is JSON");
    for (object, beside) in [(&service, &slice), (&slice, &service)] {
        let mut all = Vec::new();
        pointers(object, "", &mut all);
        for pointer in all {
            for junk in junk(object.pointer(&pointer).expect("the pointer is of this value")) {
                let mut wrong = object.clone();
                *wrong.pointer_mut(&pointer).expect("it was there") = junk.clone();
                let Some(found) = addresses(&format!("{ingress}{beside}{wrong}")) else { continue };
                assert!(found.is_empty() || found == whole, "{pointer} = {junk}: {found:?}");
            }
        }
    }
}
