//! The model beside the core: small enough to be seen to be right. It knows what was wanted, which oneshots are done,
//! and which debits a realm has taken; it does not know how the core works.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use heartbeat_restart::PolicySettings;
use heartbeat_status::{
    Beat, CheckId, CheckResult, CommandId, Desired, EdgeKind, Event, EventKind, FailReason, Instant, Outcome,
    Phase, ProbeIx, RealmIx, RestartResult, Said, Snapshot, Status,
};
use heartbeat_supervisor::{ActionPlan, Effect, Plan, ProbeSpec, RealmSpec, StepAction};
use heartbeat_wire::Action;

use crate::faults::Faults;

/// Failures of a probe that the model keeps: the first, and the newest.
const KNOWN_FAILURES: usize = 64;

/// What a realm has said in its current generation, as far as heartbeatd ran to hear it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) ready: bool,
    pub(crate) last_beat: Option<Instant>,
    pub(crate) triggered: bool,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) extended: Option<Instant>,
    /// Its probes were others when it was found to be ready, or when it was started.
    pub(crate) excused: bool,
    /// heartbeatd was killed while it heard something, which may be on no record.
    pub(crate) forgotten: bool,
}

/// Counted restarts of one realm, and how long each of them has to wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// Since when it runs and passes without a break.
    healthy_since: Option<Instant>,
    /// Its run was healthy for `reset_after`.
    stable: bool,
    /// Counted restarts since the last stable run, without the first one after it.
    attempts: u32,
    /// A counted restart that has not been started yet.
    due: Option<Due>,
    /// Counted restarts, newest last.
    opened: VecDeque<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    since: Instant,
    /// It is not started before this has gone by.
    wait: Duration,
    /// It is one of `attempts`.
    counts: bool,
}

impl Pace {
    /// Time has passed.
    pub(crate) fn pass(&mut self, now: Instant, reset_after: Duration) {
        if self.healthy_since.is_some_and(|since| now.since(since) >= reset_after) {
            (self.stable, self.attempts) = (true, 0);
        }
    }

    /// What is known of its health after a step. `broken`: it was interrupted within the step.
    pub(crate) fn see(&mut self, healthy: bool, broken: bool, now: Instant) {
        if broken || !healthy {
            self.healthy_since = None;
        }
        if healthy {
            self.healthy_since.get_or_insert(now);
        }
    }

    /// A counted restart is opened. How many there are within the window.
    pub(crate) fn open(&mut self, settings: &PolicySettings, now: Instant) -> usize {
        let least = 100 - u32::from(settings.jitter_percent);
        let delay = settings.backoff.saturating_mul(1 << self.attempts.min(20)).min(settings.backoff_max);
        let counts = !std::mem::take(&mut self.stable);
        self.attempts += u32::from(counts);
        let wait = if counts { delay * least / 100 } else { Duration::ZERO };
        self.due = Some(Due { since: now, wait, counts });
        self.opened.retain(|at| now.since(*at) < settings.window);
        self.opened.push_back(now);
        self.opened.len()
    }

    /// A need is the suspect: what was counted shortly before is given back.
    pub(crate) fn refund(&mut self) {
        self.opened.clear();
    }

    /// It is made in place, by a command: a start that follows has another cause.
    pub(crate) fn in_place(&mut self) {
        if let Some(due) = self.due.as_mut() {
            due.wait = Duration::ZERO;
        }
    }

    /// What was owed is not made, or made for another reason.
    pub(crate) fn cancel(&mut self) {
        if let Some(due) = self.due.take() {
            self.attempts -= u32::from(due.counts).min(self.attempts);
            self.stable |= !due.counts;
            self.opened.pop_back();
        }
    }

    /// A person, or another configuration, may have begun anew: the next restart may be made at once.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self { healthy_since: self.healthy_since, stable: true, ..Self::default() };
    }

    /// It is started: too early when this says how early.
    pub(crate) fn start(&mut self, now: Instant) -> Option<String> {
        self.stable = false;
        let due = self.due.take()?;
        let waited = now.since(due.since);
        (waited < due.wait)
            .then(|| format!("it is started {waited:?} after its restart began, due after {:?}", due.wait))
    }
}

/// What the answers to the measurements of one probe amount to, counted from the answers themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    /// Passes in a row.
    pub(crate) passes: u32,
    /// Failures in a row, where all of them are known.
    pub(crate) fails: Option<u32>,
    /// The passes began after a failure that did not come before the first pass of the generation, which decides at
    /// once.
    pub(crate) recovers: bool,
    /// Whether it has passed in this generation, where that is known.
    passed: Option<bool>,
    /// When the newest conclusive measurement began.
    pub(crate) conclusive: Option<Instant>,
    /// When it was measured for the first time since nothing was known of it, or heartbeatd woke up.
    begun: Option<Instant>,
}

impl Answers {
    fn of_new_generation() -> Self {
        Self { fails: Some(0), passed: Some(false), ..Self::default() }
    }

    /// Since when it is measured without a conclusive answer, at the latest.
    pub(crate) fn unanswered_since(&self) -> Option<Instant> {
        self.begun.map(|begun| self.conclusive.map_or(begun, |conclusive| conclusive.max(begun)))
    }

    fn count(&mut self, result: &CheckResult) {
        // A server that says that it starts up passes or fails by what it was before.
        let starts = matches!(result.outcome, Outcome::Fail { reason: FailReason::StartingUp, .. });
        match result.outcome.passed() {
            _ if starts => *self = Self { begun: self.begun, ..Self::default() },
            Some(true) => {
                (self.passes, self.fails, self.passed) = (self.passes + 1, Some(0), Some(true));
            }
            Some(false) => {
                (self.passes, self.fails) = (0, self.fails.map(|fails| fails + 1));
                self.recovers = self.passed == Some(true);
            }
            None => return,
        }
        self.conclusive = Some(result.started_at);
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) desired: Vec<Desired>,
    manual: Vec<bool>,
    /// A oneshot that succeeded once.
    pub(crate) done: Vec<bool>,
    /// Debited restarts, newest last.
    pub(crate) budget_used: Vec<VecDeque<Instant>>,
    pub(crate) last_start: Vec<Option<Instant>>,
    /// How often a reload has changed the process of each realm.
    pub(crate) launch_digest: Vec<u64>,
    /// What its restarts have cost each realm.
    pub(crate) pace: Vec<Pace>,
    /// The refresh that waits for each measurement.
    flights: BTreeMap<CheckId, (RealmIx, ProbeIx)>,
    pub(crate) answers: Vec<Vec<Answers>>,
    /// When each restart for a fault was verified last, and whether it has failed again within `reset_after` of that.
    verified: Vec<Option<Instant>>,
    pub(crate) relapsed: Vec<bool>,
    /// When the last passing measurement of each probe began.
    pub(crate) passes: Vec<Vec<Option<Instant>>>,
    /// When the failing measurements of each probe began since it passed last, or was told to be another generation's.
    pub(crate) failures: Vec<Vec<Vec<Instant>>>,
    /// Until when a pause, a need or the circuit breaker held a restart for the realm's health.
    pub(crate) held_until: Vec<Instant>,
    held: Vec<bool>,
    /// Since when a realm has to prove itself: it became ready, or its restart command has succeeded.
    pub(crate) ready_since: Vec<Option<Instant>>,
    pub(crate) voices: Vec<Heard>,
    pub(crate) booted: bool,
    pub(crate) shutdown: Option<Instant>,
    pub(crate) killing: bool,
    /// Was being ended when the shutdown began: the order of the shutdown does not bind what came before it.
    pub(crate) ending: Vec<bool>,
    /// Time that went by unseen since the shutdown began: the driver was late, or asleep.
    pub(crate) unseen: Duration,
    /// A restart for a fault of its own was opened since its last start.
    pub(crate) faulted: Vec<bool>,
    /// Its budget has been spent since it was last restarted by its own command.
    pub(crate) exhausted: Vec<bool>,
    /// A person asked for the restart under way: it is not a debit, whatever it joined.
    pub(crate) requested: Vec<bool>,
    /// A person asked for a start that has not been made yet: no pause holds it.
    pub(crate) ordered: Vec<bool>,
    pub(crate) faults: Faults,
    pub(crate) finished: bool,
    /// A run without faults, in which no operator stops a realm.
    pub(crate) faultless: bool,
    /// Commands and refreshes that have not been answered, with the time of the question.
    pub(crate) open: Vec<(CommandId, Instant)>,
}

impl Reference {
    pub(crate) fn new(plan: &Plan) -> Self {
        let count = plan.realms().len();
        let desired =
            plan.realms().iter().map(|realm| if realm.manual { Desired::Down } else { Desired::Up });
        Self {
            desired: desired.collect(),
            manual: plan.realms().iter().map(|realm| realm.manual).collect(),
            done: vec![false; count],
            budget_used: vec![VecDeque::new(); count],
            last_start: vec![None; count],
            launch_digest: vec![0; count],
            pace: vec![Pace::default(); count],
            flights: BTreeMap::new(),
            answers: no_answers(plan),
            verified: vec![None; count],
            relapsed: vec![false; count],
            passes: plan.realms().iter().map(|realm| vec![None; realm.probes.len()]).collect(),
            failures: plan.realms().iter().map(|realm| vec![Vec::new(); realm.probes.len()]).collect(),
            held_until: vec![Instant::ZERO; count],
            held: vec![false; count],
            ready_since: vec![None; count],
            voices: vec![Heard::default(); count],
            booted: false,
            shutdown: None,
            ending: Vec::new(),
            killing: false,
            unseen: Duration::ZERO,
            faulted: vec![false; count],
            exhausted: vec![false; count],
            requested: vec![false; count],
            ordered: vec![false; count],
            faults: Faults::new(count),
            finished: false,
            faultless: false,
            open: Vec::new(),
        }
    }

    /// Boot pulls in what is needed or wanted, unless an operator has stopped it.
    pub(crate) fn boot(&mut self, plan: &Plan) {
        if self.booted || self.shutdown.is_some() {
            return;
        }
        self.booted = true;
        self.pull_in(plan);
    }

    fn pull_in(&mut self, plan: &Plan) {
        for ix in plan.graph().stop_order() {
            if self.desired[ix.index()] == Desired::Up {
                for need in plan.realm(ix).needs.iter().filter(|need| need.kind != EdgeKind::After) {
                    if self.manual[need.realm.index()] {
                        self.desired[need.realm.index()] = Desired::Up;
                    }
                }
            }
        }
    }

    /// `new` takes the place of `old`; `vacant` realms are gone, `restart` are made of something else.
    pub(crate) fn reload(
        &mut self,
        old: &Plan,
        new: &Plan,
        (vacant, restart): (&[RealmIx], &[RealmIx]),
        snapshot: &Snapshot,
    ) {
        for (at, (before, after)) in old.realms().iter().zip(new.realms()).enumerate() {
            self.passes[at] = after
                .probes
                .iter()
                .map(|probe| self.passes[at].get(kept(before, probe)?).copied().flatten())
                .collect();
            self.failures[at] = after
                .probes
                .iter()
                .map(|probe| {
                    kept(before, probe)
                        .and_then(|was| self.failures[at].get(was).cloned())
                        .unwrap_or_default()
                })
                .collect();
            self.voices[at].excused |= before.probes != after.probes;
            match (before.retired, after.retired) {
                (false, true) => (self.desired[at], self.manual[at]) = (Desired::Down, false),
                (true, false) => {
                    self.manual[at] = after.manual;
                    self.desired[at] = if after.manual { Desired::Down } else { Desired::Up };
                    if vacant.iter().any(|ix| ix.index() == at) {
                        // It begins anew.
                        (self.done[at], self.last_start[at]) = (false, None);
                        (self.faulted[at], self.requested[at]) = (false, false);
                        self.budget_used[at].clear();
                    }
                }
                // Not started by itself before, and no operator has stopped it.
                (false, false) if !after.manual && self.manual[at] => self.desired[at] = Desired::Up,
                _ => {}
            }
        }
        self.forget_answers(new);
        self.pull_in(new);
        for ix in restart {
            self.launch_digest[ix.index()] += 1;
        }
        self.pace.iter_mut().for_each(Pace::begin_anew);
        for ix in restart.iter().filter(|ix| self.desired[ix.index()] == Desired::Up) {
            match snapshot.realms[ix.index()].phase {
                Phase::Starting | Phase::Running | Phase::Done => self.requested[ix.index()] = true,
                // heartbeatd gave up another program, not this one.
                Phase::Backoff | Phase::Cooldown | Phase::Failed => self.budget_used[ix.index()].clear(),
                _ => {}
            }
        }
    }

    /// While heartbeatd was away the targets of some probes have changed.
    pub(crate) fn retarget(&mut self, old: &Plan, new: &Plan) {
        self.forget_answers(new);
        for (at, (before, after)) in old.realms().iter().zip(new.realms()).enumerate() {
            let passes = |probe| self.passes[at].get(kept(before, probe)?).copied().flatten();
            self.passes[at] = after.probes.iter().map(passes).collect();
            self.voices[at].excused |= before.probes != after.probes;
        }
    }

    /// While heartbeatd was away the process of a realm has come to be made of something else.
    pub(crate) fn made_anew(&mut self, ix: RealmIx) {
        let at = ix.index();
        self.launch_digest[at] += 1;
        self.budget_used[at].clear();
        self.pace[at].begin_anew();
        self.requested[at] |= self.desired[at] == Desired::Up;
    }

    /// heartbeatd was killed: a shutdown that it had begun is forgotten, and so are the commands that wait for an
    /// answer.
    pub(crate) fn died(&mut self, plan: &Plan) {
        self.forget_answers(plan);
        self.shutdown = None;
        self.killing = false;
        self.finished = false;
        self.held.fill(false);
        self.open.clear();
        // What was decided in the moment of its death may not have been remembered.
        self.pace.iter_mut().for_each(Pace::cancel);
        self.unseen = Duration::ZERO;
    }

    /// An operator has stopped it, and no command has lifted that since.
    pub(crate) fn is_held(&self, plan: &Plan, realm: RealmIx) -> bool {
        let at = realm.index();
        self.desired[at] == Desired::Down && !self.manual[at] && !plan.realm(realm).retired
    }

    /// The core accepted a command: its steps say what is wanted from now on.
    pub(crate) fn accepted(&mut self, plan: &ActionPlan) {
        for step in &plan.steps {
            let at = step.realm.index();
            match step.action {
                StepAction::Stop if plan.action == Action::Stop => {
                    self.desired[at] = Desired::Down;
                    self.manual[at] = false;
                    self.ordered[at] = false;
                }
                StepAction::Stop | StepAction::Restart => {}
                StepAction::Start => (self.desired[at], self.ordered[at]) = (Desired::Up, true),
                StepAction::Pause | StepAction::Resume | StepAction::Signal => continue,
                StepAction::Reset => {}
            }
            // A person's start or restart begins with a fresh budget where it was spent.
            self.budget_used[at].clear();
            self.pace[at].begin_anew();
            self.requested[at] |= plan.action == Action::Restart;
        }
    }

    /// A realm said something, in its current generation.
    pub(crate) fn hear(&mut self, realm: RealmIx, said: &Said, now: Instant) {
        let heard = &mut self.voices[realm.index()];
        heard.ready |= said.ready;
        heard.watchdog = said.watchdog.or(heard.watchdog);
        match said.beat {
            Some(Beat::Trigger) => heard.triggered = true,
            Some(Beat::Alive) => (heard.triggered, heard.last_beat) = (false, Some(now)),
            None if said.ready => (heard.triggered, heard.last_beat) = (false, Some(now)),
            None => {}
        }
        if let Some(extend) = said.extend {
            heard.extended = Some(heard.extended.map_or(now + extend, |known| known.max(now + extend)));
        }
    }

    /// Other probes are measured, or what was counted may not have been remembered.
    fn forget_answers(&mut self, plan: &Plan) {
        self.flights.clear();
        self.answers = no_answers(plan);
    }

    /// A measurement has come back.
    pub(crate) fn answered(&mut self, id: CheckId, result: &CheckResult) {
        if let Some((realm, probe)) = self.flights.remove(&id) {
            self.answers[realm.index()][probe.index()].count(result);
        }
    }

    /// What has been asked for, and which generations are new.
    pub(crate) fn see_measurements(&mut self, now: Instant, effects: &[Effect], events: &[Event]) {
        for event in events {
            let Some((realm, _)) = &event.realm else { continue };
            let answers = &mut self.answers[realm.index()];
            match &event.kind {
                EventKind::PhaseChanged { to: Phase::Starting, .. } => {
                    answers.fill(Answers::of_new_generation());
                }
                // Its own restart command is like a new generation.
                EventKind::RestartCommand { ended: true, failure: None } => {
                    answers.fill(Answers::default());
                }
                _ => {}
            }
        }
        for effect in effects {
            match effect {
                Effect::Check { id, realm, probe, .. } => {
                    self.flights.insert(*id, (*realm, *probe));
                    self.answers[realm.index()][probe.index()].begun.get_or_insert(now);
                }
                Effect::CancelCheck { id } => {
                    self.flights.remove(id);
                }
                _ => {}
            }
        }
    }

    /// heartbeatd was asleep: nothing was measured meanwhile.
    pub(crate) fn slept(&mut self, now: Instant, asleep: Duration) {
        self.faults.slept(asleep);
        for answers in self.answers.iter_mut().flatten() {
            answers.begun = answers.begun.map(|_| now);
        }
    }

    /// Which realms have failed again shortly after they had recovered.
    pub(crate) fn see_relapses(&mut self, plan: &Plan, snapshot: &Snapshot, events: &[Event]) {
        for event in events {
            let Some((realm, _)) = &event.realm else { continue };
            let at = realm.index();
            match &event.kind {
                EventKind::RestartClosed { result: RestartResult::Verified, .. } => {
                    self.verified[at] = Some(event.at);
                }
                EventKind::RestartOpened { cause, .. } if cause.is_debited() => {
                    let reset_after = plan.realm(*realm).restart.reset_after();
                    let restart = snapshot.realms[at].restart.as_ref();
                    let detected = restart.and_then(|restart| restart.steps.first());
                    let detected = detected.map_or(snapshot.at, |(_, at)| *at);
                    let soon = |verified: Instant| detected.since(verified) < reset_after;
                    self.relapsed[at] |= self.verified[at].is_some_and(soon);
                }
                _ => {}
            }
        }
    }

    /// A realm that has failed again is well again when it has passed for `reset_after` without a break.
    pub(crate) fn see_recoveries(&mut self, plan: &Plan, now: Instant) {
        for (at, (pace, relapsed)) in self.pace.iter().zip(&mut self.relapsed).enumerate() {
            let reset_after = plan.realms()[at].restart.reset_after();
            *relapsed &= pace.healthy_since.is_none_or(|since| now.since(since) < reset_after);
        }
    }

    /// What holds restarts for health after this step; the next step may lift it.
    pub(crate) fn see_holds(&mut self, snapshot: &Snapshot, events: &[Event]) {
        for event in events {
            let Some((realm, _)) = &event.realm else { continue };
            match event.kind {
                EventKind::RestartHeld { ref why } => self.held[realm.index()] = why.is_some(),
                // Another generation is not held.
                EventKind::PhaseChanged { to, .. } => {
                    self.held[realm.index()] = false;
                    self.ready_since[realm.index()] = (to == Phase::Running).then_some(snapshot.at);
                }
                EventKind::RestartCommand { ended: true, failure: None } => {
                    self.ready_since[realm.index()] = Some(snapshot.at);
                }
                _ => {}
            }
        }
        for (at, realm) in snapshot.realms.iter().enumerate() {
            if self.held[at] || realm.status == Status::Paused || !realm.blocked_by.is_empty() {
                self.held_until[at] = snapshot.at;
            }
        }
    }

    /// What the probes have last said. `killed`: a pass that heartbeatd heard in the step in which it is killed may be
    /// on no record, and then the failures before it still count.
    pub(crate) fn see(&mut self, snapshot: &Snapshot, killed: bool) {
        for (failures, realm) in self.failures.iter_mut().zip(&snapshot.realms) {
            for (failures, probe) in failures.iter_mut().zip(&realm.probes) {
                match probe.last.as_ref().map(|last| (last.outcome.passed(), last.at)) {
                    Some((Some(true), _)) if !killed => failures.clear(),
                    Some((Some(false), at)) if failures.last().is_none_or(|last| *last < at) => {
                        if failures.len() == KNOWN_FAILURES {
                            failures.remove(1);
                        }
                        failures.push(at);
                    }
                    _ => {}
                }
            }
        }
        for (answers, realm) in self.answers.iter_mut().zip(&snapshot.realms) {
            let probes = answers.iter_mut().zip(&realm.probes);
            probes.filter(|(_, probe)| !probe.current).for_each(|(answers, _)| answers.begun = None);
        }
        for (passes, realm) in self.passes.iter_mut().zip(&snapshot.realms) {
            for (pass, probe) in passes.iter_mut().zip(&realm.probes) {
                if let Some(last) = probe.last.as_ref().filter(|last| last.outcome.passed() == Some(true)) {
                    *pass = Some(last.at);
                }
            }
        }
    }

    /// A debited restart at `now`; returns how many are inside the window.
    pub(crate) fn count_restart(&mut self, plan: &Plan, realm: RealmIx, now: Instant) -> usize {
        let window = plan.realm(realm).restart.window();
        let budget_used = &mut self.budget_used[realm.index()];
        budget_used.retain(|at| now.since(*at) < window);
        budget_used.push_back(now);
        budget_used.len()
    }
}

fn no_answers(plan: &Plan) -> Vec<Vec<Answers>> {
    plan.realms().iter().map(|realm| vec![Answers::default(); realm.probes.len()]).collect()
}

/// Where a probe stood before: it is the same when it is called the same and measures the same.
pub(crate) fn kept(before: &RealmSpec, probe: &ProbeSpec) -> Option<usize> {
    before.probes.iter().position(|known| {
        let same = (&known.info.name, known.info.kind) == (&probe.info.name, probe.info.kind);
        same && known.info.target == probe.info.target
    })
}
