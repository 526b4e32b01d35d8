//! Check commands: an exec probe asks for one, the process adapter runs it, and its result returns here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_probe::{ExecError, ExecFuture, ExecOutput, ExecProbe, Probe, Spawn};
use heartbeat_process::{CommandResult, CommandRunId, Commander, LaunchSpec, Notice};
use heartbeat_status::{StartFailure, printed};
use tokio::sync::oneshot;

/// Numbers of check commands begin here; those of hooks are below.
const FIRST_CHECK: u64 = 1 << 63;

pub(crate) type Ended = (CommandResult, Vec<u8>);

/// Check commands in progress, at most one per probe, and the tasks that wait for their results.
#[derive(Debug, Default)]
pub(crate) struct CheckReplies(Mutex<BTreeMap<CommandRunId, oneshot::Sender<Ended>>>);

impl CheckReplies {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<CommandRunId, oneshot::Sender<Ended>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a notice about a check command, and returns any other.
    pub(crate) fn take(&self, notice: Notice) -> Option<Notice> {
        match notice {
            Notice::CommandDone { id, result, output } if id.0 >= FIRST_CHECK => {
                if let Some(waiting) = self.waiting().remove(&id) {
                    // A task that has gone needs no answer.
                    let _ = waiting.send((result, output));
                }
                None
            }
            other => Some(other),
        }
    }
}

/// Runs check commands.
#[derive(Debug)]
pub(crate) struct Commands {
    commander: Commander,
    replies: Arc<CheckReplies>,
    begun: AtomicU64,
}

impl Commands {
    /// `replies` gets the answers of `commander`.
    pub(crate) fn new(commander: Commander, replies: Arc<CheckReplies>) -> Self {
        Self { commander, replies, begun: AtomicU64::new(0) }
    }

    fn begin(self: Arc<Self>, spec: &LaunchSpec, timeout: Duration) -> (Run, oneshot::Receiver<Ended>) {
        let id = CommandRunId(FIRST_CHECK + self.begun.fetch_add(1, Ordering::Relaxed));
        let (tell, ended) = oneshot::channel();
        self.replies.waiting().insert(id, tell);
        self.commander.run_command(id, spec, timeout);
        (Run { commands: self, id }, ended)
    }

    /// Runs a command to its end, and returns its output.
    pub(crate) async fn run(self: &Arc<Self>, spec: &LaunchSpec, timeout: Duration) -> Option<Ended> {
        let (_run, ended) = Arc::clone(self).begin(spec, timeout);
        ended.await.ok()
    }

    /// The probe that runs a command.
    pub(crate) fn probe(self: &Arc<Self>, target: String, spec: &Arc<LaunchSpec>, nagios: bool) -> Probe {
        let command = Arc::new(CheckCommand { commands: Arc::clone(self), spec: Arc::clone(spec) });
        let make = if nagios { ExecProbe::nagios } else { ExecProbe::new };
        make(target, command).into()
    }
}

/// A command in progress: dropping its task cancels it.
struct Run {
    commands: Arc<Commands>,
    id: CommandRunId,
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.commands.replies.waiting().remove(&self.id).is_some() {
            self.commands.commander.cancel_command(self.id);
        }
    }
}

/// A command that did not start fails its probe when the command is at fault. When the host has run out of something,
/// or the launcher is gone, the result is inconclusive.
fn not_started(failure: StartFailure, message: String) -> ExecError {
    match failure {
        StartFailure::HostExhausted | StartFailure::NeverTried => ExecError::NotTried { message },
        StartFailure::ProgramUnusable | StartFailure::PortTaken | StartFailure::Other => {
            ExecError::CannotRun { message }
        }
    }
}

/// The first line that is not empty, which is what a probe shows, quoted.
pub(super) fn quoted_line(output: &[u8]) -> Vec<u8> {
    let line = output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    line.map(|line| printed::quoted(&String::from_utf8_lossy(line)).into_bytes()).unwrap_or_default()
}

/// The command of one probe.
#[derive(Debug)]
struct CheckCommand {
    commands: Arc<Commands>,
    spec: Arc<LaunchSpec>,
}

impl Spawn for CheckCommand {
    fn spawn(&self, timeout: Duration) -> ExecFuture {
        let (commands, spec) = (Arc::clone(&self.commands), Arc::clone(&self.spec));
        Box::pin(async move {
            let closed = || ExecError::NotTried { message: "heartbeatd is ending".to_owned() };
            let (_run, ended) = commands.begin(&spec, timeout);
            let (result, output) = ended.await.map_err(|_| closed())?;
            match result {
                CommandResult::Exited(exit) => Ok(ExecOutput::new(exit, quoted_line(&output))),
                CommandResult::TimedOut => Err(ExecError::TimedOut),
                CommandResult::StartFailed(error) => Err(not_started(error.failure, error.message)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_command_is_quoted() {
        assert_eq!(quoted_line(b"\n  \n"), b"");
        let line = String::from_utf8(quoted_line(b"\n token=s3cret \nmore")).unwrap();
        assert_eq!((&*printed::unquoted(&line), &*printed::withheld(&line)), ("token=s3cret", "(output)"));
    }

    #[test]
    fn an_exhausted_host_is_inconclusive_and_a_missing_program_fails_the_probe() {
        for failure in StartFailure::ALL {
            let inconclusive = matches!(not_started(*failure, String::new()), ExecError::NotTried { .. });
            let expected = matches!(failure, StartFailure::HostExhausted | StartFailure::NeverTried);
            assert_eq!(inconclusive, expected, "{failure}");
        }
    }
}
