//! Replacing heartbeatd under the same pid: the other program first has to report that it can read the state.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_api::UpgradeError;
use heartbeat_process::{CommandResult, LaunchSpec, LogTarget, trust_program};
use heartbeat_status::sanitise_line;

use crate::inbox::{Inbox, Request};
use crate::realms::commands::Commands;

/// The other program has this long to report.
const CHECK_LIMIT: Duration = Duration::from_secs(30);
/// A heartbeatd, and no other program, answers `check-state` with these words.
const CAN_PROCEED: &str = " can go on: ";

/// The program to run, as it was when this one was started: the file at that path may be another one by now.
#[derive(Clone, Debug)]
pub struct Program {
    /// Path of the program.
    pub path: PathBuf,
    /// Arguments, the program's own name first.
    pub args: Vec<OsString>,
}

impl Program {
    /// This very program.
    ///
    /// # Errors
    /// Its path is not known.
    pub fn current() -> std::io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, args: std::env::args_os().collect() })
    }

    /// The arguments that make the program report whether it can continue.
    fn check(&self) -> Vec<OsString> {
        let rest = self.args.iter().skip(1).filter(|arg| *arg != "run").cloned();
        std::iter::once(self.path.clone().into_os_string())
            .chain(rest)
            .chain(["check-state".into()])
            .collect()
    }
}

/// Asks the other program, and then makes this heartbeatd leave.
#[derive(Debug)]
pub(crate) struct Upgrader {
    program: Option<Program>,
    commands: Arc<Commands>,
    inbox: Arc<Inbox>,
}

/// The answer of a heartbeatd that can continue with the state on disk.
#[must_use]
pub fn can_proceed(records: usize) -> String {
    format!("{CAN_PROCEED}{records} records")
}

fn is_heartbeatd(line: &str) -> bool {
    line.starts_with("heartbeatd ") && line.contains(CAN_PROCEED)
}

impl Upgrader {
    /// `None`: this heartbeatd was not started from a configuration file, and cannot be started again.
    pub(crate) fn new(program: Option<Program>, commands: Arc<Commands>, inbox: Arc<Inbox>) -> Self {
        Self { program, commands, inbox }
    }

    /// Ends this heartbeatd and leaves every realm running.
    pub(crate) fn leave(&self) {
        self.inbox.request(Request::Leave { upgrade: false });
    }

    /// Hands over to the program at the path from which this one was started. A refusal changes nothing.
    pub(crate) async fn upgrade(&self) -> Result<(), UpgradeError> {
        let Some(program) = &self.program else {
            return Err(UpgradeError::NoProgram);
        };
        if let Err(error) = trust_program(&program.path) {
            let help = error.help().map_or_else(String::new, |help| format!("; type: {help}"));
            return Err(UpgradeError::Untrusted { why: format!("{error}{help}") });
        }
        let spec = LaunchSpec {
            argv: program.check(),
            env: std::env::vars_os().collect(),
            dir: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            log: LogTarget::Capture,
            ..LaunchSpec::default()
        };
        let name = program.path.display().to_string();
        let Some((result, output)) = self.commands.run(&spec, CHECK_LIMIT).await else {
            return Err(UpgradeError::Ending);
        };
        let said = String::from_utf8_lossy(&output);
        let said: Vec<String> = said.lines().map(sanitise_line).filter(|line| !line.is_empty()).collect();
        match result {
            CommandResult::Exited(exit) if exit.is_zero() && !said.iter().any(|line| is_heartbeatd(line)) => {
                Err(UpgradeError::NotHeartbeatd { program: name })
            }
            CommandResult::Exited(exit) if exit.is_zero() => {
                tracing::info!(program = name, "can continue: handing over");
                self.inbox.request(Request::HandOver);
                Ok(())
            }
            CommandResult::Exited(exit) => {
                Err(UpgradeError::CannotContinue { program: name, exit, said: said.join("; ") })
            }
            CommandResult::TimedOut => Err(UpgradeError::Silent { program: name, limit: CHECK_LIMIT }),
            CommandResult::StartFailed(error) => Err(UpgradeError::NotStarted { why: error.message }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_heartbeatd_is_taken_for_one() {
        assert!(is_heartbeatd(&format!("heartbeatd 0.2.0{}", can_proceed(7))));
        for other in ["", "ok", "can go on: 7 records", "nginx 1.2 can go on: 7 records", "heartbeatd 0.2.0"]
        {
            assert!(!is_heartbeatd(other), "{other}");
        }
    }
}
