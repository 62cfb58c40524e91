//! Everything that can be rendered.

use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;
use testkit::cluster::render::{chart, deploy, kustomize, objects};

/// The folders that users apply.
pub(crate) const FOLDERS: &[&str] =
    &["load-balancer", "node-port", "host-network", "kind", "namespaced"];

/// The components that can be added to the first of them.
pub(crate) const COMPONENTS: &[&str] = &[
    "autoscaling",
    "service-monitor",
    "all-secrets",
    "default-class",
    "webhook",
    "webhook-cert-manager",
];

/// Values of the chart, each with a name and the name of its release.
pub(crate) const VALUES: &[(&str, &str, &str)] = &[
    ("its own values", "portcullis", ""),
    ("another release", "edge", ""),
    ("another name", "edge", "fullnameOverride: front\n"),
    ("node ports", "portcullis", NODE_PORTS),
    ("the nodes' network", "portcullis", HOST_NETWORK),
    (
        "a daemon set behind a load balancer",
        "portcullis",
        "kind: DaemonSet\nservice: { loadBalancerClass: example.com/inner }\n",
    ),
    ("inside the cluster", "portcullis", "service: { type: ClusterIP }\n"),
    ("both families of addresses", "portcullis", "ipFamilies: [IPv4, IPv6]\n"),
    ("the newer family alone", "portcullis", "ipFamilies: [IPv6]\n"),
    ("two namespaces", "portcullis", "watch: { namespaces: [shop, blog] }\n"),
    ("namespaces by label", "portcullis", "watch: { namespaceSelector: 'team in (a, b)' }\n"),
    ("Secrets of two namespaces", "portcullis", "secrets: { namespaces: [shop, blog] }\n"),
    ("all Secrets", "portcullis", "secrets: { clusterWide: true, read: all-tls }\n"),
    ("an autoscaler", "portcullis", "autoscaling: { enabled: true, maxReplicas: 4 }\n"),
    (
        "a monitor",
        "portcullis",
        "metrics: { serviceMonitor: { enabled: true, interval: 30s, labels: { for: us } } }\n",
    ),
    (
        "without a Service",
        "portcullis",
        "service: { enabled: false }\npublish: { addresses: [a.test] }\n",
    ),
    (
        "rights and account of others",
        "portcullis",
        "rbac: { create: false }\nserviceAccount: { create: false, name: given }\n",
    ),
    ("many settings", "portcullis", SETTINGS),
    ("the webhook", "portcullis", "webhook: { enabled: true, apiServers: [192.0.2.1/32] }\n"),
    (
        "the webhook of another release",
        "edge",
        "webhook: { enabled: true, failurePolicy: Fail, apiServers: [192.0.2.0/24] }\n",
    ),
    (
        "the webhook with cert-manager",
        "portcullis",
        "webhook: { enabled: true, apiServers: [192.0.2.1/32], certManager: { enabled: true } }\n",
    ),
    ("the webhook with an issuer", "edge", WITH_ISSUER),
    (
        "the webhook for both families of addresses",
        "portcullis",
        "ipFamilies: [IPv4, IPv6]\nwebhook: { enabled: true, apiServers: ['2001:db8::/32'] }\n",
    ),
    ("everything about pods", "portcullis", PODS),
];

const NODE_PORTS: &str = "\
service:
  type: NodePort
  externalTrafficPolicy: Cluster
  nodePorts: { http: 30080, https: 30443 }
ports: { http: 30080, https: 30443 }
";

const HOST_NETWORK: &str = "\
kind: DaemonSet
hostNetwork: true
service: { enabled: false }
";

const SETTINGS: &str = "\
settings:
  access-log: json
  trusted-proxies: [10.0.0.0/8, 192.168.0.0/16]
  connections-max: 20000
  retry-reused: false
  request-body-bytes-max: 8MiB
drain: { delay: 1m, timeout: 1h }
";

const WITH_ISSUER: &str = "\
webhook:
  enabled: true
  apiServers: [192.0.2.1/32]
  certManager: { enabled: true, issuerRef: { kind: ClusterIssuer, name: inner } }
";

const PODS: &str = "\
image:
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  pullSecrets: [mine]
labels: { team: edge }
ingressClass: { name: public, controller: example.com/public, default: true }
pod:
  labels: { a: b }
  annotations: { c: d }
  nodeSelector: { kubernetes.io/os: linux }
  tolerations: [{ key: edge, operator: Exists }]
  priorityClassName: system-cluster-critical
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector: { matchLabels: { a: b } }
service:
  annotations: { e: f }
  loadBalancerSourceRanges: [192.0.2.0/24]
serviceAccount: { annotations: { g: h } }
networkPolicy: { metricsNamespaces: [] }
disruptionBudget: { maxUnavailable: 50% }
resources: { limits: { cpu: 2, memory: 2Gi } }
";

/// Objects that belong together, and what they were rendered from.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) objects: Vec<Value>,
}

impl Case {
    /// The one object of a kind and name.
    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
    }

    /// The Deployment or the `DaemonSet`.
    pub(crate) fn workload(&self) -> &Value {
        let mut all = self.objects.iter();
        all.find(|o| o["kind"] == "Deployment" || o["kind"] == "DaemonSet").expect("there is one")
    }

    /// What runs.
    pub(crate) fn pod(&self) -> &Value {
        &self.workload()["spec"]["template"]["spec"]
    }

    /// The arguments of the program.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        let arguments = self.pod()["containers"][0]["args"].as_array().expect("arguments");
        arguments.iter().map(|argument| argument.as_str().expect("a text")).collect()
    }
}

/// A folder.
pub(crate) fn folder(name: &str) -> Case {
    Case { name: format!("deploy/{name}"), objects: objects(&kustomize(&deploy(name))) }
}

/// The default with a component, and with what that comes after.
pub(crate) fn with_component(component: &str) -> Case {
    let home = match component {
        "webhook-cert-manager" => components_on("load-balancer", &["webhook", component]),
        _ => components_on("load-balancer", &[component]),
    };
    let name = format!("deploy/components/{component}");
    Case { name, objects: objects(&kustomize(home.path())) }
}

/// A folder with components, as users write it into a kustomization of their own.
pub(crate) fn components_on(folder: &str, components: &[&str]) -> TempDir {
    // A kustomization names folders beside it: absolute paths are none.
    let home = tempfile::tempdir_in(deploy("..").join("target")).expect("a directory can be made");
    let list: Vec<_> =
        components.iter().map(|name| format!("../../deploy/components/{name}")).collect();
    let text = format!("resources: [../../deploy/{folder}]\ncomponents: [{}]\n", list.join(", "));
    std::fs::write(home.path().join("kustomization.yaml"), text).expect("it can be written");
    home
}

/// The chart with values.
pub(crate) fn values(name: &str) -> Case {
    let (_, release, values) =
        VALUES.iter().find(|(n, ..)| *n == name).expect("it is in the table");
    let rendered = chart(release, values).unwrap_or_else(|why| panic!("{name}: {why}"));
    Case { name: format!("the chart with {name}"), objects: objects(&rendered) }
}

/// All of them, rendered once.
pub(crate) fn all() -> &'static [Case] {
    static ALL: OnceLock<Vec<Case>> = OnceLock::new();
    ALL.get_or_init(|| {
        let folders = FOLDERS.iter().map(|name| folder(name));
        let components = COMPONENTS.iter().map(|name| with_component(name));
        let charts = VALUES.iter().map(|(name, ..)| values(name));
        folders.chain(components).chain(charts).collect()
    })
}
