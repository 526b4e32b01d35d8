//! The delivery worker of one receiver: its queue, and the task that delivers from it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartbeat_status::{IncidentStep, Instant};
use heartbeat_wire::IncidentDocument;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use crate::deliver::{self, Failure};
use crate::failing::Failing;
use crate::mirror::{self, Mirror, Sent};
use crate::queue::{AfterFailure, Arrival, Earlier, Failed, Lost, Next, Queue, Queued};
use crate::target::Letter;
use crate::{DeliveryError, Outside, Receiver, Report, WhyDropped};

/// What is delivered.
pub(crate) type Document = Arc<IncidentDocument>;

/// What goes into the outbox: what a receiver gets, and the key of the digest that it is part of.
pub(crate) type Outgoing = (Document, Option<Arc<str>>);

/// The outside, the report sink and the closing signal that all workers share.
pub(crate) struct Environment {
    pub(crate) outside: Outside,
    pub(crate) report: Box<dyn Fn(Report) + Send + Sync>,
    /// Realms of which no receiver hears now.
    pub(crate) muted: Mutex<Arc<BTreeSet<String>>>,
    /// Becomes true when workers deliver what they have and end.
    pub(crate) closing: watch::Sender<bool>,
}

impl Environment {
    pub(crate) fn muted(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.muted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct State {
    receiver: Receiver,
    /// Of a receiver that gets one message after the other.
    queue: Queue<Document>,
    /// Of a receiver that is told the newest state of all open incidents.
    mirror: Mirror,
    failing: Failing,
    /// Set once the worker delivers nothing more.
    shut: Option<WhyDropped>,
}

impl State {
    /// The step that the receiver may hear of. A mute holds back what it could still hear of an incident that it knows,
    /// except the end; when an open incident is announced, it hears what was held back.
    fn step(
        &mut self,
        document: &IncidentDocument,
        (step, opens): (IncidentStep, bool),
        muted: &BTreeSet<String>,
    ) -> Option<IncidentStep> {
        let (knows, is_muted) = (self.queue.knows(&document.id), muted.contains(&document.root));
        match (opens, knows) {
            (true, _) if self.shut.is_some() => None,
            (true, true) if is_muted || !self.queue.take_held_back(&document.id) => {
                self.queue.note_root(&document.id, &document.root);
                None
            }
            (true, true) => document.event.known(),
            (false, true) if is_muted && step != IncidentStep::Resolved => {
                self.queue.hold_back(&document.id);
                None
            }
            (_, _) => Some(step),
        }
    }
}

/// What the task does next.
enum Turn {
    /// Delivers a notification, or a digest.
    Deliver(Receiver, Vec<Queued<Document>>),
    /// Sends the newest state of incidents.
    Send(Receiver, Vec<Sent>),
    /// Waits for the next attempt or refresh.
    Wait(Option<Instant>),
    /// Waits for another notification; until a failing receiver is due to be reported.
    Idle(Option<Instant>),
}

impl State {
    fn turn(&mut self, now: Instant, closing: bool) -> Turn {
        let (receiver, failing) = (self.receiver.clone(), self.failing.deadline());
        let first = |until: Instant| Some(failing.map_or(until, |failing| failing.min(until)));
        if receiver.target.is_mirror() {
            return match self.mirror.next(now) {
                // Another heartbeatd refreshes what has arrived.
                _ if closing && self.mirror.backlog() == 0 => Turn::Idle(None),
                mirror::Next::Send(states) => Turn::Send(receiver, states),
                mirror::Next::Wait(until) => Turn::Wait(first(until)),
                mirror::Next::Idle => Turn::Idle(failing),
            };
        }
        match self.queue.next(now) {
            Next::Deliver(queued) => Turn::Deliver(receiver, queued.to_vec()),
            Next::Wait(until) => Turn::Wait(first(until)),
            Next::Idle => Turn::Idle(failing),
        }
    }

    fn hurry(&mut self) {
        self.queue.hurry();
        self.mirror.hurry();
    }
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
        let mut queue = Queue::new(receiver.on.clone(), receiver.folds());
        let mut failing = Failing::default();
        // A restart of heartbeatd does not begin the time of a failing receiver anew.
        if let Some(since) = earlier.iter().filter_map(Earlier::failing_since).min() {
            failing.failed(since, "it failed before heartbeatd was restarted".to_owned());
        }
        let (now, mut mirror) = ((environment.outside.clock.now)(), Mirror::default());
        if receiver.target.is_mirror() {
            mirror.restore(now, earlier);
        } else {
            queue.restore(now, earlier);
        }
        let state = Mutex::new(State { receiver, queue, mirror, failing, shut: None });
        Self { environment, state, wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method of the queue panics half-way, so a poisoned lock still guards a consistent queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn backlog(&self) -> usize {
        let state = self.state();
        state.queue.len() + state.mirror.backlog()
    }

    /// Since when the oldest of what has not arrived waits.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let state = self.state();
        state.queue.oldest().into_iter().chain(state.mirror.oldest()).min()
    }

    /// Adopts the settings of `receiver`, which has the same name. Another target enables a receiver that was gone.
    pub(crate) fn adapt(&self, receiver: &Receiver) {
        let mut state = self.state();
        state.queue.set(receiver.on.clone(), receiver.folds());
        let (mut works, mut lost) = (false, Vec::new());
        if state.receiver.target.is_mirror() != receiver.target.is_mirror() {
            // The new kind begins with the incidents that are announced to it.
            lost = state.queue.clear(WhyDropped::ReceiverRemoved);
            state.mirror = Mirror::default();
        }
        if state.receiver.target != receiver.target {
            state.shut = None;
            state.queue.hurry();
            works = state.failing.works();
        }
        state.receiver = receiver.clone();
        drop(state);
        self.report_all(dropped(&receiver.name, lost));
        self.report_works(works, &receiver.name);
        self.wake.notify_one();
    }

    /// The settings in force.
    pub(crate) fn receiver(&self) -> Receiver {
        self.state().receiver.clone()
    }

    /// Whether the receiver may have to hear of an open incident though nothing happens to that.
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
    ) -> (Option<Outgoing>, Vec<Report>) {
        let muted = self.environment.muted();
        let mut state = self.state();
        let Some(step) = state.step(document, (step, opens), &muted) else {
            return (None, Vec::new());
        };
        let wall = (self.environment.outside.clock.wall)();
        let concerned = is_fallback || state.receiver.is_concerned(document, wall, &muted);
        if state.receiver.target.is_mirror() {
            return self.reflect(state, id, (document, step), concerned);
        }
        let root = document.root.as_str().into();
        self.push(state, Arrival { id: id.clone(), seq: document.seq, step, root, concerned }, document)
    }

    /// Whether the receiver is still to hear that an open incident needs a person: it has failed while the receiver was
    /// not to hear of it.
    pub(crate) fn failed_is_due(&self, document: &IncidentDocument) -> bool {
        let (muted, wall) = (self.environment.muted(), (self.environment.outside.clock.wall)());
        let state = self.state();
        let concerned = state.receiver.is_concerned(document, wall, &muted);
        state.shut.is_none()
            && !state.receiver.target.is_mirror()
            && !muted.contains(&document.root)
            && state.queue.lacks_failed(&document.id, concerned)
    }

    /// Queues `failed`, held, of an incident that has failed before.
    pub(crate) fn catch_up(&self, id: &Arc<str>, document: &Document) -> (Option<Outgoing>, Vec<Report>) {
        let root = document.root.as_str().into();
        let step = IncidentStep::Failed;
        let arrival = Arrival { id: id.clone(), seq: document.seq, step, root, concerned: true };
        self.push(self.state(), arrival, document)
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, State>,
        arrival: Arrival,
        document: &Document,
    ) -> (Option<Outgoing>, Vec<Report>) {
        let mut queued = None;
        let lost = match state.shut {
            None => state.queue.push((self.environment.outside.clock.now)(), &arrival, |sent_as| {
                let document = with_step(document, sent_as);
                queued = Some(document.clone());
                document
            }),
            Some(why) if arrival.concerned && state.queue.asks_for(arrival.step) => {
                vec![Lost { id: arrival.id, seq: arrival.seq, why }]
            }
            Some(_) => Vec::new(),
        };
        let (name, digest) = (state.receiver.name.clone(), state.queue.digest_of(&document.id, document.seq));
        drop(state);
        (queued.map(|document| (document, digest)), dropped(&name, lost))
    }

    /// As [`admit`](Self::admit), for a receiver that is told the newest state.
    fn reflect(
        &self,
        mut state: MutexGuard<'_, State>,
        id: &Arc<str>,
        (document, step): (&Document, IncidentStep),
        concerned: bool,
    ) -> (Option<Outgoing>, Vec<Report>) {
        if state.shut.is_some() {
            return (None, Vec::new());
        }
        let noted =
            state.mirror.note((self.environment.outside.clock.now)(), id, (document, step), concerned);
        let name = state.receiver.name.clone();
        drop(state);
        match noted {
            Ok(is_new) => (is_new.then(|| (Arc::clone(document), None)), Vec::new()),
            Err(why) => (None, dropped(&name, vec![Lost { id: Arc::clone(id), seq: document.seq, why }])),
        }
    }

    /// Whether the receiver is to be reminded of an open incident.
    pub(crate) fn repeat_is_due(&self, document: &IncidentDocument) -> bool {
        let muted = self.environment.muted();
        let state = self.state();
        let Some(repeat) = state.receiver.repeat.filter(|_| document.ack.is_none()) else { return false };
        let silent = state.queue.silent_since(&document.id);
        let now = (self.environment.outside.clock.now)();
        !muted.contains(&document.root) && silent.is_some_and(|since| now.since(since) >= repeat)
    }

    /// Queues `opened` again, held. Returns the digest that it is part of, and what is dropped instead.
    pub(crate) fn repeat(&self, id: &Arc<str>, document: &Document) -> (Option<Arc<str>>, Vec<Report>) {
        let mut state = self.state();
        let now = (self.environment.outside.clock.now)();
        let lost = state.queue.repeat(now, id, document.seq, Arc::clone(document));
        let (name, digest) = (state.receiver.name.clone(), state.queue.digest_of(id, document.seq));
        drop(state);
        (digest, dropped(&name, lost))
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
            state.mirror = Mirror::default();
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
            let now = (self.environment.outside.clock.now)();
            self.review(now);
            let turn = self.state().turn(now, *closing.borrow());
            match turn {
                Turn::Deliver(receiver, queued) => self.attempt(&receiver, &queued).await,
                Turn::Send(receiver, states) => self.send(&receiver, &states).await,
                Turn::Idle(_) if *closing.borrow() => return,
                // Closing cuts the wait short: what a receiver still accepts is delivered now.
                Turn::Idle(until) | Turn::Wait(until) => tokio::select! {
                    () = sleep_until(now, until) => {}
                    () = self.wake.notified() => {}
                    _ = closing.changed() => self.state().hurry(),
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
    async fn attempt(&self, receiver: &Receiver, queued: &[Queued<Document>]) {
        let key = queued.first().and_then(|first| first.digest.as_deref());
        let documents = queued.iter().map(|queued| Arc::clone(&queued.body)).collect();
        let Some(mut letter) = Letter::about(key, documents) else { return };
        if !letter.is_digest() {
            letter.conversation = self.state().queue.message_of(&letter.newest.id);
        }
        let attempt = deliver::post(receiver, &letter, &self.environment.outside).await;
        let Failure { error, retry_after } = match attempt {
            Ok(message) => return self.delivered(queued, message),
            Err(failure) => failure,
        };
        let (gone, error) = (matches!(error, DeliveryError::Gone), Arc::new(error));
        let (name, after) = {
            let mut state = self.state();
            if state.shut.is_some() {
                return;
            }
            let failed = Failed { is_transient: error.is_transient(), retry_after };
            state.failing.failed((self.environment.outside.clock.now)(), error.to_string());
            let mut after =
                state.queue.failed((self.environment.outside.clock.now)(), failed, fastrand::f64());
            if let (true, AfterFailure::GivenUp(lost)) = (gone, &mut after) {
                state.shut = Some(WhyDropped::ReceiverDisabled);
                lost.extend(state.queue.clear(WhyDropped::ReceiverDisabled));
            }
            (state.receiver.name.clone(), after)
        };
        self.report_failed((&name, gone), queued, &error, after);
    }

    fn report_failed(
        &self,
        (receiver, gone): (&str, bool),
        queued: &[Queued<Document>],
        error: &Arc<DeliveryError>,
        after: AfterFailure,
    ) {
        let of = |queued: &Queued<Document>| {
            (receiver.to_owned(), queued.id.to_string(), queued.seq, Arc::clone(error))
        };
        match after {
            AfterFailure::Retry { attempt, wait } => {
                let in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                for (receiver, id, seq, error) in queued.iter().map(of) {
                    self.report(Report::Retrying { receiver, id, seq, attempt, error, in_ms });
                }
            }
            AfterFailure::GivenUp(lost) => {
                for (receiver, id, seq, error) in queued.iter().map(of) {
                    self.report(Report::GivenUp { receiver, id, seq, error });
                }
                if gone {
                    self.report(Report::Disabled { receiver: receiver.to_owned() });
                }
                self.report_all(dropped(receiver, lost));
            }
            AfterFailure::Nothing => {}
        }
    }

    /// Sends the newest state of incidents, and reports what follows from it.
    async fn send(&self, receiver: &Receiver, states: &[Sent]) {
        let sent = deliver::post_all(receiver, states, &self.environment.outside).await;
        let now = (self.environment.outside.clock.now)();
        let mut state = self.state();
        if state.shut.is_some() {
            return;
        }
        let receiver = state.receiver.name.clone();
        let Err(Failure { error, retry_after }) = sent else {
            let (events, works) = (state.mirror.arrived(now, states), state.failing.works());
            drop(state);
            self.report_works(works, &receiver);
            for (id, seq) in events {
                let (receiver, id) = (receiver.clone(), id.to_string());
                self.report(Report::Delivered { receiver, id, seq, attempts: 1, message: None });
            }
            return;
        };
        state.failing.failed(now, error.to_string());
        let (attempt, wait) = state.mirror.failed(now, retry_after, fastrand::f64());
        drop(state);
        let Some(Sent { document, .. }) = states.last() else { return };
        let in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let (id, seq, error) = (document.id.clone(), document.seq, Arc::new(error));
        self.report(Report::Retrying { receiver, id, seq, attempt, error, in_ms });
    }

    fn delivered(&self, queued: &[Queued<Document>], message: Option<String>) {
        let (receiver, attempts, works) = {
            let mut state = self.state();
            if state.shut.is_some() {
                return;
            }
            let attempts = state.queue.delivered(message.as_deref());
            (state.receiver.name.clone(), attempts, state.failing.works())
        };
        self.report_works(works, &receiver);
        for Queued { id, seq, .. } in queued {
            let (receiver, id, seq, message) = (receiver.clone(), id.to_string(), *seq, message.clone());
            self.report(Report::Delivered { receiver, id, seq, attempts, message });
        }
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
