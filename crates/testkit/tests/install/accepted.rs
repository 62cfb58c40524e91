//! A real API server takes everything that is rendered, and warns of nothing.

use serde_json::{Value, json};
use testkit::ControlPlane;

use crate::cases::{Case, all};

/// Kinds that are there only with an operator of others.
const OF_OTHERS: &[&str] = &["ServiceMonitor", "Certificate", "Issuer"];

/// Hands the objects of a case to the API server, which checks them and stores nothing.
fn hand_over(plane: &ControlPlane, case: &Case) {
    // Pods are judged by the labels of their namespace, which must be there.
    let enforced = case.find("Namespace", "portcullis-system").map_or(json!("restricted"), |n| {
        n["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].clone()
    });
    let level = if case.pod()["hostNetwork"] == true { json!("privileged") } else { enforced };
    for namespace in ["portcullis-system", "shop", "blog"] {
        plane.apply(
            &json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": namespace, "labels": {
                    "pod-security.kubernetes.io/enforce": level,
                    "pod-security.kubernetes.io/warn": level,
                } },
            })
            .to_string(),
        );
    }
    let known: Vec<&Value> = case
        .objects
        .iter()
        .filter(|object| !OF_OTHERS.iter().any(|kind| object["kind"] == *kind))
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": known }).to_string();
    let arguments =
        ["apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"];
    let said = plane
        .kubectl_with(plane.kubeconfig(), &arguments, &list)
        .unwrap_or_else(|why| panic!("{}: {why}", case.name));
    assert_eq!(said.lines().count(), known.len(), "{}: {said}", case.name);

    // A workload is taken whatever its pods are; the pod itself is not.
    let template = &case.workload()["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = json!("trial");
    metadata["namespace"] = json!("portcullis-system");
    let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] });
    plane
        .kubectl_with(plane.kubeconfig(), &arguments, &pod.to_string())
        .unwrap_or_else(|why| panic!("a pod of {}: {why}", case.name));
}

#[test]
fn all_of_it_is_taken_by_the_api_server_without_a_warning() {
    let plane = ControlPlane::start();
    for case in all() {
        hand_over(&plane, case);
    }
}

#[test]
fn the_example_of_the_guide_is_taken_under_the_restricted_profile() {
    let plane = ControlPlane::start();
    for rule in ["enforce", "warn"] {
        let label = format!("pod-security.kubernetes.io/{rule}=restricted");
        plane.kubectl(&["label", "namespace", "default", &label]);
    }
    let file = testkit::cluster::render::deploy("examples/echo.yaml");
    let file = file.to_str().unwrap();
    plane.kubectl(&["apply", "--dry-run=server", "--warnings-as-errors", "-f", file]);
}

#[test]
fn the_flat_manifest_can_be_applied_twice_and_deleted() {
    let plane = testkit::ControlPlaneOptions::new().controllers().start();
    let file = testkit::cluster::render::deploy("portcullis.yaml");
    let file = file.to_str().unwrap();
    let first = plane.kubectl(&["apply", "-f", file]);
    assert!(first.lines().all(|line| line.ends_with("created")), "{first}");
    // It counts what was meant to be, and not what has become of it.
    let generations = || {
        let path = "jsonpath={range .items[*]}{.kind} {.metadata.generation}{\"\\n\"}{end}";
        plane.kubectl(&["get", "-f", file, "-o", path])
    };
    let before = generations();
    assert!(before.contains("Deployment 1"), "{before}");
    plane.kubectl(&["apply", "-f", file]);
    assert_eq!(generations(), before);
    plane.kubectl(&["delete", "-f", file]);
}
