//! From the state of a realm to its outage, its end, and the realms at its root.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{
    Desired, EdgeKind, Instant, NeedState, RealmIx, Reason, StartFailure, Status, written_duration,
};

use crate::durable::Resting;
use crate::realm::Realm;
use crate::shown::{need_state, port_state};
use crate::state::{FailedWhy, State, stopping};
use crate::timers::TimerKind;
use crate::words;
use crate::{Supervisor, why};

/// The adapter may report two exits this far apart although one has caused the other.
const SAME_MOMENT: Duration = Duration::from_secs(1);

/// A confirmed outage by a realm's own fault.
pub(crate) struct Outage {
    pub(crate) reason: Reason,
    /// For a person.
    pub(crate) message: String,
    /// When it was detected.
    pub(crate) since: Instant,
    /// The cause of an open restart is not the newest one: an open incident keeps the one that it has.
    pub(crate) outlived: bool,
}

pub(crate) fn outage(supervisor: &Supervisor, ix: RealmIx, now: Instant) -> Option<Outage> {
    let realm = &supervisor.realms[ix.index()];
    // Neither a stop nor a pause hides a process that no signal ends.
    if matches!(realm.state, State::Stuck { .. }) {
        return Some(Outage {
            reason: Reason::Stuck,
            message: words_of(supervisor, ix, now),
            since: now,
            outlived: false,
        });
    }
    if realm.wish.pause.is_some() {
        return None;
    }
    if let State::Unverified { what, .. } = &realm.state {
        return Some(Outage {
            reason: Reason::Unverifiable,
            message: what.clone(),
            since: now,
            outlived: false,
        });
    }
    if realm.wish.desired == Desired::Down || !supervisor.blamed_suspects(ix).is_empty() {
        return None;
    }
    if supervisor.suspected_by(ix).next().is_some() {
        let message =
            format!("degraded: {}", words::remark_words(supervisor.plan.realm(ix), &realm.evidence));
        return Some(Outage { reason: Reason::SuspectNeed, message, since: now, outlived: false });
    }
    // What it is now says more than that it has ended. A need that an operator stops or restarts has no incident that
    // the crash could be a part of.
    own_outage(supervisor, ix, now).or_else(|| {
        let crash = realm.shown.crash.as_ref().filter(|_| !is_at_fault(supervisor, ix))?;
        Some(Outage {
            reason: crash.reason,
            message: crash.message.clone(),
            since: crash.at,
            outlived: false,
        })
    })
}

/// The fault of a realm, from its status and its open restart.
fn own_outage(supervisor: &Supervisor, ix: RealmIx, now: Instant) -> Option<Outage> {
    let realm = &supervisor.realms[ix.index()];
    let words = || words_of(supervisor, ix, now);
    let open = realm.history.open();
    let detected = open.and_then(|record| record.steps.first()).map_or(now, |(_, at)| *at);
    match realm.shown.status {
        Status::Blocked | Status::Stopping | Status::Stopped | Status::Paused | Status::Done => None,
        Status::Failed => {
            Some(Outage { reason: given_up_for(realm), message: words(), since: detected, outlived: false })
        }
        Status::Down => {
            let detail =
                realm.evidence.unhealthy_cause.clone().or_else(|| suspicious_words(supervisor, ix))?;
            let port_conflict = realm.generation.port_conflict.clone();
            let reason = if port_conflict.is_some() { Reason::WrongProcess } else { Reason::ProbeFailed };
            Some(Outage { reason, message: port_conflict.unwrap_or(detail), since: now, outlived: false })
        }
        _ => {
            let failed_start = realm.history.failed_start.as_ref();
            if let Some(start) = failed_start.filter(|start| start.failure == StartFailure::ProgramUnusable) {
                return Some(Outage {
                    reason: Reason::StartFailed,
                    message: start.message.clone(),
                    since: detected,
                    outlived: false,
                });
            }
            let faulty = open.is_some_and(|record| record.cause.is_debited());
            let own = realm.history.faulted && !realm.dependencies.needs.excuses();
            let ends_for = stopping::cause(realm).filter(|cause| own && open.is_none() && cause.is_debited());
            if let Some(cause) = ends_for {
                // No restart follows: the realm will need a person once it has ended.
                let message = realm.history.failure.clone().unwrap_or_default();
                return Some(Outage {
                    reason: why::cause_reason(cause),
                    message,
                    since: now,
                    outlived: false,
                });
            }
            if !faulty && matches!(&realm.state, State::Starting(starting) if starting.is_overdue()) {
                let message = format!("has not become ready; {}", words());
                return Some(Outage { reason: Reason::StartTimedOut, message, since: now, outlived: false });
            }
            // A restart that belongs to the incident of a need is no outage of its own.
            let record = open.filter(|record| realm.history.excused != Some(record.id))?;
            if let Some(port_conflict) = &realm.generation.port_conflict {
                return Some(Outage {
                    reason: Reason::WrongProcess,
                    message: port_conflict.clone(),
                    since: detected,
                    outlived: false,
                });
            }
            record.cause.is_debited().then(|| Outage {
                reason: why::cause_reason(record.cause),
                message: record.detail.clone(),
                since: detected,
                outlived: realm.history.outlived == Some(record.id),
            })
        }
    }
}

/// The failing probe of a realm that suspects a need, where the incident of the need does not name the realm.
fn suspicious_words(supervisor: &Supervisor, ix: RealmIx) -> Option<String> {
    let (realm, spec) = (&supervisor.realms[ix.index()], supervisor.plan.realm(ix));
    let (probe, _) = realm.actionable(spec, |_| true).filter(|_| realm.is_suspicious())?;
    Some(words::failing_probe(&spec.probes[probe], &realm.evidence.probes[probe]))
}

fn words_of(supervisor: &Supervisor, ix: RealmIx, now: Instant) -> String {
    why::why(&supervisor.plan, &supervisor.realms, ix, &supervisor.out, now).message
}

/// Why heartbeatd has given up a realm that needs a person.
fn given_up_for(realm: &Realm) -> Reason {
    let why = match &realm.state {
        State::Failed(failed) => &failed.why,
        State::Cooldown(cooldown) => &cooldown.why,
        _ => return Reason::Exited,
    };
    match why {
        FailedWhy::StartFailed(_) => Reason::StartFailed,
        FailedWhy::Exited(_) => Reason::Exited,
        FailedWhy::Gone(cause) => why::cause_reason(*cause),
        FailedWhy::BudgetSpent => {
            realm.history.restart.as_ref().map_or(Reason::Exited, |record| why::cause_reason(record.cause))
        }
    }
}

/// Whether the crash of a realm is part of the incident of a need, which is open or may follow.
fn is_at_fault(supervisor: &Supervisor, ix: RealmIx) -> bool {
    let at_fault = |root: &RealmIx| {
        let down = supervisor.realms[root.index()].shown.status == Status::Down;
        down || supervisor.incident_to_join(*root).is_some()
    };
    supervisor.realms[ix.index()].dependencies.needs == NeedState::Broken
        && roots_of(supervisor, ix).iter().any(at_fault)
}

/// How the incident ended: its root is fine again by evidence of this heartbeatd, or an operator has stopped it.
pub(crate) fn ended(supervisor: &Supervisor, ix: RealmIx) -> Option<Ended> {
    let realm = &supervisor.realms[ix.index()];
    if matches!(realm.state, State::Stuck { .. } | State::Unverified { .. }) {
        return None;
    }
    if realm.wish.desired == Desired::Down {
        return Some(Ended::Stopped(match realm.wish.resting {
            Resting::Removed => "removed from the configuration, or disabled in it",
            Resting::Operator(_) => "stopped by an operator",
            Resting::Manual => "stopped",
        }));
    }
    if realm.restart_open() {
        return None;
    }
    let passes = || realm.passes_now(supervisor.plan.realm(ix));
    match realm.shown.status {
        Status::Up | Status::Degraded if passes() => Some(Ended::Well("healthy again")),
        Status::Paused if realm.shown.health.is_pass() && passes() => Some(Ended::Well("healthy again")),
        Status::Done => Some(Ended::Well("done")),
        Status::Stopped => Some(Ended::Well("ended, and its policy leaves it at that")),
        _ => None,
    }
}

/// Why the incident of a realm that runs again is still open, and until when where that is known.
pub(crate) fn stays_open(supervisor: &Supervisor, ix: RealmIx) -> Option<(String, Option<Instant>)> {
    let (realm, spec) = (&supervisor.realms[ix.index()], supervisor.plan.realm(ix));
    let incident = &supervisor.incidents.open[supervisor.incidents.rooted_in(Some(ix), None)?];
    let open = "its incident stays open until";
    match realm.shown.status {
        Status::Restarting if realm.serving().is_some_and(|serving| serving.in_place.is_none()) => {
            let time = written_duration(spec.restart.verify_for());
            Some((format!("{open} it has been healthy for {time}"), None))
        }
        Status::Up | Status::Degraded if supervisor.may_relapse(ix) => {
            let until = supervisor.out.timers.deadline(ix, TimerKind::Stable)?;
            let time = written_duration(spec.restart.reset_after());
            let again = "it failed again soon after a recovery, so";
            Some((format!("{again} {open} it has been healthy for {time}"), Some(until)))
        }
        Status::Up | Status::Degraded => {
            let suffering = incident.affected.iter().filter(|ix| supervisor.still_suffers(**ix));
            let names: Vec<&str> = suffering.map(|ix| supervisor.plan.realm(*ix).name.as_str()).collect();
            match names.as_slice() {
                [] => (!realm.passes_now(spec)).then(|| (format!("{open} heartbeatd has measured it"), None)),
                [name] => Some((format!("{open} {name} is well again"), None)),
                _ => Some((format!("{open} {} are well again", names.join(", ")), None)),
            }
        }
        _ => None,
    }
}

/// The end of an outage, in words.
pub(crate) enum Ended {
    /// The realm is as it should be.
    Well(&'static str),
    /// It rests because an operator or the configuration says so.
    Stopped(&'static str),
}

/// The last proof that a realm was well: the begin of the measurements that passed. For a realm that is not measured,
/// its process is the proof.
pub(crate) fn last_well(supervisor: &Supervisor, ix: RealmIx) -> Instant {
    let realm = &supervisor.realms[ix.index()];
    let probes = supervisor.plan.realm(ix).probes.iter().zip(&realm.evidence.probes);
    let measured = probes.filter(|(spec, _)| spec.decides()).map(|(_, probe)| probe.last_pass);
    if let Some(last) = measured.map(|pass| pass.unwrap_or(Instant::ZERO)).min() {
        return last;
    }
    realm.history.last_exit.map_or(Instant::ZERO, |last| last.at - SAME_MOMENT)
}

/// Whether a realm that leaves its port is not ended by any signal.
pub(crate) fn is_port_kept(port_owner: &Realm) -> bool {
    port_state(&port_owner.shown.facts) == NeedState::Broken
}

/// The realms at the root of what blocks `ix`: broken, and not blocked themselves; in start order.
pub(crate) fn roots_of(supervisor: &Supervisor, ix: RealmIx) -> Vec<RealmIx> {
    let mut seen = alloc::vec![false; supervisor.realms.len()];
    let mut stack = alloc::vec![ix];
    let mut found = Vec::new();
    while let Some(at) = stack.pop() {
        for need in supervisor.plan.realm(at).needs.iter() {
            let facts = &supervisor.realms[need.realm.index()].shown.facts;
            let binds = need.kind == EdgeKind::Needs && need_state(need.until, facts) == NeedState::Broken;
            if !binds || core::mem::replace(&mut seen[need.realm.index()], true) {
                continue;
            }
            let suspects = supervisor.blamed_suspects(need.realm);
            if facts.status == Status::Blocked {
                stack.push(need.realm);
            } else if suspects.is_empty() {
                found.push(need.realm);
            } else {
                found.extend(suspects);
            }
        }
    }
    let left_by = supervisor.realms[ix.index()].dependencies.port_left_by;
    found.extend(left_by.filter(|port_owner| is_port_kept(&supervisor.realms[port_owner.index()])));
    found.sort_unstable_by_key(|ix| supervisor.plan.graph().order(*ix));
    found.dedup();
    found
}
