//! The promise about `resolved`, by example and against random histories.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use IncidentStep::{Failed as NeedsPerson, Opened, Resolved, Updated};

const ALL: [IncidentStep; 4] = [Opened, Updated, NeedsPerson, Resolved];
const NOW: Instant = Instant::from_millis(1_000);
/// Every wait is over by then.
const LATER: Instant = Instant::from_millis(10_000_000);
const HUNG: Failed = Failed { is_transient: true, retry_after: None };

fn queue(on: &[IncidentStep], capacity: usize) -> Queue<IncidentStep> {
    Queue::with_capacity(on.iter().copied().collect(), capacity)
}

fn arrival(id: &str, seq: u64, step: IncidentStep) -> Arrival {
    Arrival { id: id.into(), seq, step, root: "db".into(), concerned: true }
}

impl Queue<IncidentStep> {
    fn put(&mut self, id: &str, seq: u64, step: IncidentStep) -> Vec<(String, u64, WhyDropped)> {
        self.put_arrival(&arrival(id, seq, step))
    }

    fn put_arrival(&mut self, arrival: &Arrival) -> Vec<(String, u64, WhyDropped)> {
        let lost = self.push(NOW, arrival, |sent_as| sent_as);
        self.release(&arrival.id, arrival.seq);
        lost.into_iter().map(|lost| (lost.id.to_string(), lost.seq, lost.why)).collect()
    }

    /// The notification to deliver, whenever its attempt is due.
    fn first(&mut self) -> Option<&Queued<IncidentStep>> {
        match self.next(LATER) {
            Next::Deliver(queued) => queued.first(),
            Next::Wait(until) => panic!("not before {until:?}"),
            Next::Idle => None,
        }
    }

    /// Gives up the first notification.
    fn refused(&mut self) -> AfterFailure {
        self.failed(NOW, Failed { is_transient: false, retry_after: None }, 0.5)
    }

    /// The first notification fails; the attempts so far.
    fn hung(&mut self) -> u32 {
        match self.failed(NOW, HUNG, 0.5) {
            AfterFailure::Retry { attempt, .. } => attempt,
            _ => 0,
        }
    }

    /// Delivers everything that is queued.
    fn drain(&mut self) -> Vec<(String, u64, IncidentStep)> {
        let mut told = Vec::new();
        while let Some(queued) = self.first() {
            assert_eq!(queued.step, queued.body);
            told.push((queued.id.to_string(), queued.seq, queued.step));
            self.delivered(None);
        }
        told
    }
}

fn told(list: &[(&str, u64, IncidentStep)]) -> Vec<(String, u64, IncidentStep)> {
    list.iter().map(|(id, seq, step)| ((*id).to_owned(), *seq, *step)).collect()
}

fn lost(list: &[(&str, u64, WhyDropped)]) -> Vec<(String, u64, WhyDropped)> {
    list.iter().map(|(id, seq, why)| ((*id).to_owned(), *seq, *why)).collect()
}

#[test]
fn in_order_and_only_what_was_asked_for() {
    let mut queue = queue(&[Opened, NeedsPerson, Resolved], 9);
    for (seq, step) in [(1, Opened), (2, Updated), (3, NeedsPerson), (4, Resolved)] {
        assert!(queue.put("a", seq, step).is_empty());
    }
    assert_eq!(queue.drain(), told(&[("a", 1, Opened), ("a", 3, NeedsPerson), ("a", 4, Resolved)]));
    assert!(queue.incidents.is_empty(), "an incident that is over is forgotten");
}

#[test]
fn attempts_are_counted_and_the_one_under_way_stays_first() {
    let mut queue = queue(&ALL, 9);
    queue.put("a", 1, Opened);
    queue.put("b", 1, Opened);
    assert_eq!(queue.hung(), 0, "nothing is under way yet");
    assert_eq!(queue.delivered(None), 0);
    assert_eq!(&*queue.first().unwrap().id, "a");
    assert_eq!((queue.hung(), queue.hung()), (1, 2));
    assert!(matches!(queue.next(NOW), Next::Wait(until) if until == NOW + Duration::from_secs(2)));
    assert_eq!(&*queue.first().unwrap().id, "a");
    assert_eq!(queue.delivered(None), 3);
    assert_eq!(&*queue.first().unwrap().id, "b");
}

#[test]
fn without_opened_nothing_follows() {
    let mut queue = queue(&ALL, 9);
    assert_eq!(queue.put("a", 2, Updated), lost(&[("a", 2, WhyDropped::NotOpened)]));
    assert_eq!(queue.put("a", 3, Resolved), lost(&[("a", 3, WhyDropped::NotOpened)]));
    assert_eq!(queue.drain(), []);
}

#[test]
fn giving_up_opened_takes_the_rest_with_it() {
    let mut queue = queue(&ALL, 9);
    queue.put("a", 1, Opened);
    queue.put("b", 1, Opened);
    queue.put("a", 2, Resolved);
    queue.first();
    let gone = queue.refused();
    let not_opened = Lost { id: "a".into(), seq: 2, why: WhyDropped::NotOpened };
    assert_eq!(gone, AfterFailure::GivenUp(vec![not_opened]));
    assert_eq!(queue.put("a", 3, NeedsPerson), lost(&[("a", 3, WhyDropped::NotOpened)]));
    assert_eq!(queue.drain(), told(&[("b", 1, Opened)]));
}

#[test]
fn giving_up_in_the_middle_keeps_the_end() {
    let mut queue = queue(&ALL, 9);
    queue.put("a", 1, Opened);
    queue.drain();
    queue.put("a", 2, NeedsPerson);
    queue.put("a", 3, Resolved);
    queue.first();
    assert_eq!(queue.refused(), AfterFailure::GivenUp(Vec::new()));
    assert_eq!(queue.drain(), told(&[("a", 3, Resolved)]));
}

#[test]
fn a_full_queue_drops_updates_then_incidents_then_calls_for_a_person() {
    let mut queue = queue(&ALL, 4);
    queue.put("a", 1, Opened);
    queue.drain();
    queue.put("a", 2, Updated);
    queue.put("a", 3, NeedsPerson);
    queue.put("b", 1, Opened);
    queue.put("c", 1, Opened);
    assert_eq!(queue.put("c", 2, Resolved), lost(&[("a", 2, WhyDropped::QueueFull)]));
    // `c` is over and no receiver heard of it, so it goes before the older `b`, which is still open.
    assert_eq!(
        queue.put("a", 4, Updated),
        lost(&[("a", 4, WhyDropped::QueueFull)]),
        "an update makes no room for itself"
    );
    assert_eq!(
        queue.put("a", 5, Resolved),
        lost(&[("c", 1, WhyDropped::QueueFull), ("c", 2, WhyDropped::QueueFull)])
    );
    assert_eq!(queue.drain(), told(&[("a", 3, NeedsPerson), ("b", 1, Opened), ("a", 5, Resolved)]));
}

#[test]
fn what_is_queued_or_under_way_is_never_dropped() {
    let mut queue = queue(&ALL, 3);
    queue.put("a", 1, Opened);
    queue.drain();
    queue.put("b", 1, Opened);
    queue.first();
    queue.put("b", 2, NeedsPerson);
    queue.put("a", 2, Resolved);
    assert_eq!(queue.put("b", 3, Resolved), lost(&[("b", 2, WhyDropped::QueueFull)]));
    assert_eq!(queue.put("c", 1, Opened), lost(&[("c", 1, WhyDropped::TooManyIncidents)]));
    assert_eq!(queue.drain(), told(&[("b", 1, Opened), ("a", 2, Resolved), ("b", 3, Resolved)]));
}

#[test]
fn a_receiver_of_failures_hears_of_the_end_of_these_only() {
    let mut queue = queue(&[NeedsPerson, Resolved], 9);
    for (id, failed) in [("a", true), ("b", false)] {
        queue.put(id, 1, Opened);
        if failed {
            queue.put(id, 2, NeedsPerson);
        }
        assert!(queue.put(id, 3, Resolved).is_empty(), "an end that nobody waits for is no loss");
    }
    assert_eq!(queue.drain(), told(&[("a", 2, NeedsPerson), ("a", 3, Resolved)]));
}

#[test]
fn an_incident_opens_for_a_receiver_when_it_comes_to_concern_it() {
    let mut queue = queue(&[Opened, Resolved], 9);
    let at = |seq, step, concerned| Arrival { concerned, ..arrival("a", seq, step) };
    assert!(queue.put_arrival(&at(1, Opened, false)).is_empty());
    assert!(queue.put_arrival(&at(2, Updated, false)).is_empty());
    assert!(queue.put_arrival(&at(3, Updated, true)).is_empty());
    assert!(queue.put_arrival(&at(4, Updated, true)).is_empty());
    assert!(queue.put_arrival(&at(5, Resolved, false)).is_empty());
    assert_eq!(queue.drain(), told(&[("a", 3, Opened), ("a", 5, Resolved)]));
    assert!(queue.put_arrival(&Arrival { concerned: false, ..arrival("b", 1, Opened) }).is_empty());
    assert!(queue.put_arrival(&Arrival { concerned: false, ..arrival("b", 2, Resolved) }).is_empty());
    assert!(queue.incidents.is_empty() && queue.waiting.is_empty());
}

#[test]
fn a_receiver_without_updated_hears_of_another_root_by_a_second_opened() {
    let moved = |seq, step, root: &str| Arrival { root: root.into(), ..arrival("a", seq, step) };
    for (on, expected) in [
        (&[Opened, Resolved][..], vec![("a", 1, Opened), ("a", 3, Opened), ("a", 5, Resolved)]),
        (&[Opened, NeedsPerson, Resolved], {
            vec![("a", 1, Opened), ("a", 3, Opened), ("a", 4, NeedsPerson), ("a", 5, Resolved)]
        }),
        (&[Opened, Updated], { vec![("a", 1, Opened), ("a", 2, Updated), ("a", 3, Updated)] }),
        // It did not ask for `opened`.
        (&[NeedsPerson, Resolved], vec![("a", 4, NeedsPerson), ("a", 5, Resolved)]),
    ] {
        let mut queue = queue(on, 9);
        queue.put_arrival(&moved(1, Opened, "api"));
        let mut heard = queue.drain();
        for (seq, step) in [(2, Updated), (3, Updated), (4, NeedsPerson), (5, Resolved)] {
            queue.put_arrival(&moved(seq, step, if seq < 3 { "api" } else { "db" }));
        }
        heard.extend(queue.drain());
        assert_eq!(heard, told(&expected), "{on:?}");
        assert!(queue.incidents.is_empty() || !on.contains(&Resolved));
    }
}

#[test]
fn after_a_restart_another_root_is_told_as_well() {
    let delivered = |root: Option<&str>| Earlier {
        id: "a".into(),
        seq: 1,
        step: Opened,
        open: true,
        root: root.map(Into::into),
        state: EarlierState::Delivered { message: None },
    };
    for (root, announced, expected) in [
        (None, Some("api"), vec![("a", 2, Opened)]),
        (None, Some("db"), vec![]),
        (Some("api"), None, vec![("a", 2, Opened)]),
        (Some("api"), Some("web"), vec![("a", 2, Opened)]),
        (Some("db"), Some("api"), vec![]),
    ] {
        let mut queue = queue(&[Opened, Resolved], 9);
        queue.restore(NOW, [delivered(root)]);
        announced.into_iter().for_each(|root| queue.note_root("a", root));
        queue.put_arrival(&Arrival { root: "db".into(), ..arrival("a", 2, Updated) });
        assert_eq!(queue.drain(), told(&expected), "{root:?} {announced:?}");
    }
}

#[test]
fn a_second_opened_makes_room_for_what_matters_more() {
    let mut queue = queue(&[Opened, NeedsPerson, Resolved], 3);
    queue.put("a", 1, Opened);
    queue.drain();
    queue.put_arrival(&Arrival { root: "web".into(), ..arrival("a", 2, Updated) });
    queue.put("a", 3, NeedsPerson);
    queue.put("b", 1, Opened);
    assert_eq!(queue.put("a", 4, Resolved), lost(&[("a", 2, WhyDropped::QueueFull)]));
    assert_eq!(queue.drain(), told(&[("a", 3, NeedsPerson), ("b", 1, Opened), ("a", 4, Resolved)]));
}

#[test]
fn repeated_and_late_events_are_dropped() {
    let mut queue = queue(&ALL, 9);
    queue.put("a", 1, Opened);
    assert_eq!(queue.put("a", 1, Opened), lost(&[("a", 1, WhyDropped::OutOfOrder)]));
    queue.put("a", 3, Resolved);
    assert_eq!(queue.put("a", 4, NeedsPerson), lost(&[("a", 4, WhyDropped::OutOfOrder)]));
    assert_eq!(queue.drain(), told(&[("a", 1, Opened), ("a", 3, Resolved)]));
}

#[test]
fn other_steps_asked_for_later_keep_what_was_promised() {
    let mut queue = queue(&[NeedsPerson, Resolved], 9);
    queue.put("a", 1, Opened);
    queue.put("a", 2, NeedsPerson);
    queue.set(ALL.into(), false);
    queue.put("a", 3, Resolved);
    assert_eq!(queue.drain(), told(&[("a", 2, NeedsPerson), ("a", 3, Resolved)]));
}

/// One thing that happens to a queue.
#[derive(Clone, Debug)]
enum Op {
    /// An event of the incident in this running; after its `resolved` another incident takes the running.
    Event {
        running: usize,
        step: IncidentStep,
        concerned: bool,
        /// Another realm is the root from now on.
        moves: bool,
    },
    /// Anything, in any order.
    Noise {
        id: u64,
        seq: u64,
        step: IncidentStep,
        concerned: bool,
    },
    Next,
    Failed,
    Delivered,
    GivenUp,
    On(BTreeSet<IncidentStep>),
}

fn step() -> impl Strategy<Value = IncidentStep> {
    prop_oneof![Just(Opened), Just(Updated), Just(NeedsPerson), Just(Resolved)]
}

fn orderly() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..5_usize, step(), prop::bool::weighted(0.7), prop::bool::weighted(0.3))
            .prop_map(|(running, step, concerned, moves)| Op::Event { running, step, concerned, moves }),
        3 => Just(Op::Next),
        1 => Just(Op::Failed),
        2 => Just(Op::Delivered),
        1 => Just(Op::GivenUp),
    ]
}

fn wild() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => orderly(),
        4 => (0..12_u64, 0..6_u64, step(), any::<bool>())
            .prop_map(|(id, seq, step, concerned)| Op::Noise { id, seq, step, concerned }),
        1 => vec(step(), 0..4).prop_map(|on| Op::On(on.into_iter().collect())),
    ]
}

fn some_on() -> impl Strategy<Value = BTreeSet<IncidentStep>> {
    vec(step(), 1..5).prop_map(|on| on.into_iter().collect())
}

/// A queue, and what an observer saw of it.
struct Observed {
    queue: Queue<IncidentStep>,
    /// Number of the incident and of its next event, by running.
    running: [(u64, u64); 5],
    roots: [u32; 5],
    incidents: u64,
    delivered: Vec<(Arc<str>, u64, IncidentStep)>,
    abandoned: Vec<(Arc<str>, u64, IncidentStep)>,
    /// `resolved` that came.
    resolved: BTreeSet<Arc<str>>,
    entered: usize,
    left: usize,
}

impl Observed {
    fn new(on: BTreeSet<IncidentStep>, capacity: usize) -> Self {
        Self {
            queue: Queue::with_capacity(on, capacity),
            running: [0, 1, 2, 3, 4].map(|n| (n, 0)),
            roots: [0; 5],
            incidents: 5,
            delivered: Vec::new(),
            abandoned: Vec::new(),
            resolved: BTreeSet::new(),
            entered: 0,
            left: 0,
        }
    }

    fn push(&mut self, arrival: &Arrival) {
        let before = self.queue.waiting.len();
        let mut entered = 0;
        let lost = self.queue.push(NOW, arrival, |sent_as| {
            entered = 1;
            sent_as
        });
        self.queue.release(&arrival.id, arrival.seq);
        // One that was refused is reported without ever having been in the queue.
        let refused = usize::from(
            entered == 0 && lost.iter().any(|lost| lost.id == arrival.id && lost.seq == arrival.seq),
        );
        self.entered += entered;
        self.left += lost.len() - refused;
        assert_eq!(self.queue.waiting.len(), before + entered + refused - lost.len());
    }

    fn event(&mut self, running: usize, (step, moves): (IncidentStep, bool), concerned: bool) {
        let (incident, seq) = self.running[running];
        let step = match (seq, step) {
            (0, _) => Opened,
            (_, Opened) => Updated,
            (_, step) => step,
        };
        let id: Arc<str> = format!("i{incident}").into();
        self.roots[running] += u32::from(moves && step == Updated);
        let root = self.roots[running].to_string().into();
        self.push(&Arrival { id: id.clone(), seq: seq + 1, step, root, concerned });
        self.running[running].1 += 1;
        if step == Resolved {
            self.resolved.insert(id);
            self.running[running] = (self.incidents, 0);
            self.incidents += 1;
        }
    }

    fn under_way(&self) -> Option<(Arc<str>, u64, IncidentStep)> {
        let first = self.queue.waiting.front().filter(|_| self.queue.under_way > 0);
        first.map(|queued| (queued.id.clone(), queued.seq, queued.step))
    }

    fn apply(&mut self, op: Op) {
        let under_way = self.under_way();
        let under_way_before = under_way.clone();
        let arrives = !matches!(op, Op::Next | Op::Delivered | Op::GivenUp);
        match op {
            Op::Event { running, step, concerned, moves } => self.event(running, (step, moves), concerned),
            Op::Noise { id, seq, step, concerned } => {
                self.push(&Arrival { concerned, ..arrival(&format!("i{id}"), seq, step) });
            }
            Op::Next => assert_eq!(self.queue.first().is_some(), self.queue.len() > 0),
            Op::Failed => assert_eq!(self.queue.hung() > 0, under_way.is_some()),
            Op::Delivered => {
                assert_eq!(self.queue.delivered(None) > 0, under_way.is_some());
                self.left += usize::from(under_way.is_some());
                self.delivered.extend(under_way);
            }
            Op::GivenUp => {
                if let AfterFailure::GivenUp(lost) = self.queue.refused() {
                    self.left += lost.len() + 1;
                }
                self.abandoned.extend(under_way);
            }
            Op::On(on) => self.queue.set(on, false),
        }
        assert!(!arrives || self.under_way() == under_way_before, "what may have arrived is not dropped");
        self.check();
    }

    fn check(&self) {
        let queue = &self.queue;
        assert!(queue.waiting.len() <= queue.capacity, "bounded");
        assert!(queue.incidents.len() < queue.capacity, "bounded");
        assert_eq!(self.entered - self.left, queue.waiting.len(), "everything is accounted for");
        for queued in &queue.waiting {
            assert!(queue.incidents.contains_key(&queued.id), "no queued without its incident");
        }
    }

    fn finish(&mut self) {
        self.apply(Op::Delivered);
        while self.queue.first().is_some() {
            self.apply(Op::Delivered);
        }
        for (id, incident) in &self.queue.incidents {
            assert!(
                !incident.over && incident.announced != Announced::NotYet,
                "{id} is forgotten when it is over"
            );
        }
    }

    /// What the receiver heard of an incident.
    fn heard(&self, id: &str) -> Vec<IncidentStep> {
        self.delivered.iter().filter(|(of, ..)| **of == *id).map(|(_, _, step)| *step).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn resolved_if_and_only_if_what_began_it(
        on in some_on(),
        capacity in 2..8_usize,
        ops in vec(orderly(), 0..150),
    ) {
        let mut observed = Observed::new(on.clone(), capacity);
        for op in ops {
            observed.apply(op);
        }
        observed.finish();
        let ids: BTreeSet<_> = observed.delivered.iter().map(|(id, ..)| id.clone()).collect();
        for id in ids {
            let heard = observed.heard(&id);
            if on.contains(&Opened) {
                prop_assert_eq!(heard[0], Opened, "{} {:?}", &id, &heard);
                prop_assert!(!(on.contains(&Updated) && heard[1..].contains(&Opened)), "{:?}", &heard);
            }
            prop_assert!(heard[0] != Resolved);
            let resolved = heard.iter().position(|step| *step == Resolved);
            prop_assert!(resolved.is_none_or(|at| at + 1 == heard.len()), "nothing after the end");
            let abandoned = observed.abandoned.iter().any(|(of, _, step)| *of == id && *step == Resolved);
            let owed = on.contains(&Resolved) && observed.resolved.contains(&id) && !abandoned;
            prop_assert_eq!(resolved.is_some(), owed, "{} {:?}", &id, &heard);
        }
    }

    #[test]
    fn order_is_kept(on in some_on(), capacity in 2..8_usize, ops in vec(orderly(), 0..150)) {
        let mut observed = Observed::new(on, capacity);
        for op in ops {
            observed.apply(op);
        }
        observed.finish();
        let mut last: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (id, seq, _) in observed.delivered {
            prop_assert!(last.insert(id, seq).is_none_or(|before| before < seq));
        }
    }

    #[test]
    fn nothing_that_may_come_breaks_the_bounds_or_the_books(
        on in some_on(),
        capacity in 0..8_usize,
        ops in vec(wild(), 0..200),
    ) {
        let mut observed = Observed::new(on, capacity);
        for op in ops {
            observed.apply(op);
        }
        observed.finish();
    }
}
