//! The gateway as a process: what it has used, what it says of its builds, and a client of it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use testkit::client::raw::RawClient;
use testkit::gateway::free_address;
use testkit::{Authority, ControlPlane, Message};

use crate::objects::host;

/// Ticks of the kernel's accounts in a second, on every Linux that matters here.
const TICKS: f64 = 100.0;

/// A build, as the log tells it when it is served.
#[derive(Clone, Copy)]
pub(crate) struct Build {
    pub(crate) told: Instant,
    pub(crate) took_ms: f64,
}

pub(crate) struct Gateway {
    child: Child,
    pid_file: PathBuf,
    builds: Receiver<Build>,
    started: Instant,
    pub(crate) http: SocketAddr,
    pub(crate) webhook: SocketAddr,
    pub(crate) authority: Authority,
    admin: SocketAddr,
}

impl Gateway {
    pub(crate) fn start(program: &str, cluster: &ControlPlane) -> Self {
        let (http, admin, webhook) = (free_address(), free_address(), free_address());
        let authority = Authority::new();
        let leaf = authority.leaf(&["webhook.test"]);
        let file = |name: &str, text: &str| {
            let path = cluster.directory().join(name);
            fs::write(&path, text).expect("the directory can be written to");
            path
        };
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(["run", "--cluster", "--https", "off", "--endpoint-addresses", "any"])
            .args(["--log-level", "info", "--http", &http.to_string()])
            .args(["--admin", &admin.to_string(), "--webhook", &webhook.to_string()])
            .args(["--webhook-configuration", "off", "--webhook-certificate"])
            .arg(file("webhook.crt", &leaf.certificate))
            .arg("--webhook-key")
            .arg(file("webhook.key", &leaf.key))
            .arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        // What has such a file is killed with the control plane, however this process ends.
        let pid_file = file("gateway.pid", &child.id().to_string());
        let (tell, builds) = channel();
        let said = child.stderr.take().expect("it is ours");
        std::thread::spawn(move || hear(said, &tell));
        Self { child, pid_file, builds, started, http, webhook, authority, admin }
    }

    pub(crate) fn wait_ready(&mut self) -> Duration {
        loop {
            if TcpStream::connect(self.admin).is_ok() && self.ask("/readyz").status() == 200 {
                return self.started.elapsed();
            }
            assert!(self.child.try_wait().expect("it is ours").is_none(), "it ended");
            assert!(self.started.elapsed() < Duration::from_mins(2), "it does not get ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ask(&self, path: &str) -> Message {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        RawClient::connect(self.admin).exchange(request)
    }

    pub(crate) fn metrics(&self) -> String {
        self.ask("/metrics").text()
    }

    /// Lets go of what was built so far.
    pub(crate) fn forget_builds(&self) {
        while self.builds.try_recv().is_ok() {}
    }

    /// The first build since then, where one was told.
    pub(crate) fn first_build(&self) -> Option<Build> {
        self.builds.try_recv().ok()
    }

    /// Seconds of CPU so far.
    pub(crate) fn cpu(&self) -> f64 {
        cpu(&self.file("stat"))
    }

    /// Those of the thread that translates and compiles.
    pub(crate) fn compiler_cpu(&self) -> f64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let threads = threads.flatten().map(|thread| thread.path());
        threads
            .filter(|path| {
                let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
                name.trim() == "compiler"
            })
            .map(|path| cpu(&fs::read_to_string(path.join("stat")).unwrap_or_default()))
            .sum()
    }

    pub(crate) fn peak_mib(&self) -> u64 {
        self.mib("status", "VmHWM:")
    }

    pub(crate) fn resident_mib(&self) -> u64 {
        self.mib("status", "VmRSS:")
    }

    pub(crate) fn pss_mib(&self) -> u64 {
        self.mib("smaps_rollup", "Pss:")
    }

    fn mib(&self, file: &str, name: &str) -> u64 {
        let text = self.file(file);
        let line = text.lines().find(|line| line.starts_with(name)).expect("the kernel says it");
        let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        kib.expect("a number") / 1024
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("it runs")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The number may become another's.
        let _ = fs::remove_file(&self.pid_file);
    }
}

/// Seconds of CPU in a `stat` of the kernel.
fn cpu(stat: &str) -> f64 {
    // After the name, which is in parentheses, the 12th and 13th field.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The value of a sample without labels.
pub(crate) fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{name} is there"))
}

/// Reads the log: builds are told on, warnings are shown.
fn hear(said: impl Read, tell: &Sender<Build>) {
    for line in BufReader::new(said).lines().map_while(Result::ok) {
        let told = Instant::now();
        let took = line.split_once(" took_ms=").map(|(_, rest)| rest.trim_matches('"'));
        let took = took.and_then(|rest| rest.split([' ', '"']).next()?.parse().ok());
        if let Some(took_ms) = took {
            // Nobody may wait for it any more.
            let _ = tell.send(Build { told, took_ms });
        } else if line.contains("WARN") || line.contains("ERROR") {
            eprintln!("  the gateway says: {line}");
        }
    }
}

/// A connection that is opened anew when it ends.
pub(crate) struct Client {
    address: SocketAddr,
    connection: RawClient,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, connection: RawClient::connect(address) }
    }

    pub(crate) fn answer(&mut self, index: usize) -> String {
        self.ask(index, "/").text()
    }

    pub(crate) fn status(&mut self, index: usize, target: &str) -> u16 {
        self.ask(index, target).status()
    }

    fn ask(&mut self, index: usize, target: &str) -> Message {
        let mut request = String::new();
        let _ = write!(request, "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", host(index));
        // A connection ends after some thousand requests.
        if self.connection.try_send(&request).is_ok()
            && let Ok(message) = self.connection.try_read_response("GET")
        {
            return message;
        }
        self.connection = RawClient::connect(self.address);
        self.connection.exchange(request)
    }
}
