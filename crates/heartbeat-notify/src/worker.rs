//! The delivery worker of one receiver: its queue, and the task that delivers from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::deliver::{self, Failure, Notification};
use crate::queue::{Arrival, Lost, Queue, Queued};
use crate::{DeliveryError, Receiver, Report, Webhook, WhyDropped, backoff};

/// How long the worker retries a notification, counted from the incident's event.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 60 * 60);

/// The clock, the report sink and the closing signal that all workers share.
pub(crate) struct Environment {
    /// The wall clock, in seconds since 1970.
    pub(crate) unix_s: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) report: Box<dyn Fn(Report) + Send + Sync>,
    /// Becomes true when workers deliver what they have and end.
    pub(crate) closing: watch::Sender<bool>,
}

/// A notification and the time at which the worker abandons it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) notification: Notification,
    pub(crate) expires_at: Instant,
}

struct State {
    receiver: Receiver,
    queue: Queue<Delivery>,
    /// Set once the worker delivers nothing more.
    shut: Option<WhyDropped>,
}

/// The worker reports outside its lock, so that the report sink may ask for the backlog.
pub(crate) struct DeliveryWorker {
    environment: Arc<Environment>,
    state: Mutex<State>,
    /// Notified when `push` puts something into the queue.
    wake: Notify,
}

impl DeliveryWorker {
    pub(crate) fn new(receiver: Receiver, environment: Arc<Environment>) -> Self {
        let queue = Queue::new(receiver.on.clone());
        let state = Mutex::new(State { receiver, queue, shut: None });
        Self { environment, state, wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method of the queue panics half-way, so a poisoned lock still guards a consistent queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn backlog(&self) -> usize {
        self.state().queue.len()
    }

    /// Adopts the settings of `receiver` if it has the same name and webhook; says whether it does.
    pub(crate) fn adapt(&self, receiver: &Receiver) -> bool {
        let mut state = self.state();
        let same = state.receiver.name == receiver.name && state.receiver.webhook == receiver.webhook;
        if same {
            state.queue.set_on(receiver.on.clone());
            state.receiver = receiver.clone();
        }
        same
    }

    /// Queues an event of an incident; `delivery` makes the notification for the step that goes out.
    pub(crate) fn push(
        &self,
        id: &Arc<str>,
        step: IncidentStep,
        document: &IncidentDocument,
        delivery: impl FnOnce(IncidentStep) -> Delivery,
    ) {
        let (name, lost) = {
            let mut state = self.state();
            let concerned = state.receiver.is_concerned(document);
            let arrival = Arrival { id: id.clone(), seq: document.seq, step, concerned };
            let lost = match state.shut {
                None => state.queue.push(&arrival, delivery),
                Some(why) if concerned && state.queue.asks_for(step) => {
                    vec![Lost { id: arrival.id, seq: arrival.seq, why }]
                }
                Some(_) => Vec::new(),
            };
            (state.receiver.name.clone(), lost)
        };
        self.wake.notify_one();
        self.report_lost(&name, lost);
    }

    /// Reports an event whose document cannot be serialised.
    pub(crate) fn report_unserialisable(&self, id: &Arc<str>, seq: u64) {
        let name = self.name();
        self.report_lost(&name, vec![Lost { id: id.clone(), seq, why: WhyDropped::Unserialisable }]);
    }

    /// Ends delivery and drops the queue, with reports.
    pub(crate) fn shut(&self, why: WhyDropped) {
        let (name, lost) = {
            let mut state = self.state();
            let first = state.shut.replace(why).is_none();
            let lost = if first { state.queue.clear(why) } else { Vec::new() };
            (state.receiver.name.clone(), lost)
        };
        self.report_lost(&name, lost);
    }

    fn name(&self) -> String {
        self.state().receiver.name.clone()
    }

    fn report(&self, report: Report) {
        (self.environment.report)(report);
    }

    fn report_lost(&self, name: &str, lost: Vec<Lost>) {
        for Lost { id, seq, why } in lost {
            self.report(Report::Dropped { receiver: name.to_owned(), id: id.to_string(), seq, why });
        }
    }

    /// Delivers one notification after the other; ends when closing and the queue is empty.
    pub(crate) async fn work(self: Arc<Self>) {
        let mut closing = self.environment.closing.subscribe();
        loop {
            let next = {
                let mut state = self.state();
                let webhook = state.receiver.webhook.clone();
                state.queue.next().cloned().map(|queued| (webhook, queued))
            };
            if let Some((webhook, queued)) = next {
                while !self.attempt(&webhook, &queued, &mut closing).await {}
                continue;
            }
            if *closing.borrow() {
                return;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                _ = closing.changed() => {}
            }
        }
    }

    /// Makes one attempt, and waits after a failure. True once the notification has left the queue.
    async fn attempt(
        &self,
        webhook: &Webhook,
        queued: &Queued<Delivery>,
        closing: &mut watch::Receiver<bool>,
    ) -> bool {
        let unix_s = (self.environment.unix_s)();
        let Failure { error, retry_after } =
            match deliver::post(webhook, &queued.body.notification, unix_s).await {
                Ok(()) => {
                    self.delivered(queued);
                    return true;
                }
                Err(failure) => failure,
            };
        let failures = {
            let mut state = self.state();
            if state.shut.is_some() {
                return true;
            }
            state.queue.failed()
        };
        let wait = backoff::wait(failures, retry_after, fastrand::f64());
        let pause = sleep(wait);
        if !error.is_transient() || pause.deadline() > queued.body.expires_at {
            self.abandoned(queued, error);
            return true;
        }
        self.report(Report::Retrying {
            receiver: self.name(),
            id: queued.id.to_string(),
            seq: queued.seq,
            attempt: failures,
            error,
            in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        });
        // Closing cuts the wait short: what a receiver still accepts is delivered now.
        tokio::select! {
            () = pause => {}
            _ = closing.changed() => {}
        }
        false
    }

    fn delivered(&self, queued: &Queued<Delivery>) {
        let (receiver, attempts) = {
            let mut state = self.state();
            if state.shut.is_some() {
                return;
            }
            let attempts = state.queue.delivered();
            (state.receiver.name.clone(), attempts)
        };
        self.report(Report::Delivered { receiver, id: queued.id.to_string(), seq: queued.seq, attempts });
    }

    fn abandoned(&self, queued: &Queued<Delivery>, error: DeliveryError) {
        let gone = matches!(error, DeliveryError::Gone);
        let (name, lost) = {
            let mut state = self.state();
            let mut lost = state.queue.abandoned();
            if gone {
                state.shut = Some(WhyDropped::ReceiverDisabled);
                lost.extend(state.queue.clear(WhyDropped::ReceiverDisabled));
            }
            (state.receiver.name.clone(), lost)
        };
        let (id, seq) = (queued.id.to_string(), queued.seq);
        self.report(Report::GivenUp { receiver: name.clone(), id, seq, error });
        if gone {
            self.report(Report::Disabled { receiver: name.clone() });
        }
        self.report_lost(&name, lost);
    }
}
