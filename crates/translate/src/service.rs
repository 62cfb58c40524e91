//! A backend of an Ingress to an upstream: Service, port, protocol. Its endpoints are found later.
//!
//! A Service is looked up in the Ingress's own namespace and nowhere else. What cannot be resolved
//! is a code and a sentence; the route keeps its place and answers 503.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use model::{
    Affinity, Code, Effect, ExternalName, LoadBalancing, ObjectRef, Provenance, Sealed, Upstream,
    UpstreamId, UpstreamProtocol, UpstreamTls,
};

use crate::address;
use crate::endpoints::{self, Endpoints, Source};
use crate::lookup::Lookup;
use crate::scope::Scope;
use crate::settings::{Dialect, ExternalNamePolicy, Settings};

/// The port as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WantedPort {
    Number(u16),
    Name(Arc<str>),
}

impl std::fmt::Display for WantedPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What an Ingress asks for.
pub(crate) struct Wanted<'w> {
    pub(crate) namespace: &'w Arc<str>,
    pub(crate) service: &'w Arc<str>,
    pub(crate) port: &'w WantedPort,
    pub(crate) dialect: Dialect,
    /// The protocol that an annotation names.
    pub(crate) protocol: Option<UpstreamProtocol>,
}

/// An upstream, and where its endpoints come from.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamPlan {
    pub(crate) upstream: Sealed<Upstream>,
    pub(crate) endpoints: Arc<Endpoints>,
}

/// Finds the upstream of a backend. Reports what is wrong at `scope`, the backend's service, and
/// gives the code for the route's 503.
pub(crate) fn resolve(
    wanted: &Wanted<'_>,
    lookup: &Lookup<'_>,
    settings: &Settings,
    scope: &Scope<'_>,
) -> Result<UpstreamPlan, Code> {
    let Some(service) = lookup.service(wanted.namespace, wanted.service) else {
        return without_service(wanted, settings, scope);
    };
    if let Some(taken) = service.taken_within("spec") {
        scope.at("name").report(
            Code::UnreadableObject,
            Effect::RouteResponds(503),
            format!(
                "`{}` of Service {}/{} cannot be read",
                taken.field, wanted.namespace, wanted.service
            ),
        );
        return Err(Code::UnreadableObject);
    }
    let service_ref = ObjectRef::new("Service", wanted.namespace.clone(), wanted.service.clone());
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let port = match find_port(ports, wanted, scope) {
        Found::Port(port) => Some(port),
        Found::Nothing if is_external && ports.is_empty() => None,
        Found::Nothing => {
            report_port_not_found(ports, wanted, scope);
            return Err(Code::PortNotFound);
        }
        Found::NotTcp(protocol) => {
            scope.at("port").report(
                Code::PortNotTcp,
                Effect::RouteResponds(503),
                format!(
                    "port {} of Service {}/{} is {protocol}",
                    wanted.port, wanted.namespace, wanted.service
                ),
            );
            return Err(Code::PortNotTcp);
        }
    };
    let protocol = protocol(wanted, port, &service_ref, scope);
    if is_external {
        return external(wanted, service, port, protocol, settings, scope);
    }
    // The match above has left no other case: only an ExternalName goes on without a port.
    let Some(port) = port else { return Err(Code::PortNotFound) };
    note_service_settings(service, scope);
    let Some(number) = port_number(port.port) else {
        report_port_not_found(ports, wanted, scope);
        return Err(Code::PortNotFound);
    };
    let source = Source::Slices {
        port_name: port.name.as_deref().unwrap_or_default().into(),
        target_port: match &port.target_port {
            Some(IntOrString::Int(number)) => port_number(*number),
            Some(IntOrString::String(_)) => None,
            None => Some(number),
        },
        mirrored: settings.standalone && spec.selector.as_ref().is_none_or(BTreeMap::is_empty),
        families: endpoints::families(spec.ip_families.as_deref().unwrap_or_default()),
    };
    let affinity =
        (spec.session_affinity.as_deref() == Some("ClientIP")).then_some(Affinity::ClientIp);
    let server_name = server_name(wanted, None);
    Ok(plan(
        wanted,
        number.to_string(),
        port.name.as_deref(),
        protocol,
        server_name,
        affinity,
        None,
        source,
        scope,
    ))
}

/// A Service that no manifest gives can still have endpoints by `--endpoint`.
fn without_service(
    wanted: &Wanted<'_>,
    settings: &Settings,
    scope: &Scope<'_>,
) -> Result<UpstreamPlan, Code> {
    let text = wanted.port.to_string();
    if settings.endpoint_overrides.iter().any(|o| {
        o.service.is_none() || endpoints::is_about(o, wanted.namespace, wanted.service, &text, None)
    }) {
        let protocol = wanted.protocol.unwrap_or_default();
        let server_name = server_name(wanted, None);
        return Ok(plan(
            wanted,
            text,
            None,
            protocol,
            server_name,
            None,
            None,
            Source::Overrides,
            scope,
        ));
    }
    let help = settings.standalone.then(|| {
        format!(
            "create the Service, mend the name, or start with --endpoint {}/{}=ADDRESS:PORT",
            wanted.namespace, wanted.service
        )
    });
    scope.at("name").report_with(
        Code::ServiceNotFound,
        Effect::RouteResponds(503),
        format!("Service {}/{} does not exist", wanted.namespace, wanted.service),
        help,
        Vec::new(),
    );
    Err(Code::ServiceNotFound)
}

enum Found<'p> {
    Port(&'p ServicePort),
    NotTcp(&'p str),
    Nothing,
}

fn find_port<'p>(ports: &'p [ServicePort], wanted: &Wanted<'_>, scope: &Scope<'_>) -> Found<'p> {
    let mut not_tcp = None;
    for port in ports {
        let by_itself = match wanted.port {
            WantedPort::Number(number) => port.port == i32::from(*number),
            WantedPort::Name(name) => port.name.as_deref() == Some(&**name),
        };
        // ingress-nginx also takes the targetPort, whichever hits first in the Service's order.
        let by_target = wanted.dialect == Dialect::Nginx && targets(port, wanted.port);
        if !by_itself && !by_target {
            continue;
        }
        match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => {
                if !by_itself {
                    scope.at("port").report(
                        Code::TargetPortMatched,
                        Effect::None,
                        format!(
                            "{} is the targetPort of port {} of Service {}/{}",
                            wanted.port, port.port, wanted.namespace, wanted.service
                        ),
                    );
                }
                return Found::Port(port);
            }
            protocol => not_tcp = Some(protocol),
        }
    }
    not_tcp.map_or(Found::Nothing, Found::NotTcp)
}

fn targets(port: &ServicePort, wanted: &WantedPort) -> bool {
    match (&port.target_port, wanted) {
        (Some(IntOrString::Int(target)), WantedPort::Number(number)) => {
            *target == i32::from(*number)
        }
        (Some(IntOrString::String(target)), WantedPort::Name(name)) => **target == **name,
        (Some(IntOrString::String(target)), WantedPort::Number(number)) => {
            *target == number.to_string()
        }
        (Some(IntOrString::Int(target)), WantedPort::Name(name)) => target.to_string() == **name,
        (None, _) => false,
    }
}

/// Ports of a Service that a message tells.
const PORTS_TOLD_MAX: usize = 10;

fn report_port_not_found(ports: &[ServicePort], wanted: &Wanted<'_>, scope: &Scope<'_>) {
    let service = format!("{}/{}", wanted.namespace, wanted.service);
    let known: Vec<String> = ports
        .iter()
        .take(PORTS_TOLD_MAX)
        .map(|port| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        })
        .collect();
    let more = match ports.len().saturating_sub(PORTS_TOLD_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let help = ports.iter().find(|port| targets(port, wanted.port)).map(|port| {
        format!("{} is the targetPort; name the Service's own port {}", wanted.port, port.port)
    });
    scope.at("port").report_with(
        Code::PortNotFound,
        Effect::RouteResponds(503),
        format!("Service {service} has no port {}; it has: {known}{more}", wanted.port),
        help,
        Vec::new(),
    );
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|&number| number != 0)
}

/// Annotation, then `appProtocol` (which ingress-nginx does not read), then HTTP/1.1.
fn protocol(
    wanted: &Wanted<'_>,
    port: Option<&ServicePort>,
    service: &ObjectRef,
    scope: &Scope<'_>,
) -> UpstreamProtocol {
    if let Some(protocol) = wanted.protocol {
        return protocol;
    }
    let app_protocol = port.and_then(|port| port.app_protocol.as_deref());
    let (Some(app_protocol), Dialect::Kubernetes) = (app_protocol, wanted.dialect) else {
        return UpstreamProtocol::Http;
    };
    match app_protocol.to_ascii_lowercase().as_str() {
        "http" | "ws" | "kubernetes.io/ws" => UpstreamProtocol::Http,
        "https" | "wss" | "kubernetes.io/wss" => UpstreamProtocol::Https,
        "kubernetes.io/h2c" | "h2c" => UpstreamProtocol::H2c,
        "grpc" => UpstreamProtocol::Grpc,
        "grpcs" => UpstreamProtocol::Grpcs,
        _ => {
            scope.at("port").report(
                Code::UnknownAppProtocol,
                Effect::None,
                format!("appProtocol `{app_protocol}` of {service} is not known"),
            );
            UpstreamProtocol::Http
        }
    }
}

/// The name that is sent as SNI; ingress-nginx sends none.
fn server_name(wanted: &Wanted<'_>, external: Option<&str>) -> Option<Box<str>> {
    match (wanted.dialect, external) {
        (Dialect::Nginx, _) => None,
        (Dialect::Kubernetes, Some(name)) => Some(name.into()),
        (Dialect::Kubernetes, None) => {
            Some(format!("{}.{}.svc", wanted.service, wanted.namespace).into())
        }
    }
}

fn note_service_settings(service: &Service, scope: &Scope<'_>) {
    let Some(spec) = &service.spec else { return };
    if spec.internal_traffic_policy.as_deref() == Some("Local") {
        scope.at("name").report(
            Code::InternalTrafficPolicy,
            Effect::None,
            "the Service's internalTrafficPolicy `Local` does not hold for a gateway",
        );
    }
    let client_ip = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    if let Some(seconds) = client_ip.and_then(|c| c.timeout_seconds)
        && spec.session_affinity.as_deref() == Some("ClientIP")
        && seconds != 10_800
    {
        scope.at("name").report(
            Code::AffinityTimeout,
            Effect::None,
            format!("the Service's affinity timeout of {seconds} s has no effect"),
        );
    }
}

fn external(
    wanted: &Wanted<'_>,
    service: &Service,
    port: Option<&ServicePort>,
    protocol: UpstreamProtocol,
    settings: &Settings,
    scope: &Scope<'_>,
) -> Result<UpstreamPlan, Code> {
    let number = match (port, wanted.port) {
        (Some(port), _) => match &port.target_port {
            Some(IntOrString::Int(target)) => port_number(*target),
            _ => port_number(port.port),
        },
        (None, WantedPort::Number(number)) => Some(*number),
        (None, WantedPort::Name(_)) => None,
    };
    let Some(number) = number else {
        report_port_not_found(&[], wanted, scope);
        return Err(Code::PortNotFound);
    };
    let text = port.and_then(|port| port_number(port.port)).unwrap_or(number).to_string();
    let port_name = port.and_then(|port| port.name.as_deref());
    let overridden = settings
        .endpoint_overrides
        .iter()
        .any(|o| endpoints::is_about(o, wanted.namespace, wanted.service, &text, port_name));
    let spelled = service.spec.as_ref().and_then(|s| s.external_name.as_deref()).unwrap_or("");
    let name = spelled.trim_end_matches('.').to_ascii_lowercase();
    let source = match destination(&name, number, wanted, settings) {
        _ if overridden => Source::Overrides,
        Ok(source) => source,
        Err((code, problem)) => {
            scope.at("name").report(
                code,
                Effect::RouteResponds(503),
                format!(
                    "Service {}/{} is an ExternalName for `{spelled}`, {problem}",
                    wanted.namespace, wanted.service
                ),
            );
            return Err(code);
        }
    };
    let external = matches!(source, Source::Dns).then(|| ExternalName {
        name: name.as_str().into(),
        port: number,
        search: wanted.dialect == Dialect::Nginx,
        any_address: policy(wanted.dialect, settings) == ExternalNamePolicy::Any,
    });
    let server_name = server_name(wanted, Some(&name));
    Ok(plan(wanted, text, port_name, protocol, server_name, None, external, source, scope))
}

fn policy(dialect: Dialect, settings: &Settings) -> ExternalNamePolicy {
    settings.external_name.unwrap_or(match dialect {
        Dialect::Nginx => ExternalNamePolicy::Public,
        Dialect::Kubernetes if settings.standalone => ExternalNamePolicy::Public,
        Dialect::Kubernetes => ExternalNamePolicy::Off,
    })
}

/// Where an external name may lead. Answers of DNS are checked again when they come.
fn destination(
    name: &str,
    port: u16,
    wanted: &Wanted<'_>,
    settings: &Settings,
) -> Result<Source, (Code, &'static str)> {
    let policy = policy(wanted.dialect, settings);
    if policy == ExternalNamePolicy::Off {
        return Err((Code::ExternalNameForbidden, "which is not allowed"));
    }
    let any = policy == ExternalNamePolicy::Any;
    if let Ok(address) = name.parse::<IpAddr>() {
        return match wanted.dialect {
            Dialect::Kubernetes => {
                Err((Code::InvalidExternalName, "which is an address and no name"))
            }
            Dialect::Nginx if any || address::of_ip(address).is_none() => {
                Ok(Source::Static(SocketAddr::new(address, port)))
            }
            Dialect::Nginx => Err((
                Code::ExternalNameForbidden,
                "which is loopback, link-local, of a cloud or meant for many",
            )),
        };
    }
    if !any && (name == "localhost" || name.ends_with(".localhost")) {
        return Err((Code::ExternalNameForbidden, "which is this machine"));
    }
    match model::Hostname::parse(name) {
        Ok(model::Hostname::Exact(_)) => Ok(Source::Dns),
        _ => Err((Code::InvalidExternalName, "which is no DNS name")),
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller per case, each with all of them")]
fn plan(
    wanted: &Wanted<'_>,
    port: String,
    port_name: Option<&str>,
    protocol: UpstreamProtocol,
    server_name: Option<Box<str>>,
    affinity: Option<Affinity>,
    external_name: Option<ExternalName>,
    source: Source,
    scope: &Scope<'_>,
) -> UpstreamPlan {
    let tls = protocol.is_tls().then_some(UpstreamTls { server_name, verify: false });
    if tls.is_some() {
        scope.report(
            Code::UnverifiedUpstreamTls,
            Effect::None,
            format!("the certificate of {}/{} is not verified", wanted.namespace, wanted.service),
        );
    }
    let mut id = format!("{}/{}:{port}", wanted.namespace, wanted.service);
    id.push_str(match protocol {
        UpstreamProtocol::Http => "",
        UpstreamProtocol::Https => "+https",
        UpstreamProtocol::H2c => "+h2c",
        UpstreamProtocol::Grpc => "+grpc",
        UpstreamProtocol::Grpcs => "+grpcs",
    });
    // The same Service read in both dialects is two upstreams where the two speak differently.
    if tls.as_ref().is_some_and(|tls| tls.server_name.is_none()) {
        id.push_str("+nosni");
    }
    if external_name.as_ref().is_some_and(|external| external.search) {
        id.push_str("+search");
    }
    let service = ObjectRef::new("Service", wanted.namespace.clone(), wanted.service.clone());
    UpstreamPlan {
        upstream: Sealed::new(Upstream {
            id: UpstreamId(id.into()),
            protocol,
            tls,
            balancing: LoadBalancing::default(),
            affinity,
            external_name,
            provenance: Provenance::new(service, ""),
        }),
        endpoints: Arc::new(Endpoints {
            namespace: wanted.namespace.clone(),
            service: wanted.service.clone(),
            port: port.into(),
            port_name: port_name.map(Into::into),
            source,
            asked_by: scope.provenance(),
        }),
    }
}
