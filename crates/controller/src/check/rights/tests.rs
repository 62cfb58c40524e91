//! What is said of rights; and that the table of them is what `deploy/` grants: neither asks for
//! what the other has not.
//!
//! That kustomize and the chart come to the same objects, and that the program works with them, is
//! for tests that have both; here the files are read as they are.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "portcullis-system";

/// One verb on one resource, somewhere: what both sides come to.
type Grant = (Option<String>, String, String, Option<String>, String);

/// Where, group, resource, name, verb.
fn grant(
    place: Option<&str>,
    (group, resource): (&str, &str),
    name: Option<&str>,
    verb: &str,
) -> Grant {
    let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
    (owned(place), group.to_owned(), resource.to_owned(), owned(name), verb.to_owned())
}

/// What these rights come to.
fn asked(rights: impl IntoIterator<Item = Right>) -> BTreeSet<Grant> {
    let mut all = BTreeSet::new();
    for right in rights {
        for verb in right.verbs {
            let (place, name) = (right.namespace.as_deref(), right.name.as_deref());
            all.insert(grant(place, (right.group, right.resource), name, verb));
        }
    }
    all
}

/// The objects of files of `deploy/`.
fn objects(files: &[&str]) -> Vec<Value> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |file: &&str| {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        serde_saphyr::from_multiple::<Value>(&text).unwrap()
    };
    files.iter().flat_map(read).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap()).collect()
}

/// What a rule grants in a place.
fn of_rule(rule: &Value, place: Option<&str>) -> BTreeSet<Grant> {
    let verbs = strings(&rule["verbs"]);
    let names = match strings(&rule["resourceNames"]) {
        names if names.is_empty() => vec![None],
        names => names.into_iter().map(Some).collect(),
    };
    let mut all = BTreeSet::new();
    for verb in verbs {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for name in &names {
                    all.insert(grant(place, (group, resource), *name, verb));
                }
            }
        }
    }
    all
}

/// What these objects grant to our account: rules of roles that are bound.
fn granted(objects: &[Value]) -> BTreeSet<Grant> {
    let mut all = BTreeSet::new();
    for binding in objects {
        let place = match binding["kind"].as_str() {
            Some("ClusterRoleBinding") => None,
            Some("RoleBinding") => Some(binding["metadata"]["namespace"].as_str().unwrap()),
            _ => continue,
        };
        let account = json!({
            "kind": "ServiceAccount", "name": "portcullis", "namespace": NAMESPACE,
        });
        assert_eq!(binding["subjects"], json!([account]), "{binding}");
        let role = objects.iter().find(|role| {
            let reference = &binding["roleRef"];
            role["kind"] == reference["kind"] && role["metadata"]["name"] == reference["name"]
        });
        let role = role.unwrap_or_else(|| panic!("what {binding} binds is shipped"));
        let rules = role["rules"].as_array().unwrap();
        all.extend(rules.iter().flat_map(|rule| of_rule(rule, place)));
    }
    all
}

fn named(name: &str) -> Named {
    Named { namespace: NAMESPACE.into(), name: name.into() }
}

/// Says what the one has and the other has not.
fn assert_same(asked: &BTreeSet<Grant>, granted: &BTreeSet<Grant>) {
    let not_granted: Vec<_> = asked.difference(granted).collect();
    // Whoever may list objects has them: to get them as well is nothing more.
    let is_listed = |(place, group, resource, name, verb): &Grant| {
        let listed = grant(place.as_deref(), (group, resource), name.as_deref(), "list");
        verb == "get" && granted.contains(&listed)
    };
    let not_asked: Vec<_> = granted.difference(asked).filter(|one| !is_listed(one)).collect();
    assert!(
        not_granted.is_empty() && not_asked.is_empty(),
        "check asks for what deploy/ does not grant: {not_granted:#?}\n\
         deploy/ grants what check does not ask for: {not_asked:#?}"
    );
}

/// What is shipped: a Lease, keys of tickets that are there, everything of a scope.
fn uses<'s>(scope: &'s Scope, lease: &'s Named, keys: &'s Named) -> Uses<'s> {
    Uses {
        scope,
        names_classes: false,
        reads_all_tls: false,
        lease: Some(lease),
        ticket_keys: Some(keys),
        lacks_ticket_keys: false,
        publishes_nodes: false,
        namespace: NAMESPACE,
    }
}

const CLUSTER_WIDE: &[&str] = &["base/role.yaml", "cluster-wide/rights.yaml"];

#[test]
fn cluster_wide() {
    let (lease, keys) = (named("portcullis-leader"), named("portcullis-ticket-keys"));
    let uses = uses(&Scope::All, &lease, &keys);
    assert_same(&asked(needed(&uses, &[])), &granted(&objects(CLUSTER_WIDE)));
}

#[test]
fn of_one_namespace() {
    let (lease, keys) = (named("portcullis-leader"), named("portcullis-ticket-keys"));
    let scope = Scope::Namespaces(BTreeSet::from([NAMESPACE.to_owned()]));
    let uses = Uses { names_classes: true, ..uses(&scope, &lease, &keys) };
    let mut rights = needed(&uses, &[]);
    rights.extend(REFERRED.map(|kind| referred(kind, Some(NAMESPACE))));
    let files = ["base/role.yaml", "namespaced/role.yaml"];
    assert_same(&asked(rights), &granted(&objects(&files)));
}

#[test]
fn of_the_secrets_of_a_namespace_that_the_guide_binds() {
    let all = objects(CLUSTER_WIDE);
    let role = all.iter().find(|role| role["metadata"]["name"] == "portcullis-secrets").unwrap();
    let rules = role["rules"].as_array().unwrap();
    let granted = rules.iter().flat_map(|rule| of_rule(rule, Some("shop"))).collect();
    assert_same(&asked(REFERRED.map(|kind| referred(kind, Some("shop")))), &granted);
}

#[test]
fn of_all_secrets() {
    let (lease, keys) = (named("portcullis-leader"), named("portcullis-ticket-keys"));
    let uses = Uses { reads_all_tls: true, ..uses(&Scope::All, &lease, &keys) };
    let mut rights = needed(&uses, &[]);
    rights.extend(REFERRED.map(|kind| referred(kind, None)));
    let files = [CLUSTER_WIDE, &["components/all-secrets/binding.yaml"]].concat();
    assert_same(&asked(rights), &granted(&objects(&files)));
}

#[test]
fn of_the_webhook() {
    let (lease, keys) = (named("portcullis-leader"), named("portcullis-ticket-keys"));
    let mut rights = needed(&uses(&Scope::All, &lease, &keys), &[]);
    rights.extend(of_webhook("portcullis", &named("portcullis-webhook")));
    let files = [CLUSTER_WIDE, &["components/webhook/rights.yaml"]].concat();
    assert_same(&asked(rights), &granted(&objects(&files)));
}

#[test]
fn of_who_tells_the_addresses_of_nodes() {
    let (lease, keys) = (named("portcullis-leader"), named("portcullis-ticket-keys"));
    let uses = Uses { publishes_nodes: true, ..uses(&Scope::All, &lease, &keys) };
    let mut all = objects(CLUSTER_WIDE);
    let component = objects(&["components/nodes/kustomization.yaml"]).remove(0);
    for patch in component["patches"].as_array().unwrap() {
        let kind = &patch["target"]["kind"];
        assert_eq!(patch["target"]["name"], "^portcullis$");
        let is_meant =
            |role: &&mut Value| role["kind"] == *kind && role["metadata"]["name"] == "portcullis";
        let role = all.iter_mut().find(is_meant).unwrap();
        let operations: Vec<Value> =
            serde_saphyr::from_str(patch["patch"].as_str().unwrap()).unwrap();
        for operation in operations {
            assert_eq!((&operation["op"], &operation["path"]), (&json!("add"), &json!("/rules/-")));
            role["rules"].as_array_mut().unwrap().push(operation["value"].clone());
        }
    }
    assert_same(&asked(needed(&uses, &[])), &granted(&all));
}

#[test]
fn who_takes_part_in_no_election_needs_less() {
    let (lease, keys) = (named("portcullis-leader"), named("portcullis-ticket-keys"));
    let with = uses(&Scope::All, &lease, &keys);
    let all = asked(needed(&with, &[]));
    let without = Uses { lease: None, ticket_keys: None, ..with };
    let less = asked(needed(&without, &[]));
    assert!(less.is_subset(&all));
    let resources: BTreeSet<&str> = all.difference(&less).map(|grant| &*grant.2).collect();
    assert_eq!(resources, BTreeSet::from(["events", "ingresses/status", "leases", "secrets"]));
}

#[test]
fn a_secret_of_ticket_keys_that_is_not_shipped_is_to_be_made() {
    let (lease, keys) = (named("portcullis-leader"), named("keys"));
    let with = uses(&Scope::All, &lease, &keys);
    let there = asked(needed(&with, &[]));
    let absent = asked(needed(&Uses { lacks_ticket_keys: true, ..with }, &[]));
    let further: Vec<&Grant> = absent.difference(&there).collect();
    assert_eq!(further, [&grant(Some(NAMESPACE), ("", "secrets"), None, "create")]);
}

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
