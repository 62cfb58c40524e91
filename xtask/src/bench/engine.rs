//! One proxy under measurement: how it is started, and proof that it does the work.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::Client;
use super::fleet::{Fleet, HOSTS, SERVICES, free_port, host};
use super::nginx::Buffers;
use super::place::PROXY_CORE;
use super::process::Running;
use super::{Result, backend, haproxy, manifests, nginx};

/// Fields that every proxy must set on what it forwards: the same work for all.
const FIELDS: [&str; 6] = [
    "x-real-ip",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// A proxy, with the variations that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx { buffers: Buffers, access_log: bool },
    Haproxy { buffers: Buffers },
    Ours { access_log: bool },
}

pub(super) const NGINX: Kind = Kind::Nginx { buffers: Buffers::Usual, access_log: false };
pub(super) const NGINX_LOG: Kind = Kind::Nginx { buffers: Buffers::Usual, access_log: true };
pub(super) const NGINX_LARGE: Kind = Kind::Nginx { buffers: Buffers::Large, access_log: false };
pub(super) const HAPROXY: Kind = Kind::Haproxy { buffers: Buffers::Usual };
pub(super) const HAPROXY_LARGE: Kind = Kind::Haproxy { buffers: Buffers::Large };
pub(super) const OURS: Kind = Kind::Ours { access_log: false };
pub(super) const OURS_LOG: Kind = Kind::Ours { access_log: true };

impl Kind {
    /// The name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nginx { access_log: true, .. } => "nginx, access log",
            Self::Nginx { buffers: Buffers::Usual, .. } => "nginx",
            Self::Nginx { buffers: Buffers::Large, .. } => "nginx, large buffers",
            Self::Haproxy { buffers: Buffers::Usual } => "HAProxy",
            Self::Haproxy { buffers: Buffers::Large } => "HAProxy, large buffers",
            Self::Ours { access_log: false } => "Portcullis",
            Self::Ours { access_log: true } => "Portcullis, access log",
        }
    }

    /// The name in `--only`.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Nginx { .. } => "nginx",
            Self::Haproxy { .. } => "haproxy",
            Self::Ours { .. } => "portcullis",
        }
    }
}

/// Where a proxy listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) http: u16,
    pub(super) https: u16,
    pub(super) admin: u16,
}

/// A proxy that runs and has proved that it routes.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) kind: Kind,
    pub(super) ports: Ports,
    pub(super) home: PathBuf,
    running: Running,
}

impl Engine {
    /// Starts a proxy on its core and checks what it does.
    pub(super) fn start(fleet: &Fleet<'_>, kind: Kind) -> Result<Self> {
        let ports = Ports { http: free_port()?, https: free_port()?, admin: free_port()? };
        let home = fleet.home.join(kind.name().replace([',', ' '], "-"));
        // It may not be there yet.
        let _ = fs::remove_dir_all(&home);
        // Beside the objects and not above them: a log must not wake whoever watches those.
        let logs = home.join("logs");
        fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
        let command = match kind {
            Kind::Nginx { buffers, access_log } => {
                nginx::command(fleet, &home, ports, buffers, access_log)?
            }
            Kind::Haproxy { buffers } => haproxy::command(fleet, &home, ports, buffers)?,
            Kind::Ours { access_log } => {
                let objects = home.join("manifests");
                manifests::write(fleet, &objects)?;
                ours(fleet, &home, &objects, ports, access_log)
            }
        };
        let running = Running::start(kind.name(), PROXY_CORE, command, home.join("output.log"))?;
        let mut engine = Self { kind, ports, home, running };
        engine.wait()?;
        engine.verify(fleet)?;
        Ok(engine)
    }

    /// The same for ours with other objects, without the check of the usual hosts.
    pub(super) fn start_ours(fleet: &Fleet<'_>, objects: &Path, name: &str) -> Result<Self> {
        let ports = Ports { http: free_port()?, https: free_port()?, admin: free_port()? };
        let home = fleet.home.join(name);
        fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        let command = ours(fleet, &home, objects, ports, false);
        let running = Running::start(name, PROXY_CORE, command, home.join("output.log"))?;
        let mut engine = Self { kind: OURS, ports, home, running };
        engine.wait()?;
        Ok(engine)
    }

    pub(super) fn id(&self) -> u32 {
        self.running.id()
    }

    /// An error where it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.running.check()
    }

    /// Waits until it answers for the last host.
    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            self.running.check()?;
            let answer = Client::connect(self.ports.http)
                .map_err(|error| error.to_string())
                .and_then(|mut client| client.get(&host(HOSTS - 1), "/1k"));
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) if start.elapsed() > Duration::from_mins(1) => {
                    let (name, status) = (self.kind.name(), answer.status);
                    return Err(format!("{name} answers {status}: {}", self.running.tail()));
                }
                Err(why) if start.elapsed() > Duration::from_mins(1) => {
                    let name = self.kind.name();
                    return Err(format!("{name} does not answer: {why}\n{}", self.running.tail()));
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// Checks routes, sizes and fields.
    fn verify(&self, fleet: &Fleet<'_>) -> Result<()> {
        let name = self.kind.name();
        let mut client =
            Client::connect(self.ports.http).map_err(|error| format!("{name}: {error}"))?;
        for index in [0, HOSTS / 2, HOSTS - 1] {
            for ((_, path), port) in SERVICES.iter().zip(fleet.ports) {
                for (ending, bytes) in backend::BODIES {
                    let path = format!("{}/{ending}", path.trim_end_matches('/'));
                    let answer = client.get(&host(index), &path)?;
                    let asked = answer.field("x-port").unwrap_or_default();
                    if answer.status != 200
                        || answer.body.len() != bytes
                        || asked != port.to_string()
                    {
                        return Err(format!(
                            "{name} answers {} with {} bytes of port {asked} for {path}",
                            answer.status,
                            answer.body.len(),
                        ));
                    }
                }
            }
        }
        let seen = client.get(&host(1), "/api/head")?;
        let seen = String::from_utf8_lossy(&seen.body).to_ascii_lowercase();
        for field in FIELDS {
            if !seen.lines().any(|line| line.starts_with(&format!("{field}:"))) {
                return Err(format!("{name} does not set {field}:\n{seen}"));
            }
        }
        let mut client =
            Client::connect(self.ports.http).map_err(|error| format!("{name}: {error}"))?;
        match client.get("nobody.example", "/1k")?.status {
            404 => Ok(()),
            status => Err(format!("{name} answers {status} for a host that nobody routes")),
        }
    }

    /// Empties its access log, so that a long run does not fill the disk.
    pub(super) fn empty_log(&self) {
        // Both append, so that an emptied file grows from its start. It is not there without a log.
        let _ = fs::OpenOptions::new()
            .write(true)
            .open(self.home.join("logs/access.log"))
            .and_then(|file| file.set_len(0));
    }
}

fn ours(fleet: &Fleet<'_>, home: &Path, objects: &Path, ports: Ports, access_log: bool) -> Command {
    let mut command = fleet.programs.ours();
    command.arg("run").arg("--manifests").arg(objects);
    for (flag, port) in [("--http", ports.http), ("--https", ports.https), ("--admin", ports.admin)]
    {
        command.arg(flag).arg(format!("127.0.0.1:{port}"));
    }
    // As the peers: one worker, and no connection ended for its age.
    command.args(["--workers", "1", "--connection-requests-max", "4000000000"]);
    if access_log {
        command
            .args(["--access-log", "json", "--access-log-file"])
            .arg(home.join("logs/access.log"));
    }
    command
}

/// Waits until something listens.
pub(super) fn wait_for(port: u16, name: &str) -> Result<()> {
    for _ in 0..500 {
        if Client::connect(port).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("{name} does not listen"))
}
