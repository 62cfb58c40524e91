//! The rights that are installed are those that the program needs: with them everything works, and
//! without each of them something is said that names it.
//!
//! The program runs here with the arguments of the Deployment and the token of its service account,
//! on the RBAC objects of the flat manifest.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::certs::Leaf;
use testkit::client::raw::RawClient;
use testkit::cluster::network::endpoint_address;
use testkit::cluster::render::{deploy, kustomize, objects};
use testkit::{Authority, ControlPlane, Echo, Gateway, GatewayOptions, wait_until};

use crate::cases::{Case, with_component};

/// Where the load balancer of the test is.
const ADDRESS: &str = "192.0.2.10";

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const OWN_ROLE: &str =
    "/apis/rbac.authorization.k8s.io/v1/namespaces/portcullis-system/roles/portcullis";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";

/// A cluster in which the flat manifest was applied, with a shop.
struct Cluster {
    namespace: &'static str,
    plane: ControlPlane,
    installed: Case,
    kubeconfig: PathBuf,
    leaf: Leaf,
    _echo: Echo,
}

/// All that is installed, in one document.
fn list(case: &Case) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": case.objects }).to_string()
}

impl Cluster {
    /// With the flat manifest.
    fn start() -> Self {
        let text = std::fs::read_to_string(deploy("portcullis.yaml")).expect("it is there");
        let cluster = Self::with(objects(&text), "portcullis-system");
        // The parameters of the class are in the shop, as its certificates are.
        let named = json!({ "name": "front", "namespace": "shop" });
        let parameters =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {} });
        cluster.plane.apply(&parameters.to_string());
        let parameters = json!({
            "kind": "ConfigMap", "name": "front", "namespace": "shop", "scope": "Namespace",
        });
        let class = "/apis/networking.k8s.io/v1/ingressclasses/portcullis";
        cluster.plane.patch(class, &json!({ "spec": { "parameters": parameters } }));
        cluster
    }

    /// With these objects, which install a gateway into a namespace.
    fn with(objects: Vec<Value>, namespace: &'static str) -> Self {
        let plane = ControlPlane::start();
        plane.kubectl(&["create", "namespace", "shop"]);
        let installed = Case { name: String::from("what is installed"), objects };
        plane.apply(&list(&installed));
        let path = format!("/api/v1/namespaces/{namespace}/services/portcullis/status");
        let address = json!({ "ingress": [{ "ip": ADDRESS }] });
        plane.patch(&path, &json!({ "status": { "loadBalancer": address } }));

        let echo = Echo::start_at(endpoint_address(), "web");
        let leaf = Authority::new().leaf(&["web.test"]);
        let rule = |host: &str, service: &str| {
            let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
            let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
            json!({ "host": host, "http": { "paths": [path] } })
        };
        let named = |name: &str| json!({ "name": name, "namespace": "shop" });
        let all = json!({ "apiVersion": "v1", "kind": "List", "items": [
            { "apiVersion": "v1", "kind": "Service", "metadata": named("web"),
              "spec": { "ports": [{ "name": "http", "port": 80 }] } },
            { "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
              "metadata": { "name": "web-1", "namespace": "shop",
                            "labels": { "kubernetes.io/service-name": "web" } },
              "addressType": "IPv4",
              "ports": [{ "name": "http", "port": echo.address().port() }],
              "endpoints": [{ "addresses": [echo.address().ip()] }] },
            { "apiVersion": "v1", "kind": "Secret", "metadata": named("web-tls"),
              "type": "kubernetes.io/tls",
              "stringData": { "tls.crt": leaf.certificate, "tls.key": leaf.key } },
            { "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
              "metadata": { "name": "web", "namespace": "shop", "annotations": {
                  "nginx.ingress.kubernetes.io/ssl-redirect": "false" } },
              "spec": { "ingressClassName": "portcullis", "rules": [rule("web.test", "web")],
                        "tls": [{ "hosts": ["web.test"], "secretName": "web-tls" }] } },
            { "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": named("broken"),
              "spec": { "ingressClassName": "portcullis", "rules": [rule("b.test", "none")] } },
        ] });
        plane.apply(&all.to_string());
        let account = plane.service_account(namespace, "portcullis");
        let kubeconfig = plane.kubeconfig_with(&account, plane.address());
        let cluster = Self { namespace, plane, installed, kubeconfig, leaf, _echo: echo };
        cluster.wait_for_right("watch", "ingresses.networking.k8s.io", "shop", true);
        cluster.wait_for_right("delete", "leases.coordination.k8s.io", namespace, true);
        cluster
    }

    /// Waits until the API server allows this, or no longer: it learns of RBAC objects a moment
    /// after they are stored, and what it refuses until then would be in the log.
    fn wait_for_right(&self, verb: &str, resource: &str, namespace: &str, is_allowed: bool) {
        let asked = ["auth", "can-i", verb, resource, "--namespace", namespace];
        wait_until("the API server knows the rights", || {
            self.plane.kubectl_with(&self.kubeconfig, &asked, "").is_ok() == is_allowed
        });
    }

    /// The command of the guide, which lets Secrets of the shop be read.
    fn let_secrets_be_read(&self) {
        self.plane.kubectl(&[
            "create",
            "rolebinding",
            "portcullis-secrets",
            "--namespace=shop",
            "--clusterrole=portcullis-secrets",
            "--serviceaccount=portcullis-system:portcullis",
        ]);
        self.wait_for_right("watch", "secrets", "shop", true);
    }

    /// The program as the Deployment starts it, but for its addresses.
    fn gateway(&self) -> Gateway {
        let of_test = ["--http=", "--https=", "--admin=", "--webhook=", "--drain-delay="];
        let arguments = self.installed.arguments();
        let flags: Vec<String> = arguments[1..]
            .iter()
            .filter(|argument| !of_test.iter().any(|flag| argument.starts_with(flag)))
            .map(|argument| argument.replace("$(POD_NAMESPACE)", self.namespace))
            .collect();
        GatewayOptions::new()
            .cluster(&self.kubeconfig)
            .flags(&flags.join(" "))
            .flags(if arguments.iter().any(|a| a.starts_with("--webhook=")) {
                "--webhook 127.0.0.1:0"
            } else {
                ""
            })
            .variable("POD_NAME", "portcullis-0")
            .variable("POD_NAMESPACE", self.namespace)
            .unready()
            .start()
    }

    /// Whether the route of the shop answers from its endpoint.
    fn is_served(gateway: &Gateway) -> bool {
        gateway.get("web.test", "/").status() == 200
    }

    fn has_certificate(&self, gateway: &Gateway) -> bool {
        let config = testkit::tls::trusting_client(&[]);
        let client = RawClient::connect_tls(gateway.https(), "web.test", &config);
        client.is_ok_and(|client| client.certificate() == self.leaf.chain()[0])
    }

    fn has_status(&self) -> bool {
        let ingress = self.plane.look(&format!("{INGRESSES}/web")).unwrap_or_default();
        ingress["status"]["loadBalancer"]["ingress"][0]["ip"] == ADDRESS
    }

    /// Whether there is an Event of this kind about an Ingress.
    fn has_event(&self, kind: &str, name: &str) -> bool {
        let path = "/apis/events.k8s.io/v1/namespaces/shop/events";
        let list = self.plane.look(path).unwrap_or_default();
        let mut all = list["items"].as_array().into_iter().flatten();
        all.any(|event| event["type"] == kind && event["regarding"]["name"] == name)
    }

    /// Takes out what a gateway before wrote.
    fn forget(&self) {
        self.plane.patch(
            &format!("{INGRESSES}/web/status"),
            &json!({ "status": { "loadBalancer": { "ingress": null } } }),
        );
        self.plane.kubectl(&["delete", "leases", "--all", "--namespace=portcullis-system"]);
        self.plane.kubectl(&["delete", "events", "--all", "--namespace=shop"]);
        self.plane.kubectl(&["delete", "secrets", "--all", "--namespace=portcullis-system"]);
    }

    /// Puts a role back without its rules for a resource; the answer is the whole role, and how
    /// many rules these were.
    fn without(&self, path: &str, resource: &str) -> (Value, usize) {
        let whole = self.plane.look(path).expect("the role is there");
        let rules = whole["rules"].as_array().expect("rules");
        let left: Vec<_> = rules.iter().filter(|r| r["resources"] != json!([resource])).collect();
        let taken = rules.len() - left.len();
        assert_ne!(taken, 0, "{path} has a rule for {resource}");
        self.plane.patch(path, &json!({ "rules": left }));
        (whole, taken)
    }
}

#[test]
fn with_the_rights_that_are_installed_everything_works_and_nothing_is_forbidden() {
    let cluster = Cluster::start();
    cluster.let_secrets_be_read();
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    wait_until("its certificate is", || cluster.has_certificate(&gateway));
    wait_until("its status is written", || cluster.has_status());
    wait_until("what is good is told", || cluster.has_event("Normal", "web"));
    wait_until("what is wrong is told", || cluster.has_event("Warning", "broken"));
    let leases = cluster.plane.kubectl(&["get", "leases", "-n=portcullis-system", "-o=name"]);
    assert!(leases.contains("/portcullis-leader\n"), "{leases}");
    assert!(leases.contains("/portcullis-leader.portcullis-0\n"), "{leases}");
    let keys = "/api/v1/namespaces/portcullis-system/secrets/portcullis-ticket-keys";
    wait_until("keys of tickets are shared", || cluster.plane.look(keys).is_some());
    let log = gateway.log();
    assert!(!log.contains("forbidden"), "{log}");
}

#[test]
fn without_the_binding_of_the_guide_no_secret_is_read_and_the_route_is_served() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    gateway.wait_for_log("secrets \"web-tls\" is forbidden");
    assert!(!cluster.has_certificate(&gateway));
    cluster.let_secrets_be_read();
    wait_until("its certificate is", || cluster.has_certificate(&gateway));
}

#[test]
fn a_gateway_of_one_namespace_needs_nothing_outside_of_it() {
    // As the guide has it: a kustomization that names the namespace.
    let home = tempfile::tempdir_in(deploy("../target")).unwrap();
    let text = "namespace: shop\nresources: [../../deploy/namespaced]\n";
    std::fs::write(home.path().join("kustomization.yaml"), text).unwrap();
    let cluster = Cluster::with(objects(&kustomize(home.path())), "shop");
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    wait_until("its certificate is", || cluster.has_certificate(&gateway));
    wait_until("its status is written", || cluster.has_status());
    wait_until("what is wrong is told", || cluster.has_event("Warning", "broken"));
}

/// What must be so when a rule is missing.
enum Lacks {
    /// It does not get ready, for what it cannot read.
    Readiness,
    /// It serves, without what the log says.
    Nothing,
    /// It serves and writes no status.
    Status,
    /// It serves and writes no Event.
    Events,
    /// It serves and writes neither.
    Leadership,
    /// It serves with the default certificate.
    Certificate,
}

#[test]
fn without_each_rule_something_is_missing_and_the_log_says_what() {
    use Lacks::{Certificate, Events, Leadership, Nothing, Readiness, Status};
    let cluster = Cluster::start();
    cluster.let_secrets_be_read();
    let role = format!("{ROLES}/portcullis");
    let secrets = format!("{ROLES}/portcullis-secrets");
    let mut rules = 0;
    for (path, resource, said, lacks) in [
        (role.as_str(), "ingresses", "ingresses.networking.k8s.io is forbidden", Readiness),
        (&role, "services", "services is forbidden", Readiness),
        (&role, "endpointslices", "endpointslices.discovery.k8s.io is forbidden", Readiness),
        (&role, "ingressclasses", "ingressclasses.networking.k8s.io is forbidden", Readiness),
        (
            &role,
            "clusteringressparameters",
            "clusteringressparameters.portcullis.io is forbidden",
            Nothing,
        ),
        (&role, "namespaces", "namespaces is forbidden", Nothing),
        (&role, "ingresses/status", "ingresses/status", Status),
        (&role, "events", "events.events.k8s.io", Events),
        (OWN_ROLE, "leases", "leases.coordination.k8s.io", Leadership),
        (OWN_ROLE, "secrets", r#"portcullis-ticket-keys\" is forbidden"#, Nothing),
        (&secrets, "secrets", "secrets \"web-tls\" is forbidden", Certificate),
        (&secrets, "configmaps", "configmaps \"front\" is forbidden", Nothing),
    ] {
        cluster.forget();
        let (whole, taken) = cluster.without(path, resource);
        rules += taken;
        let rule = whole["rules"]
            .as_array()
            .and_then(|rules| rules.iter().rfind(|rule| rule["resources"] == json!([resource])));
        let rule = rule.expect("it was there");
        let (group, verb) = (&rule["apiGroups"][0], rule["verbs"][0].as_str().expect("a verb"));
        let group = group.as_str().filter(|group| !group.is_empty());
        let name = rule["resourceNames"][0].as_str().map_or(String::new(), |n| format!("/{n}"));
        let (kind, part) = resource.split_once('/').unwrap_or((resource, ""));
        let kind = group.map_or(kind.to_owned(), |group| format!("{kind}.{group}"));
        let namespace = if path == OWN_ROLE { "portcullis-system" } else { "shop" };
        // What is a part of an object is asked for late enough.
        if part.is_empty() {
            cluster.wait_for_right(verb, &format!("{kind}{name}"), namespace, false);
        }
        let gateway = cluster.gateway();
        gateway.wait_for_log(said);
        match lacks {
            Readiness => assert!(!gateway.is_ready(), "without {resource} it is not ready"),
            _ => wait_until("it is ready", || gateway.is_ready()),
        }
        let is_served = Cluster::is_served;
        match lacks {
            Readiness => {}
            _ => wait_until("the route is served", || is_served(&gateway)),
        }
        match lacks {
            Readiness | Nothing => {}
            Status => {
                wait_until("Events are written", || cluster.has_event("Warning", "broken"));
                assert!(!cluster.has_status(), "without {resource}");
            }
            Events => {
                wait_until("its status is written", || cluster.has_status());
                assert!(!cluster.has_event("Warning", "broken"), "without {resource}");
            }
            Leadership => {
                std::thread::sleep(Duration::from_secs(3));
                assert!(!cluster.has_status(), "without {resource}");
                assert!(!cluster.has_event("Warning", "broken"), "without {resource}");
            }
            Certificate => assert!(!cluster.has_certificate(&gateway), "without {resource}"),
        }
        cluster.plane.patch(path, &json!({ "rules": whole["rules"] }));
        // What was missing is used as soon as it is given.
        if let Readiness = lacks {
            wait_until("it is ready with the right", || gateway.is_ready());
            wait_until("the route is served", || Cluster::is_served(&gateway));
        }
    }
    let of_roles = [role.as_str(), OWN_ROLE, &secrets].map(|path| {
        let role = cluster.plane.look(path).expect("the role is there");
        role["rules"].as_array().expect("rules").len()
    });
    assert_eq!(rules, of_roles.iter().sum::<usize>(), "a rule was not tried");
}

#[test]
fn the_webhook_has_the_rights_to_its_certificate_and_to_be_trusted() {
    let cluster = Cluster::with(with_component("webhook").objects, "portcullis-system");
    cluster.let_secrets_be_read();
    let configurations = "validatingwebhookconfigurations.admissionregistration.k8s.io/portcullis";
    cluster.wait_for_right("update", configurations, "", true);
    cluster.wait_for_right("update", "secrets/portcullis-webhook", "portcullis-system", true);
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    let secret = "/api/v1/namespaces/portcullis-system/secrets/portcullis-webhook";
    wait_until("its certificate is kept", || cluster.plane.look(secret).is_some());
    let api = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/portcullis";
    wait_until("its authority is trusted", || {
        let configuration = cluster.plane.look(api).expect("it is there");
        configuration["webhooks"][0]["clientConfig"]["caBundle"].is_string()
    });
    let log = gateway.log();
    assert!(!log.contains("forbidden"), "{log}");
    // What users apply again does not take the authority away.
    cluster.plane.apply(&list(&cluster.installed));
    let configuration = cluster.plane.look(api).expect("it is there");
    assert!(configuration["webhooks"][0]["clientConfig"]["caBundle"].is_string());
}
