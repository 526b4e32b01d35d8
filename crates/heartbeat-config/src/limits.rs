//! `limits`: what a realm may have.

use heartbeat_process::{Limits, LogTarget};
use heartbeat_status::parse_size;

use crate::code::Code;
use crate::defaults::size;
use crate::reader::{Entry, Reader, Section};
use crate::units;

/// Fewest descriptors that a program can be started with: the standard ones, a log, and what the loader opens.
const MIN_DESCRIPTORS: u64 = 16;
/// Least memory of a tree in bytes: with less, nothing is ever exec'd.
const MIN_MEMORY_BYTES: u64 = 1 << 20;

/// What setrlimit(2) takes for no limit.
const RLIM_INFINITY: u64 = u64::MAX;
/// What the kernel begins with, in descriptors of a process.
const STANDARD_NR_OPEN: u64 = 1_048_576;

/// The limits of a realm; what is wrong with them is reported and left out.
pub(crate) fn read(reader: &Reader<'_>, section: &Section<'_>) -> Limits {
    let size = |key: &str| {
        let entry = section.get(key)?;
        if is_unlimited(&entry) { Some(RLIM_INFINITY) } else { reader.parsed(&entry, "64MiB", parse_size) }
    };
    // A bound of the tree that is lifted is none at all.
    let of_tree = |key: &str| section.get(key).filter(|entry| !is_unlimited(entry));
    let number = |key: &str, least: u64, wanted: &str, unlimited: &dyn Fn() -> Option<u64>| {
        let entry = section.get(key)?;
        if is_unlimited(&entry) {
            return unlimited();
        }
        let number = reader.number::<u64>(&entry, wanted)?;
        if number < least {
            refuse(reader, &entry, &format!("`{key}` takes {wanted}, not {number}"));
        }
        Some(number)
    };
    let memory = of_tree("memory").and_then(|entry| {
        let bytes = reader.parsed(&entry, "64MiB", parse_size)?;
        if bytes < MIN_MEMORY_BYTES {
            refuse(reader, &entry, "`memory` is less than any program needs: at least 1MiB");
        }
        Some(bytes)
    });
    Limits {
        memory_bytes: memory,
        cpu_percent: of_tree("cpu").and_then(|entry| reader.parsed(&entry, "150%", units::processors)),
        tasks: number("tasks", 1, "a number of processes and threads, at least 1", &|| None),
        nofile: number("nofile", MIN_DESCRIPTORS, "a number of descriptors, at least 16", &|| {
            Some(most_descriptors())
        }),
        nproc: number("nproc", 1, "a number of processes and threads, at least 1", &|| Some(RLIM_INFINITY)),
        core_bytes: size("core"),
        memlock_bytes: size("memlock"),
        fsize_bytes: size("fsize"),
        nice: within(reader, section, "nice", -20, 19).unwrap_or(0),
        oom_score: within(reader, section, "oom_score", -1_000, 1_000).unwrap_or(0),
    }
}

/// The log is a file that the program writes, so the limit of a file bounds the log as well.
pub(crate) fn leaves_room_for_the_log(
    reader: &Reader<'_>,
    section: &Section<'_>,
    limits: &Limits,
    log: &LogTarget,
) {
    let LogTarget::File { max_bytes, .. } = log else { return };
    let Some(entry) =
        section.get("fsize").filter(|_| limits.fsize_bytes.is_some_and(|most| most < *max_bytes))
    else {
        return;
    };
    let message = format!(
        "`fsize` is less than `log.max_size` ({}), and the log is a file, too: a full one would end the program",
        size(*max_bytes).trim_matches('"')
    );
    let help = format!("write fsize = {} or more, or a smaller log.max_size", size(*max_bytes));
    reader.value_problem(&entry, Code::BadBounds, message, "here", &help);
}

/// What other tools call it, too.
fn is_unlimited(entry: &Entry<'_>) -> bool {
    entry.value.as_str().is_some_and(|text| ["unlimited", "infinity"].contains(&text))
}

/// Descriptors have a bound of the kernel's: above it setrlimit(2) refuses even what is unlimited.
fn most_descriptors() -> u64 {
    let read = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    read.trim().parse().unwrap_or(STANDARD_NR_OPEN)
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
    reader.value_problem(entry, Code::WrongType, message, "here", "leave it out to have no limit of its own");
}
