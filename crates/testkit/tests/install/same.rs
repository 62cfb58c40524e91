//! What is written twice is equal: the flat manifest, and the chart beside the folders.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::cluster::render::{deploy, kustomize};

use crate::cases::{Case, folder, values, with_component};

#[test]
fn the_flat_manifest_is_what_kustomize_makes_of_the_default() {
    let flat = std::fs::read_to_string(deploy("portcullis.yaml")).unwrap();
    let (_, flat) = flat.split_once("---\n").unwrap();
    let rendered = kustomize(&deploy("load-balancer"));
    assert!(flat == rendered, "`cargo xtask deploy` writes it anew");
}

#[test]
fn the_chart_with_its_own_values_is_the_default() {
    assert_same(&values("its own values"), &folder("load-balancer"));
}

#[test]
fn the_chart_on_node_ports_is_the_folder_for_them() {
    assert_same(&values("node ports"), &folder("node-port"));
}

#[test]
fn the_chart_on_the_network_of_nodes_is_the_folder_for_it() {
    assert_same(&values("the nodes' network"), &folder("host-network"));
}

#[test]
fn the_webhook_of_the_chart_is_the_component_for_it() {
    assert_same(&values("the webhook"), &with_component("webhook"));
}

#[test]
fn cert_manager_in_the_chart_is_the_component_for_it() {
    assert_same(&values("the webhook with cert-manager"), &with_component("webhook-cert-manager"));
}

/// The same objects but for the namespace, which Helm makes by a flag, and the labels of releases.
fn assert_same(chart: &Case, folder: &Case) {
    let (chart, folder) = (named(chart), named(folder));
    let names = |all: &BTreeMap<String, Value>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&chart), names(&folder));
    for (name, object) in &chart {
        let text = |object: &Value| serde_json::to_string_pretty(object).expect("it is JSON");
        assert_eq!(text(object), text(&folder[name]), "{name}");
    }
}

fn named(case: &Case) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for object in case.objects.iter().filter(|object| object["kind"] != "Namespace") {
        let mut object = object.clone();
        strip(&mut object);
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        assert!(all.insert(name, object).is_none(), "an object is there twice");
    }
    all
}

/// Removes the labels that say which release and chart an object is of.
fn strip(value: &mut Value) {
    const OF_RELEASES: &[&str] = &[
        "app.kubernetes.io/instance",
        "app.kubernetes.io/version",
        "app.kubernetes.io/managed-by",
        "helm.sh/chart",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_RELEASES.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::String(text) => {
            *text = text.replace("app.kubernetes.io/instance=portcullis,", "");
        }
        _ => {}
    }
}
