//! The incident writer: a thread that reads the last lines of the root's log, decides which receivers to notify, puts
//! the incident and its notifications on disk together, and releases the notifications. Neither a slow disk nor a slow
//! receiver holds supervision.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_notify::{Admitted, Notifier};
use heartbeat_process::ProcessState;
use heartbeat_status::{Incident, IncidentStep, printed};
use heartbeat_store::{Delivery, IncidentDb};
use heartbeat_wire::IncidentDocument;

use crate::clock;
use crate::error::DaemonError;
use crate::reporting::evidence::Witness;
use crate::reporting::incident_store::Step;
use crate::reporting::status_store::StatusStore;
use crate::storage::spare_incidents::SpareIncidents;

/// Most entries in the queue: several steps for each of the realms that can fail together. A step beyond that is only
/// logged.
const MAX_ENTRIES_QUEUED: usize = 8_192;
/// Most entries that one write puts on disk together.
const MAX_ENTRIES_PER_WRITE: usize = 64;
/// Last lines of output in an incident.
pub(crate) const LOG_TAIL_LINES: usize = 20;
/// Bytes at the end of a log that it reads for them.
pub(crate) const LOG_TAIL_BYTES: u64 = 64 * 1_024;
/// Notifications go out after this even if they are not on disk: a disk that does not answer holds none of them.
const ON_DISK_WAIT: Duration = Duration::from_secs(2);

/// Most incidents of one write that the witness looks at: of those that fail together, the first tell most.
const MAX_LOOKS_PER_WRITE: usize = 8;

/// How often the writer announces open incidents to receivers with a delay.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// An entry for the thread.
#[derive(Debug)]
enum Entry {
    /// A step of an incident, the log of its root, and the processes of the root before anything was done to them.
    Step(Box<Step>, Option<PathBuf>, Vec<ProcessState>),
    /// An incident that ended while no heartbeatd ran.
    Ended(Box<IncidentDocument>),
    /// Receivers that have not heard of an open incident hear of it now.
    Announce,
}

impl Entry {
    /// The incident whose step it is.
    fn incident(&self) -> Option<String> {
        match self {
            Self::Step(step, ..) => Some(step.document.id.clone()),
            Self::Ended(document) => Some(document.id.clone()),
            Self::Announce => None,
        }
    }
}

/// The thread and the way to it.
#[derive(Debug)]
pub(crate) struct IncidentWriter {
    /// In boxes, since the queue has a place for each entry from the beginning.
    entries: Option<Arc<SyncSender<Box<Entry>>>>,
    thread: Option<JoinHandle<()>>,
}

impl IncidentWriter {
    /// `boot` is the boot of the monotonic times.
    pub(crate) fn open(
        statuses: Arc<StatusStore>,
        database: Arc<IncidentDb>,
        boot: String,
        (notifier, witness): (Arc<Notifier>, Witness),
        spare: Arc<SpareIncidents>,
    ) -> Result<Self, DaemonError> {
        let (entries, queue) = sync_channel(MAX_ENTRIES_QUEUED);
        let writer = Writer { statuses, database, boot, notifier, witness, spare };
        let thread = std::thread::Builder::new()
            .name("hb-incidents".to_owned())
            .spawn(move || {
                heartbeat_process::work_in_background();
                writer.run(&queue);
            })
            .map_err(|source| DaemonError::Runtime { what: "incident thread", source })?;
        Ok(Self { entries: Some(Arc::new(entries)), thread: Some(thread) })
    }

    /// Queues a step, with the log and the processes of its root. False when too many wait. Never waits.
    pub(crate) fn step(&self, step: Step, log: Option<PathBuf>, processes: Vec<ProcessState>) -> bool {
        self.send(Entry::Step(Box::new(step), log, processes))
    }

    /// Queues an incident that ended while no heartbeatd ran.
    pub(crate) fn ended(&self, document: IncidentDocument) {
        self.send(Entry::Ended(Box::new(document)));
    }

    /// Announces open incidents to the receivers that have not heard of them.
    pub(crate) fn announce(&self) {
        self.send(Entry::Announce);
    }

    /// For other threads than the driver's.
    pub(crate) fn announcer(&self) -> Announcer {
        Announcer(self.entries.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    fn send(&self, entry: Entry) -> bool {
        let Some(entries) = &self.entries else { return false };
        let Err(TrySendError::Full(entry) | TrySendError::Disconnected(entry)) =
            entries.try_send(Box::new(entry))
        else {
            return true;
        };
        let of = match &*entry {
            Entry::Step(step, ..) => step.document.id.as_str(),
            Entry::Ended(document) => document.id.as_str(),
            Entry::Announce => "all",
        };
        tracing::error!(incident = of, "not delivered: too many incidents wait");
        false
    }
}

impl Drop for IncidentWriter {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

/// Announces open incidents, as long as the writer is there.
#[derive(Clone, Debug)]
pub(crate) struct Announcer(Weak<SyncSender<Box<Entry>>>);

impl Announcer {
    /// Announces open incidents to the receivers that have not heard of them. A full queue announces them anyway.
    pub(crate) fn announce(&self) {
        if let Some(entries) = self.0.upgrade() {
            let _ = entries.try_send(Box::new(Entry::Announce));
        }
    }
}

struct Writer {
    statuses: Arc<StatusStore>,
    database: Arc<IncidentDb>,
    boot: String,
    notifier: Arc<Notifier>,
    witness: Witness,
    spare: Arc<SpareIncidents>,
}

impl Writer {
    fn run(self, queue: &Receiver<Box<Entry>>) {
        while let Some(first) = self.next(queue) {
            let more = queue.try_iter().take(MAX_ENTRIES_PER_WRITE - 1);
            let entries: Vec<Box<Entry>> = std::iter::once(first).chain(more).collect();
            self.keep_evidence(&entries);
            let incidents: Vec<String> = entries.iter().filter_map(|entry| entry.incident()).collect();
            let admitted: Vec<Admitted> = entries.into_iter().flat_map(|entry| self.write(*entry)).collect();
            if admitted.is_empty() && !self.spare.is_held() {
                continue;
            }
            // The latest state of these incidents.
            self.statuses.save_incidents(&self.boot, &self.database);
            if self.is_on_disk() {
                self.spare.retire();
            } else {
                self.spare.note(incidents, admitted.iter().flat_map(deliveries).collect());
                self.spare.save(|unwritten| self.statuses.spare(&self.boot, unwritten));
            }
            for admitted in admitted {
                self.notifier.release(admitted);
            }
        }
        self.statuses.save_incidents(&self.boot, &self.database);
        if self.is_on_disk() {
            self.spare.retire();
        }
    }

    /// The next entry. A receiver with a delay hears of an incident while nothing happens to it, and the disk may take
    /// again what it has refused.
    fn next(&self, queue: &Receiver<Box<Entry>>) -> Option<Box<Entry>> {
        if !self.notifier.waits() && !self.spare.is_held() {
            return queue.recv().ok();
        }
        match queue.recv_timeout(ANNOUNCE_EVERY) {
            Ok(entry) => Some(entry),
            Err(RecvTimeoutError::Timeout) => Some(Box::new(Entry::Announce)),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Gives the database what the witness sees now, beside what was seen before anything was done.
    fn keep_evidence(&self, entries: &[Box<Entry>]) {
        let steps = entries.iter().filter_map(|entry| match &**entry {
            Entry::Step(step, _, processes) => Some((step, processes)),
            Entry::Ended(_) | Entry::Announce => None,
        });
        let telling =
            steps.filter(|(step, _)| matches!(step.step, IncidentStep::Opened | IncidentStep::Resolved));
        for (step, processes) in telling.take(MAX_LOOKS_PER_WRITE) {
            let (part, body) = match step.step {
                IncidentStep::Opened => {
                    let seen = self.witness.opening(&step.incident, &step.before, processes);
                    ("opened", serde_json::to_string(&seen))
                }
                _ => ("resolved", serde_json::to_string(&self.witness.resolving(&step.incident))),
            };
            // Its fields are text, numbers and lists of them: nothing in it can fail.
            self.database.keep_evidence(&step.document.id, part, &body.unwrap_or_default());
        }
    }

    /// Gives the database an entry with its notifications. The notifications are held until they are on disk.
    fn write(&self, entry: Entry) -> Vec<Admitted> {
        match entry {
            Entry::Step(step, log, _) => vec![self.write_step(*step, log)],
            Entry::Ended(document) => vec![self.record(None, Arc::from(document))],
            Entry::Announce => {
                let announce = |document: Arc<IncidentDocument>| {
                    let admitted = self.notifier.announce(&Arc::new(document.unquoted()));
                    self.database.deliver(deliveries(&admitted));
                    admitted
                };
                let open = self.statuses.written_open_incidents();
                let reminders: Vec<Admitted> = open
                    .iter()
                    .filter(|(document, _)| self.notifier.repeat_is_due(document))
                    .filter_map(|(document, _)| {
                        self.again(&document.id, IncidentStep::Opened, Notifier::repeat)
                    })
                    .collect();
                let mut announced: Vec<Admitted> =
                    open.iter().map(|(document, _)| announce(Arc::clone(document))).collect();
                announced.retain(|admitted| !admitted.is_empty());
                // Behind `opened`, for the receivers that get it just now.
                let failed = open
                    .iter()
                    .filter(|(document, failed)| *failed && self.notifier.failed_is_due(document))
                    .filter_map(|(document, _)| {
                        self.again(&document.id, IncidentStep::Failed, Notifier::catch_up)
                    });
                announced.extend(failed);
                announced.into_iter().chain(reminders).collect()
            }
        }
    }

    /// Sends a step to the receivers that `queue` finds, with the next number of its incident.
    fn again(
        &self,
        id: &str,
        step: IncidentStep,
        queue: fn(&Notifier, &Arc<IncidentDocument>) -> Admitted,
    ) -> Option<Admitted> {
        let (incident, document) = self.statuses.next_number(id)?;
        let sent = IncidentDocument { event: step.into(), ..document.unquoted() };
        let admitted = queue(&self.notifier, &Arc::new(sent));
        let (incident, document) = (Some(&*incident), Arc::new(document));
        self.statuses.save_step((incident, &document), deliveries(&admitted), &self.boot, &self.database);
        Some(admitted)
    }

    fn write_step(&self, step: Step, log: Option<PathBuf>) -> Admitted {
        let Step { step, incident, mut document, .. } = step;
        if let Some(log) = log {
            // A log that cannot be read is no reason to deliver nothing.
            let lines = heartbeat_logs::tail(&log, LOG_TAIL_LINES, LOG_TAIL_BYTES).unwrap_or_default();
            document.log_tail.clone_from(&lines);
            self.statuses.attach_output(&document.id, lines);
        }
        let IncidentDocument { id, root, message, .. } = &document;
        let message = printed::unquoted(message);
        tracing::info!(incident = id, event = %step, root, %message, "incident");
        let incident = (step != IncidentStep::Resolved).then_some(incident);
        self.record(incident.as_deref(), Arc::new(document))
    }

    fn record(&self, incident: Option<&Incident>, document: Arc<IncidentDocument>) -> Admitted {
        // Receivers get what commands have printed, as they get the last lines of the log.
        let admitted = self.notifier.admit(&Arc::new(document.unquoted()));
        self.statuses.save_step((incident, &document), deliveries(&admitted), &self.boot, &self.database);
        admitted
    }

    /// Waits until the database has written everything. False: it did not, which it reports, and it tries again later.
    fn is_on_disk(&self) -> bool {
        let (give, take) = sync_channel(1);
        self.database.flush(Box::new(move |written| drop(give.send(written))));
        take.recv_timeout(ON_DISK_WAIT).is_ok_and(|written| written.is_ok())
    }
}

fn deliveries(admitted: &Admitted) -> Vec<Delivery> {
    let queued_at = clock::wall();
    let delivery = |notification: &heartbeat_notify::Notification| Delivery {
        receiver: notification.receiver.clone(),
        document: Arc::clone(&notification.document),
        queued_at,
        message: notification.digest.as_ref().map(ToString::to_string),
    };
    admitted.notifications.iter().map(delivery).collect()
}
