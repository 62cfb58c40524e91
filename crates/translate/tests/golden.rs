//! Golden tests: manifests, and what becomes of them, in one file each.
//!
//! A file under `tests/golden` is YAML that any reader of manifests takes. Its first line may hold
//! settings, and the block of comments at its end is what translation is expected to give:
//! `UPDATE_GOLDEN=1 cargo test -p translate --test golden` writes it anew, to be looked at before
//! it is committed.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use model::{Action, Endpoint, Model, PathForm, RedirectTarget, Route, Severity, VirtualHost};
use translate::manifests::{self, FileDiagnostic, Merged, Parsed};
use translate::{Memo, ObjectEvent, ObjectStore, Settings, Translation, translate};

const EXPECTED: &str = "# EXPECTED\n";

#[test]
fn manifests_become_what_their_files_say() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let files = golden_files();
    assert!(files.len() > 20, "the golden files are gone");
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a golden file can be read");
        let (manifests, expected) = text.split_once(EXPECTED).unwrap_or((&text, ""));
        let actual = describe(&path, manifests);
        if actual == expected {
            continue;
        }
        if update {
            fs::write(&path, format!("{manifests}{EXPECTED}{actual}")).expect("it can be written");
        }
        wrong.push(format!("{}\n{}", path.display(), difference(expected, &actual)));
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n"));
}

fn golden_files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = fs::read_dir(directory)
        .expect("the directory of golden files is there")
        .map(|entry| entry.expect("an entry can be read").path())
        .collect();
    files.sort();
    files
}

fn difference(expected: &str, actual: &str) -> String {
    let (expected, actual): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), actual.lines().collect());
    let gone =
        expected.iter().filter(|line| !actual.contains(line)).map(|line| format!("- {line}"));
    let new = actual.iter().filter(|line| !expected.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect::<Vec<_>>().join("\n")
}

/// What becomes of manifests, one commented line for each fact.
fn describe(path: &Path, text: &str) -> String {
    let file = path.file_name().expect("a file has a name").to_string_lossy();
    let parsed = manifests::parse(&file, text);
    let merged = manifests::merge([&parsed]);
    let mut store = ObjectStore::new();
    for object in &merged.objects {
        store.apply(ObjectEvent::Applied(object.object.clone()));
    }
    let translation = translate(&store, &settings(text), &mut Memo::new());
    let mut out = String::new();
    write_all(&mut out, &parsed, &merged, &translation).expect("a String takes every write");
    out.lines().fold(String::new(), |all, line| all + format!("# {line}").trim_end() + "\n")
}

fn settings(text: &str) -> Settings {
    let mut settings = Settings::standalone();
    let Some(words) = text.lines().next().and_then(|line| line.strip_prefix("# settings:")) else {
        return settings;
    };
    for word in words.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("cluster", _) => settings.standalone = false,
            ("listener", value) => {
                settings.other_listeners.push(value.parse().expect("a setting is well written"));
            }
            ("local-address", value) => {
                settings.local_addresses.insert(value.parse().expect("a setting is well written"));
            }
            ("endpoint-addresses", value) => {
                let addresses = value.parse().expect("a setting is well written");
                settings.endpoint_addresses = Some(addresses);
            }
            ("dialect", value) => {
                settings.dialect = Some(value.parse().expect("a setting is well written"));
            }
            ("external-name", value) => {
                settings.external_name = Some(value.parse().expect("a setting is well written"));
            }
            ("endpoint", value) => {
                settings.endpoint_overrides.push(value.parse().expect("a setting is well written"));
            }
            ("class", value) => settings.ingress_classes.push(value.to_owned()),
            ("watch-without-class", _) => settings.watch_without_class = true,
            ("host-ownership", value) => {
                settings.host_ownership = value.parse().expect("a setting is well written");
            }
            ("host-owner", value) => {
                settings.host_owners.push(value.parse().expect("a setting is well written"));
            }
            ("node", value) => settings.node_name = Some(value.to_owned()),
            ("zone", value) => settings.zone = Some(value.to_owned()),
            ("now", value) => {
                settings.now = Some(value.parse().expect("a setting is well written"));
            }
            ("default-backend", value) => {
                settings.default_backend = Some(value.parse().expect("a setting is well written"));
            }
            ("default-certificate", value) => {
                let (namespace, name) = value.split_once('/').expect("a Secret has a namespace");
                settings.default_certificate = Some((namespace.to_owned(), name.to_owned()));
            }
            other => panic!("unknown setting {other:?}"),
        }
    }
    settings
}

fn write_all(
    out: &mut String,
    parsed: &Parsed,
    merged: &Merged<'_>,
    translation: &Translation,
) -> std::fmt::Result {
    let model = &translation.model;
    assert_counts(translation);
    if !parsed.is_readable {
        writeln!(out, "unreadable: the last good objects of this file keep serving")?;
    }
    writeln!(out, "hosts")?;
    for host in model.hosts.values() {
        write_host(out, host)?;
    }
    writeln!(out, "upstreams")?;
    for (id, upstream) in &model.upstreams {
        write!(out, "  {id}")?;
        if let Some(tls) = &upstream.tls {
            write!(out, " sni={}", tls.server_name.as_deref().unwrap_or("-"))?;
        }
        if let Some(affinity) = &upstream.affinity {
            write!(out, " affinity={affinity:?}")?;
        }
        if let Some(name) = &upstream.external_name {
            write!(out, " dns={}:{}", name.name, name.port)?;
            let flags = [(name.search, "search"), (name.any_address, "any-address")];
            flags
                .iter()
                .filter(|(set, _)| *set)
                .try_for_each(|(_, flag)| write!(out, " {flag}"))?;
        }
        let endpoints = &translation.endpoints[id];
        writeln!(out, ":{}", endpoints.iter().map(endpoint).collect::<String>())?;
    }
    write_certificates(out, model)?;
    writeln!(out, "diagnostics")?;
    write_diagnostics(out, parsed, merged, translation)
}

/// What is said of each Ingress is what stands in the Model.
fn assert_counts(translation: &Translation) {
    let hosts = || translation.model.hosts.values();
    let mut routes = 0;
    for ours in &*translation.ingresses {
        let is_its = |route: &&Route| {
            let object = &route.provenance.object;
            (&*object.kind, &object.namespace, &object.name)
                == ("Ingress", &ours.namespace, &ours.name)
        };
        let of_host = |host: &VirtualHost| host.routes.iter().filter(is_its).count();
        let own: usize = hosts().map(|host| of_host(host)).sum();
        assert_eq!(ours.routes as usize, own);
        assert_eq!(ours.hosts as usize, hosts().filter(|host| of_host(host) > 0).count());
        assert_eq!(ours.is_programmed(), own > 0);
        assert_eq!(translation.ingress(&ours.namespace, &ours.name), Some(ours));
        routes += own;
    }
    assert!(translation.ingresses.is_sorted_by_key(|ours| (&ours.namespace, &ours.name)));
    let kinds = |route: &&Route| &*route.provenance.object.kind == "Ingress";
    assert_eq!(routes, hosts().flat_map(|host| &host.routes).filter(kinds).count());
    assert_eq!(translation.ingress("default", "no-such-ingress"), None);
}

fn endpoint(endpoint: &Endpoint) -> String {
    let terminating = if endpoint.terminating { " (terminating)" } else { "" };
    let zone = endpoint.zone.as_ref().map(|zone| format!(" (in {zone})")).unwrap_or_default();
    format!(" {}{terminating}{zone}", endpoint.address)
}

fn write_host(out: &mut String, host: &VirtualHost) -> std::fmt::Result {
    write!(out, "  {} of {}", host.hostname, host.provenance.object)?;
    let decoded = host.path_form == PathForm::Decoded;
    let flags = [
        (decoded, "decoded"),
        (host.miss == model::Miss::Hide, "hides"),
        (!host.answer_body.is_text(), "page"),
        (host.ordered, "ordered"),
    ];
    flags.iter().filter(|(set, _)| *set).try_for_each(|(_, flag)| write!(out, ", {flag}"))?;
    writeln!(out)?;
    host.routes.iter().try_for_each(|route| write_route(out, route))
}

fn write_route(out: &mut String, route: &Route) -> std::fmt::Result {
    write!(out, "    {} -> ", route.path)?;
    match &route.action {
        Action::Forward(split) => {
            let backends: Vec<String> =
                split.backends.iter().map(|b| b.upstream.to_string()).collect();
            write!(out, "{}", backends.join(" "))?;
        }
        Action::Redirect(redirect) => match &redirect.target {
            RedirectTarget::Path(path) => write!(out, "{} {path}", redirect.status)?,
            RedirectTarget::Url(url) => write!(out, "{} {url}", redirect.status)?,
        },
        Action::Respond(response) => write!(out, "{} {}", response.status, response.reason)?,
    }
    let policy = &route.policy;
    if let Some(closed) = &policy.closed {
        write!(out, ", closed by {} {}", closed.code, closed.field)?;
    }
    if let Some(rewrite) = &policy.rewrite {
        write!(out, ", rewrite {}", rewrite.target)?;
    }
    if let Some(redirect) = &policy.https_redirect {
        let bare = if redirect.strip_bare_slash { " without bare slash" } else { "" };
        write!(out, ", https {}{bare}", redirect.status)?;
    }
    if let Some(limit) = &policy.body_limit {
        write!(out, ", body {}", limit.bytes_max)?;
    }
    let flags = [
        (policy.drop_underscore_fields, "no-underscores"),
        (policy.scheme_fields, "scheme-fields"),
        (policy.remove_server_field, "no-server"),
    ];
    flags.iter().filter(|(set, _)| *set).try_for_each(|(_, flag)| write!(out, ", {flag}"))?;
    writeln!(out, "  <- {}", route.provenance)
}

fn write_certificates(out: &mut String, model: &Model) -> std::fmt::Result {
    let named = |id| {
        let certificate = &model.certificates[id];
        format!("{} for {}", certificate.provenance.object, certificate.names.join(" "))
    };
    if !model.sni.is_empty() {
        writeln!(out, "certificates")?;
    }
    for (host, id) in &model.sni {
        writeln!(out, "  {host} -> {}", named(id))?;
    }
    if let Some(id) = &model.default_certificate {
        writeln!(out, "default certificate\n  {}", named(id))?;
    }
    Ok(())
}

fn write_diagnostics(
    out: &mut String,
    parsed: &Parsed,
    merged: &Merged<'_>,
    translation: &Translation,
) -> std::fmt::Result {
    let located = translation.report.diagnostics().iter().map(|diagnostic| {
        let place = merged.locate(&diagnostic.object, &diagnostic.field);
        (place.map(|(_, position)| position.to_string()), diagnostic.clone())
    });
    let from_files = parsed.diagnostics.iter().chain(&merged.duplicates);
    let from_files = from_files.map(|FileDiagnostic { position, diagnostic, .. }| {
        (Some(position.to_string()), diagnostic.clone())
    });
    for (place, diagnostic) in from_files.chain(located) {
        let place = place.unwrap_or_else(|| "-".to_owned());
        writeln!(out, "  {place} {diagnostic} ({})", diagnostic.effect)?;
        for related in &diagnostic.related {
            writeln!(out, "    {} {}: {}", related.object, related.field, related.message)?;
        }
        if let Some(help) = &diagnostic.help {
            writeln!(out, "    help: {help}")?;
        }
        assert_eq!(diagnostic.severity, diagnostic.code.info().severity);
        assert!(matches!(
            diagnostic.severity,
            Severity::Error | Severity::Warning | Severity::Info
        ));
    }
    Ok(())
}
