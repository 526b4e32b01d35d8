//! A check command, judged by its exit code as Nagios plugins are. This crate starts no process: whoever embeds it
//! brings the spawner, so that one reaper owns every exit status.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    CheckResult, DegradedReason, Exit, ExitKind, FailReason, InconclusiveReason, Instant, Outcome,
};
use rustix::io::Errno;

use crate::measure::{Progress, Seen, measure};
use crate::target::Broken;

/// What a spawner is given beyond the timeout to end the command and to say so. One that is silent for longer has
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
    /// It could not be started.
    #[error("cannot run the command: {message}")]
    Failed {
        /// The system's number for it (`errno`), where there is one: tells our own shortage from the rest.
        errno: Option<i32>,
        /// What was tried and why it failed.
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

/// Runs a command. Passes when it exits 0; 1 is degraded, 2 is down, 3 is "cannot say", and everything else is a
/// broken check and fails.
#[derive(Clone, Debug)]
pub struct ExecProbe {
    target: String,
    command: Arc<dyn Spawn>,
    slow: Option<Duration>,
}

impl PartialEq for ExecProbe {
    /// The same command by the same spawner.
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && self.slow == other.slow && Arc::ptr_eq(&self.command, &other.command)
    }
}

impl ExecProbe {
    /// A probe that runs `command`; `target` is what people read.
    pub fn new(target: impl Into<String>, command: Arc<dyn Spawn>) -> Self {
        Self { target: target.into(), command, slow: None }
    }

    /// A pass that takes longer is degraded.
    #[must_use]
    pub fn with_slow(self, slow: Duration) -> Self {
        Self { slow: Some(slow), ..self }
    }

    /// What it looks at.
    #[must_use]
    pub fn target(&self) -> String {
        self.target.clone()
    }

    pub(crate) async fn measure(&self, queued_at: Option<Instant>, timeout: Duration) -> CheckResult {
        // The spawner keeps the deadline, because ending a group of processes is its business. `run` bounds the
        // spawner; the frame's own deadline lies behind both and is never the one that speaks.
        let frame = timeout.saturating_add(SPAWNER_GRACE.saturating_mul(2));
        measure(queued_at, frame, self.slow, async |_: &mut Progress| self.run(timeout).await).await
    }

    async fn run(&self, timeout: Duration) -> Seen {
        let bound = timeout.saturating_add(SPAWNER_GRACE);
        match tokio::time::timeout(bound, self.command.spawn(timeout)).await {
            Ok(Ok(ended)) => Ok(judge(&ended)),
            Ok(Err(ExecError::TimedOut)) => {
                let detail = format!("not done within {} ms", timeout.as_millis());
                Err(Broken { outcome: fail(FailReason::ExecTimeout), detail })
            }
            Ok(Err(ExecError::Failed { errno, message })) => {
                let ours = errno.is_some_and(is_our_shortage);
                let reason = if ours {
                    InconclusiveReason::MonitorResources
                } else {
                    InconclusiveReason::PluginUnknown
                };
                Err(Broken { outcome: Outcome::Inconclusive(reason), detail: message })
            }
            Err(_elapsed) => {
                let detail = format!("no word of the command {} ms after its start", bound.as_millis());
                Err(Broken { outcome: Outcome::Inconclusive(InconclusiveReason::MonitorLag), detail })
            }
        }
    }
}

/// A command has no stages.
const fn fail(reason: FailReason) -> Outcome {
    Outcome::Fail { reason, phase: None }
}

/// Something of ours has run out: that says nothing about the target.
fn is_our_shortage(errno: i32) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM].iter().any(|known| known.raw_os_error() == errno)
}

fn judge(ended: &ExecOutput) -> (Outcome, String) {
    let outcome = match ended.exit.kind {
        ExitKind::Code(0) => Outcome::Pass,
        ExitKind::Code(1) => Outcome::Degraded(DegradedReason::ReportedDegraded),
        ExitKind::Code(2) => fail(FailReason::ReportedDown),
        ExitKind::Code(3) => Outcome::Inconclusive(InconclusiveReason::PluginUnknown),
        _ => fail(FailReason::ExecFailed),
    };
    let line = first_line(&ended.output);
    let detail = match (outcome, line.is_empty()) {
        // Such a command does not keep to the convention: its exit says more than its words.
        (Outcome::Fail { reason: FailReason::ExecFailed, .. }, false) => format!("{}: {line}", ended.exit),
        (_, true) => ended.exit.to_string(),
        (_, false) => line,
    };
    (outcome, detail)
}

/// The first line for people: what follows `|` are figures for machines. The frame sanitises it.
fn first_line(output: &[u8]) -> String {
    let output = &output[..output.len().min(MAX_OUTPUT_BYTES)];
    let end = output.iter().position(|byte| matches!(byte, b'\n' | b'|')).unwrap_or(output.len());
    String::from_utf8_lossy(&output[..end]).trim().to_owned()
}
