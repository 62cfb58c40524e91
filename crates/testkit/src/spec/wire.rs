//! A scene over the wire: the real program, real sockets, real endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::page::{Explain, Scene};
use super::request::{Item, Request, Served};
use super::world::World;
use crate::client::http2::Http2;
use crate::client::raw::RawClient;
use crate::{Echo, Gateway, GatewayOptions, block_on, gateway, tls};

/// How often a request is sent until each of several endpoints must have answered.
const ATTEMPTS: usize = 60;

/// Runs a scene; everything that is not as expected.
///
/// # Panics
/// When the program does not start.
pub fn run(scene: &Scene) -> Vec<String> {
    let mut echoes = Vec::new();
    let world = World::prepare(scene, |name| {
        let echo = Echo::start(name);
        let address = echo.address();
        echoes.push(echo);
        address
    });
    let world = match world {
        Ok(world) => world,
        Err(why) => return vec![why],
    };
    let mut options = GatewayOptions::new().file("scene.yaml", &world.manifests);
    options = options.flags("--public-http-port 80 --public-https-port 443 --workers 1");
    options = options.flags(&world.flags.join(" "));
    let gateway = options.start();
    let mut failures = Vec::new();
    for request in &scene.requests {
        let told = check(&gateway, &world, request);
        failures.extend(
            told.into_iter().map(|why| format!("{}: {}: {why}", request.line, request.describe())),
        );
    }
    for explain in &scene.explains {
        failures.extend(ask(&gateway, &world, explain));
    }
    if !failures.is_empty() {
        failures.push(format!("the gateway said:\n{}", gateway.log()));
    }
    failures
}

/// What came back for one request.
struct Answered {
    status: u16,
    fields: Vec<(String, String)>,
    text: String,
    json: Option<Value>,
    certificate: Option<Vec<u8>>,
}

impl Answered {
    fn field(&self, name: &str) -> Option<&str> {
        let same = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.fields.iter().find(same).map(|(_, value)| value.as_str())
    }

    /// The name of the endpoint that answered.
    fn served(&self) -> Option<&str> {
        self.json.as_ref()?["name"].as_str()
    }

    /// What the endpoint saw under this key.
    fn saw(&self, key: &str) -> Option<String> {
        match &self.json.as_ref()?[key] {
            Value::String(text) => Some(text.clone()),
            Value::Bool(claim) => Some(claim.to_string()),
            _ => None,
        }
    }

    /// The value of a field that the endpoint saw.
    fn saw_field(&self, name: &str) -> Option<String> {
        let fields = self.json.as_ref()?["headers"].as_array()?;
        let field = fields.iter().find(|field| {
            field[0].as_str().is_some_and(|other| other.eq_ignore_ascii_case(name))
        })?;
        field[1].as_str().map(ToOwned::to_owned)
    }
}

fn check(gateway: &Gateway, world: &World, request: &Request) -> Vec<String> {
    let answered = match send(gateway, request) {
        Ok(answered) => answered,
        Err(why) => return vec![why],
    };
    let mut failures = Vec::new();
    let expected = &request.expectation;
    if answered.status != expected.status {
        let text = answered.text.trim();
        failures.push(format!("{} instead of {}: {text}", answered.status, expected.status));
    }
    match &expected.served {
        Served::Unsaid if answered.served().is_some() && expected.status >= 300 => {
            failures.push(format!("{:?} served it", answered.served()));
        }
        Served::Unsaid => {}
        Served::OneOf(names) => {
            if !answered.served().is_some_and(|name| names.iter().any(|n| n == name)) {
                failures.push(format!("{:?} served it instead of {names:?}", answered.served()));
            }
        }
        Served::All(names) => failures.extend(all_serve(gateway, request, names)),
    }
    for item in &expected.items {
        failures.extend(claim(&answered, world, item));
    }
    failures
}

/// Whether exactly these endpoints answer, if asked often enough.
fn all_serve(gateway: &Gateway, request: &Request, names: &[String]) -> Option<String> {
    let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    for _ in 0..ATTEMPTS {
        let served = send(gateway, request).ok()?.served()?.to_owned();
        if !wanted.contains(served.as_str()) {
            return Some(format!("{served} served it, too; expected are {wanted:?}"));
        }
        seen.insert(served);
    }
    (seen.len() < wanted.len()).then(|| format!("only {seen:?} served it of {wanted:?}"))
}

/// What is wrong with one claim.
fn claim(answered: &Answered, world: &World, item: &Item) -> Option<String> {
    let differs = |what: &str, found: Option<String>, wanted: &str| {
        (found.as_deref() != Some(wanted))
            .then(|| format!("{what} is {found:?} instead of {wanted:?}"))
    };
    match item {
        Item::Field(name, value) => {
            differs(name, answered.field(name).map(ToOwned::to_owned), value)
        }
        Item::HasField(name) => {
            answered.field(name).is_none().then(|| format!("{name} is not there"))
        }
        Item::NoField(name) => {
            answered.field(name).map(|value| format!("{name} is there: {value:?}"))
        }
        Item::Seen(name, value) => {
            differs(&format!("seen {name}"), answered.saw_field(name), value)
        }
        Item::NotSeen(name) => {
            answered.saw_field(name).map(|value| format!("{name} was seen: {value:?}"))
        }
        Item::Path(path) => differs("the path seen", answered.saw("path"), path),
        Item::Query(query) => differs("the query seen", answered.saw("query"), query),
        Item::Host(host) => differs("the host seen", answered.saw("host"), host),
        Item::Protocol(name) => differs("the protocol", answered.saw("protocol"), name),
        Item::Tls(is_tls) => differs("TLS", answered.saw("tls"), &is_tls.to_string()),
        Item::Sni(name) => {
            let asked = answered.saw("serverName").unwrap_or_else(|| "none".to_owned());
            differs("the name in the handshake", Some(asked), name)
        }
        Item::Says(text) => (!answered.text.contains(text.as_str()))
            .then(|| format!("the body is {:?}, without {text:?}", answered.text)),
        Item::Reason(reason) => differs("the reason", answered.saw("reason"), reason),
        Item::Certificate(name) => {
            differs("the certificate", certificate_name(answered, world), name)
        }
    }
}

/// Which of the page's certificates was shown.
fn certificate_name(answered: &Answered, world: &World) -> Option<String> {
    let shown = answered.certificate.as_ref()?;
    let ours = world
        .certificates
        .iter()
        .find(|(_, leaf)| leaf.chain().first().is_some_and(|der| der.as_ref() == shown.as_slice()));
    Some(ours.map_or("default", |(name, _)| name).to_owned())
}

fn send(gateway: &Gateway, request: &Request) -> Result<Answered, String> {
    if request.version == "HTTP/2" {
        send_http2(gateway, request)
    } else {
        send_http1(gateway, request)
    }
}

fn server_name(request: &Request) -> &str {
    let host = request.server_name.as_deref().unwrap_or_else(|| request.host());
    // An address is sent as no name at all.
    if host.is_empty() { "127.0.0.1" } else { host.trim_matches(['[', ']']) }
}

fn send_http1(gateway: &Gateway, request: &Request) -> Result<Answered, String> {
    let mut client = if request.is_tls {
        let config = tls::trusting_client(&["http/1.1"]);
        RawClient::connect_tls(gateway.https(), server_name(request), &config)
            .map_err(|error| error.to_string())?
    } else {
        gateway.connect()
    };
    let certificate = request.is_tls.then(|| client.certificate().to_vec());
    client.try_send(request.bytes()).map_err(|error| error.to_string())?;
    let message = client.try_read_response(&request.method).map_err(|error| error.to_string())?;
    Ok(Answered {
        status: message.status(),
        json: serde_json::from_slice(&message.body).ok(),
        text: message.text(),
        fields: message.fields,
        certificate,
    })
}

fn send_http2(gateway: &Gateway, request: &Request) -> Result<Answered, String> {
    let authority = request.authority.as_deref().unwrap_or_default();
    let scheme = if request.is_tls { "https" } else { "http" };
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(format!("{scheme}://{authority}{}", request.target));
    if !request.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
        builder = builder.header("accept", "application/json");
    }
    for (name, value) in &request.fields {
        builder = builder.header(name, value);
    }
    let head = builder.body(()).map_err(|error| error.to_string())?;
    let answer = block_on(async {
        let client = if request.is_tls {
            let config = tls::trusting_client(&["h2"]);
            Http2::connect_tls(gateway.https(), server_name(request), &config).await
        } else {
            Http2::connect(gateway.http()).await
        };
        client.send(head, request.body.as_bytes()).await
    });
    let answer = answer.map_err(|error| error.to_string())?;
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields: BTreeMap<_, _> =
        answer.fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok(Answered {
        status: answer.status,
        json: serde_json::from_slice(&answer.body).ok(),
        text: answer.text(),
        fields: fields.into_iter().collect(),
        certificate: None,
    })
}

/// Asks `portcullis explain` about the same manifests; the parts must come in their order.
fn ask(gateway: &Gateway, world: &World, explain: &Explain) -> Option<String> {
    let mut command = Command::new(gateway::program());
    command.args(["explain", "--manifests"]).arg(gateway.directory());
    command.args(&world.flags).args(&explain.arguments).env("NO_COLOR", "1");
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Some(format!("{}: {error}", explain.line)),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rest = text.as_str();
    for part in &explain.parts {
        let Some((_, behind)) = rest.split_once(part.as_str()) else {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let line = explain.line;
            return Some(format!("{line}: explain does not say `{part}`:\n{text}{errors}"));
        };
        rest = behind;
    }
    None
}
