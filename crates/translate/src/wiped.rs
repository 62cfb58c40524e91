//! A Secret as it is kept: without what nobody reads of it, and overwritten when it is dropped.
//!
//! What is not ours to wipe stays where it was until its memory is used again: the buffers of
//! whoever read it from a file or a connection.

use std::fmt;
use std::ops::Deref;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroize as _;

use crate::as_read::AsRead;

/// The keys of a Secret that translation reads. Of others nothing is kept.
const READ: &[&str] = &["tls.crt", "tls.key"];

/// See the module.
#[derive(Clone, PartialEq)]
pub struct Wiped(Secret);

impl From<Secret> for Wiped {
    fn from(mut secret: Secret) -> Self {
        if let Some(texts) = secret.string_data.take() {
            // The API server writes `stringData` over `data`.
            let data = secret.data.get_or_insert_default();
            for (key, text) in texts {
                let before = data.insert(key, ByteString(text.into_bytes()));
                before.into_iter().for_each(wipe);
            }
        }
        if let Some(data) = &mut secret.data {
            data.extract_if(.., |key, _| !READ.contains(&key.as_str()))
                .for_each(|(_, value)| wipe(value));
        }
        Self(secret)
    }
}

impl From<Secret> for AsRead<Wiped> {
    fn from(secret: Secret) -> Self {
        Self::from(Wiped::from(secret))
    }
}

impl Deref for Wiped {
    type Target = Secret;

    fn deref(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.data.iter().flatten().map(|(key, _)| key);
        f.debug_set().entries(keys).finish()
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe_secret(&mut self.0);
    }
}

/// Overwrites the values of a Secret, which then has none.
pub fn wipe_secret(secret: &mut Secret) {
    secret.data.take().into_iter().flatten().for_each(|(_, value)| wipe(value));
    secret.string_data.take().into_iter().flatten().for_each(|(_, mut text)| text.zeroize());
}

fn wipe(mut value: ByteString) {
    value.0.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_only_what_is_read_is_kept_and_nothing_of_it_is_shown() {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let mut secret = Secret {
            data: Some(
                [("tls.crt", "one"), ("tls.key", "two"), ("password", "three")]
                    .map(|(key, text)| (key.to_owned(), bytes(text)))
                    .into(),
            ),
            ..Secret::default()
        };
        secret.string_data = Some([("tls.key".to_owned(), "four".to_owned())].into());
        let kept = Wiped::from(secret);
        let data: Vec<_> = kept.data.iter().flatten().map(|(key, value)| (&**key, value)).collect();
        assert_eq!(data, [("tls.crt", &bytes("one")), ("tls.key", &bytes("four"))]);
        assert_eq!(format!("{kept:?}"), r#"{"tls.crt", "tls.key"}"#);
        let mut secret = kept.0.clone();
        wipe_secret(&mut secret);
        assert_eq!((secret.data, secret.string_data), (None, None));
    }
}
