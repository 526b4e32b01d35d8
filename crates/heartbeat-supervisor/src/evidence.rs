//! What the probes of a realm have measured in this generation, and what follows from it.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::Instant;

use crate::probing::Probing;

/// What a restart for health waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The circuit breaker is tripped.
    Tripped,
    /// As many others as may be are under way.
    Parallel,
    /// As many as may be were made lately; the next is allowed then.
    Exhausted(Instant),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) probes: Vec<Probing>,
    /// Probes are being measured.
    pub(crate) probing: bool,
    /// Since when, in this life of heartbeatd.
    pub(crate) probing_since: Instant,
    /// A dependent wants to know whether this realm is to blame.
    pub(crate) asked: bool,
    /// Since it was last asked by a dependent, all it is measured by has passed; the oldest of these began then.
    pub(crate) passed_since: Option<Instant>,
    /// Failing probes past their threshold that are its own fault, in words.
    pub(crate) unhealthy_cause: Option<String>,
    /// What its restart for its health waits for, when it could begin otherwise.
    pub(crate) held: Option<Hold>,
    /// A restart for its health acts on a failure that began then or later: when the action became due.
    pub(crate) acts_on: Instant,
    /// Its needs have been asked about the failure that began then.
    pub(crate) asked_since: Option<Instant>,
    /// An earlier heartbeatd has started its process.
    pub(crate) adopted: bool,
    pub(crate) stopped_by_signal: bool,
    /// Its output is kept in memory, since its log could not be opened.
    pub(crate) log_in_memory: bool,
    /// Samples in a row that were over its limit of memory.
    pub(crate) samples_over: u32,
    /// When its silence, or its end that does not come, is judged.
    pub(crate) silence_due: Option<Instant>,
}

impl Evidence {
    /// A new generation begins: what was measured before is history.
    pub(crate) fn begin_anew(&mut self) {
        let mut probes = core::mem::take(&mut self.probes);
        probes.iter_mut().for_each(Probing::anew);
        let (probing_since, asked) = (self.probing_since, self.asked);
        *self = Self { probes, probing_since, asked, ..Self::default() };
    }
}
