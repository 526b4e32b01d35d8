//! The incident writer: a thread of its own writes open incidents to disk, reads the last lines of the root's log, and hands
//! each step to the receivers. Neither a slow disk nor a slow receiver holds supervision.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::wire::IncidentDocument;
use heartbeat_status::{IncidentStep, OwnProblemKind};

use crate::own_problems::OwnProblems;
use crate::published::Published;
use crate::stored::{ECOSYSTEM_MAGIC, StoredEcosystem};
use crate::{DaemonError, files};

/// Steps of incidents that may wait: several for each of the realms that can fail together. A step beyond that is only
/// logged.
const MAX_STEPS_QUEUED: usize = 32_768;
/// Last lines of output in an incident.
pub(crate) const LOG_TAIL_LINES: usize = 20;
/// How much of the end of a log is read for them, in bytes.
pub(crate) const LOG_TAIL_BYTES: u64 = 64 * 1_024;
/// What could not be written is written again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);

enum Order {
    /// A step of an incident; the output of its root is wanted.
    Step(IncidentStep, Box<IncidentDocument>, Option<PathBuf>),
    /// The newest state of all open incidents is to be on disk before the steps that follow are delivered.
    Remember,
}

/// Receives every step of every incident, in order; may wait.
pub(crate) type Deliver = Box<dyn FnMut(Arc<IncidentDocument>) + Send>;

/// The newest state that is not on disk yet.
type Newest = Mutex<Option<StoredEcosystem>>;

/// The thread and the way to it.
#[derive(Debug)]
pub(crate) struct IncidentWriter {
    orders: Option<SyncSender<Order>>,
    newest: Arc<Newest>,
    thread: Option<JoinHandle<()>>,
}

impl IncidentWriter {
    /// `path` is where open incidents are remembered.
    pub(crate) fn open(
        published: Arc<Published>,
        problems: Arc<OwnProblems>,
        path: PathBuf,
        deliver: Deliver,
    ) -> Result<Self, DaemonError> {
        let (orders, queue) = sync_channel(MAX_STEPS_QUEUED);
        let newest = Arc::<Newest>::default();
        let memory = Memory { newest: Arc::clone(&newest), path, problems };
        let thread = std::thread::Builder::new()
            .name("hb-incidents".to_owned())
            .spawn(move || write_all(&queue, &memory, &published, deliver))
            .map_err(|source| DaemonError::Runtime { what: "incident thread", source })?;
        Ok(Self { orders: Some(orders), newest, thread: Some(thread) })
    }

    /// Hands on a step. Never waits.
    pub(crate) fn tell(&self, step: IncidentStep, document: IncidentDocument, log: Option<PathBuf>) {
        let Some(orders) = &self.orders else { return };
        let order = Order::Step(step, Box::new(document), log);
        if let Err(TrySendError::Full(Order::Step(step, document, _))) = orders.try_send(order) {
            tracing::error!(incident = document.id, %step, "not delivered: too many incidents wait");
        }
    }

    /// Has this written in place of what was written before. Never waits.
    pub(crate) fn remember(&self, ecosystem: StoredEcosystem) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(ecosystem);
        if let Some(orders) = &self.orders {
            // With a full queue the thread finds it beside the next order.
            let _ = orders.try_send(Order::Remember);
        }
    }
}

impl Drop for IncidentWriter {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

/// The file of open incidents.
struct Memory {
    newest: Arc<Newest>,
    path: PathBuf,
    problems: Arc<OwnProblems>,
}

impl Memory {
    /// Writes what is not on disk yet. True when that failed and is to be tried again.
    fn write(&self) -> bool {
        let newest = || self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ecosystem) = newest().take() else { return false };
        let written = serde_json::to_string(&ecosystem)
            .map_err(std::io::Error::from)
            .and_then(|body| files::write(&self.path, ECOSYSTEM_MAGIC, &body, false));
        let problem = written.err().map(|why| format!("cannot write {}: {why}", self.path.display()));
        let owed = problem.is_some();
        if owed {
            // Unless something newer has come meanwhile.
            newest().get_or_insert(ecosystem);
        }
        self.problems.set(OwnProblemKind::OpenIncidents, problem);
        owed
    }
}

fn write_all(queue: &Receiver<Order>, memory: &Memory, published: &Published, mut deliver: Deliver) {
    let mut owed = false;
    loop {
        let order = if owed {
            queue.recv_timeout(RETRY_AFTER)
        } else {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        owed = memory.write();
        let (step, mut document, log) = match order {
            Ok(Order::Step(step, document, log)) => (step, document, log),
            Ok(Order::Remember) | Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Some(log) = log {
            // A log that cannot be read is no reason to deliver nothing.
            let lines = heartbeat_logs::tail(&log, LOG_TAIL_LINES, LOG_TAIL_BYTES).unwrap_or_default();
            document.log_tail.clone_from(&lines);
            published.attach_output(&document.id, lines);
        }
        tracing::info!(incident = document.id, event = %step, root = document.root, message = document.message, "incident");
        deliver(Arc::new(*document));
    }
}
