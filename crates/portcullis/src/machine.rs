//! What the machine grants this process: CPUs and open files.
//!
//! In a container the number of CPUs of the machine says little; the quota of the control group
//! does. A worker more than the quota allows only makes the kernel pause all of them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// The CPUs that this process may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpus {
    /// Those of its affinity mask.
    pub affinity: usize,
    /// What the control group's quota amounts to, in CPUs.
    pub quota: Option<f64>,
}

impl Cpus {
    /// Reads affinity and quota.
    pub fn read() -> Self {
        let affinity = rustix::thread::sched_getaffinity(None)
            .map_or(1, |set| usize::try_from(set.count()).unwrap_or(1))
            .max(1);
        Self { affinity, quota: quota(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")) }
    }

    /// Threads worth having: the quota rounded up, at most the affinity, at least one.
    pub fn workers(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |quota| {
            // A float saturates when cast, and a quota is never negative.
            #[allow(clippy::cast_sign_loss)]
            let whole = quota.ceil() as usize;
            whole
        });
        quota.min(self.affinity).max(1)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quota {
            Some(quota) => write!(f, "CPU quota {quota:.2}, {} CPUs", self.affinity),
            None => write!(f, "no CPU quota, {} CPUs", self.affinity),
        }
    }
}

/// Makes the capability for ports below 1024 effective where it is permitted: a container runtime
/// can give it to a user who is not root only in that way. Threads inherit it from the one that
/// calls this, so it is called before there are others.
pub fn allow_low_ports() {
    let Ok(mut sets) = capabilities(None) else { return };
    if sets.permitted.contains(CapabilitySet::NET_BIND_SERVICE) {
        sets.effective |= CapabilitySet::NET_BIND_SERVICE;
        // Where that fails, binding says so.
        let _ = set_capabilities(None, sets);
    }
}

/// The smallest quota on the way from this process's control group to the root.
fn quota(membership: &Path, mount: &Path) -> Option<f64> {
    let membership = fs::read_to_string(membership).ok()?;
    let mut least: Option<f64> = None;
    for line in membership.lines() {
        // hierarchy:controllers:path; version 2 has hierarchy 0 and no controllers.
        let mut parts = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let found = if hierarchy == "0" && controllers.is_empty() {
            ancestors(mount, path).filter_map(|group| quota_v2(&group)).reduce(f64::min)
        } else if controllers.split(',').any(|controller| controller == "cpu") {
            let mount = mount.join("cpu");
            ancestors(&mount, path).filter_map(|group| quota_v1(&group)).reduce(f64::min)
        } else {
            None
        };
        least = match (least, found) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    least
}

/// The group's directory and those above it, up to the mount. A container often sees its own group
/// as the mount itself, so directories that do not exist are simply passed.
fn ancestors(mount: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let relative = PathBuf::from(path.trim_start_matches('/'));
    let mount = mount.to_owned();
    let climbs = relative.components().any(|part| part.as_os_str() == "..");
    let groups: Vec<PathBuf> = if climbs {
        vec![mount]
    } else {
        relative.ancestors().map(|part| mount.join(part)).collect()
    };
    groups.into_iter()
}

fn quota_v2(group: &Path) -> Option<f64> {
    parse_cpu_max(&fs::read_to_string(group.join("cpu.max")).ok()?)
}

fn quota_v1(group: &Path) -> Option<f64> {
    let quota = fs::read_to_string(group.join("cpu.cfs_quota_us")).ok()?;
    let period = fs::read_to_string(group.join("cpu.cfs_period_us")).ok()?;
    ratio(&quota, &period)
}

/// `150000 100000` is 1.5 CPUs; `max 100000` is no quota.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let mut words = text.split_whitespace();
    ratio(words.next()?, words.next().unwrap_or("100000"))
}

/// Quota over period; `max` and -1 mean none.
fn ratio(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse::<i64>().ok().filter(|quota| *quota > 0)? as f64;
    let period: f64 = period.trim().parse::<i64>().ok().filter(|period| *period > 0)? as f64;
    Some(quota / period)
}

/// Raises the limit on open files as far as allowed, and says what it is now.
pub fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Without the right to raise it, the old limit stands and is what is reported.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(membership: &str, files: &[(&str, &str)]) -> Option<f64> {
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("cgroup");
        fs::write(&proc, membership).unwrap();
        for (path, text) in files {
            let path = root.path().join("sys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        quota(&proc, &root.path().join("sys"))
    }

    #[test]
    fn the_tightest_group_on_the_way_up_counts() {
        let files = [
            ("a/cpu.max", "100000 100000\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("cpu.max", "400000 100000\n"),
        ];
        assert_eq!(machine("0::/a/b\n", &files), Some(1.0));
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        assert_eq!(machine("0::/\n", &[("cpu.max", "150000 100000\n")]), Some(1.5));
        assert_eq!(machine("0::/../x\n", &[("cpu.max", "50000 100000\n")]), Some(0.5));
        assert_eq!(machine("0::/gone/away\n", &[("cpu.max", "50000 100000\n")]), Some(0.5));
    }

    #[test]
    fn version_1_has_quota_and_period_apart() {
        let files =
            [("cpu/a/cpu.cfs_quota_us", "250000\n"), ("cpu/a/cpu.cfs_period_us", "100000\n")];
        assert_eq!(machine("5:cpu,cpuacct:/a\n1:name=systemd:/\n", &files), Some(2.5));
        let none = [("cpu/a/cpu.cfs_quota_us", "-1\n"), ("cpu/a/cpu.cfs_period_us", "100000\n")];
        assert_eq!(machine("5:cpu,cpuacct:/a\n", &none), None);
    }

    #[test]
    fn what_cannot_be_read_is_no_quota() {
        assert_eq!(machine("nonsense", &[]), None);
        assert_eq!(machine("0::/\n", &[("cpu.max", "")]), None);
        assert_eq!(machine("0::/\n", &[("cpu.max", "100000 0")]), None);
    }

    #[test]
    fn a_part_of_a_cpu_is_a_worker_and_affinity_bounds_all() {
        assert_eq!(Cpus { affinity: 8, quota: Some(1.5) }.workers(), 2);
        assert_eq!(Cpus { affinity: 8, quota: Some(0.1) }.workers(), 1);
        assert_eq!(Cpus { affinity: 2, quota: Some(64.0) }.workers(), 2);
        assert_eq!(Cpus { affinity: 4, quota: None }.workers(), 4);
        assert!(Cpus::read().workers() >= 1);
    }
}
