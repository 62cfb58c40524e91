//! A Secret to a certificate: PEM to DER, the key held against the chain, names and validity read.
//!
//! Any type of Secret will do that has both keys (Kubernetes documentation, TLS secrets). Expiry is
//! no reason to refuse: clients decide. Pure, and dear enough to be remembered by content.

mod private_key;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use model::{CertificateId, Hostname, KeyPair};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use crate::objects::ContentHash;

/// Chains longer than this are refused: no client follows them.
const CHAIN_LENGTH_MAX: usize = 16;

/// Names of a certificate that a message tells.
const NAMES_TOLD_MAX: usize = 5;

/// Bits of an RSA key at least, as the cryptography library has it.
const RSA_BITS_MIN: usize = 2048;

/// P-256, P-384 and P-521 (RFC 5480).
const CURVES: &[&str] = &["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

/// Signatures by digests for which others can be made: RSA and ECDSA (RFC 3279).
const WEAK: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.3.14.3.2.29", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
];

/// A usable key pair and what is known about its leaf.
#[derive(Clone, Debug)]
pub(crate) struct ReadCertificate {
    pub(crate) id: CertificateId,
    pub(crate) names: Vec<Box<str>>,
    covered: Covered,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// The digest of a signature in the chain that clients no longer believe.
    pub(crate) weak_signature: Option<&'static str>,
    pub(crate) key_pair: Arc<KeyPair>,
}

/// Two are the same whose digests are.
impl PartialEq for ReadCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// The names of a certificate, to be looked up: it may have thousands, and an Ingress as many
/// hosts.
#[derive(Clone, Debug)]
struct Covered(Arc<HashSet<Hostname>>);

impl Covered {
    fn by(names: &[Box<str>]) -> Self {
        Self(Arc::new(names.iter().filter_map(|name| Hostname::parse(name).ok()).collect()))
    }
}

impl ReadCertificate {
    /// Whether a subject alternative name covers this host (RFC 6125: one label per star).
    pub(crate) fn covers(&self, host: &Hostname) -> bool {
        let Covered(names) = &self.covered;
        match host {
            Hostname::Exact(name) => {
                let above = || name.split_once('.').map(|(_, above)| above.into());
                names.contains(host)
                    || above().is_some_and(|above| names.contains(&Hostname::Wildcard(above)))
            }
            Hostname::Wildcard(_) => names.contains(host),
            Hostname::Any => false,
        }
    }

    /// Some of its names, in words.
    pub(crate) fn some_names(&self) -> String {
        if self.names.is_empty() {
            return "no name; a common name alone does not count".to_owned();
        }
        let told: Vec<&str> = self.names.iter().take(NAMES_TOLD_MAX).map(|name| &**name).collect();
        let mut text = told.join(", ");
        if let Some(more) = self.names.len().checked_sub(NAMES_TOLD_MAX).filter(|more| *more > 0) {
            // A String takes every write.
            let _ = write!(text, " and {more} more");
        }
        text
    }
}

/// The certificate in a Secret, or what is wrong with it in a sentence.
pub(crate) fn read(secret: &Secret) -> Result<ReadCertificate, String> {
    let chain = chain(entry(secret, "tls.crt")?)?;
    let key = private_key::read(entry(secret, "tls.key")?)
        .ok_or("`tls.key` holds no private key in PEM (PKCS#8, PKCS#1 or SEC1)")?;
    let leaf = chain.first().ok_or("`tls.crt` holds no certificate in PEM")?;
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|error| format!("the first certificate of `tls.crt` cannot be read: {error}"))?;
    let names = names(&leaf);
    let validity = leaf.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    usable(&leaf)?;
    pair(chain.clone(), &private_key::der(&key)).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            "`tls.key` is not the key of the first certificate in `tls.crt`".to_owned()
        }
        error => format!("the key pair cannot be used: {error}"),
    })?;
    Ok(ReadCertificate {
        id: id(&chain, &private_key::der(&key)),
        covered: Covered::by(&names),
        names,
        not_before,
        not_after,
        weak_signature: chain.iter().find_map(weak_signature),
        key_pair: Arc::new(KeyPair {
            chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            key,
        }),
    })
}

/// Says of what rustls refuses why, in words for who has to issue it anew.
fn usable(leaf: &X509Certificate<'_>) -> Result<(), String> {
    if leaf.version() != X509Version::V3 {
        return Err("the certificate is not X.509 version 3, and so is for no name".to_owned());
    }
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => {
            let bits = key.key_size();
            Err(format!("its RSA key has {bits} bits; the least that is used is {RSA_BITS_MIN}"))
        }
        Ok(PublicKey::EC(_)) => {
            let curve = leaf.public_key().algorithm.parameters.as_ref();
            let curve = curve.and_then(|curve| curve.as_oid().ok()).map(|oid| oid.to_id_string());
            match curve {
                Some(curve) if !CURVES.contains(&curve.as_str()) => {
                    Err(format!("its key is on the curve {curve}; P-256, P-384 and P-521 are used"))
                }
                _ => Ok(()),
            }
        }
        // Whatever else is wrong is said where the pair is put together.
        _ => Ok(()),
    }
}

/// The digest of a signature that clients do not believe. A root's signature of itself is not
/// looked at by anybody.
fn weak_signature(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let is_root = certificate.is_ca() && certificate.subject() == certificate.issuer();
    let id = certificate.signature_algorithm.algorithm.to_id_string();
    let (_, digest) = WEAK.iter().find(|(weak, _)| *weak == id)?;
    (!is_root).then_some(*digest)
}

fn entry<'s>(secret: &'s Secret, key: &str) -> Result<&'s [u8], String> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key));
    match bytes {
        None => Err(format!("the Secret has no `{key}`")),
        Some(bytes) if bytes.0.is_empty() => Err(format!("`{key}` is empty")),
        Some(bytes) => Ok(&bytes.0),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .take(CHAIN_LENGTH_MAX + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`tls.crt` is no PEM: {error}"))?;
    if chain.len() > CHAIN_LENGTH_MAX {
        return Err(format!("`tls.crt` holds more than {CHAIN_LENGTH_MAX} certificates"));
    }
    Ok(chain)
}

fn names(leaf: &X509Certificate<'_>) -> Vec<Box<str>> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return Vec::new() };
    let mut names: Vec<Box<str>> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// As `CertifiedKey::from_der` does, but that the key stays ours, which rustls would not overwrite.
fn pair(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<(), Error> {
    let key = any_supported_type(key)?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The hash of what is read of a Secret; by no way that makes copies of it.
pub(crate) fn content(secret: &Secret) -> ContentHash {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    add(secret.type_.as_deref().unwrap_or_default().as_bytes());
    for (key, value) in secret.data.iter().flatten() {
        add(key.as_bytes());
        add(&value.0);
    }
    ContentHash::of(digest)
}

fn id(chain: &[CertificateDer<'_>], key: &PrivateKeyDer<'_>) -> CertificateId {
    let mut digest = Sha256::new();
    for certificate in chain {
        digest.update((certificate.len() as u64).to_be_bytes());
        digest.update(certificate);
    }
    digest.update(key.secret_der());
    let mut hex = String::with_capacity(64);
    for byte in digest.finalize() {
        write!(hex, "{byte:02x}").expect("a String takes every write");
    }
    CertificateId(hex.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use model::Hostname;

    use super::*;

    fn secret(crt: &str, key: &str) -> Secret {
        let data = [("tls.crt", crt), ("tls.key", key)]
            .map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())));
        Secret { data: Some(BTreeMap::from(data)), ..Secret::default() }
    }

    fn key_pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    #[test]
    fn a_key_pair_is_read_with_its_names() {
        let (crt, key) = key_pair(&["shop.example.com", "*.example.org"]);
        let read = read(&secret(&crt, &key)).unwrap();
        assert_eq!(read.names, ["*.example.org".into(), "shop.example.com".into()]);
        assert!(read.covers(&Hostname::parse("a.example.org").unwrap()));
        assert!(read.covers(&Hostname::parse("*.example.org").unwrap()));
        assert!(!read.covers(&Hostname::parse("a.b.example.org").unwrap()));
        assert_eq!(read.id.0.len(), 64);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((crt, _), (_, key)) = (key_pair(&["a"]), key_pair(&["a"]));
        assert_eq!(
            read(&secret(&crt, &key)).unwrap_err(),
            "`tls.key` is not the key of the first certificate in `tls.crt`"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let (crt, key) = key_pair(&["a"]);
        assert_eq!(read(&Secret::default()).unwrap_err(), "the Secret has no `tls.crt`");
        assert_eq!(read(&secret("", &key)).unwrap_err(), "`tls.crt` is empty");
        assert_eq!(
            read(&secret("nothing", &key)).unwrap_err(),
            "`tls.crt` holds no certificate in PEM"
        );
        assert!(read(&secret(&crt, "nothing")).unwrap_err().starts_with("`tls.key` holds no"));
    }
}
