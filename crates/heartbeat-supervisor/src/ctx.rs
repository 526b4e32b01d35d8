//! What the code of one realm can reach: the moment, its own specification, a summary of its neighbours, and an outbox.
//! It cannot see or touch another realm.

use alloc::collections::{BTreeSet, VecDeque};

use heartbeat_status::{CheckId, Event, EventKind, Instant, NeedState, RealmIx, Signal};

use crate::timers::{TimerKind, Timers};
use crate::{Effect, RealmSpec};

/// Low bits of a [`CheckId`] that hold the realm: 16 million realms, and 40 bits of serial number above them.
const OWNER_BITS: u32 = 24;

/// What heartbeatd as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Before [`Input::Boot`](crate::Input::Boot): the core starts nothing.
    Cold,
    /// It supervises realms.
    Booted,
    /// Stopping everything, in order.
    ShuttingDown,
    /// Killing everything, order given up.
    Killing,
}

/// A summary of a realm's neighbours. Recomputed only when one of them changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DependencyView {
    pub(crate) mode: Mode,
    /// The gates of all `needs` hold.
    pub(crate) needs_hold: bool,
    /// Everything under `wants` and `after` has settled.
    pub(crate) order_holds: bool,
    /// The worst state among its `needs`.
    pub(crate) needs: NeedState,
    /// A need with `while_down = "stop"` is broken or pending.
    pub(crate) stop_with_need: bool,
    /// A need with `while_down = "restart"` is broken or pending.
    pub(crate) restart_with_need: bool,
    /// Every measured need has passed in a measurement that began at this time or later; the end of time if one has
    /// not.
    pub(crate) upstream_pass: Instant,
    /// The earliest time since when one of its needs refuses work.
    pub(crate) refused_since: Option<Instant>,
    /// A dependent is being stopped.
    pub(crate) dependents_stopping: bool,
    /// A dependent waits for a gate.
    pub(crate) dependents_waiting: bool,
    /// A realm that is being ended still has the port of this one, which starts once that is over.
    pub(crate) port_left_by: Option<RealmIx>,
}

impl DependencyView {
    /// The summary of a realm without neighbours.
    pub(crate) fn alone(mode: Mode) -> Self {
        Self {
            mode,
            needs_hold: true,
            order_holds: true,
            needs: NeedState::Ready,
            stop_with_need: false,
            restart_with_need: false,
            upstream_pass: Instant::from_nanos(u64::MAX),
            refused_since: None,
            dependents_stopping: false,
            dependents_waiting: false,
            port_left_by: None,
        }
    }
}

/// Everything that leaves the core, and what all realms share.
#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) effects: VecDeque<Effect>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) timers: Timers,
    /// Realms that wait for a launch slot, by start order.
    pub(crate) launches: BTreeSet<(u32, RealmIx)>,
    /// Realms that ask for a measurement of their needs before a restart for their health.
    pub(crate) asks: VecDeque<RealmIx>,
    /// Realms due for a restart for their health, if the circuit breaker lets them.
    pub(crate) health_restarts: VecDeque<RealmIx>,
    /// Measurements that will not come back any more; refresh rounds must not wait for them.
    pub(crate) settled_checks: VecDeque<CheckId>,
    /// Realms whose durable half has changed: the core emits it before any effect that follows from it.
    pub(crate) remember: BTreeSet<RealmIx>,
    pub(crate) ignored: u64,
    /// heartbeatd itself is late.
    pub(crate) lagging: bool,
    next_check: u64,
    next_event: u64,
    seed: u64,
}

impl Outbox {
    pub(crate) fn new(timers: Timers, seed: u64) -> Self {
        Self {
            effects: VecDeque::new(),
            events: VecDeque::new(),
            timers,
            launches: BTreeSet::new(),
            asks: VecDeque::new(),
            health_restarts: VecDeque::new(),
            settled_checks: VecDeque::new(),
            remember: BTreeSet::new(),
            ignored: 0,
            lagging: false,
            next_check: 0,
            next_event: 0,
            seed,
        }
    }

    /// Names a measurement of `realm`. The name carries its owner, so that an answer finds its way without a map.
    pub(crate) fn next_check(&mut self, realm: RealmIx) -> CheckId {
        self.next_check = self.next_check.wrapping_add(1);
        CheckId((self.next_check << OWNER_BITS) | u64::from(realm.0))
    }

    /// The realm of a measurement; an index out of range for an id that the core did not give.
    pub(crate) fn owner_of(id: CheckId) -> RealmIx {
        RealmIx(u32::try_from(id.0 & ((1 << OWNER_BITS) - 1)).unwrap_or(u32::MAX))
    }

    pub(crate) fn event(&mut self, at: Instant, spec: Option<(RealmIx, &RealmSpec)>, kind: EventKind) {
        self.next_event += 1;
        let realm = spec.map(|(ix, spec)| (ix, spec.name.clone()));
        self.events.push_back(Event { seq: self.next_event, at, realm, kind });
    }

    /// SplitMix64. The constructor's seed decides every jitter, so a run replays exactly.
    fn dice(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

/// What the code of one realm can reach.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Instant,
    pub(crate) ix: RealmIx,
    pub(crate) order: u32,
    pub(crate) spec: &'a RealmSpec,
    pub(crate) out: &'a mut Outbox,
}

impl Ctx<'_> {
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.out.effects.push_back(effect);
    }

    pub(crate) fn event(&mut self, kind: EventKind) {
        self.out.event(self.now, Some((self.ix, self.spec)), kind);
    }

    /// Counts and reports an input that makes no sense now. Nothing else changes.
    pub(crate) fn ignore(&mut self, why: &'static str) {
        self.out.ignored += 1;
        self.event(EventKind::Ignored { why });
    }

    pub(crate) fn signal(&mut self, run: heartbeat_status::RunId, signal: Signal) {
        self.effect(Effect::Signal { realm: self.ix, run, signal });
        self.event(EventKind::Signalled { run, signal, tree: true, kill_in: None });
    }

    pub(crate) fn signal_main(&mut self, run: heartbeat_status::RunId, signal: Signal) {
        self.effect(Effect::SignalMain { realm: self.ix, run, signal });
        self.event(EventKind::Signalled { run, signal, tree: false, kill_in: None });
    }

    /// Sends the stop signal; KILL follows at `kill_at`.
    pub(crate) fn stop_signal(&mut self, run: heartbeat_status::RunId, tree: bool, kill_at: Instant) {
        let (realm, signal) = (self.ix, self.spec.stop.signal);
        let effect = |signal| match tree {
            true => Effect::Signal { realm, run, signal },
            false => Effect::SignalMain { realm, run, signal },
        };
        self.effect(effect(signal));
        let kill_in = (signal != Signal::KILL).then(|| kill_at.since(self.now));
        self.event(EventKind::Signalled { run, signal, tree, kill_in });
        if signal != Signal::KILL {
            // A stopped process cannot act on the signal before it continues.
            self.effect(effect(Signal::CONT));
        }
    }

    pub(crate) fn arm(&mut self, kind: TimerKind, at: Instant) {
        self.out.timers.arm(self.ix, kind, at);
    }

    pub(crate) fn disarm(&mut self, kind: TimerKind) {
        self.out.timers.disarm(self.ix, kind);
    }

    /// Writes the durable half because the probes have new results. Any other change of it is written by itself.
    pub(crate) fn remember(&mut self) {
        self.out.remember.insert(self.ix);
    }

    /// A stage of the realm's state is over: disarms its timers.
    pub(crate) fn leave_stage(&mut self) {
        self.out.timers.leave_stage(self.ix);
    }

    pub(crate) fn dice(&mut self) -> u32 {
        self.out.dice()
    }

    pub(crate) fn request_launch(&mut self) {
        self.out.launches.insert((self.order, self.ix));
    }
}
