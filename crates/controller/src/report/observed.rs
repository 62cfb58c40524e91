//! What the API server says of each Ingress, for those who report on it: identity, version, and
//! the addresses in its status.
//!
//! Filled by the watch of Ingresses, and by the answers to our own writes, which come earlier.
//! As large as the watch's own list: one entry for each Ingress there is, and one for each that is
//! watched no more and still has our addresses, of which there are [`LEFT_MAX`] at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress};
use tokio::sync::Notify;

use super::address::Address;

/// Namespace and name of an Ingress.
pub(crate) type IngressKey = (Arc<str>, Arc<str>);

/// An Ingress as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Another one for an object that was deleted and created anew.
    pub(crate) uid: Arc<str>,
    /// The version to write against.
    pub(crate) version: Arc<str>,
    /// Counts changes of its spec.
    pub(crate) generation: i64,
    /// What its status says, in order.
    pub(crate) addresses: Vec<Address>,
    /// Whether we are who wrote that.
    pub(crate) is_written_by_us: bool,
    /// Whether we had written some when this process saw the object first: it was served before.
    pub(crate) was_served_before: bool,
    /// It is watched no more, as its namespace is not ours now: kept until our addresses are out.
    pub(crate) has_left: bool,
}

/// Of more Ingresses that leave with our addresses, those addresses stay.
const LEFT_MAX: usize = 10_000;

impl Seen {
    /// Whether it has addresses that we wrote.
    pub(crate) fn has_ours(&self) -> bool {
        self.is_written_by_us && !self.addresses.is_empty()
    }
}

/// A table of all Ingresses as they were seen last, shared between who watches and who reports.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The name under which we write status.
    manager: String,
    ingresses: Mutex<BTreeMap<IngressKey, Seen>>,
    changed: Notify,
}

impl Observed {
    /// An empty table. `manager` is the field manager under which status is written.
    pub(crate) fn new(manager: impl Into<String>) -> Self {
        Self { manager: manager.into(), ingresses: Mutex::default(), changed: Notify::new() }
    }

    /// The watch saw an Ingress, with its `managedFields`. What is older than what is known of the
    /// same object is passed over.
    pub(crate) fn observe(&self, ingress: &Ingress) {
        self.take(ingress, false);
    }

    /// The watch saw an Ingress go, or a new list does not have it any more.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        let key = (namespace.into(), name.into());
        if self.ingresses().remove(&key).is_some() {
            self.changed.notify_one();
        }
    }

    /// An Ingress is watched no more, and may well be there. It is kept while it has addresses that
    /// we wrote.
    pub(crate) fn leave(&self, namespace: &str, name: &str) {
        let key = (namespace.into(), name.into());
        let mut ingresses = self.ingresses();
        let left = ingresses.values().filter(|seen| seen.has_left).count();
        let Some(seen) = ingresses.get_mut(&key) else { return };
        if seen.has_ours() && left < LEFT_MAX {
            seen.has_left = true;
        } else {
            ingresses.remove(&key);
        }
        drop(ingresses);
        self.changed.notify_one();
    }

    /// The server was asked, and this is its answer, whatever was known.
    pub(crate) fn settle(&self, ingress: &Ingress) {
        self.take(ingress, true);
    }

    /// An Ingress as it was seen last.
    pub(crate) fn get(&self, key: &IngressKey) -> Option<Seen> {
        self.ingresses().get(key).cloned()
    }

    /// Looks at every Ingress, in order.
    pub(crate) fn each(&self, mut look: impl FnMut(&IngressKey, &Seen)) {
        self.ingresses().iter().for_each(|(key, seen)| look(key, seen));
    }

    /// Waits until something has changed since the last wait.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn take(&self, ingress: &Ingress, is_certain: bool) {
        let Some((key, mut seen)) = read(ingress, &self.manager) else { return };
        let mut ingresses = self.ingresses();
        if let Some(known) = ingresses.get(&key).filter(|known| known.uid == seen.uid) {
            seen.was_served_before = known.was_served_before;
            // Who watches it again has seen it come.
            seen.has_left = known.has_left && is_certain;
            if *known == seen || (is_older(&seen.version, &known.version) && !is_certain) {
                return;
            }
        }
        if seen.has_left && !seen.has_ours() {
            ingresses.remove(&key);
        } else {
            ingresses.insert(key, seen);
        }
        drop(ingresses);
        self.changed.notify_one();
    }

    fn ingresses(&self) -> MutexGuard<'_, BTreeMap<IngressKey, Seen>> {
        self.ingresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Versions are numbers that grow; what is none is newer, so that nothing is held on to for ever.
fn is_older(version: &str, than: &str) -> bool {
    match (version.parse::<u128>(), than.parse::<u128>()) {
        (Ok(version), Ok(than)) => version < than,
        _ => false,
    }
}

fn read(ingress: &Ingress, manager: &str) -> Option<(IngressKey, Seen)> {
    let metadata = &ingress.metadata;
    let key = (metadata.namespace.as_deref()?.into(), metadata.name.as_deref()?.into());
    let entries = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let entries = entries.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let mut addresses: Vec<Address> = entries.iter().filter_map(address).collect();
    addresses.sort();
    addresses.dedup();
    let managers = metadata.managed_fields.as_deref().unwrap_or_default();
    let is_written_by_us = managers.iter().any(|entry| {
        entry.manager.as_deref() == Some(manager) && entry.subresource.as_deref() == Some("status")
    });
    let was_served_before = is_written_by_us && !addresses.is_empty();
    let seen = Seen {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        generation: metadata.generation.unwrap_or_default(),
        addresses,
        is_written_by_us,
        was_served_before,
        has_left: false,
    };
    Some((key, seen))
}

fn address(entry: &IngressLoadBalancerIngress) -> Option<Address> {
    Address::of(entry.ip.as_deref(), entry.hostname.as_deref())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::{IngressLoadBalancerStatus, IngressStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn ingress(uid: &str, version: &str, ips: &[&str]) -> Ingress {
        let entry = |ip: &&str| IngressLoadBalancerIngress {
            ip: Some((*ip).into()),
            ..IngressLoadBalancerIngress::default()
        };
        let mut ingress = Ingress::default();
        ingress.metadata.namespace = Some("shop".into());
        ingress.metadata.name = Some("web".into());
        ingress.metadata.uid = Some(uid.into());
        ingress.metadata.resource_version = Some(version.into());
        let balancer = IngressLoadBalancerStatus { ingress: Some(ips.iter().map(entry).collect()) };
        ingress.status = Some(IngressStatus { load_balancer: Some(balancer) });
        ingress
    }

    fn version(observed: &Observed) -> Option<String> {
        let seen = observed.get(&("shop".into(), "web".into()));
        seen.map(|seen| seen.version.to_string())
    }

    #[test]
    fn what_is_older_is_passed_over_unless_the_server_was_asked() {
        let observed = Observed::new("portcullis");
        observed.observe(&ingress("a", "10", &[]));
        observed.observe(&ingress("a", "9", &[]));
        assert_eq!(version(&observed).as_deref(), Some("10"));
        observed.settle(&ingress("a", "9", &[]));
        assert_eq!(version(&observed).as_deref(), Some("9"));
        observed.observe(&ingress("b", "3", &[]));
        assert_eq!(version(&observed).as_deref(), Some("3"), "another object of that name");
        observed.forget("shop", "web");
        assert_eq!(version(&observed), None);
    }

    #[test]
    fn what_leaves_is_kept_while_it_has_our_addresses_and_no_longer() {
        let observed = Observed::new("portcullis");
        let key = ("shop".into(), "web".into());
        let ours = |version: &str, ips: &[&str]| {
            let mut object = ingress("a", version, ips);
            object.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
                manager: Some("portcullis".into()),
                subresource: Some("status".into()),
                ..ManagedFieldsEntry::default()
            }]);
            object
        };
        observed.observe(&ingress("a", "1", &["192.0.2.9"]));
        observed.leave("shop", "web");
        assert_eq!(observed.get(&key), None, "another wrote them");
        observed.observe(&ours("2", &["192.0.2.9"]));
        observed.leave("shop", "web");
        assert!(observed.get(&key).unwrap().has_left);
        observed.settle(&ours("3", &["192.0.2.9"]));
        assert!(observed.get(&key).unwrap().has_left, "only looked at");
        observed.observe(&ours("3", &["192.0.2.9"]));
        assert!(!observed.get(&key).unwrap().has_left, "it came back");
        observed.leave("shop", "web");
        observed.settle(&ours("4", &[]));
        assert_eq!(observed.get(&key), None, "nothing is left to do");
    }

    #[test]
    fn addresses_are_in_order_and_once() {
        let observed = Observed::new("portcullis");
        observed.observe(&ingress("a", "1", &["192.0.2.9", "192.0.2.10", "192.0.2.9"]));
        let seen = observed.get(&("shop".into(), "web".into())).unwrap();
        let texts: Vec<String> = seen.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["192.0.2.9", "192.0.2.10"]);
    }

    #[test]
    fn only_status_written_under_our_name_is_ours() {
        let mut object = ingress("a", "1", &["192.0.2.9"]);
        let entry = |manager: &str, subresource: Option<&str>| ManagedFieldsEntry {
            manager: Some(manager.into()),
            subresource: subresource.map(Into::into),
            ..ManagedFieldsEntry::default()
        };
        let is_ours = |object: &Ingress| read(object, "portcullis").unwrap().1.is_written_by_us;
        assert!(!is_ours(&object));
        object.metadata.managed_fields =
            Some(vec![entry("portcullis", None), entry("another", Some("status"))]);
        assert!(!is_ours(&object));
        object.metadata.managed_fields = Some(vec![entry("portcullis", Some("status"))]);
        assert!(is_ours(&object));
    }
}
