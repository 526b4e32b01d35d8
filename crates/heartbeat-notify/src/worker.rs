//! The delivery worker of one receiver: its queue, and the task that delivers from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartbeat_status::wire::IncidentDocument;
use heartbeat_status::{IncidentStep, Instant, WallTime};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::deliver::{self, Failure};
use crate::failing::Failing;
use crate::queue::{AfterFailure, Arrival, Earlier, Failed, Lost, Next, Queue, Queued};
use crate::{DeliveryError, Receiver, Report, WhyDropped};

/// What is delivered.
pub(crate) type Document = Arc<IncidentDocument>;

/// The clocks, the report sink and the closing signal that all workers share.
pub(crate) struct Environment {
    pub(crate) clock: Clock,
    pub(crate) report: Box<dyn Fn(Report) + Send + Sync>,
    /// Becomes true when workers deliver what they have and end.
    pub(crate) closing: watch::Sender<bool>,
}

/// The caller's clocks. Neither may block.
pub struct Clock {
    /// The monotonic clock.
    pub now: Box<dyn Fn() -> Instant + Send + Sync>,
    /// The wall clock.
    pub wall: Box<dyn Fn() -> WallTime + Send + Sync>,
}

impl Clock {
    pub(crate) fn unix_s(&self) -> u64 {
        u64::try_from((self.wall)().as_millis() / 1_000).unwrap_or(0)
    }
}

struct State {
    receiver: Receiver,
    queue: Queue<Document>,
    failing: Failing,
    /// Set once the worker delivers nothing more.
    shut: Option<WhyDropped>,
}

/// The worker reports outside its lock, so that the report sink may ask for the backlog.
pub(crate) struct DeliveryWorker {
    environment: Arc<Environment>,
    state: Mutex<State>,
    /// Notified when the queue may have something to deliver.
    wake: Notify,
}

impl DeliveryWorker {
    pub(crate) fn new(
        receiver: Receiver,
        earlier: Vec<Earlier<Document>>,
        environment: Arc<Environment>,
    ) -> Self {
        let mut queue = Queue::new(receiver.on.clone());
        let mut failing = Failing::default();
        for earlier in &earlier {
            if let Some(since) = earlier.failing_since() {
                failing.failed(since, "it failed before heartbeatd was restarted".to_owned());
            }
        }
        queue.restore(earlier);
        let state = Mutex::new(State { receiver, queue, failing, shut: None });
        Self { environment, state, wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method of the queue panics half-way, so a poisoned lock still guards a consistent queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn backlog(&self) -> usize {
        self.state().queue.len()
    }

    /// Adopts the settings of `receiver`, which has the same name. Another target enables a receiver that was gone.
    pub(crate) fn adapt(&self, receiver: &Receiver) {
        let mut state = self.state();
        state.queue.set_on(receiver.on.clone());
        let mut works = false;
        if state.receiver.target != receiver.target {
            state.shut = None;
            state.queue.hurry();
            works = state.failing.works();
        }
        state.receiver = receiver.clone();
        drop(state);
        self.report_works(works, &receiver.name);
        self.wake.notify_one();
    }

    /// The settings in force.
    pub(crate) fn receiver(&self) -> Receiver {
        self.state().receiver.clone()
    }

    /// Whether the receiver has a delay.
    pub(crate) fn waits(&self) -> bool {
        self.state().receiver.waits()
    }

    /// The receiver that is to hear that this one fails.
    pub(crate) fn fallback(&self) -> Option<String> {
        let state = self.state();
        state.receiver.fallback.clone().filter(|_| state.failing.is_reported())
    }

    fn report_works(&self, works: bool, receiver: &str) {
        if works {
            self.report(Report::Works { receiver: receiver.to_owned() });
        }
    }

    /// Queues an event of an incident, held, for a receiver that asked for it. `opens`: the incident is open, and opens
    /// now for a receiver that has not heard of it. `is_fallback`: the receiver stands in for one that fails. Returns
    /// what goes into the outbox, and what is dropped instead.
    pub(crate) fn admit(
        &self,
        id: &Arc<str>,
        document: &Document,
        (step, opens): (IncidentStep, bool),
        is_fallback: bool,
    ) -> (Option<Document>, Vec<Report>) {
        let mut queued = None;
        let mut state = self.state();
        if opens && (state.shut.is_some() || state.queue.knows(id)) {
            return (None, Vec::new());
        }
        let wall = (self.environment.clock.wall)();
        let concerned = is_fallback || state.receiver.is_concerned(document, wall);
        let arrival = Arrival { id: id.clone(), seq: document.seq, step, concerned };
        let lost = match state.shut {
            None => state.queue.push((self.environment.clock.now)(), &arrival, |sent_as| {
                let document = with_step(document, sent_as);
                queued = Some(document.clone());
                document
            }),
            Some(why) if concerned && state.queue.asks_for(step) => {
                vec![Lost { id: arrival.id, seq: arrival.seq, why }]
            }
            Some(_) => Vec::new(),
        };
        let name = state.receiver.name.clone();
        drop(state);
        (queued, dropped(&name, lost))
    }

    /// A notification may go out.
    pub(crate) fn release(&self, id: &str, seq: u64) {
        self.state().queue.release(id, seq);
        self.wake.notify_one();
    }

    /// Ends delivery and drops the queue, with reports.
    pub(crate) fn shut(&self, why: WhyDropped) {
        let (name, lost, works) = {
            let mut state = self.state();
            let first = state.shut.replace(why).is_none();
            let lost = if first { state.queue.clear(why) } else { Vec::new() };
            // A receiver that heartbeatd leaves behind when it ends works no better for it.
            let works = why != WhyDropped::Closing && state.failing.works();
            (state.receiver.name.clone(), lost, works)
        };
        self.report_all(dropped(&name, lost));
        self.report_works(works, &name);
    }

    fn report(&self, report: Report) {
        (self.environment.report)(report);
    }

    fn report_all(&self, reports: Vec<Report>) {
        reports.into_iter().for_each(|report| self.report(report));
    }

    /// Delivers one notification after the other; ends when closing and nothing is left to deliver.
    pub(crate) async fn work(self: Arc<Self>) {
        let mut closing = self.environment.closing.subscribe();
        loop {
            let now = (self.environment.clock.now)();
            self.review(now);
            let wait = {
                let mut state = self.state();
                let (receiver, failing) = (state.receiver.clone(), state.failing.deadline());
                match state.queue.next(now) {
                    Next::Deliver(queued) => Err((receiver, queued.clone())),
                    Next::Wait(until) => Ok(Some(failing.map_or(until, |failing| failing.min(until)))),
                    Next::Idle if *closing.borrow() => return,
                    Next::Idle => Ok(failing),
                }
            };
            match wait {
                Err((receiver, queued)) => self.attempt(&receiver, &queued).await,
                // Closing cuts the wait short: what a receiver still accepts is delivered now.
                Ok(until) => tokio::select! {
                    () = sleep_until(now, until) => {}
                    () = self.wake.notified() => {}
                    _ = closing.changed() => self.state().queue.hurry(),
                },
            }
        }
    }

    /// Reports a receiver that has failed for too long.
    fn review(&self, now: Instant) {
        let (receiver, why) = {
            let mut state = self.state();
            (state.receiver.name.clone(), state.failing.review(now))
        };
        if let Some(why) = why {
            self.report(Report::Failing { receiver, why });
        }
    }

    /// Makes one attempt and reports what follows from it.
    async fn attempt(&self, receiver: &Receiver, queued: &Queued<Document>) {
        let attempt = deliver::post(receiver, &queued.body, self.environment.clock.unix_s()).await;
        let Err(Failure { error, retry_after }) = attempt else {
            return self.delivered(queued);
        };
        let gone = matches!(error, DeliveryError::Gone);
        let (name, after) = {
            let mut state = self.state();
            if state.shut.is_some() {
                return;
            }
            let failed = Failed { is_transient: error.is_transient(), retry_after };
            state.failing.failed((self.environment.clock.now)(), error.to_string());
            let mut after = state.queue.failed((self.environment.clock.now)(), failed, fastrand::f64());
            if let (true, AfterFailure::GivenUp(lost)) = (gone, &mut after) {
                state.shut = Some(WhyDropped::ReceiverDisabled);
                lost.extend(state.queue.clear(WhyDropped::ReceiverDisabled));
            }
            (state.receiver.name.clone(), after)
        };
        let (receiver, id, seq) = (name.clone(), queued.id.to_string(), queued.seq);
        match after {
            AfterFailure::Retry { attempt, wait } => {
                let in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.report(Report::Retrying { receiver, id, seq, attempt, error, in_ms });
            }
            AfterFailure::GivenUp(lost) => {
                self.report(Report::GivenUp { receiver, id, seq, error });
                if gone {
                    self.report(Report::Disabled { receiver: name.clone() });
                }
                self.report_all(dropped(&name, lost));
            }
            AfterFailure::Nothing => {}
        }
    }

    fn delivered(&self, queued: &Queued<Document>) {
        let (receiver, attempts, works) = {
            let mut state = self.state();
            if state.shut.is_some() {
                return;
            }
            let attempts = state.queue.delivered();
            (state.receiver.name.clone(), attempts, state.failing.works())
        };
        self.report_works(works, &receiver);
        self.report(Report::Delivered { receiver, id: queued.id.to_string(), seq: queued.seq, attempts });
    }
}

/// Waits until then, or for ever.
async fn sleep_until(now: Instant, until: Option<Instant>) {
    match until {
        Some(until) => sleep(until.since(now)).await,
        None => std::future::pending().await,
    }
}

fn dropped(receiver: &str, lost: Vec<Lost>) -> Vec<Report> {
    let report = |Lost { id, seq, why }: Lost| Report::Dropped {
        receiver: receiver.to_owned(),
        id: id.to_string(),
        seq,
        why,
    };
    lost.into_iter().map(report).collect()
}

/// The document with the step that is sent as its event.
fn with_step(document: &Document, step: IncidentStep) -> Document {
    if document.event.known() == Some(step) {
        return Arc::clone(document);
    }
    Arc::new(IncidentDocument { event: step.into(), ..IncidentDocument::clone(document) })
}
