//! What a realm has to be granted: a launch slot, and a restart for its health.

use heartbeat_status::{Desired, EventKind, Instant, RealmIx, RealmKind, RestartResult, Status};

use crate::evidence::Hold;
use crate::fuse::{Grant, TRIPPED_LAUNCH_GAP};
use crate::realm::Realm;
use crate::state::{self, State};
use crate::timers::TimerKind;
use crate::{Supervisor, why};

impl Supervisor {
    pub(crate) fn has_free_slot(&self) -> bool {
        self.launching < self.plan.settings().start_parallel.max(1)
    }

    pub(crate) fn grant_launch(&mut self, now: Instant) -> bool {
        if !self.has_free_slot() {
            return false;
        }
        if self.fuse.is_tripped() && now < self.launch_gap_until {
            return false;
        }
        let Some((_, ix)) = self.out.launches.pop_first() else { return false };
        self.launch_gap_until = now + TRIPPED_LAUNCH_GAP;
        self.step(now, ix, state::starting::launch);
        true
    }

    /// A realm is due for a restart for its health: grants it if the circuit breaker allows.
    pub(crate) fn grant_health_restart(&mut self, now: Instant, ix: RealmIx) {
        if !self.realms[ix.index()].restart_is_pending(self.plan.realm(ix)) {
            // Since it asked, within this step, it has been told to stop, or another realm has turned out to be to blame.
            return;
        }
        if self.realms[ix.index()].history.suspicion.is_some() && self.names_its_suspect(ix) {
            self.step(now, ix, |realm, ctx| {
                realm.note_tried();
                ctx.disarm(TimerKind::ActOnFailure);
            });
            return;
        }
        let settings = self.plan.settings().fuse;
        // After a restart command that did not help, this is the next attempt of a restart that is open.
        let others = self.healing - u32::from(self.realms[ix.index()].is_healing());
        let hold = match self.fuse.ask(&settings, now, ix, others) {
            Grant::Now if self.realms[ix.index()].evidence.held.is_some() => {
                self.step(now, ix, Realm::release);
                return;
            }
            Grant::Now => {
                self.fuse.begin(now, ix);
                self.step(now, ix, Realm::restart);
                if !self.realms[ix.index()].is_healing() {
                    // Its budget is used up, so that it is only ended.
                    self.fuse.restart_ended(&settings, now, ix, false);
                }
                return;
            }
            Grant::Tripped => Hold::Tripped,
            Grant::Parallel => Hold::Parallel,
            Grant::Exhausted { until } => Hold::Exhausted(until),
        };
        if self.realms[ix.index()].evidence.held != Some(hold) {
            let words = why::hold_words(&self.plan, &self.realms, ix, hold);
            self.step(now, ix, |realm, ctx| realm.hold(ctx, Some(hold), Some(words)));
        }
    }

    pub(crate) fn health_restart_ended(&mut self, now: Instant, ix: RealmIx) {
        let settings = self.plan.settings().fuse;
        let record = self.realms[ix.index()].history.restart.as_ref();
        let verified = record.is_some_and(|record| record.result == Some(RestartResult::Verified));
        if self.fuse.restart_ended(&settings, now, ix, verified) {
            self.out.event(now, None, EventKind::FuseReleased);
        }
    }

    /// A realm has turned unhealthy by its probes, and no need is to blame.
    pub(crate) fn note_down(&mut self, now: Instant, ix: RealmIx) {
        let settings = self.plan.settings().fuse;
        let supervised = self.plan.infos().iter().filter(|info| self.is_supervised(info.ix)).count();
        if !matches!(self.realms[ix.index()].state, State::Running(_)) {
            return;
        }
        if let Some(message) = self.fuse.note_down(&settings, now, ix, supervised) {
            self.breaker_tripped(now, message);
        }
    }

    /// Whether the realm runs or is on its way up.
    fn is_supervised(&self, ix: RealmIx) -> bool {
        let realm = &self.realms[ix.index()];
        match realm.state {
            State::Running(_) => true,
            State::Waiting(_)
            | State::Starting(_)
            | State::Stopping(_)
            | State::Backoff(_)
            | State::Cooldown(_)
            | State::Stuck { .. } => {
                realm.wish.desired == Desired::Up && self.plan.realm(ix).kind == RealmKind::Service
            }
            State::Stopped { .. }
            | State::Failed(_)
            | State::Done
            | State::Unverified { .. }
            | State::External(_) => false,
        }
    }

    /// While the circuit breaker is tripped: checks whether every running realm has been measured afresh, or is well
    /// again.
    pub(crate) fn watch_fuse(&mut self, now: Instant) {
        let Some(since) = self.fuse.tripped_since() else { return };
        let running = || self.realms.iter().filter(|realm| matches!(realm.state, State::Running(_)));
        if running().all(|realm| realm.shown.status != Status::Down) && self.fuse.all_well() {
            self.out.event(now, None, EventKind::FuseReleased);
            return;
        }
        let fresh = running().all(|realm| realm.measured_since(since));
        let settings = self.plan.settings().fuse;
        self.fuse.proceed(&settings, now, fresh);
    }
}
