//! What cert-manager makes and expects: solvers of HTTP-01 beside our Ingresses, Secrets that come.

use serde_json::json;
use testkit::{Authority, Gateway};

use crate::load::Load;
use crate::world::{World, rule, to, wait_for, wait_until, who, who_at};

const CHALLENGE: &str = "/.well-known/acme-challenge/kBqY8Cr-_3Vx.9zTf2";

/// The user's Ingress: everything of a host, with a certificate, so redirected to HTTPS.
fn ours(world: &World<'_>) {
    world.tls_ingress("web", "web.test", "web", "web-tls");
}

/// The solver's Ingress, as cert-manager writes it.
fn solver(world: &World<'_>, name: &str, path: &str, kind: &str) {
    let meta = json!({
        "labels": { "acme.cert-manager.io/http01-solver": "true" },
        "annotations": { "nginx.ingress.kubernetes.io/whitelist-source-range": "0.0.0.0/0,::/0" },
    });
    let spec = json!({
        "ingressClassName": "portcullis",
        "rules": [{ "host": "web.test", "http": { "paths": [
            { "path": path, "pathType": kind, "backend": to("solver") },
        ] } }],
    });
    world.put_with("Ingress", name, &meta, &json!({ "spec": spec }));
}

fn status(gateway: &Gateway, path: &str) -> u16 {
    gateway.get("web.test", path).status()
}

#[test]
fn a_solver_beside_ours_answers_its_path_in_cleartext_while_the_rest_is_redirected() {
    let world = World::new("solver");
    let (_web, solver_pod) = (world.backend("web"), world.backend("solver"));
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    ours(&world);
    let gateway = world.gateway();
    assert_eq!(status(&gateway, "/"), 308);
    for kind in ["Exact", "ImplementationSpecific"] {
        solver(&world, "cm-acme-http-solver-7x", CHALLENGE, kind);
        wait_until("the solver answers", || who_at(&gateway, "web.test", CHALLENGE) == "solver");
        assert_eq!(status(&gateway, "/"), 308);
        assert_eq!(status(&gateway, &format!("{CHALLENGE}x")), 308);
        world.remove("Ingress", "cm-acme-http-solver-7x");
        wait_until("the solver is gone", || status(&gateway, CHALLENGE) == 308);
    }
    assert_eq!(solver_pod.requests()[0]["host"], "web.test");
}

#[test]
fn a_solver_works_before_the_certificate_of_its_host_is_there() {
    let world = World::new("first-issue");
    let (_web, _solver) = (world.backend("web"), world.backend("solver"));
    ours(&world);
    let gateway = world.gateway();
    solver(&world, "cm-acme-http-solver-7x", CHALLENGE, "Exact");
    wait_until("the solver answers", || who_at(&gateway, "web.test", CHALLENGE) == "solver");
    world.remove("Ingress", "cm-acme-http-solver-7x");
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    let config = testkit::tls::trusting_client(&[]);
    wait_until("the certificate is served", || {
        let https = gateway.https();
        let client = testkit::client::raw::RawClient::connect_tls(https, "web.test", &config);
        client.unwrap().certificate() == leaf.chain()[0]
    });
}

#[test]
fn dozens_of_solvers_come_and_go_and_cost_no_request() {
    let world = World::new("solvers");
    let (_web, _solver) = (world.backend("web"), world.backend("solver"));
    world.ingress("stays", "stays.test", "web");
    ours(&world);
    let gateway = world.gateway();
    let load = Load::on(&gateway, "stays.test");
    let path = |index: usize| format!("/.well-known/acme-challenge/token-{index}");
    for index in 0..30 {
        solver(&world, &format!("solver-{index}"), &path(index), "Exact");
    }
    for index in 0..30 {
        wait_until("it answers", || who_at(&gateway, "web.test", &path(index)) == "solver");
    }
    for index in 0..30 {
        world.remove("Ingress", &format!("solver-{index}"));
    }
    for index in 0..30 {
        wait_until("it is gone", || who_at(&gateway, "web.test", &path(index)) != "solver");
    }
    load.end();
}

#[test]
fn a_path_added_to_our_own_ingress_is_served_and_goes_again() {
    let world = World::new("in-place");
    let (_web, _solver) = (world.backend("web"), world.backend("solver"));
    world.ingress("web", "web.test", "web");
    let gateway = world.gateway();
    let rules = [rule("web.test", &[("Prefix", "/", "web"), ("Exact", CHALLENGE, "solver")])];
    world.put_ingress("web", &json!({ "ingressClassName": "portcullis", "rules": rules }));
    wait_until("the solver answers", || who_at(&gateway, "web.test", CHALLENGE) == "solver");
    world.ingress("web", "web.test", "web");
    wait_until("the solver is gone", || who_at(&gateway, "web.test", CHALLENGE) == "web");
    wait_for(&gateway, "web.test", "web");
    assert_eq!(who(&gateway, "web.test"), "web");
}
