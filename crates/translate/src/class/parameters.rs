//! `spec.parameters` of an `IngressClass`: what it says of all its Ingresses.
//!
//! The object named is a `ConfigMap`, whose keys are the names of settings, or one of our own kind.
//! The namespace of a `ConfigMap` may belong to a team that the class is for: what it names is
//! looked for there and nowhere else. Nothing in either can open what restricts access.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{IngressClass, IngressClassParametersReference};
use model::{ClosedReason, Code, Effect, ObjectRef, Provenance};
use serde_json::Value;

use super::object;
use crate::annotation::{may_ignore, means_access_control};
use crate::lookup::Lookup;
use crate::scope::Scope;
use crate::settings::{Dialect, NamedService};

/// What a class says; absent is what the settings say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Parameters {
    pub(crate) dialect: Option<Dialect>,
    /// Refused annotations that close nothing.
    pub(crate) ignored_annotations: Option<Vec<String>>,
    pub(crate) ssl_redirect: Option<bool>,
    pub(crate) force_ssl_redirect: Option<bool>,
    /// What answers where no path of a host of its Ingresses does.
    pub(crate) default_backend: Option<(NamedService, Provenance)>,
    /// The Secret for TLS entries that name none.
    pub(crate) default_certificate: Option<DefaultCertificate>,
    /// Something that restricts access cannot be honoured: its Ingresses answer 503.
    pub(crate) closed: Option<ClosedReason>,
}

/// A Secret, and where it is named.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DefaultCertificate {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) named_at: Provenance,
}

/// Reads the parameters of a class of ours. `scope` is the class.
pub(super) fn read(class: &IngressClass, lookup: &Lookup<'_>, scope: &Scope<'_>) -> Parameters {
    let Some(reference) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) else {
        return Parameters::default();
    };
    let scope = scope.at("spec.parameters");
    match place(reference) {
        Err(Wrong { field, problem }) => {
            let (code, effect) = (Code::InvalidClassParameter, Effect::FieldIgnored);
            scope.at(field).report(code, effect, problem);
            Parameters::default()
        }
        Ok(Place::ConfigMap { namespace }) => {
            from_config_map(&namespace.into(), &reference.name.as_str().into(), lookup, &scope)
        }
        Ok(Place::Own) => from_own_kind(&reference.name.as_str().into(), lookup, &scope),
    }
}

/// Where parameters are.
enum Place<'p> {
    ConfigMap { namespace: &'p str },
    Own,
}

/// What is wrong with a reference.
struct Wrong {
    field: &'static str,
    problem: String,
}

/// The place that is referred to.
fn place(reference: &IngressClassParametersReference) -> Result<Place<'_>, Wrong> {
    let wrong = |field, problem: &str| Err(Wrong { field, problem: problem.to_owned() });
    let group = reference.api_group.as_deref().unwrap_or_default();
    let scope = reference.scope.as_deref().unwrap_or("Cluster");
    match (group, &*reference.kind) {
        (object::GROUP, object::KIND) if scope == "Cluster" => Ok(Place::Own),
        (object::GROUP, object::KIND) => {
            wrong("scope", "ClusterIngressParameters are in no namespace: the scope is `Cluster`")
        }
        ("", "ConfigMap") => match (scope, reference.namespace.as_deref()) {
            ("Namespace", Some(namespace)) if !namespace.is_empty() => {
                Ok(Place::ConfigMap { namespace })
            }
            ("Namespace", _) => wrong("namespace", "a ConfigMap is in a namespace"),
            _ => wrong("scope", "a ConfigMap is in a namespace: the scope is `Namespace`"),
        },
        (group, kind) => {
            let kind = [kind, group].join(".");
            let kind = kind.trim_end_matches('.');
            let problem = format!(
                "parameters of kind `{kind}` are not read: a ConfigMap is, and \
                 ClusterIngressParameters.portcullis.io"
            );
            wrong("kind", &problem)
        }
    }
}

/// Parameters of our own kind: names are those of the settings, as fields of an API are written.
fn from_own_kind(name: &Arc<str>, lookup: &Lookup<'_>, scope: &Scope<'_>) -> Parameters {
    let Some(object) = lookup.class_parameters(name) else {
        scope.report(
            Code::ClassParametersNotFound,
            Effect::FieldIgnored,
            format!("ClusterIngressParameters {name} does not exist; the class has no parameters"),
        );
        return Parameters::default();
    };
    let mut reader = Reader {
        read: Parameters::default(),
        object: ObjectRef::new(object::KIND, "", name.clone()),
        scope,
    };
    for (field, value) in &object.spec {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        reader.read_key(&kebab_case(field), &format!("spec.{field}"), &text);
    }
    for taken in object.unreadable().iter().filter(|taken| taken.is_within("spec")) {
        reader.close(&taken.field.0, &taken.problem);
    }
    reader.read
}

/// `sslRedirect` as `ssl-redirect`.
fn kebab_case(field: &str) -> String {
    let mut name = String::with_capacity(field.len() + 4);
    for c in field.chars() {
        if c.is_ascii_uppercase() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

fn from_config_map(
    namespace: &Arc<str>,
    name: &Arc<str>,
    lookup: &Lookup<'_>,
    scope: &Scope<'_>,
) -> Parameters {
    let Some(object) = lookup.config_map(namespace, name) else {
        scope.report(
            Code::ClassParametersNotFound,
            Effect::FieldIgnored,
            format!("ConfigMap {namespace}/{name} does not exist; the class has no parameters"),
        );
        return Parameters::default();
    };
    let mut reader = Reader {
        read: Parameters::default(),
        object: ObjectRef::new("ConfigMap", namespace.clone(), name.clone()),
        scope,
    };
    for (key, text) in object.data.iter().flatten() {
        reader.read_key(key, &format!("data[{key:?}]"), text.trim());
    }
    for taken in object.unreadable().iter().filter(|taken| taken.is_within("data")) {
        reader.close(&taken.field.0, &taken.problem);
    }
    reader.read
}

struct Reader<'r> {
    read: Parameters,
    object: ObjectRef,
    scope: &'r Scope<'r>,
}

impl Reader<'_> {
    fn read_key(&mut self, key: &str, field: &str, text: &str) {
        let read = match key {
            "dialect" => text.parse().map(|dialect| self.read.dialect = Some(dialect)),
            "ssl-redirect" => flag(text).map(|flag| self.read.ssl_redirect = Some(flag)),
            "force-ssl-redirect" => {
                flag(text).map(|flag| self.read.force_ssl_redirect = Some(flag))
            }
            "refused-annotations" => {
                let names = ignored(text);
                // What cannot be read ignores nothing.
                self.read.ignored_annotations = Some(names.clone().unwrap_or_default());
                names.map(|_| ())
            }
            "default-backend-service" => self.service(text).map(|service| {
                self.read.default_backend = Some((service, self.place(field)));
            }),
            "default-tls-secret" => self.secret(text).map(|(namespace, name)| {
                let named_at = self.place(field);
                let certificate = DefaultCertificate { namespace, name, named_at };
                self.read.default_certificate = Some(certificate);
            }),
            _ if means_access_control(key) => {
                let problem = "it is not supported, and its name speaks of restricting access";
                return self.close(field, problem);
            }
            _ => Err("no class has such a parameter".to_owned()),
        };
        if let Err(problem) = read {
            self.report(field, Effect::FieldIgnored, &problem);
        }
    }

    fn place(&self, field: &str) -> Provenance {
        Provenance::new(self.object.clone(), field)
    }

    /// `NAME[:PORT]` in the namespace of a `ConfigMap`; `NAMESPACE/NAME[:PORT]` elsewhere.
    fn service(&self, text: &str) -> Result<NamedService, String> {
        let (namespace, name) = self.own(text)?;
        format!("{namespace}/{name}").parse()
    }

    fn secret(&self, text: &str) -> Result<(Arc<str>, Arc<str>), String> {
        let (namespace, name) = self.own(text)?;
        if namespace.is_empty() || name.is_empty() {
            return Err("it names no Secret".to_owned());
        }
        // What is asked of the API server is put together from these.
        if !is_label(namespace) {
            return Err(format!(
                "`{namespace}` is no name of a namespace: write at most 63 of a-z, 0-9 and `-`, \
                 with a letter or digit at both ends"
            ));
        }
        if name.len() > NAME_MAX || !name.split('.').all(is_label_of_any_length) {
            return Err(format!(
                "`{name}` is no name of a Secret: write at most {NAME_MAX} of a-z, 0-9, `-` and \
                 `.`, with a letter or digit at both ends of each part"
            ));
        }
        Ok((namespace.into(), name.into()))
    }

    /// The namespace and name of something.
    fn own<'t>(&'t self, text: &'t str) -> Result<(&'t str, &'t str), String> {
        let namespace = &*self.object.namespace;
        match text.split_once('/') {
            Some(named) if namespace.is_empty() => Ok(named),
            None if !namespace.is_empty() => Ok((namespace, text)),
            Some(_) => {
                Err(format!("`{text}` has a `/`: write a name in namespace {namespace} alone"))
            }
            None => Err(format!("`{text}` has no `/`: write NAMESPACE/NAME")),
        }
    }

    fn close(&mut self, field: &str, problem: &str) {
        self.report(field, Effect::RouteResponds(503), problem);
        let code = Code::InvalidClassParameter.id().into();
        let field = self.scope.path().0;
        self.read.closed.get_or_insert(ClosedReason { code, field });
    }

    fn report(&self, field: &str, effect: Effect, problem: &str) {
        let message = format!("`{field}` of {}: {problem}", self.object);
        self.scope.report(Code::InvalidClassParameter, effect, message);
    }
}

/// The most bytes in the name of an object that is no label (Kubernetes, "Object Names and IDs").
const NAME_MAX: usize = 253;

/// A label of RFC 1123, which the name of a namespace is.
fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_label_of_any_length(text)
}

/// A part of a name; that it is a whole label in DNS is not asked of objects.
fn is_label_of_any_length(text: &str) -> bool {
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
        && bytes.iter().all(|b| is_alphanumeric(b) || *b == b'-')
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{text}` is neither \"true\" nor \"false\"")),
    }
}

/// `deny`, or `ignore NAME...`.
fn ignored(text: &str) -> Result<Vec<String>, String> {
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
    match (words.next(), words.clone().next()) {
        (Some("deny"), None) => return Ok(Vec::new()),
        (Some("ignore"), Some(_)) => {}
        _ => return Err(format!("`{text}` is neither `deny` nor `ignore NAME...`")),
    }
    let check = |name: &str| match may_ignore(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(why) => Err(format!("`{name}` {why}")),
    };
    words.map(check).collect()
}
