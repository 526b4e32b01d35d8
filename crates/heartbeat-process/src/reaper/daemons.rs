//! Main processes other than the started one: daemons with a pid file, and processes that a realm names.
//!
//! The reaper believes neither a file nor a message about a process outside the run's tree: it would signal it next.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use heartbeat_status::{Exit, RunFact};
use rustix::event::epoll;

use super::Reaper;
use crate::members::hold;
use crate::notice::Notice;
use crate::record::ProcessId;
use crate::run::{Owner, Stage};
use crate::tree;

/// The reaper looks for a pid file this often once its program has ended, and this many times: 5 s.
const LOOK_FOR_DAEMON: Duration = Duration::from_millis(20);
const MAX_LOOKS: u32 = 250;
/// With every so many looks, the first one included, the reaper checks whether a process is left that the file could
/// name: every 0.5 s.
const LOOKS_PER_SCAN: u32 = 25;
/// The reaper reads at most this much of a pid file: a number and a newline.
const MAX_PIDFILE_BYTES: u64 = 64;

impl Reaper {
    /// The program has ended, and may have left a daemon behind.
    pub(super) fn forked(&mut self, id: u64, exit: Exit) {
        let Some(run) = self.runs.get_mut(id) else { return };
        run.stage = Stage::Forked(exit);
        run.looks = MAX_LOOKS;
        self.look_for_daemon(id);
        let waiting = self.runs.get(id).filter(|run| matches!(run.stage, Stage::Forked(_)));
        if let Some(Owner::Realm(key)) = waiting.map(|run| run.owner) {
            (self.sink)(Notice::Run { key, fact: RunFact::Forked });
        }
    }

    pub(super) fn look_for_daemon(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(id) else { return };
        let (Stage::Forked(exit), Owner::Realm(key)) = (run.stage, run.owner) else { return };
        let left = run.looks.saturating_sub(1);
        let scans = run.looks.is_multiple_of(LOOKS_PER_SCAN);
        run.looks = left;
        // The daemon may write it after the program has ended, and an old one may lie there until then.
        let named = run.request.pidfile.as_deref().and_then(|path| read_pid(path).ok());
        if named.is_some_and(|pid| self.become_main(id, pid)) {
            return;
        }
        let mut scan = None;
        if left == 0 || (scans && self.is_tree_empty(id, &mut scan)) {
            self.main_ended(id, key, exit, &mut scan);
        } else {
            self.deadlines.set(id, LOOK_FOR_DAEMON);
        }
    }

    /// Follows the process that the caller names as the main one.
    pub(super) fn follow(&mut self, owner: Owner, pid: u32) {
        let Some(id) = self.runs.id_of(owner) else { return };
        let Some(run) = self.runs.get(id) else { return };
        if run.stage == Stage::Started && run.main.pid != pid {
            self.become_main(id, pid);
        }
    }

    /// Makes `pid` the main process. False: that process does not belong to the run.
    pub(super) fn become_main(&mut self, id: u64, pid: u32) -> bool {
        if !self.belongs(id, pid) {
            return false;
        }
        let Some(stat) = tree::stat(pid) else { return false };
        let Ok(Some(pidfd)) = hold(pid, &stat) else { return false };
        let Some(run) = self.runs.get_mut(id) else { return false };
        if let Some(old) = run.main.pidfd.replace(pidfd) {
            let _ = epoll::delete(&self.epoll, &old);
            if run.stage == Stage::Started {
                // The old main process runs on, or ends like any process of the tree.
                self.children.keep_former(old);
            }
        }
        (run.main.pid, run.main.start_time, run.stage) = (pid, stat.start_time, Stage::Started);
        // Its parent may be another process: then the kernel does not report its stops to the reaper.
        (run.main.adopted, run.main.followed, run.main.watched, run.looks) = (true, true, false, 0);
        // The tree has a main process again: its processes are no leftovers of an earlier heartbeatd any more.
        run.tree.leftovers.clear();
        self.deadlines.clear(id);
        let process = ProcessId { run: Default::default(), pid, start_time: stat.start_time };
        if let (Some(realm), Owner::Realm(key)) = (&run.realm, run.owner) {
            self.records.follow(realm, ProcessId { run: key.run, ..process });
            (self.sink)(Notice::MainChanged { key, pid, start_time: stat.start_time });
        }
        // The next look finds the end of a process that cannot be watched.
        let _ = self.watch_end(id);
        true
    }
}

/// Reads the pid in a pid file.
fn read_pid(path: &Path) -> io::Result<u32> {
    let mut text = String::new();
    let mut options = OpenOptions::new();
    // A FIFO there must not block the reaper.
    let file: File = options.read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    file.take(MAX_PIDFILE_BYTES).read_to_string(&mut text)?;
    text.lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_says_a_number_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_pid(&path).ok()
        };
        assert_eq!(
            (read("42\n"), read(" 7 \nmore of PostgreSQL\n"), read("42")),
            (Some(42), Some(7), Some(42))
        );
        assert_eq!((read(""), read("-1"), read("4 2"), read("99999999999")), (None, None, None, None));
        assert!(read_pid(dir.path()).is_err());
    }
}
