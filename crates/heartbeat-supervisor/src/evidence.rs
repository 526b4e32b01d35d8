//! What the probes of a realm have measured in this generation, and what follows from it.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{
    CheckId, DegradedReason, InconclusiveReason, Instant, LastResult, Outcome, Tally, Thresholds, Verdict,
};

use crate::flapping::Flapping;

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

#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) id: CheckId,
    pub(crate) since: Instant,
    /// Its slot has come: a failure counts. False only for the measurement of a refresh.
    pub(crate) scheduled: bool,
}

/// One probe of one realm.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    pub(crate) tally: Tally,
    pub(crate) last: Option<LastResult>,
    pub(crate) skipped: u64,
    pub(crate) stale: bool,
    /// `last` was seen since it is being measured. Otherwise it is history: of an earlier generation, or from before
    /// there was nothing to measure any more.
    pub(crate) current: bool,
    /// The last result that was conclusive, while later ones are not.
    pub(crate) conclusive: Option<LastResult>,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) last_conclusive: Option<Instant>,
    pub(crate) measured_at: Option<Instant>,
    /// Begin of the last measurement that passed.
    pub(crate) last_pass: Option<Instant>,
    /// Begin of its last measurement, whatever the generation.
    pub(crate) begun_at: Option<Instant>,
    /// Begin of the last failure, counted or not.
    pub(crate) last_fail: Option<Instant>,
    /// The first of the failures that count toward its threshold.
    pub(crate) first_fail: Option<Instant>,
    /// Begins of the failures inside its window, with `fail_if`; as many as the window has results at most.
    pub(crate) window: VecDeque<Instant>,
    /// The failing verdict has its full threshold of own evidence behind it.
    pub(crate) proven: bool,
    /// Its last failures were not counted, since a need was broken: shown until the next pass.
    pub(crate) blamed_elsewhere: bool,
    pub(crate) flapping: Flapping,
    /// Measurements made while down, for the growing interval.
    pub(crate) down_rounds: u32,
}

impl Probing {
    pub(crate) fn new() -> Self {
        Self {
            tally: Tally::new(),
            last: None,
            skipped: 0,
            stale: false,
            current: false,
            conclusive: None,
            in_flight: None,
            last_conclusive: None,
            measured_at: None,
            last_pass: None,
            begun_at: None,
            last_fail: None,
            first_fail: None,
            window: VecDeque::new(),
            proven: false,
            blamed_elsewhere: false,
            flapping: Flapping::default(),
            down_rounds: 0,
        }
    }

    pub(crate) fn fails(&self) -> bool {
        !self.stale && (self.blamed_elsewhere || self.tally.verdict() == Some(Verdict::Failing))
    }

    /// Its failures so far prove nothing; the verdict stands until there is new evidence.
    pub(crate) fn forgive(&mut self) {
        self.tally.forgive();
        self.first_fail = None;
        self.window.clear();
        self.proven = false;
    }

    /// A new generation, or one that is measured anew: what was seen before is history.
    pub(crate) fn anew(&mut self) {
        *self = Self {
            last: self.last.take(),
            last_pass: self.last_pass,
            skipped: self.skipped,
            flapping: self.flapping,
            begun_at: self.begun_at,
            ..Self::new()
        };
    }

    /// Notes when the failures that count toward the threshold began.
    pub(crate) fn note_counted(&mut self, passed: bool, begun: Instant, thresholds: &Thresholds) {
        let Some(window) = thresholds.fail_if() else {
            self.first_fail = if passed { None } else { self.first_fail.or(Some(begun)) };
            return;
        };
        if !passed {
            self.window.push_back(begun);
        }
        while self.window.len() > self.tally.fails_within(window) as usize {
            self.window.pop_front();
        }
        // Once it has its threshold the window moves on, and the time since its first failure does not.
        let first = if self.proven { self.first_fail } else { self.window.front().copied() };
        self.first_fail = first.filter(|_| !passed);
    }

    pub(crate) fn has_verdict_or_is_stale(&self) -> bool {
        self.tally.verdict().is_some() || self.stale
    }

    /// Its last conclusive result began after `since`, or it is told and not measured.
    pub(crate) fn conclusive_since(&self, since: Instant) -> bool {
        self.measured_at.is_none() || self.last_conclusive.is_some_and(|last| last > since)
    }

    /// The reason of its last conclusive result, if that was a pass with a remark.
    pub(crate) fn remark(&self) -> Option<DegradedReason> {
        match self.last.as_ref().filter(|_| self.current)?.outcome {
            Outcome::Degraded(reason) => Some(reason),
            _ => None,
        }
    }

    /// The owner of the socket that it sees cannot be found out: this fact alone says nothing, and the realm goes by its
    /// other probes.
    pub(crate) fn is_unattributable(&self) -> bool {
        let unknown = Outcome::Inconclusive(InconclusiveReason::Unattributable);
        self.last.as_ref().is_some_and(|last| last.outcome == unknown)
    }

    pub(crate) fn degraded(&self) -> bool {
        self.remark().is_some()
    }
}
