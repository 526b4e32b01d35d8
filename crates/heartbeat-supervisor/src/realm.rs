//! One realm inside the core: its axes, its current generation, its probes and its restart transaction.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_restart::RestartTracker;
use heartbeat_status::{
    Attempt, Desired, EventKind, Health, Instant, LastExit, NeedState, Pause, RealmKind, RestartAttempt,
    RestartCause, RestartId, RestartResult, RestartStep, RunId, Status, StatusFacts,
};

use crate::ctx::{Ctx, DependencyView, Mode};
use crate::probing::Probing;
use crate::said::Spoken;
use crate::state::{self, FailedStart, InPlaceRestart, Serving, State};
use crate::suspicion::Suspicion;
use crate::timers::TimerKind;
use crate::{OperatorHold, ProbeSpec, RealmSpec};

/// Why a realm is desired down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resting {
    /// `manual = true` and nobody asked for it yet.
    Manual,
    /// An operator said stop.
    Operator(OperatorHold),
    /// The configuration in force does not have it any more.
    Removed,
}

/// What a restart for health waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The circuit breaker is tripped.
    Tripped,
    /// As many others as may be are under way.
    Parallel,
    /// As many as may be were made lately; the next is allowed then.
    Exhausted(Instant),
}

/// What neighbours may know of a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) status: Status,
    /// The gate `up` holds.
    pub(crate) up: bool,
    /// The gate `started` holds.
    pub(crate) started: bool,
    /// The gate `done` holds.
    pub(crate) done: bool,
    /// It has been done once: what only waits for that is not broken by another run of it.
    pub(crate) done_once: bool,
    /// What it is to a realm that needs it.
    pub(crate) as_need: NeedState,
    /// A start that is still to be decided: `wants` and `after` wait for it.
    pub(crate) pending: bool,
    /// Being stopped.
    pub(crate) stopping: bool,
    /// It waits for a gate of what it needs.
    pub(crate) waits: bool,
    /// It answers that it refuses work, since then.
    pub(crate) refuses_since: Option<Instant>,
    /// Since it was last asked by a dependent, all it is measured by has passed; the oldest of these began then.
    pub(crate) evidence: Option<Instant>,
    /// It is judged by measurements, so it can be asked.
    pub(crate) measured: bool,
    /// Current generation.
    pub(crate) run: RunId,
}

#[derive(Clone, Debug)]
pub(crate) struct Realm {
    pub(crate) desired: Desired,
    pub(crate) resting: Resting,
    pub(crate) state: State,
    pub(crate) dependencies: DependencyView,
    pub(crate) run: RunId,
    pub(crate) pid: Option<u32>,
    pub(crate) started_at: Option<Instant>,
    pub(crate) last_exit: Option<LastExit>,
    /// What its last run, or its last start, failed with, for a person.
    pub(crate) failure: Option<String>,
    /// What it is made of has changed with the last reload: the keys.
    pub(crate) renewed: Option<String>,
    /// It was made of something else while it was paused: restarted when it is resumed.
    pub(crate) renewal_due: bool,
    /// Never two starts within `min_gap`, whatever the cause.
    pub(crate) gap_until: Instant,
    /// The next start is not before this: the gap, or a backoff.
    pub(crate) not_before: Instant,
    pub(crate) tracker: RestartTracker,
    pub(crate) restart: Option<RestartAttempt>,
    pub(crate) restarts_opened: u64,
    /// It has failed again shortly after a restart of it was verified: its incident ends when it has been healthy for
    /// `reset_after`.
    pub(crate) relapsed: bool,
    /// A restart of it that belongs to the incident of what it needs.
    pub(crate) excused: Option<RestartId>,
    pub(crate) probes: Vec<Probing>,
    /// Probes are being measured.
    pub(crate) probing: bool,
    /// Since when, in this life of heartbeatd.
    pub(crate) probing_since: Instant,
    pub(crate) stopped_by_signal: bool,
    /// An incident of a dependent was opened then: a proof that this realm was well afterwards is to be remembered.
    pub(crate) vouch_after: Option<Instant>,
    /// An operator's pause: nothing acts, nothing alerts.
    pub(crate) pause: Option<Pause>,
    /// Who holds its port, when that is not itself.
    pub(crate) port_conflict: Option<String>,
    /// Its last start has failed, and it has not been started since.
    pub(crate) failed_start: Option<FailedStart>,
    /// An operator has asked for a start of this paused realm, which has not been made yet: the pause does not hold it.
    pub(crate) ordered_in_pause: bool,
    /// The last launch was never attempted: the next one is the same generation.
    pub(crate) keep_run: bool,
    /// It has failed, and has neither been up nor been asked for since.
    pub(crate) faulted: bool,
    /// What its needs are; while it fails, what they were until its next verdict.
    pub(crate) excuse: NeedState,
    /// Failing probes past their threshold that are its own fault, in words.
    pub(crate) unhealthy_cause: Option<String>,
    /// It is down, and the next thing that happens is a restart for its health.
    pub(crate) restart_due: bool,
    /// What its restart for its health waits for, when it could begin otherwise.
    pub(crate) held: Option<Hold>,
    /// See [`Facts::refuses_since`].
    pub(crate) refuses_since: Option<Instant>,
    /// It fails, and a need that refuses work is the suspect.
    pub(crate) suspicion: Option<Suspicion>,
    /// Needs have refused work since then, and what fails here is not blamed on that any more.
    pub(crate) cleared: Option<Instant>,
    /// A restart for its health acts on a failure that began then or later: when the action became due.
    pub(crate) acts_on: Instant,
    /// Its needs have been asked about the failure that began then.
    pub(crate) asked_since: Option<Instant>,
    pub(crate) flapping: bool,
    pub(crate) health: Health,
    pub(crate) healthy_since: Option<Instant>,
    /// A dependent wants to know whether this realm is to blame.
    pub(crate) asked: bool,
    /// See [`Facts::evidence`].
    pub(crate) evidence: Option<Instant>,
    measured: bool,
    /// A oneshot: it has settled when it has ended.
    oneshot: bool,
    /// A oneshot that succeeded once; holds within a boot.
    pub(crate) done_once: bool,
    pub(crate) status: Status,
    pub(crate) status_since: Instant,
    pub(crate) facts: Facts,
    /// An operator has asked for it, and not for its stop since.
    pub(crate) asked_for: bool,
    /// Its process was taken over from an earlier heartbeatd.
    pub(crate) adopted: bool,
    /// What was found of it, and whether it is made of something else now, until it is resumed.
    pub(crate) found: Option<(crate::Found, bool)>,
    /// Limits of its generation that nobody keeps.
    pub(crate) unbounded: Vec<String>,
    /// The generation whose output is kept in memory, since its log could not be opened.
    pub(crate) log_in_memory: Option<RunId>,
    /// Samples in a row that were over its limit of memory.
    pub(crate) samples_over: u32,
    /// What it has said of itself in this generation.
    pub(crate) spoken: Spoken,
    /// Changed since the last snapshot.
    pub(crate) dirty: bool,
}

impl Realm {
    pub(crate) fn new(spec: &RealmSpec) -> Self {
        let dependencies = DependencyView {
            mode: Mode::Cold,
            needs_hold: false,
            order_holds: false,
            needs: NeedState::Ready,
            stop_with_need: false,
            restart_with_need: false,
            upstream_pass: Instant::from_nanos(u64::MAX),
            refused_since: None,
            dependents_stopping: false,
            dependents_waiting: false,
        };
        let desired = if spec.manual { Desired::Down } else { Desired::Up };
        let state = match (spec.kind, desired) {
            (RealmKind::External, _) => State::External(Serving::since(Instant::ZERO)),
            (_, Desired::Up) => State::waiting(),
            (_, Desired::Down) => State::Stopped { start_due: false },
        };
        let mut realm = Self {
            desired,
            resting: Resting::Manual,
            state,
            dependencies,
            run: RunId::default(),
            pid: None,
            started_at: None,
            last_exit: None,
            failure: None,
            renewed: None,
            renewal_due: false,
            gap_until: Instant::ZERO,
            not_before: Instant::ZERO,
            tracker: RestartTracker::new(),
            restart: None,
            restarts_opened: 0,
            relapsed: false,
            excused: None,
            probes: spec.probes.iter().map(|_| Probing::new()).collect(),
            probing: false,
            probing_since: Instant::ZERO,
            stopped_by_signal: false,
            vouch_after: None,
            pause: None,
            port_conflict: None,
            failed_start: None,
            ordered_in_pause: false,
            keep_run: false,
            faulted: false,
            excuse: NeedState::Ready,
            unhealthy_cause: None,
            restart_due: false,
            held: None,
            refuses_since: None,
            suspicion: None,
            cleared: None,
            acts_on: Instant::ZERO,
            asked_since: None,
            flapping: false,
            health: Health::Unknown,
            healthy_since: None,
            asked: false,
            evidence: None,
            measured: false,
            oneshot: false,
            done_once: false,
            status: Status::Starting,
            status_since: Instant::ZERO,
            facts: Facts {
                status: Status::Starting,
                up: false,
                started: false,
                done: false,
                done_once: false,
                as_need: NeedState::Pending,
                pending: true,
                stopping: false,
                waits: false,
                refuses_since: None,
                evidence: None,
                measured: false,
                run: RunId::default(),
            },
            asked_for: false,
            adopted: false,
            found: None,
            unbounded: Vec::new(),
            log_in_memory: None,
            samples_over: 0,
            spoken: Spoken::default(),
            dirty: true,
        };
        realm.follow(spec);
        realm.status = realm.derive_status();
        realm.facts = realm.derive_facts();
        realm
    }

    /// Notes what it is judged by.
    pub(crate) fn follow(&mut self, spec: &RealmSpec) {
        self.measured = spec.probes.iter().any(ProbeSpec::decides);
        self.oneshot = spec.kind == RealmKind::Oneshot;
        self.dirty = true;
    }

    /// Another process of its tree is the main one. The generation is the same, and so is its uptime.
    pub(crate) fn main_changed(&mut self, ctx: &mut Ctx<'_>, pid: u32) {
        if self.pid.is_none() {
            ctx.ignore("there is no process in this state");
            return;
        }
        self.pid = Some(pid);
        self.stopped_by_signal = false;
        ctx.event(EventKind::MainChanged { run: self.run, pid });
    }

    /// A pause keeps heartbeatd from starting it. What an operator asks for is done in a pause, too.
    pub(crate) fn is_held_by_pause(&self) -> bool {
        self.pause.is_some() && !self.ordered_in_pause
    }

    /// It should have a process now. A paused realm keeps the one it has, and only an operator gives it another one.
    pub(crate) fn wants_to_run(&self) -> bool {
        self.desired == Desired::Up && self.dependencies.mode == Mode::Booted && !self.is_held_by_pause()
    }

    /// An operator's stop holds it.
    pub(crate) fn operator_hold(&self) -> Option<&OperatorHold> {
        match &self.resting {
            Resting::Operator(hold) if self.desired == Desired::Down => Some(hold),
            Resting::Operator(_) | Resting::Manual | Resting::Removed => None,
        }
    }

    /// It would run if it were not paused.
    pub(crate) fn held_by_pause(&self) -> bool {
        self.is_held_by_pause() && self.desired == Desired::Up && self.dependencies.mode == Mode::Booted
    }

    /// A pause begins.
    pub(crate) fn begin_pause(&mut self, ctx: &mut Ctx<'_>, pause: Pause) {
        match pause.until {
            Some(until) => ctx.arm(TimerKind::Pause, until),
            None => ctx.disarm(TimerKind::Pause),
        }
        ctx.event(EventKind::Paused { reason: pause.reason.clone(), until: pause.until });
        self.pause = Some(pause);
        crate::judgement::clear_cause(self, ctx);
    }

    /// The pause is over: everything is measured afresh, and only then judged.
    pub(crate) fn end_pause(&mut self, ctx: &mut Ctx<'_>, expired: bool) {
        if self.pause.take().is_none() {
            return;
        }
        self.ordered_in_pause = false;
        ctx.disarm(TimerKind::Pause);
        ctx.event(EventKind::Resumed { expired });
        self.probe_afresh(ctx);
        state::on_resumed(self, ctx);
    }

    pub(crate) fn shutting_down(&self) -> bool {
        matches!(self.dependencies.mode, Mode::ShuttingDown | Mode::Killing)
    }

    pub(crate) fn restart_open(&self) -> bool {
        self.restart.as_ref().is_some_and(|record| record.result.is_none())
    }

    /// Still within the time in which no verdict is expected.
    fn in_grace(&self) -> bool {
        match self.state {
            State::Waiting(_) | State::Starting(_) => true,
            State::External(_) | State::Running(_) => {
                self.probes.iter().any(|probe| !probe.has_verdict_or_is_stale())
            }
            _ => false,
        }
    }

    pub(crate) fn derive_status(&self) -> Status {
        // While everything is being stopped, what has been stopped is stopped on purpose.
        let desired = if self.shutting_down() { Desired::Down } else { self.desired };
        let facts = StatusFacts {
            // While everything is being stopped nobody cares for pauses any more.
            paused: self.pause.is_some() && !self.shutting_down(),
            phase: self.state.phase(),
            desired: if matches!(self.state, State::External(_)) { Desired::Up } else { desired },
            health: self.health,
            oneshot: self.oneshot,
            needs: self.excuse,
            restart_open: self.restart_open(),
            in_grace: self.in_grace(),
        };
        facts.derive()
    }

    /// Remembers by whose fault it fails: when a need is back, what was measured before says nothing yet.
    pub(crate) fn note_excuse(&mut self, spec: &RealmSpec) {
        let needs = self.dependencies.needs;
        let measured = matches!(self.state, State::Running(_) | State::External(_));
        let undecided = measured && self.health == Health::Unhealthy && !self.fails_by_own_fault(spec);
        if needs.excuses() || !undecided {
            self.excuse = needs;
        }
    }

    /// Forgets that it has failed once it is as it should be.
    pub(crate) fn note_recovery(&mut self) {
        let well = matches!(self.status, Status::Up | Status::Degraded | Status::Done | Status::Stopped);
        self.faulted &= !well;
    }

    /// It runs and passes: the gate `up` holds, unless something has gone wrong and is not verified yet.
    fn answers(&self) -> bool {
        let runs = matches!(self.state, State::Running(_)) && !self.oneshot;
        let undisturbed = !self.in_place().is_some_and(InPlaceRestart::is_under_way);
        self.health.is_pass() && undisturbed && (runs || matches!(self.state, State::External(_)))
    }

    /// What it is to a realm that needs it.
    fn as_need(&self) -> NeedState {
        match self.status {
            // Boot pulls it in, if anything needs it.
            Status::Stopped if self.dependencies.mode == Mode::Cold && self.resting == Resting::Manual => {
                NeedState::Pending
            }
            Status::Down | Status::Failed | Status::Blocked | Status::Stopping | Status::Stopped => {
                NeedState::Broken
            }
            Status::Starting | Status::Restarting if self.faulted => NeedState::Broken,
            Status::Starting | Status::Restarting if !self.answers() => NeedState::Pending,
            // A restart that was asked for is verified beside what waits for it.
            Status::Starting | Status::Restarting => NeedState::Ready,
            Status::Up | Status::Degraded | Status::Done | Status::Paused | Status::Unknown => {
                NeedState::Ready
            }
        }
    }

    pub(crate) fn derive_facts(&self) -> Facts {
        let running = matches!(self.state, State::Running(_));
        let execed = running || matches!(&self.state, State::Starting(starting) if starting.execed());
        let waiting = matches!(self.state, State::Waiting(_));
        let starting = matches!(self.state, State::Starting(_));
        let wanted = self.wants_to_run();
        let as_need = self.as_need();
        Facts {
            status: self.status,
            up: self.answers() && as_need == NeedState::Ready,
            started: execed || matches!(self.state, State::Done),
            done: self.done_once && matches!(self.state, State::Done | State::Stopped { .. }),
            done_once: self.done_once,
            as_need,
            pending: (wanted || self.dependencies.mode == Mode::Cold)
                && (starting
                    || (self.oneshot && running)
                    || (waiting && self.dependencies.needs != NeedState::Broken)),
            stopping: matches!(self.state, State::Stopping(_)),
            refuses_since: self.refuses_since,
            waits: waiting && wanted && !self.dependencies.needs_hold,
            evidence: self.evidence,
            measured: self.measured,
            run: self.run,
        }
    }

    /// A restart for its health is open.
    pub(crate) fn is_healing(&self) -> bool {
        self.restart_open()
            && self.restart.as_ref().is_some_and(|record| record.cause == RestartCause::Unhealthy)
    }

    /// Every deciding probe has a conclusive result that began after `since`.
    pub(crate) fn measured_since(&self, since: Instant) -> bool {
        self.probes.iter().all(|probe| probe.conclusive_since(since))
    }

    /// Opens a restart transaction, or joins the open one. The fault was seen now.
    pub(crate) fn open_restart(
        &mut self,
        ctx: &mut Ctx<'_>,
        cause: RestartCause,
        detail: String,
    ) -> RestartId {
        self.faulted |= cause.is_debited();
        if let Some(record) = self.restart.as_ref().filter(|record| record.result.is_none()) {
            return record.id;
        }
        let attempt = self.tracker.used(&ctx.spec.restart, ctx.now) + 1;
        self.open_attempt(ctx, cause, detail, attempt)
    }

    /// Opens a restart transaction that the budget does not count, or joins the open one.
    pub(crate) fn open_uncounted(&mut self, ctx: &mut Ctx<'_>, cause: RestartCause, detail: String) {
        if !self.restart_open() {
            let beyond = ctx.spec.restart.burst().saturating_add(1);
            self.open_attempt(ctx, cause, detail, beyond);
        }
    }

    /// Opens a restart transaction that has its place in the budget already. None is open.
    pub(crate) fn open_attempt(
        &mut self,
        ctx: &mut Ctx<'_>,
        cause: RestartCause,
        detail: String,
        attempt: u32,
    ) -> RestartId {
        self.faulted |= cause.is_debited();
        self.restarts_opened += 1;
        let id = RestartId(self.restarts_opened);
        // A failure by probes was detected when the realm went down; its restart may have been held since then.
        let by_probes = cause == RestartCause::Unhealthy && self.status == Status::Down;
        let detected = if by_probes { self.status_since.min(ctx.now) } else { ctx.now };
        let steps = alloc::vec![(RestartStep::Detected, detected)];
        self.relapsed |=
            cause.is_debited() && self.was_verified_since(detected - ctx.spec.restart.reset_after());
        let of = Attempt::counted(cause, attempt, ctx.spec.restart.burst());
        ctx.event(EventKind::RestartOpened { id, cause, detail: detail.clone(), attempt: of });
        self.restart = Some(RestartAttempt { id, cause, detail, attempt, steps, result: None });
        id
    }

    /// Its last restart was for a fault, and was verified then or later.
    fn was_verified_since(&self, since: Instant) -> bool {
        let last = self.restart.as_ref().filter(|last| last.cause.is_debited());
        let verified = last.filter(|last| last.result == Some(RestartResult::Verified));
        verified.and_then(|last| last.steps.last()).is_some_and(|(_, at)| *at > since)
    }

    /// Restarts of the budget, the one that is open included: it is taken when the old run has ended.
    pub(crate) fn budget_used(&self, spec: &RealmSpec, now: Instant) -> u32 {
        let open = self.restart.as_ref().filter(|record| record.result.is_none());
        let attempt = open.and_then(|open| Attempt::counted(open.cause, open.attempt, spec.restart.burst()));
        self.tracker.used(&spec.restart, now).max(attempt.map_or(0, |attempt| attempt.number))
    }

    /// A person says that it counts anew. The restart that is open is a person's from now on.
    pub(crate) fn forget_attempts(&mut self, spec: &RealmSpec) {
        self.tracker.reset();
        self.relapsed = false;
        if let Some(open) = self.restart.as_mut().filter(|record| record.result.is_none()) {
            open.attempt = spec.restart.burst().saturating_add(1);
        }
    }

    /// What is said of a restart for this cause that no failure explains.
    pub(crate) fn words_for(&self, cause: RestartCause) -> String {
        match (cause, &self.renewed) {
            (RestartCause::Requested, _) => "requested".into(),
            (RestartCause::Reloaded, Some(keys)) => alloc::format!("reloaded ({keys})"),
            (RestartCause::Reloaded, None) => "reloaded".into(),
            (RestartCause::DependencyRestarted, _) => "a realm that it needs was restarted".into(),
            (other, _) => other.as_str().into(),
        }
    }

    /// The long wait begins, or nothing more happens by itself: told as what it is.
    pub(crate) fn tell_given_up(&mut self, ctx: &mut Ctx<'_>, until: Option<Instant>) {
        let retry_in = until.map(|until| until.since(ctx.now));
        let (burst, window) = (ctx.spec.restart.burst(), ctx.spec.restart.window());
        if self.tracker.used(&ctx.spec.restart, ctx.now) >= burst {
            ctx.event(EventKind::BudgetSpent { burst, window, retry_in });
        } else {
            let why = self.failure.clone().unwrap_or_else(|| "the trial failed".into());
            ctx.event(EventKind::CooldownBegan { why, retry_in });
        }
    }

    /// Notes a step of the open restart, once.
    pub(crate) fn restart_step(&mut self, ctx: &Ctx<'_>, step: RestartStep) {
        if let Some(record) = self.restart.as_mut().filter(|record| record.result.is_none())
            && record.steps.iter().all(|(known, _)| *known != step)
        {
            record.steps.push((step, ctx.now));
        }
    }

    /// Closes the open restart, if there is one.
    pub(crate) fn close_restart(&mut self, ctx: &mut Ctx<'_>, result: RestartResult) {
        let Some(record) = self.restart.as_mut().filter(|record| record.result.is_none()) else { return };
        record.result = Some(result);
        let detected = record.steps.first().map_or(ctx.now, |(_, at)| *at);
        let took_ms = u64::try_from(ctx.now.since(detected).as_millis()).unwrap_or(u64::MAX);
        let id = record.id;
        let attempt = Attempt::counted(record.cause, record.attempt, ctx.spec.restart.burst());
        ctx.event(EventKind::RestartClosed { id, attempt, result, took_ms });
        if let Some(serving) = self.serving_mut() {
            serving.command_failure = None;
        }
    }

    /// Changes state, and says so. The timers of the state that it leaves are disarmed.
    pub(crate) fn set_state(&mut self, ctx: &mut Ctx<'_>, state: State) {
        ctx.out.timers.leave_state(ctx.ix);
        let (from, to) = (self.state.phase(), state.phase());
        self.state = state;
        if from != to {
            ctx.event(EventKind::PhaseChanged { from, to });
        }
    }
}
