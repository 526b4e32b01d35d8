//! What a person can type now: by the cause of the trouble, and by what heartbeatd says that a command would do.

use heartbeat_client::Client;
use heartbeat_status::{FailReason, Phase, ProbeKind, Reason, StartFailure, Status};
use heartbeat_wire::{Action, ActionDocument, ActionRequest, ProbeEntry, RealmDocument, RealmEntry};

use crate::act::planned;
use crate::exit::plain_words;
use crate::headline::status_of;
use crate::style::Style;

/// The path that a realm with nothing but a `port` is asked for.
const DEFAULT_PATH: &str = "/api/health/";

/// The command that gets a realm going again.
fn action_against(realm: &RealmEntry) -> Option<Action> {
    match status_of(realm) {
        Status::Failed | Status::Down | Status::Restarting => Some(Action::Restart),
        Status::Stopped => Some(Action::Start),
        _ => None,
    }
}

/// What that command would do: a command that would be refused is not advised. `None` where there is none, or where
/// this user may not ask.
pub(crate) async fn plan_of_way_out(client: &Client, realm: &RealmEntry) -> Option<ActionDocument> {
    let request = ActionRequest { reason: None, ..ActionRequest::default() };
    planned(client, &realm.name, action_against(realm)?, &request).await.ok()
}

/// Lines to type, or to write into the configuration.
struct Advice<'a> {
    realm: &'a RealmEntry,
    name: String,
    lines: Vec<String>,
    style: Style,
}

/// What a person can type now. `root` is the root of the trouble, `plan` that of the command which would get the realm
/// going.
pub(crate) fn advice(
    document: &RealmDocument,
    root: Option<&RealmEntry>,
    plan: Option<&ActionDocument>,
    style: Style,
) -> Vec<String> {
    let realm = &document.realm;
    let mut advice = Advice { realm, name: style.text(&realm.name), lines: Vec::new(), style };
    let status = status_of(realm);
    if let Some(port_owner) = &document.port_owner {
        let name = &advice.name;
        advice.lines.extend([
            format!(
                "ps -o pid,user,lstart,args -p {} # what holds the port: end it as it was started; {name} starts by itself then",
                port_owner.pid
            ),
            format!("verify_owner = false # in [realm.{name}], if it serves for {name}: a proxy, a container runtime"),
        ]);
    } else if let Some(suspect) = realm.suspects.first() {
        advice.command("why", suspect, "the suspected root cause");
    } else if realm.phase.is(Phase::External) && !status.is_ok() && status != Status::Blocked {
        advice.of_external(plan);
    } else {
        advice.of_status(status, root, plan);
    }
    advice.of_missing_path();
    advice.lines
}

impl Advice<'_> {
    /// Its server answers, and has nothing at the path that a `port` alone stands for.
    fn of_missing_path(&mut self) {
        let is_missing = |probe: &&ProbeEntry| {
            let detail = probe.detail.as_deref().unwrap_or_default();
            probe.kind.is(ProbeKind::Http)
                && detail.starts_with("404")
                && probe.target.ends_with(DEFAULT_PATH)
        };
        if let Some(probe) = self.realm.probes.iter().find(is_missing) {
            let base = self.style.text(probe.target.trim_end_matches(DEFAULT_PATH));
            let line =
                format!("health = \"{base}/\" # in [realm.{}], with the path where its health is", self.name);
            self.lines.insert(0, line);
        }
    }

    fn command(&mut self, command: &str, name: &str, does: &str) {
        self.lines.push(format!("heartbeat-cli {command} {} # {does}", self.style.text(name)));
    }

    fn own(&mut self, command: &str, does: &str) {
        self.lines.push(format!("heartbeat-cli {command} {} # {does}", self.name));
    }

    fn stop(&mut self) {
        if self.realm.needed_by.is_empty() {
            self.own("stop", "stop trying");
        } else {
            self.own("stop --leave-dependents", "stop trying, and leave what needs it as it is");
        }
    }

    fn of_status(&mut self, status: Status, root: Option<&RealmEntry>, plan: Option<&ActionDocument>) {
        match status {
            // Also one that still passes beside a broken need.
            Status::Blocked | Status::Up | Status::Degraded => self.of_root(status, root),
            // Its next process is there already, or the former one still ends.
            Status::Restarting if self.realm.phase.known().is_some_and(Phase::may_have_process) => {
                self.of_cause();
                self.own("wait", "come back when it is up");
                self.stop();
            }
            Status::Failed | Status::Down | Status::Restarting => {
                self.of_cause();
                let does = if status == Status::Failed {
                    "try again once the cause is gone"
                } else {
                    "try now instead of later"
                };
                self.way_out(Action::Restart, does, plan);
                if status != Status::Failed {
                    self.stop();
                }
            }
            Status::Stopping => self.own("wait --for stopped", "come back when it is gone"),
            Status::Stopped => {
                let does = if self.realm.reason.is(Reason::Manual) {
                    "it is started on request only"
                } else {
                    "run it again"
                };
                self.way_out(Action::Start, does, plan);
            }
            Status::Unknown if self.realm.phase.is(Phase::Unverified) => {
                self.lines.push(format!(
                    "{} # what was found: {} starts by itself once that has ended",
                    self.ps("pid,user,lstart,args"),
                    self.name
                ));
                self.own("reset", "it is nothing of this realm: go on without it");
            }
            Status::Unknown => self.own("why --refresh", "ask for fresh probes"),
            Status::Starting if self.realm.reason.is(Reason::StartFailed) => self.of_cause(),
            Status::Starting => self.own("wait", "come back when it is up"),
            Status::Paused => self.own("resume", "end the pause: heartbeatd acts on it again"),
            Status::Done => {}
        }
    }

    /// The root is what has to be repaired; one that an operator has stopped has to be started.
    fn of_root(&mut self, status: Status, root: Option<&RealmEntry>) {
        let Some(root) = root else { return };
        if status_of(root) == Status::Stopped {
            let why = self.style.text(&root.message);
            self.command("start", &root.name, &why);
        } else if status == Status::Blocked {
            self.command("why", &root.name, "the root cause");
        } else {
            self.command("why", &root.name, "what is wrong there");
        }
    }

    /// What to look at or change, by the cause.
    fn of_cause(&mut self) {
        let name = self.name.clone();
        match self.realm.reason.known() {
            Some(Reason::StartFailed) => self.of_failed_start(),
            Some(Reason::OutOfMemory) => self.lines.push(format!(
                "limits.memory = \"...\" # in [realm.{name}], if it needs more; then heartbeat-cli reload"
            )),
            Some(Reason::StartTimedOut) => {
                self.own("logs", "what it did meanwhile");
                if self.realm.port.is_some() && self.is_refused() {
                    self.lines.push(format!("port = ... # in [realm.{name}], if it listens on another port: `why` says on which; then heartbeat-cli reload"));
                }
                self.lines.push(format!("start.timeout = \"...\" # in [realm.{name}], if it needs longer; then heartbeat-cli reload"));
            }
            Some(Reason::Stuck) => {
                let ps = self.ps("pid,stat,wchan,args");
                self.lines.push(format!("{ps} # what it hangs in; {name} can be started once it is gone"));
            }
            Some(Reason::ProbeFailed) => self.own("why --refresh", "ask for fresh probes"),
            Some(
                Reason::Exited | Reason::BudgetSpent | Reason::Backoff | Reason::Cooldown | Reason::Flapping,
            ) => {
                self.own("logs", "what it wrote before it ended");
            }
            _ => {}
        }
    }

    /// Shows the process of the realm; all of them where only the message names it.
    fn ps(&self, columns: &str) -> String {
        let pid = self.realm.process.as_ref().and_then(|process| process.pid);
        pid.map_or_else(|| format!("ps -e -o {columns}"), |pid| format!("ps -o {columns} -p {pid}"))
    }

    /// Nothing listens where a probe connects to.
    fn is_refused(&self) -> bool {
        let refused = FailReason::Refused.to_string();
        let reasons = |probe: &ProbeEntry| {
            let last = probe.last.as_ref().and_then(|last| last.reason.clone());
            [probe.reason.clone(), last].contains(&Some(refused.clone()))
        };
        self.realm.probes.iter().any(reasons)
    }

    fn of_failed_start(&mut self) {
        let name = self.name.clone();
        match self.realm.start_failure.as_ref().and_then(|failure| failure.known()) {
            Some(StartFailure::ProgramUnusable) => {
                self.lines.push(format!(
                    "put in place what is missing: heartbeatd looks every second and starts {name} by itself"
                ));
            }
            Some(StartFailure::PortTaken) => {
                let port = self.realm.port.map_or_else(String::new, |port| format!(" 'sport = :{port}'"));
                self.lines.push(format!(
                    "ss -ltnp{port} # who listens there; {name} starts by itself once the port is free"
                ));
            }
            Some(StartFailure::HostExhausted) => {
                self.lines.push("heartbeat-cli why heartbeatd # what the machine has no more of".to_owned());
            }
            _ => {}
        }
    }

    /// The command that gets it going, if heartbeatd would carry it out; else what it lacks.
    fn way_out(&mut self, action: Action, does: &str, plan: Option<&ActionDocument>) {
        let plan_of_it = plan.filter(|plan| plan.action.is(action));
        match plan_of_it.and_then(|plan| plan.refusal.as_deref()) {
            None => self.own(&action.to_string(), does),
            Some("held") => {
                let holds = plan_of_it.map(|plan| plan.holds.as_slice()).unwrap_or_default();
                let words: Vec<String> = holds.iter().map(|hold| self.style.text(&hold.sentence())).collect();
                let them = if holds.len() == 1 { "it" } else { "them" };
                self.own(
                    &format!("{action} --lift-holds"),
                    &format!("starts {them} as well: {}", words.join("; ")),
                );
                for hold in holds {
                    self.command("start", &hold.realm, "ends that stop alone");
                }
            }
            Some("would-break") => {
                let breaks = plan_of_it.map(|plan| plan.breaks.as_slice()).unwrap_or_default();
                let names: Vec<String> = breaks.iter().map(|name| self.style.text(name)).collect();
                let names = names.join(", ");
                self.own(&format!("{action} --cascade"), &format!("{does}; {names} with it"));
                self.own(&format!("{action} --leave-dependents"), &format!("{does}; {names} as it is"));
            }
            Some(_) => {
                let why = plan_of_it.and_then(|plan| plan.message.as_deref()).unwrap_or_default();
                let why = why.strip_prefix("would be refused: ").unwrap_or(why);
                if !self.realm.reason.is(Reason::Stuck) && !why.is_empty() {
                    self.lines.push(format!("{action} is refused: {}", self.style.text(&plain_words(why))));
                }
            }
        }
    }

    /// heartbeatd does not run it, so the repair is made where it lives.
    fn of_external(&mut self, plan: Option<&ActionDocument>) {
        self.own("why --refresh", "ask for fresh probes");
        if plan.is_some_and(|plan| plan.refusal.as_deref() != Some("external")) {
            self.way_out(Action::Restart, "run its own restart command now", plan);
        }
        self.lines.push(format!(
            "heartbeat-cli pause {} --reason TEXT # no alerts while it is repaired",
            self.name
        ));
        if self.realm.registered {
            self.own("unregister", "do not watch it any more");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn plan(action: Action, refusal: Option<&str>, more: &str) -> ActionDocument {
        let refusal = refusal.map_or_else(String::new, |refusal| format!(r#","refusal":"{refusal}""#));
        let text = format!(
            r#"{{"schema":"heartbeat.action/1","action":"{action}","realms":["api"],"dry_run":true,"steps":[]{refusal}{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn of(change: impl FnOnce(&mut RealmEntry), plan: Option<&ActionDocument>) -> Vec<String> {
        let mut document = sample::realm();
        document.realm.blocked_by.clear();
        change(&mut document.realm);
        advice(&document, None, plan, Style::default())
    }

    fn failed(reason: Reason, failure: Option<StartFailure>) -> Vec<String> {
        of(
            |realm| {
                realm.status = Status::Failed.into();
                realm.reason = reason.into();
                realm.start_failure = failure.map(Into::into);
            },
            None,
        )
    }

    #[test]
    fn a_start_in_which_nothing_listens_on_the_port_leads_to_the_port() {
        let advised = |refused: bool| {
            let change = |realm: &mut RealmEntry| {
                realm.status = Status::Failed.into();
                realm.reason = Reason::StartTimedOut.into();
                realm.port = Some(8001);
                realm.probes[0].reason = refused.then(|| FailReason::Refused.to_string());
            };
            of(change, None).iter().any(|line| line.starts_with("port = ... # in [realm.api]"))
        };
        assert_eq!([advised(true), advised(false)], [true, false]);
    }

    #[test]
    fn what_cannot_be_verified_leads_to_a_line_that_can_be_typed() {
        let look = |pid: Option<u32>| {
            let change = |realm: &mut RealmEntry| {
                realm.status = Status::Unknown.into();
                realm.phase = Phase::Unverified.into();
                realm.process.as_mut().unwrap().pid = pid;
            };
            of(change, None).swap_remove(0)
        };
        assert!(look(Some(5_372)).starts_with("ps -o pid,user,lstart,args -p 5372 # what was found"));
        assert!(look(None).starts_with("ps -e -o pid,user,lstart,args # what was found"));
    }

    #[test]
    fn each_cause_has_its_own_advice() {
        let mut seen = std::collections::BTreeSet::new();
        for (reason, failure, word) in [
            (Reason::StartFailed, Some(StartFailure::ProgramUnusable), "starts api by itself"),
            (Reason::StartFailed, Some(StartFailure::PortTaken), "'sport = :8001'"),
            (Reason::StartFailed, Some(StartFailure::HostExhausted), "why heartbeatd"),
            (Reason::OutOfMemory, None, "limits.memory"),
            (Reason::StartTimedOut, None, "start.timeout"),
            (Reason::Stuck, None, "-p 4120 # what it hangs in"),
            (Reason::ProbeFailed, None, "why --refresh api"),
            (Reason::BudgetSpent, None, "logs api"),
        ] {
            let lines = failed(reason, failure);
            let first = lines.iter().find(|line| line.contains(word));
            assert!(first.is_some(), "{reason} {failure:?}: {lines:?}");
            assert!(
                seen.insert(lines.clone()),
                "{reason} {failure:?} has the advice of another cause: {lines:?}"
            );
            assert!(lines.iter().any(|line| line.contains("restart api #")), "{lines:?}");
        }
    }

    #[test]
    fn no_command_is_advised_that_would_be_refused() {
        let hold = r#","holds":[{"realm":"redis","by":"root","ago_s":125.0,"reason":"disk repair"}]"#;
        let stopped = |realm: &mut RealmEntry| realm.status = Status::Stopped.into();
        assert_eq!(
            of(stopped, Some(&plan(Action::Start, Some("held"), hold))),
            [
                "heartbeat-cli start --lift-holds api # starts it as well: redis was stopped by an operator (root) 2m ago: disk repair",
                "heartbeat-cli start redis # ends that stop alone",
            ]
        );
        let down = |realm: &mut RealmEntry| realm.status = Status::Down.into();
        let lines = of(down, Some(&plan(Action::Restart, Some("would-break"), r#","breaks":["web"]"#)));
        assert!(lines.contains(
            &"heartbeat-cli restart --cascade api # try now instead of later; web with it".to_owned()
        ));
        assert!(!lines.iter().any(|line| line.contains("restart api")), "{lines:?}");
        let removed = plan(
            Action::Start,
            Some("removed"),
            r#","message":"would be refused: it is gone from the file""#,
        );
        assert_eq!(of(stopped, Some(&removed)), ["start is refused: it is gone from the file"]);
        assert_eq!(
            of(stopped, Some(&plan(Action::Start, None, ""))),
            ["heartbeat-cli start api # run it again"]
        );
    }

    #[test]
    fn a_root_that_an_operator_has_stopped_is_started_and_not_looked_into() {
        let mut root = sample::outage().realms.into_iter().find(|realm| realm.name == "postgres").unwrap();
        let document = sample::realm();
        let lines = |root: &RealmEntry| advice(&document, Some(root), None, Style::default());
        assert_eq!(lines(&root), ["heartbeat-cli why postgres # the root cause"]);
        root.status = Status::Stopped.into();
        root.message = "stopped by root: disk repair".to_owned();
        assert_eq!(lines(&root), ["heartbeat-cli start postgres # stopped by root: disk repair"]);
    }
}
