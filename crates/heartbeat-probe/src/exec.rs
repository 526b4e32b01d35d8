//! A check command, judged by its exit code. This crate starts no process: the embedder brings the spawner, so that one
//! reaper owns every exit status.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    CheckResult, DegradedReason, Exit, ExitKind, FailReason, InconclusiveReason, Instant, Outcome,
};

use crate::measure::{Frame, Progress, Seen, measure};
use crate::target::Broken;

/// What a spawner is given beyond the timeout to end the command and to report it. One that is silent for longer has
/// lost track of it, which says nothing about the target.
const SPAWNER_GRACE: Duration = Duration::from_secs(2);
/// Most bytes of the output that are looked at.
const MAX_OUTPUT_BYTES: usize = 4 * 1024;

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote, bytes as they were. The first line of the first 4 KiB becomes the detail.
    pub output: Vec<u8>,
}

/// A command that did not end, or never began.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It ran for longer than it may, and was ended.
    #[error("the command did not end within its timeout")]
    TimedOut,
    /// It could not be started, and the command is at fault: no such program, no permission.
    #[error("cannot run the command: {message}")]
    CannotRun {
        /// What was tried and why it failed.
        message: String,
    },
    /// It was not started, and the spawner is at fault: no descriptors, no memory, no processes left, or it is ending.
    #[error("the command was not run: {message}")]
    NotTried {
        /// What was missing.
        message: String,
    },
}

/// How a run of a check command ends, once it does.
pub type ExecFuture = Pin<Box<dyn Future<Output = Result<ExecOutput, ExecError>> + Send>>;

/// One command, and the means to run it.
pub trait Spawn: Send + Sync + fmt::Debug {
    /// Runs the command once, with everything it starts in a group of its own, and ends all of it after `timeout`
    /// ([`ExecError::TimedOut`]). Dropping the future must end it too.
    fn spawn(&self, timeout: Duration) -> ExecFuture;
}

/// The meaning of exit codes.
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
    slow: Option<Duration>,
}

impl PartialEq for ExecProbe {
    /// The same command by the same spawner, read in the same way.
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.target, self.convention, self.slow);
        own == (&other.target, other.convention, other.slow) && Arc::ptr_eq(&self.command, &other.command)
    }
}

impl ExecProbe {
    /// A probe that runs `command`; `target` is shown to people.
    pub fn new(target: impl Into<String>, command: Arc<dyn Spawn>) -> Self {
        Self { target: target.into(), command, convention: Convention::Exec, slow: None }
    }

    /// A probe that runs a plugin of Nagios: exit code 1 is degraded, 2 fails, and 3, or a plugin that cannot run, says
    /// nothing about the target.
    pub fn nagios(target: impl Into<String>, command: Arc<dyn Spawn>) -> Self {
        Self { convention: Convention::Nagios, ..Self::new(target, command) }
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    /// The command, for people.
    #[must_use]
    pub fn target(&self) -> String {
        self.target.clone()
    }

    /// It reads exit codes as those of a plugin of Nagios.
    #[must_use]
    pub fn is_nagios(&self) -> bool {
        self.convention == Convention::Nagios
    }

    pub(crate) async fn measure(&self, queued_at: Option<Instant>, timeout: Duration) -> CheckResult {
        // The spawner keeps the deadline, because it ends groups of processes. `run` bounds the spawner; the frame's
        // own deadline lies behind both and never decides.
        let grace = SPAWNER_GRACE.saturating_mul(2);
        let frame = Frame { grace, ..Frame::new(queued_at, timeout, self.slow) };
        measure(frame, async |_: &mut Progress| self.run(timeout).await).await
    }

    async fn run(&self, timeout: Duration) -> Seen {
        let bound = timeout.saturating_add(SPAWNER_GRACE);
        match tokio::time::timeout(bound, self.command.spawn(timeout)).await {
            Ok(Ok(ended)) => Ok(self.judge(&ended)),
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

    fn judge(&self, ended: &ExecOutput) -> (Outcome, String) {
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
            // A plugin names its state in its words; any other command may say anything.
            (Outcome::Fail { reason: FailReason::ExecFailed, .. }, false) => {
                format!("{}: {line}", ended.exit)
            }
            (_, true) => ended.exit.to_string(),
            (_, false) => line,
        };
        (outcome, detail)
    }
}

/// A command has no stages.
const fn fail(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: None }
}

/// The first line that is not empty, with the figures that a plugin puts behind `|`. The frame sanitises it.
fn first_line(output: &[u8]) -> String {
    let output = &output[..output.len().min(MAX_OUTPUT_BYTES)];
    let mut lines = output.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    String::from_utf8_lossy(lines.find(|line| !line.is_empty()).unwrap_or_default()).into_owned()
}
