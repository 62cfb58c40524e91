//! The chart: its values, and what it says of wrong ones.

use serde_json::Value;
use testkit::cluster::render::{chart, deploy};

use crate::cases::values;

fn schema() -> Value {
    let text = std::fs::read_to_string(deploy("chart/portcullis/values.schema.json"));
    serde_json::from_str(&text.expect("it is there")).expect("it is JSON")
}

/// What the schema says that a value is when nobody says anything.
fn defaults(schema: &Value) -> Option<Value> {
    if let Some(value) = schema.get("default") {
        return Some(value.clone());
    }
    let properties = schema["properties"].as_object()?;
    let all = properties.iter().filter_map(|(name, one)| Some((name.clone(), defaults(one)?)));
    Some(Value::Object(all.collect()))
}

#[test]
fn the_values_are_the_defaults_that_the_schema_and_the_reference_tell() {
    let text = std::fs::read_to_string(deploy("chart/portcullis/values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&text).unwrap();
    let told = defaults(&schema()).unwrap();
    assert_eq!(
        serde_json::to_string_pretty(&values).unwrap(),
        serde_json::to_string_pretty(&told).unwrap()
    );
}

#[test]
fn every_value_is_described() {
    fn look(path: &str, node: &Value, missing: &mut Vec<String>) {
        match node["properties"].as_object() {
            Some(properties) => {
                for (name, one) in properties {
                    look(&format!("{path}.{name}"), one, missing);
                }
                assert_eq!(node["additionalProperties"], false, "{path}");
            }
            None if node["description"].is_null() => missing.push(path.to_owned()),
            None => {}
        }
    }
    let mut missing = Vec::new();
    look("", &schema(), &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

/// What Helm says of values that it must not take.
fn refused(values: &str) -> String {
    match chart("portcullis", values) {
        Ok(_) => panic!("these were taken: {values}"),
        Err(why) => why,
    }
}

#[test]
fn a_value_that_is_unknown_or_of_a_wrong_type_is_refused_by_its_name() {
    for (values, named) in [
        ("replica: 3\n", "replica"),
        ("service: { typ: NodePort }\n", "typ"),
        ("replicas: three\n", "/replicas"),
        ("kind: StatefulSet\n", "/kind"),
        ("drain: { delay: soon }\n", "/drain/delay"),
        ("image: { digest: latest }\n", "/image/digest"),
        ("ports: { http: 70000 }\n", "/ports/http"),
        ("secrets: { read: all }\n", "/secrets/read"),
        ("settings: { AccessLog: json }\n", "AccessLog"),
    ] {
        let why = refused(values);
        assert!(why.contains(named), "{values}: {why}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_the_reason() {
    for (values, reason) in [
        (
            "watch: { namespaces: [a], namespaceSelector: b }\n",
            "watch.namespaces and watch.namespaceSelector exclude each other",
        ),
        (
            "kind: DaemonSet\nautoscaling: { enabled: true }\n",
            "a DaemonSet has one pod on every node",
        ),
        ("hostNetwork: true\n", "hostNetwork needs kind: DaemonSet"),
        ("secrets: { read: all-tls }\n", "secrets.clusterWide: true"),
        ("webhook: { enabled: true }\n", "webhook.apiServers"),
        ("webhook: { certManager: { enabled: true } }\n", "it needs webhook.enabled"),
        (
            "kind: DaemonSet\nhostNetwork: true\nservice: { enabled: false }\n\
             webhook: { enabled: true, apiServers: [192.0.2.1/32] }\n",
            "no NetworkPolicy keeps pods from a port of the node",
        ),
        (
            "watch: { namespaces: [a] }\nwebhook: { enabled: true }\n",
            "webhook.enabled needs rights in the cluster",
        ),
        (
            "watch: { namespaces: [a] }\nsecrets: { clusterWide: true }\n",
            "rights outside of watch.namespaces",
        ),
    ] {
        let why = refused(values);
        assert!(why.contains(reason), "{values}: {why}");
    }
}

#[test]
fn settings_become_flags_of_the_program() {
    let case = values("many settings");
    let arguments = case.arguments();
    for flag in [
        "--access-log=json",
        "--trusted-proxies=10.0.0.0/8",
        "--trusted-proxies=192.168.0.0/16",
        "--connections-max=20000",
        "--retry-reused=false",
        "--request-body-bytes-max=8MiB",
        "--drain-delay=1m",
        "--drain-timeout=1h",
    ] {
        assert!(arguments.contains(&flag), "{flag} is not among {arguments:?}");
    }
}

#[test]
fn another_release_has_names_of_its_own_for_what_must_be_one() {
    let case = values("another release");
    let names: Vec<_> =
        case.objects.iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect();
    for name in names.iter().filter(|name| **name != "portcullis") {
        assert!(name.starts_with("edge-portcullis"), "{name}");
    }
    assert!(case.arguments().contains(&"--election-lease=$(POD_NAMESPACE)/edge-portcullis-leader"));
}

#[test]
fn every_family_of_addresses_has_listeners() {
    let case = values("both families of addresses");
    let arguments = case.arguments();
    for flag in
        ["--http=0.0.0.0:8080", "--http=[::]:8080", "--https=[::]:8443", "--admin=[::]:9090"]
    {
        assert!(arguments.contains(&flag), "{flag} is not among {arguments:?}");
    }
    let service = case.find("Service", "portcullis").unwrap();
    assert_eq!(service["spec"]["ipFamilyPolicy"], "PreferDualStack");
    // The webhook has one address: a socket of the newer family takes both.
    let case = values("the webhook for both families of addresses");
    let arguments = case.arguments();
    let mut of_webhook = arguments.iter().filter(|flag| flag.starts_with("--webhook="));
    assert_eq!(of_webhook.next(), Some(&"--webhook=[::]:9443"));
    assert_eq!(of_webhook.next(), None);
}
