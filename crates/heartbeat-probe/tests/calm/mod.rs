//! Measurements with a short deadline, on a machine that may be busy.

use std::time::Duration;

use heartbeat_probe::Probe;
use heartbeat_status::{CheckResult, InconclusiveReason, Outcome};

/// No machine is so busy that a measurement needs a longer deadline.
const LONGEST: Duration = Duration::from_secs(60);

/// Measures again while heartbeatd itself is late, since such a result says nothing about the target: each time with
/// twice the deadline, of which the same lateness is a smaller part.
pub(crate) async fn measured(probe: &Probe, mut deadline: Duration) -> CheckResult {
    loop {
        let result = probe.measure(deadline).await;
        let late = result.outcome == Outcome::Inconclusive(InconclusiveReason::MonitorLag);
        if !late || deadline >= LONGEST {
            return result;
        }
        deadline *= 2;
    }
}
