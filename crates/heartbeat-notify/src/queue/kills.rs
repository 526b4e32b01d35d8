//! Whole lives of incidents in virtual time: heartbeatd is killed at random between any two steps, the host reboots,
//! the disk fails for a while, and the receiver repeats, hangs, refuses or loses its answers.

use std::collections::BTreeMap;

use fastrand::Rng;
use heartbeat_status::WallTime;

use super::*;
use crate::restored::deadlines;
use IncidentStep::{Failed as NeedsPerson, Opened, Resolved, Updated};

const SEEDS: u64 = 200;
const INCIDENTS_PER_SEED: usize = 50;
const ALL: [IncidentStep; 4] = [Opened, Updated, NeedsPerson, Resolved];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowState {
    Due,
    Delivered,
    Lost,
}

/// A row of the outbox.
#[derive(Clone, Debug)]
struct Row {
    id: Arc<str>,
    seq: u64,
    step: IncidentStep,
    state: RowState,
    queued_at: WallTime,
    attempts: u32,
    next_at: Option<WallTime>,
    digest: Option<Arc<str>>,
}

/// One transaction of the outbox.
#[derive(Clone, Debug)]
enum Write {
    /// An incident has come so far, and this notification follows.
    Step {
        id: Arc<str>,
        seq: u64,
        open: bool,
        row: Option<Row>,
    },
    Attempt {
        id: Arc<str>,
        seq: u64,
        state: RowState,
        next_at: Option<WallTime>,
    },
}

/// `incidents.db`, as far as notifications depend on it.
#[derive(Debug, Default)]
struct Disk {
    /// Last event of each incident, and whether the incident is open.
    incidents: BTreeMap<Arc<str>, (u64, bool)>,
    outbox: Vec<Row>,
    /// Writes that are not on disk yet.
    buffered: Vec<Write>,
}

impl Disk {
    fn commit(&mut self) {
        for write in std::mem::take(&mut self.buffered) {
            match write {
                Write::Step { id, seq, open, row } => {
                    self.incidents.insert(id, (seq, open));
                    self.outbox.extend(row);
                }
                Write::Attempt { id, seq, state, next_at } => {
                    let row = self.outbox.iter_mut().find(|row| row.id == id && row.seq == seq);
                    if let Some(row) = row.filter(|row| row.state == RowState::Due) {
                        row.attempts += 1;
                        (row.state, row.next_at) = (state, next_at);
                    }
                }
            }
        }
    }
}

/// Key and step of one notification.
type Told = (String, IncidentStep);

struct World {
    rng: Rng,
    now: Instant,
    /// The wall clock at `Instant::ZERO` of this boot, in milliseconds.
    booted_ms: i64,
    disk: Disk,
    disk_fails: bool,
    queue: Queue<IncidentStep>,
    /// The receiver gets a digest of a storm.
    folds: bool,
    /// What the receiver accepted under each key, in the order of the first acceptance.
    accepted: Vec<(String, Vec<Told>)>,
    /// The receiver fails until then.
    dead_until: Instant,
    kills: u32,
    given_up: u32,
    repeated: u32,
    digests: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let folds = seed.is_multiple_of(2);
        Self {
            rng: Rng::with_seed(seed),
            folds,
            now: Instant::from_millis(1),
            booted_ms: 1_764_000_000_000,
            disk: Disk::default(),
            disk_fails: false,
            queue: Queue::new(ALL.into(), folds),
            accepted: Vec::new(),
            dead_until: Instant::ZERO,
            kills: 0,
            given_up: 0,
            repeated: 0,
            digests: 0,
        }
    }

    fn wall(&self) -> WallTime {
        WallTime::from_millis(self.booted_ms + i64::try_from(self.now.as_nanos() / 1_000_000).unwrap())
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(0..100) < percent
    }

    /// heartbeatd dies here: what is not committed is gone. Never while the disk fails, since that is two faults.
    fn maybe_killed(&mut self) -> bool {
        if self.disk_fails || !self.chance(4) {
            return false;
        }
        self.kills += 1;
        self.disk.buffered.clear();
        if self.chance(20) {
            // The host reboots: the monotonic clock begins anew.
            self.booted_ms = self.wall().as_millis() + 30_000;
            self.dead_until = Instant::from_nanos(self.dead_until.since(self.now).as_nanos() as u64);
            self.now = Instant::from_millis(1);
        }
        let (now, wall) = (self.now, self.wall());
        let outbox = self.disk.outbox.clone();
        let earlier = outbox.into_iter().map(|row| {
            let (due_at, expires_at) = deadlines(now, wall, row.queued_at, row.next_at);
            let state = match row.state {
                RowState::Due => {
                    let (body, failures, digest) = (row.step, row.attempts, row.digest);
                    EarlierState::Due { body, digest, failures, due_at, expires_at }
                }
                RowState::Delivered => EarlierState::Delivered { message: None },
                RowState::Lost => EarlierState::Lost,
            };
            let open = self.disk.incidents[&row.id].1;
            Earlier { id: row.id, seq: row.seq, step: row.step, open, root: None, state }
        });
        let mut queue = Queue::new(ALL.into(), self.folds);
        queue.restore(now, earlier);
        self.queue = queue;
        true
    }

    /// The incident writer's way with one step. False: heartbeatd was killed before the step was on disk.
    fn step(&mut self, id: &Arc<str>, seq: u64, step: IncidentStep) -> bool {
        let arrival = Arrival { id: id.clone(), seq, step, root: "db".into(), concerned: true };
        let mut queued = None;
        let lost = self.queue.push(self.now, &arrival, |step| {
            queued = Some(step);
            step
        });
        assert!(lost.iter().all(|lost| lost.why == WhyDropped::NotOpened), "{lost:?}");
        let queued_at = self.wall();
        let row = queued.map(|step| Row {
            id: id.clone(),
            seq,
            step,
            state: RowState::Due,
            queued_at,
            attempts: 0,
            next_at: None,
            digest: self.queue.digest_of(id, seq),
        });
        self.disk.buffered.push(Write::Step { id: id.clone(), seq, open: step != Resolved, row });
        if self.maybe_killed() {
            return false;
        }
        if !self.disk_fails {
            self.disk.commit();
            if self.maybe_killed() {
                return true;
            }
        }
        self.queue.release(id, seq);
        true
    }

    /// The delivery worker's way with the first notification.
    fn deliver(&mut self) {
        let Next::Deliver(queued) = self.queue.next(self.now) else { return };
        let letter: Vec<(Arc<str>, u64)> =
            queued.iter().map(|queued| (queued.id.clone(), queued.seq)).collect();
        let told =
            queued.iter().map(|queued| (format!("{}.{}", queued.id, queued.seq), queued.step)).collect();
        let own = format!("{}.{}", queued[0].id, queued[0].seq);
        let key = queued[0].digest.as_ref().map_or(own, ToString::to_string);
        let dead = self.now < self.dead_until;
        let hears = !dead && self.rng.u32(0..100) < 85;
        if hears {
            self.hear(key, told);
        }
        if self.maybe_killed() {
            return;
        }
        let answered = hears && self.chance(85);
        let (state, next_at) = if answered {
            assert!(self.queue.delivered(None) > 0);
            (RowState::Delivered, None)
        } else {
            // A receiver that may have accepted it does not refuse it for good.
            let is_transient = dead || hears || self.chance(90);
            let retry_after = self.chance(20).then(|| Duration::from_secs(self.rng.u64(0..7_200)));
            let failed = Failed { is_transient, retry_after };
            match self.queue.failed(self.now, failed, self.rng.f64()) {
                AfterFailure::Retry { wait, .. } => {
                    let next_at = self.wall().as_millis() + i64::try_from(wait.as_millis()).unwrap();
                    (RowState::Due, Some(WallTime::from_millis(next_at)))
                }
                AfterFailure::GivenUp(lost) => {
                    self.given_up += 1;
                    for lost in lost {
                        let Lost { id, seq, .. } = lost;
                        self.disk.buffered.push(Write::Attempt {
                            id,
                            seq,
                            state: RowState::Lost,
                            next_at: None,
                        });
                    }
                    (RowState::Lost, None)
                }
                AfterFailure::Nothing => unreachable!("it was under way"),
            }
        };
        for (id, seq) in letter {
            self.disk.buffered.push(Write::Attempt { id, seq, state, next_at });
        }
        if !self.maybe_killed() && !self.disk_fails {
            self.disk.commit();
        }
    }

    /// A receiver that honours keys.
    fn hear(&mut self, key: String, told: Vec<Told>) {
        match self.accepted.iter().find(|(known, _)| *known == key) {
            Some((_, before)) => {
                // The outbox may know already that some of a digest has arrived.
                assert!(
                    told.iter().all(|one| before.contains(one)),
                    "{key} means one thing: {before:?} {told:?}"
                );
                self.repeated += 1;
            }
            None => {
                self.digests += u32::from(told.len() > 1);
                self.accepted.push((key, told));
            }
        }
    }

    /// What the receiver knows, in the order in which it accepted it.
    fn told(&self) -> impl Iterator<Item = &Told> {
        self.accepted.iter().flat_map(|(_, told)| told)
    }

    fn run(&mut self) {
        let mut opened = 0;
        // Number of the last event of each open incident.
        let mut open: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        while opened < INCIDENTS_PER_SEED || !open.is_empty() {
            // Half of the time it is a storm.
            let longest_ms =
                if (self.now.as_nanos() / 600_000_000_000).is_multiple_of(2) { 60_000 } else { 2_000 };
            self.now = self.now + Duration::from_millis(self.rng.u64(1..longest_ms));
            if self.chance(3) {
                let hours = if self.chance(10) { 100 } else { 5 };
                self.dead_until = self.now + Duration::from_secs(self.rng.u64(0..hours * 3_600));
            }
            if self.chance(3) {
                self.disk_fails = !self.disk_fails;
                if !self.disk_fails {
                    self.disk.commit();
                }
            }
            if opened < INCIDENTS_PER_SEED && self.chance(30) {
                // An incident that is not on disk when heartbeatd is killed comes back under another id.
                let id: Arc<str> = format!("i{opened}").into();
                opened += usize::from(self.step(&id, 1, Opened));
            } else if let Some(id) = self.rng.choice(open.keys().cloned().collect::<Vec<_>>()) {
                let step = *self.rng.choice(&ALL[1..]).unwrap();
                self.step(&id, open[&id] + 1, step);
            }
            for _ in 0..self.rng.u32(0..6) {
                self.deliver();
            }
            if self.chance(2) {
                self.now = self.now + Duration::from_secs(self.rng.u64(0..12 * 3_600));
            }
            // What is open is on disk, and in memory while the disk fails.
            open = self.disk.incidents.iter().map(|(id, (seq, _))| (id.clone(), *seq)).collect();
            for write in &self.disk.buffered {
                if let Write::Step { id, seq, .. } = write {
                    open.insert(id.clone(), *seq);
                }
            }
            let over = |id: &Arc<str>| {
                let buffered = self.disk.buffered.iter().rev().find_map(|write| match write {
                    Write::Step { id: of, open, .. } if of == id => Some(!*open),
                    _ => None,
                });
                buffered.unwrap_or_else(|| self.disk.incidents.get(id).is_some_and(|(_, open)| !open))
            };
            open.retain(|id, _| !over(id));
        }
        // From here on everything works.
        self.disk_fails = false;
        self.disk.commit();
        self.dead_until = Instant::ZERO;
        while self.queue.len() > 0 {
            if let Next::Wait(until) = self.queue.next(self.now) {
                self.now = until;
            }
            self.deliver();
            self.disk.commit();
        }
    }

    /// Every incident is announced and resolved, unless the outbox says why not.
    fn check(&self) {
        let heard = |id: &str, step| {
            let of = format!("{id}.");
            let keys = self.told().filter(|(key, heard)| key.starts_with(&of) && *heard == step);
            keys.map(|(key, _)| key.clone()).collect::<Vec<_>>()
        };
        for (id, (_, open)) in &self.disk.incidents {
            assert!(!open, "{id}");
            let lost = |step| {
                let mut rows = self.disk.outbox.iter().filter(|row| row.id == *id && row.step == step);
                rows.any(|row| row.state == RowState::Lost)
            };
            let (opened, resolved) = (heard(id, Opened), heard(id, Resolved));
            assert!(opened.len() <= 1 && resolved.len() <= 1, "{id}: {opened:?} {resolved:?}");
            assert!(resolved.is_empty() || !opened.is_empty(), "{id} is resolved and was never opened");
            assert!(opened.len() == 1 || lost(Opened), "{id} is lost");
            assert!(resolved.len() == 1 || lost(Opened) || lost(Resolved), "the end of {id} is lost");
        }
        assert!(self.disk.outbox.iter().all(|row| row.state != RowState::Due), "nothing is left");
        let place = |(key, _): &Told| {
            let row = |row: &Row| format!("{}.{}", row.id, row.seq) == *key;
            self.disk.outbox.iter().position(row).expect("what is sent is in the outbox")
        };
        assert!(self.told().map(place).is_sorted(), "in order");
        assert!(self.folds || self.digests == 0);
    }
}

#[test]
fn ten_thousand_incidents_under_kills_and_misbehaving_receivers() {
    let (mut incidents, mut kills, mut given_up, mut repeated, mut digests) = (0, 0, 0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.run();
            world.check();
        }));
        assert!(run.is_ok(), "seed {seed}");
        incidents += world.disk.incidents.len();
        kills += world.kills;
        given_up += world.given_up;
        repeated += world.repeated;
        digests += world.digests;
    }
    assert!(incidents as u64 >= SEEDS * INCIDENTS_PER_SEED as u64, "{incidents}");
    // All of it happens, and often.
    assert!(kills > 5_000 && given_up > 200 && repeated > 1_000, "{kills} {given_up} {repeated}");
    assert!(digests > 100, "{digests}");
    println!(
        "{incidents} incidents, {kills} kills, {given_up} given up, {repeated} repetitions, {digests} digests"
    );
}
