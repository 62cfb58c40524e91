//! The demonstration: bundled manifests, built-in echo backends, a certificate made at start.
//!
//! What is bundled is written to a directory of its own, so that people can change it and watch;
//! the directory goes away with the process.

pub(crate) mod guide;

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use model::ListenerProtocol;

use crate::control::Control;
use crate::echo::Echo;
use crate::run::{self, Gateway, StartError};
use crate::settings::Settings;
use crate::settings::value::OrOff;
use crate::signals::Signals;
use crate::wiring;

/// The manifests, as they stand in the repository.
const MANIFESTS: &[(&str, &str)] = &[
    ("1-hosts.yaml", include_str!("../demo/1-hosts.yaml")),
    ("2-fanout.yaml", include_str!("../demo/2-fanout.yaml")),
    ("3-tls.yaml", include_str!("../demo/3-tls.yaml")),
    ("4-websocket.yaml", include_str!("../demo/4-websocket.yaml")),
    ("5-rewrite.yaml", include_str!("../demo/5-rewrite.yaml")),
    ("6-broken.yaml", include_str!("../demo/6-broken.yaml")),
    ("services.yaml", include_str!("../demo/services.yaml")),
];

/// The backends: their names and the Services that they stand behind.
const BACKENDS: &[(&str, &str)] = &[
    ("shop-1", "shop"),
    ("shop-2", "shop"),
    ("blog-1", "blog"),
    ("cart-1", "cart"),
    ("chat-1", "chat"),
];

/// Why the demonstration did not start.
#[derive(Debug)]
pub(crate) enum DemoError {
    /// A file, a port or a thread.
    Io(io::Error),
    /// The certificate could not be made.
    Certificate(rcgen::Error),
    /// The gateway did not start.
    Start(StartError),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Certificate(error) => write!(f, "no certificate could be made: {error}"),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for DemoError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A running demonstration.
#[derive(Debug)]
pub(crate) struct Demo {
    gateway: Gateway,
    settings: Settings,
    directory: Directory,
    backends: Vec<Echo>,
    signals: Signals,
    control: Control,
}

impl Demo {
    /// Starts backends and gateway.
    pub(crate) fn start(mut settings: Settings) -> Result<Self, DemoError> {
        wiring::process_log(&settings);
        let control = Control::start("signals")?;
        let signals = control.handle().block_on(async { Signals::listen() })?;
        let backends = start_backends()?;
        let directory = Directory::create()?;
        for (name, text) in MANIFESTS {
            fs::write(directory.0.join(name), text)?;
        }
        fs::write(directory.0.join("endpoints.yaml"), slices(&backends))?;
        fs::write(directory.0.join("secret.yaml"), secret().map_err(DemoError::Certificate)?)?;
        settings.manifests = vec![directory.0.display().to_string()];
        let gateway = start_gateway(&mut settings)?;
        Ok(Self { gateway, settings, directory, backends, signals, control })
    }

    /// Serves until told to end.
    pub(crate) fn serve(self) -> ExitCode {
        let Self { gateway, settings, directory, backends, signals, control } = self;
        // The demonstration's listeners are what was free at its start.
        let as_it_is = settings.clone();
        let reload = || Ok(as_it_is.clone());
        let code = run::serve_until_told(gateway, signals, &control, settings, &reload);
        drop(backends);
        drop(directory);
        code
    }

    /// The address of a protocol.
    pub(crate) fn address(&self, protocol: ListenerProtocol) -> Option<SocketAddr> {
        self.gateway.address(protocol)
    }

    /// The admin address.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.gateway.admin_addresses().first().copied()
    }

    /// Where the manifests lie.
    pub(crate) fn manifests(&self) -> &Path {
        &self.directory.0
    }
}

/// A directory that is removed with everything in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    /// A new directory that only this user can read: a key will lie in it.
    fn create() -> io::Result<Self> {
        let base = std::env::temp_dir();
        for attempt in 0..100 {
            let path = base.join(format!("portcullis-demo-{}-{attempt}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "no name is free for a directory"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays for the system to clean up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start_backends() -> io::Result<Vec<Echo>> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    BACKENDS.iter().map(|(name, _)| Echo::start(name, &[anywhere])).collect()
}

/// One `EndpointSlice` for each backend.
fn slices(backends: &[Echo]) -> String {
    let mut text = "# Written at start: where the built-in echo backends listen.\n".to_owned();
    for ((name, service), echo) in BACKENDS.iter().zip(backends) {
        let port_name = if *service == "shop" { "http" } else { "\"\"" };
        let (ip, port) = (echo.address().ip(), echo.address().port());
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  namespace: demo
  labels:
    kubernetes.io/service-name: {service}
addressType: IPv4
endpoints:
  - addresses: [\"{ip}\"]
ports:
  - name: {port_name}
    port: {port}
"
        );
    }
    text
}

/// A Secret with a self-signed certificate for `secure.localhost`.
fn secret() -> Result<String, rcgen::Error> {
    let certified = rcgen::generate_simple_self_signed(vec!["secure.localhost".to_owned()])?;
    let indent = |text: String| format!("    {}\n", text.trim_end().replace('\n', "\n    "));
    Ok(format!(
        "# Written at start: a self-signed certificate. Clients cannot know it; hence curl's -k.\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: secure-tls\n  namespace: demo\n\
         type: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indent(certified.cert.pem()),
        indent(certified.signing_key.serialize_pem()),
    ))
}

/// How often other ports are tried.
const ATTEMPTS: usize = 5;

/// Starts the gateway. A port that was free when it was looked at may be taken when it is bound:
/// then others are tried.
fn start_gateway(settings: &mut Settings) -> Result<Gateway, DemoError> {
    let asked = settings.clone();
    for _ in 1..ATTEMPTS {
        if !take_free_ports(settings)? {
            break;
        }
        let count = |list: &[OrOff<SocketAddr>]| Settings::addresses(list).len();
        match Gateway::start(settings) {
            Ok(gateway)
                if gateway.addresses().len() == count(&settings.http) + count(&settings.https)
                    && gateway.admin_addresses().len() == count(&settings.admin) =>
            {
                return Ok(gateway);
            }
            Ok(gateway) => gateway.stop(),
            Err(StartError::NothingBound(_)) => {}
            Err(error) => return Err(DemoError::Start(error)),
        }
        settings.clone_from(&asked);
    }
    take_free_ports(settings)?;
    Gateway::start(settings).map_err(DemoError::Start)
}

/// Where a default address is taken by another program, takes a free port of it instead.
/// False when addresses were asked for by name.
fn take_free_ports(settings: &mut Settings) -> io::Result<bool> {
    let defaults = Settings::defaults();
    let mut all_ours = true;
    let lists = [
        (&mut settings.http, &defaults.http),
        (&mut settings.https, &defaults.https),
        (&mut settings.admin, &defaults.admin),
    ];
    for (list, default) in lists {
        // What somebody asked for by name is theirs, also when it fails.
        if list != default {
            all_ours = false;
            continue;
        }
        for address in list {
            if let OrOff::At(address) = address
                && TcpListener::bind(*address).is_err()
            {
                let free = TcpListener::bind(SocketAddr::new(address.ip(), 0))?;
                address.set_port(free.local_addr()?.port());
            }
        }
    }
    Ok(all_ours)
}
