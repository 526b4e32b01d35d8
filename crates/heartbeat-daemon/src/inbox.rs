//! The one way into the core: bounded lanes, drained together, most urgent first.
//!
//! Senders never block, and the driver never waits for one of them. The number of outstanding events bounds each lane:
//! one exit per process, one result per measurement. Only operators can send more requests than the inbox takes; it
//! refuses and counts those.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_api::Commanded;
use heartbeat_config::{Changes, Config};
use heartbeat_process::Notice;
use heartbeat_status::{
    CheckId, CheckResult, Instant, Mute, Outcome, OwnProblemKind, RealmIx, RunFact, RunId, Said,
};
use heartbeat_supervisor::{ActionPlan, Command};
use tokio::sync::oneshot;

use crate::clock;
use crate::control::reload_error::ReloadError;
use crate::storage::intent::IntentError;

/// Most messages of realms that wait for the driver. The process adapter bounds them already; this is for a driver that
/// does not turn at all.
const MAX_MESSAGES_QUEUED: usize = 4_096;

/// Most requests that wait for the driver; the inbox refuses any further one.
const MAX_REQUESTS_QUEUED: usize = 1_024;

/// A result that only confirms what is known waits so long for others: a wake-up of the driver costs more than what it
/// does about one of them.
const PATIENCE: Duration = Duration::from_millis(10);

/// The changes of a new configuration with the number of the one in force then.
pub(crate) type ReloadAnswer = Result<(Changes, u64), ReloadError>;

/// A request of an operator, a signal or the API to the core.
#[derive(Debug)]
pub(crate) enum Request {
    /// Carry out a command.
    Command(Command, oneshot::Sender<Commanded>),
    /// Say what a command would do.
    Plan(Command, oneshot::Sender<ActionPlan>),
    /// Measure probes now.
    Refresh(Option<RealmIx>, oneshot::Sender<Commanded>),
    /// Put another configuration in force, or say what it would change.
    Reload {
        /// The validated configuration.
        config: Box<Config>,
        /// Report and change nothing.
        dry_run: bool,
        /// What it changes.
        reply: oneshot::Sender<ReloadAnswer>,
    },
    /// Return the configuration in force without the realms that were registered at run time.
    Files {
        /// The configuration without registrations.
        reply: oneshot::Sender<Box<Config>>,
    },
    /// Put registered realms in force, or remove some: as a reload that no file knows of.
    Register {
        /// The validated configuration.
        config: Box<Config>,
        /// Report and change nothing.
        dry_run: bool,
        /// What it changes.
        reply: oneshot::Sender<ReloadAnswer>,
    },
    /// The intent file has everything up to this version, or could not be written.
    IntentWritten {
        /// The version that was written.
        version: u64,
        /// Why it is not on disk.
        problem: Option<IntentError>,
    },
    /// Notifications about exactly these realms are muted.
    Muted(BTreeMap<String, Mute>),
    /// A part of heartbeatd has a problem, or works again.
    OwnProblem {
        /// The part of heartbeatd.
        kind: OwnProblemKind,
        /// What is wrong; `None` when the part works again.
        message: Option<String>,
    },
    /// A file of heartbeatd was damaged or removed, and there is another one in its place.
    Damage {
        /// What happened to which file, for a person.
        message: String,
    },
    /// Answer the accepted requests, and then leave for another heartbeatd under the same pid.
    HandOver,
    /// End, and leave every realm running.
    Leave {
        /// Another heartbeatd follows under the same pid.
        upgrade: bool,
    },
    /// Stop everything; at once the second time.
    Shutdown {
        /// Kill at once and give up the order.
        now: bool,
    },
}

/// The content of the inbox, in the order in which the driver handles it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) requests: VecDeque<Request>,
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) results: VecDeque<(CheckId, CheckResult)>,
    /// The other process that holds the port of a realm, in words; `None` when none does. One per measurement at most.
    pub(crate) port_owners: VecDeque<(RealmIx, RunId, Option<String>)>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.notices.is_empty()
            && self.results.is_empty()
            && self.port_owners.is_empty()
    }
}

/// The inbox. All threads and tasks with input for the driver share it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    lanes: Mutex<Lanes>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Lanes {
    batch: Batch,
    /// A sender wants the driver to take what is there now. It has woken it, unless the driver is at work.
    called: bool,
    /// When the driver, which waits, wakes up by itself; `None` while it is at work.
    wakes_at: Option<Instant>,
}

impl Inbox {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // A sender that panicked left whole values behind: it only pushes to a queue under the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver, unless an earlier sender has woken it and it has not taken yet.
    fn put<T>(&self, put: impl FnOnce(&mut Batch) -> T) -> T {
        let mut lanes = self.lanes();
        let done = put(&mut lanes.batch);
        self.call(lanes);
        done
    }

    fn call(&self, mut lanes: MutexGuard<'_, Lanes>) {
        let waits = !std::mem::replace(&mut lanes.called, true);
        drop(lanes);
        if waits {
            self.wake.notify_one();
        }
    }

    /// False when too many requests wait already: the inbox has not taken this one.
    pub(crate) fn request(&self, request: Request) -> bool {
        // The inbox always takes the order to end, and requests of heartbeatd itself.
        let ours = matches!(
            request,
            Request::Shutdown { .. }
                | Request::HandOver
                | Request::Leave { .. }
                | Request::IntentWritten { .. }
                | Request::Damage { .. }
                | Request::OwnProblem { .. }
                // The registration is on disk already, and there is one at a time.
                | Request::Register { dry_run: false, .. }
        );
        self.put(|lanes| {
            let has_room = lanes.requests.len() < MAX_REQUESTS_QUEUED || ours;
            if has_room {
                lanes.requests.push_back(request);
            }
            has_room
        })
    }

    pub(crate) fn notice(&self, notice: Notice) {
        self.put(|lanes| match notice {
            Notice::Run { key, fact: RunFact::Said { said } } => {
                let said = match lanes.notices.back_mut() {
                    // The driver has not read the earlier message yet, so both become one.
                    Some(Notice::Run { key: before, fact: RunFact::Said { said: sum } })
                        if *before == key =>
                    {
                        sum.absorb(said).err()
                    }
                    _ => Some(said),
                };
                // The next keep-alive makes up for a lost one; a message that changes something is lost last.
                let most = |said: &Said| {
                    if said.is_chatter() { MAX_MESSAGES_QUEUED } else { 2 * MAX_MESSAGES_QUEUED }
                };
                let said = said.filter(|said| lanes.notices.len() < most(said));
                lanes.notices.extend(said.map(|said| Notice::Run { key, fact: RunFact::Said { said } }));
            }
            notice => lanes.notices.push_back(notice),
        });
    }

    pub(crate) fn result(&self, id: CheckId, result: CheckResult) {
        let by = result.finished_at + PATIENCE;
        let confirms = result.outcome == Outcome::Pass;
        let mut lanes = self.lanes();
        let is_soon = lanes.wakes_at.is_none_or(|at| at <= by);
        lanes.batch.results.push_back((id, result));
        if !(confirms && is_soon) {
            self.call(lanes);
        }
    }

    pub(crate) fn port_owner(&self, realm: RealmIx, run: RunId, port_owner: Option<String>) {
        self.put(|lanes| lanes.port_owners.push_back((realm, run, port_owner)));
    }

    /// Waits until a sender calls or `patience` is over, then takes everything. `batch` lends its
    /// buffers to the senders, so that nothing is allocated in the steady state.
    pub(crate) fn take(&self, batch: &mut Batch, patience: Duration) {
        debug_assert!(batch.is_empty(), "everything taken is handled before the next take");
        let mut lanes = self.lanes();
        if !lanes.called {
            // What confirms came while the driver was at work.
            let patience = if lanes.batch.is_empty() { patience } else { patience.min(PATIENCE) };
            lanes.wakes_at = Some(clock::now() + patience);
            let woken = self.wake.wait_timeout_while(lanes, patience, |lanes| !lanes.called);
            lanes = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        (lanes.called, lanes.wakes_at) = (false, None);
        std::mem::swap(&mut lanes.batch, batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::measured;
    use heartbeat_process::Key;
    use heartbeat_status::FailReason;

    #[test]
    fn requests_are_bounded_but_the_order_to_end_is_not() {
        let inbox = Inbox::default();
        for _ in 0..MAX_REQUESTS_QUEUED {
            let (reply, _) = oneshot::channel();
            assert!(inbox.request(Request::Refresh(None, reply)));
        }
        let (reply, _) = oneshot::channel();
        assert!(!inbox.request(Request::Refresh(None, reply)));
        assert!(inbox.request(Request::Shutdown { now: false }));
        let mut batch = Batch::default();
        inbox.take(&mut batch, Duration::ZERO);
        assert_eq!(batch.requests.len(), MAX_REQUESTS_QUEUED + 1);
    }

    #[test]
    fn what_a_realm_says_is_bounded_and_its_end_is_told_all_the_same() {
        let inbox = Inbox::default();
        let key = |realm| Key { realm: RealmIx(realm), run: RunId(1) };
        let chatter = |text: String| Said { status: Some(text), ..Said::default() };
        for at in 0..2 * u32::try_from(MAX_MESSAGES_QUEUED).unwrap() {
            inbox.notice(Notice::Run { key: key(at), fact: RunFact::Said { said: chatter(at.to_string()) } });
            inbox.notice(Notice::Run {
                key: key(at),
                fact: RunFact::Said { said: chatter("later".to_owned()) },
            });
        }
        inbox.notice(Notice::Run { key: key(0), fact: RunFact::Emptied });
        let mut batch = Batch::default();
        inbox.take(&mut batch, Duration::ZERO);
        assert_eq!(batch.notices.len(), MAX_MESSAGES_QUEUED + 1);
        assert_eq!(batch.notices.pop_back(), Some(Notice::Run { key: key(0), fact: RunFact::Emptied }));
        let first = Notice::Run { key: key(0), fact: RunFact::Said { said: chatter("later".to_owned()) } };
        assert_eq!(batch.notices.pop_front(), Some(first), "what was not heard yet becomes one");
    }

    #[test]
    fn an_empty_take_ends_with_its_patience() {
        let mut batch = Batch::default();
        Inbox::default().take(&mut batch, Duration::from_millis(1));
        assert!(batch.is_empty());
    }

    /// Longer than any test waits.
    const LONG: Duration = Duration::from_secs(600);

    fn result(outcome: Outcome) -> CheckResult {
        measured(clock::now(), outcome)
    }

    fn failure() -> CheckResult {
        result(Outcome::Fail { reason: FailReason::Refused, phase: None })
    }

    #[test]
    fn what_confirms_waits_for_the_driver_and_what_does_not_calls_it() {
        let inbox = Inbox::default();
        let called = || inbox.lanes().called;
        // The driver is at work: it looks again at once.
        inbox.result(CheckId(1), result(Outcome::Pass));
        assert!(!called());
        inbox.lanes().wakes_at = Some(clock::now());
        inbox.result(CheckId(2), result(Outcome::Pass));
        assert!(!called(), "it wakes up soon enough");
        inbox.lanes().wakes_at = Some(clock::now() + LONG);
        inbox.result(CheckId(3), result(Outcome::Pass));
        assert!(called(), "it would sleep for long");
        let mut batch = Batch::default();
        inbox.take(&mut batch, LONG);
        assert_eq!(batch.results.drain(..).count(), 3);
        assert!(!called());
        inbox.result(CheckId(4), failure());
        assert!(called());
        inbox.take(&mut batch, LONG);
        assert_eq!(batch.results.drain(..).count(), 1);
    }

    #[test]
    fn the_driver_sleeps_no_longer_than_what_confirms_may_wait() {
        let inbox = Inbox::default();
        inbox.result(CheckId(1), result(Outcome::Pass));
        let mut batch = Batch::default();
        // Without the bound this would never end.
        inbox.take(&mut batch, LONG);
        assert_eq!(batch.results.drain(..).count(), 1);
    }

    #[test]
    fn a_call_after_a_result_that_waits_wakes_the_driver() {
        let inbox = Inbox::default();
        std::thread::scope(|scope| {
            let driver = scope.spawn(|| {
                let mut batch = Batch::default();
                while !batch.requests.iter().any(|request| matches!(request, Request::HandOver)) {
                    batch.results.clear();
                    inbox.take(&mut batch, LONG);
                }
            });
            inbox.result(CheckId(1), result(Outcome::Pass));
            inbox.request(Request::HandOver);
            driver.join().unwrap();
        });
    }
}
