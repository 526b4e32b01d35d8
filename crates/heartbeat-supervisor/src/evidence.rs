//! The results of a realm's probes in this generation, and their consequences.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{
    CheckId, DegradedReason, InconclusiveReason, Instant, LastResult, Outcome, Tally, Thresholds, Verdict,
};

use crate::flapping::Flapping;

/// Why a restart for health has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The circuit breaker is tripped.
    Tripped,
    /// The limit of parallel restarts is reached.
    Parallel,
    /// The limit of recent restarts is reached; the next one is allowed at this time.
    Exhausted(Instant),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) probes: Vec<Probing>,
    /// Probes are being measured.
    pub(crate) probing: bool,
    /// Since when the probes are measured, in this life of heartbeatd.
    pub(crate) probing_since: Instant,
    /// A dependent wants to know whether this realm is to blame.
    pub(crate) asked: bool,
    /// Since a dependent last asked, every measurement of the realm has passed; the oldest of them began at this time.
    pub(crate) passed_since: Option<Instant>,
    /// The failing probes past their threshold that are the realm's own fault, in words.
    pub(crate) unhealthy_cause: Option<String>,
    /// What holds a restart for the realm's health that could begin otherwise.
    pub(crate) held: Option<Hold>,
    /// A restart for the realm's health needs a failure that began at this time or later: when the action became due.
    pub(crate) acts_on: Instant,
    /// The realm has asked its needs about the failure that began at this time.
    pub(crate) asked_since: Option<Instant>,
    /// An earlier heartbeatd has started its process.
    pub(crate) adopted: bool,
    pub(crate) stopped_by_signal: bool,
    /// The output is kept in memory, since the log could not be opened.
    pub(crate) log_in_memory: bool,
    /// Samples in a row above the memory limit.
    pub(crate) samples_over: u32,
    /// When the core judges the realm's silence, or its announced exit that does not come.
    pub(crate) silence_due: Option<Instant>,
}

impl Evidence {
    /// A new generation begins: earlier measurements are history.
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
    /// The slot of the probe has come: a failure counts. False only for the measurement of a refresh.
    pub(crate) scheduled: bool,
}

/// One probe of one realm.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    pub(crate) tally: Tally,
    pub(crate) last: Option<LastResult>,
    pub(crate) skipped: u64,
    pub(crate) stale: bool,
    /// `last` is from the current measurements. Otherwise it is history: of an earlier generation, or from before the
    /// measurements stopped.
    pub(crate) current: bool,
    /// The last conclusive result, while later results are inconclusive.
    pub(crate) conclusive: Option<LastResult>,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) last_conclusive: Option<Instant>,
    pub(crate) measured_at: Option<Instant>,
    /// Begin of the last measurement that passed.
    pub(crate) last_pass: Option<Instant>,
    /// Begin of the last measurement, in any generation.
    pub(crate) begun_at: Option<Instant>,
    /// Begin of the last failure, counted or not.
    pub(crate) last_fail: Option<Instant>,
    /// The first of the failures that count toward its threshold.
    pub(crate) first_fail: Option<Instant>,
    /// Begins of the failures inside the window of `fail_if`; at most as many as the window has results.
    pub(crate) window: VecDeque<Instant>,
    /// The failing verdict has its full threshold of the realm's own evidence.
    pub(crate) proven: bool,
    /// The last failures did not count, since a need was broken: shown until the next pass.
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

    /// The failures so far prove nothing; the verdict stands until there is new evidence.
    pub(crate) fn forgive(&mut self) {
        self.tally.forgive();
        self.first_fail = None;
        self.window.clear();
        self.proven = false;
    }

    /// A new generation, or a fresh round of measurements: earlier results are history.
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
        // Once the probe has its threshold, the window moves on, and the time since its first failure stays.
        let first = if self.proven { self.first_fail } else { self.window.front().copied() };
        self.first_fail = first.filter(|_| !passed);
    }

    pub(crate) fn has_verdict_or_is_stale(&self) -> bool {
        self.tally.verdict().is_some() || self.stale
    }

    /// Whether the last conclusive result began after `since`, or the probe is reported and not measured.
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

    /// Whether the owner of the probe's socket cannot be found out: this fact alone says nothing, and the other probes
    /// decide.
    pub(crate) fn is_unattributable(&self) -> bool {
        let unknown = Outcome::Inconclusive(InconclusiveReason::Unattributable);
        self.last.as_ref().is_some_and(|last| last.outcome == unknown)
    }

    pub(crate) fn degraded(&self) -> bool {
        self.remark().is_some()
    }
}
