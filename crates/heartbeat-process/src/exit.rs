//! How a process ended, as far as the kernel reports it.

use std::os::fd::{AsFd, OwnedFd};

use heartbeat_status::{Exit, ExitKind, Signal};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use rustix::time::Timespec;

use crate::{sys, tree};

/// Converts a status of waitid(2).
pub(crate) fn exit_of_status(status: &WaitIdStatus) -> Exit {
    let kind = if let Some(code) = status.exit_status() {
        ExitKind::Code(code)
    } else if let Some(signal) = status.terminating_signal().and_then(Signal::new) {
        ExitKind::Signal { signal, core: status.dumped() }
    } else {
        ExitKind::Unknown
    };
    Exit { kind, oom: false }
}

/// The process behind `pidfd` is gone, or a zombie.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(pidfd, PollFlags::IN)];
    rustix::event::poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// How a process ended. It need not be our child, and another process may already have reaped it.
pub(crate) fn exit_of(pidfd: &OwnedFd, pid: u32, start_time: u64) -> Exit {
    /// Another process may reap it between the two checks of one round, but only once.
    const LOOKS: u32 = 2;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    if let Ok(Some(status)) = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
        return exit_of_status(&status);
    }
    for _ in 0..LOOKS {
        let zombie = tree::stat(pid).filter(|stat| stat.start_time == start_time);
        if let Some(status) = zombie.and_then(|stat| stat.wait_status) {
            return from_wait_status(status);
        }
        if let Some(status) = sys::exit_of_reaped(pidfd.as_fd()) {
            return from_wait_status(status);
        }
    }
    Exit::unknown()
}

/// Converts a status of wait(2).
pub(crate) fn from_wait_status(status: i32) -> Exit {
    const CORE_FLAG: i32 = 0x80;
    let signal = status & 0x7f;
    let kind = if signal == 0 {
        ExitKind::Code(status >> 8 & 0xff)
    } else {
        match Signal::new(signal) {
            Some(signal) => ExitKind::Signal { signal, core: status & CORE_FLAG != 0 },
            None => ExitKind::Unknown,
        }
    };
    Exit { kind, oom: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses_are_read() {
        assert_eq!(from_wait_status(0), Exit::code(0));
        assert_eq!(from_wait_status(7 << 8), Exit::code(7));
        assert_eq!(from_wait_status(9), Exit::signal(Signal::KILL));
        let aborted = from_wait_status(6 | 0x80);
        assert!(matches!(aborted.kind, ExitKind::Signal { signal: Signal::ABRT, core: true }));
    }
}
