//! Who belongs to a run, where no control group says it: its session, its group, whoever descends from those, and who
//! carries its tag. Each is held by a pidfd and looked at again, so that no stranger with a reused number is among them.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use heartbeat_status::Signal;
use rustix::process::{Pid, PidfdFlags};

use crate::tree::{self, ProcScan, Stat};
use crate::{reserved_fds, sys};

/// Looks for somebody who was forked meanwhile, at most: whoever was found does not run any more, so it ends soon.
const MAX_LOOKS: u32 = 64;

/// Ancestors that are asked for one process, at most.
const MAX_ANCESTORS: u32 = 64;

/// By what the processes of a run are known.
#[derive(Debug)]
pub(crate) struct Traits<'a> {
    /// The leader of its session and group; `None` when that number may be somebody else's.
    pub(crate) leader: Option<u32>,
    /// Nobody of it is older, in clock ticks since boot.
    pub(crate) since: u64,
    /// What stands in the environment of all of it; empty for nothing.
    pub(crate) tags: &'a [String],
    /// Whose processes are believed when only the tag tells. What session, group and descent tell is proof of the kernel,
    /// whoever a process has become since.
    pub(crate) users: Users,
}

/// Users whose processes are believed: root, ourselves, and the one that a realm runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Users {
    own: u32,
    of_realm: Option<u32>,
}

impl Users {
    pub(crate) fn with(of_realm: Option<u32>) -> Self {
        Self { own: nix::unistd::geteuid().as_raw(), of_realm }
    }

    /// That process was started by one of them.
    pub(crate) fn have(&self, pid: u32) -> bool {
        tree::real_user(pid).is_some_and(|user| user == 0 || user == self.own || Some(user) == self.of_realm)
    }
}

/// One of them.
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
        // It has ended meanwhile, as it should.
        let _ = sys::signal_process(self.pidfd.as_fd(), signal);
    }
}

/// What a look has found.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) held: Vec<Member>,
    /// Nobody was missed for want of descriptors.
    pub(crate) complete: bool,
}

impl Traits<'_> {
    /// Everybody but the leader. `mains` are the main processes of other runs: they are known not to belong here, and so
    /// are their children.
    pub(crate) fn find(&self, scan: &ProcScan, mains: &BTreeSet<u32>) -> Members {
        // A process of that number today is the leader itself, or, once it was collected, somebody else.
        let mut inside: BTreeSet<u32> = self.leader.into_iter().collect();
        inside.extend(scan.all().filter(|(pid, stat)| self.knows(*pid, stat, mains)).map(|(pid, _)| pid));
        // Parents may have a higher number than their children, once the numbers have come round: until nobody joins.
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

    /// That process is one of them by what is known of itself alone.
    fn knows(&self, pid: u32, stat: &Stat, mains: &BTreeSet<u32>) -> bool {
        let member = || self.leader.is_some_and(|of| stat.group == of || stat.session == of);
        stat.start_time >= self.since
            && !mains.contains(&pid)
            && (member() || (!mains.contains(&stat.parent) && self.carries_mark(pid)))
    }

    /// That process is one of them, or the leader: as [`Traits::find`] says it, without a look at everybody else. Also of
    /// one that has ended and was not collected.
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

    fn carries_mark(&self, pid: u32) -> bool {
        !self.tags.is_empty() && tree::environment_has(pid, self.tags) && self.users.have(pid)
    }

    /// Ends everybody: whoever is found is stopped first, so that it forks nobody while the others are looked for, and
    /// killed when nobody else turns up. `strike` ends the leader, once those are known that only it leads to.
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

    /// That very process is one of them.
    pub(crate) fn has(&self, pid: u32, stat: &Stat) -> bool {
        self.held.iter().any(|member| member.is(pid, stat))
    }
}

/// The process of that pid and start time, held; `None` when it is gone.
pub(crate) fn hold(pid: u32, stat: &Stat) -> std::io::Result<Option<OwnedFd>> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    let open = || match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    };
    let Some(pidfd) = reserved_fds::with(open)? else { return Ok(None) };
    // Held, it must still be the one that was looked at.
    let now = reserved_fds::with(|| tree::read_stat(pid))?;
    Ok(now.is_some_and(|now| now.start_time == stat.start_time).then_some(pidfd))
}
