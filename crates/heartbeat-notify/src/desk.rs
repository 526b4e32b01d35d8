//! One receiver: its queue, and the one task that works it off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::deliver::{self, Failure, Parcel};
use crate::queue::{Arrival, Letter, Lost, Queue};
use crate::{DeliveryError, Receiver, Report, Webhook, WhyDropped, backoff};

/// How long a notification is tried, counted from when it was told.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(72 * 60 * 60);

/// What every desk needs from outside.
pub(crate) struct Surroundings {
    /// Seconds since 1970.
    pub(crate) unix_s: Box<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) report: Box<dyn Fn(Report) + Send + Sync>,
    /// Becomes true when desks are to end with what they have.
    pub(crate) closing: watch::Sender<bool>,
}

/// A parcel, and until when it is tried.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) parcel: Parcel,
    pub(crate) give_up_at: Instant,
}

struct State {
    receiver: Receiver,
    queue: Queue<Order>,
    /// Why nothing goes out any more.
    shut: Option<WhyDropped>,
}

/// See the module. Reports are made outside its lock, so that whoever is told may ask for the backlog.
pub(crate) struct Desk {
    surroundings: Arc<Surroundings>,
    state: Mutex<State>,
    /// Rings when something is put into an empty queue.
    bell: Notify,
}

impl Desk {
    pub(crate) fn new(receiver: Receiver, surroundings: Arc<Surroundings>) -> Self {
        let queue = Queue::new(receiver.on.clone());
        let state = Mutex::new(State { receiver, queue, shut: None });
        Self { surroundings, state, bell: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of another holder leaves a queue that is whole: no method of it can stop half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn backlog(&self) -> usize {
        self.state().queue.len()
    }

    /// Takes other settings if it is the same receiver, that is, the same name and webhook.
    pub(crate) fn adapt(&self, receiver: &Receiver) -> bool {
        let mut state = self.state();
        let same = state.receiver.name == receiver.name && state.receiver.webhook == receiver.webhook;
        if same {
            state.queue.set_on(receiver.on.clone());
            state.receiver = receiver.clone();
        }
        same
    }

    /// Takes an event of an incident; `order` writes what goes out, given the step as which it goes out.
    pub(crate) fn tell(
        &self,
        id: &Arc<str>,
        step: IncidentStep,
        document: &IncidentDocument,
        order: impl FnOnce(IncidentStep) -> Order,
    ) {
        let (name, lost) = {
            let mut state = self.state();
            let concerned = state.receiver.is_concerned(document);
            let arrival = Arrival { id: id.clone(), seq: document.seq, step, concerned };
            let lost = match state.shut {
                None => state.queue.push(&arrival, order),
                Some(why) if concerned && state.queue.asks_for(step) => {
                    vec![Lost { id: arrival.id, seq: arrival.seq, why }]
                }
                Some(_) => Vec::new(),
            };
            (state.receiver.name.clone(), lost)
        };
        self.bell.notify_one();
        self.report_lost(&name, lost);
    }

    /// An event that cannot be written for anybody.
    pub(crate) fn tell_unwritable(&self, id: &Arc<str>, seq: u64) {
        let name = self.name();
        self.report_lost(&name, vec![Lost { id: id.clone(), seq, why: WhyDropped::NoBody }]);
    }

    /// Nothing goes out from here on.
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
        (self.surroundings.report)(report);
    }

    fn report_lost(&self, name: &str, lost: Vec<Lost>) {
        for Lost { id, seq, why } in lost {
            self.report(Report::Dropped { receiver: name.to_owned(), id: id.to_string(), seq, why });
        }
    }

    /// Delivers one after the other, until closing finds nothing left.
    pub(crate) async fn work(self: Arc<Self>) {
        let mut closing = self.surroundings.closing.subscribe();
        loop {
            let next = {
                let mut state = self.state();
                let webhook = state.receiver.webhook.clone();
                state.queue.next().cloned().map(|letter| (webhook, letter))
            };
            if let Some((webhook, letter)) = next {
                while !self.attempt(&webhook, &letter, &mut closing).await {}
                continue;
            }
            if *closing.borrow() {
                return;
            }
            tokio::select! {
                () = self.bell.notified() => {}
                _ = closing.changed() => {}
            }
        }
    }

    /// One attempt, and the wait after it if it failed. True once the letter is no longer in the queue.
    async fn attempt(
        &self,
        webhook: &Webhook,
        letter: &Letter<Order>,
        closing: &mut watch::Receiver<bool>,
    ) -> bool {
        let unix_s = (self.surroundings.unix_s)();
        let Failure { error, retry_after } = match deliver::post(webhook, &letter.body.parcel, unix_s).await {
            Ok(()) => {
                self.delivered(letter);
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
        if !error.may_pass() || pause.deadline() > letter.body.give_up_at {
            self.given_up(letter, error);
            return true;
        }
        self.report(Report::Retrying {
            receiver: self.name(),
            id: letter.id.to_string(),
            seq: letter.seq,
            attempt: failures,
            error,
            in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        });
        // Closing cuts one wait short: whatever can still be delivered is to be delivered now.
        tokio::select! {
            () = pause => {}
            _ = closing.changed() => {}
        }
        false
    }

    fn delivered(&self, letter: &Letter<Order>) {
        let (receiver, attempts) = {
            let mut state = self.state();
            if state.shut.is_some() {
                return;
            }
            let attempts = state.queue.delivered();
            (state.receiver.name.clone(), attempts)
        };
        self.report(Report::Delivered { receiver, id: letter.id.to_string(), seq: letter.seq, attempts });
    }

    fn given_up(&self, letter: &Letter<Order>, error: DeliveryError) {
        let gone = matches!(error, DeliveryError::Gone);
        let (name, lost) = {
            let mut state = self.state();
            let mut lost = state.queue.given_up();
            if gone {
                state.shut = Some(WhyDropped::ReceiverDisabled);
                lost.extend(state.queue.clear(WhyDropped::ReceiverDisabled));
            }
            (state.receiver.name.clone(), lost)
        };
        let (id, seq) = (letter.id.to_string(), letter.seq);
        self.report(Report::GivenUp { receiver: name.clone(), id, seq, error });
        if gone {
            self.report(Report::Disabled { receiver: name.clone() });
        }
        self.report_lost(&name, lost);
    }
}
