//! A new plan replaces the one in force, and no untouched realm changes.
//!
//! Indices never move: a realm keeps its own as long as it lives, so anything in flight (a launch, a measurement, a
//! signal) still finds its realm. A realm that the new plan no longer has stays in it as *retired*, with its needs,
//! until it is stopped; then its index is free for another.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{Desired, EventKind, Instant, RealmIx, RestartCause};

use crate::ctx::{Ctx, Mode};
use crate::durable::Resting;
use crate::evidence::Probing;
use crate::realm::Realm;
use crate::state::{self, State, StateRequest};
use crate::timers::probe_ix;
use crate::timers::{TimerKind, Timers};
use crate::{Plan, ProbeSource, RealmSpec, Supervisor};

/// The old index of each probe of a realm that stays.
type Kept = Vec<Option<usize>>;

/// A probe is the same when its name and its target are the same.
fn kept(old: &RealmSpec, new: &RealmSpec) -> Kept {
    let same = |probe: &crate::ProbeSpec| {
        old.probes.iter().position(|known| {
            known.info.name == probe.info.name
                && known.info.kind == probe.info.kind
                && known.info.target == probe.info.target
                && (known.source == ProbeSource::Measured) == (probe.source == ProbeSource::Measured)
        })
    };
    new.probes.iter().map(same).collect()
}

impl Supervisor {
    /// Indices that a new plan may give to new realms: their realms are retired and gone.
    #[must_use]
    pub fn vacant(&self) -> Vec<RealmIx> {
        let gone = self
            .plan
            .infos()
            .iter()
            .zip(&self.realms)
            .filter(|(info, realm)| self.plan.realm(info.ix).retired && realm.at_rest());
        gone.map(|(info, _)| info.ix).collect()
    }

    /// Puts `plan` in force. Afterwards poll as after [`Supervisor::handle`].
    ///
    /// In `plan` every realm in force stands at the index it has, retired where it is to go; only
    /// [`Supervisor::vacant`] indices and new ones belong to new realms; and no realm that stays changes its kind.
    /// `restart` are those whose process is made of something else now, with the keys that say so. `summary` is for
    /// people. While everything is being stopped nothing new is taken: that is ignored, and told as such.
    pub fn reload(&mut self, now: Instant, plan: Plan, restart: &[(RealmIx, String)], summary: String) {
        if matches!(self.mode, Mode::ShuttingDown | Mode::Killing) {
            self.ignore(now, "a new plan while everything is being stopped");
            return;
        }
        let old = core::mem::replace(&mut self.plan, Arc::new(plan));
        let plan = Arc::clone(&self.plan);
        let mut mapped: Vec<Option<Kept>> = Vec::with_capacity(plan.realms().len());
        for (at, spec) in plan.realms().iter().enumerate() {
            let before = old.realms().get(at).filter(|before| before.name == spec.name);
            // A realm that was gone and is in the plan again begins anew.
            let anew = |before: &&RealmSpec| before.retired && !spec.retired && self.realms[at].at_rest();
            mapped.push(before.filter(|before| !anew(before)).map(|before| kept(before, spec)));
        }
        self.drop_measurements(now, &old, &mapped);
        self.out.remember.extend(plan.infos().iter().map(|info| info.ix));
        self.out.timers = Timers::carried(&self.out.timers, &plan, &mapped);
        // They wait in start order, which the new plan may change.
        let waiting = core::mem::take(&mut self.out.launches);
        self.out.launches = waiting.into_iter().map(|(_, ix)| (plan.graph().order(ix), ix)).collect();
        self.place(&old, &plan, &mapped);
        self.start_order = plan.graph().start_order().into();
        self.published.clear();
        self.out.event(now, None, EventKind::Reloaded { summary });
        // Those that run anew have the status of that, and none for want of a result of a new probe.
        let restart = if self.mode == Mode::Booted { restart } else { &[] };
        let is_kept = |ix: &RealmIx| !restart.iter().any(|(anew, _)| anew == ix);
        let kept: Vec<RealmIx> = self.start_order.iter().copied().filter(is_kept).collect();
        for ix in &kept {
            self.step(now, *ix, Realm::take_new_plan);
        }
        // A realm that is to run again is on its way before its dependents are looked at. Every realm has the summary
        // of its neighbours before the core acts on a result of its own.
        if self.mode == Mode::Booted {
            let wanted = self.wanted_again(&old, &mapped);
            self.pull_in(now, wanted);
        } else {
            for at in 0..self.start_order.len() {
                self.reconsider(now, self.start_order[at]);
            }
        }
        for ix in kept {
            self.step(now, ix, state::on_reload);
        }
        if self.mode == Mode::Booted {
            self.retire(now, &old);
        }
        for (ix, keys) in restart {
            self.step(now, *ix, |realm, ctx| {
                renew(realm, ctx, Some(keys.clone()));
                realm.take_new_plan(ctx);
                state::on_reload(realm, ctx);
            });
        }
        self.drain(now);
    }

    /// Cancels the measurements of probes that no longer exist.
    fn drop_measurements(&mut self, now: Instant, old: &Plan, mapped: &[Option<Kept>]) {
        for (at, spec) in old.realms().iter().enumerate() {
            let keeps: &[Option<usize>] = mapped.get(at).and_then(Option::as_deref).unwrap_or(&[]);
            let Some(ix) = old.infos().get(at).map(|info| info.ix) else { continue };
            let mut ctx = Ctx { now, ix, order: old.graph().order(ix), spec, out: &mut self.out };
            for probe in (0..spec.probes.len()).filter(|probe| !keeps.contains(&Some(*probe))) {
                self.realms[at].cancel(&mut ctx, probe);
            }
        }
    }

    /// Puts every realm at its index, with the probes of the new plan.
    fn place(&mut self, old: &Plan, plan: &Plan, mapped: &[Option<Kept>]) {
        for (at, (spec, kept)) in plan.realms().iter().zip(mapped).enumerate() {
            match (self.realms.get_mut(at), kept) {
                (Some(realm), Some(kept)) => realm.take_spec(spec, kept),
                (Some(realm), None) => {
                    let returns = old.realms()[at].name == spec.name;
                    self.incidents.forget(plan.infos()[at].ix, returns);
                    self.fuse.forget(plan.infos()[at].ix);
                    // Nothing of the realm before is left but this: no late answer about it fits a run of the new one.
                    let run = realm.generation.run.of_next_realm();
                    *realm = Realm::new(spec);
                    realm.generation.run = run;
                }
                (None, _) => self.realms.push(Realm::new(spec)),
            }
        }
        self.queued.resize(self.realms.len(), false);
    }

    /// Realms that the new plan has again, or starts by itself although the old one did not. A realm that an operator
    /// has stopped stays down.
    fn wanted_again(&mut self, old: &Plan, mapped: &[Option<Kept>]) -> Vec<RealmIx> {
        let mut wanted = Vec::new();
        for ix in self.start_order.iter().copied() {
            let spec = self.plan.realm(ix);
            let Some(before) = old.realms().get(ix.index()).filter(|_| mapped[ix.index()].is_some()) else {
                continue;
            };
            let realm = &mut self.realms[ix.index()];
            if before.retired && !spec.retired {
                realm.wish.resting = Resting::Manual;
            }
            let resting = realm.wish.desired == Desired::Down && realm.wish.resting == Resting::Manual;
            if resting && !spec.manual && !spec.retired {
                realm.wish.desired = Desired::Up;
                wanted.push(ix);
            }
        }
        wanted
    }

    /// Stops the realms that the new plan no longer has, dependents first.
    fn retire(&mut self, now: Instant, old: &Plan) {
        let plan = Arc::clone(&self.plan);
        for ix in plan.graph().stop_order() {
            let newly =
                plan.realm(ix).retired && old.realms().get(ix.index()).is_some_and(|old| !old.retired);
            if !newly {
                continue;
            }
            let realm = &mut self.realms[ix.index()];
            realm.wish.desired = Desired::Down;
            realm.wish.resting = Resting::Removed;
            self.reconsider(now, ix);
            self.step(now, ix, |realm, ctx| {
                realm.end_pause(ctx, false);
                if matches!(realm.state, State::External(_)) {
                    state::external::release(realm, ctx);
                } else {
                    state::on_command(realm, ctx, StateRequest::Rest);
                }
            });
        }
    }
}

/// A reload has changed the realm's process.
pub(crate) fn renew(realm: &mut Realm, ctx: &mut Ctx<'_>, keys: Option<String>) {
    realm.shown.renewed = keys;
    // The adapter reports it again for the new process.
    realm.shown.unbounded.clear();
    realm.generation.outdated = realm.held_by_pause();
    if !realm.wants_to_run() {
        return;
    }
    match realm.state {
        State::Starting(_) | State::Running(_) | State::Done => {
            state::on_command(realm, ctx, StateRequest::Again(RestartCause::Reloaded));
        }
        // heartbeatd gave up another program, not this one.
        State::Backoff(_) | State::Cooldown(_) | State::Failed(_) => {
            realm.history.tracker.reset();
            state::on_command(realm, ctx, StateRequest::Again(RestartCause::Reloaded));
        }
        State::Waiting(_)
        | State::Stopping(_)
        | State::Stopped { .. }
        | State::Stuck { .. }
        | State::Unverified { .. }
        | State::External(_) => {}
    }
}

impl Realm {
    /// Whether no process of the realm runs and nothing is measured.
    pub(crate) fn at_rest(&self) -> bool {
        matches!(self.state, State::Stopped { .. } | State::Done | State::Failed(_) | State::External(_))
            && !self.evidence.probing
    }

    /// Keeps the evidence of the probes that stay.
    fn take_spec(&mut self, spec: &RealmSpec, kept: &Kept) {
        let mut old: Vec<Option<Probing>> =
            core::mem::take(&mut self.evidence.probes).into_iter().map(Some).collect();
        let find = |before: &Option<usize>| before.and_then(|at| old.get_mut(at)?.take());
        self.evidence.probes =
            kept.iter().map(find).map(|probe| probe.unwrap_or_else(Probing::new)).collect();
        // The evidence so far does not include the new probes.
        if kept.iter().zip(&spec.probes).any(|(before, probe)| before.is_none() && probe.decides()) {
            self.evidence.passed_since = None;
        }
        self.shown.dirty = true;
    }

    /// Another plan is in force, which may have other probes.
    fn take_new_plan(&mut self, ctx: &mut Ctx<'_>) {
        self.shown.seen_first(ctx.now);
        self.forget_port_conflict(ctx);
        self.take_up_probing(ctx);
    }

    /// Begins to measure the new probes if the realm is measured now.
    fn take_up_probing(&mut self, ctx: &mut Ctx<'_>) {
        if !self.evidence.probing {
            return;
        }
        for (at, spec) in ctx.spec.probes.iter().enumerate() {
            let ix = probe_ix(at);
            let idle = ctx.out.timers.deadline(ctx.ix, TimerKind::Slot(ix)).is_none();
            match spec.source {
                ProbeSource::Measured if idle => self.begin_measuring(ctx, at),
                ProbeSource::Process
                    if self.evidence.probes[at].last.is_none() && self.generation.pid.is_some() =>
                {
                    self.process_passes(ctx);
                }
                // The plan may have changed the watchdog.
                ProbeSource::Notify { .. } => self.listen(ctx, at),
                ProbeSource::Measured | ProbeSource::Process | ProbeSource::PortOf(_) => {}
            }
        }
    }
}
