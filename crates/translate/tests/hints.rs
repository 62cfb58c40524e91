//! Hints of endpoint slices: which endpoints are meant for our node and zone, by the rules of
//! kube-proxy, and that a hint is never why a request finds none.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};
use translate::{
    Memo, Object, ObjectEvent, ObjectStore, Settings, Translation, endpoints_only, translate,
};

/// An endpoint: the last number of its address, its state, the nodes and zones it is meant for.
struct Written<'w>(u8, &'w str, &'w [&'w str], &'w [&'w str]);

fn slice(endpoints: &[Written<'_>]) -> Object {
    let names = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|Written(number, state, nodes, zones)| {
            let conditions = match *state {
                "ready" => json!({"ready": true}),
                "leaving" => json!({"ready": false, "serving": true, "terminating": true}),
                "starting" => json!({"ready": false, "serving": false}),
                other => panic!("unknown state {other}"),
            };
            json!({
                "addresses": [format!("10.0.0.{number}")], "conditions": conditions,
                "hints": {"forNodes": names(nodes), "forZones": names(zones)},
            })
        })
        .collect();
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints,
    });
    let object: EndpointSlice = serde_json::from_value(value).expect("it is a slice");
    Object::EndpointSlice(Arc::new(object.into()))
}

fn store(endpoints: &[Written<'_>]) -> ObjectStore {
    let ingress: Ingress = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"ingressClassName": "x", "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}},
    }))
    .expect("it is an Ingress");
    let service: Service = serde_json::from_value(json!({
        "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]},
    }))
    .expect("it is a Service");
    let mut store = ObjectStore::new();
    for object in [
        Object::Ingress(Arc::new(ingress.into())),
        Object::Service(Arc::new(service.into())),
        slice(endpoints),
    ] {
        store.apply(ObjectEvent::Applied(object));
    }
    store
}

fn settings(node: &str, zone: &str) -> Settings {
    let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Settings { node_name: name(node), zone: name(zone), ..Settings::standalone() }
}

fn numbers(endpoints: &model::EndpointTable) -> Vec<u8> {
    let last = |endpoint: &model::Endpoint| match endpoint.address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3],
        std::net::IpAddr::V6(ip) => panic!("{ip} is none of the test's"),
    };
    endpoints.values().flat_map(|endpoints| endpoints.iter()).map(last).collect()
}

fn used(node: &str, zone: &str, endpoints: &[Written<'_>]) -> Vec<u8> {
    numbers(&translate(&store(endpoints), &settings(node, zone), &mut Memo::new()).endpoints)
}

#[test]
fn where_every_ready_endpoint_has_a_zone_those_of_ours_are_used() {
    let world = || {
        [
            Written(1, "ready", &[], &["a"]),
            Written(2, "ready", &[], &["b"]),
            Written(3, "ready", &[], &["b", "a"]),
        ]
    };
    assert_eq!(used("", "a", &world()), [1, 3]);
    assert_eq!(used("", "b", &world()), [2, 3]);
}

#[test]
fn without_a_zone_of_ours_all_are_used() {
    let world = || [Written(1, "ready", &[], &["a"]), Written(2, "ready", &[], &["b"])];
    assert_eq!(used("", "", &world()), [1, 2]);
    assert_eq!(used("", "c", &world()), [1, 2]);
    assert_eq!(used("a", "", &world()), [1, 2]);
}

#[test]
fn one_ready_endpoint_without_a_hint_switches_hints_off() {
    let world = [Written(1, "ready", &[], &["a"]), Written(2, "ready", &[], &[])];
    assert_eq!(used("", "a", &world), [1, 2]);
}

#[test]
fn endpoints_that_are_not_ready_have_no_say() {
    let world = [
        Written(1, "ready", &[], &["a"]),
        Written(2, "ready", &[], &["b"]),
        Written(3, "starting", &[], &[]),
        Written(4, "leaving", &[], &[]),
    ];
    assert_eq!(used("", "a", &world), [1]);
    let world = [Written(1, "starting", &[], &["a"]), Written(2, "ready", &[], &["b"])];
    assert_eq!(used("", "a", &world), [2]);
}

#[test]
fn those_that_are_leaving_are_used_whatever_their_zone() {
    let world = [Written(1, "leaving", &[], &["a"]), Written(2, "leaving", &[], &["b"])];
    assert_eq!(used("", "a", &world), [1, 2]);
}

#[test]
fn the_hint_of_a_node_comes_before_that_of_a_zone() {
    let world = || {
        [
            Written(1, "ready", &["n1"], &["a"]),
            Written(2, "ready", &["n2"], &["a"]),
            Written(3, "ready", &["n3"], &["b"]),
        ]
    };
    assert_eq!(used("n1", "a", &world()), [1]);
    assert_eq!(used("n3", "a", &world()), [3]);
    assert_eq!(used("n9", "a", &world()), [1, 2]);
    assert_eq!(used("n9", "c", &world()), [1, 2, 3]);
    assert_eq!(used("", "b", &world()), [3]);
}

#[test]
fn one_ready_endpoint_without_a_node_leaves_zones_in_force() {
    let world = [Written(1, "ready", &["n1"], &["a"]), Written(2, "ready", &[], &["b"])];
    assert_eq!(used("n1", "b", &world), [2]);
}

#[test]
fn when_a_zone_loses_its_last_ready_endpoint_the_others_take_over_at_once() {
    let before = [Written(1, "ready", &[], &["a"]), Written(2, "ready", &[], &["b"])];
    let mut store = store(&before);
    let settings = settings("", "a");
    let first: Translation = translate(&store, &settings, &mut Memo::new());
    assert_eq!(numbers(&first.endpoints), [1]);
    for state in ["leaving", "starting"] {
        let now = [Written(1, state, &[], &["a"]), Written(2, "ready", &[], &["b"])];
        store.apply(ObjectEvent::Applied(slice(&now)));
        let short = endpoints_only(&store, &settings, &first).expect("it has endpoints still");
        assert_eq!(numbers(&short), [2]);
        assert_eq!(short, translate(&store, &settings, &mut Memo::new()).endpoints);
    }
    store.apply(ObjectEvent::Applied(slice(&before)));
    let back = endpoints_only(&store, &settings, &first).expect("it has endpoints still");
    assert_eq!(numbers(&back), [1]);
}
