//! The ways in which files change under a gateway that serves: volumes, editors, careless writers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use testkit::fast::Fast;
use testkit::{Gateway, GatewayOptions, manifests, wait_until};

use crate::GET;

/// Asks for `app.test` without pause, until dropped; then every request must have been answered
/// 200.
struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(gateway: &Gateway) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let (stop, count, failed) =
            (Arc::clone(&is_over), Arc::clone(&served), Arc::clone(&failures));
        let address = gateway.http();
        let thread = std::thread::spawn(move || {
            let mut client = testkit::client::raw::RawClient::connect(address);
            while !stop.load(Ordering::SeqCst) {
                let response = client.exchange(GET);
                if response.status() != 200 {
                    failed.lock().unwrap().push(response.head.clone());
                }
                if response.field("connection").is_some() {
                    client = testkit::client::raw::RawClient::connect(address);
                }
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { is_over, served, failures, thread: Some(thread) }
    }

    fn end(mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().expect("every request was answered");
        assert_eq!(*self.failures.lock().unwrap(), Vec::<String>::new());
        assert!(self.served.load(Ordering::SeqCst) > 0);
    }
}

/// A gateway for `app.test` from a file of its own, and whatever a test writes beside it.
fn gateway(app: &Fast) -> Gateway {
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[app.address()]),
                manifests::ingress("app", "app.test", "app"),
            ]),
        )
        .start()
}

fn serves(gateway: &Gateway, host: &str) -> bool {
    gateway.get(host, "/").status() == 200
}

#[test]
fn a_volume_of_a_config_map_is_turned_without_a_request_lost() {
    let app = Fast::start("app");
    let gateway = gateway(&app);
    // The whole configuration is in the volume, `app.test` too.
    let volume = gateway.directory().join("volume");
    let fill = |version: usize, host: &str| {
        let directory = volume.join(format!("..2026_{version}"));
        fs::create_dir_all(&directory).unwrap();
        for (name, host) in [("kept", "kept.test"), ("turned", host)] {
            let text = manifests::ingress(name, host, "app");
            fs::write(directory.join(format!("{name}.yaml")), text).unwrap();
        }
    };
    fill(0, "v0.test");
    symlink("..2026_0", volume.join("..data")).unwrap();
    for name in ["kept", "turned"] {
        let link = volume.join(format!("{name}.yaml"));
        symlink(format!("..data/{name}.yaml"), link).unwrap();
    }
    wait_until("the volume is read", || serves(&gateway, "v0.test"));
    let load = Load::on(&gateway);
    for version in 1..=20 {
        fill(version, &format!("v{version}.test"));
        symlink(format!("..2026_{version}"), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        fs::remove_dir_all(volume.join(format!("..2026_{}", version - 1))).unwrap();
        wait_until("the volume is read anew", || serves(&gateway, &format!("v{version}.test")));
        assert!(serves(&gateway, "kept.test"));
        assert!(!serves(&gateway, &format!("v{}.test", version - 1)));
    }
    load.end();
}

#[test]
fn a_volume_that_is_turned_to_something_unreadable_serves_what_it_last_said() {
    let app = Fast::start("app");
    let gateway = gateway(&app);
    let volume = gateway.directory().join("volume");
    let fill = |version: &str, text: &str| {
        let directory = volume.join(format!("..{version}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("turned.yaml"), text).unwrap();
        symlink(format!("..{version}"), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    fill("good", &manifests::ingress("turned", "good.test", "app"));
    symlink("..data/turned.yaml", volume.join("turned.yaml")).unwrap();
    wait_until("the volume is read", || serves(&gateway, "good.test"));
    let load = Load::on(&gateway);
    let stale = || gateway.metric("portcullis_config_stale_files", &[]);
    fill("broken", "apiVersion: networking.k8s.io/v1\nkind: {Ingress\n");
    gateway.wait_for_log("unreadable-manifest");
    wait_until("the metric tells it", || stale() > 0.0);
    assert!(serves(&gateway, "good.test"));
    assert!(gateway.is_ready());
    fill("mended", &manifests::ingress("turned", "mended.test", "app"));
    wait_until("the volume is read anew", || serves(&gateway, "mended.test"));
    assert!(!serves(&gateway, "good.test"));
    wait_until("the metric tells it", || stale() < 1.0);
    load.end();
}

type Save = fn(&Path, &str);

#[test]
fn editors_may_save_in_any_of_their_ways() {
    let app = Fast::start("app");
    let gateway = gateway(&app);
    let file = gateway.directory().join("edited.yaml");
    let text = |host: &str| manifests::ingress("edited", host, "app");
    fs::write(&file, text("start.test")).unwrap();
    wait_until("the file is read", || serves(&gateway, "start.test"));
    let load = Load::on(&gateway);
    let ways: [(&str, Save); 6] = [
        ("in-place", |file, text| fs::write(file, text).unwrap()),
        ("rename", |file, text| {
            let new = file.with_extension("yaml.tmp");
            fs::write(&new, text).unwrap();
            fs::rename(&new, file).unwrap();
        }),
        ("backup", |file, text| {
            // vim with `backupcopy=no`: the old file steps aside, the new one is written.
            fs::rename(file, file.with_extension("yaml~")).unwrap();
            fs::write(file, text).unwrap();
            fs::remove_file(file.with_extension("yaml~")).unwrap();
        }),
        ("delete", |file, text| {
            fs::remove_file(file).unwrap();
            fs::write(file, text).unwrap();
        }),
        ("truncate", |file, text| {
            fs::File::create(file).unwrap();
            fs::write(file, text).unwrap();
        }),
        ("hardlink", |file, text| {
            let new = file.with_file_name(".new");
            fs::write(&new, text).unwrap();
            fs::remove_file(file).unwrap();
            fs::hard_link(&new, file).unwrap();
            fs::remove_file(&new).unwrap();
        }),
    ];
    let mut before = "start.test".to_owned();
    for (way, save) in ways {
        let host = format!("{way}.test");
        save(&file, &text(&host));
        wait_until(&format!("what was saved is served ({way})"), || serves(&gateway, &host));
        assert!(!serves(&gateway, &before), "{way}");
        before = host;
    }
    load.end();
}

#[test]
fn a_file_that_is_emptied_and_written_slowly_is_served_as_it_was_until_it_is_whole() {
    use std::io::Write as _;
    let app = Fast::start("app");
    let gateway = gateway(&app);
    let load = Load::on(&gateway);
    let path = gateway.directory().join("app.yaml");
    let whole = fs::read_to_string(&path).unwrap()
        + "---\n"
        + &manifests::ingress("more", "more.test", "app");
    // `app.test` itself stands in the file that is written.
    let mut file = fs::File::create(&path).unwrap();
    for piece in whole.as_bytes().chunks(40) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        assert!(serves(&gateway, "app.test"));
    }
    drop(file);
    wait_until("the whole file is served", || serves(&gateway, "more.test"));
    load.end();
}

#[test]
fn what_is_served_from_several_paths_is_one_configuration() {
    let app = Fast::start("app");
    let more = tempfile::tempdir().unwrap();
    let file = more.path().join("ingress.yaml");
    fs::write(&file, manifests::ingress("file", "file.test", "app")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.yaml");
    fs::write(&other, manifests::ingress("other", "other.test", "app")).unwrap();
    let gateway = GatewayOptions::new()
        .file("service.yaml", manifests::service("app", &[app.address()]))
        .flags(&format!(
            "--manifests {} --manifests {}",
            file.display(),
            directory.path().display()
        ))
        .input(format!(
            "apiVersion: v1\nkind: List\nitems:\n- {}",
            manifests::ingress("input", "input.test", "app").replace('\n', "\n  ")
        ))
        .start();
    for host in ["file.test", "other.test", "input.test"] {
        assert!(serves(&gateway, host), "{host}");
    }
    // All but the input are followed.
    fs::write(&file, manifests::ingress("file", "changed.test", "app")).unwrap();
    wait_until("the file is followed", || serves(&gateway, "changed.test"));
    fs::write(&other, manifests::ingress("other", "moved.test", "app")).unwrap();
    wait_until("the directory is followed", || serves(&gateway, "moved.test"));
    assert!(serves(&gateway, "input.test"));
    assert!(!serves(&gateway, "file.test") && !serves(&gateway, "other.test"));
}
