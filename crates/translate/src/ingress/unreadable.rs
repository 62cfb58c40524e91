//! What becomes of an Ingress of which something cannot be read: whatever can be told of a place is
//! kept, and answers 503.

use k8s_openapi::api::networking::v1::{Ingress, IngressRule};
use model::{Action, ClosedReason, Code, Effect, Hostname};
use serde_json::Value;

use super::{PathRule, PathType, Walk};
use crate::annotation::{holds_annotations, is_ours};
use crate::as_read::{AsRead, Unreadable};
use crate::scope::Scope;

/// Reports what cannot be read outside of the spec, and annotations that stand where none belong.
/// Nobody can say what annotations among it were to restrict: then there is a reason to close all
/// routes.
pub(super) fn metadata(
    ingress: &AsRead<Ingress>,
    class_closed: Option<&ClosedReason>,
    root: &Scope<'_>,
) -> Option<ClosedReason> {
    let mut closed = None;
    for taken in ingress.unreadable() {
        let field = &*taken.field.0;
        let is_misplaced = holds_annotations(&taken.value);
        let is_told = field.starts_with("spec") && !is_misplaced;
        // What hides the class has been told.
        if is_told || class_closed.is_some_and(|class| *class.field == *field) {
            continue;
        }
        let scope = root.at(field);
        let restricts = match field.strip_prefix("metadata.annotations") {
            Some(key) => key.is_empty() || is_ours(key.trim_start_matches(['[', '"'])),
            None => is_misplaced || matches!(field, "metadata" | "apiVersion" | "kind"),
        };
        if !restricts {
            scope.report(Code::InvalidObject, Effect::FieldIgnored, &*taken.problem);
            continue;
        }
        let message = format!("{}; all routes of the Ingress answer 503", taken.problem);
        scope.report(Code::InvalidObject, Effect::RouteResponds(503), message);
        closed = closed.or_else(|| Some(reason(&scope)));
    }
    closed
}

/// Says that something is lost of which not even the place is known.
pub(super) fn report_no_place(taken: &Unreadable, scope: &Scope<'_>) {
    let message = format!(
        "{}; which host and path it was for cannot be told, and other routes answer",
        taken.problem
    );
    scope.report(Code::InvalidObject, Effect::RouteDropped, message);
}

fn reason(scope: &Scope<'_>) -> ClosedReason {
    ClosedReason { code: Code::InvalidObject.id().into(), field: scope.path().0 }
}

/// The hosts of a rule, and what is wrong with them; if anything is, all its paths answer 503.
pub(super) struct RuleHosts {
    pub(super) names: Vec<Hostname>,
    pub(super) fault: Option<Code>,
}

impl Walk<'_> {
    /// What was written alone where a list is expected can be read, and is no reason to serve it.
    pub(super) fn close_unless_list(&mut self, scope: &Scope<'_>) {
        let Some(taken) = self.ingress.taken_at(scope) else { return };
        let message = format!("{}; all routes of the Ingress answer 503", taken.problem);
        scope.report(Code::InvalidObject, Effect::RouteResponds(503), message);
        self.wishes.closed.get_or_insert_with(|| reason(scope));
    }

    /// Reports what of a backend cannot be read; `true` when something cannot.
    pub(super) fn report_backend(&self, scope: &Scope<'_>) -> bool {
        if self.ingress.unreadable().is_empty() {
            return false;
        }
        let within = scope.path();
        let mut taken =
            self.ingress.unreadable().iter().filter(|t| t.is_within(&within.0)).peekable();
        let is_unreadable = taken.peek().is_some();
        for taken in taken {
            let message = format!("{}; its requests are answered with 503", taken.problem);
            let (code, effect) = (Code::InvalidObject, Effect::RouteResponds(503));
            scope.report_at(&taken.field.0, code, effect, message);
        }
        is_unreadable
    }

    /// The host of a rule. One that cannot be read is looked for in what stands there; where there
    /// is none, the rule is held against requests for hosts that nobody names.
    pub(super) fn unreadable_hosts(
        &self,
        rule: &IngressRule,
        scope: &Scope<'_>,
    ) -> Option<RuleHosts> {
        let host = scope.at("host");
        let (place, taken) = match (self.ingress.taken_at(scope), self.ingress.taken_at(&host)) {
            (Some(taken), _) => (scope, taken),
            (None, Some(taken)) => (&host, taken),
            (None, None) => return None,
        };
        let mut names = Vec::new();
        hostnames_in(&taken.value, &mut names);
        let has_paths = rule.http.as_ref().is_some_and(|http| !http.paths.is_empty());
        if names.is_empty() && !has_paths {
            report_no_place(taken, place);
            return Some(RuleHosts { names, fault: Some(Code::InvalidObject) });
        }
        let is_whole_rule = std::ptr::eq(place, scope);
        if is_whole_rule && !names.is_empty() {
            // What stands for its path says it.
            return Some(RuleHosts { names, fault: Some(Code::InvalidObject) });
        }
        let message = if names.is_empty() {
            names.push(Hostname::Any);
            "its paths answer 503 for hosts without a rule, and other routes for the host it was for"
                .to_owned()
        } else {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("its paths answer 503 for {}", names.join(" and "))
        };
        let message = format!("{}; {message}", taken.problem);
        place.report(Code::InvalidObject, Effect::RouteResponds(503), message);
        Some(RuleHosts { names, fault: Some(Code::InvalidObject) })
    }

    /// What stands for a path that cannot be read: `/`, if the host is known.
    pub(super) fn rest(
        &self,
        taken: &Unreadable,
        hosts: &RuleHosts,
        at: &Scope<'_>,
    ) -> Vec<PathRule> {
        if hosts.fault.is_some() && hosts.names == [Hostname::Any] {
            report_no_place(taken, at);
            return Vec::new();
        }
        let names: Vec<String> = hosts.names.iter().map(|name| format!("`{name}`")).collect();
        let message = format!(
            "{}; whatever no other path of {} names answers 503",
            taken.problem,
            names.join(" and ")
        );
        at.report(Code::InvalidObject, Effect::RouteResponds(503), message);
        vec![PathRule {
            path_type: PathType::Prefix,
            path: "/".into(),
            is_regex: false,
            is_literal: false,
            rewrite: None,
            closed: self.wishes.closed.clone(),
            action: Action::unavailable(Code::InvalidObject.id()),
            takes_rest: true,
            provenance: at.provenance(),
        }]
    }
}

/// The hosts that a text means which is none itself: with a scheme, a port or a path, or several;
/// every host that nobody names for a lone `*`.
pub(super) fn hosts_meant(text: &str) -> Vec<Hostname> {
    if text.trim() == "*" {
        return vec![Hostname::Any];
    }
    let mut names = Vec::new();
    for word in text.split([',', ';', '|', '(', ')', '"', '\'', ' ', '\t', '\n']) {
        let authority = word.split_once("//").map_or(word, |(_, behind)| behind);
        let authority = authority.split_once('@').map_or(authority, |(_, behind)| behind);
        let host = authority.split([':', '/', '?', '#']).next().unwrap_or_default();
        hostnames_in(&Value::String(host.to_owned()), &mut names);
    }
    names
}

/// Every text in a value that is a host; of a map, the one that it calls so.
fn hostnames_in(value: &Value, found: &mut Vec<Hostname>) {
    match value {
        Value::String(text) => match Hostname::parse(text) {
            Ok(Hostname::Any) | Err(_) => {}
            Ok(name) if found.contains(&name) => {}
            Ok(name) => found.push(name),
        },
        Value::Array(list) => list.iter().for_each(|value| hostnames_in(value, found)),
        Value::Object(map) => map.get("host").into_iter().for_each(|v| hostnames_in(v, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_seen_behind_what_does_not_belong_to_it() {
        let meant = |text: &str| {
            hosts_meant(text).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(meant("shop.test:8443"), "shop.test");
        assert_eq!(meant("https://Shop.test/cart"), "shop.test");
        assert_eq!(meant(" *.shop.test"), "*.shop.test");
        assert_eq!(meant("a.test, b.test"), "a.test b.test");
        assert_eq!(meant("a.test|(b.test)"), "a.test b.test");
        assert_eq!(meant("\"shop.test\""), "shop.test");
        assert_eq!(meant("//me@shop.test/"), "shop.test");
        assert_eq!(meant("*"), "*");
        for none in ["10.0.0.1", "f*.shop.test", "*.*.shop.test", "[::1]:80", ":80", "/x"] {
            assert_eq!(meant(none), "", "{none}");
        }
    }
}
