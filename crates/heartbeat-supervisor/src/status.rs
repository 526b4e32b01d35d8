//! From the state of a realm to its status, and to the facts for its neighbours.

use heartbeat_status::{Desired, Health, NeedState, RealmKind, Status, StatusFacts};

use crate::ctx::Mode;
use crate::durable::Resting;
use crate::realm::Realm;
use crate::shown::Facts;
use crate::state::{InPlaceRestart, State};
use crate::{ProbeSpec, RealmSpec};

impl Realm {
    /// Whether the realm is still within the time in which no verdict is expected.
    fn in_grace(&self) -> bool {
        match self.state {
            State::Waiting(_) | State::Starting(_) => true,
            State::Running(_) if self.generation.forked => true,
            State::External(_) | State::Running(_) => {
                self.evidence.probes.iter().any(|probe| !probe.has_verdict_or_is_stale())
            }
            _ => false,
        }
    }

    pub(crate) fn derive_status(&self, spec: &RealmSpec) -> Status {
        // While heartbeatd stops everything, a stopped realm is stopped on purpose.
        let desired = if self.shutting_down() { Desired::Down } else { self.wish.desired };
        let facts = StatusFacts {
            // While heartbeatd stops everything, pauses no longer count.
            paused: self.wish.pause.is_some() && !self.shutting_down(),
            phase: self.state.phase(),
            desired: if matches!(self.state, State::External(_)) { Desired::Up } else { desired },
            health: self.shown.health,
            oneshot: spec.kind == RealmKind::Oneshot,
            needs: self.shown.excuse,
            restart_open: self.restart_open(),
            in_grace: self.in_grace(),
        };
        facts.derive()
    }

    /// Remembers whose fault the failure is: when a need is back, earlier measurements say nothing yet.
    pub(crate) fn note_excuse(&mut self, spec: &RealmSpec) {
        let needs = self.dependencies.needs;
        let measured = matches!(self.state, State::Running(_) | State::External(_));
        let undecided = measured && self.shown.health == Health::Unhealthy && !self.fails_by_own_fault(spec);
        if needs.excuses() || !undecided {
            self.shown.excuse = needs;
        }
    }

    /// Forgets an earlier failure once the realm is as it should be.
    pub(crate) fn note_recovery(&mut self) {
        let well =
            matches!(self.shown.status, Status::Up | Status::Degraded | Status::Done | Status::Stopped);
        self.history.faulted &= !well;
        if well || self.wish.desired == Desired::Down || self.wish.pause.is_some() {
            self.shown.crash = None;
        }
    }

    /// Whether the realm runs and passes: the gate `up` holds, unless a fault is not verified as repaired yet.
    fn answers(&self, oneshot: bool) -> bool {
        let runs = matches!(self.state, State::Running(_)) && !oneshot;
        let undisturbed = !self.in_place().is_some_and(InPlaceRestart::is_under_way);
        self.shown.health.is_pass() && undisturbed && (runs || matches!(self.state, State::External(_)))
    }

    /// The state of this realm as a need.
    fn as_need(&self, oneshot: bool) -> NeedState {
        match self.shown.status {
            // The boot starts it, if a realm needs it.
            Status::Stopped
                if self.dependencies.mode == Mode::Cold && self.wish.resting == Resting::Manual =>
            {
                NeedState::Pending
            }
            Status::Down | Status::Failed | Status::Blocked | Status::Stopping | Status::Stopped => {
                NeedState::Broken
            }
            Status::Starting | Status::Restarting if self.history.faulted => NeedState::Broken,
            Status::Starting | Status::Restarting if !self.answers(oneshot) => NeedState::Pending,
            // A requested restart is verified while its dependents start already.
            Status::Starting | Status::Restarting => NeedState::Ready,
            Status::Up | Status::Degraded | Status::Done | Status::Paused | Status::Unknown => {
                NeedState::Ready
            }
        }
    }

    pub(crate) fn derive_facts(&self, spec: &RealmSpec) -> Facts {
        let running = matches!(self.state, State::Running(_));
        let execed = running || matches!(&self.state, State::Starting(starting) if starting.execed());
        let waiting = matches!(self.state, State::Waiting(_));
        let starting = matches!(self.state, State::Starting(_));
        let wanted = self.wants_to_run();
        let oneshot = spec.kind == RealmKind::Oneshot;
        let as_need = self.as_need(oneshot);
        Facts {
            status: self.shown.status,
            up: self.answers(oneshot) && as_need == NeedState::Ready,
            started: execed || matches!(self.state, State::Done),
            done: self.history.done_once && matches!(self.state, State::Done | State::Stopped { .. }),
            done_once: self.history.done_once,
            as_need,
            pending: (wanted || self.dependencies.mode == Mode::Cold)
                && (starting
                    || (oneshot && running)
                    || (waiting && self.dependencies.needs != NeedState::Broken)),
            stopping: matches!(self.state, State::Stopping(_)),
            refuses_since: self.shown.refuses_since,
            waits: waiting && wanted && !self.dependencies.needs_hold,
            evidence: self.evidence.passed_since,
            measured: spec.probes.iter().any(ProbeSpec::decides),
            run: self.generation.run,
            leaves_port: self.leaves_port(spec),
        }
    }

    /// The port that its process still has, and that the realm gives away with it: the plan no longer has the realm, or
    /// gives it another port.
    fn leaves_port(&self, spec: &RealmSpec) -> Option<u16> {
        let ends = matches!(self.state, State::Stopping(_) | State::Stuck { .. });
        let runs = matches!(self.state, State::Starting(_) | State::Running(_));
        let leaves = if spec.retired { ends || runs } else { ends && self.generation.port != spec.port };
        self.generation.port.filter(|_| leaves)
    }
}
