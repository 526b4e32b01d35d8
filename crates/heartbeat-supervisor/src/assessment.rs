//! The health of a realm, from all of its probes.

use core::time::Duration;

use heartbeat_status::{FailReason, Health, Instant, Outcome, Role, Verdict};

use crate::evidence::Probing;
use crate::realm::Realm;
use crate::state::State;
use crate::{ProbeSource, ProbeSpec, RealmSpec};

impl Realm {
    /// Derives the health from all probes.
    pub(crate) fn assess(&self, spec: &RealmSpec) -> Health {
        match self.state {
            State::Waiting(_) | State::Stopped { .. } | State::Done | State::Unverified { .. } => {
                return Health::Unknown;
            }
            // No process of this generation has been exec'd yet.
            State::Starting(ref starting) if !starting.execed() => return Health::Unknown,
            State::Backoff(_) | State::Cooldown(_) | State::Failed(_) | State::Stuck { .. } => {
                return Health::Unhealthy;
            }
            State::Starting(_) | State::Running(_) | State::Stopping(_) | State::External(_) => {}
        }
        let deciding = || {
            let all = spec.probes.iter().zip(&self.evidence.probes);
            all.filter(|(spec, probe)| spec.info.role != Role::Info && !probe.is_unattributable())
        };
        if deciding().any(|(_, probe)| probe.fails()) {
            return Health::Unhealthy;
        }
        if self.generation.forked
            || deciding().any(|(_, probe)| !probe.has_verdict_or_is_stale() || probe.stale)
        {
            return Health::Unknown;
        }
        if deciding().any(|(_, probe)| probe.degraded()) {
            return Health::Degraded;
        }
        if matches!(self.state, State::External(_)) && !spec.is_judged() {
            return Health::Unknown;
        }
        Health::Healthy
    }

    /// Whether the realm is not ended although its start, or the verification of its restart, runs out of time: a need
    /// is the suspect, heartbeatd could not measure it, or another process answers on its port.
    pub(crate) fn is_spared(&self, spec: &RealmSpec, now: Instant) -> bool {
        self.history.suspicion.is_some()
            || self.may_blame(now)
            || self.fault_is_ours(spec)
            || self.generation.port_conflict.is_some()
    }

    /// Whether every deciding probe has passed since heartbeatd began to measure it: a verdict of an earlier heartbeatd
    /// is no fresh evidence.
    pub(crate) fn passes_now(&self, spec: &RealmSpec) -> bool {
        let measured = spec.probes.iter().zip(&self.evidence.probes).filter(|(spec, _)| spec.decides());
        measured.into_iter().all(|(_, probe)| {
            probe.is_unattributable()
                || probe.last_pass.is_some_and(|pass| pass >= self.evidence.probing_since)
        })
    }

    /// Whether a deciding probe fails with its full threshold of evidence from a time when no need was to blame.
    pub(crate) fn fails_by_own_fault(&self, spec: &RealmSpec) -> bool {
        let deciding =
            spec.probes.iter().zip(&self.evidence.probes).filter(|(spec, _)| spec.info.role != Role::Info);
        deciding.into_iter().any(|(_, probe)| probe.fails() && probe.proven)
    }

    /// Whether a probe has had no evidence for too long by heartbeatd's own fault, not by that of a check command.
    pub(crate) fn lacks_evidence(&self) -> bool {
        self.evidence.probes.iter().any(|probe| {
            let excused = || probe.last.as_ref().is_some_and(|last| is_its_own(last.outcome));
            probe.stale && !probe.is_unattributable() && !excused()
        })
    }

    /// Whether every live probe, measured or reported, has passed in this generation; `None` when there is no such
    /// probe.
    pub(crate) fn live_probes_pass(&self, spec: &RealmSpec, passes: u32) -> Option<bool> {
        // Another process answers on the port, not this realm.
        let port_conflict = self.generation.port_conflict.is_some();
        let all = spec.probes.iter().zip(&self.evidence.probes);
        let mut live =
            all.filter(|(spec, probe)| spec.tells_readiness() && !probe.is_unattributable()).peekable();
        live.peek()?;
        Some(live.all(|(spec, probe)| {
            // A report is valid at once: it needs no second one.
            let enough = if spec.is_told() { 0 } else { passes.min(spec.info.thresholds.pass_after()) };
            !port_conflict
                && probe.tally.verdict() == Some(Verdict::Passing)
                && probe.tally.passes() >= enough
        }))
    }

    /// The server answers that it is still starting up: when the newest of these measurements began, and its message.
    pub(crate) fn says_it_starts(&self, spec: &RealmSpec) -> Option<(Instant, &str)> {
        if !matches!(self.state, State::Starting(_)) {
            return None;
        }
        let live =
            spec.probes.iter().zip(&self.evidence.probes).filter(|(spec, _)| spec.info.role == Role::Live);
        let says = live.filter_map(|(_, probe)| {
            let last = probe.last.as_ref().filter(|_| probe.current)?;
            let starts = matches!(last.outcome, Outcome::Fail { reason: FailReason::StartingUp, .. });
            starts.then_some((last.at, last.detail.as_str()))
        });
        says.max_by_key(|(at, _)| *at)
    }

    /// Whether no measured live probe has failed last in this generation, and one of them could not be measured.
    pub(crate) fn fault_is_ours(&self, spec: &RealmSpec) -> bool {
        let Some(started) = self.generation.started_at else { return false };
        if spec.notify_probe().is_some_and(|(at, _)| spec.probes[at].info.role == Role::Live)
            && !self.generation.spoken.ready
        {
            return false;
        }
        let live = || {
            spec.probes.iter().zip(&self.evidence.probes).filter_map(|(spec, probe)| {
                let counts = spec.source == ProbeSource::Measured
                    && spec.info.role == Role::Live
                    && !probe.is_unattributable();
                let last = probe.last.as_ref().filter(|last| counts && last.at >= started)?;
                // A plugin without a result and a heartbeat that has not come are the realm's own fault:
                // `start.timeout` ends the start.
                Some(last.outcome.passed().or(is_its_own(last.outcome).then_some(false)))
            })
        };
        live().any(|passed| passed.is_none()) && live().all(|passed| passed != Some(false))
    }

    /// Whether a live probe that may cause a restart has failed in a measurement that began at `since` or later.
    pub(crate) fn has_failed_since(&self, spec: &RealmSpec, since: Instant) -> bool {
        self.acted_on(spec).any(|(_, spec, probe)| {
            // Silence lasts by itself: a keep-alive would have ended it.
            spec.is_told() || probe.last_fail.is_some_and(|last| last >= since)
        })
    }

    /// The live probes whose failure may cause a restart.
    pub(crate) fn acted_on<'a>(
        &'a self,
        spec: &'a RealmSpec,
    ) -> impl Iterator<Item = (usize, &'a ProbeSpec, &'a Probing)> {
        let live =
            |spec: &ProbeSpec, probe: &Probing| spec.info.role == Role::Live && probe.proven && !probe.stale;
        let all = spec.probes.iter().zip(&self.evidence.probes).enumerate();
        all.map(|(at, (spec, probe))| (at, spec, probe)).filter(move |(_, spec, probe)| live(spec, probe))
    }

    /// Whether a live probe has failed in its last conclusive measurement.
    pub(crate) fn a_live_probe_fails(&self, spec: &RealmSpec) -> bool {
        let live =
            spec.probes.iter().zip(&self.evidence.probes).filter(|(spec, _)| spec.info.role == Role::Live);
        live.into_iter().any(|(_, probe)| probe.last_fail.is_some())
    }

    /// The failing probe of that role that heartbeatd may act on, and from when on it may.
    pub(crate) fn actionable(
        &self,
        spec: &RealmSpec,
        wanted: impl Fn(Role) -> bool,
    ) -> Option<(usize, Instant)> {
        let candidates =
            spec.probes.iter().zip(&self.evidence.probes).enumerate().filter(|(_, (spec, probe))| {
                spec.info.role != Role::Info && wanted(spec.info.role) && probe.proven && !probe.stale
            });
        candidates
            .filter_map(|(at, (spec, probe))| {
                let first = probe.first_fail?;
                Some((at, first + act_after(spec)))
            })
            .min_by_key(|(at, when)| (*when, *at))
    }
}

/// How long after the first counted failure heartbeatd may act on a probe: (`fail_after` - 1) x `interval`, where
/// `fail_if = "K of N"` counts as K.
fn act_after(spec: &ProbeSpec) -> Duration {
    if spec.is_told() {
        // The time of a watchdog has passed already.
        return Duration::ZERO;
    }
    let thresholds = &spec.info.thresholds;
    let fails = thresholds.fail_if().map_or(thresholds.fail_after(), |window| window.fails());
    spec.info.interval.saturating_mul(fails.saturating_sub(1))
}

/// Whether a result says nothing without any fault of heartbeatd.
fn is_its_own(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Inconclusive(reason) if !reason.is_ours())
}
