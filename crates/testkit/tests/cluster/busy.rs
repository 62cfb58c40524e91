//! An API server that asks to be left alone is, and one that is gone without a word is noticed;
//! meanwhile traffic goes on, and afterwards everything is as it should be.

use std::time::{Duration, Instant};

use testkit::cluster::{Cable, Passing, Turnstile};
use testkit::{ControlPlane, Gateway, GatewayOptions};

use crate::load::Load;
use crate::world::{World, wait_for, wait_until, who};

/// How long the server asks to be left alone for.
const ASKED: u32 = 3;

fn through(world: &World<'_>, turnstile: &Turnstile) -> GatewayOptions {
    let admin = world.plane.user("admin-turned-away", "system:masters");
    let kubeconfig = world.plane.kubeconfig_with(&admin, turnstile.address());
    let scope = "--watch-namespace NAMESPACE --pod-namespace NAMESPACE";
    let scope = scope.replace("NAMESPACE", &world.namespace);
    GatewayOptions::new().cluster(&kubeconfig).flags(&scope)
}

/// What was turned away is not asked for again before its time, and is afterwards.
fn is_left_alone(seen: &[Passing], of: impl Fn(&Passing) -> bool) {
    let asked: Vec<&Passing> = seen.iter().filter(|passing| of(passing)).collect();
    let refused: Vec<usize> = (0..asked.len()).filter(|&index| asked[index].is_refused).collect();
    assert!(!refused.is_empty(), "nothing was turned away: {seen:#?}");
    for index in refused {
        let next = asked.get(index + 1).expect("it is asked for again");
        let wait = next.at - asked[index].at;
        assert!(wait >= Duration::from_secs(ASKED.into()), "again after {wait:?}: {asked:#?}");
    }
}

fn path(passing: &Passing) -> &str {
    passing.target.split('?').next().unwrap_or_default()
}

#[test]
fn a_server_that_is_too_busy_at_the_start_is_left_alone_and_streams_its_lists_then() {
    for status in [429, 503] {
        let world = World::new("busy-start");
        let _echo = world.backend("web");
        world.ingress("web", "web.test", "web");
        let turnstile = Turnstile::to(world.plane);
        turnstile.refuse(move |_, target| {
            let is_list = target.contains("sendInitialEvents=true");
            (is_list && target.contains("/ingresses")).then_some((status, ASKED))
        });
        let gateway = through(&world, &turnstile).unready().start();
        gateway.wait_for_log(&format!("({status})"));
        let ingresses = |passing: &Passing| path(passing).ends_with("/ingresses");
        wait_until("it is asked once more", || {
            turnstile.seen().iter().filter(|passing| ingresses(passing)).count() >= 2
        });
        turnstile.refuse(|_, _| None);
        wait_until("it is ready", || gateway.is_ready());
        assert_eq!(who(&gateway, "web.test"), "web");
        let seen = turnstile.seen();
        is_left_alone(&seen, ingresses);
        let pages = |passing: &&Passing| {
            ingresses(passing) && !passing.target.contains("watch=true") && passing.method == "GET"
        };
        assert!(!seen.iter().any(|passing| pages(&passing)), "listed in pages: {seen:#?}");
    }
}

/// The sum of a metric over all kinds.
fn failures(gateway: &Gateway) -> f64 {
    gateway.metric("portcullis_watch_failures_total", &[r#"kind="Ingress""#])
}

#[test]
fn watches_that_are_too_much_for_the_server_come_back_later_and_have_missed_nothing() {
    let world = World::new("busy-watch");
    let (_one, _two) = (world.backend("one"), world.backend("two"));
    world.ingress("changed", "changed.test", "one");
    world.ingress("deleted", "deleted.test", "one");
    world.ingress("stays", "stays.test", "one");
    let turnstile = Turnstile::to(world.plane);
    let cable = Cable::to(turnstile.address());
    let admin = world.plane.user("admin-by-cable", "system:masters");
    let kubeconfig = world.plane.kubeconfig_with(&admin, cable.address());
    let scope = format!("--watch-namespace {}", world.namespace);
    let gateway = GatewayOptions::new().cluster(&kubeconfig).flags(&scope).start();
    let load = Load::on(&gateway, "stays.test");
    let lists = || gateway.metric("portcullis_watch_lists_total", &[r#"kind="Ingress""#]);
    let before = (failures(&gateway), lists());
    turnstile.refuse(|_, target| target.contains("watch=true").then_some((429, ASKED)));
    cable.cut_connections();
    world.ingress("changed", "changed.test", "two");
    world.remove("Ingress", "deleted");
    world.ingress("made", "made.test", "two");
    gateway.wait_for_log("(429)");
    wait_until("it tried more often than it takes to list anew", || {
        failures(&gateway) >= before.0 + 4.0
    });
    assert!(gateway.is_ready());
    assert_eq!(who(&gateway, "changed.test"), "one");
    turnstile.refuse(|_, _| None);
    wait_for(&gateway, "changed.test", "two");
    wait_for(&gateway, "deleted.test", "404");
    wait_for(&gateway, "made.test", "two");
    is_left_alone(&turnstile.seen(), |passing| path(passing).ends_with("/ingresses"));
    let more = lists() - before.1;
    assert!(more.abs() < 0.5, "a server that is busy is not asked for {more} whole lists instead");
    load.end();
}

#[test]
fn status_that_is_too_much_for_the_server_is_written_later_and_not_before() {
    let world = World::new("busy-status");
    let _echo = world.backend("web");
    let turnstile = Turnstile::to(world.plane);
    let gateway = through(&world, &turnstile).flags("--publish-address 192.0.2.7").start();
    turnstile.refuse(|method, target| {
        (method == "PATCH" && target.contains("/status")).then_some((429, ASKED))
    });
    world.ingress("web", "web.test", "web");
    wait_for(&gateway, "web.test", "web");
    gateway.wait_for_log("what we write to it waits");
    let status =
        |passing: &Passing| passing.method == "PATCH" && path(passing).ends_with("/status");
    wait_until("it was tried twice", || {
        turnstile.seen().iter().filter(|passing| status(passing)).count() >= 2
    });
    turnstile.refuse(|_, _| None);
    wait_until("status is written", || world.addresses("web") == ["192.0.2.7"]);
    is_left_alone(&turnstile.seen(), status);
    assert_eq!(who(&gateway, "web.test"), "web");
}

#[test]
fn an_api_server_that_is_gone_without_a_word_is_noticed_within_a_minute() {
    let plane = ControlPlane::shared();
    let world = World::new("vanished");
    let (_one, _two) = (world.backend("one"), world.backend("two"));
    world.ingress("web", "web.test", "one");
    let cable = Cable::to(plane.address());
    let admin = plane.user("admin-by-cable", "system:masters");
    let kubeconfig = plane.kubeconfig_with(&admin, cable.address());
    let scope = format!("--watch-namespace {}", world.namespace);
    let gateway = GatewayOptions::new().cluster(&kubeconfig).flags(&scope).start();
    let load = Load::on(&gateway, "web.test");
    cable.vanish();
    let vanished = Instant::now();
    world.ingress("web", "web.test", "two");
    while who(&gateway, "web.test") != "two" {
        let is_early = vanished.elapsed() < Duration::from_mins(1);
        assert!(is_early, "the change is not served: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(vanished.elapsed() > Duration::from_secs(5), "nothing had vanished");
    load.end();
}
