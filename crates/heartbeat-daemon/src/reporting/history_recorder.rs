//! The history recorder: it gives the database every change of a status at once, and the measurements once per minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heartbeat_status::{
    CheckResult, Event, EventKind, Instant, Outcome, ProbeIx, ProbePhase, RealmIx, Reason, Snapshot, Status,
    WallAnchor,
};
use heartbeat_store::{HistoryDb, Measured, Quantity, Sketch, StatusChange};
use heartbeat_wire::RealmFigures;

use crate::clock;
use crate::reporting::dated::Dated;
use crate::reporting::history_reader;

const MINUTE_MS: i64 = 60_000;
/// A wall clock that is off by more than this, in milliseconds, has been set: another life begins.
const STEP_MS: u64 = 5_000;
/// Phases are kept by the day, so they are given away less often, in minutes.
const PHASES_EVERY: i64 = 10;

/// Figures of every realm from history, replaced once per minute.
pub(crate) type Figures = Arc<Dated<BTreeMap<String, RealmFigures>>>;

/// What was measured with one probe since it was given away last.
#[derive(Clone, Debug, Default)]
struct ProbeSketches {
    latency: Sketch,
    phases: [Sketch; ProbePhase::ALL.len()],
}

/// Collects on the driver's thread; nothing here waits.
#[derive(Debug)]
pub(crate) struct HistoryRecorder {
    database: Arc<HistoryDb>,
    figures: Figures,
    boot: String,
    /// The anchor for the times of the present life; `None`: another life is to begin.
    anchor: Option<WallAnchor>,
    minute: i64,
    /// What was measured, by realm and probe.
    measured: Vec<Vec<ProbeSketches>>,
    statuses: BTreeMap<String, Status>,
    /// Another configuration is in force: no event tells of a realm that is new, or that has replaced one of its name.
    compares: bool,
}

impl HistoryRecorder {
    pub(crate) fn new(database: Arc<HistoryDb>, figures: Figures, boot: String) -> Self {
        Self {
            database,
            figures,
            boot,
            anchor: None,
            minute: 0,
            measured: Vec::new(),
            statuses: BTreeMap::new(),
            compares: false,
        }
    }

    /// Notes an event.
    pub(crate) fn note(&mut self, event: &Event) {
        let (Some((_, name)), EventKind::StatusChanged { to, reason, .. }) = (&event.realm, &event.kind)
        else {
            return;
        };
        // An event before the first life is part of its beginning.
        if let Some(anchor) = self.anchor {
            self.change(name.as_str(), *to, *reason, anchor.wall(event.at).as_millis());
        }
    }

    /// Notes a measurement.
    pub(crate) fn measured(&mut self, (realm, probe): (RealmIx, ProbeIx), result: &CheckResult) {
        if let (Outcome::Pass | Outcome::Degraded(..), Some(latency)) = (&result.outcome, result.latency) {
            let sketches = at(at(&mut self.measured, realm.index()), probe.index());
            sketches.latency.add(latency);
            for ((phase, took), sketch) in result.phases.each().into_iter().zip(&mut sketches.phases) {
                // The queue is heartbeatd's own.
                if let Some(took) = took.filter(|_| phase != ProbePhase::Queue) {
                    sketch.add(took);
                }
            }
        }
    }

    /// heartbeatd did not run for a while: the states of that time are unknown.
    pub(crate) fn blind(&mut self) {
        self.anchor = None;
    }

    /// Drops the latencies of indices that belong to other realms now.
    pub(crate) fn reconfigured(&mut self) {
        self.measured.clear();
        self.compares = true;
    }

    /// The driver's loop has turned; `used` gives what the processes used since it was called last.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        anchor: WallAnchor,
        snapshot: &Snapshot,
        used: impl FnOnce() -> Vec<Measured>,
    ) {
        let at_ms = anchor.wall(now).as_millis();
        let stepped = |known: WallAnchor| known.wall(now).as_millis().abs_diff(at_ms) > STEP_MS;
        if self.anchor.is_none_or(stepped) {
            self.begin(at_ms, anchor, snapshot);
        }
        if std::mem::take(&mut self.compares) {
            for realm in &snapshot.realms {
                let name = realm.info.name.as_str();
                if self.statuses.get(name) != Some(&realm.status) {
                    self.change(name, realm.status, realm.why.reason, at_ms);
                }
            }
        }
        let minute = at_ms.div_euclid(MINUTE_MS);
        if minute != self.minute {
            self.minute = minute;
            let with_phases = minute % PHASES_EVERY == 0;
            self.end_minute((minute * MINUTE_MS - 1, at_ms), snapshot, used(), with_phases);
        }
    }

    /// heartbeatd itself ends.
    pub(crate) fn end(&mut self, now: Instant, snapshot: &Snapshot, used: impl FnOnce() -> Vec<Measured>) {
        if let Some(anchor) = self.anchor {
            let at_ms = anchor.wall(now).as_millis();
            self.end_minute((at_ms, at_ms), snapshot, used(), true);
        }
    }

    fn begin(&mut self, at_ms: i64, anchor: WallAnchor, snapshot: &Snapshot) {
        self.anchor = Some(anchor);
        self.minute = at_ms.div_euclid(MINUTE_MS);
        self.statuses.clear();
        self.database.begin(self.boot.clone(), at_ms);
        for realm in &snapshot.realms {
            self.change(realm.info.name.as_str(), realm.status, realm.why.reason, at_ms);
        }
    }

    fn end_minute(
        &mut self,
        (slot_ms, at_ms): (i64, i64),
        snapshot: &Snapshot,
        used: Vec<Measured>,
        with_phases: bool,
    ) {
        let there: BTreeSet<&str> = snapshot.realms.iter().map(|realm| realm.info.name.as_str()).collect();
        let gone: Vec<String> =
            self.statuses.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
        for name in gone {
            self.change(&name, Status::Stopped, Reason::StoppedByOperator, at_ms);
            self.statuses.remove(&name);
        }
        let mut measured = used;
        let names = |realm: RealmIx, probe: ProbeIx| {
            let realm = snapshot.realm(realm)?;
            let probe = realm.info.probes.get(probe.index())?;
            Some((realm.info.name.to_string(), probe.name.to_string()))
        };
        for (at, sketches) in self.measured.iter_mut().enumerate().flat_map(by_probe) {
            let Some((realm, probe)) = names(at.0, at.1) else { continue };
            let mut give = |quantity: Quantity, sketch: &mut Sketch| {
                if !sketch.is_empty() {
                    let values = std::mem::take(sketch);
                    measured.push(Measured { realm: realm.clone(), quantity, values });
                }
            };
            give(Quantity::Latency(probe.clone()), &mut sketches.latency);
            for (phase, sketch) in
                ProbePhase::ALL.iter().copied().zip(&mut sketches.phases).filter(|_| with_phases)
            {
                give(Quantity::Phase(probe.clone(), phase), sketch);
            }
        }
        self.database.minute(slot_ms, measured);
        let figures = Arc::clone(&self.figures);
        let probes = snapshot.realms.iter().map(|realm| {
            let probes = realm.info.probes.iter().map(|probe| probe.name.to_string());
            (realm.info.name.to_string(), probes.collect())
        });
        let probes: Vec<(String, Vec<String>)> = probes.collect();
        self.database.glance(at_ms, move |glances| {
            if let Ok(glances) = glances {
                figures.set(clock::now(), history_reader::figures(&glances, &probes));
            }
        });
    }

    fn change(&mut self, realm: &str, status: Status, reason: Reason, at_ms: i64) {
        self.statuses.insert(realm.to_owned(), status);
        self.database.change(StatusChange { at_ms, realm: realm.to_owned(), status, reason });
    }
}

/// The element at an index, for which the list grows.
fn at<T: Clone + Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if index >= list.len() {
        list.resize(index + 1, T::default());
    }
    &mut list[index]
}

/// The probes of a realm with their place.
fn by_probe(
    (realm, probes): (usize, &mut Vec<ProbeSketches>),
) -> impl Iterator<Item = ((RealmIx, ProbeIx), &mut ProbeSketches)> {
    let realm = RealmIx(u32::try_from(realm).unwrap_or(u32::MAX));
    let places = (0..=u16::MAX).map(move |probe| (realm, ProbeIx(probe)));
    places.zip(probes)
}
