//! The interface of the core, and the propagation from a changed realm to its dependents.
//!
//! Propagate, then execute: a realm whose facts changed puts its neighbours in a queue, and the core drains the queue
//! before any effect leaves. No recursion over the graph.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{
    CheckId, DaemonPhase, EdgeKind, Event, EventKind, Instant, RealmIx, RealmStatus, RestartCause, Status,
};

use crate::ctx::{Ctx, Mode, Outbox};
use crate::fuse::Fuse;
use crate::incidents::Incidents;
use crate::memory::Survivor;
use crate::own_problems::OwnProblems;
use crate::realm::Realm;
use crate::refresh::Rounds;
use crate::state::{self, State, StateRequest};
use crate::timers::{TimerKind, Timers};
use crate::{Effect, Input, Plan, Reply, why};

/// The state machine. See the crate's essay for how it is driven.
#[derive(Debug)]
pub struct Supervisor {
    pub(crate) plan: Arc<Plan>,
    pub(crate) realms: Vec<Realm>,
    pub(crate) out: Outbox,
    pub(crate) mode: Mode,
    /// Until the boot: what was found of the realms on record.
    pub(crate) survivors: BTreeMap<RealmIx, Survivor>,
    pub(crate) queue: VecDeque<RealmIx>,
    pub(crate) queued: Vec<bool>,
    /// Realms to restart together with one whose own fault has just opened a restart: that one first.
    pub(crate) companions: VecDeque<(RealmIx, RealmIx)>,
    pub(crate) launching: u32,
    /// Realms that blame a need for their failures.
    pub(crate) suspicious: BTreeSet<RealmIx>,
    /// Ports that realms leave while they are being ended.
    pub(crate) ports_left: BTreeSet<(u16, RealmIx)>,
    /// Health restarts that are open.
    pub(crate) healing: u32,
    pub(crate) fuse: Fuse,
    /// While the circuit breaker is tripped, the next launch is not before this.
    pub(crate) launch_gap_until: Instant,
    pub(crate) incidents: Incidents,
    pub(crate) own_problems: OwnProblems,
    pub(crate) incidents_published: u64,
    pub(crate) rounds: Rounds,
    pub(crate) shutdown_deadline: Option<Instant>,
    pub(crate) finished: bool,
    pub(crate) booted_told: bool,
    pub(crate) revision: u64,
    pub(crate) published: Vec<Arc<RealmStatus>>,
    pub(crate) start_order: Arc<[RealmIx]>,
}

impl Supervisor {
    /// A supervisor of `plan` that has not booted. `seed` decides every jitter; the same seed and the same
    /// inputs at the same times give the same effects and events.
    #[must_use]
    pub fn new(plan: Plan, seed: u64) -> Self {
        let realms: Vec<Realm> = plan.realms().iter().map(Realm::new).collect();
        let timers = Timers::new(&plan);
        let start_order: Arc<[RealmIx]> = plan.graph().start_order().into();
        let mut supervisor = Self {
            queued: alloc::vec![false; realms.len()],
            out: Outbox::new(timers, seed),
            mode: Mode::Cold,
            survivors: BTreeMap::new(),
            queue: VecDeque::new(),
            companions: VecDeque::new(),
            launching: 0,
            suspicious: BTreeSet::new(),
            ports_left: BTreeSet::new(),
            healing: 0,
            fuse: Fuse::new(),
            launch_gap_until: Instant::ZERO,
            incidents: Incidents::default(),
            own_problems: OwnProblems::default(),
            incidents_published: 0,
            rounds: Rounds::default(),
            shutdown_deadline: None,
            finished: false,
            booted_told: false,
            revision: 0,
            published: Vec::new(),
            start_order,
            realms,
            plan: Arc::new(plan),
        };
        for at in 0..supervisor.start_order.len() {
            let ix = supervisor.start_order[at];
            supervisor.realms[ix.index()].dependencies = supervisor.dependency_view(ix);
            supervisor.refresh_facts(Instant::ZERO, ix);
        }
        supervisor.queue.clear();
        supervisor.queued.fill(false);
        supervisor.out.events.clear();
        supervisor.out.remember.clear();
        supervisor
    }

    /// The plan in force.
    #[must_use]
    pub fn plan_in_force(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Takes one input. Afterwards poll effects and events until both are empty, and the timeout again.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Boot => self.boot(now),
            Input::Checked { id, result } => self.checked(now, id, result),
            Input::Run { realm, run, fact } => self.fact(now, realm, run, fact),
            Input::Command { id, command } => self.command(now, id, &command),
            Input::Refresh { id, realm } => self.refresh(now, id, realm),
            Input::Lag { late } => self.lag(now, late),
            Input::OwnProblem { kind, message } => self.own_problem(now, kind, message),
            Input::Suspended { asleep: _ } => self.suspended(now),
            Input::Shutdown { now: at_once } => self.shutdown(now, at_once),
        }
        self.drain(now);
    }

    /// Lets every timer that is due act. A call before anything is due is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((ix, timer)) = self.out.timers.pop_due(now) {
            self.timer(now, ix, timer);
            self.drain(now);
        }
        for (id, missing) in self.rounds.take_overdue(now) {
            self.out.effects.push_back(Effect::Reply { id, reply: Reply::Refreshed { missing } });
        }
        self.watch_fuse(now);
        self.review_own_problems(now);
        if self.shutdown_deadline.is_some_and(|deadline| now >= deadline) {
            self.shutdown_deadline = None;
            self.shutdown(now, true);
        }
        self.drain(now);
    }

    /// The next thing to do. Poll after every `handle` and `handle_timeout` until `None`.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        // Records come first: a heartbeatd that dies between two effects has done nothing that is not on record.
        while let Some(ix) = self.out.remember.pop_first() {
            let Some(realm) = self.realms.get(ix.index()) else { continue };
            let spec = self.plan.realm(ix);
            let deadline = self.out.timers.stage_deadline(ix);
            // A realm that is gone for good needs no record.
            let gone = spec.retired && realm.at_rest();
            let record = (!gone).then(|| Box::new(realm.record(spec, deadline)));
            return Some(Effect::Persist { realm: ix, record, intent: realm.intent(spec) });
        }
        self.out.effects.pop_front()
    }

    /// The next event. Poll after every `handle` and `handle_timeout` until `None`.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// When to call [`Supervisor::handle_timeout`] next. Changes with every `handle` and `handle_timeout`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let launch = Some(self.launch_gap_until)
            .filter(|_| self.fuse.is_tripped() && !self.out.launches.is_empty() && self.has_free_slot());
        let others = [
            self.out.timers.next(),
            self.rounds.deadline(),
            self.shutdown_deadline,
            self.fuse.deadline(),
            self.own_problems.deadline().filter(|_| !self.finished),
            launch,
        ];
        others.into_iter().flatten().min()
    }

    /// What heartbeatd as a whole is doing.
    #[must_use]
    pub fn daemon_phase(&self) -> DaemonPhase {
        match self.mode {
            Mode::ShuttingDown | Mode::Killing => DaemonPhase::Stopping,
            Mode::Booted if self.booted_told => DaemonPhase::Running,
            Mode::Cold | Mode::Booted => DaemonPhase::Booting,
        }
    }

    /// Runs code of one realm, then handles its changes.
    pub(crate) fn step<R>(
        &mut self,
        now: Instant,
        ix: RealmIx,
        code: impl FnOnce(&mut Realm, &mut Ctx<'_>) -> R,
    ) -> R {
        let realm = &mut self.realms[ix.index()];
        let held_slot = state::starting::holds_launch_slot(realm);
        let opened_before = realm.history.restarts_opened;
        let healed_before = realm.is_healing();
        let blamed_before = realm.evidence.unhealthy_cause.is_some();
        let mut ctx = Ctx {
            now,
            ix,
            order: self.plan.graph().order(ix),
            spec: self.plan.realm(ix),
            out: &mut self.out,
        };
        let result = code(realm, &mut ctx);
        realm.hasten(&mut ctx);
        let suspects = realm.history.suspicion.is_some();
        let holds_slot = state::starting::holds_launch_slot(realm);
        realm.shown.dirty = true;
        let own_fault = realm.history.restart.as_ref().is_some_and(|record| record.cause.is_debited());
        if realm.history.restarts_opened != opened_before && own_fault {
            self.companions.extend(self.plan.realm(ix).restart_with.iter().map(|with| (ix, *with)));
        }
        self.launching = self.launching + u32::from(holds_slot) - u32::from(held_slot);
        let healing = self.realms[ix.index()].is_healing();
        self.healing = self.healing + u32::from(healing) - u32::from(healed_before);
        if healed_before && !healing {
            self.health_restart_ended(now, ix);
        }
        let known = if suspects { !self.suspicious.insert(ix) } else { !self.suspicious.remove(&ix) };
        self.refresh_facts(now, ix);
        if !known || suspects {
            self.touch_needs(ix);
        }
        if self.realms[ix.index()].evidence.unhealthy_cause.is_some() && !blamed_before {
            self.note_down(now, ix);
        }
        if self.realms[ix.index()].shown.crash.is_some() {
            self.incidents.crashed.insert(ix);
        }
        self.incidents.touch(ix);
        result
    }

    /// Derives health, status and facts anew; updates the neighbours when these changed.
    pub(crate) fn refresh_facts(&mut self, now: Instant, ix: RealmIx) {
        let spec = self.plan.realm(ix);
        let realm = &mut self.realms[ix.index()];
        let health = realm.assess(spec);
        if health != realm.shown.health {
            let from = core::mem::replace(&mut realm.shown.health, health);
            self.out.event(now, Some((ix, spec)), EventKind::HealthChanged { from, to: health });
        }
        // Before the boot nothing is measured: the record stands.
        if self.mode != Mode::Cold {
            realm.shown.refuses_since =
                realm.refuses_work(spec).then(|| realm.shown.refuses_since.unwrap_or(now));
        }
        let mut ctx = Ctx { now, ix, order: self.plan.graph().order(ix), spec, out: &mut self.out };
        state::running::note_health(realm, &mut ctx, health);
        realm.note_excuse(spec);
        let status = realm.derive_status(spec);
        let due = status == Status::Down
            && self.out.timers.deadline(ix, TimerKind::ActOnFailure).is_some()
            && realm.restart_is_due(spec);
        if core::mem::replace(&mut realm.shown.restart_due, due) != due && status == realm.shown.status {
            self.out.event(now, Some((ix, spec)), EventKind::HealthRestartDue { due });
        }
        let realm = &mut self.realms[ix.index()];
        if status != realm.shown.status {
            let from = core::mem::replace(&mut realm.shown.status, status);
            realm.shown.status_since = now;
            let why = why::why(&self.plan, &self.realms, ix, &self.out, now);
            let kind =
                EventKind::StatusChanged { from, to: status, reason: why.reason, message: why.message };
            self.out.event(now, Some((ix, spec)), kind);
        }
        self.note_flapping(now, ix);
        self.realms[ix.index()].note_recovery();
        let facts = self.realms[ix.index()].derive_facts(self.plan.realm(ix));
        if self.realms[ix.index()].take_change() {
            self.out.remember.insert(ix);
        }
        let before = core::mem::replace(&mut self.realms[ix.index()].shown.facts, facts);
        if facts != before {
            for edge in self.plan.graph().dependents(ix) {
                enqueue(&mut self.queue, &mut self.queued, edge.from);
            }
            if (facts.stopping, facts.waits) != (before.stopping, before.waits) {
                for edge in self.plan.graph().dependencies(ix) {
                    enqueue(&mut self.queue, &mut self.queued, edge.to);
                }
            }
            self.note_left_port(ix, before.leaves_port, facts.leaves_port);
        }
    }

    /// Drains the queue of realms whose neighbours changed, gives out launch slots, and closes whatever is complete.
    pub(crate) fn drain(&mut self, now: Instant) {
        loop {
            while let Some(ix) = self.queue.pop_front() {
                self.queued[ix.index()] = false;
                self.reconsider(now, ix);
            }
            if let Some(ix) = self.out.asks.pop_front() {
                self.ask_upstream(now, ix);
            } else if let Some(ix) = self.out.health_restarts.pop_front() {
                self.grant_health_restart(now, ix);
            } else if let Some((with, ix)) = self.companions.pop_front() {
                self.restart_companion(now, with, ix);
            } else if !self.grant_launch(now) {
                break;
            }
        }
        self.watch_suspicions(now);
        while let Some(id) = self.out.settled_checks.pop_front() {
            self.settle_check(id);
        }
        self.out.timers.settle();
        self.watch_fuse(now);
        self.review_incidents(now);
        self.tell_boot(now);
        self.halt_when_done(now);
    }

    /// A neighbour changed: derives the summary of the neighbours anew.
    pub(crate) fn reconsider(&mut self, now: Instant, ix: RealmIx) {
        let dependencies = self.dependency_view(ix);
        let was = core::mem::replace(&mut self.realms[ix.index()].dependencies, dependencies);
        self.realms[ix.index()].shown.dirty = true;
        // The summary is the same, and yet a need may be broken for another reason.
        self.incidents.touch(ix);
        if was != dependencies {
            self.step(now, ix, |realm, ctx| {
                if was.refused_since != realm.dependencies.refused_since {
                    realm.follow_suspicion(ctx);
                }
                state::on_dependencies(realm, ctx, was);
            });
        }
    }

    /// The suspicion of a realm also shows in its needs.
    fn touch_needs(&mut self, ix: RealmIx) {
        for edge in self.plan.graph().dependencies(ix) {
            self.realms[edge.to.index()].shown.dirty = true;
            self.incidents.touch(edge.to);
        }
    }

    /// A realm fails its probes: asks whether its needs are to blame.
    fn ask_upstream(&mut self, now: Instant, ix: RealmIx) {
        let plan = Arc::clone(&self.plan);
        for need in plan.realm(ix).needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
            self.step(now, need.realm, Realm::asked_by_dependent);
        }
    }

    /// Restarts a realm in the transaction of another one: without a debit of its own, and only if it runs.
    fn restart_companion(&mut self, now: Instant, with: RealmIx, ix: RealmIx) {
        let realm = &self.realms[ix.index()];
        if realm.wants_to_run() && matches!(realm.state, State::Starting(_) | State::Running(_)) {
            let intent = StateRequest::Again(RestartCause::DependencyRestarted);
            let with = self.plan.realm(with).name.clone();
            self.step(now, ix, |realm, ctx| {
                realm.shown.restarted_with = Some(with);
                state::on_command(realm, ctx, intent);
                realm.shown.restarted_with = None;
            });
        }
    }

    fn note_flapping(&mut self, now: Instant, ix: RealmIx) {
        let realm = &mut self.realms[ix.index()];
        let flapping = realm.evidence.probes.iter().any(|probe| probe.flapping.flaps());
        if flapping != realm.shown.flapping {
            realm.shown.flapping = flapping;
            let percent =
                realm.evidence.probes.iter().map(|probe| probe.flapping.percent()).max().unwrap_or(0);
            let whose = Some((ix, self.plan.realm(ix)));
            self.out.event(now, whose, EventKind::FlappingChanged { flapping, percent });
            self.out.remember.insert(ix);
        }
    }

    /// The core no longer waits for a measurement.
    pub(crate) fn settle_check(&mut self, id: CheckId) {
        for id in self.rounds.settle(id) {
            self.out.effects.push_back(Effect::Reply { id, reply: Reply::Refreshed { missing: 0 } });
        }
    }
}

pub(crate) fn enqueue(queue: &mut VecDeque<RealmIx>, queued: &mut [bool], ix: RealmIx) {
    if !core::mem::replace(&mut queued[ix.index()], true) {
        queue.push_back(ix);
    }
}
