//! Both databases of the state directory, and their reports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use heartbeat_status::OwnProblemKind;
use heartbeat_store::{HistoryDb, IncidentDb, Keep, Remembered, Report, Reporter, StoreError};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::clock;
use crate::error::DaemonError;
use crate::own_health::own_problems::OwnProblems;

/// A start waits this long for the state of an earlier heartbeatd: a disk that does not answer holds no realm.
const REMEMBERED_WAIT: Duration = Duration::from_secs(5);

/// A reader waits this long for the disk, and then gets what is known without it.
const DISK_WAIT: Duration = Duration::from_secs(2);

/// Both databases of heartbeatd.
#[derive(Debug)]
pub(crate) struct Databases {
    pub(crate) incidents: Arc<IncidentDb>,
    pub(crate) history: Arc<HistoryDb>,
    problems: Arc<OwnProblems>,
    path: PathBuf,
    /// There was no `incidents.db`.
    is_new: bool,
}

impl Databases {
    pub(crate) fn open(
        state_dir: &Path,
        keep: Keep,
        problems: &Arc<OwnProblems>,
    ) -> Result<Self, DaemonError> {
        // Their threads have the priority of the thread that makes them.
        let make = || {
            heartbeat_process::work_in_background();
            Self::make(state_dir, keep, problems)
        };
        std::thread::scope(|scope| scope.spawn(make).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn make(state_dir: &Path, keep: Keep, problems: &Arc<OwnProblems>) -> Result<Self, DaemonError> {
        let path = state_dir.join("incidents.db");
        let is_new = path.try_exists().is_ok_and(|exists| !exists);
        let report = reporter(OwnProblemKind::OpenIncidents, problems);
        let incidents = IncidentDb::start(state_dir, clock::now, report)
            .map_err(|source| DaemonError::Store { source })?;
        let report = reporter(OwnProblemKind::History, problems);
        let history = HistoryDb::start(state_dir, keep, clock::now, report)
            .map_err(|source| DaemonError::Store { source })?;
        let (incidents, history) = (Arc::new(incidents), Arc::new(history));
        Ok(Self { incidents, history, problems: Arc::clone(problems), path, is_new })
    }

    /// The content of `incidents.db` that an earlier heartbeatd has left.
    pub(crate) fn remembered(&self) -> Remembered {
        if self.is_new {
            // A first start does not wait until the disk has a new file.
            return Remembered::default();
        }
        let (give, take) = sync_channel(1);
        self.incidents.remembered(0, move |remembered| drop(give.send(remembered)));
        match take.recv_timeout(REMEMBERED_WAIT) {
            Ok(Ok(remembered)) => remembered,
            // heartbeatd reports it as a problem as long as it lasts.
            Ok(Err(_)) => Remembered::default(),
            Err(_) => {
                let path = self.path.display();
                let said =
                    format!("{path} could not be read in time; incidents that were open are opened anew");
                self.problems.note_damage(said);
                Remembered::default()
            }
        }
    }

    /// Whether an incident is on record.
    pub(crate) fn has_incident(&self, id: &str) -> bool {
        let (give, take) = sync_channel(1);
        self.incidents.one(id.to_owned(), move |found| drop(give.send(found)));
        take.recv_timeout(REMEMBERED_WAIT).is_ok_and(|found| found.is_ok_and(|found| found.is_some()))
    }
}

fn reporter(kind: OwnProblemKind, problems: &Arc<OwnProblems>) -> Reporter {
    let problems = Arc::clone(problems);
    Arc::new(move |report| match report {
        Report::Failing(why) => problems.report(kind, why),
        Report::Working => problems.clear(kind),
        Report::SetAside(what) => problems.note_damage(what),
        // It is in order again by now, and history may be deleted at any time.
        Report::Removed(what) => tracing::warn!("{what}"),
        Report::Lost(what) => tracing::error!("{what}"),
    })
}

/// Waits for the answer of a database, within a bound.
pub(crate) async fn answer<T: Send + 'static>(ask: impl FnOnce(Give<T>)) -> Result<T, StoreError> {
    let (give, take) = oneshot::channel();
    // A client that has gone needs no answer.
    ask(Box::new(move |answer| drop(give.send(answer))));
    match timeout(DISK_WAIT, take).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(StoreError::Closed),
        Err(_) => Err(StoreError::Slow),
    }
}

/// Gives the answer of a database.
pub(crate) type Give<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;
