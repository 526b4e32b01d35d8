//! Limits of a process, and of the whole tree that it makes.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use rustix::fs::OFlags;
use rustix::process::{Resource, Rlimit};

/// The period of the CPU quota in microseconds: the kernel's own default.
const CPU_PERIOD_MICROS: u64 = 100_000;

/// Limits of a program; `None` keeps heartbeatd's own.
///
/// The first three apply to the tree and need a cgroup v2 control group with the controller of that name (systemd's
/// `MemoryMax=`, `CPUQuota=`, `TasksMax=`). The others apply to each process (setrlimit(2), systemd's `Limit...=`),
/// soft and hard alike, and children inherit them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the tree in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time of the tree in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// Processes and threads of the tree.
    pub tasks: Option<u64>,
    /// Open descriptors of a process.
    pub nofile: Option<u64>,
    /// Processes and threads of the user it runs as.
    pub nproc: Option<u64>,
    /// A core file in bytes; 0 for none.
    pub core_bytes: Option<u64>,
    /// Locked memory of a process in bytes.
    pub memlock_bytes: Option<u64>,
    /// Size of a written file in bytes; a process that writes beyond it gets XFSZ.
    pub fsize_bytes: Option<u64>,
    /// From -20 (first) to 19 (last); always set, so that it does not depend on how heartbeatd was started.
    pub nice: i8,
    /// From -1000 (never) to 1000 (first to be killed for want of memory); always set.
    pub oom_score: i16,
}

/// What the launcher itself has, and so each of its copies: a copy changes only what differs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnLimits {
    /// `None`: the kernel does not say, so every copy sets its own.
    nice: Option<i32>,
    oom_score: Option<i16>,
    /// Soft and hard limit of open descriptors.
    descriptors: Option<(u64, u64)>,
}

/// Where a process has its score for the kernel's choice when memory is short.
const OOM_SCORE: &CStr = c"/proc/self/oom_score_adj";
/// Room for a score as text, in bytes.
const SCORE_BYTES: usize = 8;

/// Soft and hard limit of this process.
fn getrlimit(resource: Resource) -> (u64, u64) {
    let Rlimit { current, maximum } = rustix::process::getrlimit(resource);
    (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX))
}

fn setrlimit(resource: Resource, soft: u64, hard: u64) -> Result<(), rustix::io::Errno> {
    let limit = |limit: u64| (limit != u64::MAX).then_some(limit);
    rustix::process::setrlimit(resource, Rlimit { current: limit(soft), maximum: limit(hard) })
}

pub(crate) fn set_oom_score(score: i16) -> Result<(), rustix::io::Errno> {
    let mut text = [0; SCORE_BYTES];
    let mut rest = &mut text[..];
    // A score of 16 bits fits.
    let _ = io::Write::write_fmt(&mut rest, format_args!("{score}"));
    let length = SCORE_BYTES - rest.len();
    let file = rustix::fs::open(OOM_SCORE, OFlags::WRONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
    rustix::io::write(&file, &text[..length]).map(drop)
}

impl OwnLimits {
    /// Of this process.
    pub(crate) fn read() -> Self {
        let score = OOM_SCORE.to_str().ok().and_then(|path| std::fs::read_to_string(path).ok());
        Self {
            nice: rustix::process::getpriority_process(None).ok(),
            oom_score: score.and_then(|score| score.trim().parse().ok()),
            descriptors: Some(getrlimit(Resource::Nofile)),
        }
    }
}

impl Limits {
    fn of_each_process(&self) -> [(&'static str, Resource, Option<u64>); 5] {
        [
            ("nofile", Resource::Nofile, self.nofile),
            ("nproc", Resource::Nproc, self.nproc),
            ("core", Resource::Core, self.core_bytes),
            ("memlock", Resource::Memlock, self.memlock_bytes),
            ("fsize", Resource::Fsize, self.fsize_bytes),
        ]
    }

    /// Sets the limits of each process on this one, which has `own`. `soft_descriptors` is the soft limit where `nofile`
    /// is not set. A child calls it that shares our memory ([`crate::child`]).
    ///
    /// # Errors
    /// EPERM, EACCES: the limit is more than heartbeatd may give.
    pub(crate) fn assume(&self, own: &OwnLimits, soft_descriptors: Option<u64>) -> Result<(), Errno> {
        let nice = i32::from(self.nice);
        let niceness = match own.nice {
            Some(own) if own == nice => Ok(()),
            _ => rustix::process::setpriority_process(None, nice),
        };
        let score = match own.oom_score {
            Some(own) if own == self.oom_score => Ok(()),
            _ => set_oom_score(self.oom_score),
        };
        // A reset to 0 takes a privilege. A heartbeatd without it cannot have set another value either, so the reset
        // may fail; a configured value may not.
        let errno = |error: rustix::io::Errno| Errno::from_raw(error.raw_os_error());
        if self.nice != 0 {
            niceness.map_err(errno)?;
        }
        if self.oom_score != 0 {
            score.map_err(errno)?;
        }
        if let (Some(soft), None) = (soft_descriptors, self.nofile) {
            let (own, hard) = own.descriptors.unwrap_or_else(|| getrlimit(Resource::Nofile));
            if own != soft.min(hard) {
                setrlimit(Resource::Nofile, soft.min(hard), hard).map_err(errno)?;
            }
        }
        for (_, resource, wanted) in self.of_each_process() {
            if let Some(wanted) = wanted {
                setrlimit(resource, wanted, wanted).map_err(errno)?;
            }
        }
        Ok(())
    }

    /// The limits that heartbeatd may not be able to give, in words, with both numbers. Empty if there are none.
    pub(crate) fn beyond_ours(&self) -> String {
        let mut told = String::new();
        for (name, resource, wanted) in self.of_each_process() {
            let (_, hard) = getrlimit(resource);
            if let Some(wanted) = wanted.filter(|wanted| *wanted > hard) {
                let wanted = if wanted == u64::MAX { "unlimited".to_owned() } else { wanted.to_string() };
                let _ = write!(told, ", {name} {wanted} where heartbeatd itself may have {hard}");
            }
        }
        for (name, value) in [("nice", i64::from(self.nice)), ("oom_score", i64::from(self.oom_score))] {
            if value < 0 {
                let _ = write!(told, ", {name} {value}, which takes a privilege");
            }
        }
        told.trim_start_matches(", ").to_owned()
    }

    /// A process that shares the memory of another one, which has `own`, would change the other one, too: the kernel keeps
    /// the score of all processes that share a memory.
    pub(crate) fn change_all_sharers(&self, own: &OwnLimits) -> bool {
        own.oom_score != Some(self.oom_score)
    }

    /// At least one limit applies to the tree.
    pub(crate) fn bound_the_tree(&self) -> bool {
        self.memory_bytes.is_some() || self.cpu_percent.is_some() || self.tasks.is_some()
    }

    /// The limits of the tree: key, controller and file, and the value to write there.
    fn of_the_tree(&self) -> [(&'static str, &'static str, &'static str, Option<String>); 4] {
        let quota =
            |percent: u32| format!("{} {CPU_PERIOD_MICROS}", u64::from(percent) * (CPU_PERIOD_MICROS / 100));
        let memory = self.memory_bytes.map(|bytes| bytes.to_string());
        [
            ("memory", "memory", "memory.max", memory.clone()),
            ("memory", "memory", OOM_GROUP, memory.map(|_| "1".to_owned())),
            ("cpu", "cpu", "cpu.max", self.cpu_percent.map(quota)),
            ("tasks", "pids", "pids.max", self.tasks.map(|tasks| tasks.to_string())),
        ]
    }

    /// The keys of the tree's limits that no controller of its control group enforces; without a control group all that
    /// are set.
    pub(crate) fn unbounded(&self, cgroup: Option<&Path>) -> Vec<&'static str> {
        let wanted = self
            .of_the_tree()
            .into_iter()
            .filter(|(_, _, file, value)| value.is_some() && *file != OOM_GROUP);
        let missing =
            wanted.filter(|(_, _, file, _)| cgroup.is_none_or(|cgroup| !cgroup.join(file).exists()));
        missing.map(|(key, ..)| key).collect()
    }

    /// Sets the tree's limits in a control group (cgroup v2), with the controllers that there are. Enables those that
    /// are available but not enabled in the groups above.
    ///
    /// When a tree is out of memory, the kernel kills all of it (`memory.oom.group`): half a tree is seldom of use, and
    /// its main process may not even notice.
    ///
    /// # Errors
    /// The kernel refuses a value.
    pub(crate) fn bound(&self, cgroup: &Path) -> io::Result<()> {
        for (_, controller, file, value) in self.of_the_tree() {
            let Some(value) = value else { continue };
            let file = cgroup.join(file);
            if !file.exists() {
                enable(cgroup, controller);
            }
            match write(&file, &value) {
                // No such controller: [`Limits::unbounded`] reports it. (Linux before 4.19 has no `memory.oom.group`.)
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                written => written?,
            }
        }
        Ok(())
    }
}

/// Makes the kernel kill a tree whole when it is out of memory.
const OOM_GROUP: &str = "memory.oom.group";
/// Levels above a run's group that are ours: the directory of the state directory, and its parent.
const OUR_LEVELS: usize = 2;

/// Enables a controller in the groups above a control group. If that fails, the controller's files do not appear.
fn enable(cgroup: &Path, controller: &str) {
    let above: Vec<&Path> = cgroup.ancestors().skip(1).take(OUR_LEVELS).collect();
    for dir in above.iter().rev() {
        let _ = write(&dir.join("cgroup.subtree_control"), &format!("+{controller}"));
    }
}

/// Writes to an existing file, and never makes one.
fn write(file: &Path, value: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).open(file)?;
    io::Write::write_all(&mut file, value.as_bytes())
}

/// How many processes of a group the kernel killed for lack of memory; `None` where no controller counts them.
pub(crate) fn oom_kills(cgroup: &Path) -> Option<u64> {
    let events = std::fs::read_to_string(cgroup.join("memory.events")).ok()?;
    let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { memory_bytes: Some(64 << 20), cpu_percent: Some(150), tasks: Some(20), ..Limits::default() }
    }

    #[test]
    fn a_leaf_is_bounded_by_the_controllers_it_has() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = root.path().join("heartbeat-1/db.1");
        std::fs::create_dir_all(&cgroup).unwrap();
        let bounded = |limits: &Limits| {
            limits.bound(&cgroup).unwrap();
            limits.unbounded(Some(&cgroup))
        };
        assert_eq!(bounded(&limits()), ["memory", "cpu", "tasks"], "no controller at all");
        assert_eq!(limits().unbounded(None), ["memory", "cpu", "tasks"], "no cgroup at all");
        assert_eq!(std::fs::read_dir(&cgroup).unwrap().count(), 0, "and none is made up");
        let file = |name: &str| cgroup.join(name);
        for name in ["memory.max", OOM_GROUP, "pids.max"] {
            std::fs::write(file(name), "").unwrap();
        }
        assert_eq!(bounded(&limits()), ["cpu"]);
        std::fs::write(file("cpu.max"), "").unwrap();
        assert_eq!(bounded(&limits()), [""; 0]);
        let says = |name: &str| std::fs::read_to_string(file(name)).unwrap();
        assert_eq!(
            [says("memory.max"), says(OOM_GROUP), says("cpu.max"), says("pids.max")],
            ["67108864", "1", "150000 100000", "20"]
        );
        assert_eq!(Limits::default().unbounded(None), [""; 0], "nothing wanted, nothing missing");
    }

    #[test]
    fn controllers_are_enabled_above_a_leaf_and_no_further() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = root.path().join("of-others/ours/heartbeat-1/db.1");
        std::fs::create_dir_all(&cgroup).unwrap();
        let control = |at: &str| root.path().join(at).join("cgroup.subtree_control");
        let levels = ["of-others", "of-others/ours", "of-others/ours/heartbeat-1"];
        levels.iter().for_each(|at| std::fs::write(control(at), "").unwrap());
        Limits { tasks: Some(1), ..Limits::default() }.bound(&cgroup).unwrap();
        let said = levels.map(|at| std::fs::read_to_string(control(at)).unwrap());
        assert_eq!(said, ["", "+pids", "+pids"]);
    }

    #[test]
    fn a_bound_that_the_kernel_refuses_is_an_error() {
        let cgroup = tempfile::tempdir().unwrap();
        std::fs::create_dir(cgroup.path().join("pids.max")).unwrap();
        assert!(limits().bound(cgroup.path()).is_err());
    }

    #[test]
    fn out_of_memory_kills_are_counted_where_the_kernel_counts_them() {
        let cgroup = tempfile::tempdir().unwrap();
        assert_eq!(oom_kills(cgroup.path()), None);
        std::fs::write(
            cgroup.path().join("memory.events"),
            "low 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n",
        )
        .unwrap();
        assert_eq!(oom_kills(cgroup.path()), Some(3));
    }

    #[test]
    fn what_is_beyond_us_is_told_with_both_numbers() {
        let (_, hard) = getrlimit(Resource::Nofile);
        let told = Limits { nofile: Some(hard + 1), nice: -5, ..Limits::default() }.beyond_ours();
        assert!(
            told.contains(&format!("nofile {} where heartbeatd itself may have {hard}", hard + 1)),
            "{told}"
        );
        assert!(told.contains("nice -5"), "{told}");
        assert_eq!(Limits { nofile: Some(1), nice: 5, ..Limits::default() }.beyond_ours(), "");
    }
}
