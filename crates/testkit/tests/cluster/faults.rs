//! What goes wrong between the API server and us is not seen by anybody's requests.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::cluster::{Cable, Turnstile};
use testkit::{ControlPlane, ControlPlaneOptions, Echo, Gateway, GatewayOptions};

use crate::load::Load;
use crate::world::{CLASS, PATIENCE, World, endpoint, everywhere, rule, wait_for, wait_until, who};

/// A gateway that reaches the API server by a cable.
fn by_cable(plane: &ControlPlane, cable: &Cable) -> GatewayOptions {
    let admin = plane.user("admin-by-cable", "system:masters");
    let kubeconfig = plane.kubeconfig_with(&admin, cable.address());
    GatewayOptions::new().cluster(&kubeconfig)
}

/// Since when something may be stale, over all kinds; 0 when nothing is.
fn stale_since(gateway: &Gateway) -> f64 {
    gateway.metric("portcullis_watch_stale_since_timestamp_seconds", &[])
}

#[test]
fn an_api_server_killed_ten_times_under_load_costs_no_request() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "killed");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let gateway = everywhere(&plane).start();
    let load = Load::on(&gateway, "web.test");
    for round in 0..10 {
        plane.kill_api_server();
        wait_until("it is known to be away", || stale_since(&gateway) > 0.0);
        assert!(gateway.is_ready());
        load.goes_on();
        plane.start_api_server();
        world.ingress(&format!("new-{round}"), &format!("new-{round}.test"), "web");
        wait_for(&gateway, &format!("new-{round}.test"), "web");
    }
    wait_until("nothing is stale", || stale_since(&gateway) == 0.0);
    load.end();
}

#[test]
fn what_changed_while_the_api_server_was_out_of_reach_is_served_afterwards() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "unseen");
    let (_one, _two) = (world.backend("one"), world.backend("two"));
    world.ingress("deleted", "deleted.test", "one");
    world.ingress("changed", "changed.test", "one");
    world.ingress("stays", "stays.test", "one");
    let cable = Cable::to(plane.address());
    let gateway = by_cable(&plane, &cable).start();
    let load = Load::on(&gateway, "stays.test");
    cable.refuse(true);
    cable.cut_connections();
    wait_until("it is known to be away", || stale_since(&gateway) > 0.0);
    world.remove("Ingress", "deleted");
    world.ingress("changed", "changed.test", "two");
    world.ingress("made", "made.test", "two");
    // A new API server remembers no past: where we stopped is `410 Gone`.
    plane.kill_api_server();
    plane.start_api_server();
    assert_eq!(who(&gateway, "deleted.test"), "one");
    cable.refuse(false);
    wait_for(&gateway, "deleted.test", "404");
    wait_for(&gateway, "changed.test", "two");
    wait_for(&gateway, "made.test", "two");
    load.end();
}

#[test]
fn a_paused_etcd_costs_no_request_and_what_is_written_afterwards_is_served() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "paused");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let gateway = everywhere(&plane).start();
    let load = Load::on(&gateway, "web.test");
    for round in 0..3 {
        plane.pause_etcd();
        load.goes_on();
        std::thread::sleep(Duration::from_secs(1));
        assert!(gateway.is_ready());
        plane.resume_etcd();
        let (name, host) = (format!("new-{round}"), format!("new-{round}.test"));
        wait_until("the API server writes again", || {
            let rules = [rule(&host, &[("Prefix", "/", "web")])];
            let object = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": { "name": name, "namespace": world.namespace },
                "spec": { "ingressClassName": "portcullis", "rules": rules },
            });
            let path = world.path("Ingress", &name);
            let collection = path.strip_suffix(&format!("/{name}")).unwrap();
            let answer = plane.try_request("POST", collection, Some(&object));
            answer.is_ok_and(|answer| [201, 409].contains(&answer.status))
        });
        wait_for(&gateway, &host, "web");
    }
    load.end();
}

#[test]
fn an_api_server_that_answers_nothing_costs_no_request() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "silent");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let gateway = everywhere(&plane).start();
    let load = Load::on(&gateway, "web.test");
    plane.pause_api_server();
    std::thread::sleep(Duration::from_secs(2));
    load.goes_on();
    assert!(gateway.is_ready());
    plane.resume_api_server();
    world.ingress("new", "new.test", "web");
    wait_for(&gateway, "new.test", "web");
    load.end();
}

#[test]
fn watches_cut_at_random_miss_nothing() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "cut");
    let _echo = world.backend("web");
    world.ingress("stays", "stays.test", "web");
    let cable = Cable::to(plane.address());
    let gateway = by_cable(&plane, &cable).start();
    let load = Load::on(&gateway, "stays.test");
    let mut random = Random(7);
    for round in 0..200_u64 {
        let name = format!("web-{}", round % 20);
        if random.below(3) == 0 && world.look("Ingress", &name).is_some() {
            world.remove("Ingress", &name);
        } else {
            world.ingress(&name, &format!("{name}-{round}.test"), "web");
        }
        let before = cable.connections();
        match random.below(8) {
            // Again while it is still busy with the cut before.
            0 => cable.cut_connections(),
            1 => {
                cable.cut_connections();
                wait_until("it connects again", || cable.connections() > before);
            }
            _ => {}
        }
    }
    let fresh = everywhere(&plane).start();
    is_served_as_by(&gateway, &fresh);
    load.end();
}

#[test]
fn a_slow_line_to_the_api_server_is_as_good_as_a_quick_one() {
    let plane = ControlPlane::shared();
    let world = World::new("slow");
    let _echo = world.backend("web");
    let cable = Cable::to(plane.address());
    cable.delay(Duration::from_millis(100));
    let scope = format!("--watch-namespace {}", world.namespace);
    let gateway = by_cable(plane, &cable).flags(&scope).start();
    for index in 0..5 {
        world.ingress("web", &format!("web-{index}.test"), "web");
    }
    wait_for(&gateway, "web-4.test", "web");
}

#[test]
fn started_without_an_api_server_it_waits_says_so_and_serves_when_there_is_one() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "away");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    plane.kill_api_server();
    let gateway = everywhere(&plane).unready().start();
    gateway.wait_for_log("API server");
    assert!(!gateway.is_ready());
    assert_eq!(gateway.ask("/livez").status(), 200);
    plane.start_api_server();
    wait_until("it is ready", || gateway.is_ready());
    assert_eq!(who(&gateway, "web.test"), "web");
}

#[test]
fn what_was_served_last_is_served_at_once_by_a_start_without_an_api_server() {
    let plane = ControlPlane::start();
    let world = World::of(&plane, "last-good");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let file = plane.directory().join("last-good");
    let flags = format!("--last-good {}", file.display());
    let gateway = everywhere(&plane).flags(&flags).start();
    let served = routing(&gateway);
    wait_until("it is written", || file.is_file());
    gateway.terminate();
    gateway.wait();
    plane.kill_api_server();
    let gateway = everywhere(&plane).flags(&flags).start();
    assert_eq!(routing(&gateway), served);
    assert_eq!(who(&gateway, "web.test"), "web");
    plane.start_api_server();
    world.ingress("new", "new.test", "web");
    wait_for(&gateway, "new.test", "web");
}

#[test]
fn a_file_of_another_version_is_refused_in_so_many_words_and_the_start_does_without() {
    let plane = ControlPlane::shared();
    let world = World::new("newer-file");
    let _echo = world.backend("web");
    world.ingress("web", "web.test", "web");
    let file = plane.directory().join("last-good-of-tomorrow");
    let flags = format!("--last-good {}", file.display());
    let gateway = world.options().flags(&flags).start();
    wait_until("it is written", || file.is_file());
    gateway.terminate();
    gateway.wait();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("last-good/1", "last-good/2", 1)).unwrap();
    let gateway = world.options().flags(&flags).start();
    gateway.wait_for_log("not written by this version of the program");
    assert_eq!(gateway.metric("portcullis_config_serves_last_good", &[]).to_string(), "0");
    assert_eq!(who(&gateway, "web.test"), "web");
    gateway.terminate();
    gateway.wait();
    // Root of a user namespace of its own cannot give a file away.
    if std::os::unix::fs::chown(&file, Some(65_534), None).is_ok() {
        let gateway = world.options().flags(&flags).start();
        gateway.wait_for_log("it belongs to another user");
        assert_eq!(who(&gateway, "web.test"), "web");
    }
}

/// More Ingresses than one page of a list holds.
const MORE_THAN_A_PAGE: usize = 520;

#[test]
fn an_older_api_server_that_streams_no_lists_is_read_in_pages() {
    let options = ControlPlaneOptions::new().api_server("--feature-gates=WatchList=false");
    let plane = options.start();
    let world = World::of(&plane, "pages");
    let _echo = world.backend("web");
    let collection = world.path("Ingress", "");
    let collection = collection.trim_end_matches('/');
    for index in 0..MORE_THAN_A_PAGE {
        let rules = [rule(&format!("web-{index}.test"), &[("Prefix", "/", "web")])];
        let object = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": format!("web-{index}") },
            "spec": { "ingressClassName": CLASS, "rules": rules },
        });
        plane.create(collection, &object);
    }
    let turnstile = Turnstile::to(&plane);
    let admin = plane.user("admin-of-pages", "system:masters");
    let kubeconfig = plane.kubeconfig_with(&admin, turnstile.address());
    let gateway = GatewayOptions::new().cluster(&kubeconfig).start();
    let pages: Vec<String> = turnstile
        .seen()
        .into_iter()
        .map(|passing| passing.target)
        .filter(|target| target.contains("/ingresses?") && target.contains("limit="))
        .collect();
    let goes_on: Vec<bool> = pages.iter().map(|target| target.contains("continue=")).collect();
    assert_eq!(goes_on, [false, true], "{pages:#?}");
    let hosts = gateway.snapshot()["model"]["hosts"].as_object().map(serde_json::Map::len);
    assert_eq!(hosts, Some(MORE_THAN_A_PAGE));
    for index in 0..MORE_THAN_A_PAGE {
        assert_eq!(who(&gateway, &format!("web-{index}.test")), "web");
    }
    world.ingress("new", "new.test", "web");
    wait_for(&gateway, "new.test", "web");
    world.remove("Ingress", "web-0");
    wait_for(&gateway, "web-0.test", "404");
}

/// Changes to the objects of one namespace, drawn from a small pool so that they meet.
struct Changes<'w> {
    world: &'w World<'w>,
    random: Random,
    echoes: Vec<Echo>,
    certificates: Vec<testkit::certs::Leaf>,
}

impl Changes<'_> {
    fn host(&mut self) -> String {
        match self.random.below(12) {
            0 => String::from("*.wild.test"),
            number => format!("host-{number}.test"),
        }
    }

    fn one(&mut self) {
        match self.random.below(10) {
            0..4 => self.put_ingress(),
            4 => self.remove("Ingress", "i", 30),
            5 | 6 => self.put_endpoint(),
            7 => self.put_service(),
            8 => match self.random.below(3) {
                0 => self.remove("Service", "s", 8),
                1 => self.remove("EndpointSlice", "s", 8),
                _ => self.remove("Secret", "t", 4),
            },
            _ => self.put_secret(),
        }
    }

    fn put_ingress(&mut self) {
        let name = format!("i-{}", self.random.below(30));
        let rules: Vec<Value> = (0..=self.random.below(2))
            .map(|_| {
                let kind = ["Prefix", "Exact"][self.random.below(2)];
                let path = ["/", "/a", "/a/b", "/b"][self.random.below(4)];
                let service = format!("s-{}", self.random.below(8));
                rule(&self.host(), &[(kind, path, &service)])
            })
            .collect();
        let class = if self.random.below(8) == 0 { "somebody-elses" } else { "portcullis" };
        let mut spec = json!({ "ingressClassName": class, "rules": rules });
        if self.random.below(4) == 0 {
            let secret = format!("t-{}", self.random.below(4));
            spec["tls"] = json!([{ "hosts": [rules[0]["host"]], "secretName": secret }]);
        }
        self.world.put_ingress(&name, &spec);
    }

    fn put_endpoint(&mut self) {
        let index = self.random.below(8);
        let echo = &self.echoes[self.random.below(self.echoes.len())];
        self.world.slice(&format!("s-{index}"), &format!("s-{index}"), echo.address());
    }

    fn put_service(&mut self) {
        self.world.service(&format!("s-{}", self.random.below(8)), &[]);
    }

    fn put_secret(&mut self) {
        let index = self.random.below(4);
        let leaf = &self.certificates[self.random.below(self.certificates.len())];
        self.world.secret(&format!("t-{index}"), leaf);
    }

    fn remove(&mut self, kind: &str, letter: &str, count: usize) {
        let name = format!("{letter}-{}", self.random.below(count));
        if self.world.look(kind, &name).is_some() {
            self.world.remove(kind, &name);
        }
    }
}

#[test]
fn a_thousand_changes_at_random_are_served_as_a_fresh_start_would() {
    let plane = ControlPlane::start();
    let stays = World::of(&plane, "stays");
    let _echo = stays.backend("web");
    stays.ingress("web", "web.test", "web");
    let world = World::of(&plane, "random");
    let gateway = everywhere(&plane).start();
    let load = Load::on(&gateway, "web.test");
    let authority = testkit::Authority::new();
    let mut changes = Changes {
        world: &world,
        random: Random(1),
        echoes: (0..4).map(|index| endpoint(&format!("echo-{index}"))).collect(),
        certificates: (1..4).map(|n| authority.leaf(&[&format!("host-{n}.test")])).collect(),
    };
    for _ in 0..10 {
        (0..100).for_each(|_| changes.one());
        let fresh = everywhere(&plane).start();
        is_served_as_by(&gateway, &fresh);
    }
    load.end();
}

/// All that a gateway serves but the ports that it listens on, which are its own.
fn routing(gateway: &Gateway) -> Value {
    let mut snapshot = gateway.snapshot();
    for part in ["generation", "bound"] {
        snapshot[part] = Value::Null;
    }
    snapshot["model"]["listeners"] = Value::Null;
    snapshot
}

/// Where two values are unlike, a line each.
fn unlike(path: &str, one: &Value, other: &Value) -> String {
    match (one, other) {
        _ if one == other => String::new(),
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.iter()
                .map(|key| unlike(&format!("{path}/{key}"), &one[*key], &other[*key]))
                .collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.map(|(index, (a, b))| unlike(&format!("{path}/{index}"), a, b)).collect()
        }
        _ => format!("{path}: {one}\n  instead of {other}\n"),
    }
}

/// Waits until a gateway serves what a fresh one does, from the Model to the answers.
fn is_served_as_by(gateway: &Gateway, fresh: &Gateway) {
    let started = Instant::now();
    loop {
        let unlike = unlike("", &routing(gateway), &routing(fresh));
        if unlike.is_empty() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "not served as by a fresh start:\n{unlike}");
        std::thread::sleep(Duration::from_millis(20));
    }
    for host in
        (1..12).map(|number| format!("host-{number}.test")).chain([String::from("x.wild.test")])
    {
        for path in ["/", "/a", "/a/b", "/b", "/c"] {
            let answer = |gateway: &Gateway| crate::world::who_at(gateway, &host, path);
            assert_eq!(answer(gateway), answer(fresh), "{host}{path}");
        }
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*: good enough to mix things up.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap() % bound
    }
}
