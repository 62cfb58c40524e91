//! The annotations of an Ingress to wishes: what it wants of its routes.
//!
//! `nginx.ingress.kubernetes.io/*` is read in both dialects; `portcullis.io/*` says the same and
//! wins where both stand. Nothing is ignored in silence: a name that is unknown, not yet supported
//! or malformed is reported, and where it was meant to restrict access its routes answer 503.

mod backend_protocol;
mod https_redirect;
mod keys;
mod rewrite;
mod suggest;
mod value;

use std::collections::BTreeMap;

use model::policy::Rewrite;
use model::{ClosedReason, Code, Effect, UpstreamProtocol};

use crate::class::Parameters;
use crate::scope::Scope;
use crate::settings::Settings;
use keys::Status;

pub use keys::{AnnotationInfo, AnnotationStatus, annotations, may_ignore};
pub(crate) use rewrite::highest_capture;
pub(crate) use suggest::means_access_control;

/// The prefix of ingress-nginx.
pub const NGINX_PREFIX: &str = "nginx.ingress.kubernetes.io/";
/// Our own prefix.
pub const OWN_PREFIX: &str = "portcullis.io/";
/// The annotation that named a class before `spec.ingressClassName` did.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What the annotations of one Ingress want.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wishes {
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) use_regex: bool,
    pub(crate) ssl_redirect: bool,
    pub(crate) force_ssl_redirect: bool,
    pub(crate) protocol: Option<UpstreamProtocol>,
    /// Every route of the Ingress answers 503.
    pub(crate) closed: Option<ClosedReason>,
    /// It is a canary, which must never answer as if it were the primary.
    pub(crate) canary: bool,
}

/// Reads all annotations. `scope` is `metadata.annotations`.
pub(crate) fn read(
    annotations: &BTreeMap<String, String>,
    settings: &Settings,
    parameters: &Parameters,
    scope: &Scope<'_>,
) -> Wishes {
    let ignored = parameters.ignored_annotations.as_ref().unwrap_or(&settings.ignored_annotations);
    let reader = Reader { annotations, ignored, scope };
    let (status_closed, canary) = reader.check_names();
    let (rewrite, rewrite_closed) = rewrite::read(&reader);
    let (protocol, protocol_closed) = backend_protocol::read(&reader);
    Wishes {
        rewrite,
        use_regex: reader.flag("use-regex").unwrap_or(false),
        ssl_redirect: https_redirect::read(&reader, parameters),
        force_ssl_redirect: reader
            .flag("force-ssl-redirect")
            .or(parameters.force_ssl_redirect)
            .unwrap_or(false),
        protocol,
        closed: status_closed.or(protocol_closed).or(rewrite_closed),
        canary,
    }
}

/// The annotations with the place they stand at.
struct Reader<'r> {
    annotations: &'r BTreeMap<String, String>,
    /// The refused names that close nothing.
    ignored: &'r [String],
    scope: &'r Scope<'r>,
}

/// A value, and the full name it stands under.
struct Value {
    key: String,
    text: String,
}

impl Reader<'_> {
    /// The value under either prefix; an empty one counts as absent, as in ingress-nginx.
    fn value(&self, name: &str) -> Option<Value> {
        [OWN_PREFIX, NGINX_PREFIX].into_iter().find_map(|prefix| {
            let key = format!("{prefix}{name}");
            let text = value::normalise(self.annotations.get(&key)?);
            (!text.is_empty()).then_some(Value { key, text })
        })
    }

    /// A boolean; what is none is reported and counts as absent.
    fn flag(&self, name: &str) -> Option<bool> {
        let found = self.value(name)?;
        let flag = value::flag(&found.text);
        if flag.is_none() {
            let message = format!("`{}` is neither \"true\" nor \"false\"", found.text);
            self.invalid(&found, Effect::FieldIgnored, message);
        }
        flag
    }

    fn invalid(&self, value: &Value, effect: Effect, message: String) {
        self.scope.key(&value.key).report(Code::InvalidAnnotationValue, effect, message);
    }

    /// A value without which the routes must not be served.
    fn refuse(&self, value: &Value, code: Code, message: String) -> ClosedReason {
        let scope = self.scope.key(&value.key);
        scope.report(code, Effect::RouteResponds(503), message);
        ClosedReason { code: code.id().into(), field: scope.path().0 }
    }

    /// Holds every name against the table. Gives the first reason to close the routes, and whether
    /// this is a canary.
    fn check_names(&self) -> (Option<ClosedReason>, bool) {
        let mut closed = None;
        let mut canary = false;
        for (key, text) in self.annotations {
            let name = key.strip_prefix(NGINX_PREFIX).or_else(|| key.strip_prefix(OWN_PREFIX));
            let value = Value { key: key.clone(), text: value::normalise(text) };
            let Some(name) = name else {
                // Nobody reads such a name, and an API server lets capital letters through.
                if let Some(name) = without_written_prefix(key) {
                    let reason = self.check_unknown(name, &value);
                    closed = closed.or(reason);
                } else {
                    self.check_foreign(key);
                }
                continue;
            };
            if name == "canary" && value::flag(&value.text) == Some(true) {
                canary = true;
                self.scope.key(key).report(
                    Code::UnsupportedAnnotation,
                    Effect::ObjectIgnored,
                    "canaries are not supported yet; served alone, this one would take all traffic",
                );
                continue;
            }
            let reason = self.check_name(name, &value);
            closed = closed.or(reason);
        }
        (closed, canary)
    }

    fn check_name(&self, name: &str, value: &Value) -> Option<ClosedReason> {
        let scope = self.scope.key(&value.key);
        match keys::status(name) {
            Status::Unknown => self.check_unknown(name, value),
            _ if value.text.is_empty() => {
                scope.report(
                    Code::AnnotationWithoutEffect,
                    Effect::FieldIgnored,
                    "an empty value counts as absent",
                );
                None
            }
            Status::Supported => None,
            Status::NoEffect => {
                scope.report(
                    Code::AnnotationWithoutEffect,
                    Effect::None,
                    format!("`{name}` has no effect here"),
                );
                None
            }
            Status::NotYet => {
                scope.report(
                    Code::UnsupportedAnnotation,
                    Effect::FieldIgnored,
                    format!("`{name}` is not supported yet"),
                );
                None
            }
            Status::Restricting { harmless: Some(all) } if value::are_equal(&value.text, all) => {
                scope.report(
                    Code::AnnotationWithoutEffect,
                    Effect::None,
                    format!("`{name}: {}` restricts nothing", value.text),
                );
                None
            }
            Status::Restricting { .. } => Some(self.refuse(
                value,
                Code::UnsupportedAccessControl,
                format!("`{name}` restricts access and is not supported yet"),
            )),
            Status::Snippet
                if may_ignore(name).is_ok() && self.ignored.iter().any(|known| known == name) =>
            {
                scope.report(
                    Code::IgnoredAnnotation,
                    Effect::FieldIgnored,
                    format!("`{name}` is refused, and its routes are served without it"),
                );
                None
            }
            Status::Snippet => Some(self.refuse(
                value,
                Code::RefusedSnippet,
                format!("`{name}` is configuration text of another program"),
            )),
        }
    }

    /// A name that nobody knows. Where it was meant to restrict access, a slip of the pen must not
    /// leave open what its writer believes closed.
    fn check_unknown(&self, name: &str, value: &Value) -> Option<ClosedReason> {
        let scope = self.scope.key(&value.key);
        let message = if value.key.starts_with(OWN_PREFIX) {
            format!("`{}` is not known", value.key)
        } else {
            format!("`{}` is not an annotation of ingress-nginx", value.key)
        };
        let has_prefix = [NGINX_PREFIX, OWN_PREFIX].iter().any(|p| value.key.starts_with(p));
        let help = if has_prefix || keys::status(name) == Status::Unknown {
            suggest::for_unknown(name)
        } else {
            Some(format!("did you mean `{NGINX_PREFIX}{name}`?"))
        };
        if !means_access_control(name) {
            let effect = Effect::FieldIgnored;
            scope.report_with(Code::UnknownAnnotation, effect, message, help, vec![]);
            return None;
        }
        let code = Code::UnsupportedAccessControl;
        let message = format!("{message}, and its name speaks of restricting access");
        scope.report_with(code, Effect::RouteResponds(503), message, help, vec![]);
        Some(ClosedReason { code: code.id().into(), field: scope.path().0 })
    }

    /// Annotations of the products that are easily taken for ingress-nginx.
    fn check_foreign(&self, key: &str) {
        if ["nginx.org/", "nginx.com/", "ingress.kubernetes.io/"].iter().any(|p| key.starts_with(p))
        {
            self.scope.key(key).report(
                Code::UnknownAnnotation,
                Effect::FieldIgnored,
                format!("`{key}` belongs to another product than ingress-nginx"),
            );
        }
    }
}

/// Whether a key has one of our two prefixes, or was meant to have it.
pub(crate) fn is_ours(key: &str) -> bool {
    without_written_prefix(key).is_some()
}

/// Whether annotations of ours stand anywhere in a value.
pub(crate) fn holds_annotations(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().any(|(key, value)| is_ours(key) || holds_annotations(value))
        }
        serde_json::Value::Array(list) => list.iter().any(holds_annotations),
        _ => false,
    }
}

/// The name behind one of our two prefixes, written with capital letters, between spaces, or with a
/// slip of the pen.
fn without_written_prefix(key: &str) -> Option<&str> {
    let (domain, name) = key.trim().split_once('/')?;
    let domain = domain.to_ascii_lowercase();
    let is_meant = |prefix: &str| suggest::is_slip_of(&domain, prefix.trim_end_matches('/'));
    [NGINX_PREFIX, OWN_PREFIX].into_iter().any(is_meant).then_some(name)
}
