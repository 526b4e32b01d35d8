//! Waiting for the goal of a command: each snapshot shows whether the goal is reached, out of reach, or late.

use std::fmt;
use std::time::Duration;

use heartbeat_status::{
    DaemonPhase, Desired, Phase, RealmIx, RealmStatus, RestartId, RestartResult, Snapshot, Status,
};
use heartbeat_supervisor::{ActionPlan, StepAction};
use heartbeat_wire::{Action, Wait};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::limits::{DEFAULT_WAIT, MAX_WAIT, VERIFY_SLACK};

/// Realms that a late answer names; it counts the rest.
const MAX_MISSING_NAMES: usize = 10;

/// The goal of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Every realm is up (degraded and done count).
    Up,
    /// Every restart is verified, and every other realm is up.
    Verified,
    /// No process of any of them runs.
    Stopped,
}

impl Goal {
    /// `None` when the caller waits for nothing.
    pub(crate) fn of(action: Action, wait: Wait) -> Option<Self> {
        match (action, wait) {
            (_, Wait::Accepted) | (Action::Pause | Action::Resume | Action::Reset | Action::Signal, _) => {
                None
            }
            (Action::Stop, Wait::Up | Wait::Verified) => Some(Self::Stopped),
            (Action::Start | Action::Restart, Wait::Up) => Some(Self::Up),
            (Action::Start | Action::Restart, Wait::Verified) => Some(Self::Verified),
        }
    }

    /// The word in the document.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Verified => "verified",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The goal is reached, less the realms that a later command has taken out of it: one entry per realm.
    Reached(Vec<String>),
    /// The goal is out of reach without an operator, with the reason.
    Failed(String),
    /// The time is up: what is missing, one entry per realm.
    Late(Vec<String>),
    /// heartbeatd is ending.
    Ending,
    /// Another heartbeatd takes over before the result is known. The command continues there.
    HandedOver,
}

/// The time limit when the caller gives none: the sum of the steps' limits, 10 min at most.
pub(crate) fn default_limit(plan: &ActionPlan, goal: Goal) -> Duration {
    let slack = if goal == Goal::Verified { VERIFY_SLACK } else { Duration::ZERO };
    let sum = plan.steps.iter().try_fold(slack, |sum, step| sum.checked_add(step.limit?));
    // A step without a bound (a oneshot) may use all of the time.
    sum.unwrap_or(MAX_WAIT).max(DEFAULT_WAIT).min(MAX_WAIT)
}

/// Looks at every snapshot until the goal is reached or out of reach, for `limit` at most.
pub(crate) async fn wait(
    ecosystem: &dyn Backend,
    mut changes: watch::Receiver<u64>,
    plan: &ActionPlan,
    restarts: &[(RealmIx, RestartId)],
    goal: Goal,
    limit: Duration,
) -> Outcome {
    let look = || evaluate(&ecosystem.snapshot(), plan, restarts, goal);
    let watching = async {
        loop {
            changes.borrow_and_update();
            match look() {
                Outcome::Late(_) => {}
                outcome => return outcome,
            }
            if changes.changed().await.is_err() {
                return Outcome::Ending;
            }
        }
    };
    match timeout(limit, watching).await {
        Ok(outcome) => outcome,
        Err(_) => look(),
    }
}

/// The progress toward the goal in one snapshot.
fn evaluate(
    snapshot: &Snapshot,
    plan: &ActionPlan,
    restarts: &[(RealmIx, RestartId)],
    goal: Goal,
) -> Outcome {
    let wanted = if goal == Goal::Stopped { StepAction::Stop } else { StepAction::Start };
    if goal != Goal::Stopped && snapshot.phase == DaemonPhase::Stopping {
        return Outcome::Ending;
    }
    let steps = plan.steps.iter().filter(|step| step.action == wanted).map(|step| step.realm);
    // The realms of the command have no step when they are on their way already.
    let mut realms: Vec<RealmIx> = steps.chain(plan.realms.iter().copied()).collect();
    realms.sort_unstable_by_key(|ix| snapshot.realm(*ix).map(|realm| realm.info.order));
    realms.dedup();
    let (mut missing, mut taken_out) = (Vec::new(), Vec::new());
    for realm in realms.iter().filter_map(|ix| snapshot.realm(*ix)) {
        let restart = restarts.iter().find(|(ix, _)| *ix == realm.info.ix).map(|(_, id)| *id);
        let step = match goal {
            Goal::Stopped => stopped(realm),
            Goal::Up => up(realm, restart),
            Goal::Verified => verified(realm, restart),
        };
        let step = match step {
            Step::OnTheWay if goal != Goal::Stopped => held_up(snapshot, realm).unwrap_or(step),
            step => step,
        };
        match step {
            Step::There => {}
            // The command does not name the realm: it succeeds without it.
            Step::TakenOut(why) if !plan.realms.contains(&realm.info.ix) => taken_out.push(why),
            Step::Lost(why) => return Outcome::Failed(why),
            Step::TakenOut(why) => {
                return Outcome::Failed(format!("{why}; the other realms of this command go on"));
            }
            Step::OnTheWay => {
                missing.push(format!("{} is {} ({})", realm.info.name, realm.status, realm.why.message))
            }
        }
    }
    if missing.is_empty() {
        return Outcome::Reached(taken_out);
    }
    let more = missing.len().saturating_sub(MAX_MISSING_NAMES);
    missing.truncate(MAX_MISSING_NAMES);
    if more > 0 {
        missing.push(format!("and {more} more"));
    }
    Outcome::Late(missing)
}

/// The progress of one realm.
enum Step {
    There,
    OnTheWay,
    /// A later command, or the configuration, wants something else of the realm.
    TakenOut(String),
    Lost(String),
}

fn stopped(realm: &RealmStatus) -> Step {
    let name = &realm.info.name;
    if realm.phase == Phase::Stuck {
        return Step::Lost(format!("{name} could not be killed: {}", realm.why.message));
    }
    if realm.desired == Desired::Up {
        return Step::TakenOut(format!("{name} was asked to run again meanwhile"));
    }
    if matches!(realm.phase, Phase::Stopped | Phase::Done | Phase::Failed) {
        Step::There
    } else {
        Step::OnTheWay
    }
}

/// Why a wait for this realm to run is lost.
fn lost(realm: &RealmStatus) -> Option<Step> {
    let name = &realm.info.name;
    if realm.status == Status::Failed {
        return Some(Step::Lost(format!("{name} failed: {}", realm.why.message)));
    }
    if realm.desired == Desired::Down {
        // It says who has stopped it, and why.
        let how = realm.why.message.trim_start_matches("being ");
        return Some(Step::TakenOut(format!("{name} was taken out of this command: {how}")));
    }
    None
}

/// The realm waits for one that is stopped, which starts only when an operator says so.
fn held_up(snapshot: &Snapshot, realm: &RealmStatus) -> Option<Step> {
    let needs = realm.blocked_by.iter().filter_map(|need| snapshot.realm(*need));
    let stopped = needs.filter(|need| need.desired == Desired::Down && realm.phase == Phase::Waiting);
    let need = stopped.min_by_key(|need| need.info.order)?;
    let (name, need) = (&realm.info.name, &need.info.name);
    Some(Step::TakenOut(format!("{name} waits for {need}, which an operator has stopped")))
}

fn up(realm: &RealmStatus, restart: Option<RestartId>) -> Step {
    if let Some(step) = lost(realm) {
        return step;
    }
    // A realm that was up before the restart is not up after it.
    let opened = restart.is_none_or(|id| realm.restart.as_ref().is_some_and(|record| record.id >= id));
    // A pause hides the status of a realm that runs and passes.
    let covered = realm.status == Status::Paused && realm.phase == Phase::Running && realm.health.is_pass();
    let up = covered || matches!(realm.status, Status::Up | Status::Degraded | Status::Done);
    if up && opened { Step::There } else { Step::OnTheWay }
}

fn verified(realm: &RealmStatus, restart: Option<RestartId>) -> Step {
    let Some(id) = restart else { return up(realm, None) };
    if let Some(step) = lost(realm) {
        return step;
    }
    // Another attempt follows a failed one, and its verification counts as well.
    match realm.restart.as_ref().filter(|record| record.id >= id) {
        Some(record) if record.result == Some(RestartResult::Verified) => Step::There,
        Some(record) if record.id == id && record.result == Some(RestartResult::Abandoned) => {
            Step::Lost(format!("the restart of {} was cancelled: {}", realm.info.name, realm.why.message))
        }
        _ => Step::OnTheWay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_supervisor::PlanStep;

    fn plan(limits: &[Option<u64>]) -> ActionPlan {
        let steps = limits.iter().map(|limit| PlanStep {
            wave: 1,
            realm: RealmIx(0),
            action: StepAction::Start,
            limit: limit.map(Duration::from_secs),
        });
        ActionPlan {
            action: Action::Start,
            realms: vec![RealmIx(0)],
            steps: steps.collect(),
            breaks: Vec::new(),
            holds: Vec::new(),
            refusal: None,
        }
    }

    /// One realm that has been up for a while, and was never restarted.
    fn up() -> Snapshot {
        let name = heartbeat_status::RealmName::new("api").unwrap();
        let spec = heartbeat_supervisor::RealmSpec::service(name);
        let plan = heartbeat_supervisor::Plan::new(Default::default(), vec![spec]).unwrap();
        let mut supervisor = heartbeat_supervisor::Supervisor::new(plan, 1);
        let mut now = heartbeat_status::Instant::from_millis(1_000);
        supervisor.handle(now, heartbeat_supervisor::Input::Boot);
        while let Some(effect) = supervisor.poll_effect() {
            if let heartbeat_supervisor::Effect::Start { realm, run } = effect {
                supervisor.handle(
                    now,
                    heartbeat_supervisor::Input::Run {
                        realm,
                        run,
                        fact: heartbeat_status::RunFact::Started { pid: 7 },
                    },
                );
            }
        }
        now = now + Duration::from_secs(30);
        supervisor.handle_timeout(now);
        let snapshot = supervisor.snapshot(now);
        assert_eq!(snapshot.realms[0].status, Status::Up);
        snapshot
    }

    fn reached() -> Outcome {
        Outcome::Reached(Vec::new())
    }

    /// `restart api --cascade` takes web along, and a later command stops a realm.
    #[test]
    fn a_realm_that_a_later_command_stops_is_taken_out_and_a_named_one_fails_the_command() {
        use heartbeat_status::{RealmName, Why};
        let (snapshot, mut plan) = (up(), plan(&[Some(60)]));
        let mut web = (*snapshot.realms[0]).clone();
        let info = std::sync::Arc::make_mut(&mut web.info);
        (info.ix, info.order, info.name) = (RealmIx(1), 1, RealmName::new("web").unwrap());
        plan.steps.push(PlanStep { realm: RealmIx(1), ..plan.steps[0] });
        let stop = |realm: &RealmStatus, status, message: &str| RealmStatus {
            desired: Desired::Down,
            status,
            why: Why { message: message.to_owned(), ..realm.why.clone() },
            ..realm.clone()
        };
        let with = |realms: [&RealmStatus; 2]| Snapshot {
            realms: realms.map(|realm| std::sync::Arc::new(realm.clone())).into_iter().collect(),
            ..snapshot.clone()
        };
        let api = (*snapshot.realms[0]).clone();
        for (status, message) in [
            (Status::Stopping, "being stopped by root: a new version"),
            (Status::Stopped, "stopped by root: a new version"),
        ] {
            let outcome = evaluate(&with([&api, &stop(&web, status, message)]), &plan, &[], Goal::Verified);
            let words = "web was taken out of this command: stopped by root: a new version";
            assert_eq!(outcome, Outcome::Reached(vec![words.to_owned()]));
            let outcome = evaluate(&with([&stop(&api, status, message), &web]), &plan, &[], Goal::Verified);
            let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
            assert_eq!(
                why,
                format!("{}; the other realms of this command go on", words.replace("web", "api"))
            );
        }
        // What waits for a realm that was taken out is taken out with it.
        let stopped = stop(&api, Status::Stopped, "stopped by root");
        let waits = RealmStatus {
            phase: Phase::Waiting,
            status: Status::Blocked,
            blocked_by: vec![RealmIx(0)],
            ..web.clone()
        };
        let of_other = ActionPlan { realms: vec![RealmIx(2)], ..plan.clone() };
        let outcome = evaluate(&with([&stopped, &waits]), &of_other, &[], Goal::Up);
        assert!(matches!(&outcome, Outcome::Reached(out) if out.len() == 2), "{outcome:?}");
        // A stop goes the same way when a dependent is asked to run again.
        plan.steps.iter_mut().for_each(|step| step.action = StepAction::Stop);
        let down = RealmStatus { phase: Phase::Stopped, ..stop(&api, Status::Stopped, "stopped by root") };
        let outcome = evaluate(&with([&down, &web]), &plan, &[], Goal::Stopped);
        assert_eq!(outcome, Outcome::Reached(vec!["web was asked to run again meanwhile".to_owned()]));
    }

    #[test]
    fn what_was_up_before_the_restart_is_not_up_after_it() {
        let (snapshot, plan) = (up(), plan(&[Some(60)]));
        let restarts = [(RealmIx(0), RestartId(1))];
        assert_eq!(evaluate(&snapshot, &plan, &[], Goal::Up), reached());
        for goal in [Goal::Up, Goal::Verified] {
            assert!(matches!(evaluate(&snapshot, &plan, &restarts, goal), Outcome::Late(_)), "{goal}");
        }
        assert!(matches!(evaluate(&snapshot, &plan, &[], Goal::Stopped), Outcome::Failed(_)));
    }

    /// Every record that a wait may meet: of an earlier restart, of its own, and of a later attempt, with each result.
    #[test]
    fn a_restart_is_verified_by_its_own_attempt_or_a_later_one_and_by_no_earlier_one() {
        use heartbeat_status::{RestartAttempt, RestartCause};
        const WAITED_FOR: RestartId = RestartId(2);
        let results = [
            None,
            Some(RestartResult::Verified),
            Some(RestartResult::Failed),
            Some(RestartResult::Abandoned),
        ];
        let (snapshot, plan) = (up(), plan(&[Some(60)]));
        for id in 1..=3 {
            for result in results {
                let mut snapshot = snapshot.clone();
                let mut realm = (*snapshot.realms[0]).clone();
                realm.restart = Some(RestartAttempt {
                    id: RestartId(id),
                    cause: RestartCause::Requested,
                    detail: "requested".to_owned(),
                    attempt: Some(1),
                    steps: Vec::new(),
                    result,
                });
                snapshot.realms = [realm.into()].into_iter().collect();
                let outcome = evaluate(&snapshot, &plan, &[(RealmIx(0), WAITED_FOR)], Goal::Verified);
                let what = format!("restart {id}, {result:?}: {outcome:?}");
                match (id, result) {
                    (2 | 3, Some(RestartResult::Verified)) => {
                        assert_eq!(outcome, reached(), "{what}");
                    }
                    (2, Some(RestartResult::Abandoned)) => {
                        assert!(matches!(outcome, Outcome::Failed(_)), "{what}");
                    }
                    _ => assert!(matches!(outcome, Outcome::Late(_)), "{what}"),
                }
            }
        }
    }

    #[test]
    fn the_default_limit_is_what_the_steps_may_take() {
        assert_eq!(default_limit(&plan(&[Some(60), Some(30)]), Goal::Up), Duration::from_secs(90));
        assert_eq!(default_limit(&plan(&[Some(60)]), Goal::Verified), Duration::from_secs(75));
        assert_eq!(default_limit(&plan(&[Some(60), None]), Goal::Up), MAX_WAIT);
        assert_eq!(default_limit(&plan(&[Some(900)]), Goal::Up), MAX_WAIT);
        assert_eq!(default_limit(&plan(&[]), Goal::Up), DEFAULT_WAIT);
    }

    #[test]
    fn a_stop_waits_for_stopped_whatever_the_word() {
        assert_eq!(Goal::of(Action::Stop, Wait::Verified), Some(Goal::Stopped));
        assert_eq!(Goal::of(Action::Restart, Wait::Accepted), None);
        assert_eq!(Goal::of(Action::Restart, Wait::Verified), Some(Goal::Verified));
    }
}
