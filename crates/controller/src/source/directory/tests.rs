//! What a directory source tells, given real files and the hints a watcher would give.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn namespace(names: &[&str]) -> String {
    let one =
        |name: &&str| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    names.iter().map(one).collect::<Vec<_>>().join("---\n")
}

struct Fixture {
    folder: tempfile::TempDir,
    directory: Directory,
    now: Instant,
}

impl Fixture {
    /// A directory with these files, read for the first time.
    fn new(files: &[(&str, &str)]) -> (Self, Batch) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut directory = Directory::open(&[folder.path().to_owned()]).unwrap();
        let batch = directory.start(io::empty());
        (Self { folder, directory, now: Instant::now() }, batch)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn touch(&mut self, names: &[&str]) -> Option<Batch> {
        let touched = names.iter().map(|name| self.path(name)).collect();
        self.directory.refresh(&Hints { touched, ..Hints::default() }, self.now)
    }

    fn pass(&mut self, time: Duration) -> Option<Batch> {
        self.now += time;
        self.directory.refresh(&Hints::default(), self.now)
    }
}

/// `+name` for what is applied, `-name` for what is deleted, `.` for `Synced`.
fn told(batch: &Batch) -> Vec<String> {
    let tell = |event: &ObjectEvent| match event {
        ObjectEvent::Applied(object) => format!("+{}", object.key().name),
        ObjectEvent::Deleted(key) => format!("-{}", key.name),
        ObjectEvent::Synced => ".".to_owned(),
    };
    batch.events.iter().map(tell).collect()
}

fn codes(batch: &Batch) -> Vec<(&'static str, Effect)> {
    batch.diagnostics.iter().map(|one| (one.code.id(), one.effect)).collect()
}

#[test]
fn directories_are_read_recursively_and_only_manifests_in_them() {
    let (_fixture, batch) = Fixture::new(&[
        ("a.yaml", &namespace(&["a"])),
        ("deep/er/b.yml", &namespace(&["b"])),
        ("c.json", r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}"#),
        ("notes.txt", &namespace(&["no"])),
        (".hidden.yaml", &namespace(&["no"])),
        ("..data/x.yaml", &namespace(&["no"])),
        ("a.yaml~", &namespace(&["no"])),
    ]);
    assert_eq!(told(&batch), ["+a", "+b", "+c", "."]);
    assert_eq!(codes(&batch), []);
}

#[test]
fn a_path_that_does_not_exist_is_refused_by_name() {
    let error = Directory::open(&[PathBuf::from("/nonexistent/manifests")]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nonexistent/manifests"));
}

#[test]
fn standard_input_is_read_once() {
    let mut directory = Directory::open(&[PathBuf::from("-")]).unwrap();
    let batch = directory.start(namespace(&["a", "b"]).as_bytes());
    assert_eq!(told(&batch), ["+a", "+b", "."]);
    let poll = Hints { poll: true, ..Hints::default() };
    assert!(directory.refresh(&poll, Instant::now()).is_none());
    assert!(directory.refresh(&poll, Instant::now() + Duration::from_secs(1)).is_none());
}

#[test]
fn a_file_given_by_name_is_read_whatever_its_extension() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.txt");
    fs::write(&path, namespace(&["a"])).unwrap();
    let mut directory = Directory::open(std::slice::from_ref(&path)).unwrap();
    assert_eq!(told(&directory.start(io::empty())), ["+a", "."]);
    fs::write(&path, namespace(&["b"])).unwrap();
    let hints = Hints { touched: [path].into(), ..Hints::default() };
    let batch = directory.refresh(&hints, Instant::now()).unwrap();
    assert_eq!(told(&batch), ["-a", "+b"]);
}

#[test]
fn a_file_given_by_name_that_vanishes_keeps_its_objects_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.yaml");
    fs::write(&path, namespace(&["a"])).unwrap();
    let mut directory = Directory::open(std::slice::from_ref(&path)).unwrap();
    directory.start(io::empty());
    fs::remove_file(&path).unwrap();
    let hints = Hints { touched: [path.clone()].into(), ..Hints::default() };
    let batch = directory.refresh(&hints, Instant::now()).unwrap();
    assert_eq!(told(&batch), [""; 0]);
    assert_eq!(codes(&batch), [("unreadable-manifest", Effect::LastGoodServes)]);
    fs::write(&path, namespace(&["b"])).unwrap();
    let batch = directory.refresh(&hints, Instant::now()).unwrap();
    let list = Hints { poll: true, ..Hints::default() };
    let again = directory.refresh(&list, Instant::now()).unwrap();
    assert_eq!(told(&batch), ["-a", "+b"]);
    assert_eq!(codes(&again), []);
}

#[test]
fn a_file_that_was_written_again_is_told_object_by_object() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a", "b"]))]);
    fixture.write("a.yaml", &namespace(&["b", "c"]));
    let batch = fixture.touch(&["a.yaml"]).unwrap();
    assert_eq!(told(&batch), ["-a", "+b", "+c"]);
}

#[test]
fn a_syntax_error_keeps_the_last_good_objects_until_it_is_mended() {
    let (mut fixture, _) =
        Fixture::new(&[("a.yaml", &namespace(&["a"])), ("b.yaml", &namespace(&["b"]))]);
    fixture.write("a.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x");
    let batch = fixture.touch(&["a.yaml"]).unwrap();
    assert_eq!(told(&batch), [""; 0]);
    assert_eq!(codes(&batch), [("unreadable-manifest", Effect::LastGoodServes)]);
    assert_eq!(batch.stale_files, 1);
    assert!(batch.diagnostics[0].object.name.ends_with("a.yaml"));
    fixture.write("b.yaml", &namespace(&["b", "b2"]));
    assert_eq!(told(&fixture.touch(&["b.yaml"]).unwrap()), ["+b", "+b2"]);
    fixture.write("a.yaml", &namespace(&["a", "x"]));
    let batch = fixture.touch(&["a.yaml"]).unwrap();
    assert_eq!(told(&batch), ["+a", "+x"]);
    assert_eq!((codes(&batch), batch.stale_files), (vec![], 0));
}

#[test]
fn a_file_that_cannot_be_read_at_the_start_is_left_out_and_named() {
    let (_fixture, batch) =
        Fixture::new(&[("a.yaml", &namespace(&["a"])), ("b.yaml", "{{{"), ("c.yaml", "kind: X\n")]);
    assert_eq!(told(&batch), ["+a", "."]);
    let unreadable = ("unreadable-manifest", Effect::ObjectIgnored);
    assert_eq!(codes(&batch), [unreadable, unreadable]);
    assert!(batch.diagnostics[0].object.name.ends_with("/b.yaml"));
    assert_eq!(batch.stale_files, 0);
}

#[test]
fn bytes_that_are_no_text_are_unreadable() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fs::write(fixture.path("a.yaml"), b"\xff\xfe\x00").unwrap();
    let batch = fixture.touch(&["a.yaml"]).unwrap();
    assert_eq!(codes(&batch), [("unreadable-manifest", Effect::LastGoodServes)]);
}

#[test]
fn a_file_that_shrank_to_nothing_is_believed_only_at_the_second_look() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fixture.write("a.yaml", "");
    assert!(fixture.touch(&["a.yaml"]).is_none());
    assert_eq!(fixture.directory.next_look(), Some(fixture.now + SECOND_LOOK));
    assert!(fixture.pass(SECOND_LOOK / 2).is_none());
    assert_eq!(told(&fixture.pass(SECOND_LOOK / 2).unwrap()), ["-a"]);
    assert_eq!(fixture.directory.next_look(), None);
}

#[test]
fn a_file_that_was_emptied_and_filled_again_never_looks_empty() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fixture.write("a.yaml", "");
    assert!(fixture.touch(&["a.yaml"]).is_none());
    fixture.write("a.yaml", &namespace(&["a", "b"]));
    assert_eq!(told(&fixture.pass(SECOND_LOOK).unwrap()), ["+a", "+b"]);
    assert!(fixture.pass(SECOND_LOOK).is_none());
}

#[test]
fn a_deleted_file_is_believed_at_the_second_look() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    assert!(fixture.touch(&["a.yaml"]).is_none());
    assert_eq!(told(&fixture.pass(SECOND_LOOK).unwrap()), ["-a"]);
    assert!(fixture.pass(SECOND_LOOK).is_none());
}

#[test]
fn an_editor_that_moves_the_old_file_away_and_writes_a_new_one_removes_nothing() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fs::rename(fixture.path("a.yaml"), fixture.path("a.yaml~")).unwrap();
    assert!(fixture.touch(&["a.yaml", "a.yaml~"]).is_none());
    let text = namespace(&["a", "b"]);
    fixture.write("a.yaml", &text[..text.len() / 2]);
    let created = [fixture.path("a.yaml")].into();
    let hints = Hints { created, ..Hints::default() };
    assert!(fixture.directory.refresh(&hints, fixture.now).is_none());
    assert!(fixture.pass(SECOND_LOOK * 3).is_none());
    fixture.write("a.yaml", &text);
    assert_eq!(told(&fixture.touch(&["a.yaml"]).unwrap()), ["+a", "+b"]);
}

#[test]
fn a_new_file_is_not_read_before_it_is_closed_even_when_something_else_happens() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fixture.write("b.yaml", &namespace(&["half"]));
    let created = [fixture.path("b.yaml")].into();
    fs::create_dir(fixture.path("deep")).unwrap();
    let hints = Hints { created, touched: [fixture.path("deep")].into(), ..Hints::default() };
    assert!(fixture.directory.refresh(&hints, fixture.now).is_none());
    fixture.write("b.yaml", &namespace(&["whole"]));
    assert_eq!(told(&fixture.touch(&["b.yaml"]).unwrap()), ["+whole"]);
}

#[test]
fn a_file_moved_over_another_replaces_it() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fixture.write(".a.yaml.tmp", &namespace(&["b"]));
    fs::rename(fixture.path(".a.yaml.tmp"), fixture.path("a.yaml")).unwrap();
    let batch = fixture.touch(&[".a.yaml.tmp", "a.yaml"]).unwrap();
    assert_eq!(told(&batch), ["-a", "+b"]);
}

#[test]
fn a_config_map_volume_changes_all_its_files_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, names) in [("..1", ["a", "b"]), ("..2", ["a", "c"])] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("x.yaml"), namespace(&names[..1])).unwrap();
        fs::write(at(version).join("y.yaml"), namespace(&names[1..])).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/x.yaml", at("x.yaml")).unwrap();
    symlink("..data/y.yaml", at("y.yaml")).unwrap();
    let mut directory = Directory::open(&[folder.path().to_owned()]).unwrap();
    assert_eq!(told(&directory.start(io::empty())), ["+a", "+b", "."]);
    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    let touched = [at("..data_tmp"), at("..data")].into();
    let batch = directory.refresh(&Hints { touched, ..Hints::default() }, Instant::now()).unwrap();
    assert_eq!(told(&batch), ["+a", "-b", "+c"]);
}

#[test]
fn a_directory_that_comes_is_read_and_one_that_goes_takes_its_objects_along() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fs::create_dir(fixture.path("deep")).unwrap();
    fixture.write("deep/b.yaml", &namespace(&["b"]));
    assert_eq!(told(&fixture.touch(&["deep"]).unwrap()), ["+b"]);
    assert!(fixture.directory.directories().contains(&fixture.path("deep")));
    fs::remove_dir_all(fixture.path("deep")).unwrap();
    assert!(fixture.touch(&["deep"]).is_none());
    assert_eq!(told(&fixture.pass(SECOND_LOOK).unwrap()), ["-b"]);
    assert!(!fixture.directory.directories().contains(&fixture.path("deep")));
}

#[test]
fn a_link_back_to_a_directory_above_is_followed_once() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    symlink(fixture.folder.path(), fixture.path("round")).unwrap();
    assert!(fixture.touch(&["round"]).is_none());
}

#[test]
fn a_root_that_vanishes_keeps_everything_and_is_told() {
    let (mut fixture, _) = Fixture::new(&[("deep/a.yaml", &namespace(&["a"]))]);
    let root = fixture.path("deep");
    fixture.directory = Directory::open(std::slice::from_ref(&root)).unwrap();
    fixture.directory.start(io::empty());
    fs::rename(&root, fixture.path("away")).unwrap();
    let batch = fixture.touch(&["deep"]).unwrap();
    assert_eq!(told(&batch), [""; 0]);
    assert_eq!(codes(&batch), [("unreadable-manifest", Effect::LastGoodServes)]);
    assert!(fixture.pass(SECOND_LOOK * 2).is_none());
}

#[test]
fn the_slow_poll_finds_what_no_event_told_once_it_has_settled() {
    let (mut fixture, _) = Fixture::new(&[("a.yaml", &namespace(&["a"]))]);
    fixture.write("a.yaml", &namespace(&["b"]));
    let poll = Hints { poll: true, ..Hints::default() };
    assert!(fixture.directory.refresh(&poll, fixture.now).is_none(), "just being written");
    let file = fs::File::options().write(true).open(fixture.path("a.yaml")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(5)).unwrap();
    let batch = fixture.directory.refresh(&poll, fixture.now).unwrap();
    assert_eq!(told(&batch), ["-a", "+b"]);
    assert!(fixture.directory.refresh(&poll, fixture.now).is_none());
}

#[test]
fn of_an_object_in_two_files_the_first_by_name_counts_and_the_other_is_told() {
    let text = namespace(&["a"]);
    let (mut fixture, batch) = Fixture::new(&[("b.yaml", &text), ("a.yaml", &text)]);
    assert_eq!(told(&batch), ["+a", "."]);
    assert_eq!(codes(&batch), [("duplicate-object", Effect::ObjectIgnored)]);
    let message = &batch.diagnostics[0].message;
    assert!(message.starts_with("written again in ") && message.contains("b.yaml; "), "{message}");
    fs::remove_file(fixture.path("a.yaml")).unwrap();
    fixture.touch(&["a.yaml"]);
    let batch = fixture.pass(SECOND_LOOK).unwrap();
    assert_eq!((told(&batch), codes(&batch)), (vec!["+a".to_owned()], vec![]));
}

#[test]
fn paths_are_named_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "{{{").unwrap();
    let given = folder.path().join(".").join("..").join(folder.path().file_name().unwrap());
    let mut directory = Directory::open(std::slice::from_ref(&given)).unwrap();
    let batch = directory.start(io::empty());
    assert_eq!(&*batch.diagnostics[0].object.name, given.join("a.yaml").to_str().unwrap());
}

#[test]
fn for_reading_what_can_be_read_of_a_broken_file_counts_and_has_places() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    fs::write(&path, format!("{}---\nkind: X\n---\n{}", namespace(&["a"]), namespace(&["b"])))
        .unwrap();
    let mut directory = Directory::open_for_reading(std::slice::from_ref(&path)).unwrap();
    assert_eq!(told(&directory.start(io::empty())), ["+a", "+b", "."]);
    let unreadable = &directory.diagnostics()[0];
    assert_eq!(unreadable.diagnostic.code, Code::UnreadableManifest);
    assert_eq!(unreadable.position.line, 5);
    let field = FieldPath("metadata.name".into());
    let (file, position) = directory.locate(&ObjectRef::new("Namespace", "", "b"), &field).unwrap();
    assert_eq!((&*file, position.line), (path.to_str().unwrap(), 9));
    assert!(directory.locate(&ObjectRef::new("Namespace", "", "c"), &field).is_none());
}
