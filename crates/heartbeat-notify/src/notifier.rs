//! All receivers together.

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

use crate::deliver::Parcel;
use crate::desk::{Desk, Order, Surroundings};
use crate::{GIVE_UP_AFTER, Receiver, Report, WhyDropped};

/// A receiver and the task that works for it.
struct Place {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

impl Place {
    /// Ends it now; what it still had is reported as dropped.
    fn end(self, why: WhyDropped) {
        self.desk.shut(why);
        self.task.abort();
    }
}

/// Tells receivers of incidents, each at its own pace.
///
/// Dropping it ends all tasks at once, without reports; [`close`](Self::close) is the orderly way.
pub struct Notifier {
    runtime: Handle,
    surroundings: Arc<Surroundings>,
    /// By name.
    places: Mutex<BTreeMap<String, Place>>,
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
        let surroundings = Surroundings { unix_s: Box::new(unix_s), report: Box::new(report), closing };
        let notifier =
            Self { runtime, surroundings: Arc::new(surroundings), places: Mutex::new(BTreeMap::new()) };
        notifier.replace(receivers);
        notifier
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the document for everybody who asked for it. Never waits for a receiver.
    ///
    /// Events of one incident are expected in the order of their `seq`; others are dropped, with a report. A step
    /// that this version does not know is nobody's.
    pub fn tell(&self, document: Arc<IncidentDocument>) {
        let Some(step) = document.event.known() else {
            return;
        };
        let desks: Vec<Arc<Desk>> = self.places().values().map(|place| place.desk.clone()).collect();
        if desks.is_empty() {
            return;
        }
        let id: Arc<str> = document.id.as_str().into();
        let Ok(body) = serde_json::to_vec(&*document).map(Bytes::from) else {
            for desk in desks {
                desk.tell_unwritable(&id, document.seq);
            }
            return;
        };
        let give_up_at = {
            let _timers = self.runtime.enter();
            sleep(GIVE_UP_AFTER).deadline()
        };
        let webhook_id = format!("{}.{}", document.id, document.seq);
        // Written once, for all to whom it opens later than for others.
        let as_opened = OnceCell::new();
        for desk in desks {
            desk.tell(&id, step, &document, |told_as| {
                let body = if told_as == step {
                    body.clone()
                } else {
                    as_opened
                        .get_or_init(|| retold(&document, told_as).unwrap_or_else(|| body.clone()))
                        .clone()
                };
                Order { parcel: Parcel { webhook_id: webhook_id.clone(), body }, give_up_at }
            });
        }
    }

    /// Changes who is told, from the next document on.
    ///
    /// A receiver with the name and webhook of a present one goes on with its queue and with what it was told;
    /// its other settings hold for what comes. The queue of every other present one is dropped, with reports.
    pub fn replace(&self, receivers: Vec<Receiver>) {
        let mut ended = Vec::new();
        {
            let mut places = self.places();
            let wanted: BTreeMap<String, Receiver> =
                receivers.into_iter().map(|receiver| (receiver.name.clone(), receiver)).collect();
            let before = std::mem::take(&mut *places);
            for (name, place) in before {
                match wanted.get(&name) {
                    Some(receiver) if place.desk.adapt(receiver) => {
                        places.insert(name, place);
                    }
                    _ => ended.push(place),
                }
            }
            for (name, receiver) in wanted {
                places.entry(name).or_insert_with(|| self.open(receiver));
            }
        }
        for place in ended {
            place.end(WhyDropped::ReceiverRemoved);
        }
    }

    fn open(&self, receiver: Receiver) -> Place {
        let desk = Arc::new(Desk::new(receiver, self.surroundings.clone()));
        let task = self.runtime.spawn(desk.clone().work());
        Place { desk, task }
    }

    /// How many notifications wait for each receiver, the one under way included; by name.
    #[must_use]
    pub fn backlog(&self) -> Vec<(String, usize)> {
        self.places().iter().map(|(name, place)| (name.clone(), place.desk.backlog())).collect()
    }

    /// Delivers what is queued, for at most `patience`; what is left then is dropped, with reports.
    ///
    /// Receivers that are waited for after a failure are tried at once.
    pub async fn close(self, patience: Duration) {
        self.surroundings.closing.send_replace(true);
        let places = std::mem::take(&mut *self.places());
        let deadline = sleep(patience).deadline();
        for mut place in places.into_values() {
            // Past the deadline this still finds those that have ended by themselves.
            drop(timeout_at(deadline, &mut place.task).await);
            place.end(WhyDropped::Closing);
        }
    }
}

/// The document with another event in it.
fn retold(document: &IncidentDocument, step: IncidentStep) -> Option<Bytes> {
    let retold = IncidentDocument { event: step.into(), ..document.clone() };
    serde_json::to_vec(&retold).ok().map(Bytes::from)
}

impl Drop for Notifier {
    fn drop(&mut self) {
        for place in self.places().values() {
            place.task.abort();
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("backlog", &self.backlog()).finish_non_exhaustive()
    }
}
