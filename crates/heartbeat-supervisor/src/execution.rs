//! The steps of a plan that was not refused, carried out.

use alloc::vec::Vec;

use heartbeat_status::{Action, Desired, EventKind, Instant, Pause, RealmIx, RestartCause, RestartId};

use crate::durable::Resting;
use crate::planning::is_reset_to_start;
use crate::state::{self, State, StateRequest};
use crate::{ActionPlan, Command, OperatorHold, PlanStep, StepAction, Supervisor};

fn execute_overlay(supervisor: &mut Supervisor, now: Instant, command: &Command, plan: &ActionPlan) {
    for step in &plan.steps {
        match step.action {
            StepAction::Pause => {
                let reason = command.reason.clone().unwrap_or_else(|| "paused by an operator".into());
                let pause = Pause { reason, until: command.duration.map(|duration| now + duration) };
                supervisor.step(now, step.realm, |realm, ctx| {
                    let suffices = |kept: &Pause| {
                        kept.until.is_none_or(|end| pause.until.is_some_and(|until| until <= end))
                    };
                    if !command.extends_only || !realm.wish.pause.as_ref().is_some_and(suffices) {
                        realm.begin_pause(ctx, pause);
                    }
                });
            }
            StepAction::Resume => {
                supervisor.step(now, step.realm, |realm, ctx| realm.end_pause(ctx, false));
            }
            StepAction::Reset => supervisor.step(now, step.realm, |realm, ctx| {
                realm.forget_attempts();
                state::unverified::forget(realm, ctx);
                if matches!(realm.state, State::External(_)) {
                    state::in_place_restart::forget_exhausted(realm, ctx);
                }
                if is_reset_to_start(realm) {
                    state::on_command(realm, ctx, StateRequest::Run);
                }
            }),
            StepAction::Signal => {
                let Some(wanted) = command.signal else { continue };
                supervisor.step(now, step.realm, |realm, ctx| {
                    if wanted.tree {
                        ctx.signal(realm.generation.run, wanted.signal);
                    } else {
                        ctx.signal_main(realm.generation.run, wanted.signal);
                    }
                });
            }
            StepAction::Stop | StepAction::Start | StepAction::Restart => {}
        }
    }
}

/// Reports the command in the events of realms that it stops or starts although it does not name them.
fn tell_taken_along(supervisor: &mut Supervisor, now: Instant, command: &Command, plan: &ActionPlan) {
    let targets: Vec<_> = plan.realms.iter().map(|ix| supervisor.plan.realm(*ix).name.as_str()).collect();
    let whole = alloc::format!("`{} {}`", plan.action, targets.join(" "));
    let reason = match &command.reason {
        Some(reason) => alloc::format!("{whole}: {reason}"),
        None => whole,
    };
    let stopped = |ix| plan.steps.iter().any(|step| step.action == StepAction::Stop && step.realm == ix);
    for step in plan.steps.iter().filter(|step| !plan.realms.contains(&step.realm)) {
        let action = match step.action {
            StepAction::Stop => plan.action,
            // The event of its stop covers it.
            StepAction::Start if stopped(step.realm) => continue,
            StepAction::Start => Action::Start,
            StepAction::Restart => Action::Restart,
            StepAction::Pause | StepAction::Resume | StepAction::Reset | StepAction::Signal => continue,
        };
        let kind = EventKind::Commanded { action, reason: Some(reason.clone()) };
        supervisor.step(now, step.realm, |_, ctx| ctx.event(kind));
    }
}

/// Carries out the steps of a plan that was not refused. Returns the restarts it opened.
pub(crate) fn execute(
    supervisor: &mut Supervisor,
    now: Instant,
    command: &Command,
    plan: &ActionPlan,
) -> Vec<(RealmIx, RestartId)> {
    let stops = |action: StepAction| {
        plan.steps.iter().filter(move |step| step.action == action).map(|step| step.realm)
    };
    for ix in &plan.realms {
        let kind = EventKind::Commanded { action: command.action, reason: command.reason.clone() };
        supervisor.step(now, *ix, |_, ctx| ctx.event(kind));
    }
    tell_taken_along(supervisor, now, command, plan);
    // The record has to keep the operator's request, whether or not anything comes of it now.
    supervisor
        .out
        .remember
        .extend(plan.steps.iter().map(|step| step.realm).chain(plan.realms.iter().copied()));
    if plan.action == Action::Stop {
        // This comes before the pause ends, or the end of the pause would start it.
        for ix in plan.realms.iter().copied().chain(stops(StepAction::Stop)) {
            let realm = &mut supervisor.realms[ix.index()];
            realm.wish.desired = Desired::Down;
            if let State::Stopped { start_due } = &mut realm.state {
                *start_due = false;
            }
        }
    }
    execute_overlay(supervisor, now, command, plan);
    for ix in stops(StepAction::Start) {
        let realm = &mut supervisor.realms[ix.index()];
        realm.wish.desired = Desired::Up;
        realm.wish.asked_for |= plan.realms.contains(&ix);
        realm.wish.ordered_in_pause = realm.wish.pause.is_some();
    }
    let mut restarts = Vec::new();
    for ix in stops(StepAction::Stop) {
        stop(supervisor, now, ix, command, plan.action);
    }
    for ix in stops(StepAction::Restart) {
        supervisor.reconsider(now, ix);
        supervisor.step(now, ix, state::in_place_restart::requested);
        let opened = supervisor.realms[ix.index()].history.open();
        restarts.extend(opened.map(|record| (ix, record.id)));
    }
    for ix in stops(StepAction::Start) {
        start(supervisor, now, ix, plan);
        let open = supervisor.realms[ix.index()].history.open().filter(|_| plan.action == Action::Restart);
        restarts.extend(open.map(|record| (ix, record.id)));
    }
    restarts
}

/// Stops a realm, for good or for a restart.
fn stop(supervisor: &mut Supervisor, now: Instant, ix: RealmIx, command: &Command, action: Action) {
    let again = action == Action::Restart;
    if !again {
        let hold = OperatorHold { reason: command.reason.clone(), by: command.by, at: command.at };
        let wish = &mut supervisor.realms[ix.index()].wish;
        (wish.desired, wish.resting, wish.asked_for) = (Desired::Down, Resting::Operator(hold), false);
    }
    // Dependents come first in the plan, so they count as being stopped by now.
    supervisor.reconsider(now, ix);
    let intent = if again { StateRequest::Again(RestartCause::Requested) } else { StateRequest::Rest };
    supervisor.step(now, ix, |realm, ctx| state::on_command(realm, ctx, intent));
}

/// Starts a realm, unless it is being stopped first.
fn start(supervisor: &mut Supervisor, now: Instant, ix: RealmIx, plan: &ActionPlan) {
    supervisor.reconsider(now, ix);
    let is_stop = |step: &PlanStep| step.action == StepAction::Stop && step.realm == ix;
    if !plan.steps.iter().any(is_stop) {
        let targeted = plan.realms.contains(&ix) && plan.action == Action::Restart;
        let intent = if targeted { StateRequest::Again(RestartCause::Requested) } else { StateRequest::Run };
        supervisor.step(now, ix, |realm, ctx| state::on_command(realm, ctx, intent));
    }
}
