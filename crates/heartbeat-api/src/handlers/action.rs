//! Commands: from a body to a command, from a plan to a document, from a refusal to an answer that says what to do.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    EdgeKind, Gate, OwnProblem, OwnProblemKind, RealmIx, Snapshot, WallTime, sanitise_line,
};
use heartbeat_supervisor::{
    ActionPlan, Command, Held, OperatorHold, PlanStep, Refusal, Reply, Signalling, StepAction,
};
use heartbeat_wire::{
    ACTION_SCHEMA, Action, ActionDocument, ActionRequest, ActionStep, HoldEntry, PlanRequest,
};
use http::StatusCode;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::answers::answer::Answer;
use crate::answers::document::json;
use crate::answers::problem::ApiError;
use crate::backend::{Backend, Commanded};
use crate::connections::closing::{Closing, handed_over};
use crate::handlers::status::find;
use crate::handlers::waiting::{self, Goal, Outcome};
use crate::limits::{COMMAND_LIMIT, MAX_WAIT};
use crate::requests::suggestions;

/// Fields a body may have, for "did you mean".
const FIELDS: &[&str] =
    &["reason", "cascade", "force", "wait", "timeout_s", "lift_holds", "dry_run", "for_s", "signal", "tree"];

/// Longest pause with an end of its own: a year. One without an end lasts until it is resumed.
const MAX_PAUSE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Answers `POST /api/realms/{realm}/{start,stop,restart,pause,resume,reset,signal}/`. Several realms, separated by
/// commas, are one command with one plan.
pub(crate) async fn act(
    ecosystem: &dyn Backend,
    name: &str,
    action: Action,
    body: &[u8],
    uid: Option<u32>,
    closing: watch::Receiver<Closing>,
) -> Result<Answer, ApiError> {
    let request = parse(body)?;
    let limit = request.timeout_s.map(wait_limit).transpose()?;
    let duration = pause_length(action, &request)?;
    let signal = signalling(action, &request)?;
    let snapshot = ecosystem.snapshot();
    let realms = name.split(',').map(|name| find(&snapshot, name)).collect::<Result<_, _>>()?;
    let command = Command {
        action,
        realms,
        cascade: request.cascade,
        force: request.force,
        lift_holds: request.lift_holds,
        by: uid,
        at: Some(ecosystem.about().anchor.wall(ecosystem.now())),
        reason: request.reason.as_deref().map(sanitise_line).filter(|reason| !reason.is_empty()),
        duration,
        extends_only: false,
        signal,
    };
    if action == Action::Pause && command.reason.is_none() {
        return Err(ApiError::bad(
            "a pause takes a `reason`, so that the next operator knows why the realm is paused",
        ));
    }
    if request.dry_run {
        let plan = timeout(COMMAND_LIMIT, ecosystem.plan(command)).await.map_err(|_| busy())?;
        return dry_run(&Seen::now(ecosystem), &plan.ok_or_else(ApiError::ending)?);
    }
    tracing::info!(realm = name, %action, uid, reason = command.reason, "command");
    // Subscribes before the command, so that it misses no change after it.
    let changes = ecosystem.changes();
    let reply = tokio::select! {
        reply = timeout(COMMAND_LIMIT, ecosystem.command(command)) => reply.map_err(|_| busy())?,
        // The core may have accepted the command: a client that repeats it has to know.
        () = handed_over(closing.clone()) => return Err(busy()),
    };
    let seen = Seen::now(ecosystem);
    let Commanded { reply, unwritten } = reply.ok_or_else(ApiError::ending)?;
    let (plan, restarts) = match reply {
        Reply::Accepted { plan, restarts } => (plan, restarts),
        Reply::Refused { plan } => return Err(refused(&seen, &plan)),
        Reply::Refreshed { .. } => {
            let detail = "the command was answered as a refresh; this is a fault of heartbeatd";
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail));
        }
    };
    let Some(goal) = Goal::of(action, request.wait) else {
        let mut document = document(&seen, &plan, false);
        document.result = Some("accepted".to_owned());
        document.message = plan.steps.is_empty().then(|| nothing_to_do(action));
        return remembered(ecosystem, StatusCode::ACCEPTED, document, unwritten);
    };
    let limit = limit.unwrap_or_else(|| waiting::default_limit(&plan, goal));
    let outcome = tokio::select! {
        outcome = waiting::wait(ecosystem, changes, &plan, &restarts, goal, limit) => outcome,
        () = handed_over(closing) => Outcome::HandedOver,
    };
    let document = concluded(&Seen::now(ecosystem), &plan, goal, limit, outcome)?;
    remembered(ecosystem, StatusCode::OK, document, unwritten)
}

/// The result of a command that was carried out: 507 when it is not on the disk of the state directory. The adoption
/// records have it as well, so that it outlives heartbeatd, and neither a reboot nor a stop of everything.
fn remembered(
    ecosystem: &dyn Backend,
    status: StatusCode,
    document: ActionDocument,
    unwritten: Option<String>,
) -> Result<Answer, ApiError> {
    let Some(why) = unwritten else { return json(status, &document) };
    let unrecorded = |problem: &OwnProblem| problem.kind == OwnProblemKind::Records;
    let forgets = if ecosystem.own_health().problems.iter().any(unrecorded) {
        "a restart of heartbeatd would forget it"
    } else {
        "a reboot or a stop of everything would forget it (an upgrade or a crash of heartbeatd would not)"
    };
    let detail = format!(
        "{} {} was carried out, but it is not on disk, and {forgets}: {why}. heartbeatd writes it as soon as that is possible",
        document.action,
        document.realms.join(", "),
    );
    let refusal = ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "not-remembered", detail);
    Err(refusal.applied().plan(document))
}

/// The context of an answer: the ecosystem, and the time of day.
struct Seen {
    snapshot: Arc<Snapshot>,
    now: WallTime,
}

impl Seen {
    fn now(ecosystem: &dyn Backend) -> Self {
        Self { snapshot: ecosystem.snapshot(), now: ecosystem.about().anchor.wall(ecosystem.now()) }
    }
}

fn concluded(
    seen: &Seen,
    plan: &ActionPlan,
    goal: Goal,
    limit: Duration,
    outcome: Outcome,
) -> Result<ActionDocument, ApiError> {
    let mut document = document(seen, plan, false);
    match outcome {
        Outcome::Reached(taken_out) => {
            document.result = Some(goal.as_str().to_owned());
            document.message = (!taken_out.is_empty()).then(|| taken_out.join("; "));
        }
        Outcome::Failed(why) => {
            document.result = Some("failed".to_owned());
            document.message = Some(why);
        }
        Outcome::Late(missing) => {
            let detail = format!(
                "accepted, but not {goal} within {} s: {}. It goes on; /api/status/ shows how",
                limit.as_secs_f64(),
                missing.join("; "),
            );
            return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "not-in-time", detail).plan(document));
        }
        Outcome::Ending => return Err(ApiError::ending()),
        Outcome::HandedOver => return Err(ApiError::ending().applied().plan(document)),
    }
    Ok(document)
}

fn parse(body: &[u8]) -> Result<ActionRequest, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(ActionRequest::default());
    }
    let request: ActionRequest = serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        // serde puts the field in back quotes when it does not know it.
        let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let suggestions =
            unknown.map(|field| suggestions::nearest(field, FIELDS.iter().copied())).unwrap_or_default();
        let detail = format!(
            "the body is not a command: {}.{}",
            sanitise_line(&text),
            suggestions::question(&suggestions)
        );
        ApiError::bad(detail).suggest(suggestions)
    })?;
    if request.cascade && request.force {
        return Err(ApiError::bad(
            "`cascade` takes the dependents along and `force` leaves them alone: give one of them",
        ));
    }
    Ok(request)
}

/// The length of a pause; `None` until an operator resumes the realm.
fn pause_length(action: Action, request: &ActionRequest) -> Result<Option<Duration>, ApiError> {
    let Some(seconds) = request.for_s else { return Ok(None) };
    if action != Action::Pause {
        return Err(ApiError::bad("`for_s` means something for `pause` only"));
    }
    let length = Duration::try_from_secs_f64(seconds).ok().filter(|length| *length <= MAX_PAUSE);
    let length = length.filter(|length| !length.is_zero());
    let most = MAX_PAUSE.as_secs();
    length.map(Some).ok_or_else(|| ApiError::bad(format!("`for_s` is above 0 and at most {most}")))
}

/// The signal for a realm.
fn signalling(action: Action, request: &ActionRequest) -> Result<Option<Signalling>, ApiError> {
    match (action, &request.signal) {
        (Action::Signal, Some(name)) => {
            let signal = name.parse().map_err(|_| {
                ApiError::bad(format!(
                    "`{}` is not a signal; for example HUP, USR1, TERM",
                    sanitise_line(name)
                ))
            })?;
            Ok(Some(Signalling { signal, tree: request.tree }))
        }
        (Action::Signal, None) => {
            Err(ApiError::bad(r#"a signal takes a `signal`: which one, for example { "signal": "HUP" }"#))
        }
        (_, None) if !request.tree => Ok(None),
        (_, _) => Err(ApiError::bad("`signal` and `tree` mean something for `signal` only")),
    }
}

fn wait_limit(seconds: f64) -> Result<Duration, ApiError> {
    let limit = Duration::try_from_secs_f64(seconds).ok();
    limit
        .filter(|limit| !limit.is_zero() && *limit <= MAX_WAIT)
        .ok_or_else(|| ApiError::bad(format!("`timeout_s` is above 0 and at most {}", MAX_WAIT.as_secs())))
}

fn busy() -> ApiError {
    let detail = format!(
        "the command was not taken within {} s and may still be carried out; /api/health/ says how heartbeatd is",
        COMMAND_LIMIT.as_secs()
    );
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
}

fn dry_run(seen: &Seen, plan: &ActionPlan) -> Result<Answer, ApiError> {
    let mut document = document(seen, plan, true);
    document.message = match &plan.refusal {
        Some(refusal) => Some(format!("would be refused: {}", why_refused(seen, plan, refusal))),
        None if plan.steps.is_empty() => Some(nothing_to_do(plan.action)),
        None => None,
    };
    json(StatusCode::OK, &document)
}

fn nothing_to_do(action: Action) -> String {
    let already = match action {
        Action::Start | Action::Restart => "already up or starting",
        Action::Stop => "already stopped or stopping",
        Action::Pause => "already paused",
        Action::Resume => "not paused",
        Action::Reset | Action::Signal => "already done",
    };
    format!("nothing to do: {already}")
}

fn refused(seen: &Seen, plan: &ActionPlan) -> ApiError {
    let Some(refusal) = &plan.refusal else {
        let detail = "the command was refused without a reason; this is a fault of heartbeatd";
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail);
    };
    let status = match refusal {
        Refusal::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    let code = refusal_code(refusal);
    ApiError::new(status, code, why_refused(seen, plan, refusal)).plan(document(seen, plan, false))
}

/// The word of the problem behind `heartbeat:`.
fn refusal_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::WouldBreak => "would-break",
        Refusal::Held => "held",
        Refusal::External(_) => "external",
        Refusal::Stuck(_) => "stuck",
        Refusal::Unverified(_) => "unverified",
        Refusal::Removed(_) => "removed",
        Refusal::NotRunning(_) => "not-running",
        Refusal::ShuttingDown => "shutting-down",
    }
}

fn hold_entry(seen: &Seen, held: &Held) -> HoldEntry {
    let OperatorHold { reason, by, at } = &held.hold;
    let ago_s = at.map(|at| seen.now.as_millis().saturating_sub(at.as_millis()).max(0) as f64 / 1_000.0);
    let by = by.map(|by| if by == 0 { "root".to_owned() } else { format!("user {by}") });
    HoldEntry { realm: name(&seen.snapshot, held.realm), by, at: *at, ago_s, reason: reason.clone() }
}

/// `api and web need db`: the realms that would break, by what they need of the realms of the command. One that needs
/// none of these itself needs another that would break.
fn who_needs_what(snapshot: &Snapshot, plan: &ActionPlan) -> Vec<String> {
    let mut groups: Vec<(Vec<RealmIx>, Vec<RealmIx>)> = Vec::new();
    for ix in &plan.breaks {
        let needs = |among: &[RealmIx]| -> Vec<RealmIx> {
            let realm = snapshot.realm(*ix);
            let needs = realm.iter().flat_map(|realm| &realm.info.needs);
            // A gate that has let the realm pass once holds nothing up.
            let needs = needs.filter(|need| need.kind == EdgeKind::Needs && need.until != Gate::Done);
            needs.map(|need| need.realm).filter(|need| among.contains(need)).collect()
        };
        let direct = needs(&plan.realms);
        let needed = if direct.is_empty() { needs(&plan.breaks) } else { direct };
        match groups.iter_mut().find(|(known, _)| *known == needed) {
            Some((_, broken)) => broken.push(*ix),
            None => groups.push((needed, vec![*ix])),
        }
    }
    let words = |(needed, broken): &(Vec<RealmIx>, Vec<RealmIx>)| {
        let verb = if broken.len() == 1 { "needs" } else { "need" };
        format!("{} {verb} {}", names(snapshot, broken).join(", "), names(snapshot, needed).join(", "))
    };
    groups.iter().map(words).collect()
}

fn why_refused(seen: &Seen, plan: &ActionPlan, refusal: &Refusal) -> String {
    let snapshot = &*seen.snapshot;
    match refusal {
        Refusal::Held => {
            let words: Vec<String> =
                plan.holds.iter().map(|held| hold_entry(seen, held).sentence()).collect();
            let them = if words.len() == 1 { "it" } else { "them" };
            format!("{}; nothing was changed. `lift_holds` starts {them} as well", words.join("; "))
        }
        Refusal::WouldBreak => {
            let broken = who_needs_what(snapshot, plan).join("; ");
            format!(
                "{broken}; nothing was changed. `cascade` takes dependents along, `force` leaves them to ride it out"
            )
        }
        Refusal::External(ix) => format!(
            "{} has no `run`: it is watched and never started or stopped from here. Do that where it lives, or give it `run`",
            name(snapshot, *ix)
        ),
        Refusal::Stuck(ix) => {
            let pid = snapshot.realm(*ix).and_then(|realm| realm.process.pid);
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            format!(
                "what is left of the last run of {}{pid} could not be killed, and there is never a second copy. Look at the process (state D: disk or network file system); once it is gone the realm can be started",
                name(snapshot, *ix)
            )
        }
        Refusal::Unverified(ix) => {
            let why = snapshot.realm(*ix).map(|realm| realm.why.message.as_str()).unwrap_or_default();
            format!(
                "{why}; there is never a second copy of {}. Look at the process; end it if it is a leftover, or `reset` the realm if it is nothing of it",
                name(snapshot, *ix)
            )
        }
        Refusal::Removed(ix) => format!(
            "the configuration does not have {} any more and it is being stopped; add it again and reload",
            name(snapshot, *ix)
        ),
        Refusal::NotRunning(ix) => format!(
            "{} has no process of its own that could be sent a signal{}",
            name(snapshot, *ix),
            snapshot.realm(*ix).map(|realm| format!(": it is {}", realm.status)).unwrap_or_default(),
        ),
        Refusal::ShuttingDown => {
            "heartbeatd is stopping everything and takes no commands; start it again first".to_owned()
        }
    }
}

/// `POST /api/plan/`: what a command would do, or what a failure would mean.
pub(crate) async fn dry_plan(ecosystem: &dyn Backend, body: &[u8]) -> Result<Answer, ApiError> {
    let request: PlanRequest = serde_json::from_slice(body).map_err(|error| {
        let example = r#"{ "action": "fail", "realm": "db" }"#;
        ApiError::bad(format!(
            "the body is not a plan: {}. For example {example}",
            sanitise_line(&error.to_string())
        ))
    })?;
    let seen = Seen::now(ecosystem);
    let snapshot = &*seen.snapshot;
    let realm = find(snapshot, &request.realm)?;
    if request.action == "fail" {
        return json(StatusCode::OK, &crate::handlers::impact::document(snapshot, realm));
    }
    // The core cannot plan a signal: the program decides what it does.
    let action = request.action.parse().ok().filter(|action| *action != Action::Signal).ok_or_else(|| {
        let words = ["fail", "start", "stop", "restart", "pause", "resume", "reset"];
        let suggestions = suggestions::nearest(&request.action, words.into_iter());
        let detail =
            format!("`action` is one of {}.{}", words.join(", "), suggestions::question(&suggestions));
        ApiError::bad(detail).suggest(suggestions)
    })?;
    let command = Command { cascade: request.cascade, ..Command::new(action, realm) };
    let plan = timeout(COMMAND_LIMIT, ecosystem.plan(command)).await.map_err(|_| busy())?;
    dry_run(&seen, &plan.ok_or_else(ApiError::ending)?)
}

/// The plan as a document.
fn document(seen: &Seen, plan: &ActionPlan, dry_run: bool) -> ActionDocument {
    let snapshot = &*seen.snapshot;
    ActionDocument {
        schema: ACTION_SCHEMA.to_owned(),
        action: plan.action.into(),
        realms: names(snapshot, &plan.realms),
        dry_run,
        steps: plan.steps.iter().map(|step| step_entry(snapshot, plan, step)).collect(),
        effects: Vec::new(),
        breaks: names(snapshot, &plan.breaks),
        refusal: plan.refusal.as_ref().map(|refusal| refusal_code(refusal).to_owned()),
        holds: plan.holds.iter().map(|held| hold_entry(seen, held)).collect(),
        result: None,
        message: None,
    }
}

fn step_entry(snapshot: &Snapshot, plan: &ActionPlan, step: &PlanStep) -> ActionStep {
    let action = match step.action {
        StepAction::Stop => Action::Stop,
        StepAction::Start => Action::Start,
        StepAction::Restart => Action::Restart,
        StepAction::Pause => Action::Pause,
        StepAction::Resume => Action::Resume,
        StepAction::Reset => Action::Reset,
        StepAction::Signal => Action::Signal,
    };
    ActionStep {
        wave: step.wave,
        realm: name(snapshot, step.realm),
        action: action.into(),
        limit_s: step.limit.map(|limit| limit.as_secs_f64()),
        until: held_until(snapshot, plan, step),
    }
}

/// The condition of a step: a start waits for its needs, a stop for the dependents that are stopped before it.
fn held_until(snapshot: &Snapshot, plan: &ActionPlan, step: &PlanStep) -> Option<String> {
    let realm = snapshot.realm(step.realm)?;
    let gates: Vec<String> = match step.action {
        StepAction::Start => {
            let needs = realm.info.needs.iter().filter(|need| need.kind == EdgeKind::Needs);
            needs.map(|need| format!("{} is {}", need.name, need.until)).collect()
        }
        StepAction::Stop => {
            let stopped = |ix: &RealmIx| {
                plan.steps.iter().any(|other| other.action == StepAction::Stop && other.realm == *ix)
            };
            let dependents = realm.info.needed_by.iter().filter(|ix| stopped(ix));
            dependents.map(|ix| format!("{} is stopped", name(snapshot, *ix))).collect()
        }
        StepAction::Restart
        | StepAction::Pause
        | StepAction::Resume
        | StepAction::Reset
        | StepAction::Signal => Vec::new(),
    };
    (!gates.is_empty()).then(|| gates.join(", "))
}

fn names(snapshot: &Snapshot, realms: &[RealmIx]) -> Vec<String> {
    realms.iter().map(|ix| name(snapshot, *ix)).collect()
}

fn name(snapshot: &Snapshot, ix: RealmIx) -> String {
    snapshot.realm(ix).map_or_else(|| format!("realm {}", ix.0), |realm| realm.info.name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_a_command_or_says_why_not() {
        assert_eq!(parse(b" \n").unwrap(), ActionRequest::default());
        assert!(parse(br#"{"dry_run":true}"#).unwrap().dry_run);
        for bad in
            ["{", r#"{"casdace":true}"#, r#"{"wait":"done"}"#, r#"{"cascade":true,"force":true}"#, "[]x"]
        {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 601.0] {
            assert!(wait_limit(bad).is_err(), "{bad}");
        }
        assert_eq!(wait_limit(1.5).unwrap(), Duration::from_millis(1_500));
    }
}
