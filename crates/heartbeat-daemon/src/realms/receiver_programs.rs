//! Programs of receivers, started as check commands are.

use std::sync::Arc;

use heartbeat_notify::{Exec, PROGRAM_TIMEOUT, ProgramError, ProgramFuture, Programs};
use heartbeat_process::{CommandResult, LaunchSpec, LogTarget};

use crate::realms::commands::{Commands, Ended, quoted_line};

/// The one spawner, for receivers.
pub(crate) struct ReceiverPrograms(pub(crate) Arc<Commands>);

impl Programs for ReceiverPrograms {
    fn run(&self, program: &Exec, input: Vec<u8>) -> ProgramFuture {
        let spec = LaunchSpec {
            argv: program.argv.clone(),
            inherited: Arc::clone(&program.env),
            dir: program.dir.clone(),
            log: LogTarget::Capture,
            input,
            ..LaunchSpec::default()
        };
        let commands = Arc::clone(&self.0);
        Box::pin(async move {
            let Some((result, output)): Option<Ended> = commands.run(&spec, PROGRAM_TIMEOUT).await else {
                return Err(ProgramError::NotStarted { why: "heartbeatd is ending".to_owned() });
            };
            let output = String::from_utf8(quoted_line(&output)).unwrap_or_default();
            match result {
                CommandResult::Exited(exit) if exit.is_zero() => Ok(()),
                CommandResult::Exited(exit) => Err(ProgramError::Ended { exit, output }),
                CommandResult::TimedOut => Err(ProgramError::TimedOut { after: PROGRAM_TIMEOUT, output }),
                CommandResult::StartFailed(error) => Err(ProgramError::NotStarted { why: error.message }),
            }
        })
    }
}
