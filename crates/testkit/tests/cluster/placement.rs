//! Where things are: endpoints in zones, and our own pods on nodes.

use serde_json::json;

use crate::world::{World, endpoint, wait_for, wait_until, who};

#[test]
fn endpoints_of_our_zone_are_taken_by_their_hints_while_there_are_any() {
    let world = World::new("zones");
    let (near, far) = (endpoint("near"), endpoint("far"));
    world.service("web", &[]);
    let hint = |zone: &str| json!({ "zone": zone, "hints": { "forZones": [{ "name": zone }] } });
    world.slice_with("web", "web-near", near.address(), &hint("zone-a"));
    world.slice_with("web", "web-far", far.address(), &hint("zone-b"));
    world.ingress("web", "web.test", "web");
    let gateway = world.options().flags("--zone zone-a").start();
    (0..30).for_each(|_| assert_eq!(who(&gateway, "web.test"), "near"));
    world.remove("EndpointSlice", "web-near");
    wait_for(&gateway, "web.test", "far");
    // Without a zone of our own, hints say nothing.
    world.slice_with("web", "web-near", near.address(), &hint("zone-a"));
    let gateway = world.gateway();
    wait_for(&gateway, "web.test", "near");
    wait_for(&gateway, "web.test", "far");
}

#[test]
fn addresses_are_those_of_the_nodes_under_our_ready_pods() {
    let world = World::new("nodes");
    let node = format!("node-{}", world.namespace);
    world.put("Node", &node, &json!({}));
    let addresses = json!([
        { "type": "InternalIP", "address": "192.0.2.31" },
        { "type": "ExternalIP", "address": "192.0.2.32" },
    ]);
    let status = json!({ "status": { "addresses": addresses } });
    world.plane.patch(&format!("{}/status", world.path("Node", &node)), &status);
    let container = json!({ "name": "gateway", "image": "gateway" });
    let pod = json!({ "spec": { "nodeName": node, "containers": [container] } });
    world.put_with("Pod", "gateway", &json!({ "labels": { "app": "gateway" } }), &pod);
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let _gateway = world.options().flags("--publish-nodes app=gateway").start();
    let ready = |is_ready: &str| {
        let condition = json!({ "type": "Ready", "status": is_ready });
        let status = json!({ "status": { "phase": "Running", "conditions": [condition] } });
        world.plane.patch(&format!("{}/status", world.path("Pod", "gateway")), &status);
    };
    world.ingress("later", "later.test", "web");
    assert!(world.addresses("web").is_empty());
    ready("True");
    wait_until("the node's address is told", || world.addresses("web") == ["192.0.2.32"]);
}
