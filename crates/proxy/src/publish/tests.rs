//! Whatever was published before, what is served decides as if it were the first.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use model::policy::AnswerBody;
use model::{
    Action, Affinity, Backend, Certificate, CertificateId, ClosedReason, Endpoint, Hostname,
    KeyPair, ListenerProtocol, LoadBalancing, Miss, ObjectRef, PathForm, PathKind, PathMatch,
    PrivateKey, Provenance, Route, RoutePolicy, Sealed, Split, Upstream, UpstreamId,
    UpstreamProtocol, VirtualHost,
};
use proptest::prelude::*;
use proptest::sample::select;
use telemetry::TelemetrySettings;
use wire::{Method, Target};

use super::*;
use crate::decide::{Facts, RequestLine, Scratch, Verdict, decide};
use crate::registry::RouteId;
use crate::snapshot::ListenerFacts;

const HOSTS: [&str; 5] = ["a.test", "b.test", "*.test", "*.a.test", ""];
const ASKED: [&str; 7] =
    ["a.test", "b.test", "c.test", "x.a.test", "x.y.a.test", "other.example", ""];
const PATHS: [&str; 3] = ["/", "/a", "/a/b"];
const UPSTREAMS: u8 = 4;
const PAIRS: usize = 3;

/// What one route of a host is to do.
#[derive(Clone, Debug)]
enum Does {
    Forward(Vec<(u8, u32)>),
    Respond(u16),
    Close,
}

/// One thing that changes between two publications.
#[derive(Clone, Debug)]
enum Edit {
    Host(&'static str, Miss, BTreeMap<(bool, &'static str), Does>),
    NoHost(&'static str),
    Upstream(u8, UpstreamProtocol, Option<Affinity>),
    Endpoints(u8, BTreeSet<u8>, u16),
    Sni(&'static str, Option<usize>),
    Default(Option<usize>),
}

#[derive(Clone, Debug)]
enum Step {
    Publish(Vec<Edit>),
    /// Of one upstream, if it is there: it is served without a compile of the rest.
    Endpoints(u8, BTreeSet<u8>),
    /// Somebody holds what is served now, as a request does, and somebody lets go of it.
    Hold,
    LetGo,
}

fn does() -> impl Strategy<Value = Does> {
    let backends = prop::collection::vec((0..UPSTREAMS, 0..3_u32), 1..3);
    prop_oneof![
        6 => backends.prop_map(Does::Forward),
        1 => select(vec![404, 503]).prop_map(Does::Respond),
        1 => Just(Does::Close),
    ]
}

fn some_endpoints() -> impl Strategy<Value = BTreeSet<u8>> {
    prop::collection::btree_set(1..5_u8, 0..3)
}

fn edits() -> impl Strategy<Value = Edit> {
    let hosts = || select(HOSTS.to_vec());
    let miss = select(vec![Miss::FallThrough, Miss::Hide]);
    let routes = prop::collection::btree_map((any::<bool>(), select(PATHS.to_vec())), does(), 0..4);
    let protocols = select(vec![UpstreamProtocol::Http, UpstreamProtocol::H2c]);
    let affinity = select(vec![None, Some(Affinity::ClientIp)]);
    let pairs = || prop::option::of(0..PAIRS);
    prop_oneof![
        6 => (hosts(), miss, routes).prop_map(|(host, miss, of)| Edit::Host(host, miss, of)),
        4 => hosts().prop_map(Edit::NoHost),
        1 => (0..UPSTREAMS, protocols, affinity).prop_map(|(n, p, a)| Edit::Upstream(n, p, a)),
        2 => (0..UPSTREAMS, some_endpoints(), 1..3_u16)
            .prop_map(|(n, list, weight)| Edit::Endpoints(n, list, weight)),
        2 => (hosts(), pairs()).prop_map(|(host, pair)| Edit::Sni(host, pair)),
        1 => pairs().prop_map(Edit::Default),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(edits(), 0..4).prop_map(Step::Publish),
        2 => (0..UPSTREAMS, some_endpoints()).prop_map(|(n, list)| Step::Endpoints(n, list)),
        1 => Just(Step::Hold),
        1 => Just(Step::LetGo),
    ]
}

fn provenance(name: &impl ToString) -> Provenance {
    Provenance::new(ObjectRef::new("Ingress", "default", name.to_string()), "")
}

fn hostname(text: &str) -> Hostname {
    if text.is_empty() { Hostname::Any } else { Hostname::parse(text).unwrap() }
}

fn upstream_id(number: u8) -> UpstreamId {
    UpstreamId(format!("default/s{number}:80").into())
}

fn pair_id(number: usize) -> CertificateId {
    CertificateId(number.to_string().into())
}

fn upstream(number: u8, protocol: UpstreamProtocol, affinity: Option<Affinity>) -> Upstream {
    Upstream {
        id: upstream_id(number),
        protocol,
        tls: None,
        balancing: LoadBalancing::RoundRobin,
        affinity,
        external_name: None,
        provenance: provenance(&number),
    }
}

fn list(numbers: &BTreeSet<u8>, weight: u16) -> Arc<[Endpoint]> {
    let endpoint = |&number| Endpoint {
        address: ([10, 0, 0, number], 80).into(),
        weight,
        terminating: false,
        zone: None,
    };
    numbers.iter().map(endpoint).collect()
}

fn virtual_host(
    text: &str,
    miss: Miss,
    wanted: &BTreeMap<(bool, &'static str), Does>,
) -> VirtualHost {
    let mut routes: Vec<Route> = wanted
        .iter()
        .map(|((is_exact, path), does)| {
            let kind = if *is_exact { PathKind::Exact } else { PathKind::Prefix };
            let closed = match does {
                Does::Close => Some(ClosedReason { code: "closed".into(), field: "x".into() }),
                Does::Forward(_) | Does::Respond(_) => None,
            };
            let action = match does {
                Does::Forward(backends) => Action::Forward(Split {
                    backends: backends
                        .iter()
                        .map(|&(number, weight)| Backend { upstream: upstream_id(number), weight })
                        .collect(),
                }),
                Does::Respond(status) => Action::unavailable(status.to_string()),
                Does::Close => Action::unavailable("closed"),
            };
            Route {
                path: PathMatch::new(kind, *path),
                policy: RoutePolicy { closed, ..RoutePolicy::default() },
                action,
                provenance: provenance(path),
            }
        })
        .collect();
    routes.sort_by(|a, b| a.path.cmp(&b.path));
    VirtualHost {
        hostname: hostname(text),
        path_form: PathForm::default(),
        miss,
        ordered: false,
        answer_body: AnswerBody::default(),
        routes,
        provenance: provenance(&text),
    }
}

static KEY_PAIRS: LazyLock<Vec<Arc<KeyPair>>> = LazyLock::new(|| {
    let pair = |number: usize| {
        let name = format!("pair-{number}.test");
        let made = rcgen::generate_simple_self_signed(vec![name]).unwrap();
        let key = PrivateKey::Pkcs8(made.signing_key.serialize_der().into());
        Arc::new(KeyPair { chain: vec![made.cert.der().to_vec()], key })
    };
    (0..PAIRS).map(pair).collect()
});

/// What is wanted, changed in its places as a translation changes it.
#[derive(Default)]
struct Wanted {
    model: Model,
    endpoints: EndpointTable,
    /// Of upstreams that are not there, too: they come as they went.
    upstreams: BTreeMap<u8, (UpstreamProtocol, Option<Affinity>)>,
    lists: BTreeMap<u8, Arc<[Endpoint]>>,
}

impl Wanted {
    fn edit(&mut self, edit: &Edit) {
        let model = &mut self.model;
        match edit {
            Edit::Host(host, miss, routes) => {
                let block = Sealed::new(virtual_host(host, *miss, routes));
                model.hosts.insert(hostname(host), block);
            }
            Edit::NoHost(host) => drop(model.hosts.remove(&hostname(host))),
            Edit::Upstream(number, protocol, affinity) => {
                self.upstreams.insert(*number, (*protocol, *affinity));
            }
            Edit::Endpoints(number, numbers, weight) => {
                self.lists.insert(*number, list(numbers, *weight));
            }
            Edit::Sni(host, Some(pair)) => {
                model.sni.insert(hostname(host), pair_id(*pair));
            }
            Edit::Sni(host, None) => drop(model.sni.remove(&hostname(host))),
            Edit::Default(pair) => model.default_certificate = pair.map(pair_id),
        }
        self.complete();
    }

    /// Upstreams that routes lead to, their endpoints, certificates that somebody gets: no others.
    fn complete(&mut self) {
        let model = &mut self.model;
        let routes = model.hosts.values().flat_map(|host| &host.routes);
        let used: BTreeSet<UpstreamId> = routes
            .filter_map(|route| match &route.action {
                Action::Forward(split) => Some(split),
                Action::Redirect(_) | Action::Respond(_) => None,
            })
            .flat_map(|split| split.backends.iter().map(|backend| backend.upstream.clone()))
            .collect();
        for number in 0..UPSTREAMS {
            let id = upstream_id(number);
            if !used.contains(&id) {
                model.upstreams.remove(&id);
                self.endpoints.remove(&id);
                continue;
            }
            let (protocol, affinity) = self.upstreams.get(&number).copied().unwrap_or_default();
            let wanted = Sealed::new(upstream(number, protocol, affinity));
            if model.upstreams.get(&id) != Some(&wanted) {
                model.upstreams.insert(id.clone(), wanted);
            }
            let wanted = self.lists.get(&number).cloned().unwrap_or_default();
            if self.endpoints.get(&id) != Some(&wanted) {
                self.endpoints.insert(id, wanted);
            }
        }
        for number in 0..PAIRS {
            let id = pair_id(number);
            let is_used = model.sni.values().any(|known| *known == id)
                || model.default_certificate.as_ref() == Some(&id);
            if !is_used {
                model.certificates.remove(&id);
            } else if model.certificates.get(&id).is_none() {
                let certificate = Certificate {
                    names: vec!["any.test".into()],
                    not_before: 0,
                    not_after: i64::MAX,
                    provenance: provenance(&number),
                };
                model.certificates.insert(id, certificate);
            }
        }
    }

    fn material(&self) -> KeyMaterial {
        let pairs = (0..PAIRS).map(|number| (pair_id(number), KEY_PAIRS[number].clone()));
        pairs.filter(|(id, _)| self.model.certificates.contains_key(id)).collect()
    }
}

/// What a snapshot does with every request of this small world, in words.
fn decisions(snapshot: &Snapshot) -> Vec<String> {
    let mut said = vec![snapshot.generation().to_string()];
    let address = ([127, 0, 0, 1], 80).into();
    let listener = ListenerFacts {
        id: ListenerId { address, protocol: ListenerProtocol::Http },
        bound: address,
        public_port: 80,
        redirect_port: None,
    };
    let facts = Facts {
        listener: &listener,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        is_https: false,
        body_bytes_max: None,
    };
    for host in ASKED {
        for path in ["/", "/a", "/a/", "/a/b", "/c"] {
            let request = RequestLine {
                method: Method::Get,
                target: Target::Origin,
                authority: Some(host.as_bytes()),
                path: path.as_bytes(),
                query: b"",
                declared_length: None,
            };
            let mut scratch = Scratch::default();
            let decision = decide(snapshot, &facts, &request, &mut scratch, &mut ());
            let route = decision.route.map(|route| (route.hostname(), route.route()));
            let does = match decision.verdict {
                Verdict::Forward { split, .. } => {
                    let backends = split.upstreams().map(|(upstream, weight)| {
                        let endpoints = upstream.endpoints.iter();
                        let endpoints: Vec<_> = endpoints
                            .map(|endpoint| (&endpoint.state.identity, endpoint.weight))
                            .collect();
                        format!("{weight} {:?} {endpoints:?}", upstream.spec())
                    });
                    backends.collect::<Vec<_>>().join("\n")
                }
                Verdict::Respond { status, reason } => format!("{status} {reason}"),
                other => format!("{other:?}"),
            };
            said.push(format!("{host}{path}: {route:?} {:?} {does}", decision.nearest));
        }
        let served = snapshot.certificates.served(Some(host)).map(|key| {
            let pair = KEY_PAIRS.iter().position(|pair| pair.chain[0] == *key.cert[0]);
            pair_id(pair.expect("no other pairs are made"))
        });
        let model = snapshot.model();
        if snapshot.certificates.has_all(model) {
            let named = snapshot.certificate_for(Some(host));
            assert_eq!(served.as_ref(), named.or(model.default_certificate.as_ref()), "{host}");
        }
        said.push(format!("{host}: {served:?}"));
    }
    said
}

/// All that a snapshot holds is of its Model.
fn holds_nothing_else(snapshot: &Snapshot) {
    let model = snapshot.model();
    assert!(snapshot.routes().hosts().map(|host| host.hostname()).eq(model.hosts.keys()));
    let upstreams: BTreeSet<_> =
        snapshot.upstreams.iter().flatten().map(|upstream| &upstream.spec().id).collect();
    assert!(upstreams.into_iter().eq(model.upstreams.keys()));
}

/// Whether a slot means one upstream in one snapshot and another in the other.
fn share_a_slot(one: &Snapshot, other: &Snapshot) -> bool {
    let mut slots = one.upstreams.iter().zip(&*other.upstreams);
    slots.any(|slot| match slot {
        (Some(one), Some(other)) => one.spec().id != other.spec().id,
        _ => false,
    })
}

/// The numbers of the routes by host and path, without those that serve nothing.
fn route_ids(snapshot: &Snapshot) -> BTreeMap<(Hostname, String), RouteId> {
    let routes = snapshot.routes().hosts().flat_map(|host| {
        host.routes().map(|(path, route)| ((host.hostname().clone(), path.to_string()), route.id))
    });
    routes.filter(|(_, id)| *id != RouteId::NONE).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_was_served_before_the_same_is_decided_as_by_a_snapshot_made_afresh(
        steps in prop::collection::vec(steps(), 1..24),
        has_keys_at_first in any::<bool>(),
    ) {
        let telemetry = Telemetry::new(TelemetrySettings::new(0));
        let nothing = crate::compile(&Model::default(), &EndpointTable::new(), &KeyMaterial::new());
        let publisher =
            Publisher::new(Arc::new(Published::new(nothing)), telemetry, Vec::new());
        let mut wanted = Wanted::default();
        let mut material = KeyMaterial::new();
        let mut has_keys = has_keys_at_first;
        let mut held: Vec<(Arc<Snapshot>, Vec<String>)> = Vec::new();
        let mut ids = BTreeMap::new();
        let mut ids_ever = HashSet::new();
        for step in steps {
            match step {
                Step::Publish(edits) => {
                    for edit in &edits {
                        wanted.edit(edit);
                    }
                    // The last good configuration comes without keys, and what is read with all.
                    material = if has_keys { wanted.material() } else { KeyMaterial::new() };
                    has_keys = true;
                    publisher.publish(&wanted.model, &wanted.endpoints, &material);
                }
                Step::Endpoints(number, numbers) => {
                    let id = upstream_id(number);
                    wanted.lists.insert(number, list(&numbers, 1));
                    if publisher.published.load().model().upstreams.contains_key(&id) {
                        wanted.endpoints.insert(id, list(&numbers, 1));
                        publisher.replace_endpoints(&wanted.endpoints);
                    }
                }
                Step::Hold => {
                    let snapshot = publisher.published.load();
                    let said = decisions(&snapshot);
                    held.push((snapshot, said));
                }
                Step::LetGo => {
                    held.truncate(held.len() / 2);
                    publisher.retire();
                }
            }
            let served = publisher.published.load();
            let afresh = crate::compile(&wanted.model, &wanted.endpoints, &material);
            prop_assert_eq!(decisions(&served), decisions(&afresh));
            holds_nothing_else(&served);
            for (snapshot, said) in &held {
                prop_assert_eq!(&decisions(snapshot), said, "what is held has changed");
                prop_assert!(!share_a_slot(snapshot, &served), "a slot that is held was given anew");
            }
            let before = std::mem::replace(&mut ids, route_ids(&served));
            let different: HashSet<_> = ids.values().collect();
            prop_assert_eq!(different.len(), ids.len(), "two routes have one number");
            for (place, id) in &ids {
                match before.get(place) {
                    Some(known) => prop_assert_eq!(known, id, "{:?} has another number", place),
                    None => prop_assert!(ids_ever.insert(*id), "{:?} has an old number", place),
                }
            }
        }
    }
}
