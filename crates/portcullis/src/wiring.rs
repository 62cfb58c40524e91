//! From our settings to those of each room: translation, proxy, telemetry, process log.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use controller::{
    ApiServer, Clients, ClusterSettings, LastGood, Published, ReportSettings, Scope,
    TICKET_KEY_LEN, TicketKeySettings,
};
use model::{Listener, ListenerProtocol};
use proxy::{Limits, ProxySettings};
use telemetry::{LogTarget, TelemetrySettings};

use crate::machine::Cpus;
use crate::settings::selector::LabelSelector;
use crate::settings::value::{
    AccessLog, Auto, Dialect, EndpointAddresses, ExternalNames, Format, HostOwnership, LogLevel,
    NamespacedName, OrOff, RefusedAnnotations, Secrets, Size,
};
use crate::settings::{Settings, SettingsError};

/// Share of the limit on open files that client connections may take, in percent. The rest is for
/// connections to endpoints, logs and listeners.
const CONNECTIONS_PERCENT: u64 = 80;

/// The Lease of the election, in the namespace of the pod, where nobody names another.
const DEFAULT_LEASE: &str = "portcullis-leader";

/// The Secret of ticket keys where none is named.
const DEFAULT_TICKET_KEYS: &str = "portcullis-ticket-keys";

/// The listeners of the settings, with the ports that clients see.
pub(crate) fn listeners(settings: &Settings) -> Vec<Listener> {
    let https = Settings::addresses(&settings.https);
    let public_http = settings.public_http_port.set().map(std::num::NonZeroU16::get);
    let public_https = settings.public_https_port.set().map(std::num::NonZeroU16::get);
    let cleartext = Settings::addresses(&settings.http).into_iter().map(|address| {
        // The HTTPS listener of the same address family and host, where there is one.
        let beside = https.iter().find(|other| other.ip() == address.ip()).or(https.first());
        Listener {
            address,
            protocol: ListenerProtocol::Http,
            public_port: public_http,
            redirect_port: beside.map(|beside| public_https.unwrap_or(beside.port())),
        }
    });
    let tls = https.iter().map(|&address| Listener {
        address,
        protocol: ListenerProtocol::Https,
        public_port: public_https,
        redirect_port: Some(public_https.unwrap_or(address.port())),
    });
    cleartext.chain(tls).collect()
}

/// Replaces port 0 by a free port: redirects must name the port before anything is bound.
///
/// Between the look and the binding another program may take the port; then binding says so.
pub(crate) fn settle_ports(settings: &mut Settings) -> io::Result<()> {
    for address in settings.http.iter_mut().chain(&mut settings.https) {
        if let OrOff::At(address) = address
            && address.port() == 0
        {
            address.set_port(free_port(*address)?);
        }
    }
    Ok(())
}

fn free_port(address: SocketAddr) -> io::Result<u16> {
    Ok(TcpListener::bind(address)?.local_addr()?.port())
}

/// What translation depends on.
pub(crate) fn translation(settings: &Settings) -> translate::Settings {
    translate::Settings {
        listeners: listeners(settings),
        controller_names: settings.controller_name.clone(),
        ingress_classes: settings.ingress_class.clone(),
        watch_without_class: settings.watch_ingress_without_class,
        dialect: match settings.dialect {
            Dialect::Auto => None,
            Dialect::Kubernetes => Some(translate::Dialect::Kubernetes),
            Dialect::Nginx => Some(translate::Dialect::Nginx),
        },
        endpoint_overrides: settings.endpoint.clone(),
        external_name: settings.external_name.set().map(|policy| match policy {
            ExternalNames::Off => translate::ExternalNamePolicy::Off,
            ExternalNames::Public => translate::ExternalNamePolicy::Public,
            ExternalNames::Any => translate::ExternalNamePolicy::Any,
        }),
        endpoint_addresses: settings.endpoint_addresses.set().map(|addresses| match addresses {
            EndpointAddresses::Routable => translate::EndpointAddresses::Routable,
            EndpointAddresses::Any => translate::EndpointAddresses::Any,
        }),
        other_listeners: Settings::addresses(&settings.admin)
            .into_iter()
            .chain(settings.webhook.at())
            .collect(),
        local_addresses: controller::local_addresses(),
        host_ownership: match settings.host_ownership {
            HostOwnership::Off => translate::HostOwnership::Off,
            HostOwnership::FirstNamespace => translate::HostOwnership::FirstNamespace,
            HostOwnership::AllowList => translate::HostOwnership::AllowList,
        },
        host_owners: settings.host_owner.clone(),
        zone: settings.zone.set(),
        node_name: settings.node_name.set(),
        default_backend: settings.default_backend_service.at(),
        ignored_annotations: settings
            .refused_annotations
            .iter()
            .flat_map(|refused| match refused {
                RefusedAnnotations::Deny => &[],
                RefusedAnnotations::Ignore(names) => names.as_slice(),
            })
            .cloned()
            .collect(),
        default_certificate: settings.default_tls_secret.at().map(|s| (s.namespace, s.name)),
        trusts_class_names: !settings.watch_namespace.is_empty(),
        standalone: !is_cluster(settings),
        ..translate::Settings::default()
    }
}

/// Whether objects are read from an API server.
pub(crate) fn is_cluster(settings: &Settings) -> bool {
    let names_one = settings.kubeconfig.set().is_some() || settings.context.set().is_some();
    settings
        .cluster
        .set()
        .unwrap_or_else(|| settings.manifests.is_empty() && (names_one || controller::is_in_pod()))
}

/// Which API server is asked.
pub(crate) fn api_server(settings: &Settings) -> ApiServer {
    ApiServer {
        kubeconfig: settings.kubeconfig.set().map(PathBuf::from),
        context: settings.context.set(),
    }
}

/// What is read from it.
pub(crate) fn cluster(settings: &Settings, clients: Clients) -> ClusterSettings {
    let scope = match settings.namespace_selector.at() {
        Some(LabelSelector(selector)) => Scope::Selected(selector),
        None if settings.watch_namespace.is_empty() => Scope::All,
        None => Scope::Namespaces(settings.watch_namespace.iter().cloned().collect()),
    };
    let report = report(settings);
    ClusterSettings { clients, scope, reads_all_tls: settings.secrets == Secrets::AllTls, report }
}

/// What is told to the API server; nothing where this process takes part in no election.
fn report(settings: &Settings) -> Option<ReportSettings> {
    let lease = election_lease(settings)?;
    let namespace = pod_namespace(settings);
    let published = match (settings.publish_service.at(), settings.publish_nodes.at()) {
        (Some(NamespacedName { namespace, name }), _) => Published::Service { namespace, name },
        (None, Some(LabelSelector(selector))) => Published::Nodes { namespace, selector },
        (None, None) if settings.publish_address.is_empty() => Published::Nothing,
        (None, None) => Published::Addresses(settings.publish_address.clone()),
    };
    Some(ReportSettings {
        pod: pod_name(settings),
        node: settings.node_name.set().unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lease_namespace: lease.namespace,
        lease_name: lease.name,
        controller: settings.controller_name.first().cloned().unwrap_or_default(),
        published,
        clear_status_on_exit: settings.clear_status_on_exit,
        // For who has a proxy to say.
        ticket_keys: None,
    })
}

/// Where the keys of TLS session tickets are that replicas share; they are for this function.
pub(crate) fn ticket_keys(
    settings: &Settings,
    use_keys: impl Fn(&[[u8; TICKET_KEY_LEN]]) + Send + Sync + 'static,
) -> Option<TicketKeySettings> {
    let secret = ticket_keys_secret(settings)?;
    let NamespacedName { namespace, name } = secret;
    Some(TicketKeySettings { namespace, name, use_keys: Arc::new(use_keys) })
}

/// The Secret with the keys of session tickets, where replicas share them.
pub(crate) fn ticket_keys_secret(settings: &Settings) -> Option<NamespacedName> {
    match &settings.ticket_keys_secret {
        Auto::Auto => {
            let namespace = election_lease(settings)?.namespace;
            Some(NamespacedName { namespace, name: DEFAULT_TICKET_KEYS.to_owned() })
        }
        Auto::Set(secret) => secret.at(),
    }
}

/// The Lease of the election; none where this process takes part in none.
pub(crate) fn election_lease(settings: &Settings) -> Option<NamespacedName> {
    match &settings.election_lease {
        // Who tries something out from elsewhere does not take the lead of a cluster.
        Auto::Auto if !controller::is_in_pod() && settings.pod_namespace == Auto::Auto => None,
        Auto::Auto => {
            let (namespace, name) = (pod_namespace(settings), DEFAULT_LEASE.to_owned());
            Some(NamespacedName { namespace, name })
        }
        Auto::Set(lease) => lease.at(),
    }
}

/// The name of this pod, or of what stands in for one.
pub(crate) fn pod_name(settings: &Settings) -> String {
    // In a pod that has a network of its own, its host has its name.
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    settings.pod_name.set().unwrap_or_else(host)
}

/// The namespace of this pod.
pub(crate) fn pod_namespace(settings: &Settings) -> String {
    let namespace = settings.pod_namespace.set().or_else(controller::pod_namespace);
    namespace.unwrap_or_else(|| "default".to_owned())
}

/// Where what is served is kept for the next start.
pub(crate) fn last_good(settings: &Settings) -> Option<LastGood> {
    let path = PathBuf::from(settings.last_good.at()?);
    Some(LastGood { path, keeps_keys: settings.last_good_keys })
}

/// What holds in a pod where nobody says otherwise: the ports of the shipped Service are reached
/// from outside, clients see 80 and 443, and load balancers are given time to look away.
pub(crate) fn presets() -> &'static [(&'static str, &'static str)] {
    if !controller::is_in_pod() {
        return &[];
    }
    &[
        ("http", "0.0.0.0:8080"),
        ("https", "0.0.0.0:8443"),
        ("admin", "0.0.0.0:9090"),
        ("public-http-port", "80"),
        ("public-https-port", "443"),
        ("drain-delay", "15s"),
    ]
}

/// Seconds since the epoch, for commands that look once.
pub(crate) fn seconds_now() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Threads that serve, and in words why so many.
pub(crate) fn workers(settings: &Settings) -> (usize, String) {
    if let Some(workers) = settings.workers.set() {
        return (workers.get(), "as set".to_owned());
    }
    let cpus = Cpus::read();
    (cpus.workers(), cpus.to_string())
}

/// What the proxy is started with.
pub(crate) fn proxy(settings: &Settings, workers: usize, open_files: u64) -> ProxySettings {
    ProxySettings {
        workers,
        trusted_proxies: settings.trusted_proxies.clone(),
        health_path: settings.health_path.at().map(|path| path.0),
        retry_reused: settings.retry_reused,
        limits: limits(settings, open_files),
        ..ProxySettings::default()
    }
}

fn limits(settings: &Settings, open_files: u64) -> Limits {
    let automatic = open_files.saturating_mul(CONNECTIONS_PERCENT) / 100;
    Limits {
        head_bytes_max: bytes(settings.request_head_bytes_max),
        head_fields_max: settings.request_fields_max.get() as usize,
        target_bytes_max: bytes(settings.request_target_bytes_max),
        head_timeout: settings.request_head_timeout,
        body_idle_timeout: settings.body_idle_timeout,
        body_rate_min: settings.body_rate_min.at().map_or(0, |rate| rate.0),
        body_bytes_max: settings.request_body_bytes_max.at().map(|size| size.0),
        trailer_bytes_max: bytes(settings.trailer_bytes_max),
        keep_alive_timeout: settings.keepalive_timeout,
        requests_per_connection_max: settings.connection_requests_max.get().into(),
        connection_age_max: settings.connection_age_max,
        write_idle_timeout: settings.write_idle_timeout,
        handshake_timeout: settings.handshake_timeout,
        connections_max: settings.connections_max.set().map_or_else(
            || usize::try_from(automatic).unwrap_or(usize::MAX).max(1),
            NonZeroUsize::get,
        ),
        http2_streams_max: settings.http2_streams_max.get(),
        http2_stream_window: window(settings.http2_stream_window),
        http2_connection_window: window(settings.http2_connection_window),
        http2_resets_max: settings.http2_resets_max.get(),
        http2_memory_max: bytes(settings.http2_memory_max),
        http2_stalled_timeout: settings.http2_stalled_timeout,
        connect_timeout: settings.connect_timeout,
        response_timeout: settings.response_timeout,
        response_head_bytes_max: bytes(settings.response_head_bytes_max),
        response_fields_max: settings.response_fields_max.get() as usize,
        informational_max: settings.informational_max.get(),
        upstream_idle_max: settings.upstream_idle_max as usize,
        upstream_idle_timeout: settings.upstream_idle_timeout,
        tunnel_idle_timeout: settings.tunnel_idle_timeout,
        withdrawn_timeout: settings.withdrawn_timeout,
        loop_max: settings.loop_max.get(),
    }
}

fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

/// A flow-control window; the settings were checked to be at most 2^31 - 1.
fn window(size: Size) -> u32 {
    u32::try_from(size.0).unwrap_or(u32::MAX >> 1)
}

/// What counts and logs requests.
pub(crate) fn telemetry(
    settings: &Settings,
    workers: usize,
) -> Result<TelemetrySettings, SettingsError> {
    let access_log = match settings.access_log {
        AccessLog::Off => telemetry::AccessLog::Off,
        AccessLog::Text => telemetry::AccessLog::Text,
        AccessLog::Json => telemetry::AccessLog::Json,
    };
    let target = match settings.access_log_file.as_str() {
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        // A file that nothing is written to need not exist.
        _ if settings.access_log == AccessLog::Off => LogTarget::Stdout,
        path => LogTarget::file(Path::new(path))
            .map_err(|error| SettingsError::new(format!("--access-log-file: {path}: {error}")))?,
    };
    Ok(TelemetrySettings {
        access_log,
        target,
        version: env!("CARGO_PKG_VERSION"),
        ..TelemetrySettings::new(workers)
    })
}

/// Sets the process log up, once for the process.
pub(crate) fn process_log(settings: &Settings) {
    let level = match settings.log_level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let format = match settings.log_format {
        Format::Text => telemetry::log::Format::Text,
        Format::Json => telemetry::log::Format::Json,
    };
    let color = telemetry::log::wants_color(std::env::var_os("NO_COLOR").as_deref());
    // A test that starts two gateways in one process has one log: the first one's.
    let _ = telemetry::log::init(format, level, color);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::value::Value as _;

    fn settings(http: &[&str], https: &[&str]) -> Settings {
        let read = |texts: &[&str]| texts.iter().map(|t| OrOff::parse(t).unwrap()).collect();
        Settings { http: read(http), https: read(https), ..Settings::defaults() }
    }

    #[test]
    fn outside_of_a_pod_nobody_reports_who_was_not_told_to() {
        let mut settings = Settings::defaults();
        settings.pod_name = Auto::Set("gateway-0".into());
        assert!(report(&settings).is_none());
        settings.pod_namespace = Auto::Set("system".into());
        assert_eq!(report(&settings).unwrap().manager(), "portcullis/system/portcullis-leader");
        settings.election_lease = Auto::parse("system/leader").unwrap();
        settings.publish_nodes = OrOff::parse("app=gateway").unwrap();
        let reports = report(&settings).unwrap();
        assert_eq!(reports.manager(), "portcullis/system/leader");
        assert_eq!(reports.pod, "gateway-0");
        let nodes = Published::Nodes { namespace: "system".into(), selector: "app=gateway".into() };
        assert_eq!(reports.published, nodes);
        settings.election_lease = Auto::parse("off").unwrap();
        assert!(report(&settings).is_none());
    }

    #[test]
    fn redirects_name_the_https_port_beside() {
        let settings = settings(&["127.0.0.1:80", "[::1]:80"], &["[::1]:1443", "127.0.0.1:443"]);
        let ports: Vec<Option<u16>> =
            listeners(&settings).iter().map(|l| l.redirect_port).collect();
        assert_eq!(ports, [Some(443), Some(1443), Some(1443), Some(443)]);
    }

    #[test]
    fn without_https_nothing_redirects() {
        let listeners = listeners(&settings(&["127.0.0.1:80"], &["off"]));
        assert_eq!(listeners.len(), 1);
        assert_eq!(listeners[0].redirect_port, None);
    }

    #[test]
    fn the_public_port_is_what_clients_see() {
        let mut settings = settings(&["127.0.0.1:8080"], &["127.0.0.1:8443"]);
        settings.public_https_port = Auto::parse("443").unwrap();
        let listeners = listeners(&settings);
        assert_eq!(listeners[0].redirect_port, Some(443));
        assert_eq!(listeners[1].public_port, Some(443));
        assert_eq!(listeners[0].public_port, None);
    }

    #[test]
    fn port_0_is_settled_before_anything_is_bound() {
        let mut settings = settings(&["127.0.0.1:0"], &["127.0.0.1:0"]);
        settle_ports(&mut settings).unwrap();
        let listeners = listeners(&settings);
        assert!(listeners.iter().all(|listener| listener.address.port() != 0));
        assert_eq!(listeners[0].redirect_port, Some(listeners[1].address.port()));
    }

    #[test]
    fn our_defaults_are_those_of_the_proxy() {
        let ours = limits(&Settings::defaults(), 100_000);
        let theirs = Limits { connections_max: 80_000, ..Limits::default() };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
