//! Where the output of programs goes: what the launcher and the reaper need from logs. heartbeatd gives them the logs
//! of `heartbeat-logs`.

use std::fmt::Debug;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::MemfdFlags;

use crate::{LogTarget, User};

/// The logs of realms.
pub trait LogFiles: Debug + Send + Sync {
    /// Opens a log as the standard output of a program. The child calls it: for a file before it becomes `user`, who
    /// then owns the file; for journald afterwards, since journald notes the user that connects. `run` is the
    /// generation that begins here; a command belongs to the current generation.
    ///
    /// # Errors
    /// The log cannot be opened. The program starts all the same, and writes to [`LogFiles::memory`].
    fn open(&self, log: &LogTarget, user: Option<&User>, run: Option<u64>) -> io::Result<OwnedFd>;

    /// Memory for the output of a program whose log cannot be opened.
    ///
    /// # Errors
    /// The kernel has no memory, and the output is lost.
    fn memory(&self) -> io::Result<OwnedFd>;

    /// A run, with the pid of its main process, has opened its log and is about to become its program. `output` is a
    /// path in `/proc` to where its output goes. True: its output is in memory.
    fn begin(&self, log: &LogTarget, user: Option<&User>, run: (u64, u32), output: &Path) -> bool;

    /// As [`LogFiles::begin`], for a run of an earlier heartbeatd.
    fn take_over(&self, log: &LogTarget, user: Option<&User>, run: u64, pid: u32) -> bool;

    /// The main process of a run has ended.
    fn end(&self, log: &LogTarget, run: u64);
}

/// Plain files, opened for appending, without a size limit and without journald.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainLogs;

impl LogFiles for PlainLogs {
    fn open(&self, log: &LogTarget, _: Option<&User>, _: Option<u64>) -> io::Result<OwnedFd> {
        match log {
            LogTarget::File { path, .. } => {
                Ok(OpenOptions::new().append(true).create(true).open(path)?.into())
            }
            LogTarget::Null | LogTarget::Capture | LogTarget::Journal { .. } => {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    fn memory(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::memfd_create(c"hb-log", MemfdFlags::CLOEXEC)?)
    }

    fn begin(&self, _: &LogTarget, _: Option<&User>, _: (u64, u32), _: &Path) -> bool {
        false
    }

    fn take_over(&self, _: &LogTarget, _: Option<&User>, _: u64, _: u32) -> bool {
        false
    }

    fn end(&self, _: &LogTarget, _: u64) {}
}
