//! The incidents that are open, and the realms whose part in them may have changed.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use heartbeat_status::{Incident, IncidentNo, RealmIx, Reason};

#[derive(Debug, Default)]
pub(crate) struct Incidents {
    /// Those not resolved, the oldest first.
    pub(crate) open: Vec<Arc<Incident>>,
    pub(crate) last: u64,
    /// Opened, and not reported yet: the report follows at the end of the review.
    pub(crate) untold: Vec<IncidentNo>,
    /// Taken over by a storm: they end once the storm is reported.
    pub(crate) folded: Vec<IncidentNo>,
    /// Realms that have crashed, and that no incident names yet.
    pub(crate) crashed: BTreeSet<RealmIx>,
    /// Realms to be reviewed.
    pub(crate) touched: Vec<RealmIx>,
    pub(crate) marked: Vec<bool>,
    /// Realms with a probe without recent evidence, by heartbeatd's own fault.
    pub(crate) stale: BTreeSet<RealmIx>,
    /// Realms whose outage is part of the storm.
    pub(crate) hit_by_breaker: BTreeSet<RealmIx>,
    /// Realms that have not been started for too long because the host has nothing left.
    pub(crate) exhausted: BTreeSet<RealmIx>,
    /// Counts every change; part of the revision.
    pub(crate) changes: u64,
}

impl Incidents {
    /// The meaning of this realm may have changed.
    pub(crate) fn touch(&mut self, ix: RealmIx) {
        if self.marked.len() <= ix.index() {
            self.marked.resize(ix.index() + 1, false);
        }
        if !core::mem::replace(&mut self.marked[ix.index()], true) {
            self.touched.push(ix);
        }
    }

    /// The index belongs to another realm now. Incidents do not concern that, unless it is the removed one again
    /// (`returns`): receivers know what it was affected by.
    pub(crate) fn forget(&mut self, ix: RealmIx, returns: bool) {
        self.stale.remove(&ix);
        self.hit_by_breaker.remove(&ix);
        self.exhausted.remove(&ix);
        if returns {
            return;
        }
        for incident in &mut self.open {
            if incident.affected.contains(&ix) {
                Arc::make_mut(incident).affected.retain(|affected| *affected != ix);
                self.changes += 1;
            }
        }
    }

    /// Takes over the incidents that were open when heartbeatd died.
    pub(crate) fn restore(&mut self, open: Vec<Incident>) {
        self.last = open.iter().map(|incident| incident.no.0).max().unwrap_or(0);
        for incident in open {
            for ix in incident.root.into_iter().chain(incident.affected.iter().copied()) {
                self.touch(ix);
            }
            if incident.reason == Reason::StormFuse {
                self.hit_by_breaker.extend(&incident.affected);
            }
            self.open.push(Arc::new(incident));
        }
        self.changes += 1;
    }

    pub(crate) fn rooted_in(&self, root: Option<RealmIx>, reason: Option<Reason>) -> Option<usize> {
        self.open.iter().position(|incident| {
            incident.root == root
                && reason.is_none_or(|reason| incident.reason == reason)
                && !self.folded.contains(&incident.no)
        })
    }
}
