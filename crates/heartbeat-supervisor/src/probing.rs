//! Measuring the probes of a realm, and what their results add up to.
//!
//! A probe has at most one measurement in flight; an overrun skips slots and counts them. [`crate::cadence`] says when
//! a probe is due.

use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{
    CheckId, CheckResult, DegradedReason, EventKind, FailReason, InconclusiveReason, Instant, LastResult,
    Outcome, PhaseTimes, ProbeIx, ProbeKind, ProbePhase, RealmKind, Verdict,
};

use crate::ctx::Ctx;
use crate::evidence::InFlight;
use crate::realm::Realm;
use crate::state::State;
use crate::timers::{TimerKind, probe_ix};
use crate::{Effect, ProbeSource, ProbeSpec, RealmSpec};

/// An adapter that has not answered this long after the deadline will not answer.
const LOST_GRACE: Duration = Duration::from_secs(5);
/// Evidence older than max(this, 3 x interval + timeout) is stale.
const STALE_MIN: Duration = Duration::from_secs(30);
/// A refresh does not repeat a measurement that is more recent than this.
const REFRESH_GAP: Duration = Duration::from_secs(1);

impl Realm {
    /// Forgets the verdicts of the last generation: a new one begins.
    pub(crate) fn new_generation(&mut self, ctx: &mut Ctx<'_>) {
        self.stop_probing(ctx);
        self.evidence.begin_anew();
        if let Some((at, _)) = ctx.spec.notify_probe() {
            // The new process has reported nothing yet.
            self.evidence.probes[at].last = None;
        }
        self.generation = self.generation.next();
    }

    /// Begins to measure, at once.
    pub(crate) fn start_probing(&mut self, ctx: &mut Ctx<'_>) {
        self.evidence.probing = true;
        self.evidence.probing_since = ctx.now;
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Measured {
                self.begin_measuring(ctx, at);
            } else if spec.is_told() {
                self.listen(ctx, at);
            }
        }
    }

    /// Continues to measure after heartbeatd was gone, in the slots of the probes. The verdicts stand for one bound of
    /// staleness from now: without new evidence, nothing changes.
    pub(crate) fn resume_probing(&mut self, ctx: &mut Ctx<'_>) {
        self.evidence.probing = true;
        self.evidence.probing_since = ctx.now;
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            let probe = &mut self.evidence.probes[at];
            probe.current = probe.tally.verdict().is_some();
            if spec.is_told() {
                self.listen(ctx, at);
            }
            if spec.source != ProbeSource::Measured {
                continue;
            }
            if self.evidence.probes[at].tally.verdict().is_some() {
                self.schedule(ctx, at);
            } else {
                ctx.arm(TimerKind::Slot(probe_ix(at)), ctx.now);
            }
            ctx.arm(TimerKind::Stale(probe_ix(at)), ctx.now + stale_after(spec, spec.info.interval));
            if let Some(last) = self.evidence.probes[at].last_conclusive.as_mut() {
                *last = (*last).max(ctx.now);
            }
        }
        if self.evidence.probes.iter().zip(&ctx.spec.probes).any(|(probe, spec)| {
            let unknown = probe.tally.verdict().is_none();
            spec.source == ProbeSource::Process && unknown && self.generation.pid.is_some()
        }) {
            self.process_passes(ctx);
        }
    }

    /// Begins to measure one probe, at once.
    pub(crate) fn begin_measuring(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let spec = &ctx.spec.probes[at];
        ctx.arm(TimerKind::Slot(probe_ix(at)), ctx.now);
        ctx.arm(TimerKind::Stale(probe_ix(at)), ctx.now + stale_after(spec, spec.info.interval));
    }

    /// Stops measuring; answers in flight are of no interest.
    pub(crate) fn stop_probing(&mut self, ctx: &mut Ctx<'_>) {
        self.evidence.probing = false;
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            let ix = probe_ix(at);
            self.cancel(ctx, at);
            if spec.source != ProbeSource::Process {
                (self.evidence.probes[at].current, self.evidence.probes[at].stale) = (false, false);
            }
            ctx.disarm(TimerKind::Slot(ix));
            ctx.disarm(TimerKind::Stale(ix));
        }
        ctx.disarm(TimerKind::ActOnFailure);
        ctx.disarm(TimerKind::StartOverdue);
    }

    pub(crate) fn cancel(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if let Some(flight) = self.evidence.probes[at].in_flight.take() {
            ctx.effect(Effect::CancelCheck { id: flight.id });
            ctx.out.settled_checks.push_back(flight.id);
            ctx.disarm(TimerKind::Lost(probe_ix(at)));
        }
    }

    /// A dependent fails its probes and wants to know at once whether this realm is to blame.
    pub(crate) fn asked_by_dependent(&mut self, ctx: &mut Ctx<'_>) {
        self.evidence.asked = true;
        if !self.evidence.probing {
            return;
        }
        for (at, _) in ctx.spec.probes.iter().enumerate().filter(|(_, spec)| spec.decides()) {
            if self.evidence.probes[at].in_flight.is_some() {
                continue;
            }
            if self.earliest(ctx.spec, at) <= ctx.now {
                self.measure(ctx, at, true);
            } else {
                self.measure_soon(ctx, at);
            }
        }
    }

    /// Notes the evidence for a dependent that has asked.
    fn note_evidence(&mut self, spec: &RealmSpec) {
        let mut oldest = Instant::from_nanos(u64::MAX);
        for (_, probe) in spec.probes.iter().zip(&self.evidence.probes).filter(|(spec, _)| spec.decides()) {
            match &probe.last {
                Some(last) if last.outcome.passed() == Some(true) => oldest = oldest.min(last.at),
                _ => return,
            }
        }
        self.evidence.asked = false;
        self.evidence.passed_since = Some(oldest);
    }

    /// Remembers once that the realm was well after an incident of a dependent was opened.
    fn note_well(&mut self, ctx: &mut Ctx<'_>) {
        let Some(after) = self.shown.vouch_after else { return };
        let mut deciding =
            self.evidence.probes.iter().zip(&ctx.spec.probes).filter(|(_, spec)| spec.decides());
        if deciding.all(|(probe, _)| probe.last_pass.is_some_and(|pass| pass > after)) {
            self.shown.vouch_after = None;
            ctx.remember();
        }
    }

    /// The failures so far were the fault of another realm or of heartbeatd: measures afresh, now.
    pub(crate) fn probe_afresh(&mut self, ctx: &mut Ctx<'_>) {
        if !self.evidence.probing {
            return;
        }
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            let probe = &mut self.evidence.probes[at];
            if probe.tally.fails() > 0 {
                ctx.event(EventKind::ProbeReset { probe: spec.info.name.clone() });
                ctx.remember();
            }
            probe.forgive();
            if spec.source == ProbeSource::Measured {
                self.cancel(ctx, at);
                ctx.arm(TimerKind::Slot(probe_ix(at)), ctx.now);
            } else if spec.is_told() {
                self.listen_anew(ctx, at);
            }
        }
        ctx.disarm(TimerKind::ActOnFailure);
    }

    /// The realm's own restart command has run: earlier measurements say nothing about it.
    pub(crate) fn measure_anew(&mut self, ctx: &mut Ctx<'_>) {
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::Process {
                continue;
            }
            if spec.is_told() {
                // The process is the same, so its notifications stand.
                self.evidence.probes[at].forgive();
                self.listen_anew(ctx, at);
                continue;
            }
            self.cancel(ctx, at);
            self.evidence.probes[at].anew();
            ctx.event(EventKind::ProbeReset { probe: spec.info.name.clone() });
            ctx.remember();
            if spec.source == ProbeSource::Measured {
                self.begin_measuring(ctx, at);
            }
        }
    }

    /// The slot of a probe has come.
    pub(crate) fn on_slot(&mut self, ctx: &mut Ctx<'_>, ix: ProbeIx) {
        let at = ix.index();
        if ctx.spec.probes[at].source == ProbeSource::Process {
            self.on_stopped_slot(ctx, at);
            return;
        }
        if ctx.spec.probes[at].is_told() {
            self.on_silence(ctx, ix);
            return;
        }
        let too_soon = self.earliest(ctx.spec, at) > ctx.now;
        match self.evidence.probes[at].in_flight.as_mut() {
            // A refresh is measuring already: its result counts for this slot.
            Some(flight) if !flight.scheduled => flight.scheduled = true,
            Some(_) => self.evidence.probes[at].skipped += 1,
            None if too_soon => {
                self.measure_soon(ctx, at);
                return;
            }
            None => {
                self.measure(ctx, at, true);
            }
        }
        self.schedule(ctx, at);
    }

    /// Measures the live probes that may cause a restart, at once or as soon as the intervals allow.
    pub(crate) fn measure_failing(&mut self, ctx: &mut Ctx<'_>) {
        let failing: Vec<usize> = self.acted_on(ctx.spec).map(|(at, ..)| at).collect();
        for at in failing {
            match ctx.spec.probes[at].source {
                ProbeSource::Measured | ProbeSource::Process => self.measure_soon(ctx, at),
                ProbeSource::PortOf(source) => self.measure_soon(ctx, source.index()),
                ProbeSource::Notify { .. } => {}
            }
        }
    }

    fn measure(&mut self, ctx: &mut Ctx<'_>, at: usize, scheduled: bool) -> CheckId {
        let id = ctx.out.next_check(ctx.ix);
        let timeout = ctx.spec.probes[at].info.timeout;
        self.evidence.probes[at].in_flight = Some(InFlight { id, since: ctx.now, scheduled });
        (self.evidence.probes[at].measured_at, self.evidence.probes[at].begun_at) =
            (Some(ctx.now), Some(ctx.now));
        ctx.arm(TimerKind::Lost(probe_ix(at)), ctx.now + timeout + LOST_GRACE);
        ctx.effect(Effect::Check {
            id,
            realm: ctx.ix,
            probe: probe_ix(at),
            run: self.generation.run,
            timeout,
        });
        id
    }

    /// A refresh asks for fresh results. Returns the measurements that the refresh has to wait for.
    pub(crate) fn refresh(&mut self, ctx: &mut Ctx<'_>, mut wait_for: impl FnMut(CheckId)) {
        if !self.evidence.probing {
            return;
        }
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source != ProbeSource::Measured {
                continue;
            }
            if let Some(flight) = self.evidence.probes[at].in_flight {
                wait_for(flight.id);
                continue;
            }
            let gap = if ctx.spec.kind == RealmKind::External { spec.info.interval } else { REFRESH_GAP };
            if self.evidence.probes[at].begun_at.is_none_or(|begun| ctx.now.since(begun) >= gap) {
                wait_for(self.measure(ctx, at, false));
            }
        }
    }

    /// The adapter did not answer in time: heartbeatd's own fault, so the result says nothing about the target.
    pub(crate) fn on_lost(&mut self, ctx: &mut Ctx<'_>, ix: ProbeIx) {
        let Some(flight) = self.evidence.probes[ix.index()].in_flight else { return };
        ctx.effect(Effect::CancelCheck { id: flight.id });
        let result = CheckResult {
            outcome: Outcome::Inconclusive(InconclusiveReason::MonitorLag),
            detail: "the measurement did not come back".to_string(),
            started_at: flight.since,
            finished_at: ctx.now,
            latency: None,
            phases: PhaseTimes::default(),
            unattributable: false,
            certificate_until: None,
        };
        self.on_checked(ctx, flight.id, result);
    }

    /// The probe that asked for this measurement, if it is still waiting for it.
    pub(crate) fn awaits(&self, id: CheckId) -> Option<usize> {
        self.evidence.probes.iter().position(|probe| probe.in_flight.is_some_and(|flight| flight.id == id))
    }

    /// A measurement came back. Returns false when the realm no longer waits for it.
    pub(crate) fn on_checked(&mut self, ctx: &mut Ctx<'_>, id: CheckId, result: CheckResult) -> bool {
        let Some(at) = self.awaits(id) else { return false };
        ctx.disarm(TimerKind::Lost(probe_ix(at)));
        let scheduled = self.evidence.probes[at].in_flight.take().is_none_or(|flight| flight.scheduled);
        let before = self.interval(ctx.spec, at, ctx.out.lagging);
        let port = result.port_fact();
        for (dependent, spec) in ctx.spec.probes.iter().enumerate() {
            if spec.source == ProbeSource::PortOf(probe_ix(at)) {
                let latency = result.phases.connect;
                // The port fact takes over only the reason why nothing listens; any other failure belongs to the probe
                // itself.
                let failed = port.passed() == Some(false);
                let detail = if failed { result.detail.clone() } else { String::new() };
                let fact = CheckResult { outcome: port, detail, latency, ..result.clone() };
                self.take_result(ctx, dependent, fact, scheduled);
            }
        }
        let conclusive = result.outcome.passed().is_some();
        self.take_result(ctx, at, result, scheduled);
        if self.evidence.asked {
            self.note_evidence(ctx.spec);
        }
        self.note_well(ctx);
        let another = self.interval(ctx.spec, at, ctx.out.lagging) != before;
        if another {
            self.schedule(ctx, at);
        }
        if another || conclusive {
            // With a shorter interval the evidence is stale earlier. A measurement that began before the core found the
            // probe stale, and came back after that, is older than the timer assumes.
            let (ix, stale_at) = (probe_ix(at), self.stale_at(ctx, at));
            if ctx.out.timers.deadline(ctx.ix, TimerKind::Stale(ix)).is_some_and(|armed| armed > stale_at) {
                ctx.arm(TimerKind::Stale(ix), stale_at);
            }
        }
        true
    }

    /// When the evidence of a probe becomes too old, unless there is a conclusive result before.
    fn stale_at(&self, ctx: &Ctx<'_>, at: usize) -> Instant {
        let bound = stale_after(&ctx.spec.probes[at], self.interval(ctx.spec, at, ctx.out.lagging));
        self.evidence.probes[at].last_conclusive.map_or(ctx.now, |last| last + bound)
    }

    /// Counts one result, if it counts.
    pub(crate) fn take_result(
        &mut self,
        ctx: &mut Ctx<'_>,
        at: usize,
        mut result: CheckResult,
        scheduled: bool,
    ) {
        let spec = &ctx.spec.probes[at];
        let port_conflict =
            self.generation.port_conflict.as_ref().filter(|_| spec.info.kind == ProbeKind::Port);
        if let Some(port_owner) = port_conflict {
            let reason = FailReason::WrongProcess;
            result.outcome = Outcome::Fail { reason, phase: Some(ProbePhase::Connect) };
            result.detail.clone_from(port_owner);
        }
        if self.evidence.probes[at].tally.parts().passed_once {
            result.outcome = once_up(result.outcome, spec.info.kind);
        }
        // A watchdog has no threshold but its time, unless another realm is to blame.
        let missed = matches!(result.outcome, Outcome::Fail { reason: FailReason::MissedBeat, .. });
        let bypasses =
            port_conflict.is_some() || (missed && spec.is_told() && !self.dependencies.needs.excuses());
        let seen = self.evidence.probes[at].tally.verdict().is_some();
        let counts = scheduled && self.failures_count(ctx, spec, seen);
        let need_broken = self.dependencies.needs.excuses();
        let probe = &mut self.evidence.probes[at];
        let before = (probe.tally.verdict(), probe.stale, probe.proven);
        let seen = probe.last.as_ref().filter(|_| probe.current);
        let told = seen.map(|last| (last.outcome.as_str(), last.outcome.reason()));
        if let Some(passed) = result.outcome.passed() {
            probe.last_conclusive = Some(result.started_at);
            probe.stale = false;
            probe.blamed_elsewhere = !passed && (need_broken || probe.blamed_elsewhere);
            if passed {
                probe.last_pass = Some(result.started_at);
            }
            probe.last_fail = if passed { None } else { Some(result.started_at) };
            if (passed || counts) && spec.source == ProbeSource::Measured {
                probe.flapping.note(passed);
            }
            if passed || counts || bypasses {
                let verdict = probe.tally.observe(passed, &spec.info.thresholds);
                if bypasses {
                    probe.tally.decide(Verdict::Failing);
                }
                probe.note_counted(passed, result.started_at, &spec.info.thresholds);
                probe.proven = !passed
                    && (bypasses
                        || verdict == Some(Verdict::Failing)
                        || probe.proven
                        || probe.tally.fails() >= spec.info.thresholds.fail_after());
                probe.down_rounds = if probe.proven { probe.down_rounds.saturating_add(1) } else { 0 };
                if !passed {
                    ctx.remember();
                }
            } else {
                probe.tally.interrupt();
            }
        }
        let fresh = (result.outcome.as_str(), result.outcome.reason());
        if told != Some(fresh) || (probe.tally.verdict(), probe.stale, probe.proven) != before {
            ctx.event(EventKind::ProbeChanged {
                probe: spec.info.name.clone(),
                outcome: result.outcome,
                detail: result.detail.clone(),
                progress: probe.tally.progress(&spec.info.thresholds),
            });
            ctx.remember();
        }
        let before = probe.last.take().filter(|last| probe.current && last.outcome.passed().is_some());
        probe.conclusive = match result.outcome.passed() {
            Some(_) => None,
            None => before.or(probe.conclusive.take()),
        };
        probe.current = true;
        probe.last = Some(LastResult {
            outcome: result.outcome,
            detail: result.detail,
            at: result.started_at,
            latency: result.latency,
            phases: result.phases,
        });
    }

    /// Whether a failure of a probe counts: not within grace, and not while another realm is to blame. `seen`: the
    /// probe has a verdict already.
    fn failures_count(&self, ctx: &Ctx<'_>, spec: &ProbeSpec, seen: bool) -> bool {
        if self.dependencies.needs.excuses() || self.generation.spoken.stopping {
            return false;
        }
        let measured = ctx
            .spec
            .probes
            .iter()
            .zip(&self.evidence.probes)
            .filter(|(spec, _)| spec.source != ProbeSource::Process);
        let passed_once =
            || measured.clone().any(|(_, probe)| probe.tally.verdict() == Some(Verdict::Passing));
        let evaluated_from = self.serving().and_then(|serving| serving.evaluated_from);
        if evaluated_from.is_some_and(|from| ctx.now < from) && !passed_once() {
            return false;
        }
        match self.state {
            State::Starting(_) => {
                let grace = spec.grace.unwrap_or(Duration::MAX);
                self.generation.started_at.is_some_and(|started| ctx.now.since(started) >= grace)
            }
            State::Running(_) => {
                let first_pass_missing =
                    self.evidence.probes.iter().all(|probe| probe.tally.verdict() != Some(Verdict::Passing));
                let grace = spec.grace.filter(|_| first_pass_missing).unwrap_or(Duration::ZERO);
                self.generation.started_at.is_none_or(|started| ctx.now.since(started) >= grace)
            }
            State::External(_) => {
                let grace = spec.grace.filter(|_| !seen).unwrap_or(Duration::ZERO);
                ctx.now.since(self.evidence.probing_since) >= grace
            }
            _ => false,
        }
    }

    /// A probe's evidence may have become too old.
    pub(crate) fn on_stale_timer(&mut self, ctx: &mut Ctx<'_>, ix: ProbeIx) {
        let at = ix.index();
        let stale_at = self.stale_at(ctx, at);
        if stale_at > ctx.now {
            ctx.arm(TimerKind::Stale(ix), stale_at);
        } else {
            if !core::mem::replace(&mut self.evidence.probes[at].stale, true) {
                ctx.event(EventKind::ProbeStale {
                    probe: ctx.spec.probes[at].info.name.clone(),
                    stale: true,
                });
                ctx.remember();
            }
            // The timer is armed again as long as the evidence is too old.
            let spec = &ctx.spec.probes[at];
            let bound = stale_after(spec, self.interval(ctx.spec, at, ctx.out.lagging));
            ctx.arm(TimerKind::Stale(ix), ctx.now + bound);
        }
        for (dependent, spec) in ctx.spec.probes.iter().enumerate() {
            let follows = spec.source == ProbeSource::PortOf(ix);
            if follows && self.evidence.probes[dependent].stale != self.evidence.probes[at].stale {
                let stale = self.evidence.probes[at].stale;
                self.evidence.probes[dependent].stale = stale;
                ctx.event(EventKind::ProbeStale { probe: spec.info.name.clone(), stale });
                ctx.remember();
            }
        }
    }

    /// heartbeatd itself did not run: measurements in flight say nothing, and the failures so far prove nothing.
    pub(crate) fn probing_was_suspended(&mut self, ctx: &mut Ctx<'_>) {
        self.probe_afresh(ctx);
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            if self.evidence.probing && spec.source == ProbeSource::Measured {
                let bound = stale_after(spec, spec.info.interval);
                ctx.arm(TimerKind::Stale(probe_ix(at)), ctx.now + bound);
            }
        }
    }
}

fn stale_after(spec: &ProbeSpec, interval: Duration) -> Duration {
    STALE_MIN.max(interval.saturating_mul(3) + spec.info.timeout)
}

/// The outcome "I am starting up" of a realm that has been up in this generation.
fn once_up(outcome: Outcome, kind: ProbeKind) -> Outcome {
    match outcome {
        // The server answers, with a remark in the body.
        Outcome::Fail { reason: FailReason::StartingUp, phase: Some(ProbePhase::Body) } => {
            Outcome::Degraded(DegradedReason::ReportedDegraded)
        }
        Outcome::Fail { reason: FailReason::StartingUp, phase } => {
            let http = kind == ProbeKind::Http;
            let reason = if http { FailReason::UnexpectedStatus } else { FailReason::ReportedDown };
            Outcome::Fail { reason, phase }
        }
        other => other,
    }
}
