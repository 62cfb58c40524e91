//! The page of metrics as a scraper reads it: by a strict parser of the text format.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use telemetry::metrics::{FAMILIES, Kind};
use telemetry::{BuildKind, CertificateExpiry, Counter, Gauge, Telemetry, TelemetrySettings};

type Labels = Vec<(String, String)>;

/// A page, parsed: samples by name and labels.
struct Page {
    samples: BTreeMap<(String, Labels), f64>,
    families: Vec<(String, String)>,
}

impl Page {
    /// Parses a page and panics at anything that the text format does not allow.
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end");
        let mut page = Self { samples: BTreeMap::new(), families: Vec::new() };
        let mut helped = String::new();
        for line in text.lines() {
            assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                help.split_once(' ').expect("a name and a text").0.clone_into(&mut helped);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a kind");
                assert_eq!(name, helped, "TYPE follows HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
                assert!(page.families.iter().all(|(one, _)| one != name), "{name} twice");
                page.families.push((name.into(), kind.into()));
            } else {
                page.sample(line);
            }
        }
        page
    }

    fn sample(&mut self, line: &str) {
        let name_end = line.find(['{', ' ']).expect("a name");
        let (name, rest) = line.split_at(name_end);
        let (family, kind) = self.families.last().expect("a family before its samples");
        let suffix = name.strip_prefix(family.as_str()).expect("samples stand with their family");
        if kind == "histogram" {
            assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}");
        } else {
            assert_eq!(suffix, "", "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        }
        let (labels, rest) = labels(rest);
        let value = rest.strip_prefix(' ').expect("one space before the value");
        let value: f64 = value.parse().expect("a number and nothing after it");
        let before = self.samples.insert((name.to_owned(), labels), value);
        assert!(before.is_none(), "{line} stands twice");
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }
}

/// `{name="value",…}` with the three escapes of the format, and what follows.
fn labels(text: &str) -> (Labels, &str) {
    let mut labels = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return (labels, text) };
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label name and a quote");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name:?}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("the quotation ends") {
                (end, '"') => break end,
                (_, '\\') => match chars.next().expect("an escape").1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    other => panic!("unknown escape {other:?}"),
                },
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after);
        }
        rest = rest.strip_prefix(',').expect("a comma between labels");
    }
}

fn telemetry(workers: usize) -> Arc<Telemetry> {
    Telemetry::new(TelemetrySettings { version: "1.2.3", ..TelemetrySettings::new(workers) })
}

fn page(telemetry: &Telemetry) -> Page {
    Page::parse(&telemetry.render_prometheus())
}

#[test]
fn the_page_has_every_family_of_the_table_once_even_when_nothing_happened() {
    let page = page(&telemetry(2));
    let mut told: Vec<_> = page.families.iter().map(|(name, _)| name.as_str()).collect();
    let mut promised: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
    told.sort_unstable();
    promised.sort_unstable();
    assert_eq!(told, promised);
    for family in FAMILIES {
        assert!(page.families.contains(&(family.name.into(), family.kind.word().into())));
        let is_total = family.name.ends_with("_total");
        assert_eq!(is_total, family.kind == Kind::Counter, "{}", family.name);
    }
}

#[test]
fn requests_of_all_workers_are_summed_by_ingress_and_class() {
    let telemetry = telemetry(2);
    let cart = telemetry.route("shop", "cart");
    let workers = [telemetry.worker(0), telemetry.worker(1)];
    workers[0].request(&cart, 200, 400, 100, 1_000);
    workers[1].request(&cart, 204, 3_000_000, 50, 10);
    workers[1].request(&cart, 503, 900, 1, 2);
    workers[0].request(&telemetry.unrouted(), 404, 10, 5, 6);
    workers[0].request(&telemetry.unrouted(), 0, 10, 5, 0);
    workers[0].request(&telemetry.unrouted(), 999, 10, 5, 0);
    let page = page(&telemetry);
    let cart = [("ingress_namespace", "shop"), ("ingress", "cart")];
    let with = |name: &str, labels: &[(&str, &str)], more: (&str, &str)| {
        page.value(name, &[labels, &[more]].concat())
    };
    let requests = "portcullis_requests_total";
    assert_eq!(with(requests, &cart, ("status_class", "2xx")), Some(2.0));
    assert_eq!(with(requests, &cart, ("status_class", "5xx")), Some(1.0));
    assert_eq!(with(requests, &cart, ("status_class", "4xx")), None);
    let nobody = [("ingress_namespace", ""), ("ingress", "")];
    assert_eq!(with(requests, &nobody, ("status_class", "4xx")), Some(1.0));
    assert_eq!(with(requests, &nobody, ("status_class", "none")), Some(2.0));
    assert_eq!(page.value("portcullis_request_bytes_total", &cart), Some(151.0));
    assert_eq!(page.value("portcullis_response_bytes_total", &cart), Some(1_012.0));
    let buckets = "portcullis_request_duration_seconds_bucket";
    assert_eq!(with(buckets, &cart, ("le", "0.0005")), Some(1.0));
    assert_eq!(with(buckets, &cart, ("le", "0.001")), Some(2.0));
    assert_eq!(with(buckets, &cart, ("le", "2.5")), Some(2.0));
    assert_eq!(with(buckets, &cart, ("le", "5")), Some(3.0));
    assert_eq!(with(buckets, &cart, ("le", "+Inf")), Some(3.0));
    assert_eq!(page.value("portcullis_request_duration_seconds_count", &cart), Some(3.0));
    assert_eq!(page.value("portcullis_request_duration_seconds_sum", &cart), Some(3.0013));
    let worker = |index| page.value("portcullis_worker_requests_total", &[("worker", index)]);
    assert_eq!((worker("0"), worker("1")), (Some(4.0), Some(2.0)));
}

#[test]
fn what_one_worker_opened_another_may_close() {
    let telemetry = telemetry(2);
    let workers = [telemetry.worker(0), telemetry.worker(1)];
    workers[0].connection_opened(true);
    workers[0].connection_opened(true);
    workers[1].connection_closed(true);
    workers[1].raise(Gauge::UpgradesOpen);
    workers[0].set(Gauge::UpstreamConnectionsIdle, 7);
    workers[0].add(Counter::TlsHandshakesFailed, 3);
    workers[0].count(Counter::TlsHandshakesFailed);
    let page = page(&telemetry);
    let https = [("listener", "https")];
    assert_eq!(page.value("portcullis_connections_total", &https), Some(2.0));
    assert_eq!(page.value("portcullis_connections_open", &https), Some(1.0));
    assert_eq!(page.value("portcullis_upgrades_open", &[]), Some(1.0));
    assert_eq!(page.value("portcullis_upstream_connections_idle", &[]), Some(7.0));
    assert_eq!(page.value("portcullis_tls_handshakes_total", &[("result", "failed")]), Some(4.0));
}

#[test]
fn names_from_objects_cannot_break_the_page() {
    let telemetry = telemetry(1);
    let evil = "a\"} 1\nportcullis_requests_total 9\\\u{1b}[31m\r";
    let route = telemetry.route(evil, evil);
    let worker = telemetry.worker(0);
    worker.request(&route, 200, 1, 1, 1);
    worker.response_reason(evil);
    telemetry.certificates(vec![CertificateExpiry {
        not_after: 5,
        namespace: evil.into(),
        secret: evil.into(),
    }]);
    let page = page(&telemetry);
    let told = "a\"} 1\nportcullis_requests_total 9\\\u{fffd}[31m\u{fffd}";
    let reason = "portcullis_responses_by_reason_total";
    assert_eq!(page.value(reason, &[("reason", told)]), Some(1.0));
    let certificate = [("secret_namespace", told), ("secret", told)];
    let expiry = "portcullis_certificate_expiry_timestamp_seconds";
    assert_eq!(page.value(expiry, &certificate), Some(5.0));
}

#[test]
fn an_ingress_and_a_reason_named_other_join_the_shared_ones() {
    let telemetry =
        Telemetry::new(TelemetrySettings { route_label_sets_max: 1, ..TelemetrySettings::new(1) });
    let _cart = telemetry.route("shop", "cart");
    let worker = telemetry.worker(0);
    worker.request(&telemetry.route("shop", "beyond"), 200, 1, 1, 1);
    worker.request(&telemetry.route("other", "other"), 200, 1, 1, 1);
    worker.response_reason("other");
    let page = page(&telemetry);
    let other = [("ingress_namespace", "other"), ("ingress", "other"), ("status_class", "2xx")];
    assert_eq!(page.value("portcullis_requests_total", &other), Some(2.0));
    let reason = [("reason", "other")];
    assert_eq!(page.value("portcullis_responses_by_reason_total", &reason), Some(1.0));
}

#[test]
fn builds_diagnostics_and_certificates_are_told_as_they_are_now() {
    let telemetry = telemetry(1);
    telemetry.build_served(BuildKind::Full, "00000000000000aa", Duration::from_millis(3));
    telemetry.build_served(BuildKind::Endpoints, "00000000000000bb", Duration::from_micros(80));
    telemetry.build_failed(BuildKind::Full);
    telemetry.snapshots_live(2);
    telemetry.stale_files(1);
    let missing = ("service-not-found", "error");
    telemetry.diagnostics([missing, ("no-endpoints", "warning")].into_iter());
    telemetry.diagnostics([missing, missing].into_iter());
    let page = page(&telemetry);
    assert_eq!(
        page.value("portcullis_generation_info", &[("generation", "00000000000000bb")]),
        Some(1.0)
    );
    assert_eq!(
        page.value("portcullis_generation_info", &[("generation", "00000000000000aa")]),
        None
    );
    let builds = |kind, result| {
        page.value("portcullis_config_builds_total", &[("kind", kind), ("result", result)])
    };
    assert_eq!(builds("full", "ok"), Some(1.0));
    assert_eq!(builds("endpoints", "ok"), Some(1.0));
    assert_eq!(builds("full", "failed"), Some(1.0));
    assert_eq!(page.value("portcullis_config_last_build_successful", &[]), Some(0.0));
    assert!(page.value("portcullis_config_last_success_timestamp_seconds", &[]) > Some(1.6e9));
    assert_eq!(page.value("portcullis_config_build_duration_seconds_count", &[]), Some(2.0));
    assert_eq!(page.value("portcullis_snapshots_live", &[]), Some(2.0));
    assert_eq!(page.value("portcullis_config_stale_files", &[]), Some(1.0));
    let diagnostics = |code, severity| {
        page.value("portcullis_diagnostics", &[("code", code), ("severity", severity)])
    };
    assert_eq!(diagnostics("service-not-found", "error"), Some(2.0));
    assert_eq!(diagnostics("no-endpoints", "warning"), None);
}

#[test]
fn the_process_is_told_with_plausible_numbers() {
    let page = page(&telemetry(1));
    assert!(page.value("process_resident_memory_bytes", &[]) > Some(100_000.0));
    assert!(page.value("process_virtual_memory_bytes", &[]) > Some(100_000.0));
    assert!(page.value("process_open_fds", &[]) >= Some(3.0));
    assert!(page.value("process_max_fds", &[]) >= page.value("process_open_fds", &[]));
    assert!(page.value("process_cpu_seconds_total", &[]) >= Some(0.0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - page.value("process_start_time_seconds", &[]).unwrap();
    assert!((-5.0..3_600.0).contains(&age), "started {age} s ago");
    assert_eq!(page.value("portcullis_build_info", &[("version", "1.2.3")]), Some(1.0));
}

#[test]
fn counting_while_scraping_loses_nothing() {
    let telemetry = telemetry(4);
    let route = telemetry.route("shop", "cart");
    std::thread::scope(|scope| {
        for index in 0..4 {
            let (telemetry, route) = (&telemetry, &route);
            scope.spawn(move || {
                let worker = telemetry.worker(index);
                for _ in 0..10_000 {
                    worker.request(route, 200, 1, 1, 1);
                }
            });
        }
        for _ in 0..20 {
            Page::parse(&telemetry.render_prometheus());
        }
    });
    let labels = [("ingress_namespace", "shop"), ("ingress", "cart"), ("status_class", "2xx")];
    assert_eq!(page(&telemetry).value("portcullis_requests_total", &labels), Some(40_000.0));
}

#[test]
fn the_reference_table_has_a_row_for_every_metric() {
    let table = telemetry::metrics::reference();
    assert_eq!(table.lines().count(), FAMILIES.len() + 2);
    assert!(table.contains(
        "| `portcullis_requests_total` | counter | `ingress_namespace`, `ingress`, `status_class` |"
    ));
}
