//! Something a user should know about an object.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Code, FieldPath, ObjectRef};

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is not served as written.
    Error,
    /// It is served, and probably not as meant.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// What was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: the rest is served as written.
    None,
    /// The field is treated as if it were absent.
    FieldIgnored,
    /// The object is not used.
    ObjectIgnored,
    /// The route answers this status at its own place.
    RouteResponds(u16),
    /// The route is not in the table; the message says which answers instead.
    RouteDropped,
    /// The default certificate is served.
    DefaultCertificate,
    /// The last good version keeps serving.
    LastGoodServes,
    /// The listener is not bound.
    ListenerNotBound,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::FieldIgnored => f.write_str("the field is ignored"),
            Self::ObjectIgnored => f.write_str("the object is ignored"),
            Self::RouteResponds(status) => write!(f, "the route answers {status}"),
            Self::RouteDropped => f.write_str("the route is dropped"),
            Self::DefaultCertificate => f.write_str("the default certificate is served"),
            Self::LastGoodServes => f.write_str("the last good version keeps serving"),
            Self::ListenerNotBound => f.write_str("the listener is not bound"),
        }
    }
}

/// Another place that has to do with a diagnostic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Related {
    /// The object.
    pub object: ObjectRef,
    /// The field.
    pub field: FieldPath,
    /// What it has to do with it.
    pub message: String,
}

/// Something a user should know about an object: what, where, what was done, what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How much it matters; the code's default unless said otherwise.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// Whom it is about.
    pub object: ObjectRef,
    /// Where in the object; empty for the object as a whole.
    pub field: FieldPath,
    /// The value and what is wrong with it, in a sentence.
    pub message: String,
    /// What to do; the code's remedy when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Other places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// What was done about it.
    pub effect: Effect,
}

impl Diagnostic {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &str {
        self.help.as_deref().unwrap_or(self.code.info().remedy)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {}", self.severity, self.code, self.object)?;
        if !self.field.0.is_empty() {
            write!(f, " {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// All diagnostics of one translation, sorted by object, field and code, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// A report of these diagnostics: sorted, repetitions removed.
    #[must_use]
    pub fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| {
            (&a.object, &a.field, a.code, &a.message)
                .cmp(&(&b.object, &b.field, b.code, &b.message))
        });
        diagnostics.dedup();
        Self { diagnostics }
    }

    /// The diagnostics, in order.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }
}

impl Extend<Diagnostic> for Report {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        let mut all = std::mem::take(&mut self.diagnostics);
        all.extend(more);
        *self = Self::new(all);
    }
}
