//! The endpoints of an upstream: slices, mirrored `Endpoints`, overrides; which of them are usable.
//!
//! Ready endpoints, or where there are none those that still serve while they terminate (as
//! kube-proxy does). An address stands once, whatever number of slices has it; a pod of both
//! families stands once, in the family that its Service prefers.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::{Code, Effect, Endpoint, Provenance};

use crate::address::{self, OwnListeners};
use crate::as_read::AsRead;
use crate::lookup::Lookup;
use crate::objects::LEADER_ANNOTATION;
use crate::scope::{Reports, Scope};
use crate::settings::{EndpointAddresses, EndpointOverride, ExternalNamePolicy, Settings};

/// As many addresses of a subset are mirrored as the mirroring controller would.
const MIRRORED_ADDRESSES_MAX: usize = 1000;

/// `Endpoints` with this label set to `true` are not mirrored.
const SKIP_MIRROR_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";

/// Where the endpoints of an upstream come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoints {
    pub(crate) namespace: Arc<str>,
    pub(crate) service: Arc<str>,
    /// The Service's port, as in the upstream's id.
    pub(crate) port: Box<str>,
    pub(crate) port_name: Option<Box<str>>,
    pub(crate) source: Source,
    /// The backend that asked first.
    pub(crate) asked_by: Provenance,
}

/// The kinds of origin.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// Slices of a Service.
    Slices {
        port_name: Box<str>,
        /// The port of a slice that says "all ports".
        target_port: Option<u16>,
        /// `Endpoints` of the Service's name count too.
        mirrored: bool,
        families: Option<Family>,
    },
    /// The proxy resolves a name.
    Dns,
    /// One address, from a Service that names it.
    Static(SocketAddr),
    /// Overrides alone.
    Overrides,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// The family that a Service prefers: the first of `spec.ipFamilies`.
pub(crate) fn families(ip_families: &[String]) -> Option<Family> {
    match ip_families.first()?.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

/// Whether an override names this Service and port.
pub(crate) fn is_about(
    entry: &EndpointOverride,
    namespace: &str,
    service: &str,
    port: &str,
    port_name: Option<&str>,
) -> bool {
    entry.service.as_ref().is_some_and(|wanted| {
        wanted.namespace == namespace
            && wanted.name == service
            && wanted
                .port
                .as_deref()
                .is_none_or(|wanted| wanted == port || Some(wanted) == port_name)
    })
}

/// What endpoints are found with.
pub(crate) struct Finding<'f> {
    lookup: &'f Lookup<'f>,
    settings: &'f Settings,
    own: OwnListeners,
}

impl<'f> Finding<'f> {
    pub(crate) fn new(lookup: &'f Lookup<'f>, settings: &'f Settings) -> Self {
        Self { lookup, settings, own: settings.own_listeners() }
    }

    /// Why an address that somebody wrote may not be used.
    fn refusal(&self, address: SocketAddr) -> Option<&'static str> {
        let ip = address.ip();
        match self.settings.endpoint_addresses {
            Some(EndpointAddresses::Any) => address::of_nobody(ip),
            // A laptop's endpoints are on its loopback.
            None if self.settings.standalone && ip.is_loopback() => None,
            None if self.settings.standalone => address::of_ip(ip),
            Some(EndpointAddresses::Routable) | None => {
                address::refusal(address, &self.own, &self.settings.local_addresses)
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Candidate {
    address: SocketAddr,
    ready: bool,
    /// Terminating, and still answering.
    lingering: bool,
    zone: Option<Box<str>>,
    zone_hints: Vec<String>,
    node_hints: Vec<String>,
    pod: Option<String>,
}

impl Endpoints {
    /// The usable endpoints now, sorted. Reports what could not be used, and when nothing is left.
    pub(crate) fn find(&self, finding: &Finding<'_>, reports: &Reports) -> Arc<[Endpoint]> {
        let &Finding { lookup, settings, .. } = finding;
        let overridden: Vec<SocketAddr> = settings
            .endpoint_overrides
            .iter()
            .filter(|entry| {
                is_about(
                    entry,
                    &self.namespace,
                    &self.service,
                    &self.port,
                    self.port_name.as_deref(),
                )
            })
            .map(|entry| entry.address)
            .collect();
        if !overridden.is_empty() {
            return plain(overridden);
        }
        let scope = Scope::root(&self.asked_by.object, reports);
        let scope = scope.at(&self.asked_by.field.0);
        let mut notes = Notes::default();
        let endpoints = match &self.source {
            Source::Dns => return Arc::from([]),
            &Source::Static(address) => return self.one_address(address, finding, &scope),
            Source::Overrides => Vec::new(),
            Source::Slices { port_name, target_port, mirrored, families } => {
                let mut candidates = Candidates { finding, scope: &scope, found: BTreeMap::new() };
                for slice in lookup.slices(&self.namespace, &self.service).into_iter().flatten() {
                    candidates.add_slice(&slice.1.object, port_name, *target_port, &mut notes);
                }
                if *mirrored {
                    candidates.add_mirrored(lookup, self, port_name, &mut notes);
                }
                notes.report_refused(&scope);
                usable(candidates.found.into_values().collect(), *families, settings)
            }
        };
        if !endpoints.is_empty() {
            return endpoints.into();
        }
        // Endpoints that cannot be read may be there all the same.
        let fallback: Vec<SocketAddr> = settings
            .endpoint_overrides
            .iter()
            .filter(|entry| entry.service.is_none() && !notes.unreadable)
            .map(|entry| entry.address)
            .collect();
        if fallback.is_empty() {
            self.report_none(&scope, &notes, settings);
        }
        plain(fallback)
    }

    /// The address that a Service names in place of a name.
    fn one_address(
        &self,
        address: SocketAddr,
        finding: &Finding<'_>,
        scope: &Scope<'_>,
    ) -> Arc<[Endpoint]> {
        let Finding { settings, own, .. } = finding;
        let why = address::refusal(address, own, &settings.local_addresses);
        let Some(why) = why.filter(|_| settings.external_name != Some(ExternalNamePolicy::Any))
        else {
            return plain(vec![address]);
        };
        let message = format!("Service {}/{} is {address}, {why}", self.namespace, self.service);
        scope.report(Code::ExternalNameForbidden, Effect::RouteResponds(503), message);
        plain(Vec::new())
    }

    fn report_none(&self, scope: &Scope<'_>, notes: &Notes, settings: &Settings) {
        let service = format!("{}/{}", self.namespace, self.service);
        let why = if notes.unreadable {
            "its endpoints cannot be read".to_owned()
        } else if notes.endpoints > 0 {
            format!("none of its endpoints is usable, of {}", notes.endpoints)
        } else if !notes.other_ports.is_empty() {
            format!("its slices have no port named `{}`", self.port_name.as_deref().unwrap_or(""))
        } else {
            "it has no endpoints".to_owned()
        };
        let help = settings.standalone.then(|| {
            format!("add an EndpointSlice, or start with --endpoint {service}=ADDRESS:PORT")
        });
        scope.report_with(
            Code::NoEndpoints,
            Effect::RouteResponds(503),
            format!("Service {service} port {}: {why}", self.port),
            Some(help.unwrap_or_else(|| Code::NoEndpoints.info().remedy.to_owned())),
            Vec::new(),
        );
    }
}

/// What was seen and not used.
#[derive(Default)]
struct Notes {
    endpoints: usize,
    other_ports: Vec<String>,
    /// Something that may have been an endpoint could not be read.
    unreadable: bool,
    /// Addresses that requests may not be sent to, and what is to be said of the first.
    refused: usize,
    first_refused: Option<String>,
}

impl Notes {
    /// One report for all: whoever writes endpoints could write any number.
    fn report_refused(&self, scope: &Scope<'_>) {
        let Some(first) = &self.first_refused else { return };
        let more = match self.refused - 1 {
            0 => String::new(),
            more => format!(", like {more} more of its endpoints"),
        };
        let message = format!("{first}; it gets no requests{more}");
        scope.report(Code::EndpointAddressRefused, Effect::None, message);
    }
}

struct Candidates<'c> {
    finding: &'c Finding<'c>,
    scope: &'c Scope<'c>,
    found: BTreeMap<SocketAddr, Candidate>,
}

impl Candidates<'_> {
    fn add_slice(
        &mut self,
        slice: &AsRead<EndpointSlice>,
        port_name: &str,
        target_port: Option<u16>,
        notes: &mut Notes,
    ) {
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        for taken in slice.unreadable() {
            // Of its metadata the label alone matters, which it was found by.
            if !taken.is_within("metadata") {
                notes.unreadable = true;
                self.refuse(format!("EndpointSlice {name}: `{}` cannot be read", taken.field));
            }
        }
        let is_whole = |list: &str, index: usize| {
            slice.unreadable().is_empty()
                || slice.taken_within(&format!("{list}[{index}]")).is_none()
        };
        if slice.taken_within("addressType").is_some() {
            return;
        }
        if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
            self.refuse(format!("EndpointSlice {name}: type `{}` is not read", slice.address_type));
            return;
        }
        let ports = slice.ports.iter().flatten().enumerate();
        for (_, port) in ports.filter(|(index, _)| is_whole("ports", *index)) {
            if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
                continue;
            }
            if port.name.as_deref().unwrap_or_default() != port_name {
                notes.other_ports.push(port.name.clone().unwrap_or_default());
                continue;
            }
            let number = match port.port {
                Some(number) => u16::try_from(number).ok(),
                None => target_port,
            };
            let Some(number) = number.filter(|&number| number != 0) else {
                self.refuse(format!("EndpointSlice {name}: port {:?} is no port", port.port));
                continue;
            };
            let endpoints = slice.endpoints.iter().flatten().enumerate();
            for (_, endpoint) in endpoints.filter(|(index, _)| is_whole("endpoints", *index)) {
                notes.endpoints += 1;
                // All addresses of one endpoint are interchangeable; consumers take the first.
                let Some(text) = endpoint.addresses.first() else { continue };
                let Some(address) = self.address(text, number, name, notes) else { continue };
                let conditions = endpoint.conditions.as_ref();
                let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
                let serving = conditions.and_then(|c| c.serving).unwrap_or(true);
                let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
                let hints = endpoint.hints.as_ref();
                let zones = hints.and_then(|h| h.for_zones.as_ref()).into_iter().flatten();
                let nodes = hints.and_then(|h| h.for_nodes.as_ref()).into_iter().flatten();
                self.add(Candidate {
                    address,
                    ready,
                    lingering: !ready && serving && terminating,
                    zone: endpoint.zone.as_deref().map(Into::into),
                    zone_hints: zones.map(|zone| zone.name.clone()).collect(),
                    node_hints: nodes.map(|node| node.name.clone()).collect(),
                    pod: endpoint.target_ref.as_ref().and_then(|r| r.uid.clone()),
                });
            }
        }
    }

    /// What the mirroring controller of a cluster would copy into slices.
    fn add_mirrored(
        &mut self,
        lookup: &Lookup<'_>,
        plan: &Endpoints,
        port_name: &str,
        notes: &mut Notes,
    ) {
        let Some(object) = lookup.endpoints(&plan.namespace, &plan.service) else { return };
        let meta = &object.metadata;
        let skipped = meta
            .labels
            .as_ref()
            .is_some_and(|labels| labels.get(SKIP_MIRROR_LABEL).is_some_and(|v| v == "true"));
        let lock = meta.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER_ANNOTATION));
        if skipped || lock {
            return;
        }
        for taken in object.unreadable() {
            notes.unreadable = true;
            self.refuse(format!("Endpoints {}: `{}` cannot be read", plan.service, taken.field));
            // What says that they are not to be used may be among it.
            if matches!(&*taken.field.0, "metadata" | "metadata.labels" | "metadata.annotations")
                || taken.field.0.contains(SKIP_MIRROR_LABEL)
                || taken.field.0.contains(LEADER_ANNOTATION)
            {
                return;
            }
        }
        for (index, subset) in object.subsets.iter().flatten().enumerate() {
            if object.taken_within(&format!("subsets[{index}]")).is_some() {
                continue;
            }
            for port in subset.ports.iter().flatten() {
                if port.protocol.as_deref().unwrap_or("TCP") != "TCP"
                    || port.name.as_deref().unwrap_or_default() != port_name
                {
                    continue;
                }
                let Ok(number) = u16::try_from(port.port) else { continue };
                let ready = subset.addresses.iter().flatten().map(|a| (a, true));
                let waiting = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
                for (entry, ready) in ready.chain(waiting).take(MIRRORED_ADDRESSES_MAX) {
                    let from = &*plan.service;
                    let Some(address) = self.address(&entry.ip, number, from, notes) else {
                        continue;
                    };
                    self.add(Candidate {
                        address,
                        ready,
                        lingering: false,
                        zone: None,
                        zone_hints: Vec::new(),
                        node_hints: Vec::new(),
                        pod: entry.target_ref.as_ref().and_then(|r| r.uid.clone()),
                    });
                }
            }
        }
    }

    /// The same address may be in two slices while they are rebalanced: the better state counts.
    fn add(&mut self, candidate: Candidate) {
        let rank = |c: &Candidate| (c.ready, c.lingering);
        match self.found.get_mut(&candidate.address) {
            Some(known) if rank(known) >= rank(&candidate) => {}
            Some(known) => *known = candidate,
            None => drop(self.found.insert(candidate.address, candidate)),
        }
    }

    /// The address of an endpoint, if requests may be sent there. The API server forbids some of
    /// those that are refused; it does not know our listeners, and manifests need no API server.
    fn address(&self, text: &str, port: u16, from: &str, notes: &mut Notes) -> Option<SocketAddr> {
        let Ok(address) = text.parse::<IpAddr>() else {
            self.refuse(format!("{from}: `{text}` is no IP address"));
            return None;
        };
        let address = SocketAddr::new(address.to_canonical(), port);
        let Some(why) = self.finding.refusal(address) else { return Some(address) };
        notes.refused += 1;
        notes.first_refused.get_or_insert_with(|| format!("{from}: {address} is {why}"));
        None
    }

    fn refuse(&self, message: String) {
        self.scope.report(Code::InvalidEndpoint, Effect::None, message);
    }
}

fn plain(addresses: Vec<SocketAddr>) -> Arc<[Endpoint]> {
    let mut endpoints: Vec<Endpoint> = addresses
        .into_iter()
        .map(|address| Endpoint { address, weight: 1, terminating: false, zone: None })
        .collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    endpoints.into()
}

fn usable(
    mut candidates: Vec<Candidate>,
    preferred: Option<Family>,
    settings: &Settings,
) -> Vec<Endpoint> {
    candidates.retain(|c| c.ready || c.lingering);
    let is_any_ready = candidates.iter().any(|c| c.ready);
    if is_any_ready {
        candidates.retain(|c| c.ready);
    }
    one_family_per_pod(&mut candidates, preferred.unwrap_or(Family::V4));
    if let Some(preferred) = preferred
        && candidates.iter().any(|c| Family::of(c.address.ip()) == preferred)
    {
        candidates.retain(|c| Family::of(c.address.ip()) == preferred);
    }
    if is_any_ready {
        keep_hinted(&mut candidates, settings);
    }
    let mut endpoints: Vec<Endpoint> = candidates
        .into_iter()
        .map(|c| Endpoint { address: c.address, weight: 1, terminating: !c.ready, zone: c.zone })
        .collect();
    endpoints.sort_unstable();
    endpoints
}

fn one_family_per_pod(candidates: &mut Vec<Candidate>, preferred: Family) {
    let mut pods: HashMap<(String, u16), bool> = HashMap::new();
    for candidate in candidates.iter() {
        if let Some(pod) = &candidate.pod {
            let is_preferred = Family::of(candidate.address.ip()) == preferred;
            *pods.entry((pod.clone(), candidate.address.port())).or_default() |= is_preferred;
        }
    }
    candidates.retain(|candidate| {
        candidate.pod.as_ref().is_none_or(|pod| {
            let has_preferred = pods.get(&(pod.clone(), candidate.address.port())) == Some(&true);
            !has_preferred || Family::of(candidate.address.ip()) == preferred
        })
    });
}

/// Hints say which endpoints are meant for clients of a node or a zone, and hold where every ready
/// endpoint has them and one names ours; those of nodes come first (as in kube-proxy). They are
/// never a reason to have no endpoint: without a ready one for us, all are used, and so are those
/// that serve while they terminate.
fn keep_hinted(candidates: &mut Vec<Candidate>, settings: &Settings) {
    let ours = [
        (settings.node_name.as_deref(), (|c| &c.node_hints) as fn(&Candidate) -> &[String]),
        (settings.zone.as_deref(), |c| &c.zone_hints),
    ];
    for (name, hints) in ours {
        let Some(name) = name else { continue };
        let is_ours = |c: &Candidate| hints(c).iter().any(|hint| hint == name);
        let is_hinted = candidates.iter().all(|c| !hints(c).is_empty());
        if is_hinted && candidates.iter().any(is_ours) {
            return candidates.retain(is_ours);
        }
    }
}
