//! What the operator chose, as far as translation depends on it.
//!
//! Read once at start and never changed during a process, except for listeners.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use model::{Hostname, Listener};

use crate::address::OwnListeners;

/// The controller name of Portcullis when none is given.
pub const DEFAULT_CONTROLLER_NAME: &str = "portcullis.io/ingress-controller";

/// The controller name whose classes are read with the nginx dialect.
pub const NGINX_CONTROLLER_NAME: &str = "k8s.io/ingress-nginx";

/// Everything that translation depends on besides objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Copied into the Model, sorted.
    pub listeners: Vec<Listener>,
    /// `spec.controller` of the classes that are ours.
    pub controller_names: Vec<String>,
    /// Names of the classes to serve; empty serves every class of our controllers.
    pub ingress_classes: Vec<String>,
    /// Ingresses that name no class are served too.
    pub watch_without_class: bool,
    /// A class that [`Self::ingress_classes`] names is ours also where there is no object of it:
    /// without rights for the cluster it cannot be seen.
    pub trusts_class_names: bool,
    /// The dialect of every class; by class when absent.
    pub dialect: Option<Dialect>,
    /// Objects come from manifests, without an API server: missing admission is made up for,
    /// `Endpoints` are mirrored, and endpoints may be loopback addresses.
    pub standalone: bool,
    /// Endpoints that no manifest gives.
    pub endpoint_overrides: Vec<EndpointOverride>,
    /// What an `ExternalName` Service may do; when absent `Public` in standalone mode and in the
    /// nginx dialect, else `Off`.
    pub external_name: Option<ExternalNamePolicy>,
    /// Which addresses endpoints may have; when absent `Routable` in a cluster, and with manifests
    /// those and loopback addresses.
    pub endpoint_addresses: Option<EndpointAddresses>,
    /// Where we listen besides: nobody makes it an endpoint.
    pub other_listeners: Vec<SocketAddr>,
    /// The addresses of this machine.
    pub local_addresses: BTreeSet<IpAddr>,
    /// The Service that answers where no Ingress has a route, or a default backend.
    pub default_backend: Option<NamedService>,
    /// Names of refused annotations that close no routes; see [`crate::may_ignore`].
    pub ignored_annotations: Vec<String>,
    /// `NAMESPACE/NAME` of the Secret with the default certificate.
    pub default_certificate: Option<(String, String)>,
    /// Whether hosts belong to namespaces.
    pub host_ownership: HostOwnership,
    /// Hosts that the operator gives to namespaces.
    pub host_owners: Vec<HostOwner>,
    /// The zone of this process, for the zone hints of endpoint slices.
    pub zone: Option<String>,
    /// The node of this process, for their node hints.
    pub node_name: Option<String>,
    /// Seconds since the epoch, for expiry of certificates; unknown expires nothing.
    pub now: Option<i64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            controller_names: vec![DEFAULT_CONTROLLER_NAME.to_owned()],
            ingress_classes: Vec::new(),
            watch_without_class: false,
            trusts_class_names: false,
            dialect: None,
            standalone: false,
            endpoint_overrides: Vec::new(),
            external_name: None,
            endpoint_addresses: None,
            other_listeners: Vec::new(),
            local_addresses: BTreeSet::new(),
            default_backend: None,
            ignored_annotations: Vec::new(),
            default_certificate: None,
            host_ownership: HostOwnership::Off,
            host_owners: Vec::new(),
            zone: None,
            node_name: None,
            now: None,
        }
    }
}

impl Settings {
    /// The settings of a cluster, whose API server has admitted and mirrored what is read.
    #[must_use]
    pub fn cluster() -> Self {
        Self { standalone: false, ..Self::default() }
    }

    /// The settings of a directory of manifests.
    #[must_use]
    pub fn standalone() -> Self {
        Self { standalone: true, ..Self::default() }
    }
}

impl Settings {
    /// Where we listen.
    #[must_use]
    pub fn own_listeners(&self) -> OwnListeners {
        let traffic = self.listeners.iter().map(|listener| listener.address);
        OwnListeners::new(traffic.chain(self.other_listeners.iter().copied()))
    }
}

/// How an Ingress is read. Resolved here: neither the Model nor the proxy knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// The letter of the Kubernetes API.
    #[default]
    Kubernetes,
    /// The habits of ingress-nginx.
    Nginx,
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "kubernetes" => Ok(Self::Kubernetes),
            "nginx" => Ok(Self::Nginx),
            _ => Err(format!("`{text}` is no dialect: kubernetes or nginx")),
        }
    }
}

/// What an `ExternalName` Service may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExternalNamePolicy {
    /// Nothing: its routes answer 503.
    Off,
    /// Point at public addresses.
    Public,
    /// Point at any address, loopback too.
    Any,
}

impl FromStr for ExternalNamePolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "public" => Ok(Self::Public),
            "any" => Ok(Self::Any),
            _ => Err(format!("`{text}` is no such policy: off, public or any")),
        }
    }
}

/// Which addresses the endpoints of a Service may have, whoever wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddresses {
    /// Not this machine, its link, the metadata of a cloud, nor our own listeners.
    Routable,
    /// Whatever can be connected to.
    Any,
}

impl FromStr for EndpointAddresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "routable" => Ok(Self::Routable),
            "any" => Ok(Self::Any),
            _ => Err(format!("`{text}` is no such choice: routable or any")),
        }
    }
}

/// Whether hosts belong to namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostOwnership {
    /// They do not: Ingresses of all namespaces may name the same host.
    #[default]
    Off,
    /// To that of the oldest Ingress that names them.
    FirstNamespace,
    /// To those whose list has them.
    AllowList,
}

impl FromStr for HostOwnership {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "first-namespace" => Ok(Self::FirstNamespace),
            "allow-list" => Ok(Self::AllowList),
            _ => Err(format!("`{text}` is no such choice: off, first-namespace or allow-list")),
        }
    }
}

/// `shop.example.com`, `*.example.com` (one label), or `*`: every host, and what names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(pub(crate) Hostname);

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(Hostname::Any));
        }
        match Hostname::parse(text) {
            Ok(Hostname::Any) => Err("is no host".to_owned()),
            Ok(host) => Ok(Self(host)),
            Err(problem) => Err(problem.to_string()),
        }
    }
}

/// `NAMESPACE=HOST`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOwner {
    /// Whose it is.
    pub namespace: String,
    /// The host or hosts.
    pub host: HostPattern,
}

impl FromStr for HostOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write NAMESPACE=HOST, with a host such as shop.example.com, *.example.com or *";
        let (namespace, host) =
            text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`: {form}"))?;
        if namespace.is_empty() {
            return Err(format!("`{text}` names no namespace: {form}"));
        }
        let host = host.parse().map_err(|why| format!("`{host}` {why}: {form}"))?;
        Ok(Self { namespace: namespace.to_owned(), host })
    }
}

/// `NAMESPACE/SERVICE[:PORT]=ADDR` or `*=ADDR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOverride {
    /// Which Service; absent for `*`, which serves whatever has no endpoint of its own.
    pub service: Option<NamedService>,
    /// Where its requests go.
    pub address: SocketAddr,
}

/// `NAMESPACE/SERVICE[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// One port, by number or name; when absent every port, or the first.
    pub port: Option<String>,
}

impl FromStr for EndpointOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write NAMESPACE/SERVICE[:PORT]=ADDRESS:PORT or '*=ADDRESS:PORT'";
        let (service, address) =
            text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`: {form}"))?;
        let address = address
            .parse()
            .map_err(|_| format!("`{address}` is no address with a port: {form}"))?;
        if service == "*" {
            return Ok(Self { service: None, address });
        }
        let service = service.parse().map_err(|why| format!("{why}: {form}"))?;
        Ok(Self { service: Some(service), address })
    }
}

impl FromStr for NamedService {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, rest) =
            text.split_once('/').ok_or_else(|| format!("`{text}` has no `/`"))?;
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(port.to_owned())),
            None => (rest, None),
        };
        if namespace.is_empty() || name.is_empty() || port.as_deref() == Some("") {
            return Err(format!("`{text}` names no Service"));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned(), port })
    }
}

impl fmt::Display for EndpointOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            None => f.write_str("*")?,
            Some(service) => service.fmt(f)?,
        }
        write!(f, "={}", self.address)
    }
}

impl fmt::Display for NamedService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        match &self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_read_and_shown_in_the_same_form() {
        for text in ["shop/cart=127.0.0.1:9000", "shop/cart:http=[::1]:9000", "*=127.0.0.1:1"] {
            assert_eq!(text.parse::<EndpointOverride>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_override_is_refused_with_the_form() {
        for text in ["cart=127.0.0.1:1", "shop/cart", "shop/cart=localhost", "shop/:80=1.2.3.4:5"] {
            assert!(text.parse::<EndpointOverride>().unwrap_err().contains("write NAMESPACE"));
        }
    }
}
