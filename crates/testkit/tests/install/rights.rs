//! The rights that are installed are those that the program needs: with them everything works, and
//! without each of them something is said that names it.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::cluster::render::{deploy, kustomize, objects};
use testkit::gateway::program;
use testkit::wait_until;

use crate::cases::{folder, values};
use crate::cluster::{Cluster, list};

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const OWN_ROLE: &str =
    "/apis/rbac.authorization.k8s.io/v1/namespaces/portcullis-system/roles/portcullis";

#[test]
fn with_the_rights_that_are_installed_everything_works_and_nothing_is_forbidden() {
    let cluster = Cluster::start();
    cluster.let_secrets_be_read();
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    wait_until("its certificate is", || cluster.has_certificate(&gateway));
    wait_until("its status is written", || cluster.has_status());
    wait_until("what is good is told", || cluster.has_event("Normal", "web"));
    wait_until("what is wrong is told", || cluster.has_event("Warning", "broken"));
    let leases = cluster.plane.kubectl(&["get", "leases", "-n=portcullis-system", "-o=name"]);
    assert!(leases.contains("/portcullis-leader\n"), "{leases}");
    assert!(leases.contains("/portcullis-leader.portcullis-0\n"), "{leases}");
    let keys = "/api/v1/namespaces/portcullis-system/secrets/portcullis-ticket-keys";
    wait_until("keys of tickets are shared", || cluster.plane.look(keys).is_some());
    let log = gateway.log();
    assert!(!log.contains("forbidden"), "{log}");
    assert_eq!(cluster.lacking_rights(), [Value::Null; 0]);
}

#[test]
fn check_finds_every_right_of_what_is_installed_and_misses_none() {
    let cluster = Cluster::start();
    let rights = || {
        let output = Command::new(program())
            .args(["check", "--format", "json", "--kubeconfig"])
            .arg(cluster.plane.kubeconfig())
            .output()
            .expect("the program can be started");
        let document: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        let checks = document["checks"].as_array().expect("checks").clone();
        checks.into_iter().filter(|check| check["id"] == "right").collect::<Vec<_>>()
    };
    let lacking = |rights: &[Value]| -> Vec<String> {
        let lacking = rights.iter().filter(|check| check["outcome"] != "ok");
        lacking.map(|check| check["message"].as_str().unwrap_or_default().to_owned()).collect()
    };
    // The binding of the guide is all that is missing.
    let missing = lacking(&rights());
    assert!(
        missing.iter().all(|message| message.contains("may not list, watch secrets `web-tls`")
            || message.contains("may not list, watch configmaps `front`")),
        "{missing:#?}"
    );
    assert_eq!(missing.len(), 2, "{missing:#?}");
    cluster.let_secrets_be_read();
    let all = rights();
    assert!(all.len() > 10, "{all:#?}");
    assert_eq!(lacking(&all), Vec::<String>::new());
}

#[test]
fn without_the_binding_of_the_guide_no_secret_is_read_and_the_route_is_served() {
    let cluster = Cluster::start();
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    gateway.wait_for_log("secrets \"web-tls\" is forbidden");
    assert!(!cluster.has_certificate(&gateway));
    cluster.let_secrets_be_read();
    wait_until("its certificate is", || cluster.has_certificate(&gateway));
}

#[test]
fn a_gateway_of_one_namespace_needs_nothing_outside_of_it() {
    // As the guide has it: a kustomization that names the namespace.
    let home = tempfile::tempdir_in(deploy("../target")).unwrap();
    let text = "namespace: shop\nresources: [../../deploy/namespaced]\n";
    std::fs::write(home.path().join("kustomization.yaml"), text).unwrap();
    let cluster = Cluster::with(objects(&kustomize(home.path())), "shop");
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    wait_until("its certificate is", || cluster.has_certificate(&gateway));
    wait_until("its status is written", || cluster.has_status());
    wait_until("what is wrong is told", || cluster.has_event("Warning", "broken"));
}

/// What must be so when a rule is missing.
enum Lacks {
    /// It does not get ready, for what it cannot read.
    Readiness,
    /// It serves, without what the log says.
    Nothing,
    /// It serves and writes no status.
    Status,
    /// It serves and writes no Event.
    Events,
    /// It serves and writes neither.
    Leadership,
    /// It serves with the default certificate.
    Certificate,
}

#[test]
fn without_each_rule_something_is_missing_and_the_log_says_what() {
    use Lacks::{Certificate, Events, Leadership, Nothing, Readiness, Status};
    let cluster = Cluster::start();
    cluster.let_secrets_be_read();
    let role = format!("{ROLES}/portcullis");
    let secrets = format!("{ROLES}/portcullis-secrets");
    let mut rules = 0;
    for (path, resource, said, lacks) in [
        (role.as_str(), "ingresses", "ingresses.networking.k8s.io is forbidden", Readiness),
        (&role, "services", "services is forbidden", Readiness),
        (&role, "endpointslices", "endpointslices.discovery.k8s.io is forbidden", Readiness),
        (&role, "ingressclasses", "ingressclasses.networking.k8s.io is forbidden", Readiness),
        (
            &role,
            "clusteringressparameters",
            "clusteringressparameters.portcullis.io is forbidden",
            Nothing,
        ),
        (&role, "namespaces", "namespaces is forbidden", Nothing),
        (&role, "ingresses/status", "ingresses/status", Status),
        (&role, "events", "events.events.k8s.io", Events),
        (OWN_ROLE, "leases", "leases.coordination.k8s.io", Leadership),
        (OWN_ROLE, "secrets", r#"portcullis-ticket-keys\" is forbidden"#, Nothing),
        (&secrets, "secrets", "secrets \"web-tls\" is forbidden", Certificate),
        (&secrets, "configmaps", "configmaps \"front\" is forbidden", Nothing),
    ] {
        cluster.forget();
        let (whole, taken) = cluster.without(path, resource);
        rules += taken;
        let rule = whole["rules"]
            .as_array()
            .and_then(|rules| rules.iter().rfind(|rule| rule["resources"] == json!([resource])));
        let rule = rule.expect("it was there");
        let (group, verb) = (&rule["apiGroups"][0], rule["verbs"][0].as_str().expect("a verb"));
        let group = group.as_str().filter(|group| !group.is_empty());
        let name = rule["resourceNames"][0].as_str().map_or(String::new(), |n| format!("/{n}"));
        let (kind, part) = resource.split_once('/').unwrap_or((resource, ""));
        let kind = group.map_or(kind.to_owned(), |group| format!("{kind}.{group}"));
        let namespace = if path == OWN_ROLE { "portcullis-system" } else { "shop" };
        // What is a part of an object is asked for late enough.
        if part.is_empty() {
            cluster.wait_for_right(verb, &format!("{kind}{name}"), namespace, false);
        }
        let gateway = cluster.gateway();
        gateway.wait_for_log(said);
        match lacks {
            Readiness => assert!(!gateway.is_ready(), "without {resource} it is not ready"),
            _ => wait_until("it is ready", || gateway.is_ready()),
        }
        let is_served = Cluster::is_served;
        match lacks {
            Readiness => {}
            _ => wait_until("the route is served", || is_served(&gateway)),
        }
        match lacks {
            Readiness | Nothing => {}
            Status => {
                wait_until("Events are written", || cluster.has_event("Warning", "broken"));
                assert!(!cluster.has_status(), "without {resource}");
            }
            Events => {
                wait_until("its status is written", || cluster.has_status());
                assert!(!cluster.has_event("Warning", "broken"), "without {resource}");
            }
            Leadership => {
                std::thread::sleep(Duration::from_secs(3));
                assert!(!cluster.has_status(), "without {resource}");
                assert!(!cluster.has_event("Warning", "broken"), "without {resource}");
            }
            Certificate => assert!(!cluster.has_certificate(&gateway), "without {resource}"),
        }
        cluster.plane.patch(path, &json!({ "rules": whole["rules"] }));
        // What was missing is used as soon as it is given.
        if let Readiness = lacks {
            wait_until("it is ready with the right", || gateway.is_ready());
            wait_until("the route is served", || Cluster::is_served(&gateway));
        }
    }
    let of_roles = [role.as_str(), OWN_ROLE, &secrets].map(|path| {
        let role = cluster.plane.look(path).expect("the role is there");
        role["rules"].as_array().expect("rules").len()
    });
    assert_eq!(rules, of_roles.iter().sum::<usize>(), "a rule was not tried");
}

/// Tries a gateway with its rights, and without each of these rules: their roles, resources, and
/// what the log says.
fn try_publishing(cluster: &Cluster, rules: &[(&str, &str, &str)]) {
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until("the route is served", || Cluster::is_served(&gateway));
    wait_until("its status is written", || cluster.has_status());
    let log = gateway.log();
    // What a gateway of some namespaces does without is no mistake.
    let is_mistake = |line: &&str| line.contains("forbidden") && !line.contains("done without");
    let forbidden: Vec<_> = log.lines().filter(is_mistake).collect();
    assert_eq!(forbidden, [""; 0], "{}", cluster.installed.name);
    assert_eq!(cluster.lacking_rights(), [Value::Null; 0], "{}", cluster.installed.name);
    drop(gateway);
    for (path, resource, said) in rules {
        let whole = cluster.plane.look(path).expect("the role is there")["rules"].clone();
        let of_resource = |rule: &&Value| rule["resources"] == json!([resource]);
        let rule = whole.as_array().expect("rules").iter().rfind(of_resource).expect("a rule");
        let verbs = rule["verbs"].as_array().expect("verbs");
        let name = rule["resourceNames"][0].as_str().map_or(String::new(), |n| format!("/{n}"));
        for verb in verbs {
            cluster.forget();
            let mut rules = whole.as_array().expect("rules").clone();
            for one in rules.iter_mut().filter(|one| of_resource(&&**one)) {
                one["verbs"] = verbs.iter().filter(|other| *other != verb).cloned().collect();
            }
            rules.retain(|one| one["verbs"] != json!([]));
            cluster.plane.patch(path, &json!({ "rules": rules }));
            let verb = verb.as_str().expect("a verb");
            let (asked, system) = (format!("{resource}{name}"), "portcullis-system");
            cluster.wait_for_right(verb, &asked, system, false);
            let gateway = cluster.gateway();
            gateway.wait_for_log(said);
            wait_until("it is ready", || gateway.is_ready());
            wait_until("the route is served", || Cluster::is_served(&gateway));
            wait_until("Events are written", || cluster.has_event("Warning", "broken"));
            // An address that was listed is told, although it is not followed.
            if (*resource, verb) != ("services", "watch") {
                assert!(!cluster.has_status(), "without {verb} of {resource}");
            }
            cluster.plane.patch(path, &json!({ "rules": whole }));
            cluster.wait_for_right(verb, &asked, system, true);
        }
    }
}

#[test]
fn the_addresses_of_nodes_need_the_rights_to_pods_and_nodes_and_no_others() {
    let role = format!("{ROLES}/portcullis");
    for name in ["node-port", "host-network"] {
        let mut cluster = Cluster::with(folder(name).objects, "portcullis-system");
        cluster.installed.name = name.to_owned();
        cluster.let_secrets_be_read();
        cluster.run_pod();
        cluster.wait_for_right("watch", "pods", "portcullis-system", true);
        cluster.wait_for_right("get", "nodes", "", true);
        try_publishing(
            &cluster,
            &[
                (OWN_ROLE, "pods", "pods is forbidden"),
                (&role, "nodes", "nodes \\\"node-0\\\" is forbidden"),
            ],
        );
    }
}

#[test]
fn a_gateway_of_other_namespaces_needs_the_right_to_its_own_service() {
    let objects = values("two namespaces").objects;
    let cluster = Cluster::by(objects, "portcullis-system", |plane, installed| {
        plane.kubectl(&["create", "namespace", "blog"]);
        plane.kubectl(&["create", "namespace", "portcullis-system"]);
        plane.apply(&list(installed));
    });
    cluster.wait_for_right("watch", "services/portcullis", "portcullis-system", true);
    try_publishing(&cluster, &[(OWN_ROLE, "services", "services \\\"portcullis\\\" is forbidden")]);
}
