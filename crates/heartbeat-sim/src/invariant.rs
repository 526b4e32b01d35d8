//! What must hold after every step, one named function each. They speak of the world and the model, never of the
//! core's own variables.

use std::time::Duration;

use heartbeat_status::Verdict as ProbeVerdict;
use heartbeat_status::wire::Action;
use heartbeat_status::{
    DegradedReason, Desired, EdgeKind, Event, EventKind, FailReason, Gate, Health, Hook, IncidentStep,
    InconclusiveReason, Instant, Outcome, Phase, ProbeStatus, RealmIx, RealmKind, RealmStatus, Reason,
    RestartCause, RestartResult, Role, Severity, Signal, Snapshot, Status,
};
use heartbeat_supervisor::{Effect, Plan, ProbeSource, ProbeSpec};

use crate::reference::{Answers, Heard, Reference};
use crate::world::{Process, Stage, World};

/// What an invariant may look at.
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) now: Instant,
    pub(crate) before: &'a Snapshot,
    pub(crate) after: &'a Snapshot,
    pub(crate) events: &'a [Event],
    pub(crate) effects: &'a [Effect],
    pub(crate) reference: &'a Reference,
    pub(crate) world: &'a World,
    /// The earliest timer after the step.
    pub(crate) timeout: Option<Instant>,
    /// The step let time pass.
    pub(crate) timed: bool,
}

type Verdict = Result<(), String>;
type OfEffect = fn(&View<'_>, &Effect) -> Verdict;
type OfStep = fn(&View<'_>) -> Verdict;

/// Every invariant of a single effect, before it is carried out.
pub(crate) const OF_EFFECTS: &[(&str, OfEffect)] = &[
    ("no_start_before_gates_hold", no_start_before_gates_hold),
    ("no_second_copy", no_second_copy),
    ("min_gap_between_starts", min_gap_between_starts),
    ("a_later_stop_wins", a_later_stop_wins),
    ("no_signal_to_a_run_that_is_not_there", no_signal_to_a_run_that_is_not_there),
    ("start_parallel_is_a_bound", start_parallel_is_a_bound),
    ("stop_order_at_shutdown", stop_order_at_shutdown),
    ("one_measurement_in_flight", one_measurement_in_flight),
    ("commands_belong_to_a_current_run", commands_belong_to_a_current_run),
    ("a_restart_command_is_the_only_one", a_restart_command_is_the_only_one),
    ("halt_only_when_nothing_runs", halt_only_when_nothing_runs),
];

/// Every invariant of a whole step.
pub(crate) const OF_STEPS: &[(&str, OfStep)] = &[
    ("every_status_says_why", every_status_says_why),
    ("health_is_what_the_roles_say", health_is_what_the_roles_say),
    ("a_failing_verdict_has_its_threshold", a_failing_verdict_has_its_threshold),
    ("verdicts_are_what_was_answered", verdicts_are_what_was_answered),
    ("what_is_stale_has_not_been_measured", what_is_stale_has_not_been_measured),
    ("what_has_not_been_measured_is_stale", what_has_not_been_measured_is_stale),
    ("a_restart_is_verified_after_verify_for", a_restart_is_verified_after_verify_for),
    ("green_is_recent", green_is_recent),
    ("no_health_restart_while_a_need_is_broken", no_health_restart_while_a_need_is_broken),
    ("a_health_restart_has_fresh_evidence", a_health_restart_has_fresh_evidence),
    ("nothing_acts_on_a_paused_realm", nothing_acts_on_a_paused_realm),
    ("pending_is_not_broken", pending_is_not_broken),
    ("a_need_in_order_blocks_no_realm", a_need_in_order_blocks_no_realm),
    ("health_restarts_are_bounded", health_restarts_are_bounded),
    ("incidents_open_once_and_end_once", incidents_open_once_and_end_once),
    ("no_incident_is_rooted_in_a_blocked_realm", no_incident_is_rooted_in_a_blocked_realm),
    ("incidents_have_the_right_severity_and_time", incidents_have_the_right_severity_and_time),
    ("incidents_end_on_evidence", incidents_end_on_evidence),
    ("desired_is_what_was_wanted", desired_is_what_was_wanted),
    ("phases_agree_with_processes", phases_agree_with_processes),
    ("nothing_is_up_before_its_daemon_is_known", nothing_is_up_before_its_daemon_is_known),
    ("revision_is_monotone_and_told", revision_is_monotone_and_told),
    ("no_realm_is_up_before_it_reports_ready", no_realm_is_up_before_it_reports_ready),
    ("no_beat_is_missed_that_was_heard_in_time", no_beat_is_missed_that_was_heard_in_time),
    ("no_start_is_given_up_before_the_time_it_asked_for", no_start_is_given_up_before_the_time_it_asked_for),
    ("no_timer_in_the_past", no_timer_in_the_past),
    ("replies_are_due", replies_are_due),
    ("nothing_runs_once_halted", nothing_runs_once_halted),
    ("shutdown_is_bounded", shutdown_is_bounded),
];

fn fail(condition: bool, words: impl FnOnce() -> String) -> Verdict {
    if condition { Err(words()) } else { Ok(()) }
}

fn status(snapshot: &Snapshot, realm: RealmIx) -> Option<&RealmStatus> {
    snapshot.realm(realm).map(|status| &**status)
}

fn came_up(event: &Event, realm: RealmIx) -> bool {
    let concerns = event.realm.as_ref().is_some_and(|(ix, _)| *ix == realm);
    // A pause covers the status, not the phase.
    let up = matches!(event.kind, EventKind::StatusChanged { to: Status::Up | Status::Degraded, .. });
    concerns && (up || matches!(event.kind, EventKind::PhaseChanged { to: Phase::Running, .. }))
}

fn gate_holds(view: &View<'_>, realm: RealmIx, gate: Gate) -> bool {
    let passes = |snapshot: &Snapshot| {
        status(snapshot, realm).is_some_and(|status| {
            matches!(status.phase, Phase::Running | Phase::External) && status.health.is_pass()
        })
    };
    match gate {
        // Up for a moment within the step is up, too.
        Gate::Up => {
            passes(view.before) || passes(view.after) || view.events.iter().any(|event| came_up(event, realm))
        }
        Gate::Started => {
            let live = view.world.process(realm).is_some_and(|process| process.stage == Stage::Live);
            live || view.reference.done[realm.index()]
        }
        Gate::Done => view.reference.done[realm.index()],
    }
}

fn no_start_before_gates_hold(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    for need in view.plan.realm(*realm).needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
        fail(!gate_holds(view, need.realm, need.until), || {
            format!("{realm:?} is started although {:?} is not {}", need.realm, need.until)
        })?;
    }
    Ok(())
}

fn no_second_copy(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, run } = effect else { return Ok(()) };
    let process = view.world.process(*realm);
    fail(process.is_some(), || format!("{realm:?} run {run} is started beside {process:?}"))
}

fn min_gap_between_starts(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    let gap = view.plan.realm(*realm).restart.min_gap();
    let last = view.reference.last_start[realm.index()];
    fail(last.is_some_and(|last| view.now.since(last) < gap), || {
        format!("{realm:?} is started within min_gap {gap:?} of {last:?}")
    })
}

fn a_later_stop_wins(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { realm, .. } = effect else { return Ok(()) };
    fail(view.reference.desired[realm.index()] == Desired::Down, || {
        format!("{realm:?} is started, wanted down")
    })?;
    fail(view.reference.shutdown.is_some(), || format!("{realm:?} is started during shutdown"))?;
    fail(!view.reference.booted, || format!("{realm:?} is started before boot"))
}

fn no_signal_to_a_run_that_is_not_there(view: &View<'_>, effect: &Effect) -> Verdict {
    let (Effect::Signal { realm, run, signal } | Effect::SignalMain { realm, run, signal }) = effect else {
        return Ok(());
    };
    let there = view.world.process(*realm).is_some_and(|process| process.run == *run);
    fail(!there, || format!("{signal} to run {run} of {realm:?}, which is gone"))?;
    let unproven = view.world.process(*realm).is_some_and(|process| process.stage == Stage::Unproven);
    fail(unproven, || format!("{signal} to {realm:?}, which has not been proven to be it"))
}

fn start_parallel_is_a_bound(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Start { .. } = effect else { return Ok(()) };
    let stuck =
        |realm: &RealmIx| status(view.after, *realm).is_some_and(|status| status.phase == Phase::Stuck);
    let launching = view.world.launching().filter(|realm| !stuck(realm)).count();
    let bound = view.plan.settings().start_parallel.max(1) as usize;
    fail(launching >= bound, || format!("{launching} launches are under way, {bound} allowed"))
}

fn stop_order_at_shutdown(view: &View<'_>, effect: &Effect) -> Verdict {
    let (Effect::Signal { realm, signal, .. } | Effect::SignalMain { realm, signal, .. }) = effect else {
        return Ok(());
    };
    let Some(process) = view.world.process(*realm) else { return Ok(()) };
    let ending = view.reference.ending.get(realm.index()).is_some_and(|ending| *ending);
    let ordered = view.reference.shutdown.is_some() && !view.reference.killing && !ending;
    if !ordered || process.signalled || process.stage == Stage::Leftovers {
        return Ok(());
    }
    for edge in view.plan.graph().dependents(*realm) {
        let stuck = |snapshot| {
            status(snapshot, edge.from)
                .is_some_and(|status| matches!(status.phase, Phase::Stuck | Phase::Unverified))
        };
        let left = view.world.process(edge.from).is_some() && !stuck(view.after) && !stuck(view.before);
        fail(left, || format!("{signal} to {realm:?} while its dependent {:?} is not gone", edge.from))?;
    }
    Ok(())
}

fn one_measurement_in_flight(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Check { realm, probe, .. } = effect else { return Ok(()) };
    fail(view.world.measuring(*realm, *probe), || format!("{realm:?} {probe:?} is being measured already"))
}

fn commands_belong_to_a_current_run(view: &View<'_>, effect: &Effect) -> Verdict {
    match effect {
        Effect::Hook { realm, run, hook, .. } => {
            let current = status(view.after, *realm).map(|status| status.process.run);
            fail(current != Some(*run), || {
                format!("{hook:?} for run {run} of {realm:?}, current is {current:?}")
            })
        }
        _ => Ok(()),
    }
}

/// The restart command runs only for a realm that has one, lives and is wanted, while a restart is open, and never
/// twice at a time.
fn a_restart_command_is_the_only_one(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Hook { realm, run, hook: Hook::Restart, .. } = effect else { return Ok(()) };
    let spec = view.plan.realm(*realm);
    fail(!spec.restart_command, || format!("{realm:?} has no restart command"))?;
    fail(view.world.has_command(*realm, *run, Hook::Restart), || {
        format!("{realm:?} runs its command already")
    })?;
    fail(view.reference.shutdown.is_some(), || format!("{realm:?} is restarted during shutdown"))?;
    let open = |snapshot| {
        let restart = status(snapshot, *realm).and_then(|status| status.restart.as_ref());
        restart.is_some_and(|record| record.result.is_none())
    };
    // The restart may have been opened and cancelled within the step.
    let opened = view.events.iter().any(|event| {
        let whose = event.realm.as_ref().is_some_and(|(ix, _)| ix == realm);
        whose && matches!(event.kind, EventKind::RestartOpened { .. })
    });
    fail(!open(view.before) && !open(view.after) && !opened, || format!("{realm:?}: no restart is open"))?;
    if spec.kind == RealmKind::External {
        return Ok(());
    }
    let lives = view.world.process(*realm).is_some_and(|process| process.stage == Stage::Live);
    fail(!lives, || format!("{realm:?} does not run, and its restart command is run"))?;
    fail(view.reference.desired[realm.index()] == Desired::Down, || format!("{realm:?} is to be stopped"))
}

fn halt_only_when_nothing_runs(view: &View<'_>, effect: &Effect) -> Verdict {
    let Effect::Halt = effect else { return Ok(()) };
    for (at, process) in view.world.processes.iter().enumerate() {
        let stuck = matches!(view.after.realms[at].phase, Phase::Stuck | Phase::Unverified);
        fail(process.is_some() && !stuck, || format!("halted while realm {at} runs: {process:?}"))?;
    }
    Ok(())
}

/// A failing probe of a role that decides makes a realm unhealthy, and nothing else does.
fn health_is_what_the_roles_say(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        if !matches!(realm.phase, Phase::Running | Phase::External) {
            continue;
        }
        let unattributable = Outcome::Inconclusive(InconclusiveReason::Unattributable);
        let deciding = || {
            let probes = view.plan.realm(realm.info.ix).probes.iter().zip(&realm.probes);
            probes.filter(|(spec, probe)| {
                let last = probe.last.as_ref().map(|last| last.outcome);
                spec.info.role != Role::Info && last != Some(unattributable)
            })
        };
        let name = &realm.info.name;
        let unhealthy = realm.health == Health::Unhealthy;
        let failing =
            deciding().any(|(_, probe)| !probe.stale && probe.verdict == Some(ProbeVerdict::Failing));
        fail(failing && !unhealthy, || format!("{name} has a failing probe and is {}", realm.health))?;
        let fails = |probe: &ProbeStatus| {
            let last = probe.last.as_ref().map(|last| last.outcome.passed());
            probe.verdict == Some(ProbeVerdict::Failing) || last != Some(Some(true))
        };
        fail(unhealthy && !deciding().any(|(_, probe)| fails(probe)), || {
            format!("{name} is unhealthy, and no probe that decides fails")
        })?;
    }
    Ok(())
}

/// As many failures in a row as its threshold asks for come before a verdict turns.
fn a_failing_verdict_has_its_threshold(view: &View<'_>) -> Verdict {
    for (before, after) in view.before.realms.iter().zip(&view.after.realms) {
        let ix = after.info.ix;
        if before.probes.len() != after.probes.len() || before.process.run != after.process.run {
            continue;
        }
        let probes = view.plan.realm(ix).probes.iter().zip(&view.reference.failures[ix.index()]);
        for ((spec, failures), (was, is)) in probes.zip(before.probes.iter().zip(&after.probes)) {
            let turned = was.verdict != is.verdict && is.verdict == Some(ProbeVerdict::Failing);
            let wanted = spec.info.thresholds.fail_after() as usize;
            let measured = spec.source == ProbeSource::Measured;
            fail(turned && measured && failures.len() < wanted, || {
                format!("{} of {} fails after {failures:?}, {wanted} wanted", spec.info.name, after.info.name)
            })?;
        }
    }
    Ok(())
}

/// The probes of a realm that are measured now, with what was answered about them.
fn measured<'a>(
    view: &'a View<'_>,
    realm: &'a RealmStatus,
) -> impl Iterator<Item = (&'a ProbeSpec, &'a ProbeStatus, &'a Answers)> {
    let ix = realm.info.ix;
    let runs = matches!(realm.phase, Phase::Running | Phase::External);
    let probes =
        view.plan.realm(ix).probes.iter().zip(&realm.probes).zip(&view.reference.answers[ix.index()]);
    probes
        .map(|((spec, probe), answers)| (spec, probe, answers))
        .filter(move |(spec, probe, _)| runs && probe.current && spec.source == ProbeSource::Measured)
}

/// Counted from the answers themselves: enough passes in a row are a passing verdict, and no verdict fails on fewer
/// failures in a row than its threshold.
fn verdicts_are_what_was_answered(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let name = &realm.info.name;
        for (at, (spec, probe, answers)) in measured(view, realm).enumerate() {
            let thresholds = &spec.info.thresholds;
            let passes = answers.passes >= thresholds.pass_after();
            fail(passes && probe.verdict != Some(ProbeVerdict::Passing), || {
                format!("{} of {name} is {:?} after {answers:?}", spec.info.name, probe.verdict)
            })?;
            let before =
                status(view.before, realm.info.ix).filter(|before| before.process.run == realm.process.run);
            let was =
                before.and_then(|before| measured(view, before).nth(at)).and_then(|(_, was, _)| was.verdict);
            let turned = was == Some(ProbeVerdict::Passing) && probe.verdict == Some(ProbeVerdict::Failing);
            let few = answers.fails.is_some_and(|fails| fails < thresholds.fail_after());
            fail(turned && few && thresholds.fail_if().is_none(), || {
                format!("{} of {name} has turned to failing after {answers:?}", spec.info.name)
            })?;
        }
    }
    Ok(())
}

/// A probe is stale after 30 s without a conclusive answer at the earliest, and then its realm is not said to be well.
fn what_is_stale_has_not_been_measured(view: &View<'_>) -> Verdict {
    const STALE_AFTER_AT_LEAST: Duration = Duration::from_secs(30);
    for realm in &view.after.realms {
        let name = &realm.info.name;
        for (spec, probe, answers) in measured(view, realm) {
            let age = answers.conclusive.map(|at| view.now.since(at));
            fail(probe.stale && age.is_some_and(|age| age < STALE_AFTER_AT_LEAST), || {
                format!("{} of {name} is stale, and was answered {age:?} ago", spec.info.name)
            })?;
            let decides = spec.info.role != Role::Info;
            fail(probe.stale && decides && realm.health.is_pass(), || {
                format!("{name} is {} although {} is stale", realm.health, spec.info.name)
            })?;
        }
    }
    Ok(())
}

/// A passing verdict stands for three intervals and a timeout without a conclusive answer, for 30 s at least, and then
/// it is stale.
fn what_has_not_been_measured_is_stale(view: &View<'_>) -> Verdict {
    const STALE_AFTER_AT_LEAST: Duration = Duration::from_secs(30);
    if !view.timed {
        return Ok(());
    }
    for realm in &view.after.realms {
        for (spec, probe, answers) in measured(view, realm) {
            let bound = STALE_AFTER_AT_LEAST.max(spec.info.interval * 3 + spec.info.timeout);
            let age = answers.unanswered_since().map(|since| view.now.since(since));
            let passes = probe.verdict == Some(ProbeVerdict::Passing) && !probe.stale;
            fail(passes && age.is_some_and(|age| age > bound), || {
                let (probe, name) = (&spec.info.name, &realm.info.name);
                format!("{probe} of {name} passes, without an answer for {age:?}, stale after {bound:?}")
            })?;
        }
    }
    Ok(())
}

fn a_restart_is_verified_after_verify_for(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::RestartClosed { result: RestartResult::Verified, .. } = event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        let spec = view.plan.realm(*realm);
        // A oneshot has done what it was for.
        let since = view.reference.ready_since[realm.index()].filter(|_| spec.kind != RealmKind::Oneshot);
        let proven = since.map(|since| view.now.since(since));
        fail(proven.is_some_and(|proven| proven < spec.restart.verify_for()), || {
            format!("{name} is verified after {proven:?}, {:?} wanted", spec.restart.verify_for())
        })?;
    }
    Ok(())
}

/// What claims an outcome is being measured.
fn green_is_recent(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let measures = matches!(realm.phase, Phase::Starting | Phase::Running | Phase::External);
        for (spec, probe) in view.plan.realm(realm.info.ix).probes.iter().zip(&realm.probes) {
            fail(spec.source != ProbeSource::Process && probe.current && !measures, || {
                format!(
                    "{} of {} has an outcome while it is {}",
                    spec.info.name, realm.info.name, realm.phase
                )
            })?;
        }
    }
    Ok(())
}

fn every_status_says_why(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let name = &realm.info.name;
        fail(realm.why.message.trim().is_empty(), || {
            format!("{name} is {} without a message", realm.status)
        })?;
        fail(realm.why.since > view.now, || format!("{name} is {} since the future", realm.status))?;
        let next = &realm.why.next;
        fail(next.at.is_some() && next.action == heartbeat_status::NextAction::None, || {
            format!("{name}: nothing happens at a time")
        })?;
    }
    Ok(())
}

fn no_health_restart_while_a_need_is_broken(view: &View<'_>) -> Verdict {
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::RestartOpened { cause: RestartCause::Unhealthy, .. } = event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        let broken = |snapshot| status(snapshot, *realm).is_some_and(|status| !status.blocked_by.is_empty());
        // It may have become well before that within the step, and be restarted with this one after.
        let well = |need: RealmIx| {
            let told = view.events[..at].iter().rev().find_map(|event| match event.kind {
                EventKind::StatusChanged { to, .. } => {
                    event.realm.as_ref().is_some_and(|(ix, _)| *ix == need).then_some(to)
                }
                _ => None,
            });
            told.is_some_and(|status| matches!(status, Status::Up | Status::Degraded | Status::Done))
        };
        let before = status(view.before, *realm).map_or(&[][..], |status| &status.blocked_by);
        let mended = before.iter().all(|need| well(*need));
        fail(broken(view.before) && broken(view.after) && !mended, || {
            format!("{name} is restarted for its health while a need is broken")
        })?;
    }
    Ok(())
}

/// A restart for health follows a failure that began after the action became due, and a pass of everything the realm
/// needs that began after that failure.
fn a_health_restart_has_fresh_evidence(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::RestartOpened { cause: RestartCause::Unhealthy, .. } = event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        if view.before.realms[realm.index()].phase == Phase::Stuck {
            // It was decided before it got stuck.
            continue;
        }
        let spec = view.plan.realm(*realm);
        let held = view.reference.held_until[realm.index()];
        let failures = &view.reference.failures[realm.index()];
        let live = || spec.probes.iter().zip(failures).filter(|(probe, _)| probe.info.role == Role::Live);
        // Silence is told and not measured.
        if live().any(|(probe, failures)| {
            matches!(probe.source, ProbeSource::Notify { .. }) && !failures.is_empty()
        }) {
            continue;
        }
        let asked = |failed: Instant| {
            let needs = spec.needs.iter().filter(|need| need.kind == EdgeKind::Needs);
            needs.into_iter().all(|need| {
                let passes = &view.reference.passes[need.realm.index()];
                let deciding = view.plan.realm(need.realm).probes.iter().zip(passes).filter(|(probe, _)| {
                    probe.source == ProbeSource::Measured && probe.info.role != Role::Info
                });
                deciding.into_iter().all(|(_, pass)| pass.is_some_and(|pass| pass > failed))
            })
        };
        // The first failures may not have counted: the time begins with the first that did, at the earliest here.
        let due = live().filter_map(|(probe, failures)| {
            let wait = probe.info.interval * (probe.info.thresholds.fail_after() - 1);
            failures.first().map(|first| *first + wait)
        });
        let due = due.min().unwrap_or(view.now).max(held);
        let proven = live().flat_map(|(_, failures)| failures).any(|at| *at >= due && asked(*at));
        fail(!proven, || {
            format!("{name} is restarted for its health, due at {due:?}, on failures at {failures:?}")
        })?;
    }
    Ok(())
}

/// A pause holds every restart for a fault, every signal and every command, whatever the cause. A start that was under
/// way goes on, and so does the end of what had been told to end before, or has ended by itself. What an operator asks
/// for is done, and leaves the pause as it is.
fn nothing_acts_on_a_paused_realm(view: &View<'_>) -> Verdict {
    for (before, after) in view.before.realms.iter().zip(&view.after.realms) {
        let paused = before.status == Status::Paused && after.status == Status::Paused;
        let ix = after.info.ix;
        let mine =
            || view.events.iter().filter(|event| event.realm.as_ref().is_some_and(|(at, _)| *at == ix));
        if !paused || mine().any(|event| matches!(event.kind, EventKind::Resumed { .. })) {
            continue;
        }
        let name = &after.info.name;
        let restarted = mine()
            .find(|event| matches!(event.kind, EventKind::RestartOpened { cause, .. } if cause.is_debited()));
        fail(restarted.is_some(), || format!("{name} is paused and restarted: {restarted:?}"))?;
        let (starting, runs) = (before.phase == Phase::Starting, before.phase == Phase::Running);
        // A person has signalled it, or stops or restarts it together with others.
        let by_hand = after.desired == Desired::Down
            || view.reference.ordered[ix.index()]
            || mine().any(|event| {
                matches!(
                    event.kind,
                    EventKind::Commanded { action: Action::Signal, .. }
                        | EventKind::RestartOpened { cause: RestartCause::Requested, .. }
                )
            });
        let ended = mine().any(|event| matches!(event.kind, EventKind::RunExited { .. }));
        for effect in view.effects {
            let acts = match effect {
                Effect::Start { realm, .. } => {
                    *realm == ix && !starting && !view.reference.ordered[ix.index()]
                }
                Effect::Signal { realm, .. } | Effect::SignalMain { realm, .. } => {
                    *realm == ix && (starting || runs) && !by_hand && !ended
                }
                Effect::Hook { realm, hook, .. } => *realm == ix && runs && !by_hand && *hook != Hook::After,
                _ => false,
            };
            fail(acts, || format!("{name} is paused and acted on: {effect:?}"))?;
        }
    }
    Ok(())
}

/// In a run without faults, no realm shows one.
fn pending_is_not_broken(view: &View<'_>) -> Verdict {
    if !view.reference.faultless {
        return Ok(());
    }
    let trouble = |status: Status| matches!(status, Status::Blocked | Status::Down | Status::Failed);
    for realm in &view.after.realms {
        fail(trouble(realm.status), || {
            format!("{} is {}: {}", realm.info.name, realm.status, realm.why.message)
        })?;
        fail(!realm.blocked_by.is_empty(), || {
            format!("{} is blocked by {:?}", realm.info.name, realm.blocked_by)
        })?;
    }
    let flash = view.events.iter().find(
        |event| matches!(event.kind, EventKind::StatusChanged { from, to, .. } if trouble(from) || trouble(to)),
    );
    fail(flash.is_some(), || format!("{flash:?}"))?;
    fail(!view.after.incidents.is_empty(), || format!("{:?}", view.after.incidents))
}

fn a_need_in_order_blocks_no_realm(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        for need in &realm.blocked_by {
            let sound = |status: Status| {
                matches!(status, Status::Up | Status::Degraded | Status::Done | Status::Paused)
            };
            let status = status(view.after, *need).map_or(Status::Unknown, |status| status.status);
            fail(sound(status) || status == Status::Unknown, || {
                format!("{} is blocked by {need:?}, which is {status}", realm.info.name)
            })?;
        }
    }
    Ok(())
}

fn health_restarts_are_bounded(view: &View<'_>) -> Verdict {
    let open = view.after.realms.iter().filter(|realm| {
        realm
            .restart
            .as_ref()
            .is_some_and(|record| record.result.is_none() && record.cause == RestartCause::Unhealthy)
    });
    let (open, most) = (open.count(), view.plan.settings().fuse.parallel as usize);
    // A stuck realm has no process left: it starts, and nothing is ended for it.
    let begins = view.events.iter().any(|event| {
        let was_stuck =
            |ix: RealmIx| status(view.before, ix).is_some_and(|realm| realm.phase == Phase::Stuck);
        matches!(event.kind, EventKind::RestartOpened { cause: RestartCause::Unhealthy, .. })
            && event.realm.as_ref().is_some_and(|(ix, _)| !was_stuck(*ix))
    });
    fail(begins && open > most, || format!("{open} restarts for health are open, {most} allowed"))
}

fn incidents_open_once_and_end_once(view: &View<'_>) -> Verdict {
    let mut open: Vec<_> = view.before.incidents.iter().map(|incident| incident.no).collect();
    for event in view.events {
        let EventKind::Incident { step, incident, note } = &event.kind else { continue };
        let known = open.contains(&incident.no);
        let opens = *step == IncidentStep::Opened;
        fail(known == opens, || format!("incident {} is {step}, known before: {known}", incident.no))?;
        fail(note.is_none() && *step == IncidentStep::Resolved, || {
            format!("incident {} is {step}, and nothing says how", incident.no)
        })?;
        if opens {
            open.push(incident.no);
        } else if *step == IncidentStep::Resolved {
            open.retain(|no| *no != incident.no);
        }
    }
    let shown: Vec<_> = view.after.incidents.iter().map(|incident| incident.no).collect();
    fail(open != shown, || format!("told of {open:?}, shown are {shown:?}"))?;
    let roots: Vec<_> = view.after.incidents.iter().filter_map(|incident| incident.root).collect();
    let twice = roots.iter().find(|root| roots.iter().filter(|other| other == root).count() > 1);
    fail(twice.is_some(), || format!("two incidents are rooted in {twice:?}"))
}

/// No realm is blamed for what another one does: a new incident never has a blocked root, and a blocked realm keeps an
/// incident of its own only when what blocks it was well after that had been opened.
fn no_incident_is_rooted_in_a_blocked_realm(view: &View<'_>) -> Verdict {
    for incident in &view.after.incidents {
        let Some(root) = incident.root.and_then(|ix| status(view.after, ix)) else { continue };
        let blamed = root.status == Status::Blocked
            && root.blocked_by.iter().any(|ix| {
                let own_fault = status(view.after, *ix).is_some_and(|need| need.status != Status::Blocked);
                let probes = view.plan.realm(*ix).probes.iter().zip(&view.reference.passes[ix.index()]);
                let mut measured = probes
                    .filter(|(spec, _)| spec.source == ProbeSource::Measured && spec.info.role != Role::Info);
                let older = measured.any(|(_, pass)| pass.is_none_or(|pass| pass <= incident.opened_at));
                own_fault && older && view.after.incident_of(*ix).is_some()
            });
        fail(blamed, || format!("{} is blocked and still has an incident of its own", root.info.name))?;
    }
    for event in view.events {
        let EventKind::Incident { step: IncidentStep::Opened, incident, .. } = &event.kind else { continue };
        // Two timers are due at once: it was the realm's own fault, and the next start waits for a need; or its need
        // turns out to be the root in the same moment.
        let Some(open) = view.after.incidents.iter().find(|open| open.no == incident.no) else { continue };
        let root = open.root.and_then(|ix| status(view.after, ix));
        fail(root.is_some_and(|root| root.status == Status::Blocked), || {
            format!("an incident is opened on {:?}, which is blocked", incident.root)
        })?;
    }
    Ok(())
}

/// The severity is that of its most critical realm, and it began when the outage was detected.
fn incidents_have_the_right_severity_and_time(view: &View<'_>) -> Verdict {
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::Incident { step, incident, .. } = &event.kind else { continue };
        let critical = |ix: &RealmIx| view.plan.realm(*ix).critical;
        let matters = incident.root.as_ref().is_none_or(critical) || incident.affected.iter().any(critical);
        // One that concerned a critical realm which a reload has removed stays critical.
        let critical = incident.severity == Severity::Critical;
        fail(if *step == IncidentStep::Opened { matters != critical } else { matters && !critical }, || {
            format!("incident {} is {}, critical is {matters}", incident.no, incident.severity)
        })?;
        fail(incident.opened_at > view.now, || format!("incident {} is of the future", incident.no))?;
        if *step != IncidentStep::Opened {
            continue;
        }
        // The restart that was open when the incident was opened: within the step another one may have followed it.
        let followed = view.events[at..].iter().any(|later| {
            matches!(later.kind, EventKind::RestartOpened { .. })
                && later.realm.as_ref().map(|(ix, _)| *ix) == incident.root
        });
        let then = if followed { view.before } else { view.after };
        let restart = incident.root.and_then(|ix| status(then, ix)?.restart.as_ref());
        let open = restart.filter(|record| record.result.is_none());
        // It may have been closed within the step.
        let detected = restart.and_then(|record| record.steps.first()).map_or(view.now, |(_, at)| *at);
        fail(incident.opened_at != detected && incident.opened_at != view.now, || {
            format!("incident {} began at {:?}, detected at {detected:?}", incident.no, incident.opened_at)
        })?;
        let unplanned = restart.is_some_and(|record| record.cause.is_debited());
        let failed = incident.root.and_then(|ix| status(view.after, ix)).map(|root| root.status);
        let restarting = failed == Some(Status::Restarting) && unplanned && open.is_some();
        // What a suspect does to its dependents is another matter than its own restart.
        let suspected = incident.reason == Reason::SuspectNeed;
        fail(restarting && !suspected && incident.opened_at != detected, || {
            format!("incident {} began at {:?}, detected at {detected:?}", incident.no, incident.opened_at)
        })?;
    }
    Ok(())
}

/// An incident ends when its root is fine again, rests, or turned out to suffer from another one; never because
/// heartbeatd stops. And it does end then.
fn incidents_end_on_evidence(view: &View<'_>) -> Verdict {
    let fine = |realm: &RealmStatus| {
        let open = realm.restart.as_ref().is_some_and(|record| record.result.is_none());
        !open && matches!(realm.status, Status::Up | Status::Degraded | Status::Done)
    };
    let passes = |realm: &RealmStatus| realm.status == Status::Paused && realm.health.is_pass();
    for (at, event) in view.events.iter().enumerate() {
        let EventKind::Incident { step: IncidentStep::Resolved, incident, note } = &event.kind else {
            continue;
        };
        let begins = view.events.iter().position(|event| event.kind == EventKind::ShutdownStarted);
        let ours = incident.problem.is_some();
        let stops = !ours && view.reference.shutdown.is_some() && begins.is_none_or(|begins| begins < at);
        fail(stops, || format!("incident {} ends with heartbeatd", incident.no))?;
        let Some(root) = incident.root.and_then(|ix| status(view.after, ix)) else { continue };
        // The root may have been fine for a moment within the step.
        let was_fine = view.events[..at].iter().any(|event| {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == root.info.ix)
                && matches!(
                    event.kind,
                    EventKind::StatusChanged { to: Status::Up | Status::Degraded | Status::Done, .. }
                        | EventKind::HealthChanged { to: Health::Healthy | Health::Degraded, .. }
                        | EventKind::RestartClosed { result: RestartResult::Verified, .. }
                )
        });
        let was_fine = was_fine || status(view.before, root.info.ix).is_some_and(fine);
        // A pause covers its status: it passed, too, until its health was said to be worse.
        let worse = view.events[..at].iter().any(|event| {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == root.info.ix)
                && matches!(event.kind, EventKind::HealthChanged { to, .. } if !to.is_pass())
        });
        let passed = !worse && status(view.before, root.info.ix).is_some_and(passes);
        let folded = note.as_ref().is_some_and(|note| note.starts_with("part of the incident of"));
        let rests = root.desired == Desired::Down || root.status == Status::Stopped;
        let stuck = matches!(root.phase, Phase::Stuck | Phase::Unverified);
        fail(!folded && (stuck || !(fine(root) || was_fine || rests || passes(root) || passed)), || {
            format!("the incident of {} ends while it is {}: {note:?}", root.info.name, root.status)
        })?;
    }
    if view.reference.shutdown.is_some() {
        return Ok(());
    }
    for incident in &view.after.incidents {
        let Some(root) = incident.root.and_then(|ix| status(view.after, ix)) else { continue };
        // A need that refuses work is up, and has the incident of its dependents until they are well again.
        let suspected = view.after.realms.iter().any(|realm| realm.suspects.contains(&root.info.ix));
        let refuses = root.probes.iter().any(|probe| {
            let last = probe.last.as_ref().map(|last| last.outcome);
            matches!(
                last,
                Some(Outcome::Degraded(DegradedReason::ReportedDegraded | DegradedReason::ReportedDown))
            )
        });
        let hurt =
            incident.affected.iter().any(|ix| status(view.after, *ix).is_some_and(|realm| !fine(realm)));
        let relapsed = view.reference.relapsed[root.info.ix.index()];
        let duration = suspected || relapsed || (refuses && hurt);
        fail(fine(root) && !duration, || {
            format!("{} is {}, and its incident is open", root.info.name, root.status)
        })?;
    }
    Ok(())
}

fn desired_is_what_was_wanted(view: &View<'_>) -> Verdict {
    for (realm, wanted) in view.after.realms.iter().zip(&view.reference.desired) {
        fail(realm.desired != *wanted, || {
            format!("{} is desired {}, wanted was {wanted}", realm.info.name, realm.desired)
        })?;
    }
    Ok(())
}

fn phases_agree_with_processes(view: &View<'_>) -> Verdict {
    for (realm, process) in view.after.realms.iter().zip(&view.world.processes) {
        let name = &realm.info.name;
        fail(process.is_some() && !realm.phase.may_have_process(), || {
            format!("{name} is {} but has {process:?}", realm.phase)
        })?;
        if realm.phase == Phase::Running {
            let pid = process.as_ref().and_then(|process| process.pid);
            let shown = pid.filter(|_| !process.as_ref().is_some_and(Process::has_forked));
            fail(pid.is_none() || realm.process.pid != shown, || {
                format!("{name} runs as {:?}, in the world it is {process:?}", realm.process.pid)
            })?;
        }
    }
    Ok(())
}

/// The program of a realm has ended, and its pid file names no daemon: nothing proves that it runs.
fn nothing_is_up_before_its_daemon_is_known(view: &View<'_>) -> Verdict {
    for (realm, process) in view.after.realms.iter().zip(&view.world.processes) {
        let unknown = process.as_ref().is_some_and(Process::has_forked);
        // What is being ended is not up in any case.
        let passes = realm.health.is_pass() && realm.phase != Phase::Stopping;
        let up = passes || matches!(realm.status, Status::Up | Status::Degraded);
        fail(unknown && up, || format!("{} is {} without a process", realm.info.name, realm.status))?;
    }
    Ok(())
}

fn revision_is_monotone_and_told(view: &View<'_>) -> Verdict {
    fail(view.after.revision < view.before.revision, || "the revision went back".to_string())?;
    let moved = view.after.revision != view.before.revision;
    // What happens next is part of the meaning, and no event of its own: a probe that begins to measure.
    let only_next = view.after.realms.iter().zip(&view.before.realms).all(|(after, before)| {
        let mut as_before = RealmStatus::clone(after);
        as_before.why.next.clone_from(&before.why.next);
        as_before.means_the_same(before)
    });
    fail(moved && !only_next && view.events.is_empty() && view.before.revision > 0, || {
        let pairs = view.after.realms.iter().zip(&view.before.realms);
        let changed = pairs.filter(|(a, b)| !a.means_the_same(b)).map(|(a, b)| {
            let words = |r: &RealmStatus| {
                let verdicts: Vec<_> = r.probes.iter().map(|probe| (probe.verdict, probe.stale)).collect();
                let (why, flags, pid) = (&r.why, &r.flags, r.process.pid);
                let action = why.next.action;
                let total = r.restarts.total;
                format!(
                    "{} {} {} {:?} {} {flags:?} {pid:?} {total} {:?} {verdicts:?}",
                    r.status, r.phase, why.reason, why.since, action, r.blocked_by
                )
            };
            format!("\n  {}: {}\n  -> {}", a.info.name, words(b), words(a))
        });
        format!("the revision moved without an event: {}", changed.collect::<String>())
    })?;
    for pair in view.events.windows(2) {
        fail(pair[1].seq != pair[0].seq + 1, || format!("event {} follows {}", pair[1].seq, pair[0].seq))?;
    }
    Ok(())
}

/// The probe by which a realm says that it is ready, and its watchdog.
fn told<'a>(view: &'a View<'_>, realm: RealmIx) -> Option<(&'a ProbeSpec, Option<Duration>)> {
    view.plan.realm(realm).probes.iter().find_map(|probe| match probe.source {
        ProbeSource::Notify { watchdog } => Some((probe, watchdog)),
        ProbeSource::Measured | ProbeSource::Process | ProbeSource::PortOf(_) => None,
    })
}

fn no_realm_is_up_before_it_reports_ready(view: &View<'_>) -> Verdict {
    for realm in &view.after.realms {
        let Some((probe, _)) = told(view, realm.info.ix) else { continue };
        let name = &realm.info.name;
        let Heard { ready, excused, .. } = view.reference.voices[realm.info.ix.index()];
        let up = matches!(realm.status, Status::Up | Status::Degraded) && probe.info.role != Role::Info;
        fail(up && !ready, || format!("{name} is {} and has not said that it is ready", realm.status))?;
        let runs = view.events.iter().any(|event| {
            event.realm.as_ref().is_some_and(|(ix, _)| *ix == realm.info.ix)
                && matches!(event.kind, EventKind::PhaseChanged { to: Phase::Running, .. })
        });
        let gates = probe.info.role == Role::Live && !excused;
        fail(runs && gates && !ready, || format!("{name} runs and has not said that it is ready"))?;
    }
    Ok(())
}

fn no_beat_is_missed_that_was_heard_in_time(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::ProbeChanged { outcome, detail, .. } = &event.kind else { continue };
        let Some((realm, name)) = &event.realm else { continue };
        let Some((_, watchdog)) = told(view, *realm) else { continue };
        let heard = &view.reference.voices[realm.index()];
        let missed = matches!(outcome, Outcome::Fail { reason: FailReason::MissedBeat, .. });
        if !missed || heard.forgotten {
            continue;
        }
        if heard.triggered && detail.starts_with("WATCHDOG=trigger") {
            continue;
        }
        let Some(watchdog) = heard.watchdog.or(watchdog).filter(|watchdog| !watchdog.is_zero()) else {
            return Err(format!("{name} has no watchdog, and has missed a beat"));
        };
        let silent = heard.last_beat.map(|last| view.now.since(last));
        fail(silent.is_none_or(|silent| silent < watchdog), || {
            format!("{name} was silent for {silent:?}, and may be for {watchdog:?}")
        })?;
    }
    Ok(())
}

fn no_start_is_given_up_before_the_time_it_asked_for(view: &View<'_>) -> Verdict {
    for event in view.events {
        let EventKind::RestartOpened { cause: RestartCause::StartTimedOut, .. } = event.kind else {
            continue;
        };
        let Some((realm, name)) = &event.realm else { continue };
        if view.before.realms[realm.index()].phase == Phase::Stuck {
            // It was given up before it got stuck.
            continue;
        }
        let restart = view.after.realms[realm.index()].restart.as_ref();
        let unready = restart.is_some_and(|record| record.detail.starts_with("not ready within"));
        let extended = view.reference.voices[realm.index()].extended;
        let asked = told(view, *realm).and(extended).filter(|_| unready);
        fail(asked.is_some_and(|until| view.now < until), || {
            format!("{name} has asked for time until {asked:?}, and is given up")
        })?;
    }
    Ok(())
}

fn no_timer_in_the_past(view: &View<'_>) -> Verdict {
    let past = view.timed && view.timeout.is_some_and(|at| at <= view.now);
    fail(past, || format!("a timer at {:?} is left at {:?}", view.timeout, view.now))
}

fn replies_are_due(view: &View<'_>) -> Verdict {
    const REPLY_BOUND_MS: u64 = 10_000;
    let bound = Duration::from_millis(REPLY_BOUND_MS);
    let overdue =
        view.reference.open.iter().find(|(_, asked)| view.timed && view.now.since(*asked) > bound * 2);
    fail(overdue.is_some(), || format!("{overdue:?} has not been answered"))
}

fn nothing_runs_once_halted(view: &View<'_>) -> Verdict {
    let acts = view.effects.iter().find(|effect| {
        matches!(effect, Effect::Start { .. } | Effect::Check { .. } | Effect::Hook { .. })
            || matches!(effect, Effect::Signal { signal, .. } if *signal != Signal::KILL)
    });
    let halted = view.reference.finished && acts.is_some();
    fail(halted, || format!("after Halt: {acts:?}"))
}

fn shutdown_is_bounded(view: &View<'_>) -> Verdict {
    // The bound, then KILL and its wait, or a launch that is called off and does not answer.
    const AFTERMATH_MS: u64 = 25_000;
    let Some(since) = view.reference.shutdown else { return Ok(()) };
    let bound =
        view.plan.settings().shutdown_timeout + Duration::from_millis(AFTERMATH_MS) + view.reference.unseen;
    fail(view.timed && !view.reference.finished && view.now.since(since) > bound, || {
        let phases: Vec<String> =
            view.after.realms.iter().map(|realm| format!("{}: {}", realm.info.name, realm.phase)).collect();
        format!("not halted within {bound:?}: {}", phases.join(", "))
    })
}
