//! Certificates are read from the Secrets that Ingresses name, and from no others.

use std::fs::{self, File};
use std::io::BufRead as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;
use serde_json::json;
use testkit::certs::Leaf;
use testkit::client::raw::RawClient;
use testkit::cluster::base64;
use testkit::{Authority, Gateway, tls};

use crate::world::{PATIENCE, World, rule, to, wait_for, wait_until, who};

/// The certificate that a client sees for a name.
fn shown(gateway: &Gateway, name: &str) -> CertificateDer<'static> {
    let config = tls::trusting_client(&[]);
    let client = RawClient::connect_tls(gateway.https(), name, &config).unwrap();
    client.certificate()
}

fn wait_for_certificate(gateway: &Gateway, name: &str, leaf: &Leaf) {
    wait_until(&format!("{name} has its certificate"), || shown(gateway, name) == leaf.chain()[0]);
}

/// An Ingress with TLS; cleartext is not redirected.
fn secured(world: &World<'_>, name: &str, host: &str, secret: &str) {
    let meta = json!({ "annotations": { "nginx.ingress.kubernetes.io/ssl-redirect": "false" } });
    let rules = [rule(host, &[("Prefix", "/", "web")])];
    let tls = [json!({ "hosts": [host], "secretName": secret })];
    let spec = json!({ "ingressClassName": "portcullis", "rules": rules, "tls": tls });
    world.put_with("Ingress", name, &meta, &json!({ "spec": spec }));
}

#[test]
fn a_missing_secret_is_served_as_soon_as_it_is_made_and_no_more_when_it_is_deleted() {
    let world = World::new("secret-later");
    let _echo = world.backend("web");
    secured(&world, "web", "web.test", "web-tls");
    let gateway = world.gateway();
    let fallback = shown(&gateway, "web.test");
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    wait_for_certificate(&gateway, "web.test", &leaf);
    world.remove("Secret", "web-tls");
    wait_until("the default certificate is back", || shown(&gateway, "web.test") == fallback);
}

#[test]
fn a_rotated_certificate_is_for_new_connections_and_old_ones_go_on() {
    let world = World::new("secret-rotated");
    let _echo = world.backend("web");
    let authority = Authority::new();
    let (first, second) = (authority.leaf(&["web.test"]), authority.leaf(&["web.test"]));
    world.secret("web-tls", &first);
    secured(&world, "web", "web.test", "web-tls");
    let gateway = world.gateway();
    let config = tls::client(authority.roots(), &[]);
    let mut kept = RawClient::connect_tls(gateway.https(), "web.test", &config).unwrap();
    assert_eq!(kept.certificate(), first.chain()[0]);
    let get = "GET / HTTP/1.1\r\nHost: web.test\r\n\r\n";
    assert_eq!(kept.exchange(get).status(), 200);
    world.secret("web-tls", &second);
    wait_for_certificate(&gateway, "web.test", &second);
    assert_eq!(kept.exchange(get).status(), 200);
}

#[test]
fn a_secret_that_another_ingress_comes_to_name_is_read_then() {
    let world = World::new("secret-named");
    let _echo = world.backend("web");
    let authority = Authority::new();
    let (one, two) = (authority.leaf(&["one.test"]), authority.leaf(&["two.test"]));
    world.secret("one-tls", &one);
    world.secret("two-tls", &two);
    secured(&world, "one", "one.test", "one-tls");
    let gateway = world.gateway();
    assert_eq!(shown(&gateway, "one.test"), one.chain()[0]);
    secured(&world, "two", "two.test", "two-tls");
    wait_for_certificate(&gateway, "two.test", &two);
    // Named no more, it is forgotten; named again, it is read again.
    world.remove("Ingress", "two");
    wait_for(&gateway, "two.test", "404");
    assert_ne!(shown(&gateway, "two.test"), two.chain()[0]);
    secured(&world, "two", "two.test", "two-tls");
    wait_for_certificate(&gateway, "two.test", &two);
}

#[test]
fn a_broken_secret_breaks_no_other_host_and_is_mended_by_the_next() {
    let world = World::new("secret-broken");
    let _echo = world.backend("web");
    let authority = Authority::new();
    let (good, mended) = (authority.leaf(&["good.test"]), authority.leaf(&["bad.test"]));
    let other_key = Leaf { key: good.key.clone(), ..mended.clone() };
    world.secret("good-tls", &good);
    world.secret("bad-tls", &other_key);
    secured(&world, "good", "good.test", "good-tls");
    secured(&world, "bad", "bad.test", "bad-tls");
    let gateway = world.gateway();
    assert_eq!(shown(&gateway, "good.test"), good.chain()[0]);
    assert_ne!(shown(&gateway, "bad.test"), mended.chain()[0]);
    assert_eq!(who(&gateway, "bad.test"), "web");
    world.secret("bad-tls", &mended);
    wait_for_certificate(&gateway, "bad.test", &mended);
}

#[test]
fn keys_are_in_no_log_and_on_no_page() {
    let world = World::new("secret-unseen");
    let _echo = world.backend("web");
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    secured(&world, "web", "web.test", "web-tls");
    let gateway = world.options().flags("--log-level debug").start();
    assert_eq!(shown(&gateway, "web.test"), leaf.chain()[0]);
    let said = [gateway.log(), gateway.snapshot().to_string(), gateway.metrics()].concat();
    // Each line of the key, and what it is in the object.
    let lines: Vec<&str> = leaf.key.lines().filter(|line| !line.starts_with("-----")).collect();
    let object = world.look("Secret", "web-tls").unwrap();
    let coded = object["data"]["tls.key"].as_str().unwrap().to_owned();
    for line in lines.iter().chain([&coded.as_str()]) {
        assert!(!said.contains(line), "part of a key was told");
    }
}

#[test]
fn every_tls_secret_is_read_where_that_is_asked_for_and_warned_of() {
    let world = World::new("all-tls");
    let _echo = world.backend("web");
    let leaf = Authority::new().leaf(&["web.test"]);
    world.secret("web-tls", &leaf);
    let tls = [json!({ "hosts": ["web.test"], "secretName": "web-tls" })];
    let spec = json!({ "ingressClassName": "portcullis", "tls": tls, "defaultBackend": to("web") });
    world.put_ingress("web", &spec);
    let gateway = world.options().flags("--secrets all-tls").start();
    gateway.wait_for_log("every TLS Secret of the cluster is read");
    assert_eq!(shown(&gateway, "web.test"), leaf.chain()[0]);
}

/// Whether a client that keeps sessions was let resume one by this replica.
fn is_resumed(gateway: &Gateway, config: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    let mut client = RawClient::connect_tls(gateway.https(), "web.test", config).unwrap();
    // The ticket for the next time comes with the answer.
    let answer = client.exchange("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    assert_eq!(answer.status(), 200);
    client.handshake_kind() == rustls::HandshakeKind::Resumed
}

#[test]
fn a_session_of_one_replica_is_resumed_by_another_before_and_after_the_keys_are_rotated() {
    let world = World::new("ticket-keys");
    let _echo = world.backend("web");
    let authority = Authority::new();
    world.secret("web-tls", &authority.leaf(&["web.test"]));
    secured(&world, "web", "web.test", "web-tls");
    let replicas =
        ["pod-a", "pod-b"].map(|name| world.options().flags(&format!("--pod-name {name}")).start());
    let config = || tls::client(authority.roots(), &[]);
    let shared = || {
        let config = config();
        !is_resumed(&replicas[0], &config) && is_resumed(&replicas[1], &config)
    };
    wait_until("replicas have the same keys", shared);
    let secret = || world.look("Secret", "portcullis-ticket-keys").unwrap();
    let before = secret();
    let kept = config();
    assert!(!is_resumed(&replicas[0], &kept));
    // As if it had been six hours: whoever leads rotates, and the key of the session opens still.
    let annotations = json!({ "portcullis.io/rotated-at": "2020-01-01T00:00:00Z" });
    let path = world.path("Secret", "portcullis-ticket-keys");
    world.plane.patch(&path, &json!({ "metadata": { "annotations": annotations } }));
    wait_until("the keys are rotated", || {
        secret()["data"]["current"] == before["data"]["next"]
            && secret()["data"]["previous"] == before["data"]["current"]
    });
    wait_until("replicas have the same keys again", shared);
    assert!(is_resumed(&replicas[1], &kept), "a ticket from before the rotation");
}

/// The memory of a process that it can write to and has touched.
fn memory(gateway: &Gateway) -> Vec<Vec<u8>> {
    const PAGE: u64 = 4096;
    let process = PathBuf::from(format!("/proc/{}", gateway.id()));
    let maps = fs::read_to_string(process.join("maps")).unwrap();
    let [memory, pages] = ["mem", "pagemap"].map(|file| File::open(process.join(file)).unwrap());
    let is_touched = |entry: &[u8]| entry[7] & 0x80 != 0;
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap() / PAGE);
        let mut entries = vec![0; usize::try_from((to - from) * 8).unwrap()];
        let read = pages.read_at(&mut entries, from * 8).unwrap_or(0);
        let mut page = from;
        let touched: Vec<bool> = entries[..read].chunks_exact(8).map(is_touched).collect();
        for run in touched.chunk_by(|one, next| one == next) {
            if run[0] {
                let mut held = vec![0; run.len() * usize::try_from(PAGE).unwrap()];
                // What was given back in between is none of it.
                if memory.read_exact_at(&mut held, page * PAGE).is_ok() {
                    all.push(held);
                }
            }
            page += u64::try_from(run.len()).unwrap();
        }
    }
    all
}

/// How often some bytes are there.
fn count(memory: &[Vec<u8>], bytes: &[u8]) -> usize {
    let mut count = 0;
    for mut rest in memory.iter().map(Vec::as_slice) {
        // The search for one byte is the standard library's, which is quick in a debug build, too.
        while rest.skip_until(bytes[0]).unwrap() > 0 {
            count += usize::from(rest.starts_with(&bytes[1..]));
        }
    }
    count
}

/// What only who has a key knows: the number in its DER form, and a piece of its PEM.
fn parts(leaf: &Leaf) -> [Vec<u8>; 2] {
    let der = leaf.private_key().secret_der().to_vec();
    [der[36..68].to_vec(), leaf.key.lines().nth(1).unwrap().as_bytes().to_vec()]
}

#[test]
fn the_key_of_a_secret_that_was_rotated_or_deleted_is_wiped_from_the_memory_of_the_process() {
    let world = World::new("wiped");
    let _echo = world.backend("web");
    let authority = Authority::new();
    let (former, latter) = (authority.leaf(&["web.test"]), authority.leaf(&["web.test"]));
    world.secret("web-tls", &former);
    secured(&world, "web", "web.test", "web-tls");
    let gateway = world.gateway();
    let is_wiped = |leaf: &Leaf| {
        let started = Instant::now();
        loop {
            let memory = memory(&gateway);
            let left = parts(leaf).map(|part| count(&memory, &part));
            if left == [0, 0] {
                // As it was on the wire: what the client of the API server and its parser left.
                let wire = base64(leaf.key.as_bytes());
                eprintln!("on the wire: {}", count(&memory, &wire.as_bytes()[64..128]));
                return;
            }
            assert!(started.elapsed() < PATIENCE, "in DER and in PEM: {left:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    for leaf in [&former, &latter] {
        world.secret("web-tls", leaf);
        wait_for_certificate(&gateway, "web.test", leaf);
        let memory = memory(&gateway);
        let served = parts(leaf).map(|part| count(&memory, &part));
        assert!(served.iter().all(|&count| count > 0), "what is served is there: {served:?}");
    }
    is_wiped(&former);
    world.remove("Secret", "web-tls");
    wait_until("it is not served", || shown(&gateway, "web.test") != latter.chain()[0]);
    is_wiped(&latter);
}
