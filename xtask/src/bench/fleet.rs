//! What stands during a run: the backend, the files that the proxies read, and the hosts.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::options::Options;
use super::place::{LOAD_CORE, Place};
use super::process::Running;
use super::program::Programs;
use super::{Result, directory, engine};

/// Hosts that every proxy routes.
pub(super) const HOSTS: usize = 1_000;

/// The services that each host fans out to: their names and paths.
pub(super) const SERVICES: [(&str, &str); 3] =
    [("web", "/"), ("api", "/api"), ("static", "/static")];

/// The name of a host.
pub(super) fn host(index: usize) -> String {
    format!("host-{index}.bench.example")
}

/// What stands during a run.
pub(super) struct Fleet<'r> {
    pub(super) options: &'r Options,
    pub(super) programs: &'r Programs,
    /// Files of this run; emptied at its start.
    pub(super) home: PathBuf,
    /// The ports of the services, in the order of `SERVICES`.
    pub(super) ports: [u16; 3],
    /// Lives as long as the fleet. Where it ends early, requests fail and say so.
    _backend: Running,
}

impl<'r> Fleet<'r> {
    /// Starts the backend and makes a certificate.
    pub(super) fn start(options: &'r Options, programs: &'r Programs, _: &Place) -> Result<Self> {
        let home = directory().join("run");
        let told = |error| format!("{}: {error}", home.display());
        // It may not be there yet.
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).map_err(told)?;
        certificate(&home)?;
        let ports = [free_port()?, free_port()?, free_port()?];
        let mut command = Command::new(
            std::env::current_exe()
                .map_err(|error| format!("the path of this program: {error}"))?,
        );
        command.args(["bench", "backend"]).args(ports.map(|port| port.to_string()));
        let backend = Running::start("the backend", LOAD_CORE, command, home.join("backend.log"))?;
        for port in ports {
            engine::wait_for(port, "the backend")?;
        }
        Ok(Self { options, programs, home, ports, _backend: backend })
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.home.join("tls.crt")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.home.join("tls.key")
    }
}

/// A port that nobody listens on now.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| format!("a free port: {error}"))
}

/// One P-256 certificate for all: the same handshake work in every proxy.
fn certificate(home: &Path) -> Result<()> {
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "30", "-subj", "/CN=bench.example"])
        .args(["-addext", "subjectAltName=DNS:*.bench.example,DNS:bench.example"])
        .arg("-keyout")
        .arg(home.join("tls.key"))
        .arg("-out")
        .arg(home.join("tls.crt"))
        .output()
        .map_err(|error| format!("starting openssl: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("openssl made no certificate: {}", String::from_utf8_lossy(&output.stderr)))
    }
}
