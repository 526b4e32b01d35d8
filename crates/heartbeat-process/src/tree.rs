//! Processes in /proc: which are left in a process group, where the kernel only says that some are.

use std::fs;
use std::io::{self, Read};

use crate::reserved_fds::{self, is_exhaustion};

/// The fields of `/proc/PID/stat` that identify a process and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    pub(crate) start_time: u64,
    /// It runs no more instructions of its program: it is a zombie, or the kernel is taking it apart.
    pub(crate) is_ending: bool,
    /// A thread of the kernel, which has no program.
    pub(crate) is_kernel: bool,
    /// The wait(2) status of a zombie, where heartbeatd may read it.
    pub(crate) wait_status: Option<i32>,
}

/// `PF_EXITING` of `<linux/sched.h>`. The kernel sets it before it takes the memory of the process away, and so before
/// anything of the process disappears from /proc.
const PF_EXITING: u64 = 0x4;
/// `PF_KTHREAD` of `<linux/sched.h>`.
const PF_KTHREAD: u64 = 0x20_0000;

/// A stat line is shorter: 52 numbers of at most 20 digits, and a name of at most 64 bytes.
const MAX_STAT_BYTES: usize = 2_048;

/// Reads the stat line of a process; `None` when the process is gone or its line cannot be read. The kernel writes the
/// whole line into one read.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    read_stat(pid).ok().flatten()
}

/// As [`stat`].
///
/// # Errors
/// No descriptor is left to open the file.
pub(crate) fn read_stat(pid: u32) -> io::Result<Option<Stat>> {
    let mut line = [0; MAX_STAT_BYTES];
    match fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line)) {
        Ok(read) => Ok(parse(&line[..read])),
        Err(error) if is_exhaustion(&error) => Err(error),
        // The process is gone.
        Err(_) => Ok(None),
    }
}

/// Whether a process with this pid and this start time in clock ticks since boot is there.
#[must_use]
pub fn is_process(pid: u32, start_time: u64) -> bool {
    stat(pid).is_some_and(|stat| stat.start_time == start_time)
}

/// Whether that process has ended, or can only end: the kernel takes it apart, or SIGKILL is pending.
#[must_use]
pub fn is_ending(pid: u32) -> bool {
    const KILL_BIT: u64 = 1 << (libc::SIGKILL - 1);
    if stat(pid).is_none_or(|stat| stat.is_ending) {
        return true;
    }
    let status = reserved_fds::with(|| fs::read_to_string(format!("/proc/{pid}/status"))).unwrap_or_default();
    let pending = status.lines().filter_map(|line| {
        let (name, mask) = line.split_once(':')?;
        matches!(name, "SigPnd" | "ShdPnd").then(|| u64::from_str_radix(mask.trim(), 16).ok())?
    });
    pending.fold(0, |all, mask| all | mask) & KILL_BIT != 0
}

fn parse(line: &[u8]) -> Option<Stat> {
    // The name is in parentheses and may contain anything: parentheses, spaces, and bytes that are not UTF-8.
    let name_ends = line.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&line[name_ends + 1..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 9 of proc(5); state is field 3, session field 6.
    let flags: u64 = fields.nth(2)?.parse().ok()?;
    let is_ending = matches!(state, 'Z' | 'X') || flags & PF_EXITING != 0;
    let is_kernel = flags & PF_KTHREAD != 0;
    // Field 22.
    let start_time = fields.nth(12)?.parse().ok()?;
    // Field 52.
    let wait_status = fields.nth(29).and_then(|code| code.parse().ok()).filter(|_| state == 'Z');
    Some(Stat { state, parent, group, session, start_time, is_ending, is_kernel, wait_status })
}

/// The uptime of the kernel, in the clock ticks of start times; 0 when the kernel does not say.
pub(crate) fn ticks_up() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = text.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
    // The two decimals resolve 100 ticks per second, and no process has a later start time.
    (seconds * rustix::param::clock_ticks_per_second() as f64) as u64
}

/// The kernel's name of a process.
pub(crate) fn command_name(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Whether that process is a copy of the launcher that has not become its program, or the launcher itself. Both have an
/// empty environment, which no program of a realm starts with. The name proves nothing: a process can choose it.
pub(crate) fn is_launcher_copy(pid: u32) -> bool {
    reserved_fds::with(|| environment(pid)).is_ok_and(|environment| environment.is_empty())
}

/// Whether a process that was a copy of the launcher has become its program. If heartbeatd may not read its
/// environment, it has: that of a copy is always readable.
pub(crate) fn has_become_program(pid: u32) -> bool {
    match reserved_fds::with(|| environment(pid)) {
        Ok(environment) => !environment.is_empty(),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// The user that started a process, and that may signal it: its real user id. A set-user-id program has another
/// effective id, and an environment that its caller chose.
pub(crate) fn real_user(pid: u32) -> Option<u32> {
    let status = reserved_fds::with(|| read_at_once(pid, "status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().next()?.parse().ok()
}

/// The pids of zombies that are children of `parent`.
pub(crate) fn zombies_of(parent: u32) -> Vec<u32> {
    let pids = reserved_fds::with(all_pids).unwrap_or_default();
    let is_zombie = |pid: &u32| {
        let stat = reserved_fds::with(|| read_stat(*pid)).ok().flatten();
        stat.is_some_and(|stat| stat.parent == parent && stat.state == 'Z')
    };
    pids.into_iter().filter(is_zombie).collect()
}

fn all_pids() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    Ok(entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Most bytes that are read of a file of a process; the rest is not seen.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Most files of processes are shorter, in bytes: one read takes the whole.
const COMMON_FILE_BYTES: usize = 16 * 1024;

/// Whether all of these `NAME=value` entries are in the environment that a process started with. False also when
/// heartbeatd must not read it, and when the process has overwritten it.
pub(crate) fn environment_has(pid: u32, entries: &[String]) -> bool {
    let environment = environment(pid).unwrap_or_default();
    entries.iter().all(|entry| environment.split(|byte| *byte == 0).any(|has| has == entry.as_bytes()))
}

/// The first entry in the environment of a process with each of these beginnings, in this order, without missing ones.
pub(crate) fn environment_entries(pid: u32, beginnings: &[&str]) -> Vec<String> {
    environment_with(pid, beginnings).1
}

/// The same. True: the environment could be read, and is empty, as that of the launcher and of its copies.
pub(crate) fn environment_with(pid: u32, beginnings: &[&str]) -> (bool, Vec<String>) {
    let environment = environment(pid);
    let is_empty = environment.as_ref().is_ok_and(Vec::is_empty);
    let environment = environment.unwrap_or_default();
    let entry = |beginning: &&str| {
        let mut entries = environment.split(|byte| *byte == 0);
        let found = entries.find(|entry| entry.starts_with(beginning.as_bytes()))?;
        std::str::from_utf8(found).ok().map(str::to_owned)
    };
    (is_empty, beginnings.iter().filter_map(entry).collect())
}

fn environment(pid: u32) -> io::Result<Vec<u8>> {
    read_at_once(pid, "environ")
}

/// Reads a file of a process. The kernel fills a read as long as there is more.
fn read_at_once(pid: u32, file: &str) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(format!("/proc/{pid}/{file}"))?;
    let mut bytes = vec![0; COMMON_FILE_BYTES];
    let read = file.read(&mut bytes)?;
    bytes.truncate(read);
    if read == COMMON_FILE_BYTES {
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    }
    bytes.shrink_to_fit();
    Ok(bytes)
}

/// Every living process of a program at one moment: one pass over /proc for all processes that ended in the same wake-up.
#[derive(Debug)]
pub(crate) struct ProcScan {
    living: Vec<(u32, Stat)>,
    complete: bool,
}

impl ProcScan {
    pub(crate) fn take() -> Self {
        let Ok(pids) = reserved_fds::with(all_pids) else {
            return Self { living: Vec::new(), complete: false };
        };
        let mut scan = Self { living: Vec::with_capacity(pids.len()), complete: true };
        for pid in pids {
            match reserved_fds::with(|| read_stat(pid)) {
                Ok(Some(stat)) if !stat.is_kernel && !matches!(stat.state, 'Z' | 'X') => {
                    scan.living.push((pid, stat));
                }
                Ok(_) => {}
                Err(_) => scan.complete = false,
            }
        }
        scan
    }

    /// No process was missed for lack of descriptors.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Living processes, by pid.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, Stat)> + '_ {
        self.living.iter().copied()
    }

    /// Living processes that started at `start_time` or later.
    pub(crate) fn since(&self, start_time: u64) -> impl Iterator<Item = (u32, Stat)> + '_ {
        self.all().filter(move |(_, stat)| stat.start_time >= start_time)
    }

    /// Living processes of the session or group that `leader` made, without the leader.
    pub(crate) fn members(&self, leader: u32) -> impl Iterator<Item = u32> + '_ {
        self.living
            .iter()
            .filter(move |(pid, stat)| *pid != leader && (stat.group == leader || stat.session == leader))
            .map(|(pid, _)| *pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_confuse_the_parser() {
        let line = b"42 (a) R 1 (\xff)) S 7 40 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3";
        assert_eq!(
            parse(line),
            Some(Stat {
                state: 'S',
                parent: 7,
                group: 40,
                session: 41,
                start_time: 987_654,
                is_ending: false,
                is_kernel: false,
                wait_status: None
            })
        );
        // 4194308: the same flags with PF_EXITING.
        let ending = String::from_utf8_lossy(line).replace("4194304", "4194308");
        assert!(parse(ending.as_bytes()).unwrap().is_ending);
        // 2097152: PF_KTHREAD alone.
        let kernel = String::from_utf8_lossy(line).replace("4194304", "2097152");
        assert!(parse(kernel.as_bytes()).unwrap().is_kernel);
        assert_eq!(parse(b"nothing"), None);
    }

    #[test]
    fn our_own_stat_is_read() {
        let own = stat(std::process::id()).unwrap();
        assert!(own.start_time > 0 && own.group > 0);
    }
}
