//! A namespace of a control plane, what is in it, and gateways that serve it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::cluster::network::endpoint_address;
use testkit::cluster::path_of;
use testkit::{ControlPlane, Echo, Gateway, GatewayOptions};

/// The class of Ingresses that are ours, and who serves it.
pub(crate) const CLASS: &str = "portcullis";
pub(crate) const CONTROLLER: &str = "portcullis.io/ingress-controller";

/// How long something may take that several processes on two busy cores have to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace that a test has for itself.
pub(crate) struct World<'p> {
    pub(crate) plane: &'p ControlPlane,
    pub(crate) namespace: String,
}

impl World<'static> {
    /// A namespace of the control plane that tests share.
    pub(crate) fn new(name: &str) -> Self {
        Self::of(ControlPlane::shared(), name)
    }
}

impl<'p> World<'p> {
    /// A namespace of this control plane, which has our class.
    pub(crate) fn of(plane: &'p ControlPlane, name: &str) -> Self {
        put_class(plane, CLASS, CONTROLLER);
        Self { plane, namespace: plane.namespace(name) }
    }

    /// A gateway to be started that reads this namespace.
    pub(crate) fn options(&self) -> GatewayOptions {
        // Gateways of other tests have elections of their own.
        let scope = "--watch-namespace NAMESPACE --pod-namespace NAMESPACE";
        everywhere(self.plane).flags(&scope.replace("NAMESPACE", &self.namespace))
    }

    /// A gateway that serves this namespace.
    pub(crate) fn gateway(&self) -> Gateway {
        self.options().start()
    }

    /// A Service with the port 80 `http`, and its endpoints.
    pub(crate) fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        self.put(
            "Service",
            name,
            &json!({ "spec": { "ports": [{ "name": "http", "port": 80 }] } }),
        );
        for (index, endpoint) in endpoints.iter().enumerate() {
            self.slice(name, &format!("{name}-{index}"), *endpoint);
        }
    }

    /// A slice of a Service with one endpoint.
    pub(crate) fn slice(&self, service: &str, name: &str, endpoint: SocketAddr) {
        self.slice_with(service, name, endpoint, &json!({}));
    }

    /// As [`Self::slice`], with more to say of the endpoint.
    pub(crate) fn slice_with(&self, service: &str, name: &str, endpoint: SocketAddr, more: &Value) {
        let mut one = json!({ "addresses": [endpoint.ip()] });
        merge(&mut one, more);
        let family = if endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
        let rest = json!({
            "addressType": family,
            "ports": [{ "name": "http", "port": endpoint.port() }],
            "endpoints": [one],
        });
        let labels = json!({ "labels": { "kubernetes.io/service-name": service } });
        self.put_with("EndpointSlice", name, &labels, &rest);
    }

    /// A Service with one endpoint of the same name, which says its name.
    pub(crate) fn backend(&self, name: &str) -> Echo {
        let echo = endpoint(name);
        self.service(name, &[echo.address()]);
        echo
    }

    /// An Ingress of ours that sends all paths of a host to a Service.
    pub(crate) fn ingress(&self, name: &str, host: &str, service: &str) {
        self.ingress_of(CLASS, name, host, service);
    }

    /// As [`Self::ingress`], of another class.
    pub(crate) fn ingress_of(&self, class: &str, name: &str, host: &str, service: &str) {
        let rules = [rule(host, &[("Prefix", "/", service)])];
        self.put_ingress(name, &json!({ "ingressClassName": class, "rules": rules }));
    }

    /// As [`Self::ingress`], with a certificate: in cleartext the host is redirected.
    pub(crate) fn tls_ingress(&self, name: &str, host: &str, service: &str, secret: &str) {
        let spec = json!({
            "ingressClassName": CLASS,
            "tls": [{ "hosts": [host], "secretName": secret }],
            "rules": [rule(host, &[("Prefix", "/", service)])],
        });
        self.put_ingress(name, &spec);
    }

    /// An Ingress with this `spec`.
    pub(crate) fn put_ingress(&self, name: &str, spec: &Value) {
        self.put("Ingress", name, &json!({ "spec": spec }));
    }

    /// A TLS Secret.
    pub(crate) fn secret(&self, name: &str, leaf: &testkit::certs::Leaf) {
        let data = json!({ "tls.crt": leaf.certificate, "tls.key": leaf.key });
        let rest = json!({ "type": "kubernetes.io/tls", "stringData": data });
        self.put("Secret", name, &rest);
    }

    /// An object of this namespace, or one in none, with what it has beside its metadata.
    pub(crate) fn put(&self, kind: &str, name: &str, rest: &Value) -> Value {
        self.put_with(kind, name, &json!({}), rest)
    }

    /// As [`Self::put`], with more metadata.
    pub(crate) fn put_with(&self, kind: &str, name: &str, meta: &Value, rest: &Value) -> Value {
        let group = match kind {
            "Ingress" | "IngressClass" => "networking.k8s.io/v1",
            "EndpointSlice" => "discovery.k8s.io/v1",
            "Lease" => "coordination.k8s.io/v1",
            "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => {
                "rbac.authorization.k8s.io/v1"
            }
            _ => "v1",
        };
        let mut metadata = json!({ "name": name });
        if kind != "Node" {
            metadata["namespace"] = json!(self.namespace);
        }
        merge(&mut metadata, meta);
        let mut object = json!({ "apiVersion": group, "kind": kind, "metadata": metadata });
        merge(&mut object, rest);
        self.plane.put(&object)
    }

    /// The object as it is now.
    pub(crate) fn look(&self, kind: &str, name: &str) -> Option<Value> {
        self.plane.look(&self.path(kind, name))
    }

    /// Deletes an object.
    pub(crate) fn remove(&self, kind: &str, name: &str) {
        self.plane.remove(&self.path(kind, name));
    }

    /// Where the API has an object.
    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        path_of(kind, &self.namespace, name)
    }

    /// kubectl in this namespace.
    pub(crate) fn kubectl(&self, arguments: &str) -> String {
        let mut all = vec!["--namespace", &self.namespace];
        all.extend(arguments.split_whitespace());
        self.plane.kubectl(&all)
    }

    /// `kubectl edit`, with sed for an editor.
    pub(crate) fn edit(&self, object: &str, script: &str) {
        let editor = format!("sed -i -e {script}");
        let arguments = ["edit", object, "--namespace", &self.namespace];
        self.plane.kubectl_edit(&editor, &arguments);
    }

    /// The Events about an Ingress, as `TYPE REASON note`: an API server tells some of its own
    /// about a Service, which may have the same name.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.namespace);
        let listed = self.plane.look(&path).unwrap();
        let about = |event: &&Value| {
            let regarding = &event["regarding"];
            regarding["kind"] == "Ingress" && regarding["name"] == name
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = |event: &Value| {
            format!("{} {} {}", text(&event["type"]), text(&event["reason"]), text(&event["note"]))
        };
        listed["items"].as_array().unwrap().iter().filter(about).map(line).collect()
    }

    /// The addresses that the status of an Ingress has, as text.
    pub(crate) fn addresses(&self, ingress: &str) -> Vec<String> {
        let Some(object) = self.look("Ingress", ingress) else { return Vec::new() };
        let list = object["status"]["loadBalancer"]["ingress"].as_array().cloned();
        let one = |entry: &Value| {
            let text = entry["ip"].as_str().or(entry["hostname"].as_str());
            text.unwrap_or_default().to_owned()
        };
        list.unwrap_or_default().iter().map(one).collect()
    }
}

/// A backend with an address of its own, which says its name.
pub(crate) fn endpoint(name: &str) -> Echo {
    Echo::start_at(endpoint_address(), name)
}

/// A gateway to be started that reads all namespaces.
pub(crate) fn everywhere(plane: &ControlPlane) -> GatewayOptions {
    GatewayOptions::new().cluster(plane.kubeconfig())
}

/// A class and who serves it.
pub(crate) fn put_class(plane: &ControlPlane, name: &str, controller: &str) {
    plane.put(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": { "name": name }, "spec": { "controller": controller },
    }));
}

/// A rule of an Ingress: a host with paths, their types and the Services they lead to.
pub(crate) fn rule(host: &str, paths: &[(&str, &str, &str)]) -> Value {
    let paths: Vec<_> = paths
        .iter()
        .map(|(kind, path, service)| json!({ "path": path, "pathType": kind, "backend": to(service) }))
        .collect();
    json!({ "host": host, "http": { "paths": paths } })
}

/// A backend: port 80 of a Service.
pub(crate) fn to(service: &str) -> Value {
    json!({ "service": { "name": service, "port": { "number": 80 } } })
}

/// Adds the fields of one object to another.
fn merge(into: &mut Value, more: &Value) {
    for (key, value) in more.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// Waits until `condition` holds, as long as busy cores may need.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Who answers `/` of a host: the name of a backend, or a status.
pub(crate) fn who(gateway: &Gateway, host: &str) -> String {
    who_at(gateway, host, "/")
}

/// As [`who`], at another path.
pub(crate) fn who_at(gateway: &Gateway, host: &str, path: &str) -> String {
    let answer = gateway.get(host, path);
    match answer.status() {
        200 => answer.json()["name"].as_str().unwrap_or("no backend of ours").to_owned(),
        status => status.to_string(),
    }
}

/// Waits until this is who answers `/` of a host.
pub(crate) fn wait_for(gateway: &Gateway, host: &str, wanted: &str) {
    let started = Instant::now();
    loop {
        let seen = who(gateway, host);
        if seen == wanted {
            return;
        }
        let waited = started.elapsed();
        assert!(waited < PATIENCE, "{host} is answered by {seen} and not by {wanted}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
