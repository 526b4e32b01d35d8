//! Events in one word and one line: what timelines, event streams and logs show.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::quantity::clock_span;
use crate::{EventKind, FailReason, IncidentStep, Outcome, RealmName, RestartResult, Signal, Status};

closed_list! {
    /// What happened, in one word.
    pub enum What ("event kind") {
        /// The status word changed.
        StatusChanged = "StatusChanged",
        /// A probe began to fail, or fails for another reason.
        ProbeFailed = "ProbeFailed",
        /// A probe passes (again).
        ProbePassed = "ProbePassed",
        /// A probe could not be measured.
        ProbeInconclusive = "ProbeInconclusive",
        /// A process was started.
        Started = "Started",
        /// A realm reported a new state.
        Said = "Said",
        /// A process of an earlier heartbeatd was adopted.
        Adopted = "Adopted",
        /// A process could not be started.
        StartFailed = "StartFailed",
        /// A process ended.
        Exited = "Exited",
        /// A signal was sent to a realm.
        Signalled = "Signalled",
        /// A restart began.
        RestartOpened = "RestartOpened",
        /// A restart for health waits.
        RestartHeld = "RestartHeld",
        /// A realm's own restart command has begun, or has ended.
        RestartCommand = "RestartCommand",
        /// A hook of a realm failed; the realm goes on without it.
        HookFailed = "HookFailed",
        /// The host cannot enforce some limits of a realm.
        Unbounded = "Unbounded",
        /// A realm writes into memory, since its log cannot be opened.
        LogInMemory = "LogInMemory",
        /// A restart was verified: the realm has recovered.
        RestartVerified = "RestartVerified",
        /// A restart failed; another attempt may follow.
        RestartFailed = "RestartFailed",
        /// A restart was cancelled by a newer command or decision.
        RestartAbandoned = "RestartAbandoned",
        /// The restart budget is used up: a person is needed.
        BudgetSpent = "BudgetSpent",
        /// The budget of an objective is used faster than the objective allows.
        ObjectiveBurning = "ObjectiveBurning",
        /// The budget of an objective is no longer used too fast.
        ObjectiveCalm = "ObjectiveCalm",
        /// A cooldown begins although the budget is not used up.
        CooldownBegan = "CooldownBegan",
        /// An operator's command took effect.
        Commanded = "Commanded",
        /// An operator paused a realm.
        Paused = "Paused",
        /// A pause ended.
        Resumed = "Resumed",
        /// Another process listens on a realm's port.
        PortTaken = "PortTaken",
        /// The other process has left a realm's port.
        PortFreed = "PortFreed",
        /// A realm changes too often to be called up or down.
        FlappingStarted = "FlappingStarted",
        /// A realm no longer flaps.
        FlappingEnded = "FlappingEnded",
        /// Too many realms became unhealthy at once: restarts for health are held.
        FuseTripped = "FuseTripped",
        /// Restarts for health are no longer held.
        FuseReleased = "FuseReleased",
        /// An incident was opened.
        IncidentOpened = "IncidentOpened",
        /// An incident has another root, or affects more realms.
        IncidentUpdated = "IncidentUpdated",
        /// An incident needs a person.
        IncidentFailed = "IncidentFailed",
        /// An incident is over.
        IncidentResolved = "IncidentResolved",
        /// A configuration took effect.
        Reloaded = "Reloaded",
        /// The boot is over: no start is under way any more.
        Booted = "Booted",
        /// The stop of everything began.
        ShutdownStarted = "ShutdownStarted",
        /// Nothing is left running.
        ShutdownFinished = "ShutdownFinished",
    }
}

/// Realms that the message about the end of the boot names; it counts the rest.
const MAX_NAMES: usize = 8;

/// The end of a boot, for a person: how many realms went on, and which are not up.
fn after_boot(adopted: u32, missing: &[(RealmName, Status)]) -> String {
    let went_on = match adopted {
        0 => String::new(),
        1 => "1 realm went on without a break; ".to_string(),
        some => format!("{some} realms went on without a break; "),
    };
    let mut names: Vec<String> =
        missing.iter().take(MAX_NAMES).map(|(name, status)| format!("{name} is {status}")).collect();
    let more = missing.len().saturating_sub(MAX_NAMES);
    if more > 0 {
        names.push(format!("{more} more are not up"));
    }
    match names.as_slice() {
        [] => format!("{went_on}everything that starts by itself is up"),
        names => format!("{went_on}the boot is over, but {}", names.join(", ")),
    }
}

/// `one trial in 5m00s`
fn next_trial(what: &str, after: Option<Duration>) -> String {
    after.map_or_else(
        || "nothing more happens by itself".to_string(),
        |after| format!("{what} in {}", clock_span(after)),
    )
}

impl EventKind {
    /// The event as a word and a line for a person; `None` for an event that only explains the next one: phases,
    /// health, the CONT after every stop signal, ignored inputs.
    #[must_use]
    pub fn fact(&self) -> Option<(What, String)> {
        Some(match self {
            Self::StatusChanged { from, to, message, .. } => {
                (What::StatusChanged, format!("{from} -> {to}: {message}"))
            }
            Self::ProbeChanged { probe, outcome, detail, progress } => {
                let (what, verb) = match outcome {
                    Outcome::Pass => (What::ProbePassed, "passes"),
                    Outcome::Degraded(_) => (What::ProbePassed, "passes with a remark"),
                    Outcome::Fail { .. } => (What::ProbeFailed, "fails"),
                    Outcome::Inconclusive(_) => (What::ProbeInconclusive, "could not be measured"),
                };
                let words = match outcome.reason() {
                    Some(reason) if detail.is_empty() => reason.words(),
                    _ => detail,
                };
                let words = if words.is_empty() { String::new() } else { format!(": {words}") };
                // A failure before the first verdict moves no counter: there is nothing to count towards. The end of a
                // process is a verdict by itself.
                let is_end = matches!(outcome, Outcome::Fail { reason: FailReason::ProcessExited, .. });
                let counted = if progress.count == 0 || is_end {
                    String::new()
                } else {
                    format!(" ({} of {})", progress.count, progress.goal)
                };
                (what, format!("{probe} {verb}{words}{counted}"))
            }
            Self::ProbeStale { probe, stale: true } => {
                (What::ProbeInconclusive, format!("{probe} has had no conclusive measurement for too long"))
            }
            Self::Adopted { run, pid } => {
                (What::Adopted, format!("pid {pid}, generation {}", run.generation()))
            }
            Self::RunStarted { run, pid } => {
                (What::Started, format!("pid {pid}, generation {}", run.generation()))
            }
            Self::Forked { run } => (
                What::Exited,
                format!(
                    "the program of generation {}; its pidfile has to name its daemon now",
                    run.generation()
                ),
            ),
            Self::MainChanged { run, pid } => (
                What::Started,
                format!("pid {pid} is the main process of generation {} now", run.generation()),
            ),
            Self::Said { state, status } if status.is_empty() => {
                (What::Said, format!("says that it is {state}"))
            }
            Self::Said { state, status } => (What::Said, format!("says that it is {state}: {status}")),
            Self::StartFailed { error, .. } => (What::StartFailed, error.clone()),
            Self::RunExited { exit, expected, .. } => {
                let words =
                    if *expected { format!("stopped by heartbeatd: {exit}") } else { exit.to_string() };
                (What::Exited, words)
            }
            Self::Signalled { signal, tree, kill_in, .. } if *signal != Signal::CONT => {
                let whom = if *tree { "whole process tree" } else { "main process" };
                let kill = kill_in.map_or_else(String::new, |kill_in| {
                    format!("; SIGKILL follows in {} if it has not ended", clock_span(kill_in))
                });
                (What::Signalled, format!("SIG{signal} to its {whom}{kill}"))
            }
            Self::HookFailed { hook, failure } => (What::HookFailed, format!("{hook} failed: {failure}")),
            Self::Unbounded { limits } if limits.is_empty() => {
                (What::Unbounded, "all of its limits are kept now".to_string())
            }
            Self::Unbounded { limits } => {
                let watched = if limits.contains("memory") { "; memory is looked at every 5 s" } else { "" };
                (
                    What::Unbounded,
                    format!("no controller for {limits} on this host: nobody bounds that{watched}"),
                )
            }
            Self::LogInMemory => {
                (What::LogInMemory, "its log cannot be opened: its output goes to memory".to_string())
            }
            Self::RestartHeld { why: Some(why) } => (What::RestartHeld, why.clone()),
            Self::RestartCommand { ended: false, .. } => {
                (What::RestartCommand, "its own restart command runs".to_string())
            }
            Self::RestartCommand { failure: None, .. } => {
                (What::RestartCommand, "its own restart command succeeded".to_string())
            }
            Self::RestartCommand { failure: Some(failure), .. } => {
                (What::RestartCommand, format!("its own restart command failed: {failure}"))
            }
            Self::RestartOpened { detail, attempt, .. } => {
                let attempt = attempt.map_or_else(String::new, |attempt| format!(", {attempt}"));
                (What::RestartOpened, format!("{detail}{attempt}"))
            }
            Self::RestartClosed { attempt, result, took_ms, .. } => {
                let took = format!("{}.{} s", took_ms / 1_000, took_ms % 1_000 / 100);
                match result {
                    RestartResult::Verified => {
                        let since = if attempt.is_some() { "the failure was detected" } else { "it began" };
                        (What::RestartVerified, format!("healthy again, {took} after {since}"))
                    }
                    RestartResult::Failed => {
                        let which = attempt.map_or_else(|| "it".to_string(), |attempt| format!("{attempt}"));
                        (What::RestartFailed, format!("{which} failed after {took}"))
                    }
                    RestartResult::Abandoned => (What::RestartAbandoned, format!("cancelled after {took}")),
                }
            }
            Self::BudgetSpent { burst, window, retry_in } => {
                let (window, next) = (clock_span(*window), next_trial("one trial", *retry_in));
                (What::BudgetSpent, format!("{burst} restarts in {window} did not help; {next}"))
            }
            Self::ObjectiveChanged { burning, message } => {
                (if *burning { What::ObjectiveBurning } else { What::ObjectiveCalm }, message.clone())
            }
            Self::CooldownBegan { why, retry_in } => {
                (What::CooldownBegan, format!("{why}; {}", next_trial("next trial", *retry_in)))
            }
            Self::Commanded { action, reason } => {
                let reason = reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
                (What::Commanded, format!("{action}{reason}"))
            }
            Self::Paused { reason, .. } => (What::Paused, reason.clone()),
            Self::Resumed { expired: true } => (What::Resumed, "the pause is over".to_string()),
            Self::Resumed { expired: false } => (What::Resumed, "by an operator".to_string()),
            Self::FlappingChanged { flapping: true, percent } => {
                (What::FlappingStarted, format!("{percent} % of its last results were changes"))
            }
            Self::FlappingChanged { flapping: false, percent } => {
                (What::FlappingEnded, format!("{percent} % of its last results were changes"))
            }
            Self::PortHeld { port_owner: Some(port_owner) } => (What::PortTaken, port_owner.clone()),
            Self::PortHeld { port_owner: None } => {
                (What::PortFreed, "no stranger listens on its port any more".to_string())
            }
            Self::FuseTripped { message } => (What::FuseTripped, message.clone()),
            Self::FuseReleased => (What::FuseReleased, "restarts for health are made again".to_string()),
            Self::Incident { step, incident, note } => {
                let what = match step {
                    IncidentStep::Opened => What::IncidentOpened,
                    IncidentStep::Updated => What::IncidentUpdated,
                    IncidentStep::Failed => What::IncidentFailed,
                    IncidentStep::Resolved => What::IncidentResolved,
                };
                (what, note.clone().unwrap_or_else(|| incident.message.clone()))
            }
            Self::Reloaded { summary } => (What::Reloaded, summary.clone()),
            Self::Booted { adopted, missing } => (What::Booted, after_boot(*adopted, missing)),
            Self::ShutdownStarted => (What::ShutdownStarted, "everything, dependents first".to_string()),
            Self::ShutdownFinished { left: 0 } => {
                (What::ShutdownFinished, "nothing is left running".to_string())
            }
            Self::ShutdownFinished { left } => {
                (What::ShutdownFinished, format!("{left} realms could not be ended by SIGKILL"))
            }
            Self::PhaseChanged { .. }
            | Self::ProbeReset { .. }
            | Self::ProbeStale { stale: false, .. }
            | Self::CooldownOver
            | Self::HealthChanged { .. }
            | Self::RestartHeld { why: None }
            | Self::NeedSuspected { .. }
            | Self::HealthRestartDue { .. }
            | Self::Signalled { .. }
            | Self::Ignored { .. } => return None,
        })
    }
}
