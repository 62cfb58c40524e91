//! A private key out of PEM (RFC 7468), with no copy of it left behind: the readers of others drop
//! their buffers as they are.

use model::PrivateKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

type Form = fn(Zeroizing<Vec<u8>>) -> PrivateKey;

const FORMS: &[(&str, Form)] = &[
    ("PRIVATE KEY", PrivateKey::Pkcs8),
    ("RSA PRIVATE KEY", PrivateKey::Pkcs1),
    ("EC PRIVATE KEY", PrivateKey::Sec1),
];

/// The first private key in a text that may have other things, too.
pub(super) fn read(pem: &[u8]) -> Option<PrivateKey> {
    let mut lines = pem.split(|byte| b"\r\n".contains(byte)).map(<[u8]>::trim_ascii);
    let (label, form) = lines.by_ref().find_map(|line| {
        let label = boundary(line, b"-----BEGIN ")?;
        FORMS.iter().find(|(known, _)| known.as_bytes() == label)
    })?;
    // As long as it can get: one that grew would leave copies behind.
    let mut der = Zeroizing::new(Vec::with_capacity(pem.len()));
    let (mut bits, mut held) = (0_u32, 0_u32);
    let mut is_padded = false;
    for line in lines {
        if let Some(ended) = boundary(line, b"-----END ") {
            return (ended == label.as_bytes()).then(|| form(der));
        }
        for &byte in line {
            if byte == b'=' {
                is_padded = true;
                continue;
            }
            let sextet = u32::from(sextet(byte).filter(|_| !is_padded)?);
            bits = (bits << 6) | sextet;
            held += 6;
            if held >= 8 {
                held -= 8;
                der.push(u8::try_from((bits >> held) & 0xff).ok()?);
                bits &= (1 << held) - 1;
            }
        }
    }
    None
}

/// The label between dashes, after a beginning.
fn boundary<'l>(line: &'l [u8], begins: &[u8]) -> Option<&'l [u8]> {
    line.strip_prefix(begins)?.strip_suffix(b"-----")
}

/// The six bits of a character (RFC 4648 section 4).
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// The key as rustls takes it, borrowed.
pub(super) fn der(key: &PrivateKey) -> PrivateKeyDer<'_> {
    match key {
        PrivateKey::Pkcs8(der) => PrivatePkcs8KeyDer::from(&***der).into(),
        PrivateKey::Pkcs1(der) => PrivatePkcs1KeyDer::from(&***der).into(),
        PrivateKey::Sec1(der) => PrivateSec1KeyDer::from(&***der).into(),
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject as _;

    use super::*;

    fn section(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn bytes(pem: &str) -> Option<Vec<u8>> {
        read(pem.as_bytes()).map(|key| der(&key).secret_der().to_vec())
    }

    #[test]
    fn every_length_of_padding_and_every_kind_of_line_end_is_read() {
        for (body, wanted) in [("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmE=", "fooba")] {
            assert_eq!(bytes(&section("PRIVATE KEY", body)).unwrap(), wanted.as_bytes());
        }
        let broken = section("PRIVATE KEY", "Zm\n9v").replace('\n', "\r\n");
        assert_eq!(bytes(&broken).unwrap(), b"foo");
    }

    #[test]
    fn the_first_key_is_found_among_other_things_in_each_form() {
        let before = section("EC PARAMETERS", "BggqhkjOPQMBBw==");
        let key = |label: &str| read((before.clone() + &section(label, "Zm9v")).as_bytes());
        assert!(matches!(key("PRIVATE KEY"), Some(PrivateKey::Pkcs8(_))));
        assert!(matches!(key("RSA PRIVATE KEY"), Some(PrivateKey::Pkcs1(_))));
        assert!(matches!(key("EC PRIVATE KEY"), Some(PrivateKey::Sec1(_))));
        assert!(key("ENCRYPTED PRIVATE KEY").is_none());
    }

    #[test]
    fn what_is_no_pem_is_no_key() {
        for pem in ["", "-----BEGIN PRIVATE KEY-----\nZm9v", &section("PRIVATE KEY", "Z*9v")] {
            assert!(bytes(pem).is_none(), "{pem}");
        }
        let mixed = section("PRIVATE KEY", "Zm9v").replace("END P", "END RSA P");
        assert!(bytes(&mixed).is_none());
    }

    #[test]
    fn a_real_key_is_read_as_others_read_it() {
        let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let others = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(bytes(&pem).unwrap(), others.secret_der());
    }
}
