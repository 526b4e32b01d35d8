//! What a process tree uses, where the kernel does not count it.

use std::fs;
use std::time::Duration;

use crate::ports::Tree;

/// What the processes of a tree use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, including that of children for which their parents have waited.
    pub cpu: Duration,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Open descriptors, as far as heartbeatd may see them.
    pub descriptors: u64,
}

/// What a tree uses. If the sum of its memory exceeds `max_memory`, shared memory is divided by the processes that
/// share it.
#[must_use]
pub fn usage_of(tree: &Tree, max_memory: u64) -> Usage {
    let pids: Vec<u32> = tree.pids().iter().chain(tree.strays()).copied().collect();
    Usage {
        cpu: pids.iter().filter_map(|pid| processor_time(*pid)).sum(),
        memory_bytes: memory_of(&pids, max_memory),
        descriptors: pids.iter().filter_map(|pid| descriptors(*pid)).sum(),
    }
}

/// `utime`, `stime`, `cutime` and `cstime` of `/proc/PID/stat`.
fn processor_time(pid: u32) -> Option<Duration> {
    const FIRST: usize = 11;
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything.
    let times = line[line.rfind(')')? + 1..].split_ascii_whitespace().skip(FIRST).take(4);
    let ticks: u64 = times.filter_map(|time| time.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.saturating_mul(1_000) / per_second))
}

fn descriptors(pid: u32) -> Option<u64> {
    u64::try_from(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count()).ok()
}

/// Memory of these processes in bytes, as far as heartbeatd may see it.
///
/// Resident memory is cheap to read, and counts shared memory once per process. Only when the sum exceeds `limit`,
/// shared memory is divided by the processes that share it (`Pss` of smaps_rollup): no tree is over its limit only for
/// having children.
pub(crate) fn memory_of(pids: &[u32], limit: u64) -> u64 {
    let page = rustix::param::page_size() as u64;
    let resident: Vec<u64> =
        pids.iter().map(|pid| resident_pages(*pid).unwrap_or(0).saturating_mul(page)).collect();
    let sum: u64 = resident.iter().sum();
    if sum <= limit {
        return sum;
    }
    pids.iter().zip(resident).map(|(pid, resident)| proportional(*pid).unwrap_or(resident)).sum()
}

/// The second number of `/proc/PID/statm`.
fn resident_pages(pid: u32) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()
}

/// `None` when heartbeatd must not read it, or the kernel is older than 4.14.
fn proportional(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_counted_once() {
        let own = std::process::id();
        let resident = memory_of(&[own], u64::MAX);
        assert!(resident > 100_000, "{resident}");
        let shared_out = memory_of(&[own], 0);
        assert!(shared_out > 100_000 && shared_out <= resident + (1 << 20), "{shared_out} of {resident}");
        let tree = Tree::tagged(own, "no-such-realm", "no-such-mark");
        let usage = usage_of(&tree, u64::MAX);
        assert!(usage.memory_bytes > 100_000 && usage.descriptors >= 3, "{usage:?}");
        assert!(processor_time(own).is_some() && processor_time(u32::MAX).is_none());
        // A process that ends during the look uses nothing.
        assert_eq!(memory_of(&[u32::MAX], 0), 0);
    }
}
