//! One root cause, one incident, one notification.
//!
//! Level-triggered: after every input the realms it touched are reviewed. A realm with a confirmed fault of its own
//! and no incident opens one; a realm blocked by a root joins the root's; a root that turns out to be blocked itself
//! hands its incident down, with its number; a root that is fine again resolves it.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{
    Desired, EventKind, Incident, IncidentNo, IncidentStep, Instant, OwnProblemKind, RealmIx, Reason,
    Severity, Status,
};

use crate::around::is_broken;
use crate::realm::{Realm, Resting};
use crate::state::State;
use crate::{Supervisor, why};

#[derive(Debug, Default)]
pub(crate) struct Incidents {
    /// Those not resolved, the oldest first.
    pub(crate) open: Vec<Arc<Incident>>,
    last: u64,
    /// Realms to be reviewed.
    touched: Vec<RealmIx>,
    marked: Vec<bool>,
    /// Realms with a probe without recent evidence, by our fault.
    stale: BTreeSet<RealmIx>,
    /// Moves with every change; part of what the revision means.
    pub(crate) changes: u64,
}

impl Incidents {
    /// This realm may mean something different now.
    pub(crate) fn touch(&mut self, ix: RealmIx) {
        if self.marked.len() <= ix.index() {
            self.marked.resize(ix.index() + 1, false);
        }
        if !core::mem::replace(&mut self.marked[ix.index()], true) {
            self.touched.push(ix);
        }
    }

    /// Its place belongs to another realm now, which is not concerned.
    pub(crate) fn forget(&mut self, ix: RealmIx) {
        self.stale.remove(&ix);
        for incident in &mut self.open {
            if incident.affected.contains(&ix) {
                Arc::make_mut(incident).affected.retain(|affected| *affected != ix);
                self.changes += 1;
            }
        }
    }

    /// Those that were open when heartbeatd died are open.
    pub(crate) fn restore(&mut self, open: Vec<Incident>) {
        self.last = open.iter().map(|incident| incident.no.0).max().unwrap_or(0);
        for incident in open {
            for ix in incident.root.into_iter().chain(incident.affected.iter().copied()) {
                self.touch(ix);
            }
            self.open.push(Arc::new(incident));
        }
        self.changes += 1;
    }

    fn rooted_in(&self, root: Option<RealmIx>, reason: Option<Reason>) -> Option<usize> {
        self.open.iter().position(|incident| {
            incident.root == root && reason.is_none_or(|reason| incident.reason == reason)
        })
    }
}

/// A confirmed outage by the realm's own fault: the code and the words.
fn outage(supervisor: &Supervisor, ix: RealmIx, now: Instant) -> Option<(Reason, String)> {
    let realm = &supervisor.realms[ix.index()];
    if realm.pause.is_some() || realm.desired == Desired::Down || realm.shutting_down() {
        return None;
    }
    if let State::Unverified(what) = &realm.state {
        return Some((Reason::Unverifiable, what.clone()));
    }
    match realm.status {
        Status::Blocked | Status::Stopped | Status::Paused | Status::Done => None,
        Status::Failed => {
            let why = why::why(&supervisor.plan, &supervisor.realms, ix, &supervisor.out, now);
            let reason = realm.restart.as_ref().map_or(why.reason, |record| why::cause_reason(record.cause));
            let reason = if matches!(realm.state, State::Stuck) { why.reason } else { reason };
            Some((reason, why.message))
        }
        Status::Down => {
            let detail = realm.fault.clone()?;
            let reason = if realm.stranger.is_some() { Reason::WrongProcess } else { Reason::ProbeFailed };
            Some((reason, realm.stranger.clone().unwrap_or(detail)))
        }
        _ => {
            let record = realm.restart.as_ref().filter(|record| record.result.is_none())?;
            if let Some(stranger) = &realm.stranger {
                return Some((Reason::WrongProcess, stranger.clone()));
            }
            record.cause.is_debited().then(|| (why::cause_reason(record.cause), record.detail.clone()))
        }
    }
}

/// How it ended, when a root is fine again.
fn ended(realm: &Realm) -> Option<&'static str> {
    if realm.restart_open() && realm.desired == Desired::Up && realm.pause.is_none() {
        return None;
    }
    match realm.status {
        Status::Up | Status::Degraded => Some("healthy again"),
        Status::Done => Some("done"),
        Status::Stopped if realm.resting == Resting::Removed => Some("removed from the configuration"),
        Status::Stopped if realm.desired == Desired::Down => Some("stopped by an operator"),
        Status::Stopped => Some("stopped"),
        Status::Paused => Some("paused by an operator"),
        _ => None,
    }
}

/// The realms at the root of what blocks `ix`: broken, and not blocked themselves; in start order.
fn roots_of(supervisor: &Supervisor, ix: RealmIx) -> Vec<RealmIx> {
    let mut seen = alloc::vec![false; supervisor.realms.len()];
    let mut stack = alloc::vec![ix];
    let mut found = Vec::new();
    while let Some(at) = stack.pop() {
        for need in supervisor.plan.realm(at).needs.iter() {
            let facts = &supervisor.realms[need.realm.index()].facts;
            let binds = need.kind == heartbeat_status::EdgeKind::Needs && is_broken(need.until, facts);
            if !binds || core::mem::replace(&mut seen[need.realm.index()], true) {
                continue;
            }
            if facts.status == Status::Blocked {
                stack.push(need.realm);
            } else {
                found.push(need.realm);
            }
        }
    }
    found.sort_unstable_by_key(|ix| supervisor.plan.graph().order(*ix));
    found
}

impl Supervisor {
    /// Looks at everything that was touched since the last review.
    pub(crate) fn review_incidents(&mut self, now: Instant) {
        if self.incidents.touched.is_empty() {
            return;
        }
        let mut touched = core::mem::take(&mut self.incidents.touched);
        touched.sort_unstable_by_key(|ix| self.plan.graph().order(*ix));
        for ix in &touched {
            self.incidents.marked[ix.index()] = false;
            self.review_outage(now, *ix);
        }
        for ix in &touched {
            self.review_blocked(now, *ix);
        }
        for ix in &touched {
            self.review_root(now, *ix);
            self.review_stale(*ix);
        }
        self.tell_stale(now);
        touched.clear();
        // Whatever an incident touches is told, not decided: nothing new has been touched meanwhile.
        self.incidents.touched = touched;
    }

    /// A fault without an incident opens one, or takes over that of a dependent which was blamed first.
    fn review_outage(&mut self, now: Instant, ix: RealmIx) {
        if self.incidents.rooted_in(Some(ix), None).is_some() {
            return;
        }
        let Some((reason, message)) = outage(self, ix, now) else { return };
        let blamed = self.incidents.open.iter().position(|incident| {
            incident.root.is_some_and(|root| {
                self.realms[root.index()].status == Status::Blocked && roots_of(self, root).contains(&ix)
            })
        });
        match blamed {
            Some(at) => self.hand_down(now, at, ix, reason, message),
            None => self.open_incident(now, Some(ix), reason, message),
        }
        // Those who were blocked before it was confirmed.
        for at in 0..self.realms.len() {
            if self.realms[at].status == Status::Blocked {
                self.incidents.touch(self.plan.infos()[at].ix);
            }
        }
        for blocked in core::mem::take(&mut self.incidents.touched) {
            self.incidents.marked[blocked.index()] = false;
            self.review_blocked(now, blocked);
        }
    }

    fn open_incident(&mut self, now: Instant, root: Option<RealmIx>, reason: Reason, message: String) {
        self.open_about(now, root, None, reason, message);
    }

    /// A problem of heartbeatd itself is confirmed.
    pub(crate) fn open_own_incident(
        &mut self,
        now: Instant,
        problem: OwnProblemKind,
        reason: Reason,
        message: String,
    ) -> IncidentNo {
        self.open_about(now, None, Some(problem), reason, message)
    }

    fn open_about(
        &mut self,
        now: Instant,
        root: Option<RealmIx>,
        problem: Option<OwnProblemKind>,
        reason: Reason,
        message: String,
    ) -> IncidentNo {
        self.incidents.last += 1;
        let critical = root.is_none_or(|ix| self.plan.realm(ix).critical);
        let opened_at = root
            .and_then(|ix| self.realms[ix.index()].restart.as_ref())
            .filter(|record| record.result.is_none())
            .and_then(|record| record.steps.first().map(|(_, at)| *at))
            .unwrap_or(now);
        let incident = Arc::new(Incident {
            no: IncidentNo(self.incidents.last),
            root,
            problem,
            reason,
            message,
            severity: if critical { Severity::Critical } else { Severity::Warning },
            affected: Vec::new(),
            opened_at,
            failed: false,
        });
        self.incidents.open.push(Arc::clone(&incident));
        self.tell_incident(now, IncidentStep::Opened, incident, None);
        IncidentNo(self.incidents.last)
    }

    /// The incident keeps its number and gets the root it should have had.
    fn hand_down(&mut self, now: Instant, at: usize, root: RealmIx, reason: Reason, message: String) {
        let critical = self.plan.realm(root).critical;
        let incident = Arc::make_mut(&mut self.incidents.open[at]);
        if let Some(blamed) = incident.root.replace(root)
            && !incident.affected.contains(&blamed)
        {
            incident.affected.push(blamed);
        }
        incident.affected.retain(|ix| *ix != root);
        (incident.reason, incident.message) = (reason, message);
        if critical {
            incident.severity = Severity::Critical;
        }
        let incident = Arc::clone(&self.incidents.open[at]);
        self.tell_incident(now, IncidentStep::Updated, incident, None);
    }

    /// A blocked realm joins the incidents of its roots, and gives up one of its own.
    fn review_blocked(&mut self, now: Instant, ix: RealmIx) {
        if self.realms[ix.index()].status != Status::Blocked {
            return;
        }
        let roots = roots_of(self, ix);
        let critical = self.plan.realm(ix).critical;
        let mut joined = None;
        for root in roots {
            let Some(at) = self.incidents.rooted_in(Some(root), None) else { continue };
            joined.get_or_insert(root);
            if self.incidents.open[at].affected.contains(&ix) {
                continue;
            }
            let incident = Arc::make_mut(&mut self.incidents.open[at]);
            incident.affected.push(ix);
            if critical {
                incident.severity = Severity::Critical;
            }
            let incident = Arc::clone(&self.incidents.open[at]);
            self.tell_incident(now, IncidentStep::Updated, incident, None);
        }
        if let (Some(root), Some(at)) = (joined, self.incidents.rooted_in(Some(ix), None)) {
            let root = self.plan.realm(root).name.to_string();
            self.resolve(now, at, format!("part of the incident of {root}"));
        }
    }

    /// A root that needs a person, or is fine again.
    fn review_root(&mut self, now: Instant, ix: RealmIx) {
        let Some(at) = self.incidents.rooted_in(Some(ix), None) else { return };
        let realm = &self.realms[ix.index()];
        if realm.status == Status::Failed && !self.incidents.open[at].failed {
            Arc::make_mut(&mut self.incidents.open[at]).failed = true;
            let incident = Arc::clone(&self.incidents.open[at]);
            self.tell_incident(now, IncidentStep::Failed, incident, None);
        } else if let Some(how) = ended(realm)
            && outage(self, ix, now).is_none()
        {
            self.resolve(now, at, how.to_string());
        }
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
        resolution: Option<String>,
    ) {
        self.incidents.changes += 1;
        let plan = Arc::clone(&self.plan);
        let whose = incident.root.map(|ix| (ix, plan.realm(ix)));
        self.out.event(now, whose, EventKind::Incident { step, incident, resolution });
    }

    /// Whether a probe of it has had no evidence for too long, by our own fault.
    fn review_stale(&mut self, ix: RealmIx) {
        let realm = &self.realms[ix.index()];
        if realm.pause.is_none() && realm.lacks_evidence() {
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
                let message = format!("no conclusive measurement of {name}{more} for too long");
                self.open_incident(now, None, Reason::Stale, message);
            }
            (Some(at), None) => self.resolve(now, at, "measured again".to_string()),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// The storm fuse has tripped, or is closed again.
    pub(crate) fn tell_fuse(&mut self, now: Instant, tripped: Option<String>) {
        let open = self.incidents.rooted_in(None, Some(Reason::StormFuse));
        match (tripped, open) {
            (Some(message), None) => {
                self.out.event(now, None, EventKind::FuseTripped { message: message.clone() });
                self.open_incident(now, None, Reason::StormFuse, message);
            }
            (None, Some(at)) => {
                self.out.event(now, None, EventKind::FuseReleased);
                self.resolve(now, at, "restarts for health are made again".to_string());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}
