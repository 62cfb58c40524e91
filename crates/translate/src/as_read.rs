//! An object as far as it could be read: its type, and what was taken out so that it fits.
//!
//! What an API server would have refused is applied all the same. Left out as a whole, an object
//! that restricts access would leave its paths to broader routes. Whoever looks at the object asks
//! what was taken out, and closes what hangs on it.

use std::ops::Deref;

use model::FieldPath;
use serde::Serialize;
use serde_json::Value;

use crate::scope::Scope;

/// A field that could not be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unreadable {
    /// Where it stands.
    pub field: FieldPath,
    /// What stands there; nothing where it may be a secret.
    pub value: Value,
    /// Why it cannot be read.
    pub problem: String,
}

impl Unreadable {
    /// Whether it stood at a field or below it.
    pub(crate) fn is_within(&self, field: &str) -> bool {
        let rest = self.field.0.strip_prefix(field);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }
}

/// An object, and the fields that are absent from it because they could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct AsRead<T> {
    object: T,
    unreadable: Box<[Unreadable]>,
}

impl<T> AsRead<T> {
    /// An object with what was taken out of it.
    pub fn new(object: T, unreadable: Vec<Unreadable>) -> Self {
        Self { object, unreadable: unreadable.into() }
    }

    /// The same, with another object.
    #[must_use]
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> AsRead<U> {
        AsRead { object: change(self.object), unreadable: self.unreadable }
    }

    /// What was taken out.
    #[must_use]
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// What was taken out at this very place.
    pub(crate) fn taken_at(&self, scope: &Scope<'_>) -> Option<&Unreadable> {
        if self.unreadable.is_empty() {
            return None;
        }
        let field = scope.path();
        self.unreadable.iter().find(|taken| taken.field == field)
    }

    /// The first that was taken out at a field or below it.
    pub(crate) fn taken_within(&self, field: &str) -> Option<&Unreadable> {
        self.unreadable.iter().find(|taken| taken.is_within(field))
    }
}

impl<T> From<T> for AsRead<T> {
    fn from(object: T) -> Self {
        Self { object, unreadable: Box::default() }
    }
}

impl<T> Deref for AsRead<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}
