//! Server certificates: what is known about them, and the key material that travels beside.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Provenance, SharedMap};

/// SHA-256 over chain and key in DER, as hex. Names a key pair without revealing it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateId(pub Arc<str>);

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate that was parsed, and whose key was found to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// DNS names of the subject alternative name extension, lower-case.
    pub names: Vec<Box<str>>,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    /// The Secret.
    pub provenance: Provenance,
}

/// A chain and its private key in DER. Its `Debug` form shows no key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PrivateKey,
}

/// A private key and its encoding. It is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub enum PrivateKey {
    /// PKCS#8.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// PKCS#1 (RSA).
    Pkcs1(Zeroizing<Vec<u8>>),
    /// SEC1 (EC).
    Sec1(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

/// The key pairs of a Model's certificates, by digest.
pub type KeyMaterial = SharedMap<CertificateId, Arc<KeyPair>>;
