//! From an input to the realms it concerns.

use alloc::vec::Vec;

use heartbeat_status::{
    CheckId, CheckResult, CommandId, Desired, EdgeKind, EventKind, Instant, RealmIx, RunFact, RunId,
};

use crate::ctx::{Mode, Outbox};
use crate::durable::Resting;
use crate::state::{self, State, StateRequest};
use crate::timers::TimerKind;
use crate::{Command, Effect, Reply, Supervisor};

impl Supervisor {
    pub(crate) fn boot(&mut self, now: Instant) {
        if self.mode != Mode::Cold {
            self.ignore(now, "already booted");
            return;
        }
        self.mode = Mode::Booted;
        self.realms.iter_mut().for_each(|realm| realm.shown.seen_first(now));
        self.resume(now);
        self.pull_in(now, Vec::new());
        // The next heartbeatd also has to know since when a realm has its status if that does not change for long.
        self.out.remember.extend(self.plan.infos().iter().map(|info| info.ix));
    }

    /// Starts `wanted`. A realm that is to run pulls in its needs and wants, `manual` or not.
    pub(crate) fn pull_in(&mut self, now: Instant, wanted: Vec<RealmIx>) {
        let mut pulled_in = wanted;
        for at in (0..self.start_order.len()).rev() {
            let ix = self.start_order[at];
            if self.realms[ix.index()].wish.desired != Desired::Up {
                continue;
            }
            for need in &self.plan.realm(ix).needs {
                let needed = &mut self.realms[need.realm.index()];
                // A realm that an operator has stopped stays down.
                let manual = needed.wish.desired == Desired::Down && needed.wish.resting == Resting::Manual;
                if need.kind != EdgeKind::After && manual {
                    needed.wish.desired = Desired::Up;
                    pulled_in.push(need.realm);
                }
            }
        }
        for at in 0..self.start_order.len() {
            let ix = self.start_order[at];
            self.reconsider(now, ix);
            if pulled_in.contains(&ix) {
                self.step(now, ix, |realm, ctx| state::on_command(realm, ctx, StateRequest::Run));
            }
        }
    }

    pub(crate) fn checked(&mut self, now: Instant, id: CheckId, result: CheckResult) {
        self.settle_check(id);
        let ix = Outbox::owner_of(id);
        if self.realms.get(ix.index()).is_none_or(|realm| realm.awaits(id).is_none()) {
            // The realm has called off or given up the measurement, or it is of an older generation: it is counted,
            // without an event.
            self.out.ignored += 1;
            return;
        }
        self.step(now, ix, |realm, ctx| {
            realm.on_checked(ctx, id, result);
            state::on_result(realm, ctx);
        });
    }

    pub(crate) fn fact(&mut self, now: Instant, ix: RealmIx, run: RunId, fact: RunFact) {
        if self.realms.get(ix.index()).is_none_or(|realm| realm.generation.run != run) {
            self.ignore(now, "an answer about a generation that is not current");
            return;
        }
        self.step(now, ix, |realm, ctx| state::on_fact(realm, ctx, fact));
    }

    pub(crate) fn timer(&mut self, now: Instant, ix: RealmIx, timer: TimerKind) {
        self.step(now, ix, |realm, ctx| match timer {
            TimerKind::Slot(probe) => {
                realm.on_slot(ctx, probe);
                // A process that a signal has stopped fails by the clock, not by a measurement.
                state::on_result(realm, ctx);
            }
            TimerKind::Lost(probe) => {
                realm.on_lost(ctx, probe);
                state::on_result(realm, ctx);
            }
            TimerKind::Stale(probe) => realm.on_stale_timer(ctx, probe),
            TimerKind::Stable => {
                if let Some(since) = realm.generation.healthy_since {
                    realm.history.tracker.on_healthy_since(&ctx.spec.restart, since, ctx.now);
                    realm.history.relapsed &= ctx.now.since(since) < ctx.spec.restart.reset_after();
                }
            }
            TimerKind::Pause => realm.end_pause(ctx, true),
            TimerKind::Alone => realm.clear_suspicion(ctx),
            _ => state::on_deadline(realm, ctx, timer),
        });
    }

    pub(crate) fn refresh(&mut self, now: Instant, id: CommandId, scope: Option<RealmIx>) {
        let range = match scope {
            Some(ix) => ix.index()..(ix.index() + 1).min(self.realms.len()),
            None => 0..self.realms.len(),
        };
        let mut wanted = Vec::new();
        for at in range {
            let ix = self.plan.infos()[at].ix;
            self.step(now, ix, |realm, ctx| realm.refresh(ctx, |check| wanted.push(check)));
        }
        if self.rounds.open(now, id, wanted).is_err() {
            self.out.effects.push_back(Effect::Reply { id, reply: Reply::Refreshed { missing: 0 } });
        }
    }

    pub(crate) fn suspended(&mut self, now: Instant) {
        for at in 0..self.realms.len() {
            let ix = self.plan.infos()[at].ix;
            self.step(now, ix, |realm, ctx| {
                realm.probing_was_suspended(ctx);
                state::starting::was_suspended(realm, ctx);
                state::serving::was_suspended(realm, ctx);
            });
        }
    }

    pub(crate) fn command(&mut self, now: Instant, id: CommandId, command: &Command) {
        let plan = self.plan(now, command);
        if plan.refusal.is_some() {
            self.out.effects.push_back(Effect::Reply { id, reply: Reply::Refused { plan } });
            return;
        }
        let restarts = crate::execution::execute(self, now, command, &plan);
        self.out.effects.push_back(Effect::Reply { id, reply: Reply::Accepted { plan, restarts } });
    }

    pub(crate) fn shutdown(&mut self, now: Instant, at_once: bool) {
        let order: Vec<RealmIx> = self.plan.graph().stop_order().collect();
        if !matches!(self.mode, Mode::ShuttingDown | Mode::Killing) {
            self.mode = Mode::ShuttingDown;
            self.shutdown_deadline = Some(now + self.plan.settings().shutdown_timeout);
            self.out.event(now, None, EventKind::ShutdownStarted);
            // In the plan's order, every dependent is on its way down before its needs are.
            for ix in &order {
                self.reconsider(now, *ix);
                self.step(now, *ix, |realm, ctx| state::on_command(realm, ctx, StateRequest::Rest));
                if matches!(self.realms[ix.index()].state, State::External(_)) {
                    self.step(now, *ix, state::external::release);
                }
            }
        }
        if at_once && self.mode != Mode::Killing {
            self.mode = Mode::Killing;
            self.shutdown_deadline = None;
            for ix in &order {
                self.reconsider(now, *ix);
                self.step(now, *ix, |realm, ctx| state::on_command(realm, ctx, StateRequest::Kill));
            }
        }
    }

    pub(crate) fn tell_boot(&mut self, now: Instant) {
        if self.mode == Mode::Booted
            && !self.booted_told
            && self.realms.iter().all(|realm| !realm.shown.facts.pending)
        {
            self.booted_told = true;
            let adopted = self.realms.iter().filter(|realm| realm.evidence.adopted).count();
            let order = self.start_order.iter().map(|ix| (ix, self.realms[ix.index()].shown.status));
            let missing = order.filter(|(_, status)| !status.is_ok());
            let kind = EventKind::Booted {
                adopted: u32::try_from(adopted).unwrap_or(u32::MAX),
                missing: missing.map(|(ix, status)| (self.plan.realm(*ix).name.clone(), status)).collect(),
            };
            self.out.event(now, None, kind);
        }
    }

    pub(crate) fn halt_when_done(&mut self, now: Instant) {
        if self.finished || !matches!(self.mode, Mode::ShuttingDown | Mode::Killing) {
            return;
        }
        let mut left = 0;
        for realm in &self.realms {
            match realm.state {
                State::Stopped { .. } | State::Done | State::Failed(_) | State::External(_) => {}
                State::Stuck { .. } | State::Unverified { .. } => left += 1,
                _ => return,
            }
        }
        self.finished = true;
        self.shutdown_deadline = None;
        self.out.event(now, None, EventKind::ShutdownFinished { left });
        self.out.effects.push_back(Effect::Halt);
    }

    /// The driver's loop is late, or in time again.
    pub(crate) fn lag(&mut self, now: Instant, late: bool) {
        self.out.lagging = late;
        let settings = self.plan.settings().fuse;
        if let Some(message) = self.fuse.note_lag(&settings, now, late) {
            self.breaker_tripped(now, message);
        }
    }

    pub(crate) fn ignore(&mut self, now: Instant, why: &'static str) {
        self.out.ignored += 1;
        self.out.event(now, None, EventKind::Ignored { why });
    }
}
