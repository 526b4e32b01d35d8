//! Timers as data: one deadline out, nothing allocated in the steady state.
//!
//! Every timer has a dense slot that holds its current deadline; a binary heap orders the armed timers. Arming for later
//! leaves the entry in the heap, which moves when its time comes: most timers never fire. Only arming for earlier adds one.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use heartbeat_status::{Instant, ProbeIx, RealmIx};

use crate::Plan;

/// What a timer is for. Each realm has one of each, and three for every probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// The earliest moment a failing probe may be acted on.
    ActOnFailure,
    /// A start that keeps asking for more time has had `start.timeout_max`.
    StartOverdue,
    /// A waiting realm may start: the time for its `wants` and `after`, or the gap between two starts, is over.
    StartDue,
    /// The adapter has not answered a launch, or its cancellation, for too long.
    LaunchLost,
    /// The adapter has not reported the end of a hook in time.
    HookLost,
    /// `start.timeout` has passed; for a oneshot it bounds the whole run.
    StartTimeout,
    /// A realm without measured probes has run for `start.settle`.
    Settle,
    /// The next check of the program is due.
    ProgramCheck,
    /// `restart.verify_for` has passed.
    Verify,
    /// The restart has not been verified for too long.
    VerifyTimeout,
    /// The backoff or cooldown is over.
    Retry,
    /// The stop signal is sent again: an earlier heartbeatd may not have sent it.
    StopSignal,
    /// `stop.timeout` has passed: SIGKILL follows.
    Kill,
    /// SIGKILL has not emptied the process tree.
    Stuck,
    /// Continuously healthy for `reset_after`.
    Stable,
    /// A pause ends.
    Pause,
    /// A realm that blames a need fails alone for too long.
    Alone,
    /// The next slot of a probe.
    Slot(ProbeIx),
    /// A measurement whose answer is overdue.
    Lost(ProbeIx),
    /// The last conclusive answer of a probe is too old.
    Stale(ProbeIx),
}

/// The timers of each realm, in the order of their slots.
const OF_REALM: [TimerKind; 17] = [
    TimerKind::ActOnFailure,
    TimerKind::StartOverdue,
    TimerKind::StartDue,
    TimerKind::LaunchLost,
    TimerKind::HookLost,
    TimerKind::StartTimeout,
    TimerKind::Settle,
    TimerKind::ProgramCheck,
    TimerKind::Verify,
    TimerKind::VerifyTimeout,
    TimerKind::Retry,
    TimerKind::StopSignal,
    TimerKind::Kill,
    TimerKind::Stuck,
    TimerKind::Stable,
    TimerKind::Pause,
    TimerKind::Alone,
];
/// The timers of a realm's state: leaving the state disarms them.
const OF_STATE: core::ops::Range<usize> = 0..14;
/// Those of a stage of a state: leaving the stage disarms them.
const OF_STAGE: core::ops::Range<usize> = 2..14;
const PER_REALM: u32 = OF_REALM.len() as u32;
const PER_PROBE: u32 = 3;

/// The index of a probe by its position.
pub(crate) fn probe_ix(at: usize) -> ProbeIx {
    ProbeIx(u16::try_from(at).unwrap_or(u16::MAX))
}

#[derive(Clone, Debug)]
pub(crate) struct Timers {
    /// First slot of each realm.
    base: Vec<u32>,
    /// The realm and the kind of each slot.
    owner: Vec<(RealmIx, TimerKind)>,
    /// Current deadline of each slot.
    due: Vec<Option<Instant>>,
    /// The time of the one entry of each slot that counts, never later than its deadline.
    queued: Vec<Option<Instant>>,
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Timers {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut base = Vec::with_capacity(plan.realms().len());
        let mut owner = Vec::new();
        for (at, realm) in plan.realms().iter().enumerate() {
            let ix = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
            base.push(u32::try_from(owner.len()).unwrap_or(u32::MAX));
            for kind in OF_REALM {
                owner.push((ix, kind));
            }
            for probe in 0..realm.probes.len() {
                let probe = ProbeIx(u16::try_from(probe).unwrap_or(u16::MAX));
                for kind in [TimerKind::Slot(probe), TimerKind::Lost(probe), TimerKind::Stale(probe)] {
                    owner.push((ix, kind));
                }
            }
        }
        let due = alloc::vec![None; owner.len()];
        Self { base, owner, queued: due.clone(), due, heap: BinaryHeap::new() }
    }

    /// The deadlines that are still valid under a new plan: those of realms that stay, and of the probes they keep.
    /// `kept` has the old index of each probe, by realm.
    pub(crate) fn carried(old: &Self, plan: &Plan, kept: &[Option<Vec<Option<usize>>>]) -> Self {
        let mut timers = Self::new(plan);
        for (at, probes) in kept.iter().enumerate() {
            let Some(probes) = probes else { continue };
            let realm = RealmIx(u32::try_from(at).unwrap_or(u32::MAX));
            let mut carry = |from: TimerKind, to: TimerKind| {
                if let Some(due) = old.deadline(realm, from) {
                    timers.arm(realm, to, due);
                }
            };
            for kind in OF_REALM {
                carry(kind, kind);
            }
            for (to, from) in probes.iter().enumerate() {
                let Some(from) = from else { continue };
                let (from, to) = (probe_ix(*from), probe_ix(to));
                carry(TimerKind::Slot(from), TimerKind::Slot(to));
                carry(TimerKind::Lost(from), TimerKind::Lost(to));
                carry(TimerKind::Stale(from), TimerKind::Stale(to));
            }
        }
        timers
    }

    fn slot(&self, realm: RealmIx, kind: TimerKind) -> usize {
        let offset = match kind {
            TimerKind::Slot(probe) => PER_REALM + PER_PROBE * u32::from(probe.0),
            TimerKind::Lost(probe) => PER_REALM + PER_PROBE * u32::from(probe.0) + 1,
            TimerKind::Stale(probe) => PER_REALM + PER_PROBE * u32::from(probe.0) + 2,
            own => OF_REALM.iter().position(|known| *known == own).unwrap_or(0) as u32,
        };
        (self.base[realm.index()] + offset) as usize
    }

    /// Sets the deadline, replacing an earlier one.
    pub(crate) fn arm(&mut self, realm: RealmIx, kind: TimerKind, at: Instant) {
        let slot = self.slot(realm, kind);
        self.due[slot] = Some(at);
        if self.queued[slot].is_none_or(|queued| queued > at) {
            self.queue(slot, at);
            self.compact();
        }
    }

    fn queue(&mut self, slot: usize, at: Instant) {
        self.queued[slot] = Some(at);
        self.heap.push(Reverse((at, u32::try_from(slot).unwrap_or(u32::MAX))));
    }

    pub(crate) fn disarm(&mut self, realm: RealmIx, kind: TimerKind) {
        let slot = self.slot(realm, kind);
        self.due[slot] = None;
    }

    /// The realm leaves its state: disarms its timers.
    pub(crate) fn leave_state(&mut self, realm: RealmIx) {
        self.slots(realm, OF_STATE).fill(None);
    }

    /// The realm leaves a stage of its state.
    pub(crate) fn leave_stage(&mut self, realm: RealmIx) {
        self.slots(realm, OF_STAGE).fill(None);
    }

    fn slots(&mut self, realm: RealmIx, range: core::ops::Range<usize>) -> &mut [Option<Instant>] {
        let base = self.base[realm.index()] as usize;
        &mut self.due[base + range.start..base + range.end]
    }

    /// The earliest deadline of the stage in which the realm is.
    pub(crate) fn stage_deadline(&self, realm: RealmIx) -> Option<Instant> {
        let base = self.base[realm.index()] as usize;
        self.due[base + OF_STAGE.start..base + OF_STAGE.end].iter().flatten().copied().min()
    }

    pub(crate) fn deadline(&self, realm: RealmIx, kind: TimerKind) -> Option<Instant> {
        self.due[self.slot(realm, kind)]
    }

    /// The earliest deadline, as of the last [`Timers::settle`].
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Throws away outdated entries at the top, so that [`Timers::next`] causes no wake-up for nothing.
    pub(crate) fn settle(&mut self) {
        while let Some(&Reverse((at, slot))) = self.heap.peek() {
            if self.due[slot as usize] == Some(at) {
                return;
            }
            self.move_first(at, slot as usize);
        }
    }

    /// Moves the first entry, which is outdated, to where its timer is now.
    fn move_first(&mut self, at: Instant, slot: usize) {
        self.heap.pop();
        if self.queued[slot] == Some(at) {
            self.queued[slot] = None;
            if let Some(due) = self.due[slot] {
                self.queue(slot, due);
            }
        }
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(RealmIx, TimerKind)> {
        while let Some(&Reverse((at, slot))) = self.heap.peek() {
            let slot = slot as usize;
            if self.due[slot] != Some(at) {
                self.move_first(at, slot);
            } else if at > now {
                return None;
            } else {
                self.heap.pop();
                (self.due[slot], self.queued[slot]) = (None, None);
                return Some(self.owner[slot]);
            }
        }
        None
    }

    /// Rebuilds the heap when outdated entries outnumber the slots four to one, so that it stays bounded.
    fn compact(&mut self) {
        const OUTDATED_PER_SLOT: usize = 4;
        const SLACK_ENTRIES: usize = 64;
        if self.heap.len() <= OUTDATED_PER_SLOT * self.due.len() + SLACK_ENTRIES {
            return;
        }
        let mut entries = core::mem::take(&mut self.heap).into_vec();
        entries.clear();
        for (slot, due) in self.due.iter().enumerate() {
            if let Some(at) = due {
                entries.push(Reverse((*at, u32::try_from(slot).unwrap_or(u32::MAX))));
            }
        }
        self.heap = BinaryHeap::from(entries);
        self.queued.clone_from(&self.due);
    }
}

#[cfg(test)]
mod tests {
    use heartbeat_status::RealmName;

    use super::*;
    use crate::{PlanSettings, RealmSpec};

    /// The timers that stay armed when one of two realms leaves its state or its stage.
    fn kept(leave: fn(&mut Timers, RealmIx)) -> Vec<TimerKind> {
        let names = ["a", "b"].map(|name| RealmSpec::service(RealmName::new(name).unwrap()));
        let plan = Plan::new(PlanSettings::default(), names.to_vec()).unwrap();
        let mut timers = Timers::new(&plan);
        let at = Instant::from_millis(1);
        for realm in [RealmIx(0), RealmIx(1)] {
            OF_REALM.iter().for_each(|kind| timers.arm(realm, *kind, at));
        }
        leave(&mut timers, RealmIx(0));
        let armed = |realm| {
            let all = OF_REALM.into_iter();
            all.filter(|kind| timers.deadline(realm, *kind).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(armed(RealmIx(1)), OF_REALM, "the other realm keeps its own");
        armed(RealmIx(0))
    }

    #[test]
    fn a_state_and_a_stage_take_their_timers_with_them_and_no_other() {
        let of_realm = [TimerKind::Stable, TimerKind::Pause, TimerKind::Alone];
        assert_eq!(kept(Timers::leave_state), of_realm);
        let of_state = [TimerKind::ActOnFailure, TimerKind::StartOverdue];
        assert_eq!(kept(Timers::leave_stage), [&of_state[..], &of_realm].concat());
    }

    #[test]
    fn a_timer_fires_once_at_its_last_deadline_however_often_it_was_armed() {
        let plan = [RealmSpec::service(RealmName::new("a").unwrap())];
        let mut timers = Timers::new(&Plan::new(PlanSettings::default(), plan.to_vec()).unwrap());
        let ms = Instant::from_millis;
        let fired = |timers: &mut Timers, at: u64| timers.pop_due(ms(at)).map(|(_, kind)| kind);
        for at in 10..1_000 {
            timers.arm(RealmIx(0), TimerKind::Stable, ms(at));
        }
        assert_eq!(timers.heap.len(), 1, "later ones add nothing");
        timers.settle();
        assert_eq!((timers.next(), fired(&mut timers, 998)), (Some(ms(999)), None));
        timers.arm(RealmIx(0), TimerKind::Stable, ms(500));
        timers.arm(RealmIx(0), TimerKind::Pause, ms(400));
        timers.disarm(RealmIx(0), TimerKind::Pause);
        timers.arm(RealmIx(0), TimerKind::Pause, ms(500));
        assert_eq!(fired(&mut timers, 499), None);
        let both = [fired(&mut timers, 500), fired(&mut timers, 500), fired(&mut timers, 2_000)];
        assert_eq!(both, [Some(TimerKind::Stable), Some(TimerKind::Pause), None]);
        timers.arm(RealmIx(0), TimerKind::Stable, ms(999));
        assert_eq!(fired(&mut timers, 2_000), Some(TimerKind::Stable));
        assert_eq!((fired(&mut timers, 2_000), timers.next()), (None, None));
    }

    #[test]
    fn a_stage_has_the_deadline_of_its_own_timers() {
        let plan = [RealmSpec::service(RealmName::new("a").unwrap())];
        let plan = Plan::new(PlanSettings::default(), plan.to_vec()).unwrap();
        let of_stage = kept(|_, _| {}).into_iter().filter(|kind| !kept(Timers::leave_stage).contains(kind));
        let of_stage: Vec<TimerKind> = of_stage.collect();
        for kind in OF_REALM {
            let mut timers = Timers::new(&plan);
            timers.arm(RealmIx(0), kind, Instant::from_millis(1));
            let deadline = timers.stage_deadline(RealmIx(0)).is_some();
            assert_eq!(deadline, of_stage.contains(&kind), "{kind:?}");
        }
    }
}
