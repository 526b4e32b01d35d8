//! Why a realm's status is what it is, since when, and what happens next. Every status has an answer.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use heartbeat_status::Instant;
use heartbeat_status::{
    Attempt, Desired, EdgeKind, Gate, Health, NeedState, Next, NextAction, Outcome, Phase, RealmIx,
    RealmKind, Reason, RestartAttempt, RestartCause, Role, Status, Why, span_words, written_duration,
};

use crate::ctx::Outbox;
use crate::durable::Resting;
use crate::evidence::Hold;
use crate::evidence::Probing;
use crate::realm::Realm;
use crate::shown::{gate_holds, need_state, port_state};
use crate::state::failed::Why as FailedWhy;
use crate::state::waiting::Behind;
use crate::state::{self, InPlaceRestart, State};
use crate::timers::{TimerKind, probe_ix};
use crate::words;
use crate::{OperatorHold, Plan, ProbeSource, ProbeSpec, RealmSpec};

struct View<'a> {
    plan: &'a Plan,
    realms: &'a [Realm],
    ix: RealmIx,
    out: &'a Outbox,
    now: Instant,
}

impl View<'_> {
    fn realm(&self) -> &Realm {
        &self.realms[self.ix.index()]
    }

    fn spec(&self) -> &RealmSpec {
        self.plan.realm(self.ix)
    }

    fn deadline(&self, timer: TimerKind) -> Option<Instant> {
        self.out.timers.deadline(self.ix, timer)
    }
}

/// The answer for one realm.
pub(crate) fn why(plan: &Plan, realms: &[Realm], ix: RealmIx, out: &Outbox, now: Instant) -> Why {
    let view = View { plan, realms, ix, out, now };
    let (reason, message, next) = suspecting(&view, answer(&view));
    Why { reason, message, since: view.realm().shown.status_since, next }
}

/// The answer for a realm that runs again, and whose incident stays open for a reason of its own.
pub(crate) fn with_open_incident(why: Why, reason: &str, until: Option<Instant>) -> Why {
    let message = format!("{}; {reason}", why.message);
    let next = until.map_or(why.next, |until| Next::at(NextAction::Verify, until));
    Why { message, next, ..why }
}

/// The same, with the need that is probably to blame.
fn suspecting(view: &View<'_>, (reason, message, next): (Reason, String, Next)) -> (Reason, String, Next) {
    let realm = view.realm();
    if !realm.is_suspicious() || matches!(realm.state, State::Stopping(_) | State::Stuck { .. }) {
        return (reason, message, next);
    }
    let needs = view.spec().needs.iter().filter(|need| need.kind == EdgeKind::Needs);
    let suspects = needs.filter_map(|need| {
        let (need, spec) = (&view.realms[need.realm.index()], view.plan.realm(need.realm));
        need.shown.facts.refuses_since?;
        Some((spec.name.to_string(), words::remark_words(spec, &need.evidence)))
    });
    let words = words::suspects(suspects);
    if words.is_empty() {
        return (reason, message, next);
    }
    let message = match (&realm.state, realm.history.last_exit) {
        (State::Waiting(_), Some(last)) => last.exit.to_string(),
        _ => unready_probe(view).unwrap_or(message),
    };
    (Reason::SuspectNeed, format!("probably because {words}; {message}"), next)
}

fn answer(view: &View<'_>) -> (Reason, String, Next) {
    let realm = view.realm();
    if matches!(realm.state, State::Stuck { .. }) {
        let next = Next::when(NextAction::Start, "its last processes are gone".to_string());
        let next =
            if realm.wish.desired == Desired::Down || realm.shutting_down() { Next::none() } else { next };
        return (Reason::Stuck, "SIGKILL did not end all of its processes".to_string(), next);
    }
    if let Some(pause) = realm.wish.pause.as_ref().filter(|_| !realm.shutting_down()) {
        let next = pause.until.map_or_else(
            || Next::when(NextAction::Resume, "an operator resumes it".to_string()),
            |at| Next::at(NextAction::Resume, at),
        );
        return (Reason::Paused, pause.reason.clone(), next);
    }
    match &realm.state {
        State::Unverified { what, .. } => {
            let gone = "it is gone, or `reset` says that it is nothing of this realm".to_string();
            (Reason::Unverifiable, what.clone(), Next::when(NextAction::Start, gone))
        }
        State::Failed(failed) => {
            let (reason, message) = failed_words(&failed.why, view);
            (reason, message, Next::none())
        }
        State::Starting(_) if realm.program_is_unusable() => unusable(view, ""),
        State::Cooldown(_) if realm.program_is_unusable() => {
            unusable(view, ", and makes one trial after the cooldown in any case")
        }
        State::Cooldown(cooldown) => {
            let message = match &cooldown.why {
                FailedWhy::StartFailed(error) => error.clone(),
                FailedWhy::BudgetSpent | FailedWhy::Exited(_) | FailedWhy::Gone(_) => ended(view),
            };
            let next = Next::at(NextAction::Start, cooldown.until);
            (Reason::Cooldown, format!("{message}; one trial after the cooldown"), next)
        }
        _ if resting(realm) => at_rest(view),
        State::Stopped { .. } => {
            let message = realm.history.last_exit.map_or_else(
                || "not started yet".to_string(),
                |last| format!("ended with {}, and its policy leaves it at that", last.exit),
            );
            (Reason::Exited, message, Next::none())
        }
        State::Done => {
            let ended = realm.history.last_exit.map_or_else(
                || "done".to_string(),
                |last| match last.ran_for {
                    Some(ran_for) => format!("{} after {}", last.exit, span_words(ran_for)),
                    None => last.exit.to_string(),
                },
            );
            (Reason::Done, ended, Next::none())
        }
        State::Waiting(_) => waiting(view),
        State::Backoff(_) if realm.generation.port_conflict.is_some() => port_conflict(view),
        State::Backoff(backoff) if realm.history.failed_start.is_some() => {
            (Reason::StartFailed, start_failed(view), Next::at(NextAction::Start, backoff.until))
        }
        State::Backoff(backoff) => (Reason::Backoff, ended(view), Next::at(NextAction::Start, backoff.until)),
        State::Stopping(_) | State::Stuck { .. } => stopping(view),
        State::Starting(_) | State::Running(_) if realm.generation.forked => forked(view),
        State::Starting(_) => starting(view),
        State::External(_) if realm.shutting_down() => {
            let words = "not watched: heartbeatd is stopping everything".to_string();
            (Reason::NoEvidence, words, next_heartbeatd(NextAction::Probe))
        }
        State::Running(_) | State::External(_) => running(view),
    }
}

/// The program has ended, and the daemon that its pid file names is not there yet.
fn forked(view: &View<'_>) -> (Reason, String, Next) {
    let waits = "its program has ended; heartbeatd waits for the daemon that its pidfile names".to_string();
    let next = Next::when(NextAction::Probe, "its pidfile names a process of the realm".to_string());
    if view.realm().restart_open() {
        return (restart_reason(view.realm()), format!("{waits} (before: {})", ended(view)), next);
    }
    (Reason::Starting, waits, next)
}

/// The program cannot be used, and the adapter checks it every second.
fn unusable(view: &View<'_>, beside: &str) -> (Reason, String, Next) {
    let start = view.realm().history.failed_start.as_ref();
    let message = start.map(|start| start.message.clone()).unwrap_or_default();
    let next = Next::when(NextAction::Start, "its program can be used".to_string());
    (Reason::StartFailed, format!("{}{beside}", words::unusable(&message)), next)
}

/// The error of the last start, with the number of the attempt where it counts against the budget.
fn start_failed(view: &View<'_>) -> String {
    let realm = view.realm();
    let message = realm.history.failed_start.as_ref().map(|start| start.message.clone()).unwrap_or_default();
    let of_restart = |record: &RestartAttempt| record.result.is_none() && record.detail == message;
    if realm.history.restart.as_ref().is_some_and(of_restart) { ended(view) } else { message }
}

/// Another process holds its port.
fn port_conflict(view: &View<'_>) -> (Reason, String, Next) {
    let realm = view.realm();
    let free = match view.spec().port {
        Some(port) => format!("port {port} is free"),
        None => "its port is free".to_string(),
    };
    let action = if matches!(realm.state, State::Backoff(_)) { NextAction::Start } else { NextAction::Probe };
    (
        Reason::WrongProcess,
        realm.generation.port_conflict.clone().unwrap_or_default(),
        Next::when(action, free),
    )
}

fn resting(realm: &Realm) -> bool {
    (realm.wish.desired == Desired::Down || realm.shutting_down())
        && !matches!(realm.state, State::External(_) | State::Done)
}

fn at_rest(view: &View<'_>) -> (Reason, String, Next) {
    let realm = view.realm();
    let ends = matches!(realm.state, State::Stopping(_) | State::Starting(_) | State::Running(_));
    let (reason, message) = match &realm.wish.resting {
        _ if realm.wish.desired == Desired::Up => {
            (Reason::StoppedByOperator, "stopped: heartbeatd is stopping everything".to_string())
        }
        Resting::Manual if ends => (Reason::Manual, "stopped".to_string()),
        Resting::Manual => (Reason::Manual, "started only on request (manual = true)".to_string()),
        Resting::Removed => {
            (Reason::StoppedByOperator, "stopped: removed from the configuration".to_string())
        }
        Resting::Operator(hold) => (Reason::StoppedByOperator, stopped_by(hold)),
    };
    if ends {
        return (Reason::Stopping, format!("being {message}"), end_of_stop(view));
    }
    let again = realm.wish.desired == Desired::Up && realm.shutting_down();
    let next = if again { next_heartbeatd(NextAction::Start) } else { Next::none() };
    (reason, message, next)
}

/// `stopped by root: disk repair`.
fn stopped_by(hold: &OperatorHold) -> String {
    let by = match hold.by {
        None => "an operator".to_string(),
        Some(0) => "root".to_string(),
        Some(user) => format!("user {user}"),
    };
    let why = hold.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!("stopped by {by}{why}")
}

/// heartbeatd stops everything: the next heartbeatd takes the next step.
fn next_heartbeatd(action: NextAction) -> Next {
    Next::when(action, "heartbeatd is started again".to_string())
}

/// KILL: at a known time, or after the realms that need this one.
fn end_of_stop(view: &View<'_>) -> Next {
    let after = || {
        let timeout = written_duration(view.spec().stop.timeout);
        format!("its dependents are stopped and it has not ended {timeout} later")
    };
    kill_at(view).map_or_else(|| Next::when(NextAction::Kill, after()), |at| Next::at(NextAction::Kill, at))
}

fn failed_words(why: &FailedWhy, view: &View<'_>) -> (Reason, String) {
    match why {
        FailedWhy::StartFailed(error) => (Reason::StartFailed, error.clone()),
        FailedWhy::BudgetSpent => {
            (Reason::BudgetSpent, format!("restart budget spent; last: {}", ended(view)))
        }
        FailedWhy::Exited(_) => (Reason::Exited, format!("{}; its policy leaves it at that", ended(view))),
        FailedWhy::Gone(cause) => {
            (cause_reason(*cause), format!("{}; its policy leaves it at that", ended(view)))
        }
    }
}

/// The code for what a restart was opened for.
fn restart_reason(realm: &Realm) -> Reason {
    match realm.history.restart.as_ref().map(|record| record.cause) {
        Some(cause) => cause_reason(cause),
        None => Reason::Starting,
    }
}

pub(crate) fn cause_reason(cause: RestartCause) -> Reason {
    match cause {
        RestartCause::Exited => Reason::Exited,
        RestartCause::OutOfMemory => Reason::OutOfMemory,
        RestartCause::Unhealthy => Reason::ProbeFailed,
        RestartCause::StartTimedOut => Reason::StartTimedOut,
        RestartCause::DependencyRestarted | RestartCause::Requested | RestartCause::Reloaded => {
            Reason::Starting
        }
    }
}

/// How the last run ended and which attempt this is.
fn ended(view: &View<'_>) -> String {
    let realm = view.realm();
    let open =
        realm.history.restart.as_ref().filter(|record| record.result.is_none() && !record.detail.is_empty());
    let seen = match (open, &realm.history.failure, realm.history.last_exit) {
        (Some(record), ..) => record.detail.clone(),
        (None, Some(failure), _) => failure.clone(),
        (None, None, Some(last)) => last.exit.to_string(),
        (None, None, None) => "ended".to_string(),
    };
    let open = realm.history.open();
    let burst = view.spec().restart.burst();
    match open.and_then(|record| Attempt::counted(record.cause, record.attempt, burst)) {
        Some(attempt) => format!("{seen}, {attempt}"),
        None => seen,
    }
}

/// The needs in one state: the condition to wait for (`postgres is up`), and the present state (`postgres, which is
/// starting`).
struct Needs {
    goals: String,
    words: String,
}

impl Needs {
    /// `None` when no need is in that state.
    fn find(view: &View<'_>, state: NeedState) -> Option<Self> {
        let (mut goals, mut words) = (Vec::new(), Vec::new());
        for need in view.spec().needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
            let facts = &view.realms[need.realm.index()].shown.facts;
            if need_state(need.until, facts) == state {
                let name = &view.plan.realm(need.realm).name;
                let goal = if gate_holds(need.until, facts) { Gate::Up } else { need.until };
                goals.push(format!("{name} is {}", gate_word(goal)));
                words.push(format!("{name}, which is {}", facts.status));
            }
        }
        if let Some(port_owner) = view.realm().dependencies.port_left_by
            && port_state(&view.realms[port_owner.index()].shown.facts) == state
        {
            let (name, port) = (&view.plan.realm(port_owner).name, view.spec().port.unwrap_or_default());
            goals.push(format!("{name} has ended"));
            words.push(format!("port {port}, which {name} still has"));
        }
        (!words.is_empty()).then(|| Self { goals: goals.join(" and "), words: words.join("; ") })
    }
}

fn waiting(view: &View<'_>) -> (Reason, String, Next) {
    let realm = view.realm();
    if let Some(broken) = Needs::find(view, NeedState::Broken) {
        let next = Next::when(NextAction::Start, broken.goals);
        return (Reason::NeedBroken, format!("needs {}", broken.words), next);
    }
    let behind = match &realm.state {
        State::Waiting(waiting) => waiting.behind(),
        _ => None,
    };
    if behind == Some(Behind::Dependents) {
        let stopped = "its dependents are stopped".to_string();
        let message = format!("{}; starts once {stopped}", ended(view));
        return (Reason::Starting, message, Next::when(NextAction::Start, stopped));
    }
    let held = !realm.dependencies.needs_hold || behind.is_some();
    if let Some(pending) = Needs::find(view, NeedState::Pending).filter(|_| held) {
        let next = Next::when(NextAction::Start, pending.goals);
        return (Reason::WaitingForNeed, format!("waits for {}", pending.words), next);
    }
    if !realm.dependencies.needs_hold {
        let mut gates = Vec::new();
        for need in &view.spec().needs {
            let facts = &view.realms[need.realm.index()].shown.facts;
            if need.kind == EdgeKind::Needs && !gate_holds(need.until, facts) {
                gates.push(format!("{} is {}", view.plan.realm(need.realm).name, gate_word(need.until)));
            }
        }
        let gates = gates.join(" and ");
        let next = Next::when(NextAction::Start, gates.clone());
        return (Reason::WaitingForNeed, format!("waits until {gates}"), next);
    }
    if !realm.dependencies.order_holds {
        let next = view.deadline(TimerKind::StartDue).map_or_else(
            || Next::when(NextAction::Start, "they have settled".to_string()),
            |at| Next::at(NextAction::Start, at),
        );
        return (Reason::WaitingForNeed, "waits for what it is ordered after".to_string(), next);
    }
    let next = Next::at(NextAction::Start, realm.history.not_before.max(view.now));
    let after = if realm.restart_open() { format!("{}; ", ended(view)) } else { String::new() };
    (Reason::Starting, format!("{after}about to start"), next)
}

fn gate_word(until: Gate) -> &'static str {
    match until {
        Gate::Up => "up",
        Gate::Started => "started",
        Gate::Done => "done",
    }
}

fn stopping(view: &View<'_>) -> (Reason, String, Next) {
    let realm = view.realm();
    let next = kill_at(view).map_or_else(
        || Next::when(NextAction::Restart, "its dependents are stopped".to_string()),
        |at| Next::at(NextAction::Kill, at),
    );
    if realm.restart_open() {
        return (Reason::Stopping, format!("being stopped for a restart: {}", ended(view)), next);
    }
    let broken = Needs::find(view, NeedState::Broken).map(|needs| (Reason::NeedBroken, needs));
    let lost = broken.or_else(|| Some((Reason::Stopping, Needs::find(view, NeedState::Pending)?)));
    let failed = state::stopping::cause(realm).and(realm.history.failure.as_ref());
    let failed = failed.filter(|_| realm.history.faulted);
    match (lost, failed) {
        (Some((reason, needs)), _) => (reason, format!("being stopped with {}", needs.words), next),
        (None, Some(failure)) => (Reason::Stopping, format!("being stopped: {failure}"), next),
        (None, None) => (Reason::Stopping, "being stopped".to_string(), next),
    }
}

/// When the stage of the stop is over.
fn kill_at(view: &View<'_>) -> Option<Instant> {
    let known = match &view.realm().state {
        State::Stopping(stopping) => stopping.kill_at(),
        _ => None,
    };
    known.or_else(|| view.out.timers.stage_deadline(view.ix))
}

fn starting(view: &View<'_>) -> (Reason, String, Next) {
    let runs = matches!(&view.realm().state, State::Starting(starting) if starting.execed());
    let first = if runs { "it says that it is ready" } else { "it has been started" };
    let asked = view.spec().probes.iter().any(ProbeSpec::tells_readiness);
    let limited = runs && asked && view.spec().start.timeout.is_some();
    let limit = view.deadline(TimerKind::StartTimeout).or_else(|| view.deadline(TimerKind::HookLost));
    // A start that runs out of time by another's fault is not made again.
    let spared = view.realm().is_spared(view.spec(), view.now);
    let next = match limit {
        Some(limit) if limited && !spared => {
            Next::at_if(NextAction::Restart, limit, "it is not ready by then".to_string())
        }
        // The time stands still while a need is not up.
        None if limited && !spared => {
            Next::when(NextAction::Restart, "what it needs is up and it is not ready in time".to_string())
        }
        _ => view.deadline(TimerKind::Settle).or_else(|| next_probe(view)).map_or_else(
            || Next::when(NextAction::Probe, first.to_string()),
            |at| Next::at(NextAction::Probe, at),
        ),
    };
    if view.realm().generation.port_conflict.is_some() {
        return port_conflict(view);
    }
    let waits_for = waiting_probe(view);
    let says = says(view);
    let extended = view.realm().generation.spoken.extended.is_some();
    if view.realm().restart_open() {
        let words = match starting_up(view) {
            Some(words) => return (Reason::StartingUp, format!("{words}; {}", ended(view)), next),
            None => ended(view),
        };
        // The reason for the previous end may be the same as the present wait: the text names it once.
        let repeated = words.contains(waits_for.trim_start_matches("; "));
        let waits_for = if repeated { "" } else { &waits_for };
        return (restart_reason(view.realm()), format!("{words}{waits_for}{says}"), next);
    }
    if let Some(words) = starting_up(view) {
        return (Reason::StartingUp, format!("{words}{says}"), next);
    }
    if extended {
        return (Reason::StartingUp, format!("starting, has asked for more time{waits_for}{says}"), next);
    }
    (Reason::Starting, format!("started, not ready yet{waits_for}{says}"), next)
}

/// `; says: loading the index` for a realm with a status of its own.
fn says(view: &View<'_>) -> String {
    let status = view.spec().notify_probe().and(view.realm().generation.spoken.status.as_ref());
    status.map_or_else(String::new, |status| format!("; says: {status}"))
}

/// `; http: connection refused` for the first probe that does not pass yet.
fn waiting_probe(view: &View<'_>) -> String {
    unready_probe(view).map_or_else(String::new, |words| format!("; {words}"))
}

/// The first probe that does not pass yet; answers of an earlier generation do not count.
fn unready_probe(view: &View<'_>) -> Option<String> {
    let realm = view.realm();
    let since = realm.generation.started_at.unwrap_or(realm.shown.status_since);
    words::unready_probe(view.spec(), &realm.evidence, since)
}

/// The message of a server that is starting up, and for how long it has been starting.
fn starting_up(view: &View<'_>) -> Option<String> {
    let realm = view.realm();
    let since = realm.generation.started_at.unwrap_or(view.now);
    let words = realm.says_it_starts(view.spec())?.1;
    let words = if words.is_empty() { "it says that it is starting up" } else { words };
    Some(format!("starting: {words} (for {})", written_duration(view.now.since(since))))
}

fn next_probe(view: &View<'_>) -> Option<Instant> {
    (0..view.spec().probes.len()).filter_map(|at| view.deadline(TimerKind::Slot(probe_ix(at)))).min()
}

fn running(view: &View<'_>) -> (Reason, String, Next) {
    let realm = view.realm();
    let probe = next_probe(view);
    let probe_next = || {
        probe.map_or_else(
            || match view.spec().probes.iter().all(|probe| probe.source == ProbeSource::Process) {
                // heartbeatd watches the process, and measures nothing.
                true => Next::none(),
                false => Next::when(NextAction::Probe, "it is measured again".to_string()),
            },
            |at| Next::at(NextAction::Probe, at),
        )
    };
    match realm.shown.status {
        Status::Blocked => match Needs::find(view, NeedState::Broken) {
            Some(broken) => {
                let next = Next::when(NextAction::Probe, broken.goals);
                (Reason::NeedBroken, format!("needs {}", broken.words), next)
            }
            None => (Reason::NeedBroken, measured_afresh(view), probe_next()),
        },
        Status::Starting if realm.shown.health == Health::Unhealthy && realm.shown.excuse.excuses() => {
            match Needs::find(view, NeedState::Pending) {
                Some(pending) => {
                    let next = Next::when(NextAction::Probe, pending.goals);
                    (Reason::WaitingForNeed, format!("waits for {}", pending.words), next)
                }
                None => (Reason::WaitingForNeed, measured_afresh(view), probe_next()),
            }
        }
        Status::Starting | Status::Restarting if view.spec().kind == RealmKind::Oneshot => {
            let next = Next::when(NextAction::Done, "its process ends".to_string());
            if realm.restart_open() {
                return (restart_reason(realm), format!("{}; runs", ended(view)), next);
            }
            (Reason::Starting, "runs".to_string(), next)
        }
        Status::Restarting if realm.in_place().is_some_and(InPlaceRestart::is_under_way) => {
            let at = view.out.timers.stage_deadline(view.ix);
            match realm.in_place() {
                Some(InPlaceRestart::Commanded) => {
                    let ends = "its restart command ends".to_string();
                    let next = at.map_or_else(
                        || Next::when(NextAction::Verify, ends),
                        |at| Next::at(NextAction::Verify, at),
                    );
                    (restart_reason(realm), format!("{}; restart.command runs", ended(view)), next)
                }
                in_place => {
                    let next = match (in_place, at) {
                        (Some(InPlaceRestart::Due(due)), Some(_)) if due <= view.now => {
                            Next::when(NextAction::Restart, "it fails once more".to_string())
                        }
                        (_, Some(at)) => Next::at(NextAction::Restart, at),
                        (_, None) => {
                            Next::when(NextAction::Restart, "its dependents are stopped".to_string())
                        }
                    };
                    (Reason::Backoff, ended(view), next)
                }
            }
        }
        Status::Restarting => {
            let at = view.deadline(TimerKind::Verify).or_else(|| view.deadline(TimerKind::VerifyTimeout));
            let next = at.map_or_else(
                || Next::when(NextAction::Verify, "its probes pass".to_string()),
                |at| Next::at(NextAction::Verify, at),
            );
            (restart_reason(realm), format!("runs again, being verified (before: {})", ended(view)), next)
        }
        Status::Down if realm.generation.port_conflict.is_some() => port_conflict(view),
        Status::Down if realm.generation.spoken.stopping => {
            let next = view
                .spec()
                .notify_probe()
                .and_then(|(at, _)| view.deadline(TimerKind::Slot(probe_ix(at))))
                .map_or_else(probe_next, |at| Next::at(NextAction::Restart, at));
            (Reason::Stopping, format!("it says that it stops{}", says(view)), next)
        }
        Status::Down if realm.evidence.held.is_some() => held(view),
        Status::Down
            if matches!(realm.in_place(), Some(InPlaceRestart::Cooldown(_) | InPlaceRestart::Exhausted)) =>
        {
            let exhausted = format!("{}; restart budget spent", failing_words(view));
            match realm.in_place() {
                Some(InPlaceRestart::Cooldown(until)) => {
                    // Failures that count since less time may be acted on only after the cooldown.
                    let due = realm.actionable(view.spec(), |role| role == Role::Live).map(|(_, due)| due);
                    let at = due.map_or(until, |due| due.max(until));
                    (Reason::Cooldown, exhausted, Next::at(NextAction::Restart, at))
                }
                _ => (Reason::BudgetSpent, exhausted, probe_next()),
            }
        }
        Status::Down => (Reason::ProbeFailed, failing_words(view), next_health_restart(view, probe_next)),
        Status::Degraded => {
            let slow = realm.evidence.probes.iter().any(|probe| {
                let outcome = probe.last.as_ref().map(|last| last.outcome);
                outcome == Some(Outcome::Degraded(heartbeat_status::DegradedReason::Slow))
            });
            let reason = if slow { Reason::Slow } else { Reason::Degraded };
            (reason, degraded_words(view), probe_next())
        }
        Status::Unknown if realm.evidence.probes.iter().any(|probe| probe.stale) => {
            let words = words::stale_words(view.spec(), &realm.evidence);
            let colon = if words.is_empty() { "" } else { "; " };
            (Reason::Stale, format!("no conclusive measurement for too long{colon}{words}"), probe_next())
        }
        Status::Unknown | Status::Starting
            if view.spec().kind == RealmKind::External && realm.evidence.probes.is_empty() =>
        {
            (Reason::External, "external and without probes".to_string(), Next::none())
        }
        Status::Unknown | Status::Starting
            if view.spec().kind == RealmKind::External && !view.spec().is_judged() =>
        {
            let failing = view.spec().probes.iter().zip(&realm.evidence.probes);
            let failing = failing.filter(|(_, probe)| probe.fails());
            let words: String =
                failing.map(|(spec, probe)| format!("; {}", words::failing_probe(spec, probe))).collect();
            let says = "its probes only inform, so none of them says whether it is up";
            (Reason::NoEvidence, format!("{says}{words}"), probe_next())
        }
        Status::Unknown | Status::Starting => {
            (Reason::NoEvidence, format!("no verdict yet{}", waiting_probe(view)), probe_next())
        }
        _ => (Reason::Healthy, healthy_words(view), probe_next()),
    }
}

/// When a restart for the realm's health follows, if one does: at its time, or on the answers that it waits for.
fn next_health_restart(view: &View<'_>, probe_next: impl FnOnce() -> Next) -> Next {
    let (realm, spec) = (view.realm(), view.spec());
    let due = realm.actionable(spec, |role| role == Role::Live).map(|(_, due)| due);
    match due.filter(|_| realm.restart_is_pending(spec)) {
        Some(due) if due > view.now => Next::at(NextAction::Restart, due),
        Some(_) if !realm.has_failed_since(spec, realm.evidence.acts_on) => {
            Next::when(NextAction::Restart, "it fails once more".to_string())
        }
        Some(_) => Next::when(NextAction::Restart, "what it needs passes".to_string()),
        None => probe_next(),
    }
}

/// A restart for the realm's health could begin, and waits for the circuit breaker.
fn held(view: &View<'_>) -> (Reason, String, Next) {
    let hold = view.realm().evidence.held.unwrap_or(Hold::Tripped);
    let words = hold_words(view.plan, view.realms, view.ix, hold);
    let (reason, next) = match hold {
        Hold::Tripped => {
            let closes = "the restart circuit breaker is closed".to_string();
            (Reason::StormFuse, Next::when(NextAction::Restart, closes))
        }
        Hold::Parallel => {
            let verified = format!("{} is verified", healing(view.plan, view.realms, view.ix).join(" or "));
            (Reason::ProbeFailed, Next::when(NextAction::Restart, verified))
        }
        Hold::Exhausted(until) => (Reason::ProbeFailed, Next::at(NextAction::Restart, until)),
    };
    (reason, format!("{}; {words}", failing_words(view)), next)
}

/// The words for what holds the restart of a realm for its health.
pub(crate) fn hold_words(plan: &Plan, realms: &[Realm], ix: RealmIx, hold: Hold) -> String {
    let settings = &plan.settings().fuse;
    match hold {
        Hold::Tripped => "restarts for health are held".to_string(),
        Hold::Parallel => {
            let others = healing(plan, realms, ix);
            let (restarts, are) = if others.len() == 1 { ("restart", "is") } else { ("restarts", "are") };
            format!("{} other {restarts} for health {are} under way ({})", others.len(), others.join(", "))
        }
        Hold::Exhausted(_) => {
            format!("{} restarts for health in {}", settings.restarts, written_duration(settings.per))
        }
    }
}

/// The other realms that are being restarted for their health, by name.
fn healing(plan: &Plan, realms: &[Realm], ix: RealmIx) -> Vec<String> {
    let others = plan.infos().iter().zip(realms).filter(|(info, realm)| info.ix != ix && realm.is_healing());
    others.map(|(info, _)| info.name.to_string()).collect()
}

/// The needs are back, and earlier measurements say nothing about the realm.
fn measured_afresh(view: &View<'_>) -> String {
    format!("what it needs is back; measured afresh{}", waiting_probe(view))
}

/// `http: 500, 3 times in a row` for the probes that fail: those that have decided come first.
fn failing_words(view: &View<'_>) -> String {
    let probes = view.spec().probes.iter().zip(&view.realm().evidence.probes);
    let (decided, others): (Vec<_>, Vec<_>) = probes.partition(|(_, probe)| probe.fails());
    let failing = decided.into_iter().chain(others).filter_map(|(spec, probe)| {
        let last = probe.last.as_ref()?;
        if last.outcome.passed() != Some(false) {
            return None;
        }
        // The port fact adds nothing to the probe that it comes from.
        let repeated = matches!(spec.source, ProbeSource::PortOf(of) if {
            let of = view.realm().evidence.probes[of.index()].last.as_ref();
            of.is_some_and(|of| of.detail == last.detail)
        });
        let words = match last.outcome.reason() {
            Some(reason) if repeated => reason.words(),
            _ => last.words(),
        };
        Some(format!("{}: {}{}", spec.info.name, words::short(words), words::times(spec, probe)))
    });
    let words: Vec<String> = failing.collect();
    if words.is_empty() { passing_again(view) } else { words.join("; ") }
}

/// `http: passing again, 1 of 2 needed`.
fn passing_again(view: &View<'_>) -> String {
    let probes = view.spec().probes.iter().zip(&view.realm().evidence.probes);
    let again = probes.filter(|(_, probe)| probe.fails()).map(|(spec, probe)| {
        let (passes, goal) = (probe.tally.passes(), spec.info.thresholds.pass_after());
        format!("{}: passing again, {passes} of {goal} needed", spec.info.name)
    });
    let words: Vec<String> = again.collect();
    if words.is_empty() { "passing again".to_string() } else { words.join("; ") }
}

fn degraded_words(view: &View<'_>) -> String {
    let words: Vec<String> = view
        .spec()
        .probes
        .iter()
        .zip(&view.realm().evidence.probes)
        .filter_map(|(spec, probe)| {
            let last = probe.last.as_ref()?;
            let degraded = matches!(last.outcome, Outcome::Degraded(_));
            degraded.then(|| format!("{}: {}", spec.info.name, last.words()))
        })
        .collect();
    words.join("; ")
}

fn healthy_words(view: &View<'_>) -> String {
    let realm = view.realm();
    let fails = |probe: &Probing| {
        probe.last.as_ref().is_some_and(|last| last.outcome.passed() == Some(false))
            && probe.tally.fails() > 0
    };
    if realm.evidence.probes.iter().any(fails) {
        // The verdict stands until the threshold, so the text only reports the last result.
        return format!("still up; {}", failing_words(view));
    }
    let doubtful = view.spec().probes.iter().zip(&realm.evidence.probes).find_map(|(spec, probe)| {
        let prevented = probe.last.as_ref()?.prevented_by()?;
        let seen = probe.conclusive.as_ref().map(|last| last.detail.as_str()).filter(|seen| !seen.is_empty());
        let seen = seen.unwrap_or("passed");
        Some(format!("{}: {seen}; since then inconclusive: {prevented}", spec.info.name))
    });
    if let Some(words) = doubtful {
        return format!("{words}{}", says(view));
    }
    let measured = view.spec().probes.iter().zip(&realm.evidence.probes).find_map(|(spec, probe)| {
        let last = probe.last.as_ref()?;
        let latency = last.latency?;
        (spec.source == ProbeSource::Measured).then(|| {
            let detail = if last.detail.is_empty() { "pass" } else { last.detail.as_str() };
            let micros = latency.as_micros();
            format!("{}: {detail} in {}.{} ms", spec.info.name, micros / 1000, micros % 1000 / 100)
        })
    });
    let words = measured.unwrap_or_else(|| match realm.state.phase() {
        Phase::Running if realm.generation.spoken.ready => {
            format!("it says that it is {}", realm.generation.spoken.state())
        }
        Phase::Running => "the process runs".to_string(),
        _ => "every probe passes".to_string(),
    });
    format!("{words}{}", says(view))
}
