//! One root cause, one incident, one notification.
//!
//! Level-triggered: after every input the realms it touched are reviewed. A realm with a confirmed fault of its own
//! and no incident opens one; a realm blocked by a root joins the root's; an incident that was opened on the wrong root
//! moves to the right one, with its number; a root that is fine again resolves it.
//!
//! While the restart circuit breaker is tripped, many realms have one cause: their incidents fold under the one of the
//! ecosystem, which stays open until each of them is fine or has an incident of its own.
//!
//! The core opens or resolves nothing because heartbeatd stops: the next heartbeatd has the same open incidents.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use heartbeat_status::{
    Desired, EdgeKind, EventKind, Incident, IncidentNo, IncidentStep, Instant, NeedState, OwnProblemKind,
    RealmIx, Reason, Severity, StartFailure, Status,
};

use crate::ctx::Mode;
use crate::durable::Resting;
use crate::realm::Realm;
use crate::shown::need_state;
use crate::state::{FailedWhy, State};
use crate::timers::TimerKind;
use crate::words;
use crate::{Supervisor, why};

/// The adapter may report two exits this far apart although one has caused the other.
const SAME_MOMENT: Duration = Duration::from_secs(1);

/// A confirmed outage by a realm's own fault.
struct Outage {
    reason: Reason,
    /// For a person.
    message: String,
    /// When it was detected.
    since: Instant,
}

fn outage(supervisor: &Supervisor, ix: RealmIx, now: Instant) -> Option<Outage> {
    let realm = &supervisor.realms[ix.index()];
    let words = || why::why(&supervisor.plan, &supervisor.realms, ix, &supervisor.out, now).message;
    // Neither a stop nor a pause hides a process that no signal ends.
    if matches!(realm.state, State::Stuck { .. }) {
        return Some(Outage { reason: Reason::Stuck, message: words(), since: now });
    }
    if realm.wish.pause.is_some() {
        return None;
    }
    if let State::Unverified { what, .. } = &realm.state {
        return Some(Outage { reason: Reason::Unverifiable, message: what.clone(), since: now });
    }
    if realm.wish.desired == Desired::Down || realm.is_suspicious() {
        return None;
    }
    if supervisor.suspected_by(ix).next().is_some() {
        let message =
            format!("degraded: {}", words::remark_words(supervisor.plan.realm(ix), &realm.evidence));
        return Some(Outage { reason: Reason::SuspectNeed, message, since: now });
    }
    let open = realm.history.open();
    let detected = open.and_then(|record| record.steps.first()).map_or(now, |(_, at)| *at);
    match realm.shown.status {
        Status::Blocked | Status::Stopping | Status::Stopped | Status::Paused | Status::Done => None,
        Status::Failed => Some(Outage { reason: given_up_for(realm), message: words(), since: detected }),
        Status::Down => {
            let detail = realm.evidence.unhealthy_cause.clone()?;
            let port_conflict = realm.generation.port_conflict.clone();
            let reason = if port_conflict.is_some() { Reason::WrongProcess } else { Reason::ProbeFailed };
            Some(Outage { reason, message: port_conflict.unwrap_or(detail), since: now })
        }
        _ => {
            let failed_start = realm.history.failed_start.as_ref();
            if let Some(start) = failed_start.filter(|start| start.failure == StartFailure::ProgramUnusable) {
                return Some(Outage {
                    reason: Reason::StartFailed,
                    message: start.message.clone(),
                    since: detected,
                });
            }
            let faulty = open.is_some_and(|record| record.cause.is_debited());
            if !faulty && matches!(&realm.state, State::Starting(starting) if starting.is_overdue()) {
                let message = format!("has not become ready; {}", words());
                return Some(Outage { reason: Reason::StartTimedOut, message, since: now });
            }
            // A restart that belongs to the incident of a need is no outage of its own.
            let record = open.filter(|record| realm.history.excused != Some(record.id))?;
            if let Some(port_conflict) = &realm.generation.port_conflict {
                return Some(Outage {
                    reason: Reason::WrongProcess,
                    message: port_conflict.clone(),
                    since: detected,
                });
            }
            record.cause.is_debited().then(|| Outage {
                reason: why::cause_reason(record.cause),
                message: record.detail.clone(),
                since: detected,
            })
        }
    }
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

/// How the incident ended, when there is evidence that its root is fine again, or an operator has stopped the root.
fn ended(realm: &Realm) -> Option<&'static str> {
    if matches!(realm.state, State::Stuck { .. } | State::Unverified { .. }) {
        return None;
    }
    if realm.wish.desired == Desired::Down {
        return Some(match realm.wish.resting {
            Resting::Removed => "removed from the configuration, or disabled in it",
            Resting::Operator(_) => "stopped by an operator",
            Resting::Manual => "stopped",
        });
    }
    if realm.restart_open() {
        return None;
    }
    match realm.shown.status {
        Status::Up | Status::Degraded => Some("healthy again"),
        Status::Paused if realm.shown.health.is_pass() => Some("healthy again"),
        Status::Done => Some("done"),
        Status::Stopped => Some("ended, and its policy leaves it at that"),
        _ => None,
    }
}

/// The last proof that a realm was well: the begin of the measurements that passed. For a realm that is not measured,
/// its process is the proof.
fn last_well(supervisor: &Supervisor, ix: RealmIx) -> Instant {
    let realm = &supervisor.realms[ix.index()];
    let probes = supervisor.plan.realm(ix).probes.iter().zip(&realm.evidence.probes);
    let measured = probes.filter(|(spec, _)| spec.decides()).map(|(_, probe)| probe.last_pass);
    if let Some(last) = measured.map(|pass| pass.unwrap_or(Instant::ZERO)).min() {
        return last;
    }
    realm.history.last_exit.map_or(Instant::ZERO, |last| last.at - SAME_MOMENT)
}

/// The realms at the root of what blocks `ix`: broken, and not blocked themselves; in start order.
fn roots_of(supervisor: &Supervisor, ix: RealmIx) -> Vec<RealmIx> {
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
            let suspects = supervisor.suspects_of(need.realm);
            if facts.status == Status::Blocked {
                stack.push(need.realm);
            } else if suspects.is_empty() {
                found.push(need.realm);
            } else {
                found.extend(suspects);
            }
        }
    }
    found.sort_unstable_by_key(|ix| supervisor.plan.graph().order(*ix));
    found.dedup();
    found
}

impl Supervisor {
    /// Reviews every realm that was touched since the last review.
    pub(crate) fn review_incidents(&mut self, now: Instant) {
        if self.incidents.touched.is_empty() {
            return;
        }
        let mut touched = core::mem::take(&mut self.incidents.touched);
        touched.sort_unstable_by_key(|ix| self.plan.graph().order(*ix));
        for ix in &touched {
            self.incidents.marked[ix.index()] = false;
        }
        if !matches!(self.mode, Mode::ShuttingDown | Mode::Killing) {
            for ix in &touched {
                self.review_outage(now, *ix);
            }
            for ix in &touched {
                self.review_blocked(now, *ix);
            }
            for ix in &touched {
                self.review_root(now, *ix);
                self.review_roots_above(now, *ix);
                self.review_stale(*ix);
                self.review_exhausted(now, *ix);
            }
            self.tell_stale(now);
            self.tell_exhausted(now);
            self.review_breaker(now);
        }
        touched.clear();
        // A review reports and decides nothing, so what it touches needs no second review.
        self.incidents.touched = touched;
    }

    /// A fault without an incident opens one, joins that of a storm, or takes over one that was opened on a dependent.
    fn review_outage(&mut self, now: Instant, ix: RealmIx) {
        if self.incidents.rooted_in(Some(ix), None).is_some() {
            return;
        }
        let Some(outage) = outage(self, ix, now) else { return };
        if let Some(storm) = self.failures_of(ix, outage.reason) {
            self.incidents.in_storm.insert(ix);
            self.join(now, storm, ix);
        } else if let Some(at) = self.opened_on_a_dependent(ix).or_else(|| self.opened_on_a_suspect(ix)) {
            self.hand_down(now, at, ix, outage);
        } else {
            self.open_incident(now, Some(ix), outage, Vec::new());
        }
        // The dependents that were blocked before the outage was confirmed.
        for at in 0..self.realms.len() {
            if self.realms[at].shown.status == Status::Blocked || self.realms[at].is_suspicious() {
                self.incidents.touch(self.plan.infos()[at].ix);
            }
        }
        for blocked in core::mem::take(&mut self.incidents.touched) {
            self.incidents.marked[blocked.index()] = false;
            self.review_blocked(now, blocked);
        }
    }

    /// The incident of a storm, if an outage for this reason is part of it.
    fn failures_of(&self, ix: RealmIx, reason: Reason) -> Option<usize> {
        let at = self.incidents.rooted_in(None, Some(Reason::StormFuse))?;
        let known = self.incidents.in_storm.contains(&ix);
        let of_storm = match reason {
            // This realm needs a person, which the others do not.
            _ if self.realms[ix.index()].shown.status == Status::Failed => false,
            Reason::ProbeFailed => known || self.fuse.is_tripped(),
            // A restart that the storm has caused did not succeed.
            Reason::StartTimedOut => known,
            _ => false,
        };
        of_storm.then_some(at)
    }

    /// The incident of a suspect that no realm suspects any more: this realm is the one that failed, and it fails
    /// alone.
    fn opened_on_a_suspect(&self, ix: RealmIx) -> Option<usize> {
        self.incidents.open.iter().position(|incident| {
            incident.reason == Reason::SuspectNeed
                && incident.affected.contains(&ix)
                && incident.root.is_some_and(|root| self.suspected_by(root).next().is_none())
        })
    }

    /// An incident of a dependent that this realm may have caused.
    fn opened_on_a_dependent(&self, ix: RealmIx) -> Option<usize> {
        self.incidents.open.iter().position(|incident| {
            incident.root.is_some_and(|root| {
                self.suspects_of(root).contains(&ix)
                    || (self.realms[root.index()].dependencies.needs == NeedState::Broken
                        && roots_of(self, root).contains(&ix)
                        && self.is_wrong_root(incident, ix))
            })
        })
    }

    /// Whether nothing proves that `need` was still well when the incident of its dependent was opened.
    fn is_wrong_root(&self, incident: &Incident, need: RealmIx) -> bool {
        last_well(self, need) <= incident.opened_at
    }

    fn open_incident(
        &mut self,
        now: Instant,
        root: Option<RealmIx>,
        outage: Outage,
        affected: Vec<RealmIx>,
    ) -> IncidentNo {
        self.open_about(now, (root, None), outage, affected)
    }

    /// A problem of heartbeatd itself is confirmed.
    pub(crate) fn open_own_incident(
        &mut self,
        now: Instant,
        problem: OwnProblemKind,
        reason: Reason,
        message: String,
    ) -> IncidentNo {
        self.open_about(now, (None, Some(problem)), Outage { reason, message, since: now }, Vec::new())
    }

    fn open_about(
        &mut self,
        now: Instant,
        (root, problem): (Option<RealmIx>, Option<OwnProblemKind>),
        outage: Outage,
        affected: Vec<RealmIx>,
    ) -> IncidentNo {
        self.incidents.last += 1;
        let no = IncidentNo(self.incidents.last);
        let Outage { reason, message, since } = outage;
        let critical = root.is_none_or(|ix| self.plan.realm(ix).critical);
        let incident = Arc::new(Incident {
            no,
            root,
            problem,
            reason,
            message,
            severity: if critical { Severity::Critical } else { Severity::Warning },
            affected,
            opened_at: since,
            failed: false,
        });
        self.incidents.open.push(Arc::clone(&incident));
        self.tell_incident(now, IncidentStep::Opened, incident, None);
        if let Some(ix) = root {
            self.vouch_for_needs(ix, since);
        }
        no
    }

    /// An incident of `ix` was opened at `since`. Its needs remember the next proof that they are well: a need that
    /// fails after that is not the root.
    pub(crate) fn vouch_for_needs(&mut self, ix: RealmIx, since: Instant) {
        let mut seen = alloc::vec![false; self.realms.len()];
        let mut stack = alloc::vec![ix];
        while let Some(at) = stack.pop() {
            for need in self.plan.realm(at).needs.iter().filter(|need| need.kind == EdgeKind::Needs) {
                if !core::mem::replace(&mut seen[need.realm.index()], true) {
                    let realm = &mut self.realms[need.realm.index()];
                    realm.shown.vouch_after = realm.shown.vouch_after.max(Some(since));
                    stack.push(need.realm);
                }
            }
        }
    }

    /// The incident keeps its number and moves to the right root.
    fn hand_down(&mut self, now: Instant, at: usize, root: RealmIx, outage: Outage) {
        let critical = self.plan.realm(root).critical;
        let note = format!("its root is {}: {}", self.plan.realm(root).name, outage.message);
        self.excuse(self.incidents.open[at].root);
        let incident = Arc::make_mut(&mut self.incidents.open[at]);
        if let Some(blamed) = incident.root.replace(root)
            && !incident.affected.contains(&blamed)
        {
            incident.affected.push(blamed);
        }
        incident.affected.retain(|ix| *ix != root);
        (incident.reason, incident.message, incident.failed) = (outage.reason, outage.message, false);
        if critical {
            incident.severity = Severity::Critical;
        }
        let incident = Arc::clone(&self.incidents.open[at]);
        self.tell_incident(now, IncidentStep::Updated, incident, Some(note));
    }

    /// The open restart of the realm belongs to the incident of its need.
    fn excuse(&mut self, blamed: Option<RealmIx>) {
        let Some(ix) = blamed else { return };
        let realm = &mut self.realms[ix.index()];
        realm.history.excused = realm.history.open().map(|record| record.id);
        self.out.remember.insert(ix);
    }

    /// Another realm is affected by an incident.
    fn join(&mut self, now: Instant, at: usize, ix: RealmIx) {
        if self.incidents.open[at].affected.contains(&ix) {
            return;
        }
        let spec = self.plan.realm(ix);
        let note = format!("also affects {}", spec.name);
        let critical = spec.critical;
        let incident = Arc::make_mut(&mut self.incidents.open[at]);
        incident.affected.push(ix);
        if critical {
            incident.severity = Severity::Critical;
        }
        let incident = Arc::clone(&self.incidents.open[at]);
        self.tell_incident(now, IncidentStep::Updated, incident, Some(note));
    }

    /// A blocked realm joins the incidents of its roots. An incident of its own folds under theirs if one of these
    /// roots may have been the cause; an incident for an older fault of its own stays.
    fn review_blocked(&mut self, now: Instant, ix: RealmIx) {
        let suspects = self.suspects_of(ix);
        if self.realms[ix.index()].shown.status != Status::Blocked && suspects.is_empty() {
            return;
        }
        let roots = if suspects.is_empty() { roots_of(self, ix) } else { suspects.clone() };
        for root in roots {
            let storm = || {
                let hit = self.incidents.in_storm.contains(&root);
                self.incidents.rooted_in(None, Some(Reason::StormFuse)).filter(|_| hit)
            };
            let Some(at) = self.incidents.rooted_in(Some(root), None).or_else(storm) else { continue };
            self.join(now, at, ix);
            if !suspects.is_empty() {
                self.excuse(Some(ix));
            }
            if let Some(at) = self.incidents.rooted_in(Some(ix), None)
                && (!suspects.is_empty() || self.is_wrong_root(&self.incidents.open[at], root))
            {
                let root = self.plan.realm(root).name.to_string();
                self.excuse(Some(ix));
                self.resolve(now, at, format!("part of the incident of {root}"));
            }
        }
    }

    /// A root fails for another reason, needs a person, or is fine again.
    fn review_root(&mut self, now: Instant, ix: RealmIx) {
        let Some(at) = self.incidents.rooted_in(Some(ix), None) else { return };
        let realm = &self.realms[ix.index()];
        let Some(outage) = outage(self, ix, now) else {
            // The root refuses work, and its dependents are not known to be well again.
            let refuses = realm.shown.status == Status::Degraded && realm.shown.facts.refuses_since.is_some();
            let well = |ix: &RealmIx| self.is_over(*ix);
            let all_well = self.incidents.open[at].affected.iter().all(well);
            let how = match (refuses, all_well) {
                (false, _) if self.may_relapse(ix) => None,
                (false, _) => ended(realm),
                (true, true) => Some("what needs it passes again"),
                (true, false) => None,
            };
            if let Some(how) = how {
                self.resolve(now, at, how.to_string());
            }
            return;
        };
        let failed = realm.shown.status == Status::Failed && !self.incidents.open[at].failed;
        let known = &self.incidents.open[at];
        if !failed && (outage.reason == known.reason || outage.message == known.message) {
            return;
        }
        // Receivers get the newest cause; the first one stays in the timeline.
        let incident = Arc::make_mut(&mut self.incidents.open[at]);
        (incident.reason, incident.message) = (outage.reason, outage.message);
        incident.failed |= failed;
        let step = if failed { IncidentStep::Failed } else { IncidentStep::Updated };
        let incident = Arc::clone(&self.incidents.open[at]);
        self.tell_incident(now, step, incident, None);
    }

    /// Whether the realm runs, and may fail once more, as it did after its last recovery.
    fn may_relapse(&self, ix: RealmIx) -> bool {
        let realm = &self.realms[ix.index()];
        realm.history.relapsed && matches!(realm.shown.status, Status::Up | Status::Degraded | Status::Paused)
    }

    /// Until when the incident of a realm that is well again stays open.
    pub(crate) fn incident_open_until(&self, ix: RealmIx) -> Option<Instant> {
        let up = matches!(self.realms[ix.index()].shown.status, Status::Up | Status::Degraded);
        let open = up && self.may_relapse(ix) && self.incidents.rooted_in(Some(ix), None).is_some();
        self.out.timers.deadline(ix, TimerKind::Stable).filter(|_| open)
    }

    /// The incidents of other roots may wait for this realm.
    fn review_roots_above(&mut self, now: Instant, ix: RealmIx) {
        let concerned = self.incidents.open.iter().filter(|incident| incident.affected.contains(&ix));
        let roots: Vec<RealmIx> = concerned.filter_map(|incident| incident.root).collect();
        for root in roots {
            self.review_root(now, root);
        }
    }

    /// Whether the realm is fine again, at rest, or has an incident of its own.
    fn is_over(&self, ix: RealmIx) -> bool {
        ended(&self.realms[ix.index()]).is_some() || self.incidents.rooted_in(Some(ix), None).is_some()
    }

    pub(crate) fn resolve(&mut self, now: Instant, at: usize, how: String) {
        let incident = self.incidents.open.remove(at);
        self.tell_incident(now, IncidentStep::Resolved, incident, Some(how));
    }

    fn tell_incident(
        &mut self,
        now: Instant,
        step: IncidentStep,
        incident: Arc<Incident>,
        note: Option<String>,
    ) {
        self.incidents.changes += 1;
        let plan = Arc::clone(&self.plan);
        let whose = incident.root.map(|ix| (ix, plan.realm(ix)));
        self.out.event(now, whose, EventKind::Incident { step, incident, note });
    }

    /// Whether a probe of the realm has had no evidence for too long, by heartbeatd's own fault.
    fn review_stale(&mut self, ix: RealmIx) {
        let realm = &self.realms[ix.index()];
        if realm.wish.pause.is_none() && realm.lacks_evidence() {
            self.incidents.stale.insert(ix);
        } else {
            self.incidents.stale.remove(&ix);
        }
    }

    fn tell_stale(&mut self, now: Instant) {
        let open = self.incidents.rooted_in(None, Some(Reason::Stale));
        match (open, self.incidents.stale.first()) {
            (None, Some(first)) => {
                let name = &self.plan.realm(*first).name;
                let more = self.incidents.stale.len() - 1;
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                let words = words::stale_words(self.plan.realm(*first), &self.realms[first.index()].evidence);
                let words = if words.is_empty() { words } else { format!(": {words}") };
                let message = format!("no conclusive measurement of {name}{more} for too long{words}");
                let outage = Outage { reason: Reason::Stale, message, since: now };
                self.open_incident(now, None, outage, Vec::new());
            }
            (Some(at), None) => self.resolve(now, at, "measured again".to_string()),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// The circuit breaker has tripped: the incidents that the storm has opened already fold under its own.
    pub(crate) fn breaker_tripped(&mut self, now: Instant, message: String) {
        self.out.event(now, None, EventKind::FuseTripped { message: message.clone() });
        if matches!(self.mode, Mode::ShuttingDown | Mode::Killing) {
            return;
        }
        let window = self.plan.settings().fuse.window;
        let of_storm = |incident: &Incident, ix: RealmIx| {
            incident.reason == Reason::ProbeFailed
                && now.since(incident.opened_at) <= window
                && self.fuse.turned().any(|turned| turned == ix)
        };
        let folded: Vec<Arc<Incident>> = self
            .incidents
            .open
            .iter()
            .filter(|incident| incident.root.is_some_and(|root| of_storm(incident, root)))
            .cloned()
            .collect();
        let mut affected: Vec<RealmIx> = Vec::new();
        for ix in
            folded.iter().flat_map(|incident| incident.root.into_iter().chain(incident.affected.clone()))
        {
            if !affected.contains(&ix) {
                affected.push(ix);
            }
        }
        match self.incidents.rooted_in(None, Some(Reason::StormFuse)) {
            Some(at) => affected.into_iter().for_each(|ix| self.join(now, at, ix)),
            None => {
                let outage = Outage { reason: Reason::StormFuse, message, since: now };
                self.open_incident(now, None, outage, affected);
            }
        }
        for incident in folded {
            self.incidents.in_storm.extend(incident.root);
            if let Some(at) = self.incidents.rooted_in(incident.root, None) {
                self.resolve(now, at, "part of the incident of heartbeatd".to_string());
            }
        }
    }

    /// A storm is over when the circuit breaker is closed and each realm of the storm is fine again, or has an incident
    /// of its own.
    pub(crate) fn review_breaker(&mut self, now: Instant) {
        let Some(at) = self.incidents.rooted_in(None, Some(Reason::StormFuse)) else { return };
        let hit: BTreeSet<RealmIx> =
            self.incidents.in_storm.iter().copied().filter(|ix| !self.is_over(*ix)).collect();
        self.incidents.in_storm = hit;
        if !self.fuse.is_tripped() && self.incidents.in_storm.is_empty() {
            let how = match self.incidents.open[at].affected.is_empty() {
                true => "restarts for health are made again",
                false => "each realm that it affected is fine, or has an incident of its own",
            };
            self.resolve(now, at, how.to_string());
        }
    }
}
