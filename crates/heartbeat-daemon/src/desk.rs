//! Where incidents are told from: a thread of its own reads the last lines of a log and hands them on, so that neither
//! a slow disk nor a slow receiver holds supervision.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;

use crate::published::Published;
use crate::stored::{ECOSYSTEM_MAGIC, StoredEcosystem};
use crate::{DaemonError, files};

/// Steps of incidents that may wait; what comes on top is told in the log and nowhere else.
const MAX_STEPS_QUEUED: usize = 4_096;
/// Last lines of output in an incident.
pub(crate) const LOG_TAIL_LINES: usize = 20;
/// How much of the end of a log is read for them, in bytes.
pub(crate) const LOG_TAIL_BYTES: u64 = 64 * 1_024;

enum Told {
    /// A step of an incident; the output of its root is wanted.
    Step(IncidentStep, Box<IncidentDocument>, Option<PathBuf>),
    /// What has to be remembered over the death of heartbeatd, before what follows is told to anybody.
    Remember(Box<StoredEcosystem>),
}

/// Is given every step of every incident, in order; may wait.
pub(crate) type Teller = Box<dyn FnMut(Arc<IncidentDocument>) + Send>;

/// The thread and the way to it.
#[derive(Debug)]
pub(crate) struct Desk {
    steps: Option<SyncSender<Told>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    /// `path` is where open incidents are remembered.
    pub(crate) fn open(
        published: Arc<Published>,
        path: PathBuf,
        teller: Teller,
    ) -> Result<Self, DaemonError> {
        let (steps, queue) = sync_channel(MAX_STEPS_QUEUED);
        let thread = std::thread::Builder::new()
            .name("hb-incidents".to_owned())
            .spawn(move || tell_all(&queue, &published, &path, teller))
            .map_err(|source| DaemonError::Runtime { what: "incident thread", source })?;
        Ok(Self { steps: Some(steps), thread: Some(thread) })
    }

    /// Never waits.
    pub(crate) fn tell(&self, step: IncidentStep, document: IncidentDocument, log: Option<PathBuf>) {
        let Some(steps) = &self.steps else { return };
        let told = Told::Step(step, Box::new(document), log);
        if let Err(TrySendError::Full(Told::Step(step, document, _))) = steps.try_send(told) {
            tracing::error!(incident = document.id, %step, "not told: too many incidents wait to be told");
        }
    }

    /// Never waits. What does not fit is remembered with the next one.
    pub(crate) fn remember(&self, ecosystem: StoredEcosystem) {
        if let Some(steps) = &self.steps {
            let _ = steps.try_send(Told::Remember(Box::new(ecosystem)));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.steps = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to tell.
            let _ = thread.join();
        }
    }
}

fn tell_all(queue: &Receiver<Told>, published: &Published, path: &Path, mut teller: Teller) {
    for told in queue {
        match told {
            Told::Remember(ecosystem) => {
                let written = serde_json::to_string(&ecosystem)
                    .map_err(std::io::Error::from)
                    .and_then(|body| files::write(path, ECOSYSTEM_MAGIC, &body, false));
                let trouble = written.err().map(|why| format!("cannot write {}: {why}", path.display()));
                published.set_trouble("open incidents", trouble);
            }
            Told::Step(step, mut document, log) => {
                if let Some(log) = log {
                    // A log that cannot be read is no reason to say nothing.
                    let lines =
                        heartbeat_process::tail(&log, LOG_TAIL_LINES, LOG_TAIL_BYTES).unwrap_or_default();
                    document.log_tail.clone_from(&lines);
                    published.attach_output(&document.id, lines);
                }
                tracing::info!(incident = document.id, event = %step, root = document.root, message = document.message, "incident");
                teller(Arc::new(*document));
            }
        }
    }
}
