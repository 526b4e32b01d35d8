//! One generation of a realm: its process, and what that has reported. A new generation begins with nothing of it.

use alloc::string::String;

use heartbeat_status::{Instant, RunId};

use super::Spoken;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) run: RunId,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<Instant>,
    /// Its launch was never attempted: the next start is of this generation, too.
    pub(crate) untried: bool,
    /// The realm was configured to be made of something else while it was paused: it restarts when it is resumed.
    pub(crate) outdated: bool,
    /// The process that holds its port, when that is not its own.
    pub(crate) port_conflict: Option<String>,
    pub(crate) healthy_since: Option<Instant>,
    /// What it has said of itself.
    pub(crate) spoken: Spoken,
    /// An earlier heartbeatd has started its process.
    pub(crate) adopted: bool,
    pub(crate) stopped_by_signal: bool,
    /// Its output is kept in memory, since its log could not be opened.
    pub(crate) log_in_memory: bool,
    /// Samples in a row that were over its limit of memory.
    pub(crate) samples_over: u32,
}

impl Generation {
    /// The generation after this one; the same once more where nothing of it was tried.
    pub(crate) fn next(&self) -> Self {
        if self.untried {
            Self { run: self.run, port_conflict: self.port_conflict.clone(), ..Self::default() }
        } else {
            Self { run: self.run.next(), ..Self::default() }
        }
    }
}
