//! The thread that looks after the size of all logs.
//!
//! It looks at logs every second, at a quiet one less often, and at one that grows fast ten times a second. A look at a
//! log within its bound is one `stat`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::index::{self, FileId, LogIndex, Lost};
use crate::reopened::Reopened;
use crate::{KeeperError, KeptLog, writers};

/// The time from look to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while a log grows fast.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(100);
/// How many close looks take the time of one regular look.
const CLOSE_LOOKS: u32 = 10;
/// How many regular looks pass at most before the next at a log that does not grow.
const MAX_REST_LOOKS: u32 = 1;
/// heartbeatd tries again to shorten a log after so many looks.
const RETRY_AFTER_LOOKS: u32 = 60;
/// A log that has grown by this share of its bound since the last look grows fast.
const FAST_SHARE: u64 = 4;

/// How many bytes tell whether a log was written anew from its beginning.
const HEAD_BYTES: usize = 64;

/// What the thread reports about logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogNotice {
    /// A part of a log is lost, or may be.
    Lost {
        /// The path of the log.
        path: PathBuf,
        /// What was lost since the last report.
        lost: Lost,
        /// The reason, where it is known.
        why: Option<String>,
    },
    /// Logs that are out of place or cannot be shortened, and why; `None`: all are fine again. Sent when it changes.
    Problem(Option<String>),
}

/// Orders for the thread.
#[derive(Debug, Default)]
struct Wanted {
    /// The logs to look after from now on.
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
    /// Starts the thread. The thread calls `sink`, which may wait.
    ///
    /// # Errors
    /// The operating system cannot make a thread.
    pub fn open(sink: impl FnMut(LogNotice) + Send + 'static) -> Result<Self, KeeperError> {
        let wanted: Arc<(Mutex<Wanted>, Condvar)> = Arc::default();
        let of_thread = Arc::clone(&wanted);
        let thread = std::thread::Builder::new()
            .name("hb-logs".to_owned())
            .spawn(move || look_after(&of_thread, sink))?;
        Ok(Self { wanted, thread: Some(thread) })
    }

    /// Looks after these logs from now on, in place of those before. Does not wait.
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
            // A thread that panicked has nothing left to look after.
            let _ = thread.join();
        }
    }
}

/// One log as it was at the last look.
#[derive(Debug)]
struct Watched {
    log: KeptLog,
    bytes: u64,
    /// The log grows fast.
    fast: bool,
    /// Regular looks that pass before the next at this log.
    rest_looks: u32,
    /// How many of them passed last time.
    rested_looks: u32,
    problem: Option<String>,
    /// The file at the last look.
    file: Option<FileId>,
    /// The first bytes of the live file: a process that empties it changes them.
    head: Vec<u8>,
    /// The run that wrote to it at the last look.
    run: Option<u64>,
}

impl Watched {
    fn new(log: KeptLog) -> Self {
        Self {
            log,
            bytes: 0,
            fast: false,
            rest_looks: 0,
            rested_looks: 0,
            problem: None,
            file: None,
            head: Vec::new(),
            run: None,
        }
    }

    /// Looks at the log if it is its turn.
    fn look(&mut self, close: bool, reopened: bool, sink: &mut impl FnMut(LogNotice)) {
        if !self.fast && !reopened && (close || self.rest_looks > 0) {
            self.rest_looks -= u32::from(!close);
            return;
        }
        let before = self.bytes;
        // Nothing is written through a link, so a link is no log.
        let named = std::fs::symlink_metadata(&self.log.path).ok().filter(std::fs::Metadata::is_file);
        self.bytes = named.as_ref().map_or(0, std::fs::Metadata::len);
        let file = named.as_ref().map(index::id);
        let is_gone = self.file.is_some() && self.file != file;
        self.file = file;
        let (writer, taken_away) = writers::look(&self.log.path, file);
        if taken_away || is_gone {
            self.head.clear();
            if !taken_away && before > 0 {
                let lost = Lost { cut_bytes: before, ..Lost::default() };
                let why = "it was removed, or another file was put in its place".to_owned();
                sink(LogNotice::Lost { path: self.log.path.clone(), lost, why: Some(why) });
            }
        } else if self.was_emptied(before, reopened, writer) {
            self.note_emptied(before, sink);
        }
        self.run = writer.run;
        let mut moved = false;
        if self.bytes > self.log.max_bytes {
            match self.log.hold() {
                Ok(held) => {
                    moved = held.moved;
                    self.head.clear();
                    self.problem = None;
                    self.bytes = self.size();
                    if !held.lost.is_nothing() {
                        let why = held.why.map(|error| error.to_string());
                        sink(LogNotice::Lost { path: self.log.path.clone(), lost: held.lost, why });
                    }
                }
                Err(error) => self.problem = refusal(&self.log, &error),
            }
        }
        writers::saw(&self.log.path, file, self.bytes);
        let grown = self.bytes.saturating_sub(before);
        self.fast = self.problem.is_none() && (moved || grown > self.log.max_bytes / FAST_SHARE);
        self.rested_looks = match (&self.problem, self.bytes == before && !moved) {
            (Some(_), _) => RETRY_AFTER_LOOKS,
            (None, true) => (self.rested_looks + 1).min(MAX_REST_LOOKS),
            (None, false) => 0,
        };
        self.rest_looks = self.rested_looks;
    }

    /// Whether another process has emptied the log since the last look. `reopened`: a process has closed the log that
    /// had opened it for writing; a run that ends does that, too.
    fn was_emptied(&mut self, before: u64, reopened: bool, writer: writers::WriterState) -> bool {
        let shorter = self.bytes < before;
        let mut emptied = shorter;
        if shorter {
            self.head.clear();
        }
        if self.bytes > 0 && (reopened || self.head.len() < HEAD_BYTES) {
            let head = first_bytes(&self.log.path);
            emptied |= !head.starts_with(&self.head);
            // heartbeatd does not know what was written first. The one run that has begun with an empty log still
            // lives, so it has not closed the log.
            let unseen = self.head.is_empty() && before == 0 && writer.began_empty;
            let same_run = writer.run.is_some() && (self.run.is_none() || self.run == writer.run);
            emptied |= reopened && unseen && same_run;
            self.head = head;
        }
        emptied
    }

    fn note_emptied(&self, before: u64, sink: &mut impl FnMut(LogNotice)) {
        let lost = Lost { emptied: 1, cut_bytes: before, ..Lost::default() };
        if let Ok(mut index) = LogIndex::lock(&self.log.path) {
            index.note_emptied(before, self.bytes);
            // On a full disk the index misses this.
            let _ = index.write();
        }
        let why = "a program of the realm has opened it anew and emptied it, as `> /dev/stderr` does; `>&2` does not";
        sink(LogNotice::Lost { path: self.log.path.clone(), lost, why: Some(why.to_owned()) });
    }

    fn size(&self) -> u64 {
        // A missing log has no bytes yet.
        std::fs::symlink_metadata(&self.log.path).map_or(0, |meta| meta.len())
    }
}

fn first_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    let options = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let count = options.and_then(|file| file.read_at(&mut bytes, 0)).unwrap_or(0);
    bytes.truncate(count);
    bytes
}

/// Copies stray output to its log, and adds those logs to `written`. Returns why that fails, or what the operator can
/// do about it, in one sentence for all realms of which the same is true.
fn copy_stray(written: &mut BTreeSet<PathBuf>) -> Vec<String> {
    let mut refused: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let mut moved = Vec::new();
    writers::look_at_ended();
    for place in writers::stray_places() {
        match writers::copy(&place) {
            Err(error) => refused.entry(error.to_string()).or_default().push(place.clone()),
            Ok(()) if writers::is_moved(&place) => moved.push(place.clone()),
            Ok(()) => {}
        }
        written.insert(place);
    }
    let refused = refused.into_iter().map(|(why, places)| {
        let (logs, first) = (logs_of(&places), places[0].display());
        format!("{logs} cannot be written ({first}: {why}); the newest output is kept in memory meanwhile")
    });
    let moved = (!moved.is_empty()).then(|| {
        let (logs, names) = (logs_of(&moved), names(&moved).join(" "));
        format!(
            "{logs} was moved or removed; heartbeatd copies what is written to a new file of that name, and \
             `heartbeat-cli restart {names} --cascade` lets the realm write there itself"
        )
    });
    refused.chain(moved).collect()
}

fn names(places: &[PathBuf]) -> Vec<String> {
    let name = |place: &PathBuf| {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(".log").unwrap_or(&name).to_owned()
    };
    places.iter().map(name).collect()
}

fn logs_of(places: &[PathBuf]) -> String {
    format!("the log of {}", names(places).join(", "))
}

/// `None`: the log has gone meanwhile.
fn refusal(log: &KeptLog, error: &io::Error) -> Option<String> {
    let gone = error.kind() == io::ErrorKind::NotFound;
    (!gone).then(|| format!("{} cannot be held down to {} bytes: {error}", log.path.display(), log.max_bytes))
}

fn look_after(wanted: &(Mutex<Wanted>, Condvar), mut sink: impl FnMut(LogNotice)) {
    let mut watched: Vec<Watched> = Vec::new();
    let (mut close_looks, mut told) = (0, None);
    let mut reopened = Reopened::default();
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
        if close_looks == 0 {
            reopened.watch(watched.iter().map(|watched| watched.log.path.as_path()));
        }
        // Copies before the looks: the last look has reported what it found.
        let mut written = BTreeSet::new();
        let stray = copy_stray(&mut written);
        // A log that heartbeatd itself has written and closed was not emptied.
        let closed = reopened.take();
        for log in &mut watched {
            let reopened = closed.contains(&log.log.path) && !written.contains(&log.log.path);
            log.look(close_looks != 0, reopened, &mut sink);
        }
        let unbounded = watched.iter().filter_map(|log| log.problem.as_deref());
        let problem: Vec<&str> = stray.iter().map(String::as_str).chain(unbounded).collect();
        let problem = (!problem.is_empty()).then(|| problem.join("; "));
        if problem != told {
            told.clone_from(&problem);
            sink(LogNotice::Problem(problem));
        }
    }
}

/// The logs of a new configuration; keeps what is known of those that stay.
fn taken_over(old: Vec<Watched>, logs: Vec<KeptLog>) -> Vec<Watched> {
    let mut logs = logs;
    logs.sort();
    logs.dedup_by(|a, b| a.path == b.path);
    let mut old: BTreeMap<PathBuf, Watched> =
        old.into_iter().map(|watched| (watched.log.path.clone(), watched)).collect();
    let taken = logs.into_iter().map(|log| match old.remove(&log.path) {
        Some(known) => Watched { log, rest_looks: 0, ..known },
        None => Watched::new(log),
    });
    taken.collect()
}
