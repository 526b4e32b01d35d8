//! The probe of a realm's own process: never measured, but told by the process adapter.

use alloc::string::{String, ToString};

use heartbeat_status::{
    CheckResult, EventKind, FailReason, Instant, Outcome, PhaseTimes, ProbeKind, RealmKind, Tally, Verdict,
};

use crate::ProbeSource;
use crate::cadence::TRANSITION_INTERVAL;
use crate::cx::Cx;
use crate::probing::probe_ix;
use crate::realm::Realm;
use crate::timers::TimerKind;

impl Realm {
    /// The process runs: its own probe passes at once.
    pub(crate) fn process_passes(&mut self, cx: &mut Cx<'_>) {
        self.process_result(cx, Outcome::Pass, String::new());
        // Nothing is counted up to a threshold here: it runs, or it does not.
        for (probe, spec) in self.probes.iter_mut().zip(&cx.spec.probes) {
            if spec.source == ProbeSource::Process {
                probe.tally.decide(Verdict::Passing);
            }
        }
    }

    /// The process has ended: no threshold.
    pub(crate) fn process_ended(&mut self, cx: &mut Cx<'_>, detail: String) {
        self.process_result(cx, Outcome::Fail { reason: FailReason::ProcessExited, phase: None }, detail);
        for (at, spec) in cx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                self.probes[at].tally.decide(Verdict::Failing);
                cx.disarm(TimerKind::Slot(probe_ix(at)));
            }
        }
    }

    /// heartbeatd has ended the process: that is no failure, and there is nothing to measure any more.
    pub(crate) fn process_stopped(&mut self, cx: &mut Cx<'_>) {
        for (at, spec) in cx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                let probe = &mut self.probes[at];
                probe.tally = Tally::new();
                (probe.current, probe.stale) = (false, false);
                cx.disarm(TimerKind::Slot(probe_ix(at)));
            }
        }
    }

    /// The process was stopped by a signal, or goes on. While stopped it fails once an interval.
    pub(crate) fn on_stopped_by_signal(&mut self, cx: &mut Cx<'_>, stopped: bool) {
        self.stopped_by_signal = stopped;
        for (at, spec) in cx.spec.probes.iter().enumerate() {
            if spec.source != ProbeSource::Process {
                continue;
            }
            if stopped {
                self.on_stopped_slot(cx, at);
            } else {
                cx.disarm(TimerKind::Slot(probe_ix(at)));
                self.process_passes(cx);
            }
        }
    }

    /// Somebody else listens on its port, or nobody else any more. No threshold: the evidence is the kernel's.
    pub(crate) fn port_held(&mut self, cx: &mut Cx<'_>, holder: Option<String>) {
        let has_port = cx.spec.probes.iter().any(|spec| spec.info.kind == ProbeKind::Port);
        let own = has_port && cx.spec.kind != RealmKind::External;
        if self.stranger == holder || !self.probing || !own {
            return;
        }
        self.stranger.clone_from(&holder);
        cx.event(EventKind::PortHeld { holder: holder.clone() });
        for (at, spec) in cx.spec.probes.iter().enumerate() {
            if spec.info.kind != ProbeKind::Port {
                continue;
            }
            match &holder {
                Some(_) => self.take_result(cx, at, passive(cx.now, Outcome::Pass, String::new()), true),
                None => {
                    // What was seen of the stranger says nothing about the realm.
                    self.probes[at].forgive();
                    // Measured at once: whoever waits for the port has waited long enough.
                    let source = if let ProbeSource::PortOf(of) = spec.source { of } else { probe_ix(at) };
                    cx.arm(TimerKind::Slot(source), cx.now);
                }
            }
        }
    }

    /// Its port may not be looked after any more: then nobody would tell when the stranger is gone.
    pub(crate) fn forget_stranger(&mut self, cx: &mut Cx<'_>) {
        if !cx.spec.probes.iter().any(|spec| spec.info.kind == ProbeKind::Port)
            && self.stranger.take().is_some()
        {
            cx.event(EventKind::PortHeld { holder: None });
        }
    }

    pub(crate) fn on_stopped_slot(&mut self, cx: &mut Cx<'_>, at: usize) {
        if !self.stopped_by_signal || !self.probing {
            return;
        }
        let outcome = Outcome::Fail { reason: FailReason::ProcessStopped, phase: None };
        let result = passive(cx.now, outcome, "stopped by a signal".to_string());
        self.take_result(cx, at, result, true);
        let interval = cx.spec.probes[at].info.interval.min(TRANSITION_INTERVAL);
        cx.arm(TimerKind::Slot(probe_ix(at)), cx.now + interval);
    }

    fn process_result(&mut self, cx: &mut Cx<'_>, outcome: Outcome, detail: String) {
        for (at, spec) in cx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                self.take_result(cx, at, passive(cx.now, outcome, detail.clone()), true);
            }
        }
    }
}

/// A result that was told, not measured.
pub(crate) fn passive(now: Instant, outcome: Outcome, detail: String) -> CheckResult {
    CheckResult {
        outcome,
        detail,
        started_at: now,
        finished_at: now,
        latency: None,
        phases: PhaseTimes::default(),
        unattributable: false,
    }
}
