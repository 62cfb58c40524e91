//! How to reach the API server: the service account of a pod, or a kubeconfig.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::line::{self, Gate, Liveness};

/// How long a connection to the API server may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the kubelet puts the namespace of a pod.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Which API server, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// A kubeconfig; where there is none, the service account in a pod, and elsewhere what
    /// `KUBECONFIG` or the home directory has.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; its current one when absent.
    pub context: Option<String>,
}

/// Why the API server cannot even be asked.
#[derive(Debug)]
pub struct ConnectError {
    /// What was read.
    pub source: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, problem } = self;
        write!(f, "no way to an API server from {source}: {problem}")
    }
}

impl std::error::Error for ConnectError {}

/// The API server as our two kinds of callers see it.
#[derive(Clone)]
pub struct Clients {
    /// For lists and watches, whose failures are looked at by those who wait for them.
    pub reading: Client,
    /// For single requests: tried again for a while when the server says that it is busy, and held
    /// back as long as it asks for.
    pub writing: Client,
    /// Where it was read how to reach the server, for the log.
    pub source: String,
    /// The address of the server.
    pub address: String,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("address", &self.address).finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Reads what is needed to ask the API server. Nothing is asked yet: it may be away.
    ///
    /// # Errors
    /// When there is no kubeconfig and this is no pod, or what is there cannot be used.
    pub async fn connect(&self) -> Result<Clients, ConnectError> {
        let (mut config, source) = self.config().await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let address = config.cluster_url.to_string();
        let client = |gate| {
            line::client(config.clone(), Liveness::default(), gate)
                .map_err(|error| ConnectError { source: source.clone(), problem: chain(&error) })
        };
        let reading = client(None)?;
        let writing = client(Some(Gate::default()))?;
        Ok(Clients { reading, writing, source, address })
    }

    async fn config(&self) -> Result<(Config, String), ConnectError> {
        let options =
            KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        if let Some(path) = &self.kubeconfig {
            let source = path.display().to_string();
            let failed = |problem: String| ConnectError { source: source.clone(), problem };
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| failed(chain(&error)))?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            return config
                .map(|config| (config, source.clone()))
                .map_err(|error| failed(chain(&error)));
        }
        if is_in_pod() && self.context.is_none() {
            let source = "the service account of this pod".to_owned();
            return match Config::incluster() {
                Ok(config) => Ok((config, source)),
                Err(error) => Err(ConnectError { source, problem: chain(&error) }),
            };
        }
        let source = "KUBECONFIG or ~/.kube/config".to_owned();
        match Config::from_kubeconfig(&options).await {
            Ok(config) => Ok((config, source)),
            Err(error) => Err(ConnectError { source, problem: chain(&error) }),
        }
    }
}

/// Whether this process runs in a pod that may ask its API server.
#[must_use]
pub fn is_in_pod() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The namespace of this pod, as the kubelet wrote it down.
#[must_use]
pub fn pod_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(NAMESPACE_FILE).ok()?;
    let namespace = namespace.trim();
    (!namespace.is_empty()).then(|| namespace.to_owned())
}

/// An error with its causes: the outermost alone often says nothing.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many errors already say what their cause says.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
