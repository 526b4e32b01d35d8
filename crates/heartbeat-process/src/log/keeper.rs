//! The thread that looks after the size of all logs.
//!
//! It looks every second, at a log that is quiet less often, and at one that grows fast ten times a second. A look at a log
//! within its bound is one `stat`.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::KeptLog;
use super::ledger::Lost;
use crate::ProcessError;

/// From look to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while some log grows fast.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(100);
/// Close looks that make one of the others.
const CLOSE_LOOKS: u32 = 10;
/// A log that does not grow is looked at every so many looks.
const MAX_REST_LOOKS: u32 = 4;
/// One that cannot be shortened is tried again after so many looks.
const RETRY_AFTER_LOOKS: u32 = 60;
/// A log that has grown by this share of its bound since the last look grows fast.
const FAST_SHARE: u64 = 4;

/// What is to be told of logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNotice {
    /// Something of a log is lost, or may be.
    Lost {
        /// Which log.
        path: PathBuf,
        /// What came on top.
        lost: Lost,
        /// Why, where something could not be written.
        why: Option<String>,
    },
    /// Logs that cannot be shortened, and why; `None`: all can be again. Told when it changes.
    Unbounded(Option<String>),
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Wanted {
    /// Logs to be looked after from now on.
    logs: Option<Vec<KeptLog>>,
    closed: bool,
}

/// Looks after the size of logs until it is dropped.
#[derive(Debug)]
pub struct LogKeeper {
    wanted: Arc<(Mutex<Wanted>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl LogKeeper {
    /// Starts the thread. `sink` is called on it, and may wait.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn open(sink: impl FnMut(LogNotice) + Send + 'static) -> Result<Self, ProcessError> {
        let wanted: Arc<(Mutex<Wanted>, Condvar)> = Arc::default();
        let of_thread = Arc::clone(&wanted);
        let thread = std::thread::Builder::new()
            .name("hb-logs".to_owned())
            .spawn(move || look_after(&of_thread, sink))
            .map_err(|source| ProcessError::Make { what: "log thread", source })?;
        Ok(Self { wanted, thread: Some(thread) })
    }

    /// From now on it looks after these, in place of what it looked after before. Does not wait.
    pub fn keep(&self, logs: Vec<KeptLog>) {
        self.tell(|wanted| wanted.logs = Some(logs));
    }

    fn tell(&self, tell: impl FnOnce(&mut Wanted)) {
        tell(&mut self.wanted.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.wanted.1.notify_all();
    }
}

impl Drop for LogKeeper {
    fn drop(&mut self) {
        self.tell(|wanted| wanted.closed = true);
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to look after.
            let _ = thread.join();
        }
    }
}

/// One log as it was at the last look.
#[derive(Debug)]
struct Watched {
    log: KeptLog,
    bytes: u64,
    /// It grows fast.
    fast: bool,
    /// Looks at others until the next at this one.
    rest_looks: u32,
    /// How many of them there were last time.
    rested_looks: u32,
    trouble: Option<String>,
}

impl Watched {
    fn new(log: KeptLog) -> Self {
        Self { log, bytes: 0, fast: false, rest_looks: 0, rested_looks: 0, trouble: None }
    }

    /// Looks, when its turn has come.
    fn look(&mut self, close: bool, sink: &mut impl FnMut(LogNotice)) {
        if !self.fast && (close || self.rest_looks > 0) {
            self.rest_looks -= u32::from(!close);
            return;
        }
        let before = self.bytes;
        self.bytes = self.size();
        let mut moved = false;
        if self.bytes > self.log.max_bytes {
            match self.log.hold() {
                Ok(held) => {
                    moved = held.moved;
                    self.trouble = None;
                    self.bytes = self.size();
                    if !held.lost.is_nothing() {
                        let why = held.why.map(|error| error.to_string());
                        sink(LogNotice::Lost { path: self.log.path.clone(), lost: held.lost, why });
                    }
                }
                Err(error) => self.trouble = refusal(&self.log, &error),
            }
        }
        let grown = self.bytes.saturating_sub(before);
        self.fast = self.trouble.is_none() && (moved || grown > self.log.max_bytes / FAST_SHARE);
        self.rested_looks = match (&self.trouble, self.bytes == before && !moved) {
            (Some(_), _) => RETRY_AFTER_LOOKS,
            (None, true) => (self.rested_looks + 1).min(MAX_REST_LOOKS),
            (None, false) => 0,
        };
        self.rest_looks = self.rested_looks;
    }

    fn size(&self) -> u64 {
        // A log that is not there is no log yet.
        std::fs::symlink_metadata(&self.log.path).map_or(0, |meta| meta.len())
    }
}

/// `None`: it has gone meanwhile.
fn refusal(log: &KeptLog, error: &io::Error) -> Option<String> {
    let gone = error.kind() == io::ErrorKind::NotFound;
    (!gone).then(|| format!("{} cannot be held down to {} bytes: {error}", log.path.display(), log.max_bytes))
}

fn look_after(wanted: &(Mutex<Wanted>, Condvar), mut sink: impl FnMut(LogNotice)) {
    let mut watched: Vec<Watched> = Vec::new();
    let (mut close_looks, mut told) = (0, None);
    loop {
        let closely = watched.iter().any(|log| log.fast);
        let pause = if closely { LOOK_CLOSELY_EVERY } else { LOOK_EVERY };
        let state = wanted.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing_new = |state: &mut Wanted| !state.closed && state.logs.is_none();
        let woken = wanted.1.wait_timeout_while(state, pause, nothing_new);
        let (closed, logs) = {
            let mut state = woken.unwrap_or_else(PoisonError::into_inner).0;
            (state.closed, state.logs.take())
        };
        if closed {
            return;
        }
        if let Some(logs) = logs {
            watched = taken_over(watched, logs);
        }
        close_looks = if closely { (close_looks + 1) % CLOSE_LOOKS } else { 0 };
        for log in &mut watched {
            log.look(close_looks != 0, &mut sink);
        }
        let trouble: Vec<&str> = watched.iter().filter_map(|log| log.trouble.as_deref()).collect();
        let trouble = (!trouble.is_empty()).then(|| trouble.join("; "));
        if trouble != told {
            told.clone_from(&trouble);
            sink(LogNotice::Unbounded(trouble));
        }
    }
}

/// The logs of a new configuration; what is known of those that stay is kept.
fn taken_over(old: Vec<Watched>, logs: Vec<KeptLog>) -> Vec<Watched> {
    let mut logs = logs;
    logs.sort();
    logs.dedup_by(|a, b| a.path == b.path);
    let mut old: std::collections::BTreeMap<PathBuf, Watched> =
        old.into_iter().map(|watched| (watched.log.path.clone(), watched)).collect();
    let taken = logs.into_iter().map(|log| match old.remove(&log.path) {
        Some(known) => Watched { log, rest_looks: 0, ..known },
        None => Watched::new(log),
    });
    taken.collect()
}
