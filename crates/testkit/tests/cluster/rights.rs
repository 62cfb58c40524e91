//! What somebody without all rights can serve, and what is said where a right is missing.

use std::fs;

use serde_json::{Value, json};
use testkit::cluster::Credentials;
use testkit::{Authority, Gateway, GatewayOptions};

use crate::world::{World, rule, wait_for, wait_until, who};

/// Gives a service account of this namespace a Role in it with these rules.
fn allow(world: &World<'_>, account: &str, rules: &Value) {
    world.put("Role", account, &json!({ "rules": rules }));
    let subject =
        json!({ "kind": "ServiceAccount", "name": account, "namespace": world.namespace });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account });
    world.put("RoleBinding", account, &json!({ "roleRef": role, "subjects": [subject] }));
}

/// What serving a namespace needs, but for its Secrets.
fn reading() -> Vec<Value> {
    let verbs = ["get", "list", "watch"];
    vec![
        json!({ "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": verbs }),
        json!({ "apiGroups": [""], "resources": ["services"], "verbs": verbs }),
        json!({ "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs }),
    ]
}

/// One Secret, by its name.
fn reading_secret(name: &str) -> Value {
    let verbs = ["get", "list", "watch"];
    json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [name], "verbs": verbs })
}

/// A gateway that reads this namespace as its service account `reader`.
fn as_reader(world: &World<'_>) -> GatewayOptions {
    let account = world.plane.service_account(&world.namespace, "reader");
    let kubeconfig = world.plane.kubeconfig_with(&account, world.plane.address());
    let flags = format!("--watch-namespace {}", world.namespace);
    GatewayOptions::new().cluster(&kubeconfig).flags(&flags)
}

/// An Ingress by the old annotation: a class cannot be read with the rights of a namespace.
fn annotated(world: &World<'_>, name: &str, host: &str, tls: &Value) {
    let meta = json!({ "annotations": {
        "kubernetes.io/ingress.class": "portcullis",
        "nginx.ingress.kubernetes.io/ssl-redirect": "false",
    } });
    let rules = [rule(host, &[("Prefix", "/", "web")])];
    world.put_with("Ingress", name, &meta, &json!({ "spec": { "rules": rules, "tls": tls } }));
}

#[test]
fn a_role_in_its_namespace_is_all_that_serving_one_needs() {
    let world = World::new("role-alone");
    let _echo = world.backend("web");
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    world.secret("unnamed-tls", &leaf);
    let mut rules = reading();
    rules.push(reading_secret("web-tls"));
    allow(&world, "reader", &json!(rules));
    let tls = json!([{ "hosts": ["web.test"], "secretName": "web-tls" }]);
    annotated(&world, "web", "web.test", &tls);
    let gateway = as_reader(&world).start();
    wait_for(&gateway, "web.test", "web");
    let config = testkit::tls::trusting_client(&[]);
    wait_until("the Secret is read", || {
        let https = gateway.https();
        let client = testkit::client::raw::RawClient::connect_tls(https, "web.test", &config);
        client.unwrap().certificate() == leaf.chain()[0]
    });
}

#[test]
fn without_the_right_to_ingresses_it_is_not_ready_says_which_and_goes_on_when_it_is_given() {
    let world = World::new("no-right");
    let _echo = world.backend("web");
    annotated(&world, "web", "web.test", &json!([]));
    allow(&world, "reader", &json!(reading()[1..]));
    let gateway = as_reader(&world).unready().start();
    gateway.wait_for_log("ingresses");
    gateway.wait_for_log("forbidden");
    assert!(!gateway.is_ready());
    allow(&world, "reader", &json!(reading()));
    wait_until("it is ready", || gateway.is_ready());
    assert_eq!(who(&gateway, "web.test"), "web");
}

#[test]
fn a_secret_without_a_right_closes_nothing_but_its_own_certificate() {
    let world = World::new("no-secret");
    let _echo = world.backend("web");
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    allow(&world, "reader", &json!(reading()));
    let tls = json!([{ "hosts": ["web.test"], "secretName": "web-tls" }]);
    annotated(&world, "web", "web.test", &tls);
    let gateway = as_reader(&world).start();
    assert_eq!(who(&gateway, "web.test"), "web");
    gateway.wait_for_log("secrets");
    // Once, on the Ingress, with the reason and the remedy; and not that there is no such Secret.
    let snapshot = gateway.snapshot();
    let told = snapshot["diagnostics"].as_array().unwrap();
    let told: Vec<&Value> = told.iter().filter(|one| one.to_string().contains("web-tls")).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["code"], "read-forbidden", "{told:#?}");
    assert_eq!(told[0]["object"]["kind"], "Ingress", "{told:#?}");
    assert_eq!(told[0]["field"], "spec.tls[0].secretName", "{told:#?}");
    let [message, help] = ["message", "help"].map(|key| told[0][key].as_str().unwrap());
    assert!(message.contains("may not be read"), "{told:#?}");
    assert!(help.contains(&format!("a Role in namespace `{}`", world.namespace)), "{told:#?}");
    let mut rules = reading();
    rules.push(reading_secret("web-tls"));
    allow(&world, "reader", &json!(rules));
    let config = testkit::tls::trusting_client(&[]);
    wait_until("the Secret is read", || {
        let https = gateway.https();
        let client = testkit::client::raw::RawClient::connect_tls(https, "web.test", &config);
        client.unwrap().certificate() == leaf.chain()[0]
    });
}

#[test]
fn of_several_namespaces_those_named_are_served() {
    let (one, two, three) = (World::new("scope-a"), World::new("scope-b"), World::new("scope-c"));
    let mut echoes = Vec::new();
    for (world, name) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        echoes.push(world.backend(name));
        world.ingress("web", &format!("{name}.test"), name);
    }
    let gateway = one.options().flags(&format!("--watch-namespace {}", two.namespace)).start();
    assert_eq!(who(&gateway, "one.test"), "one");
    assert_eq!(who(&gateway, "two.test"), "two");
    assert_eq!(who(&gateway, "three.test"), "404");
}

#[test]
fn a_namespace_is_served_while_it_has_the_label() {
    let world = World::new("selected");
    let value = world.namespace.clone();
    let label = |value: Value| {
        let path = format!("/api/v1/namespaces/{}", world.namespace);
        world.plane.patch(&path, &json!({ "metadata": { "labels": { "team": value } } }));
    };
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let kubeconfig = world.plane.kubeconfig();
    let flags = format!("--namespace-selector team={value}");
    let gateway = GatewayOptions::new().cluster(kubeconfig).flags(&flags).start();
    assert_eq!(who(&gateway, "web.test"), "404");
    label(json!(value));
    wait_for(&gateway, "web.test", "web");
    world.ingress("more", "more.test", "web");
    wait_for(&gateway, "more.test", "web");
    label(Value::Null);
    wait_for(&gateway, "web.test", "404");
    assert_eq!(who(&gateway, "more.test"), "404");
}

#[test]
fn a_token_that_is_written_anew_is_used_when_the_old_one_is_refused() {
    let world = World::new("token");
    let _echo = world.backend("web");
    annotated(&world, "web", "web.test", &json!([]));
    allow(&world, "reader", &json!(reading()));
    let file = world.plane.directory().join(format!("token-{}", world.namespace));
    let write = || {
        let account = world.plane.service_account(&world.namespace, "reader");
        let Credentials::Token(token) = account else { panic!("an account has a token") };
        fs::write(&file, token).unwrap();
    };
    write();
    let credentials = Credentials::TokenFile(file.clone());
    let cable = testkit::cluster::Cable::to(world.plane.address());
    let kubeconfig = world.plane.kubeconfig_with(&credentials, cable.address());
    let flags = format!("--watch-namespace {}", world.namespace);
    let gateway = GatewayOptions::new().cluster(&kubeconfig).flags(&flags).start();
    assert_eq!(who(&gateway, "web.test"), "web");
    // The tokens of an account end with it; watches that are open are let go on, so they are cut.
    world.remove("ServiceAccount", "reader");
    cable.cut_connections();
    gateway.wait_for_log("401");
    assert_eq!(who(&gateway, "web.test"), "web");
    annotated(&world, "later", "later.test", &json!([]));
    write();
    wait_for(&gateway, "later.test", "web");
}

#[test]
fn the_context_of_a_kubeconfig_says_whom_to_ask() {
    let world = World::new("context");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let text = fs::read_to_string(world.plane.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    // The current context leads nowhere; the other one is right.
    let nowhere = json!({ "server": "https://127.0.0.1:1" });
    let clusters = config["clusters"].as_array_mut().unwrap();
    clusters.push(json!({ "name": "nowhere", "cluster": nowhere }));
    let context = json!({ "cluster": "nowhere", "user": "test" });
    let contexts = config["contexts"].as_array_mut().unwrap();
    contexts.push(json!({ "name": "nowhere", "context": context }));
    config["current-context"] = json!("nowhere");
    let path = world.plane.directory().join(format!("contexts-{}", world.namespace));
    fs::write(&path, config.to_string()).unwrap();
    let flags = format!("--watch-namespace {} --context test", world.namespace);
    let gateway = GatewayOptions::new().cluster(&path).flags(&flags).start();
    assert_eq!(who(&gateway, "web.test"), "web");
    drop(gateway);
    // `KUBECONFIG` names the file as well as the flag does.
    let options = GatewayOptions::new().cluster_of_environment();
    let path = path.to_str().unwrap();
    let gateway: Gateway = options.variable("KUBECONFIG", path).flags(&flags).start();
    assert_eq!(who(&gateway, "web.test"), "web");
}
