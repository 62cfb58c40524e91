//! What the kernel knows about this process: CPU time, memory, descriptors.
//!
//! Read from `/proc` at each scrape. What cannot be read is left out rather than told as 0.

use std::fs;

use crate::exposition::Exposition;
use crate::metrics::{
    Family, PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RSS, PROCESS_START, PROCESS_VIRTUAL,
};

/// Ticks per second in `/proc/self/stat`: `USER_HZ`, 100 on every architecture we are built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Puts the process's numbers on the page.
pub(crate) fn render(page: &mut Exposition) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut tell = |family: &Family, value: Option<f64>| {
        page.family(family);
        if let Some(value) = value {
            page.sample(family, &[], value);
        }
    };
    tell(&PROCESS_CPU, cpu_seconds(&stat));
    tell(&PROCESS_RSS, kibibytes(&status, "VmRSS:"));
    tell(&PROCESS_VIRTUAL, kibibytes(&status, "VmSize:"));
    tell(&PROCESS_FDS, open_descriptors());
    tell(&PROCESS_FDS_MAX, descriptors_max(&limits));
    tell(&PROCESS_START, start_time(&stat, &boot));
}

/// The fields of `/proc/self/stat` after the command, which may itself hold spaces and brackets:
/// the first one here is the state, field 3 in proc(5).
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = fields(stat).skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, boot: &str) -> Option<f64> {
    let ticks: f64 = fields(stat).nth(19)?.parse().ok()?;
    let boot: f64 =
        boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let count: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(count * 1024.0)
}

fn open_descriptors() -> Option<f64> {
    // One of them is the listing itself.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn descriptors_max(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 12300 1 2 3";

    #[test]
    fn a_command_with_brackets_and_spaces_does_not_shift_the_fields() {
        assert_eq!(cpu_seconds(STAT), Some(3.0));
        assert_eq!(start_time(STAT, "cpu 1 2\nbtime 1000\n"), Some(1123.0));
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t    12 kB\n", "VmRSS:"), Some(12_288.0));
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS:"), None);
    }

    #[test]
    fn the_limit_of_descriptors_is_the_soft_one() {
        let limits = "Limit   Soft  Hard  Units\nMax open files    1024     4096     files\n";
        assert_eq!(descriptors_max(limits), Some(1024.0));
    }
}
