//! What must hold for any objects: no dependence on their order, on the memo, or on endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use model::{Code, Hostname, Miss, ObjectRef, Report};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use translate::{
    AsRead, ClusterIngressParameters, Dialect, EndpointOverride, HostOwner, HostOwnership, Memo,
    Object, ObjectEvent, ObjectKey, ObjectKind, ObjectStore, Settings, Translation, endpoints_of,
    endpoints_only, relink, translate,
};

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<AsRead<T>> {
    let object: T = serde_json::from_value(value).expect("the test writes valid objects");
    Arc::new(object.into())
}

fn names(prefix: &'static str) -> impl Strategy<Value = String> {
    (0..4_u8).prop_map(move |n| format!("{prefix}{n}"))
}

fn namespaces() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "a-b"])
}

fn created() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        json!("2024-01-01T00:00:00Z"),
        json!("2024-01-02T00:00:00Z"),
        json!("2024-01-02T00:00:00Z"),
    ])
}

fn backends() -> impl Strategy<Value = Value> {
    (
        names("svc"),
        select(vec![json!({"number": 80}), json!({"name": "http"}), json!({"number": 81})]),
    )
        .prop_map(|(name, port)| json!({"service": {"name": name, "port": port}}))
}

fn paths() -> impl Strategy<Value = Value> {
    let texts = vec![
        "/",
        "/a",
        "/a/",
        "/a/b",
        "/x(.*)",
        "/(?!y)",
        "",
        "/A%41",
        "/.well-known/acme-challenge/t",
    ];
    let types = vec!["Exact", "Prefix", "ImplementationSpecific", "wrong"];
    (select(texts), select(types), backends())
        .prop_map(|(path, path_type, backend)| json!({"path": path, "pathType": path_type, "backend": backend}))
}

fn rules() -> impl Strategy<Value = Value> {
    let hosts =
        vec![json!("a.test"), json!("b.test"), json!("*.test"), Value::Null, json!("10.0.0.1")];
    (select(hosts), prop::option::weighted(0.9, prop::collection::vec(paths(), 1..4))).prop_map(
        |(host, paths)| match paths {
            Some(paths) => json!({"host": host, "http": {"paths": paths}}),
            None => json!({"host": host}),
        },
    )
}

fn annotations() -> impl Strategy<Value = Value> {
    let choices = [
        json!({}),
        json!({}),
        json!({"nginx.ingress.kubernetes.io/use-regex": "true"}),
        json!({"nginx.ingress.kubernetes.io/rewrite-target": "/$1"}),
        json!({"nginx.ingress.kubernetes.io/auth-url": "http://x"}),
        json!({"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}),
        json!({"kubernetes.io/ingress.class": "nginx"}),
        json!({"nginx.ingress.kubernetes.io/force-ssl-redirect": "true"}),
        json!({"nginx.ingress.kubernetes.io/canary": "true"}),
        json!({
            "nginx.ingress.kubernetes.io/canary": "true",
            "nginx.ingress.kubernetes.io/canary-weight": "20",
        }),
    ];
    select(choices.to_vec())
}

fn ingresses() -> impl Strategy<Value = Object> {
    let tls = prop::collection::vec(
        (select(vec![json!(["a.test"]), json!(["*.test"]), Value::Null]), names("tls"))
            .prop_map(|(hosts, secret)| json!({"hosts": hosts, "secretName": secret})),
        0..2,
    );
    (
        (namespaces(), names("ing"), created(), annotations()),
        prop::collection::vec(rules(), 0..3),
        prop::option::of(backends()),
        tls,
        select(vec![Value::Null, json!("nginx"), json!("ours")]),
    )
        .prop_map(|((namespace, name, created, annotations), rules, default, tls, class)| {
            Object::Ingress(typed::<Ingress>(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created, "annotations": annotations},
                "spec": {"rules": rules, "defaultBackend": default, "tls": tls, "ingressClassName": class},
            })))
        })
}

fn services() -> impl Strategy<Value = Object> {
    let specs = [
        json!({"selector": {"a": "b"}, "ports": [{"port": 80, "name": "http"}]}),
        json!({"ports": [{"port": 80, "targetPort": 81}]}),
        json!({"type": "ExternalName", "externalName": "example.org"}),
    ];
    (namespaces(), names("svc"), select(specs.to_vec())).prop_map(|(namespace, name, spec)| {
        Object::Service(typed::<Service>(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"namespace": namespace, "name": name}, "spec": spec,
        })))
    })
}

fn slices() -> impl Strategy<Value = Object> {
    let endpoints = prop::collection::vec(
        (1..4_u8, any::<Option<bool>>(), select(vec!["10.0.0", "127.0.0"]), select(vec!["a", "b"]))
            .prop_map(|(n, ready, network, zone)| {
                json!({
                    "addresses": [format!("{network}.{n}")], "conditions": {"ready": ready},
                    "hints": {"forZones": [{"name": zone}], "forNodes": [{"name": zone}]},
                })
            }),
        0..4,
    );
    (namespaces(), names("slice"), names("svc"), select(vec![json!("http"), Value::Null]), endpoints).prop_map(
        |(namespace, name, service, port, endpoints)| {
            Object::EndpointSlice(typed::<EndpointSlice>(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"namespace": namespace, "name": name, "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4", "ports": [{"name": port, "port": 8080}], "endpoints": endpoints,
            })))
        },
    )
}

/// `Endpoints`, which are mirrored where there is no API server to do it.
fn endpoints() -> impl Strategy<Value = Object> {
    let subsets = [
        json!([]),
        json!([{"addresses": [{"ip": "10.0.1.1"}], "ports": [{"port": 8080, "name": "http"}]}]),
        json!([{"addresses": [{"ip": "10.0.1.2"}, {"ip": "127.0.0.1"}], "ports": [{"port": 81}]}]),
    ];
    (namespaces(), names("svc"), select(subsets.to_vec())).prop_map(|(namespace, name, subsets)| {
        Object::Endpoints(typed::<Endpoints>(json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"namespace": namespace, "name": name}, "subsets": subsets,
        })))
    })
}

fn classes() -> impl Strategy<Value = Object> {
    let classes = vec![
        ("ours", "portcullis.io/ingress-controller"),
        ("nginx", "k8s.io/ingress-nginx"),
        ("ours", "other"),
    ];
    let parameters = vec![
        json!({"kind": "ConfigMap", "name": "class", "scope": "Namespace", "namespace": "a"}),
        json!({"apiGroup": "portcullis.io", "kind": "ClusterIngressParameters", "name": "class"}),
    ];
    (select(classes), select(parameters)).prop_map(|((name, controller), parameters)| {
        Object::IngressClass(typed::<IngressClass>(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": name},
            "spec": {"controller": controller, "parameters": parameters},
        })))
    })
}

fn parameters() -> impl Strategy<Value = Object> {
    let data = vec![
        json!({}),
        json!({"dialect": "nginx", "default-backend-service": "svc0", "ssl-redirect": "false"}),
        json!({"default-tls-secret": "tls0", "force-ssl-redirect": "true"}),
        json!({"whitelist-source-range": "10.0.0.0/8", "dialect": "none"}),
    ];
    let of_a_namespace = select(data).prop_map(|data| {
        Object::ConfigMap(typed::<ConfigMap>(json!({
            "metadata": {"namespace": "a", "name": "class"}, "data": data,
        })))
    });
    let specs = vec![
        json!({}),
        json!({"dialect": "nginx", "defaultBackendService": "a/svc0", "sslRedirect": false}),
        json!({"defaultTlsSecret": "a-b/tls1", "forceSslRedirect": true}),
        json!({"whitelistSourceRange": "10.0.0.0/8", "dialect": "none"}),
    ];
    let of_none = select(specs).prop_map(|spec| {
        Object::ClusterIngressParameters(typed::<ClusterIngressParameters>(json!({
            "metadata": {"name": "class"}, "spec": spec,
        })))
    });
    prop_oneof![of_a_namespace, of_none]
}

/// Two usable key pairs, made once.
fn key_pairs() -> &'static [(String, String)] {
    static PAIRS: std::sync::OnceLock<Vec<(String, String)>> = std::sync::OnceLock::new();
    PAIRS.get_or_init(|| {
        ["a.test", "*.test"]
            .map(|name| {
                let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()])
                    .expect("a key pair can be made");
                (pair.cert.pem(), pair.signing_key.serialize_pem())
            })
            .to_vec()
    })
}

fn secrets() -> impl Strategy<Value = Object> {
    (namespaces(), names("tls"), 0..3_usize).prop_map(|(namespace, name, which)| {
        let (crt, key) = key_pairs().get(which).cloned().unwrap_or_default();
        let mut secret: Secret = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name},
        }))
        .expect("it is a Secret");
        let bytes = |text: String| k8s_openapi::ByteString(text.into_bytes());
        secret.data = Some([("tls.crt".to_owned(), bytes(crt)), ("tls.key".to_owned(), bytes(key))].into());
        Object::Secret(Arc::new(secret.into()))
    })
}

fn lists_of_hosts() -> impl Strategy<Value = Object> {
    let lists = vec![json!(""), json!("a.test"), json!("*.test, b.test"), json!("*")];
    (namespaces(), select(lists)).prop_map(|(name, hosts)| {
        Object::Namespace(typed::<Namespace>(json!({
            "metadata": {"name": name, "annotations": {"portcullis.io/allowed-hosts": hosts}},
        })))
    })
}

fn objects() -> impl Strategy<Value = Object> {
    prop_oneof![
        8 => ingresses(), 6 => services(), 6 => slices(), 2 => endpoints(), 2 => classes(),
        4 => secrets(), 1 => lists_of_hosts(), 3 => parameters(),
    ]
}

/// Objects that come, or go, at the same time.
fn batches() -> impl Strategy<Value = Vec<(Object, bool)>> {
    let of = |object: BoxedStrategy<Object>| {
        prop::collection::vec((object, prop::bool::weighted(0.2)), 1..4)
    };
    let of_endpoints = prop_oneof![2 => slices(), 1 => endpoints()];
    prop_oneof![3 => of(objects().boxed()), 1 => of(of_endpoints.boxed())]
}

/// An Ingress that is there, by its place, and the time of creation that it has from now on.
fn other_ages() -> impl Strategy<Value = (Index, Value)> {
    (any::<Index>(), created())
}

type Ingresses = BTreeMap<ObjectKey, Ingress>;

fn know(ingresses: &mut Ingresses, object: &Object) {
    if let Object::Ingress(ingress) = object {
        ingresses.insert(object.key(), Ingress::clone(ingress));
    }
}

/// The same Ingress as if it were made at another time: nothing but its place among others changes.
fn of_age(ingress: &Ingress, created: Value) -> Object {
    let mut ingress = ingress.clone();
    ingress.metadata.creation_timestamp = serde_json::from_value(created).expect("a time");
    Object::Ingress(Arc::new(ingress.into()))
}

fn some_settings() -> impl Strategy<Value = Settings> {
    let dialects = vec![None, Some(Dialect::Kubernetes), Some(Dialect::Nginx)];
    let names = vec![None, Some("a".to_owned())];
    let ownership =
        vec![HostOwnership::Off, HostOwnership::FirstNamespace, HostOwnership::AllowList];
    let given = ["a=*.test", "a-b=b.test", "a=*"];
    let given: Vec<HostOwner> =
        given.iter().map(|text| text.parse().expect("a setting is well written")).collect();
    let owners = prop::sample::subsequence(given, 0..=2);
    let place = (select(names.clone()), select(names));
    let overrides = ["a/svc0=10.9.0.1:80", "a-b/svc1:http=10.9.0.2:80", "*=10.9.0.3:80"];
    let overrides: Vec<EndpointOverride> =
        overrides.iter().map(|text| text.parse().expect("a setting is well written")).collect();
    // The last is no Service, and as old as an Ingress that has its name.
    let backends = vec!["a/svc0", "a-b/svc1:http", "a/ing1"];
    let defaults = (
        prop::option::of(select(backends)),
        prop::option::weighted(0.3, select(vec!["a", "a-b"])),
        prop_oneof![2 => Just(Vec::new()), 1 => prop::sample::subsequence(overrides, 1..=2)],
    );
    (select(dialects), any::<bool>(), place, select(ownership), owners, defaults).prop_map(
        |(dialect, is_cluster, (zone, node_name), host_ownership, host_owners, defaults)| {
            let base = if is_cluster { cluster() } else { Settings::standalone() };
            let (backend, certificate, endpoint_overrides) = defaults;
            let default_backend =
                backend.map(|text| text.parse().expect("a setting is well written"));
            let default_certificate =
                certificate.map(|namespace| (namespace.to_owned(), "tls0".to_owned()));
            Settings {
                dialect,
                zone,
                node_name,
                host_ownership,
                host_owners,
                endpoint_overrides,
                default_backend,
                default_certificate,
                ..base
            }
        },
    )
}

fn cluster() -> Settings {
    Settings { watch_without_class: true, ..Settings::cluster() }
}

fn result(store: &ObjectStore, settings: &Settings, memo: &mut Memo) -> (Vec<u8>, Translation) {
    let translation = translate(store, settings, memo);
    (translation.model.encode(), translation)
}

/// What is said but for what finding endpoints says: a build of endpoints alone keeps none of it.
fn without_endpoints(report: &Report) -> Report {
    let of_endpoints = [Code::EndpointAddressRefused, Code::InvalidEndpoint, Code::NoEndpoints];
    let others = report.diagnostics().iter().filter(|said| !of_endpoints.contains(&said.code));
    Report::new(others.cloned().collect())
}

/// What is said of endpoints is compared where it `is_new`.
fn assert_same_but_for_references(a: &Translation, b: &Translation, is_new: bool) {
    let (a_text, b_text) = (a.model.encode(), b.model.encode());
    assert_eq!(String::from_utf8_lossy(&a_text), String::from_utf8_lossy(&b_text));
    assert_eq!(a.endpoints, b.endpoints);
    if is_new {
        assert_eq!(a.report, b.report);
    } else {
        assert_eq!(without_endpoints(&a.report), without_endpoints(&b.report));
    }
    assert_eq!(a.ingresses, b.ingresses);
    assert_eq!(a.refused, b.refused);
    assert!(a.material.keys().eq(b.material.keys()));
}

/// Whether something stands in the parameters of a class.
fn is_of_a_class(object: &ObjectRef) -> bool {
    ["ConfigMap", "ClusterIngressParameters"].contains(&&*object.kind)
}

fn assert_equal(a: &(Vec<u8>, Translation), b: &(Vec<u8>, Translation)) {
    assert_eq!(String::from_utf8_lossy(&a.0), String::from_utf8_lossy(&b.0));
    assert_eq!(a.1.endpoints, b.1.endpoints);
    assert_eq!(a.1.report, b.1.report);
    assert_eq!(a.1.references, b.1.references);
    assert!(a.1.material.keys().eq(b.1.material.keys()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_order_of_objects_changes_nothing(
        objects in prop::collection::vec(objects(), 0..24),
        swaps in prop::collection::vec(any::<(Index, Index)>(), 0..24),
        settings in some_settings(),
    ) {
        // One object for each identity: the last of each, as a store keeps it.
        let mut unique: Vec<Object> = Vec::new();
        for object in objects {
            unique.retain(|known| known.key() != object.key());
            unique.push(object);
        }
        let mut shuffled = unique.clone();
        for (a, b) in swaps {
            if !shuffled.is_empty() {
                let (a, b) = (a.index(shuffled.len()), b.index(shuffled.len()));
                shuffled.swap(a, b);
            }
        }
        let build = |objects: Vec<Object>| {
            let mut store = ObjectStore::new();
            for object in objects {
                store.apply(ObjectEvent::Applied(object));
            }
            result(&store, &settings, &mut Memo::new())
        };
        assert_equal(&build(unique), &build(shuffled));
    }

    #[test]
    fn a_memo_changes_nothing_and_irrelevant_changes_neither(
        events in prop::collection::vec((objects(), prop::bool::weighted(0.2)), 1..24),
        settings in some_settings(),
    ) {
        let mut store = ObjectStore::new();
        let mut memo = Memo::new();
        let mut before = result(&store, &settings, &mut memo);
        for (object, delete) in events {
            let key: ObjectKey = object.key();
            let event =
                if delete { ObjectEvent::Deleted(key) } else { ObjectEvent::Applied(object) };
            let change = store.apply(event);
            let kept = result(&store, &settings, &mut memo);
            assert_equal(&kept, &result(&store, &settings, &mut Memo::new()));
            if !before.1.references.concern(&change) {
                assert_equal(&before, &kept);
            }
            let slices = ObjectKind::EndpointSlice;
            let only_endpoints = change.keys.iter().all(|key| key.kind == slices);
            if only_endpoints {
                prop_assert_eq!(&before.0, &kept.0);
                if let Some(table) = endpoints_only(&store, &settings, &before.1) {
                    prop_assert_eq!(&table, &kept.1.endpoints);
                    let services = change.keys.iter()
                        .map(|key| (key.namespace.clone(), key.name.clone()))
                        .collect();
                    let of = endpoints_of(&store, &settings, &before.1, &services);
                    prop_assert_eq!(of, Some(table));
                }
            }
            before = kept;
        }
    }

    #[test]
    fn a_host_that_belongs_to_a_namespace_has_nothing_of_another(
        objects in prop::collection::vec(objects(), 0..24),
        settings in some_settings(),
    ) {
        let settings = Settings {
            host_ownership: HostOwnership::FirstNamespace,
            host_owners: Vec::new(),
            // It is the operator's, and stands on every host.
            default_backend: None,
            ..settings
        };
        let mut store = ObjectStore::new();
        // Equal key pairs in two namespaces are one certificate, which is named by one of them.
        let mut pairs = BTreeSet::new();
        for object in objects {
            let key = object.key();
            let is_known = matches!(object, Object::Secret(_))
                && !pairs.insert((object.content(), key.namespace));
            if !is_known {
                store.apply(ObjectEvent::Applied(object));
            }
        }
        let shared: BTreeSet<_> = pairs.iter()
            .filter(|(content, _)| pairs.iter().filter(|(other, _)| other == content).count() > 1)
            .map(|(_, namespace)| namespace.clone())
            .collect();
        let model = translate(&store, &settings, &mut Memo::new()).model;
        // Host by host, and each exact host with the wildcard that covers it.
        let owner = |host: &Hostname| -> Vec<_> {
            let routes = model.hosts.get(host).into_iter().flat_map(|host| &host.routes);
            let certificates = model.sni.get(host).map(|id| &model.certificates[id].provenance);
            routes.map(|route| &route.provenance).chain(certificates)
                // What a class says is its operator's, and stands on every host.
                .filter(|provenance| !is_of_a_class(&provenance.object))
                .filter(|provenance| {
                    let object = &provenance.object;
                    &*object.kind != "Secret" || !shared.contains(&object.namespace)
                })
                .map(|provenance| provenance.object.namespace.clone()).collect()
        };
        for host in model.hosts.keys().chain(model.sni.keys()) {
            let mut namespaces = owner(host);
            if let Hostname::Exact(name) = host && let Some((_, suffix)) = name.split_once('.') {
                namespaces.extend(owner(&Hostname::Wildcard(suffix.into())));
            }
            namespaces.sort_unstable();
            namespaces.dedup();
            prop_assert!(namespaces.len() <= 1, "{host}: {namespaces:?}");
            // What they do not match does not lead to routes of another.
            let any = owner(&Hostname::Any);
            // A host may have lost all its routes and is somebody's still.
            let named = model.hosts.get(host).map(|block| &block.provenance.object.namespace);
            namespaces.extend(named.cloned());
            let is_apart = any.iter().any(|namespace| !namespaces.contains(namespace));
            if let Some(block) = model.hosts.get(host) && is_apart && *host != Hostname::Any {
                let wildcard = |name: &str| {
                    name.split_once('.').map(|(_, suffix)| Hostname::Wildcard(suffix.into()))
                };
                let above = match host {
                    Hostname::Exact(name) => wildcard(name),
                    Hostname::Wildcard(_) | Hostname::Any => None,
                };
                // What a class answers everywhere leaves nothing to fall through.
                let answers_all = block.routes.iter().any(|route| {
                    is_of_a_class(&route.provenance.object)
                });
                let hides = block.miss == Miss::Hide
                    || answers_all
                    || above.is_some_and(|above| model.hosts.contains_key(&above));
                prop_assert!(hides, "{host}");
            }
        }
    }

    #[test]
    fn a_model_survives_its_encoding(
        objects in prop::collection::vec(objects(), 0..24),
        settings in some_settings(),
    ) {
        let mut store = ObjectStore::new();
        for object in objects {
            store.apply(ObjectEvent::Applied(object));
        }
        let (encoding, translation) = result(&store, &settings, &mut Memo::new());
        prop_assert_eq!(model::Model::decode(&encoding).unwrap(), translation.model.clone());
        for host in translation.model.hosts.values() {
            let sorted = host.routes.is_sorted_by(|a, b| a.path <= b.path);
            prop_assert!(host.ordered || sorted);
        }
        prop_assert!(translation.endpoints.keys().eq(translation.model.upstreams.keys()));
    }
}

proptest! {
    // So many that each of these settings and objects meets the others.
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_linked_anew_is_what_is_translated_anew(
        start in prop::collection::vec(objects(), 0..24),
        batches in prop::collection::vec((batches(), prop::option::of(other_ages())), 1..12),
        settings in some_settings(),
    ) {
        let mut store = ObjectStore::new();
        let mut ingresses = BTreeMap::new();
        for object in start {
            know(&mut ingresses, &object);
            store.apply(ObjectEvent::Applied(object));
        }
        let mut memo = Memo::new();
        let mut before = translate(&store, &settings, &mut memo);
        let mut is_new = true;
        for (mut batch, other_age) in batches {
            if let Some((index, created)) = other_age && !ingresses.is_empty() {
                let known = ingresses.values().nth(index.index(ingresses.len()));
                batch.extend(known.map(|known| (of_age(known, created), false)));
            }
            let mut changed = BTreeSet::new();
            for (object, delete) in batch {
                let key = object.key();
                let event = if delete {
                    ingresses.remove(&key);
                    ObjectEvent::Deleted(key)
                } else {
                    know(&mut ingresses, &object);
                    ObjectEvent::Applied(object)
                };
                changed.extend(store.apply(event).keys);
            }
            changed.retain(|key| before.references.contains(key));
            let (_, anew) = result(&store, &settings, &mut Memo::new());
            let of_endpoints = [ObjectKind::EndpointSlice, ObjectKind::Endpoints];
            let is_of_endpoints = changed.iter().all(|key| of_endpoints.contains(&key.kind));
            if is_of_endpoints && !changed.is_empty() {
                let services =
                    changed.iter().map(|key| (key.namespace.clone(), key.name.clone())).collect();
                if let Some(table) = endpoints_of(&store, &settings, &before, &services) {
                    prop_assert_eq!(&table, &anew.endpoints);
                    memo.keep_endpoints(&table);
                    before.endpoints = table;
                    is_new = false;
                    continue;
                }
            }
            before = if let Some(linked) = relink(&store, &settings, &mut memo, &changed) {
                assert_same_but_for_references(&linked, &anew, is_new);
                prop_assert!(anew.references.keys().all(|key| linked.references.contains(key)));
                linked
            } else {
                is_new = true;
                translate(&store, &settings, &mut memo)
            };
        }
    }
}
