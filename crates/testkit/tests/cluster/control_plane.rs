//! What the other tests stand on: it is a real control plane, and it does what it is told.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::cluster::{Cable, path_of};
use testkit::{ControlPlane, ControlPlaneOptions, manifests, wait_until};

#[test]
fn an_object_that_kubectl_applied_is_there_and_gone_when_deleted() {
    let plane = ControlPlane::shared();
    let namespace = plane.namespace("applied");
    let text = manifests::ingress("web", "web.test", "web")
        .replace("namespace: default", &format!("namespace: {namespace}"));
    plane.apply(&text);
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/web");
    assert_eq!(plane.look(&path).unwrap()["spec"]["rules"][0]["host"], "web.test");
    let listed = plane.kubectl_json(&["ingress", "--namespace", &namespace]);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    plane.delete(&text);
    assert_eq!(plane.look(&path), None);
}

#[test]
fn it_validates_and_sets_defaults_as_a_cluster_does() {
    let plane = ControlPlane::shared();
    let namespace = plane.namespace("validated");
    let services = format!("/api/v1/namespaces/{namespace}/services");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "ports": [{ "port": 80 }] },
    });
    let made = plane.create(&services, &service);
    assert_eq!(made["spec"]["type"], "ClusterIP");
    assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10.0."), "{made}");
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let nowhere = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "web" }, "addressType": "IPv4",
        "endpoints": [{ "addresses": ["nowhere"] }],
    });
    assert_eq!(plane.try_request("POST", &slices, Some(&nowhere)).unwrap().status, 422);
}

#[test]
fn rights_decide_who_may_read_what() {
    let plane = ControlPlane::shared();
    let namespace = plane.namespace("rights");
    let account = plane.service_account(&namespace, "reader");
    let kubeconfig = plane.kubeconfig_with(&account, plane.address());
    let look =
        |kind: &str| plane.kubectl_with(&kubeconfig, &["get", kind, "--namespace", &namespace], "");
    assert!(look("services").unwrap_err().contains("forbidden"));
    plane.kubectl(&["create", "role", "r", "--verb=list", "--resource=services", "-n", &namespace]);
    let who = format!("--serviceaccount={namespace}:reader");
    plane.kubectl(&["create", "rolebinding", "r", "--role=r", &who, "-n", &namespace]);
    wait_until("the right is known", || look("services").is_ok());
    assert!(look("secrets").unwrap_err().contains("forbidden"));
    let user = plane.kubeconfig_with(&plane.user("jane", "people"), plane.address());
    let who = plane.kubectl_with(&user, &["auth", "whoami", "-o", "json"], "").unwrap();
    let who: serde_json::Value = serde_json::from_str(&who).unwrap();
    assert_eq!(who["status"]["userInfo"]["username"], "jane");
    assert_eq!(who["status"]["userInfo"]["groups"][0], "people");
}

#[test]
fn a_killed_api_server_comes_back_with_what_it_had() {
    let plane = ControlPlane::start();
    let namespace = plane.namespace("kept");
    plane.kill_api_server();
    assert!(plane.try_request("GET", "/readyz", None).is_err());
    plane.start_api_server();
    assert!(plane.look(&format!("/api/v1/namespaces/{namespace}")).is_some());
}

#[test]
fn while_etcd_is_paused_nothing_is_written_and_afterwards_it_is() {
    let plane = ControlPlane::start();
    plane.pause_etcd();
    let started = Instant::now();
    let refused = plane.try_kubectl(&["create", "namespace", "late", "--request-timeout=1s"]);
    assert!(refused.is_err() && started.elapsed() < Duration::from_secs(20), "{refused:?}");
    plane.resume_etcd();
    wait_until("a namespace can be made", || {
        plane.try_kubectl(&["create", "namespace", "later", "--request-timeout=1s"]).is_ok()
    });
}

#[test]
fn kubectl_through_a_cut_cable_fails_and_through_a_mended_one_does_not() {
    let plane = ControlPlane::shared();
    let cable = Cable::to(plane.address());
    let admin = plane.user("admin-behind-a-cable", "system:masters");
    let kubeconfig = plane.kubeconfig_with(&admin, cable.address());
    let look = || plane.kubectl_with(&kubeconfig, &["get", "namespaces"], "");
    cable.refuse(true);
    assert!(look().is_err());
    cable.refuse(false);
    assert!(look().unwrap().contains("default"));
}

#[test]
fn with_controllers_selectors_make_slices_and_namespaces_end() {
    let plane = ControlPlaneOptions::new().controllers().start();
    let namespace = plane.namespace("controlled");
    plane.kubectl(&["create", "service", "clusterip", "web", "--tcp=80", "-n", &namespace]);
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    wait_until("the Service has a slice", || {
        let listed = plane.look(&slices).unwrap();
        listed["items"][0]["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    });
    plane.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    wait_until("the namespace is gone", || {
        plane.look(&format!("/api/v1/namespaces/{namespace}")).is_none()
    });
}

#[test]
fn an_object_that_is_put_again_becomes_as_it_was_put_last() {
    let plane = ControlPlane::shared();
    let namespace = plane.namespace("put");
    let object = |data: serde_json::Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "map", "namespace": namespace }, "data": data,
        })
    };
    plane.put(&object(json!({ "one": "1", "two": "2" })));
    plane.put(&object(json!({ "two": "3" })));
    let path = path_of("ConfigMap", &namespace, "map");
    assert_eq!(plane.look(&path).unwrap()["data"], json!({ "two": "3" }));
    plane.kubectl_edit("sed -i s/two/three/", &["edit", "configmap/map", "-n", &namespace]);
    assert_eq!(plane.look(&path).unwrap()["data"], json!({ "three": "3" }));
}
