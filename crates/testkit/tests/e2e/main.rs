//! The real program from outside: real clients, raw bytes, endpoints that misbehave, change.
//!
//! Each test has a gateway of its own, so that it can be read and run alone.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails, helpers included")]

mod affinity;
mod answers;
mod certificates;
mod changes;
mod clients;
mod commands;
mod connections;
mod demo;
mod drain;
mod echo;
mod endpoints;
mod families;
mod files;
mod http2;
mod idle;
mod limits;
mod logs;
mod messages;
mod names;
mod operators;
mod readiness;
mod refusals;
mod sessions;
mod slow;
mod standalone;

use testkit::{Endpoint, Gateway, GatewayOptions, manifests};

/// A gateway whose host `app.test` leads to this endpoint.
fn in_front_of(endpoint: &Endpoint) -> Gateway {
    in_front_with(endpoint, "")
}

/// As [`in_front_of`], with further flags.
fn in_front_with(endpoint: &Endpoint, flags: &str) -> Gateway {
    GatewayOptions::new().file("app.yaml", app(&[endpoint])).flags(flags).start()
}

/// Manifests that lead `app.test` to these endpoints.
fn app(endpoints: &[&Endpoint]) -> String {
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address()).collect();
    manifests::all(&[
        manifests::service("app", &addresses),
        manifests::ingress("app", "app.test", "app"),
    ])
}

/// `GET /` of `app.test`.
const GET: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// A whole answer with a body of two bytes.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
