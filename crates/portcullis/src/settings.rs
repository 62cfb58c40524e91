//! The settings: one table that feeds flags, environment, file, help and reference page.
//!
//! A row is a field of [`Settings`], its name, what its value is called, its default and what it
//! does. The flag is `--name`, the variable `PORTCULLIS_NAME`, the key of the file `name`. Flag
//! beats environment beats file. Whatever is not in the table is an error.

pub mod file;
pub mod layer;
pub mod reference;
pub mod selector;
pub mod suggest;
pub mod value;

pub use layer::SettingsError;

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use ipnet::IpNet;

use controller::Address;
use layer::{Given, Layers, Origin, find, not_one, unreadable};
use selector::LabelSelector;
use translate::{EndpointOverride, HostOwner, NamedService};
use value::{
    AccessLog, Auto, Dialect, EndpointAddresses, ExternalNames, Format, HostOwnership, HttpPath,
    LogLevel, NamespacedName, OrOff, RefusedAnnotations, Secrets, Size, Value,
};

/// A heading in the help and on the reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// What is read.
    Objects,
    /// What is read from an API server, and told to it.
    Cluster,
    /// Reviews of Ingresses before they are stored.
    Webhook,
    /// Where traffic comes in.
    Listeners,
    /// The life of the process.
    Process,
    /// Logs.
    Logs,
    /// Bounds on clients.
    ClientLimits,
    /// Bounds on HTTP/2 connections.
    Http2Limits,
    /// Bounds on endpoints.
    UpstreamLimits,
}

impl Group {
    /// The heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Objects => "Objects",
            Self::Cluster => "In a cluster",
            Self::Webhook => "Admission webhook",
            Self::Listeners => "Listeners",
            Self::Process => "Process",
            Self::Logs => "Logs",
            Self::ClientLimits => "Limits on clients",
            Self::Http2Limits => "Limits on HTTP/2 connections",
            Self::UpstreamLimits => "Limits on endpoints",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// The name, in kebab-case.
    pub name: &'static str,
    /// The heading it stands under.
    pub group: Group,
    /// What its value is called.
    pub placeholder: &'static str,
    /// The texts it has when nobody gives any.
    pub defaults: &'static [&'static str],
    /// What it does; one sentence a line.
    pub doc: &'static [&'static str],
    /// Whether it takes several values.
    pub repeatable: bool,
    /// The words allowed, where they are few.
    pub choices: &'static [&'static str],
    /// Whether the flag may stand without a value.
    pub switch: bool,
}

impl Setting {
    /// What it does, as one paragraph.
    pub fn paragraph(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

macro_rules! settings {
    (@arity one $type:ty) => { $type };
    (@arity many $type:ty) => { Vec<$type> };
    (@repeatable one) => { false };
    (@repeatable many) => { true };
    (@read one $type:ty, $setting:expr, $layers:expr, $errors:expr) => {
        read_one::<$type>($setting, $layers, $errors)
    };
    (@read many $type:ty, $setting:expr, $layers:expr, $errors:expr) => {
        read_many::<$type>($setting, $layers, $errors)
    };
    ($($group:ident { $(
        $(#[doc = $doc:literal])+
        $field:ident : $arity:ident $type:ty =
            $name:literal $placeholder:literal [$($default:literal),*];
    )* })*) => {
        /// Everything that can be set, read and checked.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $($( $(#[doc = $doc])+ pub $field: settings!(@arity $arity $type), )*)*
        }

        /// The rows, in the order of the help.
        pub static SETTINGS: &[Setting] = &[$($( Setting {
            name: $name,
            group: Group::$group,
            placeholder: $placeholder,
            defaults: &[$($default),*],
            doc: &[$($doc),+],
            repeatable: settings!(@repeatable $arity),
            choices: <$type as Value>::CHOICES,
            switch: <$type as Value>::SWITCH,
        }, )*)*];

        impl Settings {
            /// Reads every setting from what was given; all that is wrong is told at once.
            pub fn resolve(layers: &Layers) -> Result<Self, Vec<SettingsError>> {
                let mut errors = Vec::new();
                let mut rows = SETTINGS.iter();
                $($(
                    let $field =
                        settings!(@read $arity $type, rows.next(), layers, &mut errors);
                )*)*
                let settings = match ($($( $field, )*)*) {
                    ($($( Some($field), )*)*) if errors.is_empty() => Self { $($( $field, )*)* },
                    _ => return Err(errors),
                };
                settings.check(layers)
            }
        }
    };
}

/// Reads a setting with one value; `None` when an error was told.
fn read_one<T: Value>(
    setting: Option<&Setting>,
    layers: &Layers,
    errors: &mut Vec<SettingsError>,
) -> Option<T> {
    let setting = setting?;
    let given = layers.get(setting);
    let [text] = given.texts.as_slice() else {
        errors.push(not_one(setting, &given.origin, given.texts.len()));
        return None;
    };
    T::parse(text).map_err(|why| errors.push(unreadable(setting, &given.origin, text, &why))).ok()
}

/// Reads a setting with any number of values; `None` when an error was told.
fn read_many<T: Value>(
    setting: Option<&Setting>,
    layers: &Layers,
    errors: &mut Vec<SettingsError>,
) -> Option<Vec<T>> {
    let setting = setting?;
    let given = layers.get(setting);
    let mut values = Vec::new();
    for text in &given.texts {
        match T::parse(text) {
            Ok(value) => values.push(value),
            Err(why) => errors.push(unreadable(setting, &given.origin, text, &why)),
        }
    }
    (values.len() == given.texts.len()).then_some(values)
}

settings! {
    Objects {
        /// A directory (read with all below it), a file, or `-` for standard input.
        /// YAML or JSON; changes are served as they are written.
        manifests: many String = "manifests" "PATH" [];
        /// Serve only Ingresses of this class.
        /// Without it, the classes whose controller is ours are served;
        /// where no `IngressClass` names our controller, every Ingress is.
        ingress_class: many String = "ingress-class" "NAME" [];
        /// The name by which `IngressClass` objects call us.
        controller_name: many String =
            "controller-name" "NAME" ["portcullis.io/ingress-controller"];
        /// Serve Ingresses that name no class, too.
        watch_ingress_without_class: one bool = "watch-ingress-without-class" "BOOL" ["false"];
        /// Whose reading of Ingress objects applies.
        /// `auto` is `nginx` for the classes of ingress-nginx and `kubernetes` for all others.
        dialect: one Dialect = "dialect" "DIALECT" ["auto"];
        /// Endpoints for a Service that no manifest gives any.
        /// `NAMESPACE/SERVICE[:PORT]=ADDRESS`, or `*=ADDRESS` for all such Services.
        endpoint: many EndpointOverride = "endpoint" "SERVICE=ADDRESS" [];
        /// Which addresses a Service of type `ExternalName` may lead to.
        /// `auto` is `public` with manifests and in the nginx dialect, and `off` otherwise.
        external_name: one Auto<ExternalNames> = "external-name" "POLICY" ["auto"];
        /// Which addresses endpoints may have, whoever wrote them down.
        /// `routable` refuses those of this machine, of its link, of a cloud's metadata and of our
        /// own listeners.
        /// `auto` is `routable` in a cluster; with manifests, loopback addresses and our own
        /// listeners may be endpoints, too.
        endpoint_addresses: one Auto<EndpointAddresses> = "endpoint-addresses" "WHICH" ["auto"];
        /// Ask this name server for the names of `ExternalName` Services, and no other.
        /// Without it, those of `/etc/resolv.conf` are asked.
        name_server: many SocketAddr = "name-server" "ADDRESS" [];
        /// The Service that answers where no Ingress has a route or a default backend.
        /// Without a port, its first one.
        default_backend_service: one OrOff<NamedService> =
            "default-backend-service" "NAMESPACE/NAME[:PORT]" ["off"];
        /// What becomes of objects with refused annotations (snippets).
        /// `deny` has their routes answer 503; `ignore NAME...` serves them without those named.
        /// Annotations that restrict access are never ignored.
        refused_annotations: many RefusedAnnotations =
            "refused-annotations" "POLICY" ["deny"];
        /// Whether hosts belong to namespaces.
        /// `first-namespace` gives a host to the namespace of the oldest Ingress that names it,
        /// `allow-list` to those whose annotation `portcullis.io/allowed-hosts` lists it.
        /// What Ingresses of other namespaces say of the host is refused.
        host_ownership: one HostOwnership = "host-ownership" "MODE" ["off"];
        /// Gives a host to a namespace, before all others.
        /// `NAMESPACE=HOST`, with a name, `*.` and a name for one label, or `*` for every host.
        host_owner: many HostOwner = "host-owner" "NAMESPACE=HOST" [];
        /// The Secret whose certificate is served where no other fits.
        /// Without it, one is generated at start.
        default_tls_secret: one OrOff<NamespacedName> =
            "default-tls-secret" "NAMESPACE/NAME" ["off"];
    }
    Cluster {
        /// Read objects from an API server instead of manifests.
        /// `auto` does so in a pod, and where --kubeconfig or --context is given, unless manifests
        /// are named.
        cluster: one Auto<bool> = "cluster" "BOOL" ["auto"];
        /// How to reach the API server. `auto` is the service account in a pod, and elsewhere what
        /// `KUBECONFIG` names, or `~/.kube/config`.
        kubeconfig: one Auto<String> = "kubeconfig" "FILE" ["auto"];
        /// The context of the kubeconfig; `auto` is its current one.
        context: one Auto<String> = "context" "NAME" ["auto"];
        /// Read the objects of this namespace alone; Roles in it suffice.
        /// Without it, all namespaces are read.
        watch_namespace: many String = "watch-namespace" "NAMESPACE" [];
        /// Read the objects of namespaces with these labels alone.
        /// Of cluster-wide rights it needs one: to list and watch Namespaces.
        namespace_selector: one OrOff<LabelSelector> =
            "namespace-selector" "SELECTOR" ["off"];
        /// Which Secrets are read.
        /// `referenced` reads those that an Ingress or a setting names, one by one;
        /// `all-tls` reads every Secret of type `kubernetes.io/tls` there is.
        secrets: one Secrets = "secrets" "WHICH" ["referenced"];
        /// Keep what is served in this file, and serve it at the next start until objects are read.
        last_good: one OrOff<String> = "last-good" "FILE" ["off"];
        /// Keep the private keys of certificates in that file, too.
        /// Without them, TLS serves the default certificate until Secrets are read.
        last_good_keys: one bool = "last-good-keys" "BOOL" ["false"];
        /// Write the addresses of this Service into the status of the Ingresses that are served.
        /// Those of its load balancer; without one, its external ones, else its own; for a
        /// `NodePort`, those of the nodes under its pods.
        publish_service: one OrOff<NamespacedName> = "publish-service" "NAMESPACE/NAME" ["off"];
        /// Write this address, or this name, into the status of the Ingresses that are served.
        publish_address: many Address = "publish-address" "ADDRESS" [];
        /// Write the addresses of the nodes under the ready pods with these labels, in the
        /// namespace of this pod, into the status of the Ingresses that are served.
        publish_nodes: one OrOff<LabelSelector> = "publish-nodes" "SELECTOR" ["off"];
        /// Take what this gateway wrote out of the status again when its last replica ends.
        /// Without it, addresses stay: what follows them, such as DNS records, would be deleted.
        clear_status_on_exit: one bool = "clear-status-on-exit" "BOOL" ["false"];
        /// The Lease by which replicas agree on who writes status and Events; `off` for neither.
        /// `auto` is `portcullis-leader` in the namespace of this pod, and `off` where this is no
        /// pod and no --pod-namespace is given.
        /// Installations for different classes have different ones.
        election_lease: one Auto<OrOff<NamespacedName>> =
            "election-lease" "NAMESPACE/NAME" ["auto"];
        /// The Secret with the keys of TLS session tickets, by which replicas resume each other's
        /// sessions; `off` for keys of each process. Whoever leads makes and rotates them.
        /// `auto` is `portcullis-ticket-keys` in the namespace of the Lease, and `off` without one.
        ticket_keys_secret: one Auto<OrOff<NamespacedName>> =
            "ticket-keys-secret" "NAMESPACE/NAME" ["auto"];
        /// The name of this pod.
        /// `auto` is what the environment variable `POD_NAME` says, or the name of the host.
        pod_name: one Auto<String> = "pod-name" "NAME" ["auto"];
        /// The namespace of this pod.
        /// `auto` is what the environment variable `POD_NAMESPACE` says, or that of the service
        /// account, or `default`.
        pod_namespace: one Auto<String> = "pod-namespace" "NAMESPACE" ["auto"];
        /// The name of the node under this pod.
        /// `auto` is what the environment variable `NODE_NAME` says.
        node_name: one Auto<String> = "node-name" "NAME" ["auto"];
        /// The zone of that node: endpoints that are meant for it are used before others.
        /// `auto` is what the environment variable `NODE_ZONE` says.
        zone: one Auto<String> = "zone" "NAME" ["auto"];
    }
    Webhook {
        /// Review Ingresses for the API server here, over TLS, before they are stored; `off` for
        /// not doing so.
        webhook: one OrOff<SocketAddr> = "webhook" "ADDRESS" ["off"];
        /// The certificate that the webhook shows, in PEM; read again as the file changes.
        /// Without it, one of our own is made, kept in a Secret and renewed.
        webhook_certificate: one OrOff<String> = "webhook-certificate" "FILE" ["off"];
        /// The key of that certificate.
        webhook_key: one OrOff<String> = "webhook-key" "FILE" ["off"];
        /// Where a certificate of our own is kept.
        /// `auto` is `portcullis-webhook` in the namespace of this pod.
        webhook_secret: one Auto<NamespacedName> = "webhook-secret" "NAMESPACE/NAME" ["auto"];
        /// The Service by which the API server calls, and so the name in a certificate of our own.
        /// `auto` is `portcullis-webhook` in the namespace of this pod.
        webhook_service: one Auto<NamespacedName> = "webhook-service" "NAMESPACE/NAME" ["auto"];
        /// The `ValidatingWebhookConfiguration` that is made to trust a certificate of our own.
        webhook_configuration: one OrOff<String> = "webhook-configuration" "NAME" ["portcullis"];
    }
    Listeners {
        /// Listen for cleartext HTTP/1 and HTTP/2 here; `off` for none.
        http: many OrOff<SocketAddr> = "http" "ADDRESS" ["127.0.0.1:8080"];
        /// Listen for TLS here; `off` for none.
        https: many OrOff<SocketAddr> = "https" "ADDRESS" ["127.0.0.1:8443"];
        /// Answer `/livez`, `/readyz`, `/metrics` and `/snapshot` here; `off` for none.
        admin: many OrOff<SocketAddr> = "admin" "ADDRESS" ["127.0.0.1:9090"];
        /// The cleartext port that clients see, for `X-Forwarded-Port`.
        /// `auto` is the listener's.
        public_http_port: one Auto<NonZeroU16> = "public-http-port" "PORT" ["auto"];
        /// The TLS port that clients see, for redirects and `X-Forwarded-Port`.
        /// `auto` is the listener's.
        public_https_port: one Auto<NonZeroU16> = "public-https-port" "PORT" ["auto"];
        /// Answer 200 at this path on the traffic listeners, whatever the host; 503 while draining.
        health_path: one OrOff<HttpPath> = "health-path" "PATH" ["off"];
        /// Peers whose `X-Forwarded-*` fields are believed.
        trusted_proxies: many IpNet = "trusted-proxies" "NETWORK" [];
    }
    Process {
        /// Threads that serve; `auto` is what CPU quota and affinity allow.
        workers: one Auto<NonZeroUsize> = "workers" "COUNT" ["auto"];
        /// After SIGTERM, how long health checks fail while everything is still accepted.
        drain_delay: one Duration = "drain-delay" "DURATION" ["0s"];
        /// After that, how long requests in flight may take before their connections are cut.
        drain_timeout: one Duration = "drain-timeout" "DURATION" ["5m"];
        /// How long exchanges may take once their route, certificate or listener is withdrawn.
        withdrawn_timeout: one Duration = "withdrawn-timeout" "DURATION" ["5m"];
    }
    Logs {
        /// Write a line for each request.
        access_log: one AccessLog = "access-log" "FORM" ["off"];
        /// Write the access log to this file, or to `stdout` or `stderr`.
        access_log_file: one String = "access-log-file" "FILE" ["stdout"];
        /// How much the process log, on standard error, tells.
        log_level: one LogLevel = "log-level" "LEVEL" ["info"];
        /// The form of the process log.
        log_format: one Format = "log-format" "FORM" ["text"];
    }
    ClientLimits {
        /// Bytes of a request head; more is answered 431.
        request_head_bytes_max: one Size = "request-head-bytes-max" "SIZE" ["32KiB"];
        /// Fields of a request head; more is answered 431. At most 256.
        request_fields_max: one NonZeroU32 = "request-fields-max" "COUNT" ["100"];
        /// Bytes of a request target; more is answered 414.
        request_target_bytes_max: one Size = "request-target-bytes-max" "SIZE" ["16KiB"];
        /// Bytes of a request body; more is answered 413. Annotations may say otherwise.
        request_body_bytes_max: one OrOff<Size> = "request-body-bytes-max" "SIZE" ["off"];
        /// Bytes of trailing fields, either way.
        trailer_bytes_max: one Size = "trailer-bytes-max" "SIZE" ["8KiB"];
        /// How long a request head may take to arrive, from its first byte; later is answered 408.
        request_head_timeout: one Duration = "request-head-timeout" "DURATION" ["10s"];
        /// How long a request body may stand still; later is answered 408.
        body_idle_timeout: one Duration = "body-idle-timeout" "DURATION" ["60s"];
        /// Bytes a second that a request body must reach on average; slower is answered 408.
        /// Upgrades, gRPC, events and HTTP/2 streams that wait for window are excepted.
        body_rate_min: one OrOff<Size> = "body-rate-min" "SIZE" ["240"];
        /// How long a client may take no byte of its answer before its connection is reset.
        write_idle_timeout: one Duration = "write-idle-timeout" "DURATION" ["60s"];
        /// How long a connection may wait for its next request.
        keepalive_timeout: one Duration = "keepalive-timeout" "DURATION" ["75s"];
        /// How long an upgraded connection may be silent.
        tunnel_idle_timeout: one Duration = "tunnel-idle-timeout" "DURATION" ["1h"];
        /// Requests after which a connection is ended in good order.
        connection_requests_max: one NonZeroU32 = "connection-requests-max" "COUNT" ["10000"];
        /// Age at which a connection is ended in good order.
        connection_age_max: one Duration = "connection-age-max" "DURATION" ["1h"];
        /// Client connections open at once; further ones are closed.
        /// `auto` is 80 % of the limit on open files.
        connections_max: one Auto<NonZeroUsize> = "connections-max" "COUNT" ["auto"];
        /// How long a TLS handshake may take.
        handshake_timeout: one Duration = "handshake-timeout" "DURATION" ["10s"];
        /// Passes through gateways of this kind before a request is called a loop (508).
        loop_max: one NonZeroU32 = "loop-max" "COUNT" ["10"];
    }
    Http2Limits {
        /// Streams open at once on a connection.
        http2_streams_max: one NonZeroU32 = "http2-streams-max" "COUNT" ["100"];
        /// Bytes a stream may send ahead.
        http2_stream_window: one Size = "http2-stream-window" "SIZE" ["64KiB"];
        /// Bytes a connection may send ahead.
        http2_connection_window: one Size = "http2-connection-window" "SIZE" ["1MiB"];
        /// Streams that a client may reset in 30 seconds before its connection is ended.
        http2_resets_max: one NonZeroU32 = "http2-resets-max" "COUNT" ["100"];
        /// Bytes of heads and buffered bodies held for a connection, over all its streams.
        http2_memory_max: one Size = "http2-memory-max" "SIZE" ["2MiB"];
        /// How long a stream may hold such memory without window, while half of it is in use.
        http2_stalled_timeout: one Duration = "http2-stalled-timeout" "DURATION" ["10s"];
    }
    UpstreamLimits {
        /// How long connecting to an endpoint may take before the next is tried.
        connect_timeout: one Duration = "connect-timeout" "DURATION" ["5s"];
        /// How long an endpoint may take to answer, and between two reads of its answer.
        /// Upgrades are excepted, and gRPC once it was answered.
        response_timeout: one Duration = "response-timeout" "DURATION" ["60s"];
        /// Bytes of a response head; more is answered 502.
        response_head_bytes_max: one Size = "response-head-bytes-max" "SIZE" ["64KiB"];
        /// Fields of a response head; more is answered 502.
        response_fields_max: one NonZeroU32 = "response-fields-max" "COUNT" ["200"];
        /// Informational responses (1xx) before a final one; more is answered 502.
        informational_max: one NonZeroU32 = "informational-max" "COUNT" ["8"];
        /// Idle connections kept for each endpoint and worker.
        upstream_idle_max: one u32 = "upstream-idle-max" "COUNT" ["256"];
        /// How long an idle connection to an endpoint is kept, unless the endpoint says less.
        upstream_idle_timeout: one Duration = "upstream-idle-timeout" "DURATION" ["60s"];
        /// Send a request once more whose reused connection was closed before any answer.
        /// GET, HEAD and OPTIONS without a body alone.
        retry_reused: one bool = "retry-reused" "BOOL" ["true"];
    }
}

impl Settings {
    /// The defaults.
    ///
    /// # Panics
    /// Never: a test reads every default.
    pub fn defaults() -> Self {
        Self::resolve(&Layers::default()).expect("every default is readable")
    }

    /// What only the settings together can show.
    fn check(self, layers: &Layers) -> Result<Self, Vec<SettingsError>> {
        let mut errors = Vec::new();
        for (name, addresses) in
            [("http", &self.http), ("https", &self.https), ("admin", &self.admin)]
        {
            if addresses.len() > 1 && addresses.contains(&OrOff::Off) {
                errors.push(SettingsError::new(format!(
                    "--{name}: `off` stands alone, or not at all"
                )));
            }
        }
        if self.refused_annotations.len() > 1
            && self.refused_annotations.contains(&RefusedAnnotations::Deny)
        {
            let why = "--refused-annotations: `deny` stands alone, or not at all";
            errors.push(SettingsError::new(why));
        }
        if self.cluster == Auto::Set(true) && !self.manifests.is_empty() {
            let why = "--cluster: reads from an API server, and --manifests from files: choose one";
            errors.push(SettingsError::new(why));
        }
        if self.namespace_selector != OrOff::Off && !self.watch_namespace.is_empty() {
            let why = "--namespace-selector: picks namespaces, and --watch-namespace names them: \
                       choose one";
            errors.push(SettingsError::new(why));
        }
        let is_label = |name: &str| value::is_name(name) && !name.contains('.');
        for namespace in self.watch_namespace.iter().filter(|name| !is_label(name)) {
            let why = format!("--watch-namespace: `{namespace}` is no name of a namespace");
            errors.push(SettingsError::new(why));
        }
        if self.webhook_certificate.at().is_some() != self.webhook_key.at().is_some() {
            let why = "--webhook-certificate and --webhook-key: the one needs the other";
            errors.push(SettingsError::new(why));
        }
        if self.request_fields_max.get() > 256 {
            errors.push(SettingsError::new("--request-fields-max: is at most 256"));
        }
        for (name, size, least, most) in [
            ("request-head-bytes-max", self.request_head_bytes_max, 1 << 10, 1 << 20),
            ("request-target-bytes-max", self.request_target_bytes_max, 64, 1 << 20),
            ("trailer-bytes-max", self.trailer_bytes_max, 0, 1 << 20),
            ("response-head-bytes-max", self.response_head_bytes_max, 1 << 10, 1 << 20),
            ("http2-stream-window", self.http2_stream_window, 65_535, (1 << 31) - 1),
            ("http2-connection-window", self.http2_connection_window, 65_535, (1 << 31) - 1),
        ] {
            if layers.has(name) && !(least..=most).contains(&size.0) {
                errors
                    .push(SettingsError::new(format!("--{name}: is from {least} to {most} bytes")));
            }
        }
        let published = [
            ("publish-service", self.publish_service != OrOff::Off),
            ("publish-address", !self.publish_address.is_empty()),
            ("publish-nodes", self.publish_nodes != OrOff::Off),
        ];
        let published: Vec<&str> =
            published.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        if let [first, second, ..] = published[..] {
            errors.push(SettingsError::new(format!("--{second}: not together with --{first}")));
        }
        // Heads may take half of it, and one head must fit beside another.
        if self.http2_memory_max.0 / 4 < self.request_head_bytes_max.0 {
            errors.push(SettingsError::new(
                "--http2-memory-max: is at least four times --request-head-bytes-max",
            ));
        }
        if errors.is_empty() { Ok(self) } else { Err(errors) }
    }

    /// The addresses that are not `off`.
    pub fn addresses(list: &[OrOff<SocketAddr>]) -> Vec<SocketAddr> {
        list.iter().filter_map(OrOff::at).collect()
    }

    /// The settings of a command: from its flags, the environment and the file they name; where
    /// nobody says anything, from the command's own `presets`, and then from the defaults.
    pub fn load(
        mut layers: Layers,
        config: Option<&str>,
        environment: Vec<(String, String)>,
        presets: &[(&str, &str)],
    ) -> Result<Self, Vec<SettingsError>> {
        let config = config.map(ToOwned::to_owned).or_else(|| {
            environment.iter().find(|(name, _)| name == "PORTCULLIS_CONFIG").map(|(_, v)| v.clone())
        });
        let of_pod = layer::of_pod(&environment);
        let mut errors = layers.offer_environment(environment);
        if let Some(path) = config {
            match std::fs::read_to_string(&path) {
                Ok(text) => errors.extend(layers.offer_file(&path, &text)),
                Err(error) => errors.push(SettingsError::new(format!("{path}: {error}"))),
            }
        }
        for (setting, text) in of_pod {
            layers.offer(setting, Given { texts: vec![text], origin: Origin::Environment });
        }
        for (setting, text) in presets.iter().filter_map(|(name, text)| Some((find(name)?, text))) {
            let texts = vec![(*text).to_owned()];
            layers.offer(setting, Given { texts, origin: Origin::Default });
        }
        match Self::resolve(&layers) {
            Ok(settings) if errors.is_empty() => Ok(settings),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }
}

#[cfg(test)]
mod tests;
