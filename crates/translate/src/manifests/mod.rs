//! Manifests to objects: YAML of many documents, JSON, lists; each object with its places.
//!
//! A text is read as a whole or not at all as far as serving goes: where [`Parsed::is_readable`] is
//! false, its file's last good objects are to be kept. What could be read all the same is there for
//! those who only look. An object that is readable but wrong is read as far as it goes.

mod decode;
mod legacy;
mod position;
mod salvage;
mod yaml;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef, Related};
use serde_json::Value;

use crate::objects::{Object, ObjectKey};
use yaml::{Content, Node};

pub use position::{Position, Positions};

/// What a text holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The name of the file, as given.
    pub file: Arc<str>,
    /// Its objects, in order.
    pub objects: Vec<ParsedObject>,
    /// What is wrong with it, or worth knowing.
    pub diagnostics: Vec<FileDiagnostic>,
    /// Whether every document could be read. If not, it may be half written.
    pub is_readable: bool,
}

/// An object and where it stands.
#[derive(Clone, Debug)]
pub struct ParsedObject {
    /// The object.
    pub object: Object,
    /// Its identity.
    pub key: ObjectKey,
    /// Where it and its fields stand.
    pub positions: Positions,
}

/// A diagnostic with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct FileDiagnostic {
    /// The file.
    pub file: Arc<str>,
    /// The place.
    pub position: Position,
    /// The diagnostic.
    pub diagnostic: Diagnostic,
}

impl fmt::Display for FileDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.position, self.diagnostic)
    }
}

/// Reads one text. `file` is how diagnostics name it.
#[must_use]
pub fn parse(file: &str, text: &str) -> Parsed {
    let mut reader =
        Reader { parsed: Parsed { file: file.into(), is_readable: true, ..Parsed::default() } };
    if text.len() > yaml::FILE_BYTES_MAX {
        let message = format!("the file is over {} bytes", yaml::FILE_BYTES_MAX);
        reader.unreadable(Position::START, message);
        return reader.parsed;
    }
    for document in reader.documents(text) {
        reader.document(&Arc::new(document));
    }
    reader.parsed
}

struct Reader {
    parsed: Parsed,
}

impl Reader {
    fn documents(&mut self, text: &str) -> Vec<Node> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut documents = Vec::new();
        for (part, start) in json_texts(text).unwrap_or_else(|| vec![(text, Position::START)]) {
            let (nodes, problems) = yaml::documents(part, start);
            documents.extend(nodes);
            for problem in problems {
                self.unreadable(problem.position, problem.message);
            }
        }
        documents
    }

    fn unreadable(&mut self, position: Position, message: String) {
        self.parsed.is_readable = false;
        let object = ObjectRef::new("File", "", self.parsed.file.clone());
        let effect = Effect::LastGoodServes;
        // The parser's words for it help nobody who wrote a host.
        let help = message
            .contains("unknown anchor")
            .then(|| "quote a value that begins with `*`, such as \"*.example.com\"".to_owned());
        self.report(position, object, "", Code::UnreadableManifest, message, effect);
        if let Some(last) = self.parsed.diagnostics.last_mut() {
            last.diagnostic.help = help;
        }
    }

    fn report(
        &mut self,
        position: Position,
        object: ObjectRef,
        field: &str,
        code: Code,
        message: String,
        effect: Effect,
    ) {
        let diagnostic = Diagnostic {
            severity: code.info().severity,
            code,
            object,
            field: FieldPath(field.into()),
            message,
            help: None,
            related: Vec::new(),
            effect,
        };
        let file = self.parsed.file.clone();
        self.parsed.diagnostics.push(FileDiagnostic { file, position, diagnostic });
    }

    /// A document is an object or a list of objects. Anything else may be the beginning of one.
    fn document(&mut self, node: &Arc<Node>) {
        let (api_version, kind) = (node.get("apiVersion"), node.get("kind"));
        match (api_version.and_then(Node::text), kind.and_then(Node::text)) {
            (Some(api_version), Some(kind)) => self.object_or_list(node, api_version, kind),
            (None, _) => {
                self.unreadable(node.position, "the document has no apiVersion".to_owned());
            }
            (_, None) => self.unreadable(node.position, "the document has no kind".to_owned()),
        }
    }

    fn object_or_list(&mut self, node: &Arc<Node>, api_version: &str, kind: &str) {
        let Some(item_kind) = kind.strip_suffix("List") else {
            return self.object(node.clone(), api_version, kind);
        };
        let items = match node.get("items").map(|items| &items.content) {
            Some(Content::Sequence(items)) => items.as_slice(),
            Some(Content::Null) | None => &[],
            Some(_) => {
                return self.unreadable(node.position, "the items of the list are no list".into());
            }
        };
        for item in items {
            // The items of a typed list need not repeat what they are.
            let own_version = item.get("apiVersion").and_then(Node::text);
            let own_kind = item.get("kind").and_then(Node::text);
            match (own_version.unwrap_or(api_version), own_kind.unwrap_or(item_kind)) {
                (_, "") => self.unreadable(item.position, "the item has no kind".to_owned()),
                (api_version, kind) => self.object(Arc::new(item.clone()), api_version, kind),
            }
        }
    }

    fn object(&mut self, node: Arc<Node>, api_version: &str, kind: &str) {
        let Value::Object(value) = node.to_value() else {
            return self.unreadable(node.position, "an object is expected here".to_owned());
        };
        let decoded = decode::decode(api_version, kind, value);
        let positions = Positions(node);
        for note in decoded.notes {
            let position = positions.of(&FieldPath(note.field.as_str().into()));
            let object = decoded.object_ref.clone();
            let known = note.code == Code::UnknownKind
                && self.parsed.diagnostics.iter().any(|known| {
                    known.diagnostic.code == note.code && known.diagnostic.message == note.message
                });
            if !known {
                self.report(position, object, &note.field, note.code, note.message, note.effect);
            }
        }
        if let Some(object) = decoded.object {
            let key = object.key();
            self.parsed.objects.push(ParsedObject { object, key, positions });
        }
    }
}

/// JSON values that follow each other, which YAML cannot read as one text; `None` for anything
/// else.
fn json_texts(text: &str) -> Option<Vec<(&str, Position)>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut ends = Vec::new();
    while let Some(value) = values.next() {
        value.ok()?;
        ends.push(values.byte_offset());
    }
    let mut parts = Vec::new();
    let (mut begin, mut position) = (0, Position::START);
    for end in ends {
        let part = text.get(begin..end)?;
        parts.push((part, position));
        position = part.chars().fold(position, |at, c| match c {
            '\n' => Position { line: at.line + 1, column: 1 },
            _ => Position { column: at.column + 1, ..at },
        });
        begin = end;
    }
    Some(parts)
}

/// The objects of many files, each once.
#[derive(Debug, Default)]
pub struct Merged<'p> {
    /// The objects that count, by file and place.
    pub objects: Vec<&'p ParsedObject>,
    /// One diagnostic for each object that stands a second time.
    pub duplicates: Vec<FileDiagnostic>,
    places: HashMap<ObjectRef, (&'p Arc<str>, &'p Positions)>,
}

/// Joins files. Of the objects with one identity the first counts, by sorted file name, then place.
#[must_use]
pub fn merge<'p>(files: impl IntoIterator<Item = &'p Parsed>) -> Merged<'p> {
    let mut files: Vec<&Parsed> = files.into_iter().collect();
    files.sort_by(|a, b| a.file.cmp(&b.file));
    let mut merged = Merged::default();
    for file in files {
        for object in &file.objects {
            let object_ref = object.key.to_ref();
            if let Some((first, positions)) = merged.places.get(&object_ref) {
                let duplicate = duplicate(file, object, first, positions.start());
                merged.duplicates.push(duplicate);
                continue;
            }
            merged.places.insert(object_ref, (&file.file, &object.positions));
            merged.objects.push(object);
        }
    }
    merged
}

fn duplicate(file: &Parsed, object: &ParsedObject, first: &str, at: Position) -> FileDiagnostic {
    let object_ref = object.key.to_ref();
    FileDiagnostic {
        file: file.file.clone(),
        position: object.positions.start(),
        diagnostic: Diagnostic {
            severity: Code::DuplicateObject.info().severity,
            code: Code::DuplicateObject,
            object: object_ref.clone(),
            field: FieldPath::default(),
            message: format!("it stands at {first}:{at} already"),
            help: None,
            related: vec![Related {
                object: object_ref,
                field: FieldPath::default(),
                message: format!("the first stands at {first}:{at}"),
            }],
            effect: Effect::ObjectIgnored,
        },
    }
}

impl Merged<'_> {
    /// Where the field that a diagnostic names stands: file and place. `None` for diagnostics that
    /// are about no object of these files.
    #[must_use]
    pub fn locate(&self, object: &ObjectRef, field: &FieldPath) -> Option<(&str, Position)> {
        let (file, positions) = self.places.get(object)?;
        Some((file, positions.of(field)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> (Parsed, String) {
        let parsed = parse("a.json", text);
        let found = parsed.objects.iter().map(|object| object.key.to_string()).collect::<Vec<_>>();
        let found = found.join(", ");
        (parsed, found)
    }

    #[test]
    fn json_is_read_however_it_is_laid_out() {
        for text in [
            "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\n\t\t\"name\": \"a\"\n\t}\n}\n",
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","annotations":{"x":"\ud83d\ude00 \/ \u00e9"}}}"#,
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a","annotations":{"x":"a: b # c"}}}"#,
        ] {
            let (parsed, found) = service(text);
            assert_eq!(parsed.diagnostics, [], "{text}");
            assert_eq!(found, "Service default/a");
        }
    }

    #[test]
    fn json_values_may_follow_each_other() {
        let one = |name| {
            format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}}}}"#)
        };
        let (parsed, found) = service(&format!("{}\n{}\n", one("a"), one("b")));
        assert_eq!(found, "Service default/a, Service default/b");
        assert_eq!(parsed.objects[1].positions.start().line, 2);
    }

    #[test]
    fn a_text_that_was_cut_off_is_not_readable() {
        let whole = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n";
        assert!(parse("a", whole).is_readable);
        for end in ["apiVersion: v1\nki".len(), "apiVersion: v1\n".len(), "apiV".len(), 45] {
            assert!(!parse("a", &whole[..end]).is_readable, "{}", &whole[..end]);
        }
        assert!(!parse("a", r#"{"apiVersion": "v1", "kind": "Serv"#).is_readable);
    }

    #[test]
    fn the_first_of_two_equal_objects_counts_by_file_and_place() {
        let text = |port| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{{port: {port}}}]}}\n"
            )
        };
        let (b, a) = (parse("b.yaml", &text(1)), parse("a.yaml", &text(2)));
        let merged = merge([&b, &a]);
        assert_eq!(merged.objects.len(), 1);
        assert_eq!(merged.objects[0].object, a.objects[0].object);
        assert_eq!(
            merged.duplicates[0].to_string(),
            "b.yaml:1:1: error[duplicate-object] Service default/a: it stands at a.yaml:1:1 already"
        );
    }

    #[test]
    fn nothing_and_comments_are_readable() {
        for text in ["", "# a comment\n", "---\n---\n", "\u{feff}# marked\n"] {
            let parsed = parse("a", text);
            assert!(
                parsed.is_readable && parsed.objects.is_empty() && parsed.diagnostics.is_empty()
            );
        }
    }
}
