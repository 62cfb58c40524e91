//! What holds of everything that is rendered, whatever was asked for.

use std::process::Command;

use serde_json::{Value, json};
use testkit::cluster::render::{deploy, objects, try_kustomize};
use testkit::gateway::program;

use crate::cases::{Case, all, components_on, folder, values};

#[test]
fn no_pod_has_more_power_than_it_needs() {
    for case in all() {
        let pod = case.pod();
        let of_pod = &pod["securityContext"];
        assert_eq!(of_pod["runAsNonRoot"], true, "{}", case.name);
        assert_eq!(of_pod["runAsUser"], 65532, "{}", case.name);
        assert_eq!(of_pod["seccompProfile"], json!({ "type": "RuntimeDefault" }), "{}", case.name);
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1, "{}", case.name);
        assert_eq!(pod["initContainers"], Value::Null, "{}", case.name);
        // Nothing is mounted but what cert-manager makes for the webhook.
        let volumes = pod["volumes"].as_array().map_or(&[][..], Vec::as_slice);
        let certificate = case.arguments().iter().any(|a| a.starts_with("--webhook-certificate="));
        assert_eq!(volumes.len(), usize::from(certificate), "{}", case.name);
        for volume in volumes {
            let secret = &volume["secret"];
            let name = secret["secretName"].as_str().unwrap();
            assert!(name.ends_with("portcullis-webhook-tls"), "{}: {name}", case.name);
            assert_eq!(secret["optional"], true, "{}", case.name);
            let mount = &containers[0]["volumeMounts"];
            let wanted = json!([{
                "name": "webhook", "mountPath": "/etc/portcullis/webhook", "readOnly": true,
            }]);
            assert_eq!(mount, &wanted, "{}", case.name);
        }
        let on_node = pod["hostNetwork"] == true;
        let mut wanted = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        if on_node {
            wanted["capabilities"]["add"] = json!(["NET_BIND_SERVICE"]);
        }
        assert_eq!(containers[0]["securityContext"], wanted, "{}", case.name);
        for field in ["hostPID", "hostIPC", "shareProcessNamespace"] {
            assert_eq!(pod[field], Value::Null, "{}", case.name);
        }
        assert_eq!(pod["enableServiceLinks"], false, "{}", case.name);
        assert_eq!(pod["automountServiceAccountToken"], true, "{}", case.name);
    }
}

#[test]
fn a_pod_has_time_to_drain() {
    for case in all() {
        let seconds = |name: &str| {
            let flag = format!("--{name}=");
            let arguments = case.arguments();
            let text = arguments.iter().find_map(|a| a.strip_prefix(flag.as_str())).unwrap();
            let (number, unit) = text.split_at(text.len() - 1);
            let number: u64 = number.parse().unwrap();
            number
                * match unit {
                    "s" => 1,
                    "m" => 60,
                    _ => 3600,
                }
        };
        let wanted = seconds("drain-delay") + seconds("drain-timeout") + 10;
        assert_eq!(case.pod()["terminationGracePeriodSeconds"], wanted, "{}", case.name);
        assert_eq!(case.pod()["containers"][0]["lifecycle"], Value::Null, "{}", case.name);
    }
}

#[test]
fn probes_ask_what_the_program_answers() {
    for case in all() {
        let container = &case.pod()["containers"][0];
        assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez", "{}", case.name);
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz", "{}", case.name);
        let names: Vec<_> =
            container["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
        assert_eq!(names[..3], ["http", "https", "admin"], "{}", case.name);
    }
}

#[test]
fn the_program_takes_every_argument() {
    // It tells all that is wrong with settings at once, and serves nothing where something is.
    let wrong = "PORTCULLIS_NOT_A_SETTING";
    for case in all() {
        let mut arguments: Vec<String> = case.arguments().into_iter().map(String::from).collect();
        assert_eq!(arguments[0], "run", "{}", case.name);
        let mut command = Command::new(program());
        command.env_clear().env(wrong, "x");
        for variable in case.pod()["containers"][0]["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().expect("a name");
            let value = variable["value"].as_str().unwrap_or("from-the-pod");
            command.env(name, value);
            // As the kubelet does.
            for argument in &mut arguments {
                *argument = argument.replace(&format!("$({name})"), value);
            }
        }
        command.args(&arguments);
        let output = command.output().expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{}: {arguments:?}: {said}", case.name);
        let errors: Vec<&str> = said.lines().filter(|line| !line.starts_with("  help:")).collect();
        let wanted = format!("error: unknown environment variable `{wrong}`");
        assert_eq!(errors, [wanted], "{}: {arguments:?}", case.name);
    }
}

#[test]
fn the_admin_port_of_a_node_is_on_its_loopback() {
    let case = folder("host-network");
    assert!(case.arguments().contains(&"--admin=127.0.0.1:9090"));
    assert_eq!(case.pod()["containers"][0]["readinessProbe"]["httpGet"]["host"], "127.0.0.1");
}

#[test]
fn a_rolling_update_never_has_fewer_replicas_than_wanted() {
    for case in all().iter().filter(|case| case.workload()["kind"] == "Deployment") {
        let rolling = &case.workload()["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(rolling, &json!({ "maxUnavailable": 0, "maxSurge": 1 }), "{}", case.name);
    }
}

/// Every rule that a subject of a case has, with whether it holds in the whole cluster.
fn rules(case: &Case) -> Vec<(bool, Value)> {
    let mut found = Vec::new();
    let bindings = case
        .objects
        .iter()
        .filter(|object| object["kind"] == "RoleBinding" || object["kind"] == "ClusterRoleBinding");
    for binding in bindings {
        let reference = &binding["roleRef"];
        let role = case
            .objects
            .iter()
            .find(|o| o["kind"] == reference["kind"] && o["metadata"]["name"] == reference["name"])
            .unwrap_or_else(|| panic!("{}: a role that is not there: {reference}", case.name));
        let in_cluster = binding["kind"] == "ClusterRoleBinding";
        let all = role["rules"].as_array().expect("rules").iter().cloned();
        found.extend(all.map(|rule| (in_cluster, rule)));
    }
    found
}

#[test]
fn no_right_is_given_by_a_wildcard_and_none_of_them_changes_what_users_wrote() {
    for case in all() {
        for (in_cluster, rule) in rules(case) {
            for part in ["apiGroups", "resources", "verbs"] {
                let words = rule[part].as_array().unwrap();
                assert!(words.iter().all(|word| word != "*"), "{}: {rule}", case.name);
            }
            let writes = ["create", "update", "patch", "delete", "deletecollection"];
            let writes = |verb: &Value| writes.iter().any(|word| verb == word);
            if rule["verbs"].as_array().unwrap().iter().any(writes) {
                let resources = &rule["resources"];
                let anywhere = [json!(["ingresses/status"]), json!(["events"])];
                let own = resources == &json!(["leases"]) && !in_cluster;
                // Keys of tickets, the certificate of the webhook, and who trusts it.
                let name = rule["resourceNames"][0].as_str().unwrap_or_default();
                let keys = !in_cluster && name.ends_with("-ticket-keys");
                let webhook = match resources[0].as_str().unwrap() {
                    "secrets" => !in_cluster && is_named(&rule, "-webhook"),
                    "validatingwebhookconfigurations" => is_named(&rule, ""),
                    _ => false,
                };
                let is_ours = anywhere.contains(resources) || own || keys || webhook;
                assert!(is_ours, "{}: {rule}", case.name);
            }
        }
    }
}

/// Whether a rule is for one object of this installation alone.
fn is_named(rule: &Value, ending: &str) -> bool {
    let names = ["portcullis", "edge-portcullis", "front"];
    names.iter().any(|name| rule["resourceNames"] == json!([format!("{name}{ending}")]))
}

#[test]
fn pods_reach_the_webhook_nowhere() {
    for case in all() {
        let policy = case.objects.iter().find(|object| object["kind"] == "NetworkPolicy");
        let rules = policy.map_or(&Value::Null, |policy| &policy["spec"]["ingress"]);
        for rule in rules.as_array().into_iter().flatten() {
            let ports = rule["ports"].as_array().unwrap();
            if ports.iter().any(|port| port["port"] == "webhook") {
                assert_eq!(ports.len(), 1, "{}", case.name);
                let from = rule["from"].as_array().unwrap();
                assert!(!from.is_empty(), "{}", case.name);
                for one in from {
                    let names: Vec<_> = one.as_object().unwrap().keys().collect();
                    assert_eq!(names, ["ipBlock"], "{}", case.name);
                }
            }
        }
        let is_served = case.arguments().iter().any(|flag| flag.starts_with("--webhook="));
        let is_kept = rules.as_array().is_some_and(|rules| rules.len() == 3);
        assert_eq!(is_served, is_kept, "{}", case.name);
    }
}

#[test]
fn the_webhook_is_not_added_where_no_policy_could_keep_pods_from_it() {
    let home = components_on("host-network", &["webhook"]);
    let why = try_kustomize(home.path()).expect_err("it is refused");
    assert!(why.contains("NetworkPolicy") && why.contains("portcullis"), "{why}");
}

#[test]
fn the_webhook_is_not_added_where_one_namespace_is_all_that_is_read() {
    let home = components_on("namespaced", &["webhook"]);
    let why = try_kustomize(home.path()).expect_err("it is refused");
    assert!(why.contains("ClusterRole") && why.contains("portcullis"), "{why}");
}

#[test]
fn secrets_of_the_whole_cluster_are_read_only_where_that_was_asked_for() {
    let reads_secrets = |case: &Case| {
        let mut all = rules(case).into_iter();
        all.any(|(in_cluster, rule)| in_cluster && rule["resources"] == json!(["secrets"]))
    };
    let mut asked: Vec<String> =
        all().iter().filter(|case| reads_secrets(case)).map(|case| case.name.clone()).collect();
    asked.sort();
    assert_eq!(asked, ["deploy/components/all-secrets", "the chart with all Secrets"]);
}

#[test]
fn a_gateway_of_named_namespaces_has_no_right_in_the_cluster() {
    for case in [folder("namespaced"), values("two namespaces")] {
        for object in &case.objects {
            let kind = object["kind"].as_str().unwrap();
            assert!(!kind.starts_with("Cluster"), "{}: {kind}", case.name);
            assert!(!["Namespace", "IngressClass"].contains(&kind), "{}: {kind}", case.name);
        }
    }
}

#[test]
fn what_selects_pods_selects_those_of_its_release_alone() {
    for case in all() {
        let labels = &case.workload()["spec"]["template"]["metadata"]["labels"];
        let of_workload = &case.workload()["spec"]["selector"]["matchLabels"];
        for object in &case.objects {
            let selector = match object["kind"].as_str().unwrap() {
                "Service" => &object["spec"]["selector"],
                "PodDisruptionBudget" => &object["spec"]["selector"]["matchLabels"],
                "NetworkPolicy" => &object["spec"]["podSelector"]["matchLabels"],
                _ => continue,
            };
            assert_eq!(selector, of_workload, "{}: {}", case.name, object["kind"]);
        }
        for (name, value) in of_workload.as_object().unwrap() {
            assert_eq!(&labels[name], value, "{}", case.name);
        }
    }
}

#[test]
fn the_flat_manifest_names_its_namespace_everywhere() {
    let text = std::fs::read_to_string(deploy("portcullis.yaml")).unwrap();
    let namespaced = objects(&text).into_iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap();
        !kind.starts_with("Cluster") && !["Namespace", "IngressClass"].contains(&kind)
    });
    for object in namespaced {
        assert_eq!(object["metadata"]["namespace"], "portcullis-system", "{}", object["kind"]);
    }
}
