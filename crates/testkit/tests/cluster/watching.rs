//! What is written to the API server is served, and what is deleted is not.

use serde_json::json;
use testkit::cluster::network::OWN_ADDRESS;
use testkit::gateway::free_address_of;
use testkit::{ControlPlaneOptions, manifests};

use crate::world::{
    CONTROLLER, World, endpoint, everywhere, put_class, rule, wait_for, wait_until, who,
};

#[test]
fn what_kubectl_applies_edits_replaces_and_deletes_is_served_so() {
    let world = World::new("kubectl");
    let _echo = world.backend("web");
    let gateway = world.gateway();
    let text = |host: &str| {
        manifests::ingress("web", host, "web")
            .replace("namespace: default", &format!("namespace: {}", world.namespace))
            .replace("spec:\n", "spec:\n  ingressClassName: portcullis\n")
    };
    world.plane.apply(&text("one.test"));
    wait_for(&gateway, "one.test", "web");
    world.plane.apply(&text("two.test"));
    wait_for(&gateway, "two.test", "web");
    assert_eq!(who(&gateway, "one.test"), "404");
    let arguments = ["replace", "-f", "-"];
    let kubeconfig = world.plane.kubeconfig();
    world.plane.kubectl_with(kubeconfig, &arguments, &text("three.test")).unwrap();
    wait_for(&gateway, "three.test", "web");
    assert_eq!(who(&gateway, "two.test"), "404");
    // `kubectl edit` writes what an editor made of the object.
    world.edit("ingress/web", "s/three.test/four.test/");
    wait_for(&gateway, "four.test", "web");
    world.kubectl("delete ingress web");
    wait_for(&gateway, "four.test", "404");
    // The name again, and another object.
    world.plane.apply(&text("five.test"));
    wait_for(&gateway, "five.test", "web");
    assert_eq!(who(&gateway, "four.test"), "404");
}

#[test]
fn an_object_deleted_and_made_again_at_once_is_served_as_the_new_one_says() {
    let world = World::new("recreated");
    let (_one, _two) = (world.backend("one"), world.backend("two"));
    world.ingress("web", "web.test", "one");
    let gateway = world.gateway();
    for round in 0..10 {
        let next = if round % 2 == 0 { "two" } else { "one" };
        world.remove("Ingress", "web");
        world.ingress("web", "web.test", next);
        wait_for(&gateway, "web.test", next);
    }
}

#[test]
fn what_was_there_before_the_start_is_served_when_it_is_ready() {
    let world = World::new("before");
    let _echo = world.backend("web");
    for index in 0..20 {
        world.ingress(&format!("web-{index}"), &format!("web-{index}.test"), "web");
    }
    let gateway = world.gateway();
    // Ready: no host is waited for.
    for index in 0..20 {
        assert_eq!(who(&gateway, &format!("web-{index}.test")), "web");
    }
}

#[test]
fn an_ingress_that_moves_to_another_class_and_back_is_served_only_while_it_is_ours() {
    let world = World::new("moves");
    put_class(world.plane, "somebody-elses", "example.com/ingress-controller");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    world.ingress("stays", "stays.test", "web");
    let gateway = world.gateway();
    assert_eq!(who(&gateway, "web.test"), "web");
    world.ingress_of("somebody-elses", "web", "web.test", "web");
    wait_for(&gateway, "web.test", "404");
    assert_eq!(who(&gateway, "stays.test"), "web");
    world.ingress("web", "web.test", "web");
    wait_for(&gateway, "web.test", "web");
}

#[test]
fn a_class_that_comes_later_goes_and_changes_hands_takes_its_ingresses_with_it() {
    let world = World::new("later-class");
    let class = world.namespace.as_str();
    let _echo = world.backend("web");
    world.ingress_of(class, "web", "web.test", "web");
    let gateway = world.gateway();
    assert_eq!(who(&gateway, "web.test"), "404");
    put_class(world.plane, class, CONTROLLER);
    wait_for(&gateway, "web.test", "web");
    world.remove("IngressClass", class);
    wait_for(&gateway, "web.test", "404");
    // A controller is never edited, so hands change by deleting.
    put_class(world.plane, class, "example.com/ingress-controller");
    world.ingress("ours", "ours.test", "web");
    wait_for(&gateway, "ours.test", "web");
    assert_eq!(who(&gateway, "web.test"), "404");
    world.remove("IngressClass", class);
    put_class(world.plane, class, CONTROLLER);
    wait_for(&gateway, "web.test", "web");
}

#[test]
fn the_old_annotation_names_a_class_as_well() {
    let world = World::new("annotation");
    let _echo = world.backend("web");
    let gateway = world.gateway();
    let meta = json!({ "annotations": { "kubernetes.io/ingress.class": "portcullis" } });
    let spec = json!({ "spec": { "rules": [rule("web.test", &[("Prefix", "/", "web")])] } });
    world.put_with("Ingress", "web", &meta, &spec);
    wait_for(&gateway, "web.test", "web");
    let meta = json!({ "annotations": { "kubernetes.io/ingress.class": "nginx" } });
    world.put_with("Ingress", "web", &meta, &spec);
    wait_for(&gateway, "web.test", "404");
}

#[test]
fn an_ingress_without_a_class_is_of_the_default_one_that_was_there_when_it_was_made() {
    let plane = testkit::ControlPlane::start();
    let world = World::of(&plane, "default-class");
    let _echo = world.backend("web");
    let gateway = world.gateway();
    let spec = json!({ "rules": [rule("early.test", &[("Prefix", "/", "web")])] });
    world.put_ingress("early", &spec);
    let is_default = json!({ "metadata": { "annotations": {
        "ingressclass.kubernetes.io/is-default-class": "true" } } });
    plane.patch(&world.path("IngressClass", "portcullis"), &is_default);
    wait_until("the API server knows the default class", || {
        let spec = json!({ "rules": [rule("web.test", &[("Prefix", "/", "web")])] });
        world.put_ingress("web", &spec);
        let is_set =
            world.look("Ingress", "web").unwrap()["spec"]["ingressClassName"] == "portcullis";
        if !is_set {
            world.remove("Ingress", "web");
        }
        is_set
    });
    wait_for(&gateway, "web.test", "web");
    assert_eq!(who(&gateway, "early.test"), "404");
}

#[test]
fn a_deleted_namespace_takes_all_that_was_in_it_and_nothing_else() {
    let plane = ControlPlaneOptions::new().controllers().start();
    let doomed = World::of(&plane, "doomed");
    let stays = World::of(&plane, "stays");
    let (_one, _two) = (doomed.backend("one"), stays.backend("two"));
    doomed.ingress("web", "doomed.test", "one");
    stays.ingress("web", "stays.test", "two");
    let gateway = everywhere(&plane).start();
    assert_eq!(who(&gateway, "doomed.test"), "one");
    plane.kubectl(&["delete", "namespace", &doomed.namespace, "--wait=false"]);
    wait_for(&gateway, "doomed.test", "404");
    assert_eq!(who(&gateway, "stays.test"), "two");
}

#[test]
fn an_ingress_that_a_finalizer_of_somebody_holds_is_served_until_it_is_gone() {
    let world = World::new("finalizer");
    let _echo = world.backend("web");
    let meta = json!({ "finalizers": ["example.com/external-dns"] });
    let rules = [rule("web.test", &[("Prefix", "/", "web")])];
    let spec = json!({ "spec": { "ingressClassName": "portcullis", "rules": rules } });
    world.put_with("Ingress", "web", &meta, &spec);
    let gateway = world.gateway();
    world.remove("Ingress", "web");
    assert!(world.look("Ingress", "web").unwrap()["metadata"]["deletionTimestamp"].is_string());
    world.ingress("later", "later.test", "web");
    wait_for(&gateway, "later.test", "web");
    assert_eq!(who(&gateway, "web.test"), "web");
    let released = json!({ "metadata": { "finalizers": null } });
    world.plane.patch(&world.path("Ingress", "web"), &released);
    wait_for(&gateway, "web.test", "404");
}

#[test]
fn endpoints_come_and_go_by_slices_and_no_request_is_lost() {
    let world = World::new("slices");
    let (one, two) = (endpoint("one"), endpoint("two"));
    world.service("web", &[one.address()]);
    world.ingress("web", "web.test", "web");
    let gateway = world.gateway();
    let generation = gateway.generation();
    assert_eq!(who(&gateway, "web.test"), "one");
    world.slice("web", "web-second", two.address());
    wait_for(&gateway, "web.test", "two");
    world.remove("EndpointSlice", "web-0");
    wait_until("the first endpoint gets nothing more", || {
        let before = one.requests().len();
        (0..20).for_each(|_| assert_ne!(who(&gateway, "web.test"), "503"));
        one.requests().len() == before
    });
    assert_eq!(gateway.generation(), generation, "endpoints alone make no new generation");
    world.remove("EndpointSlice", "web-second");
    wait_for(&gateway, "web.test", "503");
}

#[test]
fn an_endpoint_that_is_not_ready_gets_no_request_until_it_is() {
    let world = World::new("readiness");
    let (ready, starting) = (endpoint("ready"), endpoint("starting"));
    world.service("web", &[ready.address()]);
    let unready = json!({ "conditions": { "ready": false } });
    world.slice_with("web", "web-starting", starting.address(), &unready);
    world.ingress("web", "web.test", "web");
    let gateway = world.gateway();
    (0..20).for_each(|_| assert_eq!(who(&gateway, "web.test"), "ready"));
    world.slice_with("web", "web-starting", starting.address(), &json!({}));
    wait_for(&gateway, "web.test", "starting");
    // It ends while it still serves: the ready one takes all that is new.
    let ending = json!({ "conditions": { "ready": false, "serving": true, "terminating": true } });
    world.slice_with("web", "web-starting", starting.address(), &ending);
    wait_until("the one that ends gets nothing more", || {
        let before = starting.requests().len();
        (0..20).for_each(|_| assert_ne!(who(&gateway, "web.test"), "503"));
        starting.requests().len() == before
    });
    // With nobody ready, who still serves is better than nobody.
    world.remove("EndpointSlice", "web-0");
    wait_for(&gateway, "web.test", "starting");
}

#[test]
fn a_service_that_comes_later_mends_its_ingress_and_one_that_goes_closes_it() {
    let world = World::new("later-service");
    world.ingress("web", "web.test", "web");
    let gateway = world.gateway();
    assert_eq!(who(&gateway, "web.test"), "503");
    let _echo = world.backend("web");
    wait_for(&gateway, "web.test", "web");
    world.remove("Service", "web");
    wait_for(&gateway, "web.test", "503");
}

#[test]
fn endpoints_that_nobody_may_have_are_refused_whoever_wrote_them_and_said_so() {
    // What the API server refuses itself, as loopback and link-local addresses, is not here.
    let world = World::new("refused");
    let own = free_address_of(OWN_ADDRESS);
    let refused = [
        ("metadata", "168.63.129.16:80".parse().unwrap()),
        ("metadata-six", "[fd00:ec2::254]:80".parse().unwrap()),
        ("many", "239.1.2.3:80".parse().unwrap()),
        ("ourselves", own),
    ];
    for (name, address) in refused {
        world.service(name, &[address]);
        world.ingress(name, &format!("{name}.test"), name);
    }
    let gateway = world.options().flags(&format!("--http {own}")).start();
    for (name, address) in refused {
        assert_eq!(who(&gateway, &format!("{name}.test")), "503", "{name}");
        gateway.wait_for_log(&address.ip().to_string());
    }
}
