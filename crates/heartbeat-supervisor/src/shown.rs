//! The part of a realm that others see: its status, and the facts for its neighbours.

use alloc::string::String;
use alloc::vec::Vec;

use heartbeat_status::{Gate, Health, Instant, Mute, NeedState, RealmName, Reason, RunId, Status};

#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) status: Status,
    pub(crate) status_since: Instant,
    pub(crate) facts: Facts,
    pub(crate) health: Health,
    /// The state of its needs; while the realm fails, the one that its needs had until its next verdict.
    pub(crate) excuse: NeedState,
    /// As in [`Facts::refuses_since`].
    pub(crate) refuses_since: Option<Instant>,
    pub(crate) flapping: bool,
    /// Receivers hear nothing of it: shown as a flag, and no decision depends on it.
    pub(crate) mute: Option<Mute>,
    /// The realm is down, and the next step is a restart for its health.
    pub(crate) restart_due: bool,
    /// Limits of its processes that the kernel does not enforce.
    pub(crate) unbounded: Vec<String>,
    /// An incident of a dependent was opened at this time: the core remembers the next proof that this realm is well.
    pub(crate) vouch_after: Option<Instant>,
    /// It has ended by itself, and no incident names it yet.
    pub(crate) crash: Option<Crash>,
    /// While it is restarted in the transaction of another realm: that realm.
    pub(crate) restarted_with: Option<RealmName>,
    /// The keys of the process that the last reload has changed.
    pub(crate) renewed: Option<String>,
    /// Changed since the last snapshot.
    pub(crate) dirty: bool,
}

/// The end of a run that was not expected.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    pub(crate) reason: Reason,
    /// For a person.
    pub(crate) message: String,
    pub(crate) at: Instant,
}

impl Shown {
    /// The first status is as old as the core's knowledge of the realm, not as old as the boot of the host.
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
            mute: None,
            restart_due: false,
            unbounded: Vec::new(),
            vouch_after: None,
            crash: None,
            restarted_with: None,
            renewed: None,
            dirty: true,
        }
    }
}

/// The facts that neighbours see of a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) status: Status,
    /// The gate `up` holds.
    pub(crate) up: bool,
    /// The gate `started` holds.
    pub(crate) started: bool,
    /// The gate `done` holds.
    pub(crate) done: bool,
    /// The realm has been done once: another run of it does not break a dependent that only waits for that.
    pub(crate) done_once: bool,
    /// The state of this realm as a need.
    pub(crate) as_need: NeedState,
    /// The realm may still start: `wants` and `after` wait for it.
    pub(crate) pending: bool,
    /// It is being stopped.
    pub(crate) stopping: bool,
    /// The realm waits for a gate of a need.
    pub(crate) waits: bool,
    /// Since when the realm answers that it refuses work.
    pub(crate) refuses_since: Option<Instant>,
    /// Since a dependent last asked, every measurement of the realm has passed; the oldest of them began at this time.
    pub(crate) evidence: Option<Instant>,
    /// The realm is measured, so a dependent can ask it.
    pub(crate) measured: bool,
    /// The current generation.
    pub(crate) run: RunId,
    /// The port that its process has until that is ended, and that the plan in force gives away.
    pub(crate) leaves_port: Option<u16>,
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
            leaves_port: None,
        }
    }
}

/// Whether the gate of a need is open.
pub(crate) fn gate_holds(until: Gate, facts: &Facts) -> bool {
    match until {
        Gate::Up => facts.up,
        Gate::Started => facts.started,
        Gate::Done => facts.done,
    }
}

/// The state of a realm that is being ended, as a need of the realm that gets its port: one that no signal ends keeps it.
pub(crate) fn port_state(facts: &Facts) -> NeedState {
    if facts.status == Status::Failed { NeedState::Broken } else { NeedState::Pending }
}

/// The state of one need for a dependent that waits for `until`. A need that only had to be done, and is done, cannot
/// break.
pub(crate) fn need_state(until: Gate, facts: &Facts) -> NeedState {
    let satisfied = until == Gate::Done && facts.done_once && facts.status != Status::Failed;
    if satisfied { NeedState::Ready } else { facts.as_need }
}
