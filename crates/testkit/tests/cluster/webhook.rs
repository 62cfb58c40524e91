//! The admission webhook, asked by the API server itself.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use testkit::certs::Leaf;
use testkit::client::raw::RawClient;
use testkit::cluster::base64;
use testkit::gateway::free_address;
use testkit::{Authority, ControlPlane, Gateway, GatewayOptions, wait_until};

use crate::check::check;

/// A namespace whose Ingresses are reviewed, and the gateway that does it.
struct World {
    plane: &'static ControlPlane,
    namespace: String,
    gateway: Option<Gateway>,
}

/// A Service that leads to this machine: what a cluster's network does elsewhere.
fn service(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "webhook"},
        "spec": {
            "type": "ExternalName", "externalName": "localhost",
            "ports": [{"port": address.port()}],
        },
    })
}

fn configuration(namespace: &str, address: SocketAddr) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [{
            "name": "ingresses.portcullis.io", "admissionReviewVersions": ["v1"],
            "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 5,
            "clientConfig": {"service": {
                "namespace": namespace, "name": "webhook", "path": "/validate",
                "port": address.port(),
            }},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
                "resources": ["ingresses"], "operations": ["CREATE", "UPDATE"],
            }],
        }],
    })
}

const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

impl World {
    fn start() -> Self {
        Self::of("run")
    }

    /// A world whose webhook is this command's.
    fn of(command: &'static str) -> Self {
        let (mut world, address) = Self::without_gateway();
        world.gateway = Some(world.gateway(command, world.plane.kubeconfig(), address));
        world.wait_trusted();
        world
    }

    /// Everything but the gateway, and where that is expected.
    fn without_gateway() -> (Self, SocketAddr) {
        Self::after(|_| ())
    }

    /// The same, of what was stored before anybody reviewed it.
    fn after(stored: impl FnOnce(&Self)) -> (Self, SocketAddr) {
        let plane = ControlPlane::shared();
        let world = Self { plane, namespace: plane.namespace("webhook"), gateway: None };
        stored(&world);
        let address = free_address();
        let namespace = &world.namespace;
        plane.create(&format!("/api/v1/namespaces/{namespace}/services"), &service(address));
        plane.create(CONFIGURATIONS, &configuration(namespace, address));
        plane.create(
            "/apis/networking.k8s.io/v1/ingressclasses",
            &json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
                "metadata": {"name": namespace},
                "spec": {"controller": format!("test.portcullis.io/{namespace}")},
            }),
        );
        (world, address)
    }

    fn gateway(&self, command: &'static str, kubeconfig: &Path, address: SocketAddr) -> Gateway {
        self.options(command, kubeconfig, address).start()
    }

    fn options(&self, command: &'static str, kubeconfig: &Path, at: SocketAddr) -> GatewayOptions {
        let namespace = &self.namespace;
        self.reviewing(command, kubeconfig, at).flags(&format!(
            "--webhook-service {namespace}/webhook --webhook-secret {namespace}/webhook \
             --webhook-configuration {namespace}"
        ))
    }

    /// What reviews at an address, with a certificate that nothing was said of.
    fn reviewing(
        &self,
        command: &'static str,
        kubeconfig: &Path,
        at: SocketAddr,
    ) -> GatewayOptions {
        let namespace = &self.namespace;
        GatewayOptions::new().command_name(command).cluster(kubeconfig).flags(&format!(
            "--watch-namespace {namespace} --controller-name test.portcullis.io/{namespace} \
             --webhook {at}"
        ))
    }

    fn running(&self) -> &Gateway {
        self.gateway.as_ref().expect("it was started")
    }

    /// What an installation makes for the certificate.
    fn empty_secret(&self) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhook"},
            "type": "portcullis.io/webhook-certificate",
        });
        self.plane.create(&format!("/api/v1/namespaces/{}/secrets", self.namespace), &secret);
    }

    /// Waits until the API server calls the webhook.
    fn wait_trusted(&self) {
        wait_until("the API server trusts the webhook", || {
            let found = self.plane.look(&format!("{CONFIGURATIONS}/{}", self.namespace));
            let found = found.expect("the configuration is there");
            found["webhooks"][0]["clientConfig"]["caBundle"].is_string()
        });
        self.wait_called();
    }

    /// Waits until the API server gets an answer: it hears of what is trusted by a watch.
    fn wait_called(&self) {
        wait_until("the API server calls the webhook", || self.is_called());
    }

    fn is_called(&self) -> bool {
        let probe = self.ingress("probe", "probe.test", "/");
        self.post(&probe, "?dryRun=All").0 == 201
    }

    fn ingress(&self, name: &str, host: &str, path: &str) -> Value {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "ingressClassName": self.namespace,
                "rules": [{"host": host, "http": {"paths": [{
                    "path": path, "pathType": "ImplementationSpecific",
                    "backend": {"service": {"name": "web", "port": {"number": 80}}},
                }]}}],
            },
        })
    }

    fn post(&self, ingress: &Value, query: &str) -> (u16, Value) {
        let path =
            format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses{query}", self.namespace);
        let answer = self.plane.try_request("POST", &path, Some(ingress)).expect("an answer");
        (answer.status, answer.body)
    }
}

#[test]
fn the_api_server_refuses_what_the_webhook_denies_and_stores_what_it_allows() {
    let world = World::start();
    let mut snippet = world.ingress("snippet", "shop.test", "/");
    snippet["metadata"]["annotations"] =
        json!({"nginx.ingress.kubernetes.io/server-snippet": "deny all;"});
    let (status, answer) = world.post(&snippet, "");
    assert_eq!(status, 422, "{answer}");
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("ingresses.portcullis.io"), "{message}");
    assert!(message.contains("[refused-snippet]"), "{message}");
    assert!(message.contains("help: "), "{message}");
    // What is missing may come later.
    assert_eq!(world.post(&world.ingress("good", "shop.test", "/"), "").0, 201);
    // The same path again is a warning.
    assert_eq!(world.post(&world.ingress("later", "shop.test", "/"), "").0, 201);
    // Another class is another's.
    let mut foreign = snippet;
    foreign["spec"]["ingressClassName"] = json!("another");
    assert_eq!(world.post(&foreign, "").0, 201);
}

#[test]
fn a_mistake_of_old_keeps_nobody_from_mending_another() {
    let path = |world: &World, host: &str, path: &str| {
        world.ingress("old", host, path)["spec"]["rules"][0].clone()
    };
    let (mut world, address) = World::after(|world| {
        let mut old = world.ingress("old", "a.test", "/a(");
        old["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
        let rules = [path(world, "a.test", "/a("), path(world, "b.test", "/b(")];
        old["spec"]["rules"] = json!(rules);
        assert_eq!(world.post(&old, "").0, 201);
    });
    world.gateway = Some(world.gateway("run", world.plane.kubeconfig(), address));
    world.wait_trusted();
    let stored = format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses/old", world.namespace);
    let put = |rules: &[Value]| {
        let patch = json!({"spec": {"rules": rules}});
        let answer = world.plane.try_request("PATCH", &stored, Some(&patch)).expect("an answer");
        (answer.status, answer.body)
    };
    // The one is mended, another rule comes first, and the other mistake moves.
    let (first, mended) = (path(&world, "new.test", "/"), path(&world, "a.test", "/a"));
    let wrong = path(&world, "b.test", "/b(");
    let (status, answer) = put(&[first.clone(), mended.clone(), wrong.clone()]);
    assert_eq!(status, 200, "{answer}");
    // Once more is once too much.
    let (status, answer) = put(&[first, mended, wrong, path(&world, "c.test", "/b(")]);
    assert_eq!(status, 422, "{answer}");
    let message = answer["message"].as_str().expect("a message");
    assert!(message.contains("spec.rules[3].http.paths[0].path"), "{message}");
}

#[test]
fn a_process_of_its_own_reviews_and_serves_nothing() {
    let world = World::of("webhook");
    assert_eq!(world.post(&world.ingress("good", "shop.test", "/"), "").0, 201);
    let mut wrong = world.ingress("wrong", "shop.test", "/x(");
    wrong["metadata"]["annotations"] = json!({"nginx.ingress.kubernetes.io/use-regex": "true"});
    assert_eq!(world.post(&wrong, "").0, 422);
    assert!(std::net::TcpStream::connect(world.running().http()).is_err());
    let reviews = "portcullis_webhook_reviews_total";
    assert!(world.running().metric(reviews, &["result=\"denied\""]) >= 1.0);
}

/// The rights of the guide to do this with what is kept, and those to read what is reviewed.
fn give_rights(world: &World, account: &str, kept: &str) {
    let kept = format!("--verb={kept}");
    let namespace = &world.namespace;
    let plane = world.plane;
    let kubectl = |arguments: &[&str]| drop(plane.kubectl(arguments));
    let reads = "--resource=ingresses.networking.k8s.io,services,\
                 endpointslices.discovery.k8s.io,configmaps,secrets";
    for (name, verbs, resource, only) in [
        ("read", "--verb=list,watch", reads, None),
        ("keep", &*kept, "--resource=secrets", Some("--resource-name=webhook")),
    ] {
        let mut role = vec!["create", "role", name, verbs, resource, "-n", namespace];
        role.extend(only);
        kubectl(&role);
        let (role, who) =
            (format!("--role={name}"), format!("--serviceaccount={namespace}:{account}"));
        kubectl(&["create", "rolebinding", name, &role, &who, "-n", namespace]);
    }
    let configurations = "--resource=validatingwebhookconfigurations.admissionregistration.k8s.io";
    let only = format!("--resource-name={namespace}");
    kubectl(&["create", "clusterrole", namespace, &kept, configurations, &only]);
    let classes = format!("{namespace}-classes");
    kubectl(&[
        "create",
        "clusterrole",
        &classes,
        "--verb=list,watch",
        "--resource=ingressclasses.networking.k8s.io",
    ]);
    for role in [namespace, &classes] {
        let (of, who) =
            (format!("--clusterrole={role}"), format!("--serviceaccount={namespace}:{account}"));
        kubectl(&["create", "clusterrolebinding", role, &of, &who]);
    }
}

#[test]
fn the_rights_of_the_guide_are_enough_to_keep_the_certificate() {
    let (world, address) = World::without_gateway();
    let account = world.plane.service_account(&world.namespace, "reviewer");
    give_rights(&world, "reviewer", "get,update");
    world.empty_secret();
    let kubeconfig = world.plane.kubeconfig_with(&account, world.plane.address());
    let gateway = world.gateway("webhook", &kubeconfig, address);
    world.wait_trusted();
    assert!(!gateway.log().contains("cannot be kept"), "{}", gateway.log());
}

#[test]
fn whoever_does_not_lead_shows_what_the_leader_keeps_and_writes_nothing() {
    let (mut world, address) = World::without_gateway();
    world.empty_secret();
    let account = world.plane.service_account(&world.namespace, "follower");
    give_rights(&world, "follower", "get");
    let kubeconfig = world.plane.kubeconfig_with(&account, world.plane.address());
    let elect = |world: &World, pod: &str, kubeconfig: &Path, address| {
        let namespace = &world.namespace;
        let options = world.options("run", kubeconfig, address);
        options.flags(&format!("--pod-namespace {namespace} --pod-name {pod}")).start()
    };
    // It may not write a Lease, and so never leads.
    let follower = elect(&world, "follower", &kubeconfig, free_address());
    std::thread::sleep(std::time::Duration::from_secs(3));
    let path = format!("/api/v1/namespaces/{}/secrets/webhook", world.namespace);
    let secret = world.plane.look(&path).expect("the Secret is there");
    assert!(secret["data"].is_null(), "{secret}");
    world.gateway = Some(elect(&world, "leader", world.plane.kubeconfig(), address));
    world.wait_trusted();
    follower.wait_for_log("webhook certificate");
    assert!(!follower.log().contains("cannot be kept"), "{}", follower.log());
}

/// Brings a certificate to a mounted Secret as the kubelet does: all of it at once, by a link.
fn mount(folder: &Path, name: &str, leaf: &Leaf) {
    let written = folder.join(name);
    std::fs::create_dir(&written).expect("it can be made");
    std::fs::write(written.join("tls.crt"), &leaf.certificate).expect("it can be written");
    std::fs::write(written.join("tls.key"), &leaf.key).expect("it can be written");
    let next = folder.join("..data_tmp");
    std::os::unix::fs::symlink(name, &next).expect("it can be linked");
    std::fs::rename(next, folder.join("..data")).expect("it can be renamed");
}

/// As cert-manager's injector does.
fn inject(world: &World, authorities: &[&Authority]) {
    let pem: String = authorities.iter().map(|authority| authority.pem()).collect();
    let patch = json!([{
        "op": "add", "path": "/webhooks/0/clientConfig/caBundle",
        "value": base64(pem.as_bytes()),
    }])
    .to_string();
    let what = ["patch", "validatingwebhookconfiguration", &world.namespace, "--type=json"];
    world.plane.kubectl(&[&what[..], &["-p", &patch]].concat());
}

#[test]
fn a_certificate_of_others_is_awaited_shown_and_replaced_without_a_restart() {
    let (mut world, address) = World::without_gateway();
    let folder = tempfile::tempdir().expect("a directory can be made");
    for file in ["tls.crt", "tls.key"] {
        let link = folder.path().join(file);
        std::os::unix::fs::symlink(Path::new("..data").join(file), link).expect("a link");
    }
    let name = format!("webhook.{}.svc", world.namespace);
    let (first, second) = (Authority::new(), Authority::new());
    // The Secret is optional, and not there yet: traffic does not wait for it.
    let at = folder.path().display();
    let options = world.reviewing("run", world.plane.kubeconfig(), address);
    let gateway = options
        .flags(&format!(
            "--webhook-certificate {at}/tls.crt --webhook-key {at}/tls.key \
             --webhook-configuration off"
        ))
        .start();
    gateway.wait_for_log("webhook: no new certificate");
    inject(&world, &[&first]);
    mount(folder.path(), "..1", &first.leaf(&[&name]));
    world.gateway = Some(gateway);
    world.wait_called();
    // Who renews an authority has both trusted for a while.
    inject(&world, &[&first, &second]);
    mount(folder.path(), "..2", &second.leaf(&[&name]));
    let shown = || {
        let config = testkit::tls::trusting_client(&[]);
        let client = RawClient::connect_tls(address, &name, &config).expect("it is served");
        client.certificate().to_vec()
    };
    let former = shown();
    wait_until("the new certificate is shown", || {
        assert!(world.is_called(), "every call is answered meanwhile");
        shown() != former
    });
    inject(&world, &[&second]);
    world.wait_called();
    // What cannot be used is told, and the former one is shown on.
    let mut broken = second.leaf(&[&name]);
    broken.key = first.leaf(&[&name]).key;
    mount(folder.path(), "..3", &broken);
    world.running().wait_for_log("certificate and key cannot be used");
    assert!(world.is_called());
}

#[test]
fn a_secret_of_others_is_not_written_over() {
    let (world, address) = World::without_gateway();
    let path = format!("/api/v1/namespaces/{}/secrets", world.namespace);
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhook"},
        "stringData": {"password": "theirs"},
    });
    world.plane.create(&path, &theirs);
    let gateway = world.gateway("run", world.plane.kubeconfig(), address);
    gateway.wait_for_log("is not of type portcullis.io/webhook-certificate");
    let kept = world.plane.look(&format!("{path}/webhook")).expect("the Secret is there");
    assert_eq!(kept["data"].as_object().expect("data").len(), 1, "{kept}");
}

#[test]
fn the_webhook_keeps_its_certificate_in_a_secret_that_replicas_share() {
    let world = World::start();
    let path = format!("/api/v1/namespaces/{0}/secrets/webhook", world.namespace);
    let kept = world.plane.look(&path).expect("the Secret is there");
    for key in ["ca.crt", "ca.key", "tls.crt", "tls.key"] {
        assert!(kept["data"][key].is_string(), "{key}");
    }
    let other = world.gateway("run", world.plane.kubeconfig(), free_address());
    other.wait_for_log("webhook certificate");
    assert_eq!(world.plane.look(&path).expect("the Secret is there")["data"], kept["data"]);
}

/// What `check` says of whether the webhook is reached: the outcome and the whole.
fn reached(world: &World, kubeconfig: &Path) -> (String, Value) {
    let namespace = &world.namespace;
    let flags = format!(
        "--watch-namespace {namespace} --pod-namespace {namespace} \
         --controller-name test.portcullis.io/{namespace} --webhook-configuration {namespace} \
         --webhook-secret {namespace}/webhook"
    );
    let (checks, _) = check(kubeconfig, &flags);
    let said = checks.into_iter().find(|check| check["id"] == "webhook-reached");
    let said = said.expect("it is said");
    (said["outcome"].as_str().expect("an outcome").to_owned(), said)
}

#[test]
fn check_says_whether_the_api_server_reaches_the_webhook_and_stores_nothing() {
    let mut world = World::start();
    let admin = world.plane.kubeconfig();
    let (outcome, check) = reached(&world, admin);
    assert_eq!(outcome, "ok", "{check:#}");
    let reviews = "portcullis_webhook_reviews_total";
    assert!(world.running().metric(reviews, &["result=\"denied\""]) >= 1.0);

    // Somebody who may look at everything that it takes, and create nothing.
    let nobody = world.plane.service_account(&world.namespace, "looks");
    give_rights(&world, "looks", "get");
    let name = format!("{}-lists", world.namespace);
    let (role, who) =
        (format!("--clusterrole={name}"), format!("--serviceaccount={}:looks", world.namespace));
    let resource = "--resource=validatingwebhookconfigurations.admissionregistration.k8s.io";
    world.plane.kubectl(&["create", "clusterrole", &name, "--verb=list", resource]);
    world.plane.kubectl(&["create", "clusterrolebinding", &name, &role, &who]);
    let kubeconfig = world.plane.kubeconfig_with(&nobody, world.plane.address());
    wait_until("the rights count", || {
        world
            .plane
            .kubectl_with(&kubeconfig, &["get", "validatingwebhookconfigurations"], "")
            .is_ok()
    });
    let (outcome, check) = reached(&world, &kubeconfig);
    assert_eq!(outcome, "skipped", "{check:#}");
    assert!(check["message"].as_str().unwrap().contains("right to create"), "{check:#}");

    // Nobody is there any more.
    world.gateway = None;
    let (outcome, check) = reached(&world, admin);
    assert_eq!(outcome, "error", "{check:#}");
    assert!(check["message"].as_str().unwrap().contains("failed calling webhook"), "{check:#}");
    let policy =
        json!([{ "op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore" }]);
    let policy = policy.to_string();
    let arguments = ["patch", "validatingwebhookconfiguration", &world.namespace, "--type=json"];
    world.plane.kubectl(&[&arguments[..], &["--patch", &policy]].concat());
    wait_until("the API server knows the policy", || reached(&world, admin).0 == "warning");

    let ingresses = format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses", world.namespace);
    let stored = world.plane.look(&ingresses).expect("a list");
    assert_eq!(stored["items"], json!([]), "{stored:#}");
}
