//! Where in which object the walk is, so that a report cannot name the wrong field.
//!
//! A scope is a chain of borrowed links on the stack: free until something is reported.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef, Provenance, Related};

/// How many diagnostics with one code are told of one Ingress. Whoever has that many mistakes alike
/// knows how to go on.
const ALIKE_MAX: usize = 100;

/// Where reports go.
#[derive(Debug, Default)]
pub(crate) struct Reports(RefCell<Vec<Diagnostic>>);

impl Reports {
    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        self.0.borrow_mut().push(diagnostic);
    }

    pub(crate) fn take(&self) -> Vec<Diagnostic> {
        self.0.take()
    }

    /// The same, [`capped`].
    pub(crate) fn take_capped(&self) -> Vec<Diagnostic> {
        capped(self.0.take())
    }
}

/// What is said after their number of those that are not told.
const MORE: &str = " more of this kind, of which this is the first";

/// Whether it stands for others that are not told.
pub(crate) fn is_summary(found: &Diagnostic) -> bool {
    found.message.ends_with(MORE)
}

/// Of each object and code the first [`ALIKE_MAX`], and how many more there are: reports are copied
/// and compared with every change of anything.
pub(crate) fn capped(mut kept: Vec<Diagnostic>) -> Vec<Diagnostic> {
    if kept.len() <= ALIKE_MAX {
        return kept;
    }
    let mut counts: HashMap<(ObjectRef, Code), usize> = HashMap::new();
    let mut more: BTreeMap<(ObjectRef, Code), Diagnostic> = BTreeMap::new();
    kept.retain(|diagnostic| {
        let alike = (diagnostic.object.clone(), diagnostic.code);
        let count = counts.entry(alike.clone()).or_default();
        *count += 1;
        if *count > ALIKE_MAX {
            more.entry(alike).or_insert_with(|| diagnostic.clone());
        }
        *count <= ALIKE_MAX
    });
    kept.extend(more.into_iter().map(|(alike, first)| {
        let count = counts.get(&alike).copied().unwrap_or_default().saturating_sub(ALIKE_MAX);
        let message = format!("{count}{MORE}");
        Diagnostic { message, help: None, related: Vec::new(), ..first }
    }));
    kept.shrink_to_fit();
    kept
}

/// A place in an object.
pub(crate) struct Scope<'s> {
    parent: Option<&'s Scope<'s>>,
    link: Link<'s>,
    object: &'s ObjectRef,
    reports: &'s Reports,
}

enum Link<'s> {
    Root,
    Field(&'s str),
    Index(usize),
    Key(&'s str),
}

impl<'s> Scope<'s> {
    pub(crate) fn root(object: &'s ObjectRef, reports: &'s Reports) -> Self {
        Self { parent: None, link: Link::Root, object, reports }
    }

    /// Another object, reported to the same place.
    pub(crate) fn of<'b>(&self, object: &'b ObjectRef) -> Scope<'b>
    where
        's: 'b,
    {
        Scope::root(object, self.reports)
    }

    /// A field below, or a dotted chain of them.
    pub(crate) fn at<'b>(&'b self, field: &'b str) -> Scope<'b> {
        self.child(Link::Field(field))
    }

    /// An entry of a list.
    pub(crate) fn index(&self, index: usize) -> Scope<'_> {
        self.child(Link::Index(index))
    }

    /// An entry of a map whose keys are free, such as annotations.
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> Scope<'b> {
        self.child(Link::Key(key))
    }

    fn child<'b>(&'b self, link: Link<'b>) -> Scope<'b> {
        Scope { parent: Some(self), link, object: self.object, reports: self.reports }
    }

    pub(crate) fn path(&self) -> FieldPath {
        FieldPath(self.to_string().into())
    }

    pub(crate) fn provenance(&self) -> Provenance {
        Provenance { object: self.object.clone(), field: self.path() }
    }

    /// Reports something about this place, with the code's own severity.
    pub(crate) fn report(&self, code: Code, effect: Effect, message: impl Into<String>) {
        self.reports.push(self.diagnostic(code, effect, message));
    }

    /// Reports something about another field of the same object.
    pub(crate) fn report_at(&self, field: &str, code: Code, effect: Effect, message: String) {
        Self::root(self.object, self.reports).at(field).report(code, effect, message);
    }

    /// [`Self::report`] with other places and perhaps another remedy.
    pub(crate) fn report_with(
        &self,
        code: Code,
        effect: Effect,
        message: impl Into<String>,
        help: Option<String>,
        related: Vec<Related>,
    ) {
        let diagnostic = self.diagnostic(code, effect, message);
        self.reports.push(Diagnostic { help, related, ..diagnostic });
    }

    fn diagnostic(&self, code: Code, effect: Effect, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: code.info().severity,
            code,
            object: self.object.clone(),
            field: self.path(),
            message: message.into(),
            help: None,
            related: Vec::new(),
            effect,
        }
    }
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.link {
            Link::Root => Ok(()),
            Link::Field(field) => {
                if parent.parent.is_some() {
                    f.write_char('.')?;
                }
                f.write_str(field)
            }
            Link::Index(index) => write!(f, "[{index}]"),
            Link::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_people_write_it() {
        let object = ObjectRef::new("Ingress", "default", "shop");
        let reports = Reports::default();
        let root = Scope::root(&object, &reports);
        assert_eq!(root.at("spec.rules").index(0).at("host").to_string(), "spec.rules[0].host");
        assert_eq!(
            root.at("metadata.annotations").key("a.b/c").to_string(),
            r#"metadata.annotations["a.b/c"]"#
        );
    }
}
