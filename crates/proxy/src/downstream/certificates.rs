//! Which certificate a server name gets: exact, one-label wildcard, default.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use model::{CertificateId, Hostname, KeyMaterial, KeyPair, Model, PrivateKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};

use crate::publish::Published;

/// The certificates of one snapshot, ready to sign.
pub(crate) struct CertificateTable {
    names: HashMap<Hostname, Arc<CertifiedKey>>,
    keys: HashMap<CertificateId, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl fmt::Debug for CertificateTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateTable").field("names", &self.names.len()).finish_non_exhaustive()
    }
}

impl CertificateTable {
    /// The table of a Model; keys that did not change since `previous` are not parsed again.
    pub(crate) fn new(model: &Model, material: &KeyMaterial, previous: Option<&Self>) -> Self {
        let mut keys = HashMap::new();
        for id in model.certificates.keys() {
            let known = previous.and_then(|table| table.keys.get(id).cloned());
            let parsed = known.or_else(|| material.get(id).and_then(|pair| certified(pair)));
            if let Some(key) = parsed {
                keys.insert(id.clone(), key);
            } else {
                tracing::error!(certificate = %id, "a checked key pair cannot be used");
            }
        }
        let names = model
            .sni
            .iter()
            .filter_map(|(name, id)| Some((name.clone(), keys.get(id)?.clone())))
            .collect();
        let default = model.default_certificate.as_ref().and_then(|id| keys.get(id).cloned());
        Self { names, keys, default }
    }

    /// Whether there is a key for every certificate of the Model that this is the table of.
    pub(crate) fn has_all(&self, model: &Model) -> bool {
        self.keys.len() == model.certificates.len()
    }

    /// The certificate for a client that names a server, or names none; where one is configured.
    pub(crate) fn served(&self, server_name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        server_name.and_then(|name| self.find(name)).or(self.default.as_ref())
    }

    fn find(&self, server_name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = server_name.strip_suffix('.').unwrap_or(server_name).to_ascii_lowercase();
        if let Some(key) = self.names.get(&Hostname::Exact(name.as_str().into())) {
            return Some(key);
        }
        let (label, suffix) = name.split_once('.')?;
        if label.is_empty() {
            return None;
        }
        self.names.get(&Hostname::Wildcard(suffix.into()))
    }
}

/// A key pair that translate found to match, made ready to sign.
fn certified(pair: &KeyPair) -> Option<Arc<CertifiedKey>> {
    let chain = pair.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    // Borrowed: what rustls is given for good, it does not overwrite.
    let key: PrivateKeyDer<'_> = match &pair.key {
        PrivateKey::Pkcs8(der) => PrivatePkcs8KeyDer::from(&***der).into(),
        PrivateKey::Pkcs1(der) => PrivatePkcs1KeyDer::from(&***der).into(),
        PrivateKey::Sec1(der) => PrivateSec1KeyDer::from(&***der).into(),
    };
    let key = any_supported_type(&key).ok()?;
    Some(Arc::new(CertifiedKey::new(chain, key)))
}

/// The one cryptography provider of the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// Answers rustls' question from the snapshot of the moment.
pub(crate) struct Resolver {
    published: Arc<Published>,
    /// Served where no certificate is configured: made at start, for the life of the process.
    generated: Arc<CertifiedKey>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    pub(crate) fn new(published: Arc<Published>) -> Result<Self, rcgen::Error> {
        Ok(Self { published, generated: generate()? })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let snapshot = self.published.load();
        let table = &snapshot.certificates;
        let configured = table.served(hello.server_name());
        Some(configured.unwrap_or(&self.generated).clone())
    }
}

/// A self-signed certificate for names that have none.
fn generate() -> Result<Arc<CertifiedKey>, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(vec!["portcullis.invalid".to_owned()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Portcullis default certificate");
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let der = PrivatePkcs8KeyDer::from(key.serialize_der());
    CertifiedKey::from_der(vec![certificate.der().clone()], der.into(), &provider())
        .map(Arc::new)
        .map_err(|_| rcgen::Error::CouldNotParseKeyPair)
}
