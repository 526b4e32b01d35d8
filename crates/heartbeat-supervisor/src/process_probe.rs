//! The probe of a realm's own process: the process adapter reports it, and nothing is measured.

use alloc::string::{String, ToString};

use heartbeat_status::{
    CheckResult, EventKind, FailReason, Instant, Outcome, PhaseTimes, ProbeKind, RealmKind, Tally, Verdict,
};

use crate::ProbeSource;
use crate::cadence::TRANSITION_INTERVAL;
use crate::ctx::Ctx;
use crate::realm::Realm;
use crate::timers::{TimerKind, probe_ix};

impl Realm {
    /// The process runs: its probe passes at once.
    pub(crate) fn process_passes(&mut self, ctx: &mut Ctx<'_>) {
        self.process_result(ctx, Outcome::Pass, String::new());
        // This probe has no threshold: the process runs, or it does not.
        for (probe, spec) in self.evidence.probes.iter_mut().zip(&ctx.spec.probes) {
            if spec.source == ProbeSource::Process {
                probe.tally.decide(Verdict::Passing);
            }
        }
    }

    /// The process has ended. This counts at once, without a threshold.
    pub(crate) fn process_ended(&mut self, ctx: &mut Ctx<'_>, detail: String) {
        self.process_result(ctx, Outcome::Fail { reason: FailReason::ProcessExited, phase: None }, detail);
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                self.evidence.probes[at].tally.decide(Verdict::Failing);
                ctx.disarm(TimerKind::Slot(probe_ix(at)));
            }
        }
    }

    /// heartbeatd has ended the process: that is no failure, and there is nothing left to measure. It ran until now.
    pub(crate) fn process_stopped(&mut self, ctx: &mut Ctx<'_>) {
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                let probe = &mut self.evidence.probes[at];
                if let Some(last) = probe.last.as_mut().filter(|last| last.outcome.passed() == Some(true))
                    && probe.current
                {
                    last.at = ctx.now;
                }
                probe.tally = Tally::new();
                (probe.current, probe.stale) = (false, false);
                ctx.disarm(TimerKind::Slot(probe_ix(at)));
            }
        }
    }

    /// A signal has stopped the process, or it continues. A stopped process fails once per interval.
    pub(crate) fn on_stopped_by_signal(&mut self, ctx: &mut Ctx<'_>, stopped: bool) {
        self.evidence.stopped_by_signal = stopped;
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source != ProbeSource::Process {
                continue;
            }
            if stopped {
                self.on_stopped_slot(ctx, at);
            } else {
                ctx.disarm(TimerKind::Slot(probe_ix(at)));
                self.process_passes(ctx);
            }
        }
    }

    /// Another process listens on the realm's port, or has left it. This counts at once: the evidence is the kernel's.
    pub(crate) fn port_held(&mut self, ctx: &mut Ctx<'_>, port_owner: Option<String>) {
        let has_port = ctx.spec.probes.iter().any(|spec| spec.info.kind == ProbeKind::Port);
        let own = has_port && ctx.spec.kind != RealmKind::External;
        if self.generation.port_conflict == port_owner || !self.evidence.probing || !own {
            return;
        }
        self.generation.port_conflict.clone_from(&port_owner);
        ctx.event(EventKind::PortHeld { port_owner: port_owner.clone() });
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.info.kind != ProbeKind::Port {
                continue;
            }
            match &port_owner {
                Some(_) => self.take_result(ctx, at, passive(ctx.now, Outcome::Pass, String::new()), true),
                None => {
                    // Results of the stranger say nothing about the realm.
                    self.evidence.probes[at].forgive();
                    // Measures at once, since whatever waits for the port has waited long enough.
                    let source = if let ProbeSource::PortOf(of) = spec.source { of } else { probe_ix(at) };
                    ctx.arm(TimerKind::Slot(source), ctx.now);
                }
            }
        }
    }

    /// The port may no longer be watched: then no adapter would report that the other process is gone.
    pub(crate) fn forget_port_conflict(&mut self, ctx: &mut Ctx<'_>) {
        if !ctx.spec.probes.iter().any(|spec| spec.info.kind == ProbeKind::Port)
            && self.generation.port_conflict.take().is_some()
        {
            ctx.event(EventKind::PortHeld { port_owner: None });
        }
    }

    pub(crate) fn on_stopped_slot(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if !self.evidence.stopped_by_signal || !self.evidence.probing {
            return;
        }
        let outcome = Outcome::Fail { reason: FailReason::ProcessStopped, phase: None };
        let result = passive(ctx.now, outcome, "stopped by a signal".to_string());
        self.take_result(ctx, at, result, true);
        let interval = ctx.spec.probes[at].info.interval.min(TRANSITION_INTERVAL);
        ctx.arm(TimerKind::Slot(probe_ix(at)), ctx.now + interval);
    }

    fn process_result(&mut self, ctx: &mut Ctx<'_>, outcome: Outcome, detail: String) {
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                self.take_result(ctx, at, passive(ctx.now, outcome, detail.clone()), true);
            }
        }
    }
}

/// A result that an adapter reported without a measurement.
pub(crate) fn passive(now: Instant, outcome: Outcome, detail: String) -> CheckResult {
    CheckResult {
        outcome,
        detail,
        started_at: now,
        finished_at: now,
        latency: None,
        phases: PhaseTimes::default(),
        unattributable: false,
        certificate_until: None,
    }
}
