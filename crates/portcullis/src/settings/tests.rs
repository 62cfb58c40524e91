//! Every default is readable, and what is wrong is told at once.

use std::io::Write as _;

use super::*;

fn flags(given: &[(&str, &[&str])]) -> Layers {
    let mut layers = Layers::default();
    for (name, texts) in given {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        layers.offer(find(name).unwrap(), Given { texts, origin: Origin::Flag });
    }
    layers
}

fn variables(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn every_default_is_readable() {
    let settings = Settings::defaults();
    assert_eq!(Settings::addresses(&settings.http), ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(settings.request_head_timeout, Duration::from_secs(10));
    assert_eq!(settings.workers, Auto::Auto);
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "connect-timeout: 1s\ndrain-delay: 1s\ndrain-timeout: 1s").unwrap();
    let settings = Settings::load(
        flags(&[("connect-timeout", &["3s"])]),
        file.path().to_str(),
        variables(&[
            ("PORTCULLIS_CONNECT_TIMEOUT", "2s"),
            ("PORTCULLIS_DRAIN_DELAY", "2s"),
            ("HOME", "/"),
        ]),
        &[("drain-timeout", "9s"), ("log-level", "warn")],
    )
    .unwrap();
    assert_eq!(settings.connect_timeout, Duration::from_secs(3));
    assert_eq!(settings.drain_delay, Duration::from_secs(2));
    assert_eq!(settings.drain_timeout, Duration::from_secs(1));
    assert_eq!(settings.log_level, LogLevel::Warn);
    assert_eq!(settings.response_timeout, Duration::from_mins(1));
}

#[test]
fn the_memory_of_a_connection_holds_the_largest_head() {
    let set = |memory: &str| {
        let given: &[(&str, &[&str])] =
            &[("request-head-bytes-max", &["1MiB"]), ("http2-memory-max", &[memory])];
        Settings::resolve(&flags(given))
    };
    assert!(set("4MiB").is_ok());
    let errors = set("2MiB").unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("--http2-memory-max"), "{}", errors[0]);
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "workers: 3").unwrap();
    let path = file.path().to_str().unwrap();
    let settings =
        Settings::load(Layers::default(), None, variables(&[("PORTCULLIS_CONFIG", path)]), &[])
            .unwrap();
    assert_eq!(settings.workers.set().map(NonZeroUsize::get), Some(3));
}

#[test]
fn everything_wrong_is_told_at_once_and_with_its_place() {
    let errors = Settings::load(
        flags(&[("access-log", &["jsn"]), ("http", &["localhost"])]),
        None,
        variables(&[("PORTCULLIS_WORKERS", "0"), ("PORTCULLIS_HTPS", "off")]),
        &[],
    )
    .unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told[0].contains("`PORTCULLIS_HTPS`") && told[0].contains("`PORTCULLIS_HTTPS`"));
    assert!(told[1].starts_with("--http: `localhost` is not an address and port"));
    assert!(told[2].starts_with("PORTCULLIS_WORKERS: `0` is not a whole number"));
    assert!(told[3].starts_with("--access-log: `jsn` is not one of off, text, json"));
    assert!(told[3].ends_with("did you mean `json`?"));
}

#[test]
fn off_stands_alone() {
    let settings = Settings::resolve(&flags(&[("admin", &["off"])])).unwrap();
    assert_eq!(Settings::addresses(&settings.admin), []);
    assert!(Settings::resolve(&flags(&[("http", &["off", "127.0.0.1:1"])])).is_err());
}

#[test]
fn access_control_cannot_be_ignored() {
    let ignore = |text: &str| Settings::resolve(&flags(&[("refused-annotations", &[text])]));
    assert!(ignore("deny").is_ok());
    assert!(ignore("ignore configuration-snippet server-snippet").is_ok());
    for (text, why) in [
        ("ignore configuration-snippet auth-url", "`auth-url` restricts access"),
        ("ignore auth-snippet", "never ignored: take it off"),
        ("ignore enable-cors", "is not refused"),
        ("ignore", "names none"),
        ("allow", "is neither `deny`"),
    ] {
        let errors = ignore(text).unwrap_err();
        assert!(errors[0].to_string().contains(why), "{}", errors[0]);
    }
    let both = flags(&[("refused-annotations", &["deny", "ignore server-snippet"])]);
    assert!(Settings::resolve(&both).is_err());
}

#[test]
fn a_limit_beyond_reason_is_refused() {
    for (name, text) in [
        ("request-head-bytes-max", "100"),
        ("request-fields-max", "257"),
        ("http2-stream-window", "4GiB"),
    ] {
        assert!(Settings::resolve(&flags(&[(name, &[text])])).is_err(), "{name}");
    }
}

#[test]
fn what_the_pod_says_of_its_place_is_weaker_than_any_setting() {
    let environment = variables(&[
        ("NODE_NAME", "node-1"),
        ("NODE_ZONE", ""),
        ("POD_NAME", "gateway-0"),
        ("PORTCULLIS_POD_NAME", "other"),
    ]);
    let settings = Settings::load(Layers::default(), None, environment, &[]).unwrap();
    assert_eq!(settings.node_name.set().as_deref(), Some("node-1"));
    assert_eq!(settings.pod_name.set().as_deref(), Some("other"));
    assert_eq!(settings.zone, Auto::Auto);
}

#[test]
fn names_are_kebab_case_and_told_once() {
    let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert!(names.iter().all(|name| {
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }));
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn addresses_are_published_from_one_source() {
    let one = flags(&[("publish-address", &["192.0.2.1", "lb.example.com"])]);
    assert_eq!(Settings::resolve(&one).unwrap().publish_address.len(), 2);
    let two = flags(&[("publish-address", &["192.0.2.1"]), ("publish-service", &["a/b"])]);
    let errors = Settings::resolve(&two).unwrap_err();
    assert_eq!(errors[0].to_string(), "--publish-address: not together with --publish-service");
    let wrong = flags(&[("publish-address", &["192.0.2.1:80"])]);
    assert!(Settings::resolve(&wrong).is_err());
}

#[test]
fn a_namespace_that_cannot_be_is_refused_and_not_waited_for() {
    let right = flags(&[("watch-namespace", &["shop", "shop-2"])]);
    assert_eq!(Settings::resolve(&right).unwrap().watch_namespace.len(), 2);
    for wrong in ["a/b", "Shop", "..", "a,b"] {
        let errors = Settings::resolve(&flags(&[("watch-namespace", &[wrong])])).unwrap_err();
        let why = format!("--watch-namespace: `{wrong}` is no name of a namespace");
        assert_eq!(errors[0].to_string(), why);
    }
}
