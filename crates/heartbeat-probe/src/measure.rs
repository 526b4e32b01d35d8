//! The frame of every measurement: one absolute deadline, the phases, and whether our own lag explains a failure.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use heartbeat_status::{
    CheckResult, DegradedReason, FailReason, InconclusiveReason, Instant, Outcome, printed, sanitise_line,
};
use tokio::time::sleep;

use crate::broken::{Broken, seconds, timed_out};
use crate::clock;
use crate::conversation::Conversation;
use crate::progress::Progress;

/// Lag up to this, or up to a quarter of the timeout, does not excuse the target.
const LAG_FLOOR: Duration = Duration::from_millis(100);
/// How often a measurement checks its own lateness before its deadline ...
const LOOKS: u32 = 16;
/// ... with at least this time between two checks.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// A detail of so few letters and digits is shown as it is.
const MAX_WORD_BYTES: usize = 16;

/// A timer that fires no later than this is on time: the granularity of the scheduler.
const JITTER: Duration = Duration::from_millis(10);

/// The result of a measurement that ended before its deadline.
pub(crate) type Seen = Result<(Outcome, String), Broken>;

/// One turn of a probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    /// When it began to wait for its turn.
    pub(crate) queued_at: Option<Instant>,
    /// The time that the target has.
    pub(crate) timeout: Duration,
    /// Where the conversation with the target is noted.
    pub(crate) conversation: Option<&'a Conversation>,
    /// That of a pass, too.
    pub(crate) notes_passes: bool,
    /// The words of the target stay quoted in the detail.
    pub(crate) quotes_target: bool,
}

impl Turn<'_> {
    /// A turn that has not waited and is not explained.
    pub(crate) const fn now(timeout: Duration) -> Self {
        Self { queued_at: None, timeout, conversation: None, notes_passes: false, quotes_target: false }
    }
}

/// The bounds of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) turn: Turn<'a>,
    /// Additional time for a measurement that enforces the target's deadline itself.
    pub(crate) grace: Duration,
    /// A pass that takes longer is degraded.
    pub(crate) slow: Option<Duration>,
    /// A pass that takes longer fails.
    pub(crate) max_latency: Option<Duration>,
}

impl<'a> Frame<'a> {
    pub(crate) const fn new(turn: Turn<'a>) -> Self {
        Self { turn, grace: Duration::ZERO, slow: None, max_latency: None }
    }
}

/// Runs `measurement` within its frame and returns its result. `note_sent` notes the request of one that did not come to
/// that.
pub(crate) async fn measure(
    frame: Frame<'_>,
    measurement: impl AsyncFnOnce(&mut Progress<'_>) -> Seen,
    note_sent: impl FnOnce(&Progress<'_>),
) -> CheckResult {
    let started_at = clock::now();
    let Turn { queued_at, timeout, conversation, notes_passes, quotes_target } = frame.turn;
    let mut progress = Progress { conversation, notes_passes, timeout, ..Progress::default() };
    progress.times.queue = queued_at.map(|queued| started_at.since(queued));
    let mut lag = Duration::ZERO;
    let seen = within(timeout + frame.grace, started_at, &mut lag, measurement(&mut progress)).await;
    let finished_at = clock::now();
    let settled = progress.settled.take();
    let took = settled.as_ref().map_or(finished_at, |(_, at)| *at).since(started_at);
    let answered = matches!(seen, Some(Ok(_))) || progress.times.first_byte.is_some();
    let (outcome, detail) = match (seen, settled) {
        (Some(Ok((outcome, detail))), _) => {
            let seen = too_slow((outcome, detail), took.saturating_sub(lag), &frame);
            #[cfg(feature = "tls")]
            let seen = crate::certificate::noted(seen, progress.certificate.as_ref());
            seen
        }
        (Some(Err(broken)), _) | (None, Some((broken, _))) => (broken.outcome, broken.detail),
        (None, None) => {
            let broken = timed_out(progress.phase, timeout);
            (broken.outcome, broken.detail)
        }
    };
    let (outcome, detail) = match outcome {
        Outcome::Fail { reason, .. } if is_too_late(lag, timeout) && lag_explains(reason) => {
            let detail = format!("heartbeatd itself was {} ms late", lag.as_millis());
            (Outcome::Inconclusive(InconclusiveReason::MonitorLag), detail)
        }
        seen => (seen, detail),
    };
    if progress.sent_unnoted && outcome != Outcome::Pass {
        note_sent(&progress);
    }
    // Most details are a status.
    let is_word = detail.len() < MAX_WORD_BYTES && detail.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let detail = if is_word { detail } else { sanitise_line(&detail) };
    CheckResult {
        outcome,
        detail: if is_word || quotes_target { detail } else { printed::unquoted(&detail).into_owned() },
        started_at,
        finished_at,
        latency: answered.then_some(took),
        phases: progress.times,
        unattributable: false,
        #[cfg(feature = "tls")]
        certificate_until: progress.certificate.map(|note| note.until),
        #[cfg(not(feature = "tls"))]
        certificate_until: None,
    }
}

/// Polls `measurement` until `timeout` and sums up in `lag` how late this task was polled. Its timers go through the
/// same queues as its answers, so what delays the one delays the other. `None` at the deadline.
async fn within<T>(
    timeout: Duration,
    started_at: Instant,
    lag: &mut Duration,
    measurement: impl Future<Output = T>,
) -> Option<T> {
    let step = (timeout / LOOKS).max(LOOK_MIN);
    let end = started_at + timeout;
    let mut planned = (started_at + step).min(end);
    let mut timer = pin!(sleep(planned.since(started_at)));
    let origin = timer.deadline() - planned.since(started_at);
    let mut measurement = pin!(measurement);
    poll_fn(|ctx| {
        // The measurement is polled before the deadline: an answer that has arrived counts, however late it is read.
        if let Poll::Ready(seen) = measurement.as_mut().poll(ctx) {
            *lag += clock::now().since(planned + JITTER);
            return Poll::Ready(Some(seen));
        }
        while timer.as_mut().poll(ctx).is_ready() {
            let now = clock::now();
            *lag += now.since(planned + JITTER);
            if now >= end {
                return Poll::Ready(None);
            }
            planned = (now + step).min(end);
            timer.as_mut().reset(origin + planned.since(started_at));
        }
        Poll::Pending
    })
    .await
}

/// Whether lag took so much of the timeout that the target cannot be blamed.
fn is_too_late(lag: Duration, timeout: Duration) -> bool {
    lag > LAG_FLOOR.max(timeout / 4)
}

/// Failures that our own lag can cause: the time ran out, or the server closed the connection. Others come from the
/// target.
const fn lag_explains(reason: FailReason) -> bool {
    matches!(
        reason,
        FailReason::ConnectTimeout
            | FailReason::TlsTimeout
            | FailReason::HeadersTimeout
            | FailReason::BodyTimeout
            | FailReason::ExecTimeout
            | FailReason::Reset
            | FailReason::BodyIncomplete
    )
}

/// The verdict for an answer that took `took`, our own lag not counted.
fn too_slow((outcome, detail): (Outcome, String), took: Duration, frame: &Frame<'_>) -> (Outcome, String) {
    if let Some(max) = frame.max_latency.filter(|max| took > *max && outcome.passed() == Some(true)) {
        let detail = format!("answered after {}, later than {}", seconds(took), seconds(max));
        return (Outcome::Fail { reason: FailReason::OverLimit, phase: None }, detail);
    }
    let outcome = match outcome {
        Outcome::Pass if frame.slow.is_some_and(|slow| took > slow) => {
            Outcome::Degraded(DegradedReason::Slow)
        }
        other => other,
    };
    (outcome, detail)
}

#[cfg(test)]
mod tests;
