//! The frame around every measurement: one absolute deadline, the stages, and who is late.

use std::time::Duration;

use heartbeat_status::{
    CheckResult, DegradedReason, InconclusiveReason, Instant, Outcome, PhaseTimes, ProbePhase, sanitise_line,
};

use crate::clock;
use crate::target::{Broken, timed_out};

/// A timer that fires later than this after its time, or than a quarter of the timeout, was not served in time:
/// then it is our own lag that ate the deadline.
const LAG_FLOOR: Duration = Duration::from_millis(100);

/// Where a measurement stands. It outlives the future that is dropped at the deadline.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) phase: ProbePhase,
    pub(crate) times: PhaseTimes,
}

/// What a measurement that came to its end saw.
pub(crate) type Seen = Result<(Outcome, String), Broken>;

/// Runs `measurement` within `timeout` from now, and makes a result of what it saw.
pub(crate) async fn measure(
    queued_at: Option<Instant>,
    timeout: Duration,
    slow: Option<Duration>,
    measurement: impl AsyncFnOnce(&mut Progress) -> Seen,
) -> CheckResult {
    let started_at = clock::now();
    let queue = queued_at.map(|queued| started_at.since(queued));
    let mut progress =
        Progress { phase: ProbePhase::Resolve, times: PhaseTimes { queue, ..PhaseTimes::default() } };
    // The measurement is polled before the deadline: an answer that is there counts, however late we look.
    let seen = tokio::time::timeout(timeout, measurement(&mut progress)).await;
    let finished_at = clock::now();
    let took = finished_at.since(started_at);
    let (outcome, detail, answered) = match seen {
        Ok(Ok((outcome, detail))) => (too_slow(outcome, took, slow), detail, true),
        Ok(Err(broken)) => (broken.outcome, broken.detail, false),
        Err(_elapsed) => {
            let late = took.saturating_sub(timeout);
            if late > LAG_FLOOR.max(timeout / 4) {
                let detail = format!("heartbeat looked {} ms too late", late.as_millis());
                (Outcome::Inconclusive(InconclusiveReason::MonitorLag), detail, false)
            } else {
                let detail = format!("not done within {} ms", timeout.as_millis());
                (timed_out(progress.phase), detail, false)
            }
        }
    };
    CheckResult {
        outcome,
        detail: sanitise_line(&detail),
        started_at,
        finished_at,
        latency: (answered || progress.times.first_byte.is_some()).then_some(took),
        phases: progress.times,
    }
}

fn too_slow(outcome: Outcome, took: Duration, slow: Option<Duration>) -> Outcome {
    match outcome {
        Outcome::Pass if slow.is_some_and(|slow| took > slow) => Outcome::Degraded(DegradedReason::Slow),
        other => other,
    }
}
