//! The real program as a child process, on free ports, with manifests in a directory of its own.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::raw::RawClient;
use crate::{Message, PATIENCE, wait_until};

/// Where objects are read from.
#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    Manifests,
    Kubeconfig(PathBuf),
    Environment,
}

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    files: Vec<(String, String)>,
    flags: Vec<String>,
    config: Option<String>,
    variables: Vec<(String, String)>,
    input: Option<String>,
    open_files: Option<u32>,
    beside_taken: bool,
    source: Source,
    unready: bool,
    command: Option<&'static str>,
}

impl GatewayOptions {
    /// Nothing but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts another command that serves than `run`.
    #[must_use]
    pub fn command_name(mut self, name: &'static str) -> Self {
        self.command = Some(name);
        self
    }

    /// Adds a manifest file.
    #[must_use]
    pub fn file(mut self, name: &str, text: impl Into<String>) -> Self {
        self.files.push((name.to_owned(), text.into()));
        self
    }

    /// Adds command-line flags, separated by blanks.
    #[must_use]
    pub fn flags(mut self, flags: &str) -> Self {
        self.flags.extend(flags.split_whitespace().map(ToOwned::to_owned));
        self
    }

    /// Gives it this configuration file, which says where to take cleartext: `{http}` stands for
    /// the address of [`Gateway::http`].
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has it read manifests from standard input, too, and gives it these.
    #[must_use]
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Has it read objects from the API server of this kubeconfig instead of manifests.
    #[must_use]
    pub fn cluster(mut self, kubeconfig: &Path) -> Self {
        self.source = Source::Kubeconfig(kubeconfig.to_owned());
        self
    }

    /// Has it read objects from the API server that its environment names.
    #[must_use]
    pub fn cluster_of_environment(mut self) -> Self {
        self.source = Source::Environment;
        self
    }

    /// Does not wait until it is ready, only until it answers operators.
    #[must_use]
    pub fn unready(mut self) -> Self {
        self.unready = true;
        self
    }

    /// Starts it with this soft limit on open files.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Lets it be ready although an address that the flags name is taken by the test itself.
    #[must_use]
    pub fn beside_taken(mut self) -> Self {
        self.beside_taken = true;
        self
    }

    /// The program, or a shell that becomes it under another limit on open files.
    fn command(&self) -> Command {
        let Some(limit) = self.open_files else { return Command::new(program()) };
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -S -n {limit} && exec \"$0\" \"$@\"")).arg(program());
        command
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready; what it said is shown.
    pub fn start(self) -> Gateway {
        // A port that was free may be taken by somebody else before the program binds it.
        for _ in 0..3 {
            if let Some(gateway) = self.try_start() {
                return gateway;
            }
        }
        panic!("no free ports were found in three attempts");
    }

    fn try_start(&self) -> Option<Gateway> {
        let directory = TempDir::new().expect("a temporary directory");
        for (name, text) in &self.files {
            write_file(directory.path(), name, text);
        }
        let [http, https, admin] = [free_address(), free_address(), free_address()];
        let mut command = self.command();
        command.arg(self.command.unwrap_or("run"));
        match &self.source {
            Source::Manifests => command.arg("--manifests").arg(directory.path()),
            Source::Kubeconfig(kubeconfig) => command.arg("--kubeconfig").arg(kubeconfig),
            Source::Environment => command.arg("--cluster=true"),
        };
        if self.input.is_some() {
            command.args(["--manifests", "-"]);
        }
        let config = TempDir::new().expect("a temporary directory");
        if let Some(text) = &self.config {
            write_file(config.path(), "config.yaml", &text.replace("{http}", &http.to_string()));
            command.arg("--config").arg(config.path().join("config.yaml"));
        } else {
            command.args(["--http", &http.to_string()]);
        }
        command.args(["--https", &https.to_string(), "--admin", &admin.to_string()]);
        command.args(&self.flags);
        // What the machine is set to must not reach the tests.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("PORTCULLIS_") || name == "KUBECONFIG" {
                command.env_remove(&*name);
            }
        }
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        let mut child = command
            .env("NO_COLOR", "1")
            .envs(variables)
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), &self.input) {
            stdin.write_all(text.as_bytes()).expect("it reads its input");
        }
        let said = Arc::new(Said::default());
        for output in [
            child.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
            child.stderr.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
        ]
        .into_iter()
        .flatten()
        {
            let said = Arc::clone(&said);
            std::thread::spawn(move || said.hear(output));
        }
        let mut gateway = Gateway { child, directory, config, http, https, admin, said };
        (gateway.wait_ready(self.unready) || self.beside_taken).then_some(gateway)
    }
}

/// A running gateway. It is killed when dropped.
pub struct Gateway {
    child: Child,
    directory: TempDir,
    config: TempDir,
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
    said: Arc<Said>,
}

impl Gateway {
    /// Starts the program with one manifest file and the defaults.
    pub fn serving(manifests: impl Into<String>) -> Self {
        GatewayOptions::new().file("all.yaml", manifests).start()
    }

    /// Where it takes cleartext.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where it takes TLS.
    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// Where it answers operators.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to the cleartext listener.
    pub fn connect(&self) -> RawClient {
        RawClient::connect(self.http)
    }

    /// `GET` on a connection of its own.
    pub fn get(&self, host: &str, target: &str) -> Message {
        self.connect().exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Asks the admin listener; its answer.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ask(&self, path: &str) -> Message {
        let mut client = RawClient::connect(self.admin);
        let host = self.admin;
        client.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    }

    /// The compiled configuration.
    pub fn snapshot(&self) -> Value {
        self.ask("/snapshot").json()
    }

    /// The generation that is served.
    ///
    /// # Panics
    /// When the snapshot has none.
    pub fn generation(&self) -> String {
        let snapshot = self.snapshot();
        snapshot["generation"].as_str().expect("a snapshot has a generation").to_owned()
    }

    /// All metrics, as scraped.
    pub fn metrics(&self) -> String {
        self.ask("/metrics").text()
    }

    /// The sum of all samples of a metric whose line has all of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.metrics()
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Writes a manifest file (under another name first, then moved: the way editors do).
    pub fn apply(&self, name: &str, text: impl AsRef<str>) {
        write_file(self.directory.path(), name, text.as_ref());
    }

    /// Removes a manifest file.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).expect("the file is there");
    }

    /// Does something, and waits until another generation is served than before.
    pub fn change(&self, act: impl FnOnce(&Self)) {
        let before = self.generation();
        act(self);
        wait_until("another generation is served", || self.generation() != before);
    }

    /// The directory of the manifests.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything it has said so far, on both outputs.
    pub fn log(&self) -> String {
        self.said.text()
    }

    /// Waits until it says a line with this.
    pub fn wait_for_log(&self, part: &str) {
        wait_until(&format!("the log has `{part}`; it has:\n{}", self.log()), || {
            self.said.text().contains(part)
        });
    }

    /// Writes its configuration file anew and tells it to read it.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn reconfigure(&self, text: &str) {
        let text = text.replace("{http}", &self.http.to_string());
        write_file(self.config.path(), "config.yaml", &text);
        self.signal(Signal::HUP);
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Stops it where it is.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process lives");
    }

    /// Whether the process lives.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for the end of the process.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait(mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Resident memory of the process, in KiB.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it lives");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// How many descriptors the process has open.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).expect("it lives").count()
    }

    /// Waits for `/readyz`, or for any answer; false when a port was taken by somebody else.
    fn wait_ready(&mut self, is_answer_enough: bool) -> bool {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                let said = self.log();
                assert!(said.contains("in use"), "the gateway ended with {status}:\n{said}");
                return false;
            }
            if self.is_ready() || (is_answer_enough && self.is_answering()) {
                return !self.log().contains("in use");
            }
            assert!(started.elapsed() < PATIENCE, "it does not get ready:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Whether it answers operators.
    fn is_answering(&self) -> bool {
        std::net::TcpStream::connect(self.admin).is_ok()
    }

    /// Whether `/readyz` answers 200.
    pub fn is_ready(&self) -> bool {
        let Ok(stream) = std::net::TcpStream::connect(self.admin) else { return false };
        drop(stream);
        let mut client = RawClient::connect(self.admin);
        let request =
            format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        client.try_send(request).is_ok()
            && client.try_read_response("GET").is_ok_and(|response| response.status() == 200)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{}---", self.log());
        }
    }
}

/// What a process said: the first and the last lines, so that a talkative one fills no memory.
#[derive(Default)]
struct Said {
    lines: Mutex<VecDeque<String>>,
}

const LINES_MAX: usize = 20_000;

impl Said {
    fn hear(&self, output: impl Read) {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() >= LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(&line).into_owned());
        }
    }

    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}

/// Writes a file so that it is never seen half-written.
fn write_file(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    let parent = path.parent().expect("a file is in a directory");
    fs::create_dir_all(parent).expect("a directory can be made");
    let hidden = parent.join(format!(".{}.new", name.replace('/', "-")));
    fs::write(&hidden, text).expect("a file can be written");
    fs::rename(&hidden, &path).expect("a file can be moved");
}

/// An address of loopback that nobody has now. Each process of tests begins elsewhere, below the
/// ports that the system gives to outgoing connections.
///
/// # Panics
/// When loopback has no free port.
pub fn free_address() -> SocketAddr {
    free_address_of([127, 0, 0, 1].into())
}

/// As [`free_address`], of another address of this machine.
///
/// # Panics
/// When it has no free port.
pub fn free_address_of(ip: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_240 + u16::try_from(std::process::id() % 1_000).unwrap_or(0) * 20;
    for _ in 0..5_000 {
        let port = first + NEXT.fetch_add(1, Ordering::SeqCst) % 2_000;
        let address = SocketAddr::new(ip, port);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("{ip} has no free port");
}

/// The program, which was built beside this test.
///
/// # Panics
/// When it was not: `cargo xtask test` builds it first.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // Tests are in `deps/`, the program is one above.
    let directory = test.parent().and_then(Path::parent).expect("a test is in `deps`");
    let program = directory.join("portcullis");
    assert!(
        program.is_file(),
        "{} is absent: build it with `cargo build --package portcullis`",
        program.display()
    );
    program
}
