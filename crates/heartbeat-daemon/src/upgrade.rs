//! Another heartbeatd under the same pid: first it has to say that it can read what this one has written.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_process::{CommandResult, LaunchSpec, LogTarget};
use heartbeat_status::sanitise_line;

use crate::commands::Commands;
use crate::inbox::{Inbox, Request};

/// The other one has this long to say whether it can.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// What is to be run, as it was when this one was started: a file of that name may be another one by now.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it lies.
    pub path: PathBuf,
    /// Its arguments, its own name first.
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

    /// The arguments with which it says whether it can go on.
    fn check(&self) -> Vec<OsString> {
        let rest = self.args.iter().skip(1).filter(|arg| *arg != "run").cloned();
        std::iter::once(self.path.clone().into_os_string())
            .chain(rest)
            .chain(["check-state".into()])
            .collect()
    }
}

/// Asks the other one, and then has this one leave.
#[derive(Debug)]
pub(crate) struct Upgrader {
    program: Option<Program>,
    commands: Arc<Commands>,
    inbox: Arc<Inbox>,
}

impl Upgrader {
    /// `None`: what runs here was not started from a file of configuration, and cannot be started again.
    pub(crate) fn new(program: Option<Program>, commands: Arc<Commands>, inbox: Arc<Inbox>) -> Self {
        Self { program, commands, inbox }
    }

    /// Ends this heartbeatd and leaves every realm running.
    pub(crate) fn leave(&self) {
        self.inbox.request(Request::Leave { upgrade: false });
    }

    /// Hands over to the program at the path this one was started from. Nothing has changed when that is refused.
    pub(crate) async fn upgrade(&self) -> Result<(), String> {
        let Some(program) = &self.program else {
            return Err(
                "this heartbeatd was not started from a configuration file, and cannot be started again"
                    .to_owned(),
            );
        };
        let spec = LaunchSpec {
            argv: program.check(),
            env: std::env::vars_os().collect(),
            dir: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            log: LogTarget::Capture,
            ..LaunchSpec::default()
        };
        let name = program.path.display();
        let Some((result, output)) = self.commands.run(&spec, CHECK_LIMIT).await else {
            return Err("heartbeatd is ending".to_owned());
        };
        let said = String::from_utf8_lossy(&output);
        let said: Vec<String> = said.lines().map(sanitise_line).filter(|line| !line.is_empty()).collect();
        match result {
            CommandResult::Exited(exit) if exit.is_zero() => {
                tracing::info!(program = %name, "can go on: handing over");
                self.inbox.request(Request::Leave { upgrade: true });
                Ok(())
            }
            CommandResult::Exited(exit) => Err(format!("{name} cannot go on ({exit}): {}", said.join("; "))),
            CommandResult::TimedOut => {
                Err(format!("{name} did not say within {CHECK_LIMIT:?} that it can go on"))
            }
            CommandResult::StartFailed(error) => Err(error.message),
        }
    }
}
