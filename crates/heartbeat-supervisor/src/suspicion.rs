//! A need that refuses work: it answers, it is degraded because it says so, and what needs it fails.
//!
//! Such a need is the *suspect* of every dependent whose failures began while it was degraded, or shortly before. The
//! core does not restart the need for that. It restarts the dependent for its health at most once per suspicion,
//! without using budget; a dependent that exits waits, with a start every `backoff_max` at most. The suspicion ends
//! when the need passes without a remark. For a dependent that fails alone, while the others of that need pass, it ends
//! after the dependent's `start.timeout`.

use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{DegradedReason, Desired, EdgeKind, EventKind, Health, Instant, RealmIx, Status};

use crate::ctx::Ctx;
use crate::durable::Suspicion;
use crate::realm::Realm;
use crate::state::{State, waiting};
use crate::timers::TimerKind;
use crate::{RealmSpec, Supervisor};

/// The need is also blamed for failures that began this long before it was degraded, since it is measured only now and
/// then.
const BEFORE: Duration = Duration::from_secs(30);
/// How long a dependent without `start.timeout` that fails alone is blamed on its need.
const ALONE: Duration = Duration::from_secs(60);

impl Realm {
    /// Whether the realm answers that it refuses work. A certificate that expires soon refuses no work.
    pub(crate) fn refuses_work(&self, spec: &RealmSpec) -> bool {
        let remarks = spec.probes.iter().zip(&self.evidence.probes).filter(|(spec, _)| spec.decides());
        self.shown.health == Health::Degraded
            && remarks.filter_map(|(_, probe)| probe.remark()).any(|reason| {
                matches!(reason, DegradedReason::ReportedDegraded | DegradedReason::ReportedDown)
            })
    }

    /// Whether a failure that began at this time may be the fault of a need that refuses work.
    pub(crate) fn may_blame(&self, began: Instant) -> bool {
        self.dependencies
            .refused_since
            .is_some_and(|since| began + BEFORE >= since && self.history.cleared != Some(since))
    }

    /// Whether the realm fails and a need that refuses work is the suspect.
    pub(crate) fn is_suspicious(&self) -> bool {
        let fails = matches!(
            self.shown.status,
            Status::Down | Status::Restarting | Status::Starting | Status::Failed | Status::Unknown
        );
        self.history.suspicion.is_some()
            && fails
            && self.wish.pause.is_none()
            && !self.dependencies.needs.excuses()
    }

    /// Whether the realm has to wait until its suspect passes.
    pub(crate) fn is_held_by_suspicion(&self) -> bool {
        self.history.suspicion.is_some_and(|suspicion| suspicion.tried)
    }
}

/// How long a dependent that fails alone is blamed on its need.
fn alone_limit(spec: &RealmSpec) -> Duration {
    spec.start.timeout.unwrap_or(ALONE)
}

impl Realm {
    /// The realm fails, and a need that refuses work is the suspect from now on.
    pub(crate) fn begin_suspicion(&mut self, ctx: &mut Ctx<'_>) {
        if self.history.suspicion.is_none() {
            self.history.suspicion = Some(Suspicion { tried: false, alone_since: None });
            if let Some(since) = self.dependencies.refused_since {
                // The realm may have exited before its need was measured.
                self.history.tracker.refund(since - BEFORE);
            }
            ctx.event(EventKind::NeedSuspected { suspected: true });
        }
        self.evidence.unhealthy_cause = None;
    }

    /// heartbeatd is back: a realm that fails alone blames its need for as long as it would have without the restart.
    pub(crate) fn resume_suspicion(&self, ctx: &mut Ctx<'_>) {
        if let Some(since) = self.history.suspicion.and_then(|suspicion| suspicion.alone_since) {
            ctx.arm(TimerKind::Alone, (since + alone_limit(ctx.spec)).max(ctx.now));
        }
    }

    /// The realm has had its one restart, or a restart makes no sense.
    pub(crate) fn note_tried(&mut self) {
        if let Some(suspicion) = &mut self.history.suspicion {
            suspicion.tried = true;
        }
    }

    /// When a realm that has exited starts again while its suspect refuses work.
    pub(crate) fn next_start(&self, ctx: &Ctx<'_>) -> Instant {
        let ran_for = self.history.last_exit.and_then(|last| last.ran_for).unwrap_or_default();
        ctx.now + ctx.spec.restart.settings().backoff_max.saturating_sub(ran_for)
    }

    /// Needs have begun or ceased to refuse work.
    pub(crate) fn follow_suspicion(&mut self, ctx: &mut Ctx<'_>) {
        if self.dependencies.refused_since.is_none() {
            self.history.cleared = None;
            self.end_suspicion(ctx);
        }
    }

    /// The suspicion is over: failures count afresh, and a waiting realm starts.
    fn end_suspicion(&mut self, ctx: &mut Ctx<'_>) {
        ctx.disarm(TimerKind::Alone);
        if self.history.suspicion.take().is_none() {
            return;
        }
        ctx.event(EventKind::NeedSuspected { suspected: false });
        self.probe_afresh(ctx);
        if matches!(self.state, State::Waiting(_)) {
            self.history.not_before = self.history.gap_until;
            waiting::on_dependencies(self, ctx);
        }
    }

    /// The realm has failed alone for long enough: it is its own fault after all.
    pub(crate) fn clear_suspicion(&mut self, ctx: &mut Ctx<'_>) {
        if self.history.suspicion.is_some() {
            self.history.cleared = self.dependencies.refused_since;
            self.end_suspicion(ctx);
        }
    }
}

impl Supervisor {
    /// The needs of a realm that refuse work.
    pub(crate) fn suspects_of(&self, ix: RealmIx) -> Vec<RealmIx> {
        if !self.realms[ix.index()].is_suspicious() {
            return Vec::new();
        }
        let needs = self.plan.realm(ix).needs.iter().filter(|need| need.kind == EdgeKind::Needs);
        let refuses = |ix: &RealmIx| self.realms[ix.index()].shown.facts.refuses_since.is_some();
        needs.map(|need| need.realm).filter(refuses).collect()
    }

    /// The suspects of a realm whose incident names it. A suspect that is paused or stopped has no incident, and one
    /// that fails itself blames another.
    pub(crate) fn blamed_suspects(&self, ix: RealmIx) -> Vec<RealmIx> {
        let has_incident = |suspect: &RealmIx| {
            let suspect = &self.realms[suspect.index()];
            suspect.wish.pause.is_none() && suspect.wish.desired == Desired::Up && !suspect.is_suspicious()
        };
        self.suspects_of(ix).into_iter().filter(has_incident).collect()
    }

    /// The realms that fail and suspect this one.
    pub(crate) fn suspected_by(&self, ix: RealmIx) -> impl Iterator<Item = RealmIx> + '_ {
        self.suspicious.iter().copied().filter(move |other| self.suspects_of(*other).contains(&ix))
    }

    /// A restart for health does not help a realm whose answer names the suspect.
    pub(crate) fn names_its_suspect(&self, ix: RealmIx) -> bool {
        let suspects = self.suspects_of(ix);
        let realm = &self.realms[ix.index()];
        let failing = realm.evidence.probes.iter().filter(|probe| probe.last_fail.is_some());
        let mut answers = failing.filter_map(|probe| probe.last.as_ref()).map(|last| last.detail.as_str());
        answers.any(|answer| {
            suspects.iter().any(|suspect| {
                let spec = self.plan.realm(*suspect);
                let kinds = spec.probes.iter().filter(|probe| probe.decides());
                let mut names = kinds.map(|probe| probe.info.kind.as_str()).chain([spec.name.as_str()]);
                names.any(|name| has_word(answer, name))
            })
        })
    }

    /// Looks whether the realms that suspect a need fail alone.
    pub(crate) fn watch_suspicions(&mut self, now: Instant) {
        if self.suspicious.is_empty() {
            return;
        }
        for ix in self.suspicious.clone() {
            let suspects = self.suspects_of(ix);
            let alone = !suspects.is_empty() && suspects.iter().all(|suspect| self.others_pass(*suspect, ix));
            let Some(known) = self.realms[ix.index()].history.suspicion else { continue };
            if alone == known.alone_since.is_some() {
                continue;
            }
            self.step(now, ix, |realm, ctx| {
                realm.history.suspicion = Some(Suspicion { alone_since: alone.then_some(ctx.now), ..known });
                if alone {
                    ctx.arm(TimerKind::Alone, ctx.now + alone_limit(ctx.spec));
                } else {
                    ctx.disarm(TimerKind::Alone);
                }
            });
        }
    }

    /// Whether the need has other dependents, and all of them pass.
    fn others_pass(&self, need: RealmIx, except: RealmIx) -> bool {
        let edges = self.plan.graph().dependents(need).iter().filter(|edge| edge.kind == EdgeKind::Needs);
        let others = edges.map(|edge| edge.from).filter(|ix| *ix != except);
        let mut wanted = others.filter(|ix| self.realms[ix.index()].wants_to_run()).peekable();
        wanted.peek().is_some() && wanted.all(|ix| self.realms[ix.index()].shown.facts.up)
    }
}

/// `text` contains `word` as a word, whatever its case.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    text.split(|letter| !is_part(letter)).any(|found| found.eq_ignore_ascii_case(word))
}
