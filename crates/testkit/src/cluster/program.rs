//! One program of the control plane: started, paused, killed and started again.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::assets;

/// How much of what a program said is shown.
const SAID_LINES: usize = 40;

/// A program with its arguments; it may run.
pub(super) struct Program {
    name: &'static str,
    arguments: Vec<String>,
    directory: PathBuf,
    child: Option<Child>,
}

impl Program {
    pub(super) fn new(name: &'static str, directory: &Path, arguments: Vec<String>) -> Self {
        Self { name, arguments, directory: directory.to_owned(), child: None }
    }

    /// Starts it; what it says is added to its log.
    pub(super) fn start(&mut self) {
        let log = self.directory.join(format!("{}.log", self.name));
        let log = OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let errors = log.try_clone().expect("a descriptor can be copied");
        let child = Command::new(assets::program(self.name))
            .args(&self.arguments)
            .current_dir(&self.directory)
            // A proxy of the machine must not come between.
            .env_clear()
            .env("HOME", &self.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .expect("the program can be started");
        fs::write(self.pid_file(), child.id().to_string())
            .expect("the directory can be written to");
        self.child = Some(child);
    }

    /// Waits until it takes connections; false when it ended instead.
    pub(super) fn listens(&mut self, address: SocketAddr, patience: Duration) -> bool {
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if self.ended().is_some() {
                return false;
            }
            let said = self.said();
            assert!(started.elapsed() < patience, "{} does not listen:\n{said}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// How it ended, when it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Kills it and waits for its end.
    pub(super) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
        let _ = fs::remove_file(self.pid_file());
    }

    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The last lines that it wrote.
    pub(super) fn said(&self) -> String {
        let log = self.directory.join(format!("{}.log", self.name));
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(SAID_LINES)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the program runs");
        kill_process(Pid::from_child(child), signal).expect("the program lives");
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.join(format!("{}.pid", self.name))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
