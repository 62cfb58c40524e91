//! A cluster into which something was installed, with a shop; and the program as the installation
//! starts it there: with its arguments, and with the token of its service account.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use testkit::certs::Leaf;
use testkit::client::raw::RawClient;
use testkit::cluster::network::endpoint_address;
use testkit::cluster::render::{deploy, objects};
use testkit::{Authority, ControlPlane, Echo, Gateway, GatewayOptions, wait_until};

use crate::cases::Case;

/// Where the load balancer of the test is.
const ADDRESS: &str = "192.0.2.10";

const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/shop/ingresses";

/// A cluster in which the flat manifest was applied, with a shop.
pub(crate) struct Cluster {
    namespace: &'static str,
    pub(crate) plane: ControlPlane,
    pub(crate) installed: Case,
    pub(crate) kubeconfig: PathBuf,
    leaf: Leaf,
    _echo: Echo,
}

/// All that is installed, in one document.
pub(crate) fn list(case: &Case) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": case.objects }).to_string()
}

impl Cluster {
    /// With the flat manifest.
    pub(crate) fn start() -> Self {
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
    pub(crate) fn with(objects: Vec<Value>, namespace: &'static str) -> Self {
        Self::by(objects, namespace, |plane, installed| drop(plane.apply(&list(installed))))
    }

    /// With these objects, brought there like this.
    pub(crate) fn by(
        objects: Vec<Value>,
        namespace: &'static str,
        install: impl FnOnce(&ControlPlane, &Case),
    ) -> Self {
        let plane = ControlPlane::start();
        plane.kubectl(&["create", "namespace", "shop"]);
        let installed = Case { name: String::from("what is installed"), objects };
        install(&plane, &installed);
        let service = installed.find("Service", "portcullis");
        if service.is_some_and(|service| service["spec"]["type"] == "LoadBalancer") {
            let path = format!("/api/v1/namespaces/{namespace}/services/portcullis/status");
            let address = json!({ "ingress": [{ "ip": ADDRESS }] });
            plane.patch(&path, &json!({ "status": { "loadBalancer": address } }));
        }

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
    pub(crate) fn wait_for_right(
        &self,
        verb: &str,
        resource: &str,
        namespace: &str,
        is_allowed: bool,
    ) {
        let asked = ["auth", "can-i", verb, resource, "--namespace", namespace];
        wait_until("the API server knows the rights", || {
            self.plane.kubectl_with(&self.kubeconfig, &asked, "").is_ok() == is_allowed
        });
    }

    /// The command of the guide, which lets Secrets of the shop be read.
    pub(crate) fn let_secrets_be_read(&self) {
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

    /// A pod of the workload that is ready, on a node with the address of the test.
    pub(crate) fn run_pod(&self) {
        let plane = &self.plane;
        plane.put(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node-0" } }));
        let address = json!([{ "type": "ExternalIP", "address": ADDRESS }]);
        let status = json!({ "status": { "addresses": address } });
        plane.patch("/api/v1/nodes/node-0/status", &status);
        let template = &self.installed.workload()["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": template["metadata"], "spec": template["spec"],
        });
        pod["metadata"]["name"] = json!("portcullis-0");
        pod["metadata"]["namespace"] = json!(self.namespace);
        pod["spec"]["nodeName"] = json!("node-0");
        plane.put(&pod);
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let status = json!({ "status": { "phase": "Running", "conditions": ready } });
        let path = format!("/api/v1/namespaces/{}/pods/portcullis-0/status", self.namespace);
        plane.patch(&path, &status);
    }

    /// The flags of the workload, but for addresses.
    fn flags(&self) -> String {
        let of_test = ["--http=", "--https=", "--admin=", "--webhook=", "--drain-delay="];
        let arguments = self.installed.arguments();
        let flags: Vec<String> = arguments[1..]
            .iter()
            .filter(|argument| !of_test.iter().any(|flag| argument.starts_with(flag)))
            .map(|argument| argument.replace("$(POD_NAMESPACE)", self.namespace))
            .collect();
        flags.join(" ")
    }

    /// The program as the Deployment starts it, but for its addresses.
    pub(crate) fn gateway(&self) -> Gateway {
        let arguments = self.installed.arguments();
        let has_webhook = arguments.iter().any(|flag| flag.starts_with("--webhook="));
        GatewayOptions::new()
            .cluster(&self.kubeconfig)
            .flags(&self.flags())
            .flags(if has_webhook { "--webhook 127.0.0.1:0" } else { "" })
            .variable("POD_NAME", "portcullis-0")
            .variable("POD_NAMESPACE", self.namespace)
            .unready()
            .start()
    }

    /// What `portcullis check` says, in a pod of the workload, of rights that it lacks.
    pub(crate) fn lacking_rights(&self) -> Vec<Value> {
        let output = Command::new(testkit::gateway::program())
            .args(["check", "--format=json", "--pod-namespace", self.namespace, "--kubeconfig"])
            .arg(&self.kubeconfig)
            // Nothing is drained where nothing is served.
            .args(self.flags().split_whitespace().filter(|flag| !flag.starts_with("--drain-")))
            .output()
            .expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said}"));
        let checks = document["checks"].as_array().expect("checks").iter();
        let rights: Vec<_> = checks.filter(|check| check["id"] == "right").cloned().collect();
        assert!(!rights.is_empty(), "{document}");
        rights.into_iter().filter(|check| check["outcome"] != "ok").collect()
    }

    /// Whether the route of the shop answers from its endpoint.
    pub(crate) fn is_served(gateway: &Gateway) -> bool {
        gateway.get("web.test", "/").status() == 200
    }

    pub(crate) fn has_certificate(&self, gateway: &Gateway) -> bool {
        let config = testkit::tls::trusting_client(&[]);
        let client = RawClient::connect_tls(gateway.https(), "web.test", &config);
        client.is_ok_and(|client| client.certificate() == self.leaf.chain()[0])
    }

    pub(crate) fn has_status(&self) -> bool {
        let ingress = self.plane.look(&format!("{INGRESSES}/web")).unwrap_or_default();
        ingress["status"]["loadBalancer"]["ingress"][0]["ip"] == ADDRESS
    }

    /// Whether there is an Event of this kind about an Ingress.
    pub(crate) fn has_event(&self, kind: &str, name: &str) -> bool {
        let path = "/apis/events.k8s.io/v1/namespaces/shop/events";
        let list = self.plane.look(path).unwrap_or_default();
        let mut all = list["items"].as_array().into_iter().flatten();
        all.any(|event| event["type"] == kind && event["regarding"]["name"] == name)
    }

    /// Takes out what a gateway before wrote.
    pub(crate) fn forget(&self) {
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
    pub(crate) fn without(&self, path: &str, resource: &str) -> (Value, usize) {
        let whole = self.plane.look(path).expect("the role is there");
        let rules = whole["rules"].as_array().expect("rules");
        let left: Vec<_> = rules.iter().filter(|r| r["resources"] != json!([resource])).collect();
        let taken = rules.len() - left.len();
        assert_ne!(taken, 0, "{path} has a rule for {resource}");
        self.plane.patch(path, &json!({ "rules": left }));
        (whole, taken)
    }
}
