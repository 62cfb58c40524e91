//! What keeps one namespace from the hosts of another, and all of them from the machine.

use serde_json::{Value, json};
use testkit::{ControlPlane, Gateway, GatewayOptions, wait_until};

/// Two namespaces and a class of their own, and a gateway that serves both.
struct World {
    plane: &'static ControlPlane,
    shop: String,
    blog: String,
    class: String,
}

impl World {
    fn new() -> Self {
        let plane = ControlPlane::shared();
        let (shop, blog) = (plane.namespace("shop"), plane.namespace("blog"));
        let world = Self { plane, class: shop.clone(), shop, blog };
        world.put_class(&Value::Null);
        world
    }

    fn put_class(&self, parameters: &Value) {
        self.plane.put(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": self.class},
            "spec": {
                "controller": format!("test.portcullis.io/{}", self.class),
                "parameters": parameters,
            },
        }));
    }

    fn gateway(&self, flags: &str) -> Gateway {
        GatewayOptions::new()
            .cluster(self.plane.kubeconfig())
            .flags(&format!("--controller-name test.portcullis.io/{} {flags}", self.class))
            .start()
    }

    /// A path of a host, answered by nobody: 503 where it is routed, 404 where it is not.
    fn ingress(&self, namespace: &str, name: &str, host: &str, path: &str) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "ingressClassName": self.class,
                "rules": [{"host": host, "http": {"paths": [{
                    "path": path, "pathType": "Prefix",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}},
                }]}}],
            },
        })
    }

    fn put_ingress(&self, namespace: &str, name: &str, host: &str, path: &str) {
        self.plane.put(&self.ingress(namespace, name, host, path));
    }

    fn host(&self, name: &str) -> String {
        format!("{name}.{}.test", self.shop)
    }
}

fn answers(gateway: &Gateway, host: &str, path: &str, status: u16) {
    wait_until(&format!("{host}{path} answers {status}"), || {
        gateway.get(host, path).status() == status
    });
}

#[test]
fn a_host_goes_to_the_next_namespace_when_its_owner_lets_it_go() {
    let world = World::new();
    let host = world.host("first");
    world.put_ingress(&world.shop, "owner", &host, "/cart");
    let gateway = world.gateway("--host-ownership first-namespace");
    answers(&gateway, &host, "/cart", 503);
    // An API server tells ages in seconds, and of two that are equally old the name decides.
    let owner = format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses/owner", world.shop);
    let created = |object: &Value| object["metadata"]["creationTimestamp"].to_string();
    let age = created(&world.plane.look(&owner).expect("it is there"));
    let tried =
        format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses?dryRun=All", world.blog);
    let theirs = world.ingress(&world.blog, "theirs", &host, "/admin");
    wait_until("another one is younger", || created(&world.plane.create(&tried, &theirs)) > age);
    world.plane.put(&theirs);
    gateway.wait_for_log("host-not-owned");
    answers(&gateway, &host, "/admin", 404);
    answers(&gateway, &host, "/cart", 503);
    world.plane.remove(&owner);
    answers(&gateway, &host, "/admin", 503);
    answers(&gateway, &host, "/cart", 404);
}

#[test]
fn the_annotation_of_a_namespace_says_which_hosts_it_may_use() {
    let world = World::new();
    let (own, other) = (world.host("own"), world.host("other"));
    let allow = |namespace: &str, hosts: &Value| {
        let patch = json!({"metadata": {"annotations": {"portcullis.io/allowed-hosts": hosts}}});
        world.plane.patch(&format!("/api/v1/namespaces/{namespace}"), &patch);
    };
    allow(&world.shop, &json!(own));
    world.put_ingress(&world.shop, "own", &own, "/");
    world.put_ingress(&world.shop, "other", &other, "/");
    let gateway = world.gateway("--host-ownership allow-list");
    assert_eq!(gateway.get(&own, "/").status(), 503);
    assert_eq!(gateway.get(&other, "/").status(), 404);
    allow(&world.shop, &json!(format!("*.{}.test", world.shop)));
    answers(&gateway, &other, "/", 503);
    allow(&world.shop, &Value::Null);
    answers(&gateway, &own, "/", 404);
}

#[test]
fn a_slice_that_somebody_wrote_does_not_lead_to_this_machine() {
    let world = World::new();
    let host = world.host("slices");
    // The API server itself refuses loopback addresses; this one it takes.
    world.plane.put(&json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "web", "namespace": world.shop,
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["168.63.129.16"]}],
    }));
    world.plane.put(&json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": world.shop}, "spec": {"ports": [{"port": 80}]},
    }));
    world.put_ingress(&world.shop, "web", &host, "/");
    let gateway = world.gateway("");
    assert_eq!(gateway.get(&host, "/").status(), 503);
    gateway.wait_for_log("endpoint-address-refused");
}

#[test]
fn a_class_finds_its_parameters_when_their_kind_is_installed_later() {
    let world = World::new();
    let host = world.host("own-kind");
    world.put_class(&json!({
        "apiGroup": "portcullis.io", "kind": "ClusterIngressParameters", "name": world.class,
    }));
    world.put_ingress(&world.shop, "web", &host, "/web/");
    let gateway = world.gateway("");
    assert_eq!(gateway.get(&host, "/web").status(), 503);
    gateway.wait_for_log("class-parameters-not-found");
    world.plane.apply(include_str!("../../../../deploy/crds/clusteringressparameters.yaml"));
    let parameters = |spec: &str| {
        format!(
            "apiVersion: portcullis.io/v1alpha1\nkind: ClusterIngressParameters\n\
             metadata: {{name: {}}}\nspec: {spec}\n",
            world.class
        )
    };
    wait_until("the kind is served", || {
        let text = parameters("{dialect: nginx}");
        world.plane.kubectl_with(world.plane.kubeconfig(), &["apply", "-f", "-"], &text).is_ok()
    });
    answers(&gateway, &host, "/web", 301);
    let wrong = parameters("{dialect: apache}");
    let refused = world.plane.kubectl_with(world.plane.kubeconfig(), &["apply", "-f", "-"], &wrong);
    assert!(refused.unwrap_err().contains("Unsupported value"));
}

#[test]
fn a_class_follows_the_config_map_that_it_names() {
    let world = World::new();
    let host = world.host("tuned");
    world.put_class(&json!({
        "kind": "ConfigMap", "scope": "Namespace", "namespace": world.blog, "name": "tuned",
    }));
    world.put_ingress(&world.shop, "web", &host, "/web/");
    let gateway = world.gateway("");
    assert_eq!(gateway.get(&host, "/web").status(), 503);
    gateway.wait_for_log("class-parameters-not-found");
    let put = |data: &Value| {
        world.plane.put(&json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "tuned", "namespace": world.blog}, "data": data,
        }))
    };
    // ingress-nginx sends to the slash.
    put(&json!({"dialect": "nginx"}));
    answers(&gateway, &host, "/web", 301);
    put(&json!({"dialect": "kubernetes"}));
    answers(&gateway, &host, "/web", 503);
}
