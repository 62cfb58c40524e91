//! YAML and JSON text to trees of located nodes.
//!
//! Scalars are resolved as kubectl's YAML does (YAML 1.1: `yes` is a boolean, `0777` is octal), so
//! that a manifest means here what it means there. Merge keys are folded in, aliases are copied
//! within a budget, and a key that stands twice is an error.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde_json::{Map, Number, Value};

use super::position::Position;

/// A file larger than this is not read.
pub(super) const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// So many nodes may a file have, copies by alias included.
const NODES_MAX: usize = 5_000_000;
/// So many nodes may the aliases of one document copy.
const ALIAS_NODES_MAX: usize = 200_000;
/// Nesting deeper than this is refused: no object needs it.
const DEPTH_MAX: usize = 100;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) position: Position,
    pub(super) value: Node,
}

/// Why a text cannot be read, and where.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unreadable {
    pub(super) position: Position,
    pub(super) message: String,
}

impl Node {
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.content {
            Content::Mapping(entries) => entries.iter().find(|entry| *entry.key == *key),
            _ => None,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without places.
    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.to_string()),
            Content::Sequence(nodes) => Value::Array(nodes.iter().map(Self::to_value).collect()),
            Content::Mapping(entries) => {
                let pairs = entries.iter().map(|e| (e.key.to_string(), e.value.to_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    fn size(&self) -> usize {
        1 + match &self.content {
            Content::Sequence(nodes) => nodes.iter().map(Self::size).sum(),
            Content::Mapping(entries) => entries.iter().map(|e| e.value.size()).sum(),
            _ => 0,
        }
    }
}

/// Every document of a text, empty ones left out, and everything that could not be read.
pub(super) fn documents(text: &str, start: Position) -> (Vec<Node>, Vec<Unreadable>) {
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        start,
        anchors: HashMap::new(),
        nodes: 0,
        alias_nodes: 0,
    };
    let (mut nodes, mut problems) = (Vec::new(), Vec::new());
    loop {
        match composer.document() {
            Ok(Some(node)) if node.content == Content::Null => {}
            Ok(Some(node)) => nodes.push(node),
            Ok(None) => break,
            Err(problem) => {
                let out_of_budget = composer.nodes > NODES_MAX;
                problems.push(problem);
                if out_of_budget || !matches!(composer.parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    (nodes, problems)
}

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// Where the text begins in its file.
    start: Position,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    alias_nodes: usize,
}

impl<'t> Composer<'t> {
    fn place(&self, span: &Span) -> Position {
        let column = span.start.col() as u32 + 1;
        let line = span.start.line() as u32;
        Position {
            line: self.start.line + line.saturating_sub(1),
            column: if line <= 1 { self.start.column + column - 1 } else { column },
        }
    }

    fn next(&mut self) -> Result<Option<(Event<'t>, Position)>, Unreadable> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                let position = self.place(&span);
                Ok(Some((event, position)))
            }
            Some(Err(error)) => {
                let marker = Span::empty(*error.marker());
                let position = self.place(&marker);
                Err(Unreadable { position, message: error.info() })
            }
        }
    }

    /// The next document; `None` at the end.
    fn document(&mut self) -> Result<Option<Node>, Unreadable> {
        self.anchors.clear();
        self.alias_nodes = 0;
        loop {
            match self.next()? {
                None | Some((Event::StreamEnd, _)) => return Ok(None),
                Some((Event::DocumentStart(..), _)) => break,
                Some(_) => {}
            }
        }
        let Some((event, position)) = self.next_node()? else { return Ok(None) };
        let node = self.node(event, position, 0)?;
        while let Some((event, _)) = self.next()? {
            if matches!(event, Event::DocumentEnd) {
                break;
            }
        }
        Ok(Some(node))
    }

    /// The next event that is not a comment.
    fn next_node(&mut self) -> Result<Option<(Event<'t>, Position)>, Unreadable> {
        loop {
            match self.next()? {
                Some((Event::Comment(..), _)) => {}
                other => return Ok(other),
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'t>,
        position: Position,
        depth: usize,
    ) -> Result<Node, Unreadable> {
        let refuse = |message: &str| Err(Unreadable { position, message: message.to_owned() });
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return refuse("the file has too many values");
        }
        if depth > DEPTH_MAX {
            return refuse("the document is nested too deeply");
        }
        let (content, anchor) = match event {
            Event::Alias(id) => return self.alias(id, position),
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_ref().and_then(|tag| tag.core_suffix().map(str::to_owned));
                (scalar(&text, style, tag.as_deref()), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.sequence(position, depth)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.mapping(position, depth)?, anchor),
            _ => return refuse("the document ends early"),
        };
        let node = Node { position, content };
        if anchor != 0 {
            let size = node.size();
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, position: Position) -> Result<Node, Unreadable> {
        let refuse = |message: &str| Err(Unreadable { position, message: message.to_owned() });
        let Some((node, size)) = self.anchors.get(&id) else {
            return refuse("the alias names nothing that was complete before it");
        };
        self.alias_nodes += size;
        self.nodes += size;
        if self.alias_nodes > ALIAS_NODES_MAX {
            return refuse("the aliases of the document copy too much");
        }
        Ok(node.clone())
    }

    fn sequence(&mut self, position: Position, depth: usize) -> Result<Content, Unreadable> {
        let mut nodes = Vec::new();
        loop {
            match self.next_node()? {
                Some((Event::SequenceEnd, _)) => return Ok(Content::Sequence(nodes)),
                Some((event, position)) => nodes.push(self.node(event, position, depth + 1)?),
                None => return Err(cut_off(position)),
            }
        }
    }

    fn mapping(&mut self, position: Position, depth: usize) -> Result<Content, Unreadable> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut known: HashSet<Box<str>> = HashSet::new();
        let mut merged: Vec<Node> = Vec::new();
        loop {
            let (key, place) = match self.next_node()? {
                Some((Event::MappingEnd, _)) => break,
                // A key is always a text, as written: `on` and `80` name what they say.
                Some((Event::Scalar(text, ..), place)) => (text.as_ref().into(), place),
                Some((Event::Alias(id), place)) => match self.alias(id, place)?.content {
                    Content::Text(text) => (text, place),
                    _ => return Err(no_text_key(place)),
                },
                Some((_, place)) => return Err(no_text_key(place)),
                None => return Err(cut_off(position)),
            };
            let Some((event, at)) = self.next_node()? else { return Err(cut_off(position)) };
            let value = self.node(event, at, depth + 1)?;
            if *key == *"<<" {
                merged.push(value);
                continue;
            }
            if !known.insert(key.clone()) {
                let message = format!("the key `{key}` stands twice");
                return Err(Unreadable { position: place, message });
            }
            entries.push(Entry { key, position: place, value });
        }
        for node in merged {
            merge(node, &mut entries, &mut known)?;
        }
        Ok(Content::Mapping(entries))
    }
}

fn cut_off(position: Position) -> Unreadable {
    Unreadable { position, message: "the document ends within this value".to_owned() }
}

fn no_text_key(position: Position) -> Unreadable {
    Unreadable { position, message: "a key must be a text".to_owned() }
}

/// Folds a merge key in: what stands in the mapping itself wins, then what was merged first.
fn merge(
    node: Node,
    entries: &mut Vec<Entry>,
    known: &mut HashSet<Box<str>>,
) -> Result<(), Unreadable> {
    match node.content {
        Content::Mapping(more) => {
            for entry in more {
                if known.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Content::Sequence(nodes) => {
            for node in nodes {
                if !matches!(node.content, Content::Mapping(_)) {
                    return Err(no_mapping(node.position));
                }
                merge(node, entries, known)?;
            }
            Ok(())
        }
        _ => Err(no_mapping(node.position)),
    }
}

fn no_mapping(position: Position) -> Unreadable {
    Unreadable { position, message: "only mappings can be merged by `<<`".to_owned() }
}

/// What a scalar means. Only plain ones can mean anything but text.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Content {
    match (style, tag) {
        (_, Some("str" | "binary" | "timestamp")) => Content::Text(text.into()),
        (ScalarStyle::Plain, _) | (_, Some("int" | "bool" | "float" | "null")) => plain(text),
        _ => Content::Text(text.into()),
    }
}

fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Content::Bool(true);
        }
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Content::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return Content::Text(text.into());
    }
    number(text).map_or_else(|| Content::Text(text.into()), Content::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits: String = text.chars().filter(|&c| c != '_').collect();
    let (negative, unsigned) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    if unsigned.starts_with(['-', '+']) {
        return None;
    }
    let radix = |prefix: [&str; 2], radix| {
        prefix
            .into_iter()
            .find_map(|prefix| unsigned.strip_prefix(prefix))
            .map(|digits| u64::from_str_radix(digits, radix).ok())
    };
    let whole = if let Some(parsed) = radix(["0x", "0X"], 16)
        .or_else(|| radix(["0o", "0O"], 8))
        .or_else(|| radix(["0b", "0B"], 2))
    {
        Some(parsed?)
    } else if unsigned.len() > 1
        && unsigned.starts_with('0')
        && unsigned.bytes().all(|b| b.is_ascii_digit())
    {
        u64::from_str_radix(unsigned, 8).ok()
    } else if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        unsigned.parse().ok()
    } else {
        None
    };
    match (whole, negative) {
        (Some(whole), false) => Some(whole.into()),
        (Some(whole), true) => i64::try_from(-i128::from(whole)).ok().map(Number::from),
        (None, _) => decimal(&digits),
    }
}

/// A number with a point or an exponent; whole ones become integers, as they do in JSON.
fn decimal(digits: &str) -> Option<Number> {
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+');
    if !digits.bytes().all(allowed) || !digits.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: f64 = digits.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Vec<Value> {
        let (nodes, problems) = documents(text, Position::START);
        assert_eq!(problems, []);
        nodes.iter().map(Node::to_value).collect()
    }

    fn problem(text: &str) -> (u32, u32, String) {
        let (_, problems) = documents(text, Position::START);
        let first = problems.into_iter().next().expect("a problem");
        (first.position.line, first.position.column, first.message)
    }

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        let read =
            read("[yes, 'yes', 0777, 0x10, 1_000, 1.50, 8080, ~, 10.0, 1.2.3.4, -5, 08, +1]");
        assert_eq!(
            read,
            [json!([true, "yes", 511, 16, 1000, 1.5, 8080, null, 10, "1.2.3.4", -5, 8, 1])]
        );
    }

    #[test]
    fn documents_are_told_apart_and_empty_ones_left_out() {
        assert_eq!(
            read("---\n# nothing\n---\na: 1\n---\nb: 2\n..."),
            [json!({"a": 1}), json!({"b": 2})]
        );
        assert_eq!(read(""), Vec::<Value>::new());
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        assert_eq!(
            read("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nlist: [*b]"),
            [
                json!({"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}, "list": [{"x": 1, "y": 2}]})
            ]
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_where_it_stands() {
        assert_eq!(
            problem("a: 1\nb:\n  c: 1\n  c: 2\n"),
            (4, 3, "the key `c` stands twice".into())
        );
    }

    #[test]
    fn a_broken_document_does_not_hide_the_next() {
        let (nodes, problems) = documents("a: [1, 2\n---\nb: 2\n", Position::START);
        assert_eq!(problems.len(), 1);
        assert_eq!(nodes[0].to_value(), json!({"b": 2}));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text += &["a", &level.to_string(), ": &a", &level.to_string(), " [", &before, "]\n"]
                .concat();
        }
        assert_eq!(problem(&text).2, "the aliases of the document copy too much");
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
        let (nodes, problems) = documents(&text, Position::START);
        assert!(nodes.is_empty() && problems.len() == 1);
    }

    #[test]
    fn places_count_from_one() {
        let (nodes, _) = documents("a:\n  - b: x\n", Position::START);
        let entry = nodes[0].entry("a").unwrap();
        assert_eq!(entry.position, Position { line: 1, column: 1 });
        let Content::Sequence(items) = &entry.value.content else { panic!() };
        assert_eq!(items[0].get("b").unwrap().position, Position { line: 2, column: 8 });
    }
}
