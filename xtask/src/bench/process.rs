//! What a process and its children have used: CPU time and memory.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Result, place};

/// A process that ends with its handle.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    /// Where its output goes.
    output: PathBuf,
}

impl Running {
    /// Starts a process on one core; its output goes to a file.
    pub(super) fn start(
        name: &str,
        core: usize,
        mut command: Command,
        output: PathBuf,
    ) -> Result<Self> {
        let shown = |error| format!("starting {name}: {error}");
        let out = fs::File::create(&output).map_err(shown)?;
        let errors = out.try_clone().map_err(shown)?;
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let child = place::on_core(core, move || command.spawn())?.map_err(shown)?;
        Ok(Self { name: name.to_owned(), child, output })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the last lines of output where the process has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended ({status}): {}", self.name, self.tail())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Interrupts it as a person would, waits for its end, and gives its whole output.
    pub(super) fn interrupt(&mut self) -> Result<String> {
        self.check()?;
        let told = |error: std::io::Error| format!("{}: {error}", self.name);
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::INT).map_err(|error| told(error.into()))?;
        }
        self.child.wait().map_err(told)?;
        fs::read_to_string(&self.output).map_err(told)
    }

    /// The last lines of its output.
    pub(super) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.output).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) else { return };
        // Ask first, so that a parent ends its children. An error means that it is gone.
        let _ = kill_process(pid, Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for process in family(self.child.id()) {
            if let Some(pid) = Pid::from_raw(process.cast_signed()) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// CPU time used so far, by a process, its threads and its children.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuTime {
    /// Nanoseconds on a CPU, as the scheduler counts them.
    pub(super) total_ns: u64,
    /// Clock ticks in user space: an estimate by sampling.
    pub(super) user_ticks: u64,
    /// Clock ticks in all.
    pub(super) ticks: u64,
}

impl CpuTime {
    pub(super) fn of(process: u32) -> Self {
        let mut sum = Self::default();
        for process in family(process) {
            for thread in
                fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten()
            {
                let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                sum.total_ns += number(text.split_whitespace().next());
            }
            let fields = stat(process);
            let (user, system) = (number(fields.get(11)), number(fields.get(12)));
            sum.user_ticks += user;
            sum.ticks += user + system;
        }
        sum
    }

    /// What was used since.
    pub(super) fn since(self, start: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(start.total_ns),
            user_ticks: self.user_ticks.saturating_sub(start.user_ticks),
            ticks: self.ticks.saturating_sub(start.ticks),
        }
    }
}

/// Nanoseconds that a core has been busy since the system started, whoever was on it.
pub(super) fn core_busy_ns(core: usize) -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    // user, nice, system, idle, iowait, then interrupts and what the hypervisor took.
    let ticks: u64 = line
        .split_whitespace()
        .take(8)
        .enumerate()
        .filter(|(column, _)| !matches!(column, 3 | 4))
        .map(|(_, text)| number(Some(text)))
        .sum();
    ticks * (1_000_000_000 / TICKS_PER_SECOND)
}

/// The unit of `/proc/stat` on every Linux that matters here.
const TICKS_PER_SECOND: u64 = 100;

/// Proportional set size of a process and its children, in bytes: memory, with what is shared
/// divided among those who share it.
pub(super) fn pss_bytes(process: u32) -> u64 {
    let kib: u64 = family(process)
        .into_iter()
        .map(|process| {
            let text =
                fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("Pss:"));
            number(line.and_then(|line| line.split_whitespace().nth(1)))
        })
        .sum();
    kib * 1024
}

/// Sockets that a process and its children hold open.
pub(super) fn sockets(process: u32) -> usize {
    family(process)
        .into_iter()
        .flat_map(|process| {
            fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten()
        })
        .filter(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            target.to_string_lossy().starts_with("socket:")
        })
        .count()
}

/// A process and all below it.
fn family(process: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let parent = number(stat(id).get(1)) as u32;
        children.entry(parent).or_default().push(id);
    }
    let mut found = vec![process];
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(process).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` from the state on: the name before may hold anything.
fn stat(process: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().map(str::to_owned).collect()
}

fn number(text: Option<impl AsRef<str>>) -> u64 {
    text.and_then(|text| text.as_ref().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_sees_its_own_use() {
        let start = CpuTime::of(std::process::id());
        let mut sum = 0u64;
        while CpuTime::of(std::process::id()).since(start).total_ns < 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(pss_bytes(std::process::id()) > 100_000);
    }
}
