//! What `portcullis check` says of installations in a real cluster.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::ControlPlane;
use testkit::gateway::program;

use crate::world::{World, wait_until};

/// What `check` says, with these flags and credentials, and its exit code.
pub(crate) fn check(kubeconfig: &Path, flags: &str) -> (Vec<Value>, i32) {
    let output = Command::new(program())
        .args(["check", "--format", "json", "--kubeconfig"])
        .arg(kubeconfig)
        .args(flags.split_whitespace())
        .output()
        .expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(document["schema"], "portcullis.check/v1");
    let checks = document["checks"].as_array().unwrap().clone();
    (checks, output.status.code().unwrap_or(-1))
}

/// The outcomes of a check, each once and in order.
fn outcomes(checks: &[Value], id: &str) -> Vec<String> {
    let of = checks.iter().filter(|check| check["id"] == id);
    let mut outcomes: Vec<String> =
        of.map(|check| check["outcome"].as_str().unwrap().to_owned()).collect();
    outcomes.sort();
    outcomes.dedup();
    outcomes
}

/// The one check that has this outcome and says this.
fn one<'c>(checks: &'c [Value], id: &str, says: &str) -> &'c Value {
    let is_meant = |check: &&Value| {
        check["id"] == id && check["message"].as_str().is_some_and(|text| text.contains(says))
    };
    checks
        .iter()
        .find(is_meant)
        .unwrap_or_else(|| panic!("{id} says nothing of {says}: {checks:#?}"))
}

fn flags(world: &World<'_>) -> String {
    let namespace = &world.namespace;
    format!("--watch-namespace {namespace} --pod-namespace {namespace}")
}

#[test]
fn an_installation_that_serves_has_no_errors_and_says_who_leads() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "good");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let _gateway = world.options().flags("--pod-name pod-a").start();
    wait_until("the replica is alive and leads", || {
        let (checks, _) = check(plane.kubeconfig(), &flags(&world));
        outcomes(&checks, "leader") == ["ok"] && outcomes(&checks, "replicas") == ["ok"]
    });
    let (checks, code) = check(plane.kubeconfig(), &flags(&world));
    for id in ["api-server", "right", "class", "backends", "certificates", "objects"] {
        assert_eq!(outcomes(&checks, id), ["ok"], "{id}: {checks:#?}");
    }
    assert_eq!(outcomes(&checks, "other-webhooks"), ["ok"]);
    assert_eq!(outcomes(&checks, "other-installations"), ["ok"]);
    assert_eq!(code, 0, "{checks:#?}");
}

#[test]
fn each_right_that_an_account_lacks_is_named() {
    let world = World::new("check-rights");
    let namespace = &world.namespace;
    world.plane.service_account(namespace, "gateway");
    let verbs = ["list", "watch"];
    let reading = json!([
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": verbs },
        { "apiGroups": [""], "resources": ["services"], "verbs": ["list"] },
    ]);
    world.put("Role", "gateway", &json!({ "rules": reading }));
    let subject = json!({ "kind": "ServiceAccount", "name": "gateway", "namespace": namespace });
    let role =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gateway" });
    world.put("RoleBinding", "gateway", &json!({ "roleRef": role, "subjects": [subject] }));
    let flags = format!("{} --service-account {namespace}/gateway", flags(&world));
    // The API server hears of Roles by watches of its own.
    wait_until("the Role counts", || {
        let (checks, _) = check(world.plane.kubeconfig(), &flags);
        one(&checks, "right", "list, watch ingresses ")["outcome"] == "ok"
    });
    let (checks, code) = check(world.plane.kubeconfig(), &flags);
    let services = one(&checks, "right", "list, watch services ");
    assert_eq!(services["outcome"], "error");
    assert!(services["message"].as_str().unwrap().contains("without watch,"), "{services}");
    assert!(services["remedy"].as_str().unwrap().contains("`services`"), "{services}");
    assert_eq!(one(&checks, "right", "endpointslices ")["outcome"], "error");
    assert_eq!(one(&checks, "right", "ingresses/status ")["outcome"], "warning");
    assert_eq!(one(&checks, "right", "leases ")["outcome"], "error");
    assert_eq!(code, 1);
}

#[test]
fn what_somebody_without_rights_cannot_ask_is_skipped_and_not_ok() {
    let world = World::new("check-nobody");
    let nobody = world.plane.service_account(&world.namespace, "nobody");
    let kubeconfig = world.plane.kubeconfig_with(&nobody, world.plane.address());
    let (checks, code) = check(&kubeconfig, &flags(&world));
    assert_eq!(outcomes(&checks, "api-server"), ["ok"]);
    for id in ["class", "webhook", "other-webhooks", "replicas", "certificates", "backends"] {
        assert_eq!(outcomes(&checks, id), ["skipped"], "{id}: {checks:#?}");
    }
    // Everybody may ask for their own rights.
    assert_eq!(one(&checks, "right", "list, watch ingresses ")["outcome"], "error");
    assert_eq!(code, 1);
}

#[test]
fn services_certificates_and_backends_that_do_not_work_are_told() {
    let world = World::new("check-broken");
    let annotation = "service.beta.kubernetes.io/aws-load-balancer-ssl-cert";
    let meta = json!({ "annotations": { annotation: "arn:aws:acm:test" } });
    let spec = json!({ "type": "LoadBalancer", "ports": [{ "name": "http", "port": 80 }] });
    world.put_with("Service", "portcullis", &meta, &json!({ "spec": spec }));
    world.service("web", &[]);
    let rules = [crate::world::rule("web.test", &[("Prefix", "/", "web")])];
    let tls = json!([{ "hosts": ["web.test"], "secretName": "missing" }]);
    let spec = json!({ "ingressClassName": "portcullis", "rules": rules, "tls": tls });
    world.put_ingress("web", &spec);
    let (checks, code) = check(world.plane.kubeconfig(), &flags(&world));
    assert_eq!(outcomes(&checks, "service-address"), ["error"]);
    assert_eq!(outcomes(&checks, "service-pods"), ["error"]);
    assert_eq!(outcomes(&checks, "tls-in-front"), ["error"]);
    assert_eq!(outcomes(&checks, "certificates"), ["error"]);
    assert_eq!(outcomes(&checks, "backends"), ["warning"]);
    assert_eq!(code, 1);
    let trusting = format!("{} --trusted-proxies 10.0.0.0/8", flags(&world));
    let (checks, _) = check(world.plane.kubeconfig(), &trusting);
    assert_eq!(outcomes(&checks, "tls-in-front"), ["ok"]);
}

#[test]
fn a_webhook_that_a_removed_controller_left_is_told_with_how_to_delete_it() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "leftover");
    plane.create(
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        &json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "ingress-nginx-admission" },
            "webhooks": [{
                "name": "validate.nginx.ingress.kubernetes.io", "admissionReviewVersions": ["v1"],
                "sideEffects": "None", "failurePolicy": "Fail",
                "clientConfig": { "service": {
                    "namespace": "ingress-nginx", "name": "ingress-nginx-controller-admission",
                } },
                "rules": [{
                    "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                    "resources": ["ingresses"], "operations": ["CREATE", "UPDATE"],
                }],
            }],
        }),
    );
    let (checks, code) = check(plane.kubeconfig(), &flags(&world));
    let left = one(&checks, "other-webhooks", "ingress-nginx-admission");
    assert_eq!(left["outcome"], "error");
    assert!(left["remedy"].as_str().unwrap().contains("kubectl delete"), "{left}");
    assert_eq!(code, 1);
}

#[test]
fn without_an_api_server_it_says_so_and_passes_nothing() {
    let world = World::new("check-away");
    let nobody = world.plane.service_account(&world.namespace, "nobody");
    let kubeconfig = world.plane.kubeconfig_with(&nobody, "127.0.0.1:1".parse().unwrap());
    let (checks, code) = check(&kubeconfig, "");
    assert_eq!(outcomes(&checks, "api-server"), ["error"]);
    assert_eq!(outcomes(&checks, "rest"), ["skipped"]);
    assert_eq!((checks.len(), code), (2, 1));
}

#[test]
fn clients_that_a_former_controller_let_in_and_that_are_refused_here_are_told() {
    let world = World::new("check-clients");
    let labels = json!({ "labels": { "app.kubernetes.io/name": "ingress-nginx" } });
    let data = json!({ "ssl-protocols": "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3" });
    world.put_with("ConfigMap", "ingress-nginx-controller", &labels, &json!({ "data": data }));
    let (checks, _) = check(world.plane.kubeconfig(), &flags(&world));
    let told = one(&checks, "tls-clients", "TLSv1, TLSv1.1");
    assert_eq!(told["outcome"], "warning");
    assert!(told["remedy"].as_str().unwrap().contains("TLS 1.2 and 1.3"), "{told}");
}
