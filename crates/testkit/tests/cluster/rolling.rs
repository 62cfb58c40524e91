//! Pods are replaced under load, those of a backend and our own, and no request is lost.

use serde_json::json;
use testkit::cluster::Cable;
use testkit::{Echo, Gateway};

use crate::load::Load;
use crate::world::{World, endpoint, wait_until, who};

#[test]
fn a_rolling_update_of_a_backend_loses_no_request() {
    let world = World::new("rolling-backend");
    let mut pods: Vec<Echo> = (0..2).map(|index| endpoint(&format!("old-{index}"))).collect();
    let addresses: Vec<_> = pods.iter().map(Echo::address).collect();
    world.service("web", &addresses);
    world.ingress("web", "web.test", "web");
    let gateway = world.gateway();
    let load = Load::on(&gateway, "web.test");
    for round in 0..10 {
        let new = endpoint(&format!("new-{round}"));
        let place = round % 2;
        // It surges by one: the new pod is ready before the old one is told to end.
        world.slice("web", &format!("web-new-{round}"), new.address());
        wait_until("the new pod serves", || !new.requests().is_empty());
        let old = std::mem::replace(&mut pods[place], new);
        let name =
            if round < 2 { format!("web-{place}") } else { format!("web-new-{}", round - 2) };
        let ending =
            json!({ "conditions": { "ready": false, "serving": true, "terminating": true } });
        world.slice_with("web", &name, old.address(), &ending);
        wait_until("the old pod gets nothing more", || {
            let before = old.requests().len();
            load.goes_on();
            old.requests().len() == before
        });
        world.remove("EndpointSlice", &name);
        drop(old);
    }
    load.end();
}

#[test]
fn our_own_replicas_are_replaced_under_load_and_no_request_is_lost() {
    let world = World::new("rolling-us");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let start = |name: String| {
        let flags = format!("--pod-name {name} --drain-delay 2s");
        world.options().flags(&flags).start()
    };
    let mut replicas: Vec<Gateway> = (0..3).map(|index| start(format!("old-{index}"))).collect();
    let cable = Cable::to(replicas[0].http());
    let lead = |replicas: &[Gateway]| {
        let ready: Vec<_> = replicas.iter().filter(|replica| replica.is_ready()).collect();
        cable.lead_to(&ready.iter().map(|replica| replica.http()).collect::<Vec<_>>());
    };
    lead(&replicas);
    let load = Load::through(&cable, "web.test");
    for index in 0..3 {
        replicas.push(start(format!("new-{index}")));
        lead(&replicas);
        let old = replicas.remove(0);
        old.terminate();
        // Who leads traffic here sees that it is not ready, and some time later acts on it.
        wait_until("it says that it is not ready", || !old.is_ready());
        load.goes_on();
        lead(&replicas);
        load.goes_on();
        assert!(old.wait().success());
    }
    for replica in &replicas {
        assert_eq!(who(replica, "web.test"), "web");
    }
    load.end();
}
