//! The files and flags that the programs of a control plane are started with.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;

use super::ControlPlaneOptions;
use super::program::Program;
use crate::Authority;

/// Who the API server says it is in the tokens of service accounts.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// The controllers that tests look at; the others have nothing to do without kubelets.
const CONTROLLERS: &str = "endpointslice-controller,endpointslice-mirroring-controller,\
     endpoints-controller,namespace-controller,serviceaccount-controller,\
     root-ca-certificate-publisher-controller,garbage-collector-controller";

/// Where the files are.
pub(super) struct Flags {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    accounts_key: PathBuf,
    accounts_public: PathBuf,
}

impl Flags {
    /// Writes the certificate of the API server and the keys of service accounts.
    pub(super) fn write(directory: &Path, authority: &Authority) -> Self {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).expect("the directory can be written to");
            path
        };
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc", "kubernetes.default"];
        let leaf = authority.leaf(&names);
        let accounts = KeyPair::generate().expect("a key");
        Self {
            authority: write("ca.crt", authority.pem()),
            certificate: write("api-server.crt", &leaf.certificate),
            key: write("api-server.key", &leaf.key),
            accounts_key: write("accounts.key", &accounts.serialize_pem()),
            accounts_public: write("accounts.pub", &accounts.public_key_pem()),
        }
    }

    pub(super) fn etcd(directory: &Path, address: SocketAddr) -> Program {
        let flags = [
            format!("--data-dir={}", directory.join("etcd").display()),
            format!("--listen-client-urls=http://{address}"),
            format!("--advertise-client-urls=http://{address}"),
            // Nobody joins: any port will do.
            String::from("--listen-peer-urls=http://127.0.0.1:0"),
            String::from("--unsafe-no-fsync"),
            String::from("--log-level=warn"),
        ];
        Program::new("etcd", directory, flags.into())
    }

    pub(super) fn api_server(
        &self,
        directory: &Path,
        etcd: SocketAddr,
        address: SocketAddr,
        options: &ControlPlaneOptions,
    ) -> Program {
        let mut flags = vec![
            format!("--etcd-servers=http://{etcd}"),
            format!("--bind-address={}", address.ip()),
            format!("--advertise-address={}", address.ip()),
            format!("--secure-port={}", address.port()),
            format!("--tls-cert-file={}", self.certificate.display()),
            format!("--tls-private-key-file={}", self.key.display()),
            format!("--client-ca-file={}", self.authority.display()),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-signing-key-file={}", self.accounts_key.display()),
            format!("--service-account-key-file={}", self.accounts_public.display()),
            String::from("--service-cluster-ip-range=10.0.0.0/16"),
            String::from("--authorization-mode=RBAC"),
            // It would publish an address of loopback, which the API refuses.
            String::from("--endpoint-reconciler-type=none"),
            String::from("--allow-privileged=true"),
            String::from("--profiling=false"),
        ];
        if !options.has_controllers {
            // It waits for a service account that no controller makes.
            flags.push(String::from("--disable-admission-plugins=ServiceAccount"));
        }
        flags.extend(options.api_server.iter().cloned());
        Program::new("kube-apiserver", directory, flags)
    }

    pub(super) fn controllers(&self, directory: &Path, kubeconfig: &Path) -> Program {
        let flags = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--controllers={CONTROLLERS}"),
            format!("--service-account-private-key-file={}", self.accounts_key.display()),
            format!("--root-ca-file={}", self.authority.display()),
            String::from("--leader-elect=false"),
            // It serves nobody.
            String::from("--secure-port=0"),
        ];
        Program::new("kube-controller-manager", directory, flags.into())
    }
}
