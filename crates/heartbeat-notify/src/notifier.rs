//! The notifier: one delivery worker per receiver.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_status::IncidentStep;
use heartbeat_wire::IncidentDocument;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use crate::queue::Earlier;
use crate::worker::{DeliveryWorker, Document, Environment};
use crate::{Outside, Receiver, Report, Restored, TestMessage, Tested, WhyDropped};

/// The root of incidents about heartbeatd itself.
const OURSELVES: &str = "heartbeatd";

/// What one receiver is to get, for the outbox.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Name of the receiver.
    pub receiver: String,
    /// What it gets.
    pub document: Arc<IncidentDocument>,
    /// The key of the digest that it is part of.
    pub digest: Option<Arc<str>>,
}

/// What follows from one event of an incident: write the notifications to the outbox, then [release](Notifier::release)
/// them.
#[derive(Debug, Default)]
#[must_use = "nothing goes out before it is released"]
pub struct Admitted {
    /// What the receivers are to get.
    pub notifications: Vec<Notification>,
    /// What is dropped instead.
    lost: Vec<Report>,
}

impl Admitted {
    /// No receiver gets anything, and nothing is dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.notifications.is_empty() && self.lost.is_empty()
    }
}

/// A delivery worker and its task.
struct RunningWorker {
    worker: Arc<DeliveryWorker>,
    task: JoinHandle<()>,
}

impl RunningWorker {
    /// Ends the worker now and reports its queue as dropped.
    fn end(self, why: WhyDropped) {
        self.worker.shut(why);
        self.task.abort();
    }
}

/// Sends incidents to receivers, each at its own pace.
///
/// Dropping it ends all tasks at once, without reports; [`close`](Self::close) is the orderly way.
pub struct Notifier {
    runtime: Handle,
    environment: Arc<Environment>,
    /// Workers by the name of their receiver.
    running: Mutex<BTreeMap<String, RunningWorker>>,
}

impl Notifier {
    /// Starts one task per receiver on `runtime`, which needs its I/O and time drivers.
    ///
    /// `restored` is what the outbox has of an earlier heartbeatd, in the order in which it was queued. `report` is
    /// called for everything that happens to a notification, from these tasks and from within the methods here; it must
    /// not block. Of two receivers with the same name the later counts.
    pub fn start(
        receivers: Vec<Receiver>,
        restored: Vec<Restored>,
        runtime: Handle,
        outside: Outside,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> Self {
        let (closing, _) = watch::channel(false);
        let report = Box::new(report);
        let environment = Environment { outside, report, muted: Mutex::default(), closing };
        let notifier =
            Self { runtime, environment: Arc::new(environment), running: Mutex::new(BTreeMap::new()) };
        notifier.open_all(receivers, restored);
        notifier
    }

    fn open_all(&self, receivers: Vec<Receiver>, restored: Vec<Restored>) {
        let clock = &self.environment.outside.clock;
        let (now, wall) = ((clock.now)(), (clock.wall)());
        let mut earlier: BTreeMap<String, Vec<Earlier<Document>>> = BTreeMap::new();
        let mut removed = Vec::new();
        for restored in restored {
            let receiver = restored.receiver.clone();
            if receivers.iter().any(|known| known.name == receiver) {
                earlier.entry(receiver).or_default().push(restored.earlier(now, wall));
            } else if restored.is_due() {
                let (id, seq, why) = (restored.id, restored.seq, WhyDropped::ReceiverRemoved);
                removed.push(Report::Dropped { receiver, id, seq, why });
            }
        }
        {
            let mut running = self.running();
            for receiver in receivers {
                let earlier = earlier.remove(&receiver.name).unwrap_or_default();
                running.insert(receiver.name.clone(), self.open(receiver, earlier));
            }
        }
        removed.into_iter().for_each(|report| (self.environment.report)(report));
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, RunningWorker>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides which receivers get the document, and queues it for these. Never waits for a receiver.
    ///
    /// Events of one incident are expected in the order of their `seq`; others are dropped, with a report. A step
    /// that this version does not know is ignored.
    pub fn admit(&self, document: &Arc<IncidentDocument>) -> Admitted {
        document.event.known().map_or_else(Admitted::default, |step| self.decide(document, (step, false)))
    }

    /// Whether a receiver may have to hear of an open incident later, though nothing happens to it: it has a `delay` or a
    /// `repeat`.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.running().values().any(|running| running.worker.waits())
    }

    /// Whether a receiver is to be reminded of an open incident: it has a `repeat`.
    #[must_use]
    pub fn repeat_is_due(&self, document: &IncidentDocument) -> bool {
        self.running().values().any(|running| running.worker.repeat_is_due(document))
    }

    /// Queues `opened` again for the receivers that are to be reminded; the document has a new number.
    pub fn repeat(&self, document: &Arc<IncidentDocument>) -> Admitted {
        let id: Arc<str> = document.id.as_str().into();
        let mut admitted = Admitted::default();
        for (name, running) in &*self.running() {
            if running.worker.repeat_is_due(document) {
                let (digest, lost) = running.worker.repeat(&id, document);
                admitted.lost.extend(lost);
                let (receiver, document) = (name.clone(), Arc::clone(document));
                admitted.notifications.push(Notification { receiver, document, digest });
            }
        }
        admitted
    }

    /// Whether a receiver is still to hear that an incident needs a person: the incident has failed while the receiver was
    /// not to hear of it, because of a mute or a delay, or because there was no such receiver.
    #[must_use]
    pub fn failed_is_due(&self, document: &IncidentDocument) -> bool {
        self.running().values().any(|running| running.worker.failed_is_due(document))
    }

    /// Queues `failed` for these receivers; the document has a new number.
    pub fn catch_up(&self, document: &Arc<IncidentDocument>) -> Admitted {
        let id: Arc<str> = document.id.as_str().into();
        let mut admitted = Admitted::default();
        for (name, running) in &*self.running() {
            if running.worker.failed_is_due(document) {
                let (queued, lost) = running.worker.catch_up(&id, document);
                let notification =
                    |(document, digest)| Notification { receiver: name.clone(), document, digest };
                admitted.notifications.extend(queued.map(notification));
                admitted.lost.extend(lost);
            }
        }
        admitted
    }

    /// Replaces the realms of which no receiver hears: neither of an incident with such a root, nor, for a receiver that
    /// asked for certain realms, of one that concerns only such realms. `resolved` still goes to those that know of an
    /// incident. [Announce](Self::announce) every open incident after a mute has ended.
    pub fn mute(&self, realms: BTreeSet<String>) {
        *self.environment.muted.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(realms);
    }

    /// Queues `opened` of an open incident for the receivers that have heard nothing of it, such as new ones.
    pub fn announce(&self, document: &Arc<IncidentDocument>) -> Admitted {
        self.decide(document, (IncidentStep::Opened, true))
    }

    fn decide(&self, document: &Arc<IncidentDocument>, step: (IncidentStep, bool)) -> Admitted {
        let id: Arc<str> = document.id.as_str().into();
        let mut admitted = Admitted::default();
        let running = self.running();
        let fallbacks: BTreeSet<String> =
            running.values().filter_map(|running| running.worker.fallback()).collect();
        for (name, running) in &*running {
            let is_fallback = document.root == OURSELVES && fallbacks.contains(name);
            let (queued, lost) = running.worker.admit(&id, document, step, is_fallback);
            let notification = |(document, digest)| Notification { receiver: name.clone(), document, digest };
            admitted.notifications.extend(queued.map(notification));
            admitted.lost.extend(lost);
        }
        admitted
    }

    /// Lets notifications go out: they are in the outbox, or cannot be for now.
    pub fn release(&self, admitted: Admitted) {
        admitted.lost.into_iter().for_each(|report| (self.environment.report)(report));
        let running = self.running();
        for Notification { receiver, document, .. } in &admitted.notifications {
            if let Some(running) = running.get(receiver) {
                running.worker.release(&document.id, document.seq);
            }
        }
    }

    /// Sends the document to each receiver that asked for it, without an outbox.
    pub fn notify(&self, document: &Arc<IncidentDocument>) {
        self.release(self.admit(document));
    }

    /// Sends a test to a receiver, or shows it: an outage that did not happen, opened and resolved. `None` when there is
    /// no such receiver.
    pub fn test(
        &self,
        receiver: &str,
        message: TestMessage,
    ) -> Option<impl Future<Output = Vec<Tested>> + Send + use<>> {
        let receiver = self.running().get(receiver)?.worker.receiver();
        let environment = Arc::clone(&self.environment);
        Some(async move { message.send(&receiver, &environment.outside).await })
    }

    /// Replaces the receivers, from the next document on.
    ///
    /// A receiver with the name of a present one keeps that one's queue and open incidents; its other settings apply
    /// from now on. The queues of all other present receivers are dropped, with reports.
    pub fn replace(&self, receivers: Vec<Receiver>) {
        let mut ended = Vec::new();
        {
            let mut running = self.running();
            let wanted: BTreeMap<String, Receiver> =
                receivers.into_iter().map(|receiver| (receiver.name.clone(), receiver)).collect();
            let before = std::mem::take(&mut *running);
            for (name, kept) in before {
                match wanted.get(&name) {
                    Some(receiver) => {
                        kept.worker.adapt(receiver);
                        running.insert(name, kept);
                    }
                    None => ended.push(kept),
                }
            }
            for (name, receiver) in wanted {
                running.entry(name).or_insert_with(|| self.open(receiver, Vec::new()));
            }
        }
        for running in ended {
            running.end(WhyDropped::ReceiverRemoved);
        }
    }

    fn open(&self, receiver: Receiver, earlier: Vec<Earlier<Document>>) -> RunningWorker {
        let worker = Arc::new(DeliveryWorker::new(receiver, earlier, self.environment.clone()));
        let task = self.runtime.spawn(worker.clone().work());
        RunningWorker { worker, task }
    }

    /// Number of queued notifications by receiver name, the one in delivery included.
    #[must_use]
    pub fn backlog(&self) -> Vec<(String, usize)> {
        self.running().iter().map(|(name, running)| (name.clone(), running.worker.backlog())).collect()
    }

    /// The age of the oldest notification that each receiver has not got; zero when none waits.
    #[must_use]
    pub fn oldest(&self) -> Vec<(String, Duration)> {
        let now = (self.environment.outside.clock.now)();
        let age = |(name, running): (&String, &RunningWorker)| {
            let age = running.worker.oldest().map_or(Duration::ZERO, |at| now.since(at));
            (name.clone(), age)
        };
        self.running().iter().map(age).collect()
    }

    /// Delivers what is queued, for at most `patience`; what is left then is dropped, with reports.
    ///
    /// Workers that wait after a failure try again at once.
    pub async fn close(self, patience: Duration) {
        self.environment.closing.send_replace(true);
        let running = std::mem::take(&mut *self.running());
        let deadline = sleep(patience).deadline();
        for mut running in running.into_values() {
            // Past the deadline this still collects tasks that have ended.
            drop(timeout_at(deadline, &mut running.task).await);
            running.end(WhyDropped::Closing);
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for running in self.running().values() {
            running.task.abort();
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("backlog", &self.backlog()).finish_non_exhaustive()
    }
}
