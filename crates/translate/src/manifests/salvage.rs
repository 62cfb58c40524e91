//! A value of a wrong shape to a typed object all the same: what does not fit is taken out and
//! told, and the rest is read.
//!
//! Field by field, at the places that typing itself complains about, so that there is one
//! description of the types and not two. What stands alone where a list is expected becomes a list
//! of one: whoever forgot the dash is understood, and the places below keep their names.

use model::FieldPath;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use serde_path_to_error::{Path, Segment};

use super::decode::{push_index, push_key};
use crate::as_read::Unreadable;

/// Lists of the kinds that are read, in which one entry alone is enough to know a place.
const LISTS: &[&str] = &["rules", "paths", "tls", "hosts"];

/// So many values are looked at, field by field, before the paths of all rules are taken out at
/// once: a long object that is wrong in every line must not take for ever. The hosts are known
/// still.
const VALUES_MAX: usize = 40_000_000;

/// Reads `value` as a `T`, and takes out of it whatever is in the way.
pub(super) fn read<T: DeserializeOwned>(value: &mut Value) -> Option<(T, Vec<Unreadable>)> {
    read_within(value, VALUES_MAX)
}

fn read_within<T: DeserializeOwned>(
    value: &mut Value,
    values_max: usize,
) -> Option<(T, Vec<Unreadable>)> {
    let mut taken: Vec<Unreadable> = Vec::new();
    let (size, mut looked_at) = (size(value), 0);
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&*value) {
            Ok(object) => return Some((object, taken)),
            Err(error) => error,
        };
        let was_within = looked_at < values_max;
        looked_at += size;
        let mut path = keys(error.path());
        if was_within && looked_at >= values_max {
            taken.extend(take_paths(value));
            continue;
        }
        if looked_at >= 2 * values_max {
            path.truncate(1);
        }
        let (at, former) = take_out(value, path)?;
        let field = FieldPath(text(&at).into());
        // What stands in its stead did not fit either.
        if !taken.iter().any(|known| known.field == field) {
            let problem = problem(&former, error.inner());
            taken.push(Unreadable { field, value: former, problem });
        }
    }
}

/// So much of a value is told.
const TOLD_MAX: usize = 60;

/// Why a value does not fit; the value of a scalar is told by the error.
fn problem(value: &Value, error: &serde_json::Error) -> String {
    if !value.is_array() && !value.is_object() {
        return error.to_string();
    }
    let text = value.to_string();
    let told: String = text.chars().take(TOLD_MAX).collect();
    let dots = if told.len() < text.len() { "…" } else { "" };
    format!("`{told}{dots}`: {error}")
}

/// Takes the paths of every rule out.
fn take_paths(object: &mut Value) -> Vec<Unreadable> {
    let rules = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
    let rules = rules.into_iter().flatten().enumerate();
    rules
        .filter_map(|(index, rule)| {
            let value = rule.as_object_mut()?.remove("http")?;
            Some(Unreadable {
                field: FieldPath(format!("spec.rules[{index}].http").into()),
                value,
                problem: "the object has more fields of a wrong type than are looked at".to_owned(),
            })
        })
        .collect()
}

enum Key {
    Index(usize),
    Name(String),
}

fn keys(path: &Path) -> Vec<Key> {
    let key = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Key::Index(*index)),
        Segment::Map { key } => Some(Key::Name(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(key).collect()
}

fn text(path: &[Key]) -> String {
    let mut text = String::new();
    for key in path {
        match key {
            Key::Index(index) => push_index(&mut text, *index),
            Key::Name(name) => push_key(&mut text, name),
        }
    }
    text
}

/// Takes the value at a path out, or the nearest around it that can be. Each call leaves less, so
/// that calls come to an end.
fn take_out(root: &mut Value, mut path: Vec<Key>) -> Option<(Vec<Key>, Value)> {
    loop {
        let (last, parents) = path.split_last()?;
        let parent = parents.iter().try_fold(&mut *root, |value, key| match key {
            Key::Index(index) => value.get_mut(index),
            Key::Name(name) => value.get_mut(name),
        });
        let former = match (parent, last) {
            (Some(Value::Object(map)), Key::Name(name)) => from_map(map, name),
            (Some(Value::Array(list)), Key::Index(index)) => {
                list.get_mut(*index).and_then(from_list)
            }
            _ => None,
        };
        match former {
            Some(former) => return Some((path, former)),
            None => drop(path.pop()),
        }
    }
}

fn from_map(map: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let value = map.get_mut(name)?;
    if !LISTS.contains(&name) || value.is_array() {
        return map.remove(name);
    }
    let former = value.clone();
    *value = json!([former]);
    Some(former)
}

/// An entry of a list leaves something empty, so that those after it keep their places.
fn from_list(entry: &mut Value) -> Option<Value> {
    let stand_in = match entry {
        Value::Object(map) if map.is_empty() => json!(""),
        Value::String(text) if text.is_empty() => return None,
        _ => json!({}),
    };
    Some(std::mem::replace(entry, stand_in))
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::Ingress;

    use super::*;

    fn salvaged(mut value: Value) -> (Ingress, Vec<String>) {
        let (ingress, taken) = read::<Ingress>(&mut value).unwrap();
        (ingress, taken.into_iter().map(|one| one.field.0.into()).collect())
    }

    #[test]
    fn what_fits_is_read_and_what_does_not_is_named() {
        let (ingress, taken) = salvaged(json!({
            "metadata": {"name": "a", "labels": 5},
            "spec": {"rules": [
                {"host": "a.test", "http": {"paths": [
                    {"path": "/x", "pathType": 5, "backend": {"service": {"name": "s", "port": {"number": "x"}}}},
                    "nothing",
                    {"path": ["/y"], "pathType": "Prefix", "backend": {}}
                ]}},
                {"host": {}, "http": 1}
            ]}
        }));
        assert_eq!(
            taken,
            [
                "metadata.labels",
                "spec.rules[0].http.paths[0].backend.service.port.number",
                "spec.rules[0].http.paths[0].pathType",
                "spec.rules[0].http.paths[1]",
                "spec.rules[0].http.paths[2].path",
                "spec.rules[1].host",
                "spec.rules[1].http",
            ]
        );
        let rules = ingress.spec.unwrap().rules.unwrap();
        assert_eq!(rules.len(), 2);
        let paths = &rules[0].http.as_ref().unwrap().paths;
        assert_eq!(paths[0].path.as_deref(), Some("/x"));
        assert_eq!(paths[2].path_type, "Prefix");
    }

    #[test]
    fn one_alone_is_a_list_of_one() {
        let (ingress, taken) = salvaged(json!({
            "spec": {"rules": {"host": "a.test"}, "tls": {"hosts": "a.test", "secretName": []}}
        }));
        assert_eq!(
            taken,
            ["spec.rules", "spec.tls", "spec.tls[0].hosts", "spec.tls[0].secretName"]
        );
        let spec = ingress.spec.unwrap();
        assert_eq!(spec.rules.unwrap()[0].host.as_deref(), Some("a.test"));
        assert_eq!(spec.tls.unwrap()[0].hosts.as_deref(), Some(&["a.test".to_owned()][..]));
    }

    #[test]
    fn of_an_object_that_is_wrong_in_every_line_the_hosts_stay() {
        let path = json!({"path": "/x", "pathType": 5, "backend": {}});
        let rule = json!({"host": "a.test", "http": {"paths": vec![path; 3]}});
        let mut value = json!({"spec": {"rules": vec![rule; 100]}});
        let (ingress, taken) = read_within::<Ingress>(&mut value, 10_000).unwrap();
        let rules = ingress.spec.unwrap().rules.unwrap();
        assert!(rules.iter().all(|r| r.host.as_deref() == Some("a.test") && r.http.is_none()));
        assert_eq!(&*taken[0].field.0, "spec.rules[0].http.paths[0].pathType");
        assert_eq!(&*taken.last().unwrap().field.0, "spec.rules[99].http");
        assert!(taken.len() < 120, "{}", taken.len());
    }

    #[test]
    fn an_object_of_nothing_that_fits_is_empty() {
        let (ingress, taken) = salvaged(json!({"metadata": [], "spec": 1}));
        assert_eq!(taken, ["metadata", "spec"]);
        assert_eq!(ingress, Ingress::default());
        let (_, taken) = salvaged(json!({"spec": {"rules": [1, [], {"http": {"paths": [2]}}]}}));
        assert_eq!(taken, ["spec.rules[0]", "spec.rules[1]", "spec.rules[2].http.paths[0]"]);
    }
}
