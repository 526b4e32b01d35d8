//! A directory with both databases, and answers that are waited for.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use heartbeat_status::{IncidentStep, Instant, Reason, Severity, WallTime};
use heartbeat_store::{
    HistoryDb, IncidentDb, IncidentRecord, Keep, Remembered, Report, Reporter, StoreError,
};
use heartbeat_wire::{INCIDENT_SCHEMA, IncidentDocument, IncidentLinks};

/// A clock that is a second later with each reading: nothing waits for real time.
pub(crate) fn ticking() -> Instant {
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    Instant::from_millis(1_000 * SECONDS.fetch_add(1, Ordering::Relaxed))
}

/// Far more than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was reported.
#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<(Mutex<Vec<Report>>, Condvar)>);

impl Reports {
    pub(crate) fn reporter(&self) -> Reporter {
        let reports = self.clone();
        Arc::new(move |report| {
            reports.0.0.lock().unwrap().push(report);
            reports.0.1.notify_all();
        })
    }

    /// Waits until a report is there that is `wanted`.
    pub(crate) fn wait(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        let reports = self.0.0.lock().unwrap();
        let missing = |reports: &mut Vec<Report>| !reports.iter().any(&wanted);
        let (reports, late) = self.0.1.wait_timeout_while(reports, PATIENCE, missing).unwrap();
        assert!(!late.timed_out(), "only {reports:?}");
        reports.iter().find(|report| wanted(report)).unwrap().clone()
    }

    pub(crate) fn failing(&self) -> String {
        match self.wait(|report| matches!(report, Report::Failing(_))) {
            Report::Failing(why) => why,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn all(&self) -> Vec<Report> {
        self.0.0.lock().unwrap().clone()
    }

    pub(crate) fn clear(&self) {
        self.0.0.lock().unwrap().clear();
    }
}

/// Waits for an answer.
pub(crate) fn answer<T: Send + 'static>(ask: impl FnOnce(SyncSender<T>)) -> T {
    let (give, take) = sync_channel(1);
    ask(give);
    take.recv_timeout(PATIENCE).expect("an answer")
}

pub(crate) struct Scene {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) reports: Reports,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), reports: Reports::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn incidents(&self) -> IncidentDb {
        IncidentDb::start(self.dir.path(), ticking, self.reports.reporter()).unwrap()
    }

    pub(crate) fn history(&self) -> HistoryDb {
        self.history_of(256 << 20)
    }

    pub(crate) fn history_of(&self, max_bytes: u64) -> HistoryDb {
        let keep = Keep { history: Duration::from_secs(730 * 86_400), max_bytes };
        HistoryDb::start(self.dir.path(), keep, ticking, self.reports.reporter()).unwrap()
    }
}

pub(crate) fn document(no: u64, open: bool) -> IncidentDocument {
    let id = format!("0193a1b2-0000-7000-8000-{no:012}");
    IncidentDocument {
        schema: INCIDENT_SCHEMA.to_owned(),
        event: if open { IncidentStep::Opened } else { IncidentStep::Resolved }.into(),
        links: IncidentLinks { this: format!("/api/incidents/{id}/") },
        id,
        seq: if open { 1 } else { 2 },
        ecosystem: "shop".to_owned(),
        root: "db".to_owned(),
        reason: Reason::Exited.into(),
        message: format!("exit code {no}"),
        severity: Severity::Critical.into(),
        affected: vec!["api".to_owned()],
        opened_at: WallTime::from_millis(1_700_000_000_000),
        resolved_at: (!open).then(|| WallTime::from_millis(1_700_000_060_000)),
        duration_s: (!open).then_some(60.0),
        resolution: None,
        ack: None,
        timeline: Vec::new(),
        log_tail: vec!["FATAL: out of memory".to_owned()],
    }
}

pub(crate) fn record(no: u64, open: bool) -> IncidentRecord {
    IncidentRecord { document: Arc::new(document(no, open)), state: open.then(|| format!("{{\"no\":{no}}}")) }
}

/// Writes an incident and waits for its confirmation.
pub(crate) fn write(db: &IncidentDb, no: u64, open: bool) -> Result<(), StoreError> {
    answer(|give| {
        let confirm = Box::new(move |written| give.send(written).unwrap());
        db.record(record(no, open), Vec::new(), Some(confirm));
    })
}

pub(crate) fn remembered(db: &IncidentDb) -> Remembered {
    answer(|give| db.remembered(1_000, move |answer| give.send(answer).unwrap())).unwrap()
}

/// The numbers of the open incidents.
/// Drops a database once everything is on disk: its end alone waits for the disk within a bound.
pub(crate) fn close(db: IncidentDb) {
    remembered(&db);
    drop(db);
}

pub(crate) fn open_numbers(db: &IncidentDb) -> Vec<u64> {
    let open = remembered(db).open;
    open.iter().map(|record| record.document.id[24..].parse().unwrap()).collect()
}

pub(crate) fn sqlite(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}
