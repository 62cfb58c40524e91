//! The name of one configuration: a hash over the encodings of the Model's parts.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ENCODING_VERSION, Model};

/// The first eight bytes of a SHA-256 over the Model; shown as 16 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(u64);

impl Generation {
    /// The generation of a Model: a hash over the digests of its hosts and upstreams, which were
    /// taken when these were made, and the JSON of all else. Each part is preceded by its length.
    ///
    /// # Panics
    /// Never: every type of the Model has a JSON form.
    #[must_use]
    pub(crate) fn of(model: &Model) -> Self {
        let Model {
            listeners,
            hosts,
            answer_body,
            upstreams,
            certificates,
            sni,
            default_certificate,
        } = model;
        let rest = (listeners, answer_body, certificates, sni, default_certificate);
        let rest = serde_json::to_vec(&rest).expect("the Model has no value without a JSON form");
        let mut hash = Sha256::new_with_prefix(ENCODING_VERSION.to_be_bytes());
        let add_length = |hash: &mut Sha256, n: usize| hash.update((n as u64).to_be_bytes());
        add_length(&mut hash, rest.len());
        hash.update(rest);
        add_length(&mut hash, hosts.len());
        for host in hosts.values() {
            hash.update(host.digest());
        }
        add_length(&mut hash, upstreams.len());
        for upstream in upstreams.values() {
            hash.update(upstream.digest());
        }
        let digest = hash.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }
}

impl Generation {
    /// The 16 hex digits, for those who show it once per request.
    #[must_use]
    pub fn hex(self) -> [u8; 16] {
        let mut text = [0; 16];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 0xf)];
        }
        text
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Generation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Generation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_are_those_that_are_shown() {
        let generation = Generation(0x0123_4567_89ab_cdef);
        assert_eq!(generation.hex(), generation.to_string().as_bytes());
    }
}
