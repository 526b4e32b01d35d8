//! `limits`: what a realm may have.

use heartbeat_process::Limits;

use crate::reader::{Entry, Reader, Section};
use crate::units;

/// Fewest descriptors that a program can be started with: the standard ones, a log, and what the loader opens.
const MIN_DESCRIPTORS: u64 = 16;
/// Least memory of a tree in bytes: with less, nothing is ever exec'd.
const MIN_MEMORY_BYTES: u64 = 1 << 20;

/// The limits of a realm; what is wrong with them is reported and left out.
pub(crate) fn read(reader: &Reader<'_>, section: &Section<'_>) -> Limits {
    let size = |key: &str| section.get(key).and_then(|entry| reader.parsed(&entry, "64MiB", units::size));
    let number = |key: &str, least: u64, wanted: &str| {
        let entry = section.get(key)?;
        let number = reader.number::<u64>(&entry, wanted)?;
        if number < least {
            refuse(reader, &entry, &format!("`{key}` takes {wanted}, not {number}"));
        }
        Some(number)
    };
    let memory = section.get("memory").and_then(|entry| {
        let bytes = reader.parsed(&entry, "64MiB", units::size)?;
        if bytes < MIN_MEMORY_BYTES {
            refuse(reader, &entry, "`memory` is less than any program needs: at least 1MiB");
        }
        Some(bytes)
    });
    Limits {
        memory_bytes: memory,
        cpu_percent: section.get("cpu").and_then(|entry| reader.parsed(&entry, "150%", units::processors)),
        tasks: number("tasks", 1, "a number of processes and threads, at least 1"),
        nofile: number("nofile", MIN_DESCRIPTORS, "a number of descriptors, at least 16"),
        nproc: number("nproc", 1, "a number of processes and threads, at least 1"),
        core_bytes: size("core"),
        memlock_bytes: size("memlock"),
        fsize_bytes: size("fsize"),
        nice: within(reader, section, "nice", -20, 19).unwrap_or(0),
        oom_score: within(reader, section, "oom_score", -1_000, 1_000).unwrap_or(0),
    }
}

fn within<T: TryFrom<i64>>(
    reader: &Reader<'_>,
    section: &Section<'_>,
    key: &str,
    least: i64,
    most: i64,
) -> Option<T> {
    let entry = section.get(key)?;
    let wanted = format!("a number from {least} to {most}");
    let number = reader.number::<i64>(&entry, &wanted)?;
    if !(least..=most).contains(&number) {
        refuse(reader, &entry, &format!("`{key}` takes {wanted}, not {number}"));
    }
    T::try_from(number).ok()
}

fn refuse(reader: &Reader<'_>, entry: &Entry<'_>, message: &str) {
    reader.value_problem(entry, "HB102", message, "here", "leave it out to have no limit of its own");
}

/// The keys in which two realms differ.
pub(crate) fn differing(old: &Limits, new: &Limits) -> Vec<&'static str> {
    let same = [
        ("limits.memory", old.memory_bytes == new.memory_bytes),
        ("limits.cpu", old.cpu_percent == new.cpu_percent),
        ("limits.tasks", old.tasks == new.tasks),
        ("limits.nofile", old.nofile == new.nofile),
        ("limits.nproc", old.nproc == new.nproc),
        ("limits.core", old.core_bytes == new.core_bytes),
        ("limits.memlock", old.memlock_bytes == new.memlock_bytes),
        ("limits.fsize", old.fsize_bytes == new.fsize_bytes),
        ("limits.nice", old.nice == new.nice),
        ("limits.oom_score", old.oom_score == new.oom_score),
    ];
    same.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
}
