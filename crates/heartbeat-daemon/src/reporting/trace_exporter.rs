//! The trace exporter: it posts traces to a collector, from a bounded queue of its own. Nothing waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use heartbeat_notify::{Endpoint, PostError, post_json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::reporting::otlp::{self, Sender};
use crate::reporting::trace::Trace;
use crate::{clock, random};

/// Traces that may wait. The oldest goes first.
const MAX_QUEUED_TRACES: usize = 256;
/// Traces of one request.
const MAX_TRACES_PER_REQUEST: usize = 32;
/// Attempts of one request.
const MAX_ATTEMPTS: u32 = 6;
/// The wait after the first failure, doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait, also where the collector asks for more.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Queue {
    traces: VecDeque<Trace>,
    /// Given up since the last warning.
    lost: u64,
}

/// The way to the task that sends. The task ends with this value.
#[derive(Debug)]
pub(crate) struct TraceExporter {
    queue: Arc<Mutex<Queue>>,
    endpoint: watch::Sender<Option<Endpoint>>,
    wake: watch::Sender<u64>,
}

impl TraceExporter {
    pub(crate) fn start(runtime: &Handle, sender: Sender) -> Self {
        let (endpoint, endpoints) = watch::channel(None::<Endpoint>);
        let (wake, woken) = watch::channel(0);
        let queue = Arc::<Mutex<Queue>>::default();
        runtime.spawn(send_all(Arc::clone(&queue), endpoints, woken, sender));
        Self { queue, endpoint, wake }
    }

    /// Sends to another collector from now on, or to none.
    pub(crate) fn set(&self, endpoint: Option<Endpoint>) {
        if endpoint.is_none() {
            *locked(&self.queue) = Queue::default();
        }
        self.endpoint.send_if_modified(|known| {
            let changes = *known != endpoint;
            *known = endpoint;
            changes
        });
    }

    /// Whether there is a collector.
    pub(crate) fn is_on(&self) -> bool {
        self.endpoint.borrow().is_some()
    }

    /// Queues a trace. Never waits.
    pub(crate) fn export(&self, trace: Trace) {
        if !self.is_on() {
            return;
        }
        push(&mut locked(&self.queue), trace);
        self.wake.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn locked(queue: &Mutex<Queue>) -> std::sync::MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn push(queue: &mut Queue, trace: Trace) {
    if queue.traces.len() >= MAX_QUEUED_TRACES {
        queue.traces.pop_front();
        queue.lost += 1;
    }
    queue.traces.push_back(trace);
}

async fn send_all(
    queue: Arc<Mutex<Queue>>,
    mut endpoints: watch::Receiver<Option<Endpoint>>,
    mut woken: watch::Receiver<u64>,
    sender: Sender,
) {
    loop {
        let endpoint = endpoints.borrow_and_update().clone();
        drop(woken.borrow_and_update());
        let (traces, lost) = {
            let mut queue = locked(&queue);
            let count = queue.traces.len().min(MAX_TRACES_PER_REQUEST);
            (queue.traces.drain(..count).collect::<Vec<_>>(), std::mem::take(&mut queue.lost))
        };
        if let (Some(endpoint), false) = (endpoint, traces.is_empty()) {
            if lost > 0 {
                tracing::warn!(lost, %endpoint, "the collector is slower than traces come: the oldest are not sent");
            }
            let body = otlp::request(&sender, &traces, random::number).to_string();
            if let Err(error) = send(&endpoint, body.as_bytes()).await {
                tracing::warn!(%endpoint, %error, traces = traces.len(), "traces are not sent, given up");
            }
            continue;
        }
        tokio::select! {
            changed = endpoints.changed() => if changed.is_err() { return },
            changed = woken.changed() => if changed.is_err() { return },
        }
    }
}

/// Posts one body, again and again as the specification of OTLP allows.
async fn send(endpoint: &Endpoint, body: &[u8]) -> Result<(), PostError> {
    let mut attempt = 1;
    loop {
        let Err(error) = post_json(endpoint, body, clock::unix_s()).await else { return Ok(()) };
        let Some(wait) = wait_after(error.status(), error.retry_after, attempt) else { return Err(error) };
        sleep(wait).await;
        attempt += 1;
    }
}

/// How long to wait before the next attempt, after an answer or without one; `None` when there is no other attempt.
fn wait_after(status: Option<u16>, retry_after: Option<Duration>, attempt: u32) -> Option<Duration> {
    // The statuses that the specification names; every other answer is final.
    let again = status.is_none_or(|status| matches!(status, 429 | 502 | 503 | 504));
    let doubled = FIRST_WAIT * 2_u32.saturating_pow(attempt - 1);
    (again && attempt < MAX_ATTEMPTS).then(|| retry_after.unwrap_or(doubled).min(MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_trace_goes_first_when_too_many_wait() {
        let mut queue = Queue::default();
        for _ in 0..MAX_QUEUED_TRACES + 3 {
            push(&mut queue, Trace { spans: Vec::new() });
        }
        assert_eq!((queue.traces.len(), queue.lost), (MAX_QUEUED_TRACES, 3));
    }

    #[test]
    fn only_what_the_specification_names_is_sent_again() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for status in [400, 401, 404, 413, 500] {
            assert_eq!(wait_after(Some(status), None, 1), None, "{status}");
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(wait_after(Some(status), None, 3), seconds(4), "{status}");
        }
        assert_eq!(wait_after(None, None, 1), Some(FIRST_WAIT), "no answer at all");
        assert_eq!(wait_after(Some(503), seconds(9), 1), seconds(9));
        assert_eq!(wait_after(Some(503), seconds(9_000), 1), Some(MAX_WAIT));
        assert_eq!(wait_after(Some(503), None, MAX_ATTEMPTS), None);
    }
}
