//! A real control plane: etcd and kube-apiserver as processes, and what a test does with them.
//!
//! It starts in a few seconds: etcd writes without waiting for the disk, the API server audits
//! nothing. Everything else is as in a cluster: RBAC decides, admission plugins are those of the
//! defaults (but that of service accounts, which needs controllers), certificates are checked.
//! There is no kubelet, so a test writes the `EndpointSlice`s of its own backends; those that need
//! what the controllers of a cluster do start them with [`ControlPlaneOptions::controllers`].
//!
//! Everything listens on 127.0.0.1 of a `network` that the tests of a process have for
//! themselves, and nothing outlives the test, however it ends: see `keeper`.

mod api;
mod assets;
mod cable;
mod credentials;
mod ended;
mod flags;
mod keeper;
mod kubectl;
pub mod network;
mod program;
pub mod render;
mod turnstile;

pub use api::{Answer, path_of};
pub use cable::Cable;
pub use credentials::{Credentials, base64};
pub use turnstile::{Passing, Rule, Turnstile};

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::gateway::free_address;
use crate::{Authority, wait_until};
use api::Line;
use flags::Flags;
use keeper::Keeper;
use program::Program;

/// How long a program of the control plane may take to answer: two cores may be busy elsewhere.
const START: Duration = Duration::from_secs(90);

/// How often programs are started again because somebody took their port in between.
const TRIES: usize = 3;

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct ControlPlaneOptions {
    has_controllers: bool,
    is_reachable: bool,
    api_server: Vec<String>,
}

impl ControlPlaneOptions {
    /// etcd and the API server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts kube-controller-manager, too: `EndpointSlice`s of selectors, namespaces that end,
    /// service accounts, garbage collection.
    #[must_use]
    pub fn controllers(mut self) -> Self {
        self.has_controllers = true;
        self
    }

    /// Starts it in the network of the machine, for people: tests have one of their own.
    #[must_use]
    pub fn reachable(mut self) -> Self {
        self.is_reachable = true;
        self
    }

    /// Gives the API server this further flag.
    #[must_use]
    pub fn api_server(mut self, flag: &str) -> Self {
        self.api_server.push(flag.to_owned());
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// When it does not; what the programs said is shown.
    pub fn start(self) -> ControlPlane {
        ControlPlane::start_with(&self)
    }
}

/// A running control plane. Its programs are killed and its data removed when it is dropped.
pub struct ControlPlane {
    authority: Authority,
    address: SocketAddr,
    etcd: Mutex<Program>,
    api_server: Mutex<Program>,
    controllers: Mutex<Option<Program>>,
    admin: PathBuf,
    line: Mutex<Line>,
    written: AtomicUsize,
    // Last: it removes what the programs write to.
    keeper: Keeper,
}

impl ControlPlane {
    /// Starts etcd and an API server of its own.
    pub fn start() -> Self {
        ControlPlaneOptions::new().start()
    }

    /// One that all tests of this process share, started by the first that asks. A test that stops
    /// it, or looks at the whole cluster, has its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        network::join();
        SHARED.get_or_init(Self::start)
    }

    /// As [`Self::shared`], one with the controllers of a cluster.
    ///
    /// # Panics
    /// When it does not start; what its programs said is shown.
    pub fn shared_with_controllers() -> &'static Self {
        static SHARED: OnceLock<ControlPlane> = OnceLock::new();
        network::join();
        SHARED.get_or_init(|| ControlPlaneOptions::new().controllers().start())
    }

    fn start_with(options: &ControlPlaneOptions) -> Self {
        if !options.is_reachable {
            network::join();
        }
        let keeper = Keeper::start();
        let authority = Authority::new();
        let flags = Flags::write(keeper.directory(), &authority);
        let etcd = serving(|| {
            let address = free_address();
            (Flags::etcd(keeper.directory(), address), address)
        });
        let (etcd, etcd_address) = etcd;
        let (api_server, address) = serving(|| {
            let address = free_address();
            (flags.api_server(keeper.directory(), etcd_address, address, options), address)
        });
        let admin = Credentials::Certificate(authority.user("admin", "system:masters"));
        let line = Line::new(address, &authority, &admin);
        let mut plane = Self {
            authority,
            address,
            etcd: Mutex::new(etcd),
            api_server: Mutex::new(api_server),
            controllers: Mutex::new(None),
            admin: PathBuf::new(),
            line: Mutex::new(line),
            written: AtomicUsize::new(0),
            keeper,
        };
        plane.admin = plane.kubeconfig_with(&admin, address);
        plane.wait_ready();
        if options.has_controllers {
            let mut program = flags.controllers(plane.keeper.directory(), &plane.admin);
            program.start();
            *lock(&plane.controllers) = Some(program);
            // The last thing that a controller must have made before a pod could start.
            wait_until("the controllers have made the default service account", || {
                plane.look("/api/v1/namespaces/default/serviceaccounts/default").is_some()
            });
        }
        plane
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A directory that ends with the control plane, for what a test writes.
    pub fn directory(&self) -> &Path {
        self.keeper.directory()
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// Writes a kubeconfig of these credentials, for the API server at this address: its own, or
    /// that of a [`Cable`] to it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn kubeconfig_with(&self, credentials: &Credentials, address: SocketAddr) -> PathBuf {
        let index = self.written.fetch_add(1, Ordering::SeqCst);
        let path = self.directory().join(format!("kubeconfig-{index}"));
        let text = credentials.kubeconfig(address, &self.authority);
        fs::write(&path, text).expect("the directory can be written to");
        path
    }

    /// The credentials of a user who is in a group; what they may do is for RBAC objects to say.
    pub fn user(&self, name: &str, group: &str) -> Credentials {
        Credentials::Certificate(self.authority.user(name, group))
    }

    /// A token of a service account, which is created where it is not there.
    ///
    /// # Panics
    /// When the API server gives none.
    pub fn service_account(&self, namespace: &str, name: &str) -> Credentials {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        if self.look(&format!("{accounts}/{name}")).is_none() {
            self.create(
                &accounts,
                &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } }),
            );
        }
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let token = self.create(&format!("{accounts}/{name}/token"), &request);
        Credentials::Token(token["status"]["token"].as_str().expect("a token").to_owned())
    }

    /// Creates a namespace that no other test has; its name begins with `prefix`.
    pub fn namespace(&self, prefix: &str) -> String {
        let namespace = self.create(
            "/api/v1/namespaces",
            &json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "generateName": format!("{prefix}-") },
            }),
        );
        namespace["metadata"]["name"].as_str().expect("a name").to_owned()
    }

    /// Kills the API server: its connections end, its address refuses new ones.
    pub fn kill_api_server(&self) {
        lock(&self.api_server).kill();
    }

    /// Starts a killed API server anew at its address, with its data, and waits until it serves.
    ///
    /// # Panics
    /// When it does not; what it said is shown.
    pub fn start_api_server(&self) {
        lock(&self.api_server).start();
        self.wait_ready();
    }

    /// Stops etcd where it is: it answers nothing, and keeps its connections.
    pub fn pause_etcd(&self) {
        lock(&self.etcd).pause();
    }

    /// Lets etcd go on.
    pub fn resume_etcd(&self) {
        lock(&self.etcd).resume();
    }

    /// Stops the API server where it is: connections stay, nothing is answered.
    pub fn pause_api_server(&self) {
        lock(&self.api_server).pause();
    }

    /// Lets the API server go on.
    pub fn resume_api_server(&self) {
        lock(&self.api_server).resume();
    }

    /// Waits until the API server is ready and has made what every cluster has.
    fn wait_ready(&self) {
        let started = Instant::now();
        let is_ready = |path| self.try_request("GET", path, None).is_ok_and(|a| a.status == 200);
        while !(is_ready("/readyz") && is_ready("/api/v1/namespaces/default")) {
            let mut api_server = lock(&self.api_server);
            let ended = api_server.ended();
            assert!(
                ended.is_none() && started.elapsed() < START,
                "the API server does not get ready ({ended:?}):\n{}\netcd:\n{}",
                api_server.said(),
                lock(&self.etcd).said()
            );
            drop(api_server);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = lock(&self.api_server).said();
            eprintln!("--- the API server said:\n{said}---");
        }
    }
}

/// Starts a program until it listens; another may have taken its port.
fn serving(mut make: impl FnMut() -> (Program, SocketAddr)) -> (Program, SocketAddr) {
    let mut said = String::new();
    for _ in 0..TRIES {
        let (mut program, address) = make();
        program.start();
        if program.listens(address, START) {
            return (program, address);
        }
        said = program.said();
        if !said.contains("address already in use") {
            break;
        }
    }
    panic!("a program of the control plane does not listen:\n{said}");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
