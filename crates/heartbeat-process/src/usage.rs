//! How much memory a tree uses, where no kernel counts it.

use std::fs;

/// Memory of these processes in bytes, as far as it may be seen.
///
/// Resident memory is cheap to read and counts what is shared once for every process. Only when that is more than `limit`,
/// what is shared is divided by those who share it (`Pss` of smaps_rollup): nobody is over a limit only for having
/// children.
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

/// `None` when it must not be read, or the kernel is older than 4.14.
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
        // Nobody is nothing: it has ended while it was looked at.
        assert_eq!(memory_of(&[u32::MAX], 0), 0);
    }
}
