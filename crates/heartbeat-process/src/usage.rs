//! What the processes of a realm use: the kernel's own figures of the control group where it has them, otherwise those of
//! each process in /proc.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_status::{RealmName, RunId};

use crate::cgroup::Cgroup;
use crate::ports::Tree;
use crate::tree::{self, ProcScan};

/// What the processes of a tree use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time. Without a control group it has that of a child that has ended only if its parent has waited for
    /// it.
    pub cpu: Duration,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Open descriptors, of the processes whose descriptors heartbeatd may count.
    pub descriptors: u64,
    /// heartbeatd may count the descriptors of every process.
    pub sees_descriptors: bool,
}

/// The run of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPlace {
    /// Name of the realm.
    pub realm: RealmName,
    /// Generation that it belongs to.
    pub run: RunId,
    /// Its main process.
    pub main: u32,
}

/// Reads what runs use. It starts nothing, waits for nothing, and keeps nothing open.
#[derive(Clone, Debug)]
pub struct UsageReader {
    groups: Option<PathBuf>,
    instance_tag: String,
}

impl UsageReader {
    /// A reader of the runs below these settings: [`Settings::groups`](crate::Settings::groups) and
    /// [`Settings::instance_tag`](crate::Settings::instance_tag).
    #[must_use]
    pub fn new(groups: Option<PathBuf>, instance_tag: String) -> Self {
        Self { groups, instance_tag }
    }

    /// What each of the runs uses, in their order; `None` of one that has no process. All runs without a control group
    /// share one pass over /proc, which does not find processes that only their tag tells.
    #[must_use]
    pub fn read_all(&self, runs: &[RunPlace]) -> Vec<Option<Usage>> {
        let mut scan = None;
        let of = |place: &RunPlace| match self.group(place) {
            Some(group) => usage_of_group(&group),
            None => {
                let tree = Tree::within(place.main, Vec::new(), scan.get_or_insert_with(ProcScan::take));
                usage_of(tree.pids(), resident_once(tree.pids()))
            }
        };
        runs.iter().map(of).collect()
    }

    /// What a run uses, with processes that only their tag tells. If the sum of its resident memory exceeds
    /// `max_memory`, shared memory is divided by the processes that share it.
    #[must_use]
    pub fn read_exactly(&self, place: &RunPlace, max_memory: u64) -> Option<Usage> {
        let pids = match self.group(place) {
            Some(group) => group.members().ok()?,
            None => self.tagged(place),
        };
        let usage = usage_of(&pids, memory_of(&pids, max_memory))?;
        let of_group = self.group(place).and_then(|group| processor_time_of_group(group.dir()));
        Some(Usage { cpu: of_group.unwrap_or(usage.cpu), ..usage })
    }

    /// The processes of a run that has no control group.
    pub(crate) fn tagged(&self, place: &RunPlace) -> Vec<u32> {
        let tree = Tree::tagged(place.main, place.realm.as_str(), &self.instance_tag);
        tree.pids().iter().chain(tree.strays()).copied().collect()
    }

    /// Runs have control groups of their own.
    pub(crate) fn has_groups(&self) -> bool {
        self.groups.is_some()
    }

    pub(crate) fn group(&self, place: &RunPlace) -> Option<Cgroup> {
        let group = Cgroup::of_run(self.groups.as_deref()?, &place.realm, place.run)?;
        // A main process that is there may have left the group, and its tree with it.
        (group.has(place.main) || tree::stat(place.main).is_none()).then_some(group)
    }
}

fn usage_of_group(group: &Cgroup) -> Option<Usage> {
    let pids = group.members().ok()?;
    let memory = memory_of_group(group.dir()).unwrap_or_else(|| resident_once(&pids));
    let usage = usage_of(&pids, memory)?;
    Some(Usage { cpu: processor_time_of_group(group.dir()).unwrap_or(usage.cpu), ..usage })
}

/// `None` when none of the processes is left.
fn usage_of(pids: &[u32], memory_bytes: u64) -> Option<Usage> {
    let mut usage = Usage { memory_bytes, sees_descriptors: true, ..Usage::default() };
    let mut some = false;
    for pid in pids {
        let Some(cpu) = processor_time(*pid) else { continue };
        some = true;
        usage.cpu += cpu;
        match descriptors(*pid) {
            Some(count) => usage.descriptors += count,
            None => usage.sees_descriptors = false,
        }
    }
    some.then_some(usage)
}

/// `usage_usec` of `cpu.stat`, which needs no controller and has the time of processes that have ended.
fn processor_time_of_group(dir: &Path) -> Option<Duration> {
    let text = fs::read_to_string(dir.join("cpu.stat")).ok()?;
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(Duration::from_micros(micros.trim().parse().ok()?))
}

/// The memory that processes of a group have mapped, shared memory once; `None` without the controller. The page cache
/// of files that they have read is not theirs.
fn memory_of_group(dir: &Path) -> Option<u64> {
    let text = fs::read_to_string(dir.join("memory.stat")).ok()?;
    let number = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    number("anon ")?.checked_add(number("file_mapped ")?)
}

/// `utime`, `stime`, `cutime` and `cstime` of `/proc/PID/stat`.
fn processor_time(pid: u32) -> Option<Duration> {
    const FIRST: usize = 11;
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything.
    let times = line[line.rfind(')')? + 1..].split_ascii_whitespace().skip(FIRST).take(4);
    Some(ticks(times.filter_map(|time| time.parse::<u64>().ok()).sum()))
}

/// Ticks of the kernel's clock as time.
pub(crate) fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1))
}

pub(crate) fn descriptors(pid: u32) -> Option<u64> {
    let dir = format!("/proc/{pid}/fd");
    // Linux has the number as the size of the directory since 6.2.
    match fs::metadata(&dir).ok()?.len() {
        0 => u64::try_from(fs::read_dir(dir).ok()?.count()).ok(),
        count => Some(count),
    }
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

/// Resident memory of these processes in bytes, in which their shared memory counts once: the private memory of each, and
/// the shared memory of the one that has most of it.
fn resident_once(pids: &[u32]) -> u64 {
    let pages = pids.iter().filter_map(|pid| memory_pages(*pid));
    with_shared_once(pages).saturating_mul(rustix::param::page_size() as u64)
}

/// Of resident pages, and those of them that are shared, per process.
fn with_shared_once(pages: impl Iterator<Item = (u64, u64)>) -> u64 {
    let (private, shared) = pages.fold((0_u64, 0_u64), |(private, most), (resident, shared)| {
        (private + resident.saturating_sub(shared), most.max(shared))
    });
    private + shared
}

fn resident_pages(pid: u32) -> Option<u64> {
    memory_pages(pid).map(|(resident, _)| resident)
}

/// Resident pages and those of them that are shared or of files: the second and the third number of `/proc/PID/statm`.
fn memory_pages(pid: u32) -> Option<(u64, u64)> {
    let line = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut numbers = line.split(' ').skip(1).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
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
    fn shared_pages_count_once_and_private_ones_for_each_process() {
        assert_eq!(with_shared_once([(10, 4), (7, 4)].into_iter()), 6 + 3 + 4);
        assert_eq!(with_shared_once([(10, 4), (7, 5)].into_iter()), 6 + 2 + 5);
        assert_eq!(with_shared_once(std::iter::empty()), 0);
    }

    #[test]
    fn our_own_usage_is_seen() {
        let own = std::process::id();
        let resident = memory_of(&[own], u64::MAX);
        assert!(resident > 100_000, "{resident}");
        let shared_out = || memory_of(&[own], 0);
        assert!(shared_out() > 100_000);
        assert!((0..100).any(|_| shared_out() <= memory_of(&[own], u64::MAX) + (1 << 20)));
        assert!(resident_once(&[own]) > 100_000);
        let reader = UsageReader::new(None, "no-such-mark".to_owned());
        let place = |main| RunPlace { realm: RealmName::new("no-such-realm").unwrap(), run: RunId(1), main };
        let exactly = reader.read_exactly(&place(own), u64::MAX).unwrap();
        let [Some(usage), None] = reader.read_all(&[place(own), place(u32::MAX)])[..] else {
            panic!("one of them is not there")
        };
        for usage in [exactly, usage] {
            assert!(usage.memory_bytes > 100_000 && usage.descriptors >= 3, "{usage:?}");
            assert!(usage.sees_descriptors, "{usage:?}");
        }
        assert!(processor_time(own).is_some() && processor_time(u32::MAX).is_none());
        // A process that ends during the look uses nothing.
        assert_eq!(memory_of(&[u32::MAX], 0), 0);
    }

    #[test]
    fn the_figures_of_a_group_are_those_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!((memory_of_group(dir.path()), processor_time_of_group(dir.path())), (None, None));
        let cpu = "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n";
        fs::write(dir.path().join("cpu.stat"), cpu).unwrap();
        fs::write(dir.path().join("memory.stat"), "anon 4096\nfile 900000\nfile_mapped 8192\n").unwrap();
        assert_eq!(memory_of_group(dir.path()), Some(12_288), "without the page cache");
        assert_eq!(processor_time_of_group(dir.path()), Some(Duration::from_millis(2_500)));
    }
}
