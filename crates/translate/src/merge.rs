//! Fragments of many Ingresses to virtual hosts: conflicts, default backends, redirects to HTTPS.
//!
//! Fragments come oldest first, and the first to say a thing wins: for a path, for a host's default
//! backend, for the default of all hosts. The oldest Ingress of a host decides its dialect. The
//! result depends on nothing else, least of all on the order in which objects were read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::policy::{AnswerBody, BodyLimit, HttpsRedirect};
use model::{
    Action, Code, Diagnostic, Effect, FixedResponse, Hostname, Miss, PathForm, PathKind, PathMatch,
    Provenance, Related, Route, RoutePolicy, Sealed, VirtualHost,
};

use crate::ingress::{Fragment, HostRules, PathRule, PathType, canonical};
use crate::memo::{Ingredients, Leaves, Memo};
use crate::nginx;
use crate::pattern::matches_everything;
use crate::scope::Reports;
use crate::settings::Dialect;
use crate::tls::HttpsHosts;

/// The body limit of ingress-nginx, in bytes.
const NGINX_BODY_BYTES_MAX: u64 = 1024 * 1024;

/// Requests for these paths are never sent to HTTPS: certificates are issued by them.
const ACME_PREFIX: &str = "/.well-known/acme-challenge";

/// One host while it is put together.
pub(crate) struct HostDraft<'f> {
    pub(crate) hostname: &'f Hostname,
    /// The oldest Ingress that names the host.
    pub(crate) owner: &'f Arc<Fragment>,
    pub(crate) provenance: &'f Provenance,
    parts: Vec<(&'f Arc<Fragment>, &'f HostRules)>,
    /// The default of all hosts, for the host-less block alone.
    global_default: Option<(&'f Arc<Fragment>, &'f PathRule)>,
    /// What the operator wants to answer where no Ingress says who shall.
    operators_default: Option<&'f Arc<Fragment>>,
    pub(crate) has_certificate: bool,
    /// What no route of the host matches must not fall through to routes of another namespace.
    is_apart: bool,
}

/// A path rule with the Ingress it stands in.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'f> {
    pub(crate) fragment: &'f Fragment,
    pub(crate) rule: &'f PathRule,
}

impl Claim<'_> {
    /// Whether it is `/` by the name of a pattern: then the first whose path cannot be read has its
    /// place before it.
    pub(crate) fn is_everything(&self) -> bool {
        self.rule.is_regex && matches_everything(&self.rule.path)
    }
}

/// The virtual hosts of these fragments, which come oldest first: all, or `only` some. Reports what
/// concerns no single host; what concerns one is kept in the memo.
pub(crate) fn hosts(
    fragments: &[Arc<Fragment>],
    https: &HttpsHosts,
    is_owned: bool,
    only: Option<&HashSet<Hostname, RandomState>>,
    memo: &mut Memo,
    reports: &Reports,
) -> Vec<(Hostname, Sealed<VirtualHost>)> {
    let is_asked = |hostname: &Hostname| only.is_none_or(|only| only.contains(hostname));
    // Whether a host is kept apart depends on those that it would fall through to.
    let is_needed = |hostname: &Hostname| {
        is_asked(hostname) || (is_owned && !matches!(hostname, Hostname::Exact(_)))
    };
    let mut drafts: HashMap<&Hostname, HostDraft<'_>, RandomState> = HashMap::default();
    for fragment in fragments {
        for rules in fragment.hosts.iter().filter(|rules| is_needed(&rules.hostname)) {
            let draft = drafts.entry(&rules.hostname).or_insert_with(|| {
                HostDraft::new(&rules.hostname, fragment, &rules.provenance, https)
            });
            draft.parts.push((fragment, rules));
        }
    }
    add_global_default(fragments, &mut drafts, https, reports);
    if let Some(last) = fragments.last().filter(|fragment| fragment.is_operators) {
        for draft in drafts.values_mut() {
            draft.operators_default = Some(last);
        }
    }
    if is_owned {
        keep_apart(&mut drafts);
    }
    drafts
        .into_values()
        .filter(|draft| is_asked(draft.hostname))
        .map(|draft| {
            let make = |leaves: &Leaves, reports: &Reports| draft.finish(leaves, reports);
            let host = memo.host(draft.hostname, draft.ingredients(), make);
            (draft.hostname.clone(), host)
        })
        .collect()
}

/// Where hosts belong to namespaces, a request for one namespace's host must not fall through to
/// routes that another has for a wildcard, or for every host: it would answer for paths of a host
/// that is not its own.
fn keep_apart(drafts: &mut HashMap<&Hostname, HostDraft<'_>, RandomState>) {
    let broad: HashMap<Hostname, BTreeSet<Arc<str>>, RandomState> = drafts
        .values()
        .filter(|draft| !matches!(draft.hostname, Hostname::Exact(_)))
        .map(|draft| (draft.hostname.clone(), draft.namespaces().cloned().collect()))
        .collect();
    for draft in drafts.values_mut() {
        let next = match draft.hostname {
            Hostname::Any => continue,
            Hostname::Wildcard(_) => None,
            // Of a wildcard that does not fall through, nothing falls through either.
            Hostname::Exact(name) => name
                .split_once('.')
                .and_then(|(_, suffix)| broad.get(&Hostname::Wildcard(suffix.into()))),
        };
        let Some(next) = next.or_else(|| broad.get(&Hostname::Any)) else { continue };
        draft.is_apart = next.iter().any(|other| !draft.namespaces().any(|own| own == other));
    }
}

/// The oldest Ingress without rules has the default backend of all hosts.
fn add_global_default<'f>(
    fragments: &'f [Arc<Fragment>],
    drafts: &mut HashMap<&'f Hostname, HostDraft<'f>, RandomState>,
    https: &HttpsHosts,
    reports: &Reports,
) {
    let mut defaults = fragments
        .iter()
        .filter(|fragment| !fragment.has_rules)
        .filter_map(|fragment| Some((fragment, fragment.default_backend.as_ref()?)));
    let Some((fragment, rule)) = defaults.next() else { return };
    for (_, loser) in defaults.filter(|(fragment, _)| !fragment.is_operators) {
        report_default_conflict(loser, rule, "every host without a rule", reports);
    }
    let draft = drafts
        .entry(&Hostname::Any)
        .or_insert_with(|| HostDraft::new(&Hostname::Any, fragment, &rule.provenance, https));
    draft.global_default = Some((fragment, rule));
}

impl<'f> HostDraft<'f> {
    fn new(
        hostname: &'f Hostname,
        owner: &'f Arc<Fragment>,
        provenance: &'f Provenance,
        https: &HttpsHosts,
    ) -> Self {
        Self {
            hostname,
            owner,
            provenance,
            parts: Vec::new(),
            global_default: None,
            operators_default: None,
            has_certificate: https.contains(hostname, &owner.object.namespace),
            is_apart: false,
        }
    }

    /// The namespaces that have a say in it, some more than once.
    fn namespaces(&self) -> impl Iterator<Item = &'f Arc<str>> {
        let parts = self.parts.iter().map(|&(fragment, _)| fragment);
        let default = self.global_default.map(|(fragment, _)| fragment);
        let all = parts.chain(default).filter(|fragment| !fragment.is_operators);
        all.map(|fragment| &fragment.object.namespace)
    }

    /// All that the finished host depends on.
    fn ingredients(&self) -> Ingredients {
        Ingredients {
            fragments: self.parts.iter().map(|(fragment, _)| (*fragment).clone()).collect(),
            global_default: self.global_default.map(|(fragment, _)| fragment.clone()),
            operators_default: self.operators_default.cloned(),
            has_certificate: self.has_certificate,
            is_apart: self.is_apart,
        }
    }

    fn finish(&self, leaves: &Leaves, reports: &Reports) -> VirtualHost {
        let dialect = self.owner.age.dialect;
        let (ordered, routes) = match dialect {
            Dialect::Kubernetes => (false, self.kubernetes_routes(reports)),
            Dialect::Nginx => nginx::routes(self, leaves, reports),
        };
        let (path_form, miss) = match dialect {
            Dialect::Kubernetes if self.is_apart => (PathForm::Canonical, Miss::Hide),
            Dialect::Kubernetes => (PathForm::Canonical, Miss::FallThrough),
            Dialect::Nginx => (PathForm::Decoded, Miss::Hide),
        };
        VirtualHost {
            hostname: self.hostname.clone(),
            path_form,
            miss,
            ordered,
            answer_body: answer_body(dialect),
            routes,
            provenance: self.provenance.clone(),
        }
    }

    /// Every path rule of the host: first those whose path cannot be read, which nobody's `/` may
    /// take the place of; then oldest Ingress first, as written within one.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim<'f>> {
        let all = || {
            self.parts.iter().flat_map(|&(fragment, rules)| {
                rules.paths.iter().map(move |rule| Claim { fragment, rule })
            })
        };
        let unreadable = all().filter(|claim| claim.rule.takes_rest);
        unreadable.chain(all().filter(|claim| !claim.rule.takes_rest))
    }

    /// The first claim whose path cannot be read.
    pub(crate) fn first_unreadable(&self) -> Option<Claim<'f>> {
        self.claims().next().filter(|claim| claim.rule.takes_rest)
    }

    fn kubernetes_routes(&self, reports: &Reports) -> Vec<Route> {
        let mut chosen = Chosen::new(self, reports);
        let unreadable = self.first_unreadable();
        for claim in self.claims() {
            let kind = match claim.rule.path_type {
                _ if claim.rule.is_regex => PathKind::Regex,
                PathType::Exact => PathKind::Exact,
                PathType::Prefix => PathKind::Prefix,
                PathType::ImplementationSpecific => PathKind::ImplementationSpecific,
            };
            // Those of the other dialect are in its form, in which no request is compared here.
            let is_literal = kind != PathKind::Regex;
            let path = Some(&*claim.rule.path).filter(|_| is_literal).and_then(canonical);
            let path = path.map_or_else(|| claim.rule.path.clone(), Into::into);
            let path = PathMatch::new(kind, path);
            if let Some(first) = unreadable.filter(|_| claim.is_everything()) {
                chosen.add(path.clone(), first);
            }
            chosen.add(path, claim);
        }
        let mut routes = chosen.routes;
        let root = routes
            .iter()
            .find(|r| {
                matches!(r.path.kind, PathKind::Prefix | PathKind::ImplementationSpecific)
                    && *r.path.value == *"/"
            })
            .map(|root| root.provenance.clone());
        if let Some(root) = root {
            self.report_shadowed(&root, reports);
        } else {
            routes.extend(self.default_route(reports));
        }
        routes.sort_by(|a, b| a.path.cmp(&b.path));
        routes
    }

    /// What answers where no path of the host does: the oldest default backend of its Ingresses,
    /// 404 for a host that was named without paths, or nothing.
    fn default_route(&self, reports: &Reports) -> Option<Route> {
        let mut defaults = self
            .parts
            .iter()
            .filter(|(_, rules)| !rules.is_guess)
            .filter_map(|(fragment, _)| Some((*fragment, fragment.default_backend.as_ref()?)))
            .chain(self.global_default);
        let path = || PathMatch::new(PathKind::Prefix, "/");
        if let Some((fragment, rule)) = defaults.next() {
            for (_, loser) in defaults.filter(|(fragment, _)| !fragment.is_operators) {
                report_default_conflict(loser, rule, &self.to_string(), reports);
            }
            return Some(self.route(path(), Claim { fragment, rule }));
        }
        let of_class = self
            .parts
            .iter()
            .filter(|(_, rules)| !rules.is_guess)
            .find_map(|&(fragment, _)| Some((fragment, fragment.class_default.as_ref()?)));
        if let Some((fragment, rule)) = of_class {
            return Some(self.route(path(), Claim { fragment, rule }));
        }
        let bare =
            self.parts.iter().find_map(|(fragment, rules)| Some((fragment, rules.bare.as_ref()?)));
        let Some((fragment, bare)) = bare else {
            // It would have fallen through to it.
            let policy = self.policy(self.owner, "/");
            return self.is_apart.then(|| self.operators_route(path(), policy)).flatten();
        };
        let policy = self.policy(fragment, "/");
        Some(self.operators_route(path(), policy.clone()).unwrap_or_else(|| Route {
            path: path(),
            policy,
            action: not_found(),
            provenance: bare.clone(),
        }))
    }

    /// The operator's default backend at this path, where it is set.
    pub(crate) fn operators_route(&self, path: PathMatch, policy: RoutePolicy) -> Option<Route> {
        let rule = self.operators_default?.default_backend.as_ref()?;
        let (action, provenance) = (rule.action.clone(), rule.provenance.clone());
        Some(Route { path, policy, action, provenance })
    }

    /// The default backend of the host in the nginx dialect: its oldest Ingress's own, or for the
    /// host-less block the default of all hosts.
    pub(crate) fn nginx_default(&self, reports: &Reports) -> Option<Claim<'f>> {
        let is_guess = self.parts.first().is_some_and(|(_, rules)| rules.is_guess);
        let own = self.owner.default_backend.as_ref().or(self.owner.class_default.as_ref());
        let own = own.map(|rule| (self.owner, rule));
        let own = own.filter(|_| !is_guess);
        let winner = match *self.hostname {
            Hostname::Any => self.global_default,
            _ => own,
        };
        for (fragment, _) in &self.parts {
            if let (Some(rule), Some((_, winner))) = (&fragment.default_backend, winner)
                && rule.provenance != winner.provenance
            {
                report_default_conflict(rule, winner, &self.to_string(), reports);
            }
        }
        winner.map(|(fragment, rule)| Claim { fragment, rule })
    }

    pub(crate) fn report_shadowed(&self, root: &Provenance, reports: &Reports) {
        if let Some((fragment, rule)) = self.global_default
            && !fragment.is_operators
        {
            report_shadowed_default(rule, root, reports);
        }
    }

    /// The route of a claim at this path.
    pub(crate) fn route(&self, path: PathMatch, claim: Claim<'_>) -> Route {
        let mut policy = self.policy(claim.fragment, &claim.rule.path);
        policy.closed.clone_from(&claim.rule.closed);
        policy.rewrite.clone_from(&claim.rule.rewrite);
        Route {
            path,
            policy,
            action: claim.rule.action.clone(),
            provenance: claim.rule.provenance.clone(),
        }
    }

    /// What a route of this Ingress has on this host whatever its rule says.
    pub(crate) fn policy(&self, fragment: &Fragment, path: &str) -> RoutePolicy {
        let is_nginx = self.owner.age.dialect == Dialect::Nginx;
        let redirects =
            fragment.force_ssl_redirect || (fragment.ssl_redirect && self.has_certificate);
        RoutePolicy {
            https_redirect: (redirects && !path.starts_with(ACME_PREFIX))
                .then_some(HttpsRedirect { status: 308, strip_bare_slash: is_nginx }),
            body_limit: is_nginx.then_some(BodyLimit { bytes_max: NGINX_BODY_BYTES_MAX }),
            drop_underscore_fields: is_nginx,
            scheme_fields: is_nginx,
            remove_server_field: is_nginx,
            ..RoutePolicy::default()
        }
    }
}

impl std::fmt::Display for HostDraft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.hostname {
            Hostname::Any => f.write_str("every host without a rule"),
            host => write!(f, "`{host}`"),
        }
    }
}

/// The routes that won their place so far.
pub(crate) struct Chosen<'c, 'f> {
    host: &'c HostDraft<'f>,
    reports: &'c Reports,
    winners: HashMap<PathMatch, Claim<'f>, RandomState>,
    pub(crate) routes: Vec<Route>,
}

impl<'c, 'f> Chosen<'c, 'f> {
    pub(crate) fn new(host: &'c HostDraft<'f>, reports: &'c Reports) -> Self {
        Self { host, reports, winners: HashMap::default(), routes: Vec::new() }
    }

    pub(crate) fn contains(&self, kind: PathKind, path: &str) -> bool {
        self.winners.contains_key(&PathMatch::new(kind, path))
    }

    /// Takes a claim in, unless an older one has its path; then the loser is told who won.
    pub(crate) fn add(&mut self, path: PathMatch, claim: Claim<'f>) {
        if let Some(winner) = self.winners.get(&path) {
            // One path in two forms.
            if winner.rule.provenance == claim.rule.provenance {
                return;
            }
            let message =
                format!("{path} of {} is claimed by {} already", self.host, winner.fragment.object);
            self.reports.push(conflict(
                Code::RouteConflict,
                &claim.rule.provenance,
                &winner.rule.provenance,
                message,
                "the same host and path is claimed here",
            ));
            return;
        }
        self.routes.push(self.host.route(path.clone(), claim));
        self.winners.insert(path, claim);
    }
}

/// What stands in answers to requests that no virtual host covers: what all would say, or else the
/// default.
pub(crate) fn unrouted_answer_body(fragments: &[Arc<Fragment>]) -> AnswerBody {
    let mut bodies = fragments
        .iter()
        .filter(|fragment| !fragment.is_operators)
        .map(|fragment| answer_body(fragment.age.dialect));
    let first = bodies.next().unwrap_or_default();
    if bodies.all(|body| body == first) { first } else { AnswerBody::default() }
}

fn answer_body(dialect: Dialect) -> AnswerBody {
    match dialect {
        Dialect::Kubernetes => AnswerBody::Text,
        Dialect::Nginx => AnswerBody::Page,
    }
}

/// 404 that no object's mistake has caused.
pub(crate) fn not_found() -> Action {
    Action::Respond(FixedResponse { status: 404, reason: "no-route".into() })
}

fn report_default_conflict(loser: &PathRule, winner: &PathRule, host: &str, reports: &Reports) {
    let message = format!("the default backend of {host} is that of {}", winner.provenance.object);
    reports.push(conflict(
        Code::DefaultBackendConflict,
        &loser.provenance,
        &winner.provenance,
        message,
        "this default backend is used",
    ));
}

fn report_shadowed_default(loser: &PathRule, root: &Provenance, reports: &Reports) {
    let message = format!("it is never reached: a rule of {} takes `/` of every host", root.object);
    reports.push(conflict(
        Code::DefaultBackendConflict,
        &loser.provenance,
        root,
        message,
        "this rule takes every request",
    ));
}

fn conflict(
    code: Code,
    loser: &Provenance,
    winner: &Provenance,
    message: String,
    relation: &str,
) -> Diagnostic {
    Diagnostic {
        severity: code.info().severity,
        code,
        object: loser.object.clone(),
        field: loser.field.clone(),
        message,
        help: None,
        related: vec![Related {
            object: winner.object.clone(),
            field: winner.field.clone(),
            message: relation.to_owned(),
        }],
        effect: Effect::RouteDropped,
    }
}
