//! Where the addresses come from that status tells: what the operator wrote, a Service, or the
//! nodes under our pods.
//!
//! A Service is watched by its name, pods by their labels in one namespace; of nodes, those under
//! the pods are asked for one by one, when they change and once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::address::{self, ADDRESSES_MAX, Address, OfService};
use super::complaint::{Complaint, reason};
use crate::cluster::chain;

/// How often nodes are asked for their addresses although the pods are where they were.
const NODES_AGAIN: Duration = Duration::from_mins(1);

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which addresses the status of Ingresses tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Published {
    /// None: status is not written.
    #[default]
    Nothing,
    /// These.
    Addresses(Vec<Address>),
    /// Those of a Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Those of the nodes under the ready pods with these labels.
    Nodes {
        /// The namespace of the pods.
        namespace: String,
        /// The labels, such as `app=portcullis`.
        selector: String,
    },
}

/// Keeps the addresses up to date for as long as it runs.
pub(crate) async fn run(published: Published, client: Client, tell: watch::Sender<Vec<Address>>) {
    match published {
        Published::Nothing => {}
        Published::Addresses(addresses) => send(&tell, addresses),
        Published::Service { namespace, name } => service(client, &namespace, &name, tell).await,
        Published::Nodes { namespace, selector } => {
            nodes(client, namespace, selector, Vec::new(), tell).await;
        }
    }
}

fn send(tell: &watch::Sender<Vec<Address>>, addresses: Vec<Address>) {
    let addresses = address::in_order(addresses);
    tell.send_if_modified(|known| {
        let is_new = *known != addresses;
        if is_new {
            let text: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            tracing::info!(addresses = text.join(","), "addresses for the status of Ingresses");
            *known = addresses;
        }
        is_new
    });
}

async fn service(client: Client, namespace: &str, name: &str, tell: watch::Sender<Vec<Address>>) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let seen = watcher::watch_object(services, name).default_backoff();
    pin_mut!(seen);
    let mut complaint = Complaint::new("the Service of --publish-service cannot be read");
    let mut absent = Complaint::new("no addresses for the status of Ingresses");
    let mut last = None;
    // One task at most: that of the nodes under the Service's pods.
    let mut nodes_of_service = JoinSet::new();
    while let Some(service) = seen.next().await {
        let found = match service {
            Ok(Some(service)) => {
                absent.mended();
                address::of_service(&service)
            }
            Ok(None) => {
                let why = format!("there is no Service {namespace}/{name}");
                absent.about(Instant::now(), &why);
                continue;
            }
            Err(error) => {
                complaint.about(Instant::now(), &chain(&error));
                continue;
            }
        };
        complaint.mended();
        if last.as_ref() == Some(&found) {
            continue;
        }
        last = Some(found.clone());
        nodes_of_service.shutdown().await;
        match found {
            OfService::Known(addresses) => send(&tell, addresses),
            OfService::Nodes { selector, otherwise } => {
                let (client, namespace) = (client.clone(), namespace.to_owned());
                nodes_of_service.spawn(nodes(client, namespace, selector, otherwise, tell.clone()));
            }
        }
    }
}

/// The addresses of the nodes under pods; `otherwise` where we may not know.
async fn nodes(
    client: Client,
    namespace: String,
    selector: String,
    otherwise: Vec<Address>,
    tell: watch::Sender<Vec<Address>>,
) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let nodes: Api<Node> = Api::all(client);
    let config = watcher::Config::default().labels(&selector);
    let seen = watcher(pods, config).default_backoff();
    pin_mut!(seen);
    let mut complaint = Complaint::new("the nodes under our pods cannot be read");
    let mut under = Under::default();
    let mut again = tokio::time::interval(NODES_AGAIN);
    loop {
        let has_changed = tokio::select! {
            event = seen.next() => match event {
                None => return,
                Some(Ok(event)) => under.take(event),
                Some(Err(error)) => {
                    complaint.about(Instant::now(), &chain(&error));
                    if is_forbidden_watch(&error) {
                        send(&tell, otherwise.clone());
                    }
                    continue;
                }
            },
            _ = again.tick() => true,
        };
        if !has_changed || !under.is_complete {
            continue;
        }
        match addresses_of(&nodes, &under.nodes()).await {
            Ok(addresses) => {
                complaint.mended();
                send(&tell, addresses);
            }
            Err(error) => {
                complaint.about(Instant::now(), &reason(&error));
                if matches!(&*error, kube::Error::Api(status) if status.is_forbidden()) {
                    send(&tell, otherwise.clone());
                }
            }
        }
    }
}

fn is_forbidden_watch(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) =
        error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

async fn addresses_of(
    nodes: &Api<Node>,
    names: &BTreeSet<&str>,
) -> Result<Vec<Address>, Box<kube::Error>> {
    let mut addresses = Vec::new();
    // More would not be told.
    for name in names.iter().take(ADDRESSES_MAX) {
        match timeout(PATIENCE, nodes.get_opt(name)).await {
            Ok(Ok(node)) => addresses.extend(node.iter().flat_map(address::of_node)),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
                return Err(kube::Error::Service(late.into()).into());
            }
        }
    }
    Ok(addresses)
}

/// The node under each pod, by the pod's name.
#[derive(Debug, Default)]
struct Under {
    pods: BTreeMap<String, Option<String>>,
    /// Those of a list that is not complete yet.
    listed: BTreeMap<String, Option<String>>,
    is_complete: bool,
}

impl Under {
    /// Takes an event in; whether the nodes may have changed.
    fn take(&mut self, event: watcher::Event<Pod>) -> bool {
        let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
        let node = |pod: &Pod| address::node_of(pod).map(ToOwned::to_owned);
        match event {
            watcher::Event::Apply(pod) => {
                let node = node(&pod);
                self.pods.insert(name(&pod), node.clone()) != Some(node)
            }
            watcher::Event::Delete(pod) => self.pods.remove(&name(&pod)).is_some(),
            watcher::Event::Init => {
                self.listed.clear();
                false
            }
            watcher::Event::InitApply(pod) => {
                self.listed.insert(name(&pod), node(&pod));
                false
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let has_changed = !self.is_complete || listed != self.pods;
                (self.pods, self.is_complete) = (listed, true);
                has_changed
            }
        }
    }

    fn nodes(&self) -> BTreeSet<&str> {
        self.pods.values().flatten().map(String::as_str).collect()
    }
}
