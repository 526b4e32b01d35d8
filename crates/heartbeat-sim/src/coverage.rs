//! How often each pair of phase and input was hit.

use std::fmt;

use heartbeat_status::{Phase, RunFact};
use heartbeat_supervisor::Input;
use heartbeat_wire::Action;

/// The columns of the table: every input, commands and shutdown apart, and the passing of time.
pub const INPUTS: &[&str] = &[
    "Boot",
    "Checked",
    "Started",
    "StartFailed",
    "Exited",
    "Emptied",
    "Halted",
    "HookDone",
    "Start",
    "Stop",
    "Restart",
    "Refresh",
    "Suspended",
    "Shutdown",
    "ShutdownNow",
    "timeout",
    "PortHeld",
    "Lag",
    "Pause",
    "Resume",
    "Reset",
    "Reload",
    "MainChanged",
    "Signal",
    "Unbounded",
    "MemoryUsed",
    "Notify",
    "OwnProblem",
    "ProgramChecked",
    "LogInMemory",
    "Forked",
];

/// The column of a reload, which is no input of the core but a call.
pub(crate) const RELOAD: usize = 21;

/// The column of an input; `None` is the passing of time.
#[must_use]
pub fn column(input: Option<&Input>) -> usize {
    match input {
        Some(Input::Boot) => 0,
        Some(Input::Checked { .. }) => 1,
        Some(Input::Run { fact: RunFact::Started { .. }, .. }) => 2,
        Some(Input::Run { fact: RunFact::StartFailed { .. }, .. }) => 3,
        Some(Input::Run { fact: RunFact::Exited { .. }, .. }) => 4,
        Some(Input::Run { fact: RunFact::Emptied, .. }) => 5,
        Some(Input::Run { fact: RunFact::StoppedBySignal { .. }, .. }) => 6,
        Some(Input::Run { fact: RunFact::HookDone { .. }, .. }) => 7,
        Some(Input::Command { command, .. }) => match command.action {
            Action::Start => 8,
            Action::Stop => 9,
            Action::Restart => 10,
            Action::Pause => 18,
            Action::Resume => 19,
            Action::Reset => 20,
            Action::Signal => 23,
        },
        Some(Input::Refresh { .. }) => 11,
        Some(Input::Suspended { .. }) => 12,
        Some(Input::Shutdown { now: false }) => 13,
        Some(Input::Shutdown { now: true }) => 14,
        None => 15,
        Some(Input::Run { fact: RunFact::PortHeld { .. }, .. }) => 16,
        Some(Input::Lag { .. }) => 17,
        Some(Input::Run { fact: RunFact::MainChanged { .. }, .. }) => 22,
        Some(Input::Run { fact: RunFact::Unbounded { .. }, .. }) => 24,
        Some(Input::Run { fact: RunFact::MemoryUsed { .. }, .. }) => 25,
        Some(Input::Run { fact: RunFact::Said { .. }, .. }) => 26,
        Some(Input::OwnProblem { .. }) => 27,
        Some(Input::Run { fact: RunFact::ProgramChecked { .. }, .. }) => 28,
        Some(Input::Run { fact: RunFact::LogInMemory, .. }) => 29,
        Some(Input::Run { fact: RunFact::Forked, .. }) => 30,
    }
}

/// Counts by phase and input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    hits: Vec<Vec<u64>>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { hits: vec![vec![0; INPUTS.len()]; Phase::ALL.len()] }
    }
}

fn row(phase: Phase) -> usize {
    Phase::ALL.iter().position(|known| *known == phase).unwrap_or(0)
}

impl Coverage {
    /// Counts one input that reached a realm in `phase`.
    pub(crate) fn hit(&mut self, phase: Phase, column: usize) {
        self.hits[row(phase)][column] += 1;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.hits.iter_mut().flatten().zip(other.hits.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// Pairs that were never hit, as `phase x input`.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (phase, row) in Phase::ALL.iter().zip(&self.hits) {
            for (input, hits) in INPUTS.iter().zip(row) {
                // What is not proven was never measured by this heartbeatd, so no late answer is on its way.
                let impossible = *phase == Phase::Unverified && *input == "Checked";
                if *hits == 0 && !impossible {
                    missing.push(format!("{phase} x {input}"));
                }
            }
        }
        missing
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10}", "")?;
        for input in INPUTS {
            write!(f, " {input:>11}")?;
        }
        writeln!(f)?;
        for (phase, row) in Phase::ALL.iter().zip(&self.hits) {
            write!(f, "{phase:<10}")?;
            for hits in row {
                write!(f, " {hits:>11}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
