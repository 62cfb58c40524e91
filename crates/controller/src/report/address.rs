//! Where clients find us: the addresses that the status of Ingresses tells.

use std::fmt;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::networking::v1::IngressLoadBalancerIngress;

/// How many addresses a status has at most; the first in order are told.
pub(crate) const ADDRESSES_MAX: usize = 64;

/// An address of the status. Addresses come before names, and numbers in their order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Hostname(Box<str>),
}

impl Address {
    /// Reads an address or a name.
    ///
    /// # Errors
    /// When it is neither; the error follows the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let is_number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if text.len() <= 253 && !is_number && text.split('.').all(is_label) {
            Ok(Self::Hostname(text.into()))
        } else {
            Err("is neither an IP address nor a DNS name in lower case".to_owned())
        }
    }

    /// The two fields of an entry of a status; the address counts where there are both.
    pub(crate) fn of(ip: Option<&str>, hostname: Option<&str>) -> Option<Self> {
        let ip = ip.and_then(|ip| ip.parse().ok()).map(Self::Ip);
        let hostname = hostname.filter(|name| !name.is_empty());
        ip.or_else(|| hostname.map(|name| Self::Hostname(name.into())))
    }

    /// As an entry of a status.
    pub(crate) fn entry(&self) -> IngressLoadBalancerIngress {
        let (ip, hostname) = match self {
            Self::Ip(ip) => (Some(ip.to_string()), None),
            Self::Hostname(name) => (None, Some(name.to_string())),
        };
        IngressLoadBalancerIngress { ip, hostname, ports: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Hostname(name) => f.write_str(name),
        }
    }
}

/// In order, each once, at most [`ADDRESSES_MAX`].
pub(crate) fn in_order(mut addresses: Vec<Address>) -> Vec<Address> {
    addresses.sort();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// What a Service says of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OfService {
    /// These.
    Known(Vec<Address>),
    /// Those of the nodes under the pods with these labels; where nodes cannot be read, these.
    Nodes { selector: String, otherwise: Vec<Address> },
}

/// The addresses under which clients reach a Service.
///
/// A load balancer that has none yet, and no external addresses in its stead, has no address: the
/// cluster's own would lead nobody anywhere.
pub(crate) fn of_service(service: &Service) -> OfService {
    let Some(spec) = &service.spec else { return OfService::Known(Vec::new()) };
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let balanced: Vec<Address> = entries
        .iter()
        .filter_map(|entry| Address::of(entry.ip.as_deref(), entry.hostname.as_deref()))
        .collect();
    let parsed = |texts: &[String]| -> Vec<Address> {
        texts.iter().filter_map(|text| Address::of(Some(text), None)).collect()
    };
    let external = parsed(spec.external_ips.as_deref().unwrap_or_default());
    let own = match spec.cluster_ips.as_deref() {
        Some(several) if !several.is_empty() => parsed(several),
        _ => parsed(spec.cluster_ip.as_slice()),
    };
    let type_ = spec.type_.as_deref().unwrap_or("ClusterIP");
    OfService::Known(in_order(match type_ {
        _ if !balanced.is_empty() => balanced,
        _ if !external.is_empty() => external,
        "LoadBalancer" => Vec::new(),
        "ExternalName" => Address::of(None, spec.external_name.as_deref()).into_iter().collect(),
        "NodePort" => {
            let labels = spec.selector.iter().flatten();
            let selector: Vec<String> =
                labels.map(|(key, value)| format!("{key}={value}")).collect();
            if !selector.is_empty() {
                let (selector, otherwise) = (selector.join(","), in_order(own));
                return OfService::Nodes { selector, otherwise };
            }
            own
        }
        _ => own,
    }))
}

/// The addresses under which clients reach a node: the external ones, or else the internal ones.
pub(crate) fn of_node(node: &Node) -> Vec<Address> {
    let all = node.status.as_ref().and_then(|status| status.addresses.as_deref());
    let all = all.unwrap_or_default();
    let of_type = |type_: &str| -> Vec<Address> {
        let some = all.iter().filter(|address| address.type_ == type_);
        some.filter_map(|address| Address::of(Some(&address.address), None)).collect()
    };
    let external = of_type("ExternalIP");
    if external.is_empty() { of_type("InternalIP") } else { external }
}

/// The node under a pod that serves; `None` for one that does not, or not any more.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let is_ready =
        conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True");
    if !is_ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(value: serde_json::Value) -> OfService {
        of_service(&serde_json::from_value(value).unwrap())
    }

    fn known(texts: &[&str]) -> OfService {
        OfService::Known(texts.iter().map(|text| Address::parse(text).unwrap()).collect())
    }

    #[test]
    fn addresses_and_names_are_told_apart() {
        let ip = |text: &str| Address::Ip(text.parse().unwrap());
        assert_eq!(Address::parse("192.0.2.1"), Ok(ip("192.0.2.1")));
        assert_eq!(Address::parse("2001:db8::1"), Ok(ip("2001:db8::1")));
        let name = Address::Hostname("lb.example.com".into());
        assert_eq!(Address::parse("lb.example.com"), Ok(name));
        for wrong in ["", "a b", "-a.test", "192.0.2.300", "A.test", "a..test", "192.0.2.1:80"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_load_balancer_is_told_as_it_is() {
        let balanced = json!({
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.1"]},
            "status": {"loadBalancer": {"ingress": [
                {"hostname": "lb.example.com"}, {"ip": "198.51.100.10"}, {"ip": "198.51.100.9"}
            ]}}
        });
        assert_eq!(service(balanced), known(&["198.51.100.9", "198.51.100.10", "lb.example.com"]));
    }

    #[test]
    fn a_load_balancer_without_address_has_none() {
        let pending = json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}});
        assert_eq!(service(pending), known(&[]));
        let external = json!({
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "externalIPs": ["192.0.2.1"]}
        });
        assert_eq!(service(external), known(&["192.0.2.1"]));
    }

    #[test]
    fn a_service_within_the_cluster_has_its_own_addresses() {
        let own = json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}});
        assert_eq!(service(own), known(&["10.0.0.1", "fd00::1"]));
        assert_eq!(service(json!({"spec": {"clusterIP": "None"}})), known(&[]));
    }

    #[test]
    fn a_port_of_nodes_is_reached_at_the_nodes_under_its_pods() {
        let nodes = json!({"spec": {
            "type": "NodePort", "clusterIP": "10.0.0.1", "selector": {"app": "x", "part": "y"}
        }});
        let OfService::Known(otherwise) = known(&["10.0.0.1"]) else { unreachable!() };
        let expected = OfService::Nodes { selector: "app=x,part=y".into(), otherwise };
        assert_eq!(service(nodes), expected);
        let external = json!({"spec": {
            "type": "NodePort", "externalIPs": ["192.0.2.1"], "selector": {"app": "x"}
        }});
        assert_eq!(service(external), known(&["192.0.2.1"]));
    }

    #[test]
    fn a_node_is_reached_from_outside_where_it_can_be() {
        let node = |addresses| -> Vec<String> {
            let node = json!({"metadata": {}, "status": {"addresses": addresses}});
            let node = serde_json::from_value(node).unwrap();
            of_node(&node).iter().map(ToString::to_string).collect()
        };
        let internal = json!({"type": "InternalIP", "address": "10.0.0.7"});
        let external = json!({"type": "ExternalIP", "address": "192.0.2.7"});
        let name = json!({"type": "Hostname", "address": "seven"});
        assert_eq!(node(json!([name, internal, external])), ["192.0.2.7"]);
        assert_eq!(node(json!([name, internal])), ["10.0.0.7"]);
    }

    #[test]
    fn a_pod_counts_while_it_is_ready_and_stays() {
        let pod = |ready: &str, deleted: Option<&str>| {
            let pod = json!({
                "metadata": {"deletionTimestamp": deleted},
                "spec": {"nodeName": "seven", "containers": []},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}
            });
            node_of(&serde_json::from_value(pod).unwrap()).map(ToOwned::to_owned)
        };
        assert_eq!(pod("True", None).as_deref(), Some("seven"));
        assert_eq!(pod("False", None), None);
        assert_eq!(pod("True", Some("2026-01-01T00:00:00Z")), None);
    }
}
