//! What one Ingress may ask of the engine of patterns, and that nobody else pays for more.

use model::{Action, Code, PathKind};
use serde_json::json;
use translate::{Dialect, Memo, ObjectEvent, ObjectStore, Settings, Translation, manifests};

fn translated(patterns: impl Iterator<Item = String>) -> Translation {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path =
        |path| json!({ "path": path, "pathType": "ImplementationSpecific", "backend": backend });
    let paths: Vec<_> = patterns.map(path).collect();
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {
            "name": "many", "namespace": "default",
            "annotations": { "nginx.ingress.kubernetes.io/use-regex": "true" },
        },
        "spec": { "rules": [{ "host": "a.test", "http": { "paths": paths } }] },
    });
    let mut objects = ObjectStore::new();
    for parsed in manifests::parse("", &ingress.to_string()).objects {
        objects.apply(ObjectEvent::Applied(parsed.object));
    }
    translate::translate(&objects, &Settings::standalone(), &mut Memo::new())
}

fn patterns(translation: &Translation) -> usize {
    let routes = translation.model.hosts.values().flat_map(|host| &host.routes);
    routes.filter(|route| route.path.kind == PathKind::Regex).count()
}

#[test]
fn hundreds_of_ordinary_patterns_are_served() {
    let translation = translated((0..500).map(|index| format!("/shop{index}/(v[0-9]+)(/|$)(.*)")));
    assert_eq!(patterns(&translation), 500);
}

#[test]
fn one_ingress_does_not_fill_the_memory_of_all_with_patterns() {
    let translation = translated((0..500).map(|index| format!("/shop{index}/[a-z]{{1,400}}")));
    let kept = patterns(&translation);
    assert!((10..400).contains(&kept), "{kept}");
    // What is over keeps its place, and is told.
    let mut routes = translation.model.hosts.values().flat_map(|host| &host.routes);
    let last = routes.find(|route| *route.path.value == *"/shop499/").expect("its place");
    assert!(matches!(&last.action, Action::Respond(fixed) if fixed.status == 503));
    let report = translation.report.diagnostics();
    let mut told = report.iter().filter(|diagnostic| diagnostic.code == Code::InvalidRegex);
    let more = told.next_back().expect("something is told");
    let (number, _) = more.message.split_once(" more of this kind").expect("a number");
    assert_eq!(number.parse::<usize>(), Ok(500 - kept - 100));
}

#[test]
fn paths_that_another_ingress_makes_patterns_do_not_fill_the_memory_of_all_either() {
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let ingress = |name: &str, paths: Vec<String>, annotations| {
        let path = |path| json!({ "path": path, "pathType": "ImplementationSpecific", "backend": backend });
        let paths: Vec<_> = paths.into_iter().map(path).collect();
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": "default", "annotations": annotations },
            "spec": { "rules": [{ "host": "a.test", "http": { "paths": paths } }] },
        })
    };
    let many = (0..500).map(|index| format!("/shop{index}/[a-z]{{1,400}}")).collect();
    let use_regex = json!({ "nginx.ingress.kubernetes.io/use-regex": "true" });
    let mut objects = ObjectStore::new();
    for ingress in
        [ingress("many", many, json!({})), ingress("other", vec!["/other".to_owned()], use_regex)]
    {
        for parsed in manifests::parse("", &ingress.to_string()).objects {
            objects.apply(ObjectEvent::Applied(parsed.object));
        }
    }
    let settings = Settings { dialect: Some(Dialect::Nginx), ..Settings::standalone() };
    let translation = translate::translate(&objects, &settings, &mut Memo::new());
    let routes = || translation.model.hosts.values().flat_map(|host| &host.routes);
    let is_literal = |route: &&model::Route| route.path.value.contains(r"\{1,400\}");
    let literal = routes().filter(is_literal).count();
    assert_eq!(routes().filter(|route| route.path.value.starts_with("/shop")).count(), 500);
    assert!((100..490).contains(&literal), "{literal}");
}
