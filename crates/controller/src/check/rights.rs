//! The rights that an installation uses: the table, and whether somebody has them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
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

/// What is to be known of an installation to tell what it uses.
struct Uses<'s> {
    scope: &'s Scope,
    /// Classes are served by their names, whoever has them.
    names_classes: bool,
    reads_all_tls: bool,
    lease: Option<&'s Named>,
    ticket_keys: Option<&'s Named>,
    /// The Secret of these is not there, and is ours to make.
    lacks_ticket_keys: bool,
    publishes_nodes: bool,
    namespace: &'s str,
}

/// What an installation of this scope uses; `selected` are the namespaces that its selector picks.
fn needed(uses: &Uses<'_>, selected: &[String]) -> Vec<Right> {
    let scope = uses.scope;
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
        if uses.lease.is_some() {
            let status = ("networking.k8s.io", "ingresses/status");
            let without = "kubectl and external-dns see no address";
            rights.push(Right::new(status, &["patch"], place, Need::Should, without));
            let events = ("events.k8s.io", "events");
            let without = "no Event says what is wrong with an object";
            rights.push(Right::new(events, &["create", "patch"], place, Need::Should, without));
        }
    }
    // Who serves classes by their names in namespaces that are named need not read classes.
    if !(matches!(scope, Scope::Namespaces(_)) && uses.names_classes) {
        for (kind, without) in [
            (ObjectKind::IngressClass, "our classes are not known"),
            (ObjectKind::ClusterIngressParameters, "classes that have them as parameters fail"),
        ] {
            rights.push(Right::new(resource(kind), WATCHED, None, Need::Should, without));
        }
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
    if uses.reads_all_tls {
        let (secrets, without) = (resource(ObjectKind::Secret), "certificates are not read");
        rights.push(Right::new(secrets, WATCHED, None, Need::Must, without));
    }
    rights.extend(own(uses));
    rights
}

/// What the gateway does beside reading.
fn own(uses: &Uses<'_>) -> Vec<Right> {
    let mut rights = Vec::new();
    if let Some(lease) = uses.lease {
        let verbs = &["get", "list", "create", "update", "patch", "delete"];
        let without = "no replica leads: status and Events are not written";
        let leases = ("coordination.k8s.io", "leases");
        rights.push(Right::new(leases, verbs, Some(&lease.namespace), Need::Must, without));
    }
    if let Some(secret) = uses.ticket_keys {
        let without = "replicas do not resume each other's TLS sessions";
        rights.push(kept(secret, without));
        if uses.lacks_ticket_keys {
            rights.push(made(secret, without));
        }
    }
    if uses.publishes_nodes {
        let without = "the addresses of nodes are not known";
        let own = Some(uses.namespace);
        rights.push(Right::new(("", "pods"), WATCHED, own, Need::Must, without));
        rights.push(Right::new(("", "nodes"), &["get"], None, Need::Must, without));
    }
    rights
}

/// What the webhook uses to keep a certificate of its own.
fn of_webhook(configuration: &str, secret: &Named) -> [Right; 2] {
    let without = "the API server does not trust the webhook";
    let configurations = ("admissionregistration.k8s.io", "validatingwebhookconfigurations");
    let trusted = Right::new(configurations, &["get", "update"], None, Need::Should, without);
    [trusted.named(configuration), kept(secret, without)]
}

/// To read what others refer to, where all of a namespace, or of the cluster, may be read.
fn referred(kind: ObjectKind, place: Option<&str>) -> Right {
    Right::new(resource(kind), WATCHED, place, Need::Must, "what it holds is not served")
}

/// The kinds that others refer to, and that are read by their names alone.
const REFERRED: [ObjectKind; 2] = [ObjectKind::Secret, ObjectKind::ConfigMap];

/// To make a Secret: no rule can name what is not there.
fn made(secret: &Named, without: &'static str) -> Right {
    Right::new(("", "secrets"), &["create"], Some(&secret.namespace), Need::Should, without)
}

/// To read and write a Secret that is there.
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
    let lacks_ticket_keys = match &settings.ticket_keys {
        Some(Named { namespace, name }) => {
            let secrets = Api::<Secret>::namespaced(asker.client.clone(), namespace);
            // Its content is not wanted.
            let asked = asker.ask(secrets.get_metadata(name)).await;
            matches!(asked, Asked::Absent)
        }
        None => false,
    };
    let uses = Uses {
        scope: &settings.cluster.scope,
        names_classes: !settings.translation.ingress_classes.is_empty(),
        reads_all_tls: settings.cluster.reads_all_tls,
        lease: settings.lease.as_ref(),
        ticket_keys: settings.ticket_keys.as_ref(),
        lacks_ticket_keys,
        publishes_nodes: settings.publishes_nodes,
        namespace: &settings.namespace,
    };
    checks.extend(judge_all(asker, account, needed(&uses, &selected)).await);
    checks
}

/// Asks for what the webhook uses to keep a certificate of its own.
pub(super) async fn look_webhook(
    asker: &Asker,
    account: Option<&Named>,
    configuration: &str,
    secret: &Named,
) -> Vec<Check> {
    judge_all(asker, account, of_webhook(configuration, secret).into()).await
}

/// Asks for the objects that others refer to by name.
pub(super) async fn look_by_name(
    asker: &Asker,
    account: Option<&Named>,
    references: &References,
) -> Vec<Check> {
    let named: BTreeSet<ByName<'_>> = references
        .keys()
        .filter(|key| REFERRED.contains(&key.kind))
        .map(|key| (key.kind, &*key.namespace, &*key.name))
        .collect();
    let rights = named
        .into_iter()
        .take(OBJECTS_MAX)
        .map(|(kind, namespace, name)| referred(kind, Some(namespace)).named(name));
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
mod tests;
