//! Several replicas: who leads through deaths and pauses, what an heir tells, and what `status`
//! says of all of them.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::cluster::Cable;
use testkit::gateway::program;
use testkit::{ControlPlane, Gateway, GatewayOptions};

use crate::world::{CONTROLLER, World, everywhere, put_class, wait_until, who};

const ADDRESS: &str = "192.0.2.10";

/// The options of one of several replicas of a namespace.
fn options(world: &World<'_>, name: &str) -> GatewayOptions {
    world.options().flags(&format!("--publish-address {ADDRESS} --pod-name {name}"))
}

fn replica(world: &World<'_>, name: &str) -> Gateway {
    options(world, name).start()
}

/// The Lease by which replicas agree.
fn lease(world: &World<'_>) -> Value {
    world.look("Lease", "portcullis-leader").unwrap_or(Value::Null)
}

/// The name of the pod that holds it; empty where nobody does.
fn leader(world: &World<'_>) -> String {
    let lease = lease(world);
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    holder.rsplit_once('_').map_or("", |(pod, _)| pod).to_owned()
}

/// All Events of a namespace that are about this object and have this reason.
fn events(world: &World<'_>, name: &str, reason: &str) -> Vec<Value> {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", world.namespace);
    let listed = world.plane.look(&path).expect("the namespace is there");
    let is_meant = |event: &&Value| event["regarding"]["name"] == name && event["reason"] == reason;
    let all = listed["items"].as_array().into_iter().flatten();
    all.filter(is_meant).cloned().collect()
}

/// What `portcullis status` says, and its exit code.
fn status(world: &World<'_>) -> (Value, i32) {
    let output = Command::new(program())
        .args(["status", "--format", "json", "--pod-namespace", &world.namespace, "--kubeconfig"])
        .arg(world.plane.kubeconfig())
        .output()
        .expect("the program can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (document, output.status.code().unwrap_or(-1))
}

#[test]
fn three_leaders_in_a_row_are_killed_paused_and_told_to_end() {
    let world = World::new("succession");
    let _echo = world.backend("web");
    let names = ["pod-a", "pod-b", "pod-c"];
    let mut replicas: Vec<(&str, Gateway)> =
        names.iter().map(|name| (*name, replica(&world, name))).collect();
    let mut take = |wanted: &str| {
        let place = replicas.iter().position(|(name, _)| *name == wanted).unwrap();
        replicas.remove(place).1
    };
    wait_until("one leads", || !leader(&world).is_empty());
    world.ingress("first", "first.test", "web");
    wait_until("the first writes", || world.addresses("first") == [ADDRESS]);

    // Killed.
    let first = leader(&world);
    drop(take(&first));
    wait_until("another leads", || ![String::new(), first.clone()].contains(&leader(&world)));
    world.ingress("second", "second.test", "web");
    wait_until("the second writes", || world.addresses("second") == [ADDRESS]);

    // Paused, and told to go on when another leads.
    let second = leader(&world);
    let paused = take(&second);
    paused.pause();
    wait_until("the third leads", || ![String::new(), second.clone()].contains(&leader(&world)));
    world.ingress("third", "third.test", "web");
    wait_until("the third writes", || world.addresses("third") == [ADDRESS]);
    paused.resume();
    wait_until("it knows that it does not lead", || paused.metric("portcullis_leader", &[]) < 1.0);
    wait_until("it serves what is new", || who(&paused, "third.test") == "web");

    // Told to end: the one that was paused is the last.
    let third = leader(&world);
    let ended = take(&third);
    ended.terminate();
    ended.wait();
    wait_until("the last leads", || leader(&world) == second);
    world.ingress("fourth", "fourth.test", "web");
    wait_until("the last writes", || world.addresses("fourth") == [ADDRESS]);
    // Each change of hands is counted.
    assert_eq!(lease(&world)["spec"]["leaseTransitions"], 3);
    for name in ["first", "second", "third", "fourth"] {
        wait_until("it is told", || !events(&world, name, "Sync").is_empty());
        assert_eq!(events(&world, name, "Sync").len(), 1, "{name} was told once");
    }
}

#[test]
fn a_leader_without_the_api_server_ends_leading_and_serves_on() {
    let world = World::new("cut-off-leader");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let cable = Cable::to(world.plane.address());
    let admin = world.plane.user("admin-on-a-cable", "system:masters");
    let kubeconfig = world.plane.kubeconfig_with(&admin, cable.address());
    let flags = format!(
        "--watch-namespace {ns} --pod-namespace {ns} --publish-address {ADDRESS} --pod-name pod-a",
        ns = world.namespace
    );
    let first = GatewayOptions::new().cluster(&kubeconfig).flags(&flags).start();
    wait_until("the first leads", || leader(&world) == "pod-a");
    let second = replica(&world, "pod-b");
    cable.block(true);
    wait_until("the first has ended", || first.metric("portcullis_leader", &[]) < 1.0);
    assert_eq!(who(&first, "web.test"), "web");
    wait_until("the second leads", || leader(&world) == "pod-b");
    cable.block(false);
    world.ingress("new", "new.test", "web");
    wait_until("the second writes", || world.addresses("new") == [ADDRESS]);
    wait_until("the first serves it, too", || who(&first, "new.test") == "web");
    assert_eq!(leader(&world), "pod-b");
    drop(second);
}

/// The Lease as a replica with another clock writes it.
fn hold_elsewhere(world: &World<'_>, time: &str) {
    let spec = json!({
        "holderIdentity": "elsewhere_1", "leaseDurationSeconds": 15, "leaseTransitions": 1,
        "acquireTime": time, "renewTime": time,
    });
    world.put("Lease", "portcullis-leader", &json!({ "spec": spec }));
}

#[test]
fn a_holder_whose_clock_is_years_behind_leads_for_as_long_as_it_renews() {
    let world = World::new("clock-behind");
    let renew = |tick: u64| {
        let time = format!("2001-01-01T00:{:02}:{:02}.000000Z", tick / 60, tick % 60);
        hold_elsewhere(&world, &time);
    };
    renew(0);
    let gateway = replica(&world, "pod-a");
    // Longer than a Lease holds that is not renewed.
    for tick in 1..=20 {
        std::thread::sleep(Duration::from_secs(1));
        renew(tick);
    }
    assert_eq!(leader(&world), "elsewhere");
    assert!(gateway.metric("portcullis_leader", &[]) < 1.0);
    wait_until("the heir leads", || leader(&world) == "pod-a");
}

#[test]
fn a_holder_whose_clock_was_years_ahead_is_inherited_from_once_it_renews_no_more() {
    let world = World::new("clock-ahead");
    hold_elsewhere(&world, "2101-01-01T00:00:00.000000Z");
    let started = std::time::Instant::now();
    let _gateway = replica(&world, "pod-a");
    wait_until("the heir leads", || leader(&world) == "pod-a");
    assert!(started.elapsed() >= Duration::from_secs(15), "it was protected until then");
}

#[test]
fn an_heir_does_not_repeat_what_was_told() {
    let world = World::new("heir");
    let _echo = world.backend("web");
    world.ingress("good", "good.test", "web");
    world.ingress("broken", "broken.test", "absent");
    let first = replica(&world, "pod-a");
    wait_until("it is told", || {
        events(&world, "broken", "ServiceNotFound").len() == 1
            && events(&world, "good", "Sync").len() == 1
    });
    let second = replica(&world, "pod-b");
    first.terminate();
    first.wait();
    wait_until("the second leads", || leader(&world) == "pod-b");
    wait_until("it knows what was told", || {
        second.metric("portcullis_events_total", &["result=\"known\""]) > 0.0
    });
    world.ingress("new", "new.test", "web");
    wait_until("it tells what is new", || events(&world, "new", "Sync").len() == 1);
    for (name, reason) in [("broken", "ServiceNotFound"), ("good", "Sync")] {
        let told = events(&world, name, reason);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["reportingInstance"], "pod-a");
        assert!(told[0]["series"].is_null(), "{told:?}");
    }
}

#[test]
fn status_shows_replicas_what_they_serve_and_who_leads() {
    let world = World::new("status");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let first = options(&world, "pod-a").variable("NODE_NAME", "node-1").start();
    wait_until("the first leads", || leader(&world) == "pod-a");
    let names = |document: &Value| -> Vec<String> {
        let all = document["replicas"].as_array().unwrap();
        all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    wait_until("it says what it serves", || {
        let (document, code) = status(&world);
        code == 0 && document["replicas"][0]["generation"] == first.generation()
    });
    let (document, _) = status(&world);
    assert_eq!(document["schema"], "portcullis.status/v1");
    assert_eq!(document["replicas"][0]["node"], "node-1");
    assert_eq!(document["replicas"][0]["leads"], true);
    assert_eq!(document["replicas"][0]["condition"], "current");
    let second = replica(&world, "pod-b");
    wait_until("both are seen", || names(&status(&world).0) == ["pod-a", "pod-b"]);
    // One that ends in good order is gone at once.
    second.terminate();
    second.wait();
    wait_until("it is gone", || names(&status(&world).0) == ["pod-a"]);
    // One that is killed is there still, and is said to be lost.
    drop(first);
    let started = std::time::Instant::now();
    while status(&world).0["replicas"][0]["condition"] != "lost" {
        assert!(started.elapsed() < Duration::from_secs(90), "{:?}", status(&world));
        std::thread::sleep(Duration::from_millis(500));
    }
    let (document, code) = status(&world);
    assert_eq!(code, 1);
    let problems = document["problems"].to_string();
    assert!(problems.contains("pod-a has not been heard of"), "{problems}");
}

#[test]
fn a_replica_that_serves_an_old_configuration_is_said_to_lag_behind() {
    let world = World::new("lagging");
    let _gateway = replica(&world, "pod-a");
    wait_until("the first says what it serves", || {
        let (document, _) = status(&world);
        document["replicas"][0]["generation"].is_string()
    });
    // Replicas on one machine have listeners of their own and never serve the same: one that runs
    // elsewhere and stands still is what it last said.
    let mut said = world.look("Lease", "portcullis-leader.pod-a").unwrap();
    let metadata = json!({
        "name": "portcullis-leader.pod-b",
        "namespace": world.namespace,
        "labels": said["metadata"]["labels"],
        "annotations": {
            "portcullis.io/generation": "0123456789abcdef",
            "portcullis.io/serving-since": "2026-01-01T00:00:00Z",
        },
    });
    said["metadata"] = metadata;
    said["spec"]["holderIdentity"] = json!("pod-b_1");
    said["spec"]["leaseDurationSeconds"] = json!(40);
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", world.namespace);
    world.plane.create(&leases, &said);
    wait_until("it lags behind", || status(&world).0["replicas"][1]["condition"] == "lagging");
    let (document, code) = status(&world);
    assert_eq!((&document["replicas"][0]["condition"], code), (&json!("current"), 1));
    assert!(document["problems"].to_string().contains("pod-b lags behind"), "{document}");
}

#[test]
fn status_is_not_cleared_while_another_replica_goes_on() {
    let world = World::new("not-cleared");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let start = |name: &str| options(&world, name).flags("--clear-status-on-exit").start();
    let first = start("pod-a");
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    let second = start("pod-b");
    wait_until("the second is seen", || world.look("Lease", "portcullis-leader.pod-b").is_some());
    first.terminate();
    first.wait();
    assert_eq!(world.addresses("web"), [ADDRESS]);
    wait_until("the second leads", || leader(&world) == "pod-b");
    second.terminate();
    second.wait();
    assert!(world.addresses("web").is_empty());
}

#[test]
fn two_installations_hand_an_ingress_over_without_taking_from_each_other() {
    let plane = ControlPlane::shared();
    let world = World::new("two-installations");
    put_class(plane, "inner", "example.com/inner");
    let _echo = world.backend("web");
    let start = |controller: &str, address: &str| {
        let flags = "--watch-namespace NS --election-lease NS/CONTROLLER --publish-address ADDRESS \
                     --controller-name example.com/CONTROLLER --pod-name CONTROLLER";
        let flags = flags
            .replace("NS", &world.namespace)
            .replace("CONTROLLER", controller)
            .replace("ADDRESS", address);
        everywhere(plane).flags(&flags).start()
    };
    put_class(plane, "outer", "example.com/outer");
    let _inner = start("inner", "192.0.2.1");
    let _outer = start("outer", "192.0.2.2");
    for round in 0..6 {
        let (class, address) =
            if round % 2 == 0 { ("inner", "192.0.2.1") } else { ("outer", "192.0.2.2") };
        world.ingress_of(class, "web", "web.test", "web");
        wait_until("the new owner writes", || world.addresses("web") == [address]);
        // And nobody takes it away.
        std::thread::sleep(Duration::from_millis(1_500));
        assert_eq!(world.addresses("web"), [address]);
    }
}

#[test]
fn what_another_wrote_is_left_alone_when_an_ingress_leaves() {
    let plane = ControlPlane::shared();
    let world = World::new("of-others");
    put_class(plane, "somebody-elses", "example.com/ingress-controller");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let gateway = replica(&world, "pod-a");
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    gateway.pause();
    // It leaves, and its new owner writes, before we have seen either.
    world.ingress_of("somebody-elses", "web", "web.test", "web");
    let path = format!("{}/status", world.path("Ingress", "web"));
    let theirs = json!([{ "ip": "198.51.100.1" }]);
    plane.patch(&path, &json!({ "status": { "loadBalancer": { "ingress": theirs } } }));
    gateway.resume();
    world.ingress("other", "other.test", "web");
    wait_until("it leads again", || world.addresses("other") == [ADDRESS]);
    assert_eq!(world.addresses("web"), ["198.51.100.1"]);
}

#[test]
fn when_a_class_goes_so_do_our_addresses_and_when_it_is_back_they_are() {
    let world = World::new("class-goes");
    let class = format!("class-of-{}", world.namespace);
    put_class(world.plane, &class, CONTROLLER);
    let _echo = world.backend("web");
    world.ingress_of(&class, "web", "web.test", "web");
    let _gateway = replica(&world, "pod-a");
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    world.remove("IngressClass", &class);
    wait_until("the status is empty", || world.addresses("web").is_empty());
    put_class(world.plane, &class, CONTROLLER);
    wait_until("the status has an address again", || world.addresses("web") == [ADDRESS]);
}

#[test]
fn a_mistake_that_is_made_twice_is_one_event_that_was_seen_twice() {
    let world = World::new("twice");
    let echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let gateway = replica(&world, "pod-a");
    let told = || events(&world, "web", "ServiceNotFound");
    for count in 1..3 {
        world.remove("Service", "web");
        wait_until("it is told", || match &told()[..] {
            [one] => count == 1 || one["series"]["count"] == count,
            _ => false,
        });
        world.service("web", &[echo.address()]);
        wait_until("it is mended", || who(&gateway, "web.test") == "web");
    }
    let shown = world.kubectl("describe ingress web");
    assert!(shown.contains("(x2 over "), "{shown}");
}

#[test]
fn an_ingress_that_is_deleted_and_created_anew_has_its_address_and_event() {
    let world = World::new("recreated");
    let _echo = world.backend("web");
    let _gateway = replica(&world, "pod-a");
    for round in 1..4 {
        world.ingress("web", "web.test", "web");
        wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
        wait_until("it is told", || events(&world, "web", "Sync").len() == round);
        let uid = world.look("Ingress", "web").unwrap()["metadata"]["uid"].clone();
        let told = events(&world, "web", "Sync");
        assert!(told.iter().any(|event| event["regarding"]["uid"] == uid), "{told:?}");
        world.remove("Ingress", "web");
    }
}

#[test]
fn an_api_server_that_dies_again_and_again_gets_its_status_and_no_event_twice() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "restarts");
    let _echo = world.backend("web");
    let gateway = replica(&world, "pod-a");
    wait_until("it leads", || leader(&world) == "pod-a");
    for round in 0..4 {
        let name = format!("web-{round}");
        world.ingress(&name, &format!("{name}.test"), "web");
        plane.kill_api_server();
        plane.start_api_server();
        wait_until("the status has an address", || world.addresses(&name) == [ADDRESS]);
        wait_until("it is told", || !events(&world, &name, "Sync").is_empty());
    }
    for round in 0..4 {
        assert_eq!(events(&world, &format!("web-{round}"), "Sync").len(), 1);
    }
    assert_eq!(who(&gateway, "web-3.test"), "web");
}

/// The kubeconfig of a service account with exactly the rights that reporting needs in a namespace,
/// beside those to read what is served.
fn reporter(world: &World<'_>) -> std::path::PathBuf {
    let account = world.plane.service_account(&world.namespace, "gateway");
    let read = ["get", "list", "watch"];
    let rules = json!([
        { "apiGroups": [""], "resources": ["services", "secrets"], "verbs": read },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read },
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": read },
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"],
          "verbs": ["patch"] },
        { "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        // The election; and what each replica says of itself, under a name with its own in it.
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
          "resourceNames": ["portcullis-leader"], "verbs": ["get", "update"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
          "verbs": ["create", "list", "patch", "delete"] },
        // The keys of session tickets, in a Secret that an installation makes.
        { "apiGroups": [""], "resources": ["secrets"],
          "resourceNames": ["portcullis-ticket-keys"], "verbs": ["get", "update"] },
    ]);
    let keys = json!({ "type": "portcullis.io/ticket-keys" });
    world.put("Secret", "portcullis-ticket-keys", &keys);
    world.put("Role", "gateway", &json!({ "rules": rules }));
    let role = json!({
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gateway" },
        "subjects": [
            { "kind": "ServiceAccount", "name": "gateway", "namespace": world.namespace }
        ],
    });
    world.put("RoleBinding", "gateway", &role);
    world.plane.kubeconfig_with(&account, world.plane.address())
}

/// A gateway with these rights alone.
fn with_rights(world: &World<'_>, more: &str) -> Gateway {
    let scope =
        "--watch-namespace NS --pod-namespace NS --pod-name pod-a --ingress-class portcullis";
    let scope = scope.replace("NS", &world.namespace);
    let options = GatewayOptions::new().cluster(&reporter(world));
    options.flags(&scope).flags(more).start()
}

#[test]
fn with_exactly_the_rights_that_reporting_needs_everything_is_reported() {
    let world = World::new("exact-rights");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    world.ingress("broken", "broken.test", "absent");
    let gateway = with_rights(&world, &format!("--publish-address {ADDRESS}"));
    wait_until("the status has an address", || world.addresses("web") == [ADDRESS]);
    wait_until("it is told", || !events(&world, "broken", "ServiceNotFound").is_empty());
    wait_until("it is seen", || world.look("Lease", "portcullis-leader.pod-a").is_some());
    wait_until("who leads is told", || {
        !events(&world, "portcullis-leader", "LeaderElection").is_empty()
    });
    // Classes and their parameters belong to no namespace, and are done without.
    let of_no_namespace = ["ingressclasses", "clusteringressparameters"];
    let log = gateway.log();
    let refused = log.lines().filter(|line| line.contains("forbidden"));
    let refused: Vec<_> =
        refused.filter(|line| !of_no_namespace.iter().any(|kind| line.contains(kind))).collect();
    assert!(refused.is_empty(), "{refused:?}");
    gateway.terminate();
    gateway.wait();
    assert!(world.look("Lease", "portcullis-leader.pod-a").is_none());
    assert_eq!(leader(&world), "");
}

#[test]
fn a_node_port_has_the_services_own_address_where_nodes_may_not_be_read() {
    let world = World::new("node-port");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let spec = json!({
        "type": "NodePort", "selector": { "app": "gateway" }, "ports": [{ "port": 80 }],
    });
    let front = world.put("Service", "front", &json!({ "spec": spec }));
    let own = front["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let gateway = with_rights(&world, &format!("--publish-service {}/front", world.namespace));
    wait_until("the status has an address", || world.addresses("web") == [own.clone()]);
    gateway.wait_for_log("the nodes under our pods cannot be read");
}

#[test]
fn the_nodes_under_ready_pods_are_told() {
    let world = World::new("nodes");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let node = |name: &str, address: &str| {
        let name = format!("{name}-{}", world.namespace);
        let path = format!("/api/v1/nodes/{name}/status");
        world.put("Node", &name, &json!({}));
        let addresses = json!([
            { "type": "InternalIP", "address": "10.9.0.1" },
            { "type": "ExternalIP", "address": address },
        ]);
        world.plane.patch(&path, &json!({ "status": { "addresses": addresses } }));
        name
    };
    let pod = |name: &str, node: &str, is_ready: bool| {
        let rest = json!({ "spec": {
            "nodeName": node, "containers": [{ "name": "gateway", "image": "gateway" }],
            "automountServiceAccountToken": false,
        } });
        let labels = json!({ "labels": { "app": "gateway" } });
        if world.look("Pod", name).is_none() {
            world.put_with("Pod", name, &labels, &rest);
        }
        let ready = if is_ready { "True" } else { "False" };
        let conditions = json!([{ "type": "Ready", "status": ready }]);
        let path = format!("{}/status", world.path("Pod", name));
        world.plane.patch(&path, &json!({ "status": { "conditions": conditions } }));
    };
    let (one, two) = (node("one", "192.0.2.31"), node("two", "192.0.2.32"));
    pod("gateway-1", &one, true);
    pod("gateway-2", &two, false);
    let flags = "--publish-nodes app=gateway --pod-name pod-a";
    let _gateway = world.options().flags(flags).start();
    wait_until("the first node is told", || world.addresses("web") == ["192.0.2.31"]);
    pod("gateway-2", &two, true);
    wait_until("both are told", || world.addresses("web") == ["192.0.2.31", "192.0.2.32"]);
    pod("gateway-1", &one, false);
    wait_until("the second node is told", || world.addresses("web") == ["192.0.2.32"]);
}

#[test]
fn an_expired_certificate_is_an_event_on_its_secret_where_describe_finds_it() {
    let world = World::new("on-a-secret");
    let _echo = world.backend("web");
    let authority = testkit::Authority::new();
    world.secret("cert", &authority.expired(&["web.test"]));
    world.put_ingress(
        "web",
        &json!({
            "ingressClassName": "portcullis",
            "tls": [{ "hosts": ["web.test"], "secretName": "cert" }],
            "rules": [crate::world::rule("web.test", &[("Prefix", "/", "web")])],
        }),
    );
    let _gateway = replica(&world, "pod-a");
    wait_until("it is told", || !events(&world, "cert", "CertificateExpired").is_empty());
    let uid = world.look("Secret", "cert").unwrap()["metadata"]["uid"].clone();
    assert_eq!(events(&world, "cert", "CertificateExpired")[0]["regarding"]["uid"], uid);
    let found = world.kubectl("events --for secret/cert");
    assert!(found.contains("CertificateExpired"), "{found}");
}
