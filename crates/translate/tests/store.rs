//! The object store: what counts as a change, whom a change concerns, and what is kept of Secrets.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use translate::{
    Change, Memo, Object, ObjectEvent, ObjectKey, ObjectKind, ObjectStore, Settings,
    endpoints_only, manifests, translate,
};

fn service(annotations: &Value, version: &str) -> Object {
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations, "resourceVersion": version},
        "spec": {"ports": [{"port": 80}]}, "status": {"loadBalancer": {}},
    });
    let object: Service = serde_json::from_value(value).expect("it is a Service");
    Object::Service(Arc::new(object.into()))
}

fn slice(service: &str, addresses: &[&str]) -> Object {
    let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a]})).collect();
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "one", "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints,
    });
    let object: EndpointSlice = serde_json::from_value(value).expect("it is a slice");
    Object::EndpointSlice(Arc::new(object.into()))
}

fn ingress() -> Object {
    let value = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "tls": [{"hosts": ["a.test"], "secretName": "tls"}],
            "rules": [{"host": "a.test", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
            ]}}],
        },
    });
    let object: Ingress = serde_json::from_value(value).expect("it is an Ingress");
    Object::Ingress(Arc::new(object.into()))
}

fn secret(crt: &str, key: &str) -> Object {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let mut secret: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls", "namespace": "shop"},
    }))
    .expect("it is a Secret");
    let data = [("tls.crt".to_owned(), bytes(crt)), ("tls.key".to_owned(), bytes(key))];
    secret.data = Some(data.into());
    Object::Secret(Arc::new(secret.into()))
}

fn key(kind: ObjectKind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "shop", name)
}

fn applied(store: &mut ObjectStore, object: Object) -> Change {
    store.apply(ObjectEvent::Applied(object))
}

#[test]
fn a_new_resource_version_is_no_change() {
    let mut store = ObjectStore::new();
    assert!(!applied(&mut store, service(&json!({}), "1")).is_empty());
    assert!(applied(&mut store, service(&json!({}), "2")).is_empty());
    assert!(!applied(&mut store, service(&json!({"a": "b"}), "3")).is_empty());
}

#[test]
fn a_slice_that_moves_concerns_both_services() {
    let mut store = ObjectStore::new();
    let first = applied(&mut store, slice("a", &["10.0.0.1"]));
    assert_eq!(first.keys, [key(ObjectKind::EndpointSlice, "a")]);
    let moved = applied(&mut store, slice("b", &["10.0.0.1"]));
    assert_eq!(
        moved.keys,
        [key(ObjectKind::EndpointSlice, "a"), key(ObjectKind::EndpointSlice, "b")]
    );
    let gone = store.apply(ObjectEvent::Deleted(key(ObjectKind::EndpointSlice, "one")));
    assert_eq!(gone.keys, [key(ObjectKind::EndpointSlice, "b")]);
    assert!(store.apply(ObjectEvent::Deleted(key(ObjectKind::EndpointSlice, "one"))).is_empty());
}

#[test]
fn what_was_missed_is_remembered_and_what_nobody_asked_for_is_not() {
    let mut store = ObjectStore::new();
    applied(&mut store, ingress());
    let translation = translate(&store, &Settings::standalone(), &mut Memo::new());
    let references = &translation.references;
    assert!(references.contains(&key(ObjectKind::Service, "web")));
    assert!(references.contains(&key(ObjectKind::Secret, "tls")));
    assert!(!references.contains(&key(ObjectKind::Service, "other")));
    assert!(references.contains(&key(ObjectKind::Ingress, "any")));
    let other = applied(&mut store, slice("other", &["10.0.0.1"]));
    assert!(!references.concern(&other));
}

#[test]
fn endpoints_alone_change_no_model() {
    let mut store = ObjectStore::new();
    let (settings, mut memo) = (Settings::standalone(), Memo::new());
    for object in [ingress(), service(&json!({}), "1"), slice("web", &["10.0.0.1"])] {
        applied(&mut store, object);
    }
    let before = translate(&store, &settings, &mut memo);
    let change = applied(&mut store, slice("web", &["10.0.0.1", "10.0.0.2"]));
    assert!(before.references.concern(&change));
    let table = endpoints_only(&store, &settings, &before).expect("the shortcut holds");
    let after = translate(&store, &settings, &mut memo);
    assert_eq!(table, after.endpoints);
    assert_eq!(before.model.generation(), after.model.generation());
    let lengths: Vec<usize> = table.values().map(|endpoints| endpoints.len()).collect();
    assert_eq!(lengths, [2]);
    // The last endpoint goes: the report has to say so.
    applied(&mut store, slice("web", &[]));
    assert_eq!(endpoints_only(&store, &settings, &after), None);
}

#[test]
fn a_secret_that_breaks_keeps_its_last_certificate_until_it_is_deleted() {
    let pair = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).expect("a key pair");
    let (crt, pem) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let mut store = ObjectStore::new();
    let (settings, mut memo) = (Settings::standalone(), Memo::new());
    let mut served = |store: &ObjectStore| {
        let translation = translate(store, &settings, &mut memo);
        let codes: Vec<&str> =
            translation.report.diagnostics().iter().map(|d| d.code.id()).collect();
        let about_secret =
            codes.into_iter().find(|code| code.contains("certificate") || code.contains("secret"));
        assert_eq!(translation.model.sni.len(), translation.material.len());
        (translation.model.sni.len(), about_secret)
    };
    applied(&mut store, ingress());
    assert_eq!(served(&store), (0, Some("secret-not-found")));
    applied(&mut store, secret("", ""));
    assert_eq!(served(&store), (0, Some("invalid-certificate")));
    applied(&mut store, secret(&crt, &pem));
    assert_eq!(served(&store), (1, None));
    applied(&mut store, secret("", &pem));
    assert_eq!(served(&store), (1, Some("certificate-kept")));
    applied(&mut store, secret("still wrong", &pem));
    assert_eq!(served(&store), (1, Some("certificate-kept")));
    for data in ["{tls.crt: 5, tls.key: [x]}", "5", "{tls.crt: not base64}"] {
        let text = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: tls, namespace: shop}}, data: {data}}}"
        );
        let parsed = manifests::parse("a.yaml", &text);
        applied(&mut store, parsed.objects[0].object.clone());
        assert_eq!(served(&store), (1, Some("certificate-kept")), "{data}");
    }
    store.apply(ObjectEvent::Deleted(key(ObjectKind::Secret, "tls")));
    assert_eq!(served(&store), (0, Some("secret-not-found")));
    applied(&mut store, secret("", &pem));
    assert_eq!(served(&store), (0, Some("invalid-certificate")));
}
