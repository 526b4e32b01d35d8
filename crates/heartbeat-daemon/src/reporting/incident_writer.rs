//! The incident writer: a thread of its own reads the last lines of the root's log, has each step of an incident put on disk,
//! and hands it to the receivers. Neither a slow disk nor a slow receiver holds supervision.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;
use heartbeat_store::IncidentDb;

use crate::DaemonError;
use crate::reporting::status_store::StatusStore;

/// Steps of incidents that may wait: several for each of the realms that can fail together. A step beyond that is only
/// logged.
const MAX_STEPS_QUEUED: usize = 32_768;
/// Last lines of output in an incident.
pub(crate) const LOG_TAIL_LINES: usize = 20;
/// How much of the end of a log is read for them, in bytes.
pub(crate) const LOG_TAIL_BYTES: u64 = 64 * 1_024;
/// A step is delivered after this even if it is not on disk: a disk that does not answer holds no notification.
const ON_DISK_WAIT: Duration = Duration::from_secs(2);

/// A step of an incident; the output of its root is wanted.
type Step = (IncidentStep, Box<IncidentDocument>, Option<PathBuf>);

/// Receives every step of every incident, in order; may wait.
pub(crate) type Deliver = Box<dyn FnMut(Arc<IncidentDocument>) + Send>;

/// The thread and the way to it.
#[derive(Debug)]
pub(crate) struct IncidentWriter {
    steps: Option<SyncSender<Step>>,
    thread: Option<JoinHandle<()>>,
}

impl IncidentWriter {
    /// `boot` is the boot that monotonic times belong to.
    pub(crate) fn open(
        statuses: Arc<StatusStore>,
        database: Arc<IncidentDb>,
        boot: String,
        deliver: Deliver,
    ) -> Result<Self, DaemonError> {
        let (steps, queue) = sync_channel(MAX_STEPS_QUEUED);
        let thread = std::thread::Builder::new()
            .name("hb-incidents".to_owned())
            .spawn(move || write_all(&queue, &statuses, (&database, &boot), deliver))
            .map_err(|source| DaemonError::Runtime { what: "incident thread", source })?;
        Ok(Self { steps: Some(steps), thread: Some(thread) })
    }

    /// Hands on a step. Never waits.
    pub(crate) fn tell(&self, step: IncidentStep, document: IncidentDocument, log: Option<PathBuf>) {
        let Some(steps) = &self.steps else { return };
        if let Err(TrySendError::Full((step, document, _))) = steps.try_send((step, Box::new(document), log))
        {
            tracing::error!(incident = document.id, %step, "not delivered: too many incidents wait");
        }
    }
}

impl Drop for IncidentWriter {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

fn write_all(
    queue: &Receiver<Step>,
    statuses: &StatusStore,
    (database, boot): (&IncidentDb, &str),
    mut deliver: Deliver,
) {
    while let Ok((step, mut document, log)) = queue.recv() {
        if let Some(log) = log {
            // A log that cannot be read is no reason to deliver nothing.
            let lines = heartbeat_logs::tail(&log, LOG_TAIL_LINES, LOG_TAIL_BYTES).unwrap_or_default();
            document.log_tail.clone_from(&lines);
            statuses.attach_output(&document.id, lines);
        }
        tracing::info!(incident = document.id, event = %step, root = document.root, message = document.message, "incident");
        statuses.save_incidents(boot, database);
        wait_for_disk(database);
        deliver(Arc::new(*document));
    }
    statuses.save_incidents(boot, database);
    wait_for_disk(database);
}

/// What comes after a restart goes on with what was delivered before it.
fn wait_for_disk(database: &IncidentDb) {
    let (give, take) = sync_channel(1);
    database.flush(Box::new(move |written| drop(give.send(written))));
    // A failure is reported by the database, and what failed is written later.
    let _ = take.recv_timeout(ON_DISK_WAIT);
}
