//! One value to one typed object: version, defaults, unknown fields, wrong types.
//!
//! What the API server would have done on the way in is done here: a missing namespace is
//! `default`, `stringData` goes into `data`. What it would have refused is `invalid-object`, and
//! the object is read as far as it goes.

use k8s_openapi::api::core::v1::Secret;
use model::{Code, Effect, FieldPath, ObjectRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

use super::{legacy, salvage};
use crate::annotation::holds_annotations;
use crate::as_read::{AsRead, Unreadable};
use crate::objects::{Object, ObjectKind};
use crate::wiped::Wiped;

/// Something about a field of the object at hand.
pub(super) struct Note {
    pub(super) code: Code,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) effect: Effect,
}

/// What a value turned out to be.
pub(super) struct Decoded {
    /// As far as it could be told.
    pub(super) object_ref: ObjectRef,
    /// Absent when it is not read or cannot be.
    pub(super) object: Option<Object>,
    pub(super) notes: Vec<Note>,
}

/// Decodes the object of an API version and kind.
pub(super) fn decode(api_version: &str, kind: &str, mut value: Map<String, Value>) -> Decoded {
    let mut notes = Vec::new();
    let mut taken = Vec::new();
    let (read_kind, is_legacy) = match known_kind(api_version, kind) {
        Some(known) => known,
        None if is_meant_as_ingress(api_version, kind) => {
            taken.push(take_type(api_version, kind, &mut value));
            (ObjectKind::Ingress, false)
        }
        None => return unknown_kind(api_version, kind),
    };
    let identity = match identity(&value) {
        Ok(identity) => identity,
        Err((identity, note)) if may_restrict(read_kind) => {
            notes.push(Note { effect: Effect::None, ..note });
            identity.or_made_up(&value)
        }
        Err((identity, note)) => {
            let object_ref = identity.object_ref(read_kind);
            return Decoded { object_ref, object: None, notes: vec![note] };
        }
    };
    let object_ref = identity.object_ref(read_kind);
    taken.extend(identity.write(read_kind, &mut value));
    if is_legacy {
        notes.push(Note {
            code: Code::LegacyApiVersion,
            field: "apiVersion".to_owned(),
            message: format!("{kind} of `{api_version}` is read as `networking.k8s.io/v1`"),
            effect: Effect::None,
        });
        value.insert("apiVersion".to_owned(), json!("networking.k8s.io/v1"));
        if read_kind == ObjectKind::Ingress {
            notes.extend(legacy::convert_ingress(&mut value).into_iter().map(|mended| Note {
                code: Code::LegacyApiVersion,
                field: mended.field,
                message: mended.message,
                effect: Effect::None,
            }));
        }
    }
    if may_restrict(read_kind) {
        notes.extend(annotations_as_text(&mut value));
    }
    let mut reading = Reading { kind: read_kind, taken, notes: &mut notes };
    let object = match read_kind {
        ObjectKind::Ingress => reading.typed(value).map(Arc::new).map(Object::Ingress),
        ObjectKind::IngressClass => reading.typed(value).map(Arc::new).map(Object::IngressClass),
        ObjectKind::Service => reading.typed(value).map(Arc::new).map(Object::Service),
        ObjectKind::EndpointSlice => reading.typed(value).map(Arc::new).map(Object::EndpointSlice),
        ObjectKind::Endpoints => reading.typed(value).map(Arc::new).map(Object::Endpoints),
        ObjectKind::Secret => reading
            .typed::<Secret>(value)
            .map(|secret| Object::Secret(Arc::new(secret.map(Wiped::from)))),
        ObjectKind::ConfigMap => reading.typed(value).map(Arc::new).map(Object::ConfigMap),
        ObjectKind::ClusterIngressParameters => {
            reading.typed(value).map(Arc::new).map(Object::ClusterIngressParameters)
        }
        ObjectKind::Namespace => reading.typed(value).map(Arc::new).map(Object::Namespace),
    };
    Decoded { object_ref, object, notes }
}

/// Whether an object of this kind can restrict access: then it is read under whatever name it has.
fn may_restrict(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::Ingress | ObjectKind::IngressClass)
}

/// The kinds that are read, and whether the version is one of the past.
fn known_kind(api_version: &str, kind: &str) -> Option<(ObjectKind, bool)> {
    match (api_version, kind) {
        ("networking.k8s.io/v1", "Ingress") => Some((ObjectKind::Ingress, false)),
        ("networking.k8s.io/v1beta1" | "extensions/v1beta1", "Ingress") => {
            Some((ObjectKind::Ingress, true))
        }
        ("networking.k8s.io/v1", "IngressClass") => Some((ObjectKind::IngressClass, false)),
        ("networking.k8s.io/v1beta1", "IngressClass") => Some((ObjectKind::IngressClass, true)),
        ("v1", "Service") => Some((ObjectKind::Service, false)),
        ("v1", "Endpoints") => Some((ObjectKind::Endpoints, false)),
        ("v1", "Secret") => Some((ObjectKind::Secret, false)),
        ("v1", "ConfigMap") => Some((ObjectKind::ConfigMap, false)),
        ("portcullis.io/v1alpha1", "ClusterIngressParameters") => {
            Some((ObjectKind::ClusterIngressParameters, false))
        }
        ("v1", "Namespace") => Some((ObjectKind::Namespace, false)),
        ("discovery.k8s.io/v1", "EndpointSlice") => Some((ObjectKind::EndpointSlice, false)),
        _ => None,
    }
}

/// Whether it can only have been meant as an Ingress: no group of Kubernetes itself, whose names
/// have no dot, has another.
fn is_meant_as_ingress(api_version: &str, kind: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    kind.eq_ignore_ascii_case("Ingress") && (group == "networking.k8s.io" || !group.contains('.'))
}

/// Takes out the type of an Ingress that no API server knows, so that the rest can be read.
fn take_type(api_version: &str, kind: &str, value: &mut Map<String, Value>) -> Unreadable {
    let (field, is, right) = if kind == "Ingress" {
        ("apiVersion", api_version, "networking.k8s.io/v1")
    } else {
        ("kind", kind, "Ingress")
    };
    value.insert("apiVersion".to_owned(), json!("networking.k8s.io/v1"));
    value.insert("kind".to_owned(), json!("Ingress"));
    Unreadable {
        field: FieldPath(field.into()),
        value: json!(is),
        problem: format!("no Ingress has the {field} `{is}`, but `{right}`"),
    }
}

/// All objects of a kind that is not read are one diagnostic.
fn unknown_kind(api_version: &str, kind: &str) -> Decoded {
    Decoded {
        object_ref: ObjectRef::new(kind, "", "*"),
        object: None,
        notes: vec![Note {
            code: Code::UnknownKind,
            field: String::new(),
            message: format!("{kind} of `{api_version}` is not read"),
            effect: Effect::ObjectIgnored,
        }],
    }
}

/// Name and namespace, as far as they can be told.
#[derive(Default)]
struct Identity {
    namespace: String,
    name: String,
}

impl Identity {
    fn object_ref(&self, kind: ObjectKind) -> ObjectRef {
        let namespace = if kind.is_namespaced() { self.namespace.as_str() } else { "" };
        ObjectRef::new(kind.name(), namespace, self.name.as_str())
    }

    /// A name for an object that has none, the same for the same object.
    fn or_made_up(self, value: &Map<String, Value>) -> Self {
        if !self.name.is_empty() {
            return self;
        }
        let text = serde_json::to_vec(value).unwrap_or_default();
        let hash = u32::from_be_bytes(Sha256::digest(&text)[..4].try_into().unwrap_or_default());
        Self { name: format!("unnamed-{hash:08x}"), ..self }
    }

    /// Writes it where it is looked for. Gives the metadata that had to give way.
    fn write(&self, kind: ObjectKind, value: &mut Map<String, Value>) -> Option<Unreadable> {
        let mut taken = None;
        let metadata = value.entry("metadata").or_insert_with(|| json!({}));
        if !metadata.is_object() {
            let former = std::mem::replace(metadata, json!({}));
            taken = (!former.is_null()).then(|| Unreadable {
                field: FieldPath("metadata".into()),
                value: former,
                problem: "the metadata are no map".to_owned(),
            });
        }
        if let Value::Object(metadata) = metadata {
            metadata.insert("name".to_owned(), Value::String(self.name.clone()));
            if kind.is_namespaced() {
                metadata.insert("namespace".to_owned(), Value::String(self.namespace.clone()));
            } else {
                metadata.remove("namespace");
            }
        }
        taken
    }
}

/// Reads name and namespace as the API server would, or says why it would not have.
fn identity(value: &Map<String, Value>) -> Result<Identity, (Identity, Note)> {
    let metadata = value.get("metadata");
    let field = |name: &str| metadata.and_then(|metadata| metadata.get(name));
    let mut problem = None;
    let mut invalid = |field: &str, message: String| {
        let code = Code::InvalidObject;
        let effect = Effect::ObjectIgnored;
        problem.get_or_insert(Note { code, field: field.to_owned(), message, effect });
    };
    let mut identity = Identity::default();
    match field("name") {
        Some(Value::String(name)) => {
            identity.name.clone_from(name);
            if !is_dns_name(name) {
                let form = "lower-case letters, digits, `-`, `.`";
                invalid("metadata.name", format!("`{name}` is no name of an object: {form}"));
            }
        }
        Some(Value::Null) | None => invalid("metadata", "it has no name".to_owned()),
        Some(other) => {
            identity.name = other.to_string();
            invalid("metadata.name", format!("the name {other} is no text"));
        }
    }
    match field("namespace") {
        Some(Value::String(namespace)) if !namespace.is_empty() => {
            identity.namespace.clone_from(namespace);
            if !is_dns_name(namespace) {
                invalid("metadata.namespace", format!("`{namespace}` is no name of a namespace"));
            }
        }
        Some(Value::String(_) | Value::Null) | None => {
            "default".clone_into(&mut identity.namespace);
        }
        Some(other) => {
            identity.namespace = other.to_string();
            invalid("metadata.namespace", format!("the namespace {other} is no text"));
        }
    }
    match problem {
        None => Ok(identity),
        Some(note) => Err((identity, note)),
    }
}

fn is_dns_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
}

/// Numbers and booleans among the annotations become the text they were meant as, and nothing
/// becomes an empty text as in the API server.
fn annotations_as_text(value: &mut Map<String, Value>) -> Vec<Note> {
    let annotations =
        value.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    let mut notes = Vec::new();
    for (key, value) in annotations.and_then(Value::as_object_mut).into_iter().flatten() {
        if value.is_null() {
            *value = json!("");
        }
        if !value.is_number() && !value.is_boolean() {
            continue;
        }
        let text = value.to_string();
        let mut field = "metadata.annotations".to_owned();
        push_key(&mut field, key);
        notes.push(Note {
            code: Code::InvalidObject,
            field,
            message: format!("an annotation is text: `{text}` is read as \"{text}\""),
            effect: Effect::None,
        });
        *value = Value::String(text);
    }
    notes
}

/// The reading of one object.
struct Reading<'r> {
    kind: ObjectKind,
    taken: Vec<Unreadable>,
    notes: &'r mut Vec<Note>,
}

impl Reading<'_> {
    /// The object with its type. Notes every field that is not known, and those that cannot be
    /// read, but for an Ingress's: what becomes of them is known only where it is translated.
    fn typed<T>(&mut self, mut value: Map<String, Value>) -> Option<AsRead<T>>
    where
        T: DeserializeOwned + Serialize,
    {
        // Written by others, read by nobody here, and long.
        value.remove("status");
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        let mut value = Value::Object(value);
        let Some((object, taken)) = salvage::read::<T>(&mut value) else {
            self.notes.push(Note {
                code: Code::InvalidObject,
                field: String::new(),
                message: "nothing of it can be read".to_owned(),
                effect: Effect::ObjectIgnored,
            });
            return None;
        };
        self.taken.extend(taken);
        if self.kind == ObjectKind::Secret {
            for taken in &mut self.taken {
                taken.value = Value::Null;
                "it has a wrong type or encoding".clone_into(&mut taken.problem);
            }
        }
        if self.kind != ObjectKind::Ingress {
            let kind = self.kind;
            self.notes.extend(self.taken.iter().map(|taken| Note {
                code: Code::InvalidObject,
                field: taken.field.0.to_string(),
                message: taken.problem.clone(),
                effect: effect_of(kind, &taken.field.0),
            }));
        }
        if let Ok(known) = serde_json::to_value(&object) {
            let Self { kind, taken, notes } = self;
            note_unknown(&value, &known, &mut String::new(), &mut |field, value| {
                if *kind == ObjectKind::Ingress && holds_annotations(value) {
                    taken.push(Unreadable {
                        field: FieldPath(field.into()),
                        value: value.clone(),
                        problem: format!("`{field}` is not known, and holds annotations"),
                    });
                } else {
                    notes.push(unknown_field(field));
                }
            });
        }
        Some(AsRead::new(object, std::mem::take(&mut self.taken)))
    }
}

/// What the loss of a field comes to.
fn effect_of(kind: ObjectKind, field: &str) -> Effect {
    let closes = match kind {
        ObjectKind::Service => field.starts_with("spec"),
        ObjectKind::IngressClass => {
            matches!(field, "metadata" | "spec" | "spec.controller")
                || field.starts_with("metadata.annotations")
        }
        _ => false,
    };
    if closes { Effect::RouteResponds(503) } else { Effect::FieldIgnored }
}

/// Holds what was written against what was understood.
fn note_unknown(
    written: &Value,
    known: &Value,
    path: &mut String,
    note: &mut impl FnMut(&str, &Value),
) {
    let length = path.len();
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            for (key, value) in written {
                push_key(path, key);
                match known.get(key) {
                    Some(known) => note_unknown(value, known, path, note),
                    None if value.is_null() => {}
                    None => note(path, value),
                }
                path.truncate(length);
            }
        }
        (Value::Array(written), Value::Array(known)) => {
            for (index, (written, known)) in written.iter().zip(known).enumerate() {
                push_index(path, index);
                note_unknown(written, known, path, note);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn unknown_field(path: &str) -> Note {
    if legacy::is_legacy_field(path) {
        return Note {
            code: Code::LegacyFieldName,
            field: path.to_owned(),
            message: format!("`{path}` is a field of v1beta1; v1 does not know it"),
            effect: Effect::FieldIgnored,
        };
    }
    Note {
        code: Code::UnknownField,
        field: path.to_owned(),
        message: format!("`{path}` is not known"),
        effect: Effect::FieldIgnored,
    }
}

pub(super) fn push_index(path: &mut String, index: usize) {
    write!(path, "[{index}]").expect("a String takes every write");
}

pub(super) fn push_key(path: &mut String, key: &str) {
    if key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        write!(path, "[{key:?}]").expect("a String takes every write");
    }
}
