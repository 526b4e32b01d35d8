//! The three axes of a realm, the one word for people derived from them, and why.

use alloc::string::String;

use crate::{Health, Instant, WallTime};

closed_list! {
    /// What an operator wants; remembered over restarts.
    pub enum Desired ("desired state") {
        /// The realm should run.
        Up = "up",
        /// An operator stopped it.
        Down = "down",
    }
}

closed_list! {
    /// Where a realm is in its life.
    pub enum Phase ("phase") {
        /// Waiting for its needs.
        Waiting = "waiting",
        /// Spawned, not yet ready.
        Starting = "starting",
        /// Ready once in this generation.
        Running = "running",
        /// Being stopped; its process tree is not empty yet.
        Stopping = "stopping",
        /// Ended; waiting for the next attempt.
        Backoff = "backoff",
        /// The restart budget is used up; one trial after each cooldown.
        Cooldown = "cooldown",
        /// Not running; heartbeatd does not start it by itself.
        Stopped = "stopped",
        /// heartbeatd has stopped trying; a person is needed.
        Failed = "failed",
        /// A oneshot that succeeded.
        Done = "done",
        /// SIGKILL did not empty its process tree.
        Stuck = "stuck",
        /// Processes run that may belong to it and cannot be proven to: no signal, and no second copy.
        Unverified = "unverified",
        /// Watched, never started.
        External = "external",
    }
}

impl Phase {
    /// A process of this realm may exist in this phase.
    #[must_use]
    pub const fn may_have_process(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping | Self::Stuck | Self::Unverified)
    }
}

closed_list! {
    /// One word for people, first match of the derivation wins (see [`StatusFacts::derive`]).
    pub enum Status ("status") {
        /// Every probe that counts passes.
        Up = "up",
        /// Up, with a warning.
        Degraded = "degraded",
        /// Fails its probes, and what it needs is fine.
        Down = "down",
        /// Held up, or failing, because a realm that it needs is broken.
        Blocked = "blocked",
        /// heartbeatd has stopped trying, or tries rarely: a person is needed.
        Failed = "failed",
        /// On its way up.
        Starting = "starting",
        /// In a restart that is not verified yet.
        Restarting = "restarting",
        /// An operator stopped it, and some of its processes are still alive.
        Stopping = "stopping",
        /// Stopped on purpose; none of its processes is alive.
        Stopped = "stopped",
        /// Paused on purpose.
        Paused = "paused",
        /// A oneshot that succeeded.
        Done = "done",
        /// No recent evidence.
        Unknown = "unknown",
    }
}

impl Status {
    /// The sign that stands before its word, so that colour is never alone.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Up => "●",
            Self::Done => "✓",
            Self::Degraded => "▲",
            Self::Starting => "◌",
            Self::Restarting => "↻",
            Self::Down => "✗",
            Self::Failed => "‼",
            Self::Blocked => "⊘",
            Self::Stopping => "◎",
            Self::Stopped => "○",
            Self::Paused => "‖",
            Self::Unknown => "?",
        }
    }

    /// Whether this is a desired state: `ok`, `status` and the exit codes count it as fine.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Up | Self::Degraded | Self::Done | Self::Stopping | Self::Stopped | Self::Paused)
    }

    /// How bad it is, for sorting: failed, down, blocked, restarting, unknown, starting, degraded, then the rest.
    #[must_use]
    pub const fn severity(self) -> u8 {
        match self {
            Self::Failed => 9,
            Self::Down => 8,
            Self::Blocked => 7,
            Self::Restarting => 6,
            Self::Unknown => 5,
            Self::Starting => 4,
            Self::Degraded => 3,
            Self::Paused => 2,
            Self::Stopping | Self::Stopped => 1,
            Self::Up | Self::Done => 0,
        }
    }
}

closed_list! {
    /// Why a status is what it is: a closed, documented code.
    pub enum Reason ("status reason") {
        /// Every probe passes.
        Healthy = "Healthy",
        /// Passes, but slower than `slow`.
        Slow = "Slow",
        /// Passes with another warning.
        Degraded = "Degraded",
        /// Spawned, not yet ready.
        Starting = "Starting",
        /// Waits for a need to get ready.
        WaitingForNeed = "WaitingForNeed",
        /// A need is broken.
        NeedBroken = "NeedBroken",
        /// The process ended.
        Exited = "Exited",
        /// It used more memory than it may, or was killed for want of memory.
        OutOfMemory = "OutOfMemory",
        /// The process could not be started.
        StartFailed = "StartFailed",
        /// Not ready within `start.timeout`.
        StartTimedOut = "StartTimedOut",
        /// A live or ready probe is past its threshold.
        ProbeFailed = "ProbeFailed",
        /// Another process holds its port.
        WrongProcess = "WrongProcess",
        /// Changes too often to be called up or down.
        Flapping = "Flapping",
        /// Waits for the next attempt.
        Backoff = "Backoff",
        /// The restart budget is used up; one trial after each cooldown.
        Cooldown = "Cooldown",
        /// The restart budget is used up and `when_spent = "fail"`.
        BudgetSpent = "BudgetSpent",
        /// SIGKILL did not empty the process tree.
        Stuck = "Stuck",
        /// Started only on request (`manual = true`).
        Manual = "Manual",
        /// An operator stopped it.
        StoppedByOperator = "StoppedByOperator",
        /// An operator paused it.
        Paused = "Paused",
        /// A oneshot that succeeded.
        Done = "Done",
        /// No measurement yet.
        NoEvidence = "NoEvidence",
        /// The last measurement is too old.
        Stale = "Stale",
        /// Adopted after a restart of heartbeatd; no fresh measurement yet.
        Adopted = "Adopted",
        /// Processes that may belong to it, and that cannot be proven to.
        Unverifiable = "Unverifiable",
        /// The realm is being stopped.
        Stopping = "Stopping",
        /// No `run`, and no probe.
        External = "External",
        /// Too many realms became unhealthy at once: heartbeatd suspects itself and holds restarts for health.
        StormFuse = "StormFuse",
        /// heartbeatd itself has a problem: the reason of an incident, never of a realm's status.
        OwnProblem = "OwnProblem",
        /// Fails while a realm that it needs answers that it refuses work.
        SuspectNeed = "SuspectNeed",
        /// Runs, and its server answers that it is still starting up.
        StartingUp = "StartingUp",
    }
}

closed_list! {
    /// What heartbeatd does next by itself.
    pub enum NextAction ("next action") {
        /// The next measurement.
        Probe = "probe",
        /// The next start.
        Start = "start",
        /// The next restart.
        Restart = "restart",
        /// Waits for the verification of a restart.
        Verify = "verify",
        /// Kills what is left.
        Kill = "kill",
        /// Ends the pause.
        Resume = "resume",
        /// Is done: a oneshot that runs.
        Done = "done",
        /// Nothing: a person has to act.
        None = "none",
    }
}

closed_list! {
    /// Remarks beside the status.
    pub enum Flag ("flag") {
        /// Passes although a realm that it needs is broken.
        UpstreamDown = "upstream_down",
        /// Changes too often.
        Flapping = "flapping",
        /// Evidence is too old.
        Stale = "stale",
        /// Adopted after a restart of heartbeatd; no fresh measurement yet.
        Adopted = "adopted",
        /// An operator or a maintenance window mutes its notifications.
        Muted = "muted",
        /// The restart circuit breaker is tripped and holds its restart.
        Fuse = "fuse",
        /// The host cannot enforce some of its limits.
        Unbounded = "unbounded",
        /// Degraded, and realms that need it fail: it probably refuses them.
        Suspect = "suspect",
        /// Its log cannot be opened; its output is kept in memory until it can.
        LogInMemory = "log_in_memory",
    }
}

/// What happens next by itself: the action, and when (a time, or the condition in words).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What heartbeatd does next.
    pub action: NextAction,
    /// When, if a time is known.
    pub at: Option<Instant>,
    /// The condition, for a person, e.g. `postgres is up`; beside a time, a condition that has to hold then.
    pub when: Option<String>,
}

impl Next {
    /// Nothing happens by itself.
    #[must_use]
    pub const fn none() -> Self {
        Self { action: NextAction::None, at: None, when: None }
    }

    /// `action` at a known time.
    #[must_use]
    pub const fn at(action: NextAction, at: Instant) -> Self {
        Self { action, at: Some(at), when: None }
    }

    /// `action` at a known time, if a condition holds then.
    #[must_use]
    pub const fn at_if(action: NextAction, at: Instant, condition: String) -> Self {
        Self { action, at: Some(at), when: Some(condition) }
    }

    /// `action` on a condition.
    #[must_use]
    pub const fn when(action: NextAction, when: String) -> Self {
        Self { action, at: None, when: Some(when) }
    }
}

/// Why, since when, and what happens next. Every status has one, so there is no default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// Code of the reason.
    pub reason: Reason,
    /// The same for a person, with the figures of this case.
    pub message: String,
    /// Since when the status holds.
    pub since: Instant,
    /// What happens next by itself.
    pub next: Next,
}

/// A pause: the process and the probes run, and heartbeatd neither acts nor alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why, as the operator said.
    pub reason: String,
    /// Until when; `None` until an operator resumes the realm.
    pub until: Option<Instant>,
}

/// A mute: receivers of notifications hear nothing of the realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// Why, as the operator or the configuration says.
    pub reason: String,
    /// Time at which it ends.
    pub until: WallTime,
    /// Who: `uid 1000`, or `maintenance night` for a window.
    pub by: String,
}

closed_list! {
    /// What the realms that a realm needs amount to.
    #[derive(Default)]
    pub enum NeedState ("state of needs") {
        /// None of them holds it up.
        #[default]
        Ready = "ready",
        /// One of them is on its way up, and nothing has gone wrong.
        Pending = "pending",
        /// One of them is broken.
        Broken = "broken",
    }
}

impl NeedState {
    /// Whether the realm's failures are not its own fault: heartbeatd shows them, but neither counts them nor acts on
    /// them.
    #[must_use]
    pub const fn excuses(self) -> bool {
        !matches!(self, Self::Ready)
    }
}

/// The facts from which the status word is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusFacts {
    /// A pause is on.
    pub paused: bool,
    /// Phase of its process.
    pub phase: Phase,
    /// State that is desired.
    pub desired: Desired,
    /// Health by its probes.
    pub health: Health,
    /// The realm is a oneshot: it ends as done or failed, and is never up.
    pub oneshot: bool,
    /// The state of its needs; for a realm that fails, also the one until its next verdict.
    pub needs: NeedState,
    /// A restart transaction is open (not yet verified).
    pub restart_open: bool,
    /// Within the grace of this generation: no verdict is expected yet.
    pub in_grace: bool,
}

impl StatusFacts {
    /// The one word; first match wins, in the order of this function.
    ///
    /// ```
    /// use heartbeat_status::{Desired, Health, NeedState, Phase, Status, StatusFacts};
    ///
    /// let facts = StatusFacts {
    ///     paused: false, phase: Phase::Running, desired: Desired::Up, health: Health::Unhealthy,
    ///     oneshot: false, needs: NeedState::Broken, restart_open: false, in_grace: false,
    /// };
    /// assert_eq!(facts.derive(), Status::Blocked, "somebody else's fault");
    /// ```
    #[must_use]
    pub const fn derive(&self) -> Status {
        // A tree that survives KILL is shown, whatever an operator has asked for.
        if matches!(self.phase, Phase::Stuck) {
            return Status::Failed;
        }
        if self.paused {
            return Status::Paused;
        }
        if matches!(self.phase, Phase::Failed | Phase::Cooldown) {
            return Status::Failed;
        }
        if matches!(self.phase, Phase::Unverified) {
            return Status::Unknown;
        }
        if matches!(self.desired, Desired::Down) {
            return if self.phase.may_have_process() { Status::Stopping } else { Status::Stopped };
        }
        let broken = matches!(self.needs, NeedState::Broken);
        match self.phase {
            Phase::Done => return Status::Done,
            Phase::Stopped => return Status::Stopped,
            Phase::Waiting if broken => return Status::Blocked,
            Phase::Waiting => return Status::Starting,
            Phase::Backoff => return Status::Restarting,
            _ if self.restart_open => return Status::Restarting,
            Phase::Starting => return Status::Starting,
            // The realm is being stopped although it should be up, and no restart is open: a need took it down.
            Phase::Stopping if broken => return Status::Blocked,
            Phase::Stopping => return Status::Restarting,
            Phase::Running if self.oneshot => return Status::Starting,
            _ => {}
        }
        match (self.health, self.needs) {
            (Health::Unhealthy, NeedState::Broken) => Status::Blocked,
            (Health::Unhealthy, NeedState::Pending) => Status::Starting,
            (Health::Unhealthy, NeedState::Ready) => Status::Down,
            (Health::Degraded, _) => Status::Degraded,
            (Health::Unknown, _) if self.in_grace => Status::Starting,
            (Health::Unknown, _) => Status::Unknown,
            (Health::Healthy, _) => Status::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: StatusFacts = StatusFacts {
        paused: false,
        phase: Phase::Running,
        desired: Desired::Up,
        health: Health::Healthy,
        oneshot: false,
        needs: NeedState::Ready,
        restart_open: false,
        in_grace: false,
    };

    #[test]
    fn the_first_match_wins() {
        let broken = StatusFacts { needs: NeedState::Broken, ..UP };
        let pending = StatusFacts { needs: NeedState::Pending, ..UP };
        let oneshot = StatusFacts { oneshot: true, ..UP };
        let down = StatusFacts { desired: Desired::Down, ..UP };
        let cases = [
            (UP, Status::Up),
            (StatusFacts { paused: true, ..UP }, Status::Paused),
            (StatusFacts { paused: true, phase: Phase::Stuck, ..UP }, Status::Failed),
            (StatusFacts { paused: true, phase: Phase::Failed, ..UP }, Status::Paused),
            (StatusFacts { phase: Phase::Stuck, ..down }, Status::Failed),
            (StatusFacts { phase: Phase::Unverified, ..down }, Status::Unknown),
            (StatusFacts { phase: Phase::Cooldown, ..UP }, Status::Failed),
            (StatusFacts { phase: Phase::Stopping, ..down }, Status::Stopping),
            (StatusFacts { phase: Phase::Running, ..down }, Status::Stopping),
            (StatusFacts { phase: Phase::Stopped, ..down }, Status::Stopped),
            (StatusFacts { phase: Phase::Done, ..down }, Status::Stopped),
            (StatusFacts { phase: Phase::Done, ..UP }, Status::Done),
            (StatusFacts { phase: Phase::Waiting, restart_open: true, ..broken }, Status::Blocked),
            (StatusFacts { phase: Phase::Waiting, ..pending }, Status::Starting),
            (StatusFacts { phase: Phase::Waiting, ..UP }, Status::Starting),
            (StatusFacts { phase: Phase::Backoff, ..broken }, Status::Restarting),
            (StatusFacts { restart_open: true, ..UP }, Status::Restarting),
            (StatusFacts { phase: Phase::Starting, health: Health::Unhealthy, ..UP }, Status::Starting),
            (StatusFacts { phase: Phase::Stopping, ..broken }, Status::Blocked),
            (StatusFacts { phase: Phase::Stopping, ..pending }, Status::Restarting),
            (oneshot, Status::Starting),
            (StatusFacts { restart_open: true, ..oneshot }, Status::Restarting),
            (StatusFacts { phase: Phase::Done, ..oneshot }, Status::Done),
            (StatusFacts { health: Health::Unhealthy, ..broken }, Status::Blocked),
            (StatusFacts { health: Health::Unhealthy, ..pending }, Status::Starting),
            (StatusFacts { health: Health::Unhealthy, ..UP }, Status::Down),
            (StatusFacts { health: Health::Degraded, ..broken }, Status::Degraded),
            (StatusFacts { health: Health::Unknown, in_grace: true, ..UP }, Status::Starting),
            (StatusFacts { health: Health::Unknown, ..UP }, Status::Unknown),
            (broken, Status::Up),
            (StatusFacts { phase: Phase::External, health: Health::Unhealthy, ..UP }, Status::Down),
        ];
        for (facts, expected) in cases {
            assert_eq!(facts.derive(), expected, "{facts:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_ok_and_the_rest_is_not() {
        use Status::{Degraded, Done, Paused, Stopped, Stopping, Up};
        for status in Status::ALL {
            let expected = [Up, Degraded, Done, Stopping, Stopped, Paused].contains(status);
            assert_eq!(status.is_ok(), expected, "{status}");
        }
    }

    #[test]
    fn the_worst_is_named_in_the_order_of_the_contract() {
        use Status::{Blocked, Degraded, Down, Failed, Restarting, Starting, Unknown, Up};
        let order = [Failed, Down, Blocked, Restarting, Unknown, Starting, Degraded, Up];
        assert!(order.windows(2).all(|pair| pair[0].severity() > pair[1].severity()));
        for asked_for in [Status::Stopping, Status::Stopped, Status::Paused, Status::Done] {
            assert!(asked_for.severity() < Degraded.severity(), "{asked_for} does not count");
        }
    }
}
