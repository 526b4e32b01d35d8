//! Which processes belong to a run without a control group: those of its session and group, their descendants, and
//! those that carry its tag. Each is held by a pidfd and checked again, so that no stranger with a reused pid is among
//! them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use heartbeat_status::Signal;
use rustix::process::{Pid, PidfdFlags};

use crate::tree::{self, ProcScan, Stat};
use crate::{reserved_fds, sys};

/// Most scans for processes forked meanwhile. Those already found are stopped and cannot fork, so this ends soon.
const MAX_LOOKS: u32 = 64;

/// Most ancestors that are checked for one process.
const MAX_ANCESTORS: u32 = 64;

/// How the processes of a run are recognized.
#[derive(Debug)]
pub(crate) struct Traits<'a> {
    /// The leader of its session and group; `None` when another process may have that pid.
    pub(crate) leader: Option<u32>,
    /// No process of the run is older, in clock ticks since boot.
    pub(crate) since: u64,
    /// Entries in the environment of all its processes; may be empty.
    pub(crate) tags: &'a [String],
    /// Users whose processes count when only the tag tells. Session, group and descent are proof from the kernel,
    /// whichever user a process has become since.
    pub(crate) users: Users,
}

/// Users whose tagged processes count: root, ourselves, and the one that a realm runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Users {
    own: u32,
    of_realm: Option<u32>,
}

impl Users {
    pub(crate) fn with(of_realm: Option<u32>) -> Self {
        Self { own: nix::unistd::geteuid().as_raw(), of_realm }
    }

    /// One of these users started process `pid`.
    pub(crate) fn have(&self, pid: u32) -> bool {
        tree::real_user(pid).is_some_and(|user| user == 0 || user == self.own || Some(user) == self.of_realm)
    }
}

/// A process of a run.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    start_time: u64,
}

impl Member {
    fn is(&self, pid: u32, stat: &Stat) -> bool {
        (self.pid, self.start_time) == (pid, stat.start_time)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // An error means that the process has ended, as it should.
        let _ = sys::signal_process(self.pidfd.as_fd(), signal);
    }
}

/// What a scan has found.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) held: Vec<Member>,
    /// No process was missed for lack of descriptors.
    pub(crate) complete: bool,
}

impl Traits<'_> {
    /// Finds the run's processes except the leader. `mains` are the main processes of other runs: neither they nor
    /// their children belong here.
    pub(crate) fn find(&self, scan: &ProcScan, mains: &BTreeSet<u32>) -> Members {
        // A process with this pid is the leader itself or, after the leader was reaped, an unrelated process.
        let mut inside: BTreeSet<u32> = self.leader.into_iter().collect();
        inside.extend(scan.all().filter(|(pid, stat)| self.knows(*pid, stat, mains)).map(|(pid, _)| pid));
        // A parent may have a higher pid than its child, once pids have wrapped around: repeat until none is added.
        loop {
            let before = inside.len();
            let joins = |(pid, stat): &(u32, Stat)| inside.contains(&stat.parent) && !mains.contains(pid);
            let joining: Vec<u32> = scan.all().filter(joins).map(|(pid, _)| pid).collect();
            inside.extend(joining);
            if inside.len() == before {
                break;
            }
        }
        let mut found = Members { held: Vec::new(), complete: scan.is_complete() };
        for (pid, stat) in scan.all() {
            if Some(pid) != self.leader && inside.contains(&pid) {
                found.hold(pid, &stat);
            }
        }
        found
    }

    /// Process `pid` belongs to the run, judged without its ancestors beyond the parent.
    fn knows(&self, pid: u32, stat: &Stat, mains: &BTreeSet<u32>) -> bool {
        let member = || self.leader.is_some_and(|of| stat.group == of || stat.session == of);
        stat.start_time >= self.since
            && !mains.contains(&pid)
            && (member() || (!mains.contains(&stat.parent) && self.carries_tag(pid)))
    }

    /// Process `pid` belongs to the run or leads it: the rule of [`Traits::find`], without a scan of all processes.
    /// Also for a zombie.
    pub(crate) fn has(&self, pid: u32, stat: &Stat, mains: &BTreeSet<u32>) -> bool {
        let (mut pid, mut stat) = (pid, *stat);
        for _ in 0..MAX_ANCESTORS {
            if mains.contains(&pid) {
                return false;
            }
            let leads = self.leader == Some(pid) && stat.start_time >= self.since;
            if leads || self.knows(pid, &stat, mains) {
                return true;
            }
            let Some(parent) = tree::stat(stat.parent) else { return false };
            (pid, stat) = (stat.parent, parent);
        }
        false
    }

    fn carries_tag(&self, pid: u32) -> bool {
        !self.tags.is_empty() && tree::environment_has(pid, self.tags) && self.users.have(pid)
    }

    /// Kills every process of the run. It stops each one that it finds, so that none forks during the search, and kills
    /// them once a scan finds no more. `strike` ends the leader, after a scan has found those that only the leader
    /// leads to.
    pub(crate) fn kill(&self, mains: &BTreeSet<u32>, strike: impl FnOnce()) {
        let mut strike = Some(strike);
        let mut stopped: Vec<Member> = Vec::new();
        for _ in 0..MAX_LOOKS {
            let found = self.find(&ProcScan::take(), mains);
            let known = |new: &Member| {
                stopped.iter().any(|old| (old.pid, old.start_time) == (new.pid, new.start_time))
            };
            let new: Vec<Member> = found.held.into_iter().filter(|new| !known(new)).collect();
            let last = new.is_empty() && strike.is_none();
            new.iter().for_each(|member| member.signal(Signal::STOP));
            stopped.extend(new);
            strike.take().into_iter().for_each(|strike| strike());
            if last {
                break;
            }
        }
        stopped.iter().for_each(|member| member.signal(Signal::KILL));
    }
}

impl Members {
    fn hold(&mut self, pid: u32, stat: &Stat) {
        match hold(pid, stat) {
            Ok(Some(pidfd)) => self.held.push(Member { pid, pidfd, start_time: stat.start_time }),
            Ok(None) => {}
            Err(_) => self.complete = false,
        }
    }

    /// This very process is among them.
    pub(crate) fn has(&self, pid: u32, stat: &Stat) -> bool {
        self.held.iter().any(|member| member.is(pid, stat))
    }
}

/// A pidfd of the process with that pid and start time; `None` when it is gone.
pub(crate) fn hold(pid: u32, stat: &Stat) -> std::io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let open = || match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    };
    let Some(pidfd) = reserved_fds::with(open)? else { return Ok(None) };
    // With the pidfd open, it must still be the process that was scanned.
    let now = reserved_fds::with(|| tree::read_stat(pid))?;
    Ok(now.is_some_and(|now| now.start_time == stat.start_time).then_some(pidfd))
}
