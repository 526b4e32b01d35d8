//! What a realm says of itself: that it is ready, reloading, about to end, well, or in need of more time.
//!
//! The probe of kind `notify` stands for it. It passes from `READY=1` on. With a watchdog it fails when the realm has not
//! said for so long that it is well, and no threshold counts up to that: the time was the threshold. As long as nothing of
//! heartbeatd ran, or its own timer comes late, silence proves nothing.
//!
//! A realm that says `STOPPING=1` is about to end by itself. It is not up any more, nothing it fails is acted on, and its
//! end is an exit like any other; when it has not ended within `stop.timeout`, it is ended.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

use heartbeat_status::{
    Beat, EventKind, FailReason, Instant, Outcome, ProbeIx, RestartCause, Said, Says, Verdict,
};

use crate::RealmSpec;
use crate::ctx::Ctx;
use crate::durable::Spoken;
use crate::process_probe::passive;
use crate::realm::Realm;
use crate::state::{self, State, starting, stopping};
use crate::timers::{TimerKind, probe_ix};

/// A watchdog timer that comes later than this has come late, and what was said meanwhile may still be on its way.
const LATE: Duration = Duration::from_millis(100);
/// Then it is waited for this much longer.
const LATE_GRACE: Duration = Duration::from_secs(1);

/// Its program was exec'd, and has not been reported to have ended.
fn speaks(realm: &Realm) -> bool {
    let execed = match &realm.state {
        State::Starting(starting) => starting.execed(),
        State::Running(_) | State::Stopping(_) => true,
        _ => false,
    };
    execed && realm.generation.pid.is_some()
}

/// What follows for its probe.
fn evaluate(realm: &mut Realm, ctx: &mut Ctx<'_>, at: usize, ends: bool, fresh: bool, beat: Option<Beat>) {
    match beat {
        _ if ends => realm.said_it_stops(ctx, at),
        _ if realm.generation.spoken.stopping => {}
        Some(Beat::Trigger) => {
            realm.generation.spoken.triggered = true;
            realm.beat_missed(ctx, at);
        }
        Some(Beat::Alive) if realm.generation.spoken.ready => realm.said_it_is_well(ctx, at),
        None if realm.generation.spoken.ready && fresh => realm.said_it_is_well(ctx, at),
        // Before it is ready no sign of life is awaited; it only takes back what it has said itself.
        Some(Beat::Alive) if core::mem::take(&mut realm.generation.spoken.triggered) => {
            realm.evidence.probes[at].forgive();
            realm.listen_anew(ctx, at);
        }
        Some(Beat::Alive) | None => {}
    }
}

fn note_status(realm: &mut Realm, at: usize, status: String) {
    let status = Some(status).filter(|status| !status.is_empty());
    if realm.generation.spoken.status == status {
        return;
    }
    realm.generation.spoken.status = status;
    let words = realm.generation.spoken.words();
    if let Some(last) = realm.evidence.probes[at].last.as_mut().filter(|last| last.outcome == Outcome::Pass) {
        last.detail = words;
    }
}

impl Realm {
    /// What it says of itself, for display.
    pub(crate) fn says(&self, spec: &RealmSpec) -> Option<Says> {
        spec.notify_probe().filter(|_| speaks(self))?;
        let Spoken { status, .. } = &self.generation.spoken;
        Some(Says {
            state: self.generation.spoken.state(),
            status: status.clone(),
            watchdog: self.watchdog(spec),
        })
    }

    /// It has to say that it is well at least this often.
    fn watchdog(&self, spec: &RealmSpec) -> Option<Duration> {
        let (_, configured) = spec.notify_probe()?;
        self.generation.spoken.watchdog.or(configured).filter(|watchdog| !watchdog.is_zero())
    }

    fn tell_state(&self, ctx: &mut Ctx<'_>) {
        let status = self.generation.spoken.status.clone().unwrap_or_default();
        ctx.event(EventKind::Said { state: self.generation.spoken.state(), status });
    }

    fn said_it_is_well(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        // Time that it was granted before ends with the next sign of life.
        self.generation.spoken.triggered = false;
        if self.generation.spoken.extended.take().is_some() {
            self.tell_state(ctx);
        }
        self.take_result(ctx, at, passive(ctx.now, Outcome::Pass, self.generation.spoken.words()), true);
        self.await_beat(ctx, at);
    }

    fn said_it_stops(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let outcome = Outcome::Fail { reason: FailReason::ReportedDown, phase: None };
        self.take_result(ctx, at, passive(ctx.now, outcome, self.generation.spoken.words()), true);
        // Not up any more; and no fault, so nothing is counted.
        self.evidence.probes[at].tally.decide(Verdict::Failing);
        self.await_end(ctx, at);
    }

    fn beat_missed(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let what = match self.watchdog(ctx.spec).filter(|_| !self.generation.spoken.triggered) {
            Some(watchdog) => format!("no WATCHDOG=1 for {watchdog:?}"),
            None => "WATCHDOG=trigger".to_string(),
        };
        let detail = match &self.generation.spoken.status {
            Some(status) => format!("{what}; its last status: {status}"),
            None => what,
        };
        let outcome = Outcome::Fail { reason: FailReason::MissedBeat, phase: None };
        self.take_result(ctx, at, passive(ctx.now, outcome, detail), true);
        self.evidence.silence_due = None;
        ctx.disarm(TimerKind::Slot(probe_ix(at)));
    }

    /// From now on its next sign of life is waited for, if it has to give any.
    fn await_beat(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let watchdog = self.watchdog(ctx.spec).filter(|_| self.generation.spoken.ready);
        self.set_due(ctx, at, watchdog.map(|watchdog| ctx.now + watchdog));
    }

    fn await_end(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        self.set_due(ctx, at, Some(ctx.now + ctx.spec.stop.timeout));
    }

    fn set_due(&mut self, ctx: &mut Ctx<'_>, at: usize, due: Option<Instant>) {
        // What it was granted before still stands.
        let due = due.map(|due| due.max(self.generation.spoken.extended.unwrap_or(due)));
        self.evidence.silence_due = due;
        match due {
            Some(due) => ctx.arm(TimerKind::Slot(probe_ix(at)), due),
            None => ctx.disarm(TimerKind::Slot(probe_ix(at))),
        }
    }

    /// What it has said stands, and whatever it owes is waited for anew: heartbeatd was not there, or another realm was to
    /// blame, or what is asked of it has changed.
    pub(crate) fn listen_anew(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if self.generation.spoken.stopping {
            self.await_end(ctx, at);
        } else if self.generation.spoken.triggered {
            // Nothing that has happened takes that back.
            self.evidence.silence_due = None;
            ctx.arm(TimerKind::Slot(probe_ix(at)), ctx.now);
        } else {
            self.await_beat(ctx, at);
        }
    }

    /// Measuring begins, or goes on: what it has said before counts.
    pub(crate) fn listen(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if self.evidence.probes[at].tally.verdict().is_none()
            && self.generation.spoken.ready
            && !self.generation.spoken.stopping
        {
            self.take_result(ctx, at, passive(ctx.now, Outcome::Pass, self.generation.spoken.words()), true);
        }
        self.listen_anew(ctx, at);
    }

    /// It has been silent for too long, or has not ended although it said so.
    pub(crate) fn on_silence(&mut self, ctx: &mut Ctx<'_>, ix: ProbeIx) {
        let at = ix.index();
        let due = self.evidence.silence_due.take();
        if !self.evidence.probing {
            return;
        }
        if due.is_some_and(|due| ctx.now.since(due) > LATE) {
            // Our own fault: what it has said meanwhile comes first.
            self.set_due(ctx, at, Some(ctx.now + LATE_GRACE));
        } else if !self.generation.spoken.stopping {
            self.beat_missed(ctx, at);
        } else if self.wish.pause.is_some() {
            self.await_end(ctx, at);
        } else {
            let detail = format!("said STOPPING=1 and did not end within {:?}", ctx.spec.stop.timeout);
            stopping::restart(self, ctx, RestartCause::Exited, detail);
        }
    }

    /// Everything that waits for it waits at least this long from now. Nothing is ever shortened.
    fn extend(&mut self, ctx: &mut Ctx<'_>, by: Duration) {
        let until = ctx.now + by;
        if self.generation.spoken.extended.is_none() {
            self.tell_state(ctx);
        }
        self.generation.spoken.extended =
            Some(self.generation.spoken.extended.map_or(until, |known| known.max(until)));
        match &self.state {
            State::Starting(_) => starting::extend(self, ctx, until),
            State::Stopping(_) => stopping::extend(self, ctx, until),
            _ => {}
        }
        if let (Some(due), Some((at, _))) = (self.evidence.silence_due, ctx.spec.notify_probe()) {
            self.set_due(ctx, at, Some(due));
        }
    }
}

impl Realm {
    /// It has said something.
    pub(crate) fn hear(&mut self, ctx: &mut Ctx<'_>, said: Said) {
        let Some((at, _)) = ctx.spec.notify_probe().filter(|_| speaks(self)) else {
            ctx.ignore("nobody is asked to say anything of itself in this state");
            return;
        };
        let before = self.generation.spoken.state();
        if let Some(status) = said.status {
            note_status(self, at, status);
        }
        if let Some(watchdog) = said.watchdog {
            self.generation.spoken.watchdog = Some(watchdog);
        }
        self.generation.spoken.reloading |= said.reloading;
        let ends = said.stopping && !self.generation.spoken.stopping;
        self.generation.spoken.stopping |= said.stopping;
        if said.ready && !said.stopping {
            // Whatever it was doing, it has come through it.
            (
                self.generation.spoken.ready,
                self.generation.spoken.reloading,
                self.generation.spoken.stopping,
            ) = (true, false, false);
        }
        let after = self.generation.spoken.state();
        if after != before {
            let status = self.generation.spoken.status.clone().unwrap_or_default();
            ctx.event(EventKind::Said { state: after, status });
        }
        if !matches!(self.state, State::Stopping(_)) {
            evaluate(self, ctx, at, ends, said.ready || said.watchdog.is_some(), said.beat);
        }
        if let Some(extend) = said.extend {
            self.extend(ctx, extend);
        }
        state::on_result(self, ctx);
    }
}
