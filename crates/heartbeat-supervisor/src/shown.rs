//! What others see of a realm: its status, and the facts by which its neighbours go.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{Gate, Health, Instant, NeedState, RunId, Status};

#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) status: Status,
    pub(crate) status_since: Instant,
    pub(crate) facts: Facts,
    pub(crate) health: Health,
    /// What its needs are; while it fails, what they were until its next verdict.
    pub(crate) excuse: NeedState,
    /// As in [`Facts::refuses_since`].
    pub(crate) refuses_since: Option<Instant>,
    pub(crate) flapping: bool,
    /// It is down, and the next thing that happens is a restart for its health.
    pub(crate) restart_due: bool,
    /// Limits of its processes that no kernel enforces.
    pub(crate) unbounded: Vec<String>,
    /// An incident of a dependent was opened then: a proof that this realm was well afterwards is remembered.
    pub(crate) vouch_after: Option<Instant>,
    /// The keys by which the last reload has changed what it is made of.
    pub(crate) renewed: Option<String>,
    /// Changed since the last snapshot.
    pub(crate) dirty: bool,
}

impl Shown {
    /// Its first status is as old as it is known, and not as old as the boot of the host.
    pub(crate) fn seen_first(&mut self, now: Instant) {
        if self.status_since == Instant::ZERO {
            self.status_since = now;
        }
    }
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            status: Status::Starting,
            status_since: Instant::ZERO,
            facts: Facts::default(),
            health: Health::Unknown,
            excuse: NeedState::Ready,
            refuses_since: None,
            flapping: false,
            restart_due: false,
            unbounded: Vec::new(),
            vouch_after: None,
            renewed: None,
            dirty: true,
        }
    }
}

/// What neighbours may know of a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) status: Status,
    /// The gate `up` holds.
    pub(crate) up: bool,
    /// The gate `started` holds.
    pub(crate) started: bool,
    /// The gate `done` holds.
    pub(crate) done: bool,
    /// It has been done once: what only waits for that is not broken by another run of it.
    pub(crate) done_once: bool,
    /// What it is to a realm that needs it.
    pub(crate) as_need: NeedState,
    /// A start that is still to be decided: `wants` and `after` wait for it.
    pub(crate) pending: bool,
    /// It is being stopped.
    pub(crate) stopping: bool,
    /// It waits for a gate of what it needs.
    pub(crate) waits: bool,
    /// It answers that it refuses work, since then.
    pub(crate) refuses_since: Option<Instant>,
    /// Since it was last asked by a dependent, all it is measured by has passed; the oldest of these began then.
    pub(crate) evidence: Option<Instant>,
    /// It is judged by measurements, so it can be asked.
    pub(crate) measured: bool,
    /// The current generation.
    pub(crate) run: RunId,
}

impl Default for Facts {
    /// Nothing is known of the realm yet.
    fn default() -> Self {
        Self {
            status: Status::Starting,
            up: false,
            started: false,
            done: false,
            done_once: false,
            as_need: NeedState::Pending,
            pending: true,
            stopping: false,
            waits: false,
            refuses_since: None,
            evidence: None,
            measured: false,
            run: RunId::default(),
        }
    }
}

/// The gate of a need is open.
pub(crate) fn gate_holds(until: Gate, facts: &Facts) -> bool {
    match until {
        Gate::Up => facts.up,
        Gate::Started => facts.started,
        Gate::Done => facts.done,
    }
}

/// What one need is to a realm that waits for `until`. What only had to be done, and is done, cannot break any more.
pub(crate) fn need_state(until: Gate, facts: &Facts) -> NeedState {
    let satisfied = until == Gate::Done && facts.done_once && facts.status != Status::Failed;
    if satisfied { NeedState::Ready } else { facts.as_need }
}
