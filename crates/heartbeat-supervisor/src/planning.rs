//! From a command to its plan, and from the plan to its steps. The dry run and the command use one function.

use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{Action, Desired, EdgeKind, Gate, Instant, RealmIx};

use crate::realm::Realm;
use crate::refusal::refusal;
use crate::shown::gate_holds;
use crate::state::{self, State};
use crate::{ActionPlan, Command, Held, Plan, PlanStep, Refusal, StepAction, Supervisor};

/// The time from KILL until a realm is stuck.
const KILL_WAIT: Duration = Duration::from_secs(5);

impl Supervisor {
    /// What `command` would do now. [`Supervisor::handle`] carries out these same steps.
    #[must_use]
    pub fn plan(&self, _now: Instant, command: &Command) -> ActionPlan {
        plan(self, &self.plan, command)
    }
}

/// A set of realms by index.
struct Set(Vec<bool>);

impl Set {
    fn new(len: usize) -> Self {
        Self(alloc::vec![false; len])
    }

    /// True when `ix` was not in it before.
    fn insert(&mut self, ix: RealmIx) -> bool {
        !core::mem::replace(&mut self.0[ix.index()], true)
    }

    fn has(&self, ix: RealmIx) -> bool {
        self.0[ix.index()]
    }
}

pub(crate) fn plan(supervisor: &Supervisor, plan: &Plan, command: &Command) -> ActionPlan {
    let mut targets = command.realms.clone();
    targets.sort_unstable_by_key(|ix| plan.graph().order(*ix));
    targets.dedup();
    let together = with_companions(supervisor, plan, command, &targets);
    let mut stops = Set::new(plan.realms().len());
    let mut commanded = Set::new(plan.realms().len());
    let mut pulled = Pulled::new(supervisor, plan, command, &targets);
    match command.action {
        Action::Start => {
            for ix in &targets {
                pulled.start(*ix);
                pulled.add_needs(*ix, true);
            }
        }
        Action::Stop => {
            for ix in &targets {
                stops.insert(*ix);
            }
        }
        Action::Reset => {
            for ix in &targets {
                if is_reset_to_start(&supervisor.realms[ix.index()]) {
                    pulled.add_held_needs(*ix);
                }
            }
        }
        Action::Pause | Action::Resume | Action::Signal => {}
        Action::Restart => {
            for ix in &together {
                let runs = may_have_process(supervisor, *ix);
                if state::in_place_restart::applies(&supervisor.realms[ix.index()], plan.realm(*ix)) {
                    commanded.insert(*ix);
                } else {
                    if runs {
                        stops.insert(*ix);
                    }
                    pulled.restart(*ix);
                }
                // Needs of its needs may stay stopped where their gates are open; its own gates are looked at below.
                pulled.add_needs(*ix, !runs && !commanded.has(*ix));
            }
        }
    }
    let Pulled { mut starts, mut held, .. } = pulled;
    let mut breaks = Vec::new();
    if command.action.stops() {
        let broken = would_break(supervisor, plan, &together);
        if command.cascade {
            for ix in &broken {
                stops.insert(*ix);
                if command.action == Action::Restart {
                    starts.insert(*ix);
                }
            }
        } else {
            breaks = broken;
        }
    }
    if held.is_empty() {
        held = waited_for(supervisor, plan, &stops, &starts);
    }
    let is_held = !held.is_empty() && !command.lift_holds;
    let refusal = refusal(supervisor, plan, command, &targets, &breaks, is_held);
    let hold = |ix: RealmIx| supervisor.realms[ix.index()].wish.operator_hold().cloned().unwrap_or_default();
    let holds = held.into_iter().map(|realm| Held { realm, hold: hold(realm) }).collect();
    // A plan that only needs a confirmation shows its steps; one that is impossible has none.
    match refusal {
        None | Some(Refusal::WouldBreak) => {}
        Some(Refusal::Held) => {
            let lifted = self::plan(supervisor, plan, &Command { lift_holds: true, ..command.clone() });
            return ActionPlan { holds, refusal, ..lifted };
        }
        Some(_) => {
            let (action, steps) = (command.action, Vec::new());
            return ActionPlan { action, realms: targets, steps, breaks, holds, refusal };
        }
    }
    let mut steps = stop_steps(supervisor, plan, &stops, command.action == Action::Stop);
    let last_wave = |steps: &[PlanStep]| steps.last().map_or(0, |step| step.wave);
    let first = last_wave(&steps);
    steps.extend(restart_steps(plan, &commanded, first + 1));
    let first = last_wave(&steps);
    steps.extend(start_steps(plan, &starts, first));
    let overlay = overlay_steps(supervisor, command.action, &targets, &stops);
    steps.splice(0..0, overlay);
    ActionPlan { action: command.action, realms: targets, steps, breaks, holds, refusal }
}

/// Steps that concern pauses and counters, and no process: one wave, and no step where nothing would change. A stop
/// ends the pause of the realm that it stops; a start and a restart leave a pause as it is.
fn overlay_steps(supervisor: &Supervisor, action: Action, targets: &[RealmIx], stops: &Set) -> Vec<PlanStep> {
    let action = match action {
        Action::Pause => StepAction::Pause,
        Action::Resume | Action::Stop => StepAction::Resume,
        Action::Reset => StepAction::Reset,
        Action::Signal => StepAction::Signal,
        Action::Start | Action::Restart => return Vec::new(),
    };
    let changes =
        |ix: &RealmIx| action != StepAction::Resume || supervisor.realms[ix.index()].wish.pause.is_some();
    let concerned = supervisor.plan.graph().start_order().iter().copied();
    let concerned = concerned.filter(|ix| targets.contains(ix) || stops.has(*ix)).filter(changes);
    concerned.map(|realm| PlanStep { wave: 1, realm, action, limit: None }).collect()
}

/// The targets, and for a restart the running realms that are restarted with them.
fn with_companions(
    supervisor: &Supervisor,
    plan: &Plan,
    command: &Command,
    targets: &[RealmIx],
) -> Vec<RealmIx> {
    let mut together = targets.to_vec();
    if command.action == Action::Restart {
        let companions = targets.iter().flat_map(|ix| &plan.realm(*ix).restart_with);
        together.extend(companions.copied().filter(|ix| {
            let realm = &supervisor.realms[ix.index()];
            realm.wants_to_run() && matches!(realm.state, State::Starting(_) | State::Running(_))
        }));
        together.sort_unstable_by_key(|ix| plan.graph().order(*ix));
        together.dedup();
    }
    together
}

fn may_have_process(supervisor: &Supervisor, ix: RealmIx) -> bool {
    supervisor.realms[ix.index()].state.phase().may_have_process()
}

/// Whether a reset starts the realm: it should run, and only waits for its own clock or for a person.
pub(crate) fn is_reset_to_start(realm: &Realm) -> bool {
    let waits = matches!(realm.state, State::Backoff(_) | State::Cooldown(_) | State::Failed(_));
    waits && realm.wish.desired == Desired::Up
}

/// The realms that a command starts so that its own can run, and those that an operator's stop keeps from being
/// started.
struct Pulled<'a> {
    supervisor: &'a Supervisor,
    plan: &'a Plan,
    lift_holds: bool,
    starts_targets: bool,
    targets: &'a [RealmIx],
    starts: Set,
    /// In the order in which they were found.
    held: Vec<RealmIx>,
}

impl<'a> Pulled<'a> {
    fn new(supervisor: &'a Supervisor, plan: &'a Plan, command: &Command, targets: &'a [RealmIx]) -> Self {
        Self {
            supervisor,
            plan,
            lift_holds: command.lift_holds,
            starts_targets: command.action == Action::Start,
            targets,
            starts: Set::new(plan.realms().len()),
            held: Vec::new(),
        }
    }

    fn realm(&self, ix: RealmIx) -> &Realm {
        &self.supervisor.realms[ix.index()]
    }

    /// Whether an operator's stop holds the realm. A start of the realm itself lifts it.
    fn is_held(&self, ix: RealmIx) -> bool {
        let asked_for = self.starts_targets && self.targets.contains(&ix);
        self.realm(ix).wish.operator_hold().is_some() && !self.lift_holds && !asked_for
    }

    fn note_held(&mut self, ix: RealmIx) {
        if !self.held.contains(&ix) {
            self.held.push(ix);
        }
    }

    /// A realm that the command starts.
    fn start(&mut self, ix: RealmIx) {
        if rests(self.realm(ix)) {
            self.starts.insert(ix);
        }
    }

    /// A realm that the command restarts, whether it runs or not.
    fn restart(&mut self, ix: RealmIx) {
        if self.is_held(ix) {
            self.note_held(ix);
        } else {
            self.starts.insert(ix);
        }
    }

    /// Adds everything that `ix` needs and wants, directly and through others, and that is not being started. `strict`:
    /// the realm cannot do without the needs that an operator has stopped.
    fn add_needs(&mut self, ix: RealmIx, strict: bool) {
        let mut stack = alloc::vec![ix];
        let mut seen = Set::new(self.plan.realms().len());
        while let Some(at) = stack.pop() {
            if !seen.insert(at) {
                continue;
            }
            for need in self.plan.realm(at).needs.iter().filter(|need| need.kind != EdgeKind::After) {
                if self.is_held(need.realm) {
                    let open = gate_holds(need.until, &self.realm(need.realm).shown.facts);
                    if strict && need.kind == EdgeKind::Needs && !open {
                        self.note_held(need.realm);
                    }
                    continue;
                }
                self.start(need.realm);
                stack.push(need.realm);
            }
        }
    }

    /// As [`Self::add_needs`], but starts only realms that an operator has stopped.
    fn add_held_needs(&mut self, ix: RealmIx) {
        let others = core::mem::replace(&mut self.starts, Set::new(self.plan.realms().len()));
        self.add_needs(ix, true);
        let found = core::mem::replace(&mut self.starts, others);
        for at in (0..found.0.len()).filter(|at| found.0[*at]) {
            let ix = self.plan.infos()[at].ix;
            if self.realm(ix).wish.operator_hold().is_some() {
                self.starts.insert(ix);
            }
        }
    }
}

/// Needs that an operator has stopped, and without which a realm of the plan would not come back after its own stop:
/// its own, and those of each need that is not up either.
fn waited_for(supervisor: &Supervisor, plan: &Plan, stops: &Set, starts: &Set) -> Vec<RealmIx> {
    let mut held = Vec::new();
    let mut seen = Set::new(plan.realms().len());
    let order = plan.graph().start_order().iter().copied();
    let mut stack: Vec<RealmIx> = order.filter(|ix| stops.has(*ix) && starts.has(*ix)).collect();
    while let Some(ix) = stack.pop() {
        for need in plan.realm(ix).needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
            let realm = &supervisor.realms[need.realm.index()];
            let starts = starts.has(need.realm);
            let shut = starts || !gate_holds(need.until, &realm.shown.facts);
            if !shut || !seen.insert(need.realm) {
                continue;
            }
            if realm.wish.operator_hold().is_some() && !starts {
                held.push(need.realm);
            } else {
                stack.push(need.realm);
            }
        }
    }
    held.sort_unstable_by_key(|ix| plan.graph().order(*ix));
    held
}

/// Whether the realm does not run and would not run by itself.
fn rests(realm: &Realm) -> bool {
    matches!(realm.state, State::Stopped { .. } | State::Failed(_) | State::Cooldown(_) | State::Backoff(_))
        || (realm.wish.desired == Desired::Down && !matches!(realm.state, State::External(_) | State::Done))
}

/// Running dependents that need one of `targets`, directly or through others, in start order.
fn would_break(supervisor: &Supervisor, plan: &Plan, targets: &[RealmIx]) -> Vec<RealmIx> {
    let mut broken = Set::new(plan.realms().len());
    let mut found = Vec::new();
    for ix in plan.graph().start_order() {
        if targets.contains(ix) {
            broken.insert(*ix);
            continue;
        }
        // A dependent that only waited for `done` does not break when that need is stopped.
        let needs = plan.realm(*ix).needs.iter();
        let depends = needs
            .filter(|need| need.kind == EdgeKind::Needs && need.until != Gate::Done)
            .any(|need| broken.has(need.realm));
        if depends
            && may_have_process(supervisor, *ix)
            && supervisor.realms[ix.index()].wish.desired == Desired::Up
        {
            broken.insert(*ix);
            found.push(*ix);
        }
    }
    found
}

/// Dependents first; a wave is one more than the last wave of its dependents.
fn stop_steps(supervisor: &Supervisor, plan: &Plan, stops: &Set, rest: bool) -> Vec<PlanStep> {
    let mut wave = alloc::vec![0u32; plan.realms().len()];
    let mut steps = Vec::new();
    for ix in plan.graph().stop_order().filter(|ix| stops.has(*ix)) {
        let after = plan.graph().dependents(ix).iter().filter(|edge| stops.has(edge.from));
        wave[ix.index()] = 1 + after.map(|edge| wave[edge.from.index()]).max().unwrap_or(0);
        let realm = &supervisor.realms[ix.index()];
        if may_have_process(supervisor, ix) || (rest && realm.wish.desired == Desired::Up) {
            let limit = Some(plan.realm(ix).stop.timeout + KILL_WAIT);
            steps.push(PlanStep { wave: wave[ix.index()], realm: ix, action: StepAction::Stop, limit });
        }
    }
    steps.sort_by_key(|step| step.wave);
    steps
}

/// Needs first; waves count on from `first`.
fn start_steps(plan: &Plan, starts: &Set, first: u32) -> Vec<PlanStep> {
    let mut wave = alloc::vec![first; plan.realms().len()];
    let mut steps = Vec::new();
    for ix in plan.graph().start_order().iter().copied().filter(|ix| starts.has(*ix)) {
        let before = plan.graph().dependencies(ix).iter().filter(|edge| starts.has(edge.to));
        wave[ix.index()] = 1 + before.map(|edge| wave[edge.to.index()]).max().unwrap_or(first);
        let limit = plan.realm(ix).start.timeout;
        steps.push(PlanStep { wave: wave[ix.index()], realm: ix, action: StepAction::Start, limit });
    }
    steps.sort_by_key(|step| step.wave);
    steps
}

/// Restarts by a realm's own command: side by side, once its dependents are stopped.
fn restart_steps(plan: &Plan, commanded: &Set, wave: u32) -> Vec<PlanStep> {
    let realms = plan.graph().start_order().iter().copied().filter(|ix| commanded.has(*ix));
    let step = |ix| {
        let limit = Some(state::starting::hook_timeout(plan.realm(ix).start.timeout));
        PlanStep { wave, realm: ix, action: StepAction::Restart, limit }
    };
    realms.map(step).collect()
}
