//! Check commands: an exec probe asks for one, the process adapter runs it, and its end finds the way back here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use heartbeat_config::{Measure, RealmConfig};
use heartbeat_probe::{ExecError, ExecFuture, ExecOutput, ExecProbe, Probe, Spawn};
use heartbeat_process::{CommandResult, CommandRunId, Commander, LaunchSpec, Notice};
use heartbeat_status::{ProbeInfo, StartFailure};
use tokio::sync::oneshot;

/// Numbers of check commands begin here; those of hooks are below.
const FIRST_CHECK: u64 = 1 << 63;

pub(crate) type Ended = (CommandResult, Vec<u8>);

/// Check commands under way: at most one a probe.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    commander: OnceLock<Commander>,
    waiting: Mutex<BTreeMap<CommandRunId, oneshot::Sender<Ended>>>,
    begun: AtomicU64,
}

impl Commands {
    /// From now on commands can be run.
    pub(crate) fn open(&self, commander: Commander) {
        // There is one process adapter in a life of heartbeatd.
        let _ = self.commander.set(commander);
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<CommandRunId, oneshot::Sender<Ended>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a notice that is about a check command; everything else is given back.
    pub(crate) fn take(&self, notice: Notice) -> Option<Notice> {
        match notice {
            Notice::CommandDone { id, result, output } if id.0 >= FIRST_CHECK => {
                if let Some(waiting) = self.waiting().remove(&id) {
                    // Who has gone does not want to know.
                    let _ = waiting.send((result, output));
                }
                None
            }
            other => Some(other),
        }
    }

    fn begin(
        self: Arc<Self>,
        spec: &LaunchSpec,
        timeout: Duration,
    ) -> Option<(Run, oneshot::Receiver<Ended>)> {
        let commander = self.commander.get()?;
        let id = CommandRunId(FIRST_CHECK + self.begun.fetch_add(1, Ordering::Relaxed));
        let (tell, ended) = oneshot::channel();
        self.waiting().insert(id, tell);
        commander.run_command(id, spec, timeout);
        Some((Run { commands: self, id }, ended))
    }

    /// Runs a command to its end, and says what it wrote.
    pub(crate) async fn run(self: &Arc<Self>, spec: &LaunchSpec, timeout: Duration) -> Option<Ended> {
        let (_run, ended) = Arc::clone(self).begin(spec, timeout)?;
        ended.await.ok()
    }

    /// The probes of realms, ready to measure.
    pub(crate) fn equip(
        self: &Arc<Self>,
        infos: &[ProbeInfo],
        realm: &RealmConfig,
    ) -> Vec<Option<Arc<Probe>>> {
        let equipped = realm.probes.iter().zip(infos).map(|(measure, info)| match measure.as_ref()? {
            Measure::Probe(probe) => Some(Arc::clone(probe)),
            Measure::Command { spec, nagios, slow } => {
                let command = Arc::new(CheckCommand { commands: Arc::clone(self), spec: Arc::clone(spec) });
                let probe = Probe::from(if *nagios {
                    ExecProbe::nagios(info.target.clone(), command)
                } else {
                    ExecProbe::new(info.target.clone(), command)
                });
                Some(Arc::new(slow.iter().copied().fold(probe, Probe::with_slow)))
            }
        });
        equipped.collect()
    }
}

/// A command under way: called off when nobody waits for it any more.
struct Run {
    commands: Arc<Commands>,
    id: CommandRunId,
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.commands.waiting().remove(&self.id).is_some()
            && let Some(commander) = self.commands.commander.get()
        {
            commander.cancel_command(self.id);
        }
    }
}

/// A command that did not start fails its probe when the command is at fault. When the host has run out of something, or
/// the launcher is gone, the result is inconclusive.
fn not_started(failure: StartFailure, message: String) -> ExecError {
    match failure {
        StartFailure::HostExhausted | StartFailure::NeverTried => ExecError::NotTried { message },
        StartFailure::ProgramUnusable | StartFailure::PortTaken | StartFailure::Other => {
            ExecError::CannotRun { message }
        }
    }
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
            let (_run, ended) = commands.begin(&spec, timeout).ok_or_else(closed)?;
            let (result, output) = ended.await.map_err(|_| closed())?;
            match result {
                CommandResult::Exited(exit) => Ok(ExecOutput { exit, output }),
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
    fn an_exhausted_host_is_inconclusive_and_a_missing_program_fails_the_probe() {
        for failure in StartFailure::ALL {
            let inconclusive = matches!(not_started(*failure, String::new()), ExecError::NotTried { .. });
            let expected = matches!(failure, StartFailure::HostExhausted | StartFailure::NeverTried);
            assert_eq!(inconclusive, expected, "{failure}");
        }
    }
}
