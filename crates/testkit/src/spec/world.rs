//! What a scene needs besides its text: Services with endpoints, and Secrets with certificates.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::Value;

use super::page::Scene;
use crate::Authority;
use crate::certs::Leaf;

/// A scene with everything in place.
pub struct World {
    /// All manifests as one YAML text.
    pub manifests: String,
    /// Flags of `portcullis run`: those of the scene, and endpoints for Services without.
    pub flags: Vec<String>,
    /// Which endpoint is whose, by the name that expectations use.
    pub names: BTreeMap<SocketAddr, String>,
    /// The certificates that were made, by the first of their names.
    pub certificates: BTreeMap<String, Leaf>,
}

impl World {
    /// Puts everything in place. `start` answers where the endpoint with this name listens.
    ///
    /// # Errors
    /// What the page says that cannot be understood.
    pub fn prepare(
        scene: &Scene,
        mut start: impl FnMut(&str) -> SocketAddr,
    ) -> Result<Self, String> {
        let mut endpoints = Endpoints { start: &mut start, known: BTreeMap::new() };
        let mut documents = Vec::new();
        for text in &scene.manifests {
            documents.push(endpoints.fill(text)?);
        }
        for service in &scene.services {
            documents.push(endpoints.service(service)?);
        }
        let mut certificates = BTreeMap::new();
        let authority = Authority::new();
        for line in &scene.certificates {
            let (secret, names) = line
                .split_once(": ")
                .ok_or_else(|| format!("`{line}` is no `NAMESPACE/NAME: HOST, HOST`"))?;
            let (namespace, name) = secret.split_once('/').unwrap_or(("default", secret));
            let names: Vec<&str> = names.split(',').map(str::trim).collect();
            let leaf = authority.leaf(&names);
            documents.push(leaf.secret(namespace, name));
            certificates.insert(names[0].to_owned(), leaf);
        }
        let manifests = documents.join("\n---\n");
        let mut flags = scene.settings.clone();
        for name in without_endpoints(&manifests) {
            let address = endpoints.address(name.strip_prefix("default/").unwrap_or(&name));
            flags.extend(["--endpoint".to_owned(), format!("{name}={address}")]);
        }
        let names = endpoints.known.into_iter().map(|(name, address)| (address, name)).collect();
        Ok(Self { manifests, flags, names, certificates })
    }
}

/// The endpoints of a scene, made when they are first named.
struct Endpoints<'s> {
    start: &'s mut dyn FnMut(&str) -> SocketAddr,
    known: BTreeMap<String, SocketAddr>,
}

impl Endpoints<'_> {
    fn address(&mut self, name: &str) -> SocketAddr {
        *self.known.entry(name.to_owned()).or_insert_with(|| (self.start)(name))
    }

    /// Replaces `{{ name.address }}` and `{{ name.port }}`.
    fn fill(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{ ") {
            let (inside, behind) = after.split_once(" }}").ok_or("`{{ ` is not closed by ` }}`")?;
            out.push_str(before);
            let (name, part) = inside.rsplit_once('.').unwrap_or((inside, ""));
            let address = self.address(name);
            match part {
                "address" => _ = write!(out, "{}", address.ip()),
                "port" => _ = write!(out, "{}", address.port()),
                _ => return Err(format!("`{inside}` is neither NAME.address nor NAME.port")),
            }
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// A Service with one port, and one endpoint of its name.
    fn service(&mut self, text: &str) -> Result<String, String> {
        let (identity, protocol) = text.split_once(' ').unwrap_or((text, ""));
        let (full, port) = identity.split_once(':').unwrap_or((identity, "80"));
        let (namespace, name) = full.split_once('/').unwrap_or(("default", full));
        let address = self.address(full);
        let (port_name, number) = match port.parse::<u16>() {
            Ok(number) => ("http", number),
            Err(_) => (port, 80),
        };
        if name.is_empty() || port_name.is_empty() {
            return Err(format!("`{text}` is no `[NAMESPACE/]NAME[:PORT] [APP-PROTOCOL]`"));
        }
        let protocol = match protocol.trim() {
            "" => String::new(),
            protocol => format!(", appProtocol: {protocol}"),
        };
        Ok(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: {namespace} }}\n\
             spec: {{ ports: [{{ name: {port_name}, port: {number}{protocol} }}] }}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
             namespace: {namespace}\n  labels: {{ kubernetes.io/service-name: {name} }}\n\
             addressType: IPv4\nports: [{{ name: {port_name}, port: {} }}]\n\
             endpoints: [{{ addresses: [\"{}\"] }}]\n",
            address.port(),
            address.ip()
        ))
    }
}

/// `NAMESPACE/NAME` of the Services for which there is neither a slice nor an Endpoints object.
fn without_endpoints(manifests: &str) -> Vec<String> {
    let mut services = Vec::new();
    let mut served = Vec::new();
    // What cannot be read is the business of the page: it is what a diagnostic is about.
    for text in manifests.split("\n---\n") {
        let Ok(documents) = serde_saphyr::from_multiple::<Value>(text) else { continue };
        for object in documents {
            let text =
                |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let namespace = match text("/metadata/namespace") {
                "" => "default",
                namespace => namespace,
            };
            let name = format!("{namespace}/{}", text("/metadata/name"));
            match text("/kind") {
                "Service" if text("/spec/type") != "ExternalName" => services.push(name),
                "Endpoints" => served.push(name),
                "EndpointSlice" => {
                    let service = text("/metadata/labels/kubernetes.io~1service-name");
                    served.push(format!("{namespace}/{service}"));
                }
                _ => {}
            }
        }
    }
    services.retain(|name| !served.contains(name));
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_without_endpoints_are_given_one() {
        let scene = Scene {
            manifests: vec![
                "kind: Service\nmetadata: { name: a }\n---\nkind: Service\n\
                 metadata: { name: b }\n---\nkind: EndpointSlice\nmetadata:\n  labels: \
                 { kubernetes.io/service-name: b }\nports: [{ port: {{ b.port }} }]\n"
                    .to_owned(),
            ],
            services: vec!["shop/c:web kubernetes.io/h2c".to_owned()],
            ..Scene::default()
        };
        let mut next = 1;
        let world = World::prepare(&scene, |_| {
            next += 1;
            SocketAddr::from(([127, 0, 0, 1], next))
        })
        .unwrap();
        assert_eq!(world.flags, ["--endpoint", "default/a=127.0.0.1:4"]);
        assert!(world.manifests.contains("ports: [{ port: 2 }]"), "{}", world.manifests);
        assert!(world.manifests.contains("name: web, port: 80, appProtocol: kubernetes.io/h2c"));
        let names: Vec<&str> = world.names.values().map(String::as_str).collect();
        assert_eq!(names, ["b", "shop/c", "a"]);
    }
}
