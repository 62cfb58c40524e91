//! A proxy in this process with one route to the given endpoints.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::policy::AnswerBody;
use model::{
    Action, Endpoint, EndpointTable, Hostname, KeyMaterial, Listener, ListenerProtocol, Miss,
    Model, ObjectRef, PathForm, PathKind, PathMatch, Provenance, Route, RoutePolicy, Sealed,
    Upstream, UpstreamId, UpstreamProtocol, UpstreamTls, VirtualHost,
};
use proxy::{Limits, Proxy, ProxySettings};
use telemetry::{Telemetry, TelemetrySettings};

/// How long anything that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a test wants of its proxy.
pub(crate) struct Plan {
    pub endpoints: Vec<SocketAddr>,
    pub protocol: UpstreamProtocol,
    pub limits: Limits,
}

impl Plan {
    pub(crate) fn to(endpoint: SocketAddr) -> Self {
        Self {
            endpoints: vec![endpoint],
            protocol: UpstreamProtocol::Http,
            limits: Limits::default(),
        }
    }

    pub(crate) fn protocol(mut self, protocol: UpstreamProtocol) -> Self {
        self.protocol = protocol;
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub(crate) fn start(self) -> World {
        World::start(&self)
    }
}

/// A running proxy. Every host leads to the one upstream.
pub(crate) struct World {
    pub proxy: Proxy,
    pub http: SocketAddr,
    pub https: SocketAddr,
    telemetry: Arc<Telemetry>,
    pub model: Model,
    table: EndpointTable,
}

fn upstream() -> UpstreamId {
    UpstreamId("default/web:80".into())
}

fn table(endpoints: &[SocketAddr]) -> EndpointTable {
    let endpoints: Vec<Endpoint> = endpoints
        .iter()
        .map(|&address| Endpoint { address, weight: 1, terminating: false, zone: None })
        .collect();
    EndpointTable::from([(upstream(), endpoints.into())])
}

fn model(protocol: UpstreamProtocol) -> Model {
    let provenance = Provenance::new(ObjectRef::new("Ingress", "default", "web"), "");
    let mut model = Model::default();
    for protocol in [ListenerProtocol::Http, ListenerProtocol::Https] {
        // Different addresses of the loopback network: port 0 on one would be one listener.
        let host = if protocol == ListenerProtocol::Http { 1 } else { 2 };
        model.listeners.push(Listener {
            address: ([127, 0, 0, host], 0).into(),
            protocol,
            public_port: None,
            redirect_port: None,
        });
    }
    let hostname = Hostname::Any;
    let route = Route {
        path: PathMatch::new(PathKind::Prefix, "/"),
        policy: RoutePolicy::default(),
        action: Action::forward(upstream()),
        provenance: provenance.clone(),
    };
    let host = VirtualHost {
        hostname: hostname.clone(),
        path_form: PathForm::Canonical,
        miss: Miss::FallThrough,
        ordered: false,
        answer_body: AnswerBody::default(),
        routes: vec![route],
        provenance: provenance.clone(),
    };
    model.hosts.insert(hostname, Sealed::new(host));
    let tls = protocol.is_tls().then_some(UpstreamTls { server_name: None, verify: false });
    let spec = Upstream {
        id: upstream(),
        protocol,
        tls,
        balancing: model::LoadBalancing::default(),
        affinity: None,
        external_name: None,
        provenance,
    };
    model.upstreams.insert(upstream(), Sealed::new(spec));
    model
}

impl World {
    fn start(plan: &Plan) -> Self {
        let telemetry = Telemetry::new(TelemetrySettings::new(1));
        let settings = ProxySettings { limits: plan.limits.clone(), ..ProxySettings::default() };
        let proxy = proxy::start(settings, &telemetry).expect("a proxy");
        let model = model(plan.protocol);
        let outcome = proxy.publish(&model, &table(&plan.endpoints), &KeyMaterial::new());
        assert!(outcome.failed.is_empty(), "{outcome:?}");
        let at = |host: u8| {
            let bound = outcome.bound.iter().map(|(_, address)| *address);
            let mut found =
                bound.filter(|bound| bound.ip() == std::net::IpAddr::from([127, 0, 0, host]));
            found.next().expect("a listener that was asked for")
        };
        let table = table(&plan.endpoints);
        Self { http: at(1), https: at(2), proxy, telemetry, model, table }
    }

    /// Serves other endpoints.
    pub(crate) fn move_to(&self, endpoints: &[SocketAddr]) {
        self.proxy.replace_endpoints(&table(endpoints));
    }

    /// Publishes the same configuration again, as a new snapshot.
    pub(crate) fn publish_again(&self, endpoints: &[SocketAddr]) {
        self.proxy.publish(&self.model, &table(endpoints), &KeyMaterial::new());
    }

    /// Publishes another configuration.
    pub(crate) fn publish(&self, model: &Model, material: &KeyMaterial) {
        self.proxy.publish(model, &self.table, material);
    }

    /// The metrics page.
    pub(crate) fn metrics(&self) -> String {
        self.telemetry.render_prometheus()
    }

    /// The sum of a metric's samples.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.metrics();
        let samples = page.lines().filter_map(|line| line.strip_prefix(name)?.split(' ').nth(1));
        samples.filter_map(|value| value.parse::<u64>().ok()).sum()
    }

    /// Waits until requests ended with this reason.
    pub(crate) fn wait_for_reason(&self, reason: &str) {
        let label = format!("reason=\"{reason}\"");
        wait_until(reason, || {
            self.metrics().lines().any(|line| line.contains(&label) && !line.ends_with(" 0"))
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.proxy.stop();
    }
}

/// Waits until `condition` holds; a test fails when it does not.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE * 2, future).await.expect("a test ends in time")
    })
}
