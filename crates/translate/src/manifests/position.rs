//! Where in a file something stands, and the way from a field's path to its place.

use std::fmt;
use std::sync::Arc;

use model::FieldPath;

use super::yaml::{Content, Entry, Node};

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// The places of all fields of one object.
#[derive(Clone, Debug)]
pub struct Positions(pub(super) Arc<Node>);

impl Positions {
    /// Where the object begins.
    #[must_use]
    pub fn start(&self) -> Position {
        self.0.position
    }

    /// Where a field stands: its key, or the entry of a list; the nearest field around it where it
    /// is missing.
    #[must_use]
    pub fn of(&self, field: &FieldPath) -> Position {
        let mut node: &Node = &self.0;
        let mut position = node.position;
        let mut steps = steps(&field.0).into_iter().peekable();
        while let Some(step) = steps.next() {
            match (&step, &node.content) {
                (Step::Key(key), Content::Mapping(entries)) => {
                    let next = match steps.peek() {
                        Some(Step::Key(next)) => Some(next.as_str()),
                        _ => None,
                    };
                    let Some(entry) = find(entries, key, next) else { return position };
                    position = entry.position;
                    node = &entry.value;
                }
                (Step::Index(index), Content::Sequence(nodes)) => {
                    let Some(entry) = nodes.get(*index) else { return position };
                    position = entry.position;
                    node = entry;
                }
                _ => return position,
            }
        }
        position
    }
}

/// The entry of a key, also under the name that it had in the legacy versions of Ingress.
fn find<'e>(entries: &'e [Entry], key: &str, next: Option<&str>) -> Option<&'e Entry> {
    let legacy = match (key, next) {
        ("defaultBackend", _) => "backend",
        ("service", Some("port")) => "servicePort",
        ("service", _) => "serviceName",
        _ => key,
    };
    [key, legacy].into_iter().find_map(|name| entries.iter().find(|entry| *entry.key == *name))
}

#[derive(Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The steps of a path such as `metadata.annotations["a/b"].c[0]`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let Some((key, after)) = quoted.split_once("\"]") else { break };
            steps.push(Step::Key(key.replace("\\\"", "\"").replace("\\\\", "\\")));
            rest = after;
        } else if let Some(indexed) = rest.strip_prefix('[') {
            let Some((index, after)) = indexed.split_once(']') else { break };
            let Ok(index) = index.parse() else { break };
            steps.push(Step::Index(index));
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end == 0 {
                break;
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn place(text: &str, field: &str) -> (u32, u32) {
        let (mut nodes, _) = yaml::documents(text, Position::START);
        let position = Positions(Arc::new(nodes.remove(0))).of(&FieldPath(field.into()));
        (position.line, position.column)
    }

    const TEXT: &str =
        "metadata:\n  annotations:\n    a.b/c: x\nspec:\n  rules:\n  - host: a\n  - host: b\n";

    #[test]
    fn a_field_is_found_by_its_path() {
        assert_eq!(place(TEXT, "spec.rules[1].host"), (7, 5));
        assert_eq!(place(TEXT, r#"metadata.annotations["a.b/c"]"#), (3, 5));
        assert_eq!(place(TEXT, ""), (1, 1));
    }

    #[test]
    fn a_missing_field_stands_where_it_would_have_to() {
        assert_eq!(place(TEXT, "spec.rules[1].http.paths[0].path"), (7, 5));
        assert_eq!(place(TEXT, "spec.tls[0]"), (4, 1));
    }

    #[test]
    fn legacy_names_are_found_under_todays() {
        let text = "backend:\n  serviceName: a\n  servicePort: 80\n";
        assert_eq!(place(text, "defaultBackend.service.port.number"), (3, 3));
        assert_eq!(place(text, "backend.service.name"), (2, 3));
    }
}
