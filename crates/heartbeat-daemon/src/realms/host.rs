//! The load, the memory and the disk of the host.

use std::io;
use std::path::Path;

use heartbeat_store::Quantity;

/// Where the kernel shows its figures.
pub(crate) const PROC: &str = "/proc";

/// What the host uses now, each absent where it cannot be read.
pub(crate) fn look(state_dir: &Path) -> Vec<(Quantity, f64)> {
    let proc = Path::new(PROC);
    let load = load(proc).ok().map(|load| (Quantity::Load, load * 100.0));
    let memory = memory(proc).ok().map(|(free, size)| (Quantity::Memory, (size - free) as f64 / 1024.0));
    let disk = space(state_dir).ok().filter(|(_, size)| *size > 0);
    let disk = disk.map(|(free, size)| (Quantity::Disk, (1.0 - free as f64 / size as f64) * 10_000.0));
    load.into_iter().chain(memory).chain(disk).collect()
}

/// The bytes of a file system that are free for those who are not root, and its size.
pub(crate) fn space(path: &Path) -> Result<(u64, u64), rustix::io::Errno> {
    let found = rustix::fs::statvfs(path)?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// The load average of the last minute: the first number of `loadavg`.
pub(crate) fn load(proc: &Path) -> io::Result<f64> {
    let text = std::fs::read_to_string(proc.join("loadavg"))?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The bytes of memory that programs can still get, and all of them, as in `meminfo`.
pub(crate) fn memory(proc: &Path) -> io::Result<(u64, u64)> {
    let text = std::fs::read_to_string(proc.join("meminfo"))?;
    let bytes = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let (free, size) = (bytes("MemAvailable:"), bytes("MemTotal:"));
    free.zip(size).filter(|(free, size)| free <= size).ok_or_else(|| io::ErrorKind::InvalidData.into())
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
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert!(load(dir.path()).is_err() && memory(dir.path()).is_err(), "nothing is there");
        write("loadavg", "0.52 0.58 0.59 1/467 12345\n");
        assert_eq!(load(dir.path()).unwrap(), 0.52);
        write("meminfo", "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    6000 kB\n");
        assert_eq!(memory(dir.path()).unwrap(), (6_000 * 1024, 16_000 * 1024));
        write("loadavg", "");
        for senseless in ["MemTotal: 1 kB\n", "MemTotal: 1 kB\nMemAvailable: 2 kB\n", "MemTotal: x kB\n"] {
            write("meminfo", senseless);
            assert!(load(dir.path()).is_err() && memory(dir.path()).is_err(), "{senseless}");
        }
    }
}
