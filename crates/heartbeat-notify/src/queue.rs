//! What one receiver is still to be told, and what it was told of which incident.
//!
//! A plain state machine: no clock, no I/O, no randomness. It keeps one promise however events arrive, fail or are
//! dropped: **`resolved` is delivered if and only if what began the incident for this receiver was** (its `opened`;
//! or, for a receiver that did not ask for `opened`, the first step it was told). Only giving up the `resolved`
//! itself, after three days of trying, breaks it; that is reported.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use heartbeat_status::IncidentStep;

use crate::WhyDropped;

/// Longest queue of one receiver, in notifications; and most incidents that are open for it at once, so it has to be more
/// than the realms that can fail together.
pub const MAX_QUEUED_NOTIFICATIONS: usize = 8_192;

/// One event of an incident, as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) step: IncidentStep,
    /// The incident has to do with the realms the receiver asked for.
    pub(crate) concerned: bool,
}

/// One notification that waits, or is under way.
#[derive(Clone, Debug)]
pub(crate) struct Letter<T> {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    /// As what it is told, which is `opened` when the receiver's realms joined an open incident.
    pub(crate) step: IncidentStep,
    pub(crate) body: T,
    /// Attempts that failed.
    pub(crate) failures: u32,
}

/// A notification that leaves the queue undelivered, or never got in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) id: Arc<str>,
    pub(crate) seq: u64,
    pub(crate) why: WhyDropped,
}

/// What the receiver knows of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knows {
    /// Nothing, and so far it has nothing to do with its realms.
    Unconcerned,
    /// Nothing yet; what begins it is in the queue.
    Untold,
    /// At least what began it.
    Told,
}

/// An incident that is not over for this receiver.
#[derive(Debug)]
struct Case {
    /// Orders cases by their beginning.
    began: u64,
    knows: Knows,
    /// Only `opened` begins it; otherwise any step but `resolved` does.
    by_opened: bool,
    /// Its `resolved` has come.
    over: bool,
    last_seq: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    on: BTreeSet<IncidentStep>,
    capacity: usize,
    waiting: VecDeque<Letter<T>>,
    cases: BTreeMap<Arc<str>, Case>,
    /// Cases so far.
    begun: u64,
    /// The first letter has been handed out. It may have reached the receiver, so it is never dropped.
    under_way: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(on: BTreeSet<IncidentStep>) -> Self {
        Self::with_capacity(on, MAX_QUEUED_NOTIFICATIONS)
    }

    /// At least 2: one under way and one that waits.
    fn with_capacity(on: BTreeSet<IncidentStep>, capacity: usize) -> Self {
        let capacity = capacity.max(2);
        let (waiting, cases) = (VecDeque::new(), BTreeMap::new());
        Self { on, capacity, waiting, cases, begun: 0, under_way: false }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// From now on the receiver asks for these steps. What already waits stays.
    pub(crate) fn set_on(&mut self, on: BTreeSet<IncidentStep>) {
        self.on = on;
    }

    pub(crate) fn asks_for(&self, step: IncidentStep) -> bool {
        self.on.contains(&step)
    }

    /// Takes an event. `body` is asked for what goes out, given the step as which it goes out.
    pub(crate) fn push(&mut self, arrival: &Arrival, body: impl FnOnce(IncidentStep) -> T) -> Vec<Lost> {
        let mut lost = Vec::new();
        if let Some(step) = self.admit(arrival, &mut lost) {
            let body = body(step);
            let Arrival { id, seq, .. } = arrival;
            self.waiting.push_back(Letter { id: id.clone(), seq: *seq, step, body, failures: 0 });
            while self.waiting.len() > self.capacity && self.drop_one(&mut lost) {}
            debug_assert!(self.waiting.len() <= self.capacity, "something can always be dropped");
        }
        lost
    }

    /// The notification to deliver now, under way from here on until it is delivered or given up.
    pub(crate) fn next(&mut self) -> Option<&Letter<T>> {
        self.under_way = !self.waiting.is_empty();
        self.waiting.front()
    }

    /// An attempt at the one under way failed; how many have, with it.
    pub(crate) fn failed(&mut self) -> u32 {
        match self.waiting.front_mut() {
            Some(letter) if self.under_way => {
                letter.failures = letter.failures.saturating_add(1);
                letter.failures
            }
            _ => 0,
        }
    }

    /// The one under way has arrived; how many attempts that took.
    pub(crate) fn delivered(&mut self) -> u32 {
        let Some(letter) = self.take_under_way() else {
            return 0;
        };
        if let Some(case) = self.cases.get_mut(&letter.id) {
            case.knows = Knows::Told;
        }
        // Nothing is lost by what arrived: this forgets the incident if it is over.
        self.settle(&letter.id, WhyDropped::NotTold, &mut Vec::new());
        letter.failures.saturating_add(1)
    }

    /// The one under way is not tried again. Returns what therefore must not be told either.
    pub(crate) fn given_up(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        if let Some(letter) = self.take_under_way() {
            self.settle(&letter.id, WhyDropped::NotTold, &mut lost);
        }
        lost
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self, why: WhyDropped) -> Vec<Lost> {
        self.under_way = false;
        self.cases.clear();
        self.waiting.drain(..).map(|letter| Lost { id: letter.id, seq: letter.seq, why }).collect()
    }

    fn take_under_way(&mut self) -> Option<Letter<T>> {
        std::mem::take(&mut self.under_way).then(|| self.waiting.pop_front()).flatten()
    }

    /// Whether an event goes into the queue, and as which step.
    fn admit(&mut self, arrival: &Arrival, lost: &mut Vec<Lost>) -> Option<IncidentStep> {
        let Arrival { id, seq, step, concerned } = arrival;
        let Some(case) = self.cases.get_mut(id) else {
            return self.begin(arrival, lost);
        };
        if case.over || *seq <= case.last_seq || *step == IncidentStep::Opened {
            if case.knows != Knows::Unconcerned && self.on.contains(step) {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::OutOfOrder });
            }
            return None;
        }
        case.last_seq = *seq;
        case.over = *step == IncidentStep::Resolved;
        if case.knows == Knows::Unconcerned {
            if !self.on.contains(&IncidentStep::Opened) {
                self.cases.remove(id);
                return self.begin(arrival, lost);
            }
            if case.over {
                self.cases.remove(id);
                return None;
            }
            // For this receiver it opens now.
            return concerned.then(|| {
                case.knows = Knows::Untold;
                IncidentStep::Opened
            });
        }
        if self.on.contains(step) {
            return Some(*step);
        }
        self.settle(id, WhyDropped::NotTold, lost);
        None
    }

    /// An event of an incident that is not known (any more).
    fn begin(&mut self, arrival: &Arrival, lost: &mut Vec<Lost>) -> Option<IncidentStep> {
        let Arrival { id, seq, step, concerned } = arrival;
        let by_opened = self.on.contains(&IncidentStep::Opened);
        if !begins(by_opened, *step) || !self.on.contains(step) {
            // Without `opened`, most incidents end untold; that is no loss.
            if by_opened && *concerned && self.on.contains(step) {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::NotTold });
            }
            return None;
        }
        if !concerned && !by_opened {
            return None;
        }
        // One less than letters, so that the last `resolved` of all of them and the letter under way fit the queue.
        let full = self.cases.len() + 1 >= self.capacity;
        if full && !(self.forget_unconcerned() || *concerned && self.drop_untold_case(lost)) {
            if *concerned {
                lost.push(Lost { id: id.clone(), seq: *seq, why: WhyDropped::TooManyIncidents });
            }
            return None;
        }
        let knows = if *concerned { Knows::Untold } else { Knows::Unconcerned };
        self.begun += 1;
        let case = Case { began: self.begun, knows, by_opened, over: false, last_seq: *seq };
        self.cases.insert(id.clone(), case);
        concerned.then_some(*step)
    }

    /// Makes room for one letter, at the least cost for the receiver: a mere update; then an incident it knows
    /// nothing of, rather one that is over; then the call for a person. Never a `resolved` that is owed.
    fn drop_one(&mut self, lost: &mut Vec<Lost>) -> bool {
        self.drop_oldest(IncidentStep::Updated, lost)
            || self.drop_untold_case(lost)
            || self.drop_oldest(IncidentStep::Failed, lost)
    }

    fn drop_oldest(&mut self, step: IncidentStep, lost: &mut Vec<Lost>) -> bool {
        let under_way = usize::from(self.under_way);
        let found = self.waiting.iter().skip(under_way).position(|letter| letter.step == step);
        let Some(letter) = found.and_then(|index| self.waiting.remove(index + under_way)) else {
            return false;
        };
        lost.push(Lost { id: letter.id.clone(), seq: letter.seq, why: WhyDropped::QueueFull });
        self.settle(&letter.id, WhyDropped::QueueFull, lost);
        true
    }

    fn drop_untold_case(&mut self, lost: &mut Vec<Lost>) -> bool {
        let under_way = self.waiting.front().filter(|_| self.under_way).map(|letter| &letter.id);
        let untold =
            self.cases.iter().filter(|(id, case)| case.knows == Knows::Untold && Some(*id) != under_way);
        let Some(id) = untold.min_by_key(|(_, case)| (!case.over, case.began)).map(|(id, _)| id.clone())
        else {
            return false;
        };
        self.waiting.retain(|letter| {
            let stays = letter.id != id;
            if !stays {
                lost.push(Lost { id: letter.id.clone(), seq: letter.seq, why: WhyDropped::QueueFull });
            }
            stays
        });
        self.cases.remove(&id);
        true
    }

    fn forget_unconcerned(&mut self) -> bool {
        let unconcerned = self.cases.iter().filter(|(_, case)| case.knows == Knows::Unconcerned);
        let oldest = unconcerned.min_by_key(|(_, case)| case.began).map(|(id, _)| id.clone());
        oldest.is_some_and(|id| self.cases.remove(&id).is_some())
    }

    /// After a letter of this incident has left: drops those that must not be told without it, and forgets the
    /// incident once nothing more can come of it.
    fn settle(&mut self, id: &Arc<str>, why: WhyDropped, lost: &mut Vec<Lost>) {
        let Some(case) = self.cases.get(id) else {
            return;
        };
        let first = |queue: &Self| queue.waiting.iter().position(|letter| letter.id == *id);
        let (knows, by_opened, over) = (case.knows, case.by_opened, case.over);
        while let Some(index) = first(self) {
            if knows == Knows::Told || begins(by_opened, self.waiting[index].step) {
                return;
            }
            lost.extend(self.waiting.remove(index).map(|letter| Lost {
                id: letter.id,
                seq: letter.seq,
                why,
            }));
        }
        if over || knows == Knows::Untold {
            self.cases.remove(id);
        }
    }
}

/// Whether a step can be the first of an incident that a receiver is told.
fn begins(by_opened: bool, step: IncidentStep) -> bool {
    if by_opened { step == IncidentStep::Opened } else { step != IncidentStep::Resolved }
}

#[cfg(test)]
mod tests;
