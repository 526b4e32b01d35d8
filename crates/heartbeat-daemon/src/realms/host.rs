//! The load, the memory and the disk of the host.

use std::path::Path;

use heartbeat_store::Quantity;

/// What the host uses now, each absent where it cannot be read.
pub(crate) fn look(state_dir: &Path) -> Vec<(Quantity, f64)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let load = load(&read("/proc/loadavg")).map(|load| (Quantity::Load, load * 100.0));
    let memory = used_kib(&read("/proc/meminfo")).map(|kib| (Quantity::Memory, kib));
    let disk = space(state_dir).ok().filter(|(_, size)| *size > 0);
    let disk = disk.map(|(free, size)| (Quantity::Disk, (1.0 - free as f64 / size as f64) * 10_000.0));
    load.into_iter().chain(memory).chain(disk).collect()
}

/// The bytes of a file system that are free for those who are not root, and its size.
pub(crate) fn space(path: &Path) -> Result<(u64, u64), rustix::io::Errno> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// The average of the last minute, the first number of `/proc/loadavg`.
fn load(text: &str) -> Option<f64> {
    text.split(' ').next()?.parse().ok()
}

/// The memory that is not available to programs, of `/proc/meminfo`.
fn used_kib(text: &str) -> Option<f64> {
    let number = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some(number("MemTotal:")? - number("MemAvailable:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_load_memory_and_a_disk() {
        let seen = look(Path::new("/"));
        let quantities: Vec<&Quantity> = seen.iter().map(|(quantity, _)| quantity).collect();
        assert_eq!(quantities, [&Quantity::Load, &Quantity::Memory, &Quantity::Disk]);
        assert!(seen.iter().all(|(_, number)| *number >= 0.0) && seen[2].1 <= 10_000.0, "{seen:?}");
        let gone = look(Path::new("/no/such/directory"));
        assert_eq!(gone.len(), 2, "{gone:?}");
    }

    #[test]
    fn figures_are_those_of_the_kernel() {
        assert_eq!(load("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
        assert_eq!(load(""), None);
        let text = "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    6000 kB\n";
        assert_eq!(used_kib(text), Some(10_000.0));
        assert_eq!(used_kib("MemTotal: 1 kB\n"), None);
    }
}
