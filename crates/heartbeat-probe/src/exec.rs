//! A check command, evaluated by its exit code. This crate starts no process: the embedder supplies the spawner, so
//! that one reaper owns every exit status.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{DegradedReason, Exit, ExitKind, FailReason, InconclusiveReason, Outcome, ProbeKind};

use crate::broken::Broken;
use crate::kind::Kind;
use crate::measure::Seen;
use crate::progress::Progress;

/// Time beyond the timeout in which a spawner ends the command and reports it. A spawner that takes longer has lost
/// track of the command, which says nothing about the target.
const SPAWNER_GRACE: Duration = Duration::from_secs(2);
/// Most bytes of the output that are read.
const MAX_OUTPUT_BYTES: usize = 4 * 1024;

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOutput {
    /// Exit code or signal.
    pub exit: Exit,
    /// Its raw output. The first line of the first 4 KiB becomes the detail.
    pub output: Vec<u8>,
}

impl ExecOutput {
    /// A command that has ended.
    #[must_use]
    pub const fn new(exit: Exit, output: Vec<u8>) -> Self {
        Self { exit, output }
    }
}

/// Why a command has no exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecError {
    /// It exceeded its timeout and was killed.
    TimedOut,
    /// The command cannot be started: no such program, no permission.
    CannotRun {
        /// The program and the error.
        message: String,
    },
    /// The spawner could not start it: no descriptors, memory or processes left, or it is shutting down.
    NotTried {
        /// The resource that is missing.
        message: String,
    },
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the command did not end within its timeout"),
            Self::CannotRun { message } => write!(f, "cannot run the command: {message}"),
            Self::NotTried { message } => write!(f, "the command was not run: {message}"),
        }
    }
}

impl std::error::Error for ExecError {}

/// A pending run of a check command.
pub type ExecFuture = Pin<Box<dyn Future<Output = Result<ExecOutput, ExecError>> + Send>>;

/// One command and the means to run it.
pub trait Spawn: Send + Sync + fmt::Debug {
    /// Runs the command once, with everything it starts in a group of its own, and ends all of it after `timeout`
    /// ([`ExecError::TimedOut`]). Dropping the future must end it too.
    fn spawn(&self, timeout: Duration) -> ExecFuture;
}

/// How exit codes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Convention {
    /// 0 passes, everything else fails: Docker, compose, kubelet.
    Exec,
    /// 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: the plugins of Nagios.
    Nagios,
}

/// Runs a command. Passes when it exits 0 and fails otherwise, as in Docker, compose and kubelet;
/// [`nagios`](Self::nagios) makes one that reads exit codes as those of a plugin.
#[derive(Clone, Debug)]
pub struct ExecProbe {
    target: String,
    command: Arc<dyn Spawn>,
    convention: Convention,
}

impl PartialEq for ExecProbe {
    /// The same command by the same spawner, read in the same way.
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.target, self.convention);
        own == (&other.target, other.convention) && Arc::ptr_eq(&self.command, &other.command)
    }
}

impl ExecProbe {
    /// A probe that runs `command`; `target` is shown to people.
    pub fn new(target: impl Into<String>, command: Arc<dyn Spawn>) -> Self {
        Self { target: target.into(), command, convention: Convention::Exec }
    }

    /// A probe that runs a plugin of Nagios: exit code 1 is degraded, 2 fails, and 3, or a plugin that cannot run, says
    /// nothing about the target.
    pub fn nagios(target: impl Into<String>, command: Arc<dyn Spawn>) -> Self {
        Self { convention: Convention::Nagios, ..Self::new(target, command) }
    }

    async fn run(&self, timeout: Duration) -> Seen {
        let bound = timeout.saturating_add(SPAWNER_GRACE);
        match tokio::time::timeout(bound, self.command.spawn(timeout)).await {
            Ok(Ok(ended)) => Ok(self.evaluate(&ended)),
            Ok(Err(ExecError::TimedOut)) => {
                let detail = format!("not done within {} ms", timeout.as_millis());
                Err(Broken { outcome: fail(FailReason::ExecTimeout), detail })
            }
            Ok(Err(ExecError::CannotRun { message })) => {
                let outcome = match self.convention {
                    Convention::Exec => fail(FailReason::ExecFailed),
                    Convention::Nagios => Outcome::Inconclusive(InconclusiveReason::PluginUnknown),
                };
                Err(Broken { outcome, detail: message })
            }
            Ok(Err(ExecError::NotTried { message })) => {
                Err(Broken::inconclusive(InconclusiveReason::MonitorResources, message))
            }
            Err(_elapsed) => {
                let detail =
                    format!("the command did not report back {} ms after its start", bound.as_millis());
                Err(Broken::inconclusive(InconclusiveReason::MonitorLag, detail))
            }
        }
    }

    fn evaluate(&self, ended: &ExecOutput) -> (Outcome, String) {
        let outcome = match (self.convention, ended.exit.kind) {
            (_, ExitKind::Code(0)) => Outcome::Pass,
            (Convention::Nagios, ExitKind::Code(1)) => Outcome::Degraded(DegradedReason::ReportedDegraded),
            (Convention::Nagios, ExitKind::Code(2)) => fail(FailReason::ReportedDown),
            (Convention::Nagios, ExitKind::Code(3)) => {
                Outcome::Inconclusive(InconclusiveReason::PluginUnknown)
            }
            _ => fail(FailReason::ExecFailed),
        };
        let line = first_line(&ended.output);
        let detail = match (outcome, line.is_empty()) {
            // The text of a plugin names its state; the text of any other command may not.
            (Outcome::Fail { reason: FailReason::ExecFailed, .. }, false) => {
                format!("{}: {line}", ended.exit)
            }
            (_, true) => ended.exit.to_string(),
            (_, false) => line,
        };
        (outcome, detail)
    }
}

impl Kind for ExecProbe {
    fn kind(&self) -> ProbeKind {
        match self.convention {
            Convention::Exec => ProbeKind::Exec,
            Convention::Nagios => ProbeKind::Nagios,
        }
    }

    fn target(&self) -> String {
        self.target.clone()
    }

    /// The spawner keeps the deadline, because it kills process groups, and `run` bounds the spawner.
    fn grace(&self) -> Duration {
        SPAWNER_GRACE.saturating_mul(2)
    }

    async fn observe(&self, progress: &mut Progress<'_>) -> Seen {
        self.run(progress.timeout).await
    }
}

/// A failure without a phase: a command has none.
const fn fail(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: None }
}

/// The first line that is not empty, perfdata behind `|` included. The frame sanitises it.
fn first_line(output: &[u8]) -> String {
    let output = &output[..output.len().min(MAX_OUTPUT_BYTES)];
    let mut lines = output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    String::from_utf8_lossy(lines.find(|line| !line.is_empty()).unwrap_or_default()).into_owned()
}
