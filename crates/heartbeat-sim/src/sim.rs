//! One run: a seed decides the plan, the world and every fault in it.

use std::time::Duration;

use heartbeat_restart::{RestartWhen, WhenSpent};
use heartbeat_status::{
    CheckId, CommandId, Desired, EdgeKind, Event, EventKind, Instant, Phase, RealmIx, RealmKind, RealmName,
    Reason, RestartCause, RestartResult, Role, RunFact, RunId, Snapshot, StartFailure, Status,
};
use heartbeat_supervisor::{
    ActionPlan, Command, Effect, Found, Input, OperatorIntent, PersistedRealm, Plan, ProbeSpec, Reply,
    Restored, RestoredState, StepAction, Supervisor,
};
use heartbeat_wire::Action;

use crate::coverage;
use crate::invariant::{Breach, OF_EFFECTS, OF_STEPS, View};
use crate::recording::{Recorded, Recording, Step};
use crate::reference::{Heard, Reference};
use crate::report::{Options, Report, Violation};
use crate::scenario;
use crate::statuses::StatusLog;
use crate::world::{Stage, World};

/// The clock does not begin at zero, as on a host that has been up for a while.
const START: Instant = Instant::from_millis(1_000_000);
/// Once faults stop, all that can run is up within this much virtual time.
const LIVENESS_BOUND_MS: u64 = 30 * 60_000;
/// A run that does not come to rest within this many steps turns in circles.
const REST_STEPS: u32 = 100_000;
/// Late and repeated answers are made from this many measurements at most.
const KNOWN_CHECKS: usize = 64;

/// One simulated ecosystem.
pub struct Sim {
    pub(crate) supervisor: Supervisor,
    pub(crate) plan: Plan,
    pub(crate) world: World,
    pub(crate) reference: Reference,
    pub(crate) rng: fastrand::Rng,
    pub(crate) now: Instant,
    pub(crate) last: Snapshot,
    pub(crate) started: Vec<RunId>,
    pub(crate) known_checks: Vec<(CheckId, RealmIx)>,
    pub(crate) next_command: u64,
    pub(crate) report: Report,
    pub(crate) record: bool,
    /// What is on record of each realm.
    pub(crate) records: Vec<Option<(PersistedRealm, OperatorIntent)>>,
    /// heartbeatd is killed after this many effects of the next step.
    dying: Option<usize>,
    /// No heartbeatd runs.
    dead: bool,
    /// The core lifted the hold of this realm although no command asked for that.
    lifted: Option<RealmIx>,
    pub(crate) trace: bool,
}

pub(crate) type Outcome = Result<(), Violation>;

impl Sim {
    /// Runs a seed from boot through faults to rest.
    #[must_use]
    pub fn run(seed: u64, options: Options) -> Report {
        let mut rng = fastrand::Rng::with_seed(seed);
        let plan = match scenario::plan(&mut rng) {
            Ok(plan) => plan,
            Err(error) => return Report::broken(seed, error.to_string()),
        };
        let mut supervisor = Supervisor::new(plan.clone(), seed);
        let last = supervisor.snapshot(START);
        let mut sim = Self {
            supervisor,
            world: World::new(&plan),
            reference: Reference::new(&plan),
            started: vec![RunId::default(); plan.realms().len()],
            plan,
            rng,
            now: START,
            last,
            known_checks: Vec::new(),
            next_command: 0,
            report: Report::new(seed),
            record: options.record,
            records: Vec::new(),
            dying: None,
            dead: false,
            lifted: None,
            trace: options.trace,
        };
        if options.record {
            sim.report.recording = Some(Recording { seed, steps: Vec::new() });
        }
        if options.statuses {
            sim.report.statuses.insert(StatusLog::default()).begin(sim.now, &sim.last);
        }
        if let Err(violation) = sim.script(options) {
            sim.report.violation = Some(violation);
        }
        sim.report
    }

    fn script(&mut self, options: Options) -> Outcome {
        if self.rng.u32(0..16) == 0 {
            return self.faultless(options);
        }
        if self.rng.u32(0..10) == 0 {
            for _ in 0..self.rng.u32(1..6) {
                self.disturb()?;
            }
        }
        self.feed(Some(Input::Boot), None)?;
        let calm_weight = self.rng.u32(50..95);
        for _ in 0..options.steps {
            if self.rng.u32(0..100) < calm_weight { self.advance()? } else { self.disturb()? }
        }
        if self.reference.shutdown.is_some() || self.rng.u32(0..4) == 0 { self.end() } else { self.calm() }
    }

    /// A world without faults, with operators who only start, restart and reload.
    fn faultless(&mut self, options: Options) -> Outcome {
        self.world.calm(self.now);
        self.reference.faultless = true;
        self.feed(Some(Input::Boot), None)?;
        for _ in 0..options.steps {
            if self.rng.u32(0..100) < 95 { self.advance()? } else { self.request()? }
        }
        self.calm()
    }

    /// Shutdown, until it halts; and then some more, since nothing may happen any more.
    fn end(&mut self) -> Outcome {
        let unasked = self.reference.shutdown.is_none();
        // What is stuck is rare, so a shutdown that does not wait for it is made more likely then.
        let stuck = self.last.realms.iter().any(|realm| realm.phase == Phase::Stuck);
        let now = self.rng.u32(0..4) == 0 || (stuck && self.rng.u32(0..4) != 0);
        if unasked || now {
            self.feed(Some(Input::Shutdown { now }), None)?;
        }
        for _ in 0..REST_STEPS {
            if self.reference.finished {
                break;
            }
            self.advance()?;
        }
        for _ in 0..20 {
            if self.rng.bool() { self.advance()? } else { self.disturb()? }
        }
        Ok(())
    }

    /// Faults stop: all that can run must be up within its bound.
    fn calm(&mut self) -> Outcome {
        self.world.calm(self.now);
        self.feed(Some(Input::Lag { late: false }), None)?;
        for at in 0..self.plan.realms().len() {
            let realm = self.plan.infos()[at].ix;
            let run = self.last.realms[at].process.run;
            self.feed(
                Some(Input::Run { realm, run, fact: RunFact::PortHeld { port_owner: None } }),
                Some(realm),
            )?;
            let (id, command) = (self.next_id(), Command::new(Action::Resume, realm));
            self.feed(Some(Input::Command { id, command }), Some(realm))?;
            let Some(process) = self.world.process(realm) else { continue };
            if process.stage == Stage::Live {
                let run = process.run;
                self.feed(
                    Some(Input::Run { realm, run, fact: RunFact::StoppedBySignal { stopped: false } }),
                    Some(realm),
                )?;
            }
        }
        let until = self.now + Duration::from_millis(LIVENESS_BOUND_MS);
        for step in 0..REST_STEPS {
            if step % 8 == 0 && self.laggard().is_none() {
                return Ok(());
            }
            if self.now > until {
                break;
            }
            self.advance()?;
        }
        let laggard = self.laggard().unwrap_or_default();
        Err(self.violation("all_that_can_run_is_up", laggard))
    }

    /// A realm that could be up and is not.
    fn laggard(&self) -> Option<String> {
        let mut excused = vec![false; self.plan.realms().len()];
        for ix in self.plan.graph().start_order() {
            let (spec, status) = (self.plan.realm(*ix), &self.last.realms[ix.index()]);
            let policy = spec.restart.settings();
            let leaves = policy.when != RestartWhen::Always || !policy.never_codes.is_empty();
            let given_up = match status.phase {
                Phase::Failed => leaves || policy.when_spent == WhenSpent::Fail,
                Phase::Stopped => leaves,
                _ => false,
            };
            let informs = |probe: &ProbeSpec| probe.info.role == Role::Info;
            let blind = spec.kind == RealmKind::External && spec.probes.iter().all(informs);
            let needs = spec.needs.iter().filter(|need| need.kind == EdgeKind::Needs);
            let held = needs.into_iter().any(|need| excused[need.realm.index()]);
            if status.desired == Desired::Down || given_up || blind || held {
                excused[ix.index()] = true;
                continue;
            }
            let process = self.world.process(*ix);
            let launch_digest = self.reference.launch_digest[ix.index()];
            if let Some(old) = process.filter(|process| process.launch_digest != launch_digest) {
                return Some(format!("{} still runs what it was made of before: {old:?}", spec.name));
            }
            if !matches!(status.status, Status::Up | Status::Degraded | Status::Done) {
                let why = &status.why;
                return Some(format!(
                    "{} is {} ({}), {}: {}; next {:?}; health {}, restart {:?}",
                    spec.name,
                    status.status,
                    status.phase,
                    why.reason,
                    why.message,
                    why.next,
                    status.health,
                    status.restart
                ));
            }
        }
        None
    }

    /// Time goes to the next thing that is due, in the world or in the core.
    fn advance(&mut self) -> Outcome {
        let world = self.world.next();
        let core = self.supervisor.poll_timeout();
        let next = match (world, core) {
            (None, None) => {
                self.now = self.now + Duration::from_secs(1);
                return self.feed(None, None);
            }
            (Some(at), None) | (None, Some(at)) => at,
            (Some(a), Some(b)) => a.min(b),
        };
        self.now = self.now.max(next);
        // The driver hears of things in any order when it is late.
        let world_first = self.rng.u32(0..4) != 0 || core.is_none_or(|at| at > self.now);
        if world_first && let Some(input) = self.world.say(&mut self.rng, self.now) {
            let realm = self.realm_of(&input);
            return self.feed(Some(input), realm);
        }
        self.feed(None, None)
    }

    fn realm_of(&mut self, input: &Input) -> Option<RealmIx> {
        match input {
            Input::Checked { id, .. } => {
                self.known_checks.iter().find(|(known, _)| known == id).map(|(_, realm)| *realm)
            }
            Input::Run { realm, fact: RunFact::Started { .. }, .. }
            | Input::Run { realm, fact: RunFact::StartFailed { .. }, .. }
            | Input::Run { realm, fact: RunFact::ProgramChecked { .. }, .. }
            | Input::Run { realm, fact: RunFact::Exited { .. }, .. }
            | Input::Run { realm, fact: RunFact::Emptied, .. }
            | Input::Run { realm, fact: RunFact::StoppedBySignal { .. }, .. }
            | Input::Run { realm, fact: RunFact::Forked | RunFact::MainChanged { .. }, .. }
            | Input::Run { realm, fact: RunFact::Unbounded { .. }, .. }
            | Input::Run { realm, fact: RunFact::LogInMemory, .. }
            | Input::Run { realm, fact: RunFact::MemoryUsed { .. }, .. }
            | Input::Run { realm, fact: RunFact::Said { .. }, .. }
            | Input::Run { realm, fact: RunFact::PortHeld { .. }, .. }
            | Input::Run { realm, fact: RunFact::HookDone { .. }, .. } => Some(*realm),
            _ => None,
        }
    }

    fn violation(&self, invariant: &'static str, detail: String) -> Violation {
        Violation { invariant, detail, step: self.report.steps, at: self.now }
    }

    pub(crate) fn feed(&mut self, input: Option<Input>, realm: Option<RealmIx>) -> Outcome {
        self.turn(input, realm, None)
    }

    /// Another plan takes the place of the one in force, while everything goes on.
    pub(crate) fn reload(&mut self) -> Outcome {
        let seed = self.rng.u64(..);
        let vacant = self.supervisor.vacant();
        let varied = scenario::vary(seed, &self.plan)
            .map_err(|error| self.violation("plans_can_be_varied", error.to_string()))?;
        self.reference.reload(&self.plan, &varied.plan, (&vacant, &varied.restart), &self.last);
        self.world.reload(&mut self.rng, self.now, &self.plan, &varied.plan);
        self.plan = varied.plan.clone();
        self.turn(None, None, Some((seed, varied)))
    }

    /// heartbeatd is killed somewhere in its next step, and another one comes back after a while.
    pub(crate) fn die(&mut self) -> Outcome {
        // A recording holds inputs, not what was found by the next one.
        if self.record || !self.reference.booted || self.reference.finished {
            return Ok(());
        }
        self.dying = Some(self.rng.usize(0..6));
        self.advance()?;
        self.dying = None;
        self.dead = false;
        self.reference.died(&self.plan);
        let health_restarts = self.supervisor.health_restarts();
        let incidents = self.last.incidents.iter().map(|incident| (**incident).clone()).collect();
        if self.rng.bool() {
            let at = self.rng.usize(0..self.plan.realms().len());
            let realm = self.plan.infos()[at].ix;
            self.world.crash(&mut self.rng, self.now, realm);
        }
        self.now = self.now + Duration::from_millis(self.rng.u64(0..20_000));
        let runs: Vec<Option<RunId>> =
            self.world.processes.iter().map(|process| Some(process.as_ref()?.run)).collect();
        let found = self.world.survive(&mut self.rng, self.now);
        if self.rng.u32(0..4) == 0 {
            self.retarget()?;
        }
        let mut realms = Vec::new();
        for (info, found) in self.plan.infos().to_vec().iter().zip(found) {
            let at = info.ix.index();
            let (record, intent) = self.records.get(at).cloned().flatten().unzip();
            let run = runs[at].filter(|_| found != Found::Nothing);
            // What it is made of has changed meanwhile.
            let alive = matches!(found, Found::Alive { .. }) && !self.plan.realm(info.ix).retired;
            let changed = alive && self.rng.u32(0..6) == 0;
            if changed {
                self.reference.made_anew(info.ix);
            }
            realms.push(Restored { realm: info.name.clone(), record, run, found, intent, changed });
        }
        let memory = RestoredState { realms, incidents, health_restarts };
        self.reference.faults.begin_anew(self.now);
        self.supervisor = Supervisor::new(self.plan.clone(), self.rng.u64(..));
        self.supervisor.restore(self.now, memory);
        while self.supervisor.poll_event().is_some() {}
        self.known_checks.clear();
        self.last = self.supervisor.snapshot(self.now);
        if let Some(log) = &mut self.report.statuses {
            log.begin(self.now, &self.last);
        }
        for (done, realm) in self.reference.done.iter_mut().zip(&self.last.realms) {
            *done |= realm.phase == Phase::Done;
        }
        self.feed(Some(Input::Boot), None)?;
        // The adapter looks whether a signal has stopped what it adopts.
        for at in 0..self.plan.realms().len() {
            let realm = self.plan.infos()[at].ix;
            let Some(process) = self.world.process(realm).filter(|process| process.stage == Stage::Live)
            else {
                continue;
            };
            let (run, fact) = (process.run, RunFact::StoppedBySignal { stopped: false });
            self.feed(Some(Input::Run { realm, run, fact }), Some(realm))?;
        }
        Ok(())
    }

    /// The configuration that the next heartbeatd reads has other targets.
    fn retarget(&mut self) -> Outcome {
        let plan = scenario::retarget(&mut self.rng, &self.plan)
            .map_err(|error| self.violation("plans_can_be_varied", error.to_string()))?;
        self.reference.retarget(&self.plan, &plan);
        self.world.reload(&mut self.rng, self.now, &self.plan, &plan);
        self.plan = plan;
        Ok(())
    }

    fn turn(
        &mut self,
        input: Option<Input>,
        realm: Option<RealmIx>,
        reload: Option<(u64, scenario::Varied)>,
    ) -> Outcome {
        self.report.steps += 1;
        if let Some(recording) = self.report.recording.as_mut().filter(|_| self.record) {
            let input = match &reload {
                Some((seed, _)) => Some(Recorded::Reload { seed: *seed }),
                None => input.as_ref().map(Recorded::of),
            };
            recording.steps.push(Step { at_ns: self.now.as_nanos(), input });
        }
        let column = if reload.is_some() { coverage::RELOAD } else { coverage::column(input.as_ref()) };
        self.cover(column, realm);
        if let Some(Input::Run { realm, run, fact: RunFact::Said { said } }) = &input
            && self.last.realms[realm.index()].process.run == *run
        {
            self.reference.hear(*realm, said, self.now);
            self.reference.voices[realm.index()].forgotten |= self.dying.is_some();
        }
        if let Some(Input::Checked { id, result }) = &input {
            self.reference.answered(*id, result);
        }
        let expected = self.expect(input.as_ref());
        if let Some(realm) = self.lifted.take() {
            let detail = format!("{realm:?} was stopped by an operator, and {expected:?} starts it");
            return Err(self.violation("nothing_but_a_word_lifts_a_hold", detail));
        }
        let trace = self.trace;
        if trace {
            self.report.trace.push(format!("{:?} {input:?}", self.now));
        }
        let reloaded = reload.is_some();
        let timed = input.is_none() && !reloaded;
        if trace && let Some((seed, varied)) = &reload {
            let retired = varied.plan.infos().iter().filter(|info| varied.plan.realm(info.ix).retired);
            let retired: Vec<_> = retired.map(|info| info.ix).collect();
            self.report
                .trace
                .push(format!("    reload {seed}: retired {retired:?}, restart {:?}", varied.restart));
        }
        let free = matches!(&input, Some(Input::Run { fact: RunFact::StartFailed { error, .. }, .. }) if error.failure != StartFailure::Other);
        match (input, reload) {
            (Some(input), _) => self.supervisor.handle(self.now, input),
            (None, Some((_, varied))) => {
                self.supervisor.reload(
                    self.now,
                    varied.plan,
                    &renewed(&varied.restart),
                    "varied".to_string(),
                );
            }
            (None, None) => self.supervisor.handle_timeout(self.now),
        }
        let mut effects: Vec<Effect> = std::iter::from_fn(|| self.supervisor.poll_effect()).collect();
        if let Some(alive) = self.dying {
            effects.truncate(alive);
            self.dead = true;
        }
        let events: Vec<Event> = std::iter::from_fn(|| self.supervisor.poll_event()).collect();
        let after = self.supervisor.snapshot(self.now);
        if trace {
            self.report.trace.extend(effects.iter().map(|effect| format!("    -> {effect:?}")));
            self.report
                .trace
                .extend(events.iter().map(|event| format!("    ## {:?} {:?}", event.realm, event.kind)));
        }
        self.reference.see(&after, self.dead);
        self.reference.see_measurements(self.now, &effects, &events);
        self.reference.see_relapses(&self.plan, &after, &events);
        self.reference.faults.see(&self.plan, self.now, &after, &events);
        self.learn(&after, &events, free)?;
        // That a realm is well again may not be on record when heartbeatd is killed in the step that finds it out. Then the
        // next heartbeatd has to find it out, and the incident is open until that has.
        if timed && self.dying.is_none() {
            self.reference.see_recoveries(&self.plan, self.now);
        }
        self.carry_out(&after, &effects, &events, expected.as_ref(), timed)?;
        if self.dead {
            // What it had decided beside that was never reported.
            if let Some(log) = &mut self.report.statuses {
                log.end(self.now, &self.last);
            }
            return Ok(());
        }
        let view = self.view(&after, &effects, &events, timed);
        for (name, invariant) in OF_STEPS {
            if let Err(Breach(detail)) = invariant(&view) {
                return Err(self.violation(name, detail));
            }
        }
        self.reference.see_holds(&after, &events);
        if let Some(log) = &mut self.report.statuses {
            log.pass(self.now, &self.last, &events, (&after, reloaded));
        }
        self.last = after;
        Ok(())
    }

    fn view<'a>(
        &'a self,
        after: &'a Snapshot,
        effects: &'a [Effect],
        events: &'a [Event],
        timed: bool,
    ) -> View<'a> {
        View {
            plan: &self.plan,
            now: self.now,
            before: &self.last,
            after,
            events,
            effects,
            reference: &self.reference,
            world: &self.world,
            timeout: self.supervisor.poll_timeout(),
            timed,
        }
    }

    /// A realm that an operator has stopped, and that a plan starts although no command asked for that.
    fn lifted_without_a_word(&self, command: &Command, plan: &ActionPlan) -> Option<RealmIx> {
        let own = |realm: RealmIx| plan.action == Action::Start && plan.realms.contains(&realm);
        let starts = plan.steps.iter().filter(|step| step.action == StepAction::Start);
        let mut lifted = starts.map(|step| step.realm).filter(|realm| !command.lift_holds && !own(*realm));
        lifted.find(|realm| self.reference.is_held(&self.plan, *realm))
    }

    fn cover(&mut self, column: usize, realm: Option<RealmIx>) {
        match realm {
            Some(realm) => self.report.coverage.hit(self.last.realms[realm.index()].phase, column),
            None => {
                for status in &self.last.realms {
                    self.report.coverage.hit(status.phase, column);
                }
            }
        }
    }

    /// What the model expects of an input before the core has seen it.
    fn expect(&mut self, input: Option<&Input>) -> Option<(CommandId, ActionPlan)> {
        match input {
            Some(Input::Boot) => self.reference.boot(&self.plan),
            Some(Input::Suspended { asleep }) => self.reference.slept(self.now, *asleep),
            Some(Input::Command { id, command }) => {
                self.reference.open.push((*id, self.now));
                let plan = self.supervisor.plan(self.now, command);
                if plan.refusal.is_none() {
                    self.lifted = self.lifted_without_a_word(command, &plan);
                    if plan.action == Action::Reset {
                        plan.realms.iter().for_each(|realm| self.world.forget_unproven(*realm));
                    }
                    self.reference.accepted(&plan);
                }
                return Some((*id, plan));
            }
            Some(Input::Refresh { id, .. }) => self.reference.open.push((*id, self.now)),
            Some(Input::Shutdown { now }) => {
                if self.reference.shutdown.is_none() {
                    let ending = self.last.realms.iter().map(|realm| realm.phase == Phase::Stopping);
                    self.reference.ending = ending.collect();
                    self.reference.shutdown = Some(self.now);
                }
                self.reference.killing |= now;
            }
            _ => {}
        }
        let timeout = self.plan.settings().shutdown_timeout;
        self.reference.killing |=
            self.reference.shutdown.is_some_and(|since| self.now.since(since) >= timeout);
        None
    }

    /// What the model learns from the facts.
    fn learn(&mut self, after: &Snapshot, events: &[Event], free: bool) -> Outcome {
        self.keep_pace(after, events)?;
        for event in events {
            let Some((realm, name)) = &event.realm else { continue };
            let at = realm.index();
            if let EventKind::RunStarted { .. } = &event.kind {
                // A launch that is being called off is not the start that was asked for.
                self.reference.ordered[at] &=
                    matches!(after.realms[at].phase, Phase::Stopping | Phase::Stuck);
            }
            if let EventKind::BudgetSpent { .. } | EventKind::CooldownBegan { .. } = &event.kind {
                self.reference.exhausted[at] = after.realms[at].phase == Phase::External;
            }
            if let EventKind::RestartOpened { cause, .. } = &event.kind {
                self.reference.faulted[at] |= cause.is_debited();
                // By its own command: debited when it is decided, since nothing ends. (The trial after a cooldown is
                // none.)
                let commanded = events.iter().any(|other| {
                    let whose = other.realm.as_ref().is_some_and(|(other, _)| other == realm);
                    whose && matches!(other.kind, EventKind::PhaseChanged { .. })
                });
                let in_place =
                    !commanded && matches!(after.realms[at].phase, Phase::Running | Phase::External);
                if *cause == RestartCause::Unhealthy && in_place && !self.dead {
                    self.reference.faulted[at] = false;
                    if !std::mem::take(&mut self.reference.exhausted[at])
                        && after.realms[at].suspects.is_empty()
                    {
                        self.count_restart(*realm, name)?;
                    }
                }
            }
            if event.kind == (EventKind::NeedSuspected { suspected: true }) {
                // What it has spent shortly before is given back.
                self.reference.budget_used[at].clear();
            }
            let EventKind::PhaseChanged { from, to } = &event.kind else { continue };

            if *to == Phase::Done {
                self.reference.done[at] = true;
            }
            let ended = matches!(from, Phase::Starting | Phase::Running | Phase::Stopping);
            let again = matches!(to, Phase::Backoff | Phase::Waiting);
            let before = &self.last.realms[at];
            let launched = before.process.run == self.started[at] && before.phase.may_have_process();
            let restart = after.realms[at].restart.as_ref();
            let debited = restart.is_some_and(|record| record.result.is_none() && record.cause.is_debited());
            let requested = ended && std::mem::take(&mut self.reference.requested[at]);
            let fault = ended && std::mem::take(&mut self.reference.faulted[at]);
            // What was decided while it was being killed may not have been remembered.
            if self.dead {
                continue;
            }
            let blamed = !after.realms[at].suspects.is_empty();
            if again && launched && debited && fault && !free && !requested && !blamed {
                self.count_restart(*realm, name)?;
            }
        }
        Ok(())
    }

    /// What the restarts of a step cost, and whose health it interrupts.
    fn keep_pace(&mut self, after: &Snapshot, events: &[Event]) -> Outcome {
        for (at, status) in after.realms.iter().enumerate() {
            let settings = self.plan.realms()[at].restart.settings();
            let mine = || events.iter().filter(|e| e.realm.as_ref().is_some_and(|(ix, _)| ix.index() == at));
            let pace = &mut self.reference.pace[at];
            pace.pass(self.now, settings.reset_after);
            let failed_start = mine().any(|event| matches!(event.kind, EventKind::StartFailed { .. }));
            let mut worst = 0;
            for event in mine() {
                match &event.kind {
                    EventKind::RestartOpened { attempt, .. } if attempt.is_some() && !failed_start => {
                        worst = worst.max(pace.open(settings, self.now));
                    }
                    EventKind::RestartOpened { .. }
                    | EventKind::RestartClosed {
                        result: RestartResult::Abandoned | RestartResult::Failed,
                        ..
                    } => pace.cancel(),
                    EventKind::NeedSuspected { suspected: true } => pace.refund(),
                    _ => {}
                }
            }
            if status.why.reason == Reason::SuspectNeed {
                // Not counted after all.
                pace.cancel();
            } else if status.phase == Phase::Running {
                pace.in_place();
            }
            let broken = mine().any(|event| match event.kind {
                EventKind::HealthChanged { to, .. } => !to.is_pass(),
                EventKind::PhaseChanged { .. } => true,
                _ => false,
            });
            let watched = status.phase == Phase::External && self.plan.realms()[at].restart_command;
            let healthy = status.health.is_pass() && (watched || status.phase == Phase::Running);
            // The next heartbeatd may not know of a break that was never written.
            if healthy || !self.dead {
                pace.see(healthy, broken && !self.dead, self.now);
            }
            if worst > settings.burst as usize {
                let detail = format!("{} has opened {worst} counted restarts", status.info.name);
                return Err(self.violation("counted_restarts_keep_within_the_burst", detail));
            }
        }
        Ok(())
    }

    fn count_restart(&mut self, realm: RealmIx, name: &RealmName) -> Outcome {
        let inside = self.reference.count_restart(&self.plan, realm, self.now);
        let burst = self.plan.realm(realm).restart.burst() as usize;
        if inside > burst {
            let detail = format!("{name} has taken {inside} debits inside its window, {burst} allowed");
            return Err(self.violation("the_budget_is_never_exceeded", detail));
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        after: &Snapshot,
        effects: &[Effect],
        events: &[Event],
        expected: Option<&(CommandId, ActionPlan)>,
        timed: bool,
    ) -> Outcome {
        let mut answered = false;
        for effect in effects {
            let view = self.view(after, effects, events, timed);
            for (name, invariant) in OF_EFFECTS {
                if let Err(Breach(detail)) = invariant(&view, effect) {
                    return Err(self.violation(name, detail));
                }
            }
            self.report.digest(effect);
            self.world.carry_out(&mut self.rng, self.now, (effect, &self.reference.launch_digest));
            match effect {
                Effect::Start { realm, run } => {
                    self.started[realm.index()] = *run;
                    if let Some(why) = self.reference.pace[realm.index()].start(self.now) {
                        let detail = format!("{}: {why}", self.plan.realm(*realm).name);
                        return Err(self.violation("counted_restarts_wait_for_their_delay", detail));
                    }
                    self.reference.voices[realm.index()] = Heard::default();
                    self.reference.faulted[realm.index()] = false;
                    self.reference.last_start[realm.index()] = Some(self.now);
                }
                Effect::Persist { realm, record, intent } => {
                    self.records.resize(self.plan.realms().len(), None);
                    self.records[realm.index()] =
                        record.as_ref().map(|record| ((**record).clone(), intent.clone()));
                }
                Effect::Check { id, realm, .. } => {
                    if self.known_checks.len() == KNOWN_CHECKS {
                        self.known_checks.remove(0);
                    }
                    self.known_checks.push((*id, *realm));
                }
                Effect::Reply { id, reply } => {
                    let open = self.reference.open.len();
                    self.reference.open.retain(|(asked, _)| asked != id);
                    if self.reference.open.len() + 1 != open {
                        return Err(self.violation("one_reply_each", format!("{id:?} was answered unasked")));
                    }
                    if let Some((asked, plan)) = expected
                        && asked == id
                    {
                        answered = true;
                        let same = match reply {
                            Reply::Accepted { plan: done, .. } => done == plan && plan.refusal.is_none(),
                            Reply::Refused { plan: refused } => refused == plan && plan.refusal.is_some(),
                            Reply::Refreshed { .. } => false,
                        };
                        if !same {
                            let detail = format!("planned {plan:?}, answered {reply:?}");
                            return Err(self.violation("the_plan_is_what_is_done", detail));
                        }
                    }
                }
                Effect::Halt => {
                    if self.reference.finished {
                        return Err(self.violation("one_halt", "halted twice".to_string()));
                    }
                    self.reference.finished = true;
                }
                _ => {}
            }
        }
        if let Some((id, _)) = expected
            && !answered
        {
            return Err(self.violation("one_reply_each", format!("{id:?} was not answered")));
        }
        Ok(())
    }

    /// Feeds a recording to a new core. The digest of its effects is that of the run it was made from.
    ///
    /// # Errors
    /// [`crate::ScenarioError`] when the plan of its seed cannot be built.
    pub fn replay(recording: &Recording) -> Result<u64, crate::ScenarioError> {
        let mut rng = fastrand::Rng::with_seed(recording.seed);
        let mut supervisor = Supervisor::new(scenario::plan(&mut rng)?, recording.seed);
        let mut report = Report::new(recording.seed);
        let _ = supervisor.snapshot(START);
        for step in &recording.steps {
            let now = Instant::from_nanos(step.at_ns);
            match &step.input {
                Some(Recorded::Reload { seed }) => {
                    let varied = scenario::vary(*seed, supervisor.plan_in_force())?;
                    supervisor.reload(now, varied.plan, &renewed(&varied.restart), "varied".to_string());
                }
                Some(input) => {
                    if let Some(input) = input.input(now) {
                        supervisor.handle(now, input);
                    }
                }
                None => supervisor.handle_timeout(now),
            }
            while let Some(effect) = supervisor.poll_effect() {
                report.digest(&effect);
            }
            while supervisor.poll_event().is_some() {}
            let _ = supervisor.snapshot(now);
        }
        Ok(report.digest)
    }
}

/// Realms that are made of something else, with the key that says so.
fn renewed(realms: &[RealmIx]) -> Vec<(RealmIx, String)> {
    realms.iter().map(|realm| (*realm, "run".to_string())).collect()
}
