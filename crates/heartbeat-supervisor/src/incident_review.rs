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

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{
    EdgeKind, EventKind, Incident, IncidentNo, IncidentStep, Instant, NeedState, OwnProblemKind, RealmIx,
    Reason, Severity, Status,
};

use crate::Supervisor;
use crate::ctx::Mode;
use crate::outage::{Ended, Outage, ended, last_well, outage, roots_of};

impl Supervisor {
    /// Reviews every realm that was touched since the last review.
    pub(crate) fn review_incidents(&mut self, now: Instant) {
        // What blocks them may have changed, directly or far away.
        for ix in self.incidents.crashed.clone() {
            self.incidents.touch(ix);
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
        self.tell_opened_and_folded(now);
        self.incidents.crashed.retain(|ix| self.realms[ix.index()].shown.crash.is_some());
        touched.clear();
        // A review reports and decides nothing, so what it touches needs no second review.
        self.incidents.touched = touched;
    }

    /// A fault without an incident opens one, joins that of a storm, or takes over one that was opened on a dependent.
    fn review_outage(&mut self, now: Instant, ix: RealmIx) {
        if self.incidents.rooted_in(Some(ix), None).is_some() {
            self.realms[ix.index()].shown.crash = None;
            return;
        }
        let Some(outage) = outage(self, ix, now) else { return };
        if let Some(breaker) = self.failures_of(ix, outage.reason) {
            self.incidents.hit_by_breaker.insert(ix);
            self.join(now, breaker, ix);
        } else if let Some(at) = self.opened_on_a_dependent(ix).or_else(|| self.opened_on_a_suspect(ix)) {
            self.hand_down(now, at, ix, outage);
        } else {
            self.open_incident((Some(ix), None), outage, Vec::new());
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

    /// The incident of a suspect that no realm suspects any more: this realm is the one that failed, and it fails
    /// alone.
    fn opened_on_a_suspect(&self, ix: RealmIx) -> Option<usize> {
        self.incidents.open.iter().position(|incident| {
            incident.reason == Reason::SuspectNeed
                && incident.affected.contains(&ix)
                && incident.root.is_some_and(|root| self.suspected_by(root).next().is_none())
        })
    }

    /// An incident of a dependent that this realm may have caused. One that has been given up needs a person in any
    /// case.
    fn opened_on_a_dependent(&self, ix: RealmIx) -> Option<usize> {
        self.incidents.open.iter().position(|incident| {
            incident.root.is_some_and(|root| {
                self.suspects_of(root).contains(&ix)
                    || (self.realms[root.index()].dependencies.needs == NeedState::Broken
                        && self.realms[root.index()].shown.status != Status::Failed
                        && roots_of(self, root).contains(&ix)
                        && self.is_wrong_root(incident, ix))
            })
        })
    }

    /// Whether nothing proves that `need` was still well when the incident of its dependent was opened.
    fn is_wrong_root(&self, incident: &Incident, need: RealmIx) -> bool {
        last_well(self, need) <= incident.opened_at
    }

    /// Opens an incident of a realm, or of heartbeatd itself (about a part of it, or about many realms).
    pub(crate) fn open_incident(
        &mut self,
        (root, problem): (Option<RealmIx>, Option<OwnProblemKind>),
        outage: Outage,
        affected: Vec<RealmIx>,
    ) -> IncidentNo {
        self.incidents.last += 1;
        let no = IncidentNo(self.incidents.last);
        let Outage { reason, message, since, .. } = outage;
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
        self.incidents.open.push(incident);
        self.incidents.untold.push(no);
        if let Some(ix) = root {
            self.realms[ix.index()].shown.crash = None;
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
        self.realms[root.index()].shown.crash = None;
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

    /// The outage is over. What still fails is an outage of its own now: a restart that belonged to the incident, or a
    /// realm that heartbeatd has given up.
    pub(crate) fn end_outage(&mut self, now: Instant, at: usize, how: &str) {
        let affected = self.incidents.open[at].affected.clone();
        self.resolve(now, at, how.to_string());
        for ix in affected {
            if self.realms[ix.index()].history.excused.take().is_some() {
                self.out.remember.insert(ix);
            }
            self.review_outage(now, ix);
        }
    }

    /// Another realm is affected by an incident.
    pub(crate) fn join(&mut self, now: Instant, at: usize, ix: RealmIx) {
        self.realms[ix.index()].shown.crash = None;
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
        let suspects = self.blamed_suspects(ix);
        let realm = &self.realms[ix.index()];
        let ended = realm.shown.crash.is_some();
        if realm.shown.status != Status::Blocked && !ended && suspects.is_empty() {
            return;
        }
        let roots = if suspects.is_empty() { roots_of(self, ix) } else { suspects.clone() };
        for root in roots {
            let Some(at) = self.incident_to_join(root) else { continue };
            self.join(now, at, ix);
            if !suspects.is_empty() {
                self.excuse(Some(ix));
            }
            if let Some(at) = self.incidents.rooted_in(Some(ix), None)
                && (!suspects.is_empty() || self.is_wrong_root(&self.incidents.open[at], root))
            {
                let root_name = self.plan.realm(root).name.to_string();
                self.excuse(Some(ix));
                let folded = self.incidents.open[at].affected.clone();
                self.resolve(now, at, format!("part of the incident of {root_name}"));
                // So are the realms that it affects.
                for affected in folded.into_iter().filter(|affected| *affected != root) {
                    let of_root = self.incident_to_join(root);
                    if let Some(at) = of_root.filter(|_| !self.is_over(affected)) {
                        self.join(now, at, affected);
                    }
                }
            }
        }
    }

    /// The incident of a root, or of the storm that it is a part of; `None` when it ends now because the root rests.
    pub(crate) fn incident_to_join(&self, root: RealmIx) -> Option<usize> {
        if matches!(ended(self, root), Some(Ended::Stopped(_))) {
            return None;
        }
        let hit = self.incidents.hit_by_breaker.contains(&root);
        let breaker = || self.incidents.rooted_in(None, Some(Reason::StormFuse)).filter(|_| hit);
        self.incidents.rooted_in(Some(root), None).or_else(breaker)
    }

    /// A root fails for another reason, needs a person, or is fine again.
    fn review_root(&mut self, now: Instant, ix: RealmIx) {
        let Some(at) = self.incidents.rooted_in(Some(ix), None) else { return };
        let realm = &self.realms[ix.index()];
        let Some(outage) = outage(self, ix, now) else {
            // The root refuses work, and its dependents are not known to be well again.
            let refuses = realm.shown.status == Status::Degraded && realm.shown.facts.refuses_since.is_some();
            let affected = &self.incidents.open[at].affected;
            let how = match ended(self, ix) {
                Some(Ended::Stopped(how)) => Some(how),
                _ if refuses => {
                    affected.iter().all(|ix| self.is_over(*ix)).then_some("what needs it passes again")
                }
                Some(Ended::Well(_)) if self.may_relapse(ix) => None,
                // The outage lasts as long as a realm that it has taken along.
                Some(Ended::Well(how)) => (!affected.iter().any(|ix| self.still_suffers(*ix))).then_some(how),
                None => None,
            };
            if let Some(how) = how {
                self.end_outage(now, at, how);
            }
            return;
        };
        let failed = realm.shown.status == Status::Failed && !self.incidents.open[at].failed;
        let known = &self.incidents.open[at];
        let known_already = outage.reason == known.reason || outage.message == known.message;
        if !failed && (known_already || outage.outlived) {
            return;
        }
        self.tell_opened(now, Some(at));
        // Receivers get the newest cause; the first one stays in the timeline.
        let incident = Arc::make_mut(&mut self.incidents.open[at]);
        (incident.reason, incident.message) = (outage.reason, outage.message);
        incident.failed |= failed;
        let step = if failed { IncidentStep::Failed } else { IncidentStep::Updated };
        let incident = Arc::clone(&self.incidents.open[at]);
        self.tell_incident(now, step, incident, None);
    }

    /// Whether the realm runs, and may fail once more, as it did after its last recovery.
    pub(crate) fn may_relapse(&self, ix: RealmIx) -> bool {
        let realm = &self.realms[ix.index()];
        realm.history.relapsed && matches!(realm.shown.status, Status::Up | Status::Degraded | Status::Paused)
    }

    /// The incidents of other roots may wait for this realm.
    fn review_roots_above(&mut self, now: Instant, ix: RealmIx) {
        let concerned = self.incidents.open.iter().filter(|incident| incident.affected.contains(&ix));
        let roots: Vec<RealmIx> = concerned.filter_map(|incident| incident.root).collect();
        for root in roots {
            self.review_root(now, root);
            // It says for whom its incident stays open.
            self.realms[root.index()].shown.dirty = true;
        }
    }

    /// Whether the realm is fine again, at rest, or has an incident of its own.
    pub(crate) fn is_over(&self, ix: RealmIx) -> bool {
        ended(self, ix).is_some() || self.incidents.rooted_in(Some(ix), None).is_some()
    }

    /// Whether the realm is not well again yet, and nothing but the incident that affects it explains that.
    pub(crate) fn still_suffers(&self, ix: RealmIx) -> bool {
        let realm = &self.realms[ix.index()];
        let excused = || realm.history.open().is_some_and(|open| realm.history.excused == Some(open.id));
        !self.is_over(ix)
            && match realm.shown.status {
                Status::Down => true,
                Status::Restarting => excused(),
                Status::Starting => realm.history.faulted,
                Status::Blocked => realm.dependencies.needs != NeedState::Broken,
                _ => false,
            }
    }

    pub(crate) fn resolve(&mut self, now: Instant, at: usize, how: String) {
        let incident = self.incidents.open.remove(at);
        self.tell_incident(now, IncidentStep::Resolved, incident, Some(how));
    }

    /// Reports the incidents that were opened since the last time, at the end of a review, when each of them names the
    /// realms that it affects; or those up to this place.
    pub(crate) fn tell_opened(&mut self, now: Instant, at: Option<usize>) {
        let last = at.map_or(IncidentNo(u64::MAX), |at| self.incidents.open[at].no);
        while let Some(no) = self.incidents.untold.first().copied().filter(|no| *no <= last) {
            self.incidents.untold.remove(0);
            let incident = self.incidents.open.iter().find(|incident| incident.no == no).cloned();
            if let Some(incident) = incident {
                self.tell_incident(now, IncidentStep::Opened, incident, None);
            }
        }
    }

    pub(crate) fn tell_incident(
        &mut self,
        now: Instant,
        step: IncidentStep,
        incident: Arc<Incident>,
        note: Option<String>,
    ) {
        self.incidents.changes += 1;
        if self.incidents.untold.contains(&incident.no) {
            // Its first report has everything; one that ends before that was part of another incident all along.
            if step == IncidentStep::Resolved {
                self.incidents.untold.retain(|no| *no != incident.no);
            }
            return;
        }
        let plan = Arc::clone(&self.plan);
        let whose = incident.root.map(|ix| (ix, plan.realm(ix)));
        self.out.event(now, whose, EventKind::Incident { step, incident, note });
    }
}
