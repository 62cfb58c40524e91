//! Argo Rollouts and Flagger: what they write while they bring a new version, in their order, over
//! the real controllers that make endpoints of Services and pods.
//!
//! Canary Ingresses are told and left out: whatever their weights say, everything is answered by
//! the stable Service, as before, and a switch of Services loses nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{Authority, ControlPlane, Echo, Gateway, Message};

use crate::load::Load;
use crate::world::{World, endpoint, rule, wait_until, who};

const NGINX: &str = "nginx.ingress.kubernetes.io";

/// A namespace with pods on one node of each of these zones.
struct Pods {
    world: World<'static>,
    running: Vec<(String, Echo)>,
}

impl Pods {
    fn new(name: &str, zones: &[&str]) -> Self {
        let world = World::of(ControlPlane::shared_with_controllers(), name);
        for zone in zones {
            let labels = json!({ "labels": { "topology.kubernetes.io/zone": zone } });
            world.put_with("Node", &node(&world, zone), &labels, &json!({}));
            // Hints of the API are made for nodes that are ready, and say what they have.
            let status = json!({ "status": {
                "conditions": [{ "type": "Ready", "status": "True" }],
                "allocatable": { "cpu": "4" }, "capacity": { "cpu": "4" },
            } });
            let path = world.path("Node", &node(&world, zone));
            world.plane.patch(&format!("{path}/status"), &status);
        }
        let account = format!("/api/v1/namespaces/{}/serviceaccounts/default", world.namespace);
        wait_until("pods may be made", || world.plane.look(&account).is_some());
        Self { world, running: Vec::new() }
    }

    /// A pod that runs and is ready, with a label by which Services tell versions apart.
    fn run(&mut self, name: &str, version: &str, zone: &str) {
        let echo = endpoint(name);
        let world = &self.world;
        let labels = json!({ "labels": {
            "app": "web", "rollouts-pod-template-hash": version,
        } });
        let port = json!({ "name": "http", "containerPort": echo.address().port() });
        let container = json!({ "name": "web", "image": "web", "ports": [port] });
        let spec = json!({ "nodeName": node(world, zone), "containers": [container] });
        world.put_with("Pod", name, &labels, &json!({ "spec": spec }));
        let ip = echo.address().ip();
        self.patch(
            name,
            &json!({ "status": {
                "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
                "conditions": [{ "type": "Ready", "status": "True" }],
            } }),
        );
        self.running.push((name.to_owned(), echo));
    }

    fn patch(&self, name: &str, status: &Value) {
        self.world.plane.patch(&format!("{}/status", self.world.path("Pod", name)), status);
    }

    /// Ends a pod as a kubelet does: it is told to, serves on for a while, and is gone.
    fn end(&mut self, name: &str, meanwhile: impl FnOnce()) {
        self.world.kubectl(&format!("delete pod {name} --wait=false"));
        meanwhile();
        self.world.kubectl(&format!("delete pod {name} --grace-period=0 --force"));
        self.running.retain(|(known, _)| known != name);
    }

    /// A Service for pods with these labels.
    fn service(&self, name: &str, selector: &Value, more: &Value) {
        let mut spec = json!({
            "selector": selector,
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        });
        for (field, value) in more.as_object().unwrap() {
            spec[field] = value.clone();
        }
        self.world.put("Service", name, &json!({ "spec": spec }));
    }

    /// Leads a Service to another version, as a rollout does.
    fn lead(&self, service: &str, version: &str) {
        let selector = json!({ "rollouts-pod-template-hash": version });
        let patch = json!({ "spec": { "selector": selector } });
        self.world.plane.patch(&self.world.path("Service", service), &patch);
    }
}

fn node(world: &World<'_>, zone: &str) -> String {
    format!("{}-{zone}", world.namespace)
}

fn version(of: &str) -> Value {
    json!({ "app": "web", "rollouts-pod-template-hash": of })
}

/// Who answers many requests, each once.
fn all_who(gateway: &Gateway) -> BTreeSet<String> {
    (0..40).map(|_| who(gateway, "web.test")).collect()
}

fn wait_for_all(gateway: &Gateway, wanted: &[&str]) {
    let wanted: BTreeSet<String> = wanted.iter().map(|&name| name.to_owned()).collect();
    wait_until(&format!("{wanted:?} answer"), || all_who(gateway) == wanted);
}

/// Sends a request that asks for the canary by each way there is.
fn ask_for_canary(gateway: &Gateway) -> Message {
    let mut client = gateway.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: web.test\r\nX-Canary: always\r\nCookie: canary=always\r\n\r\n",
    );
    client.read_response("GET")
}

fn assert_all_stable(gateway: &Gateway, load: &Load, stable: &[&str]) {
    load.goes_on();
    for name in all_who(gateway) {
        assert!(stable.contains(&&*name), "{name} answers, and not {stable:?}");
    }
    let answer = ask_for_canary(gateway).json();
    assert!(stable.contains(&answer["name"].as_str().unwrap()), "{answer}");
}

/// Waits until an Event says of an Ingress that it is a canary and left out.
fn wait_told(world: &World<'_>, ingress: &str) {
    wait_until("an Event says that the canary is left out", || {
        let told = world.events(ingress);
        told.iter().any(|event| event.contains("canaries are not supported"))
    });
}

#[test]
fn argo_rollouts_moves_a_canary_by_weight_and_everything_stays_stable_until_it_is_promoted() {
    let mut pods = Pods::new("argo-canary", &["a"]);
    for (name, hash) in [("old-0", "old"), ("old-1", "old"), ("new-0", "new"), ("new-1", "new")] {
        pods.run(name, hash, "a");
    }
    pods.service("web-stable", &version("old"), &json!({}));
    pods.service("web-canary", &version("new"), &json!({}));
    let world = &pods.world;
    let rules = |service: &str| json!([rule("web.test", &[("Prefix", "/", service)])]);
    let spec = |service: &str| json!({ "ingressClassName": "portcullis", "rules": rules(service) });
    world.put_ingress("web", &spec("web-stable"));
    let gateway = world.gateway();
    wait_for_all(&gateway, &["old-0", "old-1"]);
    let load = Load::on(&gateway, "web.test");

    // The name is of the Rollout and of its stable Ingress; of that, class and TLS are kept.
    let canary = "demo-web-canary";
    let annotations = |weight: &str| {
        json!({
            format!("{NGINX}/canary"): "true", format!("{NGINX}/canary-weight"): weight,
            format!("{NGINX}/canary-by-header"): "X-Canary",
            format!("{NGINX}/canary-by-cookie"): "canary",
        })
    };
    let owner = json!([{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "demo",
        "uid": "3f0e7a52-5d3b-4d7e-9a43-0c8f7f2d6a11", "controller": true,
        "blockOwnerDeletion": true,
    }]);
    for round in 0..2 {
        let meta = json!({ "annotations": annotations("0"), "ownerReferences": owner });
        world.put_with("Ingress", canary, &meta, &json!({ "spec": spec("web-canary") }));
        wait_told(world, canary);
        let stable = if round == 0 { ["old-0", "old-1"] } else { ["new-0", "new-1"] };
        for weight in ["20", "50", "100"] {
            let patch = json!({ "metadata": { "annotations": annotations(weight) } });
            world.plane.patch(&world.path("Ingress", canary), &patch);
            assert_all_stable(&gateway, &load, &stable);
        }
        // It is promoted: the stable Service leads to the other pods, and the weight is none again.
        let (next, pods_of_next) = match round {
            0 => ("new", ["new-0", "new-1"]),
            _ => ("old", ["old-0", "old-1"]),
        };
        pods.lead("web-stable", next);
        wait_for_all(&gateway, &pods_of_next);
        let patch = json!({ "metadata": { "annotations": annotations("0") } });
        world.plane.patch(&world.path("Ingress", canary), &patch);
        assert_all_stable(&gateway, &load, &pods_of_next);
        world.remove("Ingress", canary);
        assert_all_stable(&gateway, &load, &pods_of_next);
    }
    load.end();
}

#[test]
fn a_canary_that_is_older_than_the_stable_ingress_never_takes_its_place() {
    let world = World::new("canary-first");
    let (_stable, _canary) = (world.backend("stable"), world.backend("canary"));
    let gateway = world.options().flags("--publish-address 192.0.2.10").start();
    let spec = json!({
        "ingressClassName": "portcullis",
        "rules": [rule("web.test", &[("Prefix", "/", "canary")])],
    });
    for prefix in [NGINX, "portcullis.io"] {
        let annotations = json!({
            format!("{prefix}/canary"): "true", format!("{prefix}/canary-weight"): "100",
        });
        let meta = json!({ "annotations": annotations });
        world.put_with("Ingress", "web-canary", &meta, &json!({ "spec": spec }));
        // Another one shows that both were read.
        world.ingress("shown", "shown.test", "stable");
        wait_until("what came later is served", || who(&gateway, "shown.test") == "stable");
        for _ in 0..2 {
            assert_eq!(who(&gateway, "web.test"), "404");
            world.ingress("web", "web.test", "stable");
            wait_until("the stable one is served", || who(&gateway, "web.test") == "stable");
            assert_eq!(ask_for_canary(&gateway).json()["name"], "stable");
            world.remove("Ingress", "web");
            wait_until("it is gone", || who(&gateway, "web.test") == "404");
        }
        // Its status tells no address: nothing of it is served.
        wait_until("the other has an address", || world.addresses("shown") == ["192.0.2.10"]);
        assert!(world.addresses("web-canary").is_empty());
        world.remove("Ingress", "shown");
        world.remove("Ingress", "web-canary");
    }
}

#[test]
fn flagger_copies_an_ingress_and_writes_it_anew_at_each_step_and_nothing_changes_for_clients() {
    let world = World::new("flagger");
    let (_primary, _canary) = (world.backend("web"), world.backend("web-canary"));
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    let spec = |service: &str| {
        json!({
            "ingressClassName": "portcullis",
            "tls": [{ "hosts": ["web.test"], "secretName": "web-tls" }],
            "rules": [rule("web.test", &[("Prefix", "/", service)])],
        })
    };
    // The copy has what the Ingress has, but for what kubectl keeps.
    let copied = [(format!("{NGINX}/ssl-redirect"), "false"), ("example.com/team".into(), "shop")];
    let annotations = |more: &[(&str, &str)]| -> Value {
        let mut all = serde_json::Map::new();
        all.extend(copied.iter().map(|(key, value)| (key.clone(), json!(value))));
        all.extend(more.iter().map(|(key, value)| (format!("{NGINX}/{key}"), json!(value))));
        json!({ "annotations": all, "labels": { "app": "web" } })
    };
    world.put_with("Ingress", "web", &annotations(&[]), &json!({ "spec": spec("web") }));
    let gateway = world.gateway();
    wait_until("it is served", || who(&gateway, "web.test") == "web");
    let load = Load::on(&gateway, "web.test");
    let named = world.path("Ingress", "web-canary");
    let write = |more: &[(&str, &str)]| {
        // An update of the whole object, with the version that was read.
        let mut object = world.look("Ingress", "web-canary").unwrap();
        object["metadata"]["annotations"] = annotations(more)["annotations"].clone();
        let answer = world.plane.try_request("PUT", &named, Some(&object)).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let idle = [("canary", "true"), ("canary-weight", "0")];
    let canary = json!({ "spec": spec("web-canary") });
    world.put_with("Ingress", "web-canary", &annotations(&idle), &canary);
    wait_told(&world, "web-canary");
    for steps in [
        // By weight.
        vec![
            vec![("canary", "true"), ("canary-weight", "5")],
            vec![("canary", "true"), ("canary-weight", "50")],
            vec![("canary", "true"), ("canary-weight", "100")],
        ],
        // By header and cookie.
        vec![
            vec![("canary", "true"), ("canary-by-header", "X-Canary")],
            vec![
                ("canary", "true"),
                ("canary-by-header", "X-Canary"),
                ("canary-by-header-value", "always"),
            ],
            vec![
                ("canary", "true"),
                ("canary-by-header", "X-Canary"),
                ("canary-by-header-pattern", "al.*"),
            ],
            vec![("canary", "true"), ("canary-by-cookie", "canary")],
        ],
    ] {
        for step in steps {
            write(&step);
            assert_all_stable(&gateway, &load, &["web"]);
        }
        write(&idle);
        assert_all_stable(&gateway, &load, &["web"]);
    }
    let config = testkit::tls::trusting_client(&[]);
    let https = gateway.https();
    let shown = || {
        let client = testkit::client::raw::RawClient::connect_tls(https, "web.test", &config);
        client.unwrap().certificate().to_vec()
    };
    assert_eq!(shown(), leaf.chain()[0].to_vec());
    // What it reads back is what it wrote.
    let kept = world.look("Ingress", "web-canary").unwrap();
    assert_eq!(kept["metadata"]["annotations"][format!("{NGINX}/canary-weight")], "0");
    world.remove("Ingress", "web-canary");
    assert_all_stable(&gateway, &load, &["web"]);
    assert_eq!(shown(), leaf.chain()[0].to_vec());
    load.end();
}

#[test]
fn a_service_that_is_led_to_another_version_at_once_loses_no_request() {
    let mut pods = Pods::new("blue-green", &["a"]);
    pods.run("blue-0", "blue", "a");
    pods.run("blue-1", "blue", "a");
    pods.service("active", &version("blue"), &json!({}));
    pods.service("preview", &version("blue"), &json!({}));
    pods.world.ingress("web", "web.test", "active");
    let gateway = pods.world.gateway();
    wait_for_all(&gateway, &["blue-0", "blue-1"]);
    let load = Load::on(&gateway, "web.test");
    for round in 0..3 {
        let (from, to) = if round % 2 == 0 { ("blue", "green") } else { ("green", "blue") };
        let names = |version: &str| [format!("{version}-0"), format!("{version}-1")];
        for name in names(to) {
            pods.run(&name, to, "a");
        }
        pods.lead("preview", to);
        pods.lead("active", to);
        let [first, second] = names(to);
        wait_for_all(&gateway, &[&first, &second]);
        // Back, and there again: an abort, and another try.
        pods.lead("active", from);
        let [old_first, old_second] = names(from);
        wait_for_all(&gateway, &[&old_first, &old_second]);
        pods.lead("active", to);
        wait_for_all(&gateway, &[&first, &second]);
        for name in names(from) {
            pods.end(&name, || load.goes_on());
        }
        load.goes_on();
    }
    load.end();
}

#[test]
fn a_canary_by_the_number_of_its_pods_has_the_share_that_they_are() {
    let mut pods = Pods::new("by-pods", &["a"]);
    for index in 0..4 {
        pods.run(&format!("old-{index}"), "old", "a");
    }
    pods.service("web", &json!({ "app": "web" }), &json!({}));
    pods.world.ingress("web", "web.test", "web");
    let gateway = pods.world.gateway();
    wait_for_all(&gateway, &["old-0", "old-1", "old-2", "old-3"]);
    let load = Load::on(&gateway, "web.test");
    for index in 0..4 {
        pods.run(&format!("new-{index}"), "new", "a");
        let of_new = |gateway: &Gateway| all_who(gateway).contains(&format!("new-{index}"));
        wait_until("the new pod gets requests", || of_new(&gateway));
        let old = format!("old-{index}");
        let requests = |pods: &Pods| {
            let (_, echo) = pods.running.iter().find(|(name, _)| *name == old).unwrap();
            echo.requests().len()
        };
        pods.world.kubectl(&format!("delete pod {old} --wait=false"));
        wait_until("the old pod gets nothing more", || {
            let before = requests(&pods);
            load.goes_on();
            requests(&pods) == before
        });
        pods.end(&old, || {});
        let total = 200;
        let new = (0..total).filter(|_| who(&gateway, "web.test").starts_with("new")).count();
        let expected = total * (index + 1) / 4;
        // Far more than chance would have it.
        assert!(new.abs_diff(expected) <= total / 5, "{new} of {total}, and not about {expected}");
    }
    load.end();
}

#[test]
fn traffic_distribution_is_followed_by_the_hints_that_the_cluster_makes_of_it() {
    let mut pods = Pods::new("distribution", &["zone-a", "zone-b"]);
    pods.run("near", "one", "zone-a");
    pods.run("far", "one", "zone-b");
    let app = json!({ "app": "web" });
    pods.service("web", &app, &json!({}));
    pods.world.ingress("web", "web.test", "web");
    let here = node(&pods.world, "zone-a");
    let flags = format!("--zone zone-a --node-name {here}");
    let gateway = pods.world.options().flags(&flags).start();
    wait_for_all(&gateway, &["near", "far"]);
    for wanted in ["PreferClose", "PreferSameZone", "PreferSameNode"] {
        pods.service("web", &app, &json!({ "trafficDistribution": wanted }));
        wait_for_all(&gateway, &["near"]);
        // Nobody near is ready: the far one is better than none.
        let ready = |is_ready: &str| {
            let condition = json!({ "type": "Ready", "status": is_ready });
            pods.patch("near", &json!({ "status": { "conditions": [condition] } }));
        };
        ready("False");
        wait_for_all(&gateway, &["far"]);
        ready("True");
        wait_for_all(&gateway, &["near"]);
        pods.world.plane.patch(
            &pods.world.path("Service", "web"),
            &json!({ "spec": { "trafficDistribution": null } }),
        );
        wait_for_all(&gateway, &["near", "far"]);
    }
}
