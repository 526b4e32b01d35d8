//! A running heartbeatd, from its start to its end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use heartbeat_notify::Notifier;
use heartbeat_process::Handover;
use heartbeat_status::{Snapshot, WallAnchor};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::control::listeners::Listeners;
use crate::control::reload::Reloader;
use crate::control::signals;
use crate::control::upgrade::Upgrader;
use crate::error::DaemonError;
use crate::inbox::{Inbox, Request};
use crate::reporting::receivers;
use crate::reporting::status_store::StatusStore;
use crate::running::caretaker::Caretaker;
use crate::running::decision::Departure;
use crate::start::assembled::Assembled;
use crate::start::prepared::{Prepared, Start};
use crate::storage::lock::StateLock;

/// Time for the API to answer after everything has stopped.
const API_GRACE: Duration = Duration::from_millis(1_500);

/// How a heartbeatd has ended.
#[derive(Debug)]
pub enum Ended {
    /// Everything is stopped.
    Stopped,
    /// heartbeatd was asked to leave: every realm keeps running.
    Left,
    /// Every realm keeps running; the value is for the program that follows under the same pid.
    Upgrade(Handover),
}

/// A running heartbeatd: the last of its three types, after `Prepared` and `Assembled`.
pub struct Daemon {
    inbox: Arc<Inbox>,
    statuses: Arc<StatusStore>,
    reloader: Arc<Reloader>,
    driver: JoinHandle<Departure>,
    upgrader: Arc<Upgrader>,
    listeners: Arc<Listeners>,
    caretaker: Caretaker,
    soft_descriptors: Option<u64>,
    runtime: Runtime,
    notifier: Arc<Notifier>,
    socket: PathBuf,
    locks: Arc<Mutex<Vec<StateLock>>>,
}

impl Daemon {
    /// Prepares the directories, takes the locks, adopts the processes of an earlier heartbeatd, opens the listeners,
    /// and only then starts the first realm.
    ///
    /// # Errors
    /// [`DaemonError`] names what could not be prepared; nothing has been started then.
    pub fn start(start: Start) -> Result<Self, DaemonError> {
        Self::start_with(start, || {})
    }

    /// The same. It calls `held` when it holds the locks and the listeners, before the first event.
    ///
    /// # Errors
    /// As [`Daemon::start`]; `held` was not called then, unless a thread cannot be started.
    pub fn start_with(start: Start, held: impl FnOnce()) -> Result<Self, DaemonError> {
        let assembled = Assembled::new(Prepared::new(start)?)?;
        held();
        Self::run(assembled)
    }

    fn run(assembled: Assembled) -> Result<Self, DaemonError> {
        let Assembled { driver, runtime, inbox, statuses, reloader, upgrader, .. } = assembled;
        let Assembled { listeners, caretaker, notifier, locks, soft_descriptors, socket, .. } = assembled;
        let driver = std::thread::Builder::new()
            .name("hb-driver".to_owned())
            .spawn(move || driver.run())
            .map_err(|source| DaemonError::Runtime { what: "driver thread", source })?;
        Ok(Self {
            inbox,
            statuses,
            reloader,
            driver,
            upgrader,
            listeners,
            caretaker,
            soft_descriptors,
            runtime,
            notifier,
            socket,
            locks,
        })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.statuses.snapshot()
    }

    /// Changes with every published snapshot.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.statuses.changes()
    }

    pub(crate) fn statuses(&self) -> Arc<StatusStore> {
        Arc::clone(&self.statuses)
    }

    /// The anchor that converts the times of snapshots and events to wall times.
    #[must_use]
    pub fn anchor(&self) -> WallAnchor {
        self.statuses.about().anchor
    }

    /// The Unix socket of its API.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs `task` beside the API until it is done or the daemon ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Stops everything in reverse order; `now` kills at once.
    pub fn shutdown(&self, now: bool) {
        self.inbox.request(Request::Shutdown { now });
    }

    /// Installs the signal handlers: TERM and INT stop everything in order, and the second of them at once; HUP
    /// reloads, QUIT leaves every realm running, USR2 upgrades in place. The signals with which containers and hosts
    /// order an end act like TERM.
    ///
    /// # Errors
    /// [`DaemonError::Runtime`] when the handlers cannot be installed.
    pub fn stop_on_signals(&self) -> Result<(), DaemonError> {
        signals::obey(&self.runtime, &self.inbox, &self.reloader, &self.upgrader)
            .map_err(|source| DaemonError::Runtime { what: "signal handlers", source })
    }

    /// Waits until everything is stopped, or heartbeatd leaves, and closes the listeners.
    ///
    /// # Errors
    /// [`DaemonError::Driver`] when the driver did not come to its end.
    pub fn wait(self) -> Result<Ended, DaemonError> {
        let departure = self.driver.join().ok();
        // The caretaker must not restore anything from here on.
        drop(self.caretaker);
        // At once: a receiver that does not answer must not keep the API of a heartbeatd that has ended.
        self.listeners.end();
        // The driver has ended, and with it every other thread that notifies.
        if let Some(notifier) = Arc::into_inner(self.notifier) {
            self.runtime.block_on(notifier.close(receivers::PATIENCE));
        }
        self.runtime.shutdown_timeout(API_GRACE);
        if departure != Some(Departure::Upgrade) {
            self.listeners.remove_socket();
        }
        match departure {
            Some(Departure::Stopped) => Ok(Ended::Stopped),
            Some(Departure::Left) => Ok(Ended::Left),
            Some(Departure::Upgrade) => {
                let share = |source| DaemonError::Runtime { what: "handover", source };
                let mut handover = Handover::default();
                self.listeners.hand_over(&mut handover).map_err(share)?;
                for lock in &*self.locks.lock().unwrap_or_else(PoisonError::into_inner) {
                    lock.hand_over(&mut handover).map_err(share)?;
                }
                let soft = self.soft_descriptors.map(|soft| ("soft_descriptors".to_owned(), soft));
                handover.numbers.extend(soft);
                Ok(Ended::Upgrade(handover))
            }
            None => Err(DaemonError::Driver),
        }
    }
}
