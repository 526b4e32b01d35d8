//! The loop's decisions about a batch, made before it acts on any of them: a function of the batch and of the phase.

use std::collections::BTreeMap;

use heartbeat_api::Commanded;
use heartbeat_config::Config;
use heartbeat_process::Notice;
use heartbeat_status::{CheckId, CheckResult, DaemonPhase, Mute, RealmIx, RunFact};
use heartbeat_supervisor::{ActionPlan, Command, Input};
use tokio::sync::oneshot;

use crate::inbox::{Batch, ReloadAnswer, Request};
use crate::storage::intent::IntentError;

/// How the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Departure {
    /// Everything is stopped.
    Stopped,
    /// Every realm keeps running.
    Left,
    /// Every realm keeps running, and another heartbeatd follows under the same pid.
    Upgrade,
}

/// A question to the core, with an answer for an operator.
#[derive(Debug)]
pub(crate) enum Question {
    Command(Command),
    /// Measure the probes of a realm, or of all of them, now.
    Refresh(Option<RealmIx>),
}

/// One action of the loop.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Gives the core an input.
    Input(Input),
    /// Asks the core, and answers once everything that follows is on record.
    Ask(Question, oneshot::Sender<Commanded>),
    /// Says what a command would do.
    Foretell(Command, oneshot::Sender<ActionPlan>),
    /// Puts a configuration in force, or says what it would change.
    Configure {
        config: Box<Config>,
        dry_run: bool,
        /// The loop reports to the service manager that the configuration was read again.
        announced: bool,
        reply: oneshot::Sender<ReloadAnswer>,
    },
    /// Returns the configuration in force without registrations.
    ShowFiles(oneshot::Sender<Box<Config>>),
    /// Releases the answers that wait for this version of the intent file.
    NoteIntent { version: u64, problem: Option<IntentError> },
    /// Reports a file that was damaged or removed.
    NoteDamage(String),
    /// Shows which realms are muted.
    ShowMuted(BTreeMap<String, Mute>),
    /// Gives the executor a notice of the process adapter.
    Notice(Notice),
    /// Gives the core a result, and history its latency.
    Result(CheckId, CheckResult),
    /// Answers the accepted requests, before another heartbeatd follows.
    Drain,
    /// Ends, with every realm running.
    Leave(Departure),
    /// Opens the listeners again after an upgrade that failed.
    Reopen,
    /// Stops every realm, in order or at once.
    Stop { at_once: bool },
}

/// The decisions about `batch`, in this order: requests of operators, notices of processes, holders of ports,
/// measurements. A heartbeatd that stops everything does not leave half of it running.
pub(crate) fn decide(batch: &mut Batch, phase: DaemonPhase) -> Vec<Decision> {
    let mut stopping = phase == DaemonPhase::Stopping;
    let Batch { requests, notices, results, port_owners } = batch;
    let mut decisions =
        Vec::with_capacity(requests.len() + notices.len() + results.len() + port_owners.len());
    for request in requests.drain(..) {
        decisions.extend(match request {
            Request::Command(command, reply) => Some(Decision::Ask(Question::Command(command), reply)),
            Request::Refresh(realm, reply) => Some(Decision::Ask(Question::Refresh(realm), reply)),
            Request::Plan(command, reply) => Some(Decision::Foretell(command, reply)),
            Request::Reload { config, dry_run, reply } => {
                Some(Decision::Configure { config, dry_run, announced: !dry_run, reply })
            }
            Request::Register { config, dry_run, reply } => {
                Some(Decision::Configure { config, dry_run, announced: false, reply })
            }
            Request::Files { reply } => Some(Decision::ShowFiles(reply)),
            Request::IntentWritten { version, problem } => Some(Decision::NoteIntent { version, problem }),
            Request::Muted(realms) => Some(Decision::ShowMuted(realms)),
            Request::OwnProblem { kind, message } => {
                Some(Decision::Input(Input::OwnProblem { kind, message }))
            }
            Request::Damage { message } => Some(Decision::NoteDamage(message)),
            Request::HandOver => (!stopping).then_some(Decision::Drain),
            Request::Leave { upgrade: true } if stopping => Some(Decision::Reopen),
            Request::Leave { upgrade: false } if stopping => None,
            Request::Leave { upgrade: true } => Some(Decision::Leave(Departure::Upgrade)),
            Request::Leave { upgrade: false } => Some(Decision::Leave(Departure::Left)),
            Request::Shutdown { now } => {
                stopping = true;
                Some(Decision::Stop { at_once: now })
            }
        });
    }
    decisions.extend(notices.drain(..).map(Decision::Notice));
    decisions.extend(port_owners.drain(..).map(|(realm, run, port_owner)| {
        Decision::Input(Input::Run { realm, run, fact: RunFact::PortHeld { port_owner } })
    }));
    decisions.extend(results.drain(..).map(|(id, result)| Decision::Result(id, result)));
    decisions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use heartbeat_process::Key;
    use heartbeat_status::{Instant, Outcome, OwnProblemKind, PhaseTimes, RunId};

    fn decided(requests: impl IntoIterator<Item = Request>, phase: DaemonPhase) -> Vec<String> {
        let mut batch = Batch { requests: requests.into_iter().collect(), ..Batch::default() };
        let decisions = decide(&mut batch, phase);
        assert!(batch.is_empty(), "everything is decided");
        decisions.iter().map(short).collect()
    }

    fn short(decision: &Decision) -> String {
        match decision {
            Decision::Configure { dry_run, announced, .. } => format!("Configure {dry_run} {announced}"),
            other => {
                let text = format!("{other:?}");
                text.split([' ', '{']).next().unwrap_or_default().to_owned()
            }
        }
    }

    #[test]
    fn requests_come_first_and_results_last() {
        let key = Key { realm: RealmIx(0), run: RunId(1) };
        let result = CheckResult {
            outcome: Outcome::Pass,
            detail: String::new(),
            started_at: Instant::ZERO,
            finished_at: Instant::ZERO,
            latency: None,
            phases: PhaseTimes::default(),
            unattributable: false,
            certificate_until: None,
        };
        let mut batch = Batch {
            requests: [Request::OwnProblem { kind: OwnProblemKind::Loop, message: None }].into(),
            notices: [Notice::Run { key, fact: RunFact::Emptied }].into(),
            results: [(CheckId(7), result)].into(),
            port_owners: [(RealmIx(0), RunId(1), None)].into(),
        };
        let decisions = decide(&mut batch, DaemonPhase::Running);
        let inputs: Vec<String> = decisions.iter().map(|decision| format!("{decision:?}")).collect();
        for (found, wanted) in
            inputs.iter().zip(["Input(OwnProblem", "fact: Emptied", "PortHeld", "Result(CheckId(7)"])
        {
            assert!(found.contains(wanted), "{inputs:#?}");
        }
        assert_eq!(inputs.len(), 4);
    }

    #[test]
    fn a_heartbeatd_that_stops_everything_does_not_leave() {
        let leave = |upgrade| Request::Leave { upgrade };
        let running = DaemonPhase::Running;
        assert_eq!(decided([leave(false)], running), ["Leave(Left)"]);
        assert_eq!(decided([Request::HandOver, leave(true)], running), ["Drain", "Leave(Upgrade)"]);
        let stop = || Request::Shutdown { now: false };
        assert_eq!(decided([stop(), leave(false)], running), ["Stop"], "within one batch, too");
        assert_eq!(decided([stop(), Request::HandOver, leave(true)], running), ["Stop", "Reopen"]);
        assert_eq!(decided([leave(true), leave(false)], DaemonPhase::Stopping), ["Reopen"]);
        assert_eq!(
            decided([leave(true), stop()], running),
            ["Leave(Upgrade)", "Stop"],
            "what comes first counts"
        );
    }

    #[test]
    fn the_service_manager_hears_of_files_that_were_read_and_of_nothing_else() {
        let config = || Box::new(sample::config("[realm.db]\nrun = \"true\"\n"));
        let reply = || oneshot::channel().0;
        let reload = |dry_run| Request::Reload { config: config(), dry_run, reply: reply() };
        let register = |dry_run| Request::Register { config: config(), dry_run, reply: reply() };
        assert_eq!(
            decided([reload(false), reload(true), register(false), register(true)], DaemonPhase::Running),
            ["Configure false true", "Configure true false", "Configure false false", "Configure true false"]
        );
    }
}
