//! The admission webhook, asked by the API server itself.

use std::net::SocketAddr;

use serde_json::{Value, json};
use testkit::gateway::free_address;
use testkit::{ControlPlane, Gateway, GatewayOptions, wait_until};

/// A namespace whose Ingresses are reviewed, and the gateway that does it.
struct World {
    plane: &'static ControlPlane,
    namespace: String,
    gateway: Gateway,
}

/// A Service that leads to this machine: what a cluster's network does elsewhere.
fn service(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "webhook"},
        "spec": {
            "type": "ExternalName", "externalName": "localhost",
            "ports": [{"port": address.port()}],
        },
    })
}

fn configuration(namespace: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "ingresses.portcullis.io", "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 5,
            "clientConfig": {"service": {
                "namespace": namespace, "name": "webhook", "path": "/validate",
                "port": address.port(),
            }},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                "resources": ["ingresses"], "operations": ["CREATE", "UPDATE"],
            }],
        }],
    })
}

impl World {
    fn start() -> Self {
        Self::of("run")
    }

    /// A world whose webhook is this command's.
    fn of(command: &'static str) -> Self {
        let plane = ControlPlane::shared();
        let namespace = plane.namespace("webhook");
        let address = free_address();
        plane.create(&format!("/api/v1/namespaces/{namespace}/services"), &service(address));
        let configurations =
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        plane.create(configurations, &configuration(&namespace, address));
        plane.create(
            "/apis/networking.k8s.io/v1/ingressclasses",
            &json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": namespace},
                "spec": {"controller": format!("test.portcullis.io/{namespace}")},
            }),
        );
        let gateway = GatewayOptions::new()
            .command_name(command)
            .cluster(plane.kubeconfig())
            .flags(&format!(
                "--watch-namespace {namespace} --controller-name test.portcullis.io/{namespace} \
                 --webhook {address} --webhook-service {namespace}/webhook \
                 --webhook-secret {namespace}/webhook --webhook-configuration {namespace}"
            ))
            .start();
        let world = Self { plane, namespace, gateway };
        wait_until("the API server trusts the webhook", || {
            let path = format!("{configurations}/{}", world.namespace);
            let found = world.plane.look(&path).expect("the configuration is there");
            found["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        });
        // The API server hears of it by a watch of its own.
        wait_until("the API server calls the webhook", || {
            let probe = world.ingress("probe", "probe.test", "/");
            world.post(&probe, "?dryRun=All").0 == 201
        });
        world
    }

    fn ingress(&self, name: &str, host: &str, path: &str) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "ingressClassName": self.namespace,
                "rules": [{"host": host, "http": {"paths": [{
                    "path": path, "pathType": "ImplementationSpecific",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}},
                }]}}],
            },
        })
    }

    fn post(&self, ingress: &Value, query: &str) -> (u16, Value) {
        let path =
            format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses{query}", self.namespace);
        let answer = self.plane.try_request("POST", &path, Some(ingress)).expect("an answer");
        (answer.status, answer.body)
    }
}

#[test]
fn the_api_server_refuses_what_the_webhook_denies_and_stores_what_it_allows() {
    let world = World::start();
    let mut snippet = world.ingress("snippet", "shop.test", "/");
    snippet["metadata"]["annotations"] =
        json!({"nginx.ingress.kubernetes.io/server-snippet": "deny all;"});
    let (status, answer) = world.post(&snippet, "");
    assert_eq!(status, 422, "{answer}");
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("ingresses.portcullis.io"), "{message}");
    assert!(message.contains("[refused-snippet]"), "{message}");
    assert!(message.contains("help: "), "{message}");
    // What is missing may come later.
    assert_eq!(world.post(&world.ingress("good", "shop.test", "/"), "").0, 201);
    // The same path again is a warning.
    assert_eq!(world.post(&world.ingress("later", "shop.test", "/"), "").0, 201);
    // Another class is another's.
    let mut foreign = snippet;
    foreign["spec"]["ingressClassName"] = json!("another");
    assert_eq!(world.post(&foreign, "").0, 201);
}

#[test]
fn a_process_of_its_own_reviews_and_serves_nothing() {
    let world = World::of("webhook");
    assert_eq!(world.post(&world.ingress("good", "shop.test", "/"), "").0, 201);
    let mut wrong = world.ingress("wrong", "shop.test", "/x(");
    wrong["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
    assert_eq!(world.post(&wrong, "").0, 422);
    assert!(std::net::TcpStream::connect(world.gateway.http()).is_err());
    let reviews = "portcullis_webhook_reviews_total";
    assert!(world.gateway.metric(reviews, &["result=\"denied\""]) >= 1.0);
}

#[test]
fn the_webhook_keeps_its_certificate_in_a_secret_that_replicas_share() {
    let world = World::start();
    let path = format!("/api/v1/namespaces/{0}/secrets/webhook", world.namespace);
    let kept = world.plane.look(&path).expect("the Secret is there");
    for key in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
        assert!(kept["data"][key].is_string(), "{key}");
    }
    let namespace = &world.namespace;
    let other = GatewayOptions::new()
        .cluster(world.plane.kubeconfig())
        .flags(&format!(
            "--watch-namespace {namespace} --controller-name test.portcullis.io/{namespace} \
             --webhook {} --webhook-service {namespace}/webhook \
             --webhook-secret {namespace}/webhook --webhook-configuration {namespace}",
            free_address()
        ))
        .start();
    other.wait_for_log("webhook certificate");
    assert_eq!(world.plane.look(&path).expect("the Secret is there")["data"], kept["data"]);
}
