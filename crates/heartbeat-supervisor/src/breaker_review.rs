//! Incidents of heartbeatd about many realms: those that the restart circuit breaker holds, and those that it cannot
//! measure.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{EventKind, Incident, Instant, RealmIx, Reason, Status};

use crate::ctx::Mode;
use crate::outage::Outage;
use crate::{Supervisor, words};

impl Supervisor {
    /// The incident of a storm, if an outage for this reason is part of it.
    pub(crate) fn failures_of(&self, ix: RealmIx, reason: Reason) -> Option<usize> {
        let at = self.incidents.rooted_in(None, Some(Reason::StormFuse))?;
        let known = self.incidents.hit_by_breaker.contains(&ix);
        let of_breaker = match reason {
            // This realm needs a person, which the others do not.
            _ if self.realms[ix.index()].shown.status == Status::Failed => false,
            Reason::ProbeFailed => known || self.fuse.is_tripped(),
            // A restart that the storm has caused did not succeed.
            Reason::StartTimedOut => known,
            _ => false,
        };
        of_breaker.then_some(at)
    }

    /// The circuit breaker has tripped: the incidents that the storm has opened already fold under its own.
    pub(crate) fn breaker_tripped(&mut self, now: Instant, message: String) {
        self.out.event(now, None, EventKind::FuseTripped { message: message.clone() });
        if matches!(self.mode, Mode::ShuttingDown | Mode::Killing) {
            return;
        }
        let window = self.plan.settings().fuse.window;
        let of_breaker = |incident: &Incident, ix: RealmIx| {
            incident.reason == Reason::ProbeFailed
                && now.since(incident.opened_at) <= window
                && self.fuse.turned().any(|turned| turned == ix)
        };
        let folded: Vec<Arc<Incident>> = self
            .incidents
            .open
            .iter()
            .filter(|incident| incident.root.is_some_and(|root| of_breaker(incident, root)))
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
                let outage = Outage { reason: Reason::StormFuse, message, since: now, outlived: false };
                self.open_incident((None, None), outage, affected);
            }
        }
        for incident in folded {
            self.incidents.hit_by_breaker.extend(incident.root);
            self.incidents.folded.push(incident.no);
        }
    }

    /// The end of a review: receivers hear of a storm before they hear which incidents it has taken over.
    pub(crate) fn tell_opened_and_folded(&mut self, now: Instant) {
        self.tell_opened(now, None);
        for no in core::mem::take(&mut self.incidents.folded) {
            if let Some(at) = self.incidents.open.iter().position(|incident| incident.no == no) {
                self.resolve(now, at, "part of the incident of heartbeatd".to_string());
            }
        }
    }

    /// A storm is over when the circuit breaker is closed and each realm of the storm is fine again, or has an incident
    /// of its own.
    pub(crate) fn review_breaker(&mut self, now: Instant) {
        let Some(at) = self.incidents.rooted_in(None, Some(Reason::StormFuse)) else { return };
        let hit: BTreeSet<RealmIx> =
            self.incidents.hit_by_breaker.iter().copied().filter(|ix| !self.is_over(*ix)).collect();
        self.incidents.hit_by_breaker = hit;
        let affected = &self.incidents.open[at].affected;
        let over =
            self.incidents.hit_by_breaker.is_empty() && !affected.iter().any(|ix| self.still_suffers(*ix));
        if !self.fuse.is_tripped() && over {
            let how = match affected.is_empty() {
                true => "restarts for health are made again",
                false => "each realm that it affected is fine, or has an incident of its own",
            };
            self.end_outage(now, at, how);
        }
    }

    /// Whether a probe of the realm has had no evidence for too long, by heartbeatd's own fault.
    pub(crate) fn review_stale(&mut self, ix: RealmIx) {
        let realm = &self.realms[ix.index()];
        if realm.wish.pause.is_none() && realm.lacks_evidence() {
            self.incidents.stale.insert(ix);
        } else {
            self.incidents.stale.remove(&ix);
        }
    }

    pub(crate) fn tell_stale(&mut self, now: Instant) {
        let open = self.incidents.rooted_in(None, Some(Reason::Stale));
        match (open, self.incidents.stale.first()) {
            (None, Some(first)) => {
                let name = &self.plan.realm(*first).name;
                let more = self.incidents.stale.len() - 1;
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                let words = words::stale_words(self.plan.realm(*first), &self.realms[first.index()].evidence);
                let words = if words.is_empty() { words } else { format!(": {words}") };
                let message = format!("no conclusive measurement of {name}{more} for too long{words}");
                let outage = Outage { reason: Reason::Stale, message, since: now, outlived: false };
                self.open_incident((None, None), outage, Vec::new());
            }
            (Some(at), None) => self.resolve(now, at, "measured again".to_string()),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}
