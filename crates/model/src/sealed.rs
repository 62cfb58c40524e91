//! A part of the Model with the digest of its encoding: made once, shared, never changed.
//!
//! Most of a Model is the same from one translation to the next. Its parts are encoded and hashed
//! when they are made, so that comparing two Models, and naming one, costs only what is new.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A shared value that cannot change any more, and the SHA-256 of its JSON.
///
/// Two are equal when their encodings are.
pub struct Sealed<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    digest: [u8; 32],
}

impl<T: Serialize> Sealed<T> {
    /// Seals a value.
    ///
    /// # Panics
    /// Never: every type of the Model has a JSON form.
    #[must_use]
    pub fn new(value: T) -> Self {
        let json = serde_json::to_vec(&value).expect("the Model has no value without a JSON form");
        let digest = Sha256::digest(json).into();
        Self(Arc::new(Inner { value, digest }))
    }
}

impl<T> Sealed<T> {
    /// The SHA-256 of the value's JSON.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }
}

impl<T> Deref for Sealed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.digest == other.0.digest
    }
}

impl<T: fmt::Debug> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.value.fmt(f)
    }
}

impl<T: Serialize> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value.serialize(serializer)
    }
}

impl<'de, T: Serialize + Deserialize<'de>> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_values_are_equal_when_their_encodings_are() {
        let [one, same, other] = ["a", "a", "b"].map(|text| Sealed::new(text.to_owned()));
        assert_eq!(one, same);
        assert_ne!(one, other);
        let read: Sealed<String> = serde_json::from_str("\"a\"").unwrap();
        assert_eq!(read, one);
        assert_eq!(serde_json::to_string(&one).unwrap(), "\"a\"");
    }
}
