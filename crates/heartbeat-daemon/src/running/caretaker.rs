//! The caretaker: a thread that looks after heartbeatd's files and descriptors, and restores what another process removes.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::OwnProblemKind;
use heartbeat_store::{HistoryDb, IncidentDb};

use crate::clock;
use crate::control::listeners::Listeners;
use crate::error::DaemonError;
use crate::own_health::descriptors;
use crate::own_health::own_problems::OwnProblems;
use crate::storage::directories::Directories;
use crate::storage::intent::IntentWriter;
use crate::storage::lock::StateLock;
use crate::storage::state_id;

/// Between two rounds: what disappears is back within 5 s.
const ROUND: Duration = Duration::from_secs(2);

/// The files and sockets that the caretaker looks after.
pub(crate) struct Care {
    pub(crate) directories: Directories,
    pub(crate) state_dir: PathBuf,
    pub(crate) id: String,
    pub(crate) locks: Arc<Mutex<Vec<StateLock>>>,
    pub(crate) listeners: Arc<Listeners>,
    pub(crate) intent: IntentWriter,
    pub(crate) incidents: Arc<IncidentDb>,
    pub(crate) history: Arc<HistoryDb>,
    pub(crate) problems: Arc<OwnProblems>,
}

impl Care {
    /// One round, from the outside in: a directory first, then its content.
    pub(crate) fn round(&self) {
        let mut wrong: Vec<String> = self.directories.restore().into_iter().collect();
        let restored = state_id::restore(&self.state_dir, &self.id);
        wrong.extend(restored.err().map(|error| words(&error)));
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.extend(locks.iter_mut().filter_map(|lock| lock.restore().err()).map(|error| words(&error)));
        drop(locks);
        self.intent.restore();
        self.incidents.look_after();
        self.history.look_after();
        let wrong = (!wrong.is_empty()).then(|| wrong.join("; "));
        self.problems.set(OwnProblemKind::Directories, wrong);
        self.problems.set(OwnProblemKind::Descriptors, descriptors::shortage());
        self.listeners.restore();
        self.problems.settle(clock::now());
    }
}

fn words(error: &DaemonError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[derive(Debug, Default)]
struct End {
    told: Mutex<bool>,
    wake: Condvar,
}

/// The caretaker's thread.
#[derive(Debug)]
pub(crate) struct Caretaker {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

impl Caretaker {
    pub(crate) fn start(care: Care) -> Result<Self, DaemonError> {
        let end = Arc::<End>::default();
        let own = Arc::clone(&end);
        let work = move || {
            loop {
                let told = own.told.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = own.wake.wait_timeout_while(told, ROUND, |told| !*told);
                if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                    return;
                }
                care.round();
            }
        };
        let thread = std::thread::Builder::new()
            .name("hb-caretaker".to_owned())
            .spawn(work)
            .map_err(|source| DaemonError::Runtime { what: "caretaker thread", source })?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Caretaker {
    fn drop(&mut self) {
        *self.end.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.end.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked restores nothing more.
            let _ = thread.join();
        }
    }
}
