//! `portcullis routes`: the effective routing table, in the order in which it is tried.

use std::process::ExitCode;

use clap::Args;
use model::{
    Action, EndpointTable, Hostname, ListenerProtocol, Model, Provenance, RedirectTarget, Route,
    UpstreamId,
};
use serde::Serialize;

use super::flags::ReadFlags;
use super::paint::{Paint, plain};
use super::reading::Reading;
use super::table::columns;
use super::{Failure, OutputFormat, print, to_json};

/// The schema of the JSON form.
const SCHEMA: &str = "portcullis.routes/v1";

/// Show the effective routing table of manifests, in the order in which it is tried.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RoutesArguments {
    /// Directories (read with all below), files, or `-` for standard input.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: OutputFormat,

    /// Only hosts that have this as a part.
    #[arg(long, value_name = "TEXT")]
    host: Option<String>,

    #[command(flatten)]
    flags: ReadFlags,
}

const EXAMPLES: &str = "\
Hosts are tried from the most specific to the least, and their paths from the first to the last.

Examples:
  portcullis routes ./manifests
  portcullis routes --host shop ./manifests
  portcullis routes --cluster --context staging
  portcullis routes --format json ./manifests | jq '.routes[] | select(.endpoints == [])'
  kubectl get ingress,service,endpointslice -A -o yaml | portcullis routes -";

impl RoutesArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let reading = Reading::of(&self.flags.settings(self.paths)?)?;
        let translation = &reading.translation;
        let mut rows = rows(&translation.model, &translation.endpoints);
        if let Some(part) = &self.host {
            rows.retain(|row| row.host.contains(part.as_str()));
        }
        for row in &mut rows {
            let Provenance { object, field } = &row.provenance;
            row.place = reading.place(object, field).map(|place| place.to_string());
        }
        let text = match self.format {
            OutputFormat::Text => text(&rows, Paint::stdout()),
            OutputFormat::Json => to_json(&Document {
                schema: SCHEMA,
                generation: reading.generation(),
                routes: rows,
            }),
        };
        reading.warn_of_errors();
        print(text.as_bytes())
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    generation: String,
    routes: Vec<Row>,
}

/// One route, everything looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    host: String,
    path: String,
    #[serde(rename = "match")]
    kind: String,
    /// Where it goes, in words.
    target: String,
    backends: Vec<BackendRow>,
    /// Addresses of all backends.
    endpoints: Vec<String>,
    /// What else happens on the way.
    policies: Vec<String>,
    /// The Secret of the certificate, `default`, or absent without an HTTPS listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<String>,
    provenance: Provenance,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct BackendRow {
    upstream: String,
    weight: u32,
}

/// All routes in the order in which they are tried.
pub(super) fn rows(model: &Model, endpoints: &EndpointTable) -> Vec<Row> {
    let mut rows = Vec::new();
    for (hostname, host) in &model.hosts {
        for route in &host.routes {
            rows.push(row(model, endpoints, hostname, route));
        }
    }
    rows
}

fn row(model: &Model, endpoints: &EndpointTable, hostname: &Hostname, route: &Route) -> Row {
    let backends: Vec<BackendRow> = match &route.action {
        Action::Forward(split) => split
            .backends
            .iter()
            .map(|b| BackendRow { upstream: b.upstream.to_string(), weight: b.weight })
            .collect(),
        Action::Redirect(_) | Action::Respond(_) => Vec::new(),
    };
    let addresses = match &route.action {
        Action::Forward(split) => {
            split.backends.iter().flat_map(|b| addresses(model, endpoints, &b.upstream)).collect()
        }
        Action::Redirect(_) | Action::Respond(_) => Vec::new(),
    };
    Row {
        host: hostname.to_string(),
        path: route.path.value.to_string(),
        kind: route.path.kind.to_string(),
        target: target(route),
        backends,
        endpoints: addresses,
        policies: policies(route),
        tls: certificate(model, hostname),
        provenance: route.provenance.clone(),
        place: None,
    }
}

/// Where a route's requests go, in words.
pub(super) fn target(route: &Route) -> String {
    if let Some(closed) = &route.policy.closed {
        return format!("503 {}", closed.code);
    }
    match &route.action {
        Action::Forward(split) => match split.backends.as_slice() {
            [backend] => backend.upstream.to_string(),
            backends => {
                let each = backends.iter().map(|b| format!("{}={}", b.upstream, b.weight));
                each.collect::<Vec<_>>().join(" ")
            }
        },
        Action::Redirect(redirect) => match &redirect.target {
            RedirectTarget::Path(to) | RedirectTarget::Url(to) => {
                format!("{} to {to}", redirect.status)
            }
        },
        Action::Respond(response) => format!("{} {}", response.status, response.reason),
    }
}

fn addresses(model: &Model, endpoints: &EndpointTable, upstream: &UpstreamId) -> Vec<String> {
    let external = model.upstreams.get(upstream).and_then(|u| u.external_name.as_ref());
    if let Some(external) = external {
        return vec![format!("{}:{}", external.name, external.port)];
    }
    let list = endpoints.get(upstream).map_or(&[][..], |list| list);
    list.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

fn policies(route: &Route) -> Vec<String> {
    let policy = &route.policy;
    let mut told = Vec::new();
    if let Some(redirect) = policy.https_redirect {
        told.push(format!("https-redirect {}", redirect.status));
    }
    if let Some(rewrite) = &policy.rewrite {
        told.push(format!("rewrite {}", rewrite.target));
    }
    if let Some(limit) = policy.body_limit {
        told.push(format!("body {} bytes", limit.bytes_max));
    }
    if let Some(connect) = policy.timeouts.connect_ms {
        told.push(format!("connect {connect}ms"));
    }
    if let Some(response) = policy.timeouts.response_ms {
        told.push(format!("response {response}ms"));
    }
    told
}

/// The certificate of a host: the Secret, or `default`.
fn certificate(model: &Model, hostname: &Hostname) -> Option<String> {
    model.listeners.iter().find(|listener| listener.protocol == ListenerProtocol::Https)?;
    let id = match hostname {
        Hostname::Exact(name) => model.sni.get(hostname).or_else(|| {
            let (_, suffix) = name.split_once('.')?;
            model.sni.get(&Hostname::Wildcard(suffix.into()))
        }),
        Hostname::Wildcard(_) | Hostname::Any => model.sni.get(hostname),
    };
    let certificate = id.or(model.default_certificate.as_ref());
    let secret = certificate.and_then(|id| model.certificates.get(id)).map(|certificate| {
        format!(
            "{}/{}",
            certificate.provenance.object.namespace, certificate.provenance.object.name
        )
    });
    Some(secret.unwrap_or_else(|| "default".to_owned()))
}

/// The table for people.
pub(super) fn text(rows: &[Row], paint: Paint) -> String {
    if rows.is_empty() {
        return "no routes\n".to_owned();
    }
    let headings = ["HOST", "PATH", "MATCH", "BACKEND", "ENDPOINTS", "TLS", "POLICY", "FROM"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let object = &row.provenance.object;
            let from = match &row.place {
                Some(place) => format!("{}/{} {place}", object.namespace, object.name),
                None => format!("{object} {}", row.provenance.field),
            };
            vec![
                row.host.clone(),
                row.path.clone(),
                row.kind.clone(),
                row.target.clone(),
                some_of(&row.endpoints),
                row.tls.clone().unwrap_or_else(|| "-".to_owned()),
                if row.policies.is_empty() { "-".to_owned() } else { row.policies.join(", ") },
                plain(&from),
            ]
        })
        .collect();
    columns(&headings, &cells, paint)
}

/// The first two, and how many more.
fn some_of(addresses: &[String]) -> String {
    match addresses {
        [] => "-".to_owned(),
        [one] => one.clone(),
        [one, two] => format!("{one} {two}"),
        [one, two, more @ ..] => format!("{one} {two} +{}", more.len()),
    }
}
