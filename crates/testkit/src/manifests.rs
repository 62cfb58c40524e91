//! Manifests for tests, in a line each.

use std::fmt::Write as _;
use std::net::SocketAddr;

/// A Service `default/NAME` with port 80, and its endpoints.
pub fn service(name: &str, endpoints: &[SocketAddr]) -> String {
    service_with("", name, endpoints)
}

/// A Service whose one port has these further fields, such as `appProtocol: kubernetes.io/h2c`.
pub fn service_with(port_fields: &str, name: &str, endpoints: &[SocketAddr]) -> String {
    let mut out = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: default }}\n\
         spec: {{ ports: [{{ name: http, port: 80, {port_fields} }}] }}\n"
    );
    for (index, endpoint) in endpoints.iter().enumerate() {
        let family = if endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
        let _ = write!(
            out,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  \
             name: {name}-{index}\n  namespace: default\n  \
             labels: {{ kubernetes.io/service-name: {name} }}\n\
             addressType: {family}\nports: [{{ name: http, port: {} }}]\n\
             endpoints: [{{ addresses: [\"{}\"] }}]\n",
            endpoint.port(),
            endpoint.ip()
        );
    }
    out
}

/// An Ingress `default/NAME` that sends all paths of a host to a Service's port 80.
pub fn ingress(name: &str, host: &str, service: &str) -> String {
    ingress_with(name, host, service, &[])
}

/// As [`ingress`], with annotations of `nginx.ingress.kubernetes.io/`.
pub fn ingress_with(name: &str, host: &str, service: &str, annotations: &[(&str, &str)]) -> String {
    let mut lines = String::new();
    for (key, value) in annotations {
        let _ = write!(lines, "\n    nginx.ingress.kubernetes.io/{key}: {value:?}");
    }
    let annotations =
        if lines.is_empty() { String::new() } else { format!("  annotations:{lines}\n") };
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  \
         namespace: default\n{annotations}spec:\n  rules:\n  - host: {host}\n    http:\n      \
         paths:\n      - path: /\n        pathType: Prefix\n        \
         backend: {{ service: {{ name: {service}, port: {{ number: 80 }} }} }}\n"
    )
}

/// `spec.tls` for an Ingress: a host and the Secret of its certificate.
pub fn tls(host: &str, secret: &str) -> String {
    format!("  tls: [{{ hosts: [{host}], secretName: {secret} }}]\n")
}

/// Puts manifests into one file.
pub fn all(documents: &[String]) -> String {
    documents.join("---\n")
}
