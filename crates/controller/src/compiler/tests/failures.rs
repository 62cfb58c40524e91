//! Builds that panic, and builds that wait.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

static PANICS: AtomicBool = AtomicBool::new(false);

fn translate_or_panic(store: &ObjectStore, settings: &Settings, memo: &mut Memo) -> Translation {
    assert!(!PANICS.load(Ordering::Relaxed), "a defect");
    translate::translate(store, settings, memo)
}

fn relink_or_panic(
    store: &ObjectStore,
    settings: &Settings,
    memo: &mut Memo,
    changed: &BTreeSet<ObjectKey>,
) -> Option<Translation> {
    assert!(!PANICS.load(Ordering::Relaxed), "a defect");
    translate::relink(store, settings, memo, changed)
}

#[test]
fn a_panic_keeps_the_last_configuration_and_the_next_change_of_anything_builds_everything() {
    let mut fixture = Fixture::new();
    fixture.compiler.translate = translate_or_panic;
    fixture.compiler.relink = relink_or_panic;
    fixture.start(&shop());
    PANICS.store(true, Ordering::Relaxed);
    assert_eq!(fixture.apply(&ingress("more", "more.test", "cart")), NOTHING);
    let latest = fixture.compiler.outside.latest.get().unwrap();
    assert_eq!(latest.model.hosts.len(), 1);
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    assert!(page.contains("portcullis_config_builds_total{kind=\"full\",result=\"failed\"} 1\n"));
    assert!(page.contains("portcullis_config_last_build_successful 0\n"));
    PANICS.store(false, Ordering::Relaxed);
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(2))), FULL);
    assert_eq!(fixture.served.lock().unwrap().translation.model.hosts.len(), 2);
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    assert!(page.contains("portcullis_config_last_build_successful 1\n"));
}

#[test]
fn endpoints_wait_for_no_object_that_another_change_waits_for() {
    let mut fixture = holding();
    let hosts = |fixture: &Fixture| fixture.served.lock().unwrap().translation.model.hosts.len();
    for (slice, expected) in [
        (slice("cart-1", "cart", &address(2)), vec!["10.0.0.2:8080"]),
        // Their last, and the first again.
        (slice("cart-1", "cart", ""), Vec::new()),
        (slice("cart-1", "cart", &address(3)), vec!["10.0.0.3:8080"]),
    ] {
        assert_eq!(fixture.apply(&slice), ENDPOINTS);
        assert_eq!(fixture.endpoints("default/cart:80"), expected);
        assert_eq!(hosts(&fixture), 1);
        // With the next, something comes that may be what is waited for, and is not.
        fixture.compiler.hold.has_news();
    }
    fixture.compiler.outside.want = None;
    assert_eq!(fixture.check(), FULL);
    assert_eq!(hosts(&fixture), 2);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.3:8080"]);
}

#[test]
fn what_a_short_build_panics_at_is_built_as_a_whole() {
    let mut fixture = Fixture::new();
    fixture.compiler.relink = |_, _, _, _| panic!("a defect");
    fixture.start(&shop());
    assert_eq!(fixture.apply(&ingress("more", "more.test", "cart")), NOTHING);
    assert_eq!(fixture.check(), FULL);
    assert_eq!(fixture.served.lock().unwrap().translation.model.hosts.len(), 2);
    let page = fixture.compiler.outside.telemetry.render_prometheus();
    assert!(page.contains("portcullis_config_builds_total{kind=\"full\",result=\"failed\"} 1\n"));
    assert!(page.contains("portcullis_config_last_build_successful 1\n"));
}

/// A fixture whose next changes are held back.
fn holding() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    fixture.compiler.outside.want = Some(Box::new(|_| BTreeSet::from(["default".into()])));
    assert_eq!(fixture.apply(&ingress("more", "more.test", "cart")), NOTHING);
    fixture
}

#[test]
fn slices_for_another_port_than_is_served_wait_with_their_service() {
    let mut fixture = holding();
    fixture.apply(&service("cart").replace("port: 80", "name: web, port: 80"));
    let other = slice("cart-1", "cart", &address(2)).replace("name: ''", "name: web");
    assert_eq!(fixture.apply(&other), NOTHING);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.1:8080"], "by the port it had");
    fixture.compiler.outside.want = None;
    assert_eq!(fixture.check(), FULL);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.2:8080"]);
}

#[test]
fn endpoints_of_what_is_served_alone_are_passed_on_too() {
    let mut fixture = Fixture::new();
    let blue = service("blue") + &slice("blue-1", "blue", &address(7));
    fixture.start(&(ingress("front", "shop.test", "blue") + &blue + &service("cart")));
    fixture.compiler.outside.want = Some(Box::new(|_| BTreeSet::from(["default".into()])));
    // Everything is built, so that nothing of what was is known there.
    fixture.compiler.due = Relevance::Full;
    assert_eq!(fixture.apply(&ingress("front", "shop.test", "cart")), NOTHING);
    assert_eq!(fixture.apply(&slice("blue-1", "blue", "")), ENDPOINTS);
    assert_eq!(fixture.endpoints("default/blue:80"), [""; 0]);
}

#[test]
fn what_waits_is_built_although_publishing_endpoints_panics_meanwhile() {
    let mut fixture = holding();
    let panics = Arc::new(AtomicBool::new(true));
    let of_publish = Arc::clone(&panics);
    let mut publish =
        std::mem::replace(&mut fixture.compiler.outside.publish, Box::new(|_, _| Vec::new()));
    fixture.compiler.outside.publish = Box::new(move |new, change| {
        assert!(!of_publish.load(Ordering::Relaxed), "a defect");
        publish(new, change)
    });
    assert_eq!(fixture.apply(&slice("cart-1", "cart", &address(2))), NOTHING);
    assert_eq!(fixture.compiler.due, Relevance::Full);
    panics.store(false, Ordering::Relaxed);
    fixture.compiler.outside.want = None;
    assert_eq!(fixture.check(), FULL);
    assert_eq!(fixture.served.lock().unwrap().translation.model.hosts.len(), 2);
    assert_eq!(fixture.endpoints("default/cart:80"), ["10.0.0.2:8080"]);
}
