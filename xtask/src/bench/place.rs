//! The machine that is measured on: cores, network, and what a report may say about it.

use std::fs;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use super::Result;

/// The core that the proxies run on.
pub(super) const PROXY_CORE: usize = 0;
/// The core that the load generator and the backend run on.
pub(super) const LOAD_CORE: usize = 1;

/// Open files that processes are allowed where that can be granted.
const FILES: u64 = 65_536;

/// What the machine is, without its name.
#[derive(Clone, Debug)]
pub(super) struct Place {
    processor: String,
    virtual_machine: bool,
    processors: usize,
    memory_gib: u64,
    kernel: String,
    congestion_control: String,
    /// Whether the network namespace holds nothing but the measurement.
    isolated: bool,
}

impl Place {
    /// Settles this process where it measures, and looks around.
    pub(super) fn enter() -> Result<Self> {
        let allowed =
            sched_getaffinity(None).map_err(|error| format!("the CPU affinity: {error}"))?;
        if !(allowed.is_set(PROXY_CORE) && allowed.is_set(LOAD_CORE)) {
            return Err("a measurement needs CPUs 0 and 1".to_owned());
        }
        raise_open_files();
        let isolated = read("/proc/net/dev").lines().skip(2).count() == 1;
        if isolated {
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            if !up.is_ok_and(|status| status.success()) {
                return Err("the loopback of the network namespace does not come up".to_owned());
            }
            // Pacing timers of the usual default cost the sender CPU that is not the proxy's own.
            // Without the right to change it, the report still names what was in force.
            let _ = fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
        }
        let mut place = Self::look(allowed.count() as usize);
        place.isolated = isolated;
        Ok(place)
    }

    /// Looks around, wherever this process is.
    pub(super) fn here() -> Result<Self> {
        let allowed =
            sched_getaffinity(None).map_err(|error| format!("the CPU affinity: {error}"))?;
        Ok(Self::look(allowed.count() as usize))
    }

    fn look(processors: usize) -> Self {
        let cpu = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map_or("", |(_, value)| value.trim())
                .to_owned()
        };
        Self {
            processor: format!(
                "{} (family {}, model {})",
                field("model name"),
                field("cpu family"),
                field("model\t")
            ),
            virtual_machine: field("flags").split(' ').any(|flag| flag == "hypervisor"),
            processors,
            memory_gib: memory_kib().div_ceil(1 << 20),
            kernel: kernel_version(&read("/proc/sys/kernel/osrelease")),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            isolated: false,
        }
    }

    /// How many processors may be used.
    pub(super) fn processors(&self) -> usize {
        self.processors
    }

    /// The machine without its network.
    pub(super) fn machine(&self) -> String {
        format!(
            "{}, {} CPUs{}, {} GiB, Linux {}",
            self.processor,
            self.processors,
            if self.virtual_machine { " of a virtual machine" } else { "" },
            self.memory_gib,
            self.kernel,
        )
    }

    pub(super) fn markdown(&self) -> String {
        format!(
            "{}; {}, congestion control {}",
            self.machine(),
            if self.isolated {
                "loopback in a network namespace of its own"
            } else {
                "shared loopback"
            },
            self.congestion_control,
        )
    }

    /// The machine without its network.
    pub(super) fn machine_json(&self) -> Value {
        json!({
            "processor": self.processor,
            "virtual_machine": self.virtual_machine,
            "processors": self.processors,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "virtual_machine": self.virtual_machine,
            "processors": self.processors,
            "memory_gib": self.memory_gib,
            "kernel": self.kernel,
            "congestion_control": self.congestion_control,
            "isolated_network": self.isolated,
        })
    }
}

/// Runs `start` on one core. Processes started inside stay there.
pub(super) fn on_core<T: Send>(core: usize, start: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(move || {
            let mut set = CpuSet::new();
            set.set(core);
            sched_setaffinity(None, &set).map_err(|error| format!("CPU {core}: {error}"))?;
            Ok(start())
        });
        pinned.join().map_err(|_| "a measuring thread failed".to_owned())?
    })
}

/// Ten thousand connections need as many files, in every process that is started from here, and
/// `HAProxy` counts two for each.
fn raise_open_files() {
    let wanted = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|files| files >= FILES)
        || setrlimit(Resource::Nofile, wanted).is_ok()
    {
        return;
    }
    // Without the right to more, what is allowed must do; a proxy that cannot says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Connections that a proxy may be asked to hold: each may need a second file for its upstream.
pub(super) fn connections_max() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(FILES).min(FILES);
    (files / 2).saturating_sub(400) as usize
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The version without what the builder of the kernel hung on it.
fn kernel_version(release: &str) -> String {
    release.split('-').next().unwrap_or_default().to_owned()
}

fn memory_kib() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find(|line| line.starts_with("MemTotal:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
