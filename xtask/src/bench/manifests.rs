//! The objects that ours reads: one Ingress per host, three Services, their endpoints, one Secret.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::Result;
use super::fleet::{Fleet, HOSTS, SERVICES, host};

/// Writes the directory, one Ingress a file.
pub(super) fn write(fleet: &Fleet<'_>, directory: &Path) -> Result<()> {
    write_many(fleet, directory, HOSTS)
}

/// The same for any number of hosts.
pub(super) fn write_many(fleet: &Fleet<'_>, directory: &Path, hosts: usize) -> Result<()> {
    let told = |error| format!("{}: {error}", directory.display());
    fs::create_dir_all(directory).map_err(told)?;
    fs::write(directory.join("services.yaml"), services(fleet)?).map_err(told)?;
    for index in 0..hosts {
        let text = ingress(index, SERVICES[1].0);
        fs::write(directory.join(format!("ingress-{index}.yaml")), text).map_err(told)?;
    }
    Ok(())
}

/// One Ingress, whose path `/api` goes to the service named.
pub(super) fn ingress(index: usize, api: &str) -> String {
    let host = host(index);
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: host-{index}\n  \
         namespace: default\n  annotations:\n    \
         nginx.ingress.kubernetes.io/ssl-redirect: \"false\"\n\
         spec:\n  tls:\n  - hosts: [{host}]\n    secretName: bench\n  rules:\n  \
         - host: {host}\n    \
         http:\n      paths:\n",
    );
    for (name, path) in SERVICES {
        let service = if path == "/api" { api } else { name };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "      - path: {path}\n        pathType: Prefix\n        backend:\n          \
             service:\n            \
             name: {service}\n            port:\n              number: 80\n",
        );
    }
    text
}

fn services(fleet: &Fleet<'_>) -> Result<String> {
    let mut text = String::new();
    for ((name, _), port) in SERVICES.iter().zip(fleet.ports) {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: default\n\
             spec:\n  ports:\n  - port: 80\n    targetPort: {port}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
             namespace: default\n  labels:\n    kubernetes.io/service-name: {name}\n\
             addressType: IPv4\nports:\n- port: {port}\nendpoints:\n- addresses: [127.0.0.1]\n  \
             conditions:\n    ready: true\n---\n",
        );
    }
    text.push_str(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: bench\n  namespace: default\n\
         type: kubernetes.io/tls\nstringData:\n",
    );
    for (name, file) in [("tls.crt", fleet.certificate()), ("tls.key", fleet.key())] {
        let pem =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let _ = writeln!(text, "  {name}: |");
        for line in pem.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    Ok(text)
}
