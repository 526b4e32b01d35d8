//! A process by its pid, for embedders that watch a process that they did not start.

use heartbeat_status::{FailReason, Outcome, ProbeKind};

use crate::kind::Kind;
use crate::measure::Seen;
use crate::progress::Progress;

/// Passes while the process runs: neither gone nor a zombie nor stopped. The start time it had when the probe was
/// made guards against a reused pid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessProbe {
    pid: u32,
    start_time: Option<u64>,
}

impl ProcessProbe {
    /// A probe of the process that has `pid` now.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, start_time: stat(pid).map(|(_, start_time)| start_time) }
    }

    fn look(&self) -> Seen {
        let fail = |reason, detail: &str| Ok((Outcome::Fail { reason, phase: None }, detail.to_owned()));
        match stat(self.pid) {
            None => fail(FailReason::ProcessExited, "no such process"),
            Some((_, start)) if Some(start) != self.start_time => {
                fail(FailReason::ProcessExited, "gone; its pid belongs to another process now")
            }
            Some(('Z' | 'X', _)) => fail(FailReason::ProcessExited, "a zombie: ended and not collected"),
            Some(('T' | 't', _)) => fail(FailReason::ProcessStopped, "stopped by a signal or a debugger"),
            Some(_) => Ok((Outcome::Pass, String::new())),
        }
    }
}

impl Kind for ProcessProbe {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Process
    }

    fn target(&self) -> String {
        format!("pid {}", self.pid)
    }

    async fn observe(&self, _: &mut Progress<'_>) -> Seen {
        self.look()
    }
}

/// State letter and start time, of `/proc/PID/stat`.
fn stat(pid: u32) -> Option<(char, u64)> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain anything.
    let mut fields = line[line.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {

    use std::time::Duration;

    use super::*;
    use crate::Probe;

    #[tokio::test]
    async fn a_running_process_passes_and_a_reused_pid_fails() {
        let own = ProcessProbe::new(std::process::id());
        let other = ProcessProbe { start_time: own.start_time.map(|start| start + 1), ..own };
        let fails = Outcome::Fail { reason: FailReason::ProcessExited, phase: None };
        for (probe, outcome) in [(own, Outcome::Pass), (other, fails)] {
            assert_eq!(Probe::from(probe).measure(Duration::from_secs(5)).await.outcome, outcome);
        }
    }
}
