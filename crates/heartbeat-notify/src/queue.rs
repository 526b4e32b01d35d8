//! The queue of one receiver, and which open incidents the receiver knows of.
//!
//! A plain state machine: no clock, no I/O, no randomness. It keeps one promise however events arrive, fail or are
//! dropped, and however often heartbeatd is killed: **`resolved` is delivered if and only if the incident's first step
//! for this receiver was** (its `opened`; or, for a receiver that did not ask for `opened`, the first step it asked
//! for). Only abandoning the `resolved` itself, after three days of retries, breaks it; the worker reports that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{IncidentStep, Instant};

use crate::storm::Storm;
use crate::{WhyDropped, backoff};

/// How long the worker retries a notification, counted from the incident's event.
pub const ABANDON_AFTER: Duration = Duration::from_secs(72 * 60 * 60);

/// Longest queue of one receiver, in notifications. It also bounds the incidents that are open at once for a receiver,
/// so it exceeds the number of realms that can fail together.
pub const MAX_QUEUED_NOTIFICATIONS: usize = 8_192;

/// One event of an incident, as it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) step: IncidentStep,
    pub(crate) root: Arc<str>,
    /// The incident concerns a realm that the receiver asked for.
    pub(crate) concerned: bool,
}

/// One notification that waits or is being delivered.
#[derive(Clone, Debug)]
pub(crate) struct Queued<T> {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    /// The step that is sent: `opened` when a realm of the receiver joined an open incident.
    pub(crate) step: IncidentStep,
    pub(crate) body: T,
    /// The key of the digest that it is part of.
    pub(crate) digest: Option<Arc<str>>,
    /// Number of failed attempts.
    pub(crate) failures: u32,
    /// `opened` once more: a reminder, or another root.
    is_again: bool,
    /// It is not in the outbox yet, so it must not go out.
    held: bool,
    /// The next attempt is due.
    due_at: Instant,
    /// No attempt begins after this.
    expires_at: Instant,
}

/// What the worker does next.
#[derive(Debug)]
pub(crate) enum Next<'a, T> {
    /// Delivers the first notification, or all of the first digest in one message.
    Deliver(&'a [Queued<T>]),
    /// Waits until the next attempt is due.
    Wait(Instant),
    /// Waits for another notification.
    Idle,
}

/// A failed attempt, as far as the decision depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    /// Another attempt can succeed.
    pub(crate) is_transient: bool,
    /// The wait that the receiver asks for.
    pub(crate) retry_after: Option<Duration>,
}

/// The step that a receiver gets of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SentAs {
    Step(IncidentStep),
    /// `opened`, though the receiver knows of the incident, or will.
    OpenedAgain,
}

impl SentAs {
    const fn step(self) -> IncidentStep {
        match self {
            Self::Step(step) => step,
            Self::OpenedAgain => IncidentStep::Opened,
        }
    }
}

/// What follows from a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Another attempt follows, after this wait.
    Retry { attempt: u32, wait: Duration },
    /// The notification left the queue, and with it what must not be sent without it.
    GivenUp(Vec<Lost>),
    /// No notification was under way.
    Nothing,
}

/// A notification of an earlier heartbeatd.
#[derive(Clone, Debug)]
pub(crate) struct Earlier<T> {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) step: IncidentStep,
    /// The incident is open.
    pub(crate) open: bool,
    /// The root that it names; `None` when that is not on record any more.
    pub(crate) root: Option<Arc<str>>,
    pub(crate) state: EarlierState<T>,
}

impl<T> Earlier<T> {
    /// Since when attempts at it have failed, at the earliest.
    pub(crate) fn failing_since(&self) -> Option<Instant> {
        match &self.state {
            EarlierState::Due { failures, expires_at, .. } if *failures > 0 => {
                Some(*expires_at - ABANDON_AFTER)
            }
            _ => None,
        }
    }
}

/// How far an earlier heartbeatd came with a notification.
#[derive(Clone, Debug)]
pub(crate) enum EarlierState<T> {
    /// It is still due.
    Due { body: T, digest: Option<Arc<str>>, failures: u32, due_at: Instant, expires_at: Instant },
    /// It arrived, and this is what the receiver calls the message.
    Delivered { message: Option<String> },
    /// It never arrives.
    Lost,
}

/// A notification that leaves the queue undelivered, or was not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) why: WhyDropped,
}

/// Whether the receiver knows of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    /// No: so far the incident concerns only other realms.
    OtherRealms,
    /// Not yet: its first step is in the queue.
    NotYet,
    /// Its first step was delivered.
    Yes,
    /// Its first step was given up, so the receiver gets none of the others.
    Never,
}

/// An incident that is not over for this receiver.
#[derive(Debug)]
struct OpenIncident {
    /// Its place in the order in which incidents opened.
    began: u64,
    announced: Announced,
    /// Its first step must be `opened`; otherwise any step but `resolved` may be the first.
    by_opened: bool,
    /// Its `resolved` has arrived.
    over: bool,
    /// A later step of it was held back by a mute.
    held_back: bool,
    /// What the receiver calls the message that it has of it.
    message: Option<String>,
    /// Its root, as far as the queue knows it.
    root: Option<Arc<str>>,
    last_seq: u64,
    /// When a notification of it was last queued, or the queue restored.
    queued_at: Instant,
}

/// The queue and the open incidents of one receiver.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    on: BTreeSet<IncidentStep>,
    capacity: usize,
    waiting: VecDeque<Queued<T>>,
    incidents: BTreeMap<Arc<str>, OpenIncident>,
    /// Number of incidents so far.
    begun: u64,
    /// How many notifications are being delivered, the first ones. They may have reached the receiver, so they are never
    /// dropped.
    under_way: usize,
    /// Incidents that are not over and whose `failed` was queued.
    failed: BTreeSet<Arc<str>>,
    /// Folds many incidents into digests; `None` for a receiver that gets each by itself.
    storm: Option<Storm>,
}

impl<T> Queue<T> {
    /// `folds`: of a storm, the receiver gets a digest.
    pub(crate) fn new(on: BTreeSet<IncidentStep>, folds: bool) -> Self {
        Self { storm: folds.then(Storm::default), ..Self::with_capacity(on, MAX_QUEUED_NOTIFICATIONS) }
    }

    /// A capacity is at least 2: one notification in delivery and one that waits.
    fn with_capacity(on: BTreeSet<IncidentStep>, capacity: usize) -> Self {
        let capacity = capacity.max(2);
        let (waiting, incidents) = (VecDeque::new(), BTreeMap::new());
        let failed = BTreeSet::new();
        Self { on, capacity, waiting, incidents, begun: 0, under_way: 0, failed, storm: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Since when the oldest waits.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.waiting.iter().map(|queued| queued.expires_at - ABANDON_AFTER).min()
    }

    /// Sets the steps that the receiver asks for, and whether it gets digests. Queued notifications stay.
    pub(crate) fn set(&mut self, on: BTreeSet<IncidentStep>, folds: bool) {
        self.on = on;
        self.storm = folds.then(|| self.storm.take().unwrap_or_default());
        if !folds {
            self.waiting.iter_mut().for_each(|queued| queued.digest = None);
            self.under_way = self.under_way.min(1);
        }
    }

    /// The digest that a queued notification is part of.
    pub(crate) fn digest_of(&self, id: &str, seq: u64) -> Option<Arc<str>> {
        self.waiting.iter().rev().find(|queued| queued.seq == seq && *queued.id == *id)?.digest.clone()
    }

    pub(crate) fn asks_for(&self, step: IncidentStep) -> bool {
        self.on.contains(&step)
    }

    /// Whether the receiver knows of an incident, will, or never is to.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.incidents.get(id).is_some_and(|incident| incident.announced != Announced::OtherRealms)
    }

    /// A mute holds a later step of an incident back that the receiver knows of.
    pub(crate) fn hold_back(&mut self, id: &str) {
        if let Some(incident) = self.incidents.get_mut(id) {
            incident.held_back = true;
        }
    }

    /// Whether a step was held back, once.
    pub(crate) fn take_held_back(&mut self, id: &str) -> bool {
        self.incidents.get_mut(id).is_some_and(|incident| std::mem::take(&mut incident.held_back))
    }

    /// Whether `failed` of an incident that has failed is still to be queued: the receiver was not to hear of it then.
    /// `concerned`: it is to hear of the incident now, if it has not yet.
    pub(crate) fn lacks_failed(&self, id: &str, concerned: bool) -> bool {
        let follows = match self.incidents.get(id) {
            Some(incident) => {
                !incident.over && matches!(incident.announced, Announced::NotYet | Announced::Yes)
            }
            None => concerned && !self.on.contains(&IncidentStep::Opened),
        };
        follows && self.on.contains(&IncidentStep::Failed) && !self.failed.contains(id)
    }

    /// Notes the root of an incident that an earlier heartbeatd has left without one.
    pub(crate) fn note_root(&mut self, id: &str, root: &str) {
        if let Some(incident) = self.incidents.get_mut(id) {
            incident.root.get_or_insert_with(|| root.into());
        }
    }

    /// Takes over what an earlier heartbeatd left, in the order in which it was queued.
    pub(crate) fn restore(&mut self, now: Instant, earlier: impl IntoIterator<Item = Earlier<T>>) {
        for Earlier { id, seq, step, open, root, state } in earlier {
            self.begun += 1;
            if step == IncidentStep::Failed && open {
                self.failed.insert(Arc::clone(&id));
            }
            let is_again = step == IncidentStep::Opened && self.incidents.contains_key(&id);
            let incident = self.incidents.entry(id.clone()).or_insert(OpenIncident {
                began: self.begun,
                announced: Announced::Never,
                by_opened: step == IncidentStep::Opened,
                over: !open,
                held_back: false,
                message: None,
                root: None,
                last_seq: seq,
                queued_at: now,
            });
            incident.root = root.or_else(|| incident.root.take());
            incident.last_seq = incident.last_seq.max(seq);
            incident.over |= step == IncidentStep::Resolved;
            match state {
                EarlierState::Due { body, digest, failures, due_at, expires_at } => {
                    if incident.announced == Announced::Never {
                        incident.announced = Announced::NotYet;
                    }
                    let (held, digest) = (false, digest.filter(|_| self.storm.is_some()));
                    self.waiting.push_back(Queued {
                        id,
                        seq,
                        step,
                        body,
                        digest,
                        failures,
                        is_again,
                        held,
                        due_at,
                        expires_at,
                    });
                }
                EarlierState::Delivered { message } => {
                    incident.announced = Announced::Yes;
                    incident.message = message.or_else(|| incident.message.take());
                }
                EarlierState::Lost => {}
            }
        }
        let waits = |id: &Arc<str>| self.waiting.iter().any(|queued| queued.id == *id);
        self.incidents.retain(|id, incident| {
            waits(id) || !incident.over && (incident.by_opened || incident.announced == Announced::Yes)
        });
        // The first one may have reached the receiver, and only its acknowledgement was lost.
        self.under_way = self.together();
    }

    /// Admits an event, at `now`. `body` makes what goes out for the step that is sent. It is held until it is
    /// released.
    pub(crate) fn push(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        body: impl FnOnce(IncidentStep) -> T,
    ) -> Vec<Lost> {
        let mut lost = Vec::new();
        if let Some(sent_as) = self.admit(now, arrival, &mut lost) {
            self.enqueue(now, (&arrival.id, arrival.seq), sent_as, body(sent_as.step()), &mut lost);
        }
        if arrival.step == IncidentStep::Resolved {
            self.failed.remove(&arrival.id);
        }
        lost
    }

    fn enqueue(
        &mut self,
        now: Instant,
        (id, seq): (&Arc<str>, u64),
        sent_as: SentAs,
        body: T,
        lost: &mut Vec<Lost>,
    ) {
        if let Some(incident) = self.incidents.get_mut(id) {
            incident.queued_at = now;
        }
        if sent_as.step() == IncidentStep::Failed {
            self.failed.insert(Arc::clone(id));
        }
        let digest = self.storm.as_mut().and_then(|storm| storm.take(now, id, seq));
        self.waiting.push_back(Queued {
            id: Arc::clone(id),
            seq,
            step: sent_as.step(),
            body,
            is_again: sent_as == SentAs::OpenedAgain,
            failures: 0,
            held: true,
            due_at: digest.as_ref().map_or(now, |digest| digest.due_at),
            digest: digest.map(|digest| digest.key),
            expires_at: now + ABANDON_AFTER,
        });
        while self.waiting.len() > self.capacity && self.drop_one(lost) {}
        debug_assert!(self.waiting.len() <= self.capacity, "there is always a notification to drop");
    }

    /// Since when the receiver has heard nothing of an open incident that it knows of and that has nothing in the queue.
    pub(crate) fn silent_since(&self, id: &str) -> Option<Instant> {
        let waits = || self.waiting.iter().any(|queued| *queued.id == *id);
        let incident = self.incidents.get(id)?;
        (incident.announced == Announced::Yes && !incident.over && !waits()).then_some(incident.queued_at)
    }

    /// Queues `opened` again for an incident that the receiver knows of.
    pub(crate) fn repeat(&mut self, now: Instant, id: &Arc<str>, seq: u64, body: T) -> Vec<Lost> {
        let mut lost = Vec::new();
        // A reminder is worth less than anything that would have to make room for it.
        let has_room = self.waiting.len() * 2 < self.capacity;
        if let Some(incident) = self.incidents.get_mut(id).filter(|incident| has_room && !incident.over) {
            incident.last_seq = incident.last_seq.max(seq);
            self.enqueue(now, (id, seq), SentAs::OpenedAgain, body, &mut lost);
        }
        lost
    }

    /// A notification is in the outbox, or cannot be for now: it may go out.
    pub(crate) fn release(&mut self, id: &str, seq: u64) {
        let held = self.waiting.iter_mut().rev().find(|queued| queued.seq == seq && *queued.id == *id);
        if let Some(queued) = held {
            queued.held = false;
        }
    }

    /// What to do at `now`. What is delivered stays first until it is delivered or abandoned.
    pub(crate) fn next(&mut self, now: Instant) -> Next<'_, T> {
        let together = self.together();
        let Some(first) = self.waiting.front() else { return Next::Idle };
        if self.waiting.range(..together).any(|queued| queued.held) {
            return Next::Idle;
        }
        if first.due_at > now {
            return Next::Wait(first.due_at);
        }
        if let (Some(storm), Some(key)) = (&mut self.storm, &first.digest) {
            storm.close(key);
        }
        self.under_way = together;
        Next::Deliver(&self.waiting.make_contiguous()[..together])
    }

    /// How many notifications the next message is about.
    fn together(&self) -> usize {
        match self.waiting.front() {
            _ if self.under_way > 0 => self.under_way,
            Some(Queued { digest: Some(key), .. }) => {
                self.waiting.iter().take_while(|queued| queued.digest.as_ref() == Some(key)).count()
            }
            first => usize::from(first.is_some()),
        }
    }

    /// Makes the next attempt due now.
    pub(crate) fn hurry(&mut self) {
        if let Some(queued) = self.waiting.front_mut() {
            queued.due_at = Instant::ZERO;
        }
    }

    /// Decides what follows a failed attempt; `chance` is in `0.0..1.0`.
    pub(crate) fn failed(&mut self, now: Instant, failed: Failed, chance: f64) -> AfterFailure {
        for queued in self.waiting.range_mut(..self.under_way) {
            queued.failures = queued.failures.saturating_add(1);
        }
        let Some(first) = self.waiting.front_mut().filter(|_| self.under_way > 0) else {
            return AfterFailure::Nothing;
        };
        let attempt = first.failures;
        let wait = backoff::wait(attempt, failed.retry_after, chance);
        if !failed.is_transient || now + wait > first.expires_at {
            return AfterFailure::GivenUp(self.abandoned());
        }
        first.due_at = now + wait;
        AfterFailure::Retry { attempt, wait }
    }

    /// What the receiver calls the message that it has of an incident.
    pub(crate) fn message_of(&self, id: &str) -> Option<String> {
        self.incidents.get(id)?.message.clone()
    }

    /// Removes what was delivered; returns the number of attempts. `message`: what the receiver calls it.
    pub(crate) fn delivered(&mut self, message: Option<&str>) -> u32 {
        let arrived = self.take_under_way();
        for queued in &arrived {
            if let Some(incident) = self.incidents.get_mut(&queued.id) {
                incident.announced = Announced::Yes;
                incident.message = message.map(ToOwned::to_owned).or_else(|| incident.message.take());
            }
            // A delivered notification loses nothing: this forgets the incident if it is over.
            self.settle(&queued.id, WhyDropped::NotOpened, &mut Vec::new());
        }
        arrived.first().map_or(0, |first| first.failures.saturating_add(1))
    }

    /// Removes what was being delivered. Returns what must not be sent without it.
    fn abandoned(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        for queued in self.take_under_way() {
            self.settle(&queued.id, WhyDropped::NotOpened, &mut lost);
        }
        lost
    }

    /// Drops the queue and forgets all incidents.
    pub(crate) fn clear(&mut self, why: WhyDropped) -> Vec<Lost> {
        self.under_way = 0;
        self.incidents.clear();
        self.waiting.drain(..).map(|queued| Lost { id: queued.id, seq: queued.seq, why }).collect()
    }

    fn take_under_way(&mut self) -> Vec<Queued<T>> {
        self.waiting.drain(..std::mem::take(&mut self.under_way)).collect()
    }

    /// Decides whether an event is queued, and as which step.
    fn admit(&mut self, now: Instant, arrival: &Arrival, lost: &mut Vec<Lost>) -> Option<SentAs> {
        let Arrival { id, seq, step, root, concerned } = arrival;
        let Some(incident) = self.incidents.get_mut(id) else {
            return self.begin(now, arrival, lost);
        };
        let other_realms = incident.announced == Announced::OtherRealms;
        let is_late = *seq <= incident.last_seq && !(other_realms && *step == IncidentStep::Opened);
        if incident.over || is_late || *step == IncidentStep::Opened && !other_realms {
            if !other_realms && self.on.contains(step) {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::OutOfOrder });
            }
            return None;
        }
        incident.last_seq = *seq;
        incident.over = *step == IncidentStep::Resolved;
        let before = incident.root.replace(Arc::clone(root));
        let is_moved = before.is_some_and(|before| before != *root);
        if incident.announced == Announced::Never {
            if incident.over {
                self.incidents.remove(id);
            }
            if self.on.contains(step) {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::NotOpened });
            }
            return None;
        }
        if other_realms {
            if !self.on.contains(&IncidentStep::Opened) {
                self.incidents.remove(id);
                return self.begin(now, arrival, lost);
            }
            if incident.over {
                self.incidents.remove(id);
                return None;
            }
            // For this receiver the incident opens now.
            return concerned.then(|| {
                incident.announced = Announced::NotYet;
                SentAs::Step(IncidentStep::Opened)
            });
        }
        if self.on.contains(step) {
            return Some(SentAs::Step(*step));
        }
        if is_moved && *step != IncidentStep::Resolved && self.on.contains(&IncidentStep::Opened) {
            return Some(SentAs::OpenedAgain);
        }
        self.settle(id, WhyDropped::NotOpened, lost);
        None
    }

    /// Admits an event of an incident that the queue does not know.
    fn begin(&mut self, now: Instant, arrival: &Arrival, lost: &mut Vec<Lost>) -> Option<SentAs> {
        let Arrival { id, seq, step, root, concerned } = arrival;
        let by_opened = self.on.contains(&IncidentStep::Opened);
        if !begins(by_opened, *step) || !self.on.contains(step) {
            // For a receiver without `opened`, an incident that is resolved unannounced is no loss.
            if by_opened && *concerned && self.on.contains(step) {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::NotOpened });
            }
            return None;
        }
        if !concerned && !by_opened {
            return None;
        }
        // One less than the capacity, so that the `resolved` of every incident fits beside the one in delivery.
        let full = self.incidents.len() + 1 >= self.capacity;
        if full && !(self.forget_unannounced() || *concerned && self.drop_unannounced(lost)) {
            if *concerned {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::TooManyIncidents });
            }
            return None;
        }
        let announced = if *concerned { Announced::NotYet } else { Announced::OtherRealms };
        self.begun += 1;
        let incident = OpenIncident {
            began: self.begun,
            announced,
            by_opened,
            over: false,
            held_back: false,
            message: None,
            root: Some(Arc::clone(root)),
            last_seq: *seq,
            queued_at: now,
        };
        self.incidents.insert(id.clone(), incident);
        concerned.then_some(SentAs::Step(*step))
    }

    /// Makes room for one notification at the least cost for the receiver: an `updated` or a second `opened` first; then
    /// an incident that it does not know of, preferably one that is over; then a `failed`. Never the `resolved` of an
    /// incident it knows of.
    fn drop_one(&mut self, lost: &mut Vec<Lost>) -> bool {
        self.drop_oldest(|queued| queued.step == IncidentStep::Updated || queued.is_again, lost)
            || self.drop_unannounced(lost)
            || self.drop_oldest(|queued| queued.step == IncidentStep::Failed, lost)
    }

    fn drop_oldest(&mut self, wanted: impl Fn(&Queued<T>) -> bool, lost: &mut Vec<Lost>) -> bool {
        let found = self.waiting.iter().skip(self.under_way).position(wanted);
        let Some(queued) = found.and_then(|index| self.waiting.remove(index + self.under_way)) else {
            return false;
        };
        lost.push(Lost { id: queued.id.clone(), seq: queued.seq, why: WhyDropped::QueueFull });
        self.settle(&queued.id, WhyDropped::QueueFull, lost);
        true
    }

    fn drop_unannounced(&mut self, lost: &mut Vec<Lost>) -> bool {
        let under_way: BTreeSet<&Arc<str>> =
            self.waiting.range(..self.under_way).map(|queued| &queued.id).collect();
        let unannounced = self
            .incidents
            .iter()
            .filter(|(id, incident)| incident.announced == Announced::NotYet && !under_way.contains(id));
        let Some(id) = unannounced
            .min_by_key(|(_, incident)| (!incident.over, incident.began))
            .map(|(id, _)| id.clone())
        else {
            return false;
        };
        self.waiting.retain(|queued| {
            let stays = queued.id != id;
            if !stays {
                lost.push(Lost { id: queued.id.clone(), seq: queued.seq, why: WhyDropped::QueueFull });
            }
            stays
        });
        self.incidents.remove(&id);
        true
    }

    /// Forgets the oldest incident that the receiver is not to know of.
    fn forget_unannounced(&mut self) -> bool {
        let silent = [Announced::OtherRealms, Announced::Never];
        let unannounced = self.incidents.iter().filter(|(_, incident)| silent.contains(&incident.announced));
        let oldest = unannounced.min_by_key(|(_, incident)| incident.began).map(|(id, _)| id.clone());
        oldest.is_some_and(|id| self.incidents.remove(&id).is_some())
    }

    /// Drops the notifications of this incident that must not be sent without the one that left, and forgets the
    /// incident once no step of it can follow.
    fn settle(&mut self, id: &Arc<str>, why: WhyDropped, lost: &mut Vec<Lost>) {
        let Some(incident) = self.incidents.get(id) else {
            return;
        };
        let first = |queue: &Self| queue.waiting.iter().position(|queued| queued.id == *id);
        let (announced, by_opened, over) = (incident.announced, incident.by_opened, incident.over);
        while let Some(index) = first(self) {
            if announced == Announced::Yes || begins(by_opened, self.waiting[index].step) {
                return;
            }
            lost.extend(self.waiting.remove(index).map(|queued| Lost {
                id: queued.id,
                seq: queued.seq,
                why,
            }));
        }
        if over || announced == Announced::NotYet && !by_opened {
            self.incidents.remove(id);
        } else if announced == Announced::NotYet
            && let Some(incident) = self.incidents.get_mut(id)
        {
            incident.announced = Announced::Never;
        }
    }
}

/// Whether a step can be the first that a receiver gets of an incident.
fn begins(by_opened: bool, step: IncidentStep) -> bool {
    if by_opened { step == IncidentStep::Opened } else { step != IncidentStep::Resolved }
}

#[cfg(test)]
mod kills;
#[cfg(test)]
mod tests;
