//! Serves one route to one endpoint: `serve LISTEN ENDPOINT`. For profiling the engine alone.

use model::policy::AnswerBody;
use model::{
    Action, Endpoint, EndpointTable, Hostname, KeyMaterial, Listener, ListenerProtocol, Miss,
    Model, ObjectRef, PathForm, PathKind, PathMatch, Provenance, Route, RoutePolicy, Sealed,
    Upstream, UpstreamId, UpstreamProtocol, VirtualHost,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().expect("LISTEN").parse().expect("an address");
    let endpoint = arguments.next().expect("ENDPOINT").parse().expect("an address");
    let provenance = Provenance::new(ObjectRef::new("Ingress", "default", "web"), "");
    let id = UpstreamId("default/web:80".into());
    let mut model = Model::default();
    for protocol in [ListenerProtocol::Http, ListenerProtocol::Https] {
        let mut address: std::net::SocketAddr = listen;
        if protocol == ListenerProtocol::Https {
            address.set_port(address.port() + 1);
        }
        model.listeners.push(Listener {
            address,
            protocol,
            public_port: None,
            redirect_port: None,
        });
    }
    for host in 0..1000 {
        let hostname = Hostname::parse(&format!("host{host}.test")).expect("a name");
        let routes = vec![Route {
            path: PathMatch::new(PathKind::Prefix, "/"),
            policy: RoutePolicy::default(),
            action: Action::forward(id.clone()),
            provenance: provenance.clone(),
        }];
        model.hosts.insert(
            hostname.clone(),
            Sealed::new(VirtualHost {
                hostname,
                path_form: PathForm::Canonical,
                miss: Miss::FallThrough,
                ordered: false,
                answer_body: AnswerBody::default(),
                routes,
                provenance: provenance.clone(),
            }),
        );
    }
    model.upstreams.insert(
        id.clone(),
        Sealed::new(Upstream {
            id: id.clone(),
            protocol: UpstreamProtocol::Http,
            tls: None,
            balancing: model::LoadBalancing::default(),
            affinity: None,
            external_name: None,
            provenance,
        }),
    );
    let endpoints = EndpointTable::from([(
        id,
        vec![Endpoint { address: endpoint, weight: 1, terminating: false, zone: None }].into(),
    )]);
    let telemetry = telemetry::Telemetry::new(telemetry::TelemetrySettings::new(1));
    let proxy = proxy::start(proxy::ProxySettings::default(), &telemetry).expect("a proxy");
    let outcome = proxy.publish(&model, &endpoints, &KeyMaterial::new());
    println!("{outcome:?}");
    std::thread::park();
}
