//! Objects from an API server: one watch for each kind and namespace, all into one inflow.
//!
//! ```text
//!  kinds × namespaces ─ follow ─┐
//!  namespaces by selector ──────┼─► inflow ─► compiler ─ references ─┐
//!  Secrets by name ◄────────────┘                                    │
//!        ▲────────────────────── wanted ─────────────────────────────┘
//! ```
//!
//! Nothing here serves or waits for traffic: while the API server is away, what was read last is
//! what is served.

mod backoff;
mod connect;
mod contact;
mod follow;
mod forbidden;
mod inflow;
mod line;
mod referenced;
mod teller;
mod watched;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Api;
use kube::core::{ApiResource, DynamicObject};
use telemetry::Telemetry;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use translate::{ClusterIngressParameters, ObjectKey, ObjectKind, References};

pub(crate) use connect::chain;
pub use connect::{ApiServer, Clients, ConnectError, is_in_pod, pod_namespace};
pub(crate) use forbidden::{explain, resource};
pub(crate) use inflow::Inflow;

use crate::report::{Observed, ReportSettings};
use contact::Contact;
use follow::{Follow, Known, Limits};
use teller::{Selected, Teller, Wanted};
use watched::{Namespaced, Watched};

/// How often it is said what is still waited for at the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the compiler is woken where its inbox was full.
const NUDGE: Duration = Duration::from_millis(500);

/// Whose objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces'.
    All,
    /// Those of these namespaces, with rights in them alone.
    Namespaces(BTreeSet<String>),
    /// Those of the namespaces that a label selector picks.
    Selected(String),
}

/// What is read, and from where.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// How the API server is asked.
    pub clients: Clients,
    /// Whose objects are read.
    pub scope: Scope,
    /// Every Secret of type `kubernetes.io/tls` is read, and not those alone that are referenced.
    pub reads_all_tls: bool,
    /// What is told to the API server; nothing when absent.
    pub report: Option<ReportSettings>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// All watches. They end when this is dropped.
pub(crate) struct Watches {
    wanted: watch::Sender<Arc<BTreeSet<ObjectKey>>>,
    inflow: Arc<Inflow>,
    _tasks: Vec<Task>,
}

impl fmt::Debug for Watches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watches").finish_non_exhaustive()
    }
}

/// A watch that can be ended before the others, and is forgotten then with all it told.
struct Ending {
    name: Arc<str>,
    kind: ObjectKind,
    known: Known,
    task: Task,
}

impl Ending {
    fn end(self, maker: &Maker) {
        // First the task, so that nothing more is told.
        drop(self.task);
        maker.contact.forget(self.kind, &self.name);
        let known = self.known.take();
        if let Some(observed) = &maker.observed {
            for key in known.iter().filter(|key| key.kind == ObjectKind::Ingress) {
                // It is there as before, and has what we wrote.
                observed.leave(&key.namespace, &key.name);
            }
        }
        maker.inflow.forget(&self.name, known);
    }

    /// Ends it in favour of another, which is to take over what it told.
    fn replace(self, maker: &Maker) -> HashSet<ObjectKey> {
        drop(self.task);
        maker.contact.forget(self.kind, &self.name);
        maker.inflow.forget(&self.name, []);
        self.known.take()
    }
}

/// What every watch is made of.
#[derive(Clone)]
struct Maker {
    settings: ClusterSettings,
    inflow: Arc<Inflow>,
    contact: Arc<Contact>,
    observed: Option<Arc<Observed>>,
    runtime: Handle,
}

impl Watches {
    /// Starts all watches.
    pub(crate) fn start(
        settings: ClusterSettings,
        inflow: Arc<Inflow>,
        observed: Option<Arc<Observed>>,
        telemetry: Arc<Telemetry>,
        runtime: Handle,
    ) -> Self {
        tracing::info!(
            api_server = settings.clients.address,
            from = settings.clients.source,
            "reading from an API server"
        );
        let contact = Arc::new(Contact::new(telemetry));
        let (wanted, wants) = watch::channel(Arc::default());
        let scope = settings.scope.clone();
        let maker = Maker { settings, inflow: Arc::clone(&inflow), contact, observed, runtime };
        // Whose an Ingress is, its class says. Who reads the whole cluster and cannot see classes
        // must not conclude that no Ingress is ours; with Roles alone, settings name the classes.
        let does_without_classes = matches!(scope, Scope::Namespaces(_));
        // Else the first watches could have listed before the last are expected.
        let start: Arc<str> = "start".into();
        inflow.expect(&start);
        let mut tasks = vec![
            maker.everywhere::<IngressClass>(does_without_classes, None, Wanted::All),
            maker.everywhere::<ClusterIngressParameters>(true, None, Wanted::All),
        ];
        if maker.settings.reads_all_tls {
            tracing::warn!(
                "every TLS Secret of the cluster is read, whoever owns it: `--secrets referenced` \
                 reads those alone that Ingresses name"
            );
            let fields = Some("type=kubernetes.io/tls".to_owned());
            tasks.push(maker.everywhere::<Secret>(false, fields, Wanted::All));
        }
        match scope {
            Scope::All => {
                tasks.push(maker.everywhere::<Ingress>(false, None, Wanted::All));
                tasks.push(maker.everywhere::<Service>(false, None, Wanted::All));
                tasks.push(maker.everywhere::<EndpointSlice>(false, None, Wanted::All));
                tasks.push(maker.everywhere::<Namespace>(true, None, Wanted::All));
            }
            Scope::Namespaces(namespaces) => {
                for namespace in namespaces {
                    let watches = maker.namespace(&namespace.into());
                    tasks.extend(watches.map(|watch| watch.task));
                }
            }
            Scope::Selected(selector) => tasks.extend(maker.selected(selector)),
        }
        inflow.synced(&start);
        let referenced = referenced::run(maker.clone(), wants);
        tasks.push(maker.spawn(referenced));
        tasks.push(maker.spawn(nudge(Arc::clone(&inflow))));
        tasks.push(maker.spawn(be_patient(Arc::clone(&inflow))));
        Self { wanted, inflow, _tasks: tasks }
    }

    /// What a translation looked at by name is read from now on; gives the namespaces of what has
    /// not been found or found missing yet.
    pub(crate) fn want(&self, references: &References) -> BTreeSet<Arc<str>> {
        let kinds = [ObjectKind::Secret, ObjectKind::ConfigMap];
        let wanted: BTreeSet<ObjectKey> =
            references.keys().filter(|key| kinds.contains(&key.kind)).cloned().collect();
        let missing = self.inflow.namespaces_of_unsettled(&wanted);
        self.wanted.send_if_modified(|current| {
            let is_other = **current != wanted;
            if is_other {
                *current = Arc::new(wanted);
            }
            is_other
        });
        missing
    }
}

impl Maker {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(self.runtime.spawn(task).abort_handle())
    }

    fn teller(&self, wanted: Wanted) -> Arc<Teller> {
        let (inflow, contact) = (Arc::clone(&self.inflow), Arc::clone(&self.contact));
        Arc::new(Teller { inflow, contact, wanted })
    }

    /// A watch over all namespaces, or of what is in none.
    fn everywhere<K: Watched>(
        &self,
        is_optional: bool,
        fields: Option<String>,
        wanted: Wanted,
    ) -> Task {
        let follow = Follow {
            name: K::plural(&()).into(),
            kind: K::KIND,
            namespace: None,
            object: None,
            fields,
            labels: None,
            is_optional,
            told: self.teller(wanted),
            known: Known::default(),
            observed: self.observed.clone(),
            limits: Limits::default(),
        };
        self.inflow.expect(&follow.name);
        let client = &self.settings.clients.reading;
        let typed = Api::<K>::all(client.clone());
        let untyped = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
        self.spawn(follow.run(typed, untyped))
    }

    /// The watches of one namespace.
    fn namespace(&self, namespace: &Arc<str>) -> [Ending; 3] {
        [
            self.within::<Ingress>(namespace, None, Wanted::All),
            self.within::<Service>(namespace, None, Wanted::All),
            self.within::<EndpointSlice>(namespace, None, Wanted::All),
        ]
    }

    /// A watch in one namespace, or of one object in it.
    fn within<K: Namespaced>(
        &self,
        namespace: &Arc<str>,
        object: Option<Arc<str>>,
        wanted: Wanted,
    ) -> Ending {
        let resource = K::plural(&());
        let is_expected = matches!(wanted, Wanted::All);
        let name = match &object {
            Some(object) => format!("{resource} {namespace}/{object}"),
            None => format!("{resource} in {namespace}"),
        };
        let follow = Follow {
            name: name.into(),
            kind: K::KIND,
            namespace: Some(Arc::clone(namespace)),
            object,
            fields: None,
            labels: None,
            is_optional: false,
            told: self.teller(wanted),
            known: Known::default(),
            observed: self.observed.clone(),
            limits: Limits::default(),
        };
        let (name, known) = (Arc::clone(&follow.name), follow.known.clone());
        if is_expected {
            // Before it can have listed: else it would be waited for without end.
            self.inflow.expect(&name);
        }
        let client = &self.settings.clients.reading;
        let untyped = ApiResource::erase::<K>(&());
        let untyped: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &untyped);
        let typed = Api::<K>::namespaced(client.clone(), namespace);
        let task = self.spawn(follow.run(typed, untyped));
        Ending { name, kind: K::KIND, known, task }
    }

    /// The watch of namespaces with some labels, and the task that has each of them watched.
    fn selected(&self, selector: String) -> [Task; 2] {
        // As many wait as there are namespaces.
        let (sender, receiver) = mpsc::unbounded_channel();
        let follow = Follow {
            name: "namespaces".into(),
            kind: ObjectKind::Namespace,
            namespace: None,
            object: None,
            fields: None,
            labels: Some(selector),
            is_optional: false,
            told: self.teller(Wanted::Namespaces(sender)),
            known: Known::default(),
            observed: self.observed.clone(),
            limits: Limits::default(),
        };
        self.inflow.expect(&follow.name);
        let name = Arc::clone(&follow.name);
        let client = &self.settings.clients.reading;
        let typed = Api::<Namespace>::all(client.clone());
        let untyped = Api::all_with(client.clone(), &ApiResource::erase::<Namespace>(&()));
        [
            self.spawn(follow.run(typed, untyped)),
            self.spawn(follow_namespaces(self.clone(), name, receiver)),
        ]
    }
}

/// Has every selected namespace watched, and what was in one that leaves forgotten.
async fn follow_namespaces(
    maker: Maker,
    name: Arc<str>,
    mut selected: mpsc::UnboundedReceiver<Selected>,
) {
    let mut watched: HashMap<Arc<str>, [Ending; 3]> = HashMap::new();
    while let Some(news) = selected.recv().await {
        let (joining, leaving) = match news {
            Selected::Are(all) => {
                let leaving = watched.keys().filter(|known| !all.contains(known)).cloned();
                let leaving = leaving.collect();
                (all, leaving)
            }
            Selected::Joins(namespace) => (vec![namespace], Vec::new()),
            Selected::Leaves(namespace) => (Vec::new(), vec![namespace]),
        };
        for namespace in leaving {
            for watch in watched.remove(&namespace).into_iter().flatten() {
                watch.end(&maker);
            }
        }
        for namespace in joining {
            watched.entry(Arc::clone(&namespace)).or_insert_with(|| maker.namespace(&namespace));
        }
        maker.inflow.synced(&name);
    }
}

async fn nudge(inflow: Arc<Inflow>) {
    loop {
        tokio::time::sleep(NUDGE).await;
        inflow.nudge();
    }
}

/// Says what is waited for until everything has been listed.
async fn be_patient(inflow: Arc<Inflow>) {
    loop {
        tokio::time::sleep(PATIENCE).await;
        let missing = inflow.unsynced();
        if missing.is_empty() {
            return;
        }
        tracing::warn!(
            missing = missing.join(", "),
            "not ready: the API server has not listed everything yet"
        );
    }
}
