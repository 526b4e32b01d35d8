//! The notifier: one delivery worker per receiver.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use heartbeat_status::IncidentStep;
use heartbeat_status::wire::IncidentDocument;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use crate::deliver::Notification;
use crate::worker::{Delivery, DeliveryWorker, Environment};
use crate::{GIVE_UP_AFTER, Receiver, Report, WhyDropped};

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
    /// `unix_s` gives the wall clock in seconds since 1970, for `webhook-timestamp` alone; `report` is called for
    /// everything that happens to a notification, from these tasks and from within the methods here. Neither may
    /// block. Of two receivers with the same name the later counts.
    pub fn start(
        receivers: Vec<Receiver>,
        runtime: Handle,
        unix_s: impl Fn() -> u64 + Send + Sync + 'static,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> Self {
        let (closing, _) = watch::channel(false);
        let environment = Environment { unix_s: Box::new(unix_s), report: Box::new(report), closing };
        let notifier =
            Self { runtime, environment: Arc::new(environment), running: Mutex::new(BTreeMap::new()) };
        notifier.replace(receivers);
        notifier
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, RunningWorker>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the document for each receiver that asked for it. Never waits for a receiver.
    ///
    /// Events of one incident are expected in the order of their `seq`; others are dropped, with a report. A step
    /// that this version does not know is ignored.
    pub fn notify(&self, document: Arc<IncidentDocument>) {
        let Some(step) = document.event.known() else {
            return;
        };
        let workers: Vec<Arc<DeliveryWorker>> =
            self.running().values().map(|running| running.worker.clone()).collect();
        if workers.is_empty() {
            return;
        }
        let id: Arc<str> = document.id.as_str().into();
        let Ok(body) = serde_json::to_vec(&*document).map(Bytes::from) else {
            for worker in workers {
                worker.report_unserialisable(&id, document.seq);
            }
            return;
        };
        let expires_at = {
            let _timers = self.runtime.enter();
            sleep(GIVE_UP_AFTER).deadline()
        };
        let webhook_id = format!("{}.{}", document.id, document.seq);
        // Serialised once for all receivers whose realms join an open incident now.
        let as_opened = OnceCell::new();
        for worker in workers {
            worker.push(&id, step, &document, |sent_as| {
                let body = if sent_as == step {
                    body.clone()
                } else {
                    as_opened
                        .get_or_init(|| with_step(&document, sent_as).unwrap_or_else(|| body.clone()))
                        .clone()
                };
                Delivery { notification: Notification { webhook_id: webhook_id.clone(), body }, expires_at }
            });
        }
    }

    /// Replaces the receivers, from the next document on.
    ///
    /// A receiver with the name and webhook of a present one keeps that one's queue and open incidents; its other
    /// settings apply to later documents. The queues of all other present receivers are dropped, with reports.
    pub fn replace(&self, receivers: Vec<Receiver>) {
        let mut ended = Vec::new();
        {
            let mut running = self.running();
            let wanted: BTreeMap<String, Receiver> =
                receivers.into_iter().map(|receiver| (receiver.name.clone(), receiver)).collect();
            let before = std::mem::take(&mut *running);
            for (name, kept) in before {
                match wanted.get(&name) {
                    Some(receiver) if kept.worker.adapt(receiver) => {
                        running.insert(name, kept);
                    }
                    _ => ended.push(kept),
                }
            }
            for (name, receiver) in wanted {
                running.entry(name).or_insert_with(|| self.open(receiver));
            }
        }
        for running in ended {
            running.end(WhyDropped::ReceiverRemoved);
        }
    }

    fn open(&self, receiver: Receiver) -> RunningWorker {
        let worker = Arc::new(DeliveryWorker::new(receiver, self.environment.clone()));
        let task = self.runtime.spawn(worker.clone().work());
        RunningWorker { worker, task }
    }

    /// Number of queued notifications by receiver name, the one in delivery included.
    #[must_use]
    pub fn backlog(&self) -> Vec<(String, usize)> {
        self.running().iter().map(|(name, running)| (name.clone(), running.worker.backlog())).collect()
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

/// The document with another step as its event.
fn with_step(document: &IncidentDocument, step: IncidentStep) -> Option<Bytes> {
    let with_step = IncidentDocument { event: step.into(), ..document.clone() };
    serde_json::to_vec(&with_step).ok().map(Bytes::from)
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
