//! What operators ask a cluster from outside, with the commands that they know from files.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testkit::gateway::program;

use crate::world::{World, wait_until};

/// Runs a command of the program; its output, and whether it succeeded.
fn run(arguments: &str, kubeconfig: &Path) -> (String, bool) {
    let output = Command::new(program())
        .args(arguments.split_whitespace())
        .env("NO_COLOR", "1")
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&said).into_owned(), output.status.success())
}

/// Of a document, the routes without the places of files.
fn routes(text: &str) -> Value {
    let start = text.find('{').unwrap();
    let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
    let mut document = stream.next().unwrap().unwrap();
    for route in document["routes"].as_array_mut().unwrap() {
        route.as_object_mut().unwrap().remove("place");
    }
    document["routes"].take()
}

#[test]
fn routes_of_a_cluster_are_those_of_the_same_objects_in_files() {
    let world = World::new("routes");
    let (_one, _two) = (world.backend("one"), world.backend("two"));
    world.ingress("one", "one.test", "one");
    world.ingress("two", "two.test", "two");
    world.ingress("absent", "absent.test", "absent");
    let scope = format!("--watch-namespace {}", world.namespace);
    let kubeconfig = world.plane.kubeconfig();
    let (told, _) = run(&format!("routes --format json --cluster {scope}"), kubeconfig);
    let kinds = "ingresses,services,endpointslices,ingressclasses";
    let file = world.plane.directory().join(format!("objects-{}.yaml", world.namespace));
    std::fs::write(&file, world.kubectl(&format!("get {kinds} -o yaml"))).unwrap();
    let of_files = format!("routes --format json {}", file.display());
    let (wanted, _) = run(&of_files, kubeconfig);
    assert_eq!(routes(&told), routes(&wanted));
    assert_eq!(routes(&told).as_array().unwrap().len(), 3);
}

#[test]
fn explain_and_lint_answer_for_a_cluster() {
    let world = World::new("explain");
    let echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let scope = format!("--cluster --watch-namespace {}", world.namespace);
    let kubeconfig = world.plane.kubeconfig();
    let (told, _) = run(&format!("explain {scope} http://web.test/cart"), kubeconfig);
    for part in [format!("{}/web", world.namespace), echo.address().to_string()] {
        assert!(told.contains(&part), "no `{part}`:\n{told}");
    }
    let (told, is_good) = run(&format!("lint {scope}"), kubeconfig);
    assert!(is_good, "{told}");
    world.ingress("broken", "broken.test", "absent");
    let (told, is_good) = run(&format!("lint {scope}"), kubeconfig);
    assert!(!is_good && told.contains("service-not-found"), "{told}");
}

#[test]
fn commands_say_what_is_wrong_when_there_is_no_api_server() {
    let world = World::new("nowhere");
    let text = std::fs::read_to_string(world.plane.kubeconfig()).unwrap();
    let port = world.plane.address().port().to_string();
    let path = world.plane.directory().join(format!("nowhere-{}", world.namespace));
    std::fs::write(&path, text.replace(&format!(":{port}"), ":1")).unwrap();
    for command in ["routes --cluster", "lint --cluster", "explain --cluster http://web.test/"] {
        let (told, is_good) = run(command, &path);
        assert!(!is_good && told.contains("127.0.0.1:1"), "{command}:\n{told}");
    }
}

#[test]
fn status_shows_all_replicas_and_who_leads() {
    let world = World::new("replicas");
    let start = |name: &str| {
        let flags = format!("--pod-name {name} --publish-address 192.0.2.10");
        world.options().flags(&flags).start()
    };
    let _replicas = ["pod-a", "pod-b"].map(start);
    let asked = format!("status --format json --pod-namespace {}", world.namespace);
    let status = || -> Value {
        let (told, _) = run(&asked, world.plane.kubeconfig());
        serde_json::from_str(told.trim()).unwrap_or(Value::Null)
    };
    wait_until("both are shown and one leads", || {
        let status = status();
        let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
        let names: Vec<_> = replicas.iter().map(|replica| &replica["name"]).collect();
        names == [&json!("pod-a"), &json!("pod-b")]
            && replicas.iter().filter(|replica| replica["leads"] == true).count() == 1
    });
}
