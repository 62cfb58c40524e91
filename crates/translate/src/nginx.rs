//! The routes of a host in the nginx dialect: what ingress-nginx makes of the same paths.
//!
//! An ordinary host compares literally, exact before longest prefix, and answers 301 where only the
//! slash at the end is missing. One path that is a pattern turns the whole host into an ordered
//! list of patterns, compared without regard to case and anchored at the start alone.

use std::cmp::Reverse;
use std::collections::HashSet;

use model::{
    Action, Code, Effect, PathKind, PathMatch, Redirect, RedirectTarget, Route, RoutePolicy,
};

use crate::ingress::PathType;
use crate::memo::Leaves;
use crate::merge::{Chosen, Claim, HostDraft, not_found};
use crate::pattern::Pattern;
use crate::scope::{Reports, Scope};

/// The routes of a host, and whether they are an ordered list.
pub(crate) fn routes(
    host: &HostDraft<'_>,
    leaves: &Leaves,
    reports: &Reports,
) -> (bool, Vec<Route>) {
    let has_root = host.claims().any(|c| c.rule.path_type != PathType::Exact && is_root(c));
    let ordered = host.claims().any(|c| c.rule.is_regex);
    let routes = if ordered {
        ordered_routes(host, has_root, leaves, reports)
    } else {
        literal_routes(host, has_root, reports)
    };
    (ordered, routes)
}

fn is_root(claim: Claim<'_>) -> bool {
    *claim.rule.path == *"/"
}

fn literal_routes(host: &HostDraft<'_>, has_root: bool, reports: &Reports) -> Vec<Route> {
    let mut chosen = Chosen::new(host, reports);
    for claim in host.claims() {
        let path = &claim.rule.path;
        let kind = match claim.rule.path_type {
            PathType::Exact => PathKind::Exact,
            _ if path.len() > 1 && path.ends_with('/') => PathKind::Subtree,
            _ => PathKind::Prefix,
        };
        chosen.add(PathMatch::new(kind, path.clone()), claim);
    }
    let redirects = slash_redirects(host, &chosen);
    let mut routes = chosen.routes;
    routes.extend(redirects);
    routes.extend(automatic_root(host, has_root, PathKind::Prefix, reports));
    routes.sort_by(|a, b| a.path.cmp(&b.path));
    routes
}

/// 301 to the path with a slash, wherever a rule has one at its end and nothing has it without.
fn slash_redirects(host: &HostDraft<'_>, chosen: &Chosen<'_, '_>) -> Vec<Route> {
    let mut redirects: Vec<Route> = Vec::new();
    let mut redirected: HashSet<&str> = HashSet::new();
    for claim in host.claims() {
        let Some(bare) = claim.rule.path.strip_suffix('/').filter(|bare| !bare.is_empty()) else {
            continue;
        };
        let is_taken = chosen.contains(PathKind::Exact, bare)
            || chosen.contains(PathKind::Prefix, bare)
            || !redirected.insert(bare);
        if is_taken {
            continue;
        }
        let policy = host.policy(claim.fragment, &claim.rule.path);
        redirects.push(Route {
            path: PathMatch::new(PathKind::Exact, bare),
            // It comes before the redirect to HTTPS.
            policy: RoutePolicy { https_redirect: None, ..policy },
            action: Action::Redirect(Redirect {
                status: 301,
                target: RedirectTarget::Path(claim.rule.path.clone()),
            }),
            provenance: claim.rule.provenance.clone(),
        });
    }
    redirects
}

/// What answers where no path of the host does. Of the annotations of the host's oldest Ingress
/// only the redirect to HTTPS applies to it; without anything to do, there is no such route.
fn automatic_root(
    host: &HostDraft<'_>,
    has_root: bool,
    kind: PathKind,
    reports: &Reports,
) -> Option<Route> {
    if has_root {
        if let Some(root) = host.claims().find(|claim| is_root(*claim)) {
            host.report_shadowed(&root.rule.provenance, reports);
        }
        return None;
    }
    let path = PathMatch::new(kind, "/");
    if let Some(claim) = host.nginx_default(reports) {
        return Some(host.route(path, claim));
    }
    let policy = host.policy(host.owner, "/");
    if let Some(route) = host.operators_route(path.clone(), policy.clone()) {
        return Some(route);
    }
    policy.https_redirect.is_some().then(|| Route {
        path,
        policy,
        action: not_found(),
        provenance: host.provenance.clone(),
    })
}

/// The longest pattern first, ties in reverse lexical order.
fn ordered_routes(
    host: &HostDraft<'_>,
    has_root: bool,
    leaves: &Leaves,
    reports: &Reports,
) -> Vec<Route> {
    let mut claims: Vec<Claim<'_>> = host.claims().collect();
    claims.sort_by_key(|claim| {
        let path = &claim.rule.path;
        (Reverse(path.chars().count()), Reverse(path.clone()))
    });
    let exact = claims.iter().filter(|claim| claim.rule.path_type == PathType::Exact);
    let exact: HashSet<&str> = exact.map(|claim| &*claim.rule.path).collect();
    let mut chosen = Chosen::new(host, reports);
    let unreadable = host.first_unreadable();
    for claim in &claims {
        let pattern = pattern_of(*claim, &exact, leaves);
        if !claim.rule.is_regex && !is_root(*claim) {
            report_scope(*claim, host, reports);
        }
        let path = PathMatch::new(PathKind::RegexIgnoreCase, pattern);
        if let Some(first) = unreadable.filter(|_| claim.is_everything()) {
            chosen.add(path.clone(), first);
        }
        chosen.add(path, *claim);
    }
    let mut routes = chosen.routes;
    routes.extend(automatic_root(host, has_root, PathKind::RegexIgnoreCase, reports));
    routes
}

/// A path that is no pattern by its own wish is read as one all the same. A plain prefix leaves the
/// path itself to an exact rule of the same path.
fn pattern_of(claim: Claim<'_>, exact: &HashSet<&str>, leaves: &Leaves) -> Box<str> {
    let rule = claim.rule;
    if rule.is_regex {
        return rule.path.clone();
    }
    let mut pattern = match leaves.pattern(&rule.path) {
        Pattern::Valid { .. } if !rule.is_literal => rule.path.to_string(),
        _ => regex_syntax::escape(&rule.path),
    };
    let beside_exact = rule.path_type == PathType::Prefix
        && !rule.path.ends_with('/')
        && exact.contains(&*rule.path);
    if beside_exact {
        pattern.push('/');
    }
    pattern.into()
}

fn report_scope(claim: Claim<'_>, host: &HostDraft<'_>, reports: &Reports) {
    let provenance = &claim.rule.provenance;
    Scope::root(&provenance.object, reports).at(&provenance.field.0).report(
        Code::RegexScope,
        Effect::None,
        format!(
            "a pattern on {host} makes `{}` a pattern too: it is compared without regard to case, and matches whatever begins with it",
            claim.rule.path
        ),
    );
}
