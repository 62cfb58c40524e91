//! The rights that an installation uses: the table, and whether somebody has them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use translate::{ObjectKind, References};

use super::ask::{Asked, Asker};
use super::{Check, CheckSettings, Named, Outcome};
use crate::cluster::{Scope, resource};

const RIGHT: &str = "right";
const ACCOUNT: &str = "service-account";

/// Questions under way at once: an API server far away is not asked one by one.
const AT_ONCE: usize = 8;

/// Namespaces of a selector that are asked about; further ones are not looked at.
const NAMESPACES_MAX: usize = 50;

/// Objects by name that are asked about; further ones are not looked at.
const OBJECTS_MAX: usize = 200;

/// What is watched is listed first.
const WATCHED: &[&str] = &["list", "watch"];

/// How much depends on a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing is served without it, or nobody leads.
    Must,
    /// Something is left undone without it.
    Should,
}

/// What a Role is to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    group: &'static str,
    /// With a slash and the subresource, where it is about one.
    resource: &'static str,
    verbs: &'static [&'static str],
    /// All namespaces, or what is in none, when absent.
    namespace: Option<String>,
    /// One object, where a rule for it suffices.
    name: Option<String>,
    need: Need,
    /// What becomes of us without it.
    without: &'static str,
}

impl Right {
    fn new(
        (group, resource): (&'static str, &'static str),
        verbs: &'static [&'static str],
        namespace: Option<&str>,
        need: Need,
        without: &'static str,
    ) -> Self {
        let namespace = namespace.map(ToOwned::to_owned);
        Self { group, resource, verbs, namespace, name: None, need, without }
    }

    fn named(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    /// As kubectl would say it.
    fn words(&self) -> String {
        let verbs = self.verbs.join(", ");
        let name = self.name.as_ref().map_or(String::new(), |name| format!(" `{name}`"));
        let place = match &self.namespace {
            Some(namespace) => format!("in namespace `{namespace}`"),
            None => "in the cluster".to_owned(),
        };
        format!("{verbs} {}{name} {place}", self.resource)
    }

    fn remedy(&self, who: &str, missing: &[&str]) -> String {
        let group = match self.group {
            "" => "the core group".to_owned(),
            group => format!("`{group}`"),
        };
        let place = match &self.namespace {
            Some(namespace) => format!("a Role in namespace `{namespace}`"),
            None => "a ClusterRole".to_owned(),
        };
        let verbs: Vec<String> = missing.iter().map(|verb| format!("`{verb}`")).collect();
        let verbs = verbs.join(", ");
        format!("give {who} {verbs} on `{}` of {group} by {place}", self.resource)
    }
}

/// What an installation of this scope uses.
fn needed(settings: &CheckSettings, selected: &[String]) -> Vec<Right> {
    let scope = &settings.cluster.scope;
    let places: Vec<Option<&str>> = match scope {
        Scope::All => vec![None],
        Scope::Namespaces(named) => named.iter().map(|name| Some(&**name)).collect(),
        Scope::Selected(_) => selected.iter().map(|name| Some(&**name)).collect(),
    };
    let nothing = "nothing is served";
    let mut rights = Vec::new();
    for place in places {
        for kind in [ObjectKind::Ingress, ObjectKind::Service, ObjectKind::EndpointSlice] {
            rights.push(Right::new(resource(kind), WATCHED, place, Need::Must, nothing));
        }
        if settings.lease.is_some() {
            let status = ("networking.k8s.io", "ingresses/status");
            let without = "kubectl and external-dns see no address";
            rights.push(Right::new(status, &["patch"], place, Need::Should, without));
            let events = ("events.k8s.io", "events");
            let without = "no Event says what is wrong with an object";
            rights.push(Right::new(events, &["create", "patch"], place, Need::Should, without));
        }
    }
    // Who serves classes by their names in namespaces that are named need not read classes.
    let is_by_name =
        matches!(scope, Scope::Namespaces(_)) && !settings.translation.ingress_classes.is_empty();
    if !is_by_name {
        let (class, without) = (resource(ObjectKind::IngressClass), "our classes are not known");
        rights.push(Right::new(class, WATCHED, None, Need::Should, without));
    }
    let namespaces = resource(ObjectKind::Namespace);
    match scope {
        Scope::Selected(_) => {
            rights.push(Right::new(namespaces, WATCHED, None, Need::Must, nothing));
        }
        Scope::All => {
            let without = "annotations of Namespaces count for nothing";
            rights.push(Right::new(namespaces, WATCHED, None, Need::Should, without));
        }
        Scope::Namespaces(_) => {}
    }
    if settings.cluster.reads_all_tls {
        let (secrets, without) = (resource(ObjectKind::Secret), "certificates are not read");
        rights.push(Right::new(secrets, WATCHED, None, Need::Must, without));
    }
    rights.extend(own(settings));
    rights
}

/// What the gateway does beside reading.
fn own(settings: &CheckSettings) -> Vec<Right> {
    let mut rights = Vec::new();
    if let Some(lease) = &settings.lease {
        let verbs = &["get", "list", "create", "update", "patch", "delete"];
        let without = "no replica leads: status and Events are not written";
        let leases = ("coordination.k8s.io", "leases");
        rights.push(Right::new(leases, verbs, Some(&lease.namespace), Need::Must, without));
    }
    if let Some(secret) = &settings.ticket_keys {
        rights.push(kept(secret, "replicas do not resume each other's TLS sessions"));
    }
    if settings.publishes_nodes {
        let without = "the addresses of nodes are not known";
        let own = Some(&*settings.namespace);
        rights.push(Right::new(("", "pods"), WATCHED, own, Need::Must, without));
        rights.push(Right::new(("", "nodes"), &["get"], None, Need::Must, without));
    }
    rights
}

/// To fill a Secret, which an installation makes empty: none can be created by its name.
fn kept(secret: &Named, without: &'static str) -> Right {
    let (place, verbs) = (Some(&*secret.namespace), &["get", "update"]);
    Right::new(("", "secrets"), verbs, place, Need::Should, without).named(&secret.name)
}

/// Asks for what the program uses at all times.
pub(super) async fn look(
    asker: &Asker,
    settings: &CheckSettings,
    account: Option<&Named>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut selected = Vec::new();
    if let Scope::Selected(selector) = &settings.cluster.scope {
        let namespaces = Api::<Namespace>::all(asker.client.clone());
        match asker.list(&namespaces, selector).await {
            Asked::Found(found) => {
                let names = found.into_iter().filter_map(|one| one.metadata.name);
                selected = names.take(NAMESPACES_MAX).collect();
            }
            Asked::Absent => {}
            Asked::Unknown(why) => checks.push(Check::skipped(
                RIGHT,
                format!("which namespaces have the labels `{selector}` cannot be asked: {why}"),
            )),
        }
    }
    checks.extend(judge_all(asker, account, needed(settings, &selected)).await);
    checks
}

/// Asks for what the webhook uses to keep a certificate of its own.
pub(super) async fn look_webhook(
    asker: &Asker,
    account: Option<&Named>,
    configuration: &str,
    secret: &Named,
) -> Vec<Check> {
    let without = "the API server does not trust the webhook";
    let configurations = ("admissionregistration.k8s.io", "validatingwebhookconfigurations");
    let trusted = Right::new(configurations, &["get", "update"], None, Need::Should, without);
    let rights = vec![trusted.named(configuration), kept(secret, without)];
    judge_all(asker, account, rights).await
}

/// Asks for the objects that others refer to by name.
pub(super) async fn look_by_name(
    asker: &Asker,
    account: Option<&Named>,
    references: &References,
) -> Vec<Check> {
    let kinds = [ObjectKind::Secret, ObjectKind::ConfigMap];
    let named: BTreeSet<ByName<'_>> = references
        .keys()
        .filter(|key| kinds.contains(&key.kind))
        .map(|key| (key.kind, &*key.namespace, &*key.name))
        .collect();
    let without = "what it holds is not served";
    let rights = named.into_iter().take(OBJECTS_MAX).map(|(kind, namespace, name)| {
        Right::new(resource(kind), WATCHED, Some(namespace), Need::Must, without).named(name)
    });
    let answers = ask_all(asker, account, rights.collect()).await;
    judge_places(&words(account), answers)
}

/// Kind, namespace and name.
type ByName<'a> = (ObjectKind, &'a str, &'a str);

/// One verdict where all objects of a kind in a namespace may be read; one for each that may not.
fn judge_places(who: &str, answers: Vec<(Right, Asked<Missing>)>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut good: BTreeMap<(Option<String>, &str), usize> = BTreeMap::new();
    for (right, answer) in answers {
        let check = judge(who, &right, answer);
        if check.outcome == Outcome::Ok {
            *good.entry((right.namespace, right.resource)).or_default() += 1;
        } else {
            checks.push(check);
        }
    }
    checks.extend(good.into_iter().map(|((namespace, resource), count)| {
        let namespace = namespace.unwrap_or_default();
        let message = format!(
            "{who} may list, watch the {resource} that are referred to in namespace `{namespace}` \
             ({count})"
        );
        Check::ok(RIGHT, message)
    }));
    checks
}

/// Whose rights are looked at, and what is to be said of that.
pub(super) async fn whose(
    asker: &Asker,
    settings: &CheckSettings,
) -> (Option<Named>, Option<Check>) {
    let Some(account) = &settings.account else { return (None, None) };
    let Named { namespace, name } = &account.object;
    let accounts = Api::<ServiceAccount>::namespaced(asker.client.clone(), namespace);
    judge_account(&account.object, account.is_guess, asker.get(&accounts, name).await.map(|_| ()))
}

fn judge_account(
    account: &Named,
    is_guess: bool,
    asked: Asked<()>,
) -> (Option<Named>, Option<Check>) {
    let its = Some(account.clone());
    match asked {
        Asked::Found(()) => {
            let message = format!("{account} is there; the rights below are its rights");
            (its, Some(Check::ok(ACCOUNT, message)))
        }
        Asked::Absent if is_guess => {
            let why = format!("there is no {account}; the rights below are those of who asks");
            (None, Some(Check::skipped(ACCOUNT, why)))
        }
        Asked::Unknown(why) if is_guess => {
            let why = format!(
                "whether there is {account} cannot be asked ({why}); the rights below are those \
                 of who asks"
            );
            (None, Some(Check::skipped(ACCOUNT, why)))
        }
        Asked::Absent => {
            let message = format!("there is no {account}");
            let remedy = "install the gateway, or name the account that its pods have";
            (its, Some(Check::error(ACCOUNT, message, remedy)))
        }
        // Its rights may be known all the same.
        Asked::Unknown(why) => {
            let why = format!("whether there is {account} cannot be asked: {why}");
            (its, Some(Check::skipped(ACCOUNT, why)))
        }
    }
}

fn words(account: Option<&Named>) -> String {
    account.map_or_else(|| "who asks".to_owned(), |account| format!("`{account}`"))
}

/// Verbs.
type Missing = Vec<&'static str>;

async fn judge_all(asker: &Asker, account: Option<&Named>, rights: Vec<Right>) -> Vec<Check> {
    let who = words(account);
    let answers = ask_all(asker, account, rights).await;
    answers.into_iter().map(|(right, answer)| judge(&who, &right, answer)).collect()
}

async fn ask_all(
    asker: &Asker,
    account: Option<&Named>,
    rights: Vec<Right>,
) -> Vec<(Right, Asked<Missing>)> {
    let questions = rights.into_iter().map(|right| async move {
        let missing = missing(asker, account, &right).await;
        (right, missing)
    });
    stream::iter(questions).buffered(AT_ONCE).collect().await
}

async fn missing(asker: &Asker, account: Option<&Named>, right: &Right) -> Asked<Missing> {
    let mut missing = Vec::new();
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    for &verb in right.verbs {
        let attributes = ResourceAttributes {
            group: text(right.group),
            resource: text(resource),
            subresource: text(subresource),
            verb: text(verb),
            namespace: right.namespace.clone(),
            name: right.name.clone(),
            ..ResourceAttributes::default()
        };
        match is_allowed(asker, account, attributes).await {
            Asked::Found(true) => {}
            Asked::Found(false) => missing.push(verb),
            Asked::Absent => return Asked::Absent,
            Asked::Unknown(why) => return Asked::Unknown(why),
        }
    }
    Asked::Found(missing)
}

async fn is_allowed(
    asker: &Asker,
    account: Option<&Named>,
    attributes: ResourceAttributes,
) -> Asked<bool> {
    let resource_attributes = Some(attributes);
    let status = if let Some(Named { namespace, name }) = account {
        // Those that the API server adds to a token of it.
        let groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        let spec = SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{name}")),
            groups: Some(groups),
            resource_attributes,
            ..SubjectAccessReviewSpec::default()
        };
        let question = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        asker.review(&question).await.map(|review| review.status)
    } else {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes,
            ..SelfSubjectAccessReviewSpec::default()
        };
        let question = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        asker.review(&question).await.map(|review| review.status)
    };
    status.map(|status| status.is_some_and(|status| status.allowed))
}

fn judge(who: &str, right: &Right, answer: Asked<Missing>) -> Check {
    let words = right.words();
    match answer {
        Asked::Found(missing) if missing.is_empty() => {
            Check::ok(RIGHT, format!("{who} may {words}"))
        }
        Asked::Found(missing) => {
            let (verbs, without) = (missing.join(", "), right.without);
            let message = format!("{who} may not {words}: without {verbs}, {without}");
            let remedy = right.remedy(who, &missing);
            match right.need {
                Need::Must => Check::error(RIGHT, message, remedy),
                Need::Should => Check::warning(RIGHT, message, remedy),
            }
        }
        Asked::Absent => Check::skipped(RIGHT, "the API server tells nobody about rights"),
        Asked::Unknown(why) => {
            Check::skipped(RIGHT, format!("whether {who} may {words} cannot be asked: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(kind: ObjectKind, namespace: Option<&str>) -> Right {
        Right::new(resource(kind), WATCHED, namespace, Need::Must, "nothing is served")
    }

    #[test]
    fn a_missing_verb_is_named_with_what_it_costs_and_where_to_give_it() {
        let check = judge("`a/b`", &right(ObjectKind::Ingress, None), Asked::Found(vec!["watch"]));
        assert_eq!(check.outcome, Outcome::Error);
        assert_eq!(
            check.message,
            "`a/b` may not list, watch ingresses in the cluster: without watch, nothing is served"
        );
        let remedy = "give `a/b` `watch` on `ingresses` of `networking.k8s.io` by a ClusterRole";
        assert_eq!(check.remedy.as_deref(), Some(remedy));
    }

    #[test]
    fn what_cannot_be_asked_is_not_ok() {
        let services = right(ObjectKind::Service, Some("shop"));
        let check = judge("who asks", &services, Asked::Unknown("forbidden".into()));
        assert_eq!(check.outcome, Outcome::Skipped);
        assert!(check.message.contains("forbidden"), "{}", check.message);
    }

    #[test]
    fn secrets_of_a_namespace_are_one_line_and_those_that_are_closed_one_each() {
        let secret = |name: &str| right(ObjectKind::Secret, Some("shop")).named(name);
        let checks = judge_places(
            "x",
            vec![
                (secret("a"), Asked::Found(vec![])),
                (secret("b"), Asked::Found(vec!["list"])),
                (secret("c"), Asked::Found(vec![])),
            ],
        );
        let [closed, good] = &checks[..] else { panic!("{checks:?}") };
        assert_eq!(closed.outcome, Outcome::Error);
        assert!(closed.message.contains("secrets `b`"), "{}", closed.message);
        let message = "x may list, watch the secrets that are referred to in namespace `shop` (2)";
        assert_eq!((good.outcome, &*good.message), (Outcome::Ok, message));
    }

    #[test]
    fn an_account_that_nobody_named_may_be_elsewhere() {
        let account = Named { namespace: "a".into(), name: "b".into() };
        let (whose, told) = judge_account(&account, true, Asked::Absent);
        assert_eq!((whose, told.map(|check| check.outcome)), (None, Some(Outcome::Skipped)));
        let (whose, told) = judge_account(&account, false, Asked::Absent);
        let expected = (Some(account), Some(Outcome::Error));
        assert_eq!((whose, told.map(|check| check.outcome)), expected);
    }
}
