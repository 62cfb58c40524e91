//! `spec.rules`: hosts, paths and path types.
//!
//! A path that cannot be served as written keeps its place and answers 503, so that nothing
//! broader answers in its stead.

use std::collections::HashMap;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressRule};
use model::{Action, Code, Effect, Hostname};

use super::unreadable::{RuleHosts, hosts_meant};
use super::{Fragment, HostRules, PathRule, PathType, Walk, place};
use crate::annotation::highest_capture;
use crate::pattern::{self, Pattern};
use crate::scope::Scope;
use crate::settings::Dialect;

impl Walk<'_> {
    pub(super) fn read_rule(
        &mut self,
        rule: &IngressRule,
        fragment: &mut Fragment,
        scope: &Scope<'_>,
    ) {
        let Some(hosts) = self.rule_hosts(rule, scope) else { return };
        let Some((last, others)) = hosts.names.split_last() else { return };
        let paths = self.read_paths(rule, &hosts, scope);
        for name in others {
            hosts.add_paths(fragment, &mut self.places, name, paths.clone(), scope);
        }
        hosts.add_paths(fragment, &mut self.places, last, paths, scope);
    }

    /// The hosts of a rule: one, or more where it cannot be told which. None for a name that no
    /// request can have.
    fn rule_hosts(&self, rule: &IngressRule, scope: &Scope<'_>) -> Option<RuleHosts> {
        if let Some(hosts) = self.unreadable_hosts(rule, scope) {
            return Some(hosts);
        }
        let text = rule.host.as_deref().unwrap_or_default();
        let problem = match Hostname::parse(text) {
            Ok(name) => return Some(RuleHosts { names: vec![name], fault: None }),
            Err(problem) => problem,
        };
        let names = hosts_meant(text);
        let (effect, consequence) = if names.is_empty() {
            let others = "its requests are answered as for an unknown host".to_owned();
            (Effect::RouteDropped, others)
        } else {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let closed = format!("its paths answer 503 for {}", names.join(" and "));
            (Effect::RouteResponds(503), closed)
        };
        let message = format!("`{text}` {problem}; {consequence}");
        scope.at("host").report(Code::InvalidHost, effect, message);
        (!names.is_empty()).then_some(RuleHosts { names, fault: Some(Code::InvalidHost) })
    }

    /// The paths of a rule; none where it has no list of them.
    fn read_paths(
        &mut self,
        rule: &IngressRule,
        hosts: &RuleHosts,
        scope: &Scope<'_>,
    ) -> Option<Vec<PathRule>> {
        let (rule_scope, http) = (scope, scope.at("http"));
        let scope = http.at("paths");
        let taken = [rule_scope, &http, &scope].into_iter().find_map(|place| {
            let taken = self.ingress.taken_at(place)?;
            Some((taken, place))
        });
        let mut fault = hosts.fault;
        let written = rule.http.as_ref().map(|http| http.paths.as_slice());
        match (taken, written) {
            (Some((taken, _)), Some([first, ..])) if first.path.is_some() => {
                let message = format!("{}; what is below answers 503", taken.problem);
                scope.report(Code::InvalidObject, Effect::RouteResponds(503), message);
                fault = Some(Code::InvalidObject);
            }
            (Some((taken, place)), _) => return Some(self.rest(taken, hosts, place)),
            (None, Some([])) => {
                scope.report(Code::EmptyIngress, Effect::None, "the rule has no paths");
            }
            (None, _) => {}
        }
        let mut paths = Vec::with_capacity(written?.len());
        for (position, path) in written?.iter().enumerate() {
            let before = paths.len();
            paths.extend(self.read_path(path, hosts, &scope.index(position)));
            if let Some(code) = fault {
                for rule in paths.iter_mut().skip(before) {
                    rule.action = Action::unavailable(code.id());
                }
            }
        }
        Some(paths)
    }

    /// The rules of one path: one, or one for each type that it may be of. None for a pattern that
    /// cannot be compared and has no literal part.
    fn read_path(
        &mut self,
        written: &HTTPIngressPath,
        hosts: &RuleHosts,
        scope: &Scope<'_>,
    ) -> Vec<PathRule> {
        let path_scope = scope.at("path");
        for place in [scope, &path_scope] {
            if let Some(taken) = self.ingress.taken_at(place) {
                return self.rest(taken, hosts, place);
            }
        }
        let (types, type_problem) = self.path_types(written, scope);
        let action = self.action(Some(&written.backend), &scope.at("backend"));
        let mut rules: Vec<PathRule> = Vec::with_capacity(1);
        for &path_type in types {
            let (path, path_problem) = checked_path(written, path_type, scope);
            let mut rule = PathRule {
                path_type,
                path: path.into(),
                is_regex: false,
                is_literal: false,
                rewrite: None,
                closed: self.wishes.closed.clone(),
                action: action.clone(),
                takes_rest: false,
                provenance: scope.provenance(),
            };
            if let Some(code) = type_problem.or(path_problem) {
                rule.action = Action::unavailable(code.id());
            }
            // A target that is the path itself rewrites nothing.
            rule.rewrite = self.wishes.rewrite.clone().filter(|r| *r.target != *rule.path);
            let has_place = self.read_pattern(&mut rule, &path_scope);
            if has_place && !rules.iter().any(|known| known.is_regex && rule.is_regex) {
                let also = self.other_place(&rule, path_problem.is_some());
                let meant = path_problem.and_then(|_| place::meant(written.path.as_deref()?));
                let meant = meant.map(|path| PathRule { path: path.into(), ..rule.clone() });
                for mut rule in [Some(rule), also, meant].into_iter().flatten() {
                    rule.is_literal = self.is_too_dear(&rule);
                    rules.push(rule);
                }
            }
        }
        rules
    }

    /// The type of a path, and what is wrong with it. Where it cannot be told, the path is closed
    /// whatever it was to be: exact and prefix answer before any other of the same path.
    fn path_types(
        &self,
        written: &HTTPIngressPath,
        scope: &Scope<'_>,
    ) -> (&'static [PathType], Option<Code>) {
        let scope = scope.at("pathType");
        let (code, problem) = match (self.ingress.taken_at(&scope), written.path_type.as_str()) {
            (Some(taken), _) => (Code::InvalidObject, taken.problem.clone()),
            (None, "Exact") => return (&[PathType::Exact], None),
            (None, "Prefix") => return (&[PathType::Prefix], None),
            (None, "ImplementationSpecific") => return (&[PathType::ImplementationSpecific], None),
            (None, "") => (Code::InvalidPathType, "the path has no pathType".to_owned()),
            (None, other) => (Code::InvalidPathType, format!("`{other}` is no path type")),
        };
        scope.report(code, Effect::RouteResponds(503), problem);
        let types: &[PathType] = if self.wishes.use_regex {
            &[PathType::ImplementationSpecific, PathType::Exact, PathType::Prefix]
        } else {
            &[PathType::Exact, PathType::Prefix]
        };
        (types, Some(code))
    }

    /// Where else a path that must not be served would answer, had it been written as requests for
    /// it are compared. Refused by an API server, it may have meant the decoded form; in the nginx
    /// dialect no request is ever compared in another.
    fn other_place(&self, rule: &PathRule, is_refused: bool) -> Option<PathRule> {
        let is_closed = self.dialect == Dialect::Nginx && rule.closed.is_some();
        if !(is_refused || is_closed) {
            return None;
        }
        let path = match self.dialect {
            _ if rule.is_regex => Some(place::with_slashes_merged(&rule.path)),
            Dialect::Nginx => place::decoded(&rule.path),
            Dialect::Kubernetes => place::decoded_canonical(&rule.path),
        };
        let path = path.filter(|path| **path != *rule.path)?;
        Some(PathRule { path: path.into(), ..rule.clone() })
    }

    /// Decides whether the path is a pattern, and checks it; `false` when it has no place.
    fn read_pattern(&self, rule: &mut PathRule, scope: &Scope<'_>) -> bool {
        rule.is_regex = match self.dialect {
            // Its host will compare everything as patterns; what counts here is its own wish.
            Dialect::Nginx => self.wishes.use_regex || rule.rewrite.is_some(),
            Dialect::Kubernetes => {
                let by_captures =
                    self.wishes.rewrite.as_ref().is_some_and(|r| highest_capture(&r.target) > 0);
                (self.wishes.use_regex
                    && (rule.path.contains(pattern::is_meta)
                        || rule.path_type == PathType::ImplementationSpecific))
                    || (by_captures && rule.path.contains('('))
            }
        };
        if rule.is_regex {
            if !self.check_pattern(rule, scope) {
                return false;
            }
        } else {
            self.read_literal(rule, scope);
        }
        self.check_captures(rule, scope);
        true
    }

    fn read_literal(&self, rule: &mut PathRule, scope: &Scope<'_>) {
        if self.dialect == Dialect::Kubernetes {
            let prefix = gce_wildcard(rule).map(Into::into);
            let is_wildcard = prefix.is_some();
            rule.path = prefix.unwrap_or_else(|| std::mem::take(&mut rule.path));
            if let Some(path) = place::canonical(&rule.path) {
                rule.path = path.into();
            }
            if is_wildcard {
                return;
            }
        }
        if pattern::looks_like_one(&rule.path) {
            scope.report(
                Code::RegexWithoutAnnotation,
                Effect::None,
                format!("`{}` looks like a pattern, and is compared literally", rule.path),
            );
        }
    }

    /// A pattern that cannot be compared leaves 503 where everything it matches begins: at its
    /// literal elements, or at its literal text. `false` when it has neither, and nothing that
    /// restricts access went with it.
    fn check_pattern(&self, rule: &mut PathRule, scope: &Scope<'_>) -> bool {
        let (code, message, help) = match self.pattern(&rule.path) {
            Pattern::Valid { .. } => return true,
            Pattern::Invalid { message } | Pattern::TooLarge { message } => {
                (Code::InvalidRegex, message, None)
            }
            Pattern::Unsupported { message } => {
                (Code::UnsupportedRegex, message, pattern::without_look_ahead(&rule.path))
            }
        };
        let elements = pattern::literal_elements(&rule.path);
        let text = pattern::literal_prefix(&rule.path);
        let (literal, is_regex): (Box<str>, bool) = if elements.len() > 1 {
            (elements.into(), false)
        } else if text.len() > 1 {
            (text.into(), true)
        } else if rule.closed.is_some() {
            // Nobody can say what it was to close: so it closes what no other route names, and is
            // tried before a `/`, however that is written.
            ("/.*".into(), true)
        } else {
            (elements.into(), false)
        };
        let has_place = literal.len() > 1;
        let (effect, consequence) = if has_place {
            let place = if is_regex { "that begins with" } else { "below" };
            (Effect::RouteResponds(503), format!("everything {place} `{literal}` answers 503"))
        } else {
            let others = "no literal element begins it, and the host's other routes answer";
            (Effect::RouteDropped, others.to_owned())
        };
        scope.report_with(code, effect, format!("{message}; {consequence}"), help, Vec::new());
        *rule = PathRule {
            path_type: PathType::ImplementationSpecific,
            is_regex,
            is_literal: false,
            rewrite: None,
            action: Action::unavailable(code.id()),
            takes_rest: is_regex && *literal == *"/.*",
            path: literal,
            closed: rule.closed.take(),
            provenance: rule.provenance.clone(),
        };
        has_place
    }

    /// Whether a path that is no pattern by its own wish would take too much as one: another
    /// Ingress may have all of its host compared as patterns (nginx dialect).
    fn is_too_dear(&self, rule: &PathRule) -> bool {
        let may_be_one = self.dialect == Dialect::Nginx && !rule.is_regex;
        may_be_one
            && rule.path.contains(|c| pattern::is_meta(c) || c == '.')
            && matches!(self.pattern(&rule.path), Pattern::TooLarge { .. })
    }

    /// A pattern, checked while there is something left of what those of an Ingress may take: to
    /// find out that one is too large is as dear as one that is not.
    fn pattern(&self, text: &str) -> Pattern {
        let before = self.pattern_bytes.get();
        let over = || Pattern::TooLarge {
            message: "the patterns of this Ingress are too large together".to_owned(),
        };
        if before > pattern::BYTES_OF_INGRESS_MAX {
            return over();
        }
        let found = self.leaves.pattern(text);
        let bytes = match found {
            Pattern::Valid { bytes, .. } => bytes,
            Pattern::TooLarge { .. } => pattern::BYTES_MAX,
            Pattern::Unsupported { .. } | Pattern::Invalid { .. } => 0,
        };
        self.pattern_bytes.set(before + bytes);
        let is_over = before + bytes > pattern::BYTES_OF_INGRESS_MAX;
        if is_over && matches!(found, Pattern::Valid { .. }) { over() } else { found }
    }

    fn check_captures(&self, rule: &PathRule, scope: &Scope<'_>) {
        let Some(rewrite) = &rule.rewrite else { return };
        let highest = highest_capture(&rewrite.target);
        let captures = match self.leaves.pattern(&rule.path) {
            Pattern::Valid { captures, .. } if rule.is_regex => captures,
            _ => 0,
        };
        if highest > captures {
            scope.report(
                Code::RewriteWithoutCapture,
                Effect::None,
                format!(
                    "`{}` has {captures} capture groups, and rewrite-target names `${highest}`, which will be empty",
                    rule.path
                ),
            );
        }
    }
}

impl RuleHosts {
    /// Adds paths to a host of a fragment, whose `places` are where its hosts are; a rule without
    /// any names the host alone.
    fn add_paths(
        &self,
        fragment: &mut Fragment,
        places: &mut HashMap<Hostname, usize>,
        name: &Hostname,
        paths: Option<Vec<PathRule>>,
        scope: &Scope<'_>,
    ) {
        let is_guess = self.fault.is_some();
        let end = fragment.hosts.len();
        let index = *places.entry(name.clone()).or_insert(end);
        if index == end {
            fragment.hosts.push(HostRules {
                hostname: name.clone(),
                provenance: scope.provenance(),
                paths: Vec::new(),
                is_guess,
                bare: None,
            });
        }
        let host = &mut fragment.hosts[index];
        host.is_guess &= is_guess;
        match paths {
            Some(paths) => host.paths.extend(paths),
            None if is_guess => {}
            None => host.bare = host.bare.take().or_else(|| Some(scope.provenance())),
        }
    }
}

/// `/foo/*` as GCE writes a prefix.
fn gce_wildcard(rule: &PathRule) -> Option<&str> {
    if rule.path_type != PathType::ImplementationSpecific {
        return None;
    }
    let prefix = rule.path.strip_suffix('*')?;
    (prefix.ends_with('/') && !pattern::looks_like_one(prefix)).then_some(prefix)
}

/// The path with its leading slash, and what the API server would have refused about it.
fn checked_path(
    written: &HTTPIngressPath,
    path_type: PathType,
    scope: &Scope<'_>,
) -> (String, Option<Code>) {
    let text = written.path.as_deref().unwrap_or_default();
    let strict = path_type != PathType::ImplementationSpecific;
    let problem = if text.is_empty() {
        if !strict {
            return ("/".to_owned(), None);
        }
        format!("a path of type {} cannot be empty", written.path_type)
    } else if !text.starts_with('/') {
        // A pattern may be anchored by hand.
        if !strict && text.starts_with("^/") {
            return (text.to_owned(), None);
        }
        format!("`{text}` does not begin with `/`")
    } else if strict && let Some(part) = forbidden_part(text) {
        format!("`{text}` contains `{part}`")
    } else {
        return (text.to_owned(), None);
    };
    scope.at("path").report(Code::InvalidPath, Effect::RouteResponds(503), problem);
    let slash = if text.starts_with('/') { "" } else { "/" };
    (format!("{slash}{text}"), Some(Code::InvalidPath))
}

fn forbidden_part(path: &str) -> Option<&'static str> {
    ["//", "/./", "/../", "%2f", "%2F"]
        .into_iter()
        .find(|part| path.contains(part))
        .or_else(|| ["/..", "/."].into_iter().find(|end| path.ends_with(end)))
}
