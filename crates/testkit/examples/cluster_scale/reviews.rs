//! How long the webhook takes to review an Ingress: asked as an API server asks, over TLS, on a
//! connection that is kept and on new ones, while nothing changes and while changes are built.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::{Value, json};
use testkit::client::raw::RawClient;
use testkit::{ControlPlane, tls};

use crate::gateway::Gateway;
use crate::{Size, objects, progress, summary};

/// Between two reviews. No multiple of what is between changes: they meet builds at every stage.
const APART: Duration = Duration::from_millis(33);

/// Between two changes, where some are made: so often that a build is under way most of the time.
const CHANGES_APART: Duration = Duration::from_millis(100);

const NAME: &str = "webhook.test";

/// Rows for each kind of review, connection and load.
pub(crate) fn measure(gateway: &Gateway, cluster: &ControlPlane, size: Size) -> Value {
    let config = tls::client(gateway.authority.roots(), &["http/1.1"]);
    let webhook = Webhook { gateway, config };
    // A page of memory and a session more or less: the first of all is nobody's measure.
    for change in 0..4 {
        webhook.ask(&mut None, &body("update", size, change));
    }
    let mut rows = Vec::new();
    for is_changing in [false, true] {
        for is_kept in [true, false] {
            let measured = if is_changing {
                while_changing(cluster, size, || webhook.reviews(size, is_kept))
            } else {
                webhook.reviews(size, is_kept)
            };
            for (kind, all_ms) in ["create", "update"].into_iter().zip(measured) {
                rows.push(json!({
                    "review": kind,
                    "connection": if is_kept { "kept" } else { "new" },
                    "while": if is_changing { "changes" } else { "quiet" },
                    "ms": summary(&all_ms),
                }));
            }
        }
    }
    Value::Array(rows)
}

struct Webhook<'g> {
    gateway: &'g Gateway,
    config: Arc<ClientConfig>,
}

impl Webhook<'_> {
    /// Milliseconds of creations and of updates, in turns.
    fn reviews(&self, size: Size, is_kept: bool) -> [Vec<f64>; 2] {
        let mut times = [Vec::new(), Vec::new()];
        let mut kept = None;
        for change in 0..size.changes {
            for (kind, all) in ["create", "update"].into_iter().zip(&mut times) {
                let request = body(kind, size, change);
                if !is_kept {
                    kept = None;
                }
                let begun = Instant::now();
                self.ask(&mut kept, &request);
                all.push(begun.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(APART);
            }
            progress("reviews of each kind", change, size.changes);
        }
        times
    }

    /// Sends a review and reads the verdict, on the connection or on a new one.
    fn ask(&self, connection: &mut Option<RawClient>, body: &str) {
        let address = self.gateway.webhook;
        let request = format!(
            "POST /validate?timeout=2s HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\
             \r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let client = connection.get_or_insert_with(|| {
            RawClient::connect_tls(address, NAME, &self.config).expect("a handshake")
        });
        let answer = client.exchange(request);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let verdict = &answer.json()["response"];
        assert_eq!(verdict["allowed"], true, "{verdict}");
    }
}

/// Does something while Ingresses change, one after the other.
fn while_changing<T>(cluster: &ControlPlane, size: Size, act: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for change in 0.. {
                if is_done.load(Ordering::Relaxed) {
                    return;
                }
                let index = size.index(change);
                let further = [format!("/changed-{}-{change}", size.run)];
                cluster.replace(&objects::ingress_path(index), &objects::ingress(index, &further));
                std::thread::sleep(CHANGES_APART);
            }
        });
        let _ends = Ends(&is_done);
        act()
    })
}

/// Ends the changes when what they disturb has ended, also where that failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A review as an API server sends it, of an Ingress as people write them.
fn body(kind: &str, size: Size, change: usize) -> String {
    let index = size.index(change);
    let old = objects::ingress(index, &[]);
    let mut new = old.clone();
    let meta = &mut new["metadata"];
    meta["annotations"] = json!({
        "cert-manager.io/cluster-issuer": "letsencrypt",
        "nginx.ingress.kubernetes.io/enable-cors": "true",
        "nginx.ingress.kubernetes.io/proxy-body-size": "8m",
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "120",
        "nginx.ingress.kubernetes.io/ssl-redirect": "true",
        "kubectl.kubernetes.io/last-applied-configuration": old.to_string(),
    });
    if kind == "create" {
        meta["name"] = json!(format!("new-{index}"));
        let paths = new["spec"]["rules"][0]["http"].clone();
        let host = |name: &str| json!({ "host": format!("{name}-{index}.test"), "http": paths });
        new["spec"]["rules"] = json!([host("new"), host("www")]);
        new["spec"]["tls"] = json!([{
            "hosts": [format!("new-{index}.test"), format!("www-{index}.test")],
            "secretName": format!("new-{index}-tls"),
        }]);
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("{kind}-{}-{change}", size.run),
            "kind": { "group": "networking.k8s.io", "version": "v1", "kind": "Ingress" },
            "resource": {
                "group": "networking.k8s.io", "version": "v1", "resource": "ingresses",
            },
            "name": new["metadata"]["name"],
            "namespace": new["metadata"]["namespace"],
            "operation": kind.to_uppercase(),
            "userInfo": { "username": "somebody", "groups": ["system:authenticated"] },
            "object": new,
            "oldObject": if kind == "update" { old } else { Value::Null },
            "dryRun": false,
        },
    });
    review.to_string()
}
