//! What one Ingress may have said of it: enough to mend it, and no more than a report can bear.

use std::collections::BTreeMap;

use model::{Code, Severity};
use serde_json::json;
use translate::{
    Dialect, HostOwnership, Memo, ObjectEvent, ObjectStore, Settings, Translation, manifests,
};

fn translated(annotations: &BTreeMap<String, String>, rules: usize) -> Translation {
    let rule = |index| {
        let backend = json!({ "service": { "name": "missing", "port": { "number": 80 } } });
        json!({
            "host": format!("host{index}.test"),
            "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
        })
    };
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "loud", "namespace": "default", "annotations": annotations },
        "spec": { "rules": (0..rules).map(rule).collect::<Vec<_>>() },
    });
    let mut objects = ObjectStore::new();
    for parsed in manifests::parse("", &ingress.to_string()).objects {
        objects.apply(ObjectEvent::Applied(parsed.object));
    }
    translate::translate(&objects, &Settings::standalone(), &mut Memo::new())
}

fn count(translation: &Translation, code: Code) -> usize {
    translation.report.diagnostics().iter().filter(|said| said.code == code).count()
}

#[test]
fn thousands_of_unknown_annotations_are_told_in_a_few_lines() {
    let key = |index| format!("nginx.ingress.kubernetes.io/made-up-{index:04}");
    let annotations = (0..3_000).map(|index| (key(index), "x".to_owned())).collect();
    let translation = translated(&annotations, 1);
    assert_eq!(count(&translation, Code::UnknownAnnotation), 101);
    let more = translation.report.diagnostics().iter().find(|said| said.message.contains("more"));
    assert!(more.is_some_and(|said| said.message.starts_with("2900 more of this kind")));
}

#[test]
fn thousands_of_conflicts_with_others_are_told_in_a_few_lines_too() {
    let host = |index| format!("host{index:04}.test");
    let ingress = |namespace: &str, created: &str| {
        let backend = json!({ "service": { "name": "missing", "port": { "number": 80 } } });
        let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
        let rule = |index| json!({ "host": host(index), "http": { "paths": paths } });
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {
                "name": "loud", "namespace": namespace, "creationTimestamp": created,
            },
            "spec": { "rules": (0..1_000).map(rule).collect::<Vec<_>>() },
        })
    };
    let mut objects = ObjectStore::new();
    for (namespace, created) in
        [("first", "2024-01-01T00:00:00Z"), ("second", "2025-01-01T00:00:00Z")]
    {
        for parsed in manifests::parse("", &ingress(namespace, created).to_string()).objects {
            objects.apply(ObjectEvent::Applied(parsed.object));
        }
    }
    let off = Settings::standalone();
    let first =
        Settings { host_ownership: HostOwnership::FirstNamespace, ..Settings::standalone() };
    for (settings, code) in [(off, Code::RouteConflict), (first, Code::HostNotOwned)] {
        let translation = translate::translate(&objects, &settings, &mut Memo::new());
        assert_eq!(count(&translation, code), 101, "{code:?}");
        let report = translation.report.diagnostics();
        assert!(report.iter().any(|said| said.message.starts_with("900 more of this kind")));
    }
}

#[test]
fn what_is_said_a_few_times_keeps_no_other_out() {
    let key = |index| format!("nginx.ingress.kubernetes.io/made-up-{index:04}");
    let annotations = (0..3_000).map(|index| (key(index), "x".to_owned())).collect();
    let translation = translated(&annotations, 40);
    assert_eq!(count(&translation, Code::ServiceNotFound), 40);
    let report = translation.report.diagnostics();
    assert!(report.iter().any(|said| said.severity == Severity::Error));
}

#[test]
fn access_control_behind_thousands_of_other_names_still_closes() {
    let key = |index| format!("nginx.ingress.kubernetes.io/made-up-{index:04}");
    let mut annotations: BTreeMap<String, String> =
        (0..3_000).map(|index| (key(index), "x".to_owned())).collect();
    annotations.insert("nginx.ingress.kubernetes.io/zauth-url".into(), "https://auth.test".into());
    let translation = translated(&annotations, 1);
    let mut routes = translation.model.hosts.values().flat_map(|host| &host.routes);
    assert!(routes.all(|route| route.policy.closed.is_some()));
    assert_eq!(count(&translation, Code::UnsupportedAccessControl), 1);
}

/// An Ingress with so many entries for TLS that list nothing, and so many hosts.
fn with_entries(entries: usize, hosts: usize) -> ObjectStore {
    let rule = |index| {
        let backend = json!({ "service": { "name": "missing", "port": { "number": 80 } } });
        let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
        json!({ "host": format!("host{index}.test"), "http": { "paths": paths } })
    };
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": "loud", "namespace": "default" },
        "spec": {
            "tls": vec![json!({ "secretName": "absent" }); entries],
            "rules": (0..hosts).map(rule).collect::<Vec<_>>(),
        },
    });
    let mut objects = ObjectStore::new();
    for parsed in manifests::parse("", &ingress.to_string()).objects {
        objects.apply(ObjectEvent::Applied(parsed.object));
    }
    objects
}

#[test]
fn entries_times_hosts_do_not_fill_the_memory_of_all() {
    for dialect in [Dialect::Kubernetes, Dialect::Nginx] {
        let settings = Settings { dialect: Some(dialect), ..Settings::standalone() };
        let told = |entries, hosts| {
            let objects = with_entries(entries, hosts);
            let translation = translate::translate(&objects, &settings, &mut Memo::new());
            // What is too many costs no host its redirect.
            let mut routes = translation.model.hosts.values().flat_map(|host| &host.routes);
            assert!(routes.all(|route| route.policy.https_redirect.is_some()), "{dialect:?}");
            let report = translation.report.diagnostics();
            report.iter().filter(|said| said.message.contains("too many hosts")).count()
        };
        assert_eq!(told(300, 300), 0);
        assert_eq!(told(350, 300), 17, "350 times 300 are 5,000 over the bound");
        // Quadratic, it would be gigabytes. The others are told in one line.
        assert_eq!(told(10_000, 10_000), 100);
    }
}
