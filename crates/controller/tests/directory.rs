//! From files on disk to what is published: the real watcher, the real threads, real files.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its world up must fail")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use controller::{Change, Controller, ControllerSettings, Source};
use model::{Code, Effect, Model, Report};
use telemetry::{Telemetry, TelemetrySettings};
use translate::{Settings, Translation};

/// How long a change may take before a test gives up; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Seen {
    translation: Translation,
    report: Report,
    publishes: usize,
}

struct Gateway {
    folder: tempfile::TempDir,
    seen: Arc<(Mutex<Seen>, Condvar)>,
    telemetry: Arc<Telemetry>,
    controller: Controller,
}

fn ingress(hosts: &[&str]) -> String {
    let one = |host: &&str| {
        format!(
            "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {}}}
spec: {{rules: [{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix,
  backend: {{service: {{name: s, port: {{number: 80}}}}}}}}]}}}}]}}
",
            host.replace('.', "-")
        )
    };
    hosts.iter().map(one).collect::<Vec<_>>().join("---\n")
}

impl Gateway {
    fn start(prepare: impl FnOnce(&Path), paths: impl FnOnce(&Path) -> Vec<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let (publishing, reporting) = (Arc::clone(&seen), Arc::clone(&seen));
        let telemetry = Telemetry::new(TelemetrySettings::new(0));
        let controller = controller::start(
            ControllerSettings {
                source: Source::Manifests(paths(folder.path())),
                last_good: None,
                translation: Settings::standalone(),
                runtime: None,
                name_servers: Vec::new(),
            },
            Arc::clone(&telemetry),
            Box::new(move |new: &Translation, change| {
                let mut seen = publishing.0.lock().unwrap();
                if change == Change::EndpointsOnly {
                    seen.translation.endpoints = new.endpoints.clone();
                } else {
                    seen.translation = new.clone();
                }
                seen.publishes += 1;
                publishing.1.notify_all();
                Vec::new()
            }),
            Box::new(move |report: &Report| {
                reporting.0.lock().unwrap().report = report.clone();
                reporting.1.notify_all();
            }),
        )
        .unwrap();
        assert!(controller.wait_first_publish(PATIENCE));
        Self { folder, seen, telemetry, controller }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        Self::start(
            |folder| {
                for (name, text) in files {
                    fs::write(folder.join(name), text).unwrap();
                }
            },
            |folder| vec![folder.to_owned()],
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        while !holds(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{what}: {:?} {:#?}",
                hosts(&seen.translation.model),
                seen.report
            );
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    #[track_caller]
    fn wait_for_hosts(&self, wanted: &[&str]) {
        self.wait(&format!("hosts {wanted:?}"), |seen| hosts(&seen.translation.model) == wanted);
    }

    /// Makes sure that everything written before has been looked at: a marker comes after it.
    #[track_caller]
    fn settle(&self, marker: &str, others: &[&str]) {
        self.write(&format!("{marker}.yaml"), &ingress(&[marker]));
        let mut wanted = others.to_vec();
        wanted.push(marker);
        wanted.sort_unstable();
        self.wait_for_hosts(&wanted);
    }
}

fn hosts(model: &Model) -> Vec<String> {
    model.hosts.keys().map(ToString::to_string).collect()
}

fn unreadable(report: &Report) -> Vec<Effect> {
    let unreadable = report.diagnostics().iter().filter(|d| d.code == Code::UnreadableManifest);
    unreadable.map(|diagnostic| diagnostic.effect).collect()
}

#[test]
fn a_file_that_is_written_moved_over_and_deleted_is_followed() {
    let gateway = Gateway::with(&[("a.yaml", &ingress(&["a.test"]))]);
    gateway.wait_for_hosts(&["a.test"]);
    gateway.write("b.yaml", &ingress(&["b.test"]));
    gateway.wait_for_hosts(&["a.test", "b.test"]);
    gateway.write(".b.tmp", &ingress(&["c.test"]));
    fs::rename(gateway.path(".b.tmp"), gateway.path("b.yaml")).unwrap();
    gateway.wait_for_hosts(&["a.test", "c.test"]);
    fs::remove_file(gateway.path("a.yaml")).unwrap();
    gateway.wait_for_hosts(&["c.test"]);
    fs::rename(gateway.path("b.yaml"), gateway.path("b.off")).unwrap();
    gateway.wait_for_hosts(&[]);
    // The report is told when what it is about can be asked for.
    let latest = || gateway.controller.latest().unwrap();
    gateway.wait("the latest", |_| hosts(&latest().model).is_empty());
}

#[test]
fn a_config_map_volume_is_followed() {
    let gateway = Gateway::start(
        |folder| {
            for version in ["..1", "..2"] {
                fs::create_dir(folder.join(version)).unwrap();
                let host = format!("v{}.test", &version[2..]);
                fs::write(folder.join(version).join("a.yaml"), ingress(&[&host])).unwrap();
            }
            symlink("..1", folder.join("..data")).unwrap();
            symlink("..data/a.yaml", folder.join("a.yaml")).unwrap();
        },
        |folder| vec![folder.to_owned()],
    );
    gateway.wait_for_hosts(&["v1.test"]);
    symlink("..2", gateway.path("..data_tmp")).unwrap();
    fs::rename(gateway.path("..data_tmp"), gateway.path("..data")).unwrap();
    gateway.wait_for_hosts(&["v2.test"]);
    fs::remove_dir_all(gateway.path("..1")).unwrap();
    gateway.settle("z.test", &["v2.test"]);
}

#[test]
fn a_directory_behind_a_link_is_followed_when_the_link_is_turned() {
    let gateway = Gateway::start(
        |folder| {
            for version in ["r1", "r2", "r3"] {
                fs::create_dir(folder.join(version)).unwrap();
                let text = ingress(&[&format!("{version}.test")]);
                fs::write(folder.join(version).join("a.yaml"), text).unwrap();
            }
            symlink("r1", folder.join("current")).unwrap();
        },
        |folder| vec![folder.join("current")],
    );
    gateway.wait_for_hosts(&["r1.test"]);
    for version in ["r2", "r3"] {
        symlink(version, gateway.path("next")).unwrap();
        fs::rename(gateway.path("next"), gateway.path("current")).unwrap();
        gateway.wait_for_hosts(&[&format!("{version}.test")]);
    }
    gateway.write("r3/b.yaml", &ingress(&["b.test"]));
    gateway.wait_for_hosts(&["b.test", "r3.test"]);
}

#[test]
fn a_syntax_error_keeps_the_last_good_objects_and_mending_it_takes_the_new_ones() {
    let gateway = Gateway::with(&[("a.yaml", &ingress(&["a.test"]))]);
    gateway.write("a.yaml", "apiVersion: networking.k8s.io/v1\nkind: [");
    gateway.wait("told", |seen| unreadable(&seen.report) == [Effect::LastGoodServes]);
    gateway.settle("z.test", &["a.test"]);
    assert!(gateway.telemetry.render_prometheus().contains("portcullis_config_stale_files 1\n"));
    gateway.write("a.yaml", &ingress(&["b.test"]));
    gateway.wait_for_hosts(&["b.test", "z.test"]);
    gateway.wait("mended", |seen| unreadable(&seen.report).is_empty());
    assert!(gateway.telemetry.render_prometheus().contains("portcullis_config_stale_files 0\n"));
}

#[test]
fn a_file_that_is_broken_from_the_start_is_left_out_and_named() {
    let gateway = Gateway::with(&[("a.yaml", &ingress(&["a.test"])), ("b.yaml", "{{{")]);
    gateway.wait_for_hosts(&["a.test"]);
    gateway.wait("told", |seen| unreadable(&seen.report) == [Effect::ObjectIgnored]);
    let report = gateway.controller.latest().unwrap().report.clone();
    let named = report.diagnostics().iter().find(|d| d.code == Code::UnreadableManifest).unwrap();
    assert!(named.object.name.ends_with("b.yaml"));
}

#[test]
fn a_file_that_is_emptied_and_written_again_is_never_seen_empty() {
    let gateway =
        Gateway::with(&[("a.yaml", &ingress(&["a.test"])), ("b.yaml", &ingress(&["b.test"]))]);
    for round in 0..20 {
        let hosts = ["a.test".to_owned(), format!("r{round}.test")];
        gateway.write("a.yaml", "");
        gateway.write("a.yaml", &ingress(&[&hosts[0], &hosts[1]]));
        gateway.wait(&hosts[1], |seen| {
            let model = &seen.translation.model;
            let all: Vec<String> = model.hosts.keys().map(ToString::to_string).collect();
            assert!(all.contains(&hosts[0]) && all.contains(&"b.test".to_owned()), "{all:?}");
            all.contains(&hosts[1])
        });
    }
}

#[test]
fn a_file_being_written_slowly_is_read_when_it_is_closed() {
    use std::io::Write as _;
    let gateway = Gateway::with(&[("a.yaml", &ingress(&["a.test"]))]);
    let text = ingress(&["b.test", "c.test"]);
    // Up to the end of the first object: a prefix that could be read as a whole.
    let (first, second) = text.split_at(text.find("---").unwrap());
    let mut file = fs::File::create(gateway.path("b.yaml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    fs::create_dir(gateway.path("deep")).unwrap();
    gateway.settle("z.test", &["a.test"]);
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    gateway.wait_for_hosts(&["a.test", "b.test", "c.test", "z.test"]);
}

#[test]
fn a_directory_that_comes_goes_and_comes_again_is_followed() {
    let gateway = Gateway::with(&[("a.yaml", &ingress(&["a.test"]))]);
    for round in 0..3 {
        let host = format!("r{round}.test");
        fs::create_dir(gateway.path("deep")).unwrap();
        gateway.write("deep/b.yaml", &ingress(&[&host]));
        gateway.wait_for_hosts(&["a.test", &host]);
        gateway.write("deep/b.yaml", &ingress(&[&host, "s.test"]));
        gateway.wait_for_hosts(&["a.test", &host, "s.test"]);
        fs::remove_dir_all(gateway.path("deep")).unwrap();
        gateway.wait_for_hosts(&["a.test"]);
    }
}

#[test]
fn one_file_given_by_name_is_followed_through_replacement() {
    let gateway = Gateway::start(
        |folder| fs::write(folder.join("one.yaml"), ingress(&["a.test"])).unwrap(),
        |folder| vec![folder.join("one.yaml")],
    );
    gateway.write("other.yaml", &ingress(&["other.test"]));
    gateway.write("tmp", &ingress(&["b.test"]));
    fs::rename(gateway.path("tmp"), gateway.path("one.yaml")).unwrap();
    gateway.wait_for_hosts(&["b.test"]);
    gateway.write("one.yaml", &ingress(&["c.test"]));
    gateway.wait_for_hosts(&["c.test"]);
}

#[test]
fn a_storm_of_changes_ends_in_what_is_on_disk() {
    let gateway = Gateway::with(&[]);
    for round in 0..300 {
        let name = format!("f{}.yaml", round % 7);
        match round % 5 {
            0 => drop(fs::remove_file(gateway.path(&name))),
            1 => gateway.write(&name, "{{{ broken"),
            2 => {
                gateway.write("tmp", &ingress(&[&format!("h{round}.test")]));
                fs::rename(gateway.path("tmp"), gateway.path(&name)).unwrap();
            }
            _ => gateway.write(&name, &ingress(&[&format!("h{round}.test")])),
        }
    }
    for index in 0..7 {
        gateway.write(&format!("f{index}.yaml"), &ingress(&[&format!("end{index}.test")]));
    }
    let wanted: Vec<String> = (0..7).map(|index| format!("end{index}.test")).collect();
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    gateway.wait_for_hosts(&wanted);
    gateway.wait("mended", |seen| unreadable(&seen.report).is_empty());
}

#[test]
fn stopping_ends_the_threads_and_publishes_no_more() {
    let gateway = Gateway::with(&[("a.yaml", &ingress(&["a.test"]))]);
    let Gateway { folder, seen, controller, .. } = gateway;
    controller.stop();
    let publishes = seen.0.lock().unwrap().publishes;
    fs::write(folder.path().join("b.yaml"), ingress(&["b.test"])).unwrap();
    // The functions given to `start` went with the threads: nobody is left to call them.
    assert_eq!(Arc::strong_count(&seen), 1);
    assert_eq!(seen.0.lock().unwrap().publishes, publishes);
}

#[test]
fn a_path_that_does_not_exist_is_an_error() {
    let started = controller::start(
        ControllerSettings {
            source: Source::Manifests(vec!["/nonexistent/manifests".into()]),
            last_good: None,
            translation: Settings::standalone(),
            runtime: None,
            name_servers: Vec::new(),
        },
        Telemetry::new(TelemetrySettings::new(0)),
        Box::new(|_, _| Vec::new()),
        Box::new(|_| {}),
    );
    assert!(started.unwrap_err().to_string().contains("/nonexistent/manifests"));
}

#[test]
fn loading_once_gives_objects_places_and_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, ingress(&["a.test"]) + "---\nkind: X\n").unwrap();
    let loaded = controller::load(&[folder.path().to_owned()]).unwrap();
    assert_eq!(loaded.store().ingress_count(), 1);
    assert!(loaded.store().is_synced());
    assert_eq!(loaded.unreadable_files(), 1);
    assert_eq!(loaded.diagnostics[0].diagnostic.code, Code::UnreadableManifest);
    let object = model::ObjectRef::new("Ingress", "default", "a-test");
    let field = model::FieldPath("spec.rules[0].host".into());
    let (file, position) = loaded.locate(&object, &field).unwrap();
    assert_eq!((&*file, position.line), (path.to_str().unwrap(), 4));
}
