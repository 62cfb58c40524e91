//! Who somebody is to the API server, and the kubeconfig that says so.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use crate::Authority;
use crate::certs::Leaf;

/// How somebody shows who they are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A client certificate.
    Certificate(Leaf),
    /// A bearer token.
    Token(String),
    /// A bearer token in a file, which may be written anew.
    TokenFile(PathBuf),
}

impl Credentials {
    /// The text of a kubeconfig. JSON is YAML.
    pub(super) fn kubeconfig(&self, address: SocketAddr, authority: &Authority) -> String {
        let user = match self {
            Self::Certificate(leaf) => json!({
                "client-certificate-data": base64(leaf.certificate.as_bytes()),
                "client-key-data": base64(leaf.key.as_bytes()),
            }),
            Self::Token(token) => json!({ "token": token }),
            Self::TokenFile(path) => json!({ "tokenFile": path }),
        };
        let cluster = json!({
            "server": format!("https://{address}"),
            "certificate-authority-data": base64(authority.pem().as_bytes()),
        });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        });
        format!("{config:#}\n")
    }
}

/// As RFC 4648 section 4 says, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let number = three.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte));
        for place in 0..4 {
            let index = (number >> (18 - 6 * place)) & 63;
            text.push(if place > chunk.len() { '=' } else { char::from(ALPHABET[index]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_its_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
