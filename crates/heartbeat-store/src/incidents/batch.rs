//! What waits to be written to `incidents.db`: the newest state of each incident, and what was said once.

use std::collections::{BTreeMap, VecDeque};

use crate::incidents::{Attempt, AuditEntry, Delivery, IncidentRecord};
use crate::worker::Confirm;

/// Incidents that wait. Beyond that the oldest that are resolved go first.
const MAX_INCIDENTS: usize = 10_000;
/// Notifications, and attempts at them, that wait.
const MAX_DELIVERIES: usize = 10_000;
/// Entries of the audit that wait.
const MAX_AUDIT_ENTRIES: usize = 10_000;
/// Parts of evidence that wait.
const MAX_EVIDENCE_PARTS: usize = 500;
/// Names under which something is remembered.
const MAX_NOTES: usize = 16;

#[derive(Default)]
pub(crate) struct Batch {
    pub(super) incidents: BTreeMap<String, IncidentRecord>,
    pub(super) deliveries: VecDeque<Delivery>,
    pub(super) attempts: VecDeque<Attempt>,
    pub(super) audit: VecDeque<AuditEntry>,
    pub(super) notes: BTreeMap<String, String>,
    /// By incident and part.
    pub(super) evidence: BTreeMap<(String, &'static str), Vec<u8>>,
    pub(super) confirms: Vec<Confirm>,
    /// What was given up since the last report.
    given_up: u64,
}

impl Batch {
    pub(super) fn record(
        &mut self,
        record: IncidentRecord,
        deliveries: Vec<Delivery>,
        confirm: Option<Confirm>,
    ) {
        self.incidents.insert(record.document.id.clone(), record);
        self.deliveries.extend(deliveries);
        self.confirms.extend(confirm);
        self.bound();
    }

    pub(super) fn deliver(&mut self, deliveries: Vec<Delivery>) {
        self.deliveries.extend(deliveries);
        self.bound();
    }

    pub(super) fn attempted(&mut self, attempt: Attempt) {
        self.attempts.push_back(attempt);
        self.bound();
    }

    pub(super) fn audit(&mut self, entry: AuditEntry) {
        self.audit.push_back(entry);
        self.bound();
    }

    pub(super) fn note(&mut self, name: &str, body: String) {
        if self.notes.contains_key(name) || self.notes.len() < MAX_NOTES {
            self.notes.insert(name.to_owned(), body);
        }
    }

    pub(super) fn keep_evidence(&mut self, incident: &str, part: &'static str, body: Vec<u8>) {
        self.evidence.insert((incident.to_owned(), part), body);
        self.bound();
    }

    pub(super) fn is_empty(&self) -> bool {
        let lists = [self.deliveries.is_empty(), self.attempts.is_empty(), self.audit.is_empty()];
        self.incidents.is_empty()
            && lists.into_iter().all(|empty| empty)
            && self.notes.is_empty()
            && self.evidence.is_empty()
            && self.confirms.is_empty()
    }

    /// Puts `later` behind.
    pub(super) fn join(&mut self, later: Self) {
        self.incidents.extend(later.incidents);
        self.deliveries.extend(later.deliveries);
        self.attempts.extend(later.attempts);
        self.audit.extend(later.audit);
        self.notes.extend(later.notes);
        self.evidence.extend(later.evidence);
        self.confirms.extend(later.confirms);
        self.given_up += later.given_up;
        self.bound();
    }

    /// How many writes were given up since the last call.
    pub(super) fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    fn bound(&mut self) {
        while self.incidents.len() > MAX_INCIDENTS {
            let resolved = self.incidents.iter().find(|(_, record)| record.state.is_none());
            let oldest = resolved.or_else(|| self.incidents.iter().next()).map(|(id, _)| id.clone());
            self.given_up += u64::from(oldest.is_some_and(|id| self.incidents.remove(&id).is_some()));
        }
        self.given_up += trim(&mut self.deliveries, MAX_DELIVERIES);
        self.given_up += trim(&mut self.attempts, MAX_DELIVERIES);
        self.given_up += trim(&mut self.audit, MAX_AUDIT_ENTRIES);
        while self.evidence.len() > MAX_EVIDENCE_PARTS {
            self.given_up += u64::from(self.evidence.pop_first().is_some());
        }
    }
}

/// Drops the oldest beyond `most`; how many.
fn trim<T>(queue: &mut VecDeque<T>, most: usize) -> u64 {
    let beyond = queue.len().saturating_sub(most);
    drop(queue.drain(..beyond));
    beyond as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::rows::tests::document;
    use std::sync::Arc;

    fn record(no: usize, open: bool) -> IncidentRecord {
        let document = Arc::new(document(&format!("{no:08}"), open));
        IncidentRecord { document, state: open.then(|| "{}".to_owned()) }
    }

    #[test]
    fn the_newest_state_of_an_incident_replaces_what_waits() {
        let mut batch = Batch::default();
        batch.record(record(1, true), Vec::new(), None);
        let mut later = Batch::default();
        later.record(record(1, false), Vec::new(), None);
        batch.join(later);
        assert_eq!(batch.incidents.len(), 1);
        assert!(batch.incidents["00000001"].state.is_none());
    }

    #[test]
    fn an_open_incident_stays_when_resolved_ones_can_go() {
        let mut batch = Batch::default();
        batch.record(record(0, true), Vec::new(), None);
        for no in 1..=MAX_INCIDENTS {
            batch.record(record(no, false), Vec::new(), None);
        }
        assert_eq!((batch.incidents.len(), batch.take_given_up()), (MAX_INCIDENTS, 1));
        assert!(batch.incidents.contains_key("00000000") && !batch.incidents.contains_key("00000001"));
        assert_eq!(batch.take_given_up(), 0);
    }

    #[test]
    fn the_oldest_entries_of_the_audit_go_first() {
        let mut batch = Batch::default();
        for no in 0..=MAX_AUDIT_ENTRIES {
            let entry = AuditEntry {
                at: heartbeat_status::WallTime::from_millis(0),
                by: "uid 0".to_owned(),
                action: "stop".to_owned(),
                target: no.to_string(),
                detail: String::new(),
            };
            batch.audit(entry);
        }
        assert_eq!((batch.audit.len(), batch.audit[0].target.as_str()), (MAX_AUDIT_ENTRIES, "1"));
    }
}
