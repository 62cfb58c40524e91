//! What users read: status, Events, `kubectl get` and `kubectl describe`; and who of several
//! replicas writes it.

use serde_json::{Value, json};
use testkit::{ControlPlane, Gateway, GatewayOptions};

use crate::world::{World, put_class, to, wait_for, wait_until, who};

const ADDRESS: &str = "192.0.2.10";

/// A gateway that publishes an address.
fn publishing(world: &World<'_>) -> GatewayOptions {
    world.options().flags(&format!("--publish-address {ADDRESS}"))
}

/// One of several replicas.
fn replica(world: &World<'_>, name: &str) -> Gateway {
    publishing(world).flags(&format!("--pod-name {name}")).start()
}

/// Who holds the Lease of the replicas of a namespace.
fn leader(world: &World<'_>) -> String {
    let lease = world.look("Lease", "portcullis-leader").unwrap_or(Value::Null);
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn kubectl_shows_an_ingress_as_users_know_it() {
    let world = World::new("kubectl-shows");
    let echo = world.backend("web");
    let gateway = publishing(&world).start();
    world.tls_ingress("web", "web.test", "web", "web-tls");
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    let shown = world.kubectl("get ingress");
    let lines: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "CLASS", "HOSTS", "ADDRESS", "PORTS", "AGE"]);
    assert_eq!(lines[1][..6], ["web", "portcullis", "web.test", ADDRESS, "80,", "443"]);
    wait_until("it is said to be served", || {
        world.events("web").iter().any(|event| event.starts_with("Normal Sync "))
    });
    let shown = world.kubectl("describe ingress web");
    let backend = format!("web:80 ({})", echo.address());
    for part in ["192.0.2.10", "portcullis", "web-tls terminates web.test", &backend, "Sync"] {
        assert!(shown.contains(part), "no `{part}`:\n{shown}");
    }
    drop(gateway);
}

#[test]
fn an_address_is_only_there_when_the_ingress_is_served() {
    let world = World::new("served-first");
    let _echo = world.backend("web");
    let gateway = publishing(&world).start();
    for round in 0..20 {
        let (name, host) = (format!("web-{round}"), format!("web-{round}.test"));
        world.ingress(&name, &host, "web");
        wait_until("the status has an address", || !world.addresses(&name).is_empty());
        // Sent once, as soon as the address is there.
        assert_eq!(who(&gateway, &host), "web");
    }
}

#[test]
fn the_address_stays_when_the_gateway_ends_and_goes_where_that_is_wanted() {
    let world = World::new("stays-or-goes");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let gateway = publishing(&world).start();
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    gateway.terminate();
    gateway.wait();
    assert_eq!(world.addresses("web"), [ADDRESS]);
    let gateway = publishing(&world).flags("--clear-status-on-exit").start();
    wait_until("it leads", || !leader(&world).is_empty());
    gateway.terminate();
    gateway.wait();
    assert!(world.addresses("web").is_empty());
}

#[test]
fn the_address_goes_from_an_ingress_that_is_no_longer_ours() {
    let world = World::new("leaves");
    put_class(world.plane, "somebody-elses", "example.com/ingress-controller");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let _gateway = publishing(&world).start();
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    world.ingress_of("somebody-elses", "web", "web.test", "web");
    wait_until("the status is empty", || world.addresses("web").is_empty());
    world.ingress("web", "web.test", "web");
    wait_until("the status has an address again", || world.addresses("web") == [ADDRESS]);
}

#[test]
fn the_addresses_are_those_of_the_service_and_follow_it() {
    let world = World::new("publish-service");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let ports = json!([{ "name": "http", "port": 80 }]);
    world.put("Service", "front", &json!({ "spec": { "type": "LoadBalancer", "ports": ports } }));
    let flags = format!("--publish-service {}/front", world.namespace);
    let gateway = world.options().flags(&flags).start();
    wait_until("it leads", || !leader(&world).is_empty());
    assert!(world.addresses("web").is_empty());
    let assign = |ingress: Value| {
        let path = format!("{}/status", world.path("Service", "front"));
        world.plane.patch(&path, &json!({ "status": { "loadBalancer": { "ingress": ingress } } }));
    };
    assign(json!([{ "ip": "192.0.2.20" }]));
    wait_until("it has the address", || world.addresses("web") == ["192.0.2.20"]);
    assign(json!([{ "hostname": "lb.example.com" }]));
    wait_until("it has the name", || world.addresses("web") == ["lb.example.com"]);
    drop(gateway);
}

#[test]
fn what_is_wrong_is_an_event_once_and_no_more_when_it_is_mended() {
    let world = World::new("events");
    let _echo = world.backend("web");
    world.ingress("broken", "broken.test", "absent");
    world.ingress("good", "good.test", "web");
    let gateway = publishing(&world).start();
    let warnings = || {
        let all = world.events("broken");
        all.into_iter().filter(|event| event.starts_with("Warning ")).collect::<Vec<_>>()
    };
    wait_until("it is told", || !warnings().is_empty());
    assert!(warnings()[0].contains("absent"), "{:?}", warnings());
    // Other changes do not tell it again.
    for round in 0..10 {
        world.ingress("good", &format!("good-{round}.test"), "web");
    }
    wait_for(&gateway, "good-9.test", "web");
    assert_eq!(warnings().len(), 1, "{:?}", warnings());
    assert!(world.events("good").iter().all(|event| event.starts_with("Normal ")));
    let _late = world.backend("absent");
    wait_for(&gateway, "broken.test", "absent");
    wait_until("it is said to be served", || {
        world.events("broken").iter().any(|event| event.starts_with("Normal Sync "))
    });
}

#[test]
fn of_three_replicas_all_serve_and_one_writes() {
    let world = World::new("three");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let replicas = ["pod-a", "pod-b", "pod-c"].map(|name| replica(&world, name));
    for replica in &replicas {
        assert_eq!(who(replica, "web.test"), "web");
    }
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    wait_until("one leads", || leader(&world).starts_with("pod-"));
    let leading = |gateway: &Gateway| gateway.metric("portcullis_leader", &[]) > 0.0;
    assert_eq!(replicas.iter().filter(|replica| leading(replica)).count(), 1);
    wait_until("it is said to be served", || !world.events("web").is_empty());
    assert_eq!(world.events("web").len(), 1, "{:?}", world.events("web"));
}

/// Two replicas, the leading one first.
fn two(world: &World<'_>) -> (Gateway, Gateway) {
    let first = replica(world, "pod-first");
    wait_until("the first leads", || leader(world).starts_with("pod-first"));
    (first, replica(world, "pod-second"))
}

/// The second writes what is new.
fn second_writes(world: &World<'_>) {
    wait_until("the second leads", || leader(world).starts_with("pod-second"));
    world.ingress("new", "new.test", "web");
    wait_until("the second writes", || world.addresses("new") == [ADDRESS]);
}

#[test]
fn a_leader_that_ends_in_good_order_hands_over_at_once() {
    let world = World::new("handover");
    let _echo = world.backend("web");
    let (first, second) = two(&world);
    let started = std::time::Instant::now();
    first.terminate();
    first.wait();
    wait_until("the second leads", || leader(&world).starts_with("pod-second"));
    // Not as long as a Lease stands that nobody gave back.
    assert!(started.elapsed() < std::time::Duration::from_secs(14), "{:?}", started.elapsed());
    second_writes(&world);
    drop(second);
}

#[test]
fn a_leader_that_is_killed_is_followed_when_its_lease_ends() {
    let world = World::new("killed-leader");
    let _echo = world.backend("web");
    let (first, second) = two(&world);
    drop(first);
    second_writes(&world);
    assert_eq!(who(&second, "new.test"), "web");
}

#[test]
fn a_leader_that_was_stopped_does_not_write_when_it_goes_on() {
    let world = World::new("stopped-leader");
    let _echo = world.backend("web");
    let (first, second) = two(&world);
    first.pause();
    second_writes(&world);
    first.resume();
    wait_until("the first serves what is new", || who(&first, "new.test") == "web");
    assert!(first.metric("portcullis_leader", &[]) < 1.0, "two lead");
    assert!(leader(&world).starts_with("pod-second"));
    drop(second);
}

#[test]
fn without_rights_to_write_everything_is_served_and_it_is_said_what_is_missing() {
    let plane = ControlPlane::shared();
    let world = World::new("read-only");
    let _echo = world.backend("web");
    world.put_ingress(
        "web",
        &json!({ "ingressClassName": "portcullis", "defaultBackend": to("web") }),
    );
    let reader = plane.user("reader", "readers");
    let rules =
        json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"] }]);
    let name = format!("reader-{}", world.namespace);
    plane.put(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": name }, "rules": rules,
    }));
    plane.put(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "readers" }],
    }));
    let kubeconfig = plane.kubeconfig_with(&reader, plane.address());
    let flags = format!(
        "--watch-namespace {ns} --pod-namespace {ns} --publish-address {ADDRESS} \
        ",
        ns = world.namespace
    );
    let gateway = GatewayOptions::new().cluster(&kubeconfig).flags(&flags).start();
    assert_eq!(who(&gateway, "any.test"), "web");
    gateway.wait_for_log("Lease");
    gateway.wait_for_log("forbidden");
    assert!(world.addresses("web").is_empty());
}

#[test]
fn a_namespace_that_is_selected_no_more_loses_the_addresses_that_we_wrote_and_no_others() {
    let (leaves, stays) = (World::new("leaves"), World::new("stays"));
    let label = |world: &World<'_>, value: Value| {
        let path = format!("/api/v1/namespaces/{}", world.namespace);
        world.plane.patch(&path, &json!({ "metadata": { "labels": { "leaves": value } } }));
    };
    let value = leaves.namespace.clone();
    for world in [&leaves, &stays] {
        label(world, json!(value));
        let name = &world.namespace;
        world.service(name, &[]);
        world.ingress("ours", &format!("{name}.test"), name);
    }
    leaves.ingress("theirs", "theirs.test", "web");
    let theirs = json!([{ "ip": "192.0.2.99" }]);
    let path = format!("{}/status", leaves.path("Ingress", "theirs"));
    let status = json!({ "status": { "loadBalancer": { "ingress": theirs } } });
    put_class(leaves.plane, "somebody-elses", "example.com/ingress-controller");
    leaves.ingress_of("somebody-elses", "theirs", "theirs.test", "web");
    leaves.plane.patch(&path, &status);
    let flags = format!(
        "--namespace-selector leaves={value} --publish-address {ADDRESS} --pod-namespace {value}"
    );
    let gateway = GatewayOptions::new().cluster(leaves.plane.kubeconfig()).flags(&flags).start();
    for world in [&leaves, &stays] {
        wait_until("status is written", || world.addresses("ours") == [ADDRESS]);
    }
    label(&leaves, Value::Null);
    wait_until("status is cleared", || leaves.addresses("ours").is_empty());
    assert_eq!(leaves.addresses("theirs"), ["192.0.2.99"]);
    assert_eq!(stays.addresses("ours"), [ADDRESS]);
    label(&leaves, json!(value));
    wait_until("status is written again", || leaves.addresses("ours") == [ADDRESS]);
    assert!(!gateway.log().contains("cannot be written"), "{}", gateway.log());
}

#[test]
fn where_the_right_went_with_the_namespace_its_status_stays_and_nothing_is_tried_for_ever() {
    let world = World::new("leaves-unwritable");
    let label = |value: Value| {
        let path = format!("/api/v1/namespaces/{}", world.namespace);
        world.plane.patch(&path, &json!({ "metadata": { "labels": { "leaves": value } } }));
    };
    let value = world.namespace.clone();
    label(json!(value));
    world.service("web", &[]);
    world.ingress("web", "web.test", "web");
    // Everything but the status of Ingresses once the Role is gone.
    let verbs = json!(["get", "list", "watch", "create", "update", "patch"]);
    let groups = json!([
        "",
        "networking.k8s.io",
        "discovery.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "portcullis.io"
    ]);
    let resources = json!([
        "namespaces",
        "ingresses",
        "ingressclasses",
        "services",
        "secrets",
        "endpointslices",
        "leases",
        "events",
        "clusteringressparameters",
        "configmaps"
    ]);
    let name = format!("reads-{value}");
    let rules = json!([{ "apiGroups": groups, "resources": resources, "verbs": verbs }]);
    world.put_with("ClusterRole", &name, &json!({ "namespace": null }), &json!({ "rules": rules }));
    let subject = json!({ "kind": "ServiceAccount", "name": "gateway", "namespace": value });
    let role = |kind: &str, name: &str| {
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
        json!({ "roleRef": role, "subjects": [subject] })
    };
    let nowhere = json!({ "namespace": null });
    world.put_with("ClusterRoleBinding", &name, &nowhere, &role("ClusterRole", &name));
    let rules = json!([{ "apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"],
        "verbs": ["get", "patch", "update"] }]);
    world.put("Role", "status", &json!({ "rules": rules }));
    world.put("RoleBinding", "status", &role("Role", "status"));
    let account = world.plane.service_account(&value, "gateway");
    let kubeconfig = world.plane.kubeconfig_with(&account, world.plane.address());
    let flags = format!(
        "--namespace-selector leaves={value} --publish-address {ADDRESS} --pod-namespace {value}"
    );
    let gateway = GatewayOptions::new().cluster(&kubeconfig).flags(&flags).start();
    wait_until("status is written", || world.addresses("web") == [ADDRESS]);
    world.remove("RoleBinding", "status");
    label(Value::Null);
    gateway.wait_for_log("stays as it is");
    assert_eq!(world.addresses("web"), [ADDRESS]);
}
