//! An authority of our own and the leaves it signs, as files and as Secrets.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority that exists as long as a test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The chain, leaf first.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Panics
    /// When the cryptography library fails.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Portcullis test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names (or addresses), valid now.
    ///
    /// # Panics
    /// When a name is not a DNS name or an address.
    pub fn leaf(&self, names: &[&str]) -> Leaf {
        self.leaf_until(names, None)
    }

    /// A certificate for these names that expired in the year 2020.
    ///
    /// # Panics
    /// When a name is not a DNS name or an address.
    pub fn expired(&self, names: &[&str]) -> Leaf {
        self.leaf_until(names, Some(2020))
    }

    fn leaf_until(&self, names: &[&str], year: Option<i32>) -> Leaf {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).expect("names are DNS names");
        let common = names.first().map_or("none", String::as_str);
        params.distinguished_name.push(DnType::CommonName, common);
        if let Some(year) = year {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A certificate that says who a client is, as Kubernetes reads it: the common name is the
    /// user, the organization is a group.
    ///
    /// # Panics
    /// When the cryptography library fails.
    pub fn user(&self, name: &str, group: &str) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Leaf { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What trusts this authority and nobody else.
    ///
    /// # Panics
    /// Never: the certificate is our own.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("our own PEM");
        roots.add(der).expect("our own certificate");
        roots
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaf {
    /// The chain as rustls takes it.
    ///
    /// # Panics
    /// When the text is not PEM.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<_, _>>()
            .expect("certificates are PEM")
    }

    /// The key as rustls takes it.
    ///
    /// # Panics
    /// When the text is not PEM.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("keys are PEM")
    }

    /// A Secret of type `kubernetes.io/tls`.
    pub fn secret(&self, namespace: &str, name: &str) -> String {
        let indent = |pem: &str| pem.trim().replace('\n', "\n    ");
        format!(
            "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n\
             metadata: {{ name: {name}, namespace: {namespace} }}\n\
             stringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n",
            indent(&self.certificate),
            indent(&self.key)
        )
    }
}
