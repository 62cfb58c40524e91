//! `Ingress` and `IngressClass` of the versions that API servers took before 1.22, to today's.
//!
//! Fields are renamed as the API server did when it stored them. Only what it could not convert is
//! mended beyond that: a port that is a number written as a text.

use serde_json::{Map, Value, json};

/// A conversion that the API server would not have made.
pub(super) struct Mended {
    pub(super) field: String,
    pub(super) message: String,
}

/// Converts the spec of an Ingress of `extensions/v1beta1` or `networking.k8s.io/v1beta1`.
pub(super) fn convert_ingress(object: &mut Map<String, Value>) -> Vec<Mended> {
    let mut mended = Vec::new();
    let Some(Value::Object(spec)) = object.get_mut("spec") else { return mended };
    if let Some(backend) = spec.remove("backend") {
        let converted = convert_backend(backend, "spec.backend", &mut mended);
        spec.insert("defaultBackend".to_owned(), converted);
    }
    let Some(Value::Array(rules)) = spec.get_mut("rules") else { return mended };
    for (index, rule) in rules.iter_mut().enumerate() {
        let Some(Value::Array(paths)) = rule.pointer_mut("/http/paths") else { continue };
        for (position, path) in paths.iter_mut().enumerate() {
            let Value::Object(path) = path else { continue };
            path.entry("pathType").or_insert_with(|| json!("ImplementationSpecific"));
            if let Some(backend) = path.remove("backend") {
                let field = format!("spec.rules[{index}].http.paths[{position}].backend");
                path.insert("backend".to_owned(), convert_backend(backend, &field, &mut mended));
            }
        }
    }
    mended
}

fn convert_backend(backend: Value, field: &str, mended: &mut Vec<Mended>) -> Value {
    let Value::Object(mut backend) = backend else { return backend };
    let name = backend.remove("serviceName");
    let port = backend.remove("servicePort");
    if name.is_none() && port.is_none() {
        return Value::Object(backend);
    }
    let port = match port {
        None | Some(Value::Null) => Map::new(),
        Some(Value::String(text)) => match text.parse::<u16>() {
            Ok(number) => {
                mended.push(Mended {
                    field: format!("{field}.servicePort"),
                    message: format!("\"{text}\" is a text and is read as the number {number}"),
                });
                Map::from_iter([("number".to_owned(), json!(number))])
            }
            Err(_) => Map::from_iter([("name".to_owned(), Value::String(text))]),
        },
        Some(number) => Map::from_iter([("number".to_owned(), number)]),
    };
    let mut service = Map::from_iter([("port".to_owned(), Value::Object(port))]);
    if let Some(name) = name {
        service.insert("name".to_owned(), name);
    }
    backend.insert("service".to_owned(), Value::Object(service));
    Value::Object(backend)
}

/// Whether a field that today's Ingress does not know is one that its former versions had.
pub(super) fn is_legacy_field(field: &str) -> bool {
    field == "spec.backend"
        || (field.ends_with("ackend.serviceName") || field.ends_with("ackend.servicePort"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports_move_to_their_place_of_today() {
        let mut object = json!({"spec": {
            "backend": {"serviceName": "d", "servicePort": "web"},
            "rules": [{"http": {"paths": [
                {"path": "/a", "backend": {"serviceName": "a", "servicePort": 80}},
                {"pathType": "Exact", "path": "/b", "backend": {"serviceName": "b", "servicePort": "80"}}
            ]}}]
        }});
        let Value::Object(map) = &mut object else { panic!() };
        let mended = convert_ingress(map);
        assert_eq!(
            object,
            json!({"spec": {
                "defaultBackend": {"service": {"name": "d", "port": {"name": "web"}}},
                "rules": [{"http": {"paths": [
                    {"path": "/a", "pathType": "ImplementationSpecific",
                     "backend": {"service": {"name": "a", "port": {"number": 80}}}},
                    {"path": "/b", "pathType": "Exact",
                     "backend": {"service": {"name": "b", "port": {"number": 80}}}}
                ]}}]
            }})
        );
        assert_eq!(mended.len(), 1);
        assert_eq!(mended[0].field, "spec.rules[0].http.paths[1].backend.servicePort");
    }
}
