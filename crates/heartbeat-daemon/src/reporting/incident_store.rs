//! Incidents as readers and receivers see them: with an identifier that is unique for good, a timeline, and the last
//! lines of output.
//!
//! The core decides what an incident is and what its root is. This store only records it, bounded, in memory; changes
//! go to the database.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_status::{
    Event, EventKind, Incident, IncidentNo, IncidentStep, Instant, RealmIx, Snapshot, WallAnchor, WallTime,
};
use heartbeat_wire::{AckEntry, INCIDENT_SCHEMA, IncidentDocument, IncidentLinks, TimelineEntry};

/// Most incidents in memory: the oldest resolved one goes first. An open one never goes, so there may be more: at most
/// one for each realm, and one for each part of heartbeatd.
const MAX_INCIDENTS: usize = 500;
/// Timeline entries of one incident: the first half stays, the second half has the latest.
const MAX_TIMELINE_ENTRIES: usize = 200;
/// Facts kept for incidents that may open later.
const MAX_RECENT_FACTS: usize = 512;
/// Facts about the root from this long before an incident opened are part of its timeline.
const PRELUDE_SECONDS: u64 = 60;

/// The name of heartbeatd where documents name a realm.
const OURSELVES: &str = "heartbeatd";

/// An incident with its document, as it survives the death of heartbeatd.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) incident: Incident,
    pub(crate) document: IncidentDocument,
}

impl Kept {
    fn entry(self, unwritten_steps: usize) -> Entry {
        let Self { incident, document } = self;
        let (no, incident) = (incident.no, Arc::new(incident));
        Entry { no, incident, document, changed: true, unwritten_steps }
    }
}

#[derive(Debug)]
struct Entry {
    no: IncidentNo,
    incident: Arc<Incident>,
    document: IncidentDocument,
    /// Part of the incident is not in the database yet.
    changed: bool,
    /// Steps that the incident writer has yet to write, with the notifications that follow from them.
    unwritten_steps: usize,
}

/// One step of an incident, for the incident writer.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) step: IncidentStep,
    pub(crate) incident: Arc<Incident>,
    /// The document after this step.
    pub(crate) document: IncidentDocument,
    /// The realm whose output belongs to the incident.
    pub(crate) output_of: Option<RealmIx>,
    /// The realms as readers knew them before this step.
    pub(crate) before: Arc<Snapshot>,
}

impl Entry {
    fn is_open(&self) -> bool {
        self.document.resolved_at.is_none()
    }
}

/// All incidents in memory.
#[derive(Debug, Default)]
pub(crate) struct IncidentStore {
    /// The oldest first.
    entries: VecDeque<Entry>,
    recent: VecDeque<(Option<RealmIx>, Instant, TimelineEntry)>,
    ecosystem: String,
}

impl IncidentStore {
    pub(crate) fn new(ecosystem: String) -> Self {
        Self { ecosystem, ..Self::default() }
    }

    /// Takes over the incidents that were open when an earlier heartbeatd died, and those that the database does not know
    /// to be over.
    pub(crate) fn restore(&mut self, kept: Vec<Kept>) {
        self.entries.extend(kept.into_iter().map(|kept| kept.entry(0)));
    }

    /// Takes over an incident that ends now: the incident writer has yet to write that.
    pub(crate) fn restore_ending(&mut self, kept: Kept) {
        self.entries.push_back(kept.entry(1));
    }

    /// The changes since the last call, for the database. An incident with an unwritten step is left to the incident
    /// writer: its state and its notifications belong in one transaction.
    pub(crate) fn take_changed(&mut self) -> Vec<(Arc<Incident>, IncidentDocument)> {
        let written = self.entries.iter_mut().filter(|entry| entry.unwritten_steps == 0);
        let taken = written.filter_map(|entry| {
            let changed = std::mem::take(&mut entry.changed);
            changed.then(|| (Arc::clone(&entry.incident), entry.document.clone()))
        });
        taken.collect()
    }

    /// Records what an event means for incidents. Returns the step to report, with the realm whose output it needs.
    pub(crate) fn note(
        &mut self,
        event: &Event,
        snapshot: &Arc<Snapshot>,
        anchor: WallAnchor,
        random: impl FnOnce() -> [u8; 10],
    ) -> Option<Step> {
        let fact = event.kind.fact()?;
        let realm = event.realm.as_ref().map(|(ix, _)| *ix);
        let name = event.realm.as_ref().map_or_else(|| OURSELVES.to_owned(), |(_, name)| name.to_string());
        let line =
            TimelineEntry { at: anchor.wall(event.at), realm: name, what: fact.0.into(), detail: fact.1 };
        if let EventKind::Incident { step, incident, note } = &event.kind {
            return self.step(event, snapshot, anchor, random, (*step, incident, note), line);
        }
        for entry in self.entries.iter_mut().filter(|entry| entry.is_open()) {
            if realm.is_some_and(|ix| entry.incident.concerns(ix)) {
                push_line(&mut entry.document.timeline, line.clone());
                entry.changed = true;
            }
        }
        if self.recent.len() >= MAX_RECENT_FACTS {
            self.recent.pop_front();
        }
        self.recent.push_back((realm, event.at, line));
        None
    }

    fn step(
        &mut self,
        event: &Event,
        snapshot: &Arc<Snapshot>,
        anchor: WallAnchor,
        random: impl FnOnce() -> [u8; 10],
        (step, incident, note): (IncidentStep, &Arc<Incident>, &Option<String>),
        line: TimelineEntry,
    ) -> Option<Step> {
        if step == IncidentStep::Opened {
            let entry = self.opened(incident, anchor, random());
            self.make_room();
            self.entries.push_back(entry);
        }
        let entry = self.entries.iter_mut().rev().find(|entry| entry.no == incident.no)?;
        entry.incident = Arc::clone(incident);
        entry.changed = true;
        entry.unwritten_steps += 1;
        let names = |ix: &RealmIx| snapshot.realm(*ix).map(|realm| realm.info.name.to_string());
        let document = &mut entry.document;
        document.event = step.into();
        document.seq += 1;
        document.root = incident.root.as_ref().and_then(names).unwrap_or_else(|| OURSELVES.to_owned());
        document.reason = incident.reason.into();
        document.message.clone_from(&incident.message);
        document.severity = incident.severity.into();
        document.affected = incident.affected.iter().filter_map(names).collect();
        if step == IncidentStep::Resolved {
            document.resolved_at = Some(anchor.wall(event.at));
            document.duration_s = Some(lasted(incident.opened_at, document.opened_at, event.at, anchor));
            document.resolution.clone_from(note);
        }
        push_line(&mut document.timeline, line);
        let output_of = incident.root.filter(|_| step == IncidentStep::Opened);
        let (incident, document, before) = (Arc::clone(incident), document.clone(), Arc::clone(snapshot));
        Some(Step { step, incident, document, output_of, before })
    }

    fn opened(&self, incident: &Arc<Incident>, anchor: WallAnchor, random: [u8; 10]) -> Entry {
        let opened_at = anchor.wall(incident.opened_at);
        let id = new_id(opened_at, random);
        let recently = |at: Instant| incident.opened_at.since(at).as_secs() <= PRELUDE_SECONDS;
        let before = self.recent.iter().filter(|(realm, at, _)| *realm == incident.root && recently(*at));
        let document = IncidentDocument {
            schema: INCIDENT_SCHEMA.to_owned(),
            event: IncidentStep::Opened.into(),
            links: IncidentLinks { this: format!("/api/incidents/{id}/") },
            id,
            seq: 0,
            ecosystem: self.ecosystem.clone(),
            root: String::new(),
            reason: incident.reason.into(),
            message: String::new(),
            severity: incident.severity.into(),
            affected: Vec::new(),
            opened_at,
            resolved_at: None,
            duration_s: None,
            resolution: None,
            ack: None,
            timeline: before.map(|(_, _, line)| line.clone()).collect(),
            log_tail: Vec::new(),
        };
        let (no, incident) = (incident.no, Arc::clone(incident));
        Entry { no, incident, document, changed: true, unwritten_steps: 0 }
    }

    /// Makes room for one more incident, as far as resolved ones can go.
    fn make_room(&mut self) {
        while self.entries.len() >= MAX_INCIDENTS
            && let Some(oldest) = self.entries.iter().position(|entry| !entry.is_open())
        {
            self.entries.remove(oldest);
        }
    }

    /// Adds the last lines of the root's output.
    pub(crate) fn attach(&mut self, id: &str, output: Vec<String>) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.document.id == id) {
            entry.document.log_tail = output;
            entry.changed = true;
        }
    }

    /// A reminder of an open incident takes the next number; the rest of the incident stays. It is unwritten until
    /// [`step_written`](Self::step_written).
    pub(crate) fn next_number(&mut self, id: &str) -> Option<(Arc<Incident>, IncidentDocument)> {
        let entry = self.entries.iter_mut().find(|entry| entry.document.id == id && entry.is_open())?;
        entry.document.seq += 1;
        entry.unwritten_steps += 1;
        Some((Arc::clone(&entry.incident), entry.document.clone()))
    }

    /// The incident writer has written a step.
    pub(crate) fn step_written(&mut self, id: &str) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.document.id == id) {
            entry.unwritten_steps = entry.unwritten_steps.saturating_sub(1);
        }
    }

    /// Open incidents, and whether each needs a person; the oldest first, less those with a step that is not written.
    pub(crate) fn written_open(&self) -> Vec<(Arc<IncidentDocument>, bool)> {
        let open = self.entries.iter().filter(|entry| entry.is_open() && entry.unwritten_steps == 0);
        open.map(|entry| (Arc::new(entry.document.clone()), entry.incident.failed)).collect()
    }

    /// The incidents of `unwritten`, and behind them the others that are open.
    pub(crate) fn unwritten(&self, unwritten: &BTreeSet<String>) -> impl Iterator<Item = Kept> {
        let is_unwritten = |entry: &&Entry| unwritten.contains(&entry.document.id);
        let others = self.entries.iter().filter(move |entry| entry.is_open() && !is_unwritten(entry));
        let kept = |entry: &Entry| Kept {
            incident: Incident::clone(&entry.incident),
            document: entry.document.clone(),
        };
        self.entries.iter().filter(is_unwritten).chain(others).map(kept)
    }

    /// The incidents in memory, in no order.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &IncidentDocument> {
        self.entries.iter().map(|entry| &entry.document)
    }

    /// Acknowledges an incident; returns the new document, if the incident is in memory.
    pub(crate) fn acknowledge(&mut self, id: &str, ack: AckEntry) -> Option<IncidentDocument> {
        let entry = self.entries.iter_mut().find(|entry| entry.document.id == id)?;
        entry.document.ack = Some(ack);
        entry.changed = true;
        Some(entry.document.clone())
    }

    /// The public identifiers of open incidents.
    pub(crate) fn open_ids(&self) -> Vec<(IncidentNo, String)> {
        let open = self.entries.iter().filter(|entry| entry.is_open());
        open.map(|entry| (entry.no, entry.document.id.clone())).collect()
    }
}

/// An identifier that is unique for good (UUIDv7).
pub(crate) fn new_id(at: WallTime, random: [u8; 10]) -> String {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string()
}

/// How long an incident has lasted, in seconds: by the monotonic clock, or by the wall clock if it is from before this
/// boot.
pub(crate) fn lasted(opened: Instant, opened_at: WallTime, until: Instant, anchor: WallAnchor) -> f64 {
    if opened > Instant::ZERO {
        return until.since(opened).as_secs_f64();
    }
    let millis = anchor.wall(until).as_millis().saturating_sub(opened_at.as_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64()
}

fn push_line(timeline: &mut Vec<TimelineEntry>, line: TimelineEntry) {
    if timeline.len() >= MAX_TIMELINE_ENTRIES {
        timeline.remove(MAX_TIMELINE_ENTRIES / 2);
    }
    timeline.push(line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_status::{Reason, Severity, WallTime};

    fn line(detail: &str) -> TimelineEntry {
        TimelineEntry {
            at: WallTime::from_millis(0),
            realm: "db".to_owned(),
            what: heartbeat_status::What::Exited.into(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn a_timeline_keeps_its_beginning_and_its_end() {
        let mut timeline = Vec::new();
        for n in 0..500 {
            push_line(&mut timeline, line(&n.to_string()));
        }
        assert_eq!(timeline.len(), MAX_TIMELINE_ENTRIES);
        assert_eq!((timeline[0].detail.as_str(), timeline.last().unwrap().detail.as_str()), ("0", "499"));
    }

    fn opened(book: &mut IncidentStore, no: u64) -> Entry {
        let anchor = WallAnchor { instant: Instant::ZERO, wall: WallTime::from_millis(1_700_000_000_000) };
        let incident = Arc::new(Incident {
            no: IncidentNo(no),
            root: None,
            problem: None,
            reason: Reason::Stale,
            message: String::new(),
            severity: Severity::Warning,
            affected: Vec::new(),
            opened_at: Instant::from_millis(1_000),
            failed: false,
        });
        book.opened(&incident, anchor, [no as u8; 10])
    }

    #[test]
    fn open_incidents_outlive_resolved_ones() {
        let mut book = IncidentStore::new("shop".to_owned());
        for no in 0..600 {
            let mut entry = opened(&mut book, no);
            if no != 3 {
                entry.document.resolved_at = Some(WallTime::from_millis(0));
            }
            book.make_room();
            book.entries.push_back(entry);
        }
        assert_eq!(book.entries.len(), MAX_INCIDENTS);
        assert_eq!(book.open_ids()[0].0, IncidentNo(3));
        let id = &book.open_ids()[0].1;
        assert_eq!((id.len(), &id[14..15]), (36, "7"), "{id}");
    }

    #[test]
    fn an_open_incident_never_goes_however_many_are_open() {
        let mut book = IncidentStore::new("shop".to_owned());
        for no in 0..600 {
            let entry = opened(&mut book, no);
            book.make_room();
            book.entries.push_back(entry);
        }
        assert_eq!(book.open_ids().len(), 600);
        // Resolved incidents make room again.
        for entry in &mut book.entries {
            entry.document.resolved_at = Some(WallTime::from_millis(0));
        }
        book.make_room();
        assert_eq!(book.entries.len(), MAX_INCIDENTS - 1);
    }
}
