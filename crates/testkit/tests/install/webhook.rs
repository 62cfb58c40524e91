//! The webhook as it is installed: with the rights that it needs and no others, and with what it
//! keeps left alone by whoever installs once more.

use serde_json::{Value, json};
use testkit::cluster::render::deploy;
use testkit::wait_until;

use crate::cases::{VALUES, values, with_component};
use crate::cluster::{Cluster, list};

const SYSTEM: &str = "portcullis-system";
const SECRET: &str = "/api/v1/namespaces/portcullis-system/secrets/portcullis-webhook";
const TICKET_KEYS: &str = "/api/v1/namespaces/portcullis-system/secrets/portcullis-ticket-keys";
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/portcullis";

fn authority(cluster: &Cluster) -> Value {
    let configuration = cluster.plane.look(CONFIGURATION).expect("it is there");
    configuration["webhooks"][0]["clientConfig"]["caBundle"].clone()
}

fn data(cluster: &Cluster, secret: &str) -> Value {
    cluster.plane.look(secret).expect("the Secret is there")["data"].clone()
}

/// Waits until everything that the program keeps is kept.
fn wait_until_kept(cluster: &Cluster) {
    wait_until("its authority is trusted", || authority(cluster).is_string());
    wait_until("keys of tickets are shared", || data(cluster, TICKET_KEYS).is_object());
    assert!(data(cluster, SECRET)["tls.key"].is_string());
}

fn wait_for_rights(cluster: &Cluster) {
    let configurations = "validatingwebhookconfigurations.admissionregistration.k8s.io/portcullis";
    cluster.wait_for_right("update", configurations, "", true);
    cluster.wait_for_right("update", "secrets/portcullis-webhook", SYSTEM, true);
}

/// What is kept by the program, which nothing that is installed has any of.
fn kept(cluster: &Cluster) -> [Value; 3] {
    [authority(cluster), data(cluster, SECRET), data(cluster, TICKET_KEYS)]
}

#[test]
fn its_certificate_is_kept_with_the_rights_that_are_installed_and_outlives_another_apply() {
    let cluster = Cluster::with(with_component("webhook").objects, SYSTEM);
    cluster.let_secrets_be_read();
    wait_for_rights(&cluster);
    assert_eq!(data(&cluster, SECRET), Value::Null, "it is shipped empty");
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until_kept(&cluster);
    let log = gateway.log();
    assert!(!log.contains("forbidden"), "{log}");
    assert_eq!(cluster.lacking_rights(), [Value::Null; 0]);
    let before = kept(&cluster);
    cluster.plane.apply(&list(&cluster.installed));
    assert_eq!(kept(&cluster), before);
}

#[test]
fn an_upgrade_by_helm_leaves_what_the_program_keeps() {
    let case = values("the webhook");
    let (_, release, given) = VALUES.iter().find(|(name, ..)| *name == "the webhook").unwrap();
    let chart = deploy("chart/portcullis");
    let chart = chart.to_str().unwrap();
    let cluster = Cluster::by(case.objects, SYSTEM, |plane, _| {
        let arguments = ["install", release, chart, "--namespace", SYSTEM, "--create-namespace"];
        plane.helm(&[&arguments[..], &["--values", "-"]].concat(), given);
    });
    wait_for_rights(&cluster);
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until_kept(&cluster);
    let before = kept(&cluster);
    // The same again, and something else: both write what is in the chart.
    for changed in ["", "labels: { team: edge }\n"] {
        let arguments = ["upgrade", release, chart, "--namespace", SYSTEM, "--values", "-"];
        cluster.plane.helm(&arguments, &format!("{given}{changed}"));
        assert_eq!(kept(&cluster), before, "{changed}");
    }
    let labelled = cluster.plane.look(SECRET).expect("the Secret is there");
    assert_eq!(labelled["metadata"]["labels"]["team"], "edge");
}

#[test]
fn without_each_of_its_rights_the_log_says_which_is_missing_and_everything_is_served() {
    let cluster = Cluster::with(with_component("webhook").objects, SYSTEM);
    wait_for_rights(&cluster);
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let of_secrets = format!("{rbac}/namespaces/{SYSTEM}/roles/portcullis-webhook");
    let of_trust = format!("{rbac}/clusterroles/portcullis-webhook");
    let secret = ("secrets", r#"secrets \"portcullis-webhook\" is forbidden"#);
    let trust = (
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        r#"validatingwebhookconfigurations.admissionregistration.k8s.io \"portcullis\" is forbidden"#,
    );
    let mut tried = 0;
    for (role, (resource, said)) in [(&of_secrets, secret), (&of_trust, trust)] {
        let whole = cluster.plane.look(role).expect("the role is there")["rules"].clone();
        assert_eq!(whole.as_array().expect("rules").len(), 1, "{whole}");
        for verb in whole[0]["verbs"].as_array().expect("verbs") {
            let mut rules = whole.clone();
            let verbs = whole[0]["verbs"].as_array().into_iter().flatten();
            rules[0]["verbs"] = verbs.filter(|other| *other != verb).cloned().collect();
            cluster.plane.patch(role, &json!({ "rules": rules }));
            let verb = verb.as_str().expect("a verb");
            cluster.wait_for_right(verb, &format!("{resource}/portcullis-webhook"), SYSTEM, false);
            cluster.wait_for_right(verb, &format!("{resource}/portcullis"), SYSTEM, false);
            // Nothing is kept yet, so that everything has to be written.
            cluster.plane.patch(SECRET, &json!({ "data": null }));
            let bundle =
                json!([{ "op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "" }]);
            let bundle = bundle.to_string();
            let patch = ["patch", "validatingwebhookconfiguration", "portcullis", "--type=json"];
            cluster.plane.kubectl(&[&patch[..], &["-p", &bundle]].concat());
            // Who led before gave nothing back.
            cluster.plane.kubectl(&["delete", "leases", "--all", "--namespace", SYSTEM]);
            let gateway = cluster.gateway();
            gateway.wait_for_log("the webhook's certificate cannot be kept");
            let log = gateway.log();
            let line = log.lines().find(|line| line.contains("cannot be kept")).expect("a line");
            assert!(line.contains(said) && line.contains(&format!("cannot {verb} ")), "{line}");
            wait_until("it is ready", || gateway.is_ready());
            wait_until("the route is served", || Cluster::is_served(&gateway));
            cluster.plane.patch(role, &json!({ "rules": whole }));
            wait_for_rights(&cluster);
            tried += 1;
        }
    }
    assert_eq!(tried, 4);
    cluster.plane.kubectl(&["delete", "leases", "--all", "--namespace", SYSTEM]);
    let gateway = cluster.gateway();
    wait_until("it is ready", || gateway.is_ready());
    wait_until_kept(&cluster);
}

#[test]
fn a_certificate_of_cert_manager_is_for_the_service_and_needs_no_right_of_the_program() {
    for (case, name, issuer) in [
        (with_component("webhook-cert-manager"), "portcullis", "portcullis-webhook"),
        (values("the webhook with cert-manager"), "portcullis", "portcullis-webhook"),
        (values("the webhook with an issuer"), "edge-portcullis", "inner"),
    ] {
        let of = |kind: &str, name: &str| {
            case.find(kind, name).unwrap_or_else(|| panic!("{}: {kind} {name}", case.name))
        };
        let webhook = format!("{name}-webhook");
        let certificate = &of("Certificate", &webhook)["spec"];
        let configuration = of("ValidatingWebhookConfiguration", name);
        let service = &configuration["webhooks"][0]["clientConfig"]["service"];
        let called = |part: &str| service[part].as_str().expect("a text");
        let called = format!("{}.{}.svc", called("name"), called("namespace"));
        assert_eq!(certificate["dnsNames"][0], called, "{}", case.name);
        assert_eq!(certificate["issuerRef"]["name"], issuer, "{}", case.name);
        // What is injected, mounted and read is what is made.
        let annotations = &configuration["metadata"]["annotations"];
        let from = &annotations["cert-manager.io/inject-ca-from"];
        assert_eq!(from, &format!("{SYSTEM}/{webhook}"), "{}", case.name);
        let mounted = &case.pod()["volumes"][0]["secret"]["secretName"];
        assert_eq!(&certificate["secretName"], mounted, "{}", case.name);
        assert!(case.arguments().contains(&"--webhook-configuration=off"), "{}", case.name);
        for kind in ["Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
            assert!(case.find(kind, &webhook).is_none(), "{}: {kind}", case.name);
        }
        let is_made_here = case.find("Certificate", &format!("{webhook}-root")).is_some();
        assert_eq!(is_made_here, issuer != "inner", "{}", case.name);
    }
}
