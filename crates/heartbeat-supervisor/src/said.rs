//! The notifications of a realm: that it is ready, reloading, about to exit, well, or in need of more time.
//!
//! The probe of kind `notify` stands for them. It passes from `READY=1` on. With a watchdog it fails when the realm has
//! sent no keep-alive in time, without a further threshold. While heartbeatd did not run, or when its own timer is
//! late, silence proves nothing.
//!
//! A realm that sends `STOPPING=1` is about to exit by itself. It is no longer up, heartbeatd does not act on its
//! failures, and its exit is like any other; if it has not exited within `stop.timeout`, heartbeatd ends it.

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

/// A watchdog timer that fires later than this is late, and earlier messages may still be on their way.
const LATE: Duration = Duration::from_millis(100);
/// The core then waits this much longer.
const LATE_GRACE: Duration = Duration::from_secs(1);

/// Whether the program was exec'd, and its end has not been reported.
fn speaks(realm: &Realm) -> bool {
    let execed = match &realm.state {
        State::Starting(starting) => starting.execed(),
        State::Running(_) | State::Stopping(_) => true,
        _ => false,
    };
    execed && realm.generation.pid.is_some()
}

/// Updates the probe.
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
        // Before the realm is ready the core waits for no keep-alive; this one only takes back the realm's own trigger.
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
    /// The last notifications, for display.
    pub(crate) fn says(&self, spec: &RealmSpec) -> Option<Says> {
        spec.notify_probe().filter(|_| speaks(self))?;
        let Spoken { status, .. } = &self.generation.spoken;
        Some(Says {
            state: self.generation.spoken.state(),
            status: status.clone(),
            watchdog: self.watchdog(spec),
        })
    }

    /// The longest time between two keep-alives.
    fn watchdog(&self, spec: &RealmSpec) -> Option<Duration> {
        let (_, configured) = spec.notify_probe()?;
        self.generation.spoken.watchdog.or(configured).filter(|watchdog| !watchdog.is_zero())
    }

    fn tell_state(&self, ctx: &mut Ctx<'_>) {
        let status = self.generation.spoken.status.clone().unwrap_or_default();
        ctx.event(EventKind::Said { state: self.generation.spoken.state(), status });
    }

    fn said_it_is_well(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        // An extension of time ends with the next keep-alive.
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
        // The realm is no longer up, but this is no fault, so nothing counts.
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

    /// Waits for the next keep-alive from now on, if the realm has a watchdog.
    fn await_beat(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        let watchdog = self.watchdog(ctx.spec).filter(|_| self.generation.spoken.ready);
        self.set_due(ctx, at, watchdog.map(|watchdog| ctx.now + watchdog));
    }

    fn await_end(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        self.set_due(ctx, at, Some(ctx.now + ctx.spec.stop.timeout));
    }

    fn set_due(&mut self, ctx: &mut Ctx<'_>, at: usize, due: Option<Instant>) {
        // An earlier extension still stands.
        let due = due.map(|due| due.max(self.generation.spoken.extended.unwrap_or(due)));
        self.evidence.silence_due = due;
        match due {
            Some(due) => ctx.arm(TimerKind::Slot(probe_ix(at)), due),
            None => ctx.disarm(TimerKind::Slot(probe_ix(at))),
        }
    }

    /// The notifications stand, and the wait for the next one begins anew: heartbeatd did not run, another realm was to
    /// blame, or the configuration has changed.
    pub(crate) fn listen_anew(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if self.generation.spoken.stopping {
            self.await_end(ctx, at);
        } else if self.generation.spoken.triggered {
            // Nothing that has happened since takes that back.
            self.evidence.silence_due = None;
            ctx.arm(TimerKind::Slot(probe_ix(at)), ctx.now);
        } else {
            self.await_beat(ctx, at);
        }
    }

    /// Measuring begins, or continues: earlier notifications count.
    pub(crate) fn listen(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if self.evidence.probes[at].tally.verdict().is_none()
            && self.generation.spoken.ready
            && !self.generation.spoken.stopping
        {
            self.take_result(ctx, at, passive(ctx.now, Outcome::Pass, self.generation.spoken.words()), true);
        }
        self.listen_anew(ctx, at);
    }

    /// The realm has been silent for too long, or has not exited although it announced that.
    pub(crate) fn on_silence(&mut self, ctx: &mut Ctx<'_>, ix: ProbeIx) {
        let at = ix.index();
        let due = self.evidence.silence_due.take();
        if !self.evidence.probing {
            return;
        }
        if due.is_some_and(|due| ctx.now.since(due) > LATE) {
            // heartbeatd itself is late: messages that arrived meanwhile come first.
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

    /// Every timeout of the realm ends `by` from now at the earliest. Nothing is ever shortened.
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
    /// Takes a notification of the realm.
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
            // The realm has completed whatever it was doing.
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
