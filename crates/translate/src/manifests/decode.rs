//! One value to one typed object: version, defaults, unknown fields, wrong types.
//!
//! What the API server would have done on the way in is done here: a missing namespace is
//! `default`, `stringData` goes into `data`. What it would have refused is `invalid-object`.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use model::{Code, Effect, ObjectRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;
use std::fmt::Write;
use std::sync::Arc;

use super::legacy;
use crate::objects::{Object, ObjectKind};

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
    let Some((read_kind, is_legacy)) = known_kind(api_version, kind) else {
        return unknown_kind(api_version, kind);
    };
    let mut notes = Vec::new();
    let object_ref = match identify(read_kind, &mut value) {
        Ok(object_ref) => object_ref,
        Err((object_ref, note)) => {
            return Decoded { object_ref, object: None, notes: vec![note] };
        }
    };
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
    if read_kind == ObjectKind::Ingress {
        notes.extend(annotations_as_text(&mut value));
    }
    let object = match read_kind {
        ObjectKind::Ingress => typed::<Ingress>(value, &mut notes).map(Object::Ingress),
        ObjectKind::IngressClass => {
            typed::<IngressClass>(value, &mut notes).map(Object::IngressClass)
        }
        ObjectKind::Service => typed::<Service>(value, &mut notes).map(Object::Service),
        ObjectKind::EndpointSlice => {
            typed::<EndpointSlice>(value, &mut notes).map(Object::EndpointSlice)
        }
        ObjectKind::Endpoints => typed::<Endpoints>(value, &mut notes).map(Object::Endpoints),
        ObjectKind::Secret => typed::<Secret>(value, &mut notes)
            .map(|secret| Object::Secret(Arc::new(with_string_data(Arc::unwrap_or_clone(secret))))),
        ObjectKind::ConfigMap => typed::<ConfigMap>(value, &mut notes).map(Object::ConfigMap),
        ObjectKind::Namespace => typed::<Namespace>(value, &mut notes).map(Object::Namespace),
    };
    Decoded { object_ref, object, notes }
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
        ("v1", "Namespace") => Some((ObjectKind::Namespace, false)),
        ("discovery.k8s.io/v1", "EndpointSlice") => Some((ObjectKind::EndpointSlice, false)),
        _ => None,
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

/// Reads name and namespace, and sets the namespace as the API server would.
fn identify(
    kind: ObjectKind,
    value: &mut Map<String, Value>,
) -> Result<ObjectRef, (ObjectRef, Note)> {
    let invalid = |field: &str, name: &str, namespace: &str, message: String| {
        let note = Note {
            code: Code::InvalidObject,
            field: field.to_owned(),
            message,
            effect: Effect::ObjectIgnored,
        };
        Err((ObjectRef::new(kind.name(), namespace, name), note))
    };
    let empty = json!({});
    let metadata = value.get("metadata").unwrap_or(&empty);
    let name = match metadata.get("name") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Null) | None => {
            return invalid("metadata", "", "", "it has no name".to_owned());
        }
        Some(other) => {
            return invalid("metadata.name", "", "", format!("the name {other} is no text"));
        }
    };
    let namespace = match metadata.get("namespace") {
        Some(Value::String(namespace)) if !namespace.is_empty() => namespace.clone(),
        Some(Value::String(_) | Value::Null) | None => "default".to_owned(),
        Some(other) => {
            let message = format!("the namespace {other} is no text");
            return invalid("metadata.namespace", "", "", message);
        }
    };
    if !is_dns_name(&name) {
        let message =
            format!("`{name}` is no name of an object: lower-case letters, digits, `-`, `.`");
        return invalid("metadata.name", &name, "", message);
    }
    if !is_dns_name(&namespace) {
        let message = format!("`{namespace}` is no name of a namespace");
        return invalid("metadata.namespace", &name, "", message);
    }
    let namespace = if kind.is_namespaced() { namespace } else { String::new() };
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        if kind.is_namespaced() {
            metadata.insert("namespace".to_owned(), Value::String(namespace.clone()));
        } else {
            metadata.remove("namespace");
        }
    }
    Ok(ObjectRef::new(kind.name(), namespace, name))
}

fn is_dns_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.'])
}

/// Numbers and booleans among the annotations become the text they were meant as. Left out with its
/// Ingress, an unquoted `limit-rps: 5` would leave its paths to a broader route without that limit.
fn annotations_as_text(value: &mut Map<String, Value>) -> Vec<Note> {
    let annotations =
        value.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    let mut notes = Vec::new();
    for (key, value) in annotations.and_then(Value::as_object_mut).into_iter().flatten() {
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

/// The object with its type. Notes the field of a wrong type, and every field that is not known.
fn typed<T>(mut value: Map<String, Value>, notes: &mut Vec<Note>) -> Option<Arc<T>>
where
    T: DeserializeOwned + Serialize,
{
    // Written by others, read by nobody here, and long.
    value.remove("status");
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    let value = Value::Object(value);
    let object: T = match serde_path_to_error::deserialize(&value) {
        Ok(object) => object,
        Err(error) => {
            notes.push(Note {
                code: Code::InvalidObject,
                field: field_path(error.path()),
                message: error.inner().to_string(),
                effect: Effect::ObjectIgnored,
            });
            return None;
        }
    };
    if let Ok(known) = serde_json::to_value(&object) {
        note_unknown(&value, &known, &mut String::new(), notes);
    }
    Some(Arc::new(object))
}

/// Holds what was written against what was understood.
fn note_unknown(written: &Value, known: &Value, path: &mut String, notes: &mut Vec<Note>) {
    let length = path.len();
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            for (key, value) in written {
                push_key(path, key);
                match known.get(key) {
                    Some(known) => note_unknown(value, known, path, notes),
                    None if value.is_null() => {}
                    None => notes.push(unknown_field(path)),
                }
                path.truncate(length);
            }
        }
        (Value::Array(written), Value::Array(known)) => {
            for (index, (written, known)) in written.iter().zip(known).enumerate() {
                push_index(path, index);
                note_unknown(written, known, path, notes);
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

fn push_index(path: &mut String, index: usize) {
    write!(path, "[{index}]").expect("a String takes every write");
}

fn push_key(path: &mut String, key: &str) {
    if key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        write!(path, "[{key:?}]").expect("a String takes every write");
    }
}

fn field_path(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push_index(&mut text, *index),
            Segment::Map { key } => push_key(&mut text, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// The API server writes `stringData` over `data`.
fn with_string_data(mut secret: Secret) -> Secret {
    if let Some(texts) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
    }
    secret
}
