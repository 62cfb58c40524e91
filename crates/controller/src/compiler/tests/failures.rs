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
    let mut fixture = Fixture::new();
    fixture.start(&shop());
    fixture.compiler.outside.want = Some(Box::new(|_| BTreeSet::from(["default".into()])));
    let more = ingress("more", "more.test", "cart");
    assert_eq!(fixture.apply(&more), NOTHING, "it is held back");
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
